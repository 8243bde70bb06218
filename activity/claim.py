"""Claim: take due recipients of many lanes, fair between accounts, with the next attempt booked before trying.

A claimed recipient's `next_attempt_at` is its lease: a worker that dies simply lets it pass, and the recipient is due
again. No transaction is open while anybody talks SMTP.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import args_row

LEASE = dt.timedelta(seconds=60)
# How many accounts of one lane one claim serves; the next claim goes on behind the last of them.
ACCOUNTS_A_CLAIM = 32

DUE_LANES = """
WITH RECURSIVE lane AS (
    (
        SELECT domain FROM activity_recipient
        WHERE next_attempt_at IS NOT NULL AND id >= %(oldest)s ORDER BY domain LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT domain FROM activity_recipient
        WHERE next_attempt_at IS NOT NULL AND id >= %(oldest)s AND domain > lane.domain ORDER BY domain LIMIT 1
    ) FROM lane WHERE lane.domain IS NOT NULL
)
SELECT lane.domain FROM lane
WHERE lane.domain IS NOT NULL AND EXISTS (
    SELECT FROM activity_recipient r
    WHERE r.domain = lane.domain AND r.next_attempt_at <= now() AND r.id >= %(oldest)s
)
"""

# The recursive part walks the index from account to account instead of reading a big account's rows.
CLAIM = """
WITH lane AS (
    SELECT * FROM unnest(%(domains)s::text[], %(rooms)s::int[], %(after)s::bigint[], %(each)s::int[])
        AS lane(domain, room, after, most)
), served AS MATERIALIZED (
    SELECT lane.domain, account.id AS account_id,
        least(ceil(lane.room::float / count(*) OVER (PARTITION BY lane.domain))::int, lane.most) AS share
    FROM lane CROSS JOIN LATERAL (
        WITH RECURSIVE walk AS (
            SELECT 1 AS n, (
                SELECT account_id FROM activity_recipient
                WHERE domain = lane.domain AND account_id > lane.after AND next_attempt_at <= now() AND id >= %(oldest)s
                ORDER BY account_id LIMIT 1
            ) AS id
            UNION ALL
            SELECT n + 1, (
                SELECT account_id FROM activity_recipient
                WHERE domain = lane.domain AND account_id > walk.id AND next_attempt_at <= now() AND id >= %(oldest)s
                ORDER BY account_id LIMIT 1
            ) FROM walk WHERE walk.id IS NOT NULL AND n < least(lane.room, %(accounts)s)
        )
        SELECT id FROM walk WHERE id IS NOT NULL
    ) AS account
), picked AS MATERIALIZED (
    SELECT due.id, due.status FROM served CROSS JOIN LATERAL (
        SELECT id, status FROM activity_recipient
        WHERE domain = served.domain AND account_id = served.account_id
            AND next_attempt_at <= now() AND id >= %(oldest)s
        ORDER BY next_attempt_at LIMIT served.share
        FOR UPDATE SKIP LOCKED
    ) AS due
), taken AS (
    UPDATE activity_recipient r
    SET attempt = r.attempt + 1, next_attempt_at = now() + %(lease)s,
        status = CASE WHEN r.status = 'accepted' THEN 'pending' ELSE r.status END
    FROM picked WHERE r.id = picked.id AND r.id >= %(oldest)s
    RETURNING r.*, picked.status AS was
), told AS (
    INSERT INTO activity_statusevent
        (id, recipient_id, at, status, reason, stage, code, enhanced, reply, host, tls, attempt, note)
    SELECT uuidv7(), id, now(), 'pending', '', '', 0, '', '', '', '', attempt, '' FROM taken WHERE was = 'accepted'
)
SELECT taken.id, taken.message_id, taken.account_id, taken.address, taken.domain, taken.attempt, taken.give_up_at,
    taken.reason, taken.reply, message.domain_id, message.mail_from, message.size, message.smtputf8
FROM taken CROSS JOIN LATERAL (
    SELECT * FROM activity_message WHERE id = taken.message_id AND id >= %(oldest)s LIMIT 1
) AS message
"""

# An attempt of the same number is ours, even if its lease ran out while the database was away. What lies beyond a lease
# is the next attempt of an email that was Deferred in this very moment.
RENEW = """
UPDATE activity_recipient r SET next_attempt_at = now() + %(lease)s
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS held(id, attempt)
WHERE r.id = held.id AND r.attempt = held.attempt AND r.id >= %(oldest)s AND r.next_attempt_at <= now() + %(lease)s
RETURNING r.id
"""

# Not begun means not tried: the attempt is counted back, and the recipient is due at once.
HAND_BACK = """
UPDATE activity_recipient r SET next_attempt_at = now(), attempt = r.attempt - 1
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS held(id, attempt)
WHERE r.id = held.id AND r.attempt = held.attempt AND r.next_attempt_at IS NOT NULL AND r.id >= %(oldest)s
"""

# The partial index is small however many final rows there are.
OLDEST_DUE = "SELECT min(id::text)::uuid FROM activity_recipient WHERE next_attempt_at IS NOT NULL"


@dataclass(slots=True)
class Claimed:
    """One recipient in hand: the columns of CLAIM in their order.

    `reason` and `reply` are those of the attempt before; `size` is in bytes.
    """

    id: UUID
    message_id: UUID
    account_id: int
    address: str
    domain: str
    attempt: int
    give_up_at: dt.datetime
    reason: str
    reply: str
    domain_id: int | None
    mail_from: str
    size: int
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class LaneWish:
    """`room` recipients wanted, at most `each` of an account, from the accounts behind `after` on."""

    domain: str
    room: int
    after: int = 0
    each: int = 1_000_000


async def due_lanes(connection: AsyncConnection[Any], oldest: UUID) -> list[str]:
    """Every destination domain with due mail."""
    cursor = await connection.execute(DUE_LANES, {"oldest": oldest})
    return [domain for (domain,) in await cursor.fetchall()]


async def oldest_due(connection: AsyncConnection[Any]) -> UUID | None:
    cursor = await connection.execute(OLDEST_DUE)
    row = await cursor.fetchone()
    return row[0] if row else None


async def claim(connection: AsyncConnection[Any], wishes: Sequence[LaneWish], oldest: UUID) -> list[Claimed]:
    """At most `room` recipients (and one more per account) for each lane, each booked for `LEASE`."""
    parameters = {
        "domains": [wish.domain for wish in wishes],
        "rooms": [wish.room for wish in wishes],
        "after": [wish.after for wish in wishes],
        "each": [wish.each for wish in wishes],
        "accounts": ACCOUNTS_A_CLAIM,
        "lease": LEASE,
        "oldest": oldest,
    }
    async with connection.cursor(row_factory=args_row(Claimed)) as cursor:
        await cursor.execute(CLAIM, parameters)
        return await cursor.fetchall()


def _held(held: Sequence[Claimed], oldest: UUID) -> dict[str, Any]:
    return {
        "ids": [each.id for each in held],
        "attempts": [each.attempt for each in held],
        "lease": LEASE,
        "oldest": oldest,
    }


async def renew(connection: AsyncConnection[Any], held: Sequence[Claimed], oldest: UUID) -> set[UUID]:
    """Prolong the leases; the ids that are still ours."""
    cursor = await connection.execute(RENEW, _held(held, oldest))
    return {key for (key,) in await cursor.fetchall()}


async def hand_back(connection: AsyncConnection[Any], held: Sequence[Claimed], oldest: UUID) -> None:
    await connection.execute(HAND_BACK, _held(held, oldest))
