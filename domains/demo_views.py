"""Buttons that only the demo has: a customer enters records in the demo's DNS, as they would at their DNS host."""

import datetime as dt
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from billing.access import MemberRequest, member
from domains import demo_dns
from domains.models import Domain
from domains.own import is_own

# When the simulator's DNS has surely read the change.
SEEN = dt.timedelta(seconds=2)


def _change(request: MemberRequest, pk: int, change: Callable[[Domain], None], done: str) -> HttpResponse:
    """404 outside the demo. What was changed is looked at next, for nobody is to wait in a demo."""
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    if not settings.DEMO or is_own(found):
        raise Http404
    try:
        change(found)
    except demo_dns.Taken:
        messages.error(request, _("Another account of the demo runs the DNS of this domain."))
        return redirect("domains:domain", pk)
    request.account.domains.filter(pk=pk).update(next_check_at=timezone.now() + SEEN)
    messages.success(request, done)
    return redirect("domains:domain", pk)


@require_POST
@member
def publish(request: MemberRequest, pk: int) -> HttpResponse:
    return _change(request, pk, demo_dns.enter, _("The demo’s DNS has the three records now."))


@require_POST
@member
def remove(request: MemberRequest, pk: int, key: str) -> HttpResponse:
    def change(found: Domain) -> None:
        if key not in demo_dns.right_records(found):
            raise Http404
        demo_dns.remove(found, key)

    return _change(request, pk, change, _("The record is gone from the demo’s DNS."))


@require_POST
@member
def claim(request: MemberRequest, pk: int) -> HttpResponse:
    return _change(request, pk, demo_dns.enter_claim, _("The demo’s DNS has the claim record now."))
