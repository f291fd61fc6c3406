"""Whether, when and as what a session comes back after its stream ended."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import grpc

from foundry.client.errors import FoundryError, Unavailable

#: First and largest window of the back-off, seconds.
BASE_S: Final = 0.5
CAP_S: Final = 30.0

#: A server keeps the locks of lost sessions for 12 s after its restart, so the first attempts stay close enough
#: together to be among them: windows of at most this many seconds, for this many attempts.
EARLY_CAP_S: Final = 4.0
EARLY_ATTEMPTS: Final = 8

#: A stream that lasted this long was healthy: the back-off starts anew. Earlier, a crash loop would hammer the server.
HEALTHY_S: Final = 30.0

_FINAL_REASONS: Final = frozenset({"SESSION_SUPERSEDED", "SESSION_ENDED", "ACCESS_LOST"})

_FINAL_CODES: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Reconnect:
    """Decides after each end of a stream.

    Attributes:
        with_session: Whether to ask for the session itself; False after it was refused: then only for its position.
    """

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        """Args: jitter yields numbers from 0 to 1, evenly."""
        self._jitter = jitter
        self._failures = 0
        self._attached_before = False
        self._token_renewed = False
        self.with_session = True

    def attached(self) -> None:
        """The server let the session in: what was tried once may be tried once again."""
        self._attached_before = True
        self._token_renewed = False
        self.with_session = True

    def within(self, span_s: float) -> float:
        """Return a random number of seconds within a span that the server named."""
        return span_s * self._jitter()

    def delay_after(
        self,
        error: FoundryError | None,
        *,
        lasted_s: float,
        announced_s: float | None = None,
        token_is_new: bool = False,
    ) -> float:
        """Return how many seconds to wait before the next attempt.

        Full jitter: at random within a window that doubles with each failure, up to 4 s at first and 30 s later.

        Args:
            error: Why the stream ended; None for OK without having been asked to.
            lasted_s: How long it was caught up, seconds; 0 when it never was.
            announced_s: After ``going_away``, when the next attempt is due: it needs no back-off.
            token_is_new: Whether there is another token than the one it was opened with.

        Raises:
            FoundryError: There is to be no further attempt: ``error`` itself.
        """
        error = error or Unavailable(message="the server ended the stream")
        if lasted_s >= HEALTHY_S:
            self._failures = 0
        if error.reason == "RESUME_REFUSED" and self.with_session:
            self.with_session = False
            return 0.0
        if error.code is grpc.StatusCode.UNAUTHENTICATED and token_is_new and not self._token_renewed:
            self._token_renewed = True
            return 0.0
        if self._is_final(error):
            raise error
        if announced_s is not None:
            return announced_s
        if error.reason == "GOING_AWAY" and self._failures == 0:
            self._failures = 1
            return self.within(error.retry_after_s or 0.0)
        window = self._window_s()
        self._failures += 1
        return (error.retry_after_s or 0.0) + window * self._jitter()

    def _window_s(self) -> float:
        if self._failures < EARLY_ATTEMPTS:
            return min(EARLY_CAP_S, BASE_S * 2.0**self._failures)
        return min(CAP_S, EARLY_CAP_S * 2.0 ** min(self._failures - EARLY_ATTEMPTS + 1, 16))

    def _is_final(self, error: FoundryError) -> bool:
        if error.reason in _FINAL_REASONS or error.code in _FINAL_CODES:
            return True
        # Who was never let in learns why at once, unless the server is merely not there yet. While a server shuts
        # down, calls that it did not accept any more end as CANCELLED (grpc#41785).
        return not self._attached_before and error.code not in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        )
