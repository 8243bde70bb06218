"""Protection against guessing: failures make the next answer slower, and then block for a while.

No answer tells whether a user name exists: an unknown name, a wrong secret and a revoked credential get the same words
after the same delay.
"""

import time
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from domains.logins import MAX_USERNAME, Result
from relay.submission.directory import Directory
from relay.submission.login_log import LoginLog

DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
MANY = 20_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """`credential_id` if the log-in is right; `delay` in seconds before the answer is given."""

    credential_id: int | None = None
    delay: float = 0.0
    blocked: bool = False


@lru_cache(1_000)
def place_of(address: str) -> str:
    """The address, or its network for IPv6, where one customer has at least a /64."""
    ip = ip_address(address)
    return address if ip.version == 4 else str(ip_network(f"{address}/64", strict=False))


class Failures:
    """Failures of the last `window` seconds for each key; `limit` of them block it until they are that old."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.counts: dict[Hashable, tuple[int, float]] = {}

    def count(self, key: Hashable) -> int:
        count, until = self.counts.get(key, (0, 0.0))
        return count if until > time.monotonic() else 0

    def add(self, key: Hashable) -> None:
        now = time.monotonic()
        if len(self.counts) >= MANY and key not in self.counts:
            self._forget(now)
        self.counts[key] = (self.count(key) + 1, now + self.window)

    def _forget(self, now: float) -> None:
        """Those that are over; if none is, the older half."""
        kept = {key: value for key, value in self.counts.items() if value[1] > now}
        self.counts = dict(list(kept.items())[len(kept) // 2 :]) if len(kept) >= MANY else kept


class Logins:
    def __init__(self, directory: Directory, log: LoginLog, limit: int, window: float) -> None:
        self.directory = directory
        self.log = log
        self.failures = Failures(limit, window)

    async def attempt(self, peer: str, username: str, secret: str) -> Attempt:
        """Raises Unavailable when the database does not answer; that is no failure of the client."""
        keys = [("address", place_of(peer)), ("username", username[:MAX_USERNAME])]
        if max(map(self.failures.count, keys)) >= self.failures.limit:
            self.log.add(username, peer, Result.BLOCKED)
            return Attempt(blocked=True)
        credential_id, result = await self.directory.authenticate(username, secret)
        self.log.add(username, peer, result)
        if credential_id is not None:
            return Attempt(credential_id)
        for key in keys:
            self.failures.add(key)
        count = max(map(self.failures.count, keys)) - 1
        return Attempt(delay=DELAYS[min(count, len(DELAYS) - 1)])
