"""Makes the operator's name server show what `manage.py zone` prints, under the names that are ours."""

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import batched

from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from domains.drift import Change, differences, wanted_sets
from domains.models import Domain
from domains.primary import Primary, Trouble
from domains.records import ZoneRecord
from domains.zone import own_records, zone_records

log = logging.getLogger(__name__)

# Changes in one update: with what stood there before, well within the 64 KB of a message.
BATCH = 40
ROUNDS = 4  # of reading and changing, while somebody else changes the zone too
BACK_OFF = (1.0, 2.0, 4.0)  # seconds between the tries of what may pass
# Rows whose transaction ended late are not overlooked.
OVERLAP = dt.timedelta(minutes=2)
WHOLE = dt.timedelta(hours=1)  # how often everything is compared
MANY = 200  # new domains, for which a transfer is quicker than questions
LEASE = 120  # seconds after which a worker that died while publishing is forgotten
MARK, WHOLE_MARK, BUSY = "publish.mark", "publish.whole", "publish.busy"


def drift() -> list[Change]:
    """How the server's zone differs from ours. Raises Trouble."""
    primary, records = Primary(), whole_zone()
    return differences(records, _patiently(lambda: primary.read(wanted_sets(records))))


def publish() -> list[Change]:
    """Everything; what was changed. Raises Trouble, also when the server does not show what it took."""
    primary = Primary()

    def compare() -> list[Change]:
        records = whole_zone()
        return differences(records, primary.read(wanted_sets(records)))

    return _make_equal(primary, compare)


def publish_changes(now: dt.datetime | None = None) -> list[Change]:
    """What is new since the last time; everything when that is long ago. Raises Trouble: then it is tried again.

    One at a time, as far as the cache knows: two would only find each other's work done.
    """
    if not cache.add(BUSY, True, LEASE):
        return []
    try:
        return _publish_changes(now or timezone.now())
    finally:
        cache.delete(BUSY)


def _publish_changes(now: dt.datetime) -> list[Change]:
    mark, whole = cache.get(MARK), cache.get(WHOLE_MARK)
    if mark is None or whole is None or now - whole > WHOLE:
        done = publish()
        cache.set(WHOLE_MARK, now, None)
    else:
        done = _publish_new(mark - OVERLAP)
    cache.set(MARK, now, None)
    return done


def whole_zone() -> list[ZoneRecord]:
    return [*own_records(), *zone_records()]


def _publish_new(since: dt.datetime) -> list[Change]:
    """The records of domains that were added, or got a new key."""
    new = Q(created_at__gte=since) | Q(keys__created_at__gte=since)
    domains = list(Domain.objects.filter(new).distinct()[: MANY + 1])
    if not domains:
        return []
    if len(domains) > MANY:
        return publish()
    primary = Primary()

    def compare() -> list[Change]:
        records = zone_records(domains)
        return differences(records, primary.look_up(wanted_sets(records)))

    return _make_equal(primary, compare)


def _make_equal(primary: Primary, compare: Callable[[], list[Change]]) -> list[Change]:
    done: list[Change] = []
    for _ in range(ROUNDS):
        changes = _patiently(compare)
        if not changes:
            return done
        done += _send(primary, changes)
    raise Trouble(f"{primary.host} took the changes, but does not show them: {changes[0].name} {changes[0].type}.")


def _send(primary: Primary, changes: Sequence[Change]) -> list[Change]:
    """In batches; those that somebody else was quicker with are left out."""
    done: list[Change] = []
    for batch in batched(changes, BATCH, strict=False):
        if _patiently(lambda batch=batch: primary.update(batch)):  # type: ignore[misc]  # the batch of this turn
            done += batch
    return done


def _patiently[T](work: Callable[[], T]) -> T:
    for pause in BACK_OFF:
        try:
            return work()
        except Trouble as trouble:
            if not trouble.passing:
                raise
            log.warning("%s Again in %s s.", trouble, pause)
            time.sleep(pause)
    return work()


def lines(changes: Iterable[Change]) -> list[str]:
    """As a person reads them: what goes, what comes."""
    told = []
    for change in changes:
        told += [f"- {change.name}. {change.type} {rdata.to_text()}" for rdata in change.remove]
        told += [f"+ {change.name}. {change.type} {record.value}" for record in change.add]
    return told
