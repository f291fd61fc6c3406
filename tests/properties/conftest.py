"""Fixtures of the property tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.properties.world import World, running_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backends import Backend


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[World]:
    """One server for all examples; each example has a project of its own."""
    with running_world(tmp_path_factory.mktemp("world") / "data") as running:
        yield running
