"""The page behind a shared link: one domain's records and their live state, for whoever has the link."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.middleware import HtmxDetails

from billing.access import MemberRequest, member
from domains import sharing
from domains.models import Domain
from domains.shown import page_of, version_of
from domains.views import check_again, just_checked
from domains.watching import watched

# Of one link.
CHECKS, CHECKS_SECONDS = 20, 600


class LinkRequest(HttpRequest):
    """The request of somebody with a link, who is nobody to us."""

    htmx: HtmxDetails


def linked(view: Callable[[LinkRequest, str, Domain], HttpResponse]) -> Callable[[HttpRequest, str], HttpResponse]:
    """The view gets the domain of the link; nothing of the page is kept or found by a search engine."""

    @never_cache
    @wraps(view)
    def wrapped(visit: HttpRequest, token: str) -> HttpResponse:
        link = sharing.opened(token)
        if link is None:
            raise Http404
        response = view(cast(LinkRequest, visit), token, link.domain)
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return wrapped


@require_safe
@linked
def shared(request: LinkRequest, token: str, domain: Domain) -> HttpResponse:
    if request.htmx:
        watched(domain)
        if request.GET.get("seen") == version_of(domain):
            return HttpResponse(status=204)
    return _show(request, token, domain)


@require_POST
@linked
def shared_check(request: LinkRequest, token: str, domain: Domain) -> HttpResponse:
    if not _may_check(domain):
        note = _("That was checked very often. It is checked again by itself; come back in ten minutes.")
    else:
        note = "" if check_again(domain, sharing.COLLEAGUE) else just_checked()
    if request.htmx:
        return _show(request, token, domain, note)
    if note:
        messages.info(request, note)
    return redirect("domains:shared", token)


def _may_check(domain: Domain) -> bool:
    """A link may be in many hands; the name servers of others are not to suffer from it."""
    key = f"shared-checks:{domain.pk}:{time.time() // CHECKS_SECONDS:.0f}"
    used = cache.get(key, 0) + 1
    cache.set(key, used, CHECKS_SECONDS)
    return bool(used <= CHECKS)


def _show(request: LinkRequest, token: str, domain: Domain, note: str = "") -> HttpResponse:
    part = "#live" if request.htmx and request.htmx.target == "records" else ""
    context: dict[str, Any] = {
        **page_of(domain),
        "note": note,
        "page_url": reverse("domains:shared", args=[token]),
        "check_url": reverse("domains:shared_check", args=[token]),
    }
    return render(request, f"domains/shared.html{part}", context)


@require_POST
@member
def share(request: MemberRequest, pk: int) -> HttpResponse:
    sharing.share(get_object_or_404(request.account.domains, pk=pk), request.user.email)
    return redirect(reverse("domains:domain", args=[pk], fragment="share"))


@require_POST
@member
def unshare(request: MemberRequest, pk: int) -> HttpResponse:
    sharing.stop(get_object_or_404(request.account.domains, pk=pk), request.user.email)
    messages.success(request, _("The link does not open any more."))
    return redirect(reverse("domains:domain", args=[pk], fragment="share"))
