"""Hard or soft: the words and codes of a report put before the table that also judges delivery's replies."""

import re
from dataclasses import dataclass

from activity.reasons import Reason
from activity.status import Status
from relay import replies

LIMIT = 1000
# "ResponseCode 421, , Host not reachable": Zoho lists what it was told.
LISTED_CODE = re.compile(r"((?:code|:)\s{0,3}[45]\d\d),", re.IGNORECASE)
TYPE = re.compile(r"\s*(?:smtp|lmtp|x-[\w-]{1,30}|unknown)\s{0,5};", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A bounce, soft or hard: what was tried in vain is final.

    `text` is the remote's own words, `rule` names the row of the reply table that decided.
    """

    outcome: Status
    reason: str
    code: int
    enhanced: str
    text: str
    rule: str


def judged(diagnostic: str, status: str = "", explanation: str = "") -> Judgement:
    """The diagnostic's own words and codes first, then the Status field, then the words for people."""
    own = untyped(diagnostic[:LIMIT])
    reply = replies.parse(LISTED_CODE.sub(r"\1 ", own))
    enhanced = reply.enhanced if meaningful(reply.enhanced) else status or reply.enhanced
    verdict = replies.judge(replies.Reply(reply.stage, reply.code, reply.enhanced or status, reply.text, reply.host))
    if explanation and (not own or verdict.reason in ("", Reason.OTHER)):
        words = replies.parse(explanation[:LIMIT])
        second = replies.judge(replies.Reply("", words.code, status or words.enhanced, words.text))
        verdict = second if second.reason not in ("", Reason.OTHER) else verdict
    # A report of failure has waited out every temporary trouble: what is Deferred in delivery is soft here.
    hard = verdict.outcome is Status.HARD_BOUNCE
    outcome = Status.HARD_BOUNCE if hard else Status.SOFT_BOUNCE
    return Judgement(outcome, str(verdict.reason or Reason.OTHER), reply.code, enhanced, own, verdict.rule)


def untyped(diagnostic: str) -> str:
    """The text of a Diagnostic-Code field without its type (RFC 3464 2.3.6)."""
    return TYPE.sub("", diagnostic).strip()


def meaningful(enhanced: str) -> bool:
    """Not empty and not X.0.0, which RFC 3463 3.1 gives where nothing more is known."""
    return bool(enhanced) and not enhanced.endswith(".0.0")
