"""Shared slots: the connections that one site allows, counted over all deliverer processes in Redis.

A slot is a member of a sorted set whose score is when it expires; it is renewed while held, so a dead process frees its
slots in seconds. What many carriers ask for at once goes in one round trip. Without Redis each process keeps to the cap
by itself.
"""

import asyncio
import contextlib
import itertools
import logging
import time
import uuid
from dataclasses import dataclass

import redis
from django.conf import settings
from redis.asyncio import Redis

log = logging.getLogger(__name__)

LEASE_SECONDS = 6.0
RENEW_SECONDS = 2.0
# After an error Redis is not asked for so long.
AWAY_SECONDS = 3.0
RELEASE = -1
UNCONDITIONALLY = 1_000_000_000

# ARGV: the lease in ms, then for each key a member and how many there may be (RELEASE gives the slot back).
ASK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for n, key in ipairs(KEYS) do
    local member, most = ARGV[2 * n], tonumber(ARGV[2 * n + 1])
    answers[n] = 1
    if most < 0 then
        redis.call('ZREM', key, member)
    else
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        if redis.call('ZSCORE', key, member) or redis.call('ZCARD', key) < most then
            redis.call('ZADD', key, now + ARGV[1], member)
            redis.call('PEXPIRE', key, ARGV[1])
        else
            answers[n] = 0
        end
    end
end
return answers
"""


@dataclass(frozen=True, slots=True)
class Lease:
    key: str
    member: str


@dataclass(slots=True)
class Question:
    lease: Lease
    most: int
    answer: asyncio.Future[bool] | None = None


class SharedSlots:
    def __init__(self) -> None:
        self.redis: Redis = Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
        self.ask = self.redis.register_script(ASK)
        self.name = uuid.uuid4().hex[:12]
        self.numbers = itertools.count(1)
        self.held: set[Lease] = set()
        self.questions: list[Question] = []
        self.away_until = 0.0
        self.wake = asyncio.Event()
        self.tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._renew())]

    async def take(self, site: str, most: int) -> Lease | None:
        """A slot of the site, or None while `most` are taken. Without Redis there is always one."""
        lease = Lease(f"slots:{site}", f"{self.name}:{next(self.numbers)}")
        granted = True
        if time.monotonic() > self.away_until:
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._put(Question(lease, most, answer))
            granted = await answer
        if granted:
            self.held.add(lease)
        return lease if granted else None

    def give_back(self, lease: Lease) -> None:
        self.held.discard(lease)
        if time.monotonic() > self.away_until:
            self._put(Question(lease, RELEASE))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._ask([*self.questions, *(Question(lease, RELEASE) for lease in self.held)])
                await self.redis.aclose()

    def _put(self, question: Question) -> None:
        self.questions.append(question)
        self.wake.set()

    async def _run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            questions, self.questions = self.questions, []
            answers = await self._answers(questions)
            for question, granted in zip(questions, answers, strict=True):
                if question.answer is not None and not question.answer.done():
                    question.answer.set_result(granted)

    async def _answers(self, questions: list[Question]) -> list[bool]:
        try:
            return await self._ask(questions)
        except (redis.RedisError, OSError, TimeoutError) as error:
            if time.monotonic() > self.away_until + AWAY_SECONDS:
                log.warning("connections are counted in this process only: %s", error)
            self.away_until = time.monotonic() + AWAY_SECONDS
            return [True] * len(questions)

    async def _ask(self, questions: list[Question]) -> list[bool]:
        if not questions:
            return []
        arguments: list[str | int] = [int(LEASE_SECONDS * 1000)]
        for question in questions:
            arguments += [question.lease.member, question.most]
        answers = await self.ask(keys=[question.lease.key for question in questions], args=arguments)
        return [bool(answer) for answer in answers]

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self.held and time.monotonic() > self.away_until:
                await self._answers([Question(lease, UNCONDITIONALLY) for lease in self.held])
