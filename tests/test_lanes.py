"""Lanes and sites: who gets how much of a destination, and how we behave when it asks us to slow down."""

import time
from collections import Counter
from contextlib import contextmanager
from unittest import mock

import pytest
import redis
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from activity.arrival import recipient_id_for
from activity.claim import Claimed
from activity.destinations import DestinationRule, Rule, rule_for
from activity.models import Recipient
from activity.outcome import Outcome
from activity.reasons import Reason
from activity.retry_now import retry_now
from activity.status import Status
from domains.models import DkimKey
from relay.delivery import traffic
from relay.delivery.manners import Manners, complains
from relay.delivery.mta_sts import Policies, Policy
from relay.delivery.turns import Turns
from relay.simulator.script import DROP, TAKE_AND_DROP, Fault, Stage, script
from relay.simulator.server import Simulator
from relay.simulator.zone import Zone
from tests.delivering import (
    accepted_email,
    engine_running,
    history,
    lines,
    short_retries,
    simulated,
    wait_until,
    wait_until_final,
)
from tests.factories import id_at, make_account, make_domain
from tests.mail_world import dns_running, running

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def private_key():
    from domains.keys import make_private_key

    return make_private_key()


@pytest.fixture
def domain(private_key):
    return signing_domain(private_key, "boutique.example")


@pytest.fixture
def other_domain(private_key):
    return signing_domain(private_key, "bakery.example")


@pytest.fixture
def valkey():
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client
        client.delete("slots:dest.test")


def signing_domain(private_key, name):
    made = make_domain(make_account(), name)
    DkimKey.objects.create(domain=made, slot=1, active=True, private_key=private_key)
    return made


def job(account, number=0, domain="dest.test"):
    return Claimed(
        id=id_at(timezone.now()),
        message_id=id_at(timezone.now()),
        account_id=account,
        address=f"u{number}@{domain}",
        domain=domain,
        attempt=1,
        give_up_at=timezone.now(),
        reason="",
        reply="",
        domain_id=1,
        mail_from="",
        size=1,
        smtputf8=False,
    )


def many_accepted(domain, number, destination="dest.test"):
    """One message to many recipients, all due now."""
    first = accepted_email(domain, f"first@{destination}")
    Recipient.objects.bulk_create(
        Recipient(
            id=recipient_id_for(first.message_id),
            message_id=first.message_id,
            account=domain.account,
            address=f"u{n}@{destination}",
            domain=destination,
            status=Status.ACCEPTED,
            next_attempt_at=first.at,
            give_up_at=first.give_up_at,
        )
        for n in range(number - 1)
    )


class Counting:
    """A server that counts: connections open at once, messages by connection, and whatever `behave` answers."""

    def __init__(self, behave=None, delay=0.0):
        self.behave, self.delay = behave, delay
        self.open, self.most, self.opened = set(), 0, 0
        self.messages = Counter()
        self.order = []

    def __call__(self, stage, envelope):
        if stage == Stage.CONNECT:
            self.opened += 1
        elif stage == Stage.MAIL:
            self.open.add(envelope.connection)
            self.most = max(self.most, len(self.open))
        elif stage == Stage.QUIT:
            self.open.discard(envelope.connection)
        elif stage == Stage.END_OF_DATA:
            self.messages[envelope.connection] += 1
            self.order.append(envelope.recipients[0])
        action = self.behave(stage, envelope) if self.behave else None
        return action or (Fault(delay=self.delay) if stage == Stage.END_OF_DATA and self.delay else None)


@contextmanager
def mail_hosts(*records, behave=None):
    """Domains with MX records instead of routes: `("one.test", "MX", "10 mx.test")`."""
    simulator = Simulator("dest.test", behave=behave, domains=[name for name, type_, _ in records if type_ == "MX"])
    with running(simulator), dns_running(Zone([("test", "SOA", "ns.test h.test 1 2 3 4 5"), *records])) as dns:
        changes = {"DNS_SERVER": ("127.0.0.1", dns.port), "SMTP_PORT": simulator.port, "PRIVATE_MX": True}
        with override_settings(ROUTES={}, **changes):
            yield simulator


