"""Asks the DNS whether the three records of a domain are as they should be."""

import asyncio
from typing import Literal, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from domains.models import Domain
from domains.records import CustomerRecord, records_of

SECONDS = 5
# A customer's CNAME may lead to another one; RFC 1034 3.6.2 wants such chains followed, and loops noticed.
HOPS = 8


class Finding(NamedTuple):
    """`value` is what the DNS showed (names without the last dot), or why it could not be asked."""

    state: Literal["validated", "missing", "wrong", "error"]
    value: str = ""


class OwnedElsewhere(Exception):
    """The records are right, but another account validated this domain first."""


def check(domain: Domain) -> dict[str, Finding]:
    """Look up and save. Three right records validate; a wrong one takes it back; a resolver's error changes nothing.

    Returns {record key: Finding}. Raises OwnedElsewhere; what was found is saved even so.
    """
    findings = async_to_sync(look_up)(records_of(domain))
    states = {finding.state for finding in findings.values()}
    now = timezone.now()
    domain.checked_at = now
    domain.found = {key: finding._asdict() for key, finding in findings.items()}
    domain.save(update_fields=["checked_at", "found"])
    if states & {"missing", "wrong"}:
        domain.validated_at = None
    elif states == {"validated"} and domain.validated_at is None:
        domain.validated_at = now
    try:
        with transaction.atomic():
            domain.save(update_fields=["validated_at"])
    except IntegrityError as error:
        domain.validated_at = None
        raise OwnedElsewhere(domain.name) from error
    return findings


async def look_up(records: list[CustomerRecord]) -> dict[str, Finding]:
    """All records side by side, so that a silent server costs SECONDS once."""
    resolver = make_resolver()
    findings = await asyncio.gather(*(find(resolver, record) for record in records))
    return {record.key: finding for record, finding in zip(records, findings, strict=True)}


def make_resolver() -> dns.asyncresolver.Resolver:
    """Without a cache: whoever presses “Check now” has just changed something."""
    resolver = dns.asyncresolver.Resolver(configure=settings.DNS_SERVER is None)
    if settings.DNS_SERVER is not None:
        host, resolver.port = settings.DNS_SERVER
        resolver.nameservers = [host]
    resolver.lifetime = SECONDS
    resolver.cache = None
    return resolver


async def find(resolver: dns.asyncresolver.Resolver, record: CustomerRecord) -> Finding:
    name, target, seen = dns.name.from_text(record.name), dns.name.from_text(record.target), ""
    try:
        for _ in range(HOPS):
            answer = await resolver.resolve(name, "CNAME", search=False)
            name = answer[0].target
            seen = name.to_text(omit_final_dot=True)[:253]
            if name == target:
                return Finding("validated", seen)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return Finding("wrong", seen) if seen else Finding("missing")
    except (dns.exception.DNSException, OSError) as error:
        return Finding("error", _reason(error))
    return Finding("wrong", seen)


def _reason(error: Exception) -> str:
    return "time-out" if isinstance(error, dns.exception.Timeout) else "no usable answer"
