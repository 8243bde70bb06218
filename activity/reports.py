"""What a report does to rows: it is kept before it is acknowledged, and its effect and its conclusion are one commit.

A report that was cut short by a crash is still waiting and is understood again; one that was concluded never is.
"""

import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from django.db import OperationalError, transaction
from django.db import connection as django_connection
from django.db.models import Func, IntegerField
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from psycopg import AsyncConnection
from uuid_utils.compat import uuid7

from activity.models import InboundReport, Recipient, StatusEvent
from activity.outcome import Outcome
from activity.record import record_reports
from activity.slices import floor_id
from activity.status import BOUNCES, Status
from activity.suppress import Cause, Entry, suppress_all
from activity.text import clean, one_line

log = logging.getLogger(__name__)

# A report that came to several addresses is sent to the database once.
KEEP = """
INSERT INTO activity_inboundreport (id, mail_from, rcpt_to, recipient_id, raw, kind, conclusion)
SELECT report.id, report.mail_from, report.rcpt_to, report.recipient_id, content.raw, '', ''
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::int8[])
    AS report(id, mail_from, rcpt_to, recipient_id, number)
JOIN unnest(%b::bytea[]) WITH ORDINALITY AS content(raw, number) ON content.number = report.number
"""
EXPIRED = """
DELETE FROM activity_inboundreport WHERE id IN (
    SELECT id FROM activity_inboundreport WHERE id < %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
"""
# A recipient's id has the time of its message's, which bounds the search to one slice.
SENDER = """
SELECT domain.name, domain.token
FROM activity_recipient recipient
JOIN activity_message message ON message.id = recipient.message_id AND message.id BETWEEN %(low)s AND %(high)s
JOIN domains_domain domain ON domain.id = message.domain_id
WHERE recipient.id = %(id)s
"""
ANY_DOMAIN = "SELECT EXISTS (SELECT FROM domains_domain WHERE lower(name) = ANY(%s) OR token = %s)"

# The notes that a report may leave in a history without changing the status: the marker kept in StatusEvent.note.
NOTES: dict[str, Promise] = {
    "complaint": _("Marked as spam by its reader"),
    "delayed": _("A later server is still trying"),
    "relayed": _("Passed on by a later server"),
    "auto_reply": _("Answered automatically"),
}
NOTE_KEY = ("recipient_id", "note")
CONCLUDE = """
UPDATE activity_inboundreport report
SET understood_at = %s, kind = done.kind, recipient_id = done.recipient_id, conclusion = done.conclusion
FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::text[]) AS done(id, kind, recipient_id, conclusion)
WHERE report.id = done.id
"""
# What is understood in one commit at most.
CHUNK = 50
CHUNK_BYTES = 4_000_000
DROPPED_AT_ONCE = 500


class OctetLength(Func):
    """Of a bytea: read from its header, without the bytes."""

    function = "octet_length"
    output_field = IntegerField()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A report as a client handed it over, and whom each of its addresses names (None: an address of our own)."""

    mail_from: str
    addressees: Mapping[str, UUID | None]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What a report says about one email. `outcome` holds a bounce, or the words that go with a note.

    `kind` is what the report is; `conclusion` is one line for the operator. Without an outcome it changes nothing.
    """

    kind: str
    conclusion: str
    outcome: Outcome | None = None


class Reading(Protocol):
    """A report that was read: whose email it is about, and, given that email's address, what it says."""

    @property
    def recipient_id(self) -> UUID | None: ...

    def finding(self, address: str) -> Finding: ...


async def keep(connection: AsyncConnection[Any], arrived: Sequence[Arrived]) -> list[list[UUID]]:
    """Commit reports as they came, each once for each of its addressees. Raises psycopg.Error: nothing was kept."""
    rows: list[tuple[UUID, str, str, UUID | None, int]] = []
    ids = []
    for number, report in enumerate(arrived, 1):
        keys = [uuid7() for _ in report.addressees]
        for key, (address, recipient_id) in zip(keys, report.addressees.items(), strict=True):
            rows.append((key, one_line(report.mail_from, 320), one_line(address, 320), recipient_id, number))
        ids.append(keys)
    await connection.execute(KEEP, [*map(list, zip(*rows, strict=True)), [report.raw for report in arrived]])
    return ids


def drop_expired(days: int) -> int:
    """Delete reports that came longer ago than emails are kept; how many there were.

    A report outlives its email, which is older. What still waits can change nothing any more.
    """
    oldest = floor_id(timezone.now() - dt.timedelta(days=days))
    dropped: int = 0
    with django_connection.cursor() as cursor:
        while True:
            cursor.execute(EXPIRED, [oldest, DROPPED_AT_ONCE])
            dropped += cursor.rowcount
            if cursor.rowcount < DROPPED_AT_ONCE:
                return dropped


async def returns_to(connection: AsyncConnection[Any], recipient_id: UUID, host: str, zone: str) -> bool:
    """May mail about this recipient come back to `host` (lower case)? It is the sending domain's, under any label.

    Of an email that is no longer kept nothing more is known than that the host belongs to some domain of ours.
    """
    low = recipient_id.int >> 80 << 80
    bounds = {"id": recipient_id, "low": UUID(int=low), "high": UUID(int=low + (1 << 80) - 1)}
    row = await (await connection.execute(SENDER, bounds)).fetchone()
    if row is not None:
        name, token = row
        # The label can be changed in the settings while bounces to the old one are still on their way.
        return host.endswith(f".{name.lower()}") or host == f"{token}.bounce.{zone}"
    labels = host.split(".")
    parents = [".".join(labels[start:]) for start in range(1, len(labels) - 1)]
    row = await (await connection.execute(ANY_DOMAIN, [parents, host.removesuffix(f".bounce.{zone}")])).fetchone()
    return row is not None and bool(row[0])


