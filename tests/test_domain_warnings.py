"""Warnings to the owners of an account about its domains: each once, in their time zone, and never lost."""

import datetime as dt
import threading
from unittest import mock

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import get_language

from activity.models import Recipient
from billing.models import Membership
from domains import warnings
from domains.models import DomainEvent
from domains.warnings import send_owed
from relay.tasks import warn_owners
from tests.factories import make_account, make_domain, make_user

pytestmark = pytest.mark.django_db(transaction=True)

Kind = DomainEvent.Kind


@pytest.fixture
def domain():
    account = make_account(make_user("alice@example.com"), make_user("bob@example.com"), time_zone="Asia/Tokyo")
    found = {"dkim2": {"state": "missing", "last": "missing", "found": [], "problem": ""}}
    return make_domain(account, "xn--bcher-kva.example", found=found)


def owe(domain, kind=Kind.FAILING, **fields):
    until = dt.datetime(2026, 12, 1, 20, 30, tzinfo=dt.UTC)
    detail = {"records": ["dkim2"], "until": until.isoformat()}
    return DomainEvent.objects.create(domain=domain, kind=kind, mail_owed=True, detail=detail, **fields)


def test_a_failing_domain_is_told_to_the_owners_and_to_nobody_else(domain):
    owe(domain)
    assert send_owed() == 1
    (sent,) = mail.outbox
    assert sent.to == ["alice@example.com"]
    assert sent.subject == "bücher.example: a DNS record is not right any more"


def test_the_email_says_until_when_it_sends_which_record_it_is_and_where_to_look(domain, settings):
    settings.WEB_URL = "https://relay.example"
    owe(domain)
    send_owed()
    text = mail.outbox[0].body
    assert "until 2 December 2026, 05:30 JST" in text
    assert f"r2._domainkey.xn--bcher-kva.example CNAME {domain.token}.r2.dkim.relay.test" in text
    assert "It was not found." in text
    assert "r1._domainkey" not in text
    assert f"https://relay.example/domains/{domain.pk}/" in text


def test_the_email_is_written_in_the_language_of_the_account(domain):
    domain.account.language = "fr"
    domain.account.save()
    owe(domain)
    spoken = []
    real = warnings.compose
    with mock.patch.object(warnings, "compose", lambda event: spoken.append(get_language()) or real(event)):
        send_owed()
    assert spoken == ["fr"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Kind.UNAUTHENTICATED, "mail is Rejected until its DNS records are right"), (Kind.LOST, "taken over")],
)
def test_the_end_of_the_grace_and_a_takeover_are_told_too(domain, kind, words):
    owe(domain, kind)
    send_owed()
    assert words in mail.outbox[0].subject


def test_each_warning_is_sent_once(domain):
    owe(domain)
    assert [send_owed(), send_owed()] == [1, 0]
    assert len(mail.outbox) == 1


def test_what_is_not_owed_is_not_sent(domain):
    DomainEvent.objects.create(domain=domain, kind=Kind.RECOVERED)
    assert send_owed() == 0


def test_every_owner_is_told_and_those_who_left_are_not(domain):
    for email, active in (("carol@example.com", True), ("gone@example.com", False)):
        user = make_user(email, is_active=active)
        Membership.objects.create(account=domain.account, user=user, role=Membership.Role.OWNER)
    owe(domain)
    send_owed()
    assert [each.to for each in mail.outbox] == [["alice@example.com"], ["carol@example.com"]]


def test_a_warning_that_could_not_be_sent_is_tried_again_for_those_who_did_not_get_it(domain):
    carol = make_user("carol@example.com")
    Membership.objects.create(account=domain.account, user=carol, role=Membership.Role.OWNER)
    owe(domain)
    real = warnings.send_mail

    def failing(subject, text, sender, addresses):
        if addresses == ["carol@example.com"]:
            raise OSError("no database")
        return real(subject, text, sender, addresses)

    with mock.patch.object(warnings, "send_mail", failing):
        assert send_owed() == 1
    assert send_owed() == 1
    assert send_owed() == 0
    assert [each.to[0] for each in mail.outbox] == ["alice@example.com", "carol@example.com"]


def test_one_warning_that_cannot_be_sent_does_not_hold_up_the_others(domain):
    owe(domain)
    owe(make_domain(make_account(make_user("dora@example.com")), "shop.example"))
    real = warnings.send_mail

    def failing(subject, *rest):
        if "bücher" in subject:
            raise OSError("no database")
        return real(subject, *rest)

    with mock.patch.object(warnings, "send_mail", failing):
        assert send_owed() == 1
    assert mail.outbox[0].to == ["dora@example.com"]


def test_a_warning_that_waited_for_days_is_not_sent_any_more(domain):
    event = owe(domain, at=timezone.now() - warnings.STALE - dt.timedelta(minutes=1))
    assert send_owed() == 0
    event.refresh_from_db()
    assert not event.mail_owed


def test_an_account_without_owners_owes_nothing(domain):
    Membership.objects.all().delete()
    event = owe(domain)
    assert send_owed() == 0
    event.refresh_from_db()
    assert not event.mail_owed


def test_two_workers_do_not_send_the_same_warning(domain):
    event = owe(domain)
    counts = []

    def work():
        counts.append(send_owed())
        connection.close()

    with transaction.atomic():
        DomainEvent.objects.select_for_update().get(pk=event.pk)
        worker = threading.Thread(target=work)
        worker.start()
        worker.join(20)
    assert counts == [0]
    assert send_owed() == 1


def test_the_task_hands_the_email_to_our_own_relay(domain, settings):
    settings.MAILERS = {"default": {"BACKEND": "relay.system_mail.AcceptBackend"}}
    owe(domain)
    warn_owners()
    email = Recipient.objects.get()
    assert (email.address, email.status) == ("alice@example.com", "accepted")
