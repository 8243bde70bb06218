"""The demo's DNS host: a customer of the demo enters records here that the simulator's DNS then answers."""

from django.conf import settings
from django.db import transaction

from domains.models import DemoRecord, Domain
from domains.records import ZoneRecord, claim_record_of, records_of


class NotTheDemo(Exception):
    """Outside the demo nobody's DNS is ours to change."""


class Taken(Exception):
    """Another account of the demo runs the DNS of this domain."""


def right_records(domain: Domain) -> dict[str, ZoneRecord]:
    """{record key: the record as it should be}"""
    return {record.key: ZoneRecord(record.name, "CNAME", record.target) for record in records_of(domain)}


@transaction.atomic
def enter(domain: Domain) -> None:
    """Enter all three records in place of what is at their names. Raises NotTheDemo, Taken.

    Whoever has entered a claim runs the DNS of the domain from then on.
    """
    _only_in_the_demo()
    records = right_records(domain)
    names = [record.name for record in records.values()]
    standing = DemoRecord.objects.filter(name__in=names)
    others = standing.exclude(domain__account=domain.account_id)
    if others.exists() and not domain.demo_records.filter(name=claim_record_of(domain).name).exists():
        raise Taken(domain.name)
    standing.delete()
    DemoRecord.objects.bulk_create(DemoRecord(domain=domain, **record._asdict()) for record in records.values())


def remove(domain: Domain, key: str) -> None:
    """Take one record away; nothing happens when it is not there. Raises NotTheDemo, KeyError."""
    _only_in_the_demo()
    domain.demo_records.filter(name=right_records(domain)[key].name).delete()


def enter_claim(domain: Domain) -> None:
    """Enter the record that takes the domain over. Raises NotTheDemo."""
    _only_in_the_demo()
    record = claim_record_of(domain)
    DemoRecord.objects.get_or_create(domain=domain, **record._asdict())


def _only_in_the_demo() -> None:
    if not settings.DEMO:
        raise NotTheDemo
