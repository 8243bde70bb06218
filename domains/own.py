"""The relay's own sending domain: what it tells people itself is signed and sent like every customer's mail.

It belongs to an account of its own, so that no customer pays for it with quota, and operators can look at its mail.
"""

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing.models import Account, Plan
from domains.calendar import next_rotation
from domains.models import Domain

NAME = "Relay"
UNLIMITED = 2**31 - 1


def own_domain() -> Domain:
    """The domain ZONE; made with its account and keys when it is first needed. May run in many processes at once."""
    found = Domain.objects.filter(name=settings.ZONE, account__name=NAME, account__plan__name=NAME)
    return found.select_related("account").order_by("id").first() or _make()


def is_own(domain: Domain) -> bool:
    """Its records are in our own zone: there is nothing to prove, and nobody to warn."""
    return domain.name == settings.ZONE and domain.account.name == NAME


@transaction.atomic
def _make() -> Domain:
    # Whoever comes second waits here and then finds what the first one made.
    plan, _ = Plan.objects.get_or_create(name=NAME, defaults={"monthly_quota": UNLIMITED})
    Plan.objects.select_for_update().get(pk=plan.pk)
    account, _ = Account.objects.get_or_create(name=NAME, plan=plan)
    domain, made = Domain.objects.select_related("account").get_or_create(account=account, name=settings.ZONE)
    if made:
        domain.make_keys()
        domain.validated_at = timezone.now()
        domain.next_check_at = None
        domain.rotate_at = domain.next_step_at = next_rotation(domain.validated_at)
        domain.keys.update(seen_at=domain.validated_at, usable_at=domain.validated_at)
        domain.save()
    return domain
