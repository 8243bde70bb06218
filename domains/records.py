"""The DNS records of a sending domain: what the customer enters, and what our zone answers."""

from typing import NamedTuple

from django.conf import settings

from domains.models import DkimKey, Domain


class ZoneRecord(NamedTuple):
    """`name` and names in `value` are absolute, without the last dot; `value` is in zone-file form."""

    name: str
    type: str
    value: str


class CustomerRecord(NamedTuple):
    """One of the three CNAME records a customer enters; `key` is dkim1, dkim2 or bounce."""

    key: str
    label: str
    name: str
    target: str


def records_of(domain: Domain) -> list[CustomerRecord]:
    zone = settings.ZONE
    dkim = [
        CustomerRecord(
            f"dkim{slot}",
            slot.label,
            f"r{slot}._domainkey.{domain.name}",
            f"{domain.token}.r{slot}.dkim.{zone}",
        )
        for slot in DkimKey.Slot
    ]
    bounce = CustomerRecord("bounce", "SPF/Return-Path", domain.bounce_host, f"{domain.token}.bounce.{zone}")
    return [*dkim, bounce]


def customer_records() -> list[ZoneRecord]:
    """The three CNAME records of every domain, as its owner should have entered them."""
    domains = Domain.objects.order_by("id")
    return [ZoneRecord(record.name, "CNAME", record.target) for domain in domains for record in records_of(domain)]


def zone_records() -> list[ZoneRecord]:
    """Our side: the TXT, MX and SPF records behind the targets of every domain."""
    zone = settings.ZONE
    records = []
    for key in DkimKey.objects.select_related("domain").order_by("id"):
        name = f"{key.domain.token}.{key.selector}.dkim.{zone}"
        records.append(ZoneRecord(name, "TXT", key.txt))
    for token in Domain.objects.order_by("id").values_list("token", flat=True):
        name = f"{token}.bounce.{zone}"
        records.append(ZoneRecord(name, "MX", f"10 mx.{zone}"))
        records.append(ZoneRecord(name, "TXT", f"v=spf1 a:{settings.HOSTNAME} -all"))
    return records
