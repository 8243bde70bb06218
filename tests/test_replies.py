"""What a reply means: the principles of DESIGN section 6, one a test, then arbitrary replies."""

import json
import subprocess
import sys
import time

import pytest
from django.conf import settings
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from activity.reasons import ADVICE, REJECTIONS, Reason
from activity.status import Status
from relay.replies import Reply, judge, parse
from relay.replies.judging import normalised
from relay.replies.table import RULES

DEFERRED, SOFT, HARD = Status.DEFERRED, Status.SOFT_BOUNCE, Status.HARD_BOUNCE
STAGES = ("", "connect", "ehlo", "starttls", "mail", "rcpt", "data", "end_of_data")


def verdict(line):
    found = judge(parse(line))
    return found.outcome, found.reason


def at(stage, code, text, enhanced=""):
    found = judge(Reply(stage, code, enhanced, text))
    return found.outcome, found.reason


def test_an_unknown_mailbox_is_a_hard_bounce():
    assert verdict("550 5.1.1 <a@b.example>: Recipient address rejected: User unknown") == (HARD, Reason.UNKNOWN_USER)


def test_a_domain_that_does_not_exist_is_a_hard_bounce():
    line = "Host or domain name not found. Name service error for name=b.example type=A: Host not found"
    assert verdict(line) == (HARD, Reason.DOMAIN_NOT_FOUND)


def test_a_name_server_that_does_not_answer_is_no_hard_bounce():
    line = "Host or domain name not found. Name service error for name=b.example type=MX: Host not found, try again"
    assert verdict(line) == (DEFERRED, Reason.NETWORK)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("550 5.1.1 rejected, [192.0.2.1] is on our block list", Reason.BLOCKED_REPUTATION),
        ("550 5.1.1 mailbox unavailable: poor reputation of 192.0.2.1", Reason.BLOCKED_REPUTATION),
        ("550 5.1.1 user's mailbox is full", Reason.MAILBOX_FULL),
        ("550 5.1.1 message refused as spam", Reason.SPAM_CONTENT),
        ("550 5.1.1 message rejected by the domain's DMARC policy", Reason.AUTHENTICATION),
        ("550 5.1.1 too many messages from your address", Reason.RATE_LIMITED),
        ("550 5.1.1 the account is suspended", Reason.INACTIVE_MAILBOX),
    ],
)
def test_text_beats_an_enhanced_code_that_calls_the_address_bad(line, reason):
    assert verdict(line) == (SOFT, reason)


def test_text_beats_an_enhanced_code_that_speaks_of_policy():
    assert verdict("550 5.7.1 No such user!") == (HARD, Reason.UNKNOWN_USER)


def test_the_enhanced_code_decides_where_the_text_says_nothing():
    assert verdict("550 5.1.1 x7Zq") == (HARD, Reason.UNKNOWN_USER)
    assert verdict("550 5.1.2 x7Zq") == (HARD, Reason.DOMAIN_NOT_FOUND)
    assert verdict("550 5.2.2 x7Zq") == (SOFT, Reason.MAILBOX_FULL)
    assert verdict("550 5.7.26 x7Zq") == (SOFT, Reason.AUTHENTICATION)
    assert verdict("550 5.7.1 x7Zq") == (SOFT, Reason.POLICY)


def test_a_refusal_without_any_cause_is_soft():
    assert verdict("550 x7Zq") == (SOFT, Reason.OTHER)
    assert verdict("550 Rejected") == (SOFT, Reason.POLICY)


def test_an_unknown_user_behind_a_4xx_is_deferred_with_the_reason():
    assert verdict("450 4.1.1 <a@b.example>: User unknown") == (DEFERRED, Reason.UNKNOWN_USER)


def test_a_5xx_before_mail_is_deferred_because_another_mx_may_take_it():
    for stage in ("connect", "ehlo", "starttls"):
        assert at(stage, 554, "No such user; no SMTP service here")[0] == DEFERRED


def test_what_is_unknown_at_mail_is_the_sender():
    assert at("mail", 550, "5.1.2 unknown domain") == (SOFT, Reason.POLICY)
    assert at("rcpt", 550, "5.1.2 unknown domain") == (HARD, Reason.DOMAIN_NOT_FOUND)


def test_a_sender_that_does_not_exist_does_not_suppress_the_recipient():
    assert verdict("550 <a@b.example>: Sender address rejected: User unknown") == (SOFT, Reason.POLICY)
    assert (
        verdict("550-Verification failed for <a@b.example>\n550-No Such User Here\n550 Sender verify failed")[0] == SOFT
    )


