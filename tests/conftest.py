"""Fixtures of the whole suite: a real server on a real port, in this process, on a fresh data directory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

# Everything is started by exec, nothing by fork. With it gRPC does something at each of them, of which a child crashes
# now and then before it has become anything. Read when gRPC is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import hypothesis
import pytest
import structlog
import uvloop

from foundry.coordination.redis import link
from tests import backends, jitter
from tests.backends import Backend, using
from tests.servers.postgres import PostgresServer, postgres_server
from tests.servers.redis import ForeignRedis, RedisServer, redis_server
from tests.support import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Test on the loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


#: Folders whose tests know nothing of what their servers stand on.
_OVER_ALL_BACKENDS = ("service", "session", "properties")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--backends``: what the servers under test stand on. ``--jitter``: what they wait for comes late."""
    parser.addoption(
        "--backends",
        default=backends.SQLITE,
        help=f"names separated by commas, or all; of {', '.join(backends.REPLICAS)}; by default {backends.SQLITE}",
    )

    parser.addoption(
        "--jitter", type=int, metavar="SEED", help="delay what servers wait for by chance; see tests/jitter.py"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the suites that know nothing of backends over those that were asked for."""
    asked = metafunc.config.getoption("--backends")
    if asked != backends.SQLITE and metafunc.definition.path.parent.name in _OVER_ALL_BACKENDS:
        names = list(backends.REPLICAS) if asked == "all" else asked.split(",")
        metafunc.parametrize("backend", names, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _shaken(request: pytest.FixtureRequest) -> Iterator[None]:
    """Servers that wait longer than usual, if that was asked for."""
    seed = request.config.getoption("--jitter")
    with pytest.MonkeyPatch.context() as patched:
        if seed is not None:
            jitter.shake(patched, seed)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres for the whole run of this process."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """Where an empty installation is; one test's own."""
    name = postgres.create_database()
    yield postgres.server_url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer | ForeignRedis]:
    """A Redis for the whole run of this process; whoever breaks one starts one of its own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """What the servers of a module's tests stand on; those that all of its tests share too."""
    made = Backend(getattr(request, "param", backends.SQLITE))
    if made.name != backends.SQLITE:
        made.postgres = request.getfixturevalue("postgres")
    with pytest.MonkeyPatch.context() as patched:
        if "redis" in made.name:
            made.redis_url = request.getfixturevalue("shared_redis").url
            patched.setattr(link, "TIMEOUT_S", 5.0)  # outages have tests of their own
        with using(made):
            yield made
    made.drop()


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """What a test configures for logging ends with it, also for loggers that have cached it as their own ``bind``."""
    yield
    structlog.reset_defaults()
    for name, module in list(sys.modules.items()):
        if name.startswith("foundry.") and (log := getattr(module, "_log", None)):
            vars(log).pop("bind", None)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with default settings."""
    async with running_server(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def terminated() -> AsyncIterator[asyncio.Event]:
    """Set when this process is told to end."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, event.set)
    yield event
    loop.remove_signal_handler(signal.SIGTERM)
