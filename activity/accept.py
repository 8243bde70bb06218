"""Accept: many messages in one transaction, and 250 only after its commit.

Every message whose DATA ended while the last commit ran goes into the next one (group commit). Usage rows are locked
in account order, so two programs never wait for each other crosswise; then each message is judged singly in the order
of arrival. A message that PostgreSQL refuses fails alone: its batch is tried again message by message.
"""

import asyncio
import datetime as dt
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from django.conf import settings
from psycopg import AsyncConnection

from activity import bell, slices
from activity.arrival import Arrival, Refusal, quota_refusal
from activity.pool import Pool
from activity.rows import COLUMNS, Batch
from billing.models import period_of

log = logging.getLogger(__name__)

BATCH_MESSAGES = 500
BATCH_BYTES = 4_000_000
# While messages come in numbers, the next commit waits these seconds for more of them: a commit costs as much CPU as
# several messages do.
GATHER = 0.003

LOCK_USAGE = """
SELECT usage.account_id, usage.used, plan.monthly_quota, plan.give_up_hours
FROM billing_usage usage
JOIN billing_account account ON account.id = usage.account_id
JOIN billing_plan plan ON plan.id = account.plan_id
WHERE usage.account_id = ANY(%s) AND usage.period = %s
ORDER BY usage.account_id
FOR UPDATE OF usage
"""
MAKE_USAGE = """
INSERT INTO billing_usage (account_id, period, used) SELECT unnest(%s::bigint[]), %s, 0 ON CONFLICT DO NOTHING
"""
SPEND = """
UPDATE billing_usage SET used = used + spent.emails
FROM unnest(%s::bigint[], %s::int[]) AS spent(account_id, emails)
WHERE billing_usage.account_id = spent.account_id AND period = %s
"""


COPY = {
    table: f"COPY {table} ({', '.join(column for column, _ in columns)}) FROM STDIN (FORMAT BINARY)".encode()
    for table, columns in COLUMNS.items()
}


class Unavailable(Exception):
    """The database is away or full: nothing of this message was accepted."""


async def accept(connection: AsyncConnection[Any], arrivals: Sequence[Arrival]) -> list[Refusal | None]:
    """Commit all arrivals in one transaction; for each, None when accepted, else why it was refused as a whole.

    Raises psycopg.Error when nothing was committed.
    """
    now = dt.datetime.now(dt.UTC)
    batch = Batch(now)
    period = period_of(now)
    async with connection.transaction():
        quotas = await _lock_usage(connection, sorted({arrival.account_id for arrival in arrivals}), period)
        verdicts = []
        for arrival in arrivals:
            used, limit, hours = quotas.get(arrival.account_id, (0, 0, None))
            used += batch.spent.get(arrival.account_id, 0)
            wanted = len(arrival.recipients)
            refusal = quota_refusal(used, limit, period) if wanted and used + wanted > limit else None
            batch.add(arrival, refusal, dt.timedelta(seconds=settings.GIVE_UP if hours is None else hours * 3600))
            verdicts.append(refusal)
        await _write(connection, batch, period)
    bell.ring(batch.domains)
    return verdicts


async def _lock_usage(
    connection: AsyncConnection[Any], accounts: list[int], period: dt.date
) -> dict[int, tuple[int, int, int | None]]:
    """{account: (emails used this month, emails allowed, hours until we give up or None)}, locked until the commit."""
    for _ in range(2):
        rows = await (await connection.execute(LOCK_USAGE, [accounts, period])).fetchall()
        if len(rows) == len(accounts):
            break
        await connection.execute(MAKE_USAGE, [accounts, period])
    return {account: (used, limit, hours) for account, used, limit, hours in rows}


async def _write(connection: AsyncConnection[Any], batch: Batch, period: dt.date) -> None:
    cursor = connection.cursor()
    for table, rows in batch.rows.items():
        if not rows:
            continue
        async with cursor.copy(COPY[table]) as copy:
            copy.set_types([kind for _, kind in COLUMNS[table]])
            for row in rows:
                await copy.write_row(row)
    if batch.spent:
        await cursor.execute(SPEND, [list(batch.spent), list(batch.spent.values()), period])


async def accept_each(
    connection: AsyncConnection[Any], arrivals: Sequence[Arrival]
) -> list[Refusal | Unavailable | None]:
    """Accept a batch; where data is at fault, message by message, so that one never fails its neighbours."""
    try:
        return list(await accept(connection, arrivals))
    except psycopg.errors.CheckViolation:
        # "no partition of relation found for row": a slice is missing, because housekeeping was away for weeks.
        await make_slice(connection)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(arrivals) == 1:
            log.error("message %s cannot be stored: %s", arrivals[0].id, error)
            return [Unavailable("it cannot be stored")]
        singly = [await accept_each(connection, [arrival]) for arrival in arrivals]
        return [verdict for verdicts in singly for verdict in verdicts]
    return list(await accept(connection, arrivals))


async def make_slice(connection: AsyncConnection[Any]) -> None:
    start = slices.week_of(dt.datetime.now(dt.UTC))
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [slices.LOCK])
        for statement in slices.statements(start):
            await connection.execute(statement)


class GroupCommit:
    """Takes arrivals from many SMTP sessions and commits them together, one transaction at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: deque[tuple[Arrival, asyncio.Future[Refusal | None]]] = deque()
        self.wake = asyncio.Event()
        self.closing = False
        self.task = asyncio.create_task(self._run())

    async def accept(self, arrival: Arrival) -> Refusal | None:
        """None once it is committed; a Refusal for the whole message; raises Unavailable."""
        done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((arrival, done))
        self.wake.set()
        return await done

    async def close(self) -> None:
        """Commit what was handed over, then stop."""
        self.closing = True
        self.wake.set()
        await self.task

    async def _run(self) -> None:
        busy = False
        while self.waiting or not self.closing:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                if busy:
                    await asyncio.sleep(GATHER)
                batch = self._take()
                busy = len(batch) > 1
                await self._commit(batch)

    def _take(self) -> list[tuple[Arrival, asyncio.Future[Refusal | None]]]:
        taken = [self.waiting.popleft()]
        size = taken[0][0].size
        while self.waiting and len(taken) < BATCH_MESSAGES and size + self.waiting[0][0].size <= BATCH_BYTES:
            size += self.waiting[0][0].size
            taken.append(self.waiting.popleft())
        return taken

    async def _commit(self, batch: list[tuple[Arrival, asyncio.Future[Refusal | None]]]) -> None:
        arrivals = [arrival for arrival, _ in batch]
        verdicts: Iterable[Refusal | Unavailable | None]
        try:
            async with self.pool.connection() as connection:
                verdicts = await accept_each(connection, arrivals)
        except (psycopg.Error, OSError) as error:
            log.warning("commit of %d messages failed: %s", len(arrivals), error)
            verdicts = [Unavailable(str(error)) for _ in arrivals]
        except Exception:
            # A bug must not end the loop that all sessions wait for.
            log.exception("commit of %d messages failed", len(arrivals))
            verdicts = [Unavailable("a bug") for _ in arrivals]
        for (_, done), verdict in zip(batch, verdicts, strict=True):
            if done.cancelled():
                continue
            if isinstance(verdict, Unavailable):
                done.set_exception(verdict)
            else:
                done.set_result(verdict)
