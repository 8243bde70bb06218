"""A domain as its pages show it: states in words, records with what was found, advice and history."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domains import zone
from domains.advice import suggested
from domains.check import LEASE
from domains.dns_hosts import HOSTS
from domains.life import ends_at, owner_elsewhere
from domains.models import Domain, DomainEvent
from domains.names import in_unicode
from domains.own import is_own
from domains.records import ZoneRecord, claim_record_of, records_of
from domains.wording import explain, sentence

RECORD_STATES: dict[str, Promise] = {
    "validated": gettext_lazy("Validated"),
    "missing": gettext_lazy("Not found"),
    "wrong": gettext_lazy("Wrong value"),
    "several": gettext_lazy("Several values"),
    "conflict": gettext_lazy("Conflicting records"),
    "spreading": gettext_lazy("On its way"),
    "error": gettext_lazy("No answer"),
    "unchecked": gettext_lazy("Not checked yet"),
}
# Of a whole domain.
STATES: dict[str, Promise] = {
    "validated": gettext_lazy("Validated"),
    "failing": gettext_lazy("Failing, still sends"),
    "stopped": gettext_lazy("Not validated any more"),
    "pending": gettext_lazy("Not validated"),
    "unchecked": gettext_lazy("Not checked yet"),
}
# The page looks again by itself: often while somebody is at it, then less.
QUICK, SLOW, LONG = 4, 20, dt.timedelta(hours=1)


def overall(domain: Domain, *, was_stopped: bool) -> str:
    """A key of STATES."""
    if domain.validated_at:
        return "failing" if domain.failing_since else "validated"
    if was_stopped:
        return "stopped"
    return "pending" if domain.checked_at else "unchecked"


def page_of(domain: Domain) -> dict[str, Any]:
    """What the records' part of the page needs, for members and for colleagues with a link."""
    last, rows = stopped(domain), record_rows(domain)
    state = overall(domain, was_stopped=last is not None)
    return {
        "domain": domain,
        "name": in_unicode(domain.name),
        "own": is_own(domain),
        "records": rows,
        "all_right": all(row["state"] == "validated" for row in rows),
        "state": state,
        "label": STATES[state],
        "until": ends_at(domain.failing_since) if domain.failing_since else None,
        "stopped": last,
        "claim": claim_of(domain),
        "host_key": domain.advice.get("dns_host", ""),
        "hosts": HOSTS,
        "advice": advice_of(domain),
        "snippet": snippet_of(domain),
        "every": refresh_seconds(domain),
        "version": version_of(domain),
    }


def record_rows(domain: Domain) -> list[dict[str, Any]]:
    rows = []
    for record in records_of(domain):
        found = domain.found.get(record.key, {})
        state = "validated" if is_own(domain) else found.get("state", "unchecked")
        why = explain(found, record, domain.name)
        if state == "missing" and not why:
            why = _("No CNAME record stands at this name.")
        told = state in ("validated", "error") or any(value in why for value in found.get("found", []))
        rows.append(
            {
                "record": record,
                "relative": record.name.removesuffix(f".{domain.name}"),
                "state": state,
                "label": RECORD_STATES[state],
                "found": [] if told else found.get("found", []),
                "why": why,
            }
        )
    return rows


def is_settled(domain: Domain) -> bool:
    """Nothing is expected to change soon."""
    if is_own(domain):
        return True
    # Whoever checks has put the next check off by the lease, so a check that is under way counts too.
    due = domain.next_check_at is not None and domain.next_check_at < timezone.now() + 2 * LEASE
    return is_right(domain) and not due and not is_rotating(domain)


def is_right(domain: Domain) -> bool:
    """The last check found nothing to put right, and the domain may send."""
    right = [found.get("state") for found in domain.found.values()].count("validated")
    return domain.validated_at is not None and right == len(records_of(domain))


def is_rotating(domain: Domain) -> bool:
    """The other key is to sign as soon as it can, or a new one is on its way through the DNS."""
    now = timezone.now()
    if domain.rotate_at is not None and domain.rotate_at <= now:
        return True
    return any(key.usable_at is None or key.usable_at > now for key in domain.keys.all())


