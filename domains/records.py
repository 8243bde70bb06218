"""The DNS records of a sending domain that its owner enters."""

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


def claim_record_of(domain: Domain) -> ZoneRecord:
    """What moves a domain here that another account has validated: only who runs its DNS can enter it."""
    return ZoneRecord(f"_relay-claim.{domain.name}", "TXT", f"relay-claim={domain.claim_token}")
