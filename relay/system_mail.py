"""Mail of our own pages, and Django's own mail: both go the way of every customer's email, through accept."""

from collections.abc import Sequence
from email.message import EmailMessage as Mime
from email.message import Message as LegacyMime
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone
from psycopg import AsyncConnection

from activity.accept import Unavailable, accept_each
from activity.arrival import Arrival, Refusal
from activity.pool import conninfo
from activity.reasons import Reason
from activity.suppressed import suppression_of
from domains.models import Domain
from domains.own import own_domain
from relay.submission.gate import suppressed

CLIENT = "dashboard"


def hand_in(domain: Domain, message: Mime | LegacyMime, recipients: list[str]) -> tuple[Arrival, Refusal | None]:
    """Have a message accepted in the name of a validated domain, by the same rules as over SMTP.

    Raises Unavailable when the database could not keep it.
    """
    raw = message.as_bytes(policy=SMTP)
    arrival = Arrival(
        account_id=domain.account_id,
        credential_id=None,
        domain_id=domain.id,
        mail_from=parseaddr(str(message["From"]))[1],
        recipients=list(dict.fromkeys(recipients)),
        header_from=str(message["From"]),
        subject=str(message["Subject"]),
        header_id=str(message["Message-ID"]).strip("<>"),
        size=len(raw),
        client=CLIENT,
        read_body=lambda: raw,
    )
    if domain.account.suspended_at:
        refusal = Refusal(Reason.ACCOUNT_SUSPENDED, 550, "5.7.1", "Account suspended")
        arrival.refused = [(address, refusal) for address in arrival.recipients]
        arrival.recipients = []
    else:
        for address in arrival.recipients:
            if entry := suppression_of(domain.account_id, address):
                arrival.refused.append((address, suppressed(entry)))
        arrival.recipients = [each for each in arrival.recipients if each not in dict(arrival.refused)]
    return arrival, async_to_sync(_accept)(arrival)


async def _accept(arrival: Arrival) -> Refusal | None:
    async with await AsyncConnection.connect(conninfo(), autocommit=True) as connection:
        [verdict] = await accept_each(connection, [arrival])
    if isinstance(verdict, Unavailable):
        raise verdict
    return verdict


def test_email(domain: Domain, recipient: str) -> Mime:
    """A short message that says where it came from."""
    message = Mime()
    message["From"] = f"test@{domain.name}"
    message["To"] = recipient
    message["Subject"] = f"Test email from {domain.name}"
    message["Date"] = format_datetime(timezone.now())
    message["Message-ID"] = make_msgid(domain=domain.name)
    message.set_content(
        "This is a test email from your relay.\n\nIf you can read it, your domain sends as it should.\n"
    )
    return message


class AcceptBackend(BaseEmailBackend):
    """Django's mailer: a sender's domain must be validated, and its account pays with its quota."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for each in email_messages:
            self._send(each)
        return len(email_messages)

    def _send(self, each: EmailMessage) -> None:
        sender = parseaddr(each.from_email)[1].rpartition("@")[2].lower()
        if sender == settings.ZONE:
            domain: Domain | None = own_domain()
        else:
            domain = Domain.objects.validated().select_related("account").filter(name=sender).first()
        if domain is None:
            raise Unavailable(f"system mail needs a validated domain, and {sender} is none")
        _, refusal = hand_in(domain, each.message(), each.recipients())
        if refusal is not None:
            raise Unavailable(refusal.reply)
