"""Bounds on what clients may use: connections, messages a minute, room, recorded refusals; and a lost database."""

import socket
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from activity.models import Message, Recipient
from billing.models import Usage, period_of
from relay.limits import Buckets, Room, Slots
from relay.submission.neighbours import Neighbours
from relay.submission.server import Kind
from relay.submission.valkey import Valkey
from tests.factories import make_account, make_credential, make_domain
from tests.submission_world import MESSAGE, submission, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        yield world


def test_a_bucket_gives_a_burst_and_then_a_rate(monkeypatch):
    now = 1_000.0
    monkeypatch.setattr("relay.limits.time.monotonic", lambda: now)
    buckets = Buckets(10, 2)
    assert [buckets.take("a", 8), buckets.take("a", 8), buckets.take("a"), buckets.take("b")] == [8, 2, 0, 1]
    now += 1.5
    assert buckets.take("a", 8) == 3
    now += 1_000
    assert buckets.take("a", 100) == 10


def test_buckets_that_are_full_are_forgotten(monkeypatch):
    now = 1_000.0
    monkeypatch.setattr("relay.limits.time.monotonic", lambda: now)
    monkeypatch.setattr("relay.limits.MANY_BUCKETS", 5)
    buckets = Buckets(10, 2)
    for number in range(100):
        buckets.take(number)
        now += 1
    assert len(buckets.levels) <= 6


def test_what_is_known_of_senders_is_forgotten_when_they_send_no_more(world, monkeypatch):
    monkeypatch.setattr("relay.submission.directory.REMEMBER_LISTENING", 2.0)
    world.server.directory.answers.clear()
    assert world.ready().message("a@example.org").startswith("250")
    assert world.server.directory.answers
    wait_for(lambda: not world.server.directory.answers)


def test_slots_and_room_come_back():
    slots = Slots()
    assert [slots.take("a", 2), slots.take("a", 2), slots.take("a", 2), slots.take("b", 2)] == [True, True, False, True]
    slots.give_back("a")
    assert slots.take("a", 2)
    room = Room(10)
    assert [room.reserve(6), room.reserve(5), room.reserve(-6), room.reserve(10)] == [True, False, True, True]


def test_too_many_connections_from_one_address_are_refused(world, settings):
    settings.ADDRESS_CONNECTIONS = 3
    open_ones = [world.ready() for _ in range(3)]
    client = world.connect()
    assert client.reply().startswith("421 4.7.0 Too many connections from your address")
    assert client.reply() == ""
    open_ones.pop().ask("QUIT")
    wait_for(lambda: len(world.server.wires) == 2)
    assert world.connect().reply().startswith("220")


def test_too_many_connections_with_one_credential_are_refused(world, settings):
    settings.CREDENTIAL_CONNECTIONS = 1
    first = world.ready()
    client = world.connect(Kind.TLS)
    client.reply()
    client.ask("EHLO client.test")
    assert client.login(world.credential.username, world.secret).startswith("421 4.7.0")
    first.ask("QUIT")
    wait_for(lambda: len(world.server.wires) == 0)
    world.ready()


def test_handshakes_that_are_never_ended_are_bounded_for_each_address(world, settings):
    settings.ADDRESS_CONNECTIONS = 3
    place = ("127.0.0.1", world.ports[Kind.TLS])
    begun = [socket.create_connection(place, timeout=10) for _ in range(3)]
    for connection in begun[:2]:
        connection.send(b"\x16\x03\x01")
    with (
        suppress(ConnectionResetError),
        socket.create_connection(("127.0.0.1", world.ports[Kind.TLS]), timeout=10) as late,
    ):
        assert late.recv(1) == b"", "one too many"
    assert world.connect(Kind.STARTTLS).reply().startswith("220"), "sessions are counted apart"
    for connection in begun:
        connection.close()
    wait_for(lambda: can_greet(world))


def can_greet(world):
    with suppress(OSError):
        return world.connect(Kind.TLS).reply().startswith("220")


@pytest.fixture
def pair(world):
    """Two processes that bound the same clients: (their neighbours' talk, their slots, their rates) of each."""
    valkey = world.loop.run(opened(Valkey))
    processes = [Neighbours(valkey, Slots(), Buckets(60, 1)) for _ in range(2)]
    yield processes
    world.loop.run(valkey.close())


async def opened(make):
    return make()


