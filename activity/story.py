"""One email told in full: the answer, every line of its history, and what is still to come."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cached_property

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from activity.advice import Answer, answer, reason_label
from activity.models import Message, Recipient, StatusEvent, Suppression
from activity.reports import NOTES
from activity.status import Status
from activity.suppressed import suppression_of
from domains.models import SmtpCredential

# How often the page of an email looks for news, in seconds; a Delivered email may still bounce.
REFRESH = {Status.ACCEPTED: 1, Status.PENDING: 1, Status.DEFERRED: 2, Status.DELIVERED: 30}

STAGES = {
    "dns": gettext_lazy("looking up the domain"),
    "connect": gettext_lazy("connecting"),
    "banner": gettext_lazy("greeting"),
    "greeting": gettext_lazy("greeting"),
    "ehlo": "EHLO",
    "helo": "HELO",
    "starttls": "STARTTLS",
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "data": "DATA",
    "end_of_data": gettext_lazy("end of the message"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the history, ready to be shown; `email` gives the names that its sentence needs."""

    event: StatusEvent
    email: Recipient

    @property
    def at(self) -> dt.datetime:
        return timezone.localtime(self.event.at)

    @property
    def label(self) -> str:
        if self.event.status in Status:
            return str(Status(self.event.status).label)
        return str(NOTES.get(self.event.note, _("Note")))

    @property
    def note(self) -> str:
        """Words of our own; what marks the note of a report stands in the label."""
        return "" if self.event.note in NOTES else self.event.note

    @property
    def sentence(self) -> str:
        event = self.event
        if event.reason:
            return reason_label(event.reason)
        sentences = {
            Status.ACCEPTED: _("Received from your software."),
            Status.PENDING: _("In the sending queue to %(domain)s.") % {"domain": self.email.domain},
            Status.DELIVERED: _("The recipient's server took the email."),
        }
        return sentences.get(Status(event.status), "") if event.status in Status else ""

    @property
    def reply(self) -> str:
        """What was said, with its codes; a reply is stored with or without them."""
        event = self.event
        if not event.reply or event.reply.startswith(str(event.code)):
            return event.reply
        codes = f"{event.code or ''} {event.enhanced}".split()
        text = event.reply.removeprefix(event.enhanced).strip()
        return " ".join([*codes, text])

    @property
    def speaker(self) -> str:
        return _("We answered") if self.event.status == Status.REJECTED else _("Their server answered")

    @property
    def facts(self) -> list[str]:
        event = self.event
        host = f"{event.host} [{event.ip}]" if event.host and event.ip else event.host or event.ip or ""
        stage = STAGES.get(event.stage, event.stage) if event.status != Status.ACCEPTED else ""
        attempt = _("attempt %(n)d") % {"n": event.attempt} if event.attempt and event.host else ""
        place = _("at %(stage)s") % {"stage": stage} if stage else ""
        return [fact for fact in (host, place, event.tls, attempt) if fact]


class Story:
    def __init__(self, recipient: Recipient) -> None:
        self.recipient = recipient
        self.events = list(StatusEvent.objects.filter(recipient_id=recipient.id).order_by("-at", "-id"))

    @property
    def answer(self) -> Answer:
        return answer(self.recipient)

    @property
    def lines(self) -> list[Line]:
        return [Line(event, self.recipient) for event in self.events]

    @property
    def day(self) -> dt.date:
        """Times on another day than this one are shown with theirs."""
        return timezone.localtime(self.recipient.at).date()

    @property
    def under_way(self) -> bool:
        """An attempt has begun whose outcome is not recorded yet; `next_attempt_at` is then a lease."""
        return self.recipient.attempt > max((event.attempt for event in self.events), default=0)

    @property
    def next_attempt_at(self) -> dt.datetime | None:
        due = self.recipient.next_attempt_at if self.recipient.status == Status.DEFERRED else None
        return None if self.under_way else due

    @property
    def overdue(self) -> bool:
        return self.next_attempt_at is not None and self.next_attempt_at <= timezone.now()

    @property
    def refresh(self) -> int:
        """Seconds until the page should look again; 0 when the status never changes any more."""
        return REFRESH.get(Status(self.recipient.status), 0)

    @cached_property
    def suppression(self) -> Suppression | None:
        """Why nothing goes to this address any more."""
        return suppression_of(self.recipient.account_id, self.recipient.address)

    @property
    def version(self) -> str:
        suppressed = self.suppression.pk if self.suppression else 0
        events = [event.id for event in self.events]
        facts = repr((self.recipient.attempt, self.recipient.status, self.overdue, suppressed, events))
        return hashlib.blake2s(facts.encode(), digest_size=8).hexdigest()

    @cached_property
    def message(self) -> Message | None:
        return Message.objects.filter(account=self.recipient.account_id, id=self.recipient.message_id).first()

    @cached_property
    def credential(self) -> SmtpCredential | None:
        if self.message is None or self.message.credential_id is None:
            return None
        return SmtpCredential.objects.filter(account=self.recipient.account_id, id=self.message.credential_id).first()

    @cached_property
    def others(self) -> list[Recipient]:
        """The other recipients of the same message."""
        found = Recipient.objects.of_message(self.recipient.account_id, self.recipient.message_id)
        return list(found.exclude(id=self.recipient.id))
