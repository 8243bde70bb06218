"""Submission: the way of a message over a real socket, from the greeting to the committed row."""

import smtplib
import socket
import ssl
import uuid
from contextlib import suppress

import pytest

from activity.models import Message, MessageContent, Recipient, StatusEvent
from billing.models import Usage
from relay.submission.server import Kind
from tests.factories import make_credential
from tests.submission_world import MESSAGE, emails, submission, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        yield world


@pytest.mark.parametrize("kind", [Kind.STARTTLS, Kind.TLS])
def test_a_message_is_accepted_and_stored(world, kind):
    client = world.ready(kind)
    reply = client.message("marie@example.org", "jean@example.org")
    assert reply.startswith("250 2.0.0 Accepted as ")
    message = Message.objects.get(pk=uuid.UUID(reply.rpartition(" ")[2]))
    assert (message.account, message.credential_id) == (world.account, world.credential.pk)
    assert message.domain_id == world.domain.pk
    assert (message.mail_from, message.header_from) == ("shop@boutique.example", "shop@boutique.example")
    assert (message.subject, message.client) == ("Your receipt", "127.0.0.1 (client.test)")
    assert emails() == {"marie@example.org": ("accepted", ""), "jean@example.org": ("accepted", "")}
    assert [event.status for event in StatusEvent.objects.all()] == ["accepted", "accepted"]
    assert Usage.objects.get().used == 2
    assert client.ask("QUIT").startswith("221 2.0.0")


def test_the_message_is_carried_byte_for_byte_behind_our_fields(world):
    sent = (
        b"From: shop@boutique.example\r\nMessage-ID: <1@boutique.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
        b"\r\n\xe9\r\n..\r\n"
    )
    world.ready().message("marie@example.org", content=sent.replace(b"\r\n..", b"\r\n..."))
    body = bytes(MessageContent.objects.get().body)
    added, _, carried = body.partition(b"From:")
    assert b"From:" + carried == sent
    message = Message.objects.get()
    assert added.startswith(b"Received: by smtp.relay.test with ESMTPSA\r\n\tid " + str(message.pk).encode())
    assert added.count(b"\r\n") == 2, "only Received was added"
    assert message.size == len(body)


def test_smtplib_sends_over_implicit_tls(world):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP_SSL("127.0.0.1", world.ports[Kind.TLS], context=context) as client:
        client.login(world.credential.username, world.secret)
        client.sendmail("shop@boutique.example", ["marie@example.org"], MESSAGE)
    assert emails() == {"marie@example.org": ("accepted", "")}


def test_the_offer_depends_on_tls_and_log_in(world):
    client = world.connect()
    client.reply()
    before = client.ask("EHLO client.test").splitlines()
    assert "250-PIPELINING" in before
    assert "250-SIZE 20971520" in before
    assert {"250-8BITMIME", "250-SMTPUTF8", "250-ENHANCEDSTATUSCODES"} <= set(before)
    assert before[-1] == "250 STARTTLS"
    client.starttls()
    after = client.ask("EHLO client.test").splitlines()
    assert after[-1] == "250 AUTH PLAIN LOGIN"
    assert not any("STARTTLS" in line for line in after)


def test_the_plain_listener_takes_named_networks_without_auth(world):
    client = world.ready(Kind.PLAIN)
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("530 5.7.0")
    credential, _ = make_credential(world.account, networks=["127.0.0.0/8"])
    wait_for(lambda: client.ask("MAIL FROM:<>").startswith("250"))
    client.ask("RSET")
    assert client.message("marie@example.org").startswith("250 2.0.0")
    assert Message.objects.get().credential_id == credential.pk
    assert client.ask("AUTH PLAIN AAAA").startswith("503")


def test_pipelined_commands_are_answered_in_order(world):
    client = world.ready()
    client.send(
        b"MAIL FROM:<shop@boutique.example>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<not valid>\r\n"
        b"RCPT TO:<b@example.org>\r\nDATA\r\n"
    )
    assert [client.reply()[:3] for _ in range(5)] == ["250", "250", "553", "250", "354"]
    client.send(MESSAGE + b".\r\nMAIL FROM:<shop@boutique.example>\r\nQUIT\r\n")
    assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "221"]
    assert set(emails()) == {"a@example.org", "b@example.org", "not valid"}


def test_a_recipient_named_twice_counts_once(world):
    assert world.ready().message("a@example.org", "a@EXAMPLE.org").startswith("250")
    assert Usage.objects.get().used == 1


def test_the_envelope_decides_and_bcc_is_removed(world):
    content = b"From: shop@boutique.example\r\nTo: b@example.org\r\nBcc: c@example.org,\r\n d@example.org\r\n\r\n"
    world.ready().message("a@example.org", content=content)
    assert set(emails()) == {"a@example.org"}
    body = bytes(MessageContent.objects.get().body)
    assert b"Bcc" not in body
    assert b"d@example.org" not in body


def test_tag_and_metadata_are_recorded_and_removed(world):
    content = b"X-Relay-Tag: welcome\r\nX-Relay-Metadata-Order: 48213\r\n" + MESSAGE
    world.ready().message("a@example.org", content=content)
    message = Message.objects.get()
    assert (message.tag, message.metadata) == ("welcome", {"order": "48213"})
    assert b"X-Relay" not in bytes(MessageContent.objects.get().body)


