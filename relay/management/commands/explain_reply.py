"""Shows what we would conclude from mail servers' replies: one a line on standard input, one verdict a line out."""

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from activity.text import clean
from relay.replies import judge, parse

COLUMNS = "{:<12} {:<20} {:<9} {:<26} {}"


class Command(BaseCommand):
    help = (
        "Reads SMTP replies, one a line (as plain text, as a JSON string or as a bounce report quotes them), and shows "
        "outcome, reason and the rule that decided. Needs no database."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            self._explain(options["json"])
        except BrokenPipeError:
            # `explain_reply | head` has seen enough; keep Python from flushing into the closed pipe at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _explain(self, as_json: bool) -> None:
        found = False
        for reply in _replies():
            if not found and not as_json:
                self.stdout.write(COLUMNS.format("OUTCOME", "REASON", "ENHANCED", "RULE", "REPLY"))
            found = True
            self.stdout.write(_as_json(reply) if as_json else _as_row(reply))
        if not found:
            raise CommandError("Nothing to explain: give replies on standard input, one a line.")


def _replies() -> Iterator[str]:
    """Lines that hold anything. Bytes that are not UTF-8 are shown as such, never an error."""
    stream = getattr(sys.stdin, "buffer", None)
    lines = io.TextIOWrapper(stream, "utf-8", errors="replace") if stream else sys.stdin
    for line in lines:
        text = line.strip()
        if text:
            yield _unquoted(text)


def _unquoted(line: str) -> str:
    """A reply quoted as JSON (several lines in one string) is shown unquoted; anything else as it came."""
    try:
        value = json.loads(line, strict=False) if line.startswith('"') else line
    except (ValueError, RecursionError):
        return line
    return value if isinstance(value, str) else line


def _as_json(line: str) -> str:
    reply = parse(line)
    verdict = judge(reply)
    return json.dumps(
        {
            "reply": line,
            "outcome": verdict.outcome.value,
            "reason": str(verdict.reason),
            "enhanced": reply.enhanced,
            "rule": verdict.rule,
        }
    )


def _as_row(line: str) -> str:
    reply = parse(line)
    verdict = judge(reply)
    shown = " ".join("".join(char if char.isprintable() else " " for char in clean(line, 200)).split())
    return COLUMNS.format(verdict.outcome.value, str(verdict.reason) or "-", reply.enhanced or "-", verdict.rule, shown)
