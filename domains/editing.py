"""What people change about a domain: added, its return-path host renamed, removed. Each leaves its line of history."""

from django.db import transaction
from django.utils import timezone

from billing.models import Account
from domains.models import Domain, DomainEvent

Kind = DomainEvent.Kind


@transaction.atomic
def add(account: Account, name: str, by: str) -> tuple[Domain, bool]:
    """The account's domain of this (normalised) name, and whether it is new; both keys are made at once."""
    domain, made = account.domains.get_or_create(name=name)
    if made:
        domain.make_keys()
        DomainEvent.objects.create(domain=domain, kind=Kind.ADDED, by=by)
    return domain, made


@transaction.atomic
def relabel(domain: Domain, label: str, by: str) -> bool:
    """Another return-path host; False when it is the same. Nothing is known of its record yet.

    Until it is seen, mail that leaves has a return path of our own zone: the new host may not exist.
    """
    row = Domain.objects.select_for_update(of=("self",)).get(pk=domain.pk)
    if row.bounce_label == label:
        return False
    row.bounce_label = label
    row.found.pop("bounce", None)
    row.own_return_path = row.validated_at is not None
    row.unchanged_checks = 0
    row.next_check_at = timezone.now()
    row.save()
    detail = {"record": "bounce", "host": row.bounce_host}
    DomainEvent.objects.create(domain=row, kind=Kind.RECORD_CHANGED, by=by, detail=detail)
    domain.refresh_from_db()
    return True


def remove(domain: Domain) -> None:
    """With its keys, its history and the credentials that may send for nothing else."""
    domain.delete()
