"""A console over a real store, on time that the test owns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from foundry.coordination.memory import MemoryEventBus
from foundry.domain.events import News, RunGrew, RunLogEvent, SessionEvent
from foundry.domain.run import LogLine, Run, RunState
from foundry.managers.console import Console, Follower
from foundry.managers.feed import Feed
from foundry.managers.runs import WantedRun
from tests.managers.conftest import OwnedTimeLoop
from tests.managers.workspace import ALICE, Workspace


@dataclass
class Lane:
    """A console over a real store, with followers that count how often they are woken.

    Attributes:
        losing: What comes over the bus is lost, by how many things came before it.
        encoded: The events that were encoded, in order.
        woken: How often each follower was woken since it came, by its number.
    """

    workspace: Workspace
    project_id: str
    losing: set[int] = field(default_factory=set)
    encoded: list[RunLogEvent] = field(default_factory=list)
    woken: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        store, history = self.workspace.store, self.workspace.database
        self._relay = Feed(MemoryEventBus(), store.entries, store.runs, history=history, shared=False)
        self.console = Console(store.runs, store.entries, self._relay, self._encode, history=history)
        self.came = 0
        self.console.follow(self._relay)
        self.workspace.feed.subscribe(self._pass_on)

    def _pass_on(self, news: News) -> None:
        if self.came not in self.losing:
            assert not isinstance(news, RunGrew)
            self._relay.publish([news])
        self.came += 1

    def _encode(self, event: SessionEvent) -> bytes:
        assert isinstance(event, RunLogEvent)
        self.encoded.append(event)
        numbers = f"{event.lines[0].number}-{event.lines[-1].number}" if event.lines else "end"
        return f"[{event.run_id[-4:]} {numbers}]".encode()

    async def follower(self, **seen: int) -> Follower:
        """Somebody who follows, and has taken what there was."""
        at = len(self.woken)
        self.woken.append(0)

        def wake() -> None:
            self.woken[at] += 1

        follower = await self.console.attach(self.project_id, 1, seen, wake)
        self.woken[at] = 0
        return follower

    async def run(self) -> Run:
        """A new run."""
        return (await self.workspace.runs.start(ALICE, self.project_id, WantedRun())).run

    async def rung(self, run: Run, line_count: int) -> None:
        """Hear from another process how many lines a run has, and let everybody be told who is to be told of it."""
        self.console._receive(RunGrew(self.project_id, run.run_id, line_count))
        await owned_time().advance(1)

    async def append(self, run: Run, first: int, count: int = 1, *, text: str = "") -> None:
        """Append lines, and let everybody be told who is to be told now."""
        lines = [LogLine(number, text) for number in range(first, first + count)]
        await self.workspace.runs.append(ALICE, self.project_id, run.run_id, lines)
        await owned_time().advance(0)

    async def finish(self, run: Run) -> None:
        """Finish a run, and let everybody be told who is to be told now."""
        await self.workspace.runs.finish(ALICE, self.project_id, run.run_id, RunState.PASSED)
        await owned_time().advance(0)


def owned_time() -> OwnedTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, OwnedTimeLoop)
    return loop
