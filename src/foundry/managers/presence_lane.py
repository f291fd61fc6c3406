"""The presence lane of session streams: who is here, as the streams of this process are told, with a version."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from foundry.domain.events import PresenceChanged
from foundry.domain.session import Activity, Presence, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from foundry.clock import Clock
    from foundry.domain.events import PresenceEvent, Ring, SessionEvent
    from foundry.managers.channel import Channel
    from foundry.managers.live import LiveSession
    from foundry.managers.presence import PresenceBoard
    from foundry.managers.sessions import SessionManager

#: A session is shown at most this often, seconds.
_INTERVAL_S = 0.1


class PresenceLane:
    """Tells the streams of a project what changed of who is here.

    Every method asks for the project's channel of its moment: that of a stream that is gone may be nobody's by now.

    Args:
        channels: Those of the hub, by project.
        live: Those of the hub, by session.
        encode: Turns an event into bytes of a stream message with this one event.
    """

    def __init__(
        self,
        board: PresenceBoard,
        channels: Mapping[str, Channel],
        live: Mapping[str, LiveSession],
        *,
        sessions: SessionManager,
        encode: Callable[[SessionEvent], bytes],
        clock: Clock,
    ) -> None:
        self._board = board
        self._channels = channels
        self._live = live
        self._sessions = sessions
        self._encode = encode
        self._clock = clock

    async def show_session(
        self, live: LiveSession, shown: Activity | None = None, *, reconnecting: bool = False
    ) -> None:
        """Show a session, unless its end was heard of before it was shown: nobody would take it away again then."""
        session = live.session
        project_id, session_id = session.project_id, session.session_id
        here = Presence(
            session_id,
            session.principal,
            session.open_time_us,
            shown or Activity(),
            session.client_name,
            reconnecting=reconnecting,
            stream_epoch=session.stream_epoch,
        )
        channel = self._channels.get(project_id)
        self._tell(channel, await self._board.put(project_id, here, _next(channel)))
        if self._live.get(session_id) is live and not reconnecting:
            return  # whatever is heard from here on comes behind it
        await self.show_no_more(session)

    async def show_no_more(self, session: Session) -> None:
        """Show a session no more if it has ended, or goes on elsewhere."""
        current = await self._sessions.current(session)
        if current.state is SessionState.CLOSED:
            await self.hide(session.project_id, session.session_id)
        elif current.stream_epoch != session.stream_epoch and session.session_id not in self._live:
            self._board.let_go(session.project_id, session.session_id)

    async def show_soon(self, live: LiveSession) -> None:
        """Show what a session is at, when its last time is long enough ago."""
        delay_s = live.shown_s + _INTERVAL_S - self._clock.monotonic_s()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        shown, live.shown, live.shown_s = live.shown, None, self._clock.monotonic_s()
        if shown is not None and self._live.get(live.session_id) is live:
            await self.show_session(live, shown)

    async def hide(self, project_id: str, session_id: str) -> None:
        """Take a session away."""
        channel = self._channels.get(project_id)
        self._tell(channel, await self._board.remove(project_id, session_id, _next(channel)))
        if project_id not in self._channels:
            self._board.forget(project_id)

    async def look(self, channel: Channel) -> None:
        """Tell what changed without anybody here doing it."""
        channel.presence_due = False
        self._tell(channel, await self._board.refresh(channel.project_id, _next(channel)))

    def rung(self, ring: Ring) -> Coroutine[Any, Any, None] | None:
        """What is to be done about a ring of another process; nothing, or nothing more than is done already: None."""
        channel = self._channels.get(ring.project_id) if isinstance(ring, PresenceChanged) else None
        if channel is None or channel.presence_due:
            return None
        channel.presence_due = True
        return self.look(channel)

    async def snapshot(self, channel: Channel) -> bytes:
        """Everybody, encoded, at the channel's version."""
        return self._encode(await self._board.snapshot(channel.project_id, channel.presence_version))

    def forget(self, project_id: str) -> None:
        """Nobody here is told about a project any more."""
        self._board.forget(project_id)

    def let_go(self, project_id: str, session_id: str) -> None:
        """Another process shows this session from now on."""
        self._board.let_go(project_id, session_id)

    def _tell(self, channel: Channel | None, changed: PresenceEvent | None) -> None:
        if channel and changed:
            channel.presence_version += 1
            event = self._encode(replace(changed, version=channel.presence_version))
            channel.publish(event, presence=channel.presence_version)


def _next(channel: Channel | None) -> int:
    return channel.presence_version + 1 if channel else 0
