"""The Domains tab: the sending domains of an account, their records, and the check of them."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from billing.access import MemberRequest, member
from domains.check import check
from domains.forms import BounceLabelForm, DomainForm
from domains.models import Domain, DomainEvent
from domains.shown import STATES, history_of, overall, page_of

# One check at a time: a name server is not to be asked by every click.
CHECK_SECONDS = 3


@require_safe
@member
def domains(request: MemberRequest) -> HttpResponse:
    return _list(request, DomainForm(initial={"name": request.GET.get("name", "")[:253]}))


@require_POST
@member
def add_domain(request: MemberRequest) -> HttpResponse:
    form = DomainForm(request.POST)
    if not form.is_valid():
        return _list(request, form)
    with transaction.atomic():
        domain, made = request.account.domains.get_or_create(name=form.cleaned_data["name"])
        if made:
            domain.make_keys()
            DomainEvent.objects.create(domain=domain, kind=DomainEvent.Kind.ADDED, by=request.user.email)
    if not made:
        messages.info(request, _("%(name)s is already one of your domains.") % {"name": domain.name})
    return redirect("domains:domain", domain.pk)


def _list(request: MemberRequest, form: DomainForm) -> HttpResponse:
    found = request.account.domains.order_by("name")
    rows = [(domain, state := overall(domain), STATES[state]) for domain in found]
    return render(request, "domains/list.html", {"rows": rows, "form": form})


@require_safe
@member
def domain(request: MemberRequest, pk: int) -> HttpResponse:
    return show(request, get_object_or_404(request.account.domains, pk=pk))


@require_POST
@member
def check_domain(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    if check_again(found, request.user.email):
        note = ""
    else:
        note = _("This was checked a moment ago; you see what was found.")
    if request.htmx:
        return show(request, found, note)
    if note:
        messages.info(request, note)
    return redirect("domains:domain", pk)


def check_again(found: Domain, by: str) -> bool:
    """Look now, unless somebody did a moment ago; then False."""
    if not cache.add(f"check:{found.pk}", 1, CHECK_SECONDS):
        found.refresh_from_db()
        return False
    check(found, by)
    return True


def show(request: MemberRequest, found: Domain, note: str = "") -> HttpResponse:
    """The whole page, or the records when HTMX asks for them."""
    part = "#records" if request.htmx and request.htmx.target == "records" else ""
    context: dict[str, Any] = {**page_of(found), "note": note}
    if not part:
        context |= _rest(request, found)
    return render(request, f"domains/domain.html{part}", context)


def _rest(request: MemberRequest, found: Domain) -> dict[str, Any]:
    """What stands below the records and is not part of what updates itself."""
    credentials = request.account.credentials.usable().order_by("name", "id")
    return {
        "history": history_of(found),
        "bound": credentials.filter(domain=found),
        "open": credentials.filter(domain=None),
        "label_form": BounceLabelForm(found, initial={"label": found.bounce_label}),
        "demo": settings.DEMO,
    }
