"""Logging in: the mechanisms, no oracle for user names, blocks that expire, and the log the customer reads."""

import asyncio
import base64
import datetime as dt
import select
import socket
import time

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from domains.logins import drop_expired
from domains.models import LoginEvent, SmtpCredential
from relay.limits import Buckets, place_of
from relay.submission import logins
from relay.submission.failures import Failures, SharedFailures, key_of
from relay.submission.login_log import LoginLog
from relay.submission.logins import Logins
from relay.submission.server import Kind
from relay.submission.valkey import AWAY_SECONDS, PATIENCE, Valkey
from tests.factories import make_credential
from tests.submission_world import submission, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(logins, "DELAYS", (0.0,))
    with submission(tmp_path) as world:
        yield world


@pytest.fixture
def client(world):
    client = world.connect(Kind.TLS)
    client.reply()
    client.ask("EHLO client.test")
    return client


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def lines():
    return set(LoginEvent.objects.values_list("username", "address", "result", "count"))


def test_plain_works_in_one_step_and_in_two(world, client):
    assert client.ask("AUTH PLAIN") == "334 "
    assert client.ask(encoded(f"\0{world.credential.username}\0{world.secret}")).startswith("235 2.7.0")
    assert client.ask("AUTH PLAIN AAAA").startswith("503 5.5.1")


@pytest.mark.parametrize("initial", [True, False])
def test_login_asks_for_name_and_password(world, client, initial):
    name = encoded(world.credential.username)
    if initial:
        assert client.ask(f"AUTH LOGIN {name}") == "334 UGFzc3dvcmQ6"
    else:
        assert client.ask("auth login") == "334 VXNlcm5hbWU6"
        assert client.ask(name) == "334 UGFzc3dvcmQ6"
    assert client.ask(encoded(world.secret)).startswith("235 2.7.0")


def test_what_a_mechanism_does_not_want_is_a_syntax_error(client):
    for command in ("AUTH PLAIN ###", "AUTH PLAIN AAAA", "AUTH PLAIN =", "AUTH PLAIN " + encoded("a\0b")):
        assert client.ask(command).startswith("501 5.5.2"), command
    assert client.ask("AUTH LOGIN").startswith("334")
    assert client.ask("*").startswith("501 5.5.2")
    assert client.ask("AUTH CRAM-MD5").startswith("504 5.5.4")
    assert client.ask("AUTH").startswith("504 5.5.4")


def test_auth_needs_tls_and_ehlo(world):
    client = world.connect(Kind.STARTTLS)
    client.reply()
    assert client.login("a", "b").startswith("503 5.5.1")
    client.ask("EHLO client.test")
    assert client.login("a", "b").startswith("538 5.7.11")


def test_a_wrong_secret_an_unknown_name_and_a_revoked_credential_sound_the_same(world):
    revoked, secret = make_credential(world.account)
    revoked.revoke()
    attempts = [
        (world.credential.username, "wrong"),
        ("nobody", "wrong"),
        (revoked.username, secret),
        ("no\N{SNOWMAN}body", "\N{SNOWMAN}"),
        ("", ""),
    ]
    replies = set()
    for username, password in attempts:
        client = world.connect(Kind.TLS)
        client.reply()
        client.ask("EHLO client.test")
        replies.add(client.login(username, password))
    assert replies == {"535 5.7.8 User name or password is wrong"}


def test_a_block_comes_after_too_many_failures_and_goes_again(world):
    world.server.logins.limit = 3
    world.server.logins.failures.here.window = 2.0

    def attempt(secret):
        client = world.connect(Kind.TLS)
        client.reply()
        client.ask("EHLO client.test")
        reply = client.login(world.credential.username, secret)
        closed = client.reply() == "" if reply.startswith("421") else False
        client.close()
        return reply[:9], closed

    assert [attempt("wrong") for _ in range(3)] == [("535 5.7.8", False)] * 3
    assert attempt(world.secret) == ("421 4.7.0", True), "the right secret is not told from a wrong one"
    wait_for(lambda: attempt(world.secret) == ("235 2.7.0", False))


def test_failures_are_counted_for_each_address_and_each_name():
    failures = Failures(60)
    assert [failures.add(key_of("address", "192.0.2.1")) for _ in range(2)] == [1, 2]
    assert failures.count(key_of("address", "192.0.2.1")) == 2
    assert failures.count(key_of("address", "192.0.2.2")) == failures.count(key_of("username", "192.0.2.1")) == 0
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff:1") != place_of("2001:db8:0:1::1")


def attempts(world, *logins, peer="192.0.2.7"):
    """What the server says to (process, user name) after another: the delay, or "blocked"."""
    answers = []
    for process, username in logins:
        attempt = world.loop.run(process.attempt(peer, username, "wrong"))
        answers.append("blocked" if attempt.blocked else attempt.delay)
    return answers


@pytest.fixture
def processes(world):
    """The log-ins of two submission processes with a limit of three failures."""
    first, server = world.server.logins, world.server
    first.limit = 3
    second_failures = SharedFailures(world.loop.run(opened(Valkey)), first.failures.here.window)
    yield first, Logins(server.directory, server.login_log, second_failures, 3)
    world.loop.run(second_failures.valkey.close())


async def opened(make):
    return make()


def test_failures_count_over_all_processes(world, processes):
    first, second = processes
    assert attempts(world, (first, "a"), (second, "b"), (first, "c")) == [0.0] * 3
    assert attempts(world, (second, "d"), (first, "d")) == ["blocked"] * 2, "the address is blocked"
    assert attempts(world, (second, "d"), peer="192.0.2.8") == [0.0]
    for process, place in ((first, "192.0.2.21"), (second, "192.0.2.22"), (first, "192.0.2.23")):
        assert attempts(world, (process, "same"), peer=place) == [0.0]
    assert attempts(world, (second, "same"), peer="192.0.2.24") == ["blocked"], "the user name is blocked"


