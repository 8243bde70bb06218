"""Encrypts the private DKIM keys anew with RELAY_SECRET_KEY, after it was changed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from domains.reencryption import reencrypt


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        done, closed = reencrypt()
        self.stdout.write(f"{done} keys are encrypted with RELAY_SECRET_KEY now.")
        if closed:
            ids = ", ".join(map(str, closed))
            raise CommandError(f"No secret opens the keys {ids}: add the one they need to RELAY_OLD_SECRET_KEYS.")
        self.stdout.write(
            "Keep the old secret in RELAY_OLD_SECRET_KEYS while reports about mail of the last days may come: "
            "their return paths were made with it."
        )
