"""The mechanics of one SMTP connection: cuts input into commands and contents, gives answers with their faults."""

import asyncio
import ssl
import time
from collections.abc import Callable
from math import inf
from typing import Protocol, cast

from relay.simulator.script import Envelope, Fault, Stage, wire

MAX_LINE = 4096
MAX_WAITING = 65_536  # bytes read ahead of a slow answer
END_OF_DATA = b"\r\n.\r\n"  # RFC 5321 4.1.1.4: nothing else ends the data


class Site(Protocol):
    """What a connection needs of its server."""

    hostname: str
    max_message: int
    ssl_context: ssl.SSLContext | None
    connections: "set[Connection]"

    def number(self) -> int: ...
    def decide(self, stage: Stage, envelope: Envelope) -> Fault: ...
    def accepted(self, envelope: Envelope) -> None: ...


class Connection(asyncio.Protocol):
    transport: asyncio.Transport
    envelope: Envelope

    def __init__(self, site: Site) -> None:
        self.site = site
        self.buffer = bytearray()
        self.out: list[bytes] = []
        self.in_data = self.oversize = False
        self.scanned = 0
        self.busy = self.choked = False
        self.reading = True
        self.timer: asyncio.TimerHandle | None = None
        self.handshake: asyncio.Task[None] | None = None

    def command(self, line: bytes) -> None:
        """Answers one command line, without its line end."""
        raise NotImplementedError

    def content(self, content: bytes | None) -> None:
        """Answers the final dot. `content` is free of added dots; None if it was too big to keep."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by type
        peer = transport.get_extra_info("peername") or ("", 0)
        self.envelope = Envelope(self.site.number(), (str(peer[0]), int(peer[1])))
        self.last_heard = time.monotonic()
        self.site.connections.add(self)
        self.answer(Stage.CONNECT, f"220 {self.site.hostname} ESMTP Simulator")
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.last_heard = time.monotonic()
        self.buffer += data
        self._advance()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.site.connections.discard(self)
        self.busy = True
        self.buffer.clear()
        if self.timer is not None:
            self.timer.cancel()

    def pause_writing(self) -> None:
        self.choked = True
        self._regulate()

    def resume_writing(self) -> None:
        self.choked = False
        self._regulate()

    def _regulate(self) -> None:
        """Neither a client that never reads replies nor one that talks into a slow answer may fill our memory."""
        wanted = not self.choked and not (self.busy and len(self.buffer) > MAX_WAITING)
        if wanted == self.reading or self.handshake is not None or self.transport.is_closing():
            return
        self.reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _advance(self) -> None:
        while not self.busy and (self._take_content() if self.in_data else self._take_command()):
            pass
        self._flush()
        self._regulate()

    def _take_command(self) -> bool:
        end = self.buffer.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(self.buffer) >= MAX_LINE:
                self._give(Fault("500 5.5.2 Line too long", drop=True), "", None)
            return False
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        self.command(line)
        return True

    def begin_content(self) -> None:
        # The line end of the DATA command may be the first half of CRLF.CRLF: so it is put back.
        self.buffer[:0] = b"\r\n"
        self.in_data, self.oversize, self.scanned = True, False, 0

    def _take_content(self) -> bool:
        end = self.buffer.find(END_OF_DATA, self.scanned)
        size = end if end >= 0 else len(self.buffer) - len(END_OF_DATA)
        self.oversize |= size > self.site.max_message
        if end < 0:
            if self.oversize:
                del self.buffer[:-4]
            self.scanned = max(0, len(self.buffer) - 4)
            return False
        # RFC 5321 4.5.2: a dot at the start of a line is the sender's addition.
        content = None if self.oversize else bytes(self.buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]
        del self.buffer[: end + len(END_OF_DATA)]
        self.in_data = False
        self.content(content)
        return True

    def say(self, reply: str) -> None:
        self.out.append(wire(reply))

    def answer(self, stage: Stage, usual: str, then: Callable[[], None] | None = None) -> None:
        """Give the site's answer to `stage`, else the usual one; `then` runs if it is positive."""
        fault = self.site.decide(stage, self.envelope)
        if not fault.delay:
            self._give(fault, usual, then)
            return
        self._flush()
        self.busy = True
        if fault.delay < inf:
            self.timer = asyncio.get_running_loop().call_later(fault.delay, self._resume, fault, usual, then)

    def _resume(self, fault: Fault, usual: str, then: Callable[[], None] | None) -> None:
        self.busy = False
        self._give(fault, usual, then)
        self._advance()

    def _give(self, fault: Fault, usual: str, then: Callable[[], None] | None) -> None:
        reply = usual if fault.reply is None else fault.reply
        raw = wire(reply) if isinstance(reply, str) else reply
        self.out.append(raw)
        taken = raw[:1] in (b"2", b"3") if fault.taken is None else fault.taken
        if taken and then is not None:
            then()
        # RFC 5321 3.8: who answers 421 closes.
        if fault.drop or raw[:3] == b"421":
            self.close()

    def _flush(self) -> None:
        if self.out and not self.transport.is_closing():
            self.transport.write(b"".join(self.out))
        self.out.clear()

    def close(self) -> None:
        self._flush()
        self.busy = True
        self.transport.close()

    def close_idle(self) -> None:
        """RFC 5321 4.5.3.2.7: a client that says nothing for minutes is sent away."""
        self.say(f"421 4.4.2 {self.site.hostname} Idle for too long")
        self.close()

    def begin_tls(self) -> None:
        # RFC 3207 5: what was sent in the clear behind STARTTLS may be an attacker's, and is forgotten.
        self.buffer.clear()
        self.busy = True
        self.transport.pause_reading()
        self._flush()
        self.handshake = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        assert self.site.ssl_context is not None
        loop = asyncio.get_running_loop()
        context = self.site.ssl_context
        try:
            secure = await loop.start_tls(self.transport, self, context, server_side=True, ssl_handshake_timeout=10)
        except OSError:  # ssl.SSLError, a lost connection and a time-out are kinds of it
            secure = None
        if secure is None:
            self.transport.abort()
            return
        self.transport = secure
        self.envelope = Envelope(self.envelope.connection, self.envelope.peer, tls=True)
        self.handshake, self.busy, self.reading = None, False, True
        self._advance()
