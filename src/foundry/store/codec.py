"""How values that are not columns of their own are stored: principals, policies, labels and answers, as JSON text."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter

from foundry.domain.principal import Principal, PrincipalKind
from foundry.domain.project import AgentAccess, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def dump(value: Mapping[str, Any]) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@functools.lru_cache(maxsize=4096)
def dump_principal(principal: Principal) -> str:
    """A principal as JSON. Cached, as ``load_principal``."""
    return dump(asdict(principal))


@functools.lru_cache(maxsize=4096)
def load_principal(text: str) -> Principal:
    """A principal from JSON. Cached: the same few people stand in most rows."""
    value = json.loads(text)
    return Principal(**{**value, "kind": PrincipalKind(value["kind"])})


def dump_policy(policy: Policy) -> str:
    """A policy as JSON."""
    return dump(asdict(policy))


@functools.lru_cache(maxsize=256)
def load_policy(text: str) -> Policy:
    """A policy from JSON. Cached: most projects have one of a few."""
    value = json.loads(text)
    return Policy(**{**value, "agent_access": AgentAccess(value["agent_access"])})


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump_answer(answer: Any) -> bytes:  # noqa: ANN401 - any dataclass
    """The answer of a request, any domain dataclass, as JSON."""
    return _adapter(type(answer)).dump_json(answer)


def load_answer(kind: type[T], stored: bytes) -> T:
    """A stored answer, exactly as it was given."""
    answer: T = _adapter(kind).validate_json(stored)
    return answer
