"""Record: what became of many recipients, in one statement; the only writer of every status after Pending.

An outcome counts only for the attempt it belongs to, so a worker that comes late changes nothing. Remote text is
cleaned and bounded first: recording must not fail on what a remote server said.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection as django_connection
from psycopg import AsyncConnection

from activity.aftermath import after_attempts, after_reports
from activity.outcome import Attempt, Outcome
from activity.status import BOUNCES, MOVES, Status
from activity.text import clean, one_line

# One array a column: psycopg sends each as one parameter, however many recipients there are.
FIELDS = (
    ("id", "uuid"),
    ("attempt", "int2"),
    ("at", "timestamptz"),
    ("status", "text"),
    ("reason", "text"),
    ("stage", "text"),
    ("code", "int2"),
    ("enhanced", "text"),
    ("reply", "text"),
    ("host", "text"),
    ("ip", "text"),
    ("tls", "text"),
    ("next_attempt_at", "timestamptz"),
    ("note", "text"),
)
UNDER_WAY = (Status.PENDING, Status.DEFERRED)


def _listed(statuses: Iterable[Status]) -> str:
    return ", ".join(f"'{status.value}'" for status in sorted(statuses))


RECORD = f"""
WITH attempt AS (
    SELECT * FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in FIELDS)})
        AS attempt({", ".join(name for name, _ in FIELDS)})
), moved AS (
    UPDATE activity_recipient r
    SET status = attempt.status, reason = attempt.reason, reply = coalesce(nullif(attempt.reply, ''), r.reply),
        next_attempt_at = attempt.next_attempt_at
    FROM attempt
    WHERE r.id = attempt.id AND r.id >= %(oldest)s AND r.attempt = attempt.attempt AND r.next_attempt_at IS NOT NULL
        AND r.status IN ({_listed(UNDER_WAY)})
        AND attempt.status IN ({_listed(frozenset.intersection(*(MOVES[status] for status in UNDER_WAY)))})
    RETURNING attempt.*
)
INSERT INTO activity_statusevent
    (id, recipient_id, at, status, reason, stage, code, enhanced, reply, host, ip, tls, attempt, next_attempt_at, note)
SELECT uuidv7(), id, at, status, reason, stage, code, enhanced, reply, host, ip::inet, tls, attempt, next_attempt_at,
    note
FROM moved
RETURNING recipient_id
"""  # noqa: S608 - only names and statuses of ours are put in


REPORT_FIELDS = (
    ("id", "uuid"),
    ("at", "timestamptz"),
    ("status", "text"),
    ("reason", "text"),
    ("code", "int2"),
    ("enhanced", "text"),
    ("reply", "text"),
    ("host", "text"),
    ("note", "text"),
)
REPORT = f"""
WITH report AS (
    SELECT * FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in REPORT_FIELDS)})
        AS report({", ".join(name for name, _ in REPORT_FIELDS)})
), moved AS (
    UPDATE activity_recipient r
    SET status = report.status, reason = report.reason, reply = report.reply, next_attempt_at = NULL
    FROM report
    WHERE r.id = report.id AND r.id >= %(oldest)s AND r.status = '{Status.DELIVERED}'
        AND report.status IN ({_listed(MOVES[Status.DELIVERED])})
    RETURNING report.*, r.attempt
)
INSERT INTO activity_statusevent
    (id, recipient_id, at, status, reason, stage, code, enhanced, reply, host, tls, attempt, note)
SELECT uuidv7(), id, at, status, reason, '', code, enhanced, reply, host, '', attempt, note
FROM moved
RETURNING recipient_id
"""  # noqa: S608 - only names and statuses of ours are put in


def _columns(attempts: Sequence[Attempt]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name, _ in FIELDS}
    for attempt in attempts:
        for (name, _), value in zip(FIELDS, _values(attempt), strict=True):
            columns[name].append(value)
    return columns


def _values(attempt: Attempt) -> tuple[Any, ...]:
    outcome = attempt.outcome
    return (
        attempt.recipient_id,
        attempt.number,
        attempt.at,
        outcome.status.value,
        str(outcome.reason),
        outcome.stage,
        outcome.code,
        outcome.enhanced[:11],
        clean(outcome.text),
        one_line(outcome.host, 255),
        outcome.ip,
        one_line(outcome.tls, 200),
        attempt.next_attempt_at,
        clean(outcome.note),
    )


async def record(connection: AsyncConnection[Any], attempts: Sequence[Attempt], oldest: UUID) -> set[UUID]:
    """Move and tell; the ids that moved. The others had been moved by a later attempt."""
    bounced = {attempt.recipient_id for attempt in attempts if attempt.outcome.status in BOUNCES}
    if not bounced:
        return await _record(connection, attempts, oldest)
    async with connection.transaction():
        moved = await _record(connection, attempts, oldest)
        await after_attempts(connection, bounced & moved)
    return moved


async def _record(connection: AsyncConnection[Any], attempts: Sequence[Attempt], oldest: UUID) -> set[UUID]:
    cursor = await connection.execute(RECORD, {**_columns(attempts), "oldest": oldest})
    return {key for (key,) in await cursor.fetchall()}


def record_reports(reports: Mapping[UUID, tuple[Outcome, dt.datetime]]) -> set[UUID]:
    """Carry out non-delivery notifications, {email: (outcome, when)}: Delivered → Soft or Hard bounce.

    Part of the caller's transaction. The ids whose status changed; for the others nothing is changed and nothing told.
    """
    columns: list[list[Any]] = [[] for _ in REPORT_FIELDS]
    for recipient_id, (outcome, at) in reports.items():
        values = (recipient_id, at, outcome.status.value, str(outcome.reason), outcome.code, outcome.enhanced[:11])
        texts = (clean(outcome.text), one_line(outcome.host, 255), clean(outcome.note))
        for column, value in zip(columns, (*values, *texts), strict=True):
            column.append(value)
    with django_connection.cursor() as cursor:
        named = {name: column for (name, _), column in zip(REPORT_FIELDS, columns, strict=True)}
        cursor.execute(REPORT, {**named, "oldest": min(reports)})
        moved = {key for (key,) in cursor.fetchall()}
    after_reports(moved)
    return moved
