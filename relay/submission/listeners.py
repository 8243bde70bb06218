"""The ports of submission, their certificate, and the load balancers that may speak for a client."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from relay.submission.server import Kind, Server
from relay.submission.session import Session
from relay.submission.wire import Wire

log = logging.getLogger(__name__)

BACKLOG = 512


class Certificate:
    """The TLS context of both ports; a renewed certificate (ACME) is used from the next connection on."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.stamp: tuple[int, ...] = ()
        try:
            self.reload()
        except (OSError, ssl.SSLError) as error:
            raise CommandError(
                f"The certificate {certificate} with the key {key} cannot be used: {error}. "
                "Set RELAY_TLS_CERTIFICATE and RELAY_TLS_KEY."
            ) from error

    def reload(self) -> None:
        stamp = tuple(path.stat().st_mtime_ns for path in self.files)
        if stamp != self.stamp:
            self.context.load_cert_chain(*self.files)
            self.stamp = stamp

    async def keep_fresh(self, seconds: float = 10.0) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                self.reload()
            except (OSError, ssl.SSLError) as error:
                log.error("the certificate cannot be read, the old one stays in use: %s", error)


def ports() -> dict[Kind, int]:
    numbers = {
        Kind.STARTTLS: settings.SUBMISSION_PORT,
        Kind.TLS: settings.SUBMISSION_TLS_PORT,
        Kind.PLAIN: settings.SUBMISSION_PLAIN_PORT,
    }
    return {kind: number for kind, number in numbers.items() if number}


async def listen(server: Server) -> list[asyncio.Server]:
    listeners = []
    for kind, port in ports().items():
        serve: Callable[[Wire], Awaitable[None]] = partial(Session.serve, server, kind)
        listener = await asyncio.get_running_loop().create_server(
            partial(Wire, serve),
            settings.BIND,
            port,
            backlog=BACKLOG,
            reuse_port=True,
            ssl=server.tls if kind is Kind.TLS else None,
        )
        log.info("listening on %s:%d (%s)", settings.BIND, port, kind.value)
        listeners.append(listener)
    return listeners
