"""Connection slots: how many connections there may be in all; an idle connection yields its slot to one who waits."""

import asyncio
from collections import deque
from types import TracebackType


class Slots:
    def __init__(self, most: int) -> None:
        self.semaphore = asyncio.Semaphore(most)
        # Carriers that hold a connection and have nothing to send, the longest idle first.
        self.idle: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self.semaphore.locked():
            while self.idle:
                future = self.idle.popleft()
                if not future.done():
                    future.set_result(None)
                    break
        await self.semaphore.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.semaphore.release()
