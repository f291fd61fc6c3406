"""Client of the SessionService's unary calls; the live stream is ``foundry.client.live``."""

from __future__ import annotations

from coreason.foundry.v1 import session_pb2 as pb
from foundry.client.calls import TIMEOUT_S, AsyncService, Pages, SyncService, Unary, pages, request_id_or_new, unary


class Sessions:
    """The open sessions of a project."""

    @pages
    def list(
        self, project_id: str, *, page_size: int = 50, timeout: float = TIMEOUT_S
    ) -> Pages[pb.ListSessionsResponse, pb.Session]:
        """List the open sessions, oldest first; ``page_size`` are read at a time, 1 to 1,000."""
        request = pb.ListSessionsRequest(project_id=project_id, page_size=page_size)
        return Pages(request, pb.ListSessionsResponse, lambda page: page.sessions, timeout)

    @unary
    def end(
        self,
        project_id: str,
        session_id: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Unary[pb.EndSessionResponse, None]:
        """End a session and release its locks: one's own, or as a person with the role OWNER anyone's.

        Args:
            project_id: The project.
            session_id: The session.
            reason: Why, at most 4 KiB.
            request_id: UUID that makes the call safe to repeat for 24 hours; None for a new one.
            timeout: Seconds the call may take.

        Raises:
            NotFound: It is not open.
        """
        request = pb.EndSessionRequest(
            project_id=project_id, session_id=session_id, reason=reason, request_id=request_id_or_new(request_id)
        )
        return Unary(request, pb.EndSessionResponse, lambda _answer: None, timeout)


class SessionClient(Sessions, AsyncService):
    """The unary calls of the SessionService for asyncio."""


class SyncSessionClient(Sessions, SyncService):
    """The unary calls of the SessionService for threads."""
