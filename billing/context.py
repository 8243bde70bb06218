"""What every page shows: the theme, the account in use, its quota bar and the other accounts of the member."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

THEMES = ("system", "light", "dark")
THEME_COOKIE = "theme"
# The quota bar turns orange here, and red when the quota is used up.
WARNS_PERCENT = 80


def account(request: HttpRequest) -> dict[str, Any]:
    """`theme` on every page; `account`, `accounts`, `zone` and `usage` on pages of a logged-in member."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    context: dict[str, Any] = {"theme": theme if theme in THEMES else THEMES[0]}
    chosen = getattr(request, "account", None)
    if chosen is not None:
        # Lazy: a part of a page that HTMX asks for shows no quota bar.
        context |= {
            "account": chosen,
            "zone": chosen.time_zone.rpartition("/")[2].replace("_", " "),
            "accounts": request.accounts,  # type: ignore[attr-defined]  # set together with `account`
            "usage": SimpleLazyObject(chosen.usage),
            "warns_at": chosen.plan.monthly_quota * WARNS_PERCENT // 100,
        }
    return context
