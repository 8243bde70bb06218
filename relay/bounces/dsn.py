"""Delivery status notifications: the blocks of RFC 3464 and RFC 6533, read as broken as they come."""

import re
from collections.abc import Iterable, Sequence

from activity.status import Status
from relay.bounces.judgement import judged
from relay.bounces.mime import Part, fields_of
from relay.bounces.report import Kind, Said

STATUS_PARTS = ("message/delivery-status", "message/global-delivery-status", "message/disposition-notification")
MAX_RECIPIENTS = 200

ABOUT_RECIPIENT = frozenset(
    {"final-recipient", "original-recipient", "x-actual-recipient", "action", "status", "diagnostic-code", "remote-mta"}
)
NAMES = frozenset({"final-recipient", "original-recipient"})
# RFC 3464 2.3.1: the address type before the address; RFC 3461 4.2 adds utf-8 by RFC 6533.
TYPED = re.compile(
    r"\s*(?:(rfc-?822|utf-?8|smtp|x-?[\w-]{1,20}|unknown|[a-z][\w-]{0,20})\s{0,5};)?\s*(.*)", re.IGNORECASE | re.DOTALL
)
# An apostrophe may stand in a local part (o'brien@), and around an address.
ADDRESS = re.compile(r"[^\s<>\"',;:()\[\]@][^\s<>\",;:()\[\]@]{0,319}@(?:[\w-][\w.-]{0,253}|\[[^\]\s]{1,60}\])")
QUOTED = re.compile(r'"[^"@\n]{1,64}"@[\w.-]{1,253}')
# RFC 6531 allows ideographs in addresses, but hardly anybody has them beside ASCII letters.
IDEOGRAPHS = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\uffef"
AMID_IDEOGRAPHS = re.compile(rf"[{IDEOGRAPHS}]([\x21-\x7e]{{1,64}})$")
ASCII_HOST = re.compile(rf"([a-z0-9.-]{{1,200}}\.[a-z]{{2,24}})[{IDEOGRAPHS}]", re.IGNORECASE)
LABEL = re.compile(r"^(?:smtp|rfc822|mailto)=", re.IGNORECASE)
ELIDED = re.compile(r"[^.]\.\.\.@|…")
XTEXT = re.compile(r"\+([0-9A-F]{2})")
UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
CLASS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})")

# RFC 3464 2.3.3, and what opensmtpd ("error") and others write instead.
ACTIONS: dict[str, Kind] = {
    "fail": Kind.BOUNCE,
    "error": Kind.BOUNCE,
    "delay": Kind.DELAYED,
    "deliver": Kind.RELAYED,
    "relay": Kind.RELAYED,
    "expand": Kind.RELAYED,
}


def is_status(part: Part) -> bool:
    return part.kind in STATUS_PARTS[:2]


def text_of(part: Part) -> str:
    """The fields; where the empty line before them is missing they were read as the part's own header."""
    own = "\n".join(f"{name}: {value}" for name, value in part.fields if not name.startswith("content-"))
    return f"{own}\n\n{part.text}" if own else part.text


def blocks(text: str) -> list[dict[str, str]]:
    """The per-recipient blocks; where empty lines between them are missing or too many, the fields tell them apart."""
    found: list[dict[str, str]] = []
    for piece in re.split(r"\n[ \t]{0,80}\n", text.replace("\r\n", "\n"))[: MAX_RECIPIENTS + 50]:
        for block in _by_recipient(fields_of(piece)):
            starts = bool(NAMES.intersection(block))
            if not starts and found and not found[-1].keys() & block.keys() & ABOUT_RECIPIENT:
                found[-1] |= block
            else:
                found.append(block)
    return found[:MAX_RECIPIENTS]


def _by_recipient(fields: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Cut where a name comes again; blocks that say nothing about a recipient are left out."""
    found: list[dict[str, str]] = [{}]
    for name, value in fields:
        if name in NAMES and name in found[-1]:
            found.append({})
        found[-1].setdefault(name, value)
    return [block for block in found if ABOUT_RECIPIENT.intersection(block)]


def said(block: dict[str, str], explain: str = "") -> tuple[Kind, Said]:
    """What one block says. `explain`: the words for people beside it."""
    final = address_in(block.get("final-recipient", ""))
    address = address_in(block.get("original-recipient", "")) or final
    status = CLASS.match(block.get("status", ""))
    # Without a diagnostic, what some servers write in brackets behind the status: "5.4.4 (Illegal host name)".
    diagnostic = block.get("diagnostic-code", "") or block.get("status", "")[status.end() if status else 0 :].strip(
        " ()"
    )
    enhanced = ".".join(status.groups()) if status else ""
    kind = _kind(block.get("action", "").strip().lower(), enhanced, diagnostic)
    verdict = judged(diagnostic, enhanced, explain)
    outcome = {Kind.DELAYED: Status.DEFERRED, Kind.RELAYED: Status.DELIVERED}.get(kind, verdict.outcome)
    reason = "" if kind is Kind.RELAYED else verdict.reason
    host = _typed(block.get("remote-mta", "") or block.get("reporting-mta", ""))
    return kind, Said(
        address, outcome, reason, verdict.enhanced or enhanced, verdict.text, final, verdict.code, host, verdict.rule
    )


def _kind(action: str, enhanced: str, diagnostic: str) -> Kind:
    for word, kind in ACTIONS.items():
        if action.startswith(word):
            return kind
    # RFC 3464 2.3.3 demands an action; without one, the class of the status says the same.
    letter = (enhanced or diagnostic.rpartition(";")[2].strip() or "5")[0]
    return {"2": Kind.RELAYED, "4": Kind.DELAYED}.get(letter, Kind.BOUNCE)


def address_in(value: str) -> str:
    """The address in a typed field such as `rfc822; <ann@example.com>`; "" if there is none."""
    kind, text = _split_type(value)
    if kind.startswith("utf"):
        text = UNITEXT.sub(_character, text)
    elif kind == "rfc822" and "+" in text:
        # RFC 3461 4: an Original-Recipient is xtext, "+40" an at sign. A plain plus before two hex digits is rarer.
        text = text if "@" in text else XTEXT.sub(lambda match: chr(int(match[1], 16)), text)
    found = QUOTED.search(text) or ADDRESS.search(text)
    return found[0].strip(".") if found and not elided(found[0]) else ""


def bare(address: str) -> str:
    """Without what stands right beside it: "SMTP=kit@dest.test", "発信kit@dest.testへ"."""
    local, _, host = address.rpartition("@")
    local = LABEL.sub("", local)
    found = AMID_IDEOGRAPHS.search(local)
    local = found[1] if found else local
    found = ASCII_HOST.match(host)
    return f"{local}@{found[1] if found else host}"


def elided(address: str) -> bool:
    """Cut short for people, such as `dav...@example.com`: whose it is cannot be told."""
    return ELIDED.search(address) is not None


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _split_type(value: str) -> tuple[str, str]:
    match = TYPED.match(value)
    assert match is not None
    return (match[1] or "").lower().replace("rfc-822", "rfc822"), match[2]


def _typed(value: str) -> str:
    return _split_type(value)[1].strip().split(" ")[0][:255]


def kind_of(kinds: Iterable[Kind]) -> Kind:
    """A report that speaks of several recipients is what it says of the worst off."""
    order = (Kind.BOUNCE, Kind.DELAYED, Kind.RELAYED)
    present = set(kinds)
    return next((kind for kind in order if kind in present), Kind.OTHER)
