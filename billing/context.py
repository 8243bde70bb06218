"""What every page shows: the account in use, its quota bar and the navigation."""

from typing import Any

from django.http import HttpRequest


def account(request: HttpRequest) -> dict[str, Any]:
    """`account` and `usage` on pages of a logged-in member; nothing elsewhere."""
    chosen = getattr(request, "account", None)
    return {"account": chosen, "usage": chosen.usage()} if chosen else {}
