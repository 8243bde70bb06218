"""DESIGN's table of refusals, row by row: what the client reads, what is stored, and what the customer's page tells."""

from dataclasses import dataclass, replace
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from activity.models import Message, Recipient, Suppression
from activity.reasons import REJECTIONS, Reason
from billing.models import Membership, Usage, period_of, renewal_of
from tests.factories import make_credential, make_domain, make_user
from tests.submission_world import MESSAGE, submission, the_email, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

MAIL_FROM = "shop@boutique.example"
RENEWAL = f"{renewal_of(period_of(timezone.now())):%Y-%m-%d}"


@dataclass(frozen=True)
class Row:
    """`words`: what the text must name. `stage`: the command whose reply refuses. `before`: makes it so."""

    codes: str
    reason: str
    words: tuple[str, ...]
    stage: str = "rcpt"
    before: str = ""
    sender: str = MAIL_FROM
    recipient: str = "marie@example.org"
    parameters: str = ""
    content: bytes = MESSAGE


def at_end(codes, reason, *words, **fields):
    return Row(codes, reason, words, "end_of_data", **fields)


SUSPENDED = Row("550 5.7.1", Reason.ACCOUNT_SUSPENDED, ("account is suspended", "http"), before="suspend")
PENDING = Row(
    "550 5.7.1",
    Reason.UNAUTHENTICATED_DOMAIN,
    ("domain pending.example", "not a validated domain", "/domains/"),
    before="pending",
    sender="shop@pending.example",
)
BOUND = replace(
    PENDING,
    words=("domain other.example", "may only send as boutique.example", "/domains/"),
    sender="shop@other.example",
)
SUPPRESSED = Row("550 5.1.1", Reason.SUPPRESSED, ("<marie@example.org>", "bounced for good", "/suppressions/"))

TABLE = {
    "a suspended account": SUSPENDED,
    "a sender domain that is not validated": PENDING,
    "a From domain that is not validated": at_end(
        "550 5.7.1",
        Reason.UNAUTHENTICATED_DOMAIN,
        *("From domain pending.example", "not a validated domain", "/domains/"),
        before="pending",
        content=MESSAGE.replace(b"boutique", b"pending"),
    ),
    "a From domain under a null sender": at_end(
        "550 5.7.1",
        Reason.UNAUTHENTICATED_DOMAIN,
        *("From domain bank.example", "/domains/"),
        sender="",
        content=MESSAGE.replace(b"boutique", b"bank"),
    ),
    "a From domain below a validated one": at_end(
        "550 5.7.1",
        Reason.UNAUTHENTICATED_DOMAIN,
        *("From domain mail.boutique.example", "a subdomain is a domain of its own"),
        content=MESSAGE.replace(b"boutique", b"mail.boutique"),
    ),
    "not the credential's sender domain": replace(BOUND, before="bind"),
    "not the credential's From domain": at_end(
        "550 5.7.1",
        Reason.UNAUTHENTICATED_DOMAIN,
        *("From domain other.example", "may only send as boutique.example"),
        before="bind",
        content=MESSAGE.replace(b"boutique", b"other"),
    ),
    "a monthly quota that is reached": at_end(
        "550 5.7.1", Reason.QUOTA_REACHED, "10000 of 10000", RENEWAL, "http", before="spend"
    ),
    "one recipient too many": Row("550 5.5.3", Reason.TOO_MANY_RECIPIENTS, ("0 recipients",), before="no_recipients"),
    "a size that is too large": Row(
        "552 5.3.4", Reason.MESSAGE_TOO_LARGE, ("20971520 bytes", "20 MB"), parameters=" SIZE=20971521"
    ),
    "content that is too large": at_end("552 5.3.4", Reason.MESSAGE_TOO_LARGE, "50 bytes", before="small"),
    "a malformed recipient": Row(
        "553 5.1.3", Reason.INVALID_ADDRESS, ("<marie..x@example.org>",), recipient="marie..x@example.org"
    ),
    "an address literal": Row(
        "553 5.1.3", Reason.INVALID_ADDRESS, ("<marie@[192.0.2.1]>",), recipient="marie@[192.0.2.1]"
    ),
    "an internationalised recipient without SMTPUTF8": Row(
        "553 5.1.3", Reason.INVALID_ADDRESS, ("SMTPUTF8",), recipient="δοκιμή@example.org"
    ),
    "a malformed sender": Row(
        "553 5.1.7", Reason.INVALID_ADDRESS, ("<.shop@boutique.example>",), sender=".shop@boutique.example"
    ),
    "a recipient that bounced for good": replace(SUPPRESSED, before="hard_bounce"),
    "a recipient who complained": replace(
        SUPPRESSED, codes="550 5.7.1", words=("complained", "/suppressions/"), before="complaint"
    ),
    "a recipient suppressed by hand": replace(
        SUPPRESSED, codes="550 5.7.1", words=("by hand", "/suppressions/"), before="manual"
    ),
    "no From": at_end(
        "550 5.6.0", Reason.MALFORMED_MESSAGE, "no From header field", content=b"To: marie@example.org\r\n\r\n"
    ),
    "two From": at_end(
        "550 5.6.0",
        Reason.MALFORMED_MESSAGE,
        "more than one From",
        content=b"From: shop@boutique.example\r\n" + MESSAGE,
    ),
    "a From with two mailboxes": at_end(
        *("550 5.6.0", Reason.MALFORMED_MESSAGE, "exactly one mailbox"),
        content=b"From: shop@boutique.example, shop2@boutique.example\r\n\r\n",
    ),
    "a bare CR": at_end("550 5.6.0", Reason.MALFORMED_MESSAGE, "carriage return", content=MESSAGE + b"a\rb\r\n"),
    "a NUL": at_end("550 5.6.0", Reason.MALFORMED_MESSAGE, "NUL", content=MESSAGE + b"a\0b\r\n"),
    "a lone dot beside a bare LF": at_end(
        "550 5.6.0", Reason.MALFORMED_MESSAGE, "lone dot", content=MESSAGE + b"a\n.\r\nb\r\n"
    ),
    "a header block that cannot be signed": at_end(
        *("550 5.6.0", Reason.MALFORMED_MESSAGE, "line 2 is not a header field"),
        content=b"From: shop@boutique.example\r\nno field\r\nSubject: x\r\n\r\n",
    ),
    "a loop": at_end("554 5.4.6", Reason.MALFORMED_MESSAGE, "51 Received", content=b"Received: x\r\n" * 51 + MESSAGE),
}


