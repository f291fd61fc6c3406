"""The checker on simulated runs: a service that keeps the rules passes, and one that breaks a single rule does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checker import check
from tests.faults.simulated import Defect, World

SEEDS = st.integers(0, 2**32)
CLIENTS = st.integers(2, 6)
FIELDS = st.integers(1, 3)
STEPS = st.integers(4, 30)

#: The least that must be reported of each defect.
REPORTED = {
    Defect.DOUBLE_GRANT: {"I2"},
    Defect.FENCE_REUSE: {"I3"},
    Defect.STALE_SAVE: {"I5"},
    Defect.LOST_RELEASE: {"B8", "C3"},
    Defect.LATE_CLOSE: {"I14"},
}


@given(SEEDS, CLIENTS, FIELDS, STEPS)
@settings(max_examples=150, deadline=None)
def test_a_service_that_keeps_the_rules_passes(seed: int, clients: int, fields: int, steps: int) -> None:
    """Lost answers, broken streams, dying programs and deliberate stale saves are no violations."""
    world = World(seed, clients=clients, fields=fields, steps=steps)
    report = check(world.run(), world.service.log.entries)
    assert report.broken <= {"seen"}, report.summary()


@pytest.mark.parametrize("defect", Defect, ids=lambda it: it.name.lower())
@given(seed=SEEDS, clients=CLIENTS, fields=FIELDS, steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_a_service_with_one_defect_is_always_reported(
    defect: Defect, seed: int, clients: int, fields: int, steps: int
) -> None:
    """Whenever the defect had its chance and anybody was told of it."""
    world = World(seed, clients=clients, fields=fields, steps=steps, defect=defect)
    history = world.run()
    report = check(history, world.service.log.entries)
    # Those in which it had no chance are too many to be discarded, and soon run through.
    assert report.broken & REPORTED[defect] or not world.observable, report.summary()


@pytest.mark.parametrize(
    "defect", [Defect.DOUBLE_GRANT, Defect.FENCE_REUSE, Defect.STALE_SAVE, Defect.LOST_RELEASE], ids=lambda it: it.name
)
def test_what_clients_were_told_is_enough_to_find_it(defect: Defect) -> None:
    """Nothing of what the server stored is needed: of 40 runs the answers alone give away most."""
    found = 0
    for seed in range(40):
        world = World(seed, clients=4, fields=2, steps=30, defect=defect)
        report = check(world.run(), [])
        found += bool(report.broken & {"C3", "I10"})
    assert found > 20
