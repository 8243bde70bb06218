"""Recording of refusals, bounded for each account, so that a client gone mad cannot fill the database."""

import asyncio
import logging
import time
from collections import Counter
from functools import cache, partial

from activity.accept import GroupCommit, Unavailable
from activity.arrival import Arrival, Refusal
from billing.refusals import count_unrecorded
from relay.limits import Buckets
from relay.submission.directory import Directory

log = logging.getLogger(__name__)

AT_ONCE = 100
A_SECOND = 2.0
REMEMBER_QUOTA = 2.0


class Refusals:
    def __init__(self, committer: GroupCommit, directory: Directory) -> None:
        self.committer = committer
        self.directory = directory
        self.buckets = Buckets(AT_ONCE, A_SECOND)
        self.unrecorded: Counter[int] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.quotas: dict[int, tuple[float, int, Refusal]] = {}

    def bound(self, arrival: Arrival) -> None:
        """Leave as many refused recipients in the arrival as may be recorded now; the commit may refuse the others."""
        if arrival.refused:
            del arrival.refused[self.grant(arrival.account_id, len(arrival.refused)) :]
        # Asked again when a batch is tried again, and then it is the same.
        arrival.recordable = cache(partial(self.grant, arrival.account_id))

    def grant(self, account_id: int, wanted: int) -> int:
        """Of how many refused recipients there may be rows; the others are counted."""
        granted = self.buckets.take(account_id, wanted)
        self.unrecorded[account_id] += wanted - granted
        return granted

    async def record(self, arrival: Arrival) -> None:
        """Write an arrival of which nothing was accepted. Raises Unavailable."""
        self.bound(arrival)
        if arrival.refused:
            await self.committer.accept(arrival)

    def record_soon(self, arrival: Arrival) -> None:
        """The same when nobody waits for it."""
        task = asyncio.create_task(self._record(arrival))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _record(self, arrival: Arrival) -> None:
        try:
            await self.record(arrival)
        except Unavailable as error:
            log.warning("%d refusals not recorded: %s", len(arrival.refused), error)

    async def settle(self) -> None:
        """Until what was handed over for recording is recorded."""
        await asyncio.gather(*self.tasks)

    def remember_quota(self, account_id: int, wanted: int, refusal: Refusal) -> None:
        self.quotas[account_id] = (time.monotonic() + REMEMBER_QUOTA, wanted, refusal)

    def quota_refusal(self, account_id: int, wanted: int) -> Refusal | None:
        """The refusal of a moment ago, if as few recipients did not fit: a flood shall not cost a commit a message."""
        until, too_many, refusal = self.quotas.get(account_id, (0.0, 0, None))
        if until < time.monotonic():
            self.quotas.pop(account_id, None)
            return None
        return refusal if wanted >= too_many else None

    async def flush(self) -> None:
        """Write the counters; what cannot be written now is kept for the next time."""
        counted, self.unrecorded = self.unrecorded, Counter()
        counted = +counted
        if not counted:
            return
        try:
            await self.directory.ask(count_unrecorded, dict(counted))
        except Unavailable:
            self.unrecorded.update(counted)
