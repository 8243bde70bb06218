"""Asking the DNS: whom we ask, what we believe, and that no response is anything but a value."""

import asyncio
import socket
import threading
from contextlib import contextmanager

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains import answers
from domains.answers import Answer, Kind, read, text_of
from domains.asking import Asker, may_be_asked
from relay.simulator.zone import Failure, Zone
from tests.dns_servers import FIRST, OTHER, SECOND, SILENT, Network, Unbound, zone_text


@pytest.fixture(scope="module")
def servers():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def network(servers, settings):
    servers.forget()
    settings.DNS_SERVER, settings.DNS_PORT = ("127.0.0.1", servers.resolver.port), servers.port
    settings.PRIVATE_MX = True
    return servers


async def test_a_resolver_tells_values_the_way_to_them_and_for_how_long(network):
    network.zone("shop.example", "a CNAME b", "b 7 MX 10 Mail", "b 7 MX 5 other.example.", "text TXT one two", ttl=60)
    asker = Asker()
    assert await asker.resolve("a.shop.example", "MX") == Answer(
        Kind.FOUND, ("10 mail.shop.example", "5 other.example"), ("b.shop.example",), 7
    )
    assert (await asker.resolve("text.shop.example", "TXT")).values == ("onetwo",)


async def test_no_name_and_no_data_are_told_apart_with_their_time_and_zone(network):
    network.zone("shop.example", "a A 192.0.2.1", negative=9)
    asker = Asker()
    no_name, no_data = await asker.resolve("b.shop.example", "A"), await asker.resolve("a.shop.example", "MX")
    assert (no_name.kind, no_data.kind) == (Kind.NO_NAME, Kind.NO_DATA)
    for answer in (no_name, no_data):
        assert (answer.zone, answer.ttl, answer.values) == ("shop.example", 9, ())
    assert (await asker.authoritative("b.shop.example", "A"))[0].kind is Kind.NO_NAME


async def test_each_authoritative_server_is_asked_by_itself(network):
    both = {"servers": (FIRST, OTHER)}
    network.zone("shop.example", "a TXT one", **both)
    network.zone("shop.example", "a TXT two", at=network.other, **both)
    found = await Asker().authoritative("a.shop.example", "TXT")
    assert {(answer.server, answer.values) for answer in found} == {
        ("ns1.shop.example", ("one",)),
        ("ns2.shop.example", ("two",)),
    }
    (only,) = await Asker().authoritative("a.shop.example", "TXT", ["ns2.shop.example"])
    assert only.values == ("two",)


async def test_a_text_too_long_for_udp_comes_by_tcp(network, settings):
    """From the resolver, and from the authoritative server."""
    text = " ".join('"' + str(number) * 250 + '"' for number in range(8))
    network.zone("shop.example", f"long TXT {text}")
    narrow = Unbound(network.port, udp=512)
    try:
        narrow.lead("shop.example", FIRST)
        settings.DNS_SERVER = ("127.0.0.1", narrow.port)
        asker = Asker()
        assert len((await asker.resolve("long.shop.example", "TXT")).values[0]) == 2000
        assert len((await asker.authoritative("long.shop.example", "TXT"))[0].values[0]) == 2000
    finally:
        narrow.close()


async def test_a_name_that_cannot_be_is_an_error(network):
    for name in ("a" * 64 + ".example", ".".join(["a" * 60] * 5), "a..example"):
        assert await Asker().resolve(name, "A") == answers.failure("bad-name")


async def test_what_was_found_once_is_not_asked_again(network, monkeypatch):
    network.zone("shop.example", "a TXT x")
    asker, asked = Asker(), []
    resolve = asker.resolve

    async def counted(name, rdtype):
        asked.append((name, rdtype))
        return await resolve(name, rdtype)

    monkeypatch.setattr(asker, "resolve", counted)
    names = [f"r{number}._domainkey.shop.example" for number in range(20)]
    await asyncio.gather(*(asker.authoritative(name, "CNAME") for name in names))
    assert sorted(asked) == [("ns1.shop.example", "A"), ("shop.example", "NS"), ("shop.example", "SOA")]


