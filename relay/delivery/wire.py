"""The bytes of one SMTP connection: commands out, whole replies in. Every wait ends, and what a server says is bounded.

A protocol of its own instead of asyncio's streams: a pipelined transaction is two writes and two waits, with one timer
for the connection's whole life.
"""

import asyncio
import contextlib
import math
import re
import ssl
from dataclasses import dataclass
from typing import cast

MOST_LINES = 100
MOST_LINE_BYTES = 4096
MOST_UNREAD_BYTES = 262_144
# A bigger content goes out in blocks, each with a time-out of its own.
BLOCK_BYTES = 131_072

REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class TimeOuts:
    """Seconds, by RFC 5321 4.5.3.2 except for connecting, where nothing has been invested yet, and TLS."""

    connect: float = 15.0
    command: float = 300.0
    tls: float = 60.0
    data: float = 120.0
    block: float = 180.0
    final_dot: float = 600.0

    def after(self, stage: str) -> float:
        return {"data": self.data, "end_of_data": self.final_dot}.get(stage, self.command)


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer at a stage; `text` is its lines without codes, joined by newlines."""

    stage: str
    code: int
    text: str
    enhanced: str = ""


class Trouble(Exception):
    """The conversation broke. `tls`: over encryption. `may_have_it`: the final dot was sent and no answer came."""

    def __init__(self, stage: str, text: str, *, tls: bool = False, may_have_it: bool = False) -> None:
        super().__init__(text)
        self.stage = stage
        self.text = text
        self.tls = tls
        self.may_have_it = may_have_it


class Wire(asyncio.Protocol):
    """Used by one task at a time. `ended` tells why nothing more can be said or heard; what came before may be read."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.unread = bytearray()
        self.ended = ""
        self.paused = False
        self.waiter: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.deadline = math.inf

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclasses.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if len(self.unread) > MOST_UNREAD_BYTES:
            self._end("the server says too much")
            self.transport.abort()
        elif b"\n" in data or len(self.unread) > MOST_LINE_BYTES:
            self._wake()

    def eof_received(self) -> None:
        self._end("the server closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection broke: {words(error)}" if error else "the server closed the connection")
        if self.timer is not None:
            self.timer.cancel()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()

    # What a conversation needs.

    async def write(self, data: bytes | memoryview, stage: str, seconds: float) -> None:
        """Returns when most of it is on its way. Raises Trouble."""
        if self.ended:
            raise Trouble(stage, self.ended)
        self.transport.write(data)
        if self.paused:
            until = self.loop.time() + seconds
            while self.paused and not self.ended:
                await self._wait(until, stage)

    async def reply(self, stage: str, seconds: float) -> Reply:
        """The next reply, also of a server that has closed since. Raises Trouble, after which nothing can be read."""
        until = self.loop.time() + seconds
        while (reply := self.take(stage)) is None:
            if self.ended:
                raise Trouble(stage, self.ended)
            await self._wait(until, stage)
        return reply

    def take(self, stage: str) -> Reply | None:
        """A reply that is there already. Raises Trouble for what is none."""
        lines: list[str] = []
        start, code = 0, b""
        while (end := self.unread.find(b"\n", start)) >= 0:
            raw = self.unread[start:end].rstrip(b"\r")
            start = end + 1
            match = REPLY_LINE.fullmatch(raw)
            if len(raw) > MOST_LINE_BYTES or len(lines) == MOST_LINES:
                raise self._spoilt(stage, "the reply is too long")
            if match is None and lines:
                # A line break inside a long text, with no code before the rest: no reason to lose the reply.
                lines.append(raw.decode("utf-8", "replace"))
                continue
            if match is None:
                raise self._spoilt(stage, f"not an SMTP reply: {raw[:200].decode('utf-8', 'replace').strip()}")
            if lines and match[1] != code:
                # RFC 5321 4.2.1: the code is the same on every line.
                raise self._spoilt(stage, f"a reply with two codes: {code.decode()} and {match[1].decode()}")
            code = bytes(match[1])
            lines.append((match[3] or b"").decode("utf-8", "replace"))
            if match[2] != b"-":
                del self.unread[:start]
                return parsed(stage, int(code), lines)
        if len(self.unread) - start > MOST_LINE_BYTES:
            raise self._spoilt(stage, "the reply is too long")
        return None

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float) -> ssl.SSLObject:
        """Raises Trouble, with `tls` set."""
        if self.unread:
            # RFC 3207 6: what came in clear text before the handshake is not to be believed.
            raise Trouble("starttls", "the server sent data before the TLS handshake", tls=True)
        try:
            transport = await self.loop.start_tls(
                self.transport, self, context, server_hostname=host, ssl_handshake_timeout=seconds
            )
        except (OSError, EOFError, ValueError) as error:
            raise Trouble("starttls", f"the TLS handshake failed: {words(error)}", tls=True) from error
        if transport is None:
            raise Trouble("starttls", "the server closed the connection in the TLS handshake", tls=True)
        self.transport = transport
        session: ssl.SSLObject = transport.get_extra_info("ssl_object")
        return session

    @property
    def quiet(self) -> bool:
        """Open, and nothing has been said that nobody asked for (mostly 421)."""
        return not (self.ended or self.unread)

    def close(self) -> None:
        """What was written still goes out."""
        self._end("closed by us")
        self.transport.close()

    def abort(self) -> None:
        self._end("closed by us")
        self.transport.abort()

    # Waiting.

    async def _wait(self, until: float, stage: str) -> None:
        self.waiter = self.loop.create_future()
        self._watch(until)
        try:
            await self.waiter
        except TimeoutError as error:
            raise Trouble(stage, "no reply: timed out") from error
        finally:
            self.waiter = None

    def _watch(self, until: float) -> None:
        """One timer that is seldom moved: it looks whether the deadline of the day has passed."""
        self.deadline = until
        if self.timer is None or self.timer.when() > until:
            if self.timer is not None:
                self.timer.cancel()
            self.timer = self.loop.call_at(until, self._tick)

    def _tick(self) -> None:
        self.timer = None
        if self.waiter is None or self.waiter.done():
            return
        if self.loop.time() >= self.deadline - 0.001:
            self.waiter.set_exception(TimeoutError())
        else:
            self._watch(self.deadline)

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
        self._wake()

    def _spoilt(self, stage: str, why: str) -> Trouble:
        self.unread.clear()
        self.abort()
        return Trouble(stage, why)


def parsed(stage: str, code: int, lines: list[str]) -> Reply:
    found = ENHANCED.match(lines[0])
    if found is None or found[1][0] != str(code)[0]:
        return Reply(stage, code, "\n".join(lines).strip())
    enhanced = found[1]
    text = "\n".join(line[len(enhanced) :].lstrip() if line.startswith(enhanced) else line for line in lines)
    return Reply(stage, code, text.strip(), enhanced)


def words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    with contextlib.suppress(AttributeError):
        if reason := error.reason:  # type: ignore[attr-defined]
            return str(reason).replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
