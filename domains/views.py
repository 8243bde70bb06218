"""The Domains tab: the sending domains of an account, their records, and the check of them."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from billing.access import MemberRequest, member
from domains import editing, rotation, sharing
from domains.check import check
from domains.forms import BounceLabelForm, DomainForm
from domains.models import Domain
from domains.names import in_unicode, normalised
from domains.own import is_own
from domains.past import SHOWN_LINES, history_of, keys_of
from domains.senders import ascii_name
from domains.shown import list_of, page_of, version_of
from domains.watching import watched

# One check at a time: a name server is not to be asked by every click.
CHECK_SECONDS = 3
LISTED = 50


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
    domain, made = editing.add(request.account, form.cleaned_data["name"], request.user.email)
    if not made:
        messages.info(request, _("%(name)s is already one of your domains.") % {"name": domain.name})
    return redirect("domains:domain", domain.pk)


def _list(request: MemberRequest, form: DomainForm) -> HttpResponse:
    text = request.GET.get("q", "").replace("\0", "").strip()[:253]
    found = request.account.domains.select_related("account").order_by("name")
    pages = Paginator(found.filter(name__icontains=ascii_name(text)) if text else found, LISTED)
    page = pages.get_page(request.GET.get("page"))
    context = {"rows": list_of(list(page)), "page": page, "text": text, "form": form}
    return render(request, "domains/list.html", context)


@require_safe
@member
def find_domain(request: MemberRequest) -> HttpResponse:
    """Where the domain of a refused sender is put right: `sender` names addresses, the likeliest last."""
    name = ""
    for sender in request.GET.getlist("sender"):
        try:
            name = normalised(sender)
        except ValidationError:
            continue
        found = request.account.domains.filter(name__iexact=name).first()
        if found is None or found.validated_at is None:
            break
    if not name:
        return redirect("domains:list")
    found = request.account.domains.filter(name__iexact=name).first()
    if found is not None:
        return redirect("domains:domain", found.pk)
    return redirect(reverse("domains:list", query={"name": name}))


@require_safe
@member
def domain(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    if request.htmx:
        watched(found)
        if request.GET.get("seen") == version_of(found):
            # Nothing new: focus, selection and open parts of the page are left alone.
            return HttpResponse(status=204)
    return show(request, found)


@require_POST
@member
def check_domain(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    note = "" if check_again(found, request.user.email) else just_checked()
    if request.htmx:
        return show(request, found, note)
    if note:
        messages.info(request, note)
    return redirect("domains:domain", pk)


def just_checked() -> str:
    return _("This was checked a moment ago; you see what was found.")


def check_again(found: Domain, by: str) -> bool:
    """Look now, unless somebody did a moment ago; then False. 404 when it was removed meanwhile."""
    try:
        if cache.add(f"check:{found.pk}", 1, CHECK_SECONDS):
            check(found, by)
            return True
        found.refresh_from_db()
    except Domain.DoesNotExist:
        raise Http404 from None
    return False


@require_POST
@member
def change_label(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    form = BounceLabelForm(found, request.POST)
    if is_own(found) or not form.is_valid():
        return show(request, found, label_form=form)
    if editing.relabel(found, form.cleaned_data["label"], request.user.email):
        text = _("The return-path host is now %(host)s: enter its record, then remove the old one after a week.")
        messages.success(request, text % {"host": found.bounce_host})
    return redirect("domains:domain", pk)


@require_POST
@member
def rotate_keys(request: MemberRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(request.account.domains, pk=pk)
    if rotation.ask(found, request.user.email):
        messages.success(request, _("The other key takes over as soon as every name server shows it."))
    else:
        messages.info(request, _("A rotation is under way already, or the domain is not validated."))
    return redirect("domains:domain", pk)


@require_http_methods(["GET", "HEAD", "POST"])
@member
def remove_domain(request: MemberRequest, pk: int) -> HttpResponse:
    """Asks first, and says what will happen."""
    found = get_object_or_404(request.account.domains.select_related("account"), pk=pk)
    if request.method == "POST" and not is_own(found):
        editing.remove(found)
        text = _("%(name)s was removed. Delete its three records at your DNS host too.")
        messages.success(request, text % {"name": in_unicode(found.name)})
        return redirect("domains:list")
    bound = request.account.credentials.usable().filter(domain=found).order_by("name")
    return render(request, "domains/remove.html", {**page_of(found), "bound": bound})


def show(
    request: MemberRequest, found: Domain, note: str = "", label_form: BounceLabelForm | None = None
) -> HttpResponse:
    """The whole page, or what changes by itself when HTMX asks for that."""
    part = "#live" if request.htmx and request.htmx.target == "records" else ""
    context: dict[str, Any] = {
        **page_of(found),
        "note": note,
        "keys": keys_of(found),
        "history": history_of(found),
        "most_history": SHOWN_LINES,
        "page_url": reverse("domains:domain", args=[found.pk]),
        "check_url": reverse("domains:check", args=[found.pk]),
        "demo": settings.DEMO,
        "here": found.pk,
    }
    if not part:
        context |= _rest(request, found)
        context["label_form"] = label_form or BounceLabelForm(found, initial={"label": found.bounce_label})
    return render(request, f"domains/domain.html{part}", context)


def _rest(request: MemberRequest, found: Domain) -> dict[str, Any]:
    """What stands beside the records and is not part of what updates itself."""
    credentials = request.account.credentials.usable().order_by("name", "id")
    link = sharing.link_of(found)
    return {
        "bound": credentials.filter(domain=found),
        "open": credentials.filter(domain=None),
        "link": f"{settings.WEB_URL}{reverse('domains:shared', args=[sharing.token_of(link)])}" if link else "",
        "link_ends": sharing.ends_at(link) if link else None,
    }
