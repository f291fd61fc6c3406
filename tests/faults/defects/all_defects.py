"""All defects, by what they break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults.defects import (
    batches,
    failover,
    feed,
    guards,
    locks,
    log,
    mirror,
    outages,
    presence,
    replicas,
    requests,
    rights,
    runs,
    sessions,
)

if TYPE_CHECKING:
    from tests.faults.defects.defect import Defect

_NOUNS = (
    locks,
    sessions,
    log,
    batches,
    requests,
    runs,
    rights,
    guards,
    mirror,
    presence,
    feed,
    replicas,
    failover,
    outages,
)
DEFECTS: Final[tuple[Defect, ...]] = tuple(defect for noun in _NOUNS for defect in noun.DEFECTS)
