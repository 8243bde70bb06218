"""Scores the reply table on replies that other projects collected, read in place; prints figures and mismatches.

How their coarse classes map to our reasons: see CLASSES. The outcome expected of a 4xx is always Deferred; of a 5xx it
is Hard bounce for "recipient" and Soft bounce for all else. An inactive (disabled, suspended, locked) mailbox is Soft:
the same collection says `sisimai_hard` false of it, and such a mailbox may be opened again.

Rows where the collections contradict themselves or their text, and why ours is right:
- "550 5.7.1 Email rejected per DMARC policy", and Apple's like it, is "reputation" to two of four: it is DMARC.
- "550 5.7.1 No such user!" (Yandex) and "User email address is marked as invalid" are "reputation" to two rule sets
  that look only at 5.7.1; the text names the user.
- "550 5.7.1 Relaying denied" is "reputation" in one file and "relay" in the other: a refusal to relay is policy.
- "421 4.7.28 unusual rate of mail" is "reputation"; the text says rate. "… of unsolicited mail" we call reputation.
- "554 5.3.0 Internal system error" and "Mailer error" are "recipient" for the words "Recipient address rejected".
- "550 5.1.1 RCP-P2 … recipient preferences" is "recipient"; the recipient exists and refuses this sender: policy.
- "552 5.2.3 message length" is "capacity"; RFC 3463 X.2.3 is the message's size, X.2.2 the full mailbox.
- "452 4.3.1 Temporary System Error" is "capacity"; it is the server's trouble, not the mailbox's.
- "554 5.7.9 Header error" is "auth" for its code alone; the text speaks of headers.
- zone-mta's row with multi.uribl.com is "spam", "reject"; the text says that the client host is listed.
- sisimai's "DNS lookup failure: host … not found" is a bad domain to it; a failed lookup may pass, so: Deferred.
"""

import json
from pathlib import Path

import pytest

from activity.reasons import Reason
from activity.status import Status
from relay.replies import Reply, judge, parse

CORPORA = Path(__file__).resolve().parent.parent.parent / "shared" / "corpora"

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="needs ../shared/corpora")

# The collections' classes, and the reasons of ours that say the same.
CLASSES = {
    "recipient": {Reason.UNKNOWN_USER, Reason.INACTIVE_MAILBOX, Reason.DOMAIN_NOT_FOUND},
    "reputation": {Reason.BLOCKED_REPUTATION},
    "capacity": {Reason.MAILBOX_FULL},
    "auth": {Reason.AUTHENTICATION},
    "spam-or-policy": {Reason.SPAM_CONTENT, Reason.POLICY},
    "relay": {Reason.POLICY},
    "sender": {Reason.POLICY, Reason.AUTHENTICATION},
    "content": {Reason.SPAM_CONTENT, Reason.PROTOCOL, Reason.TOO_LARGE},
    "rate": {Reason.RATE_LIMITED},
    "protocol": {Reason.PROTOCOL},
    "network": {Reason.NETWORK, Reason.TLS, Reason.SERVER_UNAVAILABLE, Reason.EXPIRED},
}
# zone-mta's categories; "other" says nothing about the reason.
CATEGORIES = {
    "blacklist": Reason.BLOCKED_REPUTATION,
    "greylist": Reason.GREYLISTED,
    "spam": Reason.SPAM_CONTENT,
    "capacity": Reason.MAILBOX_FULL,
    "network": Reason.NETWORK,
    "recipient": Reason.UNKNOWN_USER,
}
NOT_A_BOUNCE = {"feedback", "vacation", "delivered"}


