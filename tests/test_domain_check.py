"""The domains whose time has come are looked at by themselves, each by one process only."""

import datetime as dt
import time
from unittest import mock

import pytest
from django.core import mail
from django.db import DatabaseError
from django.utils import timezone

from domains import check
from domains.models import Domain, DomainEvent
from domains.records import records_of
from domains.zone import zone_records
from relay.celery import app
from relay.simulator.zone import Failure, Zone
from relay.tasks import check_domains, warn_owners
from tests.factories import make_account, make_domain, make_user
from tests.mail_world import dns_running
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Kind = DomainEvent.Kind


@pytest.fixture
def world(settings):
    """A DNS server that is resolver and authority of everything."""
    zone = Zone([(".", "SOA", "ns.relay.test hostmaster.relay.test 1 1 1 1 1"), ("ns.relay.test", "A", "127.0.0.1")])
    with dns_running(zone) as server:
        settings.DNS_SERVER, settings.DNS_PORT, settings.PRIVATE_MX = ("127.0.0.1", server.port), server.port, True
        yield zone


def entered(zone, domain):
    """The domain's owner has entered the three records, and our zone has what they lead to."""
    if not domain.keys.exists():
        domain.make_keys()
    zone.add(domain.name, "SOA", "ns.relay.test hostmaster.relay.test 1 1 1 1 1")
    zone.add(domain.name, "NS", "ns.relay.test")
    for record in records_of(domain):
        zone.add(record.name, "CNAME", record.target)
    for record in zone_records([domain]):
        zone.add(*record)
    return domain


def test_a_due_domain_is_looked_at_and_validated_by_the_task(world):
    domain = entered(world, make_domain(make_account(), validated=False))
    check_domains()
    domain.refresh_from_db()
    assert domain.validated_at is not None
    assert domain.next_check_at > timezone.now()


def test_beat_asks_for_checks_and_warnings_every_few_seconds():
    schedule = {each["task"]: each["schedule"] for each in app.conf.beat_schedule.values()}
    assert schedule[check_domains.name] <= 5
    assert schedule[warn_owners.name] <= 5


def test_a_domain_that_is_not_due_is_left_alone(world):
    tomorrow = timezone.now() + dt.timedelta(days=1)
    make_domain(make_account(), next_check_at=tomorrow)
    make_domain(make_account(), "never.example", next_check_at=None)
    assert check.check_due() == 0


def test_each_due_domain_is_taken_by_one_process_only_and_again_when_that_one_died():
    make_domain(make_account())
    now = timezone.now()
    assert len(check.take_due(now)) == 1
    assert check.take_due(now) == []
    assert len(check.take_due(now + check.LEASE)) == 1


def test_a_process_checks_in_one_thread_at_a_time(world):
    make_domain(make_account())
    with check.busy:
        assert check.check_due() == 0
    assert check.check_due() == 1


def test_one_domain_that_cannot_be_saved_does_not_stop_the_others(world):
    account = make_account()
    first, second = make_domain(account, "one.example"), make_domain(account, "two.example")
    real = check.life.apply

    def failing(domain, *rest):
        if domain.pk == first.pk:
            raise DatabaseError("disk full")
        return real(domain, *rest)

    with mock.patch.object(check.life, "apply", failing):
        assert check.check_due() == 2
    second.refresh_from_db()
    assert second.checked_at is not None
    assert Domain.objects.get(pk=first.pk).checked_at is None


def test_one_domain_whose_look_fails_does_not_stop_the_others(world, caplog):
    account = make_account()
    first, second = make_domain(account, "one.example"), make_domain(account, "two.example")
    real = check.look

    async def failing(subject, asker):
        if subject.name == first.name:
            raise KeyError("a bug")
        return await real(subject, asker)

    with mock.patch.object(check, "look", failing):
        assert check.check_due() == 2
    second.refresh_from_db()
    assert second.checked_at is not None
    assert "one.example" in caplog.text


def test_a_domain_that_is_removed_while_it_is_looked_at_stops_nobody(world):
    first, second = make_domain(make_account(), "one.example"), make_domain(make_account(), "two.example")
    real = check.life.apply

    def removing(domain, *rest):
        Domain.objects.filter(pk=first.pk).delete()
        return real(domain, *rest)

    with mock.patch.object(check.life, "apply", removing):
        assert check.check_due() == 2
    second.refresh_from_db()
    assert second.checked_at is not None


def test_the_whole_life_of_a_domain_by_the_task_alone(world, settings):
    settings.DOMAIN_GRACE = settings.DOMAIN_CHECK = 0.5
    domain = entered(world, make_domain(make_account(make_user("alice@example.com")), validated=False))
    wait_until(lambda: looked_at(domain).validated_at)
    record = next(each for each in records_of(domain) if each.key == "bounce")
    world.remove(record.name)
    wait_until(lambda: looked_at(domain).failing_since)
    assert domain.own_return_path
    wait_until(lambda: looked_at(domain).validated_at is None)
    warn_owners()
    assert [each.to for each in mail.outbox] == [["alice@example.com"]] * 2
    world.add(record.name, "CNAME", record.target)
    Domain.objects.update(next_check_at=timezone.now())
    wait_until(lambda: looked_at(domain).validated_at)
    assert not domain.own_return_path
    kinds = [event.kind for event in domain.events.order_by("id") if event.kind != Kind.RECORD_CHANGED]
    assert kinds == [
        Kind.VALIDATED,
        Kind.FAILING,
        Kind.RETURN_PATH,
        Kind.UNAUTHENTICATED,
        Kind.VALIDATED,
        Kind.RETURN_PATH,
    ]


def looked_at(domain):
    check_domains()
    domain.refresh_from_db()
    return domain


def test_a_name_server_that_is_silent_for_hours_demotes_nobody(world, settings):
    settings.DOMAIN_GRACE = settings.DOMAIN_CHECK = 0.2
    domain = entered(world, make_domain(make_account(), validated=False))
    wait_until(lambda: looked_at(domain).validated_at)
    for record in records_of(domain):
        world.fail(record.name, Failure.SERVFAIL)
    for _ in range(3):
        Domain.objects.update(next_check_at=timezone.now())
        looked_at(domain)
        time.sleep(0.3)
    assert {found["state"] for found in domain.found.values()} == {"error"}
    assert domain.validated_at is not None
    assert domain.failing_since is None