# Referrals.


async def test_a_referral_is_followed_down_to_the_zone_of_the_name(network):
    network.zone("shop.example", "deep NS ns1.deep", f"ns1.deep A {OTHER}")
    network.zone("deep.shop.example", "a.b TXT found", at=network.other, servers=(OTHER,))
    (answer,) = await Asker().authoritative("_x._y.deep.shop.example", "TXT")
    assert (answer.kind, answer.server, answer.zone) == (Kind.NO_NAME, "ns1.deep.shop.example", "deep.shop.example")
    (answer,) = await Asker().authoritative("a.b.deep.shop.example", "TXT")
    assert answer.values == ("found",)


@pytest.mark.parametrize("up", ["", "example"])
async def test_a_referral_that_leads_up_or_beside_is_lame(network, up):
    """Old servers refer whoever asks for what they do not serve to the root."""
    network.zone("shop.example", servers=(OTHER,), lead=(FIRST,))
    network.other.serve("", zone_text("", "example NS ns1.example", f"ns1.example A {FIRST}"))
    if up == "":
        network.other.serve_only(**{"elsewhere.example": zone_text("elsewhere.example")})
    (answer,) = await Asker().authoritative("a.shop.example", "TXT")
    assert answer.kind is Kind.ERROR
    assert answer.problem in ("lame", "refused")


async def test_referrals_without_an_end_are_given_up(network):
    """Each server refers to the next deeper zone, of which it is the server again."""

    class Endless(Zone):
        def answer(self, query):
            response = dns.message.make_response(query)
            name = query.question[0].name
            if query.question[0].rdtype != dns.rdatatype.TXT:
                return super().answer(query)
            self.asked += 1
            cut = name.split(min(len(name), self.asked + 3))[1]
            response.authority.append(dns.rrset.from_text(cut, 5, "IN", "NS", "ns.shop.example."))
            return response, None

    zone = Endless()
    zone.asked = 0
    with network.scripted("shop.example", zone):
        found = await Asker().authoritative("x." + "deeper." * 20 + "shop.example", "TXT")
    assert {answer.problem for answer in found} == {"lame"}
    assert 1 < zone.asked <= 12


async def test_at_most_six_name_servers_are_asked(network):
    addresses = tuple(f"127.0.2.{number}" for number in range(1, 41))
    network.zone("shop.example", "a TXT x", servers=addresses, lead=(FIRST,))
    assert len(await Asker().servers_of("shop.example")) == answers.MOST_SERVERS


# Whom we may ask.


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "2001::1", "fec0::1"),
    ],
)
def test_addresses_of_no_public_network_are_not_asked(settings, address):
    settings.PRIVATE_MX = False
    assert not may_be_asked(address)
    settings.PRIVATE_MX = True
    assert may_be_asked(address), "in the demo everybody is here"


@pytest.mark.parametrize("address", ["192.5.6.30", "8.8.8.8", "2001:503:ba3e::2:30", "2606:4700::1"])
def test_public_name_servers_are_asked(settings, address):
    settings.PRIVATE_MX = False
    assert may_be_asked(address)


async def test_name_servers_inside_our_network_are_never_asked(network, settings):
    """By NS and A, by NS of a deeper zone, and by an alias of the name server."""
    settings.PRIVATE_MX = False
    network.zone(
        "shop.example", "a TXT x", f"deep NS ns.deep\nns.deep A {OTHER}", servers=(SILENT, SECOND), lead=(FIRST,)
    )
    network.zone("other.example", "@ NS alias", "alias CNAME ns1.shop.example.", servers=(SILENT,), lead=(FIRST,))
    with listening(network, SILENT) as heard:
        asker = Asker()
        for name in ("a.shop.example", "x.deep.shop.example", "a.other.example"):
            assert await asker.authoritative(name, "TXT") == []
        assert await asker.servers_of("shop.example") == []
    assert heard == []


