"""AuditService: translation only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coreason.foundry.v1 import audit_pb2 as pb
from foundry.domain.entry import Event
from foundry.domain.errors import InvalidArgument
from foundry.rpc import codec

if TYPE_CHECKING:
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.audit import AuditManager
    from foundry.rpc.pages import Pages

_EVENTS_MAX = 32
_EVENTS = frozenset(event.value for event in Event)


class AuditServicer:
    """See ``audit.proto``."""

    def __init__(self, audit: AuditManager, pages: Pages, *, history: History) -> None:
        self._audit = audit
        self._pages = pages
        self._history = history

    async def ListEntries(self, request: pb.ListEntriesRequest, caller: Caller) -> pb.ListEntriesResponse:
        """List entries of a log."""
        size, events = self._pages.size(request.page_size), list(request.events)
        if request.after_sequence < 0:
            raise InvalidArgument("after_sequence", "from 0")
        if len(events) > _EVENTS_MAX:
            raise InvalidArgument("events", f"at most {_EVENTS_MAX}")
        for event in events:
            if event not in _EVENTS:
                raise InvalidArgument("events", f"{event[:100]!r} is no event of the log")
        bound = ("ListEntries", request.project_id, request.after_sequence, events, request.actor)
        after = self._pages.read(request.page_token, request.after_sequence, *bound)
        found, head = await self._audit.list_entries(
            caller, request.project_id, after=after, limit=size + 1, events=events, actor=request.actor
        )
        entries = self._pages.fit(found, size, lambda entry: codec.entry(entry, self._history.epoch, with_bytes=True))
        more = self._pages.issue(found[len(entries) - 1].sequence, *bound) if len(found) > len(entries) else ""
        return pb.ListEntriesResponse(entries=entries, next_page_token=more, head=codec.position(head))
