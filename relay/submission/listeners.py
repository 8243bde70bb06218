"""The ports of submission: STARTTLS, implicit TLS, and the plain one for named networks."""

import asyncio
import logging
import socket
from collections.abc import Awaitable
from functools import partial

from django.conf import settings
from django.core.management.base import CommandError

from relay.submission.proxy import Doorkeeper
from relay.submission.server import Kind, Server
from relay.submission.session import Session
from relay.submission.wire import GOODBYE_SECONDS, HANDSHAKE_SECONDS, Wire

log = logging.getLogger(__name__)

BACKLOG = 512

type Listener = asyncio.AbstractServer | Doorkeeper


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


def bind() -> dict[Kind, socket.socket]:
    """All ports, before anything else is begun: a port that is taken ends the program at once."""
    bound = {}
    for kind, port in ports().items():
        try:
            bound[kind] = bound_socket(settings.BIND, port)
        except OSError as error:
            raise CommandError(f"Cannot listen on {settings.BIND}:{port} ({kind.value}): {error.strerror}") from error
    return bound


async def listen(server: Server, bound: dict[Kind, socket.socket]) -> list[Listener]:
    listeners = []
    for kind, listener in bound.items():
        listeners.append(await open_port(server, kind, listener))
        log.info("listening on %s:%d (%s)", settings.BIND, listener.getsockname()[1], kind.value)
    return listeners


async def open_port(server: Server, kind: Kind, listener: socket.socket) -> Listener:
    loop = asyncio.get_running_loop()
    tls = server.certificate.context if kind is Kind.TLS else None
    hello, goodbye = (HANDSHAKE_SECONDS, GOODBYE_SECONDS) if tls else (None, None)
    serve = partial(Session.serve, server, kind)
    if kind is Kind.PLAIN or (kind is Kind.STARTTLS and not settings.PROXY_NETWORKS):
        return await loop.create_server(partial(Wire, serve), sock=listener, backlog=BACKLOG)

    def serve_client(connection: socket.socket, client: str) -> Awaitable[object]:
        return loop.connect_accepted_socket(
            partial(Wire, serve, client),
            connection,
            ssl=tls,
            ssl_handshake_timeout=hello,
            ssl_shutdown_timeout=goodbye,
        )

    return Doorkeeper(listener, server.is_proxy, serve_client)
