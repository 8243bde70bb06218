"""The SMTP client against servers that follow a script: every reply, every fault, every certificate."""

import asyncio
import contextlib
import datetime as dt
import json
import re
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.status import Status
from domains.keys import make_private_key
from domains.models import DkimKey
from relay.delivery.attempt import Closed, Dialer, hand_over
from relay.delivery.contents import Prepared
from relay.delivery.route import Server
from relay.delivery.smtp import Connection, Refused
from relay.delivery.tls import MOST_BROKEN, Encryption
from relay.delivery.wire import MOST_LINES, Reply, TimeOuts, Trouble
from relay.simulator.script import BROKEN_TLS, DROP, DROP_AFTER_REPLY, HANG, Fault, script
from relay.simulator.server import Simulator
from tests import delivering
from tests.authority import DAY, Authority
from tests.factories import make_account, make_domain

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"
SHORT = TimeOuts(0.4, 0.4, 0.4, 0.4, 0.4, 0.4)
CONTENT = Prepared(b"Subject: Hello\r\n\r\nHello\r\n", False, "bounce.boutique.example")
LARGE = Prepared(b"Subject: Hello\r\n\r\n" + 70_000 * b"Hello\r\n", False, "bounce.boutique.example")
EHLO = "250-mx.dest.test\n250-PIPELINING\n250-8BITMIME\n250 SIZE 1000000"


def rows(name):
    path = CORPORA / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.asynccontextmanager
async def simulated(behave=None, **options):
    simulator = Simulator("dest.test", behave=behave, **options)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@contextlib.asynccontextmanager
async def saying(*steps):
    """A server that says each step's text, after it has read a line that begins with the step's word, if it has one.

    A step of bytes is said as it is; after the last one the connection is closed. `heard` is what the client said.
    """
    heard: list[str] = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            for word, text in steps:
                while word is not None:
                    line = (await reader.readline()).decode("latin-1").rstrip("\r\n")
                    heard.append(line)
                    if not line or line.upper().startswith(word):
                        break
                writer.write(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode() + b"\r\n")
                await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield SimpleNamespace(port=server.sockets[0].getsockname()[1], heard=heard)
    finally:
        server.close()


def connect(port, encryption=None, host="127.0.0.1", **options):
    options.setdefault("time_outs", SHORT)
    return Connection.connect(Server(host, "127.0.0.1", port), "relay.test", encryption, **options)


async def sent(connection, recipient="x@dest.test", prepared=CONTENT, *, smtputf8=False):
    return await connection.send("b@bounce.boutique.example", recipient, prepared, smtputf8=smtputf8)


def job(address="x@dest.test", *, smtputf8=False):
    return SimpleNamespace(id=UUID(int=1), address=address, smtputf8=smtputf8, mail_from="shop@boutique.example")


def dialer(port, encryption=None, host="127.0.0.1"):
    """A dialer whose every domain leads to `port`."""

    async def servers(domain, permits=None):
        return [Server(host, "127.0.0.1", port)]

    async def policy(domain):
        return None

    router = SimpleNamespace(servers=servers)
    return Dialer(router, encryption or Encryption(), SimpleNamespace(policy=policy))


# Transactions.


@pytest.mark.parametrize("pipelining", [True, False])
async def test_many_messages_over_one_connection(pipelining):
    behave = None if pipelining else script(ehlo="250-mx.dest.test\n8BITMIME")
    async with simulated(behave) as simulator:
        connection = await connect(simulator.port)
        replies = [await sent(connection) for _ in range(5)]
        assert [(reply.stage, reply.code) for reply in replies] == 5 * [("end_of_data", 250)]
        assert ("PIPELINING" in connection.extensions) == pipelining
        assert not connection.broken
        await connection.quit()
        assert simulator.received_count == 5
        assert bytes(simulator.received[0].content) == CONTENT.wire


async def test_a_large_message_goes_out_in_blocks_and_whole():
    async with simulated() as simulator:
        connection = await connect(simulator.port)
        assert (await sent(connection, prepared=LARGE)).code == 250
        assert bytes(simulator.received[0].content) == LARGE.wire
        connection.abort()


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_data"])
async def test_after_a_refusal_the_next_message_goes_over_the_same_connection(stage, pipelining):
    extra = {} if pipelining else {"ehlo": "250 mx.dest.test"}
    async with simulated(script(**{stage: ["451 4.7.1 Later\nplease"]}, **extra)) as simulator:
        connection = await connect(simulator.port)
        reply = await sent(connection)
        assert (reply.stage, reply.code, reply.enhanced, reply.text) == (stage, 451, "4.7.1", "Later\nplease")
        assert (await sent(connection)).code == 250
        assert simulator.received_count == 1
        connection.abort()


