"""The ports of submission, their certificate, and the load balancers that may speak for a client."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from relay.submission.proxy import ProxiedListener
from relay.submission.server import Kind, Server
from relay.submission.session import Session
from relay.submission.wire import HANDSHAKE_SECONDS, Wire

log = logging.getLogger(__name__)

BACKLOG = 512

type Listener = asyncio.AbstractServer | ProxiedListener


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


def bound_socket(host: str, port: int) -> socket.socket:
    """Shared with other submission processes: the kernel spreads connections over them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setblocking(False)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    return listener


async def listen(server: Server) -> list[Listener]:
    listeners = []
    for kind, port in ports().items():
        listeners.append(await open_port(server, kind, bound_socket(settings.BIND, port)))
        log.info("listening on %s:%d (%s)", settings.BIND, port, kind.value)
    return listeners


async def open_port(server: Server, kind: Kind, listener: socket.socket) -> Listener:
    loop = asyncio.get_running_loop()
    tls = server.tls if kind is Kind.TLS else None
    patience = HANDSHAKE_SECONDS if tls else None
    serve = partial(Session.serve, server, kind)
    if kind is Kind.PLAIN or not settings.PROXY_NETWORKS:
        return await loop.create_server(
            partial(Wire, serve), sock=listener, backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=patience
        )

    def serve_client(connection: socket.socket, client: str) -> Awaitable[object]:
        return loop.connect_accepted_socket(
            partial(Wire, serve, client), connection, ssl=tls, ssl_handshake_timeout=patience
        )

    return ProxiedListener(listener, server.is_proxy, serve_client)
