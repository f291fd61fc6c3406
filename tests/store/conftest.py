"""Fixtures of the store's tests: a database in which everything has happened, copied for each test."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.managers.history import told


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directory of a history that is over; not to be changed."""
    directory = tmp_path_factory.mktemp("finished") / "data"
    told(directory)
    return directory


@pytest.fixture
def data_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of that directory, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "data"))


@pytest.fixture
def plain(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """What an attacker has: a plain connection to the file, with SQLite's own defaults."""
    with closing(sqlite3.connect(data_dir / "foundry.sqlite3", isolation_level=None)) as connection:
        yield connection
