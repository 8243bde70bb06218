"""When a domain is looked at again by itself, and when its next key is due."""

import datetime as dt
import random

from django.conf import settings

from domains.finding import State
from domains.models import Domain

FIRST = dt.timedelta(seconds=10)
SLOWEST = dt.timedelta(hours=6)
DAY = dt.timedelta(days=1)
# Checks without any change after which nobody seems to want it any more: about a month, and two more of daily ones.
TIRED, GIVEN_UP = 130, 190
FAILING = dt.timedelta(minutes=15)
TROUBLE = dt.timedelta(minutes=1)
JITTER = 0.2


def next_check(domain: Domain, now: dt.datetime) -> dt.datetime | None:
    """Growing waits for what is pending, a steady pace for what is validated; None for what was given up."""
    regular = dt.timedelta(seconds=settings.DOMAIN_CHECK) * random.uniform(1 - JITTER, 1 + JITTER)
    unsure = any(found.get("state") in (State.ERROR, State.SPREADING) for found in domain.found.values())
    if domain.validated_at is None:
        return _pending(domain, now)
    if domain.failing_since is not None:
        # Not later than the grace allows; after it only an answer is missing.
        left = domain.failing_since + dt.timedelta(seconds=settings.DOMAIN_GRACE) - now
        return now + (min(FAILING, left) if left > dt.timedelta() else TROUBLE)
    if unsure:
        return now + min(grown(TROUBLE, domain.unchanged_checks), regular)
    return now + regular


def _pending(domain: Domain, now: dt.datetime) -> dt.datetime | None:
    checks = domain.unchanged_checks
    if checks >= GIVEN_UP:
        return None
    return now + (DAY if checks >= TIRED else min(grown(FIRST, checks), SLOWEST))


def grown(first: dt.timedelta, checks: int) -> dt.timedelta:
    """Twice as long each time."""
    return first * (1 << min(checks, 12))


def next_rotation(now: dt.datetime) -> dt.datetime:
    """Domains that were added together do not all change their keys together."""
    return now + dt.timedelta(seconds=settings.KEY_AGE) * random.uniform(1 - JITTER, 1)
