"""The simulator's DNS server, asked by dnspython over UDP and TCP."""

import asyncio
import socket

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.dns import DnsServer
from relay.simulator.world import World, world_zone
from relay.simulator.zone import Failure, Zone
from tests.mail_world import dns_running

SOA = "ns.test hostmaster.test 1 3600 600 86400 5"
LONG = "v=DKIM1; k=rsa; p=" + "A" * 392
RECORDS = [
    ("test", "SOA", SOA),
    ("example.test", "MX", "20 mx2.example.test"),
    ("example.test", "MX", "10 mx1.example.test."),
    ("mx1.example.test", "A", "127.0.0.1"),
    ("one._domainkey.example.test", "TXT", LONG),
    ("two.example.test", "TXT", '"quoted" "text"'),
    ("alias.example.test", "CNAME", "one._domainkey.example.test"),
    ("away.example.test", "CNAME", "elsewhere.invalid"),
    ("lost.example.test", "CNAME", "nowhere.test"),
    ("loop.test", "CNAME", "pool.test"),
    ("pool.test", "CNAME", "loop.test"),
    *(("big.test", "TXT", f"{number:03} " + "x" * 200) for number in range(40)),
]


@pytest.fixture
def zone():
    return Zone(RECORDS)


@pytest.fixture
def server(zone):
    with dns_running(zone) as server:
        yield server


@pytest.fixture
def resolver(server):
    return resolver_for(server)


def resolver_for(server):
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], server.port, 5
    return resolver


def texts(answer):
    """Names in the case in which they were asked for (RFC 1035 4.1.4 compression), so all in small letters here."""
    return sorted(data.to_text().lower() for data in answer)


def ask(server, name, rdtype="A", udp=True, **options):
    query = dns.message.make_query(name, rdtype, **options)
    return (dns.query.udp if udp else dns.query.tcp)(query, "127.0.0.1", port=server.port, timeout=5)


@pytest.mark.parametrize("tcp", [False, True])
def test_records_are_found_over_udp_and_tcp(resolver, tcp):
    mx = resolver.resolve("Example.TEST", "MX", tcp=tcp)
    assert texts(mx) == ["10 mx1.example.test.", "20 mx2.example.test."]
    assert mx.rrset.ttl == 5
    assert texts(resolver.resolve("mx1.example.test", "A", tcp=tcp)) == ["127.0.0.1"]


def test_a_long_text_is_cut_into_strings_that_join_to_the_same(resolver):
    (data,) = resolver.resolve("one._domainkey.example.test", "TXT")
    assert [len(part) for part in data.strings] == [255, len(LONG) - 255]
    assert b"".join(data.strings).decode() == LONG
    assert texts(resolver.resolve("two.example.test", "TXT")) == ['"quoted" "text"']


def test_a_cname_is_followed_within_the_zone(resolver):
    answer = resolver.resolve("alias.example.test", "TXT")
    assert b"".join(answer[0].strings).decode() == LONG
    assert [rrset.name.to_text() for rrset in answer.response.answer] == [
        "alias.example.test.",
        "one._domainkey.example.test.",
    ]
    assert texts(resolver.resolve("alias.example.test", "CNAME")) == ["one._domainkey.example.test."]


