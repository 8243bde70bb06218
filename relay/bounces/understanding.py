"""Understanding: the bytes of a report become a Report. Pure, bounded in time and memory, and it never raises.

The order: complaints, then what a DSN's fields say, then what a bounce says to people, then automatic answers. Bounces
come before automatic answers because mail systems mark their bounces as automatic too.
"""

import logging
import re
from uuid import UUID

from activity.status import Status
from relay.bounces import dsn, feedback, prose, second_opinion, wording
from relay.bounces.judgement import judged, untyped
from relay.bounces.mime import MAX_BYTES, Part, read
from relay.bounces.notice import Notice, notice_of
from relay.bounces.report import Kind, Report, Said

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
        _complaint(root, notice)
        or _by_status(root, notice)
        or _by_words(root, notice)
        or _automatic(root, notice)
        or Report(Kind.OTHER, explanation=" ".join(notice.text.split())[:300])
    )


def _complaint(root: Part, notice: Notice) -> Report | None:
    found = feedback.complaint_of(root, notice)
    return Report(Kind.COMPLAINT, (feedback.said(*found),)) if found else None


def _by_status(root: Part, notice: Notice) -> Report | None:
    texts = [part.text for part in root.walk() if dsn.is_status(part)] or [notice.text]
    blocks = [block for text in texts for block in dsn.blocks(text)]
    explained = dict(prose.failures(notice, (), ())) if len(blocks) > 1 else {}
    found = []
    for block in blocks:
        address = dsn.address_in(block.get("final-recipient", ""))
        result = dsn.said(block, explained.get(address) or notice.text)
        if result is not None:
            found.append(result)
    if not found:
        return None
    kind = dsn.kind_of(kind for kind, _ in found)
    return Report(kind, tuple(said for each, said in found if each is kind))


def _by_words(root: Part, notice: Notice) -> Report | None:
    text = notice.text
    machine = wording.from_machine(root)
    if not wording.sounds_like_bounce(root, text):
        return None
    if not machine and (wording.is_automatic(root) or wording.is_challenge(root, text) or not _is_notice(root)):
        return None
    named = prose.failures(notice, _senders(root, notice), _addressees(notice)) or _by_fields(root, notice)
    if not named:
        return second_opinion.report(root)
    kind = Kind.DELAYED if wording.is_delay(root, text) else Kind.BOUNCE
    return Report(kind, tuple(_said(address, words, notice, kind) for address, words in named))


def _is_notice(root: Part) -> bool:
    """Not from a mail system by its address: then its subject must say what it is, and not be an answer."""
    subject = wording.subject_of(root)
    return bool(wording.SUBJECT.search(subject)) and not subject.lower().startswith("re:")


def _said(address: str, words: str, notice: Notice, kind: Kind) -> Said:
    verdict = judged(words, "", notice.text)
    outcome = Status.DEFERRED if kind is Kind.DELAYED else verdict.outcome
    return Said(address, outcome, verdict.reason, verdict.enhanced, untyped(verdict.text), address, verdict.code)


def _by_fields(root: Part, notice: Notice) -> list[tuple[str, str]]:
    """Whom the notice does not name: a field of Exim's and Gmail's does, or the message that came back was for one."""
    failed = [found[0] for found in dsn.ADDRESS.finditer(root.get("x-failed-recipients"))]
    names = failed[: prose.MAX_ADDRESSES] or (_addressees(notice) if len(_addressees(notice)) == 1 else [])
    return [(address, prose.segment(notice.lines, "")) for address in names]


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
    return list(dict.fromkeys(found[0].lower() for value in values for found in dsn.ADDRESS.finditer(value[:4000])))


def _automatic(root: Part, notice: Notice) -> Report | None:
    if not (wording.is_automatic(root) or wording.is_challenge(root, notice.text)):
        return None
    return Report(Kind.AUTO_REPLY, explanation=wording.subject_of(root))