def talk(world, *processes):
    for process in processes * 2:
        world.loop.run(process.exchange())


def test_connections_are_counted_over_all_processes(world, pair, settings):
    settings.ADDRESS_CONNECTIONS = settings.CREDENTIAL_CONNECTIONS = 3
    first, second = pair
    assert [first.take("192.0.2.1", 3), first.take(7, 3), second.take("192.0.2.1", 3)] == [True] * 3
    talk(world, first, second)
    assert [second.take("192.0.2.1", 3), second.take("192.0.2.1", 3)] == [True, False]
    assert [second.take(7, 3), second.take(7, 3), second.take(7, 3)] == [True, True, False]
    world.loop.run(first.leave())
    talk(world, second)
    assert second.take("192.0.2.1", 3), "who left holds nothing"


def test_what_a_process_that_died_held_is_free_after_its_lease(world, pair, settings, monkeypatch):
    settings.ADDRESS_CONNECTIONS = 1
    monkeypatch.setattr("relay.submission.neighbours.LEASE_SECONDS", 0.2)
    first, second = pair
    first.take("192.0.2.1", 1)
    talk(world, first, second)
    assert not second.take("192.0.2.1", 1)

    def free():
        talk(world, second)
        return second.take("192.0.2.1", 1)

    wait_for(free)


def test_messages_a_minute_are_counted_over_all_processes(world, pair):
    first, second = pair
    talk(world, first, second)
    for process in (first, second):
        process.rates.take(5, 20)
        for _ in range(20):
            process.note(5, 1.0)
    talk(world, first, second)
    assert [int(process.rates.level(5)) for process in pair] == [20, 20]
    for _ in range(50):
        first.note(5, 1.0)
    talk(world, first, second)
    assert [int(process.rates.level(5)) for process in pair] == [20, 0], "what is left is never less than nothing"


def test_a_flushed_valkey_costs_nobody_messages(world, pair):
    first, second = pair
    talk(world, first, second)
    for _ in range(20):
        first.note(5, 1.0)
    talk(world, first, second)
    redis.Redis.from_url(settings.REDIS_URL).flushall()
    talk(world, second, first)
    assert 39 < second.rates.level(5) < 60


