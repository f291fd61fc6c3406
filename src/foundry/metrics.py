"""What operators watch, in the format of Prometheus. Made once a process; everybody who measures imports from here."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, disable_created_metrics

# When a counter was made says no more than when its process was started, which is there already.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations

REDIS_UP: Final = Gauge("foundry_redis_up", "1 while Redis answers, 0 while coordination goes on without it.")
REDIS_ERRORS: Final = Counter("foundry_redis_errors", "Calls to Redis that failed or took too long.")
MIRROR_HEALED: Final = Counter(
    "foundry_lock_mirror_healed", "Entries of the lock mirror that were wrong or unreadable and were put right."
)
DATABASE_UP: Final = Gauge("foundry_database_up", "1 while the shared database answers this process, else 0.")
SESSIONS: Final = Gauge("foundry_sessions", "Session streams of this process: its active connections.")
LOCK_GRANTS: Final = Counter("foundry_lock_grants", "Locks granted by this process, also for the length of a save.")
LOCK_DENIALS: Final = Counter(
    "foundry_lock_denials", "Locks not granted because somebody else held the field; with the grants, the contention."
)
REPLICA_RENEWED: Final = Gauge(
    "foundry_replica_renewed_seconds", "When this process last told the others that it lives, seconds since 1970."
)