def test_a_cname_that_leads_out_of_the_zone_or_in_a_circle_is_answered_as_far_as_it_goes(server):
    away = ask(server, "away.example.test")
    assert (away.rcode(), len(away.answer)) == (dns.rcode.NOERROR, 1)
    lost = ask(server, "lost.example.test")
    assert (lost.rcode(), len(lost.answer), len(lost.authority)) == (dns.rcode.NXDOMAIN, 1, 1)
    assert ask(server, "loop.test").rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode"),
    [
        ("nowhere.test", "A", dns.rcode.NXDOMAIN),
        ("example.test", "A", dns.rcode.NOERROR),
        ("_domainkey.example.test", "TXT", dns.rcode.NOERROR),
        ("a.mx1.example.test", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_absence_is_told_with_the_soa(server, name, rdtype, rcode):
    response = ask(server, name, rdtype)
    assert response.rcode() == rcode
    assert not response.answer
    assert [rrset.name.to_text() for rrset in response.authority] == ["test."]
    assert response.flags & dns.flags.AA


def test_other_zones_are_refused(server):
    response = ask(server, "example.com")
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA


def test_an_answer_too_big_for_udp_is_fetched_over_tcp(server, resolver):
    assert ask(server, "big.test", "TXT").flags & dns.flags.TC
    assert len(resolver.resolve("big.test", "TXT")) == 40


def test_failures_can_be_scripted_by_name(server, zone):
    zone.fail("example.test", Failure.SERVFAIL)
    assert ask(server, "example.test", "MX").rcode() == dns.rcode.SERVFAIL
    zone.fail("example.test", Failure.REFUSED)
    assert ask(server, "example.test", "MX").rcode() == dns.rcode.REFUSED
    zone.fail("one._domainkey.example.test", Failure.SERVFAIL)
    assert ask(server, "alias.example.test", "TXT").rcode() == dns.rcode.SERVFAIL
    zone.fail("example.test", None)
    assert ask(server, "example.test", "MX").rcode() == dns.rcode.NOERROR


def test_a_name_can_be_silent_or_answer_only_over_tcp(server, zone, resolver):
    zone.fail("mx1.example.test", Failure.TIME_OUT)
    resolver.lifetime = 0.3
    with pytest.raises(dns.exception.Timeout):
        resolver.resolve("mx1.example.test", "A")
    zone.fail("mx1.example.test", Failure.TRUNCATED)
    response = ask(server, "mx1.example.test")
    assert response.flags & dns.flags.TC
    assert not response.answer
    resolver.lifetime = 5
    assert texts(resolver.resolve("mx1.example.test", "A")) == ["127.0.0.1"]


def test_a_zone_can_change_while_it_is_served(zone, resolver):
    zone.add("new.test", "A", "127.0.0.9")
    assert texts(resolver.resolve("new.test")) == ["127.0.0.9"]
    zone.remove("new.test")
    with pytest.raises(dns.resolver.NXDOMAIN):
        resolver.resolve("new.test")


def test_several_queries_on_one_tcp_connection(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        for name in ("mx1.example.test", "nowhere.test"):
            query = dns.message.make_query(name, "A")
            dns.query.send_tcp(connection, query)
            response, _ = dns.query.receive_tcp(connection, expiration=None)
            assert response.id == query.id


def test_zone_transfers_updates_and_other_classes_are_refused(server):
    assert ask(server, "test", "AXFR", udp=False).rcode() == dns.rcode.REFUSED
    assert ask(server, "test", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


PACKETS = DnsServer(Zone(RECORDS))
QUERY = dns.message.make_query("example.test", "MX", use_edns=0).to_wire()


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_ignored(wire):
    check_packet(wire)


@given(st.lists(st.tuples(st.integers(0, len(QUERY) - 1), st.integers(0, 255)), max_size=6), st.binary(max_size=40))
def test_damaged_queries_are_answered_or_ignored(damages, tail):
    wire = bytearray(QUERY)
    for place, value in damages:
        wire[place] = value
    check_packet(bytes(wire) + tail)


def check_packet(wire):
    for udp in (True, False):
        response = asyncio.run(PACKETS.respond(wire, udp))
        assert response is None or response[:2] == wire[:2]


def test_hostile_packets_do_not_stop_the_server(server, resolver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for wire in (b"", b"x", b"\xff" * 12, QUERY[:-3], QUERY * 3, b"\x00" * 1400):
            sender.sendto(wire, ("127.0.0.1", server.port))
    for wire in (b"", b"\x00", b"\x00\x00", b"\xff\xffx", b"\x00\x05hello"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(wire)
    assert texts(resolver.resolve("mx1.example.test")) == ["127.0.0.1"]


# The demo's world.


def test_the_world_knows_the_simulator_and_us_and_nothing_else(settings):
    settings.SIMULATOR_DOMAIN, settings.ZONE, settings.HOSTNAME = "simulator.test", "relay.test", "smtp.relay.test"
    with dns_running(world_zone([])) as server:
        resolver = resolver_for(server)
        assert texts(resolver.resolve("simulator.test", "MX")) == ["10 mx.simulator.test."]
        for host in ("mx.simulator.test", "mx.relay.test", "smtp.relay.test"):
            assert texts(resolver.resolve(host)) == ["127.0.0.1"]
        assert texts(resolver.resolve("nullmx.simulator.test", "MX")) == ["0 ."]
        assert texts(resolver.resolve("dead.simulator.test", "MX")) == ["10 mx.dead.simulator.test."]
        for name in ("nowhere.simulator.test", "gmail.com"):
            with pytest.raises(dns.resolver.NXDOMAIN):
                resolver.resolve(name, "MX")
        with pytest.raises(dns.resolver.NoAnswer):
            resolver.resolve("mx.simulator.test", "AAAA")


def test_the_customers_cname_leads_to_our_key_and_a_bad_record_harms_no_other(settings):
    settings.ZONE = "relay.test"
    records = [
        ("abc.r1.dkim.relay.test", "TXT", LONG),
        ("x" * 70 + ".relay.test", "TXT", "label too long"),
        ("bad.relay.test", "MX", "no preference"),
        ("r1._domainkey.shop.test", "CNAME", "abc.r1.dkim.relay.test"),
    ]
    with dns_running(world_zone(records)) as server:
        answer = resolver_for(server).resolve("r1._domainkey.shop.test", "TXT")
    assert b"".join(answer[0].strings).decode() == LONG


def test_the_world_reads_again_and_keeps_what_it_knew_when_that_fails(monkeypatch):
    monkeypatch.setattr("relay.simulator.world.FRESH", 0.0)
    known = [("shop.test", "A", "127.0.0.5")]

    def read():
        if not known:
            raise OSError("the database is away")
        return list(known)

    with dns_running(World(read)) as server:
        resolver = resolver_for(server)
        assert texts(resolver.resolve("shop.test")) == ["127.0.0.5"]
        known.append(("shop.test", "A", "127.0.0.6"))
        assert texts(resolver.resolve("shop.test")) == ["127.0.0.5", "127.0.0.6"]
        known.clear()
        assert texts(resolver.resolve("shop.test")) == ["127.0.0.5", "127.0.0.6"]
