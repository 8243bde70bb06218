"""Judges a reply: DESIGN section 6's order, with the table of rules for what the words mean."""

import re
from functools import lru_cache

from activity.reasons import Reason
from activity.status import Status
from relay.replies.parsing import bounded, enhanced_code
from relay.replies.reply import BEFORE_MAIL, Reply, Verdict
from relay.replies.rule import Rule, without_accents
from relay.replies.table import RULES

URL = re.compile(r"\bhttps?://(?:www\.)?([^\s/<>\"']{1,255})([^\s<>\"']{0,500})")
GOOGLE_MARKER = re.compile(r"[?&]p=([a-z]{1,40})")
ADDRESS = re.compile(r"<?[^\s<>@\"'(),;:\[\]][^\s<>@\"(),;:\[\]]{0,63}@[^\s<>@\"'(),;:\[\]]{1,255}>?")
IN_REPLY_TO = re.compile(r"\(in reply to [^)]{1,40}\)")

# Without a code and without a stage (a bounce report's bare words), these say of themselves that they are temporary.
TEMPORARY = frozenset({Reason.GREYLISTED, Reason.RATE_LIMITED, Reason.SERVER_UNAVAILABLE, Reason.NETWORK})


def judge(reply: Reply) -> Verdict:
    """The verdict on a reply. Never raises, whatever the remote said; linear in the first 2,000 characters."""
    if 200 <= reply.code < 300:
        return Verdict(Status.DELIVERED, "", "accepted")
    enhanced = enhanced_code(reply.enhanced, reply.code) or enhanced_code(reply.text, reply.code)
    if not reply.code and enhanced.startswith("2") and not reply.stage:
        return Verdict(Status.DELIVERED, "", "accepted")
    row = _first_match(normalised(reply.code, enhanced, reply.text))
    if _is_temporary(reply, enhanced):
        return Verdict(Status.DEFERRED, row.reason, row.name)
    if not row.hard:
        waits = not reply.code and not enhanced and row.reason in TEMPORARY
        return Verdict(Status.DEFERRED if waits else Status.SOFT_BOUNCE, row.reason, row.name)
    if reply.stage == "mail":
        # Nobody has been named as recipient yet: "unknown" here is said of the sender.
        return Verdict(Status.SOFT_BOUNCE, Reason.POLICY, "sender_refused")
    return Verdict(Status.HARD_BOUNCE, row.reason, row.name)


def _is_temporary(reply: Reply, enhanced: str) -> bool:
    """Transport trouble, a refusal before MAIL (the next MX may take it), 4xx, and what is no reply (RFC 5321 4.2)."""
    if reply.code:
        return not 500 <= reply.code < 600 or reply.stage in BEFORE_MAIL
    return bool(reply.stage) or enhanced.startswith("4")


@lru_cache(maxsize=1024)
def _first_match(subject: str) -> Rule:
    # One server says the same to many recipients, whose addresses are already taken out.
    return next(row for row in RULES if row.pattern.search(subject))


def normalised(code: int, enhanced: str, text: str) -> str:
    """ "550 5.1.1 addr: user unknown": lower case, no accents, one space; addresses and URLs bare of their own words.

    A URL keeps its host, and Google's marker p=NoSuchUser; an address keeps nothing, since customers name mailboxes
    after anything ("blocked@", "spam@"). A missing code is 000, a missing enhanced code "-".
    """
    words = without_accents(bounded(text).replace("…", " ")).casefold()
    words = words.replace("\u2019", "'").replace("`", "'").replace("(s)", "s")
    words = IN_REPLY_TO.sub(" ", words)
    words = URL.sub(_site, words)
    words = ADDRESS.sub("addr", words).replace("_", " ")
    return f"{code:03d} {enhanced or '-'} {' '.join(words.split())}"


def _site(url: re.Match[str]) -> str:
    marker = GOOGLE_MARKER.search(url[2])
    return f" url:{url[1]} p={marker[1]} " if marker else f" url:{url[1]} "
