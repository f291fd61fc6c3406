"""The backends that the contract suites run over. Another backend is another entry in each dictionary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foundry.coordination.memory import MemoryEventBus, MemoryLockRegistry, MemoryPresenceRegistry
from foundry.coordination.ports import EventBus, LockRegistry, PresenceRegistry
from tests.store.manual_clock import ManualClock

LOCK_REGISTRIES: dict[str, Callable[[ManualClock], LockRegistry]] = {"memory": MemoryLockRegistry}
PRESENCE_REGISTRIES: dict[str, Callable[[], PresenceRegistry]] = {"memory": MemoryPresenceRegistry}
EVENT_BUSES: dict[str, Callable[[], EventBus]] = {"memory": MemoryEventBus}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=LOCK_REGISTRIES)
def locks(request: pytest.FixtureRequest, clock: ManualClock) -> LockRegistry:
    return LOCK_REGISTRIES[request.param](clock)


@pytest.fixture(params=PRESENCE_REGISTRIES)
def presence(request: pytest.FixtureRequest) -> PresenceRegistry:
    return PRESENCE_REGISTRIES[request.param]()


@pytest.fixture(params=EVENT_BUSES)
def bus(request: pytest.FixtureRequest) -> EventBus:
    return EVENT_BUSES[request.param]()
