"""When a Deferred email is tried again: by schedule, by plan, because somebody asks, and when there is an end to it."""

import asyncio
import contextlib
import datetime as dt
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from activity import acquaintances
from activity.acquaintances import Acquaintance, forget_old
from activity.claim import Claimed, LaneWish
from activity.models import Recipient, StatusEvent
from activity.outcome import Outcome
from activity.pool import open_pool
from activity.reasons import Reason
from activity.retry_now import retry_now
from activity.schedules import own_schedules
from activity.status import Status
from billing import durations
from relay.delivery.acquainted import Acquainted
from relay.delivery.retry import delay_after, settle
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
from tests.factories import make_account, make_domain, make_email, make_plan, make_user
from tests.mail_world import dns_running
from tests.test_claim_and_record import claim_now, outcome_of, record_now, with_connection

EVER = UUID(int=0)
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DEFERRED = Outcome(Status.DEFERRED, Reason.GREYLISTED, "rcpt", 451, "4.7.1", "451 4.7.1 try later")
ABSENT = Outcome(Status.DEFERRED, Reason.DOMAIN_NOT_FOUND, "dns", enhanced="5.1.2", note="NXDOMAIN")
SOA = ("example", "SOA", "ns.example hostmaster.example 1 3600 600 86400 1")


def job(attempt=1, reason="", reply="", hours=48.0):
    give_up_at = NOW + dt.timedelta(hours=hours)
    return Claimed(EVER, EVER, 1, "", "", attempt, give_up_at, reason, reply, None, "", 0, False)


@contextlib.contextmanager
def engine_without_names(*steps):
    """The engine, where DNS knows no domain at all."""
    with (
        dns_running(Zone([SOA], ttl=1)) as dns,
        short_retries(*steps),
        override_settings(DNS_SERVER=("127.0.0.1", dns.port), ROUTES={}),
        engine_running() as engine,
    ):
        yield engine


class TestSchedule:
    @pytest.mark.parametrize(("attempt", "seconds"), [(1, 300), (2, 420), (3, 900), (4, 900), (99, 900)])
    def test_the_last_step_repeats(self, attempt, seconds):
        assert delay_after(attempt, [300, 420, 900], jitter=0).total_seconds() == seconds

    def test_jitter_adds_at_most_a_tenth(self):
        assert delay_after(1, [300], jitter=1).total_seconds() == 330

    @override_settings(RETRY=[300.0])
    def test_the_schedule_of_a_plan_goes_before_the_settings(self):
        by_settings = settle(job(), DEFERRED, NOW).next_attempt_at
        by_plan = settle(job(), DEFERRED, NOW, schedule=[7200.0]).next_attempt_at
        assert by_settings <= NOW + dt.timedelta(seconds=330)
        assert by_plan >= NOW + dt.timedelta(seconds=7200)

    def test_an_email_waits_at_least_as_long_as_its_destination_is_closed(self):
        assert settle(job(), DEFERRED, NOW, pause=5000).next_attempt_at >= NOW + dt.timedelta(seconds=5000)

    def test_the_end_is_a_soft_bounce_with_the_last_words_of_a_server(self):
        silent = Outcome(Status.DEFERRED, Reason.NETWORK, "connect", note="timed out")
        last = settle(job(9, "greylisted", "451 4.7.1 try later", hours=0.01), silent, NOW)
        assert (last.outcome.status, last.outcome.reason) == (Status.SOFT_BOUNCE, Reason.EXPIRED)
        assert (last.outcome.text, last.next_attempt_at) == ("451 4.7.1 try later", None)


class TestAbsentDomains:
    def test_the_second_sight_of_nxdomain_is_a_hard_bounce(self):
        assert settle(job(1), ABSENT, NOW, absent=True).outcome.status == Status.DEFERRED
        second = settle(job(2, Reason.DOMAIN_NOT_FOUND), ABSENT, NOW, absent=True).outcome
        assert (second.status, second.enhanced) == (Status.HARD_BOUNCE, "5.1.2")

    def test_other_trouble_between_two_sights_begins_anew(self):
        assert settle(job(3, Reason.NETWORK), ABSENT, NOW, absent=True).outcome.status == Status.DEFERRED

    def test_a_domain_that_took_mail_of_late_ends_softly(self):
        known = settle(job(2, Reason.DOMAIN_NOT_FOUND), ABSENT, NOW, absent=False)
        assert known.outcome.status == Status.DEFERRED
        assert settle(job(9, Reason.DOMAIN_NOT_FOUND, hours=0), ABSENT, NOW).outcome.status == Status.SOFT_BOUNCE


