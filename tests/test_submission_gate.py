"""The gate: every refusal of DESIGN's table over a real socket, with its codes, its words and its row in Activity."""

import datetime as dt

import pytest
from django.utils import timezone

from activity.models import Message, Recipient, Suppression
from billing.models import Usage, period_of, renewal_of
from domains.models import SmtpCredential
from relay.submission.server import Kind
from tests.factories import make_account, make_credential, make_domain, make_plan
from tests.submission_world import MESSAGE, emails, submission, the_email, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        yield world


@pytest.fixture
def client(world):
    return world.ready()


def assert_rejected(address, reason, reply, stage):
    """The row of the Activity tab, and its line of history, say what the client was told."""
    email, event = the_email(address)
    assert (email.status, email.reason, email.reply) == ("rejected", reason, reply)
    assert (event.status, event.reason, event.stage) == ("rejected", reason, stage)
    assert (event.code, event.enhanced) == (int(reply[:3]), reply.split()[1])
    assert (email.next_attempt_at, email.give_up_at) == (None, None)
    assert not Usage.objects.filter(used__gt=0), "a refusal costs no quota"


def test_nobody_sends_without_logging_in(world):
    client = world.connect(Kind.TLS)
    client.reply()
    client.ask("EHLO client.test")
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("530 5.7.0")
    assert not Recipient.objects.exists()


def test_a_suspended_account_is_refused(world, client):
    world.account.suspended_at = timezone.now()
    world.account.save()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    [reply] = client.begin_message("a@example.org")
    assert reply.startswith("550 5.7.1 This account is suspended")
    client.ask("RSET")
    assert_rejected("a@example.org", "account_suspended", reply, "rcpt")


def test_a_sender_domain_that_is_not_validated_is_refused(world, client):
    make_domain(world.account, "pending.example", validated=False)
    [reply] = client.begin_message("a@example.org", sender="shop@pending.example")
    assert reply.startswith("550 5.7.1 The sender domain pending.example may not be used")
    assert reply.endswith("/domains/")
    client.ask("QUIT")
    assert_rejected("a@example.org", "unauthenticated_domain", reply, "rcpt")
    assert Message.objects.get().mail_from == "shop@pending.example"


@pytest.mark.parametrize("sender", ["shop@sub.boutique.example", "shop@example", "shop@boutique.example.org"])
def test_only_the_validated_domain_itself_may_send(client, sender):
    [reply] = client.begin_message("a@example.org", sender=sender)
    assert reply.startswith("550 5.7.1")


def test_another_accounts_domain_is_refused(client):
    make_domain(make_account(), "charlie.example")
    [reply] = client.begin_message("a@example.org", sender="shop@charlie.example")
    assert reply.startswith("550 5.7.1 The sender domain charlie.example")


def test_a_from_header_of_another_domain_is_refused(client):
    reply = client.message("a@example.org", content=MESSAGE.replace(b"boutique", b"bank"))
    assert reply.startswith("550 5.7.1 The From domain bank.example may not be used")
    assert_rejected("a@example.org", "unauthenticated_domain", reply, "end_of_data")
    assert Message.objects.get().header_from == "shop@bank.example"


def test_a_credential_bound_to_a_domain_sends_only_as_it(world):
    make_domain(world.account, "other.example")
    world.credential, world.secret = make_credential(world.account, domain=world.domain)
    client = world.ready()
    [reply] = client.begin_message("a@example.org", sender="shop@other.example")
    assert "this credential may only send as boutique.example" in reply
    client.ask("RSET")
    assert client.message("b@example.org").startswith("250")


def test_a_message_that_does_not_fit_whole_into_the_quota_is_refused(world, client):
    world.account.plan = make_plan(monthly_quota=2)
    world.account.save()
    Usage.objects.create(account=world.account, period=period_of(timezone.now()), used=1)
    reply = client.message("a@example.org", "b@example.org")
    renewal = renewal_of(period_of(timezone.now()))
    assert reply.startswith("550 5.7.1 Monthly quota reached: 1 of 2 emails used")
    assert f"{renewal:%Y-%m-%d}" in reply
    assert emails() == dict.fromkeys(["a@example.org", "b@example.org"], ("rejected", "quota_reached"))
    assert Usage.objects.get().used == 1
    assert client.message("c@example.org").startswith("250"), "what fits is taken"
    assert Usage.objects.get().used == 2


