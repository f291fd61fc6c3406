"""A pytest plugin of the planted runs: it sees that the code in the copy is what runs, and writes down what failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import foundry

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--witness``: where to write, a JSON line for each phase of each test."""
    parser.addoption("--witness", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run where `foundry` is the installed one: nothing would be planted, and everything be green."""
    code = Path(foundry.__file__).resolve()
    if not code.is_relative_to(config.rootpath.resolve()):
        raise RuntimeError(f"{code} is not the code in {config.rootpath}")
    config.pluginmanager.register(_Witness(config.getoption("--witness")))


class _Witness:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seen = {"test": report.nodeid, "phase": report.when, "outcome": report.outcome, "seconds": report.duration}
        with self._path.open("a") as lines:
            lines.write(json.dumps(seen) + "\n")