def test_a_flushed_valkey_makes_each_process_count_for_itself(world, processes):
    first, second = processes
    attempts(world, (first, "a"), (first, "a"), (first, "a"))
    redis.Redis.from_url(settings.REDIS_URL).flushall()
    assert attempts(world, (first, "a")) == ["blocked"]
    assert attempts(world, (second, "a")) == [0.0]


def test_without_valkey_log_ins_go_on_and_failures_are_counted(world, processes, monkeypatch):
    first, _ = processes
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    first.failures.valkey = world.loop.run(opened(Valkey))
    assert world.loop.run(first.attempt("192.0.2.9", world.credential.username, world.secret)).login
    assert attempts(world, *[(first, "a")] * 4) == [0.0, 0.0, 0.0, "blocked"]


def test_a_valkey_that_says_nothing_delays_a_log_in_once_and_not_for_long(world, processes, monkeypatch):
    first, _ = processes
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(settings, "REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        first.failures.valkey = valkey = world.loop.run(opened(Valkey))
        begun = time.monotonic()
        assert world.loop.run(first.attempt("192.0.2.9", world.credential.username, world.secret)).login
        assert attempts(world, *[(first, "a")] * 4) == [0.0, 0.0, 0.0, "blocked"]
        assert PATIENCE <= time.monotonic() - begun < AWAY_SECONDS
        world.loop.run(valkey.close())


def test_guesses_made_side_by_side_are_no_more_than_the_limit(world, processes):
    first, second = processes

    async def guess_at_once():
        guesses = (process.attempt("192.0.2.7", "a", str(n)) for process in (first, second) for n in range(10))
        return await asyncio.gather(*guesses)

    answered = [attempt for attempt in world.loop.run(guess_at_once()) if not attempt.blocked]
    # Fewer, where Valkey hears of them in another order than the process counted them.
    assert 1 <= len(answered) <= 3


def test_counting_failures_has_a_bound(monkeypatch):
    monkeypatch.setattr("relay.submission.failures.MANY", 10)
    failures = Failures(60)
    for number in range(1_000):
        failures.add(str(number))
    assert len(failures.counts) <= 10
    assert failures.count("999") == 1


def test_the_answer_to_a_failure_is_slower_every_time(world, monkeypatch):
    monkeypatch.setattr(logins, "DELAYS", (0.0, 0.2, 0.4))
    attempts = [world.loop.run(world.server.logins.attempt("192.0.2.7", "nobody", "x")) for _ in range(4)]
    assert [attempt.delay for attempt in attempts] == [0.0, 0.2, 0.4, 0.4]


def test_log_ins_are_in_the_log_of_their_credential(world, client):
    name = world.credential.username
    client.login(name, "wrong")
    client.login("nobody", "wrong")
    client.login(name, world.secret)
    wanted = {
        (name, "127.0.0.1", "refused", 1),
        (name, "127.0.0.1", "accepted", 1),
        ("nobody", "127.0.0.1", "unknown", 1),
    }
    wait_for(lambda: lines() == wanted)
    assert world.credential.logins.count() == 2
    world.credential.refresh_from_db()
    assert world.credential.last_used_at is not None


def test_sending_counts_as_use_without_a_log_in_and_is_written_once_a_minute(world, monkeypatch):
    printer, _ = make_credential(world.account, name="printer", networks=["127.0.0.0/8"])
    client = world.ready(Kind.PLAIN)
    client.message("a@example.org")
    wait_for(lambda: SmtpCredential.objects.get(pk=printer.pk).last_used_at)
    log = world.server.login_log
    SmtpCredential.objects.update(last_used_at=None)
    client.message("a@example.org")
    assert not log.used
    monkeypatch.setattr("relay.submission.login_log.MARK_AGAIN", 0.0)
    log.marked.clear()
    client.message("a@example.org")
    wait_for(lambda: SmtpCredential.objects.get(pk=printer.pk).last_used_at)


def test_a_guesser_cannot_fill_the_log_nor_keep_others_out_of_it(world):
    name = world.credential.username
    log = LoginLog(world.server.directory)
    log.buckets = Buckets(20, 0.001)
    for number in range(5_000):
        log.add(f"guess{number}", "192.0.2.1", LoginEvent.Result.UNKNOWN)
    for _ in range(500):
        log.add(name, "192.0.2.1", LoginEvent.Result.REFUSED)
    assert len(log.waiting) <= 1_000
    world.loop.run(log.flush())
    assert LoginEvent.objects.filter(result="unknown").count() == 20
    assert (name, "192.0.2.1", "refused", 500) in lines()


def test_old_lines_are_dropped(world):
    old = timezone.now() - dt.timedelta(days=46)
    for at in (old, timezone.now()):
        LoginEvent.objects.create(username="u", address="192.0.2.1", result="unknown", at=at)
    assert drop_expired(45) == 1


def test_a_client_that_makes_too_many_errors_is_sent_away(world, client):
    world.server.max_errors = 5
    assert [client.ask("WIZARD")[:3] for _ in range(4)] == ["500"] * 4
    client.send(b"WIZARD\r\n")
    assert (client.reply()[:3], client.reply()[:9], client.reply()) == ("500", "421 4.7.0", "")


def test_a_client_has_little_time_to_log_in_however_slowly_it_talks(world, client):
    world.server.login_seconds = 0.5
    client.ask("NOOP")
    for _ in range(100):
        client.send(b"N")
        if select.select([client.socket], [], [], 0.1)[0]:
            break
    assert client.reply().startswith("421 4.4.2")
    assert client.reply() == ""