# Turns.


def test_accounts_take_turns_however_much_one_of_them_has():
    turns = Turns()
    turns.extend([job(1, n) for n in range(4)])
    turns.extend([job(2), job(3)])
    assert [turns.pop().account_id for _ in range(len(turns))] == [1, 2, 3, 1, 1, 1]


def test_what_is_put_back_has_the_next_turn():
    turns = Turns()
    turns.extend([job(1, 0), job(1, 1), job(2)])
    taken = turns.pop()
    turns.put_back(taken)
    assert turns.pop() is taken


def test_what_is_ahead_is_what_will_be_taken():
    turns = Turns()
    turns.extend([job(1, n) for n in range(3)] + [job(2, n) for n in range(2)])
    assert list(turns.ahead(4)) == [turns.pop() for _ in range(4)]


def test_withdrawing_leaves_the_others():
    turns = Turns()
    turns.extend([job(1, domain="one.test"), job(1, domain="two.test"), job(2, domain="one.test")])
    assert len(turns.withdraw(lambda each: each.domain == "one.test")) == 2
    assert [turns.pop().domain for _ in range(len(turns))] == ["two.test"]


# Manners.


def deferred(code=421, enhanced="4.7.0", reason=Reason.RATE_LIMITED):
    return Outcome(Status.DEFERRED, reason, "rcpt", code, enhanced)


def test_only_what_is_said_of_our_rate_counts_as_a_complaint():
    assert complains(deferred())
    assert complains(deferred(451, "4.7.28", Reason.OTHER))
    assert not complains(deferred(451, "4.7.1", Reason.GREYLISTED))
    assert not complains(deferred(450, "4.2.1", Reason.RATE_LIMITED)), "one mailbox gets too much, not the site"
    assert not complains(deferred(452, "4.2.2", Reason.MAILBOX_FULL))
    assert not complains(Outcome(Status.SOFT_BOUNCE, Reason.RATE_LIMITED, "rcpt", 550, "5.7.1"))


def test_a_complaint_halves_the_connections_and_adds_a_pause_which_a_quiet_while_takes_back():
    with mock.patch("relay.delivery.manners.time") as clock, override_settings(LANE_CONNECTIONS=8):
        clock.monotonic.return_value = 1000.0
        manners = Manners(None)
        for _ in range(3):
            manners.heard(deferred())
        assert (manners.limit, manners.pause) == (4, 0.25), "one burst slows down once"
        clock.monotonic.return_value += 6
        manners.heard(deferred())
        assert (manners.limit, manners.pause) == (2, 0.5)
        manners.recover()
        assert manners.limit == 2, "not at once"
        for _ in range(20):
            clock.monotonic.return_value += 30
            manners.recover()
        assert (manners.limit, manners.pause) == (8, 0.0)
        assert manners.unimpressed


def test_a_complaint_among_many_thanks_is_about_that_email():
    manners = Manners(None)
    for n in range(500):
        manners.heard(deferred() if n % 20 == 19 else Outcome(Status.DELIVERED))
    assert manners.limit == settings.LANE_CONNECTIONS


def test_a_rate_is_kept_and_shared_by_the_processes():
    with mock.patch("relay.delivery.manners.time") as clock:
        clock.monotonic.return_value = 50.0
        manners = Manners(Rule("slow", messages_a_minute=60))
        assert manners.wait() <= 0
        manners.begin(processes=2)
        assert manners.wait() == 2.0


def test_a_rule_for_the_domain_goes_before_one_for_its_mail_hosts():
    google = Rule("google", mx_suffixes=["google.com"])
    mine = Rule("mine", domains=["shop.example"])
    assert rule_for([google, mine], "shop.example", "aspmx.l.google.com") is mine
    assert rule_for([google, mine], "other.example", "aspmx.l.google.com") is google
    assert rule_for([google, mine], "other.example", "mx.notgoogle.com") is None


