"""The simulator's SMTP server, over real sockets."""

import smtplib
import ssl
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from relay.simulator import script
from relay.simulator.received import Received
from relay.simulator.script import Fault, Stage
from relay.simulator.server import Simulator
from relay.simulator.shelf import Shelf
from tests.mail_world import Client, running

MESSAGE = b"Message-ID: <one@example.test>\r\nSubject: Hello\r\n\r\nHello\r\n"


@pytest.fixture
def simulator():
    simulator = Simulator("simulator.test", slow_delay=0.3)
    with running(simulator) as simulator.loop:
        yield simulator


@pytest.fixture
def client(simulator):
    with closing(Client(simulator.port)) as client:
        yield client


def send(simulator, recipient, message=MESSAGE):
    """The reply's code and text, whether it was given to RCPT or to the final dot."""
    with smtplib.SMTP("127.0.0.1", simulator.port, timeout=10) as smtp:
        smtp.ehlo("client.test")
        smtp.mail("ann@example.test")
        code, text = smtp.rcpt(recipient)
        if code == 250:
            code, text = smtp.data(message)
        return code, text.decode()


@pytest.mark.parametrize(
    ("name", "code", "enhanced"),
    [
        ("delivered", 250, "2.0.0"),
        ("deferred", 451, "4.7.1"),
        ("mailbox-full", 552, "5.2.2"),
        ("unknown", 550, "5.1.1"),
        ("late-bounce", 250, "2.0.0"),
        ("blocked", 554, "5.7.1"),
        ("complaint", 250, "2.0.0"),
        ("slow", 250, "2.0.0"),
        ("autoreply", 250, "2.0.0"),
        ("anybody", 250, "2.0.0"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "+tag"])
def test_each_address_answers_as_its_name_says(simulator, name, code, enhanced, suffix):
    given, text = send(simulator, f"{name}{suffix}@Simulator.TEST")
    assert given == code
    assert text.startswith(enhanced)
    assert simulator.received_count == (1 if code == 250 else 0)


def test_mailbox_full_and_unknown_are_refused_before_the_data(simulator):
    for name in ("mailbox-full", "unknown"):
        with smtplib.SMTP("127.0.0.1", simulator.port) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("ann@example.test", f"{name}@simulator.test", MESSAGE)


def test_deferred_takes_each_email_at_its_third_attempt(simulator):
    other = MESSAGE.replace(b"<one@", b"<two@")
    assert [send(simulator, "deferred@simulator.test")[0] for _ in range(3)] == [451, 451, 250]
    assert [send(simulator, "deferred+x@simulator.test")[0] for _ in range(3)] == [451, 451, 250]
    assert [send(simulator, "deferred@simulator.test", other)[0] for _ in range(3)] == [451, 451, 250]


def test_slow_answers_late(simulator):
    began = time.monotonic()
    send(simulator, "slow@simulator.test")
    assert time.monotonic() - began >= 0.3


def test_other_domains_are_not_relayed_to(simulator):
    assert send(simulator, "ann@elsewhere.test") == (550, "5.7.1 Relaying denied")
    simulator.domains.add("elsewhere.test")
    assert send(simulator, "ann@elsewhere.test")[0] == 250


def test_what_was_received_is_kept_with_its_envelope(simulator):
    with smtplib.SMTP("127.0.0.1", simulator.port) as smtp:
        smtp.ehlo("client.test")
        recipients = ["delivered@simulator.test", "jörg@simulator.test"]
        smtp.sendmail("ann@example.test", recipients, MESSAGE, mail_options=["BODY=8BITMIME", "SMTPUTF8"])
    message = simulator.received[0]
    assert message.content == MESSAGE
    assert (message.sender, message.recipients) == ("ann@example.test", tuple(recipients))
    assert message.parameters["BODY"] == "8BITMIME"
    assert "SMTPUTF8" in message.parameters
    assert (message.number, message.hello, message.peer[0], message.tls) == (1, "client.test", "127.0.0.1", False)


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (b"\r\n.\r\n", b"\r\n"),
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...dots\r\n..\r\nend\r\n.\r\n", b"..dots\r\n.\r\nend\r\n"),
        (b"bare\n.\nlf\n\r\n.\r\n", b"bare\n.\nlf\n\r\n"),
        (b"a\n.\r\nb\r\n.\nc\r\n.\r\n", b"a\n.\r\nb\r\n\nc\r\n"),
        (b"cr\r.\r\n\r.\rx\r\n.\r\n", b"cr\r.\r\n\r.\rx\r\n"),
        (bytes(range(256)) + b"\r\n.\r\n", bytes(range(256)) + b"\r\n"),
        (b"x" * 100_000 + b"\r\n.\r\n", b"x" * 100_000 + b"\r\n"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1_000_000])
