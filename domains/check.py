"""Checks a domain: looks at its DNS and carries out what follows from it."""

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Sequence

from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.db.models import Prefetch
from django.utils import timezone

from domains import life
from domains.asking import Asker
from domains.finding import Picture
from domains.look import Subject, look, look_now, subject_of
from domains.models import DkimKey, Domain
from domains.own import is_own

log = logging.getLogger(__name__)

# Domains that are looked at side by side: a silent name server holds up its own domain only.
AT_ONCE = 50
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
        return async_to_sync(_check_due)(timezone.now() + dt.timedelta(seconds=SECONDS))
    finally:
        busy.release()


async def _check_due(ends: dt.datetime) -> int:
    asker = Asker()
    looking: dict[asyncio.Task[Picture], Domain] = {}
    checked = 0
    while True:
        if (now := timezone.now()) < ends and len(looking) <= AT_ONCE // 2:
            for domain, subject in await sync_to_async(_taken)(now, AT_ONCE - len(looking)):
                looking[asyncio.create_task(look(subject, asker))] = domain
        if not looking:
            return checked
        done, _ = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
        await sync_to_async(_apply_all)([(looking.pop(task), task) for task in done])
        checked += len(done)


def _taken(now: dt.datetime, most: int) -> list[tuple[Domain, Subject]]:
    return [(domain, subject_of(domain)) for domain in take_due(now, most)]


@transaction.atomic
def take_due(now: dt.datetime, most: int = AT_ONCE) -> list[Domain]:
    """Each domain for one process only, and for another one if that has not come back within LEASE."""
    found = Domain.objects.due(now).select_for_update(skip_locked=True, of=("self",)).select_related("account")
    keys = Prefetch("keys", DkimKey.objects.defer("private_key"))
    domains = list(found.prefetch_related(keys)[:most])
    if domains:
        Domain.objects.filter(pk__in=[domain.pk for domain in domains]).update(next_check_at=now + LEASE)
    return domains


def _apply_all(looked: Sequence[tuple[Domain, asyncio.Task[Picture]]]) -> None:
    for domain, task in looked:
        try:
            life.apply(domain, task.result(), timezone.now())
        except Domain.DoesNotExist:
            log.info("%s was removed while it was looked at", domain)
        except Exception:
            # A bug, or the database: the others are not to wait for it. It is looked at again when its lease is over.
            log.exception("what DNS shows of %s was not saved", domain)
