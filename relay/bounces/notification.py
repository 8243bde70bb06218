"""Amazon's notifications: bounces and complaints as JSON in the text of an SNS mail."""

import json
from typing import Any

from relay.bounces import dsn, feedback
from relay.bounces.mime import Part
from relay.bounces.report import Kind, Report

MARK = '"notificationType"'
MAX_RECIPIENTS = 100


def notification_in(root: Part) -> Report | None:
    text = root.text if root.kind.startswith("text/") else ""
    if MARK not in text:
        return None
    # Sendmail cuts the one long line with "!" and a space; JSON has no line ends of its own inside strings.
    whole = text[text.find("{") :].replace("!\n ", "").replace("\n", "")
    try:
        said, _ = json.JSONDecoder(strict=False).raw_decode(whole)
    except (ValueError, RecursionError):
        return None
    return _report(said) if isinstance(said, dict) else None


def _report(said: dict[str, Any]) -> Report | None:
    kind = said.get("notificationType")
    if kind == "Complaint":
        addresses = _people(said, "complaint", "complainedRecipients")
        return Report(Kind.COMPLAINT, tuple(feedback.said("abuse", _text(one, "emailAddress")) for one in addresses))
    if kind == "Bounce":
        blocks = [_block(one) for one in _people(said, "bounce", "bouncedRecipients")]
        found = [dsn.said(block) for block in blocks]
        return Report(dsn.kind_of(kind for kind, _ in found), tuple(each for _, each in found)) if found else None
    return Report(Kind.OTHER, explanation=f"A notification of the type {str(kind)[:40]}.")


def _people(said: dict[str, Any], part: str, name: str) -> list[dict[str, Any]]:
    inner = said.get(part)
    people = inner.get(name) if isinstance(inner, dict) else None
    return [one for one in people if isinstance(one, dict)][:MAX_RECIPIENTS] if isinstance(people, list) else []


def _block(one: dict[str, Any]) -> dict[str, str]:
    return {
        "final-recipient": _text(one, "emailAddress"),
        "action": _text(one, "action") or "failed",
        "status": _text(one, "status"),
        "diagnostic-code": _text(one, "diagnosticCode"),
    }


def _text(one: dict[str, Any], name: str) -> str:
    value = one.get(name)
    return value[:1000] if isinstance(value, str) else ""