def test_the_null_sender_is_allowed_when_from_is_right(world):
    assert world.ready().message("a@example.org", sender="").startswith("250")
    assert Message.objects.get().mail_from == ""


def test_internationalised_addresses_are_taken_with_smtputf8(world):
    client = world.ready()
    assert client.message("δοκιμή@παράδειγμα.example", parameters=" SMTPUTF8 BODY=8BITMIME").startswith("250")
    assert Recipient.objects.get().address == "δοκιμή@xn--hxajbheg2az3al.example"
    assert Message.objects.get().smtputf8
    assert b"with UTF8SMTPSA" in bytes(MessageContent.objects.get().body)
    [reply] = client.begin_message("δοκιμή@παράδειγμα.example")
    assert reply.startswith("553 5.1.3")


def test_the_auth_parameter_of_mail_is_taken_and_means_nothing(world):
    client = world.ready()
    assert client.message("a@example.org", parameters=" AUTH=ceo+40bank.example").startswith("250")
    assert Message.objects.get().mail_from == "shop@boutique.example"


def test_received_names_the_protocol_and_hides_the_client(world):
    make_credential(world.account, networks=["127.0.0.0/8"])
    for kind, parameters in ((Kind.PLAIN, ""), (Kind.PLAIN, " SMTPUTF8"), (Kind.TLS, ""), (Kind.TLS, " SMTPUTF8")):
        assert world.ready(kind).message("a@example.org", parameters=parameters).startswith("250")
    bodies = [bytes(content.body) for content in MessageContent.objects.order_by("id")]
    names = [body.partition(b" with ")[2].split()[0] for body in bodies]
    assert names == [b"ESMTP", b"UTF8SMTP", b"ESMTPSA", b"UTF8SMTPSA"]
    assert not any(b"127.0.0.1" in body or b"client.test" in body for body in bodies)


ANSWERS = [
    ("NOOP anything", "250 2.0.0"),
    ("VRFY marie", "252 2.5.2"),
    ("EXPN list", "502 5.5.1"),
    ("HELP", "214 2.0.0"),
    ("WIZARD", "500 5.5.2"),
    ("EHLO", "501 5.5.4"),
    ("RSET now", "501 5.5.4"),
    ("RCPT TO:<a@example.org>", "503 5.5.1"),
    ("DATA", "503 5.5.1"),
    ("MAIL FROM:shop@boutique.example", "501 5.5.4"),
    ("MAIL FROM:<shop@boutique.example> FOO=1", "555 5.5.4"),
    ("MAIL FROM:<shop@boutique.example> SIZE=big", "501 5.5.4"),
    ("MAIL FROM:<shop@boutique.example> BODY=BINARYMIME", "501 5.5.4"),
    ("STARTTLS", "503 5.5.1"),
    ("AUTH PLAIN AAAA", "503 5.5.1"),
]


def test_every_command_is_answered_with_its_codes(world):
    client = world.ready()
    for command, reply in ANSWERS:
        assert client.ask(command).startswith(reply), command


def test_commands_injected_before_starttls_are_never_run(world):
    client = world.connect()
    client.reply()
    client.ask("EHLO client.test")
    client.send(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n")
    assert client.reply().startswith("220")
    client.wrap()
    assert client.ask("NOOP").startswith("250 2.0.0 Nothing")
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("503 5.5.1 Say EHLO")


def test_what_comes_in_one_packet_with_the_end_of_the_handshake_is_heard(world):
    client = world.connect()
    client.reply()
    client.ask("EHLO client.test")
    assert client.ask("STARTTLS").startswith("220")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.send(outgoing.read())
            incoming.write(client.socket.recv(65_536))
    tls.write(b"EHLO client.test\r\n")
    client.send(outgoing.read())
    heard = b""
    while b"AUTH PLAIN" not in heard:
        incoming.write(client.socket.recv(65_536))
        with suppress(ssl.SSLWantReadError):
            heard += tls.read()


def test_a_handshake_that_fails_ends_the_connection_and_nothing_else(world):
    client = world.connect()
    client.reply()
    client.ask("EHLO client.test")
    assert client.ask("STARTTLS").startswith("220")
    client.send(b"MAIL FROM:<shop@boutique.example>\r\n" * 10)
    assert not client.socket.recv(1_000).startswith(b"250")
    client.close()
    wait_for(lambda: not world.server.wires)
    assert world.ready().ask("NOOP").startswith("250")


def test_a_client_that_closes_its_sending_side_still_gets_its_replies(world):
    client = world.connect()
    client.send(b"EHLO client.test\r\nNOOP\r\nQUIT\r\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert [client.reply()[:3] for _ in range(4)] == ["220", "250", "250", "221"]


def test_nothing_goes_from_one_transaction_to_the_next(world):
    client = world.ready()
    client.begin_message("a@example.org")
    assert client.ask("RSET").startswith("250 2.0.0")
    assert client.ask("DATA").startswith("503")
    assert client.message("b@example.org").startswith("250")
    client.begin_message("c@example.org")
    client.ask("EHLO again.test")
    assert client.message("d@example.org").startswith("250")
    assert set(emails()) == {"b@example.org", "d@example.org"}
