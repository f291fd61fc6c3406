"""Lines in requests are counted before anybody looks at them: millions of empty messages fit into one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from coreason.foundry.v1 import run_pb2 as pb
from foundry.domain.errors import InvalidArgument
from foundry.rpc.run import RunServicer
from foundry.settings import Limits

#: What the servicer hands on to, of which nothing is asked here.
NOTHING: Any = cast("Any", None)


class Uncounted(list[Any]):
    """A list that is not to be walked through."""

    def __iter__(self) -> Iterator[Any]:
        pytest.fail("looked at, one by one")


@pytest.fixture
def servicer() -> RunServicer:
    return RunServicer(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, history=NOTHING, limits=Limits(), drain_s=0.0)


def test_too_many_lines_are_not_looked_at(servicer: RunServicer) -> None:
    """Refused by their number: the event loop has others to serve."""
    lines = Uncounted([pb.LogLine()] * 5_001)
    with pytest.raises(InvalidArgument, match="at most 5000; got 5001"):
        servicer.lines(lines)
