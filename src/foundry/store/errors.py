"""Why a store cannot be used."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be opened; the text is one sentence for the operator."""


class StoreBusyError(Exception):
    """A transaction was rolled back because of what others do with its rows, or for want of room. Others may go on."""


class RequestTakenError(StoreBusyError):
    """Another transaction has kept the answer to a request of the same id, after it was looked for: now it is found."""


class RowConflictError(Exception):
    """A staged update found its row changed since it was loaded. Only a second writer can cause it."""
