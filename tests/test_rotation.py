"""Rotation, step by step: a new key signs only when everybody can find it, whatever dies or answers in between."""

import datetime as dt
import threading
from unittest import mock

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from domains import key_sight, rotation
from domains.models import DkimKey, Domain, DomainEvent
from domains.own import own_domain
from domains.records import records_of
from domains.rotation import ask, take_steps
from domains.signing_key import sign_with
from relay.celery import app
from relay.simulator.zone import Failure
from relay.tasks import rotate_keys
from tests.dns_pair import dns_pair
from tests.factories import make_account, make_domain, make_keys

pytestmark = pytest.mark.django_db(transaction=True)

Kind = DomainEvent.Kind
MONTH = dt.timedelta(days=30)
OVERLAP = dt.timedelta(days=7)


@pytest.fixture
def world():
    with dns_pair() as pair:
        yield pair


@pytest.fixture
def domain(world):
    """Validated for a week, r1 signs."""
    now = timezone.now()
    week = dt.timedelta(days=7)
    made = make_domain(make_account(), validated_at=now - week, rotate_at=now + 3 * week, next_step_at=now + 3 * week)
    make_keys(made)
    made.keys.update(created_at=now - week)
    world.enter(made)
    return made


def idle_of(domain):
    return domain.keys.get(active=False)


def signing(domain):
    return domain.keys.get(active=True).selector


def told(domain):
    return list(domain.events.order_by("id").values_list("kind", flat=True))


def pass_time(domain, time):
    """As if it were so much later: every moment of the domain and its keys is longer ago."""
    fields = ("validated_at", "rotate_at", "next_step_at", "failing_since")
    Domain.objects.filter(pk=domain.pk).update(**{field: F(field) - time for field in fields})
    moments = ("created_at", "seen_at", "usable_at", "stopped_at")
    domain.keys.update(**{field: F(field) - time for field in moments})
    domain.refresh_from_db()


def step(domain):
    """The next step, without waiting for its time."""
    Domain.objects.filter(pk=domain.pk).update(next_step_at=timezone.now())
    rotation._take_steps(rotation.take_due(timezone.now()), timezone.now())
    domain.refresh_from_db()


def rotated(world, domain):
    """A whole rotation."""
    step(domain)
    world.show(idle_of(domain))
    step(domain)
    pass_time(domain, dt.timedelta(seconds=3))
    step(domain)


# The way of a key.


def test_a_rotation_takes_one_step_after_the_other_and_the_customer_does_nothing(world, domain):
    old, before = domain.keys.get(active=True), idle_of(domain)
    assert ask(domain, "ann@example.com")

    step(domain)
    made = idle_of(domain)
    assert (made.slot, made.usable_at, made.seen_at) == (2, None, None)
    assert made.public_key != before.public_key

    step(domain)
    assert idle_of(domain).usable_at is None, "nobody shows it yet"
    world.show(made)
    step(domain)
    seen = idle_of(domain)
    assert seen.seen_at is not None
    assert signing(domain) == "r1", "others may still remember the one before"

    pass_time(domain, dt.timedelta(seconds=3))
    step(domain)
    assert signing(domain) == "r2"
    assert domain.keys.get(active=True).public_key == made.public_key
    left = idle_of(domain)
    assert (left.public_key, left.stopped_at is not None) == (old.public_key, True), "it stays published"
    assert domain.rotate_at > timezone.now() + 20 * dt.timedelta(days=1)
    assert told(domain) == [Kind.ROTATION_ASKED, Kind.KEY_MADE, Kind.KEY_SEEN, Kind.KEY_SWITCHED]
    assert domain.events.first().by == "ann@example.com"


