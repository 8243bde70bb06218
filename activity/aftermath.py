"""What a bounce brings about, in the transaction that records it: its address is suppressed, its sender perhaps told.

Recorded outcomes are asked about only when there are bounces among them, so the usual batch of Delivered costs nothing.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db import connection as django_connection
from psycopg import AsyncConnection

from activity.reasons import Reason
from activity.slices import time_of
from activity.status import Status
from activity.suppress import Cause, Entry, suppress_all, suppress_on

# A server without SMTPUTF8 (5.6.7) says nothing against the address.
HARD = f"""
SELECT id, account_id, address FROM activity_recipient
WHERE id = ANY(%(ids)s) AND id >= %(oldest)s AND status = '{Status.HARD_BOUNCE}' AND reason <> '{Reason.PROTOCOL}'
"""  # noqa: S608 - a status of ours
# A message without envelope sender is never answered by a notification (RFC 3464 2, RFC 5321 4.5.5).
OWE = """
INSERT INTO activity_oweddsn (recipient_id)
SELECT recipient.id FROM activity_recipient recipient
JOIN activity_message message ON message.id = recipient.message_id AND message.id >= %(oldest_message)s
JOIN domains_smtpcredential credential ON credential.id = message.credential_id AND credential.send_dsn
WHERE recipient.id = ANY(%(ids)s) AND recipient.id >= %(oldest)s AND message.mail_from <> ''
ON CONFLICT DO NOTHING
"""
# Their hours were final, so the Dashboard must hear that they are not.
MARK = "INSERT INTO activity_rollupmark (hour) SELECT DISTINCT date_trunc('hour', at) FROM unnest(%s::timestamptz[]) at"


def _bounds(ids: Collection[UUID]) -> dict[str, Any]:
    """A message's id has the time of its recipients'; both bound the slices that are looked into."""
    oldest = min(ids)
    return {"ids": list(ids), "oldest": oldest, "oldest_message": UUID(int=oldest.int >> 80 << 80)}


def _entries(rows: Sequence[tuple[UUID, int, str]]) -> list[Entry]:
    return [Entry(account_id, address, Cause.HARD_BOUNCE, key) for key, account_id, address in rows]


async def after_attempts(connection: AsyncConnection[Any], bounced: Collection[UUID]) -> None:
    """Of emails that have just become Soft or Hard bounces."""
    if not bounced:
        return
    bounds = _bounds(bounced)
    if entries := _entries(await (await connection.execute(HARD, bounds)).fetchall()):
        await suppress_on(connection, entries)
    await connection.execute(OWE, bounds)


def after_reports(bounced: Collection[UUID]) -> None:
    """The same of emails that had been Delivered."""
    if not bounced:
        return
    bounds = _bounds(bounced)
    with django_connection.cursor() as cursor:
        cursor.execute(HARD, bounds)
        if entries := _entries(cursor.fetchall()):
            suppress_all(entries)
        cursor.execute(OWE, bounds)
        cursor.execute(MARK, [[time_of(key) for key in bounced]])