def test_trouble_with_the_connection_is_deferred():
    assert at("rcpt", 0, "Connection reset by peer") == (DEFERRED, Reason.NETWORK)
    assert at("end_of_data", 0, "user unknown")[0] == DEFERRED
    assert at("connect", 0, "")[0] == DEFERRED


def test_a_report_without_a_reply_code_is_judged_by_status_and_text():
    assert at("", 0, "User x not listed in Domino Directory", "5.0.0") == (HARD, Reason.UNKNOWN_USER)
    assert at("", 0, "", "5.1.1") == (HARD, Reason.UNKNOWN_USER)
    assert at("", 0, "", "4.4.1") == (DEFERRED, Reason.NETWORK)
    assert at("", 0, "relayed", "2.1.9")[0] == Status.DELIVERED
    assert at("", 0, "")[0] == SOFT


def test_the_words_in_an_address_or_a_link_decide_nothing():
    assert verdict("550 x7Zq <spam.unknown.user@blocked.example> x7Zq") == (SOFT, Reason.OTHER)
    assert verdict("550 x7Zq https://help.example/unknown-user/mailbox-full#spam") == (SOFT, Reason.OTHER)


@pytest.mark.parametrize(
    ("line", "outcome", "reason"),
    [
        (
            "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted, see http://x.example",
            DEFERRED,
            "greylisted",
        ),
        ("421-4.7.28 Our system has detected an unusual rate of mail", DEFERRED, "rate_limited"),
        ("452 4.2.2 The email account that you tried to reach is over quota", DEFERRED, "mailbox_full"),
        ("421 4.3.2 Service not available, closing transmission channel", DEFERRED, "server_unavailable"),
        ("552 5.3.4 Message size exceeds fixed maximum message size", SOFT, "too_large"),
        ("554 5.7.1 <a@b.example>: Relay access denied", SOFT, "policy"),
        ("550 5.4.1 Recipient address rejected: Access denied", SOFT, "policy"),
        ("550 5.2.1 The email account that you tried to reach is disabled.", SOFT, "inactive_mailbox"),
        ("550 5.7.10 Encryption needed", SOFT, "tls"),
        ("503 5.5.1 Bad sequence of commands", SOFT, "protocol"),
        ("554 5.4.6 Too many hops", SOFT, "network"),
        ("550 4.4.7 QUEUE.Expired; message expired", SOFT, "expired"),
        (
            "550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            SOFT,
            "blocked_reputation",
        ),
        ("550 Das Postfach ist voll", SOFT, "mailbox_full"),
        ("550 La boîte aux lettres du destinataire est pleine", SOFT, "mailbox_full"),
        ("550 Empfänger unbekannt", HARD, "unknown_user"),
        ("550 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416 [416]", HARD, "unknown_user"),
        ("550 El usuario no existe", HARD, "unknown_user"),
        ("550 Utente sconosciuto", HARD, "unknown_user"),
        ("550 Usuário desconhecido", HARD, "unknown_user"),
        ("550 Пользователь не найден", HARD, "unknown_user"),
        ("550 Użytkownik nie istnieje", HARD, "unknown_user"),
        ("550 收件人不存在", HARD, "unknown_user"),
        ("550 宛先のメールアドレスが見つかりません", HARD, "unknown_user"),
    ],
)
def test_a_common_reply_gets_its_outcome_and_reason(line, outcome, reason):
    assert verdict(line) == (outcome, reason)


@pytest.mark.parametrize(
    "line",
    [
        "550 5.1.1 User unknown",
        "550-5.1.1 User\n550 5.1.1 unknown",
        "550-5.1.1 User\\n550 5.1.1 unknown",
        '"550-5.1.1 User\\n550 5.1.1 unknown"',
        "smtp; 550 5.1.1 User unknown",
        "Diagnostic-Code: smtp; 550-5.1.1 User unknown",
        "host mx.b.example[192.0.2.1] said: 550 5.1.1 User unknown",
        "Remote Server returned '550 5.1.1 User unknown'",
        "mx.b.example [192.0.2.1] did not like our RCPT TO:550 5.1.1 User unknown",
    ],
)
def test_a_reply_is_read_however_it_was_pasted(line):
    reply = parse(line)
    assert (reply.code, reply.enhanced) == (550, "5.1.1")
    assert reply.text.startswith("User unknown")


def test_host_and_stage_are_read_where_the_line_names_them():
    reply = parse("host mx.b.example[192.0.2.1] said: 550 5.1.8 no (in reply to MAIL FROM command)")
    assert (reply.host, reply.stage) == ("mx.b.example", "mail")
    assert parse("host mx.b.example[192.0.2.1] refused to talk to me: 554 go away").stage == "connect"


