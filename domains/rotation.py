"""Rotation: the idle selector of a domain gets a new key, and signs once everybody can find it.

What is next is read from the rows, and each step is one conditional UPDATE: several workers may take the same step, and
one that dies between two of them is continued by another. A key goes this way:

made      it replaces the idle selector's old one, which must not have signed for RELAY_KEY_OVERLAP
seen      every name server of our zone shows it, and so does the way through the customer's CNAME record
usable    nobody can remember what stood there before (RFC 1035 3.2.1, RFC 2308 5)
signs     the other key stops signing, and stays published for RELAY_KEY_OVERLAP
"""

import datetime as dt
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone

from domains import signing_key
from domains.calendar import next_rotation
from domains.key_sight import Sight, look_for
from domains.keys import make_private_key, public_key_of
from domains.life import tell
from domains.look import subject_of
from domains.models import DkimKey, Domain, DomainEvent

log = logging.getLogger(__name__)

Event = DomainEvent.Kind

BATCH = 20
# A worker that dies with domains in hand delays them by this.
LEASE = dt.timedelta(minutes=2)
SECONDS = 20.0
# What is not seen yet is looked for in SOON, then less often the longer it takes.
SOON, SLOWEST = dt.timedelta(seconds=2), dt.timedelta(minutes=15)
TROUBLE = dt.timedelta(minutes=1)
busy = threading.Lock()


class Step(Enum):
    WAIT = auto()
    RENEW = auto()
    SEE = auto()
    SWITCH = auto()


@dataclass(frozen=True, slots=True)
class Move:
    """What is next for a domain's keys; a WAIT is until `at`, or for as long as nothing changes."""

    step: Step
    at: dt.datetime | None = None


def ask(domain: Domain, by: str) -> bool:
    """Rotate now; False when a rotation is under way, or the domain is not in a state to rotate.

    An old key that is still published for mail under way keeps its place until its time is over.
    """
    now = timezone.now()
    ready = Domain.objects.validated().filter(
        Q(rotate_at=None) | Q(rotate_at__gt=now), pk=domain.pk, failing_since=None
    )
    with transaction.atomic():
        if not ready.update(rotate_at=now, next_step_at=now):
            return False
        tell(domain, Event.ROTATION_ASKED, now, by)
    domain.refresh_from_db()
    return True


def next_move(domain: Domain, idle: DkimKey, now: dt.datetime) -> Move:
    """Decided by the rows alone, so that whoever comes next goes on where the last one stopped."""
    if domain.validated_at is None:
        return Move(Step.WAIT)
    if idle.usable_at is None:
        return Move(Step.SEE)
    if idle.usable_at > now:
        return Move(Step.WAIT, idle.usable_at)
    if domain.failing_since is not None:
        return Move(Step.WAIT, now + SLOWEST)
    due = domain.rotate_at is not None and domain.rotate_at <= now
    if domain.rotate_at is not None and domain.rotate_at <= min(now, idle.created_at):
        return Move(Step.SWITCH)
    free_at = idle.stopped_at + dt.timedelta(seconds=settings.KEY_OVERLAP) if idle.stopped_at else None
    if (free_at is None and due) or (free_at is not None and free_at <= now):
        return Move(Step.RENEW)
    return Move(Step.WAIT, free_at or domain.rotate_at)


def take_steps() -> int:
    """The steps whose time has come; of how many domains. May run in many processes at once."""
    if not busy.acquire(blocking=False):
        return 0
    try:
        ends, taken = timezone.now() + dt.timedelta(seconds=SECONDS), 0
        while (now := timezone.now()) < ends and (domains := take_due(now)):
            _take_steps(domains, now)
            taken += len(domains)
        return taken
    finally:
        busy.release()


@transaction.atomic
def take_due(now: dt.datetime) -> list[Domain]:
    """Each domain for one process only, and for another one if that has not come back within LEASE."""
    due = Domain.objects.filter(next_step_at__lte=now).order_by("next_step_at").select_related("account")
    keys = Prefetch("keys", DkimKey.objects.defer("private_key"))
    domains = list(due.select_for_update(skip_locked=True, of=("self",)).prefetch_related(keys)[:BATCH])
    Domain.objects.filter(pk__in=[domain.pk for domain in domains]).update(next_step_at=now + LEASE)
    for domain in domains:
        domain.next_step_at = now + LEASE
    return domains


