"""What ends a session whose client is there: silence, an expired token; and what becomes of an idle lock."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from coreason.foundry.v1 import audit_pb2, lock_pb2
from foundry.client import Foundry
from tests.session.conftest import TurnedClock, with_settings
from tests.session.tab import TOKEN_TTL_S, Tab, Tabs

#: An hour: the life of a token that says nothing else.
HOUR_S = 3_600.0
#: Short enough to wait for, long enough for who says something ten times a second on a busy machine.
SILENCE_LIMIT_S = 3.0


# --- silence ---


@with_settings(liveness={"silence_limit_s": SILENCE_LIMIT_S})
async def test_a_silent_client_is_closed_and_one_with_heartbeats_is_not(tabs: Tabs, project: str) -> None:
    """Not a word for the silence limit: HEARTBEAT in the log, SESSION_SILENT as status, no grace."""
    watcher = await tabs.open("alice", project)
    silent = await tabs.open("bob", project, disconnect_grace={"seconds": 20})
    await watcher.command(heartbeat={})
    got = await silent.acquire()
    released = asyncio.create_task(watcher.until_entry("lock_released", lock_id=got.lock.lock_id))
    while not released.done():
        await watcher.command(heartbeat={"acknowledged": watcher.position})
        await asyncio.wait({released}, timeout=0.1)
    assert (await released).lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_HEARTBEAT
    closed = await watcher.until_entry("session_closed", session_id=silent.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_HEARTBEAT
    ending = await silent.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.ABORTED, "SESSION_SILENT")
    assert ending.details == {"session_id": silent.session_id}
    assert watcher.ending is None


@with_settings(liveness={"silence_limit_s": SILENCE_LIMIT_S})
@pytest.mark.parametrize("sign", ["an unreadable message", "a refused command"])
async def test_any_message_is_a_sign_of_life(tabs: Tabs, project: str, sign: str) -> None:
    """Also one that is refused: the client is there."""
    tab, silent = await tabs.open("alice", project), await tabs.open("bob", project)
    ended = asyncio.create_task(silent.ended())
    while not ended.done():
        if sign == "a refused command":
            await tab.refused(release_lock={"field": "topology", "fencing_token": 9})
        else:
            await tab.reply_to(0, b"\x0a\xff\xff")
        await asyncio.wait({ended}, timeout=0.1)
    assert tab.ending is None


@with_settings(liveness={"tick_interval_s": 0.1})
async def test_the_server_ticks_with_the_newest_position(tabs: Tabs, project: str) -> None:
    tab = await tabs.open("alice", project)
    got = await tab.acquire()
    tick = await tab.until(lambda event: event.tick.position.sequence >= got.position.sequence)
    assert tick.tick.position == got.position


# --- the token ---

#: The clock is put forward by more than a lock may be idle otherwise.
_NEVER_IDLE = with_settings(liveness={"idle_limit_s": 86_400.0})


@_NEVER_IDLE
async def test_a_session_ends_with_its_token(tabs: Tabs, project: str, clock: TurnedClock) -> None:
    watcher = await tabs.open("alice", project)
    tab = await tabs.open("bob", project, token={"ttl_seconds": int(HOUR_S)}, disconnect_grace={"seconds": 20})
    got = await tab.acquire()
    clock.put_forward(HOUR_S + 1)
    ending = await tab.ended()
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    closed = await watcher.until_entry("session_closed", session_id=tab.session_id)
    assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_TOKEN_EXPIRED
    entries = [entry for entry in watcher.entries if entry.lock_released.lock_id == got.lock.lock_id]
    assert [entry.lock_released.release_reason for entry in entries] == [lock_pb2.LOCK_RELEASE_REASON_ACCESS_LOST]
    assert watcher.ending is None


@_NEVER_IDLE
async def test_a_new_token_prolongs_the_session(tabs: Tabs, project: str, clock: TurnedClock) -> None:
    short = {"ttl_seconds": int(HOUR_S)}
    tab, control = [await tabs.open(subject, project, token=short) for subject in ("bob", "carol")]
    got = await tab.acquire()
    longer = tabs.server.token("bob", ttl_seconds=TOKEN_TTL_S)
    await tab.command(refresh_token={"token": longer})
    clock.put_forward(HOUR_S + 1)
    assert (await control.ended()).reason == "TOKEN_EXPIRED"
    # The control was looked at after it, or in the same round.
    assert (await tab.save(got, "still writing")).draft.author.subject == "bob"


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("carol", {}),
        ("bob", {"kind": "service"}),
        ("bob", {"kind": "agent", "on_behalf_of": "bob"}),
        ("bob", {"ttl_seconds": 60}),
        ("", {}),
    ],
    ids=["another subject", "another kind", "an agent for the subject", "expired by now", "no token at all"],
)
async def test_a_token_that_is_not_the_sessions_own_is_refused_and_the_session_goes_on(
    tabs: Tabs, project: str, clock: TurnedClock, subject: str, options: dict[str, object]
) -> None:
    tab = await tabs.open("bob", project)
    token = tabs.server.token(subject, **options) if subject else "rubbish"
    clock.put_forward(120)
    refusal = await tab.refused(refresh_token={"token": token})
    expected = "TOKEN_EXPIRED" if "ttl_seconds" in options else "TOKEN_INVALID"
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, expected)
    saved = await tab.save(await tab.acquire(), "as myself")
    assert saved.draft.author.subject == "bob"


# --- idle locks ---

_IDLE = with_settings(liveness={"idle_limit_s": 30.0, "idle_warning_s": 10.0})


async def _warning(tab: Tab, lock: lock_pb2.Lock, *, since: int = 0) -> lock_pb2.Lock:
    event = await tab.until(lambda event: event.idle_warning.lock.lock_id == lock.lock_id, since=since)
    return event.idle_warning.lock


@with_settings(liveness={"idle_limit_s": 60.0, "idle_warning_s": 20.0})
async def test_an_idle_lock_is_warned_about_once_and_then_released(
    tabs: Tabs, project: str, clock: TurnedClock
) -> None:
    """The holder alone is warned; the release is the server's, and the session goes on."""
    holder, watcher = await tabs.open("bob", project), await tabs.open("alice", project)
    got = await holder.acquire()
    clock.put_forward(10.0)
    younger = await holder.acquire("notes/a")
    clock.put_forward(35.0)
    warned = await _warning(holder, got.lock)
    assert warned.expire_time == got.lock.expire_time
    clock.put_forward(10.0)
    await _warning(holder, younger.lock)  # a later look, at which both were about to end
    clock.put_forward(20.0)
    released = await watcher.until_entry("lock_released", lock_id=got.lock.lock_id)
    assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_IDLE
    assert released.actor.subject == "system"
    assert "idle_warning" not in watcher.kinds
    assert holder.kinds.count("idle_warning") == 2
    assert (await holder.acquire()).lock.fencing_token == got.lock.fencing_token + 1


