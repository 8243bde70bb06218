"""Recorder: gathers outcomes and writes them together. What cannot be written is written again, never sent again."""

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

import psycopg

from activity.outcome import Attempt
from activity.pool import Pool
from activity.record import record

log = logging.getLogger(__name__)

BATCH = 500
# While outcomes come in numbers, the next write waits these seconds for more of them: a statement costs as much as
# many rows do. It never waits while connections wait for it.
GATHER = 0.01


class Recorder:
    """`most()` unwritten outcomes are allowed before `clear` falls and no new transaction may begin.

    Unwritten outcomes are what a crash now would send twice. `done` is told what was written.
    """

    def __init__(
        self, pool: Pool, oldest: Callable[[], UUID], most: Callable[[], int], done: Callable[[list[Attempt]], None]
    ) -> None:
        self.pool = pool
        self.oldest = oldest
        self.most = most
        self.done = done
        self.unwritten: list[Attempt] = []
        self.writing = 0
        self.wake = asyncio.Event()
        self.clear = asyncio.Event()
        self.clear.set()
        self.task = asyncio.create_task(self._run())

    def add(self, attempt: Attempt) -> None:
        self.unwritten.append(attempt)
        self.wake.set()
        if len(self.unwritten) + self.writing >= self.most():
            self.clear.clear()

    async def flush(self) -> None:
        """Until everything added so far is written."""
        while self.unwritten or self.writing:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        self.task.cancel()

    async def _run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            busy = False
            while self.unwritten:
                if busy and self.clear.is_set():
                    await asyncio.sleep(GATHER)
                batch, self.unwritten = self.unwritten[:BATCH], self.unwritten[BATCH:]
                self.writing = len(batch)
                await self._write(batch)
                self.writing = 0
                busy = len(batch) > 1
                self.done(batch)
                if len(self.unwritten) < self.most():
                    self.clear.set()

    async def _write(self, batch: list[Attempt]) -> None:
        pause = 0.1
        while True:
            try:
                async with self.pool.connection() as connection:
                    await record(connection, batch, self.oldest())
                return
            except psycopg.DataError:
                if len(batch) == 1:
                    log.exception("outcome of %s cannot be written", batch[0].recipient_id)
                    return
                for attempt in batch:
                    await self._write([attempt])
                return
            except (psycopg.Error, OSError) as error:
                self.clear.clear()
                log.warning("%d outcomes not written yet: %s", len(batch), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
