"""Retry schedules of plans that have their own: few, read now and then, never beside an email."""

import logging
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from billing import durations

log = logging.getLogger(__name__)

OWN_SCHEDULES = """
SELECT account.id, plan.retry_schedule
FROM billing_plan plan JOIN billing_account account ON account.plan_id = plan.id
WHERE plan.retry_schedule <> ''
"""


async def own_schedules(connection: AsyncConnection[Any]) -> dict[int, Sequence[float]]:
    """{account: waits in seconds} of the accounts whose plan departs from the settings."""
    found: dict[str, Sequence[float]] = {}
    schedules: dict[int, Sequence[float]] = {}
    for account, text in await (await connection.execute(OWN_SCHEDULES)).fetchall():
        if text not in found:
            found[text] = _steps(text)
        if found[text]:
            schedules[account] = found[text]
    return schedules


def _steps(text: str) -> Sequence[float]:
    try:
        return durations.schedule(text)
    except ValueError:
        log.error("retry schedule %r of a plan cannot be used", text)
        return ()
