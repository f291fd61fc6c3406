"""Scripts that run inside Redis, each atomic on one key, and how they are sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

#: What every script of a family begins with, by the first word of its name.
_PRELUDES = {"lock": "lock_shown", "presence": "presence_shown"}


@dataclass(frozen=True, slots=True)
class Script:
    """A script by its text; Redis knows it by the SHA-1 of that."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """Read ``lua/<name>.lua`` of this package, behind what its family begins with."""
        folder = resources.files("foundry.coordination") / "lua"
        names = (_PRELUDES[name.partition("_")[0]], name)
        text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in names)
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    """A script on a key. Calling it twice in a row leaves the key as calling it once."""

    script: Script
    key: str
    args: tuple[str | int, ...] = ()


async def evaluate(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    """Run scripts in their order, in one round trip.

    Returns:
        The answer of each, in the order of the calls.

    Raises:
        RedisError: One could not be run; the others may have been.
    """
    answers = await _send(redis, calls)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        # A Redis that was restarted knows none. Everything is sent again, not only what failed: order matters.
        async with redis.pipeline(transaction=False) as pipeline:
            for script in {call.script for call in calls}:
                pipeline.script_load(script.text)
            await pipeline.execute()
        answers = await _send(redis, calls)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def _send(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipeline:
        for call in calls:
            pipeline.evalsha(call.script.sha, 1, call.key, *call.args)
        return await pipeline.execute(raise_on_error=False)


def percent_encoded(name: str) -> str:
    """``name`` as a part of a key: ``:`` separates parts, and control characters spoil what operators see."""
    return "".join(f"%{ord(char):02X}" if char in ":%" or not char.isprintable() else char for char in name)
