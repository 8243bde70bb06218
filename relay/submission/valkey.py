"""Valkey, as the submission processes share it: what it does not answer at once is done without."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import redis
from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

log = logging.getLogger(__name__)

CONNECTIONS = 4
PATIENCE = 0.5
# After an error it is not asked for so long.
AWAY_SECONDS = 3.0


class Valkey:
    def __init__(self) -> None:
        pool = BlockingConnectionPool.from_url(
            settings.REDIS_URL,
            max_connections=CONNECTIONS,
            timeout=PATIENCE,
            # Once more, for connections that an earlier Valkey left behind.
            retry=Retry(NoBackoff(), 1),
        )
        self.redis = Redis(connection_pool=pool)
        self.away_until = 0.0

    async def ask[T](self, question: Callable[[Redis], Awaitable[T]], otherwise: T) -> T:
        """The answer, or `otherwise` while there is none."""
        if time.monotonic() < self.away_until:
            return otherwise
        try:
            async with asyncio.timeout(PATIENCE):
                return await question(self.redis)
        except (redis.RedisError, OSError, TimeoutError) as error:
            log.warning("for a moment each submission process counts for itself: %s", error)
            self.away_until = time.monotonic() + AWAY_SECONDS
            return otherwise

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()
