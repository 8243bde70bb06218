"""Prints our zone as a zone file, for an operator's name server."""

import time
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand

from domains.zone import zone_file


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = [Tags.security]

    def handle(self, *_args: Any, **_options: Any) -> None:
        # A serial that grows by itself (RFC 1912 2.2), until 2106.
        for line in zone_file(int(time.time())):
            self.stdout.write(line)
