"""The token that the streams of a session begin with."""

from __future__ import annotations

from foundry.client.channel import Token


class SessionToken:
    """The token a session was given, or the one that replaced it."""

    def __init__(self, given: Token) -> None:
        self._given = given
        self._refreshed: str | None = None
        self._used = ""

    def refresh(self, token: str) -> None:
        """Use another one from now on."""
        self._refreshed = token

    def use(self) -> str:
        """Return the current one, for a stream that begins now."""
        self._used = self._current()
        return self._used

    def refused(self) -> bool:
        """The server did not take the one used last; returns whether there is another one."""
        self._refreshed = None
        return self._current() != self._used

    def _current(self) -> str:
        if self._refreshed is not None:
            return self._refreshed
        return self._given() if callable(self._given) else self._given
