"""A lane: the due recipients of one destination that are in hand, and the carriers that take them over connections."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import psycopg
from django.conf import settings

from activity.claim import Claimed
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status
from relay.delivery.attempt import MESSAGES_A_CONNECTION, Closed, hand_over
from relay.delivery.contents import Gone
from relay.delivery.sign import CannotSign
from relay.delivery.smtp import Connection

if TYPE_CHECKING:
    from relay.delivery.engine import Engine

log = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
# Between two tries to read a content while the database is away.
CONTENT_SECONDS = 1.0
# Contents read and signed ahead of the carriers of a lane.
PREFETCHED = 10
LONGEST_PAUSE = 900.0
SMALLEST_ROOM = 50
LARGEST_ROOM = 1000


class Lane:
    def __init__(self, domain: str, engine: "Engine") -> None:
        self.domain = domain
        self.engine = engine
        self.queue: deque[Claimed] = deque()
        self.carriers: set[asyncio.Task[None]] = set()
        self.connected = 0
        self.idle: deque[asyncio.Future[None]] = deque()
        self.more = False
        self.rung = 0
        self.after = 0
        self.finished = 0
        self.rate = 0.0
        self.cap = settings.LANE_CONNECTIONS
        self.closed: Closed | None = None
        self.closed_until = 0.0
        self.failures = 0

    # What the engine asks.

    @property
    def room(self) -> int:
        """How many recipients to claim now: about two seconds of work, refilled when half of it is done."""
        wanted = int(min(max(2 * self.rate, SMALLEST_ROOM), LARGEST_ROOM))
        return wanted - len(self.queue) if self.more and len(self.queue) <= wanted // 2 else 0

    @property
    def is_closed(self) -> bool:
        return self.closed is not None and time.monotonic() < self.closed_until

    @property
    def forgettable(self) -> bool:
        return not (self.queue or self.carriers or self.more or self.closed)

    def ring(self) -> None:
        self.more = True
        self.rung += 1

    def wake_idle(self) -> None:
        for future in self.idle:
            if not future.done():
                future.set_result(None)

    def measure(self, seconds: float) -> None:
        self.rate = 0.5 * self.rate + 0.5 * self.finished / seconds
        self.finished = 0
        self.cap = min(self.cap + 1, settings.LANE_CONNECTIONS)
        if self.closed is not None and time.monotonic() > self.closed_until + LONGEST_PAUSE:
            self.closed, self.failures = None, 0

    def put(self, jobs: Iterable[Claimed]) -> None:
        self.queue.extend(jobs)
        if self.is_closed:
            self._defer_all()
            return
        self._start_carriers()

    # Carriers.

    def _start_carriers(self) -> None:
        woken = 0
        while self.idle and woken < len(self.queue):
            future = self.idle.popleft()
            if not future.done():
                future.set_result(None)
                woken += 1
        # A destination that was closed is probed with one connection.
        most = 1 if self.closed is not None else self.cap
        for _ in range(min(len(self.queue) - woken, most - len(self.carriers))):
            task = asyncio.create_task(self._carry())
            self.carriers.add(task)
            task.add_done_callback(self._carrier_ended)

    def _carrier_ended(self, task: asyncio.Task[None]) -> None:
        self.carriers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("carrier of %s failed", self.domain, exc_info=error)
        if self.queue and not self.engine.stopping:
            self._start_carriers()

    async def _carry(self) -> None:
        async with self.engine.slots:
            connection: Connection | None = None
            try:
                while (job := await self._next(connection)) is not None:
                    connection = await self._guarded(job, connection)
                    if connection is None:
                        return
            finally:
                if connection is not None:
                    self._dropped()
                    await connection.quit()

    async def _next(self, connection: Connection | None) -> Claimed | None:
        await self.engine.recorder.clear.wait()
        while not self.queue:
            if connection is None or connection.broken or self.engine.stopping or not await self._wait_for_work():
                return None
        if self.engine.stopping:
            return None
        job = self.queue.popleft()
        self.engine.contents.prefetch(islice(self.queue, PREFETCHED))
        return job

    async def _wait_for_work(self) -> bool:
        """An open connection waits a little for the next email, unless another destination needs its slot."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle.append(future)
        self.engine.slots.idle.append(future)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(IDLE_SECONDS):
                await future
        with contextlib.suppress(ValueError):
            self.idle.remove(future)
        with contextlib.suppress(ValueError):
            self.engine.slots.idle.remove(future)
        return bool(self.queue)

    async def _guarded(self, job: Claimed, connection: Connection | None) -> Connection | None:
        try:
            return await self._attempt(job, connection)
        except BaseException:
            # A bug or the end of the process: the lease runs out and the email is due again.
            self.engine.release(job)
            raise

    async def _attempt(self, job: Claimed, connection: Connection | None) -> Connection | None:
        """Deliver one email over `connection` or a new one; the connection to go on with, if there is one."""
        if not self.engine.holds(job):
            return connection
        try:
            prepared = await self.engine.contents.get(job)
        except (Gone, CannotSign) as error:
            self.engine.finish(job, Outcome(Status.SOFT_BOUNCE, Reason.OTHER, note=f"Not sent: {error}"))
            return connection
        except (psycopg.Error, OSError) as error:
            log.warning("content of %s not read yet: %s", job.message_id, error)
            self.queue.append(job)
            await asyncio.sleep(CONTENT_SECONDS)
            return connection
        for _ in range(2):
            connection = await self._usable(job, connection)
            if connection is None:
                return None
            outcome = await hand_over(connection, job, prepared)
            if outcome is not None:
                self._finished(job, outcome)
                return connection
        self._finished(job, Outcome(Status.DEFERRED, Reason.NETWORK, note="the server closed two connections in a row"))
        return connection

    def _finished(self, job: Claimed, outcome: Outcome) -> None:
        self.finished += 1
        self.engine.finish(job, outcome)

    async def _usable(self, job: Claimed, connection: Connection | None) -> Connection | None:
        if connection is not None:
            if not connection.broken and connection.sent < MESSAGES_A_CONNECTION:
                return connection
            self._dropped()
            await connection.quit()
        reached = await self.engine.dialer.open(self.domain)
        if isinstance(reached, Connection):
            self.connected += 1
            self.closed, self.failures = None, 0
            return reached
        if self.connected:
            # The others still have connections: this server takes no more at once.
            self.cap = max(1, self.connected)
            self.queue.appendleft(job)
            return None
        self._close(reached)
        self.queue.appendleft(job)
        self._defer_all()
        return None

    def _dropped(self) -> None:
        self.connected -= 1

    def _close(self, closed: Closed) -> None:
        self.closed = closed
        self.failures += 1
        first = min(settings.RETRY[0], 120.0)
        self.closed_until = time.monotonic() + min(first * 2 ** (self.failures - 1), LONGEST_PAUSE)
        self.cap = settings.LANE_CONNECTIONS

    def _defer_all(self) -> None:
        """Mail for a closed destination is Deferred with its last error, never left Accepted."""
        if self.closed is None:
            return
        not_before = max(0.0, self.closed_until - time.monotonic())
        while self.queue:
            self.engine.finish(self.queue.popleft(), self.closed.outcome, absent=self.closed.absent, pause=not_before)