@pytest.mark.django_db(transaction=True)
class TestAcquaintances:
    def acquainted(self, step):
        async def run():
            pool = await open_pool(2, "test")
            try:
                return await step(Acquainted(pool))
            finally:
                await pool.close()

        return asyncio.run(run())

    def test_a_delivery_makes_the_domain_known_to_every_process(self):
        async def deliver(ours):
            for _ in range(3):
                ours.delivered("dest.example")
            assert await ours.took_mail("dest.example")
            await ours.write()
            assert ours.new == set()

        async def ask(ours):
            return await ours.took_mail("dest.example"), await ours.took_mail("other.example")

        self.acquainted(deliver)
        assert self.acquainted(ask) == (True, False)
        assert Acquaintance.objects.get().last_delivered_on == dt.datetime.now(dt.UTC).date()

    def test_a_domain_is_written_once_a_day(self):
        async def deliver(ours):
            ours.delivered("dest.example")
            await ours.write()
            ours.delivered("dest.example")
            again = set(ours.new)
            ours.day -= dt.timedelta(days=1)
            await ours.write()
            ours.delivered("dest.example")
            return again, set(ours.new)

        assert self.acquainted(deliver) == (set(), {"dest.example"})

    def test_after_thirty_days_it_is_forgotten(self):
        today = dt.date(2026, 11, 22)
        for days in (30, 31):
            Acquaintance.objects.create(domain=f"d{days}.example", last_delivered_on=today - dt.timedelta(days=days))

        async def ask(connection):
            return [await acquaintances.took_mail(connection, f"d{days}.example", today) for days in (30, 31)]

        assert with_connection(ask) == [True, False]
        assert forget_old(today) == 1
        assert Acquaintance.objects.get().domain == "d30.example"

    def test_the_engine_bounces_an_unknown_domain_and_waits_for_a_known_one(self):
        domain = make_domain(make_account())
        domain.make_keys()
        Acquaintance.objects.create(domain="known.example", last_delivered_on=timezone.now().date())
        known = accepted_email(domain, "x@known.example")
        unknown = accepted_email(domain, "x@unknown.example")
        with engine_without_names(1.0, 600.0):
            wait_until_final(unknown)
            wait_until(lambda: history(known).count("deferred") == 2, what="a second attempt")
        assert (unknown.status, lines(unknown, "hard_bounce")[0].enhanced) == ("hard_bounce", "5.1.2")
        known.refresh_from_db()
        assert known.status == "deferred"

    def test_the_engine_makes_acquaintances(self):
        domain = make_domain(make_account())
        domain.make_keys()
        email = accepted_email(domain)
        with simulated(), engine_running():
            wait_until_final(email)
        assert email.status == "delivered"
        assert Acquaintance.objects.get().domain == "dest.test"


@pytest.mark.django_db(transaction=True)
class TestPlans:
    def test_the_engine_reads_the_schedules_of_plans_that_have_one(self):
        own = make_account(plan=make_plan(retry_schedule="10m, 2h"))
        make_account(plan=make_plan())
        make_account(plan=make_plan(retry_schedule="nonsense"))
        assert with_connection(own_schedules) == {own.id: [600.0, 7200.0]}

    def test_an_email_of_such_a_plan_waits_as_the_plan_says(self):
        domain = make_domain(make_account(plan=make_plan(retry_schedule="3h")))
        domain.make_keys()
        email = accepted_email(domain, "x@gone.example")
        with engine_without_names() as engine:
            wait_until(lambda: engine.schedules, what="reading the schedules")
            late = timezone.now() + dt.timedelta(hours=2)
            wait_until(
                lambda: any(line.next_attempt_at > late for line in lines(email, "deferred")), what="a long wait"
            )

    @pytest.mark.parametrize("text", ["5 minutes", "0s", "5m,,1h", "-5m", ","])
    def test_a_schedule_that_cannot_be_kept_is_refused_in_the_admin(self, text):
        with pytest.raises(ValidationError):
            make_plan(retry_schedule=text).full_clean()

    @pytest.mark.parametrize("hours", [0, 337])
    def test_the_time_to_give_up_has_bounds(self, hours):
        with pytest.raises(ValidationError):
            make_plan(give_up_hours=hours).full_clean()

    def test_durations_are_read_as_people_write_them(self):
        assert durations.schedule("5m,1.5h, 90,2d") == [300.0, 5400.0, 90.0, 172_800.0]