async def test_a_refused_recipient_gets_no_content_even_if_the_server_waits_for_it():
    steps = [(None, "220 x"), ("EHLO", EHLO), ("DATA", "250 ok\n550 5.1.1 no\n354 go"), (".", "554 none")]
    async with saying(*steps) as server:
        connection = await connect(server.port)
        reply = await sent(connection)
        assert (reply.stage, reply.code) == ("rcpt", 550)
        assert server.heard[-2:] == ["DATA", "."]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_data", "rset"])
async def test_421_at_any_stage_ends_the_connection_and_is_the_verdict(stage):
    async with simulated(script(**{stage: Fault("421 4.3.2 Closing", drop=True)})) as simulator:
        connection = await connect(simulator.port)
        if stage == "rset":
            await sent(connection, "unknown@dest.test")
            with pytest.raises(Trouble) as caught:
                await sent(connection)
            assert caught.value.stage == "rset"
        else:
            reply = await sent(connection)
            assert (reply.stage, reply.code) == (stage, 421)
        assert connection.broken


@pytest.mark.parametrize("stage", ["connect", "ehlo"])
async def test_421_before_any_transaction_is_a_refusal(stage):
    async with simulated(script(**{stage: Fault("421 4.3.2 Closing", drop=True)})) as simulator:
        with pytest.raises(Refused) as caught:
            await connect(simulator.port)
        assert caught.value.reply.code == 421


async def test_421_for_a_used_connection_says_nothing_about_the_email():
    async with simulated(script(mail=[None, Fault("421 4.7.0 Enough", drop=True)])) as simulator:
        connection = await connect(simulator.port)
        assert (await hand_over(connection, job(), CONTENT)).status == Status.DELIVERED
        assert await hand_over(connection, job(), CONTENT) is None


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "end_of_data"])
@pytest.mark.parametrize("fault", [DROP, HANG], ids=["drop", "hang"])
async def test_a_server_that_drops_or_hangs_is_trouble_of_that_stage(stage, fault):
    async with simulated(script(**{stage: fault})) as simulator:
        with pytest.raises(Trouble) as caught:
            await sent(await connect(simulator.port))
        assert caught.value.stage == stage
        assert caught.value.may_have_it == (stage == "end_of_data")


async def test_a_server_that_closes_after_the_last_reply_has_taken_the_email():
    async with simulated(script(end_of_data=DROP_AFTER_REPLY)) as simulator:
        connection = await connect(simulator.port)
        assert (await sent(connection)).code == 250
        await connection.quit()


async def test_the_reason_counts_that_a_server_gives_in_the_middle_of_the_content():
    steps = [(None, "220 x"), ("EHLO", EHLO), ("DATA", "250 ok\n250 ok\n354 go"), ("SUBJECT", "552 5.3.4 Too much")]
    async with saying(*steps) as server:
        huge = Prepared(b"Subject: Hello\r\n\r\n" + 4_000_000 * b"Hello\r\n", False, "")
        reply = await sent(await connect(server.port), prepared=huge)
        assert (reply.stage, reply.code, reply.enhanced) == ("end_of_data", 552, "5.3.4")


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_data"])
async def test_a_reply_that_its_command_cannot_have_is_trouble(stage):
    wrong = "250 ok" if stage == "data" else "354 go on"
    async with simulated(script(**{stage: Fault(wrong, taken=False)}, ehlo="250 mx")) as simulator:
        with pytest.raises(Trouble, match=f"the server said {wrong[:3]}"):
            await sent(await connect(simulator.port))


