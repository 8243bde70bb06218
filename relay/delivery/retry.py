"""When the next attempt is due, and when there is none."""

import datetime as dt
import random
from collections.abc import Sequence


def delay_after(attempt: int, schedule: Sequence[float], jitter: float | None = None) -> dt.timedelta:
    """How long to wait after attempt number `attempt` (1 is the first); the schedule's last step repeats.

    Up to a tenth is added, so that mail deferred together does not come back together. `jitter` is from 0 to 1.
    """
    step = schedule[min(attempt, len(schedule)) - 1]
    share = random.random() if jitter is None else jitter
    return dt.timedelta(seconds=step * (1 + share / 10))


def next_attempt(
    now: dt.datetime,
    attempt: int,
    give_up_at: dt.datetime,
    schedule: Sequence[float],
    *,
    not_before: dt.datetime | None = None,
) -> dt.datetime | None:
    """None when it would fall after the give-up time: then the email has bounced."""
    due = now + delay_after(attempt, schedule)
    if not_before is not None:
        due = max(due, not_before)
    return due if due <= give_up_at else None
