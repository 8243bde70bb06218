"""When a domain is looked at again by itself."""

import datetime as dt
import random

from django.conf import settings

from domains.finding import State
from domains.models import Domain

FIRST = dt.timedelta(seconds=10)
SLOWEST = dt.timedelta(hours=6)
DAY = dt.timedelta(days=1)
# Nobody seems to want it any more: daily, then only when somebody asks.
TIRED, GIVEN_UP = dt.timedelta(days=30), dt.timedelta(days=90)
FAILING = dt.timedelta(minutes=15)
TROUBLE = dt.timedelta(minutes=1)
JITTER = 0.2


def next_check(domain: Domain, now: dt.datetime) -> dt.datetime | None:
    """Growing waits for what is pending, a steady pace for what is validated; None for what was given up."""
    regular = dt.timedelta(seconds=settings.DOMAIN_CHECK * random.uniform(1 - JITTER, 1 + JITTER))
    if domain.validated_at is None:
        return _pending(domain, now)
    if domain.failing_since is not None:
        # Not later than the grace allows.
        end = domain.failing_since + dt.timedelta(seconds=settings.DOMAIN_GRACE)
        return now + min(FAILING, max(end - now, dt.timedelta(seconds=1)))
    if any(found.get("state") in (State.ERROR, State.SPREADING) for found in domain.found.values()):
        return now + min(grown(TROUBLE, domain.unchanged_checks), regular)
    return now + regular


def _pending(domain: Domain, now: dt.datetime) -> dt.datetime | None:
    age = now - domain.created_at
    if age > GIVEN_UP:
        return None
    return now + (DAY if age > TIRED else min(grown(FIRST, domain.unchanged_checks), SLOWEST))


def grown(first: dt.timedelta, checks: int) -> dt.timedelta:
    """Twice as long each time."""
    return first * (1 << min(checks, 12))
