"""What a server says of its health: while its database is away, when that is back, and when it leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from coreason.foundry.v1 import project_pb2, project_pb2_grpc
from tests.faults.cluster import behind
from tests.faults.proxy import Proxy
from tests.session.tab import refusal
from tests.support import PATIENCE_S, RunningServer, project_with, running_server, soon

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def says(server: RunningServer, status: int, before: asyncio.Event | None = None) -> None:
    """Wait until a server says this of itself; ``before`` is set when it has said something else before."""
    async with server.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        async for answer in watching:
            if answer.status == status:
                watching.cancel()
                return
            if before:
                before.set()
    raise AssertionError("the health of a server is watched to the end of the call")


async def test_while_its_database_is_away_a_server_says_so_and_lives(
    url: str, tmp_path: Path, terminated: asyncio.Event
) -> None:
    """NOT_SERVING, and who asks all the same is told when to ask again; it serves as soon as the database does."""
    quick: dict[str, Any] = {"liveness": {"replica_renewal_s": 0.2}}
    async with (
        Proxy(url.rpartition("@")[2].partition("/")[0]) as proxy,
        running_server(tmp_path / "data", database_url=behind(url, proxy.address), **quick) as server,
    ):
        await says(server, SERVING)
        async with server.connect("alice") as alice, alice.session(await project_with(alice)) as session:
            lock = await session.acquire("notes")
            proxy.refuse()
            proxy.cut()
            await says(server, NOT_SERVING)
            async with server.channel() as channel:
                stub: Any = project_pb2_grpc.ProjectServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.ListProjects(project_pb2.ListProjectsRequest(), metadata=server.metadata("alice"))
            told = rpc_status.from_call(refused.value)  # type: ignore[arg-type]  # it has what is asked of it
            assert told
            assert (refusal(told).code, refusal(told).reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert refusal(told).retry_after_s
            proxy.heal()
            await says(server, SERVING)
            assert (await soon(lock.save("still mine"))).draft.version_number == 1
        assert not terminated.is_set()


async def test_a_server_that_leaves_says_so(tmp_path: Path) -> None:
    """Whoever passes calls on to it hears it while it still answers those that run."""
    async with running_server(tmp_path / "data", liveness={"stop_grace_s": 5.0}) as server:
        serves = asyncio.Event()
        leaving = asyncio.create_task(says(server, NOT_SERVING, before=serves))
        await soon(serves.wait())
    await soon(leaving)


@pytest.mark.parametrize("service", ["", "coreason.foundry.v1.DraftService", "of nobody"])
async def test_a_server_that_leaves_does_not_wait_for_who_watches_its_health(tmp_path: Path, service: str) -> None:
    """Whoever watches is told that it leaves, if it is of theirs, and then that there is no more to tell."""
    async with running_server(tmp_path / "data", liveness={"stop_grace_s": 10.0}) as server:
        channel = server.channel()
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
        answers = aiter(watching)
        told = [(await anext(answers)).status]
    told += [answer.status async for answer in answers]
    assert told == ([SERVICE_UNKNOWN] if service == "of nobody" else [SERVING, NOT_SERVING])
    assert await watching.code() is grpc.StatusCode.OK
    await channel.close()


async def test_health_is_asked_once_by_service(server: RunningServer) -> None:
    """Without a token; of a service that is none it is said that it is none."""
    async with server.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "coreason.foundry.v1.DraftService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(health_pb2.HealthCheckRequest(service="of nobody"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
