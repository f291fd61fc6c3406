"""Reading the console of a run: from any line to its end, or following it as it is written."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from foundry.content import load_lines
from foundry.domain.entry import Entry, Event
from foundry.domain.errors import (
    AgentAccessDenied,
    GoingAway,
    NotFound,
    ProjectAccessDenied,
    SessionEnded,
    Unauthenticated,
)
from foundry.domain.run import LogLine, Run, RunState
from foundry.managers.access import readable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from foundry.clock import Clock
    from foundry.domain.events import News
    from foundry.domain.principal import Caller
    from foundry.managers.feed import Feed
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.runs import RunRepository

#: Lines that come one by one are gathered for this long: a message costs more than what is in it.
_LINGER_S = 0.025
#: A follower looks by itself this often: after a failover of the database nobody rings for what was before, seconds.
_LOOK_S = 10.0
#: What may take the right to read away from somebody.
_ACCESS = frozenset({Event.MEMBER_REMOVED, Event.MEMBER_SET, Event.POLICY_CHANGED})


class RunLogReader:
    """Reads consoles from the store, and rings at those who follow when there is more.

    Args:
        drain_s: Followers of a leaving server come back at a random time within this span.
    """

    def __init__(
        self, projects: SqlAlchemyProjectRepository, runs: RunRepository, feed: Feed, clock: Clock, *, drain_s: float
    ) -> None:
        self._projects = projects
        self._runs = runs
        self._feed = feed
        self._clock = clock
        self._drain_s = drain_s
        self._bells: dict[asyncio.Event, tuple[str, str]] = {}
        self._draining = False

    async def read(
        self,
        caller: Caller,
        project_id: str,
        run_id: str,
        *,
        from_line: int = 1,
        last_lines: int | None = None,
        to_line: int = 0,
        follow: bool = False,
    ) -> AsyncGenerator[tuple[LogLine, ...] | Run, None]:
        """Lines in order, in pieces, and at the end the run as it is then.

        Args:
            from_line: First line, from 1.
            last_lines: When given, begin with the last so many lines there are now.
            to_line: Last line, 0 for the end.
            follow: Go on until the run is finished or ``to_line`` is read.

        Raises:
            NotFound: No such run.
            Unauthenticated, SessionEnded: The token expired, or the caller may no longer read the project.
            GoingAway: While following: the server leaves.
        """
        await readable(self._projects, caller, project_id)
        run = await self._known(project_id, run_id)
        line = max(1, run.line_count - last_lines + 1) if last_lines is not None else from_line
        begins = True
        async with self._bell(project_id, run_id) as bell:
            while True:
                bell.clear()
                run = await self._seen(caller, project_id, run_id)  # behind the clear: what rings from here on is heard
                while line <= (min(run.line_count, to_line) if to_line else run.line_count):
                    lines = await self._lines(project_id, run_id, line, to_line)
                    line += len(lines)
                    begins = False
                    yield lines
                    # However slowly somebody reads: what they lost the right to they get no more of.
                    await self._check_right(caller, project_id)
                if not follow or run.state is not RunState.RUNNING or 0 < to_line < line:
                    yield await self._seen(caller, project_id, run_id)
                    return
                if begins:  # nothing yet: the reader is told at least that it follows
                    begins = False
                    yield ()
                await self._wait(bell, caller)

    async def _known(self, project_id: str, run_id: str) -> Run:
        run = await self._runs.get(project_id, run_id)
        if run is None:
            raise NotFound("run", run_id)
        return run

    async def _seen(self, caller: Caller, project_id: str, run_id: str) -> Run:
        """A run, with its lines up to now, of somebody who may still read it.

        The right is looked at last: what was stored after somebody lost it was not read yet.
        """
        run = await self._known(project_id, run_id)
        await self._check_right(caller, project_id)
        return run

    async def _lines(self, project_id: str, run_id: str, line: int, to_line: int) -> tuple[LogLine, ...]:
        chunk = await self._runs.chunk(project_id, run_id, line)
        if chunk is None:
            raise LookupError(f"line {line} of run {run_id} is missing")
        lines = load_lines(chunk.data)
        return lines[line - chunk.first : (to_line - chunk.first + 1) if to_line else None]

    @contextlib.asynccontextmanager
    async def _bell(self, project_id: str, run_id: str) -> AsyncGenerator[asyncio.Event, None]:
        await self._feed.watch(project_id)
        bell = asyncio.Event()
        self._bells[bell] = project_id, run_id
        try:
            yield bell
        finally:
            del self._bells[bell]
            self._feed.unwatch(project_id)

    async def _wait(self, bell: asyncio.Event, caller: Caller) -> None:
        """Wait for more, or for a reason to look or to stop."""
        if self._draining:
            raise GoingAway(self._drain_s)
        wait_s = _LOOK_S
        if caller.token_expire_time_us:
            wait_s = min(wait_s, max(0.0, (caller.token_expire_time_us - self._clock.now_us()) / 1_000_000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await bell.wait()
        if self._draining:
            raise GoingAway(self._drain_s)
        await asyncio.sleep(_LINGER_S)

    async def _check_right(self, caller: Caller, project_id: str) -> None:
        if 0 < caller.token_expire_time_us <= self._clock.now_us():
            raise Unauthenticated("TOKEN_EXPIRED", "the call's token expired")
        try:
            await readable(self._projects, caller, project_id)
        except (ProjectAccessDenied, AgentAccessDenied):
            raise SessionEnded("ACCESS_LOST", "you may no longer read this project") from None

    # --- the server ---

    def follow(self, feed: Feed) -> None:
        """Be rung by the feed."""
        feed.subscribe(self._receive)

    def _receive(self, news: News) -> None:
        if not self._bells:
            return
        if not isinstance(news, Entry):
            self._ring(news.project_id, news.run_id)
        elif news.new.event is Event.RUN_FINISHED:
            self._ring(news.log, str(news.new.data["run_id"]))
        elif news.new.event in _ACCESS:
            self._ring(news.log)

    def _ring(self, project_id: str, run_id: str = "") -> None:
        for bell, followed in self._bells.items():
            if followed[0] == project_id and run_id in {"", followed[1]}:
                bell.set()

    def drain(self) -> None:
        """Send every follower away; those that begin to wait later too."""
        self._draining = True
        for bell in self._bells:
            bell.set()
