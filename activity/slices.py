"""Weekly slices of the mail tables: made ahead, made when missing, dropped when retention is over.

All four tables are range-partitioned by a UUIDv7, whose first 48 bits are milliseconds since 1970 (RFC 9562 5.7),
so a slice is a week of ids. There is no DEFAULT partition: it would block making and dropping the others.
"""

import datetime as dt
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

TABLES = (
    "activity_message",
    "activity_messagecontent",
    "activity_recipient",
    "activity_statusevent",
)
WEEK = dt.timedelta(days=7)
# A Monday: slices begin on Mondays, 00:00 UTC.
ORIGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
WEEKS_AHEAD = 3
# Any number that nothing else in this database locks.
LOCK = 0x52454C4159


def floor_id(moment: dt.datetime) -> UUID:
    """The smallest UUID whose time is `moment`: the bound that lets a query skip older slices."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def time_of(key: UUID) -> dt.datetime:
    """The moment a UUIDv7 was made, to the millisecond."""
    return dt.datetime.fromtimestamp((key.int >> 80) / 1000, tz=dt.UTC)


def week_of(moment: dt.datetime) -> dt.datetime:
    return moment - (moment - ORIGIN) % WEEK


def statements(start: dt.datetime) -> list[str]:
    """The DDL of the slices that begin at `start`; each is idempotent."""
    low, high = floor_id(start), floor_id(start + WEEK)
    return [
        f"CREATE TABLE IF NOT EXISTS {table}_{suffix(start)} "
        f"PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"
        for table in TABLES
    ]


def suffix(start: dt.datetime) -> str:
    year, week, _ = start.isocalendar()
    return f"{year}w{week:02}"


def ensure(now: dt.datetime | None = None, *, weeks_ahead: int = WEEKS_AHEAD) -> list[str]:
    """Make the slices from the week before `now` to `weeks_ahead` after it; return the suffixes made."""
    first = week_of(now or dt.datetime.now(dt.UTC)) - WEEK
    weeks = [first + n * WEEK for n in range(weeks_ahead + 2)]
    with connection.cursor() as cursor:
        there = _there(cursor)
        missing = [start for start in weeks if any(f"{table}_{suffix(start)}" not in there for table in TABLES)]
        if missing:
            _make(cursor, missing)
    return [suffix(start) for start in missing]


def drop_expired(days: int, now: dt.datetime | None = None) -> list[str]:
    """Drop the slices whose whole week is older than `days`; return the suffixes dropped."""
    oldest = (now or dt.datetime.now(dt.UTC)) - dt.timedelta(days=days)
    with connection.cursor() as cursor:
        kept = week_of(oldest)
        expired = [name for name in sorted(_there(cursor)) if start_of(name) < kept]
        for name in expired:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
    return sorted({name.rpartition("_")[2] for name in expired})


def start_of(name: str) -> dt.datetime:
    """The moment the slice `activity_message_2026w47` begins."""
    year, _, week = name.rpartition("_")[2].partition("w")
    return dt.datetime.fromisocalendar(int(year), int(week), 1).replace(tzinfo=dt.UTC)


def _there(cursor: CursorWrapper) -> set[str]:
    cursor.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = ANY(%s::text[]::regclass[])",
        [list(TABLES)],
    )
    return {name for (name,) in cursor.fetchall()}


def _make(cursor: CursorWrapper, starts: list[dt.datetime]) -> None:
    """One at a time in the whole installation: two programs may start at once."""
    with transaction.atomic():
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for start in starts:
            for statement in statements(start):
                cursor.execute(statement)
