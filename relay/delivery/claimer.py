"""Claims mail for the lanes that want some, and keeps the leases of all that is in hand."""

import asyncio
import datetime as dt
import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from activity import slices
from activity.claim import LEASE, Claimed, LaneWish, claim, due_lanes, hand_back, oldest_due, renew
from relay import metrics
from relay.delivery.lane import Lane

if TYPE_CHECKING:
    from relay.delivery.engine import Engine

log = logging.getLogger(__name__)

MOST_IN_HAND = 5000
LANES_A_CLAIM = 200
# While mail comes in numbers, the next claim waits these seconds for more of it: a statement costs as much as many rows
# do, and a bell more still.
GATHER = 0.02
# After so long without a renewal leases may have run out, and a claim would take what is under way here once more.
LATE = LEASE.total_seconds() / 2


class Claimer:
    """`held` is every recipient in hand, from its claim until its outcome is written."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.held: dict[UUID, Claimed] = {}
        self.leased_until: dict[UUID, float] = {}
        # No recipient with a smaller id is due: statements need not look into older slices.
        self.oldest = UUID(int=0)
        self.renewed_at = time.monotonic()
        self.wake = asyncio.Event()

    async def look(self) -> None:
        """Find every lane with due mail, whether or not a bell was heard."""
        async with self.engine.pool.connection() as connection:
            eldest = await oldest_due(connection)
            now = dt.datetime.now(dt.UTC)
            self.oldest = slices.floor_id(slices.time_of(eldest)) if eldest else slices.floor_id(now - LEASE)
            for domain in await due_lanes(connection, self.oldest):
                self.engine.lane(domain).ring()
        self.wake.set()

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                while not self.engine.stopping and (taken := await self._claim()) is not None:
                    if taken > 1:
                        await asyncio.sleep(GATHER)
            except (psycopg.Error, OSError) as error:
                log.warning("claim waits for the database: %s", error)
                await asyncio.sleep(1)
                self.wake.set()

    async def _claim(self) -> int | None:
        """One claim for the lanes that want mail: how many emails it brought; None when no lane wants any."""
        space = MOST_IN_HAND - len(self.held)
        if space <= 0 or not self.engine.recorder.clear.is_set():
            return None
        wishing = self._wishing(space)
        if not wishing:
            return None
        if time.monotonic() > self.renewed_at + LATE:
            await self.renew()
        answering = {lane.domain for lane, wish in wishing if lane.unanswered(wish)}
        rung = [lane.rung if lane.domain in answering else lane.answered for lane, _ in wishing]
        await self.engine.doorbells.answer(answering)
        began = time.monotonic()
        async with self.engine.pool.connection() as connection:
            jobs = await claim(connection, [wish for _, wish in wishing], self.oldest)
        metrics.claimed(len(jobs), time.monotonic() - began)
        taken: dict[str, list[Claimed]] = {}
        for job in jobs:
            taken.setdefault(job.domain, []).append(job)
            self.held[job.id] = job
            self.leased_until[job.id] = began + LEASE.total_seconds()
        for (lane, wish), bell in zip(wishing, rung, strict=True):
            lane.claimed(wish, taken.get(lane.domain, []), bell)
        return len(jobs)

    def _wishing(self, space: int) -> list[tuple[Lane, LaneWish]]:
        """Those that waited longest for a claim come first; what may be held is shared between them."""
        wishing = [(lane, wish) for lane in self.engine.hungry if (wish := lane.wish()) is not None]
        if len(wishing) > LANES_A_CLAIM:
            wishing.sort(key=lambda pair: pair[0].claimed_at)
            del wishing[LANES_A_CLAIM:]
        share = max(1, space // max(1, len(wishing)))
        return [(lane, LaneWish(wish.domain, min(wish.room, share), wish.after, wish.each)) for lane, wish in wishing]

    # Leases.

    def holds(self, job: Claimed) -> bool:
        """A transaction may begin only with a lease that outlasts its first steps."""
        if self.leased_until.get(job.id, 0.0) > time.monotonic() + 5.0:
            return True
        self.release(job)
        return False

    def release(self, job: Claimed) -> None:
        self.held.pop(job.id, None)
        self.leased_until.pop(job.id, None)

    async def renew(self) -> None:
        jobs = list(self.held.values())
        booked = time.monotonic()
        if not jobs:
            self.renewed_at = booked
            return
        async with self.engine.pool.connection() as connection:
            ours = await renew(connection, jobs, self.oldest)
        self.renewed_at = booked
        self.leased_until.update({key: booked + LEASE.total_seconds() for key in ours if key in self.held})

    async def give_back(self, jobs: list[Claimed]) -> None:
        """Not begun: due at once, for any process. If the database is away the leases simply run out."""
        for job in jobs:
            self.release(job)
        async with self.engine.pool.connection() as connection:
            await hand_back(connection, jobs, self.oldest)