def test_a_server_that_asks_for_less_gets_less_and_everything_arrives(domain):
    behave = script(mail=["421 4.7.0 Too many messages, slow down"])
    with simulated(behave), short_retries(), override_settings(LANE_CONNECTIONS=4), engine_running() as engine:
        emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(4)]
        wait_until_final(*emails, seconds=30)
        assert engine.traffic["dest.test"].manners.limit == 2
    assert {email.status for email in emails} == {"delivered"}


# Caps.


def test_two_processes_together_keep_to_the_cap(domain):
    server = Counting(delay=0.05)
    with simulated(server), override_settings(LANE_CONNECTIONS=3), engine_running(), engine_running():
        wait_until_final(*[accepted_email(domain, f"u{n}@dest.test") for n in range(30)], seconds=30)
    assert server.most <= 3


def test_without_redis_each_process_keeps_to_the_cap_by_itself(domain):
    server = Counting(delay=0.02)
    away = override_settings(REDIS_URL="redis://127.0.0.1:1/0", LANE_CONNECTIONS=2)
    with simulated(server), away, engine_running():
        wait_until_final(*[accepted_email(domain, f"u{n}@dest.test") for n in range(10)])
    assert server.most <= 2


def test_the_connections_of_a_process_that_died_are_free_again_in_seconds(domain, valkey):
    valkey.zadd("slots:dest.test", {f"dead:{n}": (time.time() + 4) * 1000 for n in range(5)})
    with simulated() as simulator, engine_running():
        email = accepted_email(domain)
        time.sleep(1)
        assert simulator.received_count == 0, "the cap was not shared"
        wait_until_final(email, seconds=30)
    assert email.status == "delivered"


def test_what_one_process_may_not_carry_is_left_to_the_others(domain, valkey):
    """Another process holds all the connections for long: the email does not wait here in hand."""
    valkey.zadd("slots:dest.test", {f"other:{n}": (time.time() + 60) * 1000 for n in range(5)})
    with simulated(), mock.patch.object(traffic, "BARRED_SECONDS", 60), engine_running() as engine:
        email = accepted_email(domain)
        wait_until(lambda: engine.claimer.held)
        wait_until(lambda: Recipient.objects.filter(id=email.id, attempt=0, next_attempt_at__lte=timezone.now()))
        assert not engine.claimer.held
    assert history(email) == ["accepted", "pending"]


# Sites.


def test_domains_with_the_same_mail_hosts_share_their_connections(domain):
    server = Counting()
    records = [("one.test", "MX", "10 mx.test"), ("two.test", "MX", "10 mx.test"), ("mx.test", "A", "127.0.0.1")]
    emails = [accepted_email(domain, f"u{n}@{name}") for n in range(3) for name in ("one.test", "two.test")]
    with mail_hosts(*records, behave=server), override_settings(LANE_CONNECTIONS=1), engine_running() as engine:
        wait_until_final(*emails)
        assert len({lane.traffic for lane in engine.lanes.values()}) <= 1
    assert server.opened == 1
    assert {email.status for email in emails} == {"delivered"}


def test_routed_domains_are_sites_of_their_own_and_take_over_idle_connections(domain):
    server = Counting()
    with simulated(server), engine_running() as engine:
        for address in ("a@dest.test", "b@simulator.test"):
            email = accepted_email(domain, address)
            engine.ring(email.domain)
            wait_until_final(email)
    assert server.opened == 1
    assert list(server.messages.values()) == [2]


def test_what_one_rule_matches_shares_its_connections_and_its_figures(domain):
    DestinationRule.objects.create(name="big", mx_suffixes=["big.test"], connections=1, messages_per_connection=2)
    server = Counting(delay=0.02)
    records = [
        *((f"d{n}.test", "MX", f"10 mx{n}.big.test") for n in range(3)),
        *((f"mx{n}.big.test", "A", "127.0.0.1") for n in range(3)),
    ]
    emails = [accepted_email(domain, f"u{n}@d{n % 3}.test") for n in range(6)]
    with mail_hosts(*records, behave=server), engine_running():
        wait_until_final(*emails)
    assert server.most == 1
    assert max(server.messages.values()) <= 2


