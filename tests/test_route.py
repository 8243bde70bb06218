"""Where mail goes, by the answers of a real DNS server: MX, addresses, absence, failures, and what is shunned."""

import asyncio
import json
import time
from pathlib import Path

import dns.name
import pytest
from django.conf import settings
from django.test import override_settings

from activity.status import Status
from relay.delivery import route
from relay.delivery.lookups import LONGEST_ABSENCE
from relay.delivery.reach import interleaved, is_public
from relay.delivery.route import Router, Server, Unroutable, site_of
from relay.delivery.site import site_name
from relay.simulator.dns import DnsServer
from relay.simulator.zone import Failure, Zone

CASES = Path(settings.BASE_DIR).parent / "shared" / "corpora" / "mx-cases.jsonl"
SOA = ("example", "SOA", "ns.example hostmaster.example 1 3600 600 86400 60")


class CountingZone(Zone):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def answer(self, query):
        question = query.question[0]
        self.asked.append((question.name.to_text(omit_final_dot=True), question.rdtype.name))
        return super().answer(query)


def zone_of(*records, ttl=60):
    return CountingZone([SOA, *records], ttl=ttl)


def routed(zone, ask, **options):
    """What `ask(router)` returns, with the zone served for as long as that takes."""

    async def run():
        server = DnsServer(zone)
        await server.start()
        try:
            with override_settings(DNS_SERVER=("127.0.0.1", server.port)):
                return await ask(Router(**{"ipv6": False, **options}))
        finally:
            await server.stop()

    return asyncio.run(run())


def servers_of(zone, domain="dest.example", **options):
    return routed(zone, lambda router: router.servers(domain), **options)


def verdict(found):
    assert isinstance(found, Unroutable), found
    return found.outcome.status, found.outcome.enhanced, found.absent


def hosts_of(found):
    assert isinstance(found, list), found
    return list(dict.fromkeys(server.host for server in found))


def ips_of(found):
    assert isinstance(found, list), found
    return [server.ip for server in found]


@pytest.fixture
def private():
    with override_settings(PRIVATE_MX=True):
        yield


DEFERRED_DNS = (Status.DEFERRED, "4.4.3", False)
DEFERRED_ABSENT = (Status.DEFERRED, "5.1.2", True)

# Where mox's resolution and ours differ, and why ours is right.
EXCEPTIONS = {
    # mox gives the name to its dialer, which then finds nothing; our router looks for the addresses itself.
    "absent.example": DEFERRED_ABSENT,
    "danglingcname.example": DEFERRED_ABSENT,
    # mox gives up at once. A resolver answers SERVFAIL for both, like for any trouble of the moment, and a loop is a
    # slip that somebody repairs: in doubt we defer, and the mail ends as Soft bounce when nobody does.
    "cnamelimit1.example": DEFERRED_DNS,
    "cnameloop.example": DEFERRED_DNS,
}
EXPECTED_ERRORS = {
    "permanent: null MX, no mail": (Status.HARD_BOUNCE, "5.1.10", False),
    "temporary: DNS": DEFERRED_DNS,
}


def corpus():
    first, *rows = [json.loads(line) for line in CASES.read_text().splitlines()] if CASES.exists() else [{}]
    return first.get("zone", {}), rows


def corpus_zone():
    given = corpus()[0]
    zone = zone_of()
    for name, records in given["MX"].items():
        for host, preference in records:
            zone.add(name, "MX", f"{preference} {host}")
    for kind in ("A", "AAAA"):
        for name, addresses in given[kind].items():
            for address in addresses:
                zone.add(name, kind, address)
    chains = {f"cnamelimit{n}.example.": f"cnamelimit{n + 1}.example." for n in range(17)}
    for name, target in (given["CNAME"] | chains).items():
        if "(" not in name:
            zone.add(name, "CNAME", target)
    # The file's hosts of the multiple MX have no addresses: mox does not look.
    for host in ("mail1.multimx.example.", "mail2.multimx.example."):
        zone.add(host, "A", "10.0.0.2")
    for line in given["SERVFAIL"]:
        zone.fail(line.split()[1], Failure.SERVFAIL)
    return zone


@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared/corpora")
@pytest.mark.parametrize("row", corpus()[1], ids=lambda row: row["domain"])
def test_the_cases_of_mox_are_routed_as_mox_does_or_better(row, private):
    found = servers_of(corpus_zone(), row["domain"], ipv6=True)
    if row["domain"] in EXCEPTIONS:
        assert verdict(found) == EXCEPTIONS[row["domain"]]
    elif row["error"]:
        assert verdict(found) == EXPECTED_ERRORS[row["error"]]
    else:
        assert sorted(hosts_of(found)) == [host for host, _ in row["hosts"]]


