"""The engine: one event loop that claims due mail, carries every connection, and records what came of it.

PostgreSQL is asked when a bell rings, when a lane runs low, and every few seconds anyway, so mail flows without Redis.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import uvloop
from django.conf import settings

from activity.claim import Claimed, hand_back
from activity.destinations import Rule, rule_for, rules
from activity.lanes import due_by_lane
from activity.outcome import Attempt, Outcome
from activity.pool import open_pool
from activity.schedules import own_schedules
from activity.status import Status
from relay import metrics
from relay.delivery.acquainted import Acquainted
from relay.delivery.attempt import Dialer
from relay.delivery.claimer import Claimer
from relay.delivery.contents import Contents
from relay.delivery.doorbells import Doorbells
from relay.delivery.lane import Lane
from relay.delivery.noticeboard import Noticeboard
from relay.delivery.recorder import Recorder
from relay.delivery.retry import settle
from relay.delivery.route import Router, Server, site_of
from relay.delivery.shared_slots import SharedSlots
from relay.delivery.slots import Slots
from relay.delivery.traffic import Traffic

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
RENEW_SECONDS = 20.0
RULES_SECONDS = 5.0
SCHEDULES_SECONDS = 30.0
ACQUAINTED_SECONDS = 20.0
NOTICE_SECONDS = 2.0
METRICS_SECONDS = 15.0
TICK_SECONDS = 1.0
STOP_SECONDS = 3.0
# For what they know of the transactions that were cut off.
GOODBYE_SECONDS = 0.2


class Engine:
    """`run` until `stop`; `ring` may be called from any thread."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        # Those that may have due mail nobody has claimed.
        self.hungry: dict[Lane, None] = {}
        self.traffic: dict[str, Traffic] = {}
        self.rules: Sequence[Rule] = ()
        # Accounts whose plan has a retry schedule of its own.
        self.schedules: dict[int, Sequence[float]] = {}
        self.connected = 0
        # Deliverer processes that are alive, this one included.
        self.processes = 1
        self.stopping = False
        self.started = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    # From other threads.

    def ring(self, *domains: str, asked: bool = False) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._rung, domains, asked)

    def stop(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop)

    # The loop's life.

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.background: set[asyncio.Task[None]] = set()
        self.slots = Slots(settings.CONNECTIONS)
        self.shared_slots = SharedSlots()
        self.doorbells = Doorbells()
        self.noticeboard = Noticeboard(self)
        self.pool = await open_pool(4, "deliverer")
        self.contents = Contents(self.pool)
        self.acquainted = Acquainted(self.pool)
        self.dialer = Dialer(Router(took_mail=self.acquainted.took_mail))
        self.claimer = Claimer(self)
        self.holds, self.release = self.claimer.holds, self.claimer.release
        self.recorder = Recorder(self.pool, lambda: self.claimer.oldest, self._most_unwritten, self._recorded)
        steps: tuple[tuple[Callable[[], Awaitable[None]], float], ...] = (
            (self._learn_rules, RULES_SECONDS),
            (self._learn_schedules, SCHEDULES_SECONDS),
            (self.acquainted.write, ACQUAINTED_SECONDS),
            (self.claimer.look, LOOK_SECONDS),
            (self.claimer.renew, RENEW_SECONDS),
            (self.noticeboard.publish, NOTICE_SECONDS),
            (self._tick, TICK_SECONDS),
        )
        if settings.METRICS_PORT:
            steps += ((self._count_due, METRICS_SECONDS),)
        tasks = [asyncio.create_task(self._for_ever(step, seconds)) for step, seconds in steps]
        tasks.append(asyncio.create_task(self.claimer.run()))
        self.started.set()
        ended = asyncio.create_task(self.stopped.wait())
        working = [*tasks, *self.shared_slots.tasks, self.contents.task, self.recorder.task]
        try:
            # None of the others ever ends by itself, unless by a bug.
            await asyncio.wait([ended, *working], return_when="FIRST_COMPLETED")
        finally:
            broken = [task for task in working if task.done()]
            await self._close(tasks)
        for task in broken:
            task.result()

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        """End the transactions in hand, write what came of them, give back what was not begun."""
        for task in tasks:
            task.cancel()
        carriers = {carrier for traffic in self.traffic.values() for carrier in traffic.carriers}
        if carriers:
            _, late = await asyncio.wait(carriers, timeout=STOP_SECONDS)
            for carrier in late:
                carrier.cancel()
            if late:
                await asyncio.wait(late, timeout=GOODBYE_SECONDS)
        in_hand = [job for traffic in self.traffic.values() for job in traffic.withdraw()]
        in_hand += [job for lane in self.lanes.values() for job in lane.arrivals]
        with contextlib.suppress(TimeoutError, psycopg.Error, OSError):
            async with asyncio.timeout(1.5):
                await self.recorder.flush()
                await self.acquainted.write()
                async with self.pool.connection() as connection:
                    await hand_back(connection, in_hand, self.claimer.oldest)
        self.recorder.close()
        self.contents.close()
        await self.noticeboard.close()
        await self.shared_slots.close()
        await self.doorbells.close()
        with contextlib.suppress(TimeoutError):
            await self.pool.close(timeout=0.5)

    def _stop(self) -> None:
        self.stopping = True
        for traffic in self.traffic.values():
            traffic.wake_idle()
        self.stopped.set()

    async def rest(self, seconds: float) -> None:
        """Sleep, but not through the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()

    async def _for_ever(self, step: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await step()
            except (psycopg.Error, OSError) as error:
                log.warning("%s waits for the database: %s", step.__name__.strip("_"), error)
            await asyncio.sleep(seconds)

    # Lanes and sites.

    def _rung(self, domains: Sequence[str], asked: bool) -> None:
        for domain in domains:
            self.lane(domain).ring(asked=asked)
        self.claimer.wake.set()

    def lane(self, domain: str) -> Lane:
        if (lane := self.lanes.get(domain)) is None:
            lane = self.lanes[domain] = Lane(domain, self)
        return lane

    def traffic_of(self, domain: str, servers: Sequence[Server]) -> Traffic:
        """What one rule matches is one site, and so are domains with the same mail hosts; a routed domain is one."""
        rule = rule_for(self.rules, domain, servers[0].host)
        routed = domain in settings.ROUTES or "*" in settings.ROUTES
        site = rule.name if rule is not None else domain if routed else site_of(servers)
        if (traffic := self.traffic.get(site)) is None:
            traffic = self.traffic[site] = Traffic(site, rule, self)
        return traffic

    async def _learn_rules(self) -> None:
        async with self.pool.connection() as connection:
            known = await rules(connection)
        if known != self.rules:
            self.rules = known
            by_name = {rule.name: rule for rule in known}
            for traffic in self.traffic.values():
                traffic.follow(by_name.get(traffic.site))
            self._route_anew()

    async def _learn_schedules(self) -> None:
        async with self.pool.connection() as connection:
            self.schedules = await own_schedules(connection)

    def _route_anew(self) -> None:
        for traffic in self.traffic.values():
            for job in traffic.withdraw():
                self.lane(job.domain).arrivals.append(job)
        for lane in self.lanes.values():
            lane.find_way()
        self.claimer.wake.set()

    async def _tick(self) -> None:
        for lane in list(self.lanes.values()):
            lane.tick(TICK_SECONDS)
            if lane.forgettable:
                del self.lanes[lane.domain]
        used = {lane.traffic for lane in self.lanes.values()}
        for traffic in list(self.traffic.values()):
            traffic.tick()
            if traffic not in used and traffic.forgettable:
                del self.traffic[traffic.site]
        # A lane may want to answer its bell by now.
        self.claimer.wake.set()

    # Outcomes.

    def finish(self, job: Claimed, outcome: Outcome, *, absent: bool = False, pause: float = 0.0) -> None:
        """An attempt ended: decide whether there is a next one, and hand both to the recorder."""
        schedule = self.schedules.get(job.account_id)
        attempt = settle(job, outcome, _now(), schedule=schedule, absent=absent, pause=pause)
        if outcome.status == Status.DELIVERED:
            self.acquainted.delivered(job.domain)
        self.recorder.add(attempt)
        traffic = self.lane(job.domain).traffic
        metrics.attempted(attempt, job, traffic.provider if traffic is not None else "other")

    def _recorded(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self.claimer.held.pop(attempt.recipient_id, None)
            self.claimer.leased_until.pop(attempt.recipient_id, None)
        metrics.RECORD_BATCH.observe(len(attempts))
        self.claimer.wake.set()

    def give_back(self, jobs: list[Claimed]) -> None:
        """What was claimed and cannot be begun here is due again at once."""
        if not jobs:
            return
        task = asyncio.create_task(self._give_back(jobs))
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _give_back(self, jobs: list[Claimed]) -> None:
        with contextlib.suppress(psycopg.Error, OSError):
            await self.claimer.give_back(jobs)

    async def _count_due(self) -> None:
        async with self.pool.connection() as connection:
            metrics.QUEUE.saw(await due_by_lane(connection, self.claimer.oldest))

    def _most_unwritten(self) -> int:
        """No connection is more than one transaction ahead of what is written."""
        return max(10, 2 * self.connected)


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
