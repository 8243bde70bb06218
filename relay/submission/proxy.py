"""What comes before TLS on a connection: a load balancer's PROXY header (v1 and v2), and a bound on handshakes.

The header says for which client the balancer speaks. It comes before everything else, so it is read from the bare
socket. Handshakes that somebody begins and never ends are counted by address, like the sessions that follow them.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from aiosmtpd.proxy_protocol import V2_CMD, get_proxy
from django.conf import settings

from relay.limits import Slots, place_of, plain_address

log = logging.getLogger(__name__)

type Serve = Callable[[socket.socket, str], Awaitable[object]]

HEADER_SECONDS = 5.0
MAX_V1 = 107  # the longest line of version 1, by its specification


class HeaderReader:
    """What aiosmtpd's parser wants of a stream; never takes a byte beyond the header."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()

    async def read(self, n: int = -1) -> bytes:
        return await self.loop.sock_recv(self.connection, n)

    async def readexactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = await self.read(n - len(data))
            if not more:
                raise ConnectionError("the connection ended in the PROXY header")
            data += more
        return data

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        line = b""
        while not line.endswith(separator):
            if len(line) >= MAX_V1:
                raise ValueError("the PROXY line is too long")
            line += await self.readexactly(1)
        return line


async def client_of(connection: socket.socket) -> str | None:
    """The client's address; "" if the proxy names none (a health check, say); None if there is no good header."""
    try:
        async with asyncio.timeout(HEADER_SECONDS):
            header = await get_proxy(HeaderReader(connection))
    except Exception as error:  # the library fails in many ways on what is no header
        log.debug("no PROXY header: %r", error)
        return None
    if not header.valid:
        return None
    # The protocol's 2.2: with LOCAL the proxy speaks for itself, whatever addresses it writes.
    if header.command == V2_CMD.LOCAL or not isinstance(header.src_addr, IPv4Address | IPv6Address):
        return ""
    return str(header.src_addr)


class Doorkeeper:
    """One port on which some addresses speak for their clients, and none has too many handshakes under way.

    `serve` takes a connection and its client's address, and returns when the handshake is over.
    """

    def __init__(self, listener: socket.socket, is_proxy: Callable[[str], bool], serve: Serve) -> None:
        self.socket = listener
        self.is_proxy = is_proxy
        self.serve = serve
        self.handshakes = Slots()
        self.opening: set[asyncio.Task[None]] = set()
        self.task = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self.socket)
            except OSError as error:  # out of file descriptors, or a client that left at once
                log.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._open(connection, plain_address(address[0])))
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    async def _open(self, connection: socket.socket, peer: str) -> None:
        client = await client_of(connection) if self.is_proxy(peer) else peer
        if client is None:
            log.warning("no PROXY header from %s", peer)
            connection.close()
            return
        place = place_of(client or peer)
        if not self.handshakes.take(place, settings.ADDRESS_CONNECTIONS):
            connection.close()
            return
        try:
            with suppress(OSError):  # ssl.SSLError is one: a client that fails the handshake
                await self.serve(connection, client or peer)
        finally:
            self.handshakes.give_back(place)

    def close(self) -> None:
        self.task.cancel()
        self.socket.close()
