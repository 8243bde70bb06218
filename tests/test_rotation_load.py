"""Rotation while mail flows: whoever receives an email can verify it at once, whatever it remembers of DNS."""

import datetime as dt
import itertools
import threading
import time

import dkim
import dns.exception
import dns.resolver
import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.utils import timezone

from activity.accept import accept_each
from activity.arrival import Arrival
from activity.models import Recipient
from activity.pool import conninfo
from domains import rotation
from domains.models import DkimKey, Domain, DomainEvent
from domains.zone import key_record
from relay.delivery import contents
from tests.delivering import engine_running, simulated, wait_until
from tests.dns_pair import FIRST, SECOND, dns_pair
from tests.factories import make_account, make_domain, make_keys, make_plan

pytestmark = pytest.mark.django_db(transaction=True)

MAILS = 2000
TTL = 3
# After how many seconds each server shows what the database has.
LAGS = (0.3, 1.5, 0.8)


class Receiver:
    """Verifies with dkimpy. It asks DNS by itself, and remembers answers for as long as they may be remembered."""

    def __init__(self, port, first, second):
        self.resolver = dns.resolver.Resolver(configure=False)
        self.resolver.nameservers, self.resolver.port = [first, second], port
        self.resolver.cache = dns.resolver.Cache()

    def text(self, name, timeout=5):
        try:
            answer = self.resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT")
        except dns.exception.DNSException:
            return b""
        return b"".join(answer[0].strings)

    def verifies(self, content):
        # Other senders' mail had it look for both keys a moment ago.
        for selector in ("r1", "r2"):
            self.text(f"{selector}._domainkey.boutique.example.")
        try:
            return dkim.verify(content, dnsfunc=self.text)
        except dkim.DKIMException:
            return False


class Judges:
    """The simulator's behaviour: each email is verified by the next of several receivers before its 250."""

    def __init__(self, port):
        hosts = [(FIRST, SECOND), (SECOND, FIRST)] * 3
        self.receivers = itertools.cycle([Receiver(port, *each) for each in hosts])
        self.verdicts = []

    def __call__(self, stage, envelope):
        if stage == "end_of_data":
            selector = envelope.content.partition(b"; t=")[0].rpartition(b"s=")[2].decode()
            self.verdicts.append((selector, next(self.receivers).verifies(envelope.content)))


class Publisher:
    """Our own name servers: each shows what is in the database, but some time later."""

    def __init__(self, world):
        self.lags = dict(zip(world.all, LAGS, strict=True))
        self.shown, self.noticed = {}, {}

    def publish(self, now):
        for key in DkimKey.objects.select_related("domain"):
            since = self.noticed.setdefault(key.public_key, now)
            for zone, lag in self.lags.items():
                if now >= since + lag and self.shown.get((zone, key.slot)) != key.public_key:
                    record = key_record(key)
                    zone.remove(record.name)
                    zone.add(*record)
                    self.shown[zone, key.slot] = key.public_key


class Feeder(threading.Thread):
    """Has mail accepted, some every moment, until it is told to stop and has had MAILS accepted."""

    def __init__(self, domain):
        super().__init__(daemon=True)
        self.domain, self.count, self.enough = domain, 0, threading.Event()

    def run(self):
        try:
            while not (self.enough.is_set() and self.count >= MAILS):
                async_to_sync(self.feed)(40)
                time.sleep(0.25)
        finally:
            connection.close()

    async def feed(self, number):
        arrivals = [self.arrival(self.count + n) for n in range(number)]
        async with await psycopg.AsyncConnection.connect(conninfo(), autocommit=True) as found:
            assert await accept_each(found, arrivals) == [None] * number
        self.count += number

    def arrival(self, number):
        body = b"From: shop@boutique.example\r\nTo: x@dest.test\r\nSubject: %d\r\n\r\nHello\r\n" % number
        return Arrival(
            account_id=self.domain.account_id,
            credential_id=None,
            domain_id=self.domain.pk,
            mail_from="shop@boutique.example",
            recipients=["x@dest.test"],
            size=len(body),
            read_body=lambda: body,
        )


@pytest.fixture
def world():
    with dns_pair(ttl=TTL) as pair:
        yield pair


@pytest.fixture
def domain(world):
    account = make_account(plan=make_plan(monthly_quota=1_000_000))
    made = make_domain(account, rotate_at=timezone.now() + dt.timedelta(days=1))
    make_keys(made)
    world.enter(made)
    return made


def test_during_two_rotations_every_email_is_verified_at_the_moment_of_receipt(world, domain, settings, monkeypatch):
    settings.KEY_OVERLAP = 5.0
    monkeypatch.setattr(rotation, "SOON", dt.timedelta(seconds=0.2))
    monkeypatch.setattr(contents, "IDENTITY_SECONDS", 0.3)
    judges, publisher, feeder = Judges(world.port), Publisher(world), Feeder(domain)
    switched = domain.events.filter(kind=DomainEvent.Kind.KEY_SWITCHED)
    with simulated(judges) as simulator, engine_running():
        feeder.start()
        deadline = time.monotonic() + 120
        wait_until(lambda: judges.verdicts, 20)
        while switched.count() < 2 or feeder.is_alive() or simulator.received_count < feeder.count:
            assert time.monotonic() < deadline, (switched.count(), feeder.count, simulator.received_count)
            if switched.count() < 2:
                rotation.ask(Domain.objects.get(pk=domain.pk), "")
            elif judges.verdicts[-1][0] == "r1":
                feeder.enough.set()
            publisher.publish(time.monotonic())
            rotation.take_steps()
            time.sleep(0.1)
    assert len(judges.verdicts) >= MAILS
    assert [selector for selector, right in judges.verdicts if not right] == []
    selectors = [selector for selector, _ in judges.verdicts]
    assert (selectors[0], selectors[-1]) == ("r1", "r1"), "by another key of that selector"
    assert 100 < selectors.count("r2") < MAILS
    assert not Recipient.objects.exclude(status="delivered").exists()


def test_the_same_receivers_find_out_a_key_that_signs_before_dns_shows_it(world, domain):
    judges = Judges(world.port)
    idle = domain.keys.get(active=False)
    rotation.renew(domain, idle, TTL, timezone.now())
    domain.keys.update(active=False)
    domain.keys.filter(pk=idle.pk).update(active=True)
    feeder = Feeder(domain)
    with simulated(judges) as simulator, engine_running():
        async_to_sync(feeder.feed)(5)
        wait_until(lambda: simulator.received_count == 5, 20)
    assert judges.verdicts == [("r2", False)] * 5
