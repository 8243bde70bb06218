"""What the submission processes tell each other once a second, so that limits hold over all of them.

Each leaves its figures in Valkey under a name of its own and reads those of the others. Nothing waits for it: in the
second between, and while Valkey is away, each process keeps to the limits by itself.
"""

import asyncio
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from django.conf import settings
from redis.asyncio import Redis

from relay.limits import Buckets, Slots
from relay.submission.valkey import Valkey

log = logging.getLogger(__name__)

PROCESSES = "submission:processes"
LEASE_SECONDS = 5.0
# What was not used for so long is not told any more: its bucket is full again.
FORGET_SECONDS = 60.0
# A key with less than this part of its limit is not worth telling.
FEW = 20

type Sent = dict[str, tuple[int, float]]


@dataclass(slots=True)
class Figures:
    """`open`: {key of a slot: how many are held}; `sent`: {account: (messages so far, scale of its bucket)}."""

    open: dict[str, int]
    sent: Sent


class Neighbours:
    """`open`: how many slots of each key the other processes hold."""

    def __init__(self, valkey: Valkey, slots: Slots, rates: Buckets) -> None:
        self.valkey = valkey
        self.slots = slots
        self.rates = rates
        self.name = f"submission:{uuid.uuid4().hex}"
        self.sent: dict[int, tuple[int, float, float]] = {}
        # Nothing while we do not know what they had sent before.
        self.seen: dict[str, Sent] | None = None
        self.open: Counter[str] = Counter()

    def take(self, key: Hashable, limit: int) -> bool:
        """A slot, if this process and the others together have one left."""
        return self.slots.take(key, limit - self.open[str(key)])

    def note(self, account_id: int, scale: float) -> None:
        """A message was let through."""
        count = self.sent.get(account_id, (0, scale, 0.0))[0] + 1
        self.sent[account_id] = (count, scale, time.monotonic())

    async def keep_talking(self, seconds: float = 1.0) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.exchange()
            except Exception:
                log.exception("the other processes were not understood")

    async def exchange(self) -> None:
        mine = json.dumps(self.figures(min(settings.ADDRESS_CONNECTIONS, settings.CREDENTIAL_CONNECTIONS)))

        async def swap(redis: Redis) -> dict[str, Figures] | None:
            now = time.time()
            pipe = redis.pipeline()
            pipe.set(self.name, mine, px=int(LEASE_SECONDS * 1000))
            pipe.zadd(PROCESSES, {self.name: now})
            pipe.zremrangebyscore(PROCESSES, "-inf", now - 10 * LEASE_SECONDS)
            pipe.expire(PROCESSES, int(20 * LEASE_SECONDS))
            pipe.zrange(PROCESSES, 0, -1)
            names = [name.decode() for name in (await pipe.execute())[-1] if name.decode() != self.name]
            texts = await redis.mget(names) if names else []
            return {name: Figures(*json.loads(text)) for name, text in zip(names, texts, strict=True) if text}

        self.hear(await self.valkey.ask(swap, None))

    def figures(self, limit: int) -> tuple[dict[str, int], Sent]:
        """What the others hear; `limit` is the lowest one of slots."""
        now = time.monotonic()
        self.sent = {key: value for key, value in self.sent.items() if now - value[2] < FORGET_SECONDS}
        held = {str(key): count for key, count in self.slots.items() if count * FEW >= limit}
        return held, {str(key): (count, scale) for key, (count, scale, _) in self.sent.items()}

    def hear(self, told: dict[str, Figures] | None) -> None:
        """What the others have sent since the last time is taken from our buckets too."""
        if told is None:
            self.open, self.seen = Counter(), None
            return
        self.open = sum((Counter(figures.open) for figures in told.values()), Counter())
        before = self.seen or {}
        for name, figures in told.items() if self.seen is not None else ():
            self.debit(figures.sent, before.get(name, {}))
        # Who is not there now may come back: Valkey may have lost everything.
        self.seen = before | {name: figures.sent for name, figures in told.items()}

    def debit(self, sent: Sent, before: Sent) -> None:
        for account_id, (count, scale) in sent.items():
            known = before[account_id][0] if account_id in before else 0
            # Fewer than before: it was forgotten in between.
            self.rates.take(int(account_id), count - known if count >= known else count, scale=scale)

    async def leave(self) -> None:
        async def forget(redis: Redis) -> None:
            await redis.delete(self.name)
            await redis.zrem(PROCESSES, self.name)

        await self.valkey.ask(forget, None)