def refresh_seconds(domain: Domain) -> int:
    """How often the page asks again; 0 when there is nothing to wait for."""
    if is_settled(domain):
        return 0
    since = domain.checked_at or domain.created_at
    return QUICK if timezone.now() - since < LONG else SLOW


def version_of(domain: Domain) -> str:
    """Another one when the page would look different. Every check and every event changes it."""
    newest = domain.events.order_by("-id").values_list("id", flat=True).first()
    keys = [(key.slot, key.active, key.usable_at) for key in domain.keys.order_by("slot")]
    shown = (domain.checked_at, domain.validated_at, domain.failing_since, newest, keys, refresh_seconds(domain))
    return hashlib.blake2s(repr(shown).encode(), digest_size=8).hexdigest()


def stopped(domain: Domain) -> DomainEvent | None:
    """Why and since when a domain that could send cannot any more."""
    if domain.validated_at is not None:
        return None
    turns = (DomainEvent.Kind.VALIDATED, DomainEvent.Kind.UNAUTHENTICATED, DomainEvent.Kind.LOST)
    last = domain.events.filter(kind__in=turns).order_by("-id").first()
    return None if last is None or last.kind == DomainEvent.Kind.VALIDATED else last


def list_of(domains: Sequence[Domain]) -> list[dict[str, Any]]:
    """Each with its state and what is to be done next. One query, if the accounts are there."""
    kinds = (DomainEvent.Kind.UNAUTHENTICATED, DomainEvent.Kind.LOST)
    ended = set(DomainEvent.objects.filter(domain__in=domains, kind__in=kinds).values_list("domain_id", flat=True))
    rows = []
    for domain in domains:
        state = overall(domain, was_stopped=domain.pk in ended)
        step = next_step(domain, state)
        rows.append(
            {"domain": domain, "name": in_unicode(domain.name), "state": state, "label": STATES[state], "next": step}
        )
    return rows


def next_step(domain: Domain, state: str) -> str:
    """In one line; empty when there is nothing to do."""
    fine = ("validated", "unchecked")
    wrong = [f"{row['record'].label}: {row['label']}" for row in record_rows(domain) if row["state"] not in fine]
    if state == "unchecked":
        return _("Enter its three records at your DNS host.")
    if state == "failing" and domain.failing_since is not None:
        until = timezone.localtime(ends_at(domain.failing_since))
        left = _("Put it right before %(until)s.") % {"until": date_format(until, "j M, H:i")}
        return " · ".join([*wrong, left])
    if state in ("pending", "stopped") and not wrong:
        return _("Prove that it is yours: see the claim record on its page.")
    return " · ".join(wrong)


def claim_of(domain: Domain) -> ZoneRecord | None:
    """The record that takes the domain over, where another account has validated it."""
    if domain.validated_at is None and owner_elsewhere(domain) is not None:
        return claim_record_of(domain)
    return None


def snippet_of(domain: Domain) -> str:
    """The three records as lines of a zone file."""
    lines = [f"{record.name}. 3600 IN CNAME {record.target}." for record in records_of(domain)]
    if (claim := claim_of(domain)) is not None:
        lines.append(zone.line(claim))
    return "\n".join(lines)


def advice_of(domain: Domain) -> list[dict[str, Any]]:
    """What would be good to do, with the record to paste where there is one."""
    lines = []
    for key, title in (("dmarc", _("DMARC")), ("mx", _("Replies"))):
        found = domain.advice.get(key, {})
        if text := sentence(found.get("problem", ""), {"domain": domain.name}):
            better = suggested(domain.name, found["problem"], found.get("found", []))
            lines.append(
                {
                    "key": key,
                    "title": title,
                    "text": text,
                    "found": found.get("found", []),
                    "paste": ZoneRecord(f"_dmarc.{domain.name}", "TXT", better) if better else None,
                    "warns": found.get("state") != "validated",
                }
            )
    return lines