def test_without_valkey_each_process_bounds_by_itself(world, pair, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    alone = Neighbours(world.loop.run(opened(Valkey)), Slots(), Buckets(60, 1))
    pair[0].take("192.0.2.1", 200)
    talk(world, pair[0], alone)
    assert [alone.take("192.0.2.1", 1), alone.take("192.0.2.1", 1)] == [True, False]
    world.loop.run(alone.leave())


def test_too_many_messages_a_minute_are_put_off(world):
    world.account.messages_a_minute = 2
    world.account.save()
    client = world.ready()
    assert [client.message("a@example.org")[:3] for _ in range(2)] == ["250", "250"]
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("450 4.7.0")
    assert not Recipient.objects.filter(status="rejected").exists()


def test_without_room_a_message_is_put_off(world):
    world.server.room.limit = 300_000
    client = world.ready()
    client.begin_message("a@example.org", parameters=" SIZE=400000")
    assert client.ask("DATA").startswith("452 4.3.1")
    client.ask("RSET")
    assert client.message("a@example.org", content=MESSAGE + b"x" * 70 + b"\r\n" * 200_000).startswith("452 4.3.1")
    assert client.message("a@example.org").startswith("250")


def test_a_flood_of_refusals_stores_few_rows_and_a_counter(world):
    """30 messages with 50 refused recipients each, and another account that notices nothing."""
    client = world.ready()
    for number in range(30):
        client.begin_message(*(f"bad..{number}.{n}@example.org" for n in range(50)))
        client.ask("RSET")
    other = make_account()
    make_domain(other, "other.example")
    credential, secret = make_credential(other)
    neighbour = world.connect(Kind.TLS)
    neighbour.reply()
    neighbour.ask("EHLO client.test")
    neighbour.login(credential.username, secret)
    content = MESSAGE.replace(b"boutique", b"other")
    assert neighbour.message("a@example.org", sender="shop@other.example", content=content).startswith("250")
    counted = wait_for(lambda: Usage.objects.filter(account=world.account, refused_unrecorded__gt=1_000).first())
    rows = Recipient.objects.filter(account=world.account).count()
    assert 0 < rows < 300
    assert rows + counted.refused_unrecorded <= 1_500
    wait_for(lambda: Usage.objects.get(account=world.account).refused_unrecorded + rows >= 1_500)
    assert counted.used == 0


def test_a_flood_over_the_quota_stores_few_rows(world):
    world.account.plan.monthly_quota = 0
    world.account.plan.save()
    client = world.ready()
    for _ in range(20):
        reply = client.message(*(f"r{n}@example.org" for n in range(20)))
        assert reply.startswith("550 5.7.1 Monthly quota reached")
    assert Recipient.objects.count() < 250


def somebody_waits_for_a_lock():
    with database.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()


def test_messages_over_the_quota_whose_ends_come_at_once_are_few_rows_too(world):
    world.account.plan.monthly_quota = 0
    world.account.plan.save()
    usage = Usage.objects.create(account=world.account, period=period_of(timezone.now()))
    clients = [world.ready() for _ in range(12)]
    for client in clients:
        client.begin_message(*(f"r{n}@example.org" for n in range(50)))
        assert client.ask("DATA").startswith("354")
    with transaction.atomic():
        Usage.objects.select_for_update().get(pk=usage.pk)
        clients[0].send(MESSAGE + b".\r\n")
        wait_for(somebody_waits_for_a_lock)
        for client in clients[1:]:
            client.send(MESSAGE + b".\r\n")
        wait_for(lambda: len(world.server.committer.waiting) == len(clients) - 1)
    assert {client.reply()[:9] for client in clients} == {"550 5.7.1"}
    rows = Recipient.objects.count()
    assert 100 <= rows < 250
    wait_for(lambda: Usage.objects.get(pk=usage.pk).refused_unrecorded == 600 - rows)
    assert Message.objects.count() <= rows, "no message without a recipient"


@pytest.fixture
def broken_database(world, monkeypatch):
    """Every connection of this process to the database fails; clients of the server cannot tell it from an outage."""

    def refuse(*args, **kwargs):
        raise psycopg.OperationalError("the database is away")

    def break_it():
        monkeypatch.setattr(world.server.pool, "connection", refuse)
        monkeypatch.setattr("domains.senders.SmtpCredential.objects", Away())
        world.server.directory.answers.clear()

    return break_it


class Away:
    def __getattr__(self, name):
        raise psycopg.OperationalError("the database is away")


def test_without_the_database_logging_in_is_454_and_never_535(world, broken_database):
    client = world.connect(Kind.TLS)
    client.reply()
    client.ask("EHLO client.test")
    broken_database()
    assert client.login(world.credential.username, world.secret).startswith("454 4.7.0")


def test_without_the_database_mail_is_451(world, broken_database):
    client, other = world.ready(), world.ready()
    client.begin_message("a@example.org")
    assert client.ask("DATA").startswith("354")
    broken_database()
    client.send(MESSAGE + b".\r\n")
    assert client.reply().startswith("451 4.3.0")
    assert other.ask("MAIL FROM:<shop@boutique.example>").startswith("451 4.3.0")
    assert not Recipient.objects.exists()


def test_a_failed_commit_is_451(world, monkeypatch):
    client = world.ready()
    client.begin_message("a@example.org")

    async def fail(*args):
        raise psycopg.errors.DiskFull("no space left on device")

    monkeypatch.setattr("activity.accept.accept", fail)
    assert client.content().startswith("451 4.3.0")
    monkeypatch.undo()
    assert client.message("a@example.org").startswith("250")


def test_a_full_disk_is_451_and_leaves_nothing(world, monkeypatch):
    client = world.ready()
    monkeypatch.setattr(world.server, "spool", Path("/dev/null/spool"))
    client.begin_message("a@example.org")
    assert client.content(MESSAGE + b"x" * 70 + b"\r\n" * 200_000).startswith("451 4.3.0")
    assert (world.server.room.used, Recipient.objects.count()) == (0, 0)
    assert client.message("a@example.org").startswith("250"), "small ones need no disk"


def test_a_bug_in_one_session_is_told_to_nobody_but_the_log(world, monkeypatch, caplog):
    client = world.ready()
    monkeypatch.setattr("relay.submission.session.accept", lambda *args, **kwargs: 1 / 0)
    client.begin_message("a@example.org")
    assert client.content() == "421 4.3.0 Internal error"
    assert client.reply() == ""
    assert "ZeroDivisionError" in caplog.text
    assert world.ready().ask("NOOP").startswith("250")
