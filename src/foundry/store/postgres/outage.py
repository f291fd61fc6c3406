"""Whether the shared database answers this process: said once when it no longer does, and once when it does again."""

from __future__ import annotations

import time

import structlog

_log = structlog.get_logger(__name__)


class Outage:
    """What reads and transactions tell of failure and success."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._silent = False

    def failed(self, error: BaseException) -> None:
        """It could not be reached, or would not do it. Errors of the driver quote neither the URL nor a password."""
        if self._silent:
            return
        name, reason = type(error).__name__, str(error) or "no answer in time"
        if self._since_s is None:
            self._since_s = time.monotonic()
            _log.warning("database_unavailable", error=name, reason=reason)
        else:
            _log.debug("database_lost", error=name, reason=reason)

    def answered(self, began_s: float) -> None:
        """It did what was asked.

        Args:
            began_s: When that was, on ``time.monotonic``: an answer to what was asked before the failure ends nothing.
        """
        if self._since_s is not None and began_s > self._since_s and not self._silent:
            _log.warning("database_back", away_s=round(time.monotonic() - self._since_s, 1))
            self._since_s = None

    def end(self) -> None:
        """Say nothing any more: this process leaves."""
        self._silent = True
