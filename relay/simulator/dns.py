"""An authoritative DNS server over UDP and TCP for a small world's zones."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
from dns.rdatatype import AXFR, IXFR

from relay.simulator.zone import Failure, Zone

logger = logging.getLogger(__name__)

MAX_TASKS = 1000  # queries at a time; UDP may lose the others
TCP_IDLE = 10.0
UDP_SIZE = 1232  # the largest answer that no network cuts in pieces

type Source = Zone | Callable[[], Awaitable[Zone]]


class DnsServer:
    """`source` is a zone, or is called for the zone of the moment at each query."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on one port for UDP and TCP. Port 0 takes a free one; `port` then says which."""
        loop = asyncio.get_running_loop()
        self.tcp = await asyncio.start_server(self._serve_tcp, host, port)
        self.port = self.tcp.sockets[0].getsockname()[1]
        try:
            self.udp, _ = await loop.create_datagram_endpoint(lambda: Datagrams(self), (host, self.port))
        except OSError:
            self.tcp.close()
            raise

    async def stop(self) -> None:
        self.udp.close()
        self.tcp.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        if len(self.tasks) >= MAX_TASKS:
            coroutine.close()
            return
        self._keep(asyncio.get_running_loop().create_task(coroutine))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def respond(self, wire: bytes, udp: bool) -> bytes | None:
        """The response to whatever came in; None where silence is right (RFC 1035 7.3, a response is not answered)."""
        try:
            query = dns.message.from_wire(wire, keyring=False, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        if (code := objection(query)) != dns.rcode.NOERROR:
            return refusal(query.id, code)
        zone = self.source if isinstance(self.source, Zone) else await self.source()
        response, failure = zone.answer(query)
        if failure is Failure.TIME_OUT:
            return None
        if udp and failure is Failure.TRUNCATED:
            response.answer.clear()
            response.flags |= dns.flags.TC
        size = min(max(query.payload, 512), UDP_SIZE) if udp else 65535
        return response.to_wire(max_size=size, prefer_truncation=True)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self.tasks) < MAX_TASKS:
            self._keep(task)
            # The client left or was idle, or the server stops.
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """RFC 7766: any number of queries, each with two bytes of length before it."""
        while True:
            async with asyncio.timeout(TCP_IDLE):
                length = int.from_bytes(await reader.readexactly(2))
                wire = await reader.readexactly(length)
                response = await self.respond(wire, udp=False)
                if response is not None:
                    writer.write(len(response).to_bytes(2) + response)
                    await writer.drain()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is none by type

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.server.spawn(self._answer(data, addr))

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        response = await self.server.respond(data, udp=True)
        if response is not None and not self.transport.is_closing():
            self.transport.sendto(response, addr)


def objection(query: dns.message.Message) -> dns.rcode.Rcode:
    """Why this query gets no answer from the zone: NOERROR if nothing is wrong with it."""
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    question = query.question[0]
    transfer = question.rdtype in (AXFR, IXFR)
    return dns.rcode.REFUSED if transfer or question.rdclass != dns.rdataclass.IN else dns.rcode.NOERROR


def refusal(identifier: int, code: dns.rcode.Rcode) -> bytes:
    """A header alone with this code."""
    response = dns.message.Message(id=identifier)
    response.flags = dns.flags.Flag.QR
    response.set_rcode(code)
    return response.to_wire()


def format_error(wire: bytes) -> bytes | None:
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return refusal(int.from_bytes(wire[:2]), dns.rcode.FORMERR)
