"""One server process for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.server import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("foundry") / "data") as ready:
        yield ready


@pytest.fixture
def project(server: Server, request: pytest.FixtureRequest) -> str:
    """A project of its own for each test: alice owns it, bob edits, carol views."""
    created = server.ask("alice", "project", "create", request.node.name[:100])
    project_id: str = created["project_id"]
    for who, role in (("bob", "editor"), ("carol", "viewer")):
        server.ask("alice", "project", "member", "set", project_id, who, role)
    return project_id
