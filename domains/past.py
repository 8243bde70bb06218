"""The history of a domain and its keys, in words."""

import datetime as dt
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from domains.models import DkimKey, Domain, DomainEvent
from domains.own import is_own
from domains.shown import RECORD_STATES, is_rotating

Kind = DomainEvent.Kind

SHOWN_LINES = 30


def keys_of(domain: Domain) -> dict[str, Any]:
    """Which key signs, since when, and when the next one does."""
    keys = {key.slot: key for key in domain.keys.all()}
    active = next((key for key in keys.values() if key.active), None)
    idle = next((key for key in keys.values() if not key.active), None)
    may_rotate = domain.validated_at is not None and domain.failing_since is None and not is_rotating(domain)
    return {
        "active": active,
        "idle": idle,
        "idle_state": _idle_state(idle),
        "next": domain.rotate_at,
        "is_due": domain.rotate_at is not None and domain.rotate_at <= timezone.now(),
        "may_rotate": may_rotate and not is_own(domain),
    }


def _idle_state(idle: DkimKey | None) -> str:
    if idle is None:
        return ""
    if idle.stopped_at is not None:
        ends = timezone.localtime(idle.stopped_at + dt.timedelta(seconds=settings.KEY_OVERLAP))
        return _("signed until recently; published until %(day)s for mail under way") % {
            "day": date_format(ends, "j M")
        }
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
    "claimed": "validated",
    "failing": "failing",
    "unauthenticated": "missing",
    "lost": "missing",
}
RECORDS = {"dkim1": "DKIM 1", "dkim2": "DKIM 2", "bounce": "SPF/Return-Path"}


def words(event: DomainEvent) -> str:
    """The sentence of a line of history; a kind that a newer version wrote is shown as it is."""
    detail = event.detail
    record = RECORDS.get(detail.get("record", ""), "")
    label = str(Kind(event.kind).label) if event.kind in Kind else event.kind
    if event.kind == Kind.RECORD_CHANGED:
        return _of_record(record, detail)
    if event.kind in (Kind.FAILING, Kind.UNAUTHENTICATED):
        names = ", ".join(RECORDS.get(key, key) for key in detail.get("records", []))
        return f"{label}: {names}" if names else label
    if event.kind == Kind.RETURN_PATH:
        if detail.get("own"):
            return _("Bounces come to a return path of ours until the SPF/Return-Path record is right")
        return _("Bounces come to the domain’s own return path again")
    if event.kind == Kind.KEY_SWITCHED and detail.get("why") == "record":
        return _("%(record)s signs now, because the other record is not right") % {"record": record}
    if event.kind == Kind.SHARED and "stopped" in detail:
        return _("A link for a colleague was made; it was stopped")
    return f"{record}: {label}" if record else label


def _of_record(record: str, detail: dict[str, Any]) -> str:
    if host := detail.get("host"):
        return _("%(record)s: the host is %(host)s now") % {"record": record, "host": host}
    state = detail.get("state", "")
    label = RECORD_STATES.get(state, state)
    found = "" if state == "validated" else ", ".join(detail.get("found", []))
    return f"{record}: {label} ({found})" if found else f"{record}: {label}"
