"""Sessions that come back promptly, so that no test waits for chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry.client import Session
from foundry.client.live.reconnect import Reconnect

if TYPE_CHECKING:
    from foundry.client import Foundry


def prompt_session(foundry: Foundry, token: str, project_id: str) -> Session:
    """A session whose back-off takes a fifth of its windows; by chance alone it could be a quarter of a minute."""
    return Session(foundry._start, token, project_id, reconnect=Reconnect(jitter=lambda: 0.2))
