"""Every server of an installation has the database's time, measured by its own spans."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from foundry.clock import SystemClock
from foundry.settings import Postgres
from foundry.store.postgres.clock import DatabaseClock
from foundry.store.postgres.database import PostgresDatabase
from tests.servers.postgres import PostgresServer
from tests.store.manual_clock import ManualClock

SECOND_US = 1_000_000


def test_before_the_first_reading_it_is_the_local_time() -> None:
    local = ManualClock()
    assert DatabaseClock(local).now_us() == local.now_us()


def test_it_shows_the_databases_time_and_goes_on_by_local_spans() -> None:
    """A local wall clock that is wrong, or is set, changes nothing."""
    local = ManualClock()
    clock = DatabaseClock(local)
    clock.observed(5_000 * SECOND_US, local.monotonic_s(), local.monotonic_s())
    assert clock.now_us() == 5_000 * SECOND_US
    local.step(-1_000_000)
    local.advance(1.5)
    assert clock.now_us() == 5_001_500_000
    assert clock.monotonic_s() == local.monotonic_s()


def test_a_reading_is_of_the_middle_of_its_round_trip() -> None:
    local = ManualClock()
    clock = DatabaseClock(local)
    before_s = local.monotonic_s()
    local.advance(0.08)
    clock.observed(1_000 * SECOND_US, before_s, local.monotonic_s())
    assert clock.now_us() == 1_000 * SECOND_US + 40_000


def test_a_slow_reading_says_too_little_to_be_believed() -> None:
    """Only the first of all is: something is better than the local clock."""
    local = ManualClock()
    clock = DatabaseClock(local)
    for known in (False, True):
        before_s = local.monotonic_s()
        local.advance(10.0)
        clock.observed(9_000 * SECOND_US, before_s, local.monotonic_s())
        expected = 9_010 if known else 9_005
        assert clock.now_us() == (expected + (5 if known else 0)) * SECOND_US


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.floats(0.0, 0.2), st.floats(0.0, 5.0)), max_size=20))
def test_it_never_runs_backwards(readings: list[tuple[int, float, float]]) -> None:
    """Whatever the database says, however long the question took, and however much time passes between."""
    local = ManualClock()
    clock = DatabaseClock(local)
    shown = 0
    for error_us, trip_s, pause_s in readings:
        before_s = local.monotonic_s()
        local.advance(trip_s)
        clock.observed(10**15 + int(before_s * SECOND_US) + error_us, before_s, local.monotonic_s())
        local.advance(pause_s)
        now_us = clock.now_us()
        assert now_us >= shown
        shown = now_us


async def test_a_server_learns_it_when_it_starts_and_with_every_look(postgres: PostgresServer) -> None:
    """A machine whose wall clock is an hour ahead shows the database's time all the same."""
    name = postgres.create_database()
    local = ManualClock(time.time_ns() // 1000 + 3_600 * SECOND_US)
    database = await PostgresDatabase.open(postgres.server_url(name), Postgres(pool_max=1), local)
    assert abs(database.clock.now_us() - SystemClock().now_us()) < 30 * SECOND_US
    local.advance(-500.0)  # the span of a machine that was suspended
    behind_us = database.clock.now_us()
    await database.look()
    assert database.clock.now_us() >= behind_us
    local.advance(0.0)
    assert abs(database.clock.now_us() - SystemClock().now_us()) < 30 * SECOND_US
    await database.close()
    postgres.drop_database(name)
