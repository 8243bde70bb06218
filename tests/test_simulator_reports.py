"""The simulator's reports: what they say, and that they arrive at the return path."""

import email
import email.policy
import signal
import smtplib
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import dns.message
import dns.query
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator import script
from relay.simulator.courier import Courier, stuffed
from relay.simulator.received import Received
from relay.simulator.reports import REPORTS, complaint, non_delivery, vacation
from relay.simulator.server import Simulator
from relay.simulator.zone import Zone
from tests.mail_world import dns_running, running

RETURN_PATH = "b+token@bounce.shop.test"
HEADERS = b"From: Shop <shop@shop.test>\r\nSubject: =?utf-8?q?H=C3=A9?=\r\nMessage-ID: <1@shop.test>\r\nX: caf\xc3\xa9"
CONTENT = HEADERS + b"\r\n\r\nHello\r\n"


def received(content=CONTENT, sender=RETURN_PATH, mailbox="late-bounce@simulator.test"):
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Received(1, time, 1, ("192.0.2.9", 25), "relay.test", True, sender, (mailbox,), {}, content)


def report_of(build, mailbox="late-bounce@simulator.test", **message):
    return email.message_from_bytes(build(received(mailbox=mailbox, **message), mailbox, "mx.simulator.test"))


def test_a_non_delivery_notification_is_as_rfc_3464_says():
    report = report_of(non_delivery)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["To"] == f"<{RETURN_PATH}>"
    assert report["Auto-Submitted"] == "auto-replied"
    words, status, headers = report.get_payload()
    assert "<late-bounce@simulator.test>: 550 5.1.1" in words.get_payload()
    assert status.get_content_type() == "message/delivery-status"
    message, recipient = status.get_payload()
    assert message["Reporting-MTA"] == "dns; mx.simulator.test"
    assert parsedate_to_datetime(message["Arrival-Date"]) == received().time
    assert recipient["Final-Recipient"] == "rfc822; late-bounce@simulator.test"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.1.1")
    assert recipient["Remote-MTA"] == "dns; mx.simulator.test"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user here"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert headers.get_payload(decode=True).strip() == HEADERS


def test_a_complaint_is_as_rfc_5965_says():
    report = report_of(complaint, "complaint@simulator.test")
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "feedback-report"
    _, feedback, headers = report.get_payload()
    assert feedback.get_content_type() == "message/feedback-report"
    (fields,) = feedback.get_payload()
    assert (fields["Feedback-Type"], fields["Version"]) == ("abuse", "1")
    assert fields["User-Agent"]
    assert fields["Original-Mail-From"] == f"<{RETURN_PATH}>"
    assert fields["Original-Rcpt-To"] == "<complaint@simulator.test>"
    assert fields["Source-IP"] == "192.0.2.9"
    assert b"Message-ID: <1@shop.test>" in headers.get_payload(decode=True)


def test_a_vacation_notice_is_as_rfc_3834_says():
    report = report_of(vacation, "autoreply+x@simulator.test")
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["From"] == "<autoreply+x@simulator.test>"
    assert report["In-Reply-To"] == report["References"] == "<1@shop.test>"


def test_an_internationalised_recipient_is_named_as_rfc_6533_says():
    _, status, _ = report_of(non_delivery, "late-bounce+é@simulator.test").get_payload()
    assert status.get_payload()[1]["Final-Recipient"] == r"utf-8; late-bounce+\x{E9}@simulator.test"


@given(
    st.binary(max_size=300),
    st.emails() | st.just('"a b>"@x.test') | st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1),
)
def test_no_message_can_break_a_report(content, address):
    for build in REPORTS.values():
        report = build(received(content=content, sender=address), address, "mx.simulator.test")
        assert b"\r\n\r\n" in report
        assert not report.replace(b"\r\n", b"").count(b"\n")
        parsed = email.message_from_bytes(report)
        assert parsed["Auto-Submitted"] in ("auto-replied", "auto-generated")
        assert len(parsed.get_payload()) == 3 or build is vacation


def test_dots_are_doubled_at_the_start_of_lines():
    assert stuffed(b".a\r\n..\r\nb.\r\n") == b"..a\r\n...\r\nb.\r\n.\r\n"


# On the way to the return path.


@pytest.fixture
def bounces():
    """A return-path server: another simulator."""
    simulator = Simulator("bounce.shop.test")
    with running(simulator) as simulator.loop:
        yield simulator


def zone_of(*extra):
    soa = ("test", "SOA", "ns.test hostmaster.test 1 3600 600 86400 5")
    return Zone(
        [soa, ("bounce.shop.test", "CNAME", "t.bounce.relay.test"), *extra, ("mx.relay.test", "A", "127.0.0.1")]
    )


MX = ("t.bounce.relay.test", "MX", "10 mx.relay.test")


