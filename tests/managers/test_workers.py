"""Heavy work runs in a process of its own, light work at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import operator
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from foundry.domain.errors import Unavailable
from foundry.managers.workers import INLINE_BYTES_MAX, Workers
from tests.support import soon

#: One worker for all of them: starting one takes as long as everything else here.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[Workers]:
    made = Workers()
    yield made
    await soon(made.close())
    assert multiprocessing.active_children() == []


async def test_small_work_is_done_at_once(workers: Workers) -> None:
    """Below the bound nothing is handed over, and the event loop is not even asked."""
    assert await workers.run(INLINE_BYTES_MAX - 1, os.getpid) == os.getpid()
    assert await workers.run(0, int, "ff", base=16) == 255


async def test_large_work_is_done_elsewhere(workers: Workers) -> None:
    """From the bound on it runs in the one worker process, with its arguments."""
    first = await workers.run(INLINE_BYTES_MAX, os.getpid)
    again = await workers.run(INLINE_BYTES_MAX, os.getpid)
    assert first == again != os.getpid()
    assert await workers.run(INLINE_BYTES_MAX, int, "ff", base=16) == 255


@pytest.mark.parametrize("size", [0, INLINE_BYTES_MAX])
async def test_what_it_raises_is_raised(workers: Workers, size: int) -> None:
    """The caller gets the exception of the function, wherever that ran; the worker lives on."""
    with pytest.raises(ZeroDivisionError):
        await workers.run(size, operator.truediv, 1, 0)
    assert await workers.run(size, operator.truediv, 4, 2) == 2


async def test_the_loop_goes_on_meanwhile(workers: Workers) -> None:
    """A callback that was due runs before the work is done."""
    work = asyncio.create_task(workers.run(INLINE_BYTES_MAX, sum, range(1_000_000)))
    await asyncio.sleep(0)
    assert not work.done()
    assert await soon(work) == 499_999_500_000


async def test_a_worker_that_dies_is_replaced(workers: Workers) -> None:
    """Whoever's work it died of is told to come back; the next gets a new worker. One death ends no other save."""
    with pytest.raises(Unavailable):
        await workers.run(INLINE_BYTES_MAX, os._exit, 1)
    assert await soon(workers.run(INLINE_BYTES_MAX, os.getpid)) != os.getpid()


async def test_closing_without_work_is_nothing() -> None:
    """A server that never had large work has no process to end."""
    await Workers().close()
