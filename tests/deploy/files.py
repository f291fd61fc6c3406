"""The files of a deployment, read as Docker, Compose and Envoy read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "compose.yaml"
DOCKERFILE: Final = ROOT / "Dockerfile"
SERVERS: Final = ROOT / "examples" / "servers"
ENVOY: Final = SERVERS / "envoy.yaml"
ROLES: Final = SERVERS / "roles.sql"
DEVELOPMENT: Final = SERVERS / "development.env"

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::(?P<how>[-?])(?P<otherwise>[^}]*))?\}")
_UNITS_S = {"s": 1, "m": 60}


def development() -> dict[str, str]:
    """The variables of the development file."""
    lines = [line for line in DEVELOPMENT.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def variables() -> dict[str, str]:
    """The variables that compose.yaml takes from outside, with what stands in when one is missing."""
    text = "\n".join(line.partition(" #")[0] for line in COMPOSE.read_text("utf-8").splitlines())
    return {found["name"]: found["otherwise"] or "" for found in _VARIABLE.finditer(text)}


def compose(**given: str) -> dict[str, Any]:
    """compose.yaml with these variables, and those of the development file, in their places.

    Raises:
        KeyError: It asks for another one.
    """
    values = development() | given

    def value(found: re.Match[str]) -> str:
        return values.get(found["name"]) or found["otherwise"] if found["how"] == "-" else values[found["name"]]

    read: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(value, COMPOSE.read_text("utf-8")))
    return read


def servers() -> dict[str, dict[str, Any]]:
    """The services that serve, by name."""
    return {name: one for name, one in compose()["services"].items() if one.get("command") == ["serve"]}


def seconds(duration: str) -> int:
    """The length of ``45s`` or ``1m``."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


def dockerfile() -> dict[str, Any]:
    """What the image of the last stage begins with: ``entrypoint``, ``cmd``, ``healthcheck``, ``user`` and ``env``."""
    text = DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    read: dict[str, Any] = {"env": {}}
    for line in last.splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "ENTRYPOINT" | "CMD":
                read[word.lower()] = json.loads(rest)
            case "HEALTHCHECK":
                read["healthcheck"] = json.loads(rest[rest.index("CMD ") + 4 :])
            case "USER":
                read["user"] = rest.strip()
            case "ENV":
                name, _, value = rest.partition("=")
                read["env"][name] = value
    return read


def envoy() -> dict[str, Any]:
    """The configuration of the proxy."""
    read: dict[str, Any] = yaml.safe_load(ENVOY.read_text("utf-8"))
    return read


def connection_manager(configuration: dict[str, Any]) -> dict[str, Any]:
    """What the proxy does with a connection."""
    [listener] = configuration["static_resources"]["listeners"]
    [chain] = listener["filter_chains"]
    manager: dict[str, Any] = chain["filters"][0]["typed_config"]
    return manager


def cluster(configuration: dict[str, Any]) -> dict[str, Any]:
    """The servers, as the proxy knows them."""
    [found] = configuration["static_resources"]["clusters"]
    one: dict[str, Any] = found
    return one
