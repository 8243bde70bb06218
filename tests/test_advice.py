"""Advice about DMARC and replies: what is told, and that it never decides anything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.advice import SUGGESTED, advise, judge_dmarc, judge_mx, policies, suggested
from domains.answers import Answer, Kind, failure
from domains.asking import Asker
from domains.finding import State
from domains.wording import PROBLEMS
from tests.dns_servers import Network

NOTHING = Answer(Kind.NO_DATA)


def found(*values):
    return Answer(Kind.FOUND, values)


@pytest.fixture(scope="module")
def servers():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def network(servers, settings):
    servers.forget()
    settings.DNS_SERVER, settings.DNS_PORT = ("127.0.0.1", servers.resolver.port), servers.port
    return servers


async def told(name="shop.example", bounce="bounce"):
    """{what: (state, problem)}"""
    advice = await advise(name, f"{bounce}.{name}", Asker())
    assert all(finding.problem in ("", *PROBLEMS) for finding in advice.values())
    return {key: (finding.state.value, finding.problem) for key, finding in advice.items()}


# As a resolver answers.


async def test_a_domain_with_a_policy_and_a_mail_server_has_nothing_to_do(network):
    network.zone("shop.example", '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@shop.example"', "@ MX 10 mail")
    assert await told() == {"dmarc": ("validated", ""), "mx": ("validated", "")}


async def test_a_domain_with_neither_is_advised_of_both(network):
    network.zone("shop.example")
    assert await told() == {"dmarc": ("missing", "dmarc_missing"), "mx": ("missing", "mx_missing")}


async def test_a_subdomain_inherits_the_policy_of_the_registered_domain(network):
    network.zone(
        "shop.example", '_dmarc TXT "v=DMARC1; p=none; sp=reject"', "mail A 192.0.2.1", "news AAAA 2001:db8::1"
    )
    assert await told("mail.shop.example") == {"dmarc": ("validated", ""), "mx": ("validated", "")}
    assert await told("news.shop.example") == {"dmarc": ("validated", ""), "mx": ("validated", "")}
    assert (await told())["dmarc"] == ("validated", "dmarc_none")


async def test_a_policy_behind_an_alias_and_one_in_pieces(network):
    network.zone("shop.example", "_dmarc CNAME dmarc.host.example.", "@ MX 0 .")
    network.zone("host.example", 'dmarc TXT "v=DMARC1; p=quar" "antine"')
    assert await told() == {"dmarc": ("validated", ""), "mx": ("missing", "mx_null")}


async def test_trouble_with_asking_is_no_advice(network, settings):
    settings.DNS_SERVER = ("127.0.0.1", network.port)
    assert {state for state, _ in (await told()).values()} == {"error"}


# What the answers mean.


@pytest.mark.parametrize(
    ("texts", "state", "problem"),
    [
        (["v=DMARC1; p=none"], State.VALIDATED, "dmarc_none"),
        (["v=DMARC1;p=quarantine"], State.VALIDATED, ""),
        (["v = DMARC1 ; P = Reject"], State.VALIDATED, ""),
        (["v=DMARC1; p=reject; adkim=s"], State.VALIDATED, ""),
        (["v=DMARC1; p=reject; aspf=r"], State.VALIDATED, ""),
        (["v=DMARC1; p=reject; aspf=s"], State.WRONG, "dmarc_strict_spf"),
        (["v=DMARC1; p=block"], State.WRONG, "dmarc_invalid"),
        (["v=DMARC1"], State.WRONG, "dmarc_invalid"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], State.SEVERAL, "dmarc_several"),
        (["v=DMARC1; p=reject", "google-site-verification=x"], State.VALIDATED, ""),
        (["v=spf1 -all"], State.MISSING, "dmarc_missing"),
        (["v=DMARC10; p=none"], State.MISSING, "dmarc_missing"),
        (["p=none; v=DMARC1"], State.MISSING, "dmarc_missing"),
        ([], State.MISSING, "dmarc_missing"),
    ],
)
def test_a_policy_is_judged_as_a_receiver_reads_it(texts, state, problem):
    finding = judge_dmarc("shop.example", "bounce.shop.example", found(*texts))
    assert (finding.state, finding.problem) == (state, problem)


def test_a_bounce_host_under_another_registered_domain_does_not_align():
    """`s3.amazonaws.com` is a public suffix, `amazonaws.com` is none."""
    finding = judge_dmarc("amazonaws.com", "s3.amazonaws.com", found("v=DMARC1; p=reject"))
    assert (finding.state, finding.problem) == (State.WRONG, "dmarc_spf_apart")


def test_an_inherited_policy_counts_by_its_words_for_subdomains():
    def judged(text):
        return judge_dmarc("a.shop.example", "bounce.a.shop.example", NOTHING, found(text)).problem

    assert judged("v=DMARC1; p=reject; sp=none") == "dmarc_none"
    assert judged("v=DMARC1; p=none; sp=reject") == ""
    assert judged("v=DMARC1; p=reject") == ""


@pytest.mark.parametrize("problem", ["time-out", "servfail", "bogus", "refused"])
def test_trouble_anywhere_is_an_error_and_nothing_else(problem):
    trouble = failure(problem)
    for finding in (
        judge_dmarc("shop.example", "bounce.shop.example", trouble),
        judge_dmarc("a.shop.example", "bounce.a.shop.example", NOTHING, trouble),
        judge_mx(trouble, []),
        judge_mx(NOTHING, [NOTHING, trouble]),
    ):
        assert (finding.state, finding.problem) == (State.ERROR, problem)
    assert judge_mx(NOTHING, [found("192.0.2.1"), trouble]).state is State.VALIDATED


# What to paste.


def test_the_suggested_record_is_better_than_what_is_there():
    for text, better in (
        ("", SUGGESTED.format(domain="shop.example")),
        ("v=DMARC1; p=nothing", SUGGESTED.format(domain="shop.example")),
        ("v=DMARC1; p=none; rua=mailto:D@shop.example", "v=DMARC1; p=quarantine; rua=mailto:D@shop.example"),
        ("v=DMARC1; p=reject;aspf=s; pct=50", "v=DMARC1; p=reject; aspf=r; pct=50"),
        ("v=DMARC1; p=reject", ""),
        ("v=DMARC1; p=none; rua=" + ",".join(["mailto:d@shop.example"] * 40), ""),
    ):
        finding = judge_dmarc("shop.example", "bounce.shop.example", found(text) if text else NOTHING)
        assert suggested("shop.example", finding.problem, list(finding.found)) == better


@settings(deadline=None)
@given(st.text(max_size=80), st.text(alphabet="v=DMARC1; panoeqrjctsfx", max_size=60))
def test_any_text_is_judged_and_what_is_suggested_is_valid(noise, nearly):
    for text in (noise, nearly, f"v=DMARC1;{noise}", f"v=DMARC1; p=none;{nearly}"):
        finding = judge_dmarc("shop.example", "bounce.shop.example", found(text))
        better = suggested("shop.example", finding.problem, list(finding.found))
        if better:
            assert policies(found(better))
            assert judge_dmarc("shop.example", "bounce.shop.example", found(better)).state is State.VALIDATED