def _take_steps(domains: Sequence[Domain], now: dt.datetime) -> None:
    """DNS is asked for all of them at once, and for none that only waits."""
    moving: list[tuple[Domain, DkimKey, Move]] = []
    for domain in domains:
        idle = next((key for key in domain.keys.all() if not key.active), None)
        move = Move(Step.WAIT) if idle is None else next_move(domain, idle, now)
        if idle is None or move.step is Step.WAIT:
            _come_again(domain, move.at)
        else:
            moving.append((domain, idle, move))
    sights = async_to_sync(look_for)([(subject_of(domain), idle.slot) for domain, idle, _ in moving])
    for (domain, idle, move), sight in zip(moving, sights, strict=True):
        try:
            _come_again(domain, _carry_out(domain, idle, move.step, sight))
        except DatabaseError:
            # The others are not to wait for it; it is taken again when its lease is over.
            log.exception("no step of the keys of %s", domain)


def _come_again(domain: Domain, at: dt.datetime | None) -> None:
    """Unless somebody else wanted it sooner meanwhile."""
    Domain.objects.filter(pk=domain.pk, next_step_at=domain.next_step_at).update(next_step_at=at)


def _carry_out(domain: Domain, idle: DkimKey, step: Step, sight: Sight) -> dt.datetime:
    """When to come again."""
    now = timezone.now()
    since = idle.created_at if idle.usable_at is None else (domain.rotate_at or now)
    if sight.shown is None:
        return now + _patience(now - since, TROUBLE)
    if step is Step.RENEW:
        renew(domain, idle, sight.ttl, now)
        return now + SOON
    if not sight.shown:
        # It was seen, and is not any more: a name server went back to an older zone.
        _same(idle).filter(active=False, usable_at__isnull=False).update(seen_at=None, usable_at=None)
        return now + _patience(now - since, SOON)
    if step is Step.SEE:
        return see(domain, idle, now)
    switch(domain, idle, now)
    return now


def _patience(waited: dt.timedelta, least: dt.timedelta) -> dt.timedelta:
    """Longer, the longer it takes: name servers that are away for days are not asked by the thousand each minute."""
    return min(max(waited / 4, least), SLOWEST)


def _same(key: DkimKey) -> QuerySet[DkimKey]:
    """The row, as long as it holds this key and no newer one."""
    return DkimKey.objects.filter(pk=key.pk, public_key=key.public_key)


def _lock(domain: Domain) -> None:
    """The domain's row before its keys', as a check does: else each could wait for the other."""
    Domain.objects.select_for_update(of=("self",)).filter(pk=domain.pk).first()


@transaction.atomic
def renew(domain: Domain, idle: DkimKey, old_ttl: int, now: dt.datetime) -> bool:
    """A new key in place of one that does not sign, and has not for RELAY_KEY_OVERLAP; False if somebody was faster."""
    private = make_private_key()
    _lock(domain)
    free = Q(stopped_at=None) | Q(stopped_at__lte=now - dt.timedelta(seconds=settings.KEY_OVERLAP))
    values = {"private_key": private, "public_key": public_key_of(private), "created_at": now, "old_ttl": old_ttl}
    made = _same(idle).filter(free, active=False)
    if not made.update(**values, seen_at=None, usable_at=None, stopped_at=None):
        return False
    detail = {"record": f"dkim{idle.slot}"}
    if idle.stopped_at is not None:
        tell(domain, Event.KEY_RETIRED, now, detail=detail)
    tell(domain, Event.KEY_MADE, now, detail=detail)
    return True


@transaction.atomic
def see(domain: Domain, idle: DkimKey, now: dt.datetime) -> dt.datetime:
    """Everybody shows it: when it may sign. A second more, for TTLs are whole seconds."""
    _lock(domain)
    usable_at = now + dt.timedelta(seconds=idle.old_ttl + 1)
    if _same(idle).filter(usable_at=None).update(seen_at=now, usable_at=usable_at):
        tell(domain, Event.KEY_SEEN, now, detail={"record": f"dkim{idle.slot}"})
    return usable_at


@transaction.atomic
def switch(domain: Domain, idle: DkimKey, now: dt.datetime) -> bool:
    """The new key signs from now on; False when it may not, or somebody was faster."""
    rotating = Domain.objects.validated().filter(pk=domain.pk, rotate_at=domain.rotate_at, failing_since=None)
    if not rotating.update(rotate_at=next_rotation(now)):
        return False
    if not (_same(idle).exists() and signing_key.sign_with(domain.pk, idle.slot, now)):
        transaction.set_rollback(True)
        return False
    tell(domain, Event.KEY_SWITCHED, now, detail={"record": f"dkim{idle.slot}", "why": "rotation"})
    return True
