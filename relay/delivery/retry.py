"""When the next attempt is due, and what the email becomes when there is none."""

import dataclasses
import datetime as dt
import random
from collections.abc import Sequence

from django.conf import settings

from activity.claim import Claimed
from activity.outcome import Attempt, Outcome
from activity.reasons import Reason
from activity.status import Status


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


def settle(
    job: Claimed,
    outcome: Outcome,
    now: dt.datetime,
    *,
    schedule: Sequence[float] | None = None,
    absent: bool = False,
    pause: float = 0.0,
) -> Attempt:
    """The attempt with its next one, or with the bounce it becomes when there is no next one.

    `schedule` is that of the account's plan, if it has its own. `absent`: DNS says the domain does not exist, and it
    has not taken mail of late; this counts when two attempts in a row have seen it.
    """
    due = None
    if absent and job.attempt > 1 and job.reason == Reason.DOMAIN_NOT_FOUND:
        outcome = _as(outcome, Status.HARD_BOUNCE, Reason.DOMAIN_NOT_FOUND)
    elif outcome.status == Status.DEFERRED:
        not_before = now + dt.timedelta(seconds=pause)
        due = next_attempt(now, job.attempt, job.give_up_at, schedule or settings.RETRY, not_before=not_before)
        if due is None:
            outcome = _expired(job, outcome)
    return Attempt(job.id, job.attempt, outcome, now, due)


def _expired(job: Claimed, outcome: Outcome) -> Outcome:
    """The last thing a server said is what explains the bounce, even if this attempt reached none."""
    text = outcome.text or job.reply
    return _as(outcome, Status.SOFT_BOUNCE, Reason.EXPIRED, text=text)


def _as(outcome: Outcome, status: Status, reason: Reason, text: str | None = None) -> Outcome:
    return dataclasses.replace(outcome, status=status, reason=reason, text=outcome.text if text is None else text)
