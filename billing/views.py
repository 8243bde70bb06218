"""The account menu: which account to work in, and light or dark."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from billing.access import CHOSEN, MemberRequest, member
from billing.context import THEME_COOKIE, THEMES

YEAR = 365 * 24 * 3600


@require_POST
@member
def switch_account(request: MemberRequest, pk: int) -> HttpResponse:
    """Another account means other rows, so it opens at the list and not at the page before."""
    request.session[CHOSEN] = get_object_or_404(request.user.accounts, pk=pk).pk
    return redirect("activity:list")


@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Kept in a cookie, so that the server renders the right colours at once; visitors may have it too."""
    back = request.META.get("HTTP_REFERER", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = "/"
    response = redirect(back)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=YEAR, samesite="Lax", secure=request.is_secure(), httponly=True
        )
    return response
