"""Asks the DNS: a resolver as any receiver would, and the authoritative servers, which remember nothing old.

What comes back is a value, never an exception: a name server's trouble is something to tell, and proves nothing.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from django.conf import settings

PATIENCE = 1.5  # seconds for one answer; UDP may lose a question, so it is asked twice
TRIES = 2
MOST_SERVERS = 6
MOST_VALUES = 10
MOST_CHARACTERS = 500
MOST_HOPS = 8  # of a CNAME chain
AT_ONCE = 200  # questions under way, however many domains are looked at


class Kind(StrEnum):
    FOUND = "found"
    NO_DATA = "no_data"
    NO_NAME = "no_name"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Answer:
    """`values` of the type that was asked for, at the end of the CNAME `chain` (the targets, in order).

    Texts of TXT records are joined, names have no last dot. `problem` of an ERROR is one of time-out, servfail, bogus,
    refused, lame, loop; `ttl` is how long the answer, or the absence, may be remembered (seconds).
    """

    kind: Kind
    values: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    ttl: int = 0
    problem: str = ""
    server: str = ""
    zone: str = ""
    referral: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameServer:
    name: str
    address: str


def failure(problem: str, server: str = "") -> Answer:
    return Answer(Kind.ERROR, problem=problem, server=server)


class Asker:
    """Remembers zones, name servers and their addresses as long as it lives: make a new one to see what is new."""

    def __init__(self) -> None:
        self.resolvers, self.resolver_port = _resolvers()
        self.slots = asyncio.Semaphore(AT_ONCE)
        self.known: dict[tuple[str, str], asyncio.Task[Any]] = {}

    async def resolve(self, name: str, rdtype: str) -> Answer:
        """As a receiver's resolver would see it."""
        answer = failure("time-out")
        for address in self.resolvers[:TRIES]:
            answer = await self._ask(name, rdtype, NameServer("", address), self.resolver_port, recursive=True)
            if answer.problem not in ("time-out", "refused"):
                break
        if answer.problem == "servfail" and await self._is_bogus(name, rdtype, self.resolvers[0]):
            return dataclasses.replace(answer, problem="bogus")
        return answer

    async def authoritative(self, name: str, rdtype: str) -> list[Answer]:
        """What each authoritative server of the name's zone says by itself; empty when they cannot be found."""
        servers = await self.servers_of(name.partition(".")[2])
        answers = await asyncio.gather(*(self._at(name, rdtype, server) for server in servers))
        if delegated := {each for answer in answers for each in answer.referral}:
            # The name itself is a zone of its own.
            servers = await self._addresses(sorted(delegated))
            answers = await asyncio.gather(*(self._at(name, rdtype, server) for server in servers))
            return [failure("lame", answer.server) if answer.referral else answer for answer in answers]
        return list(answers)

    async def servers_of(self, name: str) -> list[NameServer]:
        """The servers of the zone in which `name` lies, with an address each."""
        return await self._once("servers", name, self._find_servers)

    async def zone_of(self, name: str) -> str:
        """The zone in which `name` lies; empty when nobody says."""
        return await self._once("zone", name, self._find_zone)

    # Found once.

    async def _once[T](self, what: str, name: str, find: Callable[[str], Awaitable[T]]) -> T:
        key = what, name
        if key not in self.known:
            self.known[key] = asyncio.ensure_future(find(name))
        task: asyncio.Task[T] = self.known[key]
        return await asyncio.shield(task)

    async def _find_zone(self, name: str) -> str:
        answer = await self.resolve(name, "SOA")
        return name if answer.values and not answer.chain else answer.zone

    async def _find_servers(self, name: str) -> list[NameServer]:
        zone = await self.zone_of(name)
        if not zone:
            return []
        return await self._addresses((await self.resolve(zone, "NS")).values)

    async def _addresses(self, names: tuple[str, ...] | list[str]) -> list[NameServer]:
        found = await asyncio.gather(
            *(self._once("address", name, self._find_address) for name in names[:MOST_SERVERS])
        )
        return [NameServer(name, address) for name, address in zip(names, found, strict=False) if address]

    async def _find_address(self, name: str) -> str:
        for rdtype in ("A", "AAAA"):
            for address in (await self.resolve(name, rdtype)).values:
                if may_be_asked(address):
                    return address
        return ""

    # Questions.

    async def _at(self, name: str, rdtype: str, server: NameServer) -> Answer:
        answer = failure("time-out", server.name)
        for _ in range(TRIES):
            answer = await self._ask(name, rdtype, server, settings.DNS_PORT, recursive=False)
            if answer.problem != "time-out":
                break
        return answer

    async def _ask(self, name: str, rdtype: str, server: NameServer, port: int, *, recursive: bool) -> Answer:
        try:
            query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232)
        except dns.exception.DNSException:
            return failure("bad-name", server.name)
        if not recursive:
            query.flags &= ~dns.flags.RD
        response = await self._exchange(query, server.address, port)
        if isinstance(response, str):
            return failure(response, server.name)
        try:
            return read(response, query.question[0].name, rdtype, server.name, authoritative=not recursive)
        except (dns.exception.DNSException, ValueError):
            return failure("servfail", server.name)

    async def _exchange(self, query: dns.message.Message, address: str, port: int) -> dns.message.Message | str:
        """The response, or why there is none."""
        try:
            async with self.slots:
                response, _ = await dns.asyncquery.udp_with_fallback(
                    query, address, timeout=PATIENCE, port=port, ignore_unexpected=True
                )
        except (dns.exception.Timeout, TimeoutError):
            return "time-out"
        except (dns.exception.DNSException, OSError, ValueError, EOFError):
            return "refused"
        return response

    async def _is_bogus(self, name: str, rdtype: str, address: str) -> bool:
        """RFC 4035 3.2.2: with CD the resolver answers what it could not validate."""
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232)
        query.flags |= dns.flags.CD
        response = await self._exchange(query, address, self.resolver_port)
        return not isinstance(response, str) and response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def _resolvers() -> tuple[list[str], int]:
    if settings.DNS_SERVER is not None:
        host, port = settings.DNS_SERVER
        return [host, host], port
    try:
        system = dns.resolver.get_default_resolver()
    except dns.exception.DNSException:
        return ["127.0.0.1"], 53
    addresses = [str(each) for each in system.nameservers]
    random.shuffle(addresses)
    return addresses * TRIES, system.port


