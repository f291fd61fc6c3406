"""What the documents for operators name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from foundry import metrics
from foundry.settings import ServerSettings
from foundry.store import attribution
from tests.deploy.files import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/operations.md")]
#: Variables of commands that are no server.
_OF_COMMANDS = {"TARGET", "TOKEN", "OWNER_DATABASE_URL"}


def test_every_metric_is_explained() -> None:
    """And nothing is explained that is none."""
    made = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    names = {sample.name for metric in made for family in metric.collect() for sample in family.samples}
    assert names == set(re.findall(r"foundry_[a-z_]+", _table()))


def _table() -> str:
    return OPERATIONS[OPERATIONS.index("## Metrics") : OPERATIONS.index("## The auditor's query")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_is_a_setting(document: Path) -> None:
    """Groups have two underscores between their name and the setting's."""
    for name in re.findall(r"FOUNDRY_([A-Z_]*[A-Z])", document.read_text("utf-8")):
        group, _, setting = name.lower().partition("__")
        if name not in _OF_COMMANDS and not name.startswith("TEST_"):
            field: Any = ServerSettings.model_fields[group]
            assert not setting or setting in field.annotation.model_fields, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    """In links, and as paths from the root."""
    text = document.read_text("utf-8")
    links = [document.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    paths = [ROOT / path for path in re.findall(r"`((?:src|docs|examples|tests|protos)/[a-z0-9_./]+)`", text)]
    for path in (*links, *paths):
        assert path.exists(), path


def test_the_auditors_query_is_the_one_that_is_asked() -> None:
    """Word for word: an auditor may run it without any of our programs."""
    asked = attribution._QUERY.substitute(attribution._POSTGRES).strip()
    assert f"```sql\n{asked};\n```" in OPERATIONS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_password_is_given_on_a_command_line(document: Path) -> None:
    """Every user of a machine sees the command lines of all."""
    assert re.findall(r"--(?:database|redis)-url[ =]\S*[:$]", document.read_text("utf-8")) == []
