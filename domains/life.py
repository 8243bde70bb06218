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
from domains.calendar import next_check, next_rotation
from domains.finding import Finding, Picture, State, kept
from domains.models import Domain, DomainEvent

Kind = DomainEvent.Kind

NOT_RIGHT = frozenset({State.MISSING, State.WRONG, State.SEVERAL, State.CONFLICT})
# A record that keeps changing is no news any more: so many changes a day are told.
CHANGES_A_DAY = 20
# What every check saves. What decides who may send is saved only when it changes, for that empties submission's memory.
CHECKED = ("found", "advice", "checked_at", "next_check_at", "unchanged_checks", "own_return_path")
DECIDED = ("validated_at", "failing_since", "rotate_at", "next_step_at")


def apply(domain: Domain, picture: Picture, now: dt.datetime, by: str = "") -> None:
    """Save the picture and what follows from it. The caller's domain, as it was looked at, is brought up to date."""
    try:
        _apply(domain, picture, now, by)
    except IntegrityError:
        # Another account validated the name in this very moment: now that can be seen.
        _apply(domain, picture, now, by)
    domain.refresh_from_db()


@transaction.atomic
def _apply(domain: Domain, picture: Picture, now: dt.datetime, by: str) -> None:
    row = Domain.objects.select_for_update(of=("self",)).get(pk=domain.pk)
    if (row.checked_at, row.bounce_label) != (domain.checked_at, domain.bounce_label):
        return  # The picture is of yesterday: somebody else has looked meanwhile, or other records are wanted now.
    before, decided = row.found, _decided(row)
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
    _make_do(row, picture, now)
    turned = decided != _decided(row)
    row.unchanged_checks = 0 if changed or turned or by else row.unchanged_checks + 1
    row.next_check_at = next_check(row, now)
    row.save(update_fields=[*CHECKED, *(DECIDED if turned else ())])


def _decided(row: Domain) -> list[dt.datetime | None]:
    return [getattr(row, field) for field in DECIDED]


def state_of(found: Mapping[str, Any]) -> str:
    """The last state of a record that says something about it; empty before there was one."""
    return str(found.get("last", ""))


def not_right(domain: Domain) -> list[str]:
    """The keys of the records that are known to be wrong."""
    return [key for key, found in domain.found.items() if state_of(found) in NOT_RIGHT]


def _remembered(before: Mapping[str, Any], finding: Finding) -> dict[str, Any]:
    """Neither trouble with asking nor a delay of our own name servers (a new key) is news about a record."""
    says_nothing = finding.state is State.ERROR or finding.problem == "our_zone"
    return kept(finding) | {"last": before.get("last", "") if says_nothing else finding.state.value}


def _tell_changes(row: Domain, before: Mapping[str, Any], now: dt.datetime, by: str) -> bool:
    """A line of history for each record that changed; whether any did."""
    changed = [key for key, found in row.found.items() if state_of(found) != state_of(before.get(key, {}))]
    if not changed:
        return False
    told = row.events.filter(kind=Kind.RECORD_CHANGED, at__gt=now - dt.timedelta(days=1)).count()
    for key in changed[: max(0, CHANGES_A_DAY - told)]:
        detail = {"record": key, "was": state_of(before.get(key, {})), "state": state_of(row.found[key])}
        tell(row, Kind.RECORD_CHANGED, now, by, detail | {"found": row.found[key]["found"][:3]})
    return True


def _seen(row: Domain, picture: Picture, now: dt.datetime) -> None:
    """A key that a receiver can find may sign, once older answers are forgotten. Of validated domains see rotation."""
    if row.validated_at is not None:
        return
    for key in row.keys.filter(usable_at=None).defer("private_key"):
        if picture.keys.get(key.selector) == key.public_key:
            usable_at = now + dt.timedelta(seconds=key.old_ttl)
            row.keys.filter(pk=key.pk, public_key=key.public_key).update(seen_at=now, usable_at=usable_at)


def _settle(row: Domain, picture: Picture, now: dt.datetime, by: str) -> None:
    """Validated, failing, or neither."""
    wrong = not_right(row)
    all_right = all(finding.state is State.VALIDATED for finding in picture.records.values())
    if row.validated_at is None:
        if all_right and _may_have(row, picture, now, by):
            row.validated_at = row.next_step_at = now
            row.rotate_at = next_rotation(now)
            tell(row, Kind.VALIDATED, now, by)
    elif row.failing_since is None:
        if wrong:
            row.failing_since = now
            detail = {"records": wrong, "until": ends_at(now).isoformat()}
            tell(row, Kind.FAILING, now, by, detail, mail=True)
    elif all_right:
        row.failing_since = None
        tell(row, Kind.RECOVERED, now, by)
    elif now >= ends_at(row.failing_since) and any(each.state in NOT_RIGHT for each in picture.records.values()):
        row.validated_at = row.failing_since = None
        tell(row, Kind.UNAUTHENTICATED, now, by, {"records": wrong}, mail=True)


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
    other.unchanged_checks = 0
    other.save(update_fields=["validated_at", "failing_since", "unchanged_checks"])
    tell(other, Kind.LOST, now, mail=True)
    tell(row, Kind.CLAIMED, now, by)
    return True


def _make_do(row: Domain, picture: Picture, now: dt.datetime) -> None:
    """With what is left: the other selector signs, and reports come to our own zone.

    Also for a domain that is not validated any more: some of its mail may still be on its way.
    """
    if row.validated_at is None and row.rotate_at is None:
        return
    bounce = state_of(row.found.get("bounce", {}))
    if (bounce in NOT_RIGHT and not row.own_return_path) or (bounce == State.VALIDATED and row.own_return_path):
        row.own_return_path = not row.own_return_path
        tell(row, Kind.RETURN_PATH, now, detail={"own": row.own_return_path})
    active = row.keys.filter(active=True).defer("private_key").first()
    if active is None or not _is_lost(row, picture, f"dkim{active.slot}"):
        return
    # With both gone it goes on with the one it has: unsigned mail would be no better.
    other = 3 - active.slot
    if f"r{other}" in picture.keys and signing_key.sign_with(row.pk, other, now):
        row.next_step_at = now
        tell(row, Kind.KEY_SWITCHED, now, detail={"record": f"dkim{other}", "why": "record"})


def _is_lost(row: Domain, picture: Picture, key: str) -> bool:
    """Nobody finds the key that signs: the customer's record is gone, or our own name servers went back to an older."""
    finding = picture.records.get(key)
    return key in not_right(row) or (finding is not None and finding.problem == "our_zone")


def tell(
    row: Domain, kind: str, now: dt.datetime, by: str = "", detail: dict[str, Any] | None = None, *, mail: bool = False
) -> None:
    """A line of history; with `mail` the account's owners are told by email too."""
    DomainEvent.objects.create(domain=row, kind=kind, at=now, by=by, detail=detail or {}, mail_owed=mail)
