"""MTA-STS: records and policies as RFC 8461 has them, fetched from a real HTTPS server, obeyed by the dialer."""

import asyncio
import contextlib
import re
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from activity.reasons import Reason
from activity.status import Status
from relay.delivery import https, mta_sts
from relay.delivery.attempt import Closed, Dialer, hand_over
from relay.delivery.mta_sts import Malformed, Policies, Policy, parse_policy, parse_record
from relay.delivery.route import Router
from relay.delivery.tls import Encryption
from relay.simulator.server import Simulator
from relay.simulator.zone import Failure, Zone
from tests.authority import DAY, Authority
from tests.mail_world import dns_running
from tests.test_simulator_dns import SOA
from tests.test_smtp_client import CONTENT, job, rows

POLICY = "version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {age}\n"
CASES = rows("mta-sts-cases.jsonl")
# What postfix-mta-sts-resolver's own world answers, by its nginx and dnsmasq files.
WORLD = {
    "good.loc": ("v=STSv1; id=20180907T090909;", POLICY.format(mode="enforce", mx="mail.loc", age=86400)),
    "testing.loc": ("v=STSv1; id=20180907T090909;", POLICY.format(mode="testing", mx="mail.loc", age=86400)),
    "no-record.loc": (None, POLICY.format(mode="enforce", mx="mail.loc", age=86400)),
    "bad-record1.loc": ("v=STSv1; id=", POLICY.format(mode="enforce", mx="mail.loc", age=86400)),
    "bad-record2.loc": ("v=STSv2; id=20180907T090909;", POLICY.format(mode="enforce", mx="mail.loc", age=86400)),
    "bad-policy1.loc": ("v=STSv1; id=20180907T090909;", POLICY.format(mode="doubt", mx="mail.loc", age=86400)),
    "bad-policy2.loc": ("v=STSv1; id=20180907T090909;", "version: STSv1\nmode: enforce\nmax_age: 86400\n"),
    "bad-cert1.loc": ("v=STSv1; id=20180907T090909;", POLICY.format(mode="enforce", mx="mail.loc", age=86400)),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def world():
    zone = Zone([("loc", "SOA", SOA)])
    with (
        dns_running(zone) as server,
        override_settings(DNS_SERVER=("127.0.0.1", server.port), PRIVATE_MX=True, ROUTES={}),
    ):
        yield zone


@contextlib.asynccontextmanager
async def https_serving(answers, context):
    """Answers every request with `answers[Host]`: whole bytes, or the text of a 200. `asked` lists the hosts."""
    asked = []

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
            host = re.search(r"Host: (\S+)", head)[1]
            asked.append(host)
            answer = answers.get(host.removeprefix("mta-sts."), b"HTTP/1.1 404 Not Found\r\n\r\n")
            if isinstance(answer, str):
                answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + answer.encode()
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield SimpleNamespace(port=server.sockets[0].getsockname()[1], asked=asked)
    finally:
        server.close()


def publish(zone, domain, record):
    zone.add(f"mta-sts.{domain}", "A", "127.0.0.1")
    if record is not None:
        zone.add(f"_mta-sts.{domain}", "TXT", record)


def policies(server, authority):
    resolver = Router().lookups.resolver
    return Policies(resolver, https.Client(resolver, server.port, authority.trusting).get_text)


# The corpus.


@pytest.mark.parametrize("row", [row for row in CASES if row["kind"] == "record"], ids=lambda row: row["text"])
def test_records(row):
    with contextlib.nullcontext() if row["valid"] else pytest.raises(Malformed):
        assert parse_record(row["text"])


@pytest.mark.parametrize("row", [row for row in CASES if row["kind"] == "policy"], ids=lambda row: row["text"][:60])
def test_policies(row):
    with contextlib.nullcontext() if row["valid"] else pytest.raises(Malformed):
        parse_policy(row["text"])


@pytest.mark.parametrize("row", [row for row in CASES if row["kind"] == "match"], ids=lambda row: row["mx"])
def test_matches(row):
    assert parse_policy(row["policy"]).permits(row["mx"]) == row["match"]


@pytest.mark.parametrize("row", [row for row in CASES if row["kind"] == "lookup"], ids=lambda row: row["query"])
async def test_lookups(row, world, authority):
    # Brackets, ports and last dots are Postfix's way to write a next hop; our domains come from addresses, without.
    domain = re.sub(r"^\[(.*)\](:\d+)?$|:\d+$|\.$", r"\1", row["query"].removeprefix("test "))
    for name, (record, _) in WORLD.items():
        publish(world, name, record)
    # Nobody has certified mta-sts.bad-cert1.loc.
    context = authority.server(*(f"mta-sts.{name}" for name in WORLD if name != "bad-cert1.loc"))
    async with https_serving({name: text for name, (_, text) in WORLD.items()}, context) as server:
        policy = await policies(server, authority).policy(domain)
    enforced = policy is not None and policy.mode == "enforce"
    assert enforced == row["answer"].startswith("OK")
    if enforced:
        assert policy.mx == ("mail.loc",)


# Records and policies.


def test_of_a_field_that_comes_twice_the_first_counts():
    text = "version: STSv1\nmode: testing\nmode: enforce\nmx: a.loc\nmx: *.b.loc\nmax_age: 99\nmax_age: 1"
    assert parse_policy(text) == Policy("testing", ("a.loc", "*.b.loc"), 99)


def test_a_policy_holds_a_year_at_most():
    assert parse_policy(POLICY.format(mode="enforce", mx="a.loc", age=9_999_999_999)).max_age == mta_sts.LONGEST_AGE


@given(st.text(max_size=300))
def test_no_text_breaks_the_parsers(text):
    for parse in (parse_record, parse_policy):
        with contextlib.suppress(Malformed):
            parse(text)


async def test_two_records_are_none_and_other_texts_are_passed_over(world, authority):
    answers = dict.fromkeys(("two.loc", "other.loc"), POLICY.format(mode="enforce", mx="mx.loc", age=86400))
    for name, second in (("two.loc", "v=STSv1; id=2;"), ("other.loc", "v=spf1 -all")):
        publish(world, name, "v=STSv1; id=1;")
        world.add(f"_mta-sts.{name}", "TXT", second)
    async with https_serving(answers, authority.server("*.two.loc", "*.other.loc")) as server:
        known = policies(server, authority)
        assert await known.policy("two.loc") is None
        assert (await known.policy("other.loc")).mode == "enforce"


# Fetching.

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True),
        (OK + b"Content-Length: 5\r\n\r\nhello and more", True),
        (OK + b"\r\n" + b"x" * 70_000, False),
        (OK + b"\r\n" + b"x" * 1_000_000, False),
        (OK + b"Content-Length: 50\r\n\r\nhello", False),
        (OK + b"\r\n\xff", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", False),
        (b"HTTP/1.1 301 Moved\r\nContent-Type: text/plain\r\nLocation: https://mta-sts.x.loc/\r\n\r\nhello", False),
        (b"hello", False),
        (b"", False),
    ],
)
async def test_only_a_short_plain_text_without_redirect_is_taken(world, authority, answer, good):
    publish(world, "x.loc", None)
    async with https_serving({"x.loc": answer}, authority.server("mta-sts.x.loc")) as server:
        client = https.Client(Router().lookups.resolver, server.port, authority.trusting)
        with contextlib.nullcontext() if good else pytest.raises((ValueError, OSError)):
            assert await client.get_text("https://mta-sts.x.loc/.well-known/mta-sts.txt") == "hello"


