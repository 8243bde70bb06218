"""The operators' page of lanes: what is due and in flight, what went wrong last, and a switch to pause each."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from activity.destinations import DestinationRule
from activity.lanes import MOST_COUNTED, LaneDue, due_now
from activity.slices import floor_id
from relay.delivery import noticeboard

MOST_ROWS = 200
PATIENCE = "5s"


@dataclass(frozen=True, slots=True)
class Row:
    """One lane over all deliverers. `paused` names the rule that pauses it."""

    domain: str
    due: int
    waiting: int
    oldest: dt.datetime | None
    site: str
    in_hand: int
    in_flight: int
    connections: int
    limit: int
    closed_for: int
    error: str
    paused: str


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("activity.change_destinationrule", raise_exception=True)
def show(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return _switch(request)
    notices = noticeboard.read()
    rows = _rows(_due(), notices or {})
    context = {
        **admin.site.each_context(request),
        "title": _("Lanes"),
        "rows": rows[:MOST_ROWS],
        "more": len(rows) - MOST_ROWS,
        "most_counted": MOST_COUNTED,
        "away": notices is None,
    }
    return render(request, "relay/lanes.html", context)


def _switch(request: HttpRequest) -> HttpResponse:
    domain = request.POST.get("domain", "").lower()[:253]
    if domain and request.POST.get("action") == "pause":
        DestinationRule.objects.pause(domain)
        messages.success(request, _("%(domain)s is paused within ten seconds.") % {"domain": domain})
    elif domain and request.POST.get("action") == "resume":
        DestinationRule.objects.resume(domain)
        messages.success(request, _("%(domain)s is resumed within ten seconds.") % {"domain": domain})
    return redirect("lanes")


def _due() -> list[LaneDue]:
    """Nobody waits long for this page, however long the queue is; then only what is in hand is shown."""
    oldest = floor_id(timezone.now() - dt.timedelta(days=settings.RETENTION_DAYS))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [PATIENCE])
            return due_now(oldest)
    except OperationalError:
        return []


def _rows(due: Iterable[LaneDue], notices: dict[str, list[dict[str, Any]]]) -> list[Row]:
    rules = list(DestinationRule.objects.filter(paused_at__isnull=False))
    by_domain = {lane.domain: lane for lane in due}
    paused = {domain for rule in rules for domain in rule.domains}
    rows = [
        _row(by_domain.get(domain) or LaneDue(domain, 0, 0, None), notices.get(domain, []), rules)
        for domain in {*by_domain, *notices, *paused}
    ]
    return sorted(rows, key=lambda row: (-row.due, -row.in_hand, -row.waiting, row.domain))


def _row(lane: LaneDue, notices: list[dict[str, Any]], rules: list[DestinationRule]) -> Row:
    site = next((notice["site"] for notice in notices if notice["site"]), "")
    pausing = (rule.name for rule in rules if lane.domain in rule.domains or (rule.mx_suffixes and rule.name == site))
    return Row(
        lane.domain,
        lane.due,
        lane.waiting,
        lane.oldest,
        site,
        in_hand=sum(notice["in_hand"] for notice in notices),
        in_flight=sum(notice["in_flight"] for notice in notices),
        connections=sum(notice["connections"] for notice in notices),
        limit=max((notice["limit"] for notice in notices), default=0),
        closed_for=max((notice["closed_for"] for notice in notices), default=0),
        error=next((notice["error"] for notice in notices if notice["error"]), ""),
        paused=next(pausing, ""),
    )
