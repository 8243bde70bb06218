"""`manage.py demo`: the last step of `make run`. Makes the demo's customer, sends its emails, says where to look."""

import socket
import time
import urllib.error
import urllib.request
from typing import Any

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError

from activity.models import Message
from domains.check import check
from domains.models import Domain
from relay.demo.banner import banner, facts
from relay.demo.customer import make_customer, write_private
from relay.demo.emails import send

PATIENCE = 90.0


class Command(BaseCommand):
    help = "Makes the demo's customer, sends its emails once, and writes up.json when everything answers."
    # Our settings are looked at; the pages, whose import takes as long as all else, are not this program's.
    requires_system_checks = [Tags.security]

    def handle(self, *_args: Any, **_options: Any) -> None:
        customer = make_customer()
        deadline = time.monotonic() + PATIENCE
        ports = (settings.SUBMISSION_PORT, settings.SUBMISSION_TLS_PORT, settings.BOUNCES_PORT)
        for port in (*ports, settings.SUBMISSION_PLAIN_PORT, settings.SIMULATOR_PORT):
            wait_for(f"port {port}", lambda port=port: answers(port), deadline)
        if customer.domain.validated_at is None:
            # By real DNS: the simulator answers for the demo's domains.
            wait_for(f"DNS of {customer.domain}", lambda: proved(customer.domain), deadline)
        if not Message.objects.filter(account=customer.account).exists():
            send(customer)
        wait_for(f"{settings.WEB_URL}/healthz", healthy, deadline)
        known = facts(customer)
        write_private(settings.HOME / "up.json", known)
        self.stdout.write(banner(known))


def wait_for(what: str, ready: Any, deadline: float) -> None:
    while not ready():
        if time.monotonic() > deadline:
            raise CommandError(f"{what} does not answer; the lines above say why.")
        time.sleep(0.1)


def proved(domain: Domain) -> bool:
    check(domain)
    return domain.validated_at is not None


def answers(port: int) -> bool:
    try:
        with socket.create_connection((settings.BIND, port), timeout=2):
            return True
    except OSError:
        return False


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://{settings.BIND}:{settings.WEB_PORT}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
