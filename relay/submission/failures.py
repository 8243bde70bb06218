"""Failed log-ins, counted for each address and each user name over all submission processes.

Every process counts for itself, and all of them together in Valkey; the higher count holds. So a lost Valkey, or all in
it, makes a guesser's work no easier than as many processes do.
"""

import time
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis

from relay.submission.valkey import Valkey

MANY = 20_000


class Failures:
    """Those of the last `window` seconds, in this process; each failure keeps its key's count for another `window`."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.counts: dict[str, tuple[int, float]] = {}

    def count(self, key: str) -> int:
        count, until = self.counts.get(key, (0, 0.0))
        return count if until > time.monotonic() else 0

    def add(self, key: str) -> int:
        now = time.monotonic()
        if len(self.counts) >= MANY and key not in self.counts:
            self._forget(now)
        count = self.count(key) + 1
        self.counts[key] = (count, now + self.window)
        return count

    def _forget(self, now: float) -> None:
        """Those that are over; if none is, the older half."""
        kept = {key: value for key, value in self.counts.items() if value[1] > now}
        self.counts = dict(list(kept.items())[len(kept) // 2 :]) if len(kept) >= MANY else kept


class SharedFailures:
    """The highest count of some keys, in this process or in all."""

    def __init__(self, valkey: Valkey, window: float) -> None:
        self.valkey = valkey
        self.here = Failures(window)

    async def count(self, keys: list[str]) -> int:
        async def read(redis: Redis) -> list[Any]:
            return list(await redis.mget(keys))

        shared: list[Any] = await self.valkey.ask(read, [])
        return max(*map(self.here.count, keys), *(int(count or 0) for count in shared))

    async def add(self, keys: list[str]) -> int:
        """Count one more for each; the highest count after it."""

        async def write(redis: Redis) -> list[Any]:
            pipe = redis.pipeline()
            for key in keys:
                pipe.incr(key)
            for key in keys:
                pipe.pexpire(key, int(self.here.window * 1000))
            return (await pipe.execute())[: len(keys)]

        counts = [self.here.add(key) for key in keys]
        return max(*counts, *map(int, await self.valkey.ask(write, [])))


def key_of(kind: str, value: str) -> str:
    """Short, whatever a client calls itself."""
    return f"login:{kind}:{sha256(value.encode(errors='replace')).hexdigest()[:32]}"