def test_the_51st_recipient_is_refused_and_the_first_50_go_on(client):
    replies = client.begin_message(*(f"r{n}@example.org" for n in range(52)))
    assert [reply[:9] for reply in replies] == ["250 2.1.5"] * 50 + ["550 5.5.3"] * 2
    assert client.content().startswith("250")
    statuses = [status for status, _ in emails().values()]
    assert (statuses.count("accepted"), statuses.count("rejected")) == (50, 2)
    assert emails()["r51@example.org"] == ("rejected", "too_many_recipients")


def test_an_account_may_have_its_own_limit_of_recipients(world, client):
    world.account.max_recipients = 1
    world.account.save()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    assert [reply[:3] for reply in client.begin_message("a@example.org", "b@example.org")] == ["250", "550"]


def test_a_declared_size_over_the_limit_is_refused_at_rcpt(client):
    [reply] = client.begin_message("a@example.org", parameters=" SIZE=20971521")
    assert reply.startswith("552 5.3.4")
    assert "20971520 bytes (20 MB)" in reply
    client.ask("RSET")
    assert_rejected("a@example.org", "message_too_large", reply, "rcpt")
    client.begin_message("b@example.org", parameters=" SIZE=99999999999999999999")
    client.ask("RSET")
    assert_rejected("b@example.org", "message_too_large", reply, "rcpt")
    [reply] = client.begin_message("a@example.org", parameters=" SIZE=20971520")
    assert reply.startswith("250")


def test_content_that_grows_too_large_is_drained_and_then_refused(world, client):
    world.server.max_bytes = 300_000
    reply = client.message("a@example.org", content=MESSAGE + b"x" * 70 + b"\r\n" * 200_000)
    assert reply.startswith("552 5.3.4")
    assert_rejected("a@example.org", "message_too_large", reply, "end_of_data")
    assert world.server.room.used == 0
    assert client.message("b@example.org").startswith("250"), "the connection goes on"


def test_the_limit_counts_the_bytes_of_the_message_and_not_one_more(world, client):
    world.server.max_bytes = len(MESSAGE)
    assert client.message("a@example.org").startswith("250")
    assert client.message("b@example.org", content=MESSAGE + b"\r\n").startswith("552")


def test_malformed_addresses_are_refused(client):
    [reply] = client.begin_message("two..dots@example.org")
    assert reply.startswith("553 5.1.3 The address <two..dots@example.org> is not valid")
    client.ask("RSET")
    assert_rejected("two..dots@example.org", "invalid_address", reply, "rcpt")
    [reply] = client.begin_message("a@example.org", sender=".dot@boutique.example")
    assert reply.startswith("553 5.1.7 The sender address <.dot@boutique.example> is not valid")
    client.ask("RSET")
    assert_rejected("a@example.org", "invalid_address", reply, "rcpt")


@pytest.mark.parametrize(
    ("cause", "codes", "why"),
    [
        ("hard_bounce", "550 5.1.1", "because it bounced for good"),
        ("complaint", "550 5.7.1", "complained"),
        ("manual", "550 5.7.1", "added by hand"),
    ],
)
def test_a_suppressed_recipient_is_refused_and_the_others_go_on(world, client, cause, codes, why):
    entry = Suppression.objects.create(account=world.account, address="gone@example.org", cause=cause)
    Suppression.objects.create(account=make_account(), address="a@example.org", cause=cause)
    replies = client.begin_message("gone@example.org", "Gone@example.org", "a@example.org")
    assert [reply[:3] for reply in replies] == ["550", "550", "250"]
    assert replies[0].startswith(codes)
    assert why in replies[0]
    assert f"since {entry.created_at:%Y-%m-%d}" in replies[0]
    assert client.content().startswith("250")
    assert emails()["gone@example.org"] == ("rejected", "suppressed")
    assert emails()["a@example.org"] == ("accepted", "")


