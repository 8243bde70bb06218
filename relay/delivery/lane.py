"""A lane: the due recipients of one domain. It says how many to claim, and sends what was claimed on to its site."""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from activity.claim import ACCOUNTS_A_CLAIM, Claimed, LaneWish
from relay.delivery.attempt import Closed
from relay.delivery.closure import Closure
from relay.delivery.route import Unroutable
from relay.delivery.smtp import Connection

if TYPE_CHECKING:
    from relay.delivery.engine import Engine
    from relay.delivery.traffic import Traffic

log = logging.getLogger(__name__)

SMALLEST_ROOM = 50
LARGEST_ROOM = 1000
# A busy lane answers bells at most this often: the caller may be an account that has nothing in hand yet.
BELL_SECONDS = 1.0
ROUTE_SECONDS = 30.0
# What somebody asked for is claimed by then, unless another process was faster.
ASKED_SECONDS = 10.0


class Lane:
    def __init__(self, domain: str, engine: "Engine") -> None:
        self.domain = domain
        self.engine = engine
        # Claiming: `more` is there, as far as we know; `answered` is the last bell that a claim has seen to. A lane
        # whose last claim brought several emails is `busy`: it is claimed again without a bell, and none is answered.
        self.more = self.busy = False
        self.rung = self.answered = 0
        self.after = 0
        self.claimed_at = 0.0
        # In hand: claimed and not on their way yet, and waiting at the site for their turn.
        self.arrivals: list[Claimed] = []
        self.queued = 0
        self.in_flight = 0
        self.finished = 0
        self.rate = 0.0
        # The way: where the domain's mail goes, and whether it may.
        self.traffic: Traffic | None = None
        self.hosts: set[tuple[str, int]] = set()
        self.routed_until = 0.0
        self.routing: asyncio.Task[None] | None = None
        self.no_way = Closure()
        self.closure = Closure()
        self.asked_until = 0.0

    # What the engine asks.

    def ring(self, *, asked: bool = False) -> None:
        self.more = True
        if asked:
            self.asked_until = time.monotonic() + ASKED_SECONDS
        self.rung += 1
        self.engine.hungry[self] = None

    def wish(self) -> LaneWish | None:
        """About two seconds of work, refilled when half of it is done; after a bell a little of every account."""
        if not self.more or (self.traffic is not None and self.traffic.barred):
            return None
        wanted = int(min(max(2 * self.rate, SMALLEST_ROOM), LARGEST_ROOM))
        waiting = self.in_hand
        if waiting <= wanted // 2:
            return LaneWish(self.domain, wanted - waiting, self.after)
        if self.rung != self.answered and time.monotonic() > self.claimed_at + BELL_SECONDS:
            return LaneWish(self.domain, ACCOUNTS_A_CLAIM, self.after, each=1)
        return None

    def unanswered(self, wish: LaneWish) -> bool:
        """Whether the bell is to be taken down before this claim. A busy lane's next claim follows anyway."""
        return self.rung != self.answered and (not self.busy or wish.each == 1)

    def claimed(self, wish: LaneWish, jobs: list[Claimed], rung: int) -> None:
        """What came of a wish. `rung`: how often the bell had rung when it was last taken down."""
        accounts = {job.account_id for job in jobs}
        wrapped = wish.after == 0
        self.claimed_at = time.monotonic()
        self.after = max(accounts) if len(accounts) >= ACCOUNTS_A_CLAIM else 0
        if wrapped and self.after == 0:
            self.answered = rung
        self.busy = len(jobs) > 1
        # Fewer than wanted means there is no more, unless it comes in numbers, a bell rang or accounts were skipped.
        skipped = self.after > 0 or not wrapped or wish.each == 1
        self.more = len(jobs) >= wish.room or self.busy or self.rung != self.answered or skipped
        if not self.more:
            self.engine.hungry.pop(self, None)
        self.put(jobs)

    @property
    def forgettable(self) -> bool:
        mail = self.in_hand or self.in_flight or self.more
        return not (mail or self.routing or self.no_way.why or self.closure.why)

    @property
    def in_hand(self) -> int:
        """Claimed, and not yet on a connection."""
        return len(self.arrivals) + self.queued

    def tick(self, seconds: float) -> None:
        self.rate = 0.5 * self.rate + 0.5 * self.finished / seconds
        self.finished = 0
        self.no_way.forget()
        self.move()

    # The way.

    def put(self, jobs: Iterable[Claimed]) -> None:
        self.arrivals.extend(jobs)
        self.move()

    def move(self) -> None:
        """Send what has arrived on, as far as the way is known and open."""
        if not self.arrivals or self.routing is not None:
            return
        if time.monotonic() < self.asked_until:
            self.no_way.allow()
            self.closure.allow()
        shut = self.no_way if self.no_way.left else self.closure
        if shut.left:
            self.defer(self._leave(), shut)
        elif self.traffic is None or time.monotonic() > self.routed_until:
            self.find_way()
        elif self.traffic.barred:
            self.engine.give_back(self._leave())
        else:
            self.asked_until = 0.0
            self._put_or_probe(self.traffic)

    def _put_or_probe(self, traffic: "Traffic") -> None:
        if self.closure.why is None:
            traffic.put(self, self._leave())
        elif not self.closure.probing:
            self.closure.probe()
            traffic.put(self, [self.arrivals.pop(0)])

    def find_way(self) -> None:
        if self.routing is None:
            self.routing = asyncio.create_task(self._find_way())

    async def _find_way(self) -> None:
        try:
            servers = await self.engine.dialer.router.servers(self.domain)
            self.routed_until = time.monotonic() + ROUTE_SECONDS
            if isinstance(servers, Unroutable):
                self.traffic, self.asked_until = None, 0.0
                self.no_way.shut(Closed(servers.outcome, servers.absent))
            else:
                self.no_way.reopen()
                self.hosts = {(server.host, server.port) for server in servers}
                self.traffic = self.engine.traffic_of(self.domain, servers)
                self.closure = self.traffic.closure(servers)
        except Exception:
            log.exception("the way to %s was not found", self.domain)
            for job in self._leave():
                self.engine.release(job)
        self.routing = None
        self.move()

    def accepts(self, connection: Connection) -> bool:
        """Whether a connection, opened for whatever domain, leads to a mail host of this one."""
        return (connection.server.host, connection.server.port) in self.hosts

    def defer(self, jobs: Iterable[Claimed], shut: Closure) -> None:
        """Mail for a closed destination is Deferred with its last error, never left Accepted."""
        assert shut.why is not None
        for job in jobs:
            self.engine.finish(job, shut.why.outcome, absent=shut.why.absent, pause=shut.left)

    def shut(self) -> None:
        """The closure has been shut: what waits here waits in vain."""
        self.defer(self._leave(), self.closure)

    def _leave(self) -> list[Claimed]:
        leaving, self.arrivals = self.arrivals, []
        return leaving
