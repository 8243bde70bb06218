"""DNS records in memory, and what an authoritative server answers from them (RFC 1034 4.3.2, RFC 2308)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdatatype import ANY, CNAME, SOA, TXT, RdataType
from dns.rdtypes.ANY import CNAME as CNAME_DATA
from dns.rdtypes.ANY import TXT as TXT_DATA

MAX_CHAIN = 8


class Record(NamedTuple):
    """`name` is absolute, with or without its last dot; `value` in zone-file form, a TXT also as its plain text."""

    name: str
    type: str
    value: str


class Failure(StrEnum):
    """What a name that fails by script does; TRUNCATED only over UDP."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIME_OUT = "time-out"
    TRUNCATED = "truncated"


class Zone:
    """The records of any number of zones; a zone begins where an SOA is. May be changed while it is served."""

    def __init__(self, records: Iterable[tuple[str, str, str]] = (), ttl: int = 5) -> None:
        self.ttl = ttl
        self.names: dict[dns.name.Name, dict[RdataType, dns.rrset.RRset]] = {}
        self.failures: dict[dns.name.Name, Failure] = {}
        for record in records:
            self.add(*record)

    def add(self, name: str, type_: str, value: str) -> None:
        """Raises dns.exception.DNSException or ValueError for what cannot be a record."""
        owner, rdtype = dns.name.from_text(name), dns.rdatatype.from_text(type_)
        rdata = record_data(rdtype, value)
        # RFC 8020: names between a zone and its records exist, though empty.
        for depth in range(1, len(owner.labels) + 1):
            self.names.setdefault(dns.name.Name(owner.labels[-depth:]), {})
        rrset = self.names[owner].setdefault(rdtype, dns.rrset.RRset(owner, dns.rdataclass.IN, rdtype))
        rrset.add(rdata, self.ttl)

    def has(self, name: dns.name.Name, rdata: dns.rdata.Rdata) -> bool:
        return rdata in self.names.get(name, {}).get(rdata.rdtype, ())

    def remove(self, name: str) -> None:
        """Forget every record of a name; it still exists if there are names below it."""
        owner = dns.name.from_text(name)
        self.names[owner].clear()
        if not any(each.is_subdomain(owner) and each != owner for each in self.names):
            del self.names[owner]

    def fail(self, name: str, failure: Failure | None) -> None:
        """Whatever is asked about this name, or leads to it, fails; None ends that."""
        if failure is None:
            self.failures.pop(dns.name.from_text(name), None)
        else:
            self.failures[dns.name.from_text(name)] = failure

    def answer(self, query: dns.message.Message) -> tuple[dns.message.Message, Failure | None]:
        """The response to a query with one question, and the failure that its name was scripted to have."""
        response = dns.message.make_response(query, our_payload=1232)
        question = query.question[0]
        name = question.name
        failure = None
        for _ in range(MAX_CHAIN):
            failure = self.failures.get(name, failure)
            if failure in (Failure.SERVFAIL, Failure.REFUSED, Failure.TIME_OUT):
                return failed(query, failure), failure
            target = self._step(response, name, question.rdtype)
            if target is None:
                break
            name = target
        return response, failure

    def _step(self, response: dns.message.Message, name: dns.name.Name, rdtype: RdataType) -> dns.name.Name | None:
        """Answer for one name of a CNAME chain; returns the name to go on with."""
        soa = self._soa(name)
        if soa is None:
            if not response.answer:
                response.set_rcode(dns.rcode.REFUSED)
            return None
        response.flags |= dns.flags.AA
        rrsets = self.names.get(name)
        found = self._matching(rrsets or {}, rdtype)
        response.answer += found
        if found and found[0].rdtype == CNAME and rdtype not in (CNAME, ANY):
            return next(data.target for data in found[0] if isinstance(data, CNAME_DATA.CNAME))
        if not found:
            # RFC 2308: the SOA says how long the absence may be remembered.
            response.authority.append(soa)
            response.set_rcode(dns.rcode.NXDOMAIN if rrsets is None else dns.rcode.NOERROR)
        return None

    def _matching(self, rrsets: dict[RdataType, dns.rrset.RRset], rdtype: RdataType) -> list[dns.rrset.RRset]:
        if rdtype == ANY:
            return list(rrsets.values())
        rrset = rrsets.get(rdtype) or rrsets.get(CNAME)
        return [rrset] if rrset else []

    def _soa(self, name: dns.name.Name) -> dns.rrset.RRset | None:
        while True:
            if soa := self.names.get(name, {}).get(SOA):
                return soa
            if name == dns.name.root:
                return None
            name = name.parent()


def record_data(rdtype: RdataType, value: str) -> dns.rdata.Rdata:
    if rdtype == TXT and not value.startswith('"'):
        # RFC 1035 3.3.14: a text longer than 255 bytes is several strings.
        raw = value.encode()
        strings = [raw[start : start + 255] for start in range(0, len(raw), 255)] or [b""]
        return TXT_DATA.TXT(dns.rdataclass.IN, TXT, strings)
    return dns.rdata.from_text(dns.rdataclass.IN, rdtype, value, origin=dns.name.root, relativize=False)


def failed(query: dns.message.Message, failure: Failure) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.REFUSED if failure is Failure.REFUSED else dns.rcode.SERVFAIL)
    return response
