"""What the DNS of the demo's small world knows: the simulator's domain, our own zone, the customers' domains."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import dns.exception
import dns.name
from django.conf import settings
from django.db import connections
from dns.rdatatype import MX

from domains.models import DemoRecord, Domain
from domains.zone import own_records, zone_records
from relay.simulator.zone import Record, Zone, record_data

logger = logging.getLogger(__name__)

FRESH = 1.0  # seconds that what the database said is good for
PATIENCE = 1.0  # seconds that a query waits for the database; then the last known zone answers

type Records = Iterable[tuple[str, str, str]]


class World:
    """Called for the zone of the moment: the fixed records and those that `read` finds, read again while asked."""

    def __init__(self, read: Callable[[], Records]) -> None:
        self.read = read
        self.zone = world_zone(())
        self.read_at = float("-inf")
        self.reading: asyncio.Future[Zone] | None = None

    async def __call__(self) -> Zone:
        if self.reading is None and time.monotonic() - self.read_at >= FRESH:
            self.reading = in_thread(lambda: world_zone(self.read()))
            self.reading.add_done_callback(self._finish)
        if self.reading is not None:
            await asyncio.wait([self.reading], timeout=PATIENCE)
        return self.zone

    def sends_here(self, domain: str) -> bool:
        """Whether the mail of a domain comes to the simulator. Whoever delivers has just asked for its zone."""
        try:
            name = dns.name.from_text(domain)
        except dns.exception.DNSException:
            return False
        return self.zone.has(name, record_data(MX, mail_host()))

    def _finish(self, reading: asyncio.Future[Zone]) -> None:
        self.reading = None
        self.read_at = time.monotonic()
        if reading.cancelled():
            return
        if (problem := reading.exception()) is None:
            self.zone = reading.result()
        else:
            logger.warning("the zone stays as it was: %r", problem)


def world_zone(records: Records) -> Zone:
    """The whole world: outside of it there are no names at all, so nothing of the demo ever leaves the machine."""
    zone = Zone(fixed_records())
    for record in records:
        try:
            zone.add(*record)
        except (dns.exception.DNSException, ValueError) as problem:
            logger.warning("no record for %s %s: %s", record[0], record[1], problem)
    return zone


def fixed_records() -> list[tuple[str, str, str]]:
    ours, simulator, here = settings.ZONE, settings.SIMULATOR_DOMAIN, local_address()
    return [
        (".", "SOA", soa()),
        (ours, "SOA", soa()),
        (ours, "NS", f"ns.{ours}"),
        (f"ns.{ours}", *here),
        (f"mx.{ours}", *here),
        (settings.HOSTNAME, *here),
        (simulator, "SOA", soa()),
        (simulator, "NS", f"ns.{ours}"),
        (simulator, "MX", mail_host()),
        (f"mx.{simulator}", *here),
        # RFC 7505: takes no mail.
        (f"nullmx.{simulator}", "MX", "0 ."),
        # A mail host where nobody listens.
        (f"dead.{simulator}", "MX", f"10 mx.dead.{simulator}"),
        (f"mx.dead.{simulator}", "A", "127.0.0.66"),
    ]


def local_address() -> tuple[str, str]:
    """The type and value of the record that leads to our listeners."""
    try:
        address = ip_address(settings.BIND)
    except ValueError:
        address = ip_address("127.0.0.1")
    if address.is_unspecified:
        address = ip_address("127.0.0.1")
    return ("A" if address.version == 4 else "AAAA"), str(address)


def database_records() -> list[Record]:
    """Our own zone, the customers' zones, and what the demo's customers entered in theirs."""
    try:
        names = Domain.objects.order_by("name").values_list("name", flat=True).distinct()
        zones = [record for name in names if name != settings.ZONE for record in zone_apex(name)]
        entered = [Record(each.name, each.type, each.value) for each in DemoRecord.objects.order_by("id")]
        ours = [Record(*each) for each in (*own_records(), *zone_records())]
        return [*ours, *zones, *entered]
    finally:
        connections.close_all()


def zone_apex(name: str) -> list[Record]:
    """Each customer's domain is a zone with a name server, as in the real DNS, and its mail comes to the simulator."""
    return [Record(name, "SOA", soa()), Record(name, "NS", f"ns.{settings.ZONE}"), Record(name, "MX", mail_host())]


def mail_host() -> str:
    return f"10 mx.{settings.SIMULATOR_DOMAIN}"


def soa() -> str:
    # RFC 2308 5: the last number bounds how long an absence is remembered.
    return f"ns.{settings.ZONE} hostmaster.{settings.ZONE} 1 3600 600 86400 5"


def in_thread[T](function: Callable[[], T]) -> asyncio.Future[T]:
    """Runs `function` in a daemon thread: unlike an executor's, it never keeps the program from ending."""
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except Exception as problem:  # whatever it is, the one who waits must hear of it
            outcome.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(outcome)
