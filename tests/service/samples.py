"""What ``error_reason.proto`` promises of each refusal, read from its comments."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

_PROTO = Path(__file__).parents[2] / "protos/coreason/foundry/v1/error_reason.proto"

#: A comment block and the enum value it belongs to.
_VALUE = re.compile(r"((?:^  //.*\n)+)^  ERROR_REASON_([A-Z_]+) = (\d+);", re.MULTILINE)
_DETAILS = re.compile(r"\b(BadRequest|PreconditionFailure|ResourceInfo|RetryInfo)\b")

#: The one reason whose keys name fields: two keys for each of them.
_CHANGED = re.compile(r"^changed:[^:]+:")
_HOLDER_KEYS = frozenset({"holder", "holder_name", "session_id"})


@dataclass(frozen=True)
class Sample:
    """One reason as it is documented.

    Attributes:
        code: The gRPC code that its comment begins with.
        keys: Metadata keys of its sample.
        details: Names of the details that it carries besides the ErrorInfo.
        domain: Domain of its sample.
        number: Of the enum value.
    """

    reason: str
    code: grpc.StatusCode
    keys: frozenset[str]
    details: frozenset[str]
    domain: str
    number: int

    def allows(self, keys: frozenset[str]) -> bool:
        """Whether a refusal may have these keys: exactly those of the sample, but for two documented variations."""
        if self.reason == "STALE_VERSION":
            return frozenset(_CHANGED.sub("changed:system_prompt:", key) for key in keys) == self.keys
        if self.reason == "LOCK_LOST":  # "The holder keys are absent when the field is free."
            return keys in {self.keys, self.keys - _HOLDER_KEYS}
        return keys == self.keys


@functools.cache
def samples() -> dict[str, Sample]:
    """All documented reasons but the unspecified one, by name."""
    found = {}
    for comment, reason, number in _VALUE.findall(_PROTO.read_text()):
        text = "\n".join(line.strip().removeprefix("//") for line in comment.splitlines())
        if reason != "UNSPECIFIED":
            words, sample = re.split(r"^\s*(?={ )", text, maxsplit=1, flags=re.MULTILINE)
            found[reason] = _sample(reason, int(number), words, json.loads(sample))
    return found


def _sample(reason: str, number: int, words: str, sample: dict[str, object]) -> Sample:
    assert sample["reason"] == reason
    metadata = sample.get("metadata", {})
    assert isinstance(metadata, dict)
    assert all(isinstance(value, str) for value in metadata.values())
    return Sample(
        reason=reason,
        code=grpc.StatusCode[words.strip().partition(".")[0]],
        keys=frozenset(metadata),
        details=frozenset(_DETAILS.findall(words)),
        domain=str(sample["domain"]),
        number=number,
    )