def rows(name):
    with (CORPORA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read(row):
    """The reply of a row; the field manual gives some replies without their code, in a field of its own."""
    reply = parse(row["reply"])
    return reply if reply.code else Reply("", int(row.get("code") or 0), reply.enhanced, reply.text)


def expected_outcome(reply, coarse, reason):
    if 400 <= reply.code < 500:
        return Status.DEFERRED
    bad = coarse == "recipient" and reason != Reason.INACTIVE_MAILBOX
    return Status.HARD_BOUNCE if bad else Status.SOFT_BOUNCE


def show(kind, row, verdict):
    text = " ".join((row.get("reply") or row.get("diagnostic") or "").split())
    print(f"  {kind}: {verdict.outcome.value} {verdict.reason} by {verdict.rule} | {text[:150]}")


def matches(row):
    reply = read(row)
    verdict = judge(reply)
    fits = verdict.reason in CLASSES[row["coarse"]]
    right = fits and verdict.outcome == expected_outcome(reply, row["coarse"], verdict.reason)
    if not right:
        show(f"{row['coarse']} ({row['agreeing']} agree)", row, verdict)
    return right


def test_replies_that_three_collections_agree_on_get_the_same_outcome_and_reason():
    graded = [row for name in ("replies-consensus", "smtp-field-manual-replies") for row in rows(f"{name}.jsonl")]
    sure = [row for row in graded if row["coarse"] and row["agreeing"] >= 3]
    right = sum(map(matches, sure))
    doubtful = [row for row in graded if row["coarse"] and row["agreeing"] == 2]
    print(f"three or more agree: {right} of {len(sure)}; two agree: {sum(map(matches, doubtful))} of {len(doubtful)}")
    assert right >= 0.97 * len(sure)


def test_a_good_address_is_not_suppressed_by_any_collected_reply():
    """Precision over the rows of all three files on which somebody has an opinion whether the address is bad."""
    good, bad = 0, 0
    for name in ("replies-consensus", "smtp-field-manual-replies", "zone-mta-replies"):
        for row in rows(f"{name}.jsonl"):
            verdict = judge(read(row))
            opinion = address_is_bad(row)
            if verdict.outcome == Status.HARD_BOUNCE and opinion is not None:
                good, bad = good + (not opinion), bad + opinion
                if not opinion:
                    show("suppressed", row, verdict)
    print(f"hard bounces: {bad} right of {bad + good}")
    assert bad >= 0.98 * (good + bad)


def address_is_bad(row):
    """What a row says: zone-mta's `hard`, the class that three agree on, else sisimai; None where nobody says.

    sisimai's "filtered" is no opinion on the address: it calls "User unknown" so when it comes after DATA.
    """
    if "hard" in row:
        return row["hard"]
    if row["coarse"] and row["agreeing"] >= 3:
        return row["coarse"] == "recipient"
    return None if row.get("sisimai") == "filtered" else row.get("sisimai_hard")


def test_zone_mta_replies_get_their_category():
    graded = [row for row in rows("zone-mta-replies.jsonl") if row["agree"] and row["category"] in CATEGORIES]
    right = 0
    for row in graded:
        verdict = judge(read(row))
        same = verdict.reason == CATEGORIES[row["category"]]
        right += same
        if not same:
            show(row["category"], row, verdict)
    print(f"zone-mta categories: {right} of {len(graded)}")
    assert right >= 0.97 * len(graded)


def test_the_diagnostics_of_real_bounce_reports_are_told_hard_from_soft():
    """The same table will read bounce reports: a sanity check of it on their texts."""
    hit = false_alarm = missed = 0
    for row in rows("sisimai-expected.jsonl"):
        if not row.get("agree") or row["reason"] in NOT_A_BOUNCE:
            continue
        verdict = judge(read_report(row))
        hard = verdict.outcome == Status.HARD_BOUNCE
        hit += hard and row["hard"]
        false_alarm += hard and not row["hard"]
        missed += row["hard"] and not hard
        if hard != row["hard"]:
            show(f"hard={row['hard']}", row, verdict)
    print(f"bounce reports: hard precision {hit} of {hit + false_alarm}, recall {hit} of {hit + missed}")
    assert hit


def read_report(row):
    said = next((dsn["diagnostic"] for dsn in row["dsn"] if dsn["diagnostic"]), row["diagnostic"])
    reply = parse(said or "")
    status = "" if row["status_is_pseudo"] else row["status"]
    return reply if reply.code else Reply("", int(row["replycode"] or 0), reply.enhanced or status, reply.text)
