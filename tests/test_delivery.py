"""The engine against a scripted server: what becomes of an email, whatever the other side does."""

import asyncio
import datetime as dt
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest import mock

import dkim
import psycopg
import pytest
from django.test import override_settings
from django.utils import timezone

from activity.models import MessageContent, Recipient
from domains.models import DkimKey
from relay import returnpath
from relay.delivery import contents
from relay.delivery.retry import delay_after, next_attempt
from relay.simulator.script import DROP, DROP_AFTER_REPLY, GARBAGE, TAKE_AND_DROP, Fault, Stage, script
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
from tests.factories import make_account, make_domain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def private_key():
    from domains.keys import make_private_key

    return make_private_key()


@pytest.fixture
def domain(private_key):
    made = make_domain(make_account(), "boutique.example")
    DkimKey.objects.create(domain=made, slot=1, active=True, private_key=private_key)
    return made


def test_a_delivered_email_tells_its_whole_way(domain):
    with simulated() as simulator, engine_running():
        email = accepted_email(domain)
        wait_until_final(email)
    assert history(email) == ["accepted", "pending", "delivered"]
    (line,) = lines(email, "delivered")
    assert (line.code, line.stage, line.host, line.ip, line.attempt) == (
        250,
        "end_of_data",
        "127.0.0.1",
        "127.0.0.1",
        1,
    )
    assert line.reply
    assert simulator.received_count == 1


def test_the_bytes_arrive_unchanged_below_a_signature_that_verifies(domain):
    with simulated() as simulator, engine_running():
        email = accepted_email(domain)
        wait_until_final(email)
    content = simulator.received[0].content
    signature, _, rest = content.partition(b"Received:" if b"Received:" in content else b"From:")
    assert content.endswith(bytes(MessageContent.objects.get(id=email.message_id).body))
    assert signature.startswith(b"DKIM-Signature: v=1; a=rsa-sha256;")
    key = domain.keys.get().txt.encode()
    assert dkim.verify(content, dnsfunc=lambda name, timeout=5: key)
    assert not dkim.verify(content.replace(b"Hello\r\n.dot", b"Hallo\r\n.dot"), dnsfunc=lambda name, timeout=5: key)
    assert rest


def test_the_return_path_names_the_recipient_and_lies_at_the_customers_bounce_host(domain):
    with simulated() as simulator, engine_running():
        first, second = accepted_email(domain), accepted_email(domain, "y@dest.test")
        wait_until_final(first, second)
    for received in simulator.received:
        local, _, host = received.sender.partition("@")
        assert host == "bounce.boutique.example"
        email = {first.id: first, second.id: second}[returnpath.recipient_of(local)]
        assert list(received.recipients) == [email.address]


def test_a_deferred_email_is_tried_again_until_it_is_delivered(domain):
    later = script(rcpt=["451 4.7.1 Greylisted", "451 4.7.1 Greylisted"])
    with simulated(later), short_retries(), engine_running():
        email = accepted_email(domain)
        wait_until_final(email, seconds=30)
    assert history(email) == ["accepted", "pending", "deferred", "deferred", "delivered"]
    first, second = lines(email, "deferred")
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.reason, first.code, first.enhanced, first.reply) == ("greylisted", 451, "4.7.1", "Greylisted")
    assert first.next_attempt_at > first.at


@pytest.mark.parametrize(
    ("stage", "reply", "status", "reason"),
    [
        ("rcpt", "550 5.1.1 No such user here", "hard_bounce", "unknown_user"),
        ("rcpt", "552 5.2.2 Mailbox full", "soft_bounce", "mailbox_full"),
        ("end_of_data", "554 5.7.1 Message looks like spam", "soft_bounce", "spam_content"),
        ("data", "554 5.7.1 Client host is on a block list", "soft_bounce", "blocked_reputation"),
    ],
)
def test_a_refusal_for_good_is_a_bounce_and_only_a_bad_address_is_a_hard_one(domain, stage, reply, status, reason):
    with simulated(script(**{stage: reply})), engine_running():
        email = accepted_email(domain)
        wait_until_final(email)
    assert (email.status, email.reason) == (status, reason)
    assert email.next_attempt_at is None
    assert lines(email, status)[0].stage == stage


