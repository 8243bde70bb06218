"""What is due in each lane, for operators' eyes: counted only so far as it helps."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection as django_connection
from psycopg import AsyncConnection

MOST_COUNTED = 1000
MOST_LANES = 5000

# Walks the index from domain to domain, and reads no more than MOST_COUNTED rows of each.
DUE = """
WITH RECURSIVE lane AS (
    (
        SELECT domain, 1 AS n FROM activity_recipient
        WHERE next_attempt_at IS NOT NULL AND id >= %(oldest)s ORDER BY domain LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT domain FROM activity_recipient
        WHERE next_attempt_at IS NOT NULL AND id >= %(oldest)s AND domain > lane.domain ORDER BY domain LIMIT 1
    ), n + 1 FROM lane WHERE lane.domain IS NOT NULL AND n < %(lanes)s
)
SELECT lane.domain, counted.waiting, counted.due, counted.oldest FROM lane CROSS JOIN LATERAL (
    SELECT count(*) AS waiting, count(*) FILTER (WHERE next_attempt_at <= now()) AS due,
        min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()) AS oldest
    FROM (
        SELECT next_attempt_at FROM activity_recipient
        WHERE domain = lane.domain AND next_attempt_at IS NOT NULL AND id >= %(oldest)s LIMIT %(most)s
    ) AS few
) AS counted
WHERE lane.domain IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class LaneDue:
    """At most MOST_COUNTED emails of a domain that are not final: all `waiting`, and those `due` since `oldest`."""

    domain: str
    waiting: int
    due: int
    oldest: dt.datetime | None


def _parameters(oldest: UUID) -> dict[str, Any]:
    return {"oldest": oldest, "most": MOST_COUNTED, "lanes": MOST_LANES}


async def due_by_lane(connection: AsyncConnection[Any], oldest: UUID) -> list[LaneDue]:
    cursor = await connection.execute(DUE, _parameters(oldest))
    return [LaneDue(*row) for row in await cursor.fetchall()]


def due_now(oldest: UUID) -> list[LaneDue]:
    """The same for a page, by Django's connection."""
    with django_connection.cursor() as cursor:
        cursor.execute(DUE, _parameters(oldest))
        return [LaneDue(*row) for row in cursor.fetchall()]