def test_lower_preference_goes_first_and_equal_preference_takes_turns(private):
    zone = zone_of(
        *(("dest.example", "MX", record) for record in ("20 last.example.", "10 a.example.", "10 b.example.")),
        *((f"{host}.example", "A", "10.0.0.1") for host in ("last", "a", "b")),
    )

    async def many(router):
        return [tuple(hosts_of(await router.servers("dest.example"))) for _ in range(60)]

    assert set(routed(zone, many)) == {
        ("a.example", "b.example", "last.example"),
        ("b.example", "a.example", "last.example"),
    }


def test_a_null_mx_beside_others_is_ignored(private):
    zone = zone_of(
        ("dest.example", "MX", "0 ."), ("dest.example", "MX", "10 mx.example."), ("mx.example", "A", "10.0.0.1")
    )
    assert hosts_of(servers_of(zone)) == ["mx.example"]


def test_a_domain_with_mx_is_never_delivered_to_its_own_address(private):
    zone = zone_of(("dest.example", "MX", "10 gone.example."), ("dest.example", "A", "10.0.0.1"))
    assert verdict(servers_of(zone)) == (Status.DEFERRED, "4.4.4", False)


def test_a_domain_with_neither_mx_nor_address_is_deferred():
    assert verdict(servers_of(zone_of(("dest.example", "TXT", "x")))) == (Status.DEFERRED, "4.4.4", False)


def test_a_domain_that_took_mail_of_late_does_not_count_as_absent():
    async def took_mail(domain):
        return domain == "known.example"

    assert verdict(servers_of(zone_of(), "known.example", took_mail=took_mail)) == (Status.DEFERRED, "5.1.2", False)
    assert verdict(servers_of(zone_of(), "other.example", took_mail=took_mail)) == DEFERRED_ABSENT


@pytest.mark.parametrize("failure", [Failure.SERVFAIL, Failure.REFUSED])
def test_a_failing_name_server_is_not_an_absent_domain(failure):
    zone = zone_of(("dest.example", "MX", "10 mx.example."))
    zone.fail("dest.example", failure)
    assert verdict(servers_of(zone)) == DEFERRED_DNS


def test_a_silent_name_server_is_not_an_absent_domain():
    zone = zone_of()
    zone.fail("dest.example", Failure.TIME_OUT)

    async def impatient(router):
        router.lookups.resolver.timeout = router.lookups.resolver.lifetime = 0.2
        return await router.servers("dest.example")

    found = routed(zone, impatient)
    assert verdict(found) == DEFERRED_DNS
    assert "in time" in found.outcome.note


def test_one_mx_that_cannot_be_looked_up_does_not_hide_the_next(private):
    zone = zone_of(
        ("dest.example", "MX", "10 sick.example."), ("dest.example", "MX", "20 well.example."),
        ("well.example", "A", "10.0.0.1"),
    )  # fmt: skip
    zone.fail("sick.example", Failure.SERVFAIL)
    assert hosts_of(servers_of(zone)) == ["well.example"]
    zone.fail("well.example", Failure.SERVFAIL)
    assert verdict(servers_of(zone)) == DEFERRED_DNS


def test_an_address_or_a_malformed_name_in_an_mx_is_passed_over(private):
    zone = zone_of(
        ("dest.example", "MX", "10 10.0.0.9."),
        ("dest.example", "MX", r"20 a\032b.example."),
        (r"a\032b.example", "A", "10.0.0.8"),
        ("dest.example", "MX", "30 _dc-mx.1a.example."),
        ("_dc-mx.1a.example", "A", "10.0.0.1"),
    )
    assert ips_of(servers_of(zone)) == ["10.0.0.1"]
    assert ("10.0.0.9", "A") not in zone.asked


@pytest.mark.parametrize("domain", ["a..b", "x" * 64 + ".example", "ex ample", "[10.0.0.1]", "", "ü.example"])
def test_no_domain_breaks_the_router(domain):
    assert isinstance(servers_of(zone_of(), domain), Unroutable)


def test_at_most_five_addresses_are_tried_and_a_large_pool_leaves_room(private):
    zone = zone_of(
        ("dest.example", "MX", "10 pool.example."), ("dest.example", "MX", "20 next.example."),
        *(("pool.example", "A", f"10.0.0.{n}") for n in range(1, 9)),
        *(("next.example", "A", f"10.0.1.{n}") for n in range(1, 9)),
        *(("alone.example", "A", f"10.0.2.{n}") for n in range(1, 9)),
    )  # fmt: skip
    assert [server.host for server in servers_of(zone)] == ["pool.example"] * 3 + ["next.example"] * 2
    assert len(servers_of(zone, "alone.example")) == route.MOST_ADDRESSES


