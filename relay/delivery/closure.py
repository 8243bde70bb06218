"""Closure: a server that could not be reached is left alone for a while, longer each time, then probed by one email."""

import time

from django.conf import settings

from relay.delivery.attempt import Closed

LONGEST_SECONDS = 900.0
FIRST_SECONDS = 120.0
PROBE_SECONDS = 60.0


class Closure:
    """One for all domains with the same servers. `why` says what the last try met; None: nothing is wrong."""

    def __init__(self) -> None:
        self.why: Closed | None = None
        self.until = 0.0
        self.failures = 0
        self.probed_until = 0.0

    @property
    def probing(self) -> bool:
        """One email is on its way to find out. Should that email get lost, another one goes."""
        return time.monotonic() < self.probed_until

    @property
    def left(self) -> float:
        """Seconds until it may be tried again; 0 when it may be tried now."""
        return max(0.0, self.until - time.monotonic()) if self.why is not None else 0.0

    def allow(self) -> None:
        """Somebody asks for a probe now. Should it fail, the pause is as long as it was."""
        if self.left:
            self.until, self.failures = time.monotonic(), self.failures - 1

    def probe(self) -> None:
        self.probed_until = time.monotonic() + PROBE_SECONDS

    def shut(self, why: Closed) -> None:
        self.why, self.probed_until = why, 0.0
        self.failures += 1
        first = min(settings.RETRY[0], FIRST_SECONDS)
        self.until = time.monotonic() + min(first * 2 ** min(self.failures - 1, 10), LONGEST_SECONDS)

    def reopen(self) -> None:
        self.why, self.probed_until, self.failures = None, 0.0, 0

    def forget(self) -> None:
        """What was true long ago says nothing today."""
        if self.why is not None and not self.probing and time.monotonic() > self.until + LONGEST_SECONDS:
            self.reopen()