def test_a_new_key_waits_as_long_as_the_old_answer_may_be_remembered(settings):
    with dns_pair(ttl=400) as world:
        domain = make_domain(make_account(), rotate_at=timezone.now() + MONTH)
        make_keys(domain)
        world.enter(domain)
        ask(domain, "")
        step(domain)
        world.show(idle_of(domain))
        step(domain)
        idle = idle_of(domain)
        assert idle.usable_at - idle.seen_at >= dt.timedelta(seconds=400)
        step(domain)
        assert signing(domain) == "r1"
        assert domain.next_step_at == idle.usable_at


def test_an_absence_may_be_remembered_too(world, domain):
    record = next(each for each in records_of(domain) if each.key == "dkim2")
    for zone in world.all:
        zone.remove(record.target)
    ask(domain, "")
    step(domain)
    assert idle_of(domain).old_ttl == 1  # the SOA's minimum (RFC 2308 5)


def test_the_domain_rotates_by_itself_month_by_month(world, domain):
    for selector in ("r2", "r1", "r2"):
        pass_time(domain, MONTH)
        step(domain)  # the old key's time is over as well
        rotated(world, domain)
        assert signing(domain) == selector
    assert Kind.ROTATION_ASKED not in told(domain)


def test_beat_asks_for_the_next_steps_every_few_seconds(domain):
    schedule = {each["task"]: each["schedule"] for each in app.conf.beat_schedule.values()}
    assert schedule[rotate_keys.name] <= 5
    ask(domain, "")
    rotate_keys()
    assert Kind.KEY_MADE in told(domain)


def test_a_domain_waits_for_its_time_and_costs_nothing_until_then(domain):
    assert take_steps() == 0
    step(domain)
    assert domain.next_step_at == domain.rotate_at
    assert told(domain) == []


def test_our_own_domain_rotates_too(world):
    own = own_domain()
    world.enter(own)
    pass_time(own, MONTH)
    rotated(world, own)
    assert signing(own) == "r2"


# The old key.


def test_the_old_key_is_published_for_its_time_and_then_replaced(world, domain):
    ask(domain, "")
    rotated(world, domain)
    old = idle_of(domain)
    step(domain)
    assert domain.next_step_at == old.stopped_at + OVERLAP
    pass_time(domain, OVERLAP - dt.timedelta(minutes=1))
    step(domain)
    assert idle_of(domain).public_key == old.public_key
    pass_time(domain, dt.timedelta(minutes=2))
    step(domain)
    assert idle_of(domain).public_key != old.public_key
    assert told(domain)[-2:] == [Kind.KEY_RETIRED, Kind.KEY_MADE]
    assert signing(domain) == "r2", "it stands by until the next rotation"


def test_who_asks_again_waits_until_the_old_keys_time_is_over(world, domain):
    ask(domain, "")
    rotated(world, domain)
    old = idle_of(domain)
    assert ask(domain, "")
    step(domain)
    assert idle_of(domain).public_key == old.public_key
    pass_time(domain, OVERLAP)
    rotated(world, domain)
    assert signing(domain) == "r1"


def test_one_rotation_is_under_way_at_a_time(domain):
    assert ask(domain, "")
    assert not ask(domain, "")
    step(domain)
    assert not ask(domain, "")
    assert told(domain).count(Kind.ROTATION_ASKED) == 1


@pytest.mark.parametrize("fields", [{"validated_at": None}, {"failing_since": timezone.now()}])
def test_a_domain_that_is_not_well_is_not_rotated(domain, fields):
    Domain.objects.filter(pk=domain.pk).update(**fields)
    assert not ask(domain, "")
    Domain.objects.filter(pk=domain.pk).update(rotate_at=timezone.now())
    before = idle_of(domain).public_key
    step(domain)
    assert idle_of(domain).public_key == before


# What DNS does not show never signs.


@pytest.mark.parametrize("behind", ["first", "second", "resolver"])
def test_a_key_that_one_of_them_does_not_show_is_not_seen(world, domain, behind):
    ask(domain, "")
    step(domain)
    world.show(idle_of(domain), *(zone for zone in world.all if zone is not getattr(world, behind)))
    step(domain)
    assert idle_of(domain).seen_at is None
    world.show(idle_of(domain))
    step(domain)
    assert idle_of(domain).seen_at is not None


