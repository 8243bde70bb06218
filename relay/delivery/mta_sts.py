"""MTA-STS (RFC 8461): which of a domain's mail servers may be spoken to, and whether only over verified TLS.

Policies are looked up beside the MX, kept in the process as long as they say, and stay in force when a refresh fails.
"""

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, cast

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from relay.delivery import https
from relay.delivery.tls import matches

log = logging.getLogger(__name__)

MOST_DOMAINS = 50_000
LOOK_UP_SECONDS = 3.0
MOST_IN_FLIGHT = 250
# How soon the record is looked at again: of a domain that has one, that has none, and where that is not known.
RECORD_SECONDS = 300.0
NO_RECORD_SECONDS = 3600.0
# RFC 8461 3.3: after a failed fetch five minutes or longer.
FAILED_SECONDS = 300.0
REFRESH_SECONDS = 86_400.0
LONGEST_AGE = 31_557_600
MOST_MX = 100

# RFC 8461 3.1 and 3.2.
RECORD = re.compile(
    r"v=STSv1[ \t]*"
    r"(?:;[ \t]*(?:id=(?P<id>[A-Za-z0-9]{1,32})|(?!id=)[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-:<>-~]+)[ \t]*)+"
    r";?[ \t]*"
)
FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*(.*\S)[ \t]*")
MX = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

type Fetch = Callable[[str], Awaitable[str]]
Mode = Literal["enforce", "testing", "none"]


class Malformed(ValueError):
    """A record or a policy that RFC 8461 does not allow."""


@dataclass(frozen=True, slots=True)
class Policy:
    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def permits(self, host: str) -> bool:
        return any(matches(pattern, host) for pattern in self.mx)


def misses(policy: Policy | None, domain: str, host: str, verified: bool) -> str:
    """What speaks against this server by the domain's policy, which testing mode only tells; empty if nothing."""
    if policy is None or policy.mode == "none":
        return ""
    if not policy.permits(host):
        flaw = f"does not name {host}"
    elif not verified:
        flaw = "wants TLS with a valid certificate"
    else:
        return ""
    return f"The MTA-STS policy of {domain} {flaw}; it is in testing mode, so the email was sent"


def parse_record(text: str) -> str:
    """The id of a TXT record at _mta-sts. Raises Malformed."""
    match = RECORD.fullmatch(text)
    if match is None or match["id"] is None:
        raise Malformed("not an MTA-STS record")
    return match["id"]


def parse_policy(text: str) -> Policy:
    """Raises Malformed. Of a field that comes twice the first counts (RFC 8461 3.2), except mx."""
    fields: dict[str, list[str]] = {}
    for line in text.removesuffix("\n").removesuffix("\r").split("\n"):
        match = FIELD.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise Malformed(f"not a field: {line[:80]}")
        fields.setdefault(match[1], []).append(match[2])
    mode, age, mx = fields.get("mode", [""])[0], fields.get("max_age", [""])[0], fields.get("mx", [])
    if fields.get("version", [""])[0] != "STSv1":
        raise Malformed("not version STSv1")
    if mode not in ("enforce", "testing", "none"):
        raise Malformed("no mode that is known")
    if re.fullmatch(r"[0-9]{1,10}", age) is None:
        raise Malformed("no max_age")
    if not mx and mode != "none":
        raise Malformed("no mx")
    if len(mx) > MOST_MX or not all(MX.fullmatch(pattern) for pattern in mx):
        raise Malformed("an mx that is no host name, or too many of them")
    return Policy(cast("Mode", mode), tuple(mx), min(int(age), LONGEST_AGE))


@dataclass(slots=True)
class Known:
    """What is known of a domain: its policy, if it has one, till when that holds, and when to look again."""

    policy: Policy | None = None
    id: str = ""
    fetched: float = 0.0
    look_again: float = 0.0

    @property
    def in_force(self) -> Policy | None:
        if self.policy is None or time.monotonic() > self.fetched + self.policy.max_age:
            return None
        return self.policy


class Policies:
    """`policy` never raises and, for a domain that was asked for before, mostly answers from memory."""

    def __init__(self, resolver: dns.asyncresolver.Resolver, fetch: Fetch | None = None) -> None:
        self.resolver = resolver
        self.fetch = fetch or https.Client(resolver).get_text
        self.known: OrderedDict[str, Known] = OrderedDict()
        self.looking: dict[str, asyncio.Task[None]] = {}
        self.places = asyncio.Semaphore(MOST_IN_FLIGHT)

    async def policy(self, domain: str) -> Policy | None:
        """The policy in force; None if there is none, or if it could never be fetched (RFC 8461 3.3)."""
        known = self._known(domain)
        if time.monotonic() >= known.look_again:
            task = self.looking.get(domain)
            if task is None:
                task = self.looking[domain] = asyncio.create_task(self._look(domain, known))
                task.add_done_callback(lambda _: self.looking.pop(domain))
            await asyncio.shield(task)
        return known.in_force

    def _known(self, domain: str) -> Known:
        known = self.known.setdefault(domain, Known())
        self.known.move_to_end(domain)
        while len(self.known) > MOST_DOMAINS:
            self.known.popitem(last=False)
        return known

    async def _look(self, domain: str, known: Known) -> None:
        try:
            # The time counts from when it is this question's turn: a crowd must not look like a DNS that is silent.
            async with self.places, asyncio.timeout(LOOK_UP_SECONDS):
                identity = await self._record(domain)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            log.debug("MTA-STS record of %s: %s", domain, error)
            known.look_again = time.monotonic() + FAILED_SECONDS
            return
        known.look_again = time.monotonic() + (RECORD_SECONDS if identity else NO_RECORD_SECONDS)
        # RFC 8461 3.3 and 5.1: a policy that is kept outlives its record, and is fetched anew before it ends.
        fresh = known.policy is not None and time.monotonic() < known.fetched + min(
            known.policy.max_age / 2, REFRESH_SECONDS
        )
        if identity and not (identity == known.id and fresh):
            await self._fetch(domain, identity, known)

    async def _record(self, domain: str) -> str:
        """The id, or "" if the domain has no policy."""
        try:
            answer = await self.resolver.resolve(f"_mta-sts.{domain}", "TXT", search=False, lifetime=LOOK_UP_SECONDS)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ""
        texts = [b"".join(txt.strings).decode("ascii", "replace") for txt in answer]
        # RFC 8461 3.1: other texts are passed over; two policies are none.
        records = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
        try:
            return parse_record(records[0]) if len(records) == 1 else ""
        except Malformed:
            return ""

    async def _fetch(self, domain: str, identity: str, known: Known) -> None:
        try:
            policy = parse_policy(await self.fetch(f"https://mta-sts.{domain}/.well-known/mta-sts.txt"))
        except (dns.exception.DNSException, OSError, ValueError, EOFError) as error:
            log.info("the MTA-STS policy of %s could not be fetched: %s", domain, error)
            known.look_again = time.monotonic() + FAILED_SECONDS
            return
        known.policy, known.id, known.fetched = policy, identity, time.monotonic()
