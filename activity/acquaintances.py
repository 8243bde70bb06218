"""Destinations that took mail: known, so that a slip in their DNS is not taken for the end of the domain."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from psycopg import AsyncConnection

REMEMBERED = dt.timedelta(days=30)

# In the order of domains, so that two deliverers never wait for each other crosswise.
REMEMBER = """
INSERT INTO activity_acquaintance AS known (domain, last_delivered_on)
SELECT domain, %(today)s FROM unnest(%(domains)s::text[]) AS domain ORDER BY domain
ON CONFLICT (domain) DO UPDATE SET last_delivered_on = excluded.last_delivered_on
WHERE known.last_delivered_on < excluded.last_delivered_on
"""
KNOWN = "SELECT FROM activity_acquaintance WHERE domain = %(domain)s AND last_delivered_on >= %(since)s"


class Acquaintance(models.Model):
    """A destination domain and the last day on which it took an email of anybody's."""

    domain = models.TextField(_("destination domain"), primary_key=True)
    last_delivered_on = models.DateField(_("last delivered"))

    class Meta:
        app_label = "activity"
        verbose_name = _("acquaintance")
        verbose_name_plural = _("acquaintances")

    def __str__(self) -> str:
        return self.domain


async def remember(connection: AsyncConnection[Any], domains: Iterable[str], today: dt.date) -> None:
    await connection.execute(REMEMBER, {"domains": list(domains), "today": today})


async def took_mail(connection: AsyncConnection[Any], domain: str, today: dt.date) -> bool:
    """Whether it took mail in the last 30 days."""
    cursor = await connection.execute(KNOWN, {"domain": domain, "since": today - REMEMBERED})
    return await cursor.fetchone() is not None


def forget_old(today: dt.date) -> int:
    """Delete what tells nothing any more; how many there were."""
    return Acquaintance.objects.filter(last_delivered_on__lt=today - REMEMBERED).delete()[0]
