"""The noticeboard: what each engine has in hand, published in Redis for the operators' page, and who is alive."""

import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import redis
from django.conf import settings
from redis.asyncio import Redis

if TYPE_CHECKING:
    from relay.delivery.engine import Engine
    from relay.delivery.lane import Lane

log = logging.getLogger(__name__)

ENGINES = "engines"
EXPIRES = 6
# A notice names the busiest lanes only.
MOST_LANES = 500
ERROR_CHARACTERS = 300


def key_of(name: str) -> str:
    return f"engine:{name}"


class Noticeboard:
    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.redis: Redis = Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)

    async def publish(self) -> None:
        """One round trip; it also counts the engines, who share rates evenly. Without Redis each is alone."""
        name, now = self.engine.shared_slots.name, time.time()
        try:
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.zadd(ENGINES, {name: now + EXPIRES})
                pipe.zremrangebyscore(ENGINES, "-inf", now)
                pipe.zcard(ENGINES)
                pipe.set(key_of(name), json.dumps(self._notice()), ex=EXPIRES)
                answers = await pipe.execute()
            self.engine.processes = max(1, int(answers[2]))
        except (redis.RedisError, OSError, TimeoutError):
            self.engine.processes = 1

    async def close(self) -> None:
        name = self.engine.shared_slots.name
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            await self.redis.zrem(ENGINES, name)
            await self.redis.delete(key_of(name))
            await self.redis.aclose()

    def _notice(self) -> dict[str, Any]:
        lanes = sorted(self.engine.lanes.values(), key=lambda lane: lane.in_hand + lane.in_flight, reverse=True)
        return {lane.domain: _of(lane) for lane in lanes[:MOST_LANES]}


def _of(lane: "Lane") -> dict[str, Any]:
    traffic = lane.traffic
    shut = lane.no_way if lane.no_way.left else lane.closure
    error = shut.why.outcome if shut.why is not None else traffic.last_error if traffic is not None else None
    return {
        "site": traffic.site if traffic is not None else "",
        "in_hand": lane.in_hand,
        "in_flight": lane.in_flight,
        "connections": len(traffic.connections) if traffic is not None else 0,
        "limit": traffic.manners.limit if traffic is not None else 0,
        "pause": traffic.manners.pause if traffic is not None else 0,
        "closed_for": round(shut.left),
        "error": f"{error.text or error.note}"[:ERROR_CHARACTERS] if error is not None else "",
    }


def read() -> dict[str, list[dict[str, Any]]] | None:
    """What each engine says of each lane, by domain; None while Redis is away."""
    notices: dict[str, list[dict[str, Any]]] = {}
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            names = client.zrangebyscore(ENGINES, time.time(), "+inf")
            found = client.mget([key_of(name.decode()) for name in names]) if names else []
    except redis.RedisError:
        return None
    for notice in filter(None, found):
        for domain, lane in json.loads(notice).items():
            notices.setdefault(domain, []).append(lane)
    return notices
