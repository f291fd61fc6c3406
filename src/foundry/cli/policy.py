"""Reads the rules of a project's policy from ``RULE=VALUE`` arguments, as the contract describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from coreason.foundry.v1.project_pb2 import Policy

_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_rules(rules: list[str], base: Policy | None = None) -> Policy:
    """Return a policy with some rules changed.

    Args:
        rules: ``RULE=VALUE``, for example ``agent_access=edit`` or ``require_reason=true``.
        base: The policy to start from; the defaults when None. It is left as it is.

    Raises:
        typer.BadParameter: There is no such rule, or the rule has no such value.
    """
    from coreason.foundry.v1.project_pb2 import Policy

    policy = Policy()
    if base is not None:
        policy.CopyFrom(base)
    for rule in rules:
        name, _, value = rule.partition("=")
        described = Policy.DESCRIPTOR.fields_by_name.get(name)
        if described is None:
            known = ", ".join(field.name for field in Policy.DESCRIPTOR.fields)
            raise typer.BadParameter(f"there is no rule {name!r}; there are {known}", param_hint="--rule")
        setattr(policy, name, _value(described, value))
    return policy


def _value(described: Any, value: str) -> int | bool:  # noqa: ANN401 - protobuf has two classes of descriptors
    """Return the value of the rule that a protobuf field descriptor describes."""
    if described.enum_type is not None:
        prefix = described.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        choices = {item.name.removeprefix(prefix).lower(): item.number for item in described.enum_type.values[1:]}
        found = choices.get(value.lower())
    elif described.cpp_type == described.CPPTYPE_BOOL:
        choices = {word: int(truth) for word, truth in _BOOLEANS.items()}
        found = _BOOLEANS.get(value.lower())
    else:
        return _count(described.name, value)
    if found is None:
        raise typer.BadParameter(f"{described.name} is one of {', '.join(choices)}", param_hint="--rule")
    return int(found)


def _count(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > len("36500"):
        raise typer.BadParameter(f"{name} is a number", param_hint="--rule")
    return int(value)
