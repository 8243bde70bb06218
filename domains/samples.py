"""First-send code for Python, Node, PHP and swaks, with the real host and user name in it."""

from dataclasses import dataclass

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from billing.models import Account

LANGUAGES = (("python", "Python"), ("node", "Node"), ("php", "PHP"), ("swaks", "swaks"))


@dataclass(frozen=True, slots=True)
class Sample:
    key: str
    label: str
    code: str


def submission_host() -> str:
    """Where customers' software connects; the demo's host name is in no public DNS."""
    return settings.BIND if settings.DEMO else settings.HOSTNAME


def samples_of(account: Account, username: str, secret: str) -> list[Sample]:
    """One sample a language; `secret` is a placeholder but on the page that shows the real one."""
    domain = account.domains.validated().order_by("id").first()
    context = {
        "host": submission_host(),
        "port": settings.SUBMISSION_PORT,
        "tls_port": settings.SUBMISSION_TLS_PORT,
        "username": username,
        "secret": secret,
        "sender": f"test@{domain.name if domain else 'your-domain.example'}",
        "recipient": f"delivered@{settings.SIMULATOR_DOMAIN}" if settings.DEMO else "you@example.com",
        # The demo's certificate is its own, so a client must be told to trust it.
        "certificate": settings.TLS_CERTIFICATE if settings.DEMO else "",
    }
    return [Sample(key, label, render_to_string(f"samples/{key}.txt", context).strip()) for key, label in LANGUAGES]


def first_samples(account: Account) -> list[Sample]:
    """With the newest credential of the account that logs in, or a placeholder for it."""
    usable = account.credentials.usable().order_by("-id")
    credential = usable.filter(networks=[]).first() or usable.first()
    return samples_of(account, credential.username if credential else _("YOUR-USER-NAME"), _("YOUR-PASSWORD"))