def test_a_dead_mail_host_of_a_provider_closes_only_its_own_domains(domain):
    DestinationRule.objects.create(name="big", mx_suffixes=["big.test"], connections=1)
    records = [
        ("well.test", "MX", "10 mx1.big.test"),
        ("ill.test", "MX", "10 mx2.big.test"),
        ("mx1.big.test", "A", "127.0.0.1"),
        ("mx2.big.test", "A", "127.0.0.9"),
    ]
    ill = [accepted_email(domain, f"u{n}@ill.test") for n in range(3)]
    well = [accepted_email(domain, f"u{n}@well.test") for n in range(3)]
    with mail_hosts(*records), short_retries(60), engine_running():
        wait_until_final(*well)
        wait_until(lambda: all("deferred" in history(email) for email in ill))
    assert {email.status for email in well} == {"delivered"}


@pytest.mark.parametrize("permitted", ["elsewhere.test", "mx.test"])
def test_a_domain_whose_own_policy_forbids_its_servers_holds_up_no_other(domain, monkeypatch, permitted):
    async def policy(_policies, name):
        return Policy("enforce", (permitted,), 86_400) if name == "choosy.test" else None

    monkeypatch.setattr(Policies, "policy", policy)
    records = [("choosy.test", "MX", "10 mx.test"), ("lax.test", "MX", "10 mx.test"), ("mx.test", "A", "127.0.0.1")]
    emails = [accepted_email(domain, f"u{n}@{name}") for n in range(6) for name in ("choosy.test", "lax.test")]
    choosy, lax = emails[::2], emails[1::2]
    with mail_hosts(*records, behave=Counting(delay=0.05)), short_retries(60), engine_running():
        wait_until_final(*lax)
        wait_until(lambda: all("deferred" in history(email) for email in choosy))
    assert {tuple(history(email)) for email in lax} == {("accepted", "pending", "delivered")}
    assert all("MTA-STS policy of choosy.test" in line.note for email in choosy for line in lines(email, "deferred"))


def test_a_closed_destination_is_probed_with_one_connection(domain):
    server = Counting(script(connect=DROP))
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(8)]
    with simulated(server), short_retries(1, 60), engine_running():
        wait_until(lambda: all(history(email).count("deferred") == 1 for email in emails))
        opened = server.opened
        wait_until(lambda: all(history(email).count("deferred") == 2 for email in emails), seconds=30)
    assert server.opened == opened + 1
    assert opened <= settings.LANE_CONNECTIONS


def test_after_a_good_probe_all_the_mail_flows(domain):
    server = Counting(script(connect=[DROP] * 2))
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(8)]
    with simulated(server), short_retries(0.5), engine_running():
        wait_until_final(*emails, seconds=30)
    assert {email.status for email in emails} == {"delivered"}


def test_who_asks_for_a_retry_gets_a_real_try_although_the_destination_is_closed(domain):
    server = Counting(script(connect=DROP))
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(3)]
    with simulated(server), short_retries(600), engine_running() as engine:
        wait_until(lambda: all(history(email).count("deferred") == 1 for email in emails))
        opened, left = server.opened, engine.lanes["dest.test"].closure.left
        assert left > 60
        # Rung beforehand: between the two calls the engine could find the email by itself, and would not know who asks.
        engine.ring("dest.test", asked=True)
        retry_now([emails[0].id], "Ann")
        engine.ring("dest.test", asked=True)
        wait_until(lambda: history(emails[0]).count("deferred") == 2)
        assert server.opened == opened + 1
        assert engine.lanes["dest.test"].closure.left <= left + 1, "asking must not close it for longer"
        server.behave = None
        retry_now([emails[0].id], "Ann")
        engine.ring("dest.test", asked=True)
        wait_until_final(emails[0])
        # Mail that comes now finds it open; who did not ask keeps his time.
        wait_until_final(accepted_email(domain, "new@dest.test"))
    assert emails[0].status == "delivered"
    assert [history(email).count("deferred") for email in emails[1:]] == [1, 1]


