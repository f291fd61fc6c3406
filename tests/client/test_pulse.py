"""The lease on the locks, and jeopardy."""

from __future__ import annotations

import asyncio

import pytest

from foundry.client.live.pulse import Pulse, Timing
from tests.client.scripted import soon


async def test_the_lease_counts_from_sending_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server saw the heartbeat no earlier than it was sent, but maybe long before its answer arrived."""
    lapsed = asyncio.Event()
    pulse = Pulse(Timing(lease_s=9), lapsed.set)
    pulse.beat(1)
    loop = asyncio.get_running_loop()
    real_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_time() + 8.95)
    assert pulse.answered(1)
    assert not lapsed.is_set()
    await soon(lapsed.wait())


async def test_only_heartbeats_of_this_stream_renew_the_lease() -> None:
    pulse = Pulse(Timing(), lambda: None)
    pulse.beat(1)
    pulse.new_stream()
    pulse.beat(2)
    assert not pulse.answered(1)
    assert not pulse.answered(3)
    assert pulse.answered(2)
    assert not pulse.answered(2)
    pulse.stop()


async def test_jeopardy_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    pulse = Pulse(Timing(jeopardy_s=6), lambda: None)
    pulse.start()
    assert not pulse.jeopardy
    loop = asyncio.get_running_loop()
    real_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_time() + 6.5)
    assert pulse.jeopardy


def test_a_silent_server_is_left_before_others_give_it_up() -> None:
    timing = Timing()
    assert timing.jeopardy_s < timing.silence_s < timing.lease_s < 10


async def test_what_is_left_of_a_silent_session_is_time_enough_to_open_or_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulse = Pulse(Timing(open_s=20.0), lambda: None)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    pulse.start()
    assert pulse.open_limit_s(0.0) == 20.0
    assert pulse.open_limit_s(15.0) == 15.0
    monkeypatch.setattr(loop, "time", lambda: now + 14.0)
    assert pulse.open_limit_s(15.0) == 2.0
    monkeypatch.setattr(loop, "time", lambda: now + 15.0)
    assert pulse.open_limit_s(15.0) == 20.0
    monkeypatch.undo()
