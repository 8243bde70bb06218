"""The difference between our zone and what a name server shows of it, by the names that are ours."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.rdata
from django.conf import settings

from domains.records import ZoneRecord

# What a server shows: {(name, type): {value as in ZoneRecord: the record}}.
type Standing = Mapping[tuple[str, str], Mapping[str, dns.rdata.Rdata]]


@dataclass(frozen=True, slots=True)
class Change:
    """What has to happen to the records of one name and type.

    `before`: all records that stand there, so that nothing is changed that somebody else changed meanwhile; None where
    records that are not ours may stand beside.
    """

    name: str
    type: str
    add: tuple[ZoneRecord, ...]
    remove: tuple[dns.rdata.Rdata, ...]
    before: tuple[dns.rdata.Rdata, ...] | None


def wanted_sets(records: Iterable[ZoneRecord]) -> dict[tuple[str, str], dict[str, ZoneRecord]]:
    sets: dict[tuple[str, str], dict[str, ZoneRecord]] = {}
    for record in records:
        sets.setdefault((record.name, record.type), {})[record.value] = record
    return sets


def differences(records: Iterable[ZoneRecord], standing: Standing) -> list[Change]:
    """What makes the server show `records`, in an order in which no CNAME is added beside what is yet to go."""
    wanted = wanted_sets(records)
    strays = {key for key in standing if key not in wanted and is_customers(key[0])}
    changes = [_change(key, wanted.get(key, {}), standing.get(key, {})) for key in sorted(strays | wanted.keys())]
    return sorted((change for change in changes if change.add or change.remove), key=lambda change: bool(change.add))


def _change(key: tuple[str, str], wanted: Mapping[str, ZoneRecord], standing: Mapping[str, dns.rdata.Rdata]) -> Change:
    name, rdtype = key
    ours = dict(standing)
    if rdtype == "TXT" and not is_customers(name):
        # The operator may keep texts of his own at our own names.
        tags = {tag_of(value) for value in wanted}
        ours = {value: rdata for value, rdata in standing.items() if tag_of(value) in tags}
    return Change(
        name,
        rdtype,
        add=tuple(record for value, record in wanted.items() if value not in ours),
        remove=tuple(rdata for value, rdata in ours.items() if value not in wanted),
        before=tuple(ours.values()) if len(ours) == len(standing) else None,
    )


def is_customers(name: str) -> bool:
    """Whether the name is one of those that customers' records lead to: no part of it is anybody else's."""
    return re.fullmatch(rf"[a-z2-7]{{20}}\.(r\d\.dkim|bounce)\.{re.escape(settings.ZONE)}", name) is not None


def tag_of(text: str) -> str:
    """`v=spf1` of an SPF record: records with one tag replace each other."""
    return re.split(r"[;\s]", text.lower(), maxsplit=1)[0]
