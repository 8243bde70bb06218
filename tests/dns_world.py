"""A small DNS world for tests of pages: the zones of `example` and our own, on one server that the test writes to."""

from contextlib import contextmanager

from django.test import override_settings

from domains.records import records_of
from domains.zone import zone_records
from relay.simulator.zone import Zone
from tests.mail_world import dns_running

SOA = "ns.relay.test hostmaster.relay.test 1 3600 600 86400 5"


class DnsWorld:
    """Where a test plays the customer's DNS host, and our own."""

    def __init__(self):
        self.zone = Zone([("ns.relay.test", "A", "127.0.0.1")])
        for apex in ("example", "shop.example", "relay.test"):
            self.zone.add(apex, "SOA", SOA)
            self.zone.add(apex, "NS", "ns.relay.test")

    def serve(self, domain):
        """What our own zone has of a domain; its keys are made if it has none."""
        if not domain.keys.exists():
            domain.make_keys()
        for record in zone_records([domain]):
            self.zone.add(*record)

    def publish(self, domain, **other):
        """The three records as they should be, but for those named in `other`; None leaves one out."""
        self.serve(domain)
        for record in records_of(domain):
            if (target := other.get(record.key, record.target)) is not None:
                self.zone.add(record.name, "CNAME", target)


@contextmanager
def dns_world():
    world = DnsWorld()
    with (
        dns_running(world.zone) as server,
        override_settings(DNS_SERVER=("127.0.0.1", server.port), DNS_PORT=server.port, PRIVATE_MX=True),
    ):
        yield world
