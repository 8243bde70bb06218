"""The Domains tab: the sending domains of an account, their records, and the check of them."""

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from billing.access import MemberRequest, member
from domains.check import OwnedElsewhere, check
from domains.forms import DomainForm
from domains.models import Domain
from domains.records import records_of

STATES: dict[str, Promise] = {
    "validated": gettext_lazy("Validated"),
    "missing": gettext_lazy("Not found"),
    "wrong": gettext_lazy("Wrong value"),
    "error": gettext_lazy("Could not check"),
    "unchecked": gettext_lazy("Not checked yet"),
}
# The same of a whole domain.
DOMAIN_STATES = {**STATES, "missing": gettext_lazy("Not validated"), "wrong": gettext_lazy("Not validated")}


def state_of(domain: Domain) -> str:
    """The worst state of the records, or `validated` when the domain may send."""
    found = {record.get("state", "unchecked") for record in domain.found.values()}
    if domain.validated_at:
        return "validated"
    return next((state for state in ("wrong", "missing", "error") if state in found), "unchecked")


def record_rows(domain: Domain) -> list[dict[str, Any]]:
    rows = []
    for record in records_of(domain):
        found = domain.found.get(record.key, {})
        state = found.get("state", "unchecked")
        label, value = STATES.get(state, state), found.get("value", "")
        rows.append({"record": record, "state": state, "label": label, "value": value})
    return rows


@require_safe
@member
def domains(request: MemberRequest) -> HttpResponse:
    return _list(request, DomainForm())


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
    if not made:
        messages.info(request, _("%(name)s is already one of your domains.") % {"name": domain.name})
    return redirect("domains:domain", domain.pk)


def _list(request: MemberRequest, form: DomainForm) -> HttpResponse:
    found = request.account.domains.order_by("name")
    rows = [(domain, state := state_of(domain), DOMAIN_STATES[state]) for domain in found]
    return render(request, "domains/list.html", {"rows": rows, "form": form})


@require_safe
@member
def domain(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains, pk=pk)
    return _detail(request, found)


@require_POST
@member
def check_domain(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains, pk=pk)
    problem = ""
    try:
        check(found)
    except OwnedElsewhere:
        problem = _("Another account has validated this domain already. If it is yours, write to our support.")
    if request.htmx:
        return _detail(request, found, problem)
    if problem:
        messages.error(request, problem)
    return redirect("domains:domain", pk)


def _detail(request: MemberRequest, found: Domain, problem: str = "") -> HttpResponse:
    state = state_of(found)
    context = {
        "domain": found,
        "records": record_rows(found),
        "state": state,
        "label": DOMAIN_STATES[state],
        "problem": problem,
    }
    part = "#records" if request.htmx and request.htmx.target == "records" else ""
    return render(request, f"domains/domain.html{part}", context)
