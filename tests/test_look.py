"""A look at a domain whose zone a real name server serves, through a real resolver: every state a record can have."""

import dataclasses
import socket
from contextlib import contextmanager

import dns.message
import dns.rrset
import dns.zone
import pytest

from domains.asking import Asker
from domains.finding import State
from domains.judging import Wanted
from domains.look import Subject, look
from domains.wording import PROBLEMS
from relay.simulator.zone import Failure, Zone
from tests.dns_servers import FIRST, OTHER, SCRIPTED, SECOND, SILENT, Network, zone_text

TOKEN = "abcdefghijklmnopqrst"
KEY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" + "x" * 360
TARGETS = {
    "dkim1": f"{TOKEN}.r1.dkim.relay.test",
    "dkim2": f"{TOKEN}.r2.dkim.relay.test",
    "bounce": f"{TOKEN}.bounce.relay.test",
}
NAMES = {"dkim1": "r1._domainkey", "dkim2": "r2._domainkey", "bounce": "bounce"}
RECORDS = {key: f"{NAMES[key]} CNAME {TARGETS[key]}." for key in TARGETS}


def key_lines(public, slot):
    text = f"v=DKIM1; k=rsa; p={public}"
    strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
    return f"{TOKEN}.r{slot}.dkim TXT {strings}"


OURS = [
    key_lines(KEY, 1),
    key_lines(KEY, 2),
    f"{TOKEN}.bounce MX 10 mx",
    f'{TOKEN}.bounce TXT "v=spf1 a:smtp.relay.test -all"',
    "mx A 192.0.2.1",
]

OUR_ZONE = zone_text("relay.test", *OURS)


@pytest.fixture(scope="module")
def servers():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def hasty(monkeypatch):
    """For tests in which nobody answers."""
    monkeypatch.setattr("domains.asking.PATIENCE", 0.5)


@pytest.fixture
def network(servers, settings):
    """Our own zone is there as it should be; the customer's is the test's."""
    servers.forget(**{"relay.test": OUR_ZONE})
    settings.DNS_SERVER, settings.DNS_PORT = ("127.0.0.1", servers.resolver.port), servers.port
    settings.ZONE, settings.PRIVATE_MX = "relay.test", True
    return servers


def subject(name="shop.example", public=KEY):
    wanted = {
        key: Wanted(
            f"{NAMES[key]}.{name}",
            TARGETS[key],
            name,
            "relay.test",
            tuple(target for other, target in TARGETS.items() if other != key),
        )
        for key in TARGETS
    }
    return Subject(name, wanted, {"dkim1": public, "dkim2": public}, (f"_relay-claim.{name}", "relay-claim=mine"))


async def seen(name="shop.example", **options):
    return await look(subject(name, **options), Asker())


def shop(network, at=None, name="shop.example", extra=(), options=None, **records):
    """The customer's zone with the three records, but for those given as another line, or as None."""
    lines = [line for line in {**RECORDS, **records}.values() if line is not None]
    network.zone(name, *lines, *extra, at=at, **(options or {}))


def states(picture):
    return {key: finding.state.value for key, finding in picture.records.items()}


async def one(key="dkim1", **options):
    """What is found about one record; both others are right."""
    picture = await seen(**options)
    others = {finding.state for each, finding in picture.records.items() if each != key}
    assert others == {State.VALIDATED}
    finding = picture.records[key]
    assert finding.problem == "" or finding.problem in PROBLEMS, "the page has words for it"
    return finding


async def test_three_right_records_are_validated_and_their_keys_seen(network):
    shop(network)
    picture = await seen()
    assert states(picture) == dict.fromkeys(TARGETS, "validated")
    assert picture.keys == {"r1": KEY, "r2": KEY}
    assert picture.name_servers == ("ns1.shop.example",)
    assert picture.records["dkim1"].found == (TARGETS["dkim1"],)


# Not found.


async def test_a_record_that_was_not_entered_is_not_found(network):
    shop(network, dkim1=None)
    finding = await one()
    assert (finding.state, finding.found, finding.problem) == (State.MISSING, (), "")
    assert finding.server == "ns1.shop.example"
    assert finding.ttl == 5


