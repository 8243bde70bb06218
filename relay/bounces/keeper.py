"""Commits reports in groups: those that came while the last commit ran go into the next one together."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import psycopg

from activity import reports
from activity.pool import Pool
from activity.reports import Arrived

MOST_REPORTS = 100
MOST_BYTES = 4_000_000

type Waiting = tuple[Arrived, asyncio.Future[list[UUID]]]


class Keeper:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: list[Waiting] = []
        self.task: asyncio.Task[None] | None = None

    async def keep(self, arrived: Arrived) -> list[UUID]:
        """The ids under which it is kept. Raises what psycopg and its pool raise: nothing was kept."""
        kept: asyncio.Future[list[UUID]] = asyncio.get_running_loop().create_future()
        self.waiting.append((arrived, kept))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run())
        return await kept

    async def _run(self) -> None:
        while self.waiting:
            await self._commit(self._next_group())

    def _next_group(self) -> list[Waiting]:
        """As many as fit into a commit, and at least one."""
        size = number = 0
        for arrived, _ in self.waiting[:MOST_REPORTS]:
            size += len(arrived.raw)
            if number and size > MOST_BYTES:
                break
            number += 1
        group, self.waiting = self.waiting[:number], self.waiting[number:]
        return group

    async def _commit(self, group: Sequence[Waiting]) -> None:
        try:
            async with self.pool.connection() as connection:
                ids = await reports.keep(connection, [arrived for arrived, _ in group])
        except Exception as error:
            await self._failed(group, error)
            return
        for (_, kept), keys in zip(group, ids, strict=True):
            if not kept.done():
                kept.set_result(keys)

    async def _failed(self, group: Sequence[Waiting], error: Exception) -> None:
        if isinstance(error, psycopg.DataError) and len(group) > 1:
            # One of them cannot be stored: that must not refuse its neighbours.
            for one in group:
                await self._commit([one])
            return
        for _, kept in group:
            if not kept.done():
                kept.set_exception(error)
