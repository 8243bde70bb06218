"""Mail that our own pages send: it goes through accept, with the same quota and refusals as over SMTP."""

import email
from email.policy import default

import pytest
from django.core.mail import EmailMessage
from django.urls import reverse
from django.utils import timezone

from activity.accept import Unavailable
from activity.models import MessageContent, Recipient
from activity.status import Status
from tests.factories import make_account, make_domain, make_plan, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account():
    account = make_account(make_user("alice@example.com"))
    make_domain(account)
    return account


@pytest.fixture
def alices(client, account):
    client.force_login(account.members.get())
    return client


def send(client, recipient="delivered@simulator.test"):
    return client.post(reverse("test_email"), {"recipient": recipient}, follow=True)


def test_a_test_email_is_accepted_and_leads_to_its_page(alices, account):
    response = send(alices)
    recipient = Recipient.objects.get()
    assert response.redirect_chain[-1][0] == reverse("activity:email", args=[recipient.pk])
    assert (recipient.status, recipient.address) == (Status.ACCEPTED, "delivered@simulator.test")
    assert account.usage().used == 1


def test_its_bytes_are_a_proper_message(alices):
    send(alices)
    raw = bytes(MessageContent.objects.get().body)
    message = email.message_from_bytes(raw, policy=default)
    assert message["From"] == "test@boutique.example"
    assert message["Message-ID"]
    assert message["Date"]
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_a_spent_quota_refuses_it_clearly(alices, account):
    account.plan = make_plan(monthly_quota=0)
    account.save()
    html = send(alices).content.decode()
    assert Recipient.objects.get().status == Status.REJECTED
    assert "The email was refused: 550 5.7.1 Monthly quota reached" in html
    assert "Quota reached" in html


def test_a_suspended_account_sends_no_test_either(alices, account):
    account.suspended_at = timezone.now()
    account.save()
    html = send(alices).content.decode()
    assert Recipient.objects.get().reason == "account_suspended"
    assert "your account was suspended" in html


def test_a_mistyped_address_is_refused_before_anything_is_sent(alices):
    assert "Enter one valid email address" in send(alices, "nobody").content.decode()
    assert not Recipient.objects.exists()


def test_a_lost_database_is_told_and_nothing_is_accepted(alices, monkeypatch):
    monkeypatch.setattr("relay.system_mail.conninfo", lambda: "host=/nowhere dbname=nothing")
    assert "could not be accepted just now" in send(alices).content.decode()


class TestSystemMail:
    def test_djangos_mail_goes_the_same_way(self, account, settings):
        settings.MAILERS = {"default": {"BACKEND": "relay.system_mail.AcceptBackend"}}
        EmailMessage("Welcome", "Hello", "support@boutique.example", ["a@example.org", "b@example.org"]).send()
        assert Recipient.objects.count() == 2
        assert account.usage().used == 2

    def test_it_needs_a_validated_sender(self, account, settings):
        settings.MAILERS = {"default": {"BACKEND": "relay.system_mail.AcceptBackend"}}
        with pytest.raises(Unavailable):
            EmailMessage("Welcome", "Hello", "support@elsewhere.example", ["a@example.org"]).send()