async def test_a_domain_without_records_and_one_that_nobody_registered_are_not_found(network):
    network.zone("shop.example")
    assert states(await seen()) == dict.fromkeys(TARGETS, "missing")
    assert states(await seen("nobody.example")) == dict.fromkeys(TARGETS, "missing")


@pytest.mark.parametrize(
    ("key", "place", "problem"),
    [
        ("dkim1", "r1._domainkey.shop.example", "domain_twice"),
        ("bounce", "bounce.shop.example", "domain_twice"),
        ("dkim1", "r1._domainkey.r1._domainkey", "relative_twice"),
        ("dkim2", "r2.domainkey", "no_underscore"),
        ("dkim2", "r2", "name_cut"),
    ],
)
async def test_a_record_at_the_wrong_name_is_found_there(network, key, place, problem):
    shop(network, **{key: f"{place} CNAME {TARGETS[key]}."})
    finding = await one(key)
    assert (finding.state, finding.problem) == (State.MISSING, problem)
    assert finding.found == (f"{place}.shop.example",)


# A wrong value.


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (f"{TARGETS['dkim1']}.shop.example.", "target_with_domain"),
        (TARGETS["dkim2"] + ".", "swapped"),
        ("r1._domainkey.shop.example.", "points_at_itself"),
        (f"{TOKEN}.", "cut_off"),
        ("r1.dkim.relay.test.", "cut_off"),
        (f"x.{TARGETS['dkim1']}.", "too_much"),
        (f"{TARGETS['dkim1']}.net.", "too_much"),
        ("zyxwvutsrqponmlkjihg.r1.dkim.relay.test.", "old_token"),
        ("dkim.mailer.example.", "other_target"),
    ],
)
async def test_a_wrong_target_is_shown_with_its_difference(network, target, problem):
    shop(network, dkim1=f"r1._domainkey CNAME {target}")
    finding = await one()
    assert (finding.state, finding.problem) == (State.WRONG, problem)
    assert finding.found == (target.removesuffix(".").lower(),)


async def test_a_web_address_as_the_target(network):
    with network.scripted("shop.example", scripted_shop(dkim1="https://relay.test/")):
        finding = await one()
    assert (finding.state, finding.problem, finding.found) == (State.WRONG, "url", ("https://relay.test/",))


async def test_the_case_of_names_makes_no_difference(network):
    shop(network, dkim1=f"R1._DomainKey CNAME {TARGETS['dkim1'].upper()}.")
    assert (await one()).state is State.VALIDATED


# Several, and other records at the name.


class Doubled(Zone):
    """Answers with two CNAME records, as no good server would."""

    def answer(self, query):
        response, failure = super().answer(query)
        if query.question[0].name.to_text() == "r1._domainkey.shop.example." and response.answer:
            response.answer.append(
                dns.rrset.from_text("r1._domainkey.shop.example.", 5, "IN", "CNAME", "old.mailer.example.")
            )
        return response, failure


def scripted_shop(zone=None, name="shop.example", **records):
    zone = zone or Zone()
    for key in TARGETS:
        zone.add(f"{NAMES[key]}.{name}", "CNAME", records.get(key, TARGETS[key]))
    return zone


async def test_several_cname_records_at_a_name(network):
    with network.scripted("shop.example", scripted_shop(Doubled())):
        finding = await one()
    assert (finding.state, finding.problem) == (State.SEVERAL, "several")
    assert set(finding.found) == {TARGETS["dkim1"], "old.mailer.example"}


@pytest.mark.parametrize(
    ("key", "line", "problem"),
    [
        ("dkim1", f'r1._domainkey TXT "v=DKIM1; p={KEY[:200]}"', "txt_key"),
        ("dkim1", "r1._domainkey A 192.0.2.7", "proxied"),
        ("bounce", "bounce A 192.0.2.7", "proxied"),
        ("bounce", "bounce AAAA 2001:db8::7", "proxied"),
        ("bounce", "bounce MX 10 mx.relay.test.", "copied"),
        ("bounce", 'bounce TXT "v=spf1 -all"', "copied"),
        ("dkim2", 'r2._domainkey TXT "hello"', "other_records"),
        ("dkim2", "r2._domainkey MX 10 mx.relay.test.", "other_records"),
    ],
)
async def test_other_records_at_the_name_conflict(network, key, line, problem):
    shop(network, **{key: line})
    finding = await one(key)
    assert (finding.state, finding.problem) == (State.CONFLICT, problem)
    assert finding.found[0].startswith(line.split()[1] + " ")


