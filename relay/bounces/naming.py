"""Whom a bounce in words is about: by the notice, by a field of the header, by the message that came back."""

from dataclasses import replace

from relay.bounces import prose, wording
from relay.bounces.dsn import ADDRESS, elided
from relay.bounces.mime import Part
from relay.bounces.notice import Notice
from relay.bounces.report import Report

# What the header of a message has that came by a list or a newsgroup.
LISTS = frozenset({"list-id", "list-post", "newsgroups"})


def named(root: Part, notice: Notice) -> list[tuple[str, str]]:
    """Whom the notice plainly names; else a field that Exim and Gmail write; else the sender, who wrote to themself."""
    failed = [found[0] for found in ADDRESS.finditer(root.get("x-failed-recipients"))]
    senders, addressees = _senders(root, notice), _addressees(notice)
    return (
        prose.failures(notice, senders, addressees)
        or [(address, prose.segment(notice.lines, "")) for address in failed[: prose.MAX_ADDRESSES]]
        or prose.failures(notice)
        # Without the message that came back, postmaster@ and the like may be whom it was for.
        or ([] if addressees else prose.failures(notice, senders, offices=True))
    )


def guess(root: Part, notice: Notice, report: Report) -> Report:
    """With the one address that the notice names in passing, that the returned message was for or the subject names."""
    addressees = _addressees(notice)
    passing = [address for address, _ in prose.failures(notice, _senders(root, notice), addressees, most=9)]
    if not passing and not _through_list(notice):
        passing = addressees or [found[0] for found in ADDRESS.finditer(wording.subject_of(root))]
    if len(passing) != 1:
        return report
    return replace(report, recipients=tuple(replace(said, address=passing[0]) for said in report.recipients[:1]))


def _through_list(notice: Notice) -> bool:
    """The message came by a list or a newsgroup: then its To says nothing about who was not reached."""
    fields = dict(notice.returned.fields) if notice.returned else {}
    return not LISTS.isdisjoint(fields) or fields.get("precedence", "").lower() in ("list", "bulk")


def _senders(root: Part, notice: Notice) -> set[str]:
    """Whom the report came from and went to: our side, and the mail system."""
    values = [root.get(name) for name in ("to", "from", "delivered-to", "x-original-to", "envelope-to")]
    if notice.returned is not None:
        values += [notice.returned.get(name) for name in ("return-path", "from", "sender", "reply-to")]
    return {found[0].lower() for value in values for found in ADDRESS.finditer(value[:2000])}


def _addressees(notice: Notice) -> list[str]:
    if notice.returned is None:
        return []
    values = [notice.returned.get(name) for name in ("to", "cc", "x-original-to")]
    found = (match[0].lower() for value in values for match in ADDRESS.finditer(value[:4000]))
    return list(dict.fromkeys(address for address in found if not elided(address)))
