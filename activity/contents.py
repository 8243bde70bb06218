"""The stored bytes of messages."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

# The lowest id bounds the slices that are looked into.
BODIES = "SELECT id, body FROM activity_messagecontent WHERE id = ANY(%s) AND id >= %s"


async def bodies(connection: AsyncConnection[Any], message_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(BODIES, [list(message_ids), min(message_ids)])
    return dict(await cursor.fetchall())