@pytest.fixture
def simulator(bounces):
    with ExitStack() as stack:
        dns_server = stack.enter_context(dns_running(zone_of(MX)))
        courier = Courier("mx.simulator.test", ("127.0.0.1", dns_server.port), bounces.port, waits=(0.1,) * 50)
        simulator = Simulator("simulator.test", courier=courier, report_delay=0.05)
        simulator.loop = stack.enter_context(running(simulator))
        yield simulator


def send(simulator, *recipients, sender=RETURN_PATH):
    with smtplib.SMTP("127.0.0.1", simulator.port) as smtp:
        smtp.sendmail(sender, recipients, CONTENT, mail_options=["BODY=8BITMIME"])


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("late-bounce", "multipart/report"), ("complaint", "multipart/report"), ("autoreply", "text/plain")],
)
def test_a_report_arrives_at_the_return_path_from_the_null_sender(simulator, bounces, name, content_type):
    send(simulator, f"{name}+tag@simulator.test")
    bounces.loop.run(bounces.wait_for(1))
    report = bounces.received[0]
    assert (report.sender, report.recipients) == ("", (RETURN_PATH,))
    assert email.message_from_bytes(report.content).get_content_type() == content_type


def test_each_recipient_has_its_own_report(simulator, bounces):
    send(simulator, "late-bounce+1@simulator.test", "delivered@simulator.test", "late-bounce+2@simulator.test")
    bounces.loop.run(bounces.wait_for(2))
    status = [email.message_from_bytes(each.content).get_payload()[1].get_payload()[1] for each in bounces.received]
    assert {each["Final-Recipient"][-16:] for each in status} == {"1@simulator.test", "2@simulator.test"}


def test_a_report_is_tried_again_until_it_is_taken(simulator, bounces):
    bounces.behave = script.script(connect=[script.DROP, "421 4.3.2 Later"], rcpt=["451 4.3.0 Later"])
    send(simulator, "late-bounce@simulator.test")
    bounces.loop.run(bounces.wait_for(1))


def test_nothing_is_sent_to_the_null_return_path(simulator, bounces):
    send(simulator, "late-bounce@simulator.test", sender="")
    send(simulator, "late-bounce@simulator.test")
    bounces.loop.run(bounces.wait_for(1))
    assert bounces.received[0].recipients == (RETURN_PATH,)


def test_a_return_path_without_mx_is_reached_by_its_address(bounces):
    with dns_running(zone_of(("t.bounce.relay.test", "A", "127.0.0.1"))) as dns_server:
        courier = Courier("mx.simulator.test", ("127.0.0.1", dns_server.port), bounces.port, waits=())
        assert bounces.loop.run(courier.send(RETURN_PATH, CONTENT))


@pytest.mark.parametrize(
    ("return_path", "behave"),
    [
        ("b@nowhere.test", None),
        ("b@" + "x" * 80 + ".test", None),
        ("no-domain", None),
        (RETURN_PATH, script.script(rcpt="550 5.1.1 No such return path")),
        (RETURN_PATH, script.script(ehlo=script.GARBAGE)),
        (RETURN_PATH, script.script(data=script.DROP)),
    ],
)
def test_a_report_that_nobody_takes_is_given_up(bounces, return_path, behave):
    bounces.behave = behave
    with dns_running(zone_of(MX)) as dns_server:
        courier = Courier("mx.simulator.test", ("127.0.0.1", dns_server.port), bounces.port, waits=())
        assert not bounces.loop.run(courier.send(return_path, CONTENT))
    assert bounces.received_count == 0


# The program.


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_mail_and_names_without_a_database_and_ends_when_told(tmp_path, number):
    smtp_port, dns_port = free_port(), free_port()
    environment = {
        "PATH": "/usr/bin:/bin",
        "RELAY_HOME": str(tmp_path),
        "RELAY_SECRET_KEY": "test",
        "RELAY_SIMULATOR_PORT": str(smtp_port),
        "RELAY_SIMULATOR_DNS_PORT": str(dns_port),
        "DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/none",
    }
    program = subprocess.Popen([sys.executable, "manage.py", "simulator"], env=environment, stderr=subprocess.PIPE)
    try:
        wait_until_listening(program, smtp_port)
        query = dns.message.make_query("simulator.test", "MX")
        assert dns.query.udp(query, "127.0.0.1", port=dns_port, timeout=10).answer
        with closing(smtplib.SMTP("127.0.0.1", smtp_port)) as smtp:
            smtp.sendmail(RETURN_PATH, "delivered@simulator.test", b"Subject: x\r\n\r\nx\r\n")
            program.send_signal(number)
            assert program.wait(10) == 0
        assert (tmp_path / "simulator" / "1.eml").read_bytes() == b"Subject: x\r\n\r\nx\r\n"
        assert b"received 1: from=<b+token@bounce.shop.test> to=<delivered@simulator.test>" in program.stderr.read()
    finally:
        program.kill()
        program.wait()
        program.stderr.close()


def wait_until_listening(program, port):
    process = psutil.Process(program.pid)
    while program.poll() is None:
        if any(each.status == "LISTEN" and each.laddr.port == port for each in process.net_connections()):
            return
    pytest.fail(program.stderr.read().decode())
