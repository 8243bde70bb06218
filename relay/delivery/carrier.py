"""A carrier: owns one connection of a site and takes the site's mail over it, email after email."""

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

import psycopg

from activity.claim import Claimed
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status
from relay import metrics
from relay.delivery.attempt import Closed, hand_over
from relay.delivery.contents import Gone, Prepared
from relay.delivery.sign import CannotSign
from relay.delivery.slots import Idle
from relay.delivery.smtp import Connection

if TYPE_CHECKING:
    from relay.delivery.lane import Lane
    from relay.delivery.traffic import Traffic

log = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
# Between two tries to read a content while the database is away.
CONTENT_SECONDS = 1.0
# Contents read and signed ahead of the carriers of a site, as far as memory allows.
AHEAD = 32
# A pause may be ended by an operator or by a stop.
LONGEST_REST = 1.0


class Carrier:
    def __init__(self, traffic: "Traffic") -> None:
        self.traffic = traffic
        self.engine = traffic.engine
        self.connection: Connection | None = None
        self.domain = ""

    async def run(self) -> None:
        async with self.engine.slots:
            lease = await self.engine.shared_slots.take(self.traffic.site, self.traffic.manners.connections)
            if lease is None:
                self.traffic.crowded()
                return
            try:
                while (job := await self._next()) is not None:
                    if not await self._guarded(job):
                        return
            finally:
                await self._hang_up()
                self.engine.shared_slots.give_back(lease)

    async def _next(self) -> Claimed | None:
        traffic = self.traffic
        while True:
            await self.engine.recorder.clear.wait()
            if self.engine.stopping or traffic.paused or len(traffic.carriers) > traffic.manners.limit:
                return None
            if not traffic.turns:
                if self.connection is None or self.connection.broken or not await self._wait_for_work():
                    return None
            elif (pause := traffic.manners.wait()) > 0:
                await self.engine.rest(min(pause, LONGEST_REST))
            else:
                job = traffic.take()
                share = len(traffic.connections) / max(1, self.engine.connected)
                self.engine.contents.look_ahead(traffic.turns.ahead(AHEAD), share)
                return job

    async def _wait_for_work(self) -> bool:
        """An open connection waits a little for the next email, unless another site needs its slot or itself."""
        assert self.connection is not None
        idle = Idle(self.connection)
        self.traffic.idle[idle] = None
        self.engine.slots.add(idle)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(IDLE_SECONDS):
                await idle.woken
        idle.wake()
        self.traffic.idle.pop(idle, None)
        self.engine.slots.remove(idle)
        if idle.taken:
            self._let_go()
        return bool(self.traffic.turns) and not idle.taken

    async def _guarded(self, job: Claimed) -> bool:
        lane = self.engine.lane(job.domain)
        lane.in_flight += 1
        try:
            return await self._attempt(job)
        except BaseException:
            # A bug or the end of the process: the lease runs out and the email is due again.
            self.engine.release(job)
            raise
        finally:
            lane.in_flight -= 1

    async def _attempt(self, job: Claimed) -> bool:
        """Deliver one email over the connection or a new one; False when there is none to go on with."""
        if not self.engine.holds(job):
            return True
        try:
            prepared = await self.engine.contents.get(job)
        except (Gone, CannotSign) as error:
            self._finished(job, Outcome(Status.SOFT_BOUNCE, Reason.OTHER, note=f"Not sent: {error}"))
            return True
        except (psycopg.Error, OSError) as error:
            log.warning("content of %s not read yet: %s", job.message_id, error)
            self.traffic.put_back(job)
            await self.engine.rest(CONTENT_SECONDS)
            return True
        for _ in range(2):
            if (connection := await self._usable(job)) is None:
                return False
            if await self._hand_over(connection, job, prepared):
                return True
        self._finished(job, Outcome(Status.DEFERRED, Reason.NETWORK, note="the server closed two connections in a row"))
        return True

    async def _hand_over(self, connection: Connection, job: Claimed, prepared: Prepared) -> bool:
        began = time.monotonic()
        outcome = await hand_over(connection, job, prepared)
        if outcome is None:
            return False
        metrics.TRANSACTION_SECONDS.observe(time.monotonic() - began)
        self.traffic.heard(outcome)
        self._finished(job, outcome)
        return True

    def _finished(self, job: Claimed, outcome: Outcome) -> None:
        self.engine.lane(job.domain).finished += 1
        self.engine.finish(job, outcome)

    async def _usable(self, job: Claimed) -> Connection | None:
        """The connection if it still serves and leads to the job's servers, or another one."""
        lane = self.engine.lane(job.domain)
        if self.connection is not None:
            if await self._serves(self.connection, lane):
                return self.connection
            await self._hang_up()
        reached = await self._taken_over(lane) or await self._opened(lane)
        if isinstance(reached, Closed):
            self.traffic.not_reached(lane, job, reached)
            return None
        self.connection, self.domain = reached, lane.domain
        self.traffic.reached(lane, reached)
        return reached

    async def _serves(self, connection: Connection, lane: "Lane") -> bool:
        if connection.broken or connection.sent >= self.traffic.manners.messages_per_connection:
            return False
        return lane.domain == self.domain or (
            lane.accepts(connection) and await self.engine.dialer.suits(connection, lane.domain)
        )

    async def _taken_over(self, lane: "Lane") -> Connection | None:
        """A connection to the same mail host that another site keeps idle."""
        idle = self.engine.slots.idle_at(lane.hosts)
        if idle is not None and await self.engine.dialer.suits(idle.connection, lane.domain) and idle.take():
            return idle.connection
        return None

    async def _opened(self, lane: "Lane") -> Connection | Closed:
        began = time.monotonic()
        reached = await self.engine.dialer.open(lane.domain)
        if isinstance(reached, Connection):
            metrics.CONNECT_SECONDS.observe(time.monotonic() - began)
        return reached

    def _let_go(self) -> None:
        if self.connection is not None:
            self.traffic.left(self.connection)
            self.connection = None

    async def _hang_up(self) -> None:
        if (connection := self.connection) is not None:
            self._let_go()
            await connection.quit()
