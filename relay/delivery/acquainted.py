"""Remembers which destinations took mail, beside the deliveries: in memory at once, in PostgreSQL now and then."""

import datetime as dt

from activity.acquaintances import remember, took_mail
from activity.pool import Pool

# Beyond it, the day's domains are forgotten and written again, which changes nothing.
MOST_DOMAINS = 200_000


class Acquainted:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.day = dt.date.min
        self.new: set[str] = set()
        self.written: set[str] = set()

    def delivered(self, domain: str) -> None:
        """Called for every delivery: two look-ups in memory, nothing else."""
        if domain not in self.written:
            self.new.add(domain)

    async def write(self) -> None:
        """Each domain at most once a day and process. Raises psycopg.Error; nothing is lost then."""
        today = _today()
        if today != self.day or len(self.written) > MOST_DOMAINS:
            self.day = today
            self.written.clear()
        if not self.new:
            return
        domains = frozenset(self.new)
        async with self.pool.connection() as connection:
            await remember(connection, domains, today)
        self.written |= domains
        self.new -= domains

    async def took_mail(self, domain: str) -> bool:
        """Asked only when DNS says that the domain does not exist."""
        if domain in self.new or domain in self.written:
            return True
        async with self.pool.connection() as connection:
            return await took_mail(connection, domain, _today())


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()