# Replies.


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        (b"250 ok\n", 250, "ok"),
        (b"250\r\n", 250, ""),
        (b"250-one\r\n250-two\n250 three\r\n", 250, "one\ntwo\nthree"),
        (b"550-5.1.1 one\r\n550 5.1.1 two\r\n", 550, "one\ntwo"),
        (b"550-one\r\nand no code\r\n550 two\r\n", 550, "one\nand no code\ntwo"),
        (b"550 \xff\xfe\x00\r\n", 550, "\ufffd\ufffd\x00"),
        (b"550-" + b"\r\n550-".join([b"x"] * (MOST_LINES - 1)) + b"\r\n550 x\r\n", 550, "\n".join(["x"] * MOST_LINES)),
    ],
)
async def test_replies_of_many_forms_are_understood(raw, code, text):
    async with saying((None, "220 x"), ("EHLO", "250 x"), ("MAIL", raw)) as server:
        connection = await connect(server.port)
        reply = await connection._command("mail", "MAIL FROM:<>")
        assert (reply.code, reply.text) == (code, text)


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n",
        b"\r\n",
        b"150 early\r\n",
        b"2500 long\r\n",
        b"250-one\r\n550 two\r\n",
        b"250-one\r\n",
        b"550 " + b"x" * 5000 + b"\r\n",
        b"550-x\r\n" * (MOST_LINES + 1) + b"550 x\r\n",
        b"x" * 1_000_000,
        b"550-" + b"x" * 4000 + b"\r\n" + b"550-x\r\n" * 100_000,
    ],
)
async def test_what_is_no_reply_is_trouble(raw):
    async with saying((None, "220 x"), ("EHLO", "250 x"), ("MAIL", raw)) as server:
        connection = await connect(server.port)
        with pytest.raises(Trouble):
            await sent(connection)
        assert connection.broken


async def test_a_server_that_talks_in_its_sleep_is_not_used_again():
    async with saying((None, "220 x"), ("EHLO", "250 x\n421 4.4.2 idle")) as server:
        connection = await connect(server.port)
        while not connection.broken:
            await asyncio.sleep(0.01)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b"220 x\r\n",
                    EHLO.replace("\n", "\r\n").encode() + b"\r\n",
                    b"250 ok\r\n",
                    b"354 go\r\n",
                    b"550-x\r\n",
                ]
            ),
        ),
        max_size=9,
    )
)
async def test_whatever_bytes_a_server_sends_the_client_ends_in_a_reply_or_in_trouble(said):
    async with saying(*((None, part) for part in said)) as server:
        try:
            async with asyncio.timeout(20):
                reply = await sent(await connect(server.port))
        except (Trouble, Refused):
            return
        assert isinstance(reply, Reply)
        assert reply.code >= 250


# EHLO and what it offers.


async def test_helo_where_ehlo_is_not_known():
    async with simulated(script(ehlo="500 5.5.1 What?")) as simulator:
        connection = await connect(simulator.port)
        assert connection.extensions == {}
        assert (await sent(connection)).code == 250


async def test_8bitmime_and_smtputf8_are_declared_where_they_are_offered():
    utf8 = Prepared("Subject: Grüße\r\n\r\nGrüße\r\n".encode(), True, "bounce.boutique.example")
    for offer, parameters in (("\n8BITMIME\nSMTPUTF8", {"BODY": "8BITMIME", "SMTPUTF8": ""}), ("", {})):
        async with simulated(script(ehlo=f"250-mx.dest.test{offer}")) as simulator:
            connection = await connect(simulator.port)
            assert (await sent(connection, prepared=utf8, smtputf8=True)).code == 250
            assert dict(simulator.received[0].parameters) == parameters
            assert bytes(simulator.received[0].content) == utf8.wire


async def test_an_address_that_needs_smtputf8_is_a_hard_bounce_where_it_is_not_offered():
    async with simulated(script(ehlo="250 mx.dest.test")) as simulator:
        connection = await connect(simulator.port)
        outcome = await hand_over(connection, job("grüße@dest.test", smtputf8=True), CONTENT)
        assert (outcome.status, outcome.enhanced) == (Status.HARD_BOUNCE, "5.6.7")
        assert (await hand_over(connection, job(smtputf8=True), CONTENT)).status == Status.DELIVERED


async def test_the_source_address_and_the_helo_name_are_settings():
    async with simulated() as simulator:
        with override_settings(SOURCE_ADDRESSES={4: "127.0.0.9"}, HOSTNAME="out.relay.test"):
            connection = await dialer(simulator.port).open("dest.test")
        assert (await sent(connection)).code == 250
        (envelope,) = [each.envelope for each in simulator.connections]
        assert (envelope.peer[0], envelope.hello) == ("127.0.0.9", "out.relay.test")


# TLS.