async def test_a_name_that_is_a_zone_of_its_own_conflicts(network):
    shop(network, bounce=f"bounce NS ns1.bounce\nns1.bounce A {OTHER}")
    network.zone("bounce.shop.example", at=network.other, servers=(OTHER,))
    finding = await one("bounce")
    assert (finding.state, finding.problem) == (State.CONFLICT, "other_records")
    assert finding.found == ("NS ns1.bounce.shop.example",)


# Wildcards.


async def test_a_wildcard_answers_for_a_record_that_was_not_entered(network):
    shop(network, dkim1=None, extra=["* CNAME web.host.example.", "*._domainkey CNAME dkim.host.example."])
    finding = await one()
    assert (finding.state, finding.problem) == (State.MISSING, "wildcard")
    assert finding.found == ("*._domainkey.shop.example",)


@pytest.mark.parametrize("line", ["* CNAME web.host.example.", "* A 192.0.2.80", '* TXT "v=spf1 -all"'])
async def test_a_wildcard_for_everything_is_no_record_of_ours(network, line):
    network.zone("shop.example", line)
    for finding in (await seen()).records.values():
        assert (finding.state, finding.problem) == (State.MISSING, "wildcard")
        assert finding.found == ("*.shop.example",)


async def test_records_beside_a_wildcard_are_validated(network):
    shop(network, extra=["* CNAME web.host.example."])
    assert states(await seen()) == dict.fromkeys(TARGETS, "validated")


# Chains, loops, zones.


async def test_a_chain_of_aliases_that_ends_at_our_target_is_validated(network):
    shop(network, dkim1="r1._domainkey CNAME one", extra=["one CNAME two.alias.example."])
    network.zone("alias.example", "two CNAME three", f"three CNAME {TARGETS['dkim1']}.")
    assert (await one()).state is State.VALIDATED


async def test_a_whole_branch_that_is_an_alias(network):
    """RFC 6672: DNAME; servers make the CNAME of each name below it."""
    shop(network, dkim1=None, dkim2=None, extra=["_domainkey DNAME keys.alias.example."])
    network.zone("alias.example", *(f"r{slot}.keys CNAME {TARGETS[f'dkim{slot}']}." for slot in (1, 2)))
    assert states(await seen()) == dict.fromkeys(TARGETS, "validated")


async def test_aliases_that_lead_in_a_circle(network):
    shop(network, dkim1="r1._domainkey CNAME one", extra=["one CNAME two.alias.example."])
    network.zone("alias.example", "two CNAME one.shop.example.")
    finding = await one()
    assert (finding.state, finding.problem) == (State.WRONG, "loop")


async def test_aliases_whose_end_nobody_can_see_at_the_moment_prove_nothing(network):
    shop(network, dkim1="r1._domainkey CNAME two.alias.example.")
    with network.scripted("alias.example", Zone([("two.alias.example", "CNAME", TARGETS["dkim1"])])) as zone:
        assert (await one()).state is State.VALIDATED
        zone.fail("two.alias.example", Failure.SERVFAIL)
        network.resolver.control("flush_zone", "alias.example")
        network.resolver.control("flush_zone", "shop.example")
        finding = await one()
    assert (finding.state, finding.problem) == (State.ERROR, "alias_error")
    assert finding.found == ("two.alias.example",)


async def test_a_part_of_the_domain_that_other_servers_serve(network):
    """`_domainkey` is delegated to a mail team's own servers."""
    shop(network, dkim1=None, dkim2=None, extra=["_domainkey NS ns1._domainkey", f"ns1._domainkey A {OTHER}"])
    lines = [f"r{slot} CNAME {TARGETS[f'dkim{slot}']}." for slot in (1, 2)]
    network.zone("_domainkey.shop.example", *lines, at=network.other, servers=(OTHER,))
    assert states(await seen()) == dict.fromkeys(TARGETS, "validated")


async def test_a_domain_inside_a_zone_and_one_that_is_an_alias(network):
    network.zone("corp.example", *(line.replace(" CNAME", ".mail CNAME") for line in RECORDS.values()))
    assert states(await seen("mail.corp.example")) == dict.fromkeys(TARGETS, "validated")
    lines = [line.replace(" CNAME", ".www CNAME") for line in RECORDS.values()]
    network.zone("corp.example", "www CNAME web.host.example.", *lines)
    network.zone("host.example", "web A 192.0.2.80")
    assert states(await seen("www.corp.example")) == dict.fromkeys(TARGETS, "validated")