def test_families_take_turns_and_a_machine_without_ipv6_does_not_ask_for_it(private):
    records = [("dest.example", "A", f"10.0.0.{n}") for n in (1, 2)]
    records += [("dest.example", "AAAA", f"2001:db8::{n}") for n in (1, 2)]
    families = [":" in ip for ip in ips_of(servers_of(zone_of(*records), ipv6=True))]
    assert families == [True, False, True, False]
    zone = zone_of(*records)
    assert not any(":" in ip for ip in ips_of(servers_of(zone, ipv6=False)))
    assert ("dest.example", "AAAA") not in zone.asked


def test_a_family_that_cannot_be_looked_up_does_not_hide_the_other(private):
    class Half(CountingZone):
        def answer(self, query):
            response, failure = super().answer(query)
            if query.question[0].rdtype.name == "AAAA":
                response.set_rcode(2)
            return response, failure

    zone = Half([SOA, ("dest.example", "A", "10.0.0.1")], ttl=60)
    assert ips_of(servers_of(zone, ipv6=True)) == ["10.0.0.1"]


def test_interleaving_goes_on_with_what_is_left():
    assert interleaved(["a", "b", "c"], ["1"]) == ["a", "1", "b", "c"]


FORBIDDEN = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 240.0.0.1 "
    "192.0.2.1 ::1 :: fe80::1 fc00::1 fec0::1 ff0e::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::7f00:1 64:ff9b::7f00:1 "
    "64:ff9b:1::1 2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1"
)


@pytest.mark.parametrize("ip", FORBIDDEN.split())
def test_a_strangers_mx_leads_to_no_address_that_is_not_public(ip):
    kind = "AAAA" if ":" in ip else "A"
    zone = zone_of(("dest.example", "MX", "10 mx.example."), ("mx.example", kind, ip))
    assert verdict(servers_of(zone, ipv6=True)) == (Status.DEFERRED, "4.4.4", False)


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700::1111"])
def test_a_public_address_is_used(ip):
    assert is_public(ip)
    zone = zone_of(("dest.example", "AAAA" if ":" in ip else "A", ip))
    assert ips_of(servers_of(zone, ipv6=True)) == [ip]


@override_settings(HOSTNAME="smtp.relay.example", BIND="8.8.8.8")
@pytest.mark.parametrize("us", ["us.example", "smtp.relay.example"])
def test_neither_we_nor_mail_servers_that_are_no_better_than_we_are_used(us):
    """By our address, or by our name wherever that leads (RFC 5321 5.1)."""
    zone = zone_of(
        ("smtp.relay.example", "A", "9.9.9.9"),
        ("us.example", "A", "9.9.9.9"), ("us.example", "A", "8.8.8.8"),
        ("dest.example", "MX", "5 best.example."), ("best.example", "A", "8.8.4.4"),
        ("dest.example", "MX", f"10 {us}."),
        ("dest.example", "MX", "10 equal.example."), ("equal.example", "A", "1.0.0.1"),
        ("dest.example", "MX", "20 worse.example."), ("worse.example", "A", "1.1.1.1"),
        ("only.example", "MX", f"10 {us}."), ("only.example", "MX", "20 worse.example."),
    )  # fmt: skip
    for _ in range(10):
        assert ips_of(servers_of(zone)) == ["8.8.4.4"]
    found = servers_of(zone, "only.example")
    assert verdict(found) == (Status.DEFERRED, "4.4.6", False)
    assert "this relay itself" in found.outcome.note


def test_of_many_mail_servers_those_are_drawn_that_a_policy_permits(private):
    hosts = [f"mx{n}.example" for n in range(12)]
    zone = zone_of(
        *(("dest.example", "MX", f"{n} {host}.") for n, host in enumerate(hosts)),
        *((host, "A", f"10.0.0.{n}") for n, host in enumerate(hosts)),
    )  # fmt: skip

    def drawn(*permitted):
        return hosts_of(routed(zone, lambda router: router.servers("dest.example", lambda host: host in permitted)))

    assert drawn("mx8.example", "mx11.example") == ["mx8.example", "mx11.example"]
    # Whoever asked can then say which servers the policy does not permit.
    assert drawn() == hosts[:5]


@override_settings(ROUTES={"dest.example": ("10.9.8.7", 2525), "*": ("::1", 25), "near.example": ("localhost", 26)})
def test_a_static_route_to_an_address_asks_no_dns_and_may_be_private():
    zone = zone_of()
    assert servers_of(zone) == [Server("10.9.8.7", "10.9.8.7", 2525, "10.9.8.7:2525")]
    assert servers_of(zone, "any.example") == [Server("::1", "::1", 25, "::1:25")]
    assert ips_of(servers_of(zone, "near.example")) == ["127.0.0.1"]
    assert zone.asked == []