def test_asking_for_a_domain_without_a_way_looks_for_one_once(domain):
    with mail_hosts(("lost.test", "MX", "10 mx.lost.test")), short_retries(600), engine_running() as engine:
        email = accepted_email(domain, "x@lost.test")
        wait_until(lambda: history(email).count("deferred") == 1)
        retry_now([email.id], "Ann")
        engine.ring("lost.test", asked=True)
        wait_until(lambda: history(email).count("deferred") == 2)
        assert engine.lanes["lost.test"].no_way.failures == 1
        assert engine.lanes["lost.test"].no_way.left > 60


def test_after_the_final_dot_no_second_mail_host_is_tried(domain):
    records = [
        ("two.test", "MX", "10 mx1.test"),
        ("two.test", "MX", "20 mx2.test"),
        ("mx1.test", "A", "127.0.0.1"),
        ("mx2.test", "A", "127.0.0.1"),
    ]
    server = Counting(script(end_of_data=TAKE_AND_DROP))
    with mail_hosts(*records, behave=server) as simulator, short_retries(60), engine_running():
        email = accepted_email(domain, "x@two.test")
        wait_until(lambda: "deferred" in history(email))
        (line,) = lines(email, "deferred")
    assert simulator.received_count == server.opened == 1
    assert "may have accepted it" in line.note
    assert (line.next_attempt_at - line.at).total_seconds() >= 60


# Pauses.


@pytest.fixture
def quick_rules():
    with mock.patch("relay.delivery.engine.RULES_SECONDS", 0.1):
        yield


def test_a_paused_destination_gets_nothing_until_it_is_resumed(domain, quick_rules):
    DestinationRule.objects.pause("dest.test")
    with simulated() as simulator, engine_running() as engine:
        wait_until(lambda: engine.rules)
        waits, goes = accepted_email(domain), accepted_email(domain, "x@simulator.test")
        engine.ring("dest.test")
        wait_until_final(goes)
        assert simulator.received_count == 1
        DestinationRule.objects.resume("dest.test")
        wait_until_final(waits)
    assert waits.status == "delivered"
    assert not DestinationRule.objects.exists(), "a rule that only paused is not kept"


def test_a_pause_in_full_flow_hands_back_what_was_not_begun(domain, quick_rules):
    many_accepted(domain, 200)
    with simulated(Counting(delay=0.05)) as simulator, engine_running() as engine:
        wait_until(lambda: simulator.received_count >= 5)
        DestinationRule.objects.pause("dest.test")
        wait_until(lambda: not engine.claimer.held)
        received = simulator.received_count
        assert received < 200
        assert Recipient.objects.filter(status="delivered").count() == received
        DestinationRule.objects.resume("dest.test")
        wait_until(lambda: simulator.received_count == 200, seconds=30)
        wait_until(lambda: Recipient.objects.filter(status="delivered").count() == 200)


# Fairness.


def test_one_email_does_not_wait_behind_another_accounts_thousands(domain, other_domain):
    server = Counting(delay=0.02)
    many_accepted(domain, 4000)
    with simulated(server, keep=10_000) as simulator, engine_running() as engine:
        wait_until(lambda: engine.lanes["dest.test"].in_hand > 300 if "dest.test" in engine.lanes else False, 60)
        before, in_hand = simulator.received_count, engine.lanes["dest.test"].in_hand
        single = accepted_email(other_domain, "single@dest.test")
        engine.ring("dest.test")
        wait_until(lambda: "single@dest.test" in server.order, 60)
        behind = server.order.index("single@dest.test") - before
        wait_until_final(single)
    assert single.status == "delivered"
    assert behind < in_hand, "it waited for all that was in hand"


def test_many_accounts_are_all_served_while_one_has_thousands(domain, private_key):
    others = [signing_domain(private_key, f"shop{n}.example") for n in range(40)]
    server = Counting(delay=0.02)
    many_accepted(domain, 4000)
    with simulated(server, keep=10_000), engine_running() as engine:
        wait_until(lambda: len(server.order) > 100, 60)
        singles = [accepted_email(each, f"single{n}@dest.test") for n, each in enumerate(others)]
        engine.ring("dest.test")
        wait_until_final(*singles, seconds=60)
        assert Recipient.objects.filter(status="accepted", account=domain.account).exists()
