"""Load generators: each in a spawned process with a uvloop of its own, told what to do over a pipe.

A load never shares a process with a server or with another load, so nobody waits for somebody else's interpreter. The
event loop of a worker runs all the time: streams go on being read between two orders.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self, TypeVar

import psutil
import uvloop

L = TypeVar("L", bound="Load")
#: An order that takes longer than this is a benchmark that hangs, seconds.
PATIENCE_S = 120.0


def cpu_s(pid: int) -> float:
    """CPU time that a process has used so far, seconds; in steps of 10 ms."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of a load did.

    Attributes:
        cpu_seconds: CPU time of the server's process meanwhile.
        latencies: Of each operation, seconds.
    """

    operations: int
    seconds: float
    cpu_seconds: float
    latencies: array[float]


class Load:
    """Some clients of one server, each doing one operation after the other.

    Args:
        pid: The server's process.
        clients: How many operations are under way at once.
    """

    def __init__(self, pid: int, clients: int) -> None:
        self.pid = pid
        self.clients = clients

    async def prepare(self) -> None:
        """Connect; called once."""

    async def begin(self) -> None:
        """Called before each round, outside the measurement."""

    async def operate(self, client: int) -> None:
        """Do one operation as the given client, counted from 0."""
        raise NotImplementedError  # every load has its own

    async def round(self, seconds: float, operations_max: int = 1_000_000) -> Round:
        """Run all clients for a time, or until so many operations were begun."""
        await self.begin()
        latencies = array("d")
        cpu, began = cpu_s(self.pid), time.perf_counter()
        until = began + seconds
        left = operations_max

        async def run(client: int) -> None:
            nonlocal left
            before = time.perf_counter()
            while before < until and left > 0:
                left -= 1
                await self.operate(client)
                now = time.perf_counter()
                latencies.append(now - before)
                before = now

        await asyncio.gather(*(run(client) for client in range(self.clients)))
        elapsed = time.perf_counter() - began
        return Round(len(latencies), elapsed, cpu_s(self.pid) - cpu, latencies)


class Worker:
    """A load in a process of its own. Use as a context manager.

    Args:
        load: The class of the load.
        arguments: Of its constructor.
    """

    def __init__(self, load: Callable[..., L], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, load, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()  # the worker ends when nobody can tell it anything any more
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ask(self, order: str, *arguments: object) -> None:
        """Give an order: a method of the load."""
        self._ours.send((order, arguments))

    def answer(self) -> Any:  # noqa: ANN401 - whatever the load's method returns
        """The answer to the oldest order that was not answered."""
        if not self._ours.poll(PATIENCE_S):
            raise TimeoutError("a load generator does not answer")
        good, value = self._ours.recv()
        if not good:
            raise RuntimeError(f"a load generator failed: {value}")
        return value

    def do(self, order: str, *arguments: object) -> Any:  # noqa: ANN401 - as above
        """Give an order and wait for the answer."""
        self.ask(order, *arguments)
        return self.answer()

    def kill(self) -> float:
        """SIGKILL the process; returns when, by ``time.monotonic``."""
        assert self._process.pid
        now = time.monotonic()
        os.kill(self._process.pid, signal.SIGKILL)
        return now


def _main(pipe: Connection, load: Callable[..., Load], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_obey(pipe, load(*arguments)))
    # Hundreds of open channels take seconds to close one by one, and nobody waits for them.
    os._exit(0)


async def _obey(pipe: Connection, load: Load) -> None:
    while True:
        try:
            order, arguments = await asyncio.to_thread(pipe.recv)
        except EOFError:
            os._exit(0)
        try:
            pipe.send((True, await getattr(load, order)(*arguments)))
        except Exception as error:  # noqa: BLE001 - goes to whoever gave the order
            pipe.send((False, f"{order}: {error!r}"))
