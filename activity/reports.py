"""What a report does to rows: it is kept before it is acknowledged, and its effect and its conclusion are one commit.

A report that was cut short by a crash is still waiting and is understood again; one that was concluded never is.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db import connection as django_connection
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from psycopg import AsyncConnection
from uuid_utils.compat import uuid7

from activity.models import InboundReport, Recipient, StatusEvent
from activity.outcome import Outcome
from activity.record import AttemptUnderWay, record_report
from activity.status import BOUNCES
from activity.text import clean, one_line

log = logging.getLogger(__name__)

KEEP = """
INSERT INTO activity_inboundreport (id, mail_from, rcpt_to, recipient_id, raw, kind, conclusion)
SELECT report.id, %s, report.rcpt_to, report.recipient_id, %s, '', ''
FROM unnest(%s::uuid[], %s::text[], %s::uuid[]) AS report(id, rcpt_to, recipient_id)
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
CHUNK = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """What a report says about one email. `outcome` holds a bounce, or the words that go with a note.

    `kind` is what the report is; `conclusion` is one line for the operator. Without `recipient_id` it changes nothing.
    """

    kind: str
    conclusion: str
    recipient_id: UUID | None = None
    outcome: Outcome | None = None


async def keep(
    connection: AsyncConnection[Any], mail_from: str, addressees: Mapping[str, UUID | None], raw: bytes
) -> list[UUID]:
    """Commit a report as it came, once for each of its {address: recipient}. Raises psycopg.Error: nothing was kept."""
    ids = [uuid7() for _ in addressees]
    addresses = [one_line(address, 320) for address in addressees]
    values = [one_line(mail_from, 320), raw, ids, addresses, list(addressees.values())]
    await connection.execute(KEEP, values)
    return ids


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


def waiting() -> Iterator[UUID]:
    """Ids of the reports that wait, oldest first, each once."""
    last = UUID(int=0)
    while True:
        ids = InboundReport.objects.filter(understood_at=None, id__gt=last).order_by("id")
        chunk = list(ids.values_list("id", flat=True)[:CHUNK])
        if not chunk:
            return
        yield from chunk
        last = chunk[-1]


def settle(report_id: UUID, read: Callable[[InboundReport], Finding]) -> bool:
    """Understand one waiting report with `read` and carry it out.

    False if it has to wait, is being understood by another process or was concluded before.
    """
    try:
        with transaction.atomic():
            _may_be_lost()
            report = InboundReport.objects.select_for_update(skip_locked=True)
            found = report.filter(id=report_id, understood_at=None).first()
            if found is None:
                return False
            _conclude(found, read(found))
    except AttemptUnderWay:
        return False
    return True


def settle_waiting(read: Callable[[InboundReport], Finding]) -> None:
    """Every report that waits; one that fails does not keep the others waiting."""
    for report_id in waiting():
        try:
            settle(report_id, read)
        except DatabaseError:
            raise
        except Exception:
            log.exception("report %s could not be understood and waits", report_id)


def _may_be_lost() -> None:
    """Commit without waiting for the disk: after a crash the report still waits, so it is only understood again."""
    with django_connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


def _conclude(report: InboundReport, finding: Finding) -> None:
    effect = _carry_out(finding, report)
    report.kind = finding.kind
    report.recipient_id = finding.recipient_id
    report.conclusion = one_line(f"{finding.conclusion} {effect}".strip())
    report.understood_at = timezone.now()
    report.save(update_fields=["kind", "recipient_id", "conclusion", "understood_at"])


def _carry_out(finding: Finding, report: InboundReport) -> str:
    """The effect on the email, and what it was in words. Raises AttemptUnderWay."""
    if finding.recipient_id is None or finding.outcome is None:
        return "No email was changed."
    if finding.outcome.status in BOUNCES and finding.kind == "bounce":
        changed = record_report(finding.recipient_id, finding.outcome, report.at)
        if changed:
            return f"The email is a {finding.outcome.status.label.lower()} now."
    else:
        changed = note(finding.recipient_id, finding.kind, finding.outcome, report)
        if changed:
            return "Noted in the email's history."
    there = Recipient.objects.filter(id=finding.recipient_id).exists()
    return "Nothing new: the email had its final word before." if there else "The email is no longer kept."


def note(recipient_id: UUID, marker: str, outcome: Outcome, report: InboundReport) -> bool:
    """One line of history that changes no status; a second one of the same marker is not written."""
    recipient = Recipient.objects.select_for_update().filter(id=recipient_id).first()
    if recipient is None or StatusEvent.objects.filter(recipient_id=recipient_id, status="", note=marker).exists():
        return False
    StatusEvent.objects.create(
        recipient_id=recipient_id,
        at=report.at,
        reason=outcome.reason,
        code=outcome.code,
        enhanced=outcome.enhanced[:11],
        reply=clean(outcome.text),
        host=one_line(outcome.host, 255),
        attempt=recipient.attempt,
        note=marker,
    )
    return True