@contextmanager
def listening(network, address, answer=lambda wire: ()):
    """What is sent to this address, and answered from there with any number of packets."""
    heard, ended = [], threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((address, network.port))
        ear.settimeout(0.05)

        def listen():
            while not ended.is_set():
                try:
                    wire, sender = ear.recvfrom(4096)
                except TimeoutError:
                    continue
                heard.append(wire)
                for packet in answer(wire):
                    ear.sendto(packet, sender)

        thread = threading.Thread(target=listen)
        thread.start()
        yield heard
        ended.set()
        thread.join()


def answered(wire, text, **changed):
    query = dns.message.from_wire(wire)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", text))
    for name, value in changed.items():
        setattr(response, name, value)
    return response.to_wire()


async def test_forged_and_broken_packets_before_the_answer_are_not_believed(network):
    """RFC 5452 9.1: the identifier and the question have to be ours."""

    def answer(wire):
        number = int.from_bytes(wire[:2])
        other = dns.message.make_query("else.example", "TXT")
        other.id = number
        yield answered(wire, "forged", id=(number + 1) % 65536)
        yield answered(other.to_wire(), "forged")
        yield wire
        yield b"\xff" * 40
        yield wire[:7]
        yield answered(wire, "true")

    network.zone("shop.example", servers=(SILENT,), lead=(FIRST,))
    with listening(network, SILENT, answer):
        (said,) = await Asker().authoritative("a.shop.example", "TXT")
    assert said.values == ("true",)


async def test_each_question_has_an_identifier_and_a_port_of_its_own(network):
    network.zone("shop.example", servers=(SILENT,), lead=(FIRST,))
    with listening(network, SILENT, lambda wire: [answered(wire, "x")]) as heard:
        asker = Asker()
        await asyncio.gather(*(asker.authoritative(f"a{number}.shop.example", "TXT") for number in range(30)))
    assert len({wire[:2] for wire in heard}) > 25


async def test_a_question_that_was_lost_is_asked_again(network, monkeypatch):
    monkeypatch.setattr("domains.asking.PATIENCE", 0.5)
    seen = []

    def answer(wire):
        seen.append(wire)
        return [] if len(seen) == 1 else [answered(wire, "x")]

    network.zone("shop.example", servers=(SILENT,), lead=(FIRST,))
    with listening(network, SILENT, answer):
        (said,) = await Asker().authoritative("a.shop.example", "TXT")
    assert said.values == ("x",)


async def test_a_server_that_breaks_off_its_tcp_answer_is_trouble(network):
    zone = Zone([("a.shop.example", "TXT", "x")])
    with network.scripted("shop.example", zone):
        zone.fail("a.shop.example", Failure.TRUNCATED)
        (said,) = await Asker().authoritative("a.shop.example", "TXT")
    assert said.values == ("x",), "TCP has the whole answer"
    network.zone("cut.example", servers=(SILENT,), lead=(FIRST,))
    with listening(
        network, SILENT, lambda wire: [answered(wire, "x", flags=dns.flags.QR | dns.flags.AA | dns.flags.TC)]
    ):
        (said,) = await Asker().authoritative("a.cut.example", "TXT")
    assert said.kind is Kind.ERROR


# Whatever a response holds.

NAME = dns.name.from_text("a.shop.example")
TYPES = ["TXT", "A", "AAAA", "MX", "NS", "CNAME", "SOA"]
QUERY = dns.message.make_query(NAME, "TXT", use_edns=0)
GOOD = answered(QUERY.to_wire(), '"v=DKIM1; p=abc" "def"')


