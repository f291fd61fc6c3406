"""What the store does by itself: forgetting answers of old requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from foundry.domain.errors import Unavailable
from foundry.store.needs import Needs
from foundry.store.requests import KEPT_US

if TYPE_CHECKING:
    from foundry.store.lane import WriteLane
    from foundry.store.unit_of_work import UnitOfWork

_INTERVAL_S = 3600.0


async def forget_old_requests(lane: WriteLane) -> None:
    """Once an hour forget the answers of requests older than 24 hours; for as long as the server runs."""
    while True:
        with contextlib.suppress(Unavailable):  # next time
            await lane.submit(Needs(), _forget)
        await asyncio.sleep(_INTERVAL_S)


def _forget(unit: UnitOfWork) -> None:
    unit.forget_requests(before_us=unit.now_us - KEPT_US)