class Prepared:
    """What has to be so before a row's message is sent."""

    def suspend(self, world):
        world.account.suspended_at = timezone.now()
        world.account.save()

    def pending(self, world):
        make_domain(world.account, "pending.example", validated=False)

    def bind(self, world):
        make_domain(world.account, "other.example")
        world.credential, world.secret = make_credential(world.account, domain=world.domain)

    def spend(self, world):
        Usage.objects.create(account=world.account, period=period_of(timezone.now()), used=10_000)

    def no_recipients(self, world):
        world.account.max_recipients = 0
        world.account.save()

    def small(self, world):
        world.server.max_bytes = 50

    def hard_bounce(self, world):
        Suppression.objects.create(account=world.account, address="marie@example.org", cause="hard_bounce")

    def complaint(self, world):
        Suppression.objects.create(account=world.account, address="marie@example.org", cause="complaint")

    def manual(self, world):
        Suppression.objects.create(account=world.account, address="marie@example.org", cause="manual")


@pytest.fixture
def world(tmp_path):
    with submission(tmp_path) as world:
        yield world


def refusal_of(client, row):
    """The reply that refuses; every reply before it is a good one."""
    mail = f"MAIL FROM:<{row.sender}>{row.parameters}"
    assert client.ask(mail).startswith("250"), "nothing is refused at MAIL"
    reply = client.ask(f"RCPT TO:<{row.recipient}>")
    if row.stage == "end_of_data":
        assert reply.startswith("250")
        reply = client.content(row.content)
    client.ask("RSET")
    return reply