def test_only_a_dot_between_two_crlf_ends_the_data_and_nothing_else_is_changed(simulator, client, sent, content, step):
    client.begin("delivered@simulator.test")
    if step == 1 and len(sent) > 1000:
        step = 4096
    for start in range(0, len(sent), step):
        client.send(sent[start : start + step])
    assert client.reply() == "250 2.0.0 Taken"
    assert simulator.received[0].content == content


def test_a_whole_pipelined_session_in_one_packet(simulator, client):
    envelope = b"MAIL FROM:<%d@a.test>\r\nRCPT TO:<unknown@simulator.test>\r\nRCPT TO:<b@simulator.test>\r\n"
    commands = envelope + b"DATA\r\n%d\r\n.\r\n"
    client.send(b"EHLO c.test\r\n" + b"".join(commands % (i, i) for i in range(50)) + b"QUIT\r\n")
    replies = []
    while reply := client.reply():
        replies.append(reply[:3])
    assert replies == ["220", "250", *["250", "550", "250", "354", "250"] * 50, "221"]
    assert [message.content for message in simulator.received] == [b"%d\r\n" % i for i in range(50)]


def test_commands_that_are_pipelined_behind_a_slow_answer_wait(simulator, client):
    simulator.behave = script.script(mail=Fault(delay=0.2))
    client.send(b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@simulator.test>\r\nDATA\r\nhi\r\n.\r\n")
    assert [client.reply()[:3] for _ in range(6)] == ["220", "250", "250", "250", "354", "250"]
    assert simulator.received[0].sender == ""


def test_ehlo_offers_the_extensions(client):
    client.reply()
    offered = {line[4:].split()[0] for line in client.ask("EHLO c.test").split("\n")[1:]}
    assert offered == {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["MAIL FROM:<a@b.test>"], "503 5.5.1"),
        (["EHLO"], "501 5.5.4"),
        (["EHLO c", "RCPT TO:<a@simulator.test>"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:<>", "DATA"], "554 5.5.1"),
        (["EHLO c", "MAIL FROM:<>", "MAIL FROM:<>"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:a@b.test"], "501 5.1.7"),
        (["EHLO c", "MAIL FROM:<> SIZE=99999999999"], "552 5.3.4"),
        (["EHLO c", "MAIL FROM:<> SIZE=²"], "501 5.5.4"),
        (["EHLO c", "MAIL FROM:<> BODY=BINARYMIME"], "555 5.5.4"),
        (["EHLO c", "MAIL FROM:<> RET=HDRS"], "555 5.5.4"),
        (["EHLO c", "MAIL FROM:<jörg@b.test>"], "553 5.6.7"),
        (["EHLO c", "MAIL FROM:<>", "RCPT TO:<jörg@simulator.test>"], "553 5.6.7"),
        (["EHLO c", "MAIL FROM:<>", "RCPT TO:<>"], "501 5.1.3"),
        (["EHLO c", "MAIL FROM:<>", "RSET", "RCPT TO:<a@simulator.test>"], "503 5.5.1"),
        (["FOO"], "500 5.5.2"),
        (["NOOP\nMAIL"], "500 5.5.2"),
        (["STARTTLS"], "454 4.7.0"),
    ],
)
def test_wrong_commands_get_their_reply(client, commands, code):
    client.reply()
    assert [client.ask(command) for command in commands][-1].startswith(code)


def test_the_end_of_a_connection_in_the_middle_of_the_data_leaves_nothing(simulator, client):
    client.begin("delivered@simulator.test")
    client.send(b"half a message\r\n")
    client.close()
    assert send(simulator, "delivered@simulator.test")[0] == 250
    assert [message.content for message in simulator.received] == [MESSAGE]


def test_a_line_without_end_closes_the_connection(client):
    client.reply()
    client.send(b"x" * 5000)
    assert client.reply().startswith("500 5.5.2")
    assert client.reply() == ""


def test_what_is_kept_is_bounded_by_count_and_by_bytes():
    simulator = Simulator("simulator.test", keep=5, keep_bytes=4000)
    with running(simulator):
        for number in range(8):
            send(simulator, "a@simulator.test", b"%d\r\n" % number)
        assert [message.content for message in simulator.received] == [b"%d\r\n" % number for number in range(3, 8)]
        send(simulator, "a@simulator.test", b"x" * 3990 + b"\r\n")
        assert [message.number for message in simulator.received] == [7, 8, 9]
        assert simulator.received_count == 9


def test_a_message_over_the_limit_is_drained_and_refused():
    simulator = Simulator("simulator.test", max_message=1000)
    with running(simulator), closing(Client(simulator.port)) as client:
        client.begin("a@simulator.test")
        client.send(b"x" * 998 + b"\r\n.\r\n")
        assert client.reply() == "250 2.0.0 Taken"
        for size in (999, 5_000_000):
            for command in ("MAIL FROM:<>", "RCPT TO:<a@simulator.test>", "DATA"):
                assert client.ask(command)[0] in "23"
            client.send(b"x" * size + b"\r\n.\r\n")
            assert client.reply() == "552 5.3.4 Message too big"
        assert client.ask("NOOP").startswith("250")
        assert simulator.received_count == 1


# Scripted behaviour.


@pytest.mark.parametrize("stage", [Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
def test_any_stage_can_be_given_any_reply(simulator, client, stage):
    simulator.behave = script.script(**{stage: "451 4.3.0 one\ntwo"})
    client.send(b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@simulator.test>\r\nDATA\r\n")
    if stage is Stage.END_OF_DATA:
        client.send(b"hi\r\n.\r\n")
    stages = [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA]
    replies = [client.reply() for _ in range(stages.index(stage) + 1)]
    assert replies[-1] == "451-4.3.0 one\n451 two"
    assert all(reply[0] in "23" for reply in replies[:-1])
    assert simulator.received_count == 0


def test_a_list_of_actions_is_used_up_one_by_one(simulator):
    simulator.behave = script.script(rcpt=["450 4.2.1 Later", None, "550 5.1.1 No"])
    assert [send(simulator, "a@simulator.test")[0] for _ in range(4)] == [450, 250, 550, 250]


def test_a_script_sees_the_envelope(simulator):
    simulator.behave = lambda stage, envelope: (
        "550 5.1.1 Not you" if stage == "rcpt" and envelope.recipient == "bob@simulator.test" else None
    )
    with smtplib.SMTP("127.0.0.1", simulator.port) as smtp:
        refused = smtp.sendmail("ann@a.test", ["bob@simulator.test", "eve@simulator.test"][::-1], MESSAGE)
    assert refused == {"bob@simulator.test": (550, b"5.1.1 Not you")}


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
@pytest.mark.parametrize(("fault", "replies"), [(script.DROP, 0), (script.DROP_AFTER_REPLY, 1)])
def test_the_connection_can_be_dropped_before_and_after_any_reply(simulator, stage, fault, replies):
    simulator.behave = script.script(**{stage: fault})
    stages = [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA]
    commands = ["EHLO c.test", "MAIL FROM:<>", "RCPT TO:<b@simulator.test>", "DATA", "hi\r\n."]
    with closing(Client(simulator.port)) as client:
        seen = [client.reply()]
        for command in commands[: stages.index(stage)]:
            seen.append(client.ask(command))
        if replies:
            assert seen[-1][0] in "23"
            assert client.reply() == ""
        else:
            assert seen[-1] == ""
    assert simulator.received_count == (1 if stage is Stage.END_OF_DATA and replies else 0)


def test_the_message_can_be_taken_and_the_connection_dropped_without_a_reply(simulator, client):
    simulator.behave = script.script(end_of_data=[script.TAKE_AND_DROP])
    client.begin("b@simulator.test")
    client.send(b"hi\r\n.\r\n")
    assert client.reply() == ""
    assert simulator.received[0].content == b"hi\r\n"


def test_a_hanging_server_says_nothing_and_still_stops(simulator, client):
    simulator.behave = script.script(mail=script.HANG)
    client.reply()
    client.ask("EHLO c.test")
    client.send(b"MAIL FROM:<>\r\n")
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.reply()


def test_garbage_is_sent_as_it_is(simulator):
    simulator.behave = script.script(connect=script.GARBAGE)
    with closing(Client(simulator.port)) as client:
        assert client.file.readline() == script.GARBAGE.reply


def test_data_can_be_invited_although_no_recipient_was_taken(simulator, client):
    """What RFC 2920 3.1 warns of: the client then sends a lone dot."""
    simulator.behave = script.script(data="354 Go on")
    client.begin("unknown@simulator.test")
    assert client.ask(".").startswith("554 5.5.1")
    assert simulator.received_count == 0


def test_421_closes_the_connection(simulator, client):
    simulator.behave = script.script(mail="421 4.3.2 Closing")
    client.reply()
    client.ask("EHLO c.test")
    assert client.ask("MAIL FROM:<>") == "421 4.3.2 Closing"
    assert client.reply() == ""


# STARTTLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=mx -keyout k -out c"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c", folder / "k")
    return context


def trusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_starttls_carries_a_message(certificate):
    simulator = Simulator("simulator.test", ssl_context=certificate)
    with running(simulator), smtplib.SMTP("127.0.0.1", simulator.port) as smtp:
        smtp.starttls(context=trusting())
        assert smtp.ehlo("c.test")[0] == 250
        assert not smtp.has_extn("starttls")
        smtp.sendmail("ann@a.test", "delivered@simulator.test", MESSAGE + b"x" * 500_000)
        assert simulator.received[0].tls


def test_after_starttls_the_client_must_greet_again_and_what_it_sent_before_is_forgotten(certificate):
    simulator = Simulator("simulator.test", ssl_context=certificate)
    with running(simulator), closing(Client(simulator.port)) as client:
        client.reply()
        client.ask("EHLO c.test")
        client.send(b"STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n")
        assert client.reply().startswith("220")
        client.socket = trusting().wrap_socket(client.socket)
        client.file = client.socket.makefile("rb")
        assert client.ask("MAIL FROM:<>").startswith("503 5.5.1")


@pytest.mark.parametrize("fault", ["454 4.7.0 Not now", script.BROKEN_TLS, script.DROP])
def test_starttls_can_be_refused_or_fail(certificate, fault):
    simulator = Simulator("simulator.test", ssl_context=certificate, behave=script.script(starttls=fault))
    with running(simulator), closing(smtplib.SMTP("127.0.0.1", simulator.port, timeout=5)) as smtp:
        with suppress(smtplib.SMTPException, OSError):
            assert smtp.starttls(context=trusting())[0] != 220
        assert not isinstance(smtp.sock, ssl.SSLSocket)


# Files.


def received(number, content=b"x\r\n"):
    return Received(number, datetime.now(UTC), 1, ("127.0.0.1", 1), "c", False, "a@b.test", ("c@d.test",), {}, content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_messages_lie_in_files(tmp_path):
    (tmp_path / "9.eml").write_text("of an earlier run")
    shelf = Shelf(tmp_path, newest=2, per_second=1000)
    for number in (1, 2, 3):
        shelf.put(received(number, b"%d\r\n" % number))
    assert names(tmp_path) == ["2.eml", "2.json", "3.eml", "3.json"]
    assert (tmp_path / "3.eml").read_bytes() == b"3\r\n"
    assert '"sender": "a@b.test"' in (tmp_path / "3.json").read_text()


def test_files_are_bounded_in_bytes_and_by_the_second(tmp_path):
    shelf = Shelf(tmp_path, keep_bytes=250, per_second=1000)
    for number in (1, 2, 3):
        shelf.put(replace(received(number), content=b"x" * 100))
    assert names(tmp_path) == ["2.eml", "2.json", "3.eml", "3.json"]
    shelf = Shelf(tmp_path, per_second=0)
    shelf.put(received(4))
    assert names(tmp_path) == []
