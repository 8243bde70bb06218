"""The return-path server over real sockets: what it takes, what it refuses, and that what it took is kept."""

import datetime as dt
import json
import smtplib
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager

import psutil
import pytest
import redis
from django.conf import settings
from django.test import override_settings
from django.utils import timezone
from psycopg_pool import AsyncConnectionPool
from uuid_utils.compat import uuid7

from activity.models import InboundReport, Recipient, StatusEvent
from activity.pool import open_pool
from activity.status import Status
from domains.models import Domain
from relay import returnpath
from relay.bounces.server import Server
from relay.bounces.session import peer_at
from relay.simulator.reports import REPORTS, Report
from relay.tasks import sweep_reports, understand_report
from tests.factories import make_account, make_domain, make_email
from tests.mail_world import Client, Loop
from tests.test_simulator import trusting
from tests.test_simulator_reports import received

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def serving(dsn=None):
    """The server on a free port. `dsn` names another database."""
    loop = Loop()
    if dsn:
        pool = AsyncConnectionPool(dsn, min_size=0, max_size=1, timeout=0.5, open=False)
        loop.run(pool.open())
    else:
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
        loop.run(pool.close(1))
        loop.close()


def wait_for(condition, seconds=10):
    """What the condition came to, as soon as it holds."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


def make_certificate(folder):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=mx"
    subprocess.run(
        [*command.split(), "-keyout", "key", "-out", "certificate"], cwd=folder, check=True, capture_output=True
    )
    return folder / "certificate", folder / "key"


@pytest.fixture(scope="module")
def certificate_files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def email(account):
    """Delivered an hour ago."""
    domain = make_domain(account)
    hour_ago = timezone.now() - dt.timedelta(hours=1)
    return make_email(account, "late-bounce@simulator.test", at=hour_ago, domain_id=domain.id)


def return_path_of(email, host="bounce.boutique.example"):
    return returnpath.make(email.id, host)


def report_on(email, kind=Report.NON_DELIVERY, mailbox="late-bounce@simulator.test"):
    message = received(sender=return_path_of(email), mailbox=mailbox)
    return REPORTS[kind](message, mailbox, "mx.simulator.test")


def send(server, to, content=b"Subject: x\r\n\r\nx\r\n", sender=""):
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as smtp:
        smtp.sendmail(sender, to, content)


def answer_to(server, to):
    """The reply to RCPT."""
    with closing(Client(server.port)) as client:
        client.reply()
        client.ask("EHLO client.test")
        client.ask("MAIL FROM:<>")
        return client.ask(f"RCPT TO:<{to}>")


def history(email):
    return list(StatusEvent.objects.filter(recipient_id=email.id).order_by("at", "id").values_list("status", flat=True))


# The whole way.


def test_a_late_bounce_turns_a_delivered_email_into_a_hard_bounce(server, email):
    send(server, return_path_of(email), report_on(email))
    understand_report(str(InboundReport.objects.get().id))
    email.refresh_from_db()
    assert (email.status, email.reason) == (Status.HARD_BOUNCE, "unknown_user")
    assert email.reply == "550 5.1.1 No such user here"
    assert history(email) == ["accepted", "pending", "delivered", "hard_bounce"]
    event = StatusEvent.objects.get(recipient_id=email.id, status="hard_bounce")
    assert (event.code, event.enhanced, event.host) == (550, "5.1.1", "mx.simulator.test")
    report = InboundReport.objects.get()
    assert (report.kind, report.recipient_id) == ("bounce", email.id)
    assert report.understood_at is not None
    assert "Bounce: late-bounce@simulator.test: Hard bounce" in report.conclusion


def test_the_worker_is_told_by_a_task(server, email):
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete("reports")
        send(server, return_path_of(email))
        assert wait_for(lambda: client.llen("reports")) == 1
        headers = json.loads(client.lindex("reports", 0))["headers"]
        assert headers["task"] == "relay.understand_report"
        assert str(InboundReport.objects.get().id) in headers["argsrepr"]


def test_a_report_is_taken_without_any_broker(server, email, monkeypatch):
    monkeypatch.setattr("relay.bounces.bell.send", lambda reports: 1 / 0)
    send(server, return_path_of(email), report_on(email))
    sweep_reports()
    email.refresh_from_db()
    assert email.status == Status.HARD_BOUNCE


def test_a_report_is_kept_byte_for_byte(server, email):
    content = b"Subject: x\r\n\r\n.dot\r\n..\r\nbare\nlf\r\n\x00\xff" + b"x" * 60_000 + b"\r\n\r\n"
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email), sender="someone@dest.test")
        client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert client.reply().startswith("250 2.0.0")
    report = InboundReport.objects.get()
    assert bytes(report.raw) == content
    assert (report.mail_from, report.rcpt_to) == ("someone@dest.test", return_path_of(email))


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7])
def test_only_a_dot_between_two_crlf_ends_a_report(server, email, step):
    content = b"a\r\n.b\n.\nc\r.\rd.\r\n..\r\ne\r\n"
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stuffed), step):
            client.send(stuffed[start : start + step])
        assert client.reply().startswith("250 2.0.0")
    assert bytes(InboundReport.objects.get().raw) == content


def test_an_empty_report_is_taken(server, email):
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        assert client.ask(".").startswith("250 2.0.0")
    assert bytes(InboundReport.objects.get().raw) == b""


def test_many_reports_come_over_one_pipelined_connection(server, email):
    path = return_path_of(email)
    one = f"MAIL FROM:<>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode() + b"Subject: %d\r\n\r\nx\r\n.\r\n"
    with closing(Client(server.port)) as client:
        client.send(b"EHLO c.test\r\n" + b"".join(one % number for number in range(20)) + b"QUIT\r\n")
        replies = []
        while reply := client.reply():
            replies.append(reply[:3])
    assert replies == ["220", "250", *["250", "250", "354", "250"] * 20, "221"]
    kept = [bytes(raw) for raw in InboundReport.objects.order_by("id").values_list("raw", flat=True)]
    assert kept == [b"Subject: %d\r\n\r\nx\r\n" % number for number in range(20)]


def test_a_reply_is_not_held_back_for_a_command_that_has_not_come_whole(server, email):
    with closing(Client(server.port)) as client:
        client.reply()
        client.ask("EHLO client.test")
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<")
        assert client.reply().startswith("250 2.1.0")
        assert client.ask(f"{return_path_of(email)}>").startswith("250 2.1.5")


# Which addresses are ours.


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_return_paths_are_known_in_any_case(server, email, change):
    assert answer_to(server, change(return_path_of(email))).startswith("250")


@pytest.mark.parametrize(
    "host", ["bounce.boutique.example", "old-label.boutique.example", "{token}.bounce.relay.test", "bounce.relay.test"]
)
def test_a_return_path_is_known_at_the_domains_hosts(server, email, host):
    token = Domain.objects.get().token
    assert answer_to(server, return_path_of(email, host.format(token=token))).startswith("250")


@pytest.mark.parametrize(
    "host",
    ["boutique.example", "bounce.elsewhere.example", "evilboutique.example", "x.bounce.relay.test", "relay.test", ""],
)
def test_a_token_opens_no_other_host(server, email, host):
    assert answer_to(server, return_path_of(email, host)).startswith("550 5.1.1")


@pytest.mark.parametrize(
    "host", [b"bounce.\0boutique.example", b"bounce.\xffboutique.example", b"\0", b"\xc3\xa9.example"]
)
def test_a_token_at_what_is_no_host_name_is_refused_for_good(server, host):
    path = return_path_of(Recipient(id=uuid7()), "").encode() + host
    with closing(Client(server.port)) as client:
        client.reply()
        client.ask("EHLO client.test")
        client.ask("MAIL FROM:<>")
        client.send(b"RCPT TO:<" + path + b">\r\n")
        assert client.reply().startswith("550 5.1.1")


def test_a_token_opens_no_host_of_another_account(server, email):
    other = make_domain(make_account(), "other.example")
    for host in ("bounce.other.example", f"{other.token}.bounce.relay.test"):
        assert answer_to(server, return_path_of(email, host)).startswith("550 5.1.1")


def test_forged_and_foreign_addresses_are_refused(server, email):
    path = return_path_of(email)
    forged = [
        path[:20] + ("a" if path[20] != "a" else "b") + path[21:],
        path.replace("b+", "b+b+"),
        "b+" + "a" * 42 + "@bounce.boutique.example",
        "b+@bounce.boutique.example",
        "ann@boutique.example",
        "postmaster@boutique.example",
        "ann@elsewhere.test",
        "x" * 65 + "@bounce.boutique.example",
        path + "%evil.test",
    ]
    for address in forged:
        assert answer_to(server, address).startswith("550 5.1.1"), address


@pytest.mark.parametrize("address", ["postmaster", "postmaster@relay.test", "Abuse@Relay.Test", "fbl@relay.test"])
def test_addresses_of_our_own_are_taken(server, address):
    send(server, address)
    assert InboundReport.objects.get().recipient_id is None


def test_reports_on_emails_that_are_no_longer_kept_are_taken(server, account):
    make_domain(account)
    gone = Recipient(id=uuid7())
    assert answer_to(server, return_path_of(gone)).startswith("250")
    assert answer_to(server, return_path_of(gone, "bounce.elsewhere.example")).startswith("550")
    send(server, return_path_of(gone), report_on(gone))
    sweep_reports()
    report = InboundReport.objects.get()
    assert report.understood_at is not None
    assert report.conclusion.endswith("The email is no longer kept.")


def test_tokens_made_with_an_old_key_are_accepted_for_a_while(server, email):
    with override_settings(SECRET_KEY="an-older-key" * 4):
        path = return_path_of(email)
    assert answer_to(server, path).startswith("550")
    with override_settings(SECRET_KEY_FALLBACKS=["an-older-key" * 4]):
        assert answer_to(server, path).startswith("250")


# Limits.


def test_nobody_logs_in(server):
    with smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH PLAIN AGEAYg==")[0] == 502


def test_a_size_over_the_limit_is_refused_at_mail(server):
    with smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features["size"] == str(settings.MAX_REPORT_BYTES)
        assert smtp.docmd(f"MAIL FROM:<> SIZE={settings.MAX_REPORT_BYTES + 1}")[0] == 552


def test_a_report_over_the_limit_is_drained_and_refused(email):
    with override_settings(MAX_REPORT_BYTES=100_000), serving() as server, closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        client.send(b"x" * 99_998 + b"\r\n.\r\n")
        assert client.reply().startswith("250")
        for content in (b"x" * 99_999 + b"\r\n", b"line\r\n" * 50_000):
            for command in ("MAIL FROM:<>", f"RCPT TO:<{return_path_of(email)}>", "DATA"):
                assert client.ask(command)[0] in "23"
            client.send(content + b".\r\n")
            assert client.reply().startswith("552 5.3.4")
        assert client.ask("NOOP").startswith("250")
        assert server.desk.limits.room.used == 0
    assert InboundReport.objects.count() == 1


def test_a_report_of_30_mb_costs_no_memory(server, email):
    process = psutil.Process()
    before = process.memory_info().rss
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        block = b"\r\n" * 500_000
        for _ in range(30):
            client.send(block)
        client.send(b".\r\n")
        assert client.reply().startswith("552 5.3.4")
    assert process.memory_info().rss - before < 60_000_000


def test_connections_from_one_address_are_bounded(server):
    with override_settings(REPORT_CONNECTIONS=3), serving() as server, ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server.port))) for _ in range(4)]
        assert [client.reply()[:3] for client in clients] == ["220", "220", "220", "421"]
        clients[0].ask("QUIT")
        wait_for(lambda: server.desk.limits.open.total() == 2)
        assert stack.enter_context(closing(Client(server.port))).reply().startswith("220")


def test_an_ipv6_network_is_one_address_and_an_ipv4_client_is_itself():
    with serving() as server:
        server.desk.limits.connections_of_one = 1
        clients = ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2")
        admitted = [server.desk.limits.connect(peer_at((client, 40_000))) for client in clients]
    assert admitted == [True, False, True, True, True]


def test_reports_from_one_address_are_bounded(email):
    with override_settings(REPORTS_A_MINUTE=2), serving() as server:
        for _ in range(2):
            send(server, return_path_of(email))
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            send(server, return_path_of(email))
        assert refused.value.smtp_code == 450


def test_guessing_addresses_ends_soon(server):
    with closing(Client(server.port)) as client:
        client.reply()
        client.ask("EHLO client.test")
        client.ask("MAIL FROM:<>")
        codes = {client.ask(f"RCPT TO:<guess{number}@relay.test>")[:3] for number in range(120)}
    assert codes == {"550", "450"}


def test_room_for_reports_on_their_way_is_bounded(server, email):
    server.desk.limits.room.limit = 100_000
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        client.send(b"x\r\n" * 50_000 + b".\r\n")
        assert client.reply().startswith("452 4.3.1")
        assert server.desk.limits.room.used == 0


def test_a_database_that_is_away_is_a_temporary_error(email):
    path = return_path_of(email)
    with serving(dsn="host=127.0.0.1 port=1") as server:
        assert answer_to(server, path).startswith("451 4.3.0")
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(server, path.replace("bounce.boutique.example", "bounce.relay.test"))
        assert refused.value.smtp_code == 451
    assert not InboundReport.objects.exists()


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(server, email):
    with closing(Client(server.port)) as client:
        client.begin(return_path_of(email))
        client.send(b"half a report\r\n")
    wait_for(lambda: not server.desk.limits.open)
    assert server.desk.limits.room.used == 0
    assert not InboundReport.objects.exists()


def test_starttls_carries_a_report(email, certificate_files):
    certificate, key = certificate_files
    tls = override_settings(TLS_CERTIFICATE=certificate, TLS_KEY=key)
    with tls, serving() as server, smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.starttls(context=trusting())
        smtp.ehlo()
        assert not smtp.has_extn("starttls")
        assert not smtp.has_extn("auth")
        smtp.sendmail("", return_path_of(email), report_on(email))
    assert InboundReport.objects.count() == 1


def shown_certificate(server):
    with smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.starttls(context=trusting())
        return smtp.sock.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_used_from_the_next_connection_on(db, tmp_path):
    certificate, key = make_certificate(tmp_path)
    with override_settings(TLS_CERTIFICATE=certificate, TLS_KEY=key), serving() as server:
        before = shown_certificate(server)
        make_certificate(tmp_path)
        after = shown_certificate(server)
        assert after != before
        key.write_text("half a file")
        assert shown_certificate(server) == after


def test_without_a_certificate_starttls_is_not_offered(db, tmp_path):
    with override_settings(TLS_CERTIFICATE=tmp_path / "x", TLS_KEY=tmp_path / "y"), serving() as server:
        with smtplib.SMTP("127.0.0.1", server.port) as smtp:
            smtp.ehlo()
            assert not smtp.has_extn("starttls")
        certificate, key = make_certificate(tmp_path)
        certificate.rename(tmp_path / "x")
        key.rename(tmp_path / "y")
        assert shown_certificate(server)