@_IDLE
@pytest.mark.parametrize("sign", ["touch", "renew", "save"])
async def test_a_touch_or_a_save_puts_the_idle_release_off(
    tabs: Tabs, bob: Foundry, project: str, clock: TurnedClock, sign: str
) -> None:
    """However short the limit is. A second lock, that nobody touches, shows that the first limit was over."""
    holder = await tabs.open("bob", project)
    got, control = await holder.acquire(), await holder.acquire("notes/idle")
    clock.put_forward(25.0)
    await _warning(holder, got.lock)
    since = len(holder.events)
    if sign == "touch":
        renewed = await holder.touch(got.lock)
        assert renewed.expire_time.ToMilliseconds() - got.lock.expire_time.ToMilliseconds() >= 24_000
    elif sign == "renew":
        await bob.locks.renew(project, "system_prompt", holder.session_id, got.lock.fencing_token)
    else:
        await holder.save(got, "autosaved", keep_locks=True)
    clock.put_forward(15.0)
    await holder.until_entry("lock_released", lock_id=control.lock.lock_id)
    clock.put_forward(10.0)
    again = await _warning(holder, got.lock, since=since)
    assert again.expire_time.ToMilliseconds() > got.lock.expire_time.ToMilliseconds()
    assert (await holder.acquire()).lock.lock_id == got.lock.lock_id
