"""Emails to an account's owners about a domain that fails, is not validated any more, or was taken over."""

import datetime as dt
import logging

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import override

from billing.models import Membership
from domains.models import Domain, DomainEvent
from domains.names import in_unicode
from domains.own import own_domain
from domains.records import records_of
from domains.wording import explain

log = logging.getLogger(__name__)

Kind = DomainEvent.Kind
# A warning that could not be sent for so long has lost its meaning.
STALE = dt.timedelta(days=2)


def send_owed() -> int:
    """Send what is owed; how many emails. May run in many processes at once."""
    owed = list(DomainEvent.objects.filter(mail_owed=True).order_by("id").values_list("pk", flat=True)[:100])
    if owed:
        # Who sends it has to be there before: a mailer of ours looks from outside of our transactions.
        own_domain()
    return sum(_settle(key) for key in owed)


@transaction.atomic
def _settle(key: int) -> int:
    """Whoever holds the line's lock sends it. One who dies leaves it owed: twice is better than never."""
    held = DomainEvent.objects.select_for_update(skip_locked=True, of=("self",)).select_related("domain__account")
    event = held.filter(pk=key, mail_owed=True).first()
    if event is None:
        return 0
    told = event.detail.get("told", [])
    waiting = [] if event.at < timezone.now() - STALE else [each for each in _owners(event.domain) if each not in told]
    sent = 0
    try:
        for address in waiting:
            _send(event, address)
            sent += 1
    except Exception as error:  # whatever the mailer raises, the others are still owed their email
        log.warning("a warning about %s waits: %s", event.domain, error)
    event.detail["told"] = told + waiting[:sent]
    event.mail_owed = sent < len(waiting)
    event.save(update_fields=["detail", "mail_owed"])
    return sent


def _owners(domain: Domain) -> list[str]:
    owners = Membership.objects.filter(account=domain.account, role=Membership.Role.OWNER, user__is_active=True)
    return list(owners.order_by("id").values_list("user__email", flat=True))


def _send(event: DomainEvent, address: str) -> None:
    account = event.domain.account
    with override(account.language), timezone.override(account.tzinfo):
        subject, text = compose(event)
    send_mail(subject, text, None, [address])


def compose(event: DomainEvent) -> tuple[str, str]:
    """(subject, text)"""
    domain = event.domain
    name = in_unicode(domain.name)
    link = f"{settings.WEB_URL}{reverse('domains:domain', args=[domain.pk])}"
    if event.kind == Kind.FAILING:
        until = dt.datetime.fromisoformat(event.detail["until"])
        subject = _("%(name)s: a DNS record is not right any more") % {"name": name}
        first = _("We still send for %(name)s until %(until)s. After that its mail is Rejected.") % {
            "name": name,
            "until": date_format(timezone.localtime(until), "j F Y, H:i T"),
        }
    elif event.kind == Kind.LOST:
        subject = _("%(name)s was taken over by another account") % {"name": name}
        first = _(
            "Whoever runs the DNS of %(name)s moved it to another account. Its mail is Rejected here from now on. If "
            "that was not meant to happen, look into its DNS at once."
        ) % {"name": name}
    else:
        subject = _("%(name)s: mail is Rejected until its DNS records are right") % {"name": name}
        first = _("The records of %(name)s were not right for too long, so mail from it is Rejected now.") % {
            "name": name
        }
    lines = [
        first,
        "",
        *_records(domain, event.detail.get("records", [])),
        _("Look at it here: %(link)s") % {"link": link},
    ]
    return subject, "\n".join(lines) + "\n"


def _records(domain: Domain, keys: list[str]) -> list[str]:
    """What each of these records should be, and what is different."""
    lines = []
    for record in records_of(domain):
        if record.key in keys:
            lines += [f"{record.label}: {record.name} CNAME {record.target}"]
            found = domain.found.get(record.key, {})
            said = explain(found, record, domain.name) or (_("It was not found.") if not found.get("found") else "")
            lines += [f"  {said}", ""] if said else [""]
    return lines
