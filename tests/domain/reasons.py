"""The documented reasons: ``error_reason.proto``, read as a person reads it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROTO = Path(__file__).parents[2] / "protos/coreason/foundry/v1/error_reason.proto"
_REASON = re.compile(r"((?: *//[^\n]*\n)+) *ERROR_REASON_(\w+) = (\d+);")


@dataclass(frozen=True)
class Documented:
    """What the contract says of a reason: its gRPC code, and the sample of its ErrorInfo."""

    code: str
    sample: dict[str, Any]


def documented() -> dict[str, Documented]:
    """Every reason but the unspecified one."""
    reasons: dict[str, Documented] = {}
    for comment, name, number in _REASON.findall(_PROTO.read_text()):
        if number == "0":
            continue
        lines = [line.strip().removeprefix("//") for line in comment.splitlines()]
        sample = "".join(line for line in lines if line.startswith("     "))
        reasons[name] = Documented(" ".join(lines).split(".")[0].strip(), json.loads(sample))
    return reasons