@pytest.mark.parametrize("options", [{"self_signed": True}, {"valid": -DAY}])
async def test_a_policy_host_needs_a_valid_certificate(world, authority, options):
    publish(world, "x.loc", "v=STSv1; id=1;")
    answers = {"x.loc": POLICY.format(mode="enforce", mx="mx.loc", age=86400)}
    async with https_serving(answers, authority.server("mta-sts.x.loc", **options)) as server:
        assert await policies(server, authority).policy("x.loc") is None
        assert server.asked == []


async def test_a_stranger_cannot_make_us_fetch_from_private_addresses(world, authority):
    publish(world, "x.loc", "v=STSv1; id=1;")
    with override_settings(PRIVATE_MX=False):
        async with https_serving({}, authority.server("mta-sts.x.loc")) as server:
            client = https.Client(Router().lookups.resolver, server.port, authority.trusting)
            with pytest.raises(ValueError, match="no public address"):
                await client.get_text("https://mta-sts.x.loc/.well-known/mta-sts.txt")


# Keeping.


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(mta_sts, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Published:
    """Stands for DNS and HTTPS: a record's id and a policy's text, and how often each was asked for."""

    def __init__(self):
        self.record, self.text = "1", POLICY.format(mode="enforce", mx="mx.loc", age=1000)
        self.looked = self.fetched = 0
        self.policies = Policies(None, self.fetch)
        self.policies._record = self.look

    async def look(self, domain):
        self.looked += 1
        await asyncio.sleep(0)
        if isinstance(self.record, Exception):
            raise self.record
        return self.record

    async def fetch(self, url):
        self.fetched += 1
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    async def mode(self):
        policy = await self.policies.policy("x.loc")
        return policy and policy.mode


async def test_equal_questions_at_once_are_one_and_answers_are_remembered(clock):
    published = Published()
    assert await asyncio.gather(*(published.mode() for _ in range(5))) == 5 * ["enforce"]
    clock.now += mta_sts.RECORD_SECONDS - 1
    assert await published.mode() == "enforce"
    assert (published.looked, published.fetched) == (1, 1)


async def test_that_there_is_no_policy_is_remembered_too(clock):
    published = Published()
    published.record = ""
    assert [await published.mode() for _ in range(3)] == 3 * [None]
    assert (published.looked, published.fetched) == (1, 0)
    clock.now += mta_sts.NO_RECORD_SECONDS
    published.record = "1"
    assert await published.mode() == "enforce"


async def test_a_new_id_fetches_the_new_policy_and_an_old_one_does_not(clock):
    published = Published()
    await published.mode()
    clock.now += mta_sts.RECORD_SECONDS
    assert await published.mode() == "enforce"
    assert published.fetched == 1
    published.record, published.text = "2", POLICY.format(mode="testing", mx="mx.loc", age=1000)
    clock.now += mta_sts.RECORD_SECONDS
    assert await published.mode() == "testing"


@pytest.mark.parametrize(
    "change",
    [{"record": OSError("no DNS")}, {"record": ""}, {"record": "2", "text": OSError("no HTTPS")}, {"text": "rubbish"}],
)
async def test_a_policy_stays_in_force_when_its_refresh_fails_until_its_age_is_over(clock, change):
    published = Published()
    await published.mode()
    for name, value in change.items():
        setattr(published, name, value)
    clock.now += 900
    assert await published.mode() == "enforce"
    clock.now += 101
    assert await published.mode() is None


async def test_no_more_domains_are_remembered_than_there_is_room_for(clock, monkeypatch):
    monkeypatch.setattr(mta_sts, "MOST_DOMAINS", 3)
    published = Published()
    for number in range(10):
        await published.policies.policy(f"x{number}.loc")
    assert list(published.policies.known) == ["x7.loc", "x8.loc", "x9.loc"]


# Obeying.


@contextlib.asynccontextmanager
async def destination(world, authority, mode, mx="mx.x.loc", certified="mx.x.loc", tls=True):
    """A dialer for x.loc, whose only MX is mx.x.loc, and whose policy names `mx`."""
    publish(world, "x.loc", "v=STSv1; id=1;")
    world.add("x.loc", "MX", "10 mx.x.loc.")
    world.add("mx.x.loc", "A", "127.0.0.1")
    simulator = Simulator("x.loc", ssl_context=authority.server(certified) if tls else None)
    await simulator.start()
    answers = {"x.loc": POLICY.format(mode=mode, mx=mx, age=86400)}
    try:
        async with https_serving(answers, authority.server("mta-sts.x.loc")) as server:
            with override_settings(SMTP_PORT=simulator.port):
                yield Dialer(Router(), Encryption(authority.trusting), policies(server, authority))
    finally:
        await simulator.stop()


async def test_enforced_mail_goes_to_a_permitted_server_with_a_valid_certificate(world, authority):
    async with destination(world, authority, "enforce") as dialer:
        outcome = await hand_over(await dialer.open("x.loc"), job("x@x.loc"), CONTENT)
        assert (outcome.status, outcome.note) == (Status.DELIVERED, "")
        assert outcome.tls.endswith("certificate valid")


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"mx": "mx.y.loc"}, "permits none of its mail servers: mx.x.loc"),
        ({"certified": "mx.y.loc"}, "demands TLS with a valid certificate"),
        ({"tls": False}, "demands TLS with a valid certificate"),
    ],
)
async def test_mail_waits_where_an_enforced_policy_is_not_met_and_goes_in_testing_mode(world, authority, options, note):
    async with destination(world, authority, "enforce", **options) as dialer:
        for _ in range(2):
            closed = await dialer.open("x.loc")
            assert isinstance(closed, Closed)
            assert (closed.outcome.status, closed.outcome.reason) == (Status.DEFERRED, Reason.TLS)
            assert note in closed.outcome.note
    async with destination(world, authority, "testing", **options) as dialer:
        outcome = await hand_over(await dialer.open("x.loc"), job("x@x.loc"), CONTENT)
        assert outcome.status == Status.DELIVERED
        assert "testing mode" in outcome.note


