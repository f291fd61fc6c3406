"""The entry points: ``connect`` for asyncio and ``connect_sync`` for threads."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio

from coreason.foundry.v1 import session_pb2
from foundry.client.calls import TIMEOUT_S
from foundry.client.channel import Token, authorization, channel_options, credentials_of, target_of
from foundry.client.live.link import Call
from foundry.client.live.session import ResumeState, Session
from foundry.client.services.audit import AuditClient, SyncAuditClient
from foundry.client.services.comments import CommentClient, SyncCommentClient
from foundry.client.services.drafts import DraftClient, SyncDraftClient
from foundry.client.services.exports import ExportClient, SyncExportClient
from foundry.client.services.locks import LockClient, SyncLockClient
from foundry.client.services.projects import ProjectClient, SyncProjectClient
from foundry.client.services.runs import RunClient, SyncRunClient
from foundry.client.services.sessions import SessionClient, SyncSessionClient

_PROJECT_SESSION: Final = "/coreason.foundry.v1.SessionService/ProjectSession"


class Foundry:
    """A connection to a server for asyncio. Leaving its block lets go of its sessions and closes the channel.

    Every call raises ``FoundryError`` or one of its subclasses, and takes a ``timeout`` in seconds.

    Attributes:
        projects: The ProjectService.
        drafts: The DraftService.
        locks: The LockService.
        sessions: The unary calls of the SessionService.
        comments: The CommentService.
        runs: The RunService.
        exports: The ExportService.
        audit: The AuditService.
    """

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        """Args: channel is taken over and closed in the end; for token see ``connect``."""
        self._channel = channel
        self._token = token
        self._live: weakref.WeakSet[Session] = weakref.WeakSet()
        self.projects = ProjectClient(channel, token)
        self.drafts = DraftClient(channel, token)
        self.locks = LockClient(channel, token)
        self.sessions = SessionClient(channel, token)
        self.comments = CommentClient(channel, token)
        self.runs = RunClient(channel, token)
        self.exports = ExportClient(channel, token)
        self.audit = AuditClient(channel, token)

    def session(
        self,
        project_id: str,
        *,
        tab_id: str = "",
        client_name: str = "foundry-python",
        disconnect_grace: float = 0.0,
        follow_runs: bool = False,
        resume: ResumeState | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Session:
        """Return a live session in a project, to be entered with ``async with``.

        Args:
            project_id: The project.
            tab_id: Names the tab or program instance, at most 100 bytes: a newer session of the same principal with
                the same one takes the older one's place. Empty for a new one.
            client_name: Name of the program for the others and the log, at most 100 bytes.
            disconnect_grace: Seconds that locks outlive an unclean end of the stream, 0 to 30.
            follow_runs: Get the console lines of runs among the events, as ``run_log``: of those that run now, from
                their first line on, and of those that are started while the session is here.
            resume: What was kept of a session to come back to.
            timeout: Seconds that opening may take.
        """
        session = Session(
            self._start,
            self._token,
            project_id,
            tab_id=tab_id,
            client_name=client_name,
            disconnect_grace=disconnect_grace,
            follow_runs=follow_runs,
            resume=resume,
            timeout=timeout,
        )
        self._live.add(session)
        return session

    async def close(self) -> None:
        """Leave the open sessions, let go of open consoles, and close the channel."""
        # A channel must not be closed under a pending read (grpc#32005).
        for session in tuple(self._live):
            await session.leave()
        for log in tuple(self.runs.open_logs):
            await log.stop()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _start(self, token: str) -> Call:
        rpc: Any = self._channel.stream_stream(
            _PROJECT_SESSION,
            request_serializer=session_pb2.ProjectSessionRequest.SerializeToString,
            response_deserializer=session_pb2.ProjectSessionResponse.FromString,
        )
        call: Call = rpc(metadata=authorization(token))
        return call


class SyncFoundry:
    """A connection to a server for threads: the calls of ``Foundry`` without ``await``.

    What lives on a stream of its own is for asyncio only: sessions, and writing to the consoles of runs.

    Attributes:
        projects: The ProjectService.
        drafts: The DraftService.
        locks: The LockService.
        sessions: The unary calls of the SessionService.
        comments: The CommentService.
        runs: The RunService.
        exports: The ExportService.
        audit: The AuditService.
    """

    def __init__(self, channel: grpc.Channel, token: Token) -> None:
        """Args: channel is taken over and closed in the end; for token see ``connect``."""
        self._channel = channel
        self.projects = SyncProjectClient(channel, token)
        self.drafts = SyncDraftClient(channel, token)
        self.locks = SyncLockClient(channel, token)
        self.sessions = SyncSessionClient(channel, token)
        self.comments = SyncCommentClient(channel, token)
        self.runs = SyncRunClient(channel, token)
        self.exports = SyncExportClient(channel, token)
        self.audit = SyncAuditClient(channel, token)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(target: str, token: Token, *, tls: bool | grpc.ChannelCredentials = False) -> Foundry:
    """Return a connection for asyncio; it connects with the first call.

    Args:
        target: Where the server is, as ``host:port`` or another name that gRPC resolves; several servers that share
            their store as ``address:port,address:port``, see ``channel.target_of``.
        token: Bearer token without ``Bearer``, or what yields the current one without blocking.
        tls: True for TLS with the system's certificate authorities, or credentials of one's own. Without it the token
            travels in the clear.
    """
    credentials = credentials_of(tls)
    if credentials is None:
        return Foundry(grpc.aio.insecure_channel(target_of(target), channel_options()), token)
    return Foundry(grpc.aio.secure_channel(target_of(target), credentials, channel_options()), token)


def connect_sync(target: str, token: Token, *, tls: bool | grpc.ChannelCredentials = False) -> SyncFoundry:
    """Return a connection for threads; arguments as for ``connect``."""
    credentials = credentials_of(tls)
    if credentials is None:
        return SyncFoundry(grpc.insecure_channel(target_of(target), channel_options()), token)
    return SyncFoundry(grpc.secure_channel(target_of(target), credentials, channel_options()), token)
