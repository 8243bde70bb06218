"""What every page of an account warns of: domains that are about to stop sending, or have stopped."""

import datetime as dt
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone

from billing.models import Account
from domains.life import ends_at
from domains.models import Domain, DomainEvent
from domains.names import in_unicode

# Who has not put it right for so long does not want to be told any more.
TOLD = dt.timedelta(days=14)
MOST = 3

STOPPED = DomainEvent.objects.filter(
    domain=OuterRef("pk"), kind__in=(DomainEvent.Kind.UNAUTHENTICATED, DomainEvent.Kind.LOST)
)


def trouble(request: HttpRequest) -> dict[str, Any]:
    """`trouble`, asked for only by whole pages of a logged-in member."""
    account = getattr(request, "account", None)
    return {"trouble": lambda: trouble_of(account)} if account is not None else {}


def trouble_of(account: Account) -> list[dict[str, Any]]:
    stopped = Exists(STOPPED.filter(at__gt=timezone.now() - TOLD))
    found = Domain.objects.filter(account=account).filter(
        Q(failing_since__isnull=False) | (Q(validated_at__isnull=True) & stopped)
    )
    return [
        {
            "domain": domain,
            "name": in_unicode(domain.name),
            "until": ends_at(domain.failing_since) if domain.failing_since else None,
        }
        for domain in found.order_by("failing_since", "name")[:MOST]
    ]