@pytest.mark.parametrize("name", TABLE)
def test_each_row_is_refused_with_its_codes_and_words_and_told_in_activity(world, client, name):
    row = TABLE[name]
    if row.before:
        getattr(Prepared(), row.before)(world)
    spent = Usage.objects.filter(account=world.account).values_list("used", flat=True).first()
    reply = refusal_of(world.ready(), row)
    assert reply.startswith(row.codes + " ")
    for word in row.words:
        assert word in reply
    assert len(reply) <= 510
    assert reply.isascii()

    email, event = the_email(row.recipient)
    assert (email.status, email.reason, email.reply) == ("rejected", row.reason, unescaped(reply))
    assert (event.status, event.reason, event.stage, event.code, event.enhanced) == (
        *("rejected", row.reason, row.stage, int(reply[:3])),
        reply.split()[1],
    )
    assert Message.objects.get(pk=email.message_id).mail_from == row.sender
    assert Usage.objects.filter(account=world.account).values_list("used", flat=True).first() in (spent, 0)
    assert_page_tells(client, world.account, email)


def unescaped(reply):
    """What is stored holds the characters that the reply shows in ASCII."""
    return reply.encode().decode("unicode-escape")


def assert_page_tells(client, account, email):
    """The customer reads the cause, the cure, the sender, the recipient and our own words."""
    alice = make_user("alice@example.com")
    Membership.objects.create(account=account, user=alice, role=Membership.Role.OWNER)
    client.force_login(alice)
    html = unescape(client.get(reverse("activity:email", args=[email.pk])).content.decode())
    message = Message.objects.get(pk=email.message_id)
    advice = Reason(email.reason).advice
    for text in (
        email.address,
        message.header_from or message.mail_from,
        advice.meaning,
        advice.action,
        email.reply[10:],
    ):
        assert str(text) in html
    listed = unescape(client.get(reverse("activity:list"), {"status": "rejected"}).content.decode())
    assert email.address in listed


def test_the_table_holds_every_reason_for_a_refusal():
    assert {row.reason for row in TABLE.values()} == REJECTIONS


@pytest.mark.parametrize("row", [SUSPENDED, PENDING, Row("552 5.3.4", "", (), parameters=" SIZE=99999999")])
def test_what_is_wrong_with_the_sender_waits_for_rcpt_and_is_a_row_for_each(world, row):
    if row.before:
        getattr(Prepared(), row.before)(world)
    client = world.ready()
    assert client.ask(f"MAIL FROM:<{row.sender}>{row.parameters}").startswith("250")
    replies = [client.ask(f"RCPT TO:<r{number}@example.org>") for number in range(3)]
    assert {reply[:9] for reply in replies} == {row.codes}
    assert client.ask("DATA").startswith("554 5.5.1"), "there is nobody left to send to"
    client.ask("QUIT")
    wait_for(lambda: Recipient.objects.filter(status="rejected").count() == 3)
    assert Message.objects.count() == 1


@pytest.mark.parametrize("name", ["two From", "a From domain that is not validated", "a monthly quota that is reached"])
def test_a_message_that_is_refused_at_its_end_is_told_with_its_subject(world, name):
    row = TABLE[name]
    if row.before:
        getattr(Prepared(), row.before)(world)
    refusal_of(world.ready(), row)
    email, _ = the_email(row.recipient)
    assert Message.objects.get(pk=email.message_id).subject == "Your receipt"


def test_a_recipient_named_twice_is_one_row_and_one_of_the_fifty(world):
    client = world.ready()
    replies = client.begin_message(
        *(f"r{n % 50}@example.org" for n in range(60)), "bad..one@example.org", "bad..one@example.org"
    )
    assert [reply[:3] for reply in replies] == ["250"] * 60 + ["553"] * 2
    assert client.ask("RCPT TO:<r50@example.org>").startswith("550 5.5.3")
    assert client.content().startswith("250")
    assert Usage.objects.get().used == 50
    assert Recipient.objects.count() == 52


def test_an_account_may_have_a_limit_of_no_messages_at_all(world):
    world.account.messages_a_minute = 0
    world.account.save()
    assert world.ready().ask("MAIL FROM:<shop@boutique.example>").startswith("450 4.7.0")


def test_a_recipient_refused_at_first_and_then_taken_is_one_row(world):
    entry = Suppression.objects.create(account=world.account, address="marie@example.org", cause="manual")
    client = world.ready()
    [first] = client.begin_message("marie@example.org")
    entry.delete()
    again = wait_for(lambda: (reply := client.ask("RCPT TO:<marie@example.org>")).startswith("250") and reply)
    assert (first[:3], again[:3]) == ("550", "250")
    assert client.content().startswith("250")
    assert [email.status for email in Recipient.objects.all()] == ["accepted"]
