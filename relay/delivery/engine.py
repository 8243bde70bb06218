"""The engine: one event loop that claims due mail, carries every connection, and records what came of it.

PostgreSQL is asked when a bell rings, when a lane runs low, and every few seconds anyway, so mail flows without Redis.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import psycopg
import uvloop
from django.conf import settings

from activity import slices
from activity.claim import ACCOUNTS_A_CLAIM, LEASE, Claimed, LaneWish, claim, due_lanes, hand_back, oldest_due, renew
from activity.outcome import Attempt, Outcome
from activity.pool import open_pool
from activity.reasons import Reason
from activity.status import Status
from relay.delivery.attempt import Dialer
from relay.delivery.contents import Contents
from relay.delivery.lane import Lane
from relay.delivery.recorder import Recorder
from relay.delivery.retry import next_attempt
from relay.delivery.route import Router
from relay.delivery.slots import Slots

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
RENEW_SECONDS = 20.0
MOST_IN_HAND = 5000
LANES_A_CLAIM = 200
STOP_SECONDS = 3.0


class Engine:
    """`run` until `stop`; `ring` may be called from any thread."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        self.held: dict[UUID, Claimed] = {}
        self.leased_until: dict[UUID, float] = {}
        self.stopping = False
        self.started = threading.Event()
        self.oldest = UUID(int=0)
        self.loop: asyncio.AbstractEventLoop | None = None

    # From other threads.

    def ring(self, domain: str) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._rung, domain)

    def stop(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop)

    # The loop's life.

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()
        self.stopped = asyncio.Event()
        self.slots = Slots(settings.CONNECTIONS)
        self.pool = await open_pool(4, "deliverer")
        self.contents = Contents(self.pool)
        self.dialer = Dialer(Router())
        self.recorder = Recorder(self.pool, lambda: self.oldest, self._most_unwritten, self._recorded)
        tasks = [
            asyncio.create_task(self._for_ever(step, seconds))
            for step, seconds in ((self._look, LOOK_SECONDS), (self._renew, RENEW_SECONDS), (self._measure, 1.0))
        ]
        tasks.append(asyncio.create_task(self._claim_when_woken()))
        self.started.set()
        ended = asyncio.create_task(self.stopped.wait())
        try:
            # None of the others ever ends by itself, unless by a bug.
            await asyncio.wait([ended, *tasks, self.contents.task, self.recorder.task], return_when="FIRST_COMPLETED")
        finally:
            broken = [task for task in (*tasks, self.contents.task, self.recorder.task) if task.done()]
            await self._close(tasks)
        for task in broken:
            task.result()

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        """End the transactions in hand, write what came of them, give back what was not begun."""
        for task in tasks:
            task.cancel()
        carriers = {carrier for lane in self.lanes.values() for carrier in lane.carriers}
        if carriers:
            _, late = await asyncio.wait(carriers, timeout=STOP_SECONDS)
            for carrier in late:
                carrier.cancel()
        queued = [job for lane in self.lanes.values() for job in lane.queue]
        with contextlib.suppress(TimeoutError, psycopg.Error, OSError):
            async with asyncio.timeout(1.5):
                await self.recorder.flush()
                async with self.pool.connection() as connection:
                    await hand_back(connection, queued, self.oldest)
        self.recorder.close()
        self.contents.close()
        with contextlib.suppress(TimeoutError):
            await self.pool.close(timeout=0.5)

    def _stop(self) -> None:
        self.stopping = True
        for lane in self.lanes.values():
            lane.wake_idle()
        self.stopped.set()

    async def _for_ever(self, step: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await step()
            except (psycopg.Error, OSError) as error:
                log.warning("%s waits for the database: %s", step.__name__.strip("_"), error)
            await asyncio.sleep(seconds)

    # Claiming.

    def _rung(self, domain: str) -> None:
        self.lane(domain).ring()
        self.wake.set()

    def lane(self, domain: str) -> Lane:
        if (lane := self.lanes.get(domain)) is None:
            lane = self.lanes[domain] = Lane(domain, self)
        return lane

    async def _look(self) -> None:
        """Find every lane with due mail, whether or not a bell was heard."""
        async with self.pool.connection() as connection:
            eldest = await oldest_due(connection)
            self.oldest = slices.floor_id(slices.time_of(eldest)) if eldest else slices.floor_id(_now() - LEASE)
            for domain in await due_lanes(connection, self.oldest):
                self.lane(domain).ring()
        self.wake.set()

    async def _claim_when_woken(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                while not self.stopping and await self._claim():
                    pass
            except (psycopg.Error, OSError) as error:
                log.warning("claim waits for the database: %s", error)
                await asyncio.sleep(1)
                self.wake.set()

    async def _claim(self) -> bool:
        """One claim for the lanes that want mail; False when none does."""
        space = MOST_IN_HAND - len(self.held)
        if space <= 0 or not self.recorder.clear.is_set():
            return False
        wishing = [(lane, lane.rung) for lane in self.lanes.values() if lane.room > 0][:LANES_A_CLAIM]
        if not wishing:
            return False
        wishes = [
            LaneWish(lane.domain, max(1, min(lane.room, space // len(wishing))), lane.after) for lane, _ in wishing
        ]
        booked = time.monotonic()
        async with self.pool.connection() as connection:
            claimed = await claim(connection, wishes, self.oldest)
        taken: dict[str, list[Claimed]] = {}
        for job in claimed:
            taken.setdefault(job.domain, []).append(job)
            self.held[job.id] = job
            self.leased_until[job.id] = booked + LEASE.total_seconds()
        for (lane, rung), wish in zip(wishing, wishes, strict=True):
            self._hand_out(lane, wish, taken.get(lane.domain, []), rung)
        return True

    def _hand_out(self, lane: Lane, wish: LaneWish, jobs: list[Claimed], rung: int) -> None:
        accounts = {job.account_id for job in jobs}
        wrapped = wish.after == 0
        lane.after = max(accounts) if len(accounts) >= ACCOUNTS_A_CLAIM else 0
        # Fewer than wanted means there is no more, unless a bell rang meanwhile or accounts were skipped.
        lane.more = len(jobs) >= wish.room or lane.rung != rung or lane.after > 0 or not wrapped
        lane.put(jobs)

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

    async def _renew(self) -> None:
        jobs = list(self.held.values())
        if not jobs:
            return
        booked = time.monotonic()
        async with self.pool.connection() as connection:
            ours = await renew(connection, jobs, self.oldest)
        self.leased_until.update({key: booked + LEASE.total_seconds() for key in ours if key in self.held})

    # Outcomes.

    def finish(self, job: Claimed, outcome: Outcome, *, absent: bool = False, pause: float = 0.0) -> None:
        """An attempt ended: decide whether there is a next one, and hand both to the recorder."""
        self.recorder.add(settle(job, outcome, _now(), absent=absent, pause=pause))

    def _recorded(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self.held.pop(attempt.recipient_id, None)
            self.leased_until.pop(attempt.recipient_id, None)
        self.wake.set()

    def _most_unwritten(self) -> int:
        """No connection is more than one transaction ahead of what is written."""
        return max(10, 2 * sum(lane.connected for lane in self.lanes.values()))

    async def _measure(self) -> None:
        for lane in list(self.lanes.values()):
            lane.measure(1.0)
            if lane.forgettable:
                del self.lanes[lane.domain]


def settle(job: Claimed, outcome: Outcome, now: dt.datetime, *, absent: bool = False, pause: float = 0.0) -> Attempt:
    """The attempt with its next one, or with the bounce it becomes when there is no next one.

    `absent`: DNS says the domain does not exist, which counts when two attempts in a row have seen it.
    """
    due = None
    if absent and job.attempt > 1 and job.reason == Reason.DOMAIN_NOT_FOUND:
        outcome = _as(outcome, Status.HARD_BOUNCE, Reason.DOMAIN_NOT_FOUND)
    elif outcome.status == Status.DEFERRED:
        not_before = now + dt.timedelta(seconds=pause)
        due = next_attempt(now, job.attempt, job.give_up_at, settings.RETRY, not_before=not_before)
        if due is None:
            outcome = _expired(job, outcome)
    return Attempt(job.id, job.attempt, outcome, now, due)


def _expired(job: Claimed, outcome: Outcome) -> Outcome:
    """The last thing a server said is what explains the bounce, even if this attempt reached none."""
    text = outcome.text or job.reply
    return _as(outcome, Status.SOFT_BOUNCE, Reason.EXPIRED, text=text)


def _as(outcome: Outcome, status: Status, reason: Reason, text: str | None = None) -> Outcome:
    return dataclasses.replace(outcome, status=status, reason=reason, text=outcome.text if text is None else text)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def run_in_thread(engine: Engine) -> threading.Thread:
    """The engine on a uvloop of its own; if it breaks, the process ends, so that whoever guards it starts a new one."""

    def run() -> None:
        try:
            uvloop.run(engine.run())
        except Exception:
            log.critical("the engine broke", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run, name="engine", daemon=True)
    thread.start()
    return thread
