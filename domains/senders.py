"""As whom may this client send: what submission needs to know of a credential, its account and its domains."""

import hmac
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

import idna

from domains.models import Domain, LoginEvent, SmtpCredential, hash_secret

type Network = IPv4Network | IPv6Network

NOBODY = hash_secret("")


@dataclass(frozen=True, slots=True)
class Sender:
    """A logged-in credential. `domains`: {name in lower-case ASCII: id} of the validated ones it may send as.

    `secret_sha256` is that of the present secret: who logged in with an earlier one is nobody any more.
    """

    credential_id: int
    account_id: int
    suspended: bool
    bound_to: str
    domains: dict[str, int]
    max_recipients: int | None = None
    messages_a_minute: int | None = None
    secret_sha256: bytes = b""


def ascii_name(domain: str) -> str:
    """A domain name as it is compared: lower case, an IDN as its A-labels (RFC 5890 2.3.2.1, UTS 46)."""
    domain = domain.lower()
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain


def authenticate(username: str, secret: str) -> tuple[int | None, LoginEvent.Result]:
    """(the credential's id if it may log in, what goes into the log).

    An unknown name costs the same query and the same comparison as a known one.
    """
    # No user name of ours is anything but short ASCII, and PostgreSQL refuses NUL.
    known = username if username.isalnum() and username.isascii() else ""
    credential = SmtpCredential.objects.filter(username=known).only("secret_sha256", "revoked_at").first()
    right = hmac.compare_digest(bytes(credential.secret_sha256) if credential else NOBODY, hash_secret(secret))
    if credential is None:
        return None, LoginEvent.Result.UNKNOWN
    if not right:
        return None, LoginEvent.Result.REFUSED
    if credential.revoked_at is not None:
        return None, LoginEvent.Result.REVOKED
    return credential.pk, LoginEvent.Result.ACCEPTED


def sender_of(credential_id: int) -> Sender | None:
    """None when the credential was revoked or is gone."""
    credential = SmtpCredential.objects.usable().select_related("account", "domain").filter(pk=credential_id).first()
    if credential is None:
        return None
    domains = Domain.objects.validated().filter(account=credential.account)
    if credential.domain_id is not None:
        domains = domains.filter(pk=credential.domain_id)
    return Sender(
        credential_id=credential.pk,
        account_id=credential.account_id,
        suspended=credential.account.suspended_at is not None,
        bound_to=credential.domain.name if credential.domain else "",
        domains={ascii_name(name): key for name, key in domains.values_list("name", "pk")},
        max_recipients=credential.account.max_recipients,
        messages_a_minute=credential.account.messages_a_minute,
        secret_sha256=bytes(credential.secret_sha256),
    )


def networks() -> list[tuple[Network, int]]:
    """The client networks that need no AUTH, each with its credential's id; networks do not overlap."""
    rows = SmtpCredential.objects.usable().exclude(networks=[]).values_list("pk", "networks")
    return [(network, key) for key, texts in rows for network in map(parse_network, texts) if network is not None]


def parse_network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