@override_settings(ROUTES={"*": ("smart.example", 25), "lost.example": ("nowhere.example", 25)})
def test_a_static_route_to_a_name_looks_up_its_addresses():
    zone = zone_of(("smart.example", "A", "10.0.0.1"))
    assert ips_of(servers_of(zone)) == ["10.0.0.1"]
    assert verdict(servers_of(zone, "lost.example")) == (Status.DEFERRED, "4.4.4", False)


def test_answers_and_absences_are_remembered(private):
    zone = zone_of(
        ("dest.example", "MX", "10 mx.example."), ("mx.example", "A", "10.0.0.1"), ("bare.example", "A", "10.0.0.1")
    )

    async def twice(router):
        for domain in ("dest.example", "bare.example", "absent.example") * 2:
            await router.servers(domain)

    routed(zone, twice)
    assert sorted(zone.asked) == sorted(set(zone.asked))


def test_an_answer_is_asked_again_when_its_time_is_over(private):
    zone = zone_of(("dest.example", "A", "10.0.0.1"), ttl=0)

    async def twice(router):
        for _ in range(2):
            await router.servers("dest.example")

    routed(zone, twice)
    assert zone.asked.count(("dest.example", "A")) == 2


def test_absence_is_forgotten_before_a_second_attempt_looks():
    zone = CountingZone([("test", "SOA", "ns.test hostmaster.test 1 3600 600 86400 86400")], ttl=86_400)

    async def remembered(router):
        await router.servers("absent.test")
        (node,) = router.lookups.resolver.cache.data.values()
        return node.value

    assert routed(zone, remembered).expiration <= time.time() + LONGEST_ABSENCE


def test_equal_questions_at_once_are_one_question(private):
    zone = zone_of(("dest.example", "MX", "10 mx.example."), ("mx.example", "A", "10.0.0.1"), ttl=0)

    async def crowd(router):
        return await asyncio.gather(*(router.servers("dest.example") for _ in range(50)))

    assert len(routed(zone, crowd)) == 50
    assert zone.asked == [("dest.example", "MX"), ("mx.example", "A")]


def test_who_leaves_does_not_take_the_answer_with_him():
    zone = zone_of(("dest.example", "A", "10.0.0.1"))

    async def leave(router):
        name = dns.name.from_text("dest.example.")
        first, second = (asyncio.create_task(router.lookups.ask(name, "A")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        answer = await second
        assert router.lookups.flying == {}
        return answer

    assert [record.address for record in routed(zone, leave).rrset] == ["10.0.0.1"]


def test_a_chain_is_followed_where_the_server_followed_it_only_so_far(private):
    zone = zone_of(
        *((f"c{n}.example", "CNAME", f"c{n + 1}.example.") for n in range(12)), ("c12.example", "A", "10.0.0.1")
    )
    assert ips_of(servers_of(zone, "c0.example")) == ["10.0.0.1"]


def test_domains_of_one_provider_share_a_site():
    google = site_name(["aspmx.l.google.com", "alt1.aspmx.l.google.com", "aspmx2.googlemail.com"])
    assert google == site_name(["smtp.google.com"]) == site_name(["gmail-smtp-in.l.google.com"])
    tenants = {site_name([f"{name}.mail.protection.outlook.com"]) for name in ("a-com", "b-org")}
    assert tenants == {"microsoft365"}
    assert site_name(["outlook-com.olc.protection.outlook.com"]) not in tenants


def test_a_site_is_the_same_in_any_order_and_another_for_other_hosts():
    assert site_name(["mx1.a.example", "mx2.a.example"]) == site_name(["mx2.a.example", "mx1.a.example"])
    assert site_name(["mx1.a.example", "mx2.a.example"]) != site_name(["mx1.a.example"])
    assert site_name(["mx1.a.example", "mx2.a.example"]).startswith("a.example#")
    assert site_name(["mx.one.example", "mx.two.test"]).startswith("mx.one.example#")
    assert site_name(["evil.notgoogle.com"]) != "google"


def test_the_site_does_not_depend_on_which_hosts_were_drawn(private):
    zone = zone_of(
        *(("dest.example", "MX", f"10 mx{n}.pool.example.") for n in range(8)),
        *((f"mx{n}.pool.example", "A", f"10.0.0.{n}") for n in range(8)),
    )

    async def many(router):
        return {site_of(await router.servers("dest.example")) for _ in range(20)}

    assert len(routed(zone, many)) == 1


def test_the_lookups_of_a_process_keep_few_sockets_open(private, monkeypatch):
    monkeypatch.setattr("relay.delivery.lookups.MOST_IN_FLIGHT", 3)
    zone = zone_of(*((f"d{n}.example", "A", "10.0.0.1") for n in range(30)))

    async def crowd(router):
        return await asyncio.gather(*(router.servers(f"d{n}.example") for n in range(30)))

    assert all(ips_of(found) == ["10.0.0.1"] for found in routed(zone, crowd))
