"""Asks the DNS: a resolver as any receiver would, and the authoritative servers, which remember nothing old.

What comes back is a value, never an exception: a name server's trouble is something to tell, and proves nothing.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
from django.conf import settings

from domains.answers import MOST_SERVERS, Answer, failure, read

PATIENCE = 1.5  # seconds for one answer; UDP may lose a question, so it is asked twice
TRIES = 2
MOST_CUTS = 3  # zones below the one that was found
AT_ONCE = 200  # questions under way, however many domains are looked at
# RFC 4291 2.4, IANA: all global IPv6 addresses there are today; outside lie IPv4-mapped and NAT64 ones too.
GLOBAL_IPV6 = ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class NameServer:
    name: str
    address: str


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

    async def authoritative(self, name: str, rdtype: str, only: Collection[str] = ()) -> list[Answer]:
        """What each authoritative server of the name's zone says by itself; empty when they cannot be found.

        `only`: the names of the servers to ask, as far as they are among them.
        Zones that begin below, down to the name itself, are found by the referrals to them (RFC 1034 4.2.1).
        """
        start = _apex(name)
        zone, servers = await self.zone_of(start), await self.servers_of(start)
        answers: list[Answer] = []
        for _ in range(MOST_CUTS):
            asked = [server for server in servers if server.name in only] or servers
            answers = await asyncio.gather(*(self._at(name, rdtype, server) for server in asked))
            cut = next((answer for answer in answers if answer.referral and _lies(zone, answer.zone, name)), None)
            if cut is None:
                break
            zone, servers = cut.zone, await self._addresses(cut.referral)
        return answers

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
        if answer.chain:
            # RFC 1034 3.6.2: no zone begins at an alias, and what it leads to is another's.
            return await self.zone_of(name.partition(".")[2])
        if answer.values:
            return name
        return answer.zone if _is_below(name, answer.zone) else ""

    async def _find_servers(self, name: str) -> list[NameServer]:
        zone = await self.zone_of(name)
        return await self._once("apex", zone, self._find_named) if zone else []

    async def _find_named(self, zone: str) -> list[NameServer]:
        return await self._addresses((await self.resolve(zone, "NS")).values)

    async def _addresses(self, names: Sequence[str]) -> list[NameServer]:
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
        except dns.exception.DNSException:
            return failure("servfail", server.name)

    async def _exchange(self, query: dns.message.Message, address: str, port: int) -> dns.message.Message | str:
        """The response, or why there is none."""
        try:
            async with self.slots:
                response, _ = await dns.asyncquery.udp_with_fallback(
                    # Whatever is not the answer to this question may be a forger's (RFC 5452 9.1): wait for the answer.
                    query,
                    address,
                    timeout=PATIENCE,
                    port=port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                    one_rr_per_rrset=True,
                )
        except ConnectionRefusedError:
            return "refused"
        except (dns.exception.Timeout, OSError):
            return "time-out"
        except (dns.exception.DNSException, ValueError, EOFError):
            return "servfail"
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
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found not in GLOBAL_IPV6:
        return bool(settings.PRIVATE_MX)
    return settings.PRIVATE_MX or (found.is_global and not found.is_multicast)


def _apex(name: str) -> str:
    """Where to begin looking for the zone: above the labels with an underscore, which are seldom zones themselves."""
    labels = name.split(".")
    below = max((place for place, label in enumerate(labels) if label.startswith("_")), default=0)
    return ".".join(labels[below + 1 :])


def _is_below(name: str, zone: str) -> bool:
    return zone in (".", name) or name.endswith(f".{zone}")


def _lies(above: str, cut: str, name: str) -> bool:
    """Whether a referral leads down to the name; a lame server's often leads up, to the root."""
    return cut != above and _is_below(cut, above) and _is_below(name, cut)
