"""SessionService: the unary RPCs, and the door to the stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coreason.foundry.v1 import session_pb2 as pb
from coreason.foundry.v1 import types_pb2
from foundry.rpc import codec, validation
from foundry.rpc.stream import SessionStream

if TYPE_CHECKING:
    from foundry.domain.errors import FoundryError
    from foundry.domain.principal import Caller
    from foundry.domain.session import History
    from foundry.managers.sessions import SessionManager
    from foundry.rpc.calls import Context
    from foundry.rpc.pages import Pages
    from foundry.rpc.stream import StreamParts


class SessionServicer:
    """See ``session.proto``."""

    def __init__(self, sessions: SessionManager, pages: Pages, parts: StreamParts, *, history: History) -> None:
        self._sessions = sessions
        self._pages = pages
        self._parts = parts
        self._history = history
        self._running: set[asyncio.Task[None]] = set()

    async def ProjectSession(self, context: Context, caller: Caller) -> FoundryError | None:
        """Serve one stream until it ends; returns how."""
        return await SessionStream(self._parts, context, caller, self._running).serve()

    async def ListSessions(self, request: pb.ListSessionsRequest, caller: Caller) -> pb.ListSessionsResponse:
        """List open sessions."""
        size, bound = self._pages.size(request.page_size), ("ListSessions", request.project_id)
        after = self._pages.read(request.page_token, "", *bound)
        found = await self._sessions.list_sessions(caller, request.project_id, after, size + 1)
        more = self._pages.issue(found[size - 1].session_id, *bound) if len(found) > size else ""
        return pb.ListSessionsResponse(
            sessions=[codec.session(session) for session in found[:size]], next_page_token=more
        )

    async def EndSession(self, request: pb.EndSessionRequest, caller: Caller) -> pb.EndSessionResponse:
        """End a session."""
        mutation = validation.check(validation.Mutation, reason=request.reason, request_id=request.request_id)
        ended = await self._sessions.end(
            caller,
            request.project_id,
            request.session_id,
            reason=mutation.reason,
            request_id=mutation.request_id,
        )
        return pb.EndSessionResponse(position=types_pb2.Position(epoch=self._history.epoch, sequence=ended.sequence))

    async def wait_closed(self, timeout_s: float) -> None:
        """Wait until the clean-up of every stream is done, at most ``timeout_s`` seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