@pytest.mark.parametrize(
    ("names", "options", "verdict"),
    [
        (("mx.dest.test",), {}, "certificate valid"),
        (("*.dest.test",), {}, "certificate valid"),
        (("mx.dest.test",), {"self_signed": True}, "certificate not verified: self-signed"),
        (("mx.dest.test",), {"valid": -DAY}, "certificate not verified: expired"),
        (("mx.dest.test",), {"valid": 11 * DAY}, "certificate not verified: not valid yet"),
        (("mx.other.test",), {}, "certificate not verified: for another name"),
    ],
)
async def test_the_history_tells_protocol_cipher_and_certificate(authority, names, options, verdict):
    async with simulated(ssl_context=authority.server(*names, **options)) as simulator:
        reached = await dialer(simulator.port, Encryption(authority.trusting), "mx.dest.test").open("dest.test")
        outcome = await hand_over(reached, job(), CONTENT)
        assert re.fullmatch(rf"TLS 1\.3, TLS_AES_256_GCM_SHA384, {verdict}", outcome.tls)
        assert reached.verified == (verdict == "certificate valid")
        assert outcome.status == Status.DELIVERED


async def test_a_stranger_authority_is_not_trusted_and_an_address_may_be_certified(authority):
    async with simulated(ssl_context=authority.server("127.0.0.1")) as simulator:
        stranger = await connect(simulator.port, Encryption())
        assert stranger.tls.endswith("certificate not verified: issuer not trusted")
        assert (await connect(simulator.port, Encryption(authority.trusting))).verified


async def test_required_tls_needs_a_valid_certificate_and_asks_even_without_an_offer(authority):
    encryption = Encryption(authority.trusting)
    async with simulated(ssl_context=authority.server("mx.dest.test")) as simulator:
        connection = await connect(simulator.port, encryption, "mx.dest.test", required=True)
        assert connection.tls.endswith("certificate valid")
        with pytest.raises(Trouble, match="handshake failed") as caught:
            await connect(simulator.port, encryption, "mx.other.test", required=True)
        assert caught.value.tls
    async with simulated() as simulator:
        with pytest.raises(Trouble, match="refused STARTTLS") as caught:
            await connect(simulator.port, encryption, required=True)
        assert caught.value.tls


@pytest.mark.parametrize(
    "fault", [BROKEN_TLS, DROP, Fault("421 4.3.2 Closing", drop=True), Fault(b"220 go\r\n250 injected\r\n")]
)
async def test_where_starttls_breaks_mail_goes_in_clear_text_and_the_host_is_remembered(authority, fault):
    tried = []

    def behave(stage, envelope):
        if stage == "starttls":
            tried.append(envelope.connection)
            return fault
        return None

    async with simulated(behave, ssl_context=authority.server("127.0.0.1")) as simulator:
        dials = dialer(simulator.port)
        for _ in range(2):
            connection = await dials.open("dest.test")
            outcome = await hand_over(connection, job(), CONTENT)
            assert outcome.status == Status.DELIVERED
            assert outcome.tls.startswith("no TLS: ")
        assert len(tried) == 1


async def test_a_refused_starttls_goes_on_in_clear_text_over_the_same_connection(authority):
    behave = script(starttls="454 4.7.0 TLS not available")
    async with simulated(behave, ssl_context=authority.server("127.0.0.1")) as simulator:
        connection = await dialer(simulator.port).open("dest.test")
        assert connection.tls == "no TLS: the server refused STARTTLS (454)"
        assert (await sent(connection)).code == 250


@pytest.mark.django_db(transaction=True)
def test_an_email_tells_how_it_was_encrypted(authority):
    domain = make_domain(make_account(), "boutique.example")
    DkimKey.objects.create(domain=domain, slot=1, active=True, private_key=make_private_key())
    with delivering.simulated(ssl_context=authority.server("127.0.0.1")), delivering.engine_running():
        email = delivering.accepted_email(domain)
        delivering.wait_until_final(email)
    (line,) = delivering.lines(email, "delivered")
    assert line.tls == "TLS 1.3, TLS_AES_256_GCM_SHA384, certificate not verified: issuer not trusted"


def test_hosts_with_broken_tls_are_forgotten_after_three_days_and_never_too_many(monkeypatch):
    encryption = Encryption()
    now = [1000.0]
    monkeypatch.setattr("relay.delivery.tls.time", SimpleNamespace(monotonic=lambda: now[0]))
    for number in range(MOST_BROKEN + 5):
        encryption.failed_at(f"mx{number}.test", "broken")
    assert len(encryption.broken) == MOST_BROKEN
    assert not encryption.fails_at("mx0.test")
    now[0] += dt.timedelta(days=3).total_seconds() - 1
    assert encryption.fails_at("mx9.test")
    now[0] += 2
    assert not encryption.fails_at("mx9.test")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=3), st.text(max_size=300))
