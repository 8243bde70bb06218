"""The traffic with one site: its mail in hand, the carriers that take it there, and what they have learnt."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from activity.claim import Claimed
from activity.destinations import Rule
from activity.outcome import Outcome
from activity.status import Status
from relay.delivery.attempt import Closed
from relay.delivery.carrier import Carrier
from relay.delivery.closure import Closure
from relay.delivery.manners import Manners
from relay.delivery.route import Server
from relay.delivery.slots import Idle
from relay.delivery.smtp import Connection
from relay.delivery.turns import Turns

if TYPE_CHECKING:
    from relay.delivery.engine import Engine
    from relay.delivery.lane import Lane

log = logging.getLogger(__name__)

# While other processes hold all connections that a site allows.
CROWDED_SECONDS = 1.0
# After this long without one, what is in hand is left to them.
PATIENCE_SECONDS = 2.0
BARRED_SECONDS = 3.0


class Traffic:
    """Connections, their cap, pauses and rates belong to the site; how its mail was claimed is the lanes' business."""

    def __init__(self, site: str, rule: Rule | None, engine: "Engine") -> None:
        self.site = site
        self.rule = rule
        self.engine = engine
        self.manners = Manners(rule)
        self.turns = Turns()
        self.carriers: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self.idle: dict[Idle, None] = {}
        # Each lives as long as a lane looks at it.
        self.closures: WeakValueDictionary[frozenset[str], Closure] = WeakValueDictionary()
        self.crowded_until = self.crowded_since = self.barred_until = 0.0
        self.last_error: Outcome | None = None

    @property
    def provider(self) -> str:
        """The name of the rule for its mail hosts, of which there are few; "other" without one."""
        return self.rule.name if self.rule is not None and self.rule.mx_suffixes else "other"

    @property
    def paused(self) -> bool:
        return self.rule is not None and self.rule.paused

    @property
    def barred(self) -> bool:
        """Nothing shall be claimed for it: an operator has paused it, or other processes use all it allows."""
        return self.paused or time.monotonic() < self.barred_until

    @property
    def forgettable(self) -> bool:
        return not (self.turns or self.carriers) and self.manners.unimpressed

    def follow(self, rule: Rule | None) -> None:
        self.rule = rule
        self.manners.follow(rule)

    def closure(self, servers: Iterable[Server]) -> Closure:
        """Shared by the domains with the same mail hosts: a provider's other hosts may be well."""
        return self.closures.setdefault(frozenset(server.host for server in servers), Closure())

    # Mail in hand.

    def put(self, lane: "Lane", jobs: list[Claimed]) -> None:
        lane.queued += len(jobs)
        self.turns.extend(jobs)
        self.start_carriers()

    def take(self) -> Claimed:
        job = self.turns.pop()
        self.engine.lane(job.domain).queued -= 1
        self.manners.begin(self.engine.processes)
        return job

    def put_back(self, job: Claimed) -> None:
        self.engine.lane(job.domain).queued += 1
        self.turns.put_back(job)

    def withdraw(self, concerned: Callable[["Lane"], bool] = lambda _: True) -> list[Claimed]:
        """Take back what waits for a turn, of all lanes or of those that are concerned."""
        lane = self.engine.lane
        jobs = self.turns.withdraw(lambda job: concerned(lane(job.domain)))
        for job in jobs:
            lane(job.domain).queued -= 1
        return jobs

    # Carriers.

    def start_carriers(self) -> None:
        woken = 0
        for idle in list(self.idle):
            if woken >= len(self.turns):
                return
            woken += idle.wake()
        if self.paused or self.engine.stopping or time.monotonic() < self.crowded_until:
            return
        for _ in range(min(len(self.turns) - woken, self._most_carriers() - len(self.carriers))):
            task = asyncio.create_task(Carrier(self).run())
            self.carriers.add(task)
            task.add_done_callback(self._carrier_ended)

    def _most_carriers(self) -> int:
        """The first connection finds out whether anybody is there, so a dead site does not hang on to many slots.

        A rule's many hosts do not speak for each other.
        """
        return self.manners.limit if self.connections or self.rule is not None else 1

    def _carrier_ended(self, task: asyncio.Task[None]) -> None:
        self.carriers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("carrier to %s failed", self.site, exc_info=error)
        if self.turns:
            self.start_carriers()

    def wake_idle(self) -> None:
        for idle in list(self.idle):
            idle.wake()

    def tick(self) -> None:
        self.manners.recover()
        for closure in list(self.closures.values()):
            closure.forget()
        if self.paused:
            self.engine.give_back(self.withdraw())
        elif self.turns:
            self.start_carriers()
            self._lose_patience()

    # What carriers tell.

    def crowded(self) -> None:
        """Other processes hold all the connections that the site allows."""
        now = time.monotonic()
        if now > self.crowded_until + CROWDED_SECONDS:
            self.crowded_since = now
        self.crowded_until = now + CROWDED_SECONDS

    def _lose_patience(self) -> None:
        now = time.monotonic()
        if not self.carriers and now < self.crowded_until and now > self.crowded_since + PATIENCE_SECONDS:
            self.barred_until = now + BARRED_SECONDS
            self.engine.give_back(self.withdraw())

    def reached(self, lane: "Lane", connection: Connection) -> None:
        self.connections.add(connection)
        self.engine.connected += 1
        if lane.closure.why is not None:
            lane.closure.reopen()
            for other in self._sharing(lane.closure):
                other.move()
        if self.turns:
            self.start_carriers()

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.engine.connected -= 1

    def not_reached(self, lane: "Lane", job: Claimed, closed: Closed) -> None:
        """With open connections the server only takes no more at once; without any it is closed.

        A domain whose own policy forbids its servers is closed alone.
        """
        self.last_error = closed.outcome
        self.put_back(job)
        if closed.own:
            lane.no_way.shut(closed)
            lane.defer(self.withdraw(lambda other: other is lane), lane.no_way)
            return
        if any(lane.accepts(connection) for connection in self.connections):
            self.manners.refused_another(len(self.connections))
            return
        self.manners.heard(closed.outcome)
        lane.closure.shut(closed)
        lane.defer(self.withdraw(lambda other: other.closure is lane.closure), lane.closure)
        for other in self._sharing(lane.closure):
            other.shut()

    def heard(self, outcome: Outcome) -> None:
        self.manners.heard(outcome)
        if outcome.status != Status.DELIVERED:
            self.last_error = outcome

    def _sharing(self, closure: Closure) -> list["Lane"]:
        return [lane for lane in self.engine.lanes.values() if lane.closure is closure]
