"""Connection slots: how many connections there may be in all, and the idle ones, which others may take over."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

from relay.delivery.smtp import Connection


@dataclass(eq=False, slots=True)
class Idle:
    """A connection that waits for mail. `woken` is set when there is some, or when its slot is needed."""

    connection: Connection
    woken: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    # Another carrier goes on with the connection.
    taken: bool = False

    @property
    def host(self) -> tuple[str, int]:
        return self.connection.server.host, self.connection.server.port

    def wake(self) -> bool:
        """False if somebody was faster."""
        if self.woken.done():
            return False
        self.woken.set_result(None)
        return True

    def take(self) -> bool:
        """The connection is the caller's now, unless somebody was faster."""
        self.taken = self.wake()
        return self.taken


class Slots:
    def __init__(self, most: int) -> None:
        self.semaphore = asyncio.Semaphore(most)
        # The longest idle first.
        self.idle: dict[Idle, None] = {}
        self.by_host: dict[tuple[str, int], dict[Idle, None]] = {}

    async def __aenter__(self) -> None:
        if self.semaphore.locked():
            next((idle for idle in self.idle if idle.wake()), None)
        await self.semaphore.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.semaphore.release()

    def add(self, idle: Idle) -> None:
        self.idle[idle] = None
        self.by_host.setdefault(idle.host, {})[idle] = None

    def remove(self, idle: Idle) -> None:
        self.idle.pop(idle, None)
        if (others := self.by_host.get(idle.host)) is not None:
            others.pop(idle, None)
            if not others:
                del self.by_host[idle.host]

    def idle_at(self, hosts: Iterable[tuple[str, int]]) -> Idle | None:
        """A connection to one of the hosts (name, port) that somebody keeps and does not use."""
        waiting = (idle for host in hosts for idle in self.by_host.get(host, ()))
        return next((idle for idle in waiting if not idle.woken.done() and not idle.connection.broken), None)
