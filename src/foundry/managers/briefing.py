"""What a stream is told before it is live, and once more when the ring has passed it: what it missed, and who is here.

It is read from the store, which may be ahead of what the streams of this server were told; see ``Feed.told``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from foundry.domain.errors import Unavailable
from foundry.domain.events import CaughtUp, Resync, ResyncReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from foundry.domain.events import SessionEvent
    from foundry.domain.session import Position
    from foundry.managers.feed import Feed
    from foundry.managers.live import LiveSession
    from foundry.managers.presence_lane import PresenceLane
    from foundry.managers.state import Missed, StateReader


class Briefing:
    """Brings streams up to date.

    Args:
        live: Those of the hub, by session.
        end_older: Ends the streams of a project if they are of another history of the log by now.
        encode: Turns an event into bytes of a stream message with this one event.
        limit_s: How long a stream waits until what was read for it may be sent.
    """

    def __init__(
        self,
        state: StateReader,
        presence: PresenceLane,
        feed: Feed,
        live: Mapping[str, LiveSession],
        *,
        end_older: Callable[[str], object],
        encode: Callable[[SessionEvent], bytes],
        limit_s: float,
    ) -> None:
        self._state = state
        self._presence = presence
        self._feed = feed
        self._live = live
        self._end_older = end_older
        self._encode = encode
        self._limit_s = limit_s

    async def missed(self, live: LiveSession, after: Position | None) -> Missed | None:
        """What a client missed since a position; None when its stream has ended: it is not to be told then.

        Raises:
            ProjectAccessDenied: It needs a snapshot, and is no member any more.
            Unavailable: The store, or the entries before the state that was read, cannot be read.
        """
        project_id = live.session.project_id
        news = await self._state.since(project_id, live.caller.principal.subject, after)
        self._end_older(project_id)
        if not live.ended.is_set() and not self._feed.told(project_id, news.position):
            await self._until_told(live, news.position)
            self._end_older(project_id)
        return news if self._is_live(live) else None

    async def send(self, live: LiveSession, news: Missed) -> None:
        """Send missed entries or a snapshot, then who is here, then ``caught_up``."""
        channel = live.channel
        for event in news.events:
            live.send(self._encode(event))
        presence_version, presence = channel.presence_version, await self._presence.snapshot(channel)
        if not self._is_live(live):  # it ended meanwhile
            return
        live.send(presence)
        live.send(self._encode(CaughtUp(news.position)))
        # What the ring holds up to here, or is about to, is told already.
        live.seen_sequence, live.seen_presence = news.position.sequence, presence_version
        channel.last_sequence = max(channel.last_sequence, news.position.sequence)

    async def catch_up(self, live: LiveSession) -> None:
        """The ring has passed a slow reader: read on from the log, or begin anew with a snapshot."""
        live.channel.flush()
        live.cursor = live.channel.head
        news = await self.missed(live, self._state.at(live.seen_sequence))
        if news is None:
            return
        if news.resync:
            live.send(self._encode(Resync(ResyncReason.SLOW_READER)))
        await self.send(live, news)

    def _is_live(self, live: LiveSession) -> bool:
        return self._live.get(live.session_id) is live

    async def _until_told(self, live: LiveSession, position: Position) -> None:
        told = self._feed.until_told(live.session.project_id, position)
        until = [asyncio.create_task(told), asyncio.create_task(live.ended.wait())]
        try:
            over, _ = await asyncio.wait(until, timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in until:
                waiting.cancel()
        if not over:
            raise Unavailable("the log cannot be read now")
