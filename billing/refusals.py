"""Counts refused emails of which no row was kept: the recording of refusals is bounded, their counting is not."""

from django.db.models import F
from django.utils import timezone

from billing.models import Account, Usage, period_of


def count_unrecorded(refused: dict[int, int]) -> None:
    """Add {account id: refused emails} to this month's usage. An account that is gone is left out."""
    period = period_of(timezone.now())
    for account_id in Account.objects.filter(pk__in=refused).order_by("pk").values_list("pk", flat=True):
        count = refused[account_id]
        Usage.objects.update_or_create(
            account_id=account_id,
            period=period,
            defaults={"refused_unrecorded": F("refused_unrecorded") + count},
            create_defaults={"refused_unrecorded": count},
        )