@pytest.mark.django_db
class TestRetryNow:
    @pytest.fixture
    def alice(self):
        return make_user("alice@example.com")

    @pytest.fixture
    def email(self, alice):
        return make_email(make_account(alice), status=Status.DEFERRED)

    @pytest.fixture
    def rung(self, monkeypatch):
        domains = []
        monkeypatch.setattr("activity.retry_now.bell.ring", lambda rung, asked: asked and domains.extend(rung))
        return domains

    def due(self, email):
        email.refresh_from_db()
        return email.next_attempt_at <= timezone.now()

    def notes(self, email):
        return list(StatusEvent.objects.filter(recipient_id=email.pk, status="").values_list("note", flat=True))

    def test_a_deferred_email_is_due_at_once_and_its_history_says_who_asked(self, client, alice, email, rung):
        client.force_login(alice)
        url = reverse("activity:email", args=[email.pk])
        assert 'action="' + reverse("activity:retry", args=[email.pk]) in client.get(url).content.decode()
        response = client.post(reverse("activity:retry", args=[email.pk]), follow=True)
        assert response.redirect_chain == [(url, 302)]
        assert self.due(email)
        html = response.content.decode()
        assert "The next attempt is due now." in html
        assert "Retry asked by alice@example.com." in html
        assert reverse("activity:retry", args=[email.pk]) not in html
        assert rung == [email.domain]

    def test_htmx_gets_the_part_that_it_swaps(self, client, alice, email, rung):
        client.force_login(alice)
        headers = {"HX-Request": "true", "HX-Target": "email"}
        html = client.post(reverse("activity:retry", args=[email.pk]), headers=headers).content.decode()
        assert "<html" not in html
        assert "Retry asked by" in html

    def test_a_repeated_click_changes_nothing(self, email, rung):
        assert [retry_now([email.pk], "alice") for _ in range(3)] == [1, 0, 0]
        assert len(self.notes(email)) == 1
        assert rung == [email.domain]

    @pytest.mark.parametrize("status", [status for status in Status if status != Status.DEFERRED])
    def test_only_a_deferred_email_can_be_asked_for(self, status, rung):
        email = make_email(make_account(), status=status)
        before = email.next_attempt_at
        assert retry_now([email.pk], "alice") == 0
        email.refresh_from_db()
        assert (email.next_attempt_at, self.notes(email), rung) == (before, [], [])

    def test_a_stranger_can_ask_nothing(self, client, email, rung):
        charlie = make_user("charlie@example.com")
        make_account(charlie)
        client.force_login(charlie)
        assert client.post(reverse("activity:retry", args=[email.pk])).status_code == 404
        assert not self.due(email)

    def test_looking_does_not_ask(self, client, alice, email, rung):
        client.force_login(alice)
        assert client.get(reverse("activity:retry", args=[email.pk])).status_code == 405
        assert not self.due(email)

    def test_an_operator_asks_for_all_that_waits_for_a_destination(self, client, email, rung):
        client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
        other = make_email(email.account, "x@elsewhere.example", Status.DEFERRED)
        delivered = make_email(email.account, "x@example.org", Status.DELIVERED)
        url = reverse("admin:activity_recipient_changelist")
        html = client.get(url, {"q": email.domain}).content.decode()
        assert str(email.pk) in html
        assert str(other.pk) not in html
        assert str(delivered.pk) not in html
        chosen = {"action": "retry", "_selected_action": [email.pk, delivered.pk]}
        html = client.post(url, chosen, follow=True).content.decode()
        assert "1 due now" in html
        assert self.due(email)
        assert not self.due(other)
        assert self.notes(email) == ["Retry asked by an operator."]

    def test_an_operator_who_may_only_look_cannot_ask(self, client, email, rung):
        looker = make_user("looker@example.com", is_staff=True)
        client.force_login(looker)
        chosen = {"action": "retry", "_selected_action": [email.pk]}
        client.post(reverse("admin:activity_recipient_changelist"), chosen)
        assert not self.due(email)


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_is_under_way_keeps_its_lease():
    email = make_email(make_account(), "a@dest.example", Status.DEFERRED)
    Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now())
    (claimed,) = claim_now(LaneWish("dest.example", 1))
    assert retry_now([email.pk], "alice") == 0
    record_now(outcome_of(claimed, Status.DEFERRED))
    assert retry_now([email.pk], "alice") == 1


@pytest.mark.django_db(transaction=True)
def test_the_last_words_of_a_server_outlive_attempts_that_reach_none():
    email = make_email(make_account(), "a@dest.example", Status.DEFERRED)
    Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now())
    (claimed,) = claim_now(LaneWish("dest.example", 1))
    record_now(outcome_of(claimed, Status.DEFERRED, text="", code=0))
    Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now())
    (claimed,) = claim_now(LaneWish("dest.example", 1))
    assert claimed.reply == "Greylisted, try again in 300 seconds"