async def test_a_connection_suits_another_domain_only_if_it_meets_its_policy(world, authority):
    async with destination(world, authority, "enforce") as dialer:
        publish(world, "plain.loc", None)
        verified = await dialer.open("x.loc")
        assert await dialer.suits(verified, "plain.loc")
        assert await dialer.suits(verified, "x.loc")
        verified.verified = False
        assert await dialer.suits(verified, "plain.loc")
        assert not await dialer.suits(verified, "x.loc")


async def test_static_routes_ask_for_no_policy(world, authority):
    async with destination(world, authority, "enforce", mx="mx.y.loc") as dialer:
        with override_settings(ROUTES={"*": ("127.0.0.1", settings.SMTP_PORT)}):
            connection = await dialer.open("x.loc")
        assert not isinstance(connection, Closed)
        assert not dialer.policies.known


async def test_a_record_that_cannot_be_looked_up_delays_mail_for_seconds_only_once(world, authority, monkeypatch):
    monkeypatch.setattr(mta_sts, "LOOK_UP_SECONDS", 0.3)
    async with destination(world, authority, "enforce") as dialer:
        world.fail("_mta-sts.x.loc", Failure.TIME_OUT)
        assert not isinstance(await dialer.open("x.loc"), Closed)
        assert dialer.policies.known["x.loc"].look_again > 0
