"""The only writer of suppression lists: bounces, complaints, entries by hand, imports, removals with a reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from psycopg import AsyncConnection

from activity.addresses import normalised
from activity.models import Suppression, SuppressionRemoval, oldest_valid
from billing.models import Account, User

Cause = Suppression.Cause
CHUNK = 5_000

# The first entry of an address stays, unless it has expired. Rows come sorted: two writers never wait crosswise.
ADD = """
INSERT INTO activity_suppression (account_id, address, cause, recipient_id, created_at)
SELECT entry.account_id, entry.address, entry.cause, entry.recipient_id, now()
FROM unnest(%(accounts)s::bigint[], %(addresses)s::text[], %(causes)s::text[], %(recipients)s::uuid[])
    AS entry(account_id, address, cause, recipient_id)
JOIN billing_account account ON account.id = entry.account_id
ON CONFLICT (account_id, address) DO UPDATE
SET cause = excluded.cause, recipient_id = excluded.recipient_id, created_at = excluded.created_at
WHERE activity_suppression.created_at < %(oldest_valid)s
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """`address` as it was written; `recipient_id` names the email that caused it."""

    account_id: int
    address: str
    cause: Cause
    recipient_id: UUID | None = None


def _columns(entries: Iterable[Entry]) -> dict[str, Any]:
    """Each address once, sorted."""
    unique = {(entry.account_id, normalised(entry.address)): entry for entry in entries}
    keys = sorted(unique)
    return {
        "accounts": [account_id for account_id, _ in keys],
        "addresses": [address for _, address in keys],
        "causes": [unique[key].cause.value for key in keys],
        "recipients": [unique[key].recipient_id for key in keys],
        "oldest_valid": oldest_valid(),
    }


def suppress_all(entries: Iterable[Entry]) -> int:
    """How many were new. Part of the caller's transaction."""
    columns = _columns(entries)
    if not columns["addresses"]:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(ADD, columns)
        return int(cursor.rowcount)


def suppress(account_id: int, address: str, cause: Cause, recipient_id: UUID | None = None) -> bool:
    """False if the address was on the list already."""
    return suppress_all([Entry(account_id, address, cause, recipient_id)]) > 0


async def suppress_on(connection: AsyncConnection[Any], entries: Iterable[Entry]) -> None:
    """The same for the engine, in the transaction of its connection."""
    await connection.execute(ADD, _columns(entries))


@transaction.atomic
def unsuppress(account: Account, ids: Iterable[int], by: User | None, reason: str) -> int:
    """Remove entries of the account and keep who did it and why; how many there were."""
    entries = list(account.suppressions.select_for_update().filter(id__in=list(ids)).order_by("id"))
    SuppressionRemoval.objects.bulk_create(
        SuppressionRemoval(
            account=account,
            address=entry.address,
            cause=entry.cause,
            since=entry.created_at,
            removed_by=by,
            reason=reason,
        )
        for entry in entries
    )
    account.suppressions.filter(id__in=[entry.id for entry in entries]).delete()
    return len(entries)


def drop_expired() -> int:
    """Delete what has expired, some thousands at a time; how many there were."""
    dropped = 0
    while ids := list(Suppression.objects.expired().order_by("id").values_list("id", flat=True)[:CHUNK]):
        # Only if it is still expired: a new bounce may have renewed it since.
        deleted = Suppression.objects.expired().filter(id__in=ids).delete()[0]
        dropped += deleted
        if not deleted:
            break
    return dropped
