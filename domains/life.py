"""The life of a domain: what changes when its DNS shows something new.

Three right records validate it. When one is not right any more, its account is warned and it still sends for the grace
of RELAY_DOMAIN_GRACE: with the selector that is left, and with a return path of our own. Trouble with asking (ERROR)
changes nothing, for it says nothing about the records.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from domains import signing_key
from domains.calendar import next_check
from domains.finding import Finding, Picture, State, kept
from domains.models import Domain, DomainEvent

Kind = DomainEvent.Kind

NOT_RIGHT = frozenset({State.MISSING, State.WRONG, State.SEVERAL, State.CONFLICT})
# A record that keeps changing is no news any more: so many changes a day are told.
CHANGES_A_DAY = 20


def apply(domain: Domain, picture: Picture, now: dt.datetime, by: str = "") -> None:
    """Save the picture and what follows from it. The caller's domain is brought up to date."""
    try:
        _apply(domain.pk, picture, now, by)
    except IntegrityError:
        # Another account validated the name in this very moment: now that can be seen.
        _apply(domain.pk, picture, now, by)
    domain.refresh_from_db()


@transaction.atomic
def _apply(key: int, picture: Picture, now: dt.datetime, by: str) -> None:
    row = Domain.objects.select_for_update(of=("self",)).get(pk=key)
    before = row.found
    row.found = {key: _remembered(before.get(key, {}), finding) for key, finding in picture.records.items()}
    row.advice = {
        "dns_host": picture.dns_host,
        "name_servers": list(picture.name_servers),
        **{key: kept(finding) for key, finding in picture.advice.items()},
    }
    row.checked_at = now
    changed = _tell_changes(row, before, now, by)
    _seen(row, picture, now)
    _settle(row, picture, now, by)
    _make_do(row, now)
    row.unchanged_checks = 0 if changed or by else row.unchanged_checks + 1
    row.next_check_at = next_check(row, now)
    row.save()


def state_of(found: Mapping[str, Any]) -> str:
    """The last state of a record that was not an ERROR; empty before there was one."""
    return str(found.get("last", ""))


def not_right(domain: Domain) -> list[str]:
    """The keys of the records that are known to be wrong."""
    return [key for key, found in domain.found.items() if state_of(found) in NOT_RIGHT]


def _remembered(before: Mapping[str, Any], finding: Finding) -> dict[str, Any]:
    last = before.get("last", "") if finding.state is State.ERROR else finding.state.value
    return kept(finding) | {"last": last}


def _tell_changes(row: Domain, before: Mapping[str, Any], now: dt.datetime, by: str) -> bool:
    """A line of history for each record that changed; whether any did."""
    changed = [key for key, found in row.found.items() if state_of(found) != state_of(before.get(key, {}))]
    if not changed:
        return False
    told = row.events.filter(kind=Kind.RECORD_CHANGED, at__gt=now - dt.timedelta(days=1)).count()
    for key in changed[: max(0, CHANGES_A_DAY - told)]:
        detail = {"record": key, "was": state_of(before.get(key, {})), "state": state_of(row.found[key])}
        _tell(row, Kind.RECORD_CHANGED, now, by, detail | {"found": row.found[key]["found"][:3]})
    return True


def _seen(row: Domain, picture: Picture, now: dt.datetime) -> None:
    """A key that a receiver can find may sign; one that came by rotation waits for old answers to be forgotten."""
    if row.validated_at is None:
        slots = [int(selector[1:]) for selector in picture.keys]
        row.keys.filter(slot__in=slots, usable_at=None).update(seen_at=now, usable_at=now)


def _settle(row: Domain, picture: Picture, now: dt.datetime, by: str) -> None:
    """Validated, failing, or neither."""
    wrong = not_right(row)
    all_right = all(finding.state is State.VALIDATED for finding in picture.records.values())
    if row.validated_at is None:
        if all_right and _may_have(row, picture, now, by):
            row.validated_at = now
            row.rotate_at = now + dt.timedelta(seconds=settings.KEY_AGE)
            _tell(row, Kind.VALIDATED, now, by)
    elif wrong and row.failing_since is None:
        row.failing_since = now
        until = now + dt.timedelta(seconds=settings.DOMAIN_GRACE)
        detail = {"records": wrong, "until": until.isoformat()}
        _tell(row, Kind.FAILING, now, by, detail, mail=True)
    elif wrong and row.failing_since is not None and now >= ends_at(row.failing_since):
        row.validated_at = row.failing_since = None
        _tell(row, Kind.UNAUTHENTICATED, now, by, {"records": wrong}, mail=True)
    elif all_right and row.failing_since is not None:
        row.failing_since = None
        _tell(row, Kind.RECOVERED, now, by)


def ends_at(failing_since: dt.datetime) -> dt.datetime:
    """Until when a failing domain still sends."""
    return failing_since + dt.timedelta(seconds=settings.DOMAIN_GRACE)


def owner_elsewhere(domain: Domain) -> Domain | None:
    """The same name where another account validated it; that account is never told about."""
    return Domain.objects.validated().filter(name__iexact=domain.name).exclude(account=domain.account_id).first()


def _may_have(row: Domain, picture: Picture, now: dt.datetime, by: str) -> bool:
    """Nobody else has validated the name, or the claim takes it from them."""
    others = Domain.objects.validated().filter(name__iexact=row.name).exclude(pk=row.pk).select_for_update(of=("self",))
    other = others.first()
    if other is None:
        return True
    if not picture.claim:
        return False
    other.validated_at = other.failing_since = None
    other.save(update_fields=["validated_at", "failing_since"])
    _tell(other, Kind.LOST, now, "", mail=True)
    _tell(row, Kind.CLAIMED, now, by)
    return True


def _make_do(row: Domain, now: dt.datetime) -> None:
    """With what is left: the other selector signs, and reports come to our own zone."""
    wrong = not_right(row)
    own_return_path = row.validated_at is not None and "bounce" in wrong
    right = state_of(row.found.get("bounce", {})) == State.VALIDATED
    if own_return_path != row.own_return_path and (own_return_path or right or row.validated_at is None):
        row.own_return_path = own_return_path
        _tell(row, Kind.RETURN_PATH, now, "", {"own": own_return_path})
    active = row.keys.filter(active=True).first()
    if active is None or f"dkim{active.slot}" not in wrong:
        return
    # With both gone it goes on with the one it has: unsigned mail would be no better.
    for slot in (1, 2):
        found = row.found.get(f"dkim{slot}", {})
        if slot != active.slot and found.get("state") == State.VALIDATED and signing_key.sign_with(row.pk, slot, now):
            _tell(row, Kind.KEY_SWITCHED, now, "", {"record": f"dkim{slot}", "why": "record"})


def _tell(
    row: Domain, kind: str, now: dt.datetime, by: str, detail: dict[str, Any] | None = None, *, mail: bool = False
) -> None:
    DomainEvent.objects.create(domain=row, kind=kind, at=now, by=by, detail=detail or {}, mail_owed=mail)
