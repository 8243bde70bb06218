"""Says what would be concluded from reports in files: bounces, complaints, automatic answers. Needs no database."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from relay.bounces.report import Report, Said
from relay.bounces.understanding import understand


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object a line.")
        parser.add_argument("files", nargs="+", metavar="FILE")

    def handle(self, *_args: Any, **options: Any) -> None:
        for name in options["files"]:
            try:
                report = understand(Path(name).read_bytes())
            except OSError as error:
                raise CommandError(f"{name}: {error.strerror}") from error
            for line in [as_json(name, report)] if options["json"] else as_words(name, report):
                self.stdout.write(line)


def as_json(name: str, report: Report) -> str:
    people = [
        {
            "address": said.address or said.final,
            "outcome": said.outcome.value,
            "reason": said.reason,
            "status": said.status,
            "diagnostic": said.diagnostic,
        }
        for said in report.recipients
        if said.address or said.final
    ]
    return json.dumps({"file": name, "kind": report.kind.value, "recipients": people})


def as_words(name: str, report: Report) -> list[str]:
    return [f"{name}: {report.kind.value}", *(f"  {described(said)}" for said in report.recipients)]


def described(said: Said) -> str:
    words = filter(None, (said.outcome.value, said.reason, said.status, said.diagnostic))
    return " ".join(f"{said.address or said.final or 'nobody named'}: {', '.join(words)}".split())
