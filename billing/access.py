"""Who may see a page: members of an account, and each of them only that account's things."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from billing.models import Account, User

# In the session: the account a member of several works in.
CHOSEN = "account"


class MemberRequest(HttpRequest):
    """The request of a logged-in member; every queryset of a view begins at `account`."""

    user: User
    account: Account
    accounts: list[Account]
    htmx: HtmxDetails


def member[**P](
    view: Callable[Concatenate[MemberRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """The view gets a MemberRequest and runs in the account's time zone; others are sent to the log-in page."""

    @wraps(view)
    def wrapped(visit: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        request = cast(MemberRequest, visit)
        if not visit.user.is_authenticated:
            return _to_login(request)
        request.accounts = list(request.user.accounts.select_related("plan").order_by("id"))
        if not request.accounts:
            return _without_account(request)
        request.account = _chosen(request)
        with timezone.override(request.account.tzinfo):
            response = view(request, *args, **kwargs)
        # One URL has two renderings, and no cache may keep either for somebody else.
        patch_vary_headers(response, ["HX-Request", "HX-Target"])
        patch_cache_control(response, private=True, no_cache=True)
        return response

    return wrapped


def _to_login(request: MemberRequest) -> HttpResponse:
    """The whole page goes to the log-in, also when only a part of it was asked for."""
    if request.htmx:
        return HttpResponseClientRedirect(redirect_to_login(request.htmx.current_url_abs_path or "/").url)
    return redirect_to_login(request.get_full_path())


def _without_account(request: MemberRequest) -> HttpResponse:
    if request.user.is_staff:
        return redirect("admin:index")
    raise PermissionDenied(_("You do not belong to an account yet. Ask the person who invited you."))


def _chosen(request: MemberRequest) -> Account:
    chosen = request.session.get(CHOSEN)
    return next((account for account in request.accounts if account.id == chosen), request.accounts[0])
