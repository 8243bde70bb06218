"""Where a domain's mail goes: static routes, or MX and addresses by RFC 5321 5.1 and RFC 7505."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from django.conf import settings

from activity.outcome import Outcome
from activity.reasons import Reason
from activity.status import Status
from relay.delivery.lookups import Lookups, make_resolver
from relay.delivery.reach import address_of, has_ipv6, interleaved, is_public, local_addresses
from relay.delivery.site import site_name

# RFC 5321 5.1 asks for at least two; more than this many dead ones would only hold a socket.
MOST_ADDRESSES = 5
# So that a host with a large pool leaves room for the next one.
MOST_OF_ONE_HOST = 3
MOST_HOSTS = 10
# After this no further host of a domain is looked up.
PATIENCE = 10.0
OWN_SECONDS = 300.0
# Underscores are no part of a host name (RFC 1123 2.1), but Cloudflare names mail servers `_dc-mx.…`.
HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9-]*[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Server:
    """One address of one mail host. `site` is the same for all domains that have the same mail hosts."""

    host: str
    ip: str
    port: int
    site: str = ""


@dataclass(frozen=True, slots=True)
class Unroutable:
    """DNS gave no server. `absent` means NXDOMAIN of a domain that has not taken mail of late."""

    outcome: Outcome
    absent: bool = False


def site_of(servers: Sequence[Server]) -> str:
    """A stable key of the mail hosts that `Router.servers` found, of which it names only the first few."""
    return servers[0].site or site_name([server.host for server in servers])


async def never(_domain: str) -> bool:
    return False


def every(_host: str) -> bool:
    return True


class Router:
    """Finds the servers of a destination domain, best first.

    `took_mail` is asked when DNS says that a domain does not exist: has it taken mail of late?
    """

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver | None = None,
        took_mail: Callable[[str], Awaitable[bool]] = never,
        ipv6: bool | None = None,
    ) -> None:
        self.lookups = Lookups(resolver or make_resolver())
        self.took_mail = took_mail
        self.ipv6 = has_ipv6() if ipv6 is None else ipv6
        self.own = local_addresses(settings.BIND)
        self.own_until = 0.0

    async def servers(self, domain: str, permits: Callable[[str], bool] = every) -> list[Server] | Unroutable:
        """At most five, of the hosts that `permits` permits, unless that is none of them."""
        route = settings.ROUTES.get(domain) or settings.ROUTES.get("*")
        try:
            if route is not None:
                return await self._static(*route) or _no_address(domain)
            return await self._by_mx(domain, permits) or _no_address(domain)
        except NullMX:
            text = f"The domain {domain} says that it accepts no mail (null MX)"
            return Unroutable(_outcome(Status.HARD_BOUNCE, Reason.DOMAIN_NOT_FOUND, "5.1.10", text))
        except LedBack:
            text = f"The best mail server of {domain} is this relay itself, which does not know the domain"
            return Unroutable(_outcome(Status.DEFERRED, Reason.NETWORK, "4.4.6", text))
        except dns.resolver.NXDOMAIN:
            text = f"The domain {domain} does not exist (DNS answers NXDOMAIN)"
            outcome = _outcome(Status.DEFERRED, Reason.DOMAIN_NOT_FOUND, "5.1.2", text)
            return Unroutable(outcome, absent=not await self.took_mail(domain))
        except (dns.exception.DNSException, OSError) as error:
            text = f"DNS for {domain} gives no answer now: {_explained(error)}"
            return Unroutable(_outcome(Status.DEFERRED, Reason.NETWORK, "4.4.3", text))

    async def _static(self, host: str, port: int) -> list[Server]:
        """The operator named this server, so it may have any address."""
        site = f"{host}:{port}"
        if host == "localhost" or address_of(host) is not None:
            return [Server(host, "127.0.0.1" if host == "localhost" else host, port, site)]
        ips = await self._ips(host)
        return [Server(host, ip, port, site) for ip in ips[:MOST_ADDRESSES]]

    async def _by_mx(self, domain: str, permits: Callable[[str], bool]) -> list[Server]:
        answer = await self.lookups.ask(absolute(domain), "MX")
        if answer.rrset is None:
            # RFC 5321 5.1: no MX at all means the domain itself, with preference 0.
            return await self._addresses({domain: 0}, permits)
        records = sorted(answer.rrset, key=lambda mx: (mx.preference, random.random()))
        # RFC 7505 3: a null MX stands alone. Beside others it contradicts them, and in doubt we deliver.
        named = [mx for mx in records if mx.exchange != dns.name.root]
        if not named:
            raise NullMX
        hosts: dict[str, int] = {}
        for mx in named:
            host = mx.exchange.to_text(omit_final_dot=True).lower()
            # RFC 5321 5.1: a name, so neither an address nor anything that no host is called.
            if HOST.fullmatch(host):
                hosts.setdefault(host, mx.preference)
        return await self._addresses(hosts, permits)

    async def _addresses(self, preferences: dict[str, int], permits: Callable[[str], bool]) -> list[Server]:
        """The hosts are given in the order in which they shall be tried."""
        site = site_name(list(preferences)) if preferences else ""
        hosts = _better_than(preferences, preferences.get(settings.HOSTNAME))
        hosts = [host for host in hosts if permits(host)] or hosts
        servers: list[Server] = []
        trouble: Exception | None = None
        deadline = time.monotonic() + PATIENCE
        share = MOST_OF_ONE_HOST if len(hosts) > 1 else MOST_ADDRESSES
        for host in hosts[:MOST_HOSTS]:
            try:
                ips = [ip for ip in await self._ips(host) if settings.PRIVATE_MX or is_public(ip)]
                if await self._is_us(ips):
                    better = _better_than(preferences, preferences[host])
                    servers = [server for server in servers if server.host in better]
                    break
            except (dns.exception.DNSException, OSError) as error:
                trouble, ips = error, []
            servers += [Server(host, ip, settings.SMTP_PORT, site) for ip in ips[:share]]
            if len(servers) >= MOST_ADDRESSES or time.monotonic() > deadline:
                break
        if not servers and trouble is not None:
            raise trouble
        return servers[:MOST_ADDRESSES]

    async def _ips(self, host: str) -> list[str]:
        """The addresses of one host, families in turns; none if there are none or no such host."""
        name = absolute(host)
        kinds = ("AAAA", "A") if self.ipv6 else ("A",)
        answers = await asyncio.gather(*(self.lookups.ask(name, kind) for kind in kinds), return_exceptions=True)
        found: list[list[str]] = []
        trouble: BaseException | None = None
        for answer in answers:
            if isinstance(answer, BaseException):
                trouble = trouble if isinstance(answer, dns.resolver.NXDOMAIN) else answer
                continue
            ips = [record.address for record in answer.rrset or ()]
            found.append(random.sample(ips, len(ips)))
        if not any(found) and trouble is not None:
            raise trouble
        return interleaved(*found) if len(found) == 2 else [ip for ips in found for ip in ips]

    async def _is_us(self, ips: list[str]) -> bool:
        return bool(ips) and not settings.PRIVATE_MX and not (await self._own_addresses()).isdisjoint(ips)

    async def _own_addresses(self) -> set[str]:
        """Mail led back to ourselves would go round for ever."""
        if time.monotonic() >= self.own_until:
            try:
                named = await self._ips(settings.HOSTNAME)
            except (dns.exception.DNSException, OSError):
                named = []
            if named:
                self.own = local_addresses(settings.BIND) | set(named)
            self.own_until = time.monotonic() + OWN_SECONDS
        return self.own


class NullMX(Exception):
    """RFC 7505: the domain takes no mail, ever."""


class LedBack(Exception):
    """RFC 5321 5.1: no mail server is better than ourselves, so the mail would go round for ever."""


def _better_than(preferences: dict[str, int], ours: int | None) -> list[str]:
    """RFC 5321 5.1: where we are among the mail servers, equal and worse ones would bring the mail back to us."""
    better = [host for host, preference in preferences.items() if ours is None or preference < ours]
    if preferences and not better:
        raise LedBack
    return better


def absolute(host: str) -> dns.name.Name:
    return dns.name.from_text(f"{host.removesuffix('.')}.")


def _explained(error: Exception) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no name server answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the name server answered with an error (SERVFAIL or the like)"
    return str(error) or type(error).__name__


def _no_address(domain: str) -> Unroutable:
    text = f"No mail server of {domain} has a public address that can be reached"
    return Unroutable(_outcome(Status.DEFERRED, Reason.NETWORK, "4.4.4", text))


def _outcome(status: Status, reason: Reason, enhanced: str, text: str) -> Outcome:
    return Outcome(status, reason, stage="dns", enhanced=enhanced, note=text)
