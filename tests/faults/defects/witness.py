"""A pytest plugin of the planted runs: it sees that the code in the copy is what runs, and writes down what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import foundry


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--witness``: where to write, a JSON line for each phase of each test."""
    parser.addoption("--witness", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run where `foundry` is the installed one: nothing would be planted, and everything be green."""
    code = Path(foundry.__file__).resolve()
    if not code.is_relative_to(config.rootpath.resolve()):
        raise pytest.UsageError(f"{code} is not the code in {config.rootpath}")
    config.pluginmanager.register(_Witness(config.getoption("--witness")))


class _Witness:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._red: set[str] = set()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.nodeid.partition("[")[0] in self._red:
            pytest.skip("it failed with other parameters, which is enough")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.when == "call":
            self._red.add(report.nodeid.partition("[")[0])
        seen = {"test": report.nodeid, "phase": report.when, "outcome": report.outcome, "seconds": report.duration}
        with self._path.open("a") as lines:
            lines.write(json.dumps(seen) + "\n")
