"""One server for the tests of a module: each makes projects of its own. They share an event loop for that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.backends import Backend
from tests.service.house import House, housed
from tests.support import running_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> AsyncIterator[House]:
    """A server with ``root`` as its administrator, and whoever calls it."""
    data_dir = tmp_path_factory.mktemp("service") / "data"
    async with running_server(data_dir, administrators=("root",)) as server, housed(server) as made:
        yield made
