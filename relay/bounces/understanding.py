"""Understanding: the bytes of a report become a Report. Pure, bounded in time and memory, and it never raises.

The order: complaints, then what a DSN's fields say, then what a bounce says to people, then automatic answers. Bounces
come before automatic answers because mail systems mark their bounces as automatic too.
"""

import logging
import re
from dataclasses import replace
from uuid import UUID

from activity.status import Status
from relay.bounces import dsn, feedback, naming, prose, second_opinion, wording
from relay.bounces.judgement import judged, untyped
from relay.bounces.mime import MAX_BYTES, Part, read
from relay.bounces.notice import Notice, notice_of
from relay.bounces.notification import notification_in
from relay.bounces.report import Kind, Report, Said

MAX_BOUNCES_IN_BOUNCES = 2
log = logging.getLogger(__name__)

ALIAS = re.compile(rf"\W{{0,9}}(?:ultimately )?generated from <?({dsn.ADDRESS.pattern})", re.IGNORECASE)
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
    if report is None or report.named:
        return report
    return _inner(notice, depth) or second_opinion.report(root) or naming.guess(root, notice, report)


def _inner(notice: Notice, depth: int) -> Report | None:
    """What the message that came back says: some gateways wrap the bounce they got in one that names nobody."""
    inner = notice.returned
    if inner is None or depth == MAX_BOUNCES_IN_BOUNCES or not wording.from_machine(inner):
        return None
    return _bounce(inner, notice_of(inner), depth + 1)


def _by_status(root: Part, notice: Notice) -> Report | None:
    texts = [dsn.text_of(part) for part in root.walk() if dsn.is_status(part)]
    if not texts and (wording.from_machine(root) or wording.is_plainly_bounce(root, notice.text)):
        # Some servers write the fields into the words for people.
        texts = [notice.text]
    blocks = [block for text in texts for block in dsn.blocks(text)]
    if not blocks:
        return None
    explained = {address.lower(): words for address, words in prose.failures(notice)}
    found = []
    for block in blocks:
        words = explained.get(dsn.address_in(block.get("final-recipient", "")).lower(), "")
        kind, said = dsn.said(block, words or notice.text)
        found.append((kind, _forwarded(said, words)))
    named = [(kind, said) for kind, said in found if said.address or said.final]
    if not named:
        # Exim names a file or a pipe where there was an address.
        others = naming.named(root, notice)
        kind, said = found[0]
        named = [(kind, replace(said, address=others[0][0] if len(others) == 1 else ""))]
    return Report(dsn.kind_of(kind for kind, _ in named), tuple(said for _, said in named))


def _forwarded(said: Said, words: str) -> Said:
    """Exim names where an alias led to, and behind it the address that was written to."""
    found = ALIAS.match(words)
    return replace(said, address=found[1]) if found else said


def _by_words(root: Part, notice: Notice) -> Report | None:
    if not wording.sounds_like_bounce(root, notice.text):
        return None
    machine = wording.from_machine(root) and not wording.is_absence(root)
    if not machine:
        notice = notice.unquoted()
    if not machine and not wording.is_plainly_bounce(root, notice.text):
        return None
    named = naming.named(root, notice)
    if not named and not (machine and wording.is_clear(root, notice)):
        return _inner(notice, 1) or second_opinion.report(root)
    kind = Kind.DELAYED if wording.is_delay(root, notice.text) else Kind.BOUNCE
    named = named or [("", prose.segment(notice.lines, ""))]
    return Report(kind, tuple(_said(address, words, notice, kind) for address, words in named))


def _said(address: str, words: str, notice: Notice, kind: Kind) -> Said:
    verdict = judged(words, "", notice.text)
    outcome = Status.DEFERRED if kind is Kind.DELAYED else verdict.outcome
    said = Said(
        address,
        outcome,
        verdict.reason,
        verdict.enhanced,
        untyped(verdict.text),
        address,
        verdict.code,
        rule=verdict.rule,
    )
    return _forwarded(said, words)


def _automatic(root: Part, notice: Notice) -> Report | None:
    if not (wording.is_automatic(root) or wording.is_challenge(root, notice.text)):
        return None
    return Report(Kind.AUTO_REPLY, explanation=wording.subject_of(root))
