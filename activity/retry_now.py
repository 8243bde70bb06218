"""Retry now: a Deferred email is due at once because somebody asks. It writes a time and a note, never a status."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from activity import bell
from activity.text import one_line

# One statement is one bounded piece of work.
MOST = 5000

# While an attempt is under way, `next_attempt_at` is its lease and no event has its number yet; the lease stays.
RETRY_NOW = """
WITH asked AS (
    UPDATE activity_recipient r SET next_attempt_at = now()
    WHERE r.id = ANY(%(ids)s) AND r.id >= %(low)s AND r.id <= %(high)s
        AND r.status = 'deferred' AND r.next_attempt_at > now()
        AND EXISTS (
            SELECT FROM activity_statusevent e
            WHERE e.recipient_id = r.id AND e.recipient_id >= %(low)s AND e.recipient_id <= %(high)s
                AND e.attempt = r.attempt
        )
    RETURNING r.id, r.domain, r.attempt
), told AS (
    INSERT INTO activity_statusevent
        (id, recipient_id, at, status, reason, stage, code, enhanced, reply, host, tls, attempt, note)
    SELECT uuidv7(), id, now(), '', '', '', 0, '', '', '', '', attempt, %(note)s FROM asked
)
SELECT domain FROM asked
"""


def retry_now(ids: Sequence[UUID], who: str) -> int:
    """How many of at most MOST recipients were Deferred with no attempt under way and are due now.

    `who` is named in their history. Asking again changes nothing until the next attempt is over.
    """
    ids = ids[:MOST]
    if not ids:
        return 0
    note = one_line(f"Retry asked by {who}.")
    with connection.cursor() as cursor:
        cursor.execute(RETRY_NOW, {"ids": list(ids), "low": min(ids), "high": max(ids), "note": note})
        domains = [domain for (domain,) in cursor.fetchall()]
    bell.ring(set(domains), asked=True)
    return len(domains)
