"""What tests share: a server in this process, tokens for it, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from coreason.foundry.v1 import project_pb2
from foundry.app import serve
from foundry.client import connect
from foundry.client.channel import target_of
from foundry.identity import mint_dev_token
from foundry.settings import ServerSettings
from tests import backends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from foundry.client import Foundry
    from foundry.clock import Clock

_T = TypeVar("_T")

#: Bound on every wait in a test, seconds. Nothing waits this long unless it is broken.
PATIENCE_S = 20.0


#: Of servers that share a slow machine, and one loop: what is tested of a limit sets its own.
_PATIENT: dict[str, dict[str, float]] = {
    "liveness": {"silence_limit_s": 120.0},  # bare streams of tests send no heartbeats by themselves
    "postgres": {
        "lock_limit_s": 20.0,
        "statement_limit_s": 30.0,
        "idle_in_transaction_limit_s": 30.0,
        "transaction_limit_s": 60.0,
        "connect_limit_s": 30.0,
    },
}


async def soon(awaitable: Awaitable[_T]) -> _T:
    """What it gives, or ``TimeoutError``."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


@dataclass(frozen=True)
class RunningServer:
    """A server that serves; ``address`` is where."""

    address: str
    data_dir: Path

    def token(self, subject: str, **options: Any) -> str:
        """A development token; options as of ``mint_dev_token``."""
        return mint_dev_token(self.data_dir, subject=subject, **options)

    def connect(self, subject: str, **options: Any) -> AbstractAsyncContextManager[Foundry]:
        """A client of the SDK as ``subject``."""
        return connect(self.address, self.token(subject, **options))

    def channel(self) -> grpc.aio.Channel:
        """A bare channel of its own connection, for calls that no SDK would make."""
        return open_channel(self.address)

    def metadata(self, subject: str, **options: Any) -> tuple[tuple[str, str], ...]:
        """Call metadata with a token of ``subject``."""
        return (("authorization", f"Bearer {self.token(subject, **options)}"),)


@contextlib.asynccontextmanager
async def running_server(
    data_dir: Path, *, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[RunningServer]:
    """Serve in this process while the context lasts; leaving it drains.

    Args:
        settings: Of ``ServerSettings``, over the development defaults and what the backend says. A ``database_url`` of
            None is one server on the embedded store, whatever the backend is.
    """
    backend = backends.current
    shared = {} if "database_url" in settings and settings["database_url"] is None else backend.settings(data_dir)
    patient = {name: {**limits, **settings.pop(name, {})} for name, limits in _PATIENT.items()}
    chosen = {"listen": "127.0.0.1:0", "dev": True, **shared, **settings, **patient}
    async with contextlib.AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(serve(ServerSettings(data_dir=data_dir, **chosen), clock))
            for _ in range(backend.replicas if chosen.get("database_url") else 1)
        ]
        yield RunningServer(",".join(addresses), data_dir)


#: Channel argument: take the servers of an address in turn.
ROUND_ROBIN = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')


def open_channel(address: str, **options: int) -> grpc.aio.Channel:
    """A bare channel of its own connections, which takes the servers of an address in turn."""
    chosen = [
        ("grpc.use_local_subchannel_pool", 1),
        ROUND_ROBIN,
        *((f"grpc.{name}", value) for name, value in options.items()),
    ]
    return grpc.aio.insecure_channel(target_of(address), options=chosen)


async def project_with(owner: Foundry, *editors: str, name: str = "Oncology Clinical Protocol Agent") -> str:
    """A project of ``owner`` with some EDITOR members; returns its id."""
    project = await owner.projects.create(name)
    for subject in editors:
        await owner.projects.set_member(project.project_id, subject, project_pb2.ROLE_EDITOR)
    return project.project_id