def settle_waiting(read: Callable[[InboundReport], Reading]) -> None:
    """Understand and carry out every report that waits, oldest first, each once."""
    last = UUID(int=0)
    while True:
        rows = InboundReport.objects.filter(understood_at=None, id__gt=last).order_by("id")
        chunk, size = [], 0
        for report_id, length in rows.annotate(length=OctetLength("raw")).values_list("id", "length")[:CHUNK]:
            chunk.append(report_id)
            size += length
            if size > CHUNK_BYTES:
                break
        if not chunk:
            return
        settle(chunk, read)
        last = chunk[-1]


def settle(ids: Sequence[UUID], read: Callable[[InboundReport], Reading]) -> None:
    """Carry out those of the reports that wait, in one commit; those whose email is under way go on waiting.

    Where one fails, the others are carried out one by one, and it waits for an operator.
    """
    try:
        with transaction.atomic():
            _settle(ids, read)
    except OperationalError:
        raise
    except Exception:
        if len(ids) == 1:
            log.exception("report %s could not be understood and waits", ids[0])
        else:
            for report_id in ids:
                settle([report_id], read)


def _settle(ids: Sequence[UUID], read: Callable[[InboundReport], Reading]) -> None:
    with django_connection.cursor() as cursor:
        # Without waiting for the disk: after a crash the reports still wait, so they are only understood again.
        cursor.execute("SET LOCAL synchronous_commit = off")
    waiting = InboundReport.objects.select_for_update(skip_locked=True).filter(id__in=ids, understood_at=None)
    readings = [(report, read(report)) for report in waiting.order_by("id")]
    wanted = {reading.recipient_id for _, reading in readings if reading.recipient_id is not None}
    # Locked in the order of their ids, so that two workers never wait for each other crosswise.
    emails = {email.id: email for email in Recipient.objects.select_for_update().filter(id__in=wanted).order_by("id")}
    batch = Batch(emails, set(StatusEvent.objects.filter(recipient_id__in=emails, status="").values_list(*NOTE_KEY)))
    for report, reading in readings:
        batch.add(report, reading)
    batch.write()


class Batch:
    """The effects of some reports. `emails` are locked; `noted` are the (recipient_id, note) that there are already."""

    def __init__(self, emails: Mapping[UUID, Recipient], noted: set[tuple[UUID, str]]) -> None:
        self.emails = emails
        self.noted = noted
        self.bounces: dict[UUID, tuple[Outcome, dt.datetime]] = {}
        self.notes: list[StatusEvent] = []
        self.concluded: list[tuple[UUID, str, UUID | None, str]] = []

    def add(self, report: InboundReport, reading: Reading) -> None:
        email = self.emails.get(reading.recipient_id) if reading.recipient_id else None
        finding = reading.finding(email.address if email else "")
        bounces = finding.kind == "bounce"
        if email is not None and bounces and email.waits:
            return  # Its attempt's own record comes first.
        effect = self._effect(report, finding, email, reading.recipient_id)
        conclusion = one_line(f"{finding.conclusion} {effect}")
        self.concluded.append((report.id, finding.kind, reading.recipient_id, conclusion))

    def _effect(self, report: InboundReport, finding: Finding, email: Recipient | None, named: UUID | None) -> str:
        """Books it, and says in words what it is."""
        outcome = finding.outcome
        if outcome is None or named is None:
            return "No email was changed."
        if email is None:
            return "The email is no longer kept."
        if outcome.status not in BOUNCES or finding.kind != "bounce":
            return self._note(report, finding.kind, outcome, email)
        if email.status != Status.DELIVERED or email.id in self.bounces:
            return "Nothing new: the email had its final word before."
        self.bounces[email.id] = (outcome, report.at)
        return f"The email is a {outcome.status.label.lower()} now."

    def _note(self, report: InboundReport, marker: str, outcome: Outcome, email: Recipient) -> str:
        if (email.id, marker) in self.noted:
            return "Nothing new: it was noted before."
        self.noted.add((email.id, marker))
        values = {
            "reason": str(outcome.reason),
            "code": outcome.code,
            "enhanced": outcome.enhanced[:11],
            "reply": clean(outcome.text),
            "host": one_line(outcome.host, 255),
            "attempt": email.attempt,
        }
        self.notes.append(StatusEvent(recipient_id=email.id, at=report.at, note=marker, **values))
        return "Noted in the email's history."

    def write(self) -> None:
        if self.bounces:
            record_reports(self.bounces)
        complaints = [self.emails[event.recipient_id] for event in self.notes if event.note == "complaint"]
        suppress_all(Entry(email.account_id, email.address, Cause.COMPLAINT, email.id) for email in complaints)
        StatusEvent.objects.bulk_create(self.notes)
        if self.concluded:
            with django_connection.cursor() as cursor:
                cursor.execute(CONCLUDE, [timezone.now(), *map(list, zip(*self.concluded, strict=True))])
