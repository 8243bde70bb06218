"""Publishes our zone at the operator's name server by RFC 2136 updates; with --check only says how the two differ."""

from argparse import ArgumentParser
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError

from domains.primary import Trouble
from domains.publish import drift, lines, publish


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = [Tags.security]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            "--drift",
            action="store_true",
            help="change nothing; exit status 1 when the server differs from our zone, 2 when it cannot be asked",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            changes = drift() if options["check"] else publish()
        except Trouble as trouble:
            raise CommandError(str(trouble), returncode=2) from None
        for line in lines(changes):
            self.stdout.write(line)
        if options["check"] and changes:
            raise CommandError(f"The name server differs from our zone at {len(changes)} places.", returncode=1)
        self.stdout.write(f"{len(changes)} changes were published." if changes else "The name server shows our zone.")
