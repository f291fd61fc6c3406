"""Client of the AuditService, and the verification of a log."""

# ruff: noqa: ASYNC109 - of each page, as in all clients

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from coreason.foundry.v1 import audit_pb2 as pb
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, pages
from foundry.client.errors import LogAltered

#: ``prev`` of the first entry of a log.
_NOTHING: Final = "0" * 64

#: Entries read at a time to verify; an entry has about 1 KiB.
_PAGE_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log that verified.

    Attributes:
        entries: How many it has; the sequence number of its head.
        head: Leaf of the head in lower-case hex: whoever keeps it can tell later that nothing before was altered.
            64 zeros for an empty log.
    """

    entries: int
    head: str


class LogVerifier:
    """Verifies a log entry by entry: sequence, leaf, and that each entry names the leaf of the one before.

    It proves that the entries are one unbroken chain from the first on. Compare the head with one kept elsewhere to
    learn that it is still the same chain.
    """

    def __init__(self) -> None:
        self._entries = 0
        self._head = _NOTHING
        self._length = 0

    def add_page(self, page: pb.ListEntriesResponse) -> None:
        """Verify the entries of the next page.

        Raises:
            LogAltered: As for ``add``.
        """
        for entry in page.entries:
            self.add(entry)
        self._length = page.head.sequence

    def add(self, entry: pb.LogEntry) -> None:
        """Verify the next entry.

        Raises:
            LogAltered: It is not what follows; it or an entry before was altered, inserted or taken out.
        """
        expected = self._entries + 1
        if entry.position.sequence != expected:
            raise LogAltered(expected, f"it is missing; entry {entry.position.sequence} came instead")
        leaf = hashlib.sha256(b"\0" + entry.entry_bytes).digest()
        if leaf != entry.leaf:
            raise LogAltered(expected, "its bytes do not hash to its leaf")
        try:
            stored = json.loads(entry.entry_bytes)
            sequence, previous, event = stored["seq"], stored["prev"], stored["event"]
        except (ValueError, LookupError, TypeError):
            raise LogAltered(expected, "its bytes are no entry") from None
        if sequence != expected:
            raise LogAltered(expected, f"its bytes are those of entry {sequence}")
        if previous != self._head:
            raise LogAltered(expected, "it does not name the leaf of the entry before")
        # A payload that the reader may not see is absent; one that is shown must be of the stored event.
        if entry.WhichOneof("payload") not in (None, event):
            raise LogAltered(expected, f"it is shown as another event than {event!r}, which its bytes tell")
        self._entries, self._head = expected, leaf.hex()

    def finish(self) -> VerifiedLog:
        """Return the result after the last page.

        Raises:
            LogAltered: Entries are missing at the end.
        """
        if self._length > self._entries:
            raise LogAltered(self._entries + 1, f"it is missing; the log has {self._length} entries")
        return VerifiedLog(self._entries, self._head)


class Audit:
    """The FoundryLog of a project."""

    @pages
    def entries(
        self,
        project_id: str,
        *,
        after_sequence: int = 0,
        events: Iterable[str] = (),
        actor: str = "",
        page_size: int = 50,
        timeout: float = TIMEOUT_S,
    ) -> Pages[pb.ListEntriesResponse, pb.LogEntry]:
        """List entries in order, with the bytes that are chained.

        Args:
            project_id: The project, or ``instance`` for the log of the installation.
            after_sequence: Only entries after this one, from 0.
            events: Only these events, by the names of the arms of ``LogEntry.payload``, at most 32; none for all.
            actor: Only entries by this subject.
            page_size: Entries read at a time, 1 to 1,000.
            timeout: Seconds each page may take.

        Raises:
            AccessDenied: The project is not the caller's to see, or ``instance`` and the caller no administrator.
        """
        request = pb.ListEntriesRequest(
            project_id=project_id, page_size=page_size, after_sequence=after_sequence, events=events, actor=actor
        )
        return Pages(request, pb.ListEntriesResponse, lambda page: page.entries, timeout)


def _whole_log(project_id: str, timeout: float) -> Pages[pb.ListEntriesResponse, pb.ListEntriesResponse]:
    """All pages of a log, as pages: only they tell the head."""
    request = pb.ListEntriesRequest(project_id=project_id, page_size=_PAGE_SIZE)
    return Pages(request, pb.ListEntriesResponse, lambda page: (page,), timeout)


class AuditClient(Audit, AsyncService):
    """The AuditService for asyncio."""

    async def verify(self, project_id: str, *, timeout: float = TIMEOUT_S) -> VerifiedLog:
        """Read a whole log and verify its chain.

        Args:
            project_id: The project, or ``instance``.
            timeout: Seconds each page may take.

        Raises:
            LogAltered: It does not verify; names the first bad entry.
        """
        verifier = LogVerifier()
        async for page in self._pages(_whole_log(project_id, timeout)):
            verifier.add_page(page)
        return verifier.finish()


class SyncAuditClient(Audit, SyncService):
    """The AuditService for threads."""

    def verify(self, project_id: str, *, timeout: float = TIMEOUT_S) -> VerifiedLog:
        """Read a whole log and verify its chain; as ``AuditClient.verify``."""
        verifier = LogVerifier()
        for page in self._pages(_whole_log(project_id, timeout)):
            verifier.add_page(page)
        return verifier.finish()
