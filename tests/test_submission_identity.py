"""Who a client is and as whom it writes: log-ins without an oracle, changes that hold at once, tricks with From."""

import base64
import logging
import re
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from activity.models import Message
from domains import senders
from domains.models import Domain, LoginEvent, SmtpCredential
from relay.submission import logins
from tests.factories import make_credential, make_domain
from tests.submission_world import MESSAGE, emails, submission, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = 2.0  # for what must hold within one: the machine is busy with other tests


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


BLOBS = [
    encoded("\0evil\r\n250 forged\0secret\r\n"),
    encoded("\0\x1b[2J\0x"),
    encoded("authz\0nobody\0" + "x" * 8_000),
    encoded("\0" + "n" * 5_000 + "\0x"),
    encoded("\0\u202euser\0\ud7ff"),
    encoded("\0 \0 "),
]


@pytest.mark.parametrize("blob", BLOBS)
def test_what_is_in_a_log_in_reaches_the_log_on_one_short_line(world, blob):
    client = world.greeted()
    assert client.ask(f"AUTH PLAIN {blob}") == "535 5.7.8 User name or password is wrong"
    event = wait_for(LoginEvent.objects.first)
    assert len(event.username) <= 64
    assert event.username.isprintable()
    assert (event.result, event.credential) == ("unknown", None)


@pytest.mark.parametrize("answer", [b"x" * 20_000, b"\xff", b"####", encoded("\0\xff").encode()[:-1], b"="])
def test_what_is_no_answer_to_a_challenge_is_a_syntax_error(world, answer):
    client = world.greeted()
    assert client.ask("AUTH PLAIN") == "334 "
    client.send(answer + b"\r\n")
    assert client.reply().startswith("501 5.5.2")
    assert client.login(world.credential.username, world.secret).startswith("235")


def test_commands_behind_a_failed_log_in_are_run_as_a_stranger(world):
    client = world.greeted()
    blob = encoded(f"\0{world.credential.username}\0wrong")
    client.send(
        f"AUTH PLAIN {blob}\r\nMAIL FROM:<shop@boutique.example>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n".encode()
    )
    assert [client.reply()[:3] for _ in range(4)] == ["535", "530", "503", "503"]


def test_known_and_unknown_names_cost_the_same_work(world, monkeypatch):
    """The same question to the database and the same comparison; and nothing is said about it in the log."""
    revoked, secret = make_credential(world.account)
    revoked.revoke()
    compared = []
    compare = senders.hmac.compare_digest
    monkeypatch.setattr(senders.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or compare(a, b))
    work = set()
    for username, password in [
        (world.credential.username, world.secret),
        (world.credential.username, "wrong"),
        (revoked.username, secret),
        ("nobody", "wrong"),
        ("n\0body", "wrong"),
    ]:
        with CaptureQueriesContext(connection) as queries:
            senders.authenticate(username, password)
        work.add(re.sub(r"= '\w*'", "= ?", " ".join(query["sql"] for query in queries.captured_queries)))
    assert len(work) == 1
    assert compared == [(32, 32)] * 5


def test_user_names_and_secrets_stand_in_no_log(world, caplog):
    caplog.set_level(logging.DEBUG)
    for username, secret in [(world.credential.username, "wrong-secret"), ("no-such-name", world.secret)]:
        world.greeted().login(username, secret)
    world.ready().message("a@example.org")
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith(("relay", "activity")))
    for word in (world.credential.username, world.secret, "wrong-secret", "no-such-name"):
        assert word not in ours


def within_a_second(change, refused):
    change()
    started = time.monotonic()
    while not refused():
        assert time.monotonic() - started < SECOND, "it did not hold at once"
        time.sleep(0.02)


def refused_at_mail(client):
    def ask():
        reply = client.ask("MAIL FROM:<shop@boutique.example>")
        client.ask("RSET")
        return reply.startswith("530 5.7.0")

    return ask


def refused_at_rcpt(client, words):
    def ask():
        [reply] = client.begin_message("a@example.org")
        client.ask("RSET")
        return words in reply

    return ask


def test_a_revocation_holds_within_a_second(world, client):
    within_a_second(world.credential.revoke, refused_at_mail(client))


def test_a_new_secret_ends_the_sessions_of_the_old_one(world, client):
    def renew():
        secret = world.credential.reset_secret()
        world.credential.save()
        return secret

    within_a_second(renew, refused_at_mail(client))
    world.secret = renew()
    wait_for(lambda: world.greeted().login(world.credential.username, world.secret).startswith("235"))
    assert world.ready().message("a@example.org").startswith("250")


def test_a_new_secret_holds_for_the_message_under_way(world, client):
    client.begin_message("a@example.org")
    world.credential.reset_secret()
    world.credential.save()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    assert client.content().startswith("530 5.7.0")