def test_no_certificate_and_no_host_name_is_too_strange(chain, host):
    assert Encryption().flaw(chain, host)


# Corpora.

# How mox's errors are called here.
MOX = {"ErrProtocol": "trouble", "io.ErrUnexpectedEOF": "trouble", "ErrTLS": "tls"}
# Permanent there, Deferred here.
MOX_EXCEPTIONS = {
    "Server does not want to speak SMTP.": "DESIGN 6: a 5xx before MAIL closes this server, not the recipient",
    "TLS is required, so we attempt it regardless of whether it is advertised.": "DESIGN 6: it may be repaired",
}


def translated(server_script):
    """mox's steps as ours: neighbouring sends are one."""
    steps, word, said = [], None, []
    for verb, text in [*server_script, ("expect", "")]:
        if verb == "send":
            said.append(text)
        elif verb == "expect":
            # Ours have one recipient a transaction, so a second RCPT is never said.
            if said and not (steps and word == steps[-1][0]):
                steps.append((word, "\n".join(said)))
            word, said = text.upper(), []
    return steps


@pytest.mark.parametrize("row", rows("smtp-client-faults.jsonl"), ids=lambda row: row["case"][:50])
async def test_the_faults_that_mox_meets(row, authority):
    required = "TLS is required" in row["case"]
    messages = 2 if "try another one" in row["case"] else 1
    found, outcome = [], None
    async with saying(*translated(row["server_script"])) as server:
        try:
            encryption = Encryption(authority.trusting) if required else None
            connection = await connect(server.port, encryption, required=required)
            for _ in range(messages):
                outcome = await hand_over(connection, job(), CONTENT)
                found.append("reply" if outcome.code else "trouble")
        except Refused:
            found.append("reply")
        except Trouble as trouble:
            found.append("tls" if trouble.tls else "trouble")
    assert found == [MOX.get(error, "reply") for error in row["expected"]["error"]]
    permanent = outcome is not None and outcome.status in (Status.SOFT_BOUNCE, Status.HARD_BOUNCE)
    assert permanent == (row["expected"]["permanent"] and row["case"] not in MOX_EXCEPTIONS)


def ron(text, key):
    found = re.search(rf'\b"?{key}"?: "((?:[^"\\]|\\.)*)"', text)
    return found[1].encode().decode("unicode_escape").encode() if found else None


# By the name of the row: what becomes of an email. All others are delivered.
NOT_DELIVERED = {
    "others/ehlo/221.ron": Status.DEFERRED,
    "others/ehlo/354.ron": Status.DEFERRED,
    "others/ehlo/421.ron": Status.DEFERRED,
    "others/greeting/221.ron": Status.DEFERRED,
    "others/greeting/500.ron": Status.DEFERRED,
    "others/greeting/501.ron": Status.DEFERRED,
    "others/greeting/530.ron": Status.DEFERRED,
    "others/greeting/554.ron": Status.DEFERRED,
    "others/helo/ehlo500_helo220.ron": Status.DEFERRED,
    "others/helo/ehlo500_helo221.ron": Status.DEFERRED,
    "others/helo/ehlo500_helo500.ron": Status.DEFERRED,
    "others/quit/greeting500_quit221.ron": Status.DEFERRED,
    "others/quit/greeting500_quit501.ron": Status.DEFERRED,
}


@pytest.mark.parametrize("row", rows("fake-mail-server-smtp-cases.jsonl"), ids=lambda row: row["name"])
async def test_the_odd_servers_of_fake_mail_server(row, authority):
    text = row["ron"]
    faults = {"connect": ron(text, "greeting"), "starttls": ron(text, "starttls") or ron(text, "stls_response")}
    faults |= {word: ron(text, word) or ron(text, word.upper()) for word in ("ehlo", "helo", "rset", "quit")}
    odd = {stage: Fault(reply, taken=reply.startswith(b"2")) for stage, reply in faults.items() if reply}
    offers_tls = "StartTLS" in text
    async with simulated(script(**odd), ssl_context=authority.server("127.0.0.1") if offers_tls else None) as simulator:
        reached = await dialer(simulator.port, Encryption(authority.trusting)).open("dest.test")
        if isinstance(reached, Closed):
            assert reached.outcome.status == NOT_DELIVERED[row["name"]]
            return
        assert row["name"] not in NOT_DELIVERED
        assert (await hand_over(reached, job(), CONTENT)).status == Status.DELIVERED
        await reached.quit()
        assert simulator.received_count == 1
