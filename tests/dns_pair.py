"""Two name servers for everything there is, and a resolver apart from them: a test says what each of them shows."""

import contextlib

from django.test import override_settings

from domains.records import records_of
from domains.zone import key_record, zone_records
from relay.simulator.zone import Zone
from tests.mail_world import dns_running

SOA = "ns1.relay.test hostmaster.relay.test 1 3600 600 86400 1"
FIRST, SECOND, RESOLVER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Pair:
    """`first` and `second` are authoritative for our zone and for the customers'; `resolver` is what receivers ask."""

    def __init__(self, ttl=1):
        self.first, self.second, self.resolver = self.all = [Zone(ttl=ttl) for _ in range(3)]
        for zone in self.all:
            zone.add("ns1.relay.test", "A", FIRST)
            zone.add("ns2.relay.test", "A", SECOND)
            self._begin(zone, "relay.test")

    def _begin(self, zone, apex):
        zone.add(apex, "SOA", SOA)
        zone.add(apex, "NS", "ns1.relay.test")
        zone.add(apex, "NS", "ns2.relay.test")

    def enter(self, domain):
        """The customer's three records, and what they lead to."""
        for zone in self.all:
            self._begin(zone, domain.name)
            for record in records_of(domain):
                zone.add(record.name, "CNAME", record.target)
            for record in zone_records([domain]):
                zone.add(*record)

    def show(self, key, *zones):
        """A key as the database has it, at these servers (at all by default), in place of an older one."""
        record = key_record(key)
        for zone in zones or self.all:
            zone.remove(record.name)
            zone.add(*record)


@contextlib.contextmanager
def dns_pair(ttl=1):
    pair = Pair(ttl)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(dns_running(pair.first, FIRST)).port
        stack.enter_context(dns_running(pair.second, SECOND, port))
        stack.enter_context(dns_running(pair.resolver, RESOLVER, port))
        stack.enter_context(override_settings(DNS_SERVER=(RESOLVER, port), DNS_PORT=port, PRIVATE_MX=True))
        pair.port = port
        yield pair
