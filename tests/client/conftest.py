"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from foundry.client import Foundry, ResumeState, Session, Token, connect
from foundry.client.live.pulse import Timing
from foundry.client.live.reconnect import Reconnect
from tests.client.scripted import ScriptedServer, scripted_server

TOKEN = "first-token"

NewSession = Callable[..., Session]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def foundry(scripted: ScriptedServer) -> AsyncIterator[Foundry]:
    async with connect(scripted.target, TOKEN) as connected:
        yield connected


@pytest.fixture
def new_session(foundry: Foundry) -> NewSession:
    """Makes sessions that come back at once: unless told otherwise, their jitter is always 0."""

    def make(
        *,
        token: Token = TOKEN,
        timing: Timing | None = None,
        resume: ResumeState | None = None,
        jitter: float = 0.0,
    ) -> Session:
        reconnect = Reconnect(jitter=lambda: jitter)
        session = Session(foundry._start, token, "p1", reconnect=reconnect, timing=timing, resume=resume)
        foundry._live.add(session)
        return session

    return make
