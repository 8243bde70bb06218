"""Which addresses may be connected: public ones that are not our own, of families that this machine has a route for."""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, zip_longest

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 4291 2.4, IANA: all global IPv6 addresses there are today. Outside lie loopback, unspecified, link-local,
# site-local, multicast, IPv4-mapped, IPv4-compatible and NAT64 (64:ff9b::/96) addresses.
GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
# Any address of the public internet: connecting a UDP socket sends nothing, it only asks the routing table.
FAR_AWAY = {socket.AF_INET: "192.0.32.8", socket.AF_INET6: "2620:0:2d0:200::8"}


def address_of(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(ip: str) -> bool:
    """Neither loopback nor private nor any other address that a stranger's MX must not lead us to.

    6to4 (2002::/16) and Teredo (2001::/32), which carry an IPv4 address inside, are not global to `ipaddress`.
    """
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_IPV6:
        return False
    return address.is_global and not address.is_multicast


def source_address(family: socket.AddressFamily) -> str | None:
    """The address from which this machine would reach the internet; None: it has no route there."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((FAR_AWAY[family], 25))
        return str(probe.getsockname()[0])
    return None


def has_ipv6() -> bool:
    source = source_address(socket.AF_INET6)
    return source is not None and is_public(source)


def local_addresses(bind: str) -> set[str]:
    """Addresses of this machine, as far as it knows: the one it binds and those it connects from."""
    known = (bind, *(source_address(family) for family in FAR_AWAY))
    return {str(address) for each in known if each and (address := address_of(each)) is not None}


def interleaved(ipv6: Iterable[str], ipv4: Iterable[str]) -> list[str]:
    """RFC 8305 4: the families take turns, so that a broken one costs one attempt to connect; IPv6 begins."""
    return [ip for ip in chain.from_iterable(zip_longest(ipv6, ipv4)) if ip is not None]
