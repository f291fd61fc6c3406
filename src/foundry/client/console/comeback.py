"""Whether and when a call about a console goes on after its stream broke."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import grpc

from foundry.client.errors import FoundryError
from foundry.client.live.reconnect import Reconnect

#: The server went away, or is going; and a token that expired may have a successor. While a server shuts down, calls
#: that it did not accept any more end as CANCELLED (grpc#41785).
_BREAKS: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAUTHENTICATED})

#: With these the transport tells of a break; the server gives them a reason.
_BREAKS_WITHOUT_REASON: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


class Comeback:
    """The back-off of sessions, for breaks alone: what the server refuses is refused."""

    def __init__(self, *, may_renew: bool, jitter: Callable[[], float] = random.random) -> None:
        """Args: may_renew is whether there may be another token by now; jitter yields numbers from 0 to 1, evenly."""
        self._may_renew = may_renew
        self._reconnect = Reconnect(jitter=jitter)

    def attached(self) -> None:
        """The server answered."""
        self._reconnect.attached()

    def delay_after(self, error: FoundryError | None, *, lasted_s: float) -> float:
        """Return how many seconds to wait before the next stream.

        Args:
            error: Why the stream ended; None for OK before its end was due.
            lasted_s: For how long it served, seconds.

        Raises:
            FoundryError: There is to be no further stream: ``error`` itself.
        """
        if error is not None and not _is_break(error):
            raise error
        return self._reconnect.delay_after(error, lasted_s=lasted_s, token_is_new=self._may_renew)


def _is_break(error: FoundryError) -> bool:
    return error.code in _BREAKS or (not error.reason and error.code in _BREAKS_WITHOUT_REASON)