@pytest.mark.parametrize("failure", [Failure.SERVFAIL, Failure.REFUSED, Failure.TIME_OUT])
def test_a_name_server_that_does_not_answer_proves_nothing(world, domain, failure):
    target = next(each.target for each in records_of(domain) if each.key == "dkim2")
    before = idle_of(domain).public_key
    world.second.fail(target, failure)
    ask(domain, "")
    step(domain)
    assert idle_of(domain).public_key == before, "nobody knows how long the old one is remembered"
    assert domain.next_step_at > timezone.now()
    world.second.fail(target, None)
    step(domain)
    world.show(idle_of(domain))
    world.second.fail(target, failure)
    step(domain)
    assert idle_of(domain).seen_at is None


def test_a_key_is_not_seen_through_a_customers_record_that_leads_elsewhere(world, domain):
    name = next(each.name for each in records_of(domain) if each.key == "dkim2")
    ask(domain, "")
    step(domain)
    world.show(idle_of(domain))
    for zone in world.all:
        zone.remove(name)
        zone.add(name, "CNAME", "elsewhere.example")
    step(domain)
    assert idle_of(domain).seen_at is None


def test_a_key_that_was_seen_and_is_gone_again_does_not_sign(world, domain):
    old = idle_of(domain)
    ask(domain, "")
    step(domain)
    world.show(idle_of(domain))
    step(domain)
    world.show(old, world.second)
    pass_time(domain, dt.timedelta(seconds=3))
    step(domain)
    assert signing(domain) == "r1"
    assert idle_of(domain).usable_at is None
    world.show(idle_of(domain))
    step(domain)
    pass_time(domain, dt.timedelta(seconds=3))
    step(domain)
    assert signing(domain) == "r2"


def test_a_customers_name_servers_that_do_not_answer_at_the_last_moment_only_delay(world, domain):
    ask(domain, "")
    step(domain)
    world.show(idle_of(domain))
    step(domain)
    pass_time(domain, dt.timedelta(seconds=3))
    with mock.patch.object(rotation, "look_for", mock.AsyncMock(return_value=[key_sight.Sight(None)])):
        step(domain)
    assert signing(domain) == "r1"
    assert idle_of(domain).usable_at is not None
    step(domain)
    assert signing(domain) == "r2"


def test_a_domain_that_fails_meanwhile_keeps_its_key_until_it_is_well_again(world, domain):
    ask(domain, "")
    step(domain)
    world.show(idle_of(domain))
    step(domain)
    pass_time(domain, dt.timedelta(seconds=3))
    Domain.objects.filter(pk=domain.pk).update(failing_since=timezone.now())
    step(domain)
    assert signing(domain) == "r1"
    Domain.objects.filter(pk=domain.pk).update(failing_since=None)
    step(domain)
    assert signing(domain) == "r2"


def test_a_key_that_is_never_seen_is_looked_for_less_and_less_often(domain):
    ask(domain, "")
    step(domain)
    waits = []
    for time in (0, 60, 24 * 3600):
        pass_time(domain, dt.timedelta(seconds=time))
        step(domain)
        waits.append((domain.next_step_at - timezone.now()).total_seconds())
    assert waits[0] <= 3
    assert 10 < waits[1] < 60
    assert 800 < waits[2] <= 900
    assert signing(domain) == "r1"


def test_name_servers_that_are_away_are_asked_less_and_less_often(world, domain):
    world.second.fail(next(each.target for each in records_of(domain) if each.key == "dkim2"), Failure.SERVFAIL)
    ask(domain, "")
    waits = []
    for time in (0, 3600, 24 * 3600):
        pass_time(domain, dt.timedelta(seconds=time))
        step(domain)
        waits.append((domain.next_step_at - timezone.now()).total_seconds())
    assert 50 < waits[0] <= 60
    assert 850 < waits[1] <= waits[2] + 1 <= 901


