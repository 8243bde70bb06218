"""How much one client address may ask of the return-path server: connections, reports, wrong addresses."""

import time
from collections import Counter
from dataclasses import dataclass, field

MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class Minute:
    """Counts by client address within the current minute."""

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def exceeded(self, peer: str) -> bool:
        return self._now()[peer] >= self.limit

    def add(self, peer: str) -> None:
        self._now()[peer] += 1

    def _now(self) -> Counter[str]:
        if time.monotonic() - self.began >= 60 or len(self.counts) > MOST_ADDRESSES:
            self.counts.clear()
            self.began = time.monotonic()
        return self.counts


@dataclass(slots=True)
class Limits:
    """One set a process. `room` is the bytes of reports that may be on their way in, all connections together."""

    connections: int
    connections_of_one: int
    room: int
    reports: Minute
    refusals: Minute
    open: Counter[str] = field(default_factory=Counter)
    used: int = 0

    def connect(self, peer: str) -> bool:
        """Follow a True with one disconnect."""
        if self.open[peer] >= self.connections_of_one or self.open.total() >= self.connections:
            return False
        self.open[peer] += 1
        return True

    def disconnect(self, peer: str) -> None:
        self.open[peer] -= 1
        if self.open[peer] <= 0:
            del self.open[peer]

    def reserve(self, size: int) -> bool:
        """Follow a True with a release."""
        if self.used + size > self.room:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        self.used -= size
