"""Checks a domain: looks at its DNS and carries out what follows from it."""

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Sequence

from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, transaction
from django.utils import timezone

from domains import life
from domains.asking import Asker
from domains.finding import Picture
from domains.look import Subject, look, look_now, subject_of
from domains.models import Domain
from domains.own import is_own

log = logging.getLogger(__name__)

BATCH = 50
# A worker that dies with domains in hand delays them by this.
LEASE = dt.timedelta(minutes=2)
# For so long at a time, and in one thread of a process: the worker has other things to do.
SECONDS = 20.0
busy = threading.Lock()


def check(domain: Domain, by: str = "") -> Picture:
    """Look now, and save what follows; `by` is who asked. The domain is refreshed."""
    picture = look_now(domain)
    if not is_own(domain):
        life.apply(domain, picture, timezone.now(), by)
    return picture


def check_due() -> int:
    """Look at the domains whose time has come; how many there were. May run in many processes at once."""
    if not busy.acquire(blocking=False):
        return 0
    try:
        return _check_due()
    finally:
        busy.release()


def _check_due() -> int:
    ends = timezone.now() + dt.timedelta(seconds=SECONDS)
    checked = 0
    while (now := timezone.now()) < ends and (domains := take_due(now)):
        async_to_sync(_check_all)(domains)
        checked += len(domains)
    return checked


@transaction.atomic
def take_due(now: dt.datetime) -> list[Domain]:
    """Each domain for one process only, and for another one if that has not come back within LEASE."""
    found = Domain.objects.due(now).select_for_update(skip_locked=True, of=("self",)).select_related("account")[:BATCH]
    domains = list(found.prefetch_related("keys"))
    Domain.objects.filter(pk__in=[domain.pk for domain in domains]).update(next_check_at=now + LEASE)
    return domains


async def _check_all(domains: Sequence[Domain]) -> None:
    asker = Asker()
    subjects: list[Subject] = await sync_to_async(lambda: [subject_of(domain) for domain in domains])()
    pictures = await asyncio.gather(*(look(subject, asker) for subject in subjects))
    await sync_to_async(_apply_all)(domains, pictures)


def _apply_all(domains: Sequence[Domain], pictures: Sequence[Picture]) -> None:
    for domain, picture in zip(domains, pictures, strict=True):
        try:
            life.apply(domain, picture, timezone.now())
        except DatabaseError:
            # The others are not to wait for it; it is looked at again when its lease is over.
            log.exception("what DNS showed of %s was not saved", domain)
