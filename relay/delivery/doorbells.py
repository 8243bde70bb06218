"""Doorbells: takes bells down right before their lanes are claimed, so that a busy lane is rung once and not per email.

Taken down any earlier, a bell would be rung again by the next accepted email while there is still work in hand. Without
Redis nothing is rung, and nothing need be taken down.
"""

import contextlib
import logging
import time
from collections.abc import Collection

import redis
from django.conf import settings
from redis.asyncio import Redis

from activity import bell

log = logging.getLogger(__name__)

# After an error Redis is not asked for so long; the bells of that time expire by themselves.
AWAY_SECONDS = 3.0


class Doorbells:
    def __init__(self) -> None:
        self.redis: Redis = Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
        self.away_until = 0.0

    async def answer(self, domains: Collection[str]) -> None:
        """Before the claim: what is accepted from now on rings again, what was accepted before will be claimed."""
        if not domains or time.monotonic() < self.away_until:
            return
        try:
            await self.redis.delete(*map(bell.key, domains))
        except (redis.RedisError, OSError, TimeoutError) as error:
            self.away_until = time.monotonic() + AWAY_SECONDS
            log.warning("bells stay up until they expire: %s", error)

    async def close(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            await self.redis.aclose()
