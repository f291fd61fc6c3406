"""Samples of lock keys, taken from a real Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from tests.faults.mirror import check_mirror, take_samples
from tests.faults.report import Report
from tests.servers.redis import private_redis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


async def test_a_sample_shows_each_key_between_two_readings_of_its_row() -> None:
    """Names are decoded, other projects' keys are left out, and a key that is wrong is one for the check."""
    rows = [{"project_id": "p", "name": "a/b:c", "fence": 3, "session_id": "s"}]

    async def query(statement: str) -> Sequence[Mapping[str, Any]]:
        assert statement.startswith("SELECT")
        return rows

    with private_redis() as server:
        redis = Redis.from_url(server.url)
        value = json.dumps({"user_id": "ann", "session_id": "s", "replica_id": "r", "fence": 4, "expires_at": 0})
        await redis.set("lock:project:p:field:a/b%3Ac", value, px=9_000)
        await redis.set("lock:project:other:field:a", value)
        (sample,) = await take_samples(redis, query, "p")
        await redis.aclose()
    assert (sample.field, sample.session_id, sample.fence) == ("a/b:c", "s", 4)
    assert (sample.before, sample.after) == ((3, "s"), (3, "s"))
    assert 0 < sample.ttl_ms <= 9_000
    report = Report()
    check_mirror([sample], report)
    assert report.broken == {"I13"}
