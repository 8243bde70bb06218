"""Manners: how much one destination is asked to take at once, and what we do when it asks us to slow down."""

import time

from django.conf import settings

from activity.destinations import Rule
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status

MESSAGES_A_CONNECTION = 100
# Complaints count against us when at least every tenth answer of late is one; fewer are about those emails.
COMPLAINTS_THAT_COUNT = 0.1
ANSWERS_OF_LATE = 100
# One burst of complaints, from connections that all heard the same, slows down once.
SLOW_DOWN_SECONDS = 5.0
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
# After a quiet while there is one connection more, and half of the pause.
QUIET_SECONDS = 30.0
RECOVER_SECONDS = 10.0


def complains(outcome: Outcome) -> bool:
    """Whether the server speaks of our rate (421, 4.7.x), not of this email, its greylisting or its mailbox (4.2.x)."""
    if outcome.status != Status.DEFERRED or outcome.reason == Reason.GREYLISTED or outcome.enhanced.startswith("4.2."):
        return False
    return outcome.code == 421 or outcome.reason == Reason.RATE_LIMITED or outcome.enhanced.startswith("4.7.")


class Manners:
    """`limit` is how many connections there may be now, at most `connections`; `pause` is in seconds."""

    def __init__(self, rule: Rule | None) -> None:
        self.connections = self.limit = settings.LANE_CONNECTIONS
        self.pause = 0.0
        self.next_at = 0.0
        self.slowed_at = self.recovered_at = -QUIET_SECONDS
        self.answers = self.complaints = 0
        self.follow(rule)

    @property
    def unimpressed(self) -> bool:
        """There is nothing to remember."""
        return self.limit == self.connections and not self.pause and not self.wait() > 0

    def follow(self, rule: Rule | None) -> None:
        """Take over the rule's figures; what has been learnt about the destination stays."""
        slowed = self.limit < self.connections
        self.connections = (rule and rule.connections) or settings.LANE_CONNECTIONS
        self.limit = min(self.limit, self.connections) if slowed else self.connections
        self.messages_per_connection = (rule and rule.messages_per_connection) or MESSAGES_A_CONNECTION
        a_minute = rule and rule.messages_a_minute
        self.spacing = 60.0 / a_minute if a_minute else 0.0

    def wait(self) -> float:
        """Seconds until the next email may begin."""
        return self.next_at - time.monotonic() if self.next_at else 0.0

    def begin(self, processes: int) -> None:
        """An email begins. The rate is shared evenly by the deliverer processes that are alive."""
        spacing = max(self.spacing * processes, self.pause)
        self.next_at = time.monotonic() + spacing if spacing else 0.0

    def heard(self, outcome: Outcome) -> None:
        self.answers += 1
        if self.answers > ANSWERS_OF_LATE:
            self.answers, self.complaints = self.answers // 2, self.complaints // 2
        if complains(outcome):
            self.complaints += 1
            if self.complaints >= COMPLAINTS_THAT_COUNT * self.answers:
                self._slow_down()

    def refused_another(self, connected: int) -> None:
        """The server takes no more connections than the `connected` that are open."""
        self.limit = max(1, min(self.limit, connected))
        self.recovered_at = time.monotonic()

    def _slow_down(self) -> None:
        now = time.monotonic()
        if now < self.slowed_at + SLOW_DOWN_SECONDS:
            return
        self.slowed_at = now
        self.limit = max(1, self.limit // 2)
        self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.next_at = now + self.pause

    def recover(self) -> None:
        """Called every second or so."""
        now = time.monotonic()
        if now < max(self.slowed_at + QUIET_SECONDS, self.recovered_at + RECOVER_SECONDS):
            return
        self.recovered_at = now
        self.limit = min(self.limit + 1, self.connections)
        self.pause = self.pause / 2 if self.pause > FIRST_PAUSE else 0.0
