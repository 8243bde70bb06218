"""The Set-up page: where to connect, with which credential, and code that sends a first email."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from billing.access import MemberRequest, member
from domains.forms import CredentialForm, TestEmailForm
from domains.models import SmtpCredential
from domains.samples import first_samples, samples_of, submission_host

SHOWN_LOGINS = 100


@require_safe
@member
def show(request: MemberRequest) -> HttpResponse:
    return _page(request, CredentialForm(request.account))


@never_cache
@require_POST
@member
def make_credential(request: MemberRequest) -> HttpResponse:
    form = CredentialForm(request.account, request.POST)
    if not form.is_valid():
        return _page(request, form)
    credential = SmtpCredential(account=request.account, **form.cleaned_data)
    return _with_secret(request, credential)


@never_cache
@require_POST
@member
def reset_credential(request: MemberRequest, pk: int) -> HttpResponse:
    return _with_secret(request, get_object_or_404(request.account.credentials.usable(), pk=pk))


@require_POST
@member
def revoke_credential(request: MemberRequest, pk: int) -> HttpResponse:
    credential = get_object_or_404(request.account.credentials.usable(), pk=pk)
    credential.revoke()
    messages.success(request, _("“%(name)s” cannot log in any more.") % {"name": credential.name})
    return redirect("setup:show")


@require_POST
@member
def switch_dsn(request: MemberRequest, pk: int) -> HttpResponse:
    """Whether the envelope sender is told of each bounce by email."""
    credential = get_object_or_404(request.account.credentials.usable(), pk=pk)
    credential.send_dsn = request.POST.get("send_dsn") == "on"
    credential.save(update_fields=["send_dsn"])
    if credential.send_dsn:
        text = _("Bounces of what “%(name)s” sends are told to the envelope sender by email.")
    else:
        text = _("“%(name)s” gets no emails about bounces any more.")
    messages.success(request, text % {"name": credential.name})
    return redirect("setup:show")


@require_safe
@member
def credential_log(request: MemberRequest, pk: int) -> HttpResponse:
    """Who logged in, or tried to, with this credential; also of one that was revoked."""
    credential = get_object_or_404(request.account.credentials, pk=pk)
    logins = credential.logins.order_by("-at", "-id")[:SHOWN_LOGINS]
    return render(request, "domains/log.html", {"credential": credential, "logins": logins, "most": SHOWN_LOGINS})


def _with_secret(request: MemberRequest, credential: SmtpCredential) -> HttpResponse:
    """The only page that ever shows the secret: no redirect, for nothing may keep it in between."""
    renewed = bool(credential.pk)
    secret = credential.reset_secret()
    credential.save()
    samples = samples_of(request.account, credential.username, secret)
    shown = {"credential": credential, "secret": secret, "samples": samples, "renewed": renewed}
    return _page(request, CredentialForm(request.account), shown)


def _page(request: MemberRequest, form: CredentialForm, shown: dict[str, Any] | None = None) -> HttpResponse:
    domain = request.account.domains.validated().order_by("id").first()
    recipient = f"delivered@{settings.SIMULATOR_DOMAIN}" if settings.DEMO else request.user.email
    context = {
        "host": submission_host(),
        "port": settings.SUBMISSION_PORT,
        "tls_port": settings.SUBMISSION_TLS_PORT,
        "credentials": request.account.credentials.usable().select_related("domain").order_by("name", "id"),
        "form": form,
        "test_form": TestEmailForm(initial={"recipient": recipient}),
        "domain": domain,
        **(shown or {"samples": first_samples(request.account)}),
    }
    return render(request, "domains/setup.html", context)
