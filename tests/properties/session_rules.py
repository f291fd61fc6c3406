"""The rules of the workspace's state machine that are about sessions: they come, go, get lost and come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from coreason.foundry.v1 import session_command_pb2
from foundry.client import FoundryError
from tests.properties.model import Model, Tab
from tests.properties.world import OWNER, PEOPLE, World
from tests.support import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Sequence

    from tests.stories.raw import RawStream

T = TypeVar("T")
SESSIONS_MAX = 5

#: Which one of several, the newest more often.
picks = st.one_of(st.integers(0, 2), st.integers(0, 999))
people = st.sampled_from(PEOPLE)
graces_s = st.sampled_from([0, 30, 30])
tab_ids = st.sampled_from(["", "tab"])
#: Which server a stream goes to; with one server it is always that one.
servers = st.integers(0, 1)


def pick(items: Sequence[T], number: int) -> T:
    """One of the items, the newest for 0."""
    return items[-1 - number % len(items)]


async def outcome_of(asked: Awaitable[T]) -> tuple[str, T | None]:
    """The reason of a refusal, or nothing and the answer."""
    try:
        return "", await asked
    except FoundryError as refusal:
        return refusal.reason, None


class SessionRules(RuleBasedStateMachine):
    """Sessions of three people in one project of a running server."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._model = Model()
        self._streams: dict[str, RawStream] = {}
        self._project_id = self._run(world.project())
        self._watcher = self._run(self._watching())

    async def _watching(self) -> RawStream:
        stream = self._world.stream(OWNER)
        await stream.open(self._project_id)
        return stream

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._world.run(work)

    # --- sessions ---

    def _tabs(self, *states: str) -> list[Tab]:
        return [tab for tab in self._model.tabs.values() if not states or tab.state in states]

    async def _open(self, tab: Tab, at: int, *, resume: tuple[str, str] | None = None, by: str = "") -> str:
        """Open or resume at a server; returns the refusal. The session's id and secret are the stream's."""
        stream = self._world.stream(by or tab.who, at)
        opening = stream.open(self._project_id, tab_id=tab.tab_id, grace_s=tab.grace_s, resume=resume)
        refusal, _ = await outcome_of(opening)
        if not refusal:
            tab.session_id = stream.session_id
            tab.secrets.append(stream.opened.resume_secret)
            self._streams[tab.session_id] = stream
        return refusal

    async def _opened(self, tab: Tab) -> None:
        for superseded in self._model.opened(tab):
            await self._stream_ends(superseded, "SESSION_SUPERSEDED")

    async def _stream_ends(self, tab: Tab, reason: str) -> None:
        stream = self._streams.pop(tab.session_id, None)
        if stream:
            assert (await outcome_of(stream.ended()))[0] == reason

    @initialize(tabs=st.lists(st.tuples(people, tab_ids, graces_s, servers), min_size=1, max_size=3))
    def begin(self, tabs: list[tuple[str, str, int, int]]) -> None:
        """Somebody is there."""
        for tab in tabs:
            self.open_session(*tab)

    @precondition(lambda self: len(self._tabs("attached", "detached")) < SESSIONS_MAX)
    @rule(who=people, tab_id=tab_ids, grace_s=graces_s, at=servers)
    def open_session(self, who: str, tab_id: str, grace_s: int, at: int) -> None:
        """A newer session of the same person and tab takes the older one's place."""

        async def work() -> None:
            tab = Tab("", who, tab_id, grace_s, [])
            assert await self._open(tab, at) == ""
            await self._opened(tab)

        self._run(work())

    @precondition(lambda self: self._tabs())
    @rule(number=picks, secret=st.sampled_from([0, 0, 0, 1]), stranger=st.booleans(), at=servers)
    def resume(self, number: int, secret: int, stranger: bool, at: int) -> None:
        """Only with the newest secret and only by the same person; a session that has ended gives a new one.

        At whichever server: the stream that another one has is superseded, and its end does no harm.
        """
        tab = pick(self._tabs(), number)
        by = pick([who for who in PEOPLE if who != tab.who], number) if stranger and number % 3 == 0 else tab.who
        shown = tab.secrets[-1] if secret == 0 else pick([*tab.secrets[:-1], "never issued"], number)
        expected = self._model.resume(tab, by, shown)

        async def work() -> None:
            resume = (tab.session_id, shown)
            if expected == "NEW":
                new = Tab("", tab.who, tab.tab_id, tab.grace_s, [])
                assert await self._open(new, at, resume=resume) == ""
                assert new.session_id != tab.session_id
                await self._opened(new)
                return
            before = self._streams.get(tab.session_id)
            session_id = tab.session_id
            assert await self._open(tab, at, resume=resume, by=by) == expected
            if not expected:
                assert tab.session_id == session_id
                tab.state = "attached"
                if before:
                    assert (await outcome_of(before.ended()))[0] == "SESSION_SUPERSEDED"

        self._run(work())

    @precondition(lambda self: self._tabs("attached"))
    @rule(number=picks, at_once=st.booleans(), at=servers)
    def lose_stream(self, number: int, at_once: bool, at: int) -> None:
        """Without grace the session is closed; with it, it keeps its locks, also if it is back before it was missed.

        Back at another server, it is there before the first one has torn the old stream down.
        """

        async def work(tab: Tab, stream: RawStream) -> None:
            stream.drop()
            if not tab.grace_s:
                await self._is_closed(tab)
            elif at_once:
                assert await self._open(tab, at, resume=(tab.session_id, tab.secrets[-1])) == ""
            else:
                await self._is_detached(tab)
                tab.state = "detached"

        tab = pick(self._tabs("attached"), number)
        self._run(work(tab, self._streams.pop(tab.session_id)))
        if not tab.grace_s:
            self._model.closed(tab, "GONE")

    @precondition(lambda self: self._tabs("attached", "detached"))
    @rule(number=picks, who=st.one_of(st.none(), people))
    def end_session(self, number: int, who: str | None) -> None:
        """By leaving, whatever grace was asked for; or by a call: everybody their own, the owner anyone's."""
        tab = pick(self._tabs("attached", "detached"), number)

        async def leave() -> None:
            stream = self._streams[tab.session_id]
            await stream.send(leave=session_command_pb2.Leave())
            await self._stream_ends(tab, "")
            await self._is_closed(tab)
            self._model.closed(tab, "LEFT")

        async def end(who: str) -> None:
            refusal, _ = await outcome_of(self._world.clients[who].sessions.end(self._project_id, tab.session_id))
            assert refusal == ("" if who in {OWNER, tab.who} else "ROLE_TOO_LOW")
            if not refusal:
                self._model.closed(tab, "SESSION_ENDED")
                await self._stream_ends(tab, "SESSION_ENDED")

        self._run(end(who or tab.who) if who or tab.state == "detached" else leave())

    async def _is_detached(self, tab: Tab) -> None:
        """Wait until its server has noticed. Whether the others are told depends on how soon it comes back."""
        sessions, detached = self._world.clients[OWNER].sessions, False
        async with asyncio.timeout(PATIENCE_S):
            while not detached:
                listed = {it.session_id: it.detached async for it in sessions.list(self._project_id)}
                detached = listed[tab.session_id]

    async def _is_closed(self, tab: Tab) -> None:
        await self._watcher.until(lambda event: event.entry.session_closed.session_id == tab.session_id)
