"""Nouns and rules of the workspace: frozen dataclasses, standard library only, no I/O and no clock."""
