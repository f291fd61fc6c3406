"""Many clients that come at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.session.conftest import with_settings

if TYPE_CHECKING:
    from foundry.client import Foundry

_CROWD = 24


@with_settings(liveness={"openings_max": 1, "opening_wait_s": 0.02, "drain_s": 0.3})
async def test_everybody_comes_in_in_the_end(bob: Foundry, project: str) -> None:
    """The client comes back by itself, so nobody is refused for good."""

    async def work() -> str:
        async with bob.session(project) as session:
            return session.session_id

    assert len(set(await asyncio.gather(*(work() for _ in range(_CROWD))))) == _CROWD