async def test_an_internationalised_domain(network):
    shop(network, name="xn--bcher-kva.example")
    assert states(await seen("xn--bcher-kva.example")) == dict.fromkeys(TARGETS, "validated")


# Keys and what else is behind our target.


@pytest.mark.parametrize("length", [736, 3000], ids=["4096-bit", "too long for UDP"])
async def test_a_long_key_is_found_whole(network, length):
    public = "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8A" + "y" * (length - 32)
    network.zone("relay.test", key_lines(public, 1), key_lines(public, 2), *OURS[2:])
    shop(network)
    picture = await seen(public=public)
    assert states(picture) == dict.fromkeys(TARGETS, "validated")
    assert picture.keys == {"r1": public, "r2": public}


@pytest.mark.parametrize(
    "ours",
    [
        [*OURS[1:]],
        [key_lines("another", 1), *OURS[1:]],
        [OURS[0], f'{TOKEN}.r1.dkim TXT "v=DKIM1; p=another"', *OURS[1:]],
    ],
    ids=["no key", "another key", "two keys"],
)
async def test_a_target_of_ours_that_a_receiver_cannot_use_yet(network, ours):
    network.zone("relay.test", *ours)
    shop(network)
    finding = await one()
    assert (finding.state, finding.problem) == (State.SPREADING, "our_zone")


@pytest.mark.parametrize("without", [2, 3], ids=["no MX", "no SPF"])
async def test_a_return_path_needs_both_mx_and_spf(network, without):
    network.zone("relay.test", *OURS[:without], *OURS[without + 1 :])
    shop(network)
    finding = await one("bounce")
    assert (finding.state, finding.problem) == (State.SPREADING, "our_zone")


# On its way.


async def test_one_name_server_of_two_does_not_show_it_yet(network):
    both = {"servers": (FIRST, OTHER)}
    shop(network, options=both)
    shop(network, at=network.other, options=both, dkim1=None, bounce="bounce CNAME old.mailer.example.")
    picture = await seen()
    assert states(picture) == {"dkim1": "spreading", "dkim2": "validated", "bounce": "spreading"}
    assert {picture.records[key].problem for key in ("dkim1", "bounce")} == {"some_servers"}
    assert picture.records["dkim1"].server == "ns2.shop.example"
    assert picture.records["bounce"].found == ("old.mailer.example",)


async def test_what_resolvers_still_remember_is_on_its_way(network):
    shop(network, dkim1="r1._domainkey CNAME old.mailer.example.", dkim2=None)
    network.zone("mailer.example", "old TXT gone")
    await seen()
    shop(network)
    picture = await seen()
    assert states(picture) == {"dkim1": "spreading", "dkim2": "spreading", "bounce": "validated"}
    assert picture.records["dkim1"].problem == picture.records["dkim2"].problem == "resolver"
    assert picture.records["dkim1"].found == ("old.mailer.example",)
    assert 0 < picture.records["dkim2"].ttl <= 5
    assert picture.keys == {}


async def test_what_resolvers_still_remember_is_gone_all_the_same(network):
    shop(network)
    await seen()
    shop(network, dkim2=None)
    assert (await one("dkim2")).state is State.MISSING


# Trouble, which proves nothing.


def errors(problem):
    return dict.fromkeys(TARGETS, ("error", problem))


async def troubles(name="shop.example"):
    picture = await seen(name)
    return {key: (finding.state.value, finding.problem) for key, finding in picture.records.items()}


