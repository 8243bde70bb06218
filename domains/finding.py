"""What the DNS showed of a domain, as the check finds it, the row keeps it and the pages tell it."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Of one record. ERROR says nothing about the record, so it never changes what was known before."""

    VALIDATED = "validated"
    MISSING = "missing"
    WRONG = "wrong"
    SEVERAL = "several"
    CONFLICT = "conflict"
    # Right at the authoritative servers, or at some of them, but not yet for everybody who asks.
    SPREADING = "spreading"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One record. `found`: the values the DNS showed, in zone-file form without the last dot, each at most 500 long.

    `problem` is a key of domains/wording.py's table, which says the difference in plain words; `server` is the name
    server that said so, empty for the resolver; `ttl` the seconds for which others may remember it.
    """

    state: State
    found: tuple[str, ...] = ()
    problem: str = ""
    server: str = ""
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything one look at a domain's DNS found.

    `records`: {record key: Finding} of the three records. `claim`: whether the claim's TXT record is there.
    `dns_host`: a key of domains/dns_hosts.py, or empty. `advice`: {"dmarc" | "mx": Finding}, never blocking.
    `keys`: {selector: the p= value every authoritative server and the resolver showed, or ""}.
    """

    records: dict[str, Finding]
    claim: bool = False
    dns_host: str = ""
    name_servers: tuple[str, ...] = ()
    advice: dict[str, Finding] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


def kept(finding: Finding) -> dict[str, Any]:
    """As it lies in Domain.found and Domain.advice."""
    return asdict(finding) | {"state": finding.state.value, "found": list(finding.found)}