def test_addresses_ports_and_versions_are_not_taken_for_codes():
    reply = parse("connect to mx.b.example[5.1.1.2]:587: Connection refused")
    assert (reply.code, reply.enhanced) == (0, "")
    assert parse("451 Exim 5.1.1 x").enhanced == ""


@given(st.text(), st.integers(), st.text(max_size=12), st.sampled_from(STAGES))
def test_any_reply_gets_a_verdict_from_the_closed_lists(text, code, enhanced, stage):
    found = judge(Reply(stage, code, enhanced, text))
    assert found.outcome in {Status.DELIVERED, DEFERRED, SOFT, HARD}
    assert (found.reason == "") == (found.outcome == Status.DELIVERED)
    assert found.reason == "" or found.reason in set(Reason) - REJECTIONS


WORDS = st.sampled_from(["user", "unknown", "mailbox full", "no such domain", "not found", "blocked", "relay denied"])


@given(st.lists(WORDS).map(" ".join), st.integers(400, 499), st.sampled_from(STAGES))
def test_a_4xx_is_never_a_bounce(text, code, stage):
    assert judge(Reply(stage, code, "5.1.1", text)).outcome == DEFERRED


@given(st.lists(WORDS).map(" ".join), st.integers(200, 299))
def test_a_2xx_is_delivered(text, code):
    assert judge(Reply("end_of_data", code, "", text)).outcome == Status.DELIVERED


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_line_can_be_read(line):
    reply = parse(line)
    assert reply.code == 0 or 200 <= reply.code < 600
    assert judge(reply).outcome in Status


@pytest.mark.parametrize(
    "piece", ["user ", "a@", "http://", "is ", "no such a b c d ", "the domain is ", "(", '"550 ', "\u0301"]
)
def test_time_does_not_grow_with_a_hostile_text(piece):
    """A megabyte is judged by its first 2,000 characters; the bound is generous, an exponential search never ends."""
    begun = time.monotonic()
    judge(parse("550 " + piece * (1_000_000 // len(piece))))
    assert time.monotonic() - begun < 30


def test_every_rule_has_a_name_of_its_own_and_a_source():
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert all(rule.source for rule in RULES)


def test_no_rule_but_the_last_matches_an_empty_reply():
    matching = [rule.name for rule in RULES if rule.pattern.search(normalised(550, "", ""))]
    assert matching == ["unexplained"]


def test_every_reason_tells_the_customer_what_it_means_and_what_to_do():
    assert set(ADVICE) == set(Reason)
    for reason in Reason:
        assert translation.gettext(str(reason.label))
        assert str(reason.advice.meaning).endswith(".")
        assert str(reason.advice.action).endswith(".")
    assert max(len(reason.value) for reason in Reason) <= 24  # The column in which it is stored.


def explain(*options, stdin):
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "explain_reply", *options]
    nowhere = {
        "DATABASE_URL": "postgresql://nowhere.invalid/none",
        "PATH": "",
        "RELAY_SECRET_KEY": "only-for-tests-" * 4,
    }
    return subprocess.run(
        command, input=stdin, capture_output=True, env=nowhere, timeout=60, cwd=settings.BASE_DIR, check=False
    )


def test_explain_reply_prints_a_json_object_a_line_without_a_database():
    run = explain("--json", stdin=b'550 5.1.1 <a@b.example>: User unknown\n\n"421-4.7.0 a\\n421 4.7.0 b"\n250 OK\n')
    first, second, third = map(json.loads, run.stdout.splitlines())
    assert first == {
        "reply": "550 5.1.1 <a@b.example>: User unknown",
        "outcome": "hard_bounce",
        "reason": "unknown_user",
        "enhanced": "5.1.1",
        "rule": "unknown_user",
    }
    assert (second["reply"], second["outcome"]) == ("421-4.7.0 a\n421 4.7.0 b", "deferred")
    assert (third["outcome"], third["reason"]) == ("delivered", "")


def test_explain_reply_shows_a_table_even_of_garbage():
    run = explain(stdin=b"552 5.2.2 Mailbox full\n\xff\xfe\x1b[2J\x00{garbage\n")
    assert run.returncode == 0
    head, full, garbage = run.stdout.decode().splitlines()
    assert head.split() == ["OUTCOME", "REASON", "ENHANCED", "RULE", "REPLY"]
    assert full.split()[:4] == ["soft_bounce", "mailbox_full", "5.2.2", "mailbox_full"]
    assert "\x1b" not in garbage


def test_explain_reply_says_what_it_needs_when_it_gets_nothing():
    run = explain(stdin=b"\n")
    assert run.returncode == 1
    assert b"give replies on standard input" in run.stderr
    assert b"Traceback" not in run.stderr
