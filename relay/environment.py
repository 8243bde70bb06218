"""Reads settings from environment variables and remembers every wrong one.

A wrong value never stops the import of settings: the default stands in, and `relay/checks.py` turns each
remembered problem into a Django system-check error, so that an operator sees all of them at once.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from billing import durations


@dataclass(frozen=True)
class Problem:
    """One variable whose value cannot be used: its name, its value and what would be right."""

    name: str
    value: str
    wanted: str


@dataclass
class Environment:
    problems: list[Problem] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        return os.environ.get(name, "").strip() or default

    def parsed[T](self, name: str, default: T, wanted: str, parse: Callable[[str], T]) -> T:
        """`parse` raises ValueError for a value that is not `wanted`; the default then stands in."""
        raw = self.text(name)
        if not raw:
            return default
        try:
            return parse(raw)
        except ValueError:
            self.problems.append(Problem(name, raw, wanted))
            return default

    def number(self, name: str, default: int, low: int = 0, high: int = 2**31) -> int:
        def parse(raw: str) -> int:
            value = int(raw)
            if not low <= value <= high:
                raise ValueError(raw)
            return value

        return self.parsed(name, default, f"a whole number from {low} to {high}", parse)

    def flag(self, name: str, default: bool = False) -> bool:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }

        def parse(raw: str) -> bool:
            if raw.lower() not in words:
                raise ValueError(raw)
            return words[raw.lower()]

        return self.parsed(name, default, "yes or no", parse)

    def seconds(self, name: str, default: str) -> float:
        wanted = "a duration such as 90s, 5m or 48h"
        return self.parsed(name, durations.duration(default), wanted, durations.duration)

    def schedule(self, name: str, default: str) -> list[float]:
        """Durations separated by commas, in seconds."""
        wanted = "durations separated by commas, such as 5m,15m,1h"
        return self.parsed(name, durations.schedule(default), wanted, durations.schedule)

    def routes(self, name: str) -> dict[str, tuple[str, int]]:
        """`dest.test=127.0.0.1:10026,*=smarthost:25` as {domain or "*": (host, port)}."""

        def parse(raw: str) -> dict[str, tuple[str, int]]:
            pairs = (part.strip().partition("=") for part in raw.split(",") if part.strip())
            return {domain.strip().lower(): host_port(target) for domain, _, target in pairs}

        return self.parsed(name, {}, "routes such as dest.test=127.0.0.1:10026,*=smarthost:25", parse)

    def name_server(self, name: str) -> tuple[str, int] | None:
        def parse(raw: str) -> tuple[str, int] | None:
            host, port = host_port(raw, 53)
            return str(ip_address(host)), port

        return self.parsed(name, None, "an IP address with an optional port, such as 127.0.0.1:5300", parse)

    def addresses(self, name: str) -> dict[int, str]:
        """`192.0.2.7,2001:db8::7` as {IP version: address}."""

        def parse(raw: str) -> dict[int, str]:
            return {address.version: str(address) for address in map(ip_address, raw.replace(",", " ").split())}

        return self.parsed(name, {}, "an IP address, or one of each family, separated by a comma", parse)

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        def parse(raw: str) -> list[IPv4Network | IPv6Network]:
            return [ip_network(part.strip()) for part in raw.split(",")]

        return self.parsed(name, [], "networks separated by commas, such as 10.0.0.0/8,192.0.2.7/32", parse)

    def folder(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default))).expanduser().absolute()


def host_port(raw: str, default_port: int = 25) -> tuple[str, int]:
    """`host:port`, `host` or `[IPv6]:port`."""
    raw = raw.strip()
    if raw.startswith("["):
        host, _, rest = raw[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = raw.partition(":")
    number = int(port) if port else default_port
    if not host or not 0 < number < 65536:
        raise ValueError(raw)
    return host, number
