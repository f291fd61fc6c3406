"""Streams on which nothing was said yet: they end in time, without a trace, and hold up no server that leaves."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import grpc
import pytest

from foundry.rpc.stream import SessionStream
from tests.session.tab import Tabs
from tests.support import running_server, soon


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop has to say of tasks that nobody asked how they ended."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    return said


@pytest.fixture
async def waiting(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the server waits for the first message of a stream."""
    begun, first_message = asyncio.Event(), SessionStream._first_message

    async def tells(stream: SessionStream) -> Any:
        begun.set()
        return await first_message(stream)

    monkeypatch.setattr(SessionStream, "_first_message", tells)
    return begun


@pytest.mark.parametrize("goes", [True, False])
async def test_who_says_nothing_leaves_no_trace(
    data_dir: Path, waiting: asyncio.Event, complaints: list[dict[str, Any]], *, goes: bool
) -> None:
    """Refused in time, or gone before: the read that was under way fails with the call, and nobody is to be told."""
    async with running_server(data_dir, liveness={"open_limit_s": 0.05}) as server:
        tab = Tabs(server).raw()
        await soon(waiting.wait())
        if goes:
            await tab.cancel()
        else:
            assert (await tab.ended()).reason == "FIRST_MESSAGE_NOT_OPEN"
    gc.collect()
    assert complaints == []


async def test_a_server_that_leaves_sends_away_who_has_said_nothing(
    data_dir: Path, waiting: asyncio.Event, complaints: list[dict[str, Any]]
) -> None:
    """With a time to come back, and at once."""
    async with running_server(data_dir, liveness={"stop_grace_s": 120.0}) as server:
        tab = Tabs(server).raw()
        await soon(waiting.wait())
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, "GOING_AWAY")
    assert ending.retry_after_s
    gc.collect()
    assert complaints == []
