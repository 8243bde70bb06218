"""The log-in log, and when a credential was last used: written in small batches by submission."""

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone

from domains.models import LoginEvent, SmtpCredential

Result = LoginEvent.Result
MAX_USERNAME = 64


@dataclass(frozen=True, slots=True)
class Login:
    """One kind of attempt: who it was meant to be, from where, and what came of it."""

    username: str
    address: str
    result: Result


def record(logins: dict[Login, int]) -> None:
    """Write {attempt: how often}, each as one line of the log of the credential that has the user name."""
    now = timezone.now()
    names = {login.username for login in logins}
    ids = dict(SmtpCredential.objects.filter(username__in=names).values_list("username", "pk"))
    LoginEvent.objects.bulk_create(
        LoginEvent(
            credential_id=ids.get(login.username),
            username=login.username,
            address=login.address,
            result=login.result,
            count=count,
            at=now,
        )
        for login, count in logins.items()
    )


def mark_used(credential_ids: set[int]) -> None:
    """These have just been sent with, by log-in or from their networks."""
    SmtpCredential.objects.filter(pk__in=credential_ids).update(last_used_at=timezone.now())


def drop_expired(days: int) -> int:
    """Delete the lines older than `days`; return their number."""
    return LoginEvent.objects.filter(at__lt=timezone.now() - dt.timedelta(days=days)).delete()[0]
