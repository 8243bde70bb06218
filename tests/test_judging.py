"""What answers about one record mean: the rules without a network."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.answers import MOST_CHARACTERS, MOST_VALUES, Answer, Kind, failure
from domains.finding import State
from domains.judging import Wanted, conflict, difference, finding_of, has_key, judge
from domains.life import NOT_RIGHT
from domains.wording import PROBLEMS

TARGET = "abcdefghijklmnopqrst.r1.dkim.relay.test"
SIBLING = "abcdefghijklmnopqrst.bounce.relay.test"
WANTED = Wanted("r1._domainkey.shop.example", TARGET, "shop.example", "relay.test", (SIBLING,))
RIGHT = Answer(Kind.FOUND, (TARGET,), ttl=60, server="ns1")
OLD = Answer(Kind.FOUND, ("old.mailer.example",), ttl=60, server="ns2")
GONE = Answer(Kind.NO_NAME, ttl=5, server="ns2")
SEEN = Answer(Kind.FOUND, ("v=DKIM1; p=x",), (TARGET,), 60)
UNSEEN = Answer(Kind.NO_NAME, ttl=5)
PROBLEM = st.sampled_from(["time-out", "servfail", "bogus", "refused", "lame", "bad-name"])


@pytest.mark.parametrize(
    ("own", "seen", "usable", "state", "problem"),
    [
        ([RIGHT], SEEN, True, State.VALIDATED, ""),
        ([RIGHT, failure("lame", "ns2")], SEEN, True, State.VALIDATED, ""),
        ([RIGHT], SEEN, False, State.SPREADING, "our_zone"),
        ([RIGHT], UNSEEN, False, State.SPREADING, "resolver"),
        ([RIGHT, GONE], SEEN, True, State.SPREADING, "some_servers"),
        ([RIGHT, OLD], SEEN, True, State.SPREADING, "some_servers"),
        ([RIGHT], failure("bogus"), False, State.ERROR, "bogus"),
        ([GONE], UNSEEN, False, State.MISSING, ""),
        ([GONE], SEEN, True, State.MISSING, ""),
        ([OLD], UNSEEN, False, State.WRONG, "other_target"),
        ([OLD, GONE], UNSEEN, False, State.WRONG, "other_target"),
        ([OLD], failure("loop"), False, State.WRONG, "loop"),
        ([OLD], failure("servfail"), False, State.ERROR, "alias_error"),
        ([failure("time-out")], SEEN, True, State.VALIDATED, ""),
        ([failure("lame")], UNSEEN, False, State.ERROR, "lame"),
        ([], SEEN, True, State.VALIDATED, ""),
        ([], UNSEEN, False, State.MISSING, ""),
        ([], failure("time-out"), False, State.ERROR, "time-out"),
        ([], SEEN, False, State.SPREADING, "our_zone"),
        ([], Answer(Kind.NO_DATA, (), ("old.mailer.example",)), False, State.WRONG, "other_target"),
    ],
)
def test_what_the_answers_mean(own, seen, usable, state, problem):
    finding = judge(WANTED, own, seen, usable=usable)
    assert (finding.state, finding.problem) == (state, problem)


def test_two_wrong_targets_at_different_servers_are_several():
    other = Answer(Kind.FOUND, ("other.mailer.example",), server="ns3")
    finding = judge(WANTED, [OLD, other], UNSEEN, usable=False)
    assert (finding.state, set(finding.found)) == (State.SEVERAL, {"old.mailer.example", "other.mailer.example"})


def test_an_alias_that_was_validated_before_is_trouble_and_a_new_one_that_leads_nowhere_is_wrong():
    """Who moved to another provider whose DNS then fails would otherwise stay validated for ever."""
    known = dataclasses.replace(WANTED, known="alias.shop.example")
    alias = Answer(Kind.FOUND, ("alias.shop.example",), server="ns1")
    assert judge(known, [alias], failure("servfail"), usable=False).state is State.ERROR
    assert judge(known, [OLD], failure("servfail"), usable=False).state is State.WRONG


ANSWERS = st.one_of(
    st.builds(failure, PROBLEM, st.just("ns")),
    st.builds(
        Answer,
        st.sampled_from([Kind.FOUND, Kind.NO_DATA, Kind.NO_NAME]),
        st.lists(st.one_of(st.just(TARGET), st.text(max_size=600)), max_size=20).map(tuple),
        st.lists(st.one_of(st.just(TARGET), st.text(max_size=600)), max_size=9).map(tuple),
        st.integers(0, 2**31),
    ),
)


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=6), ANSWERS, st.booleans())
def test_whatever_is_answered_is_judged_within_bounds(own, seen, usable):
    finding = judge(WANTED, own, seen, usable=usable)
    assert len(finding.found) <= MOST_VALUES
    assert all(len(value) <= MOST_CHARACTERS for value in finding.found)
    assert 0 <= finding.ttl <= 604_800
    assert finding.problem in ("", *PROBLEMS)
    assert finding.state is not State.VALIDATED or usable


@settings(deadline=None)
@given(st.lists(st.builds(failure, PROBLEM), max_size=6), PROBLEM)
def test_trouble_alone_is_an_error_and_never_anything_else(own, problem):
    finding = judge(WANTED, own, failure(problem), usable=False)
    assert finding.state is State.ERROR
    assert finding.problem == (own[0].problem if own else problem)


@settings(deadline=None)
@given(st.lists(st.builds(failure, PROBLEM), min_size=1, max_size=6), ANSWERS)
def test_without_a_word_of_the_name_servers_nothing_is_found_wrong(own, seen):
    assert judge(WANTED, own, seen, usable=False).state not in NOT_RIGHT


@settings(deadline=None)
@given(st.lists(st.one_of(st.just(RIGHT), st.builds(failure, PROBLEM)), min_size=1, max_size=6), PROBLEM)
def test_trouble_of_the_resolver_demotes_no_right_record(own, problem):
    assert judge(WANTED, own, failure(problem), usable=False).state not in NOT_RIGHT


# In what way a target is not the one.


@pytest.mark.parametrize(
    ("found", "key"),
    [
        (f"{TARGET}.shop.example", "target_with_domain"),
        ("https://relay.test", "url"),
        ("relay.test/dkim", "url"),
        (SIBLING, "swapped"),
        ("r1._domainkey.shop.example", "points_at_itself"),
        (TARGET[:-4], "cut_off"),
        ("dkim.relay.test", "cut_off"),
        (f"www.{TARGET}", "too_much"),
        (f"{TARGET}.org", "too_much"),
        ("tsrqponmlkjihgfedcba.r1.dkim.relay.test", "old_token"),
        ("mailer.example", "other_target"),
        ("", "other_target"),
        (".", "other_target"),
    ],
)
def test_the_difference_has_a_name(found, key):
    assert difference(WANTED, found) == key
    assert key in PROBLEMS


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_target_has_some_difference(found):
    assert difference(WANTED, found) in PROBLEMS


# Other records at the name.


def test_what_stands_instead_of_the_cname_has_a_name():
    def named(key, *found):
        answers = [(rdtype, Answer(Kind.FOUND, (value,))) for rdtype, value in found]
        finding = conflict(answers, key)
        return finding and finding.problem

    assert named("dkim1", ("TXT", "v=DKIM1; p=abc")) == "txt_key"
    assert named("bounce", ("TXT", "v=DKIM1; p=abc")) == "copied"
    assert named("dkim1", ("A", "192.0.2.1"), ("AAAA", "2001:db8::1")) == "proxied"
    assert named("bounce", ("A", "192.0.2.1"), ("MX", "10 mx")) == "copied"
    assert named("dkim1", ("A", "192.0.2.1"), ("TXT", "x")) == "other_records"
    assert named("dkim1", ("NS", "ns1.shop.example")) == "other_records"
    assert named("dkim1") is None
    assert conflict([("TXT", failure("servfail")), ("A", UNSEEN)], "dkim1") is None


# Keys.


@pytest.mark.parametrize(
    ("texts", "there"),
    [
        (["v=DKIM1; k=rsa; p=abc"], True),
        (["p=abc"], True),
        (["v=DKIM1; p = a b\tc ;"], True),
        (["v=DKIM1; p=abcd"], False),
        (["v=DKIM1; p="], False),
        (["v=DKIM1; p=abc", "p=other"], False),
        (["v=DKIM1; p=abc", "v=spf1 -all"], True),
        (["v=DKIM1; h=sha256; sp=abc"], False),
        ([], False),
    ],
)
def test_a_key_is_there_once_and_whole(texts, there):
    assert has_key(texts, "abc") is there


@settings(deadline=None)
@given(st.lists(st.text(max_size=100), max_size=5))
def test_texts_of_strangers_are_not_our_key(texts):
    assert not has_key(texts, "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")


def test_what_is_kept_of_a_finding_is_bounded():
    finding = finding_of(State.WRONG, ["x" * 5000] * 50, "other_target", Answer(Kind.FOUND, ttl=2**31))
    assert (len(finding.found), len(finding.found[0]), finding.ttl) == (MOST_VALUES, MOST_CHARACTERS, 604_800)
