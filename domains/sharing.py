"""A link without log-in for the colleague who runs the DNS: it shows one domain's records and lets check them.

The line of history that tells of it is the link: it knows when the link was made, and whether it was stopped. The
token in the address only names that line, signed, so it cannot be guessed and nothing secret is kept.
"""

import datetime as dt

from django.core.signing import BadSignature, Signer
from django.utils import timezone

from domains.models import Domain, DomainEvent

LIFETIME = dt.timedelta(days=7)
# Who checked, in the history.
COLLEAGUE = "a colleague with the link"


def _signer() -> Signer:
    return Signer(salt="domains.sharing", sep=".")


def share(domain: Domain, by: str) -> DomainEvent:
    """The link that is open already, or a new one."""
    return link_of(domain) or DomainEvent.objects.create(domain=domain, kind=DomainEvent.Kind.SHARED, by=by)


def link_of(domain: Domain) -> DomainEvent | None:
    """The newest link that still opens."""
    links = domain.events.filter(kind=DomainEvent.Kind.SHARED, at__gt=timezone.now() - LIFETIME)
    return links.exclude(detail__has_key="stopped").order_by("-id").first()


def stop(domain: Domain, by: str) -> None:
    """No link of the domain opens any more."""
    for link in domain.events.filter(kind=DomainEvent.Kind.SHARED).exclude(detail__has_key="stopped"):
        link.detail = {**link.detail, "stopped": timezone.now().isoformat(), "stopped_by": by}
        link.save(update_fields=["detail"])


def ends_at(link: DomainEvent) -> dt.datetime:
    return link.at + LIFETIME


def token_of(link: DomainEvent) -> str:
    return _signer().sign(str(link.pk))


def opened(token: str) -> DomainEvent | None:
    """The link, with its domain; None for one that is forged, over, stopped, or of a domain that was removed."""
    try:
        key = _signer().unsign(token)
    except BadSignature:
        return None
    links = DomainEvent.objects.filter(kind=DomainEvent.Kind.SHARED, at__gt=timezone.now() - LIFETIME)
    return links.exclude(detail__has_key="stopped").select_related("domain__account").filter(pk=key).first()
