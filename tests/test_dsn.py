"""Notifications of our own: owed only where a credential asks for them, made once, never about a notification."""

import email
from email.policy import default

import pytest
from django.urls import reverse
from django.utils import timezone

from activity.models import Message, MessageContent, OwedDsn, Recipient
from activity.outcome import Outcome
from activity.status import Status
from activity.suppress import Cause, suppress
from domains.own import own_domain
from relay import dsn
from relay.bounces.understanding import understand
from tests.delivering import accepted_email, engine_running, simulated, wait_until_final
from tests.factories import make_account, make_credential, make_domain, make_email, make_user, record_report

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account():
    return make_account(make_user("alice@example.com"))


@pytest.fixture
def credential(account):
    return make_credential(account, send_dsn=True)[0]


def bounced(account, status=Status.HARD_BOUNCE, address="gone@dest.test", **fields):
    recipient = make_email(account, address, mail_from="shop@dest.test", **fields)
    MessageContent.objects.create(
        id=recipient.message_id, body=b"From: shop@dest.test\r\nSubject: Hi\r\n\r\nsecret body"
    )
    outcome = Outcome(status, "unknown_user", "", 550, "5.1.1", "550 5.1.1 No such user\r\nX-Evil: 1", "mx1.dest.test")
    record_report(recipient.id, outcome, timezone.now())
    return recipient


def notification():
    sent = Message.objects.get(mail_from="")
    return sent, email.message_from_bytes(bytes(MessageContent.objects.get(id=sent.id).body), policy=default)


@pytest.mark.parametrize("status", [Status.HARD_BOUNCE, Status.SOFT_BOUNCE])
def test_a_late_bounce_is_told_to_the_envelope_sender(account, credential, status):
    bounced(account, status, credential_id=credential.id)
    assert dsn.send_owed() == 1
    sent, message = notification()
    assert Recipient.objects.get(message_id=sent.id).address == "shop@dest.test"
    assert message.get_content_type() == "multipart/report"
    words, about, original = message.iter_parts()
    assert "gone@dest.test" in words.get_content()
    first, second = about.get_payload()
    assert first["Reporting-MTA"].startswith("dns; ")
    assert second["Final-Recipient"] == "rfc822; gone@dest.test"
    assert (second["Action"], second["Status"], second["Remote-MTA"]) == ("failed", "5.1.1", "dns; mx1.dest.test")
    assert second["Diagnostic-Code"].startswith("smtp; 550 5.1.1 No such user")
    assert second["X-Evil"] is None
    assert "Subject: Hi" in original.get_content()
    assert b"secret body" not in bytes(MessageContent.objects.get(id=sent.id).body)


@pytest.mark.parametrize("address", ["gone@dest.test", "jörg@dest.test", '"a b"@dest.test', "a\\=b+c@dest.test"])
def test_other_software_reads_whom_it_is_about(account, credential, address):
    """Ours stands for it: the same RFC 3464 and 6533, read as anybody's report is."""
    bounced(account, address=address, credential_id=credential.id)
    dsn.send_owed()
    sent, _ = notification()
    report = understand(bytes(MessageContent.objects.get(id=sent.id).body))
    assert report.kind == "bounce"
    assert [(said.final, said.outcome) for said in report.recipients] == [(address, Status.HARD_BOUNCE)]


def test_it_is_made_once_and_no_customer_pays_for_it(account, credential):
    bounced(account, credential_id=credential.id)
    assert (dsn.send_owed(), dsn.send_owed()) == (1, 0)
    assert account.usage().used == 0
    assert not OwedDsn.objects.exists()


@pytest.mark.parametrize("fields", [{"send_dsn": False}, {"send_dsn": True, "mail_from": ""}])
def test_nobody_who_did_not_ask_and_no_notification_is_told(account, fields):
    asks = make_credential(account, send_dsn=fields.pop("send_dsn"))[0]
    recipient = make_email(account, **{"mail_from": "shop@dest.test", "credential_id": asks.id, **fields})
    record_report(recipient.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
    assert not OwedDsn.objects.exists()


def test_a_crash_before_the_commit_leaves_the_debt(account, credential, monkeypatch):
    bounced(account, credential_id=credential.id)

    async def crash(*_):
        raise OSError("cut off")

    monkeypatch.setattr(dsn, "accept", crash)
    with pytest.raises(OSError, match="cut off"):
        dsn.send_owed()
    assert OwedDsn.objects.exists()
    monkeypatch.undo()
    assert dsn.send_owed() == 1


def test_no_more_notifications_go_where_notifications_bounce(account, credential):
    suppress(own_domain().account_id, "shop@dest.test", Cause.HARD_BOUNCE)
    bounced(account, credential_id=credential.id)
    assert dsn.send_owed() == 0
    assert not OwedDsn.objects.exists()


NO_IDS = ["<ä =?utf-8?b?////?= =?utf-8?q?=0A?=>", "<=?utf-8?b?////?=@x>", "<a\x1bb>", "<a b@x>", "a" * 300]


@pytest.mark.parametrize("written", NO_IDS)
def test_what_was_written_as_a_message_id_fails_no_notification(account, credential, written):
    bounced(account, credential_id=credential.id, header_id=written)
    assert dsn.send_owed() == 1
    _, message = notification()
    assert "References" not in message


def test_the_message_id_is_referred_to(account, credential):
    bounced(account, credential_id=credential.id, header_id="<a=b.c+1@mail.boutique.example>")
    dsn.send_owed()
    assert notification()[1]["References"] == "<a=b.c+1@mail.boutique.example>"


def test_one_that_cannot_be_written_keeps_nobody_else_waiting(account, credential, monkeypatch, caplog):
    for number in range(3):
        bounced(account, address=f"gone{number}@dest.test", credential_id=credential.id)
    compose = dsn.compose

    def moody(bounce):
        return 1 / 0 if bounce.recipient.address == "gone0@dest.test" else compose(bounce)

    monkeypatch.setattr(dsn, "compose", moody)
    assert dsn.send_owed() == 2
    assert "ZeroDivisionError" in caplog.text
    assert not OwedDsn.objects.exists()


def test_an_internationalised_address_is_written_in_ascii():
    assert dsn.typed_address("jörg@dest.test") == r"utf-8; j\x{F6}rg@dest.test"


def test_the_own_domain_is_made_once(db):
    assert own_domain() == own_domain()
    assert own_domain().keys.count() == 2


def test_the_engine_delivers_it_without_a_sender_and_signed_by_our_zone(account, credential):
    domain = make_domain(account)
    domain.make_keys()
    with simulated() as simulator, engine_running():
        mail = accepted_email(domain, "unknown@simulator.test", credential_id=credential.id, mail_from="shop@dest.test")
        wait_until_final(mail)
        assert mail.status == "hard_bounce"
        assert dsn.send_owed() == 1
        sent, _ = notification()
        told = Recipient.objects.get(message_id=sent.id)
        wait_until_final(told)
        assert told.status == "delivered"
    [message] = simulator.received
    assert (message.sender, message.recipients) == ("", ("shop@dest.test",))
    assert b"d=relay.test;" in message.content


def test_a_member_switches_it_on_and_off(client, account):
    client.force_login(account.members.get())
    credential, _ = make_credential(account)
    url = reverse("setup:switch_dsn", args=[credential.pk])
    assert "told to the envelope sender" in client.post(url, {"send_dsn": "on"}, follow=True).content.decode()
    credential.refresh_from_db()
    assert credential.send_dsn
    client.post(url)
    credential.refresh_from_db()
    assert not credential.send_dsn
