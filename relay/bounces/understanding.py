"""Understanding: the bytes of a report become a Report. Pure, bounded in time and memory, and it never raises.

The order: complaints, then what a DSN's fields say, then what a bounce says to people, then automatic answers. Bounces
come before automatic answers because mail systems mark their bounces as automatic too.
"""

import logging
import re
from dataclasses import replace
from uuid import UUID

from activity.status import Status
from relay.bounces import dsn, feedback, prose, second_opinion, wording
from relay.bounces.judgement import judged, untyped
from relay.bounces.mime import MAX_BYTES, Part, read
from relay.bounces.notification import notification_in
from relay.bounces.notice import Notice, notice_of
from relay.bounces.report import Kind, Report, Said

MAX_BOUNCES_IN_BOUNCES = 2
LISTS = frozenset({"list-id", "list-post", "newsgroups"})
log = logging.getLogger(__name__)

RETURN_PATH = re.compile(rb"\bb\+[a-z2-7]{42}@[\w.-]{1,253}", re.IGNORECASE)
# The id in the trace field and in the Message-ID that submission writes.
OUR_ID = re.compile(
    rb"(?:\bReceived:\s{0,9}by\s{1,9}\S{1,255}\swith\s{1,9}\S{1,20}\s{1,9}id\s{1,9}|\bMessage-ID:\s{0,9}<)"
    rb"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})[;@]",
    re.IGNORECASE,
)


def understand(raw: bytes) -> Report:
    try:
        report = _understood(read(raw))
    except Exception:  # A bug must not keep a report from being kept for an operator.
        log.exception("a report could not be understood")
        report = Report(Kind.OTHER, explanation="It could not be read.")
    paths = tuple(dict.fromkeys(path.decode() for path in RETURN_PATH.findall(raw[:MAX_BYTES])))
    ids = tuple(dict.fromkeys(UUID(found.decode()) for found in OUR_ID.findall(raw[:MAX_BYTES])))
    return Report(report.kind, report.recipients, paths[:10], ids[:10], report.explanation)


def _understood(root: Part) -> Report:
    notice = notice_of(root)
    return (
        notification_in(root)
        or _complaint(root, notice)
        or _bounce(root, notice)
        or _automatic(root, notice)
        or Report(Kind.OTHER, explanation=" ".join(notice.text.split())[:300])
    )


def _complaint(root: Part, notice: Notice) -> Report | None:
    found = feedback.complaint_of(root, notice)
    return Report(Kind.COMPLAINT, (feedback.said(*found),)) if found else None


def _bounce(root: Part, notice: Notice, depth: int = 0) -> Report | None:
    report = _by_status(root, notice) or _by_words(root, notice)
    if report is None or report.named or notice.returned is None or depth == MAX_BOUNCES_IN_BOUNCES:
        return report
    # Some gateways wrap the bounce they got in one of their own that names nobody.
    inner = _bounce(notice.returned, notice_of(notice.returned), depth + 1) if wording.from_machine(notice.returned) else None
    return inner or report


def _by_status(root: Part, notice: Notice) -> Report | None:
    texts = [part.text for part in root.walk() if dsn.is_status(part)] or [notice.text]
    blocks = [block for text in texts for block in dsn.blocks(text)]
    if not blocks:
        return None
    explained = {address.lower(): words for address, words in prose.failures(notice)}
    found = []
    for block in blocks:
        address = dsn.address_in(block.get("final-recipient", "")).lower()
        found.append(dsn.said(block, explained.get(address) or notice.text))
    named = [(kind, said) for kind, said in found if said.address or said.final]
    if not named:
        # Exim names a file or a pipe where there was an address.
        others = _named(root, notice)
        kind, said = found[0]
        named = [(kind, replace(said, address=others[0][0] if len(others) == 1 else ""))]
    return Report(dsn.kind_of(kind for kind, _ in named), tuple(said for _, said in named))


def _by_words(root: Part, notice: Notice) -> Report | None:
    text = notice.text
    if not wording.sounds_like_bounce(root, text):
        return None
    machine = wording.from_machine(root)
    if not machine and not wording.is_plainly_bounce(root, text):
        return None
    named = _named(root, notice)
    if not named and (other := second_opinion.report(root)) is not None:
        return other
    kind = Kind.DELAYED if wording.is_delay(root, text) else Kind.BOUNCE
    if not named and machine:
        named = _named_loosely(root, notice) or [("", prose.segment(notice.lines, ""))]
    return Report(kind, tuple(_said(address, words, notice, kind) for address, words in named)) if named else None


def _said(address: str, words: str, notice: Notice, kind: Kind) -> Said:
    verdict = judged(words, "", notice.text)
    outcome = Status.DEFERRED if kind is Kind.DELAYED else verdict.outcome
    return Said(address, outcome, verdict.reason, verdict.enhanced, untyped(verdict.text), address, verdict.code)


def _named(root: Part, notice: Notice) -> list[tuple[str, str]]:
    """Whom the notice plainly names; else a field that Exim and Gmail write; else the sender, who wrote to themself."""
    failed = [found[0] for found in dsn.ADDRESS.finditer(root.get("x-failed-recipients"))]
    return (
        prose.failures(notice, _senders(root, notice), _addressees(notice))
        or [(address, prose.segment(notice.lines, "")) for address in failed[: prose.MAX_ADDRESSES]]
        or prose.failures(notice)
    )


def _named_loosely(root: Part, notice: Notice) -> list[tuple[str, str]]:
    """The one address that the notice names in passing, or the only one that the returned message was for."""
    addressees = _addressees(notice)
    named = prose.failures(notice, _senders(root, notice), addressees, most=9)
    if not named and len(addressees) == 1 and not _through_list(notice):
        named = [(addressees[0], prose.segment(notice.lines, ""))]
    return named


def _through_list(notice: Notice) -> bool:
    """The message came by a list or a newsgroup: then its To says nothing about who was not reached."""
    fields = dict(notice.returned.fields) if notice.returned else {}
    return not LISTS.isdisjoint(fields) or fields.get("precedence", "").lower() in ("list", "bulk")


def _senders(root: Part, notice: Notice) -> set[str]:
    """Whom the report came from and went to: our side, and the mail system."""
    values = [root.get(name) for name in ("to", "from", "delivered-to", "x-original-to", "envelope-to", "apparently-to")]
    if notice.returned is not None:
        values += [notice.returned.get(name) for name in ("return-path", "from", "sender", "reply-to")]
    return {found[0].lower() for value in values for found in dsn.ADDRESS.finditer(value[:2000])}


def _addressees(notice: Notice) -> list[str]:
    if notice.returned is None:
        return []
    values = [notice.returned.get(name) for name in ("to", "cc", "x-original-to")]
    found = (match[0].lower() for value in values for match in dsn.ADDRESS.finditer(value[:4000]))
    return list(dict.fromkeys(address for address in found if not dsn.elided(address)))


def _automatic(root: Part, notice: Notice) -> Report | None:
    if not (wording.is_automatic(root) or wording.is_challenge(root, notice.text)):
        return None
    return Report(Kind.AUTO_REPLY, explanation=wording.subject_of(root))
