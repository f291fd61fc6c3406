"""I13: samples of the lock keys in Redis next to the field rows."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from redis.exceptions import ResponseError

from tests.faults.recorder import now_ns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from tests.faults.report import Report

#: Longest life of a lock key, seconds.
TTL_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A lock key and the row of its field.

    A fence never goes down, so with the row read behind the key, no key that is right can show a higher one; and with a
    row read before the key, what that row no longer holds is wrong in the key from then on.

    Attributes:
        ns: When the key was read, by the clock of the recordings.
        session_id: Session that the key shows.
        fence: Fence that the key shows; 0 for a claim that no grant confirms yet.
        ttl_ms: What the key has left to live; negative for a key that lives for ever.
        before: Fence and holder (empty for none) of the row, read before the key.
        after: The same, read behind the key.
    """

    ns: float
    field: str
    session_id: str
    fence: int
    ttl_ms: int
    before: tuple[int, str]
    after: tuple[int, str]


async def take_samples(
    redis: Redis, query: Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]], project_id: str
) -> list[Sample]:
    """Sample every lock key of a project, between two readings of its rows.

    Args:
        redis: A client that gives bytes.
        query: Runs a statement and returns its rows by column name.
    """
    prefix = f"lock:project:{project_id}:field:"
    before = await _rows(query, project_id)
    shown: list[tuple[float, str, dict[str, Any], int]] = []
    async for key in redis.scan_iter(match=prefix + "*"):
        async with redis.pipeline(transaction=True) as both:
            both.get(key)
            both.pttl(key)
            text, ttl_ms = await both.execute(raise_on_error=False)
        if (value := shown_by(text)) is not None:
            name = unquote(key.decode().removeprefix(prefix))
            shown.append((float(now_ns()), name, value, ttl_ms))
    after = await _rows(query, project_id)
    return [
        Sample(ns, name, v["session_id"], int(v["fence"]), ttl_ms, before.get(name, (0, "")), after.get(name, (0, "")))
        for ns, name, v, ttl_ms in shown
    ]


async def read_key(redis: Redis, key: bytes | str) -> dict[str, Any] | None:
    """What a lock key shows; None for a key that is gone, or in which somebody put what shows nothing."""
    with contextlib.suppress(ResponseError):
        return shown_by(await redis.get(key))
    return None


def shown_by(answer: object) -> dict[str, Any] | None:
    """What the answer to a GET shows; None for nothing, for an error, and for what is not of our form."""
    with contextlib.suppress(ValueError):
        shown = json.loads(answer) if isinstance(answer, bytes) else None
        if isinstance(shown, dict):
            return shown
    return None


async def _rows(
    query: Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]], project_id: str
) -> dict[str, tuple[int, str]]:
    rows = await query("SELECT project_id, name, fence, session_id FROM field")
    return {row["name"]: (row["fence"], row["session_id"] or "") for row in rows if row["project_id"] == project_id}


def check_mirror(samples: Iterable[Sample], report: Report, *, ttl_s: float = TTL_S) -> None:
    """I13: no key is ahead of its row, each expires, and a wrong one is gone within its life.

    Args:
        ttl_s: Longest life of a lock key, seconds.
    """
    over: dict[tuple[str, str, int], Sample] = {}
    for sample in sorted(samples, key=lambda it: it.ns):
        report.counts["keys sampled"] += 1
        name = sample.field
        if sample.fence > sample.after[0]:
            report.add("I13", f"the key of {name} shows fence {sample.fence}, its row {sample.after[0]}", sample)
        if not 0 <= sample.ttl_ms <= ttl_s * 1_000:
            report.add("I13", f"the key of {name} has {sample.ttl_ms} ms to live", sample)
        if not sample.fence:
            continue
        # A token that the row no longer holds never comes back, so the key is wrong from its first such sample on.
        shown = (name, sample.session_id, sample.fence)
        if sample.before[0] >= sample.fence and sample.before != (sample.fence, sample.session_id):
            first = over.setdefault(shown, sample)
            if sample.ns - first.ns > ttl_s * 1e9:
                seconds = (sample.ns - first.ns) / 1e9
                report.add("I13", f"the key of {name} has been wrong for {seconds:.1f} s", first, sample)
