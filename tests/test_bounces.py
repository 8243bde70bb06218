"""The return-path server over real sockets: what it takes, what it refuses, and that what it took is kept."""

import smtplib
from contextlib import closing, contextmanager

import pytest
from django.test import override_settings

from activity.models import InboundReport, Recipient, StatusEvent
from activity.pool import open_pool
from activity.status import Status
from relay import returnpath
from relay.bounces.server import Server
from relay.simulator.reports import REPORTS, Report
from relay.tasks import sweep_reports, understand_report
from tests.factories import make_account, make_domain, make_email
from tests.mail_world import Client, Loop
from tests.test_simulator_reports import received

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def serving():
    loop = Loop()
    pool = loop.run(open_pool(2, "bounces"))

    async def begin():
        server = Server(pool)
        await server.start("127.0.0.1", 0)
        return server

    server = loop.run(begin())
    try:
        yield server
    finally:
        loop.run(server.stop())
        loop.run(pool.close())
        loop.close()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def email():
    account = make_account()
    domain = make_domain(account)
    return make_email(account, "late-bounce@simulator.test", domain_id=domain.id)


def return_path_of(email, host="bounce.boutique.example"):
    return returnpath.make(email.id, host)


def report_on(email, kind=Report.NON_DELIVERY, mailbox="late-bounce@simulator.test"):
    message = received(sender=return_path_of(email), mailbox=mailbox)
    return REPORTS[kind](message, mailbox, "mx.simulator.test")


def send(server, to, content=b"Subject: x\r\n\r\nx\r\n", sender=""):
    with smtplib.SMTP("127.0.0.1", server.port, timeout=10) as smtp:
        smtp.sendmail(sender, to, content)


def history(email):
    return list(StatusEvent.objects.filter(recipient_id=email.id).order_by("at", "id").values_list("status", "note"))


def test_a_late_bounce_turns_a_delivered_email_into_a_hard_bounce(server, email):
    send(server, return_path_of(email), report_on(email))
    understand_report(str(InboundReport.objects.get().id))
    email.refresh_from_db()
    assert (email.status, email.reason) == (Status.HARD_BOUNCE, "unknown_user")
    assert email.reply == "550 5.1.1 No such user here"
    assert [status for status, _ in history(email)] == ["accepted", "pending", "delivered", "hard_bounce"]
    event = StatusEvent.objects.get(recipient_id=email.id, status="hard_bounce")
    assert (event.code, event.enhanced, event.host) == (550, "5.1.1", "mx.simulator.test")
    report = InboundReport.objects.get()
    assert (report.kind, report.recipient_id) == ("bounce", email.id)
    assert report.understood_at is not None
    assert "late-bounce@simulator.test: Hard bounce" in report.conclusion
