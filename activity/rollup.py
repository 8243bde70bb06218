"""Counts emails hour by hour for the Dashboard, always from the emails themselves, so that figures cannot drift.

An hour is counted again while anything in it can change: as long as mail may still come in, while an email of it is
not final, when a late bounce marked it, and once a day in any case. Each hour is one transaction that ends with the
same rows however often it runs. A run takes the hours counted longest ago until its time is over, so its work is
bounded whatever the volume.
"""

import datetime as dt
import time

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from activity.slices import floor_id, time_of
from activity.status import WAITING

HOUR = dt.timedelta(hours=1)
# Mail is committed moments after the time in its id; an hour that ended this long ago gets no more of it.
OPEN = 2 * HOUR
SWEEP = dt.timedelta(days=1)
KEPT = dt.timedelta(days=400)
SECONDS_A_RUN = 0.5

# Every hour from the newest known one to now, so that none is missed however long nothing ran.
MAKE_HOURS = """
INSERT INTO activity_rolluphour (hour, waiting)
SELECT hour, 0 FROM generate_series(%(first)s::timestamptz, %(now)s, '1 hour') hour ON CONFLICT DO NOTHING
"""
# Two runs at once take different hours.
NEXT = """
SELECT hour FROM activity_rolluphour candidate
WHERE (counted_at IS NULL OR counted_at < %(before)s) AND hour >= %(oldest)s AND (
    counted_at IS NULL OR hour > %(open)s OR waiting > 0 OR counted_at < %(swept)s
    OR EXISTS (SELECT FROM activity_rollupmark mark WHERE mark.hour = candidate.hour)
)
ORDER BY counted_at NULLS FIRST, hour DESC LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# Marks that are deleted here were committed before the next statement looks; later ones stay for the next run.
UNMARK = "DELETE FROM activity_rollupmark WHERE hour = %(hour)s"
COUNT = """
WITH counted AS MATERIALIZED (
    SELECT account_id, status, count(*) AS emails FROM activity_recipient
    WHERE id >= %(low)s AND id < %(high)s GROUP BY 1, 2
), gone AS (
    DELETE FROM activity_rollup old WHERE hour = %(hour)s AND NOT EXISTS (
        SELECT FROM counted WHERE counted.account_id = old.account_id AND counted.status = old.status
    )
), put AS (
    INSERT INTO activity_rollup (account_id, hour, status, emails)
    SELECT account_id, %(hour)s, status, emails FROM counted
    JOIN billing_account account ON account.id = counted.account_id
    ORDER BY account_id, status
    ON CONFLICT (account_id, hour, status) DO UPDATE SET emails = excluded.emails
    WHERE activity_rollup.emails <> excluded.emails
)
UPDATE activity_rolluphour SET counted_at = clock_timestamp(),
    waiting = (SELECT coalesce(sum(emails), 0) FROM counted WHERE status = ANY(%(waiting)s))
WHERE hour = %(hour)s
"""
OLDEST_EMAIL = "SELECT id FROM activity_recipient ORDER BY id LIMIT 1"
NEWEST_HOUR = "SELECT max(hour) FROM activity_rolluphour"


def roll_up(seconds: float = SECONDS_A_RUN, now: dt.datetime | None = None) -> int:
    """Count the hours that may have changed, longest ago first; how many there were."""
    now = now or timezone.now()
    until = time.monotonic() + seconds
    before = _begin(now)
    counted = 0
    while _count_next(now, before):
        counted += 1
        if time.monotonic() >= until:
            break
    return counted


def drop_old(now: dt.datetime | None = None) -> None:
    """Figures outlive their emails, but not for ever."""
    oldest = (now or timezone.now()) - KEPT
    with connection.cursor() as cursor:
        for table in ("activity_rollup", "activity_rolluphour", "activity_rollupmark"):
            cursor.execute(f"DELETE FROM {table} WHERE hour < %s", [oldest])  # noqa: S608 - names of ours


def hour_of(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def oldest_countable(now: dt.datetime) -> dt.datetime:
    """Of older hours the emails may have been dropped: what was counted then is what is known."""
    return hour_of(now - dt.timedelta(days=settings.RETENTION_DAYS)) + HOUR


def _begin(now: dt.datetime) -> dt.datetime:
    """Make the hours that are missing; the database's time, before which this run counts each hour once."""
    with connection.cursor() as cursor:
        first = _first_missing(cursor)
        if first is not None:
            cursor.execute(MAKE_HOURS, {"first": max(first, oldest_countable(now)), "now": now})
        cursor.execute("SELECT clock_timestamp()")
        (before,) = cursor.fetchone()
    return before  # type: ignore[no-any-return]


def _first_missing(cursor: CursorWrapper) -> dt.datetime | None:
    """The hour after the newest known one; at first the hour of the oldest email, None while there is none."""
    cursor.execute(NEWEST_HOUR)
    newest: dt.datetime | None = cursor.fetchone()[0]
    if newest is not None:
        return newest + HOUR
    cursor.execute(OLDEST_EMAIL)
    row = cursor.fetchone()
    return hour_of(time_of(row[0])) if row else None


@transaction.atomic
def _count_next(now: dt.datetime, before: dt.datetime) -> bool:
    """Count one hour that was not counted since `before`; False when there is none."""
    with connection.cursor() as cursor:
        # What a crash undoes is counted again.
        cursor.execute("SET LOCAL synchronous_commit = off")
        values = {"before": before, "oldest": oldest_countable(now), "open": now - HOUR - OPEN, "swept": now - SWEEP}
        cursor.execute(NEXT, values)
        row = cursor.fetchone()
        if row is None:
            return False
        (hour,) = row
        cursor.execute(UNMARK, {"hour": hour})
        bounds = {"low": floor_id(hour), "high": floor_id(hour + HOUR)}
        cursor.execute(COUNT, {"hour": hour, "waiting": [status.value for status in WAITING], **bounds})
    return True