def may_be_asked(address: str) -> bool:
    """A customer's NS records lead wherever they say: not to our own network."""
    return settings.PRIVATE_MX or ip_address(address).is_global


def read(
    response: dns.message.Message, name: dns.name.Name, rdtype: str, server: str, *, authoritative: bool
) -> Answer:
    """A response's meaning for one question. Raises DNSException for what cannot be read."""
    code = response.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return failure("refused" if code == dns.rcode.REFUSED else "servfail", server)
    zone, negative_ttl = _soa(response)
    chain, values, ttl = _follow(response, name, dns.rdatatype.from_text(rdtype))
    if authoritative and not response.flags & dns.flags.AA:
        referral = tuple(
            plain(each.target) for rrset in response.authority if rrset.rdtype == dns.rdatatype.NS for each in rrset
        )
        return dataclasses.replace(failure("lame", server), referral=referral[:MOST_SERVERS])
    if len(chain) >= MOST_HOPS or len(set(chain)) < len(chain):
        return dataclasses.replace(failure("loop", server), chain=tuple(chain))
    if values:
        return Answer(Kind.FOUND, tuple(values), tuple(chain), ttl, server=server, zone=zone)
    kind = Kind.NO_NAME if code == dns.rcode.NXDOMAIN else Kind.NO_DATA
    return Answer(kind, (), tuple(chain), negative_ttl, server=server, zone=zone)


def _soa(response: dns.message.Message) -> tuple[str, int]:
    """The zone that an absence is about, and for how long it may be remembered (RFC 2308 5)."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return plain(rrset.name), min(rrset.ttl, rrset[0].minimum)
    return "", 0


def _follow(
    response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> tuple[list[str], list[str], int]:
    """(CNAME targets, values, the smallest TTL on the way)"""
    chain: list[str] = []
    ttl = 2**31
    while len(chain) < MOST_HOPS:
        rrsets = {rrset.rdtype: rrset for rrset in response.answer if rrset.name == name}
        if rrset := rrsets.get(rdtype):
            values = sorted(text_of(each) for each in list(rrset)[:MOST_VALUES])
            return chain, values, min(ttl, rrset.ttl)
        if (rrset := rrsets.get(dns.rdatatype.CNAME)) is None:
            break
        name, ttl = rrset[0].target, min(ttl, rrset.ttl)
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
