"""The back-off between streams."""

from __future__ import annotations

import grpc
import pytest

from foundry.client import FoundryError, SessionSuperseded, Unauthenticated, Unavailable
from foundry.client.live.reconnect import Reconnect

BROKEN = Unavailable()


def attached(jitter: float = 1.0) -> Reconnect:
    reconnect = Reconnect(jitter=lambda: jitter)
    reconnect.attached()
    return reconnect


def test_the_window_stays_short_while_locks_may_be_kept_then_doubles_to_thirty() -> None:
    """Twelve seconds after its restart a server lets go of lost sessions; clients must have been there by then."""
    reconnect = attached()
    delays = [reconnect.delay_after(BROKEN, lasted_s=0) for _ in range(12)]
    assert delays == [0.5, 1, 2, 4, 4, 4, 4, 4, 8, 16, 30, 30]


def test_the_jitter_is_full() -> None:
    """Somewhere between at once and the whole window, so that clients of one server spread out."""
    assert attached(0.0).delay_after(BROKEN, lasted_s=0) == 0
    assert attached(0.25).delay_after(BROKEN, lasted_s=0) == 0.125


def test_only_a_healthy_stream_starts_the_window_anew() -> None:
    reconnect = attached()
    for _ in range(3):
        reconnect.delay_after(BROKEN, lasted_s=0)
    assert reconnect.delay_after(BROKEN, lasted_s=29.9) == 4
    assert reconnect.delay_after(BROKEN, lasted_s=30) == 0.5


def test_the_first_attempt_after_going_away_falls_within_the_announced_span() -> None:
    reconnect = attached(0.5)
    assert reconnect.within(8) == 4
    assert reconnect.delay_after(BROKEN, lasted_s=0, announced_s=3.5) == 3.5
    status = Unavailable(reason="GOING_AWAY", retry_after_s=6)
    assert reconnect.delay_after(status, lasted_s=0) == 3
    assert reconnect.delay_after(status, lasted_s=0) == 6.5  # not there yet: backs off as well


def test_a_retry_info_is_waited_for() -> None:
    assert attached().delay_after(Unavailable(retry_after_s=10), lasted_s=0) == 10.5


@pytest.mark.parametrize("error", [SessionSuperseded(reason="SESSION_SUPERSEDED"), Unauthenticated()])
def test_final_ends_are_raised(error: FoundryError) -> None:
    with pytest.raises(type(error)) as raised:
        attached().delay_after(error, lasted_s=0)
    assert raised.value is error


def test_going_away_does_not_overrule_a_final_end() -> None:
    with pytest.raises(Unauthenticated):
        attached().delay_after(Unauthenticated(), lasted_s=0, announced_s=1)


def test_a_new_token_is_tried_once_for_each_attachment() -> None:
    reconnect = attached()
    assert reconnect.delay_after(Unauthenticated(), lasted_s=0, token_is_new=True) == 0
    with pytest.raises(Unauthenticated):
        reconnect.delay_after(Unauthenticated(), lasted_s=0, token_is_new=True)
    reconnect.attached()
    assert reconnect.delay_after(Unauthenticated(), lasted_s=0, token_is_new=True) == 0


def test_who_was_never_let_in_retries_only_while_the_server_is_not_there() -> None:
    reconnect = Reconnect(jitter=lambda: 1.0)
    assert reconnect.delay_after(BROKEN, lasted_s=0) == 0.5
    assert reconnect.delay_after(FoundryError(grpc.StatusCode.CANCELLED), lasted_s=0) == 1
    with pytest.raises(FoundryError):
        reconnect.delay_after(FoundryError(grpc.StatusCode.RESOURCE_EXHAUSTED), lasted_s=0)
