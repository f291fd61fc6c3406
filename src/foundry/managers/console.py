"""The console lane of session streams: every follower has a cursor into the stored lines of each run.

Lines are stored before anybody sees them, so there is one source for those who watch live and those who come late, and
no seam between: a follower asks for the piece that begins at its next line. What was just stored is still at hand,
encoded once for everybody; what is older is read from the store. A follower that reads slowly is simply further behind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from cachetools import LRUCache

from foundry.content import load_lines
from foundry.domain.entry import Entry, Event
from foundry.domain.events import RunLogEvent
from foundry.domain.run import RunLines, RunState
from foundry.domain.session import Position
from foundry.managers.channel import linger_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from foundry.domain.events import News, RunGrew, SessionEvent
    from foundry.domain.session import History
    from foundry.managers.feed import Feed
    from foundry.store.entries import EntryRepository
    from foundry.store.runs import RunRepository

#: Encoded pieces that are kept for followers, of all runs together.
_PIECES_BYTES_MAX = 32 * 1024 * 1024
#: Runs whose end is remembered: news of a run may overtake each other, by seconds at most.
_OVER_MAX = 2_000
#: People do not see single lines at a higher pace, and a message costs more than what is in it.
_LINGER_S_MIN = 0.025


class Piece(NamedTuple):
    """A part of what is to be told of a run.

    Attributes:
        event: Lines, or the end of the run; encoded.
        next_line: Number of the line behind them; 0 behind the end.
        position: Where the project's log was when they were stored, or later.
    """

    event: bytes
    next_line: int
    position: Position


class Follower:
    """What one session has seen of the runs it follows.

    Args:
        epoch: The history of the log that the session belongs to; of another one it is told nothing.
        seen: Lines that it has seen before, by run.
        wake: Called when there is something to take.
    """

    def __init__(
        self, console: Console, project_id: str, epoch: int, seen: Mapping[str, int], wake: Callable[[], None]
    ) -> None:
        self.project_id = project_id
        self.epoch = epoch
        self._seen = seen
        self.wake = wake
        #: Number of the next line, by run.
        self.next_lines: dict[str, int] = {}
        #: Runs whose end it was told: what is heard of them late is not for it.
        self.over: LRUCache[str, None] = LRUCache(_OVER_MAX)
        #: Runs that may have something new, in the order they are served.
        self.ready: dict[str, None] = {}
        #: Runs whose next piece waits until the entries before it are told.
        self.held: dict[str, None] = {}
        self._console = console

    def begin(self, run_id: str) -> None:
        """Follow a run from the first line on that was not seen, unless it is followed or its end was told."""
        if run_id not in self.over:
            self.next_lines.setdefault(run_id, self._seen.get(run_id, 0) + 1)

    def catch_up(self, run_ids: Iterable[str]) -> None:
        """Follow runs that were started before, and look what there is of them."""
        for run_id in run_ids:
            self.begin(run_id)
            if run_id in self.next_lines:
                self.ready[run_id] = None
        self.wake()

    def told(self) -> None:
        """Look again at what was held: an entry was told."""
        if self.held:
            self.ready.update(self.held)
            self.held.clear()
            self.wake()

    async def take(self, bytes_max: int) -> bytes:
        """Encoded events, about ``bytes_max`` bytes of them; empty when nothing is new."""
        taken: list[bytes] = []
        size = 0
        while self.ready and size < bytes_max:
            run_id = next(iter(self.ready))
            del self.ready[run_id]
            piece = await self._console.piece(self.project_id, run_id, self.next_lines[run_id])
            if piece is None or piece.position.epoch != self.epoch:
                continue
            if not self._console.told(self.project_id, piece.position):
                self.held[run_id] = None
                continue
            if piece.next_line:
                self.next_lines[run_id] = piece.next_line
                self.ready[run_id] = None  # behind the others: runs take turns
            else:  # over, though more may have been heard of it while it was looked at
                del self.next_lines[run_id]
                self.ready.pop(run_id, None)
                self.held.pop(run_id, None)
                self.over[run_id] = None
            taken.append(piece.event)
            size += len(piece.event)
        return b"".join(taken)


class Console:
    """Feeds followers.

    Args:
        encode: Turns an event into bytes of a stream message with this one event.
    """

    def __init__(
        self,
        runs: RunRepository,
        entries: EntryRepository,
        feed: Feed,
        encode: Callable[[SessionEvent], bytes],
        *,
        history: History,
    ) -> None:
        self._runs = runs
        self._entries = entries
        self._feed = feed
        self._history = history
        self._encode = encode
        self._followers: dict[str, list[Follower]] = {}
        self._pieces: LRUCache[tuple[str, int], Piece] = LRUCache(_PIECES_BYTES_MAX, getsizeof=_size)
        #: Number of the line behind the newest that was heard of, by project and running run; 0 when it is not known.
        self._heads: dict[str, dict[str, int]] = {}
        #: Runs that were heard of before their start was told, or long after their end: lines come beside the log.
        self._early: LRUCache[str, None] = LRUCache(_OVER_MAX)
        #: Runs whose end was told.
        self._over: LRUCache[str, None] = LRUCache(_OVER_MAX)
        self._dirty: dict[str, set[str]] = {}
        self._flushed_s: dict[str, float] = {}

    # --- followers ---

    async def attach(self, project_id: str, epoch: int, seen: Mapping[str, int], wake: Callable[[], None]) -> Follower:
        """A follower of all runs of a project: of those that run, and of those it has not seen the end of.

        Args:
            epoch: The history of the log that its session belongs to.
            seen: Lines already seen, by run.
        """
        follower = Follower(self, project_id, epoch, seen, wake)
        # It listens first and looks then, so that no run is started unseen in between.
        self._followers.setdefault(project_id, []).append(follower)
        try:
            for run in await self._runs.running(project_id):
                follower.begin(run.run_id)
                if run.run_id not in self._over:  # its end may have been told while it was looked up
                    self._heads.setdefault(project_id, {}).setdefault(run.run_id, 0)
            for run_id in seen:
                if run_id not in follower.next_lines and await self._runs.get(project_id, run_id):
                    follower.begin(run_id)
        except BaseException:
            self.detach(follower)
            raise
        follower.ready.update(dict.fromkeys(follower.next_lines))
        wake()
        return follower

    def detach(self, follower: Follower) -> None:
        """Nothing more is to be told to a follower. Idempotent."""
        followers = self._followers.get(follower.project_id, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(follower.project_id, None)
            self._flushed_s.pop(follower.project_id, None)
            self._heads.pop(follower.project_id, None)  # nobody keeps it current from here on

    # --- what comes in ---

    def follow(self, feed: Feed) -> None:
        """Serve the followers from the feed."""
        feed.subscribe(self._receive)

    def _receive(self, news: News) -> None:
        if isinstance(news, Entry):
            self._told(news)
        else:
            self._grew(news)

    def _grew(self, news: RunLines | RunGrew) -> None:
        project_id = news.project_id
        if project_id not in self._followers:
            return
        if isinstance(news, RunLines):
            next_line = news.first + len(news.lines)
            event = self._encode(RunLogEvent(news.run_id, news.lines))
            self._pieces[news.run_id, news.first] = Piece(event, next_line, news.position)
        else:
            next_line = news.line_count + 1
        heads = self._heads.get(project_id, {})
        if news.run_id in heads:
            heads[news.run_id] = max(next_line, heads[news.run_id])
        else:
            self._early[news.run_id] = None
        self._soon(project_id, news.run_id)

    def _told(self, entry: Entry) -> None:
        project_id, event = entry.log, entry.new.event
        followers = self._followers.get(project_id, [])
        if event is Event.RUN_STARTED and followers:
            run_id = str(entry.new.data["run_id"])
            heads = self._heads.setdefault(project_id, {})
            heard = run_id in self._early or run_id in heads
            heads.setdefault(run_id, 0)  # how far it is the store knows, even if nothing was heard of it here
            for follower in followers:
                follower.begin(run_id)
            if heard:
                self._soon(project_id, run_id)
        elif event is Event.RUN_FINISHED:
            run_id = str(entry.new.data["run_id"])
            self._over[run_id] = None
            self._heads.get(project_id, {}).pop(run_id, None)
            if followers:
                self._soon(project_id, run_id)
        for follower in followers:
            follower.told()

    def _soon(self, project_id: str, run_id: str) -> None:
        """Wake the followers of a project: at once when it was quiet, else when the linger is over."""
        dirty = self._dirty.get(project_id)
        if dirty is not None:
            dirty.add(run_id)
            return
        self._dirty[project_id] = {run_id}
        loop = asyncio.get_running_loop()
        wait_s = max(_LINGER_S_MIN, linger_s(len(self._followers[project_id])))
        due_s = self._flushed_s.get(project_id, float("-inf")) + wait_s
        if loop.time() >= due_s:
            loop.call_soon(self._flush, project_id)
        else:
            loop.call_at(due_s, self._flush, project_id)

    def _flush(self, project_id: str) -> None:
        dirty = self._dirty.pop(project_id, set())
        followers = self._followers.get(project_id, [])
        if followers:
            self._flushed_s[project_id] = asyncio.get_running_loop().time()
        for follower in followers:
            for run_id in dirty & follower.next_lines.keys():
                follower.ready[run_id] = None
            if follower.ready:
                follower.wake()

    # --- what goes out ---

    async def piece(self, project_id: str, run_id: str, line: int) -> Piece | None:
        """The piece that begins with a line, or the end of a run behind its last line; None when there is none yet."""
        found = self._pieces.get((run_id, line))
        if found and found.position.epoch == self._history.epoch:
            return found
        if self._heads.get(project_id, {}).get(run_id) == line:
            return None  # up to date, as nearly everybody is after each piece: not worth a look into the store
        return await self._stored(project_id, run_id, line)

    def told(self, project_id: str, position: Position) -> bool:
        """Whether who lost the right to see what was stored at a position was told so; see ``Feed.told``."""
        return self._feed.told(project_id, position)

    async def _stored(self, project_id: str, run_id: str, line: int) -> Piece | None:
        epoch = self._history.epoch
        # The run first: if it is finished, the lines that are read behind it are all there are.
        run = await self._runs.get(project_id, run_id)
        chunk = await self._runs.chunk(project_id, run_id, line)
        if chunk:
            event = self._encode(RunLogEvent(run_id, load_lines(chunk.data)[line - chunk.first :]))
            piece = Piece(event, chunk.first + chunk.line_count, Position(epoch, chunk.sequence))
            self._pieces[run_id, line] = piece
            return piece
        if run and run.state is not RunState.RUNNING:
            position = Position(epoch, await self._entries.last_sequence(project_id))
            piece = self._pieces[run_id, line] = Piece(self._encode(RunLogEvent(run_id, finished=run)), 0, position)
            return piece
        return None


def _size(piece: Piece) -> int:
    return len(piece.event)
