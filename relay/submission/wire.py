"""One connection's bytes: lines and chunks in, replies out; knows time-outs and TLS, but no command.

Replies are gathered and leave together when the client has to be waited for, so that a pipelining client gets one
packet for its packet (RFC 2920 3.2).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from math import inf
from typing import cast

from relay.limits import plain_address

MAX_LINE = 12_288  # RFC 4954 4: an AUTH line may have 12,288 octets; no other command comes near it
MAX_REPLY = 510  # RFC 5321 4.5.3.1.5: 512 octets with the line end
MAX_WASTE = 1_000_000  # of a line that never ends
MAX_WAITING = 65_536  # read ahead of a slow answer
MAX_UNSENT = 500  # replies that are gathered; a client may send as many commands as it likes and read none of them
HANDSHAKE_SECONDS = 30
LINGER_SECONDS = 30
# For the end of TLS: meanwhile whatever a client still sends is read and thrown away.
GOODBYE_SECONDS = 2


class Gone(Exception):
    """The client went away."""


class TimedOut(Exception):
    """The client said nothing, or too little, for too long."""


class Stopping(Exception):
    """This program is being stopped: no new command is taken."""


class LineTooLong(Exception):
    """A line over the limit was read to its end and thrown away."""


class Wire(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, serve: Callable[["Wire"], Awaitable[None]], peer: str = "") -> None:
        self.serve = serve
        self.peer = peer
        self.buffer = bytearray()
        self.out: list[bytes] = []
        self.deadline = inf
        self.late = self.stopping = self.ended = self.choked = self.paused = self.secure = False
        self.waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = plain_address(self.peer or (transport.get_extra_info("peername") or ("",))[0])
        if not self.peer:  # gone before we could ask who it was
            self.transport.abort()
            return
        self.secure = transport.get_extra_info("ssl_object") is not None
        self.task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.serve(self)
        finally:
            self.flush()
            self.transport.close()
            if self.transport.get_write_buffer_size():
                # What a client never reads must not keep its connection for ever.
                self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > MAX_WAITING and not self.paused:
            self.transport.pause_reading()
            self.paused = True
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        # A client that only closed its sending side still wants our replies; TLS cannot be half closed.
        return not self.secure

    def connection_lost(self, _exc: Exception | None) -> None:
        self.ended = True
        self.choked = False
        self._wake()

    def pause_writing(self) -> None:
        self.choked = True

    def resume_writing(self) -> None:
        self.choked = False
        self._wake()

    def expire(self, now: float) -> None:
        """Called every second or so by the server: ends a wait whose time is over."""
        if now > self.deadline:
            self.late = True
            self._wake()

    def stop(self) -> None:
        """End the session before its next command; a message on its way in may still come to its end."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def _wait(self) -> None:
        """Until something happened: bytes, the end, room for replies, or the deadline."""
        if self.late:
            raise TimedOut
        self.waiter = self.loop.create_future()
        await self.waiter
        self.waiter = None

    async def _more(self, *, stoppable: bool = False) -> None:
        """Send what we have to say, then wait for more bytes (or a stop); raises Gone or TimedOut."""
        await self._drain()
        before = len(self.buffer)
        if self.ended:
            raise Gone
        if self.paused:
            self.transport.resume_reading()
            self.paused = False
        while len(self.buffer) == before and not (stoppable and self.stopping):
            if self.ended:
                raise Gone
            await self._wait()

    async def _drain(self) -> None:
        """A client that does not read its replies is not listened to: it would fill our memory."""
        self.flush()
        while self.choked:
            await self._wait()

    async def line(self, seconds: float) -> bytes:
        """The next line without its line end, all of which must come within `seconds`."""
        self.deadline = self.loop.time() + seconds
        wasted = looked = 0
        if len(self.out) >= MAX_UNSENT:
            await self._drain()
        while not self.stopping and (end := self.buffer.find(b"\n", looked)) < 0:
            looked = len(self.buffer)
            if looked > MAX_LINE:
                wasted += looked
                if wasted > MAX_WASTE:
                    raise TimedOut
                self.buffer.clear()
                looked = 0
            await self._more(stoppable=True)
        self.deadline = inf
        if self.stopping:
            raise Stopping
        line = bytes(self.buffer[:end]).removesuffix(b"\r")
        del self.buffer[: end + 1]
        if wasted or end > MAX_LINE:
            raise LineTooLong
        return line

    async def chunk(self, deadline: float) -> bytes:
        """What has come in, at least one byte, before `deadline` (loop time)."""
        self.deadline = deadline
        while not self.buffer:
            await self._more()
        self.deadline = inf
        taken = bytes(self.buffer)
        self.buffer.clear()
        return taken

    def give_back(self, data: bytes) -> None:
        """Bytes of a chunk that belong to the next command."""
        self.buffer[:0] = data

    def say(self, reply: str) -> None:
        self.out.append(reply.encode("ascii", "backslashreplace")[:MAX_REPLY] + b"\r\n")

    def flush(self) -> None:
        if self.out and not self.transport.is_closing():
            self.transport.write(b"".join(self.out))
        self.out.clear()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Raises OSError or Gone when the handshake fails."""
        # RFC 3207 4.2, and CVE-2011-0411: what was sent in the clear behind STARTTLS may be an attacker's.
        self.buffer.clear()
        self.transport.pause_reading()
        self.flush()
        secure = await self.loop.start_tls(
            self.transport,
            self,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )
        if secure is None:
            raise Gone
        self.transport = secure
        self.secure, self.paused = True, False
        self.buffer.clear()