@contextmanager
def silent(network, address=SILENT):
    """A name server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((address, network.port))
        yield


@pytest.mark.parametrize(
    ("failure", "problem"),
    [(Failure.SERVFAIL, "servfail"), (Failure.REFUSED, "refused"), (Failure.TIME_OUT, "time-out")],
)
async def test_name_servers_that_fail_for_one_record(network, hasty, failure, problem):
    with network.scripted("moody.example", scripted_shop(name="moody.example")) as zone:
        zone.fail("r1._domainkey.moody.example", failure)
        finding = await one(name="moody.example")
    assert (finding.state, finding.problem, finding.found) == (State.ERROR, problem, ())


async def test_a_domain_whose_only_name_server_is_silent(network, hasty):
    network.resolver.lead("silent.example", SILENT)
    with silent(network):
        assert await troubles("silent.example") == errors("time-out")


async def test_a_domain_whose_name_server_is_not_there(network, hasty):
    network.resolver.lead("absent.example", SCRIPTED)
    assert {state for state, _ in (await troubles("absent.example")).values()} == {"error"}


async def test_one_silent_name_server_of_two_changes_nothing(network, hasty):
    both = {"servers": (FIRST, SILENT), "lead": (FIRST,)}
    shop(network, options=both)
    with silent(network):
        assert states(await seen()) == dict.fromkeys(TARGETS, "validated")
        shop(network, dkim1=None, options=both)
        assert (await one()).state is State.MISSING


async def test_a_name_server_that_does_not_know_the_domain_is_lame(network):
    """RFC 1912 2.8: the resolver finds the zone, but the server that the zone names refers us away."""
    shop(network, options={"servers": (OTHER,), "lead": (FIRST,)}, dkim1=None)
    network.other.serve("", zone_text("", "example NS ns1.example", f"ns1.example A {FIRST}"))
    finding = await one()
    assert (finding.state, finding.problem, finding.server) == (State.ERROR, "lame", "ns1.shop.example")


async def test_a_lame_name_server_beside_a_good_one_changes_nothing(network):
    shop(network, options={"servers": (FIRST, OTHER)})
    assert states(await seen()) == dict.fromkeys(TARGETS, "validated")


async def test_bogus_signatures_are_an_error_and_good_ones_validated(network):
    text = zone_text("shop.example", *RECORDS.values())
    ds = network.knot.signed("shop.example", text)
    network.resolver.lead("shop.example", FIRST)
    network.resolver.trust(ds)
    assert states(await seen()) == dict.fromkeys(TARGETS, "validated")

    signed = dns.zone.Zone("shop.example")
    dns.query.inbound_xfr(FIRST, signed, port=network.port)
    for name in ("r1._domainkey", "bounce"):
        signed.delete_rdataset(name, "RRSIG", covers="CNAME")
    network.knot.serve("shop.example", f"$ORIGIN shop.example.\n{signed.to_text()}")
    network.resolver.control("flush_zone", "shop.example")
    network.resolver.control("flush_bogus")
    picture = await seen()
    assert states(picture)["dkim2"] == "validated"
    assert {picture.records[key].problem for key in ("dkim1", "bounce")} == {"bogus"}
    assert {picture.records[key].state for key in ("dkim1", "bounce")} == {State.ERROR}


async def test_a_domain_that_is_signed_with_a_key_nobody_trusts(network):
    shop(network)
    network.resolver.trust(f"shop.example. DS 1 13 2 {'00' * 32}")
    assert await troubles() == errors("bogus")


async def test_without_a_resolver_nothing_is_known(network, hasty, settings):
    shop(network)
    settings.DNS_SERVER = ("127.0.0.1", network.port)
    assert {state for state, _ in (await troubles()).values()} == {"error"}
    with silent(network, "127.0.0.1"):
        assert await troubles() == errors("time-out")


# The claim, and whom we may ask.


@pytest.mark.parametrize(("value", "there"), [("relay-claim=mine", True), ("relay-claim=theirs", False)])
async def test_the_claim_is_there_when_every_server_shows_it(network, value, there):
    both = {"servers": (FIRST, SECOND)}
    shop(network, extra=['_relay-claim TXT "something else"', f'_relay-claim TXT "{value}"'], options=both)
    assert (await seen()).claim is there


async def test_a_claim_that_one_server_lacks_is_no_claim(network):
    both = {"servers": (FIRST, OTHER)}
    shop(network, extra=['_relay-claim TXT "relay-claim=mine"'], options=both)
    shop(network, at=network.other, options=both)
    assert not (await seen()).claim


async def test_no_claim_is_asked_for_where_there_is_nothing_to_claim(network):
    shop(network, extra=['_relay-claim TXT "relay-claim=mine"'])
    picture = await look(dataclasses.replace(subject(), claim=None), Asker())
    assert not picture.claim
