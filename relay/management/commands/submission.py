"""The submission server: SMTP in, for customers' software."""

import asyncio
import signal
import socket
from typing import Any

import uvloop
from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import BaseCommand

from activity import slices
from relay import open_files
from relay.submission.certificate import Certificate
from relay.submission.listeners import bind, listen
from relay.submission.server import Kind, Server


class Command(BaseCommand):
    help = "Take mail from customers' software: STARTTLS, implicit TLS, and a plain listener for named networks."
    # Our settings are looked at; the pages, whose import takes as long as all else, are not this program's.
    requires_system_checks = [Tags.security]

    def handle(self, *_args: Any, **_options: Any) -> None:
        certificate = Certificate(settings.TLS_CERTIFICATE, settings.TLS_KEY)
        bound = bind()
        slices.ensure()
        open_files.allow_many()
        uvloop.run(serve(certificate, bound))


async def serve(certificate: Certificate, bound: dict[Kind, socket.socket]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await Server.open(certificate)
    listeners = await listen(server, bound)
    await stop.wait()
    for listener in listeners:
        listener.close()
    await server.close()
