"""The feed: what was committed, here or by another server process, for whoever follows it in this one.

What this process commits it tells at once. Of what others commit the bus only rings, and what it was is read from the
store: nobody is told what the store does not hold. A ring may be lost, so once a second the feed looks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from foundry.domain.entry import Entry, Event
from foundry.domain.errors import Unavailable
from foundry.domain.events import LogGrew, RunGrew
from foundry.domain.run import RunLines
from foundry.metrics import LOCK_GRANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.coordination.ports import EventBus
    from foundry.domain.events import Committed, News, Ring
    from foundry.domain.session import History, Position
    from foundry.store.entries import EntryRepository
    from foundry.store.runs import RunRepository

_log = structlog.get_logger(__name__)

#: How long a lost ring can go unnoticed, seconds.
RECONCILE_S = 1.0
_READ_AT_ONCE = 500


@dataclass
class _Tail:
    """How far a watched log was told.

    Attributes:
        epoch: The history of the log that the numbers are of.
        last: Sequence number of the newest entry that was told, None until it is known where to begin.
        own: Sequence number of the newest entry of this process that was told before that was known.
        begun: What ``last`` was when it became known. What this process committed up to there is told by nobody else.
        known: Sequence number of the newest entry heard of.
        lines: By run, how many lines of its console were told of.
        moved: Set, and replaced, when ``last`` has risen or will not any more.
    """

    epoch: int
    watchers: int = 0
    last: int | None = None
    own: int = 0
    begun: int = 0
    known: int = 0
    reading: asyncio.Task[None] | None = None
    lines: dict[str, int] = field(default_factory=dict)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self) -> None:
        """Let everybody look who waits for ``last``."""
        self.moved.set()
        self.moved = asyncio.Event()


class Feed:
    """Tells receivers what was committed, the entries of a watched log in order and without gaps.

    Args:
        history: A log that has another one is followed anew: nobody who followed the old one does so any more.
        shared: Other processes may write to the store. If not, this one knows of everything by itself.
    """

    def __init__(
        self, bus: EventBus, entries: EntryRepository, runs: RunRepository, *, history: History, shared: bool
    ) -> None:
        self._bus = bus
        self._entries = entries
        self._runs = runs
        self._history = history
        self._shared = shared
        self._receivers: list[Callable[[News], None]] = []
        self._tails: dict[str, _Tail] = {}
        bus.subscribe(self._rung)

    # --- who follows ---

    def subscribe(self, receiver: Callable[[News], None]) -> None:
        """Call ``receiver`` on the event loop with each of the news from now on."""
        self._receivers.append(receiver)

    async def watch(self, project_id: str) -> None:
        """Follow a project from the entry on that is the newest now. Pair with ``unwatch``.

        Raises:
            Unavailable: The store cannot be read; nothing is watched then.
        """
        tail = self._tail(project_id) or _Tail(self._history.epoch)
        self._tails[project_id] = tail
        tail.watchers += 1
        try:
            await self.begin(project_id)
        except BaseException:
            self.unwatch(project_id)
            raise

    async def begin(self, log: str) -> None:
        """Find out where a watched log ends, if that is not known: also of another history that began meanwhile.

        Raises:
            Unavailable: The store cannot be read.
        """
        while (tail := self._tail(log)) and tail.last is None:
            epoch = self._history.epoch
            last = await self._entries.last_sequence(log)
            tail = self._tail(log)
            if tail and epoch == self._history.epoch:  # else it may be where the log of before ended
                self._begin(log, tail, last)

    def _begin(self, log: str, tail: _Tail, last: int) -> None:
        """It is known now where a log ends; what others wrote up to here nobody waits for."""
        if tail.last is None:
            tail.last = tail.begun = max(last, tail.own)
            tail.move()
            self._heard(log, tail.known)

    def unwatch(self, project_id: str) -> None:
        """Follow a project no longer, unless somebody else does."""
        tail = self._tails.get(project_id)
        if tail is None:
            return
        tail.watchers -= 1
        if not tail.watchers:
            del self._tails[project_id]
            self._over(tail)

    def _tail(self, log: str) -> _Tail | None:
        """The tail of a watched log. Of another history of it only who watches is kept, and it begins where it ends."""
        tail = self._tails.get(log)
        if tail and tail.epoch != self._history.epoch:
            self._over(tail)
            tail = self._tails[log] = _Tail(self._history.epoch, tail.watchers)
        return tail

    @staticmethod
    def _over(tail: _Tail) -> None:
        if tail.reading:
            tail.reading.cancel()
        tail.move()

    # --- who passes on what was read from the store ---

    def told(self, log: str, position: Position) -> bool:
        """Whether everything up to a position was told; if not, and the log is watched, it soon will be.

        What is read from the store may be ahead of what was told. Who passes it on looks at this first: an entry before
        it may end the stream it is for. Of another history nothing is told any more.
        """
        tail = self._tail(log)
        if tail is None or position.epoch != self._history.epoch:
            return position.epoch == self._history.epoch
        if tail.last is not None and tail.last >= position.sequence:
            return True
        self._heard(log, position.sequence)
        return False

    async def until_told(self, log: str, position: Position) -> None:
        """Wait until everything up to a position was told, or the log has another history."""
        while not self.told(log, position) and position.epoch == self._history.epoch:
            # Told means watched; and what could not be read now is asked for once more.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_S):
                    await self._tails[log].moved.wait()

    # --- what comes in ---

    def publish(self, news: Sequence[Committed]) -> None:
        """Spread what one commit of this process brought forth, in its order."""
        LOCK_GRANTS.inc(sum(isinstance(item, Entry) and item.new.event is Event.LOCK_ACQUIRED for item in news))
        for item in news:
            if isinstance(item, RunLines):
                if tail := self._tails.get(item.project_id):
                    last_line = item.first + len(item.lines) - 1
                    tail.lines[item.run_id] = max(last_line, tail.lines.get(item.run_id, 0))
                self._tell(item)
            else:
                self._own_entry(item)
        if self._shared:
            self._bus.ring([_ring(item) for item in news])

    def _own_entry(self, entry: Entry) -> None:
        tail = self._tail(entry.log)
        if tail is None:
            self._tell(entry)
        elif tail.last is None:
            tail.own = entry.sequence
            self._tell(entry)
        elif entry.sequence <= tail.begun:  # it was committed, and not told yet, when that was looked up
            self._tell(entry)
        elif not tail.reading and entry.sequence == tail.last + 1:
            tail.last = tail.known = entry.sequence
            self._tell(entry)
            tail.move()
        else:
            self._heard(entry.log, entry.sequence)

    def _rung(self, ring: Ring) -> None:
        if isinstance(ring, LogGrew):
            self._heard(ring.log, ring.sequence)
        elif isinstance(ring, RunGrew):
            self._grew(ring)

    def _heard(self, log: str, sequence: int) -> None:
        """There are entries up to this one: read those that were not told yet."""
        tail = self._tail(log)
        if tail is None:
            return
        tail.known = max(tail.known, sequence)
        if tail.last is not None and tail.known > tail.last:
            self._read_on(log, tail)

    def _grew(self, ring: RunGrew) -> None:
        tail = self._tails.get(ring.project_id)
        if tail and ring.line_count > tail.lines.get(ring.run_id, 0):
            tail.lines[ring.run_id] = ring.line_count
            self._tell(ring)

    def _read_on(self, log: str, tail: _Tail) -> None:
        if tail.reading is None:
            tail.reading = asyncio.create_task(self._read(log, tail))

    async def _read(self, log: str, tail: _Tail) -> None:
        try:
            while tail.last is not None and tail.known > tail.last:
                entries = await self._entries.after(log, tail.last, _READ_AT_ONCE)
                if tail.epoch != self._history.epoch:
                    return
                for entry in entries:
                    tail.last = entry.sequence
                    self._tell(entry)
                tail.move()
                if not entries:  # heard of before it can be seen: the next look finds it
                    return
        except Unavailable:
            _log.debug("feed_postponed", log=log)
        finally:
            tail.reading = None

    def _tell(self, news: News) -> None:
        for receiver in self._receivers:
            try:
                receiver(news)
            except Exception:  # noqa: BLE001 - one receiver must not starve the others
                _log.exception("receiver_failed", kind=type(news).__name__)

    # --- the server ---

    async def run(self) -> None:
        """Look once a second for what no ring told of; for as long as the server runs."""
        while self._shared:
            await asyncio.sleep(RECONCILE_S)
            with contextlib.suppress(Unavailable):
                await self.reconcile()

    async def reconcile(self) -> None:
        """Compare what was told of the watched projects with the store."""
        watched = list(self._tails)
        if not watched:
            return
        epoch = self._history.epoch
        ends = await self._entries.last_sequences(watched)
        if epoch != self._history.epoch:  # they may be those of the logs of before
            return
        for log, sequence in ends:
            if tail := self._tail(log):
                self._begin(log, tail, sequence)  # of another history; whoever watched the one before looks again
            self._heard(log, sequence)
        for project_id, run_id, line_count in await self._runs.line_counts(watched):
            self._grew(RunGrew(project_id, run_id, line_count))


def _ring(item: Committed) -> Ring:
    if isinstance(item, RunLines):
        return RunGrew(item.project_id, item.run_id, item.first + len(item.lines) - 1)
    return LogGrew(item.log, item.sequence)