def test_a_suspension_holds_within_a_second(world, client):
    def suspend():
        world.account.suspended_at = timezone.now()
        world.account.save()

    within_a_second(suspend, refused_at_rcpt(client, "suspended"))


def test_a_suspension_holds_for_the_message_under_way(world, client):
    client.begin_message("a@example.org")
    world.account.suspended_at = timezone.now()
    world.account.save()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    assert client.content().startswith("550 5.7.1 This account is suspended")
    assert emails() == {"a@example.org": ("rejected", "account_suspended")}


def test_a_domain_that_is_validated_no_more_is_refused_within_a_second(world, client):
    def forget():
        Domain.objects.update(validated_at=None)

    within_a_second(forget, refused_at_rcpt(client, "boutique.example may not be used"))


def test_a_credential_that_is_deleted_is_nobody_within_a_second(world, client):
    within_a_second(lambda: SmtpCredential.objects.all().delete(), refused_at_mail(client))


def test_a_revocation_is_heard_when_the_listening_connection_was_lost(world, client):
    assert client.message("a@example.org").startswith("250")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%%' AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchall()
    world.credential.revoke()
    wait_for(refused_at_mail(client), 4)


MAILBOXES = {
    "another address as the name": ('"ceo@bank.example" <shop@boutique.example>', True),
    "an encoded word that is an address": ("=?utf-8?q?ceo=40bank.example?= <shop@boutique.example>", True),
    "a comment that is an address": ("shop@boutique.example (ceo@bank.example)", True),
    "a comment inside": ("shop@boutique(ceo@bank).example", False),
    "an address in a comment only": ("ceo@bank.example (shop@boutique.example)", False),
    "an address in the name only": ('"shop@boutique.example" <ceo@bank.example>', False),
    "an encoded word only": ("=?utf-8?q?shop=40boutique.example?=", False),
    "a source route": ("<@boutique.example:ceo@bank.example>", False),
    "a route the other way": ("<ceo@bank.example:@boutique.example>", False),
    "two brackets": ("<shop@boutique.example> <ceo@bank.example>", False),
    "nested brackets": ("<<ceo@bank.example>shop@boutique.example>", False),
    "a group of one": ("shop: shop@boutique.example;", False),
    "an empty group": ("undisclosed-recipients:;", False),
    "two, one of them ours": ("shop@boutique.example, ceo@bank.example", False),
    "two at signs": ("ceo@bank.example@boutique.example", False),
    "a domain above": ("shop@example", False),
    "a trailing dot": ("shop@boutique.example.", False),
    "an address literal": ("shop@[127.0.0.1]", False),
    "other case": ("SHOP@Boutique.EXAMPLE", True),
    "a folded line": ("Shop\r\n <shop@boutique.example>", True),
    "a folded line with another field's look": ("shop@boutique.example\r\n From: ceo@bank.example", False),
}


@pytest.mark.parametrize("name", MAILBOXES)
def test_a_from_is_taken_only_if_its_one_mailbox_is_ours(client, name):
    value, taken = MAILBOXES[name]
    reply = client.message("a@example.org", content=f"From: {value}\r\nSubject: x\r\n\r\nHello\r\n".encode(), sender="")
    assert reply.startswith("250" if taken else ("550 5.7.1", "550 5.6.0")), reply


def test_only_from_decides_and_neither_sender_nor_reply_to(client):
    names = (b"Sender", b"Reply-To", b"Resent-From", b"X-From", b"Return-Path")
    fields = b"".join(b"%b: ceo@bank.example\r\n" % name for name in names)
    assert client.message("a@example.org", content=fields + MESSAGE).startswith("250")
    assert Message.objects.get().header_from == "shop@boutique.example"


@pytest.mark.parametrize(
    "written", ["münchen.example", "MÜNCHEN.example", "xn--mnchen-3ya.example", "XN--MNCHEN-3YA.example"]
)
@pytest.mark.parametrize("kept", ["münchen.example", "xn--mnchen-3ya.example"])
def test_an_internationalised_domain_is_one_in_both_its_forms(world, client, written, kept):
    domain = make_domain(world.account, kept)
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    content = f"From: Laden <laden@{written}>\r\n\r\nGuten Tag\r\n".encode()
    for sender in (f"laden@{written}", ""):
        reply = client.message("a@example.org", content=content, sender=sender, parameters=" SMTPUTF8")
        assert reply.startswith("250"), reply
    assert set(Message.objects.values_list("domain_id", flat=True)) == {domain.pk}


def test_a_neighbours_domain_that_looks_the_same_is_another_one(client):
    """The о is Cyrillic."""
    reply = client.message("a@example.org", content=MESSAGE.replace(b"boutique", "bоutique".encode()))
    assert reply.startswith("550 5.7.1 The From domain b\\u043eutique.example")