# Crashes and company.


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_a_worker_that_dies_at_any_step_is_continued_by_another(world, domain, crashes):
    ask(domain, "")
    for number in range(1, 4):
        if number == crashes:
            with mock.patch.object(rotation, "tell", side_effect=DatabaseError("the connection is lost")):
                step(domain)
            assert told(domain).count(Kind.KEY_SWITCHED) == 0
            assert domain.next_step_at > timezone.now(), "until its lease is over"
        step(domain)
        world.show(idle_of(domain))
        pass_time(domain, dt.timedelta(seconds=3))
    assert signing(domain) == "r2"
    assert told(domain) == [Kind.ROTATION_ASKED, Kind.KEY_MADE, Kind.KEY_SEEN, Kind.KEY_SWITCHED]


def test_a_bug_about_one_domain_holds_up_no_other(world, domain, caplog):
    other = make_domain(make_account(), "bakery.example")
    make_keys(other)
    world.enter(other)
    ask(domain, "")
    ask(other, "")
    real = key_sight.look

    async def failing(subject, asker):
        if subject.name == other.name:
            raise KeyError("a bug")
        return await real(subject, asker)

    with mock.patch.object(key_sight, "look", failing):
        assert take_steps() == 2
    assert Kind.KEY_MADE in told(domain)
    assert Kind.KEY_MADE not in told(other)
    assert "a key was not looked for" in caplog.text
    step(other)
    assert Kind.KEY_MADE in told(other)


def test_each_domain_is_taken_by_one_worker_and_by_another_when_that_one_died(domain):
    ask(domain, "")
    now = timezone.now()
    assert len(rotation.take_due(now)) == 1
    assert rotation.take_due(now) == []
    assert len(rotation.take_due(now + rotation.LEASE)) == 1


def test_who_asks_while_a_step_is_under_way_is_not_forgotten(domain):
    domain.refresh_from_db()
    taken = Domain.objects.get(pk=domain.pk)
    ask(domain, "")
    rotation._come_again(taken, timezone.now() + MONTH)
    domain.refresh_from_db()
    assert domain.next_step_at < timezone.now() + dt.timedelta(minutes=1)


def together(work, number=4):
    """Run the same in many threads at the same moment; what each returned."""
    barrier, results = threading.Barrier(number), []

    def run():
        barrier.wait()
        results.append(work())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_of_several_workers_at_the_same_step_one_takes_it(world, domain):
    ask(domain, "")
    idle, now = idle_of(domain), timezone.now()
    assert sorted(together(lambda: rotation.renew(domain, idle, 1, now))) == [False, False, False, True]
    made = idle_of(domain)
    together(lambda: rotation.see(domain, made, now))
    pass_time(domain, dt.timedelta(seconds=3))
    made = idle_of(domain)
    assert sorted(together(lambda: rotation.switch(domain, made, timezone.now()))) == [False, False, False, True]
    assert told(domain) == [Kind.ROTATION_ASKED, Kind.KEY_MADE, Kind.KEY_SEEN, Kind.KEY_SWITCHED]


def test_a_worker_that_comes_too_late_renews_no_key_that_signs_by_now(domain):
    idle = idle_of(domain)
    sign_with(domain.pk, 2, timezone.now())
    assert not rotation.renew(domain, idle, 1, timezone.now())
    assert DkimKey.objects.get(pk=idle.pk).public_key == idle.public_key


def test_a_worker_that_saw_an_older_key_makes_no_newer_one_usable(domain):
    old = idle_of(domain)
    rotation.renew(domain, old, 1, timezone.now())
    rotation.see(domain, old, timezone.now())
    assert idle_of(domain).usable_at is None
    pass_time(domain, MONTH)
    assert not rotation.switch(domain, old, timezone.now())
    assert signing(domain) == "r1"
