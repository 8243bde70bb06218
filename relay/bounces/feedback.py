"""Complaints: feedback reports by RFC 5965, and the same in plain words as some providers still send them."""

import re
from textwrap import dedent

from activity.status import Status
from relay.bounces.dsn import address_in
from relay.bounces.mime import Part, fields_of
from relay.bounces.notice import Notice
from relay.bounces.report import Said

FIELDS = re.compile(r"^[ \t]{0,9}Feedback-Type[ \t]{0,4}:", re.IGNORECASE | re.MULTILINE)
WORDS = re.compile(
    r"this is an? (?:e-?mail )?(?:abuse|spam|opt-out|feedback|complaint|fraud|virus|"
    r"auth\w* failure)\s(?:report|complaint)|"
    r"(?:abuse|spam|feedback) report for an? (?:e-?mail )?message|complaint about (?:a )?message",
    re.IGNORECASE,
)
# Feedback in which no reader complains: RFC 6430, and failed authentication by RFC 6591.
NO_BLAME = frozenset({"not-spam", "auth-failure"})
# Where each loop writes whom we sent to.
NAMED_IN = ("original-rcpt-to", "removal-recipient", "x-hmxmroriginalrecipient", "original-recipient", "x-original-to")


def complaint_of(root: Part, notice: Notice) -> tuple[str, str] | None:
    """(what kind of feedback, about whom); None if the mail is no complaint."""
    fields = _fields(root)
    kind = fields.get("feedback-type", "").split("/")[0].strip().lower()
    if not kind and not _in_words(root, notice):
        return None
    returned = dict(reversed(notice.returned.fields)) if notice.returned else {}
    places = [fields.get(name, "") or returned.get(name, "") for name in NAMED_IN]
    address = next(filter(None, map(address_in, [*places, returned.get("to", "")])), "")
    return kind or "abuse", address


def _fields(root: Part) -> dict[str, str]:
    for part in root.walk():
        if part.kind == "message/feedback-report":
            return dict(reversed(fields_of(part.text)))
    for part in root.walk():
        if part.kind.startswith("text/") and not part.parts and (found := FIELDS.search(text := part.text)):
            block = re.split(r"\n[ \t]{0,9}\n", text[found.start() :], maxsplit=1)[0]
            return dict(reversed(fields_of(dedent(block))))
    return {}


def _in_words(root: Part, notice: Notice) -> bool:
    subject = root.get("subject")
    if "x-hmxmroriginalrecipient" in dict(notice.returned.fields if notice.returned else ()):
        return True
    return notice.returned is not None and bool(WORDS.search(f"{subject}\n{notice.text[:2000]}"))


def said(kind: str, address: str) -> Said:
    """A complaint says nothing about delivery but that there was one; `reason` is the type of feedback."""
    return Said(address, Status.DELIVERED, kind, diagnostic=f"Feedback-Type: {kind}")
