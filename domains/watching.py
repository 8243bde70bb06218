"""Somebody looks at a domain's page: it is looked up sooner than by its growing waits."""

import datetime as dt

from django.utils import timezone

from domains.models import Domain
from domains.own import is_own
from domains.shown import is_right

SOON = dt.timedelta(seconds=15)


def watched(domain: Domain) -> None:
    """An open page asks every few seconds; its domain's records are then looked at every SOON, until they are right."""
    if is_own(domain) or is_right(domain) or domain.next_check_at is None:
        return
    soon = max(domain.checked_at or domain.created_at, timezone.now() - SOON) + SOON
    Domain.objects.filter(pk=domain.pk, next_check_at__gt=soon).update(next_check_at=soon)
