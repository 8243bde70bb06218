"""A domain as its pages show it: states in words, records with what was found, advice and history."""

import datetime as dt
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domains import zone
from domains.advice import SUGGESTED
from domains.dns_hosts import HOSTS
from domains.life import ends_at, not_right, owner_elsewhere
from domains.models import DkimKey, Domain, DomainEvent
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
    "pending": gettext_lazy("Not validated"),
    "unchecked": gettext_lazy("Not checked yet"),
}
SHOWN_LINES = 30
# The page looks again by itself: often while somebody is at it, then less, and not for ever.
QUICK, SLOW, LONG = 4, 20, dt.timedelta(hours=1)
# A relative name for each state of a page that updates itself.
UNSETTLED = {"unchecked", "missing", "wrong", "several", "conflict", "spreading", "error"}


def overall(domain: Domain) -> str:
    """A key of STATES."""
    if domain.validated_at:
        return "failing" if domain.failing_since else "validated"
    return "pending" if domain.checked_at else "unchecked"


def page_of(domain: Domain) -> dict[str, Any]:
    """What the records' part of the page needs, for members and for colleagues with a link."""
    state, rows = overall(domain), record_rows(domain)
    return {
        "domain": domain,
        "name": in_unicode(domain.name),
        "own": is_own(domain),
        "records": rows,
        "state": state,
        "label": STATES[state],
        "until": ends_at(domain.failing_since) if domain.failing_since else None,
        "claim": claim_of(domain),
        "host": HOSTS.get(domain.advice.get("dns_host", "")),
        "advice": advice_of(domain),
        "snippet": snippet_of(domain),
        "every": refresh_seconds(domain, rows),
        "keys": keys_of(domain),
    }


def record_rows(domain: Domain) -> list[dict[str, Any]]:
    rows = []
    for record in records_of(domain):
        found = domain.found.get(record.key, {})
        state = found.get("state", "unchecked")
        rows.append(
            {
                "record": record,
                "relative": record.name.removesuffix(f".{domain.name}"),
                "state": state,
                "label": RECORD_STATES[state],
                "found": found.get("found", []) if state not in ("validated", "error") else [],
                "why": explain(found, record, domain.name),
            }
        )
    return rows


def refresh_seconds(domain: Domain, rows: list[dict[str, Any]]) -> int:
    """How often the page asks again; 0 when there is nothing to wait for."""
    if all(row["state"] not in UNSETTLED for row in rows) or is_own(domain):
        return 0
    since = domain.checked_at or domain.created_at
    return QUICK if timezone.now() - since < LONG else SLOW


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
            paste = ZoneRecord(f"_dmarc.{domain.name}", "TXT", SUGGESTED.format(domain=domain.name))
            lines.append(
                {
                    "title": title,
                    "text": text,
                    "found": found.get("found", []),
                    "paste": paste if found.get("problem") == "dmarc_missing" else None,
                    "warns": found.get("state") != "validated",
                }
            )
    return lines


def keys_of(domain: Domain) -> dict[str, Any]:
    """Which key signs, since when, and when the next one does."""
    keys = {key.slot: key for key in domain.keys.all()}
    active = next((key for key in keys.values() if key.active), None)
    idle = next((key for key in keys.values() if not key.active), None)
    return {"active": active, "idle": idle, "idle_state": _idle_state(idle), "next": domain.rotate_at}


def _idle_state(idle: DkimKey | None) -> str:
    if idle is None:
        return ""
    if idle.stopped_at is not None:
        ends = timezone.localtime(idle.stopped_at + dt.timedelta(seconds=settings.KEY_OVERLAP))
        return _("signed until recently; published until %(day)s for mail under way") % {"day": ends.strftime("%d %b")}
    if idle.usable_at is not None and idle.usable_at <= timezone.now():
        return _("ready: it can sign at any moment")
    return _("new: it waits until every name server shows it")


def history_of(domain: Domain) -> list[dict[str, Any]]:
    """The newest lines, in words."""
    events = domain.events.order_by("-id")[:SHOWN_LINES]
    return [{"event": event, "text": words(event), "tone": TONES.get(event.kind, "note")} for event in events]


TONES = {
    "validated": "validated",
    "recovered": "validated",
    "failing": "failing",
    "unauthenticated": "missing",
    "claimed": "validated",
    "lost": "missing",
}


def words(event: DomainEvent) -> str:
    """The sentence of a line of history."""
    detail = event.detail
    record = {"dkim1": "DKIM 1", "dkim2": "DKIM 2", "bounce": "SPF/Return-Path"}.get(detail.get("record", ""), "")
    kind = DomainEvent.Kind(event.kind)
    if kind == DomainEvent.Kind.RECORD_CHANGED:
        state = RECORD_STATES.get(detail.get("state", ""), "")
        found = ", ".join(detail.get("found", [])) if detail.get("state") != "validated" else ""
        return f"{record}: {state}" + (f" ({found})" if found else "")
    if kind == DomainEvent.Kind.RETURN_PATH:
        if detail.get("own"):
            return _("Bounces come to a return path of ours until the SPF/Return-Path record is back")
        return _("Bounces come to the domain’s own return path again")
    if kind in (DomainEvent.Kind.KEY_SWITCHED, DomainEvent.Kind.KEY_MADE, DomainEvent.Kind.KEY_SEEN):
        return f"{record}: {kind.label}"
    return str(kind.label)
