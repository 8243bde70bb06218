"""What attackers and clumsy customers send: it is answered, costs little, and reaches no log and no neighbour."""

import base64
import logging
import os
import socket
import struct
import time
from contextlib import suppress

import pytest

from activity.models import Message, MessageContent, Recipient
from activity.text import one_line
from relay.submission import logins
from relay.submission.data import IN_MEMORY
from relay.submission.server import Kind
from tests.factories import make_account, make_credential, make_domain
from tests.submission_world import MESSAGE, emails, submission, the_email, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(logins, "DELAYS", (0.0,))
    with submission(tmp_path) as world:
        yield world


@pytest.fixture
def client(world):
    return world.ready()


def encoded(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


NOT_UNDERSTOOD = {
    "a NUL": b"NOOP \0\r\n",
    "a bare CR": b"NOOP\rQUIT\r\n",
    "no UTF-8": b"RCPT TO:<\xff\xfe@example.org>\r\n",
    "a command of 3 KB": b"NOOP " + b"x" * 3_000 + b"\r\n",
    "a command of 900 KB": b"MAIL FROM:<" + b"x" * 900_000 + b">\r\n",
    "an AUTH of 900 KB": b"AUTH PLAIN " + b"A" * 900_000 + b"\r\n",
    "an HTTP request": b"GET / HTTP/1.1\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    "BDAT": b"BDAT 5 LAST\r\n",
    "nothing": b"\r\n",
    "a space first": b" NOOP\r\n",
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_line_that_is_no_command_is_500_and_the_session_goes_on(client, name):
    client.send(NOT_UNDERSTOOD[name])
    assert client.reply().startswith("500 5.5.2")
    assert client.ask("NOOP").startswith("250")
    assert client.message("a@example.org").startswith("250")


@pytest.mark.parametrize("character", ["\N{SNOWMAN}", "\N{MAN}"])
def test_no_reply_is_longer_than_a_client_must_be_able_to_read(client, character):
    client.ask("MAIL FROM:<shop@boutique.example>")
    assert len(client.ask(f"RCPT TO:<{character * 400}@example.org>")) == 510
    assert client.ask("NOOP").startswith("250")


def send_for_ever(client, data):
    """Until the server has cut the connection."""
    until = time.monotonic() + 20
    with suppress(ConnectionError):
        while True:
            assert time.monotonic() < until, "it is still read"
            client.send(data)


@pytest.mark.parametrize("kind", [Kind.STARTTLS, Kind.TLS])
def test_a_line_that_never_ends_ends_the_connection(world, kind):
    client = world.greeted(kind)
    send_for_ever(client, b"x" * 65_536)
    assert not world.server.wires


@pytest.mark.parametrize(
    "name", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost", "-", "x" * 1_500, "münchen", "a b c", "\x1b[2J"]
)
def test_any_name_of_a_client_is_taken_and_kept_short_and_clean(world, client, name):
    assert client.ask(f"EHLO {name}").startswith("250")
    assert client.message("a@example.org").startswith("250")
    kept = Message.objects.get().client
    assert kept.startswith("127.0.0.1 (")
    assert len(kept) < 300
    assert kept.isprintable()


def test_no_control_character_and_no_reversed_line_is_stored_or_logged():
    assert one_line("a\x1b[2J\x07\x9bb\u202ec\r\nd\te") == "a\ufffd[2J\ufffd\ufffdb\ufffdc d e"
    assert one_line("\U0001f468\u200d\U0001f469 سلام‌") == "\U0001f468\u200d\U0001f469 سلام‌", "languages need these"


def test_a_client_cannot_write_lines_of_our_log(world, client, caplog):
    caplog.set_level(logging.DEBUG)
    forged = "x\x1b[2K\x0b\x0cINFO relay: all is well"
    client.ask(f"EHLO {forged}")
    client.begin_message("a@example.org", f"{forged}@example.org")
    client.content(MESSAGE.replace(b"shop@boutique", b"shop\x1b[1m@bank").replace(b"receipt", forged.encode()))
    client.ask("AUTH PLAIN " + encoded(f"\0{forged}\0{forged}"))
    assert caplog.records
    for record in caplog.records:
        if record.name.startswith(("relay", "activity")):
            assert record.getMessage().isprintable()


def test_commands_in_content_are_content(client):
    inside = b"QUIT\r\nRSET\r\nMAIL FROM:<evil@bank.example>\r\nDATA\r\n..\r\nSTARTTLS\r\n"
    assert client.message("a@example.org", content=MESSAGE + inside).startswith("250")
    assert bytes(MessageContent.objects.get().body).endswith(inside.replace(b"\r\n..\r\n", b"\r\n.\r\n"))
    assert client.ask("NOOP").startswith("250")


def test_garbage_behind_the_end_is_commands_and_ends_the_session(world, client):
    client.begin_message("a@example.org")
    assert client.ask("DATA").startswith("354")
    client.send(MESSAGE + b".\r\n" + b"this is the rest of a body\r\n" * 50)
    assert client.reply().startswith("250")
    replies = [client.reply()[:3] for _ in range(world.server.max_errors + 1)]
    assert replies == ["500"] * world.server.max_errors + ["421"]
    wait_for(lambda: not world.server.wires)


def test_content_that_is_pipelined_behind_a_refused_data_sends_nothing(world, client):
    client.send(
        b"MAIL FROM:<shop@boutique.example>\r\nRCPT TO:<bad..one@example.org>\r\nDATA\r\n" + MESSAGE + b".\r\nQUIT\r\n"
    )
    assert [client.reply()[:3] for _ in range(3)] == ["250", "553", "554"]
    wait_for(lambda: not world.server.wires)
    assert set(emails()) <= {"bad..one@example.org"}
    assert not MessageContent.objects.exists()


@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize("size", [100, 2_000_000])
def test_a_client_that_leaves_within_its_content_leaves_nothing(world, client, rudely, size):
    client.begin_message("a@example.org", "bad..one@example.org")
    assert client.ask("DATA").startswith("354")
    client.send(MESSAGE + b"x" * 70 + b"\r\n" * (size // 2))
    if rudely:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    else:
        client.socket.shutdown(socket.SHUT_WR)
    wait_for(lambda: not world.server.wires)
    assert (world.server.room.used, dict(world.server.slots)) == (0, {})
    the_email("bad..one@example.org")
    assert set(emails()) == {"bad..one@example.org"}, "nothing is sent"


def opened_files():
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{number}")


def test_a_big_message_has_no_name_on_the_disk(world, client):
    """So nothing is left behind by whatever way it ends, kill -9 included."""
    client.begin_message("a@example.org")
    assert client.ask("DATA").startswith("354")
    client.send(MESSAGE + b"x" * 70 + b"\r\n" * IN_MEMORY)
    wait_for(lambda: world.server.room.used > IN_MEMORY)
    spool = str(world.server.spool.resolve())
    wait_for(lambda: any(name.startswith(spool) for name in opened_files()))
    assert not os.listdir(spool)
    client.send(b".\r\n")
    assert client.reply().startswith("250")
    assert not os.listdir(spool)


def test_a_stream_without_end_is_refused_cut_and_a_row(world, client):
    world.server.max_bytes = 100_000
    client.begin_message("a@example.org")
    assert client.ask("DATA").startswith("354")
    send_for_ever(client, (b"x" * 998 + b"\r\n") * 50)
    assert emails() == {"a@example.org": ("rejected", "message_too_large")}


def test_a_client_that_stops_within_its_content_is_told_so_and_nothing_is_kept(world, client):
    world.server.data_seconds = 0.5
    client.begin_message("a@example.org")
    client.ask("DATA")
    client.send(MESSAGE)
    assert client.reply().startswith("421 4.4.2")
    assert client.reply() == ""
    assert (world.server.room.used, emails()) == (0, {})


def test_a_client_that_logged_in_and_says_nothing_is_sent_away(world, client):
    world.server.command_seconds = 0.5
    client.ask("NOOP")
    assert client.reply().startswith("421 4.4.2")


def test_a_client_that_never_reads_its_replies_is_not_listened_to(world):
    world.server.command_seconds = world.server.login_seconds = 3.0
    client = world.connect(Kind.STARTTLS)
    [wire] = wait_for(lambda: list(world.server.wires))
    client.socket.setblocking(False)
    sent = 0
    until = time.monotonic() + 20
    while world.server.wires:
        assert time.monotonic() < until
        try:
            sent += client.socket.send(b"HELP\r\n" * 10_000)
        except BlockingIOError:
            time.sleep(0.05)
        except ConnectionError:
            break
        assert len(wire.buffer) < 1_000_000
        assert wire.transport.get_write_buffer_size() < 1_000_000
    assert sent < 50_000_000


def test_a_thousand_refused_recipients_end_the_connection_and_are_few_rows(world, client):
    client.ask("MAIL FROM:<shop@boutique.example>")
    client.send(b"".join(b"RCPT TO:<bad..%d@example.org>\r\n" % number for number in range(1_001)))
    replies = [client.reply() for _ in range(1_001)]
    assert {reply[:3] for reply in replies[:1_000]} == {"553"}
    assert replies[-1].startswith("421 4.7.0 Too many refused recipients")
    world.loop.run(world.server.refusals.settle())
    assert 0 < Recipient.objects.count() < 300


def test_a_poisoned_message_fails_or_goes_alone(world):
    """What PostgreSQL refuses, in every text that a client chooses, between two messages of another account."""
    other = make_account()
    make_domain(other, "other.example")
    credential, secret = make_credential(other)
    neighbour = world.greeted()
    assert neighbour.login(credential.username, secret).startswith("235")
    poison = (
        b"From: =?utf-8?q?a=00b?= <shop@boutique.example>\r\nSubject: =?utf-8?q?=00?= =?utf-16?b?2AA=?=\r\n"
        b"X-Relay-Tag: =?utf-8?q?=00=1b?=\r\nX-Relay-Metadata-=\\0: =?utf-8?q?=00?=\r\n"
        b"Message-ID: <\xff\xfe\x1b>\r\n\r\n"
    )
    clients = [world.ready(), neighbour, world.ready()]
    clients[0].begin_message("İ" * 400 + "@example.org", "a@example.org", parameters=" SMTPUTF8")
    clients[1].begin_message("b@example.org", sender="shop@other.example")
    clients[2].begin_message("c@example.org")
    for client in clients:
        assert client.ask("DATA").startswith("354")
    clients[0].send(poison + b".\r\n")
    clients[1].send(MESSAGE.replace(b"boutique", b"other") + b".\r\n")
    clients[2].send(MESSAGE + b".\r\n")
    assert [client.reply()[:3] for client in clients] == ["250"] * 3
    accepted = Recipient.objects.filter(status="accepted").values_list("address", flat=True)
    assert set(accepted) == {"a@example.org", "b@example.org", "c@example.org"}
