"""What a DNS response says about one question, as a value: bounded, whatever a stranger's server sent."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

MOST_SERVERS = 6
MOST_VALUES = 10
MOST_CHARACTERS = 500
MOST_HOPS = 8  # of a CNAME chain
LONGEST_TTL = 604_800  # RFC 8767 4: a longer one is taken for a week


class Kind(StrEnum):
    FOUND = "found"
    NO_DATA = "no_data"
    NO_NAME = "no_name"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """`values` of the type that was asked for, at the end of the CNAME `chain` (the targets, in order).

    Texts of TXT records are joined, names have no last dot. `problem` of an ERROR is one of time-out, servfail, bogus,
    refused, lame, loop, bad-name; `ttl` is how long the answer, or the absence, may be remembered (seconds). `zone`:
    where an absence is known from, and of a lame server's `referral` (names of other servers) for which zone it is.
    """

    kind: Kind
    values: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    ttl: int = 0
    problem: str = ""
    server: str = ""
    zone: str = ""
    referral: tuple[str, ...] = ()


def failure(problem: str, server: str = "") -> Answer:
    return Answer(Kind.ERROR, problem=problem, server=server)


def read(
    response: dns.message.Message, name: dns.name.Name, rdtype: str, server: str, *, authoritative: bool
) -> Answer:
    """A response's meaning for one question; it was parsed with one record a set, for several CNAMEs are no set.

    Raises DNSException for a type that does not exist.
    """
    code = response.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return failure("refused" if code == dns.rcode.REFUSED else "servfail", server)
    if authoritative and not response.flags & dns.flags.AA:
        return _referral(response, server)
    chain, values, ttl = _follow(response, name, dns.rdatatype.from_text(rdtype))
    if len(chain) >= MOST_HOPS or len(set(chain)) < len(chain):
        return dataclasses.replace(failure("loop", server), chain=tuple(chain))
    zone, negative_ttl = _soa(response)
    if values:
        return Answer(Kind.FOUND, tuple(values), tuple(chain), ttl, server=server, zone=zone)
    kind = Kind.NO_NAME if code == dns.rcode.NXDOMAIN else Kind.NO_DATA
    return Answer(kind, (), tuple(chain), negative_ttl, server=server, zone=zone)


def _referral(response: dns.message.Message, server: str) -> Answer:
    """RFC 1034 4.3.2: a server that is not the zone's own may know whose it is."""
    sets = [rrset for rrset in response.authority if rrset.rdtype == dns.rdatatype.NS]
    if not sets:
        return failure("lame", server)
    names = tuple(plain(rrset[0].target) for rrset in sets[:MOST_SERVERS])
    return Answer(Kind.ERROR, problem="lame", server=server, zone=plain(sets[0].name), referral=names)


def _soa(response: dns.message.Message) -> tuple[str, int]:
    """The zone that an absence is about, and for how long it may be remembered (RFC 2308 5)."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return plain(rrset.name), min(rrset.ttl, rrset[0].minimum, LONGEST_TTL)
    return "", 0


def _follow(
    response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> tuple[list[str], list[str], int]:
    """(CNAME targets, values, the smallest TTL on the way)"""
    chain: list[str] = []
    ttl = LONGEST_TTL
    while len(chain) < MOST_HOPS:
        records = [rrset for rrset in response.answer if rrset.name == name]
        if found := [rrset for rrset in records if rrset.rdtype == rdtype][:MOST_VALUES]:
            return chain, sorted(text_of(rrset[0]) for rrset in found), min(ttl, *(rrset.ttl for rrset in found))
        alias = next((rrset for rrset in records if rrset.rdtype == dns.rdatatype.CNAME), None)
        if alias is None:
            break
        name, ttl = alias[0].target, min(ttl, alias.ttl)
        chain.append(plain(name))
    return chain, [], 0


def text_of(rdata: Any) -> str:
    """In zone-file form, bounded; a name without its last dot, a TXT as its plain text."""
    if rdata.rdtype == dns.rdatatype.TXT:
        text = b"".join(rdata.strings).decode("utf-8", "replace")
    elif rdata.rdtype in (dns.rdatatype.CNAME, dns.rdatatype.NS):
        text = plain(rdata.target)
    elif rdata.rdtype == dns.rdatatype.MX:
        text = f"{rdata.preference} {plain(rdata.exchange)}"
    else:
        text = rdata.to_text()
    return "".join(each if each.isprintable() else "?" for each in text[: 8 * MOST_CHARACTERS])


def plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
