"""The field ``model_config``: typed members, other members allowed, errors with path and place."""

from __future__ import annotations

import pytest

from foundry.content import ModelConfig, check_content
from foundry.domain.errors import InvalidContent
from foundry.domain.field import FieldKind


def check(text: str, field: str = "model_config", kind: FieldKind = FieldKind.JSON) -> None:
    """Check content of the field."""
    check_content(field, kind, "application/json", text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"model":"m","temperature":0,"top_p":1.0,"max_tokens":1,"stop":["a",""],"seed":-5}',
        '{"temperature":2,"top_p":0,"seed":null,"stop":[]}',
        '{"tools":[{"name":"x"}],"reasoning":{"effort":"high"},"model_config":1,"model_fields":2,"__class__":3}',
    ],
)
def test_good_configurations_are_accepted(text: str) -> None:
    """All members are optional, bounds are inside, null is absent, and providers' own members are let through."""
    check(text)


@pytest.mark.parametrize(
    ("text", "path", "line", "column"),
    [
        ('{"model": ""}', "model", 1, 11),
        ('{"model": "' + "x" * 201 + '"}', "model", 1, 11),
        ('{"model": 4}', "model", 1, 11),
        ('{"a": {"temperature": 9},\n "temperature": 2.1}', "temperature", 2, 17),
        ('{"temperature": -0.1}', "temperature", 1, 17),
        ('{"temperature": "0.5"}', "temperature", 1, 17),
        ('{"temperature": true}', "temperature", 1, 17),
        ('{"top_p": 1.01}', "top_p", 1, 11),
        ('{"max_tokens": 0}', "max_tokens", 1, 16),
        ('{"max_tokens": 1.0}', "max_tokens", 1, 16),
        ('{"stop": "x"}', "stop", 1, 10),
        ('{"stop": ["x",\n "y", 3]}', "stop.2", 2, 7),
        ('{"seed": "1"}', "seed", 1, 10),
    ],
)
def test_a_member_out_of_bounds_is_named_with_its_place(text: str, path: str, line: int, column: int) -> None:
    """The problem starts with the path of the member; line and column are those of its value."""
    with pytest.raises(InvalidContent) as caught:
        check(text)
    assert caught.value.problem.startswith(f"{path}: ")
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("text", ["[]", " null", '"gpt"', "1"])
def test_it_is_an_object(text: str) -> None:
    """Other JSON values are no configuration."""
    with pytest.raises(InvalidContent, match="model_config is a JSON object") as caught:
        check(text)
    assert (caught.value.line, caught.value.column) == (1, 1 + len(text) - len(text.lstrip()))


def test_strict_json_comes_first() -> None:
    """A configuration is strict JSON before it is a configuration."""
    with pytest.raises(InvalidContent, match="already in the object"):
        check('{"temperature": 9, "temperature": 1}')


def test_only_the_json_field_of_that_name_is_meant() -> None:
    """Other fields, and a model_config that its author declared to be text, are not looked at as configuration."""
    check('{"temperature": 9}', field="topology")
    check("hello", kind=FieldKind.TEXT)


def test_every_member_is_described() -> None:
    """The model is the documentation of the field."""
    assert all(member.description for member in ModelConfig.model_fields.values())
