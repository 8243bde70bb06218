"""Pages that need the mail machinery: the test email, and whether the relay is healthy."""

import logging

import psycopg
import redis
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from activity.accept import Unavailable
from activity.models import Recipient
from activity.pool import conninfo
from billing.access import MemberRequest, member
from domains.forms import TestEmailForm
from domains.models import Domain
from relay.system_mail import hand_in, test_email

log = logging.getLogger(__name__)


@require_POST
@member
def send_test_email(request: MemberRequest) -> HttpResponse:
    """Leads to the new email's page, where its way can be watched."""
    domain = request.account.domains.validated().select_related("account").order_by("id").first()
    form = TestEmailForm(request.POST)
    if domain is None:
        messages.error(request, _("Validate a domain first: a test email needs a sender."))
        return redirect("domains:list")
    if not form.is_valid():
        messages.error(request, _("Enter one valid email address to send the test to."))
        return redirect("setup:show")
    return _send(request, domain, form.cleaned_data["recipient"])


def _send(request: MemberRequest, domain: Domain, address: str) -> HttpResponse:
    try:
        arrival, refusal = hand_in(domain, test_email(domain, address), [address])
    except (Unavailable, psycopg.Error, OSError) as error:
        log.warning("a test email was not accepted: %s", error)
        messages.error(request, _("The email could not be accepted just now. Please try again."))
        return redirect("setup:show")
    if refusal is not None:
        messages.error(request, _("The email was refused: %(reply)s") % {"reply": refusal.reply})
    recipient = Recipient.objects.of_message(request.account.id, arrival.id).get()
    return redirect("activity:email", recipient.id)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """200 while PostgreSQL answers, for without it nothing works; Valkey's absence only slows and is reported."""
    try:
        # A connection of its own, so that the answer comes at once however busy the pool is.
        with psycopg.connect(conninfo(), connect_timeout=3, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        log.error("health: the database does not answer: %s", error)
        return JsonResponse({"ok": False, "database": False}, status=503)
    return JsonResponse({"ok": True, "database": True, "redis": _redis_answers()})


def _redis_answers() -> bool:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
