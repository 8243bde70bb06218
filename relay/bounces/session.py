"""One SMTP session of the return-path server: aiosmtpd's, with a DATA reader that is bounded in memory, and no AUTH."""

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP, syntax

from relay.limits import place_of, plain_address

if TYPE_CHECKING:
    from relay.bounces.server import Desk

MAX_LINE = 65_536
MAX_DRAINED = 100_000_000
END = b"\r\n.\r\n"
SECONDS = 300.0
# The replies to MAIL and RCPT.
EARLY = (b"250 2.1.0 ", b"250 2.1.5 ")
# RFC 5321 4.1.2; the source route before it is obsolete and ignored (appendix C).
PATH = re.compile(r'\s*<(?:@[^<>:\s]{1,1000}:)?((?:"[^"]{0,256}"|[^<>"\s])*)>(.*)', re.DOTALL)


class Session(SMTP):
    """`desk` decides about connections, recipients and reports."""

    line_length_limit = MAX_LINE
    local_part_limit = 64

    def __init__(self, desk: "Desk", hostname: str, size: int, tls: ssl.SSLContext | None) -> None:
        # aiosmtpd shares this among all sessions and lets it grow with every EHLO.
        self.command_size_limits = defaultdict(lambda: 1024)
        self.desk = desk
        self.admitted = False
        self.limit = size
        self.held = 0
        self.unsent = bytearray()
        super().__init__(
            desk,
            hostname=hostname,
            ident="ESMTP",
            data_size_limit=size,
            enable_SMTPUTF8=True,
            tls_context=tls,
            timeout=SECONDS,
            loop=asyncio.get_running_loop(),
        )

    @property
    def peer(self) -> str:
        """The client's address or its network, by which it is bounded; "" when there is no telling."""
        return peer_at(self.session.peer) if self.session else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._original_transport is None:
            self.admitted = self.desk.limits.connect(peer_at(transport.get_extra_info("peername")))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.admitted:
            self.admitted = False
            self.desk.limits.open.give_back(self.peer)
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        if self.admitted:
            await super()._handle_client()
        else:
            await self.push("421 4.7.0 Too many connections")
            self._writer.close()

    async def push(self, status: str | bytes) -> None:
        """To a client that pipelines, the replies to MAIL and RCPT leave with the next one (RFC 2920 3.2)."""
        reply = status if isinstance(status, bytes) else status.encode("utf-8", "backslashreplace")
        self.unsent += reply + b"\r\n"
        if reply.startswith(EARLY) and b"\n" in getattr(self._reader, "_buffer", b""):
            return
        assert self._writer is not None
        self._writer.write(bytes(self.unsent))
        self.unsent.clear()
        await self._writer.drain()

    @syntax("AUTH")
    async def smtp_AUTH(self, _arg: str) -> None:
        await self.push("502 5.5.1 Nobody logs in here")

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """The address in angle brackets and what follows; the null sender as "<>". Some write the oddest addresses."""
        found = PATH.match(arg)
        return (found[1] or "<>", found[2]) if found else (None, None)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:
        """Like aiosmtpd's but in blocks: its own keeps each line as an object, and a client could make it gigabytes."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None
        if arg or not self.envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        content = bytearray(b"\r\n")
        try:
            reply = await self._read(content) or await self.desk.take(self.peer, self.envelope, unstuffed(content))
        finally:
            self.desk.limits.room.reserve(-self.held)
            self.held = 0
        self.envelope = self._create_envelope()
        await self.push(reply)

    async def _read(self, content: bytearray) -> str:
        """Read up to the final dot; the reply that refuses what was read, or "" when it is fine."""
        refusal, drained = "", 0
        while not content.endswith(END):
            block = await self._block()
            content += block
            refusal = refusal or self._refusal(len(content), len(block))
            if refusal:
                # RFC 5321 4.2.5: the reply can only be given after the final dot.
                drained += len(block)
                del content[: -len(END)]
            if drained > MAX_DRAINED:
                self._writer.transport.abort()
        return refusal

    def _refusal(self, size: int, more: int) -> str:
        # The line end of the DATA command stands before it, and the dot and its line end behind it.
        if size > self.limit + len(END):
            return f"552 5.3.4 Reports may have {self.limit} bytes"
        if not self.desk.limits.room.reserve(more):
            return "452 4.3.1 No room at the moment, try later"
        self.held += more
        return ""

    async def _block(self) -> bytes:
        """Bytes up to and with the next dot that ends a line, or as many as fit into the buffer."""
        try:
            return bytes(await self._reader.readuntil(b".\r\n"))
        except asyncio.LimitOverrunError as overrun:
            return bytes(await self._reader.read(overrun.consumed))


def peer_at(name: Sequence[object] | None) -> str:
    """`name` is the socket's; None when the client was gone before we could ask who it was."""
    address = plain_address(str(name[0])) if name else ""
    return place_of(address) if address else ""


def unstuffed(content: bytearray) -> bytes:
    """The message between the DATA command's line end and the final dot (RFC 5321 4.5.2)."""
    return bytes(content[: -len(END) + 2]).replace(b"\r\n.", b"\r\n")[2:]