def test_when_the_next_attempt_would_come_too_late_the_last_reply_explains_the_soft_bounce(domain):
    with (
        simulated(script(rcpt="451 4.3.2 System is not taking messages")),
        short_retries(0.2, 0.2, 3600),
        engine_running(),
    ):
        email = accepted_email(domain)
        Recipient.objects.filter(id=email.id).update(give_up_at=timezone.now() + dt.timedelta(seconds=60))
        wait_until_final(email, seconds=30)
    assert (email.status, email.reason) == ("soft_bounce", "expired")
    assert email.reply == "System is not taking messages"
    assert history(email) == ["accepted", "pending", "deferred", "deferred", "soft_bounce"]


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data"])
def test_a_connection_that_breaks_before_the_content_defers(domain, stage):
    with simulated(script(**{stage: [DROP, DROP, DROP]})), short_retries(60), engine_running():
        email = accepted_email(domain)
        wait_until(lambda: "deferred" in history(email))
    assert lines(email, "deferred")[0].reason == "network"


def test_a_server_that_does_not_speak_smtp_defers(domain):
    with simulated(script(connect=[GARBAGE] * 9)), short_retries(60), engine_running():
        email = accepted_email(domain)
        wait_until(lambda: "deferred" in history(email))


def test_a_lost_answer_to_the_final_dot_is_deferred_and_says_that_it_may_have_been_accepted(domain):
    with simulated(script(end_of_data=[TAKE_AND_DROP])) as simulator, short_retries(60), engine_running():
        email = accepted_email(domain)
        wait_until(lambda: "deferred" in history(email))
    assert simulator.received_count == 1
    assert "may have accepted it" in lines(email, "deferred")[0].note


def test_a_connection_gone_stale_says_nothing_about_the_next_email(domain):
    with simulated(script(end_of_data=[DROP_AFTER_REPLY])), override_settings(LANE_CONNECTIONS=1), engine_running():
        first, second = accepted_email(domain), accepted_email(domain, "y@dest.test")
        wait_until_final(first, second)
    assert history(first) == history(second) == ["accepted", "pending", "delivered"]


def test_one_connection_carries_many_emails(domain):
    connections = set()

    def behave(stage, envelope):
        if stage == Stage.END_OF_DATA:
            connections.add(envelope.connection)

    with simulated(behave), override_settings(LANE_CONNECTIONS=1), engine_running():
        emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(10)]
        wait_until_final(*emails)
    assert len(connections) == 1


def test_no_more_connections_than_the_cap_are_opened_to_one_destination(domain):
    open_now, most = set(), []

    def behave(stage, envelope):
        open_now.add(envelope.connection)
        most.append(len(open_now))
        return Fault(delay=0.05) if stage == Stage.END_OF_DATA else None

    with simulated(behave), override_settings(LANE_CONNECTIONS=3), engine_running():
        wait_until_final(*[accepted_email(domain, f"u{n}@dest.test") for n in range(12)])
    assert 2 <= max(most) <= 3


def test_when_rcpt_is_refused_but_data_answers_354_nothing_is_sent(domain):
    behave = script(rcpt="550 5.1.1 No such user", data="354 Go ahead")
    with simulated(behave) as simulator, engine_running():
        emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(2)]
        wait_until_final(*emails)
    assert {email.status for email in emails} == {"hard_bounce"}
    assert all(received.content in (b"", b"\r\n") for received in simulator.received)


def test_a_destination_that_cannot_be_reached_defers_all_its_mail_with_that_error(domain):
    with override_settings(ROUTES={"*": ("127.0.0.1", 1)}, PRIVATE_MX=True), short_retries(60), engine_running():
        emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(5)]
        wait_until(lambda: all("deferred" in history(email) for email in emails))
    for email in emails:
        (line,) = lines(email, "deferred")
        assert line.reason == "network"
        assert "connect" in line.note


def test_a_5xx_greeting_closes_the_server_and_not_the_recipient(domain):
    with simulated(script(connect="554 5.7.1 Go away, you are on a block list")), short_retries(60), engine_running():
        email = accepted_email(domain)
        wait_until(lambda: "deferred" in history(email))
    assert lines(email, "deferred")[0].stage == "connect"


def test_an_email_whose_content_has_expired_is_not_left_waiting(domain):
    with simulated(), engine_running():
        email = accepted_email(domain)
        MessageContent.objects.all().delete()
        Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now())
        wait_until_final(email)
    assert email.status in ("soft_bounce", "delivered")


def test_an_address_that_needs_smtputf8_bounces_where_it_is_not_offered(domain):
    behave = script(ehlo="250-mx.dest.test\n250 8BITMIME".replace("250-", "250 ", 1).replace("\n250 ", "\n"))
    with simulated(behave), engine_running():
        email = accepted_email(domain, "josé@dest.test", smtputf8=True)
        wait_until_final(email)
    assert (email.status, lines(email, "hard_bounce")[0].enhanced) == ("hard_bounce", "5.6.7")


