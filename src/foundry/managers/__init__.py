"""Verbs: what can be done in a workspace. Each checks permission and rules, and hands one operation to the lane."""
