"""The picture of a project on a terminal, kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from foundry.cli.dashboard import dashboard
from foundry.cli.live import beside
from foundry.cli.picture import KEPT_ENTRIES, KEPT_VERSIONS, Picture
from foundry.cli.remarks import RemarkReader
from foundry.cli.tails import KEPT_LINES, KEPT_RUNS

if TYPE_CHECKING:
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from foundry.client import Foundry, Session

T = TypeVar("T")

#: The shortest time between two pictures, and the longest, seconds.
_FRAME_S: Final = 0.1
_STILL_S: Final = 1.0

#: How much longer than drawing the pause after it is, so that drawing takes no more than a fifth of a core.
_REST: Final = 4.0

#: Entries of the log that are read from before.
_RECENT_ENTRIES: Final = KEPT_ENTRIES // 2

# A line that a terminal finds longer than we do must not run over into the next one.
_WRAP_OFF: Final = "\x1b[?7l"
_WRAP_ON: Final = "\x1b[?7h"


class Screen:
    """Shows a project on a terminal.

    Args:
        console: The terminal.
        foundry: The connection.
        session: A session in the project that follows runs.
        project_id: The project.
    """

    def __init__(self, console: Console, foundry: Foundry, session: Session, project_id: str) -> None:
        self._console = console
        self._foundry = foundry
        self._session = session
        self._project_id = project_id
        self._picture = Picture()
        self._changed = asyncio.Event()
        self._missed = asyncio.Event()
        self._reader = RemarkReader(foundry, project_id, self._picture.remarks, changed=self._changed.set)

    async def show(self, news: AsyncIterator[ServerEvent]) -> None:
        """Show it until the session ends. Args: news are the events from before the session was open."""
        with Live(Text(), console=self._console, auto_refresh=False, screen=True) as screen:
            self._console.file.write(_WRAP_OFF)
            try:
                async with beside(self._draw(screen), self._reader.run(), self._remember(), self._catch_up()):
                    async for event in news:
                        self._take(event)
            finally:
                self._console.file.write(_WRAP_ON)
                self._console.file.flush()

    def _take(self, event: ServerEvent) -> None:
        match event.WhichOneof("event"):
            case "tick":
                return
            case "entry":
                self._picture.add(event.entry)
                self._reader.hear(event.entry)
            case "run_log":
                self._picture.consoles.take(event.run_log)
            case "resync" | "snapshot":
                self._reader.start_over()
                self._missed.set()
        self._changed.set()

    async def _draw(self, screen: Live) -> None:
        """Draw what has changed, and every second how long things last; never more often than people can see."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            began = loop.time()
            screen.update(self._drawn(), refresh=True)
            await asyncio.sleep(max(_FRAME_S, _REST * (loop.time() - began)))
            with suppress(TimeoutError):
                async with asyncio.timeout(_STILL_S):
                    await self._changed.wait()

    def _drawn(self) -> Text:
        self._picture.look(self._session)
        width, height = self._console.size
        ascii_only = not self._console.encoding.startswith("utf")
        return dashboard(self._picture, width=width, height=height, now=datetime.now(UTC), ascii_only=ascii_only)

    async def _catch_up(self) -> None:
        """Whenever events were missed, learn how the runs ended whose end was among them."""
        from foundry.client import FoundryError

        while True:
            await self._missed.wait()
            self._missed.clear()
            for run_id in self._picture.consoles.unaccounted(self._session.state.runs):
                with suppress(FoundryError):
                    self._picture.consoles.know(await self._foundry.runs.get(self._project_id, run_id))
            self._changed.set()

    async def _remember(self) -> None:
        """Read what was before: the end of the log, the newest versions, and the runs that were finished last."""
        from foundry.client import FoundryError

        picture, foundry, project_id = self._picture, self._foundry, self._project_id
        head = self._session.position.sequence
        with suppress(FoundryError):  # what happens from now on is shown all the same
            before = foundry.audit.entries(project_id, after_sequence=max(0, head - _RECENT_ENTRIES), page_size=100)
            entries = [entry async for entry in before]
            picture.remember(
                entries, await _first(foundry.drafts.list(project_id, page_size=KEPT_VERSIONS), KEPT_VERSIONS)
            )
            self._changed.set()
            runs = await _first(foundry.runs.list(project_id, page_size=KEPT_RUNS), KEPT_RUNS)
            for run in runs:
                if run.HasField("finish_time"):
                    picture.consoles.know(run)
            self._changed.set()
            if runs and runs[0].HasField("finish_time"):
                newest = runs[0].run_id
                async for line in foundry.runs.read_log(project_id, newest, last_lines=KEPT_LINES):
                    picture.consoles.show(newest, line)
                self._changed.set()


async def _first(items: AsyncIterator[T], count: int) -> list[T]:
    """Return the first items of a list that may be long."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == count:
            break
    return found