def test_on_stop_what_was_not_begun_is_handed_back_and_nothing_is_sent_twice(domain):
    behave = script(end_of_data=Fault(delay=0.3))
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(20)]
    with simulated(behave) as simulator, override_settings(LANE_CONNECTIONS=2):
        with engine_running():
            wait_until(lambda: simulator.received_count >= 2)
        simulator.behave = None
        left = Recipient.objects.filter(status="pending")
        assert left.exists()
        assert all(email.next_attempt_at <= timezone.now() and email.attempt == 0 for email in left)
        with engine_running():
            wait_until_final(*emails)
    recipients = [received.recipients[0] for received in simulator.received]
    assert len(recipients) == len(set(recipients)) == 20


def test_a_stop_before_the_answer_to_the_final_dot_leaves_the_email_to_the_full_back_off(domain, monkeypatch):
    monkeypatch.setattr("relay.delivery.engine.STOP_SECONDS", 0.2)
    dotted = threading.Event()

    def behave(stage, _envelope):
        if stage != Stage.END_OF_DATA:
            return None
        dotted.set()
        return Fault(delay=60)

    email = accepted_email(domain)
    with simulated(behave), engine_running():
        assert dotted.wait(15)
    (line,) = lines(email, "deferred")
    assert "may have accepted it" in line.note
    email.refresh_from_db()
    assert email.next_attempt_at == line.next_attempt_at > timezone.now() + dt.timedelta(minutes=4)


def test_after_the_database_was_away_for_longer_than_a_lease_nothing_under_way_is_taken_again(domain):
    dotted = threading.Event()

    def behave(stage, _envelope):
        if stage != Stage.END_OF_DATA:
            return None
        dotted.set()
        return Fault(delay=2)

    email = accepted_email(domain)
    with simulated(behave) as simulator, engine_running() as engine:
        assert dotted.wait(15)
        engine.claimer.renewed_at -= 120
        Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now())
        engine.ring("dest.test")
        wait_until_final(email)
    assert simulator.received_count == 1
    assert (email.status, email.attempt) == ("delivered", 1)


def test_two_engines_deliver_each_email_once(domain):
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(60)]
    with simulated() as simulator, engine_running(), engine_running():
        wait_until_final(*emails)
    recipients = [received.recipients[0] for received in simulator.received]
    assert len(recipients) == len(set(recipients)) == 60


def test_the_retry_schedule_ends_with_its_last_step_repeated():
    schedule = [300.0, 420.0, 14_400.0]
    assert [delay_after(n, schedule, jitter=0).total_seconds() for n in (1, 2, 3, 4, 9)] == [
        300,
        420,
        14400,
        14400,
        14400,
    ]


def test_there_is_no_next_attempt_behind_the_give_up_time():
    now = timezone.now()
    assert next_attempt(now, 1, now + dt.timedelta(seconds=100), [300.0]) is None
    assert next_attempt(now, 1, now + dt.timedelta(seconds=400), [300.0]) is not None


def test_a_message_whose_content_could_not_be_read_is_read_when_the_database_is_back(domain):
    from relay.delivery import contents

    real, failures = contents.bodies, [psycopg.OperationalError("gone"), psycopg.OperationalError("gone")]

    async def broken(connection, ids):
        if failures:
            raise failures.pop()
        return await real(connection, ids)

    with simulated(), engine_running(), mock.patch.object(contents, "bodies", broken):
        email = accepted_email(domain)
        wait_until_final(email, seconds=30)
    assert not failures
    assert (email.status, email.attempt) == ("delivered", 1)


@pytest.mark.parametrize(("share", "ahead"), [(1.0, 40), (0.1, 24), (0.001, 0)])
def test_the_contents_read_ahead_of_many_sites_fit_into_memory_together(share, ahead):
    jobs = [SimpleNamespace(message_id=n, domain_id=1, size=100_000) for n in range(100)]

    async def asked_for():
        held = contents.Contents(pool=None)
        held.look_ahead(iter(jobs), share)
        held.close()
        return len(held.waiting)

    assert asyncio.run(asked_for()) == ahead


def test_few_batches_of_contents_are_held_however_many_are_wanted(domain, monkeypatch):
    monkeypatch.setattr(contents, "BATCH_BYTES", 1)
    signing, most = [], []

    def slowly(batch):
        signing.append(batch)
        most.append(len(signing))
        time.sleep(0.02)
        signing.remove(batch)
        return signatures(batch)

    signatures = contents._signatures
    monkeypatch.setattr(contents, "_signatures", slowly)
    monkeypatch.setattr(contents, "ThreadPoolExecutor", lambda *_: ThreadPoolExecutor(20))
    emails = [accepted_email(domain, f"u{n}@dest.test") for n in range(20)]
    with simulated(), engine_running():
        wait_until_final(*emails)
    assert max(most) <= contents.MOST_SIGNING
