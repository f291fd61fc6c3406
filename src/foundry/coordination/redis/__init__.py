"""Coordination through Redis: a mirror of the locks, who is here, and a bell between the replicas."""

from foundry.coordination.redis.bus import RedisEventBus
from foundry.coordination.redis.link import RedisLink
from foundry.coordination.redis.locks import RedisLockRegistry
from foundry.coordination.redis.presence import RedisPresenceRegistry

__all__ = ["RedisEventBus", "RedisLink", "RedisLockRegistry", "RedisPresenceRegistry"]
