"""Bounds on what SMTP clients may use of us: rates, connections, room for messages. In memory, one set a process."""

import time
from collections import Counter
from collections.abc import Hashable
from functools import lru_cache
from ipaddress import ip_address, ip_network

MANY_BUCKETS = 10_000


def plain_address(text: str) -> str:
    """The address as it is compared and kept: an IPv4 client of an IPv6 socket as IPv4, and no zone (RFC 4007 11)."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)


@lru_cache(1_000)
def place_of(address: str) -> str:
    """The plain address, or its network for IPv6, where one customer has at least a /64."""
    ip = ip_address(address)
    return address if ip.version == 4 else str(ip_network(f"{address}/64", strict=False))


class Buckets:
    """A token bucket for each key: `burst` at once, `rate` a second after that."""

    def __init__(self, burst: float, rate: float) -> None:
        self.burst = burst
        self.rate = rate
        self.levels: dict[Hashable, tuple[float, float]] = {}

    def level(self, key: Hashable, scale: float = 1.0) -> float:
        """How much the key may take now."""
        now = time.monotonic()
        level, at = self.levels.get(key, (self.burst * scale, now))
        return min(self.burst * scale, level + (now - at) * self.rate * scale)

    def take(self, key: Hashable, wanted: int = 1, *, scale: float = 1.0) -> int:
        """How many of `wanted` the key may have now; `scale` widens the bucket of one key."""
        now = time.monotonic()
        level = self.level(key, scale)
        granted = min(wanted, int(level))
        if len(self.levels) >= MANY_BUCKETS and key not in self.levels:
            self._forget_full(now)
        self.levels[key] = (level - granted, now)
        return granted

    def _forget_full(self, now: float) -> None:
        """A bucket that has had time to fill says nothing."""
        full_after = self.burst / self.rate
        self.levels = {key: (level, at) for key, (level, at) in self.levels.items() if now - at < full_after}


class Slots(Counter[Hashable]):
    """How many each key holds; follow a True of `take` with one `give_back`."""

    def take(self, key: Hashable, limit: int) -> bool:
        if self[key] >= limit:
            return False
        self[key] += 1
        return True

    def give_back(self, key: Hashable) -> None:
        self[key] -= 1
        if self[key] <= 0:
            del self[key]


class Room:
    """Bytes of messages that are on their way in, all connections together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def has(self, size: int) -> bool:
        return self.used + size <= self.limit

    def reserve(self, size: int) -> bool:
        """Negative to give back."""
        if size > 0 and not self.has(size):
            return False
        self.used += size
        return True