def check(response, rdtype, authoritative):
    answer = read(response, NAME, rdtype, "ns", authoritative=authoritative)
    assert len(answer.values) <= answers.MOST_VALUES
    assert len(answer.chain) <= answers.MOST_HOPS
    assert len(answer.referral) <= answers.MOST_SERVERS
    assert all(len(value) <= 8 * answers.MOST_CHARACTERS for value in answer.values)
    assert all(value.isprintable() for value in answer.values)
    assert 0 <= answer.ttl <= answers.LONGEST_TTL
    assert (answer.kind is Kind.ERROR) == bool(answer.problem)
    assert answer.kind is Kind.FOUND or not answer.values
    if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        assert answer.kind is Kind.ERROR, "a resolver's error is never anything else"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=12),
    st.binary(max_size=60),
    st.sampled_from(TYPES),
    st.booleans(),
)
def test_a_damaged_response_is_read_within_bounds_or_refused_as_a_message(damages, tail, rdtype, authoritative):
    wire = bytearray(GOOD + tail)
    for place, value in damages:
        wire[place] = value
    try:
        response = dns.message.from_wire(bytes(wire), one_rr_per_rrset=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, EOFError, OSError):
        return  # as in Asker._exchange
    check(response, rdtype, authoritative)


LABEL = st.sampled_from([b"a", b"shop", b"example", b"*", b"\xff\x00.", b"x" * 63])
NAMES = st.one_of(st.just(NAME), st.lists(LABEL, max_size=3).map(lambda labels: dns.name.Name([*labels, b""])))


@st.composite
def records(draw):
    rdtype = draw(st.sampled_from(TYPES))
    raw = draw(st.binary(max_size=300))
    wires = {
        "A": (raw + bytes(4))[:4],
        "AAAA": (raw + bytes(16))[:16],
        "TXT": bytes([min(len(raw), 255)]) + raw[:255],
        "MX": raw[:1].ljust(2, b"\0") + draw(NAMES).to_wire(),
        "SOA": draw(NAMES).to_wire() * 2 + (raw + bytes(20))[:20],
    }
    wire = wires.get(rdtype) or draw(NAMES).to_wire()
    rdata = dns.rdata.from_wire(1, dns.rdatatype.from_text(rdtype), wire, 0, len(wire))
    return dns.rrset.from_rdata(draw(NAMES), draw(st.integers(0, 2**31 - 1)), rdata)


@settings(deadline=None)
@given(
    st.lists(records(), max_size=30),
    st.lists(records(), max_size=10),
    st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN, *dns.rcode.Rcode]),
    st.sampled_from(TYPES),
    st.booleans(),
    st.booleans(),
)
def test_a_hostile_response_is_read_within_bounds(answer, authority, rcode, rdtype, authoritative, aa):
    response = dns.message.make_response(QUERY)
    response.answer, response.authority = answer, authority
    response.flags |= dns.flags.AA if aa else 0
    response.set_rcode(rcode)
    check(response, rdtype, authoritative)


@settings(deadline=None)
@given(records())
def test_any_record_has_a_text(record):
    assert isinstance(text_of(record[0]), str)


def test_aliases_in_a_circle_and_without_end_are_a_loop():
    def through(*targets):
        response = dns.message.make_response(QUERY)
        names = ["a.shop.example.", *targets]
        response.answer = [
            dns.rrset.from_text(name, 5, "IN", "CNAME", target) for name, target in zip(names, targets, strict=False)
        ]
        return read(response, NAME, "TXT", "", authoritative=False)

    assert through("b.example.", "a.shop.example.", "b.example.").problem == "loop"
    assert through(*(f"n{number}.example." for number in range(20))).problem == "loop"
    assert through("b.example.", "c.example.").chain == ("b.example", "c.example")


def test_without_a_setting_the_systems_resolvers_are_asked(settings, monkeypatch):
    settings.DNS_SERVER = None
    asker_addresses = Asker().resolvers
    assert len(asker_addresses) >= 2

    def none(*_):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("domains.asking.dns.resolver.get_default_resolver", none)
    assert Asker().resolvers == ["127.0.0.1"]