def test_a_new_suppression_holds_at_once(world, client):
    assert client.message("a@example.org").startswith("250")
    Suppression.objects.create(account=world.account, address="a@example.org", cause="complaint")
    wait_for(lambda: client.begin_message("a@example.org")[0].startswith("550") or not client.ask("RSET"))


MALFORMED = {
    "no From": MESSAGE.replace(b"From:", b"Form:"),
    "two From fields": b"From: shop@boutique.example\r\n" + MESSAGE,
    "two mailboxes": MESSAGE.replace(b"From: ", b"From: a@boutique.example, "),
    "a group": b"From: team: shop@boutique.example;\r\n\r\n",
    "a bare CR": MESSAGE + b"a\rb\r\n",
    "NUL": MESSAGE + b"a\0b\r\n",
    "no header field": b"From: shop@boutique.example\r\nHello there\r\nSubject: x\r\n\r\n",
    "no From before what is no field": b"Hello there\r\n\r\n",
    "a space before the colon": b"From: shop@boutique.example\r\nSubject : x\r\n\r\n",
    "a fold at the beginning": b" folded\r\n" + MESSAGE,
    "nothing": b"",
    "a line over 64 KB": MESSAGE + b"x" * 65_537 + b"\r\n",
    "a header over 256 KB": b"X-Long: " + b"x\r\n " * 70_000 + b"\r\n" + MESSAGE,
    "1,001 fields": b"X-A: b\r\n" * 1_001 + MESSAGE,
}


def test_malformed_messages_are_refused(client):
    for number, (name, content) in enumerate(MALFORMED.items()):
        reply = client.message(f"r{number}@example.org", content=content)
        assert reply.startswith("550 5.6.0 The message cannot be sent: "), name
        assert_rejected(f"r{number}@example.org", "malformed_message", reply, "end_of_data")


def test_a_message_in_a_loop_is_refused(client):
    received = b"Received: by a.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    assert client.message("a@example.org", content=received * 50 + MESSAGE).startswith("250")
    reply = client.message("b@example.org", content=received * 51 + MESSAGE)
    assert reply.startswith("554 5.4.6")
    assert emails()["b@example.org"] == ("rejected", "malformed_message")


def test_refused_recipients_are_rows_of_the_message_that_was_accepted(client):
    client.begin_message("bad..one@example.org", "good@example.org")
    assert client.content().startswith("250")
    assert Message.objects.count() == 1
    assert emails() == {"bad..one@example.org": ("rejected", "invalid_address"), "good@example.org": ("accepted", "")}


def test_refusals_are_recorded_when_the_connection_is_lost(client):
    client.begin_message("bad..one@example.org", "good@example.org")
    client.close()
    the_email("bad..one@example.org")
    assert set(emails()) == {"bad..one@example.org"}


def test_no_valid_recipient_means_no_data(client):
    client.begin_message("bad..one@example.org")
    assert client.ask("DATA").startswith("554 5.5.1")


def test_a_revoked_credential_cannot_go_on_in_an_open_connection(world, client):
    assert client.message("a@example.org").startswith("250")
    SmtpCredential.objects.filter(pk=world.credential.pk).update(revoked_at=timezone.now())
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    assert client.ask("MAIL FROM:<shop@boutique.example>").startswith("530 5.7.0")


def test_a_revocation_holds_for_the_message_under_way(world, client):
    client.begin_message("a@example.org")
    world.credential.revoke()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    assert client.content().startswith("530 5.7.0")
    assert not Recipient.objects.filter(status="accepted").exists()


def test_a_domain_that_was_just_validated_may_send(world, client):
    domain = make_domain(world.account, "new.example", validated=False)
    client.begin_message("a@example.org", sender="shop@new.example")
    domain.validated_at = timezone.now() - dt.timedelta(seconds=1)
    domain.save()
    wait_for(lambda: not world.server.directory.answers, seconds=4)
    client.ask("RSET")
    assert client.begin_message("a@example.org", sender="shop@new.example")[0].startswith("250")


def test_replies_name_nothing_in_bytes_a_client_cannot_read(client):
    [reply] = client.begin_message("a@example.org", sender="shop@ünvalidated.example", parameters=" SMTPUTF8")
    assert reply.startswith("550 5.7.1")
    assert reply.isascii()
    assert len(reply) <= 510
