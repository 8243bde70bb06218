"""Where a domain's mail goes: static routes, or MX and addresses by RFC 5321 5.1 and RFC 7505."""

import ipaddress
import random
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from django.conf import settings

from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status

# RFC 5321 5.1 asks for at least two; more than this many dead ones would only hold a socket.
MOST_ADDRESSES = 5
MOST_HOSTS = 10


@dataclass(frozen=True, slots=True)
class Server:
    """One address of one mail host."""

    host: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Unroutable:
    """DNS gave no server. `absent` means NXDOMAIN: the domain does not exist, as far as DNS says today."""

    outcome: Outcome
    absent: bool = False


def make_resolver() -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=settings.DNS_SERVER is None)
    if settings.DNS_SERVER is not None:
        host, resolver.port = settings.DNS_SERVER
        resolver.nameservers = [host]
    resolver.cache = dns.resolver.LRUCache(50_000)
    resolver.timeout, resolver.lifetime = 3.0, 10.0
    # EDNS with room for the larger answers of big MX sets.
    resolver.use_edns(0, 0, 1232)
    return resolver


class Router:
    """Finds the servers of a destination domain, best first; answers are cached for their TTL."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        self.resolver = resolver or make_resolver()

    async def servers(self, domain: str) -> list[Server] | Unroutable:
        route = settings.ROUTES.get(domain) or settings.ROUTES.get("*")
        try:
            if route is not None:
                host, port = route
                return await self._addresses([host], port) or _no_address(domain)
            return await self._by_mx(domain)
        except dns.resolver.NXDOMAIN:
            text = f"The domain {domain} does not exist (DNS answers NXDOMAIN)"
            return Unroutable(_outcome(Status.DEFERRED, Reason.DOMAIN_NOT_FOUND, "5.1.2", text), absent=True)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            text = f"DNS for {domain} gives no answer now: {type(error).__name__}"
            return Unroutable(_outcome(Status.DEFERRED, Reason.NETWORK, "4.4.3", text))

    async def _by_mx(self, domain: str) -> list[Server] | Unroutable:
        answer = await self.resolver.resolve(domain, "MX", raise_on_no_answer=False, search=False)
        if answer.rrset is None:
            # RFC 5321 5.1: no MX at all means the domain itself, with preference 0.
            return await self._addresses([domain], settings.SMTP_PORT) or _no_address(domain)
        records = sorted(answer.rrset, key=lambda mx: (mx.preference, random.random()))
        if any(mx.exchange == dns.name.root for mx in records):
            # RFC 7505 3: a null MX says that the domain takes no mail, ever.
            text = f"The domain {domain} says that it accepts no mail (null MX)"
            return Unroutable(_outcome(Status.HARD_BOUNCE, Reason.DOMAIN_NOT_FOUND, "5.1.10", text))
        hosts = [mx.exchange.to_text(omit_final_dot=True).lower() for mx in records[:MOST_HOSTS]]
        return await self._addresses(hosts, settings.SMTP_PORT) or _no_address(domain)

    async def _addresses(self, hosts: list[str], port: int) -> list[Server]:
        servers: list[Server] = []
        trouble: Exception | None = None
        for host in hosts:
            try:
                ips = await self._host(host)
            except dns.resolver.NXDOMAIN:
                continue
            except (dns.exception.DNSException, OSError) as error:
                trouble = error
                continue
            servers += [Server(host, ip, port) for ip in ips if settings.PRIVATE_MX or is_public(ip)]
            if len(servers) >= MOST_ADDRESSES:
                break
        if not servers and trouble is not None:
            raise trouble
        return servers[:MOST_ADDRESSES]

    async def _host(self, host: str) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        if host == "localhost":
            return ["127.0.0.1"]
        answers = await self.resolver.resolve_name(host, lifetime=10.0)
        ips = list(answers.addresses())
        random.shuffle(ips)
        return ips


def is_public(ip: str) -> bool:
    """Neither loopback nor private nor any other address that a stranger's MX must not lead us to."""
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global and not (mapped or address).is_multicast


def _no_address(domain: str) -> Unroutable:
    text = f"No mail server of {domain} has an address that can be reached"
    return Unroutable(_outcome(Status.DEFERRED, Reason.NETWORK, "4.4.4", text))


def _outcome(status: Status, reason: Reason, enhanced: str, text: str) -> Outcome:
    return Outcome(status, reason, stage="dns", enhanced=enhanced, note=text)
