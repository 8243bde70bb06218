"""Tells the worker that reports have come, without keeping a client waiting; what is not rung is swept up later."""

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

from celery import current_app

log = logging.getLogger(__name__)

EXPIRES = 300
# More than these at a time, and one sweep does what so many tasks would.
FEW = 5
# Reports that come meanwhile are told of together.
PAUSE = 0.2


class Bell:
    def __init__(self) -> None:
        self.rung: list[UUID] = []
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    def ring(self, reports: Iterable[UUID]) -> None:
        self.rung.extend(reports)
        self.wake.set()

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            rung, self.rung = self.rung, []
            try:
                await asyncio.to_thread(send, rung)
            except Exception as error:
                log.warning("%d reports wait for the sweep: %s", len(rung), error)
            await asyncio.sleep(PAUSE)


def send(reports: list[UUID]) -> None:
    if len(reports) > FEW:
        current_app.send_task("relay.sweep_reports", queue="reports", expires=EXPIRES)
        return
    for report in reports:
        current_app.send_task("relay.understand_report", [str(report)], queue="reports", expires=EXPIRES)
