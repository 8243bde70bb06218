"""One SMTP connection to a recipient's server: greeting, STARTTLS, and one transaction after the other.

Commands are pipelined where the server offers it (RFC 2920). Everything the server says is bounded, and every wait has
the time-out of RFC 5321 4.5.3.2. What a reply means is not decided here.
"""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass

from relay.delivery.contents import Prepared
from relay.delivery.route import Server

CONNECT_SECONDS = 15.0
COMMAND_SECONDS = 300.0
DATA_SECONDS = 120.0
BLOCK_SECONDS = 180.0
FINAL_DOT_SECONDS = 600.0

MOST_LINES = 100
MOST_LINE_BYTES = 4096
CHUNK_BYTES = 65_536

REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer at a stage; `text` is its lines without codes, joined by newlines."""

    stage: str
    code: int
    text: str
    enhanced: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.code < 400


class Trouble(Exception):
    """The conversation broke. `may_have_it`: the final dot was sent and no answer came."""

    def __init__(self, stage: str, text: str, *, tls: bool = False, may_have_it: bool = False) -> None:
        super().__init__(text)
        self.stage = stage
        self.text = text
        self.tls = tls
        self.may_have_it = may_have_it


def parse_reply(stage: str, lines: list[tuple[int, str]]) -> Reply:
    code = lines[-1][0]
    texts = [text for _, text in lines]
    found = ENHANCED.match(texts[0])
    enhanced = found[1] if found and found[1][0] == str(code)[0] else ""
    if enhanced:
        texts = [text[len(enhanced) :].lstrip() if text.startswith(enhanced) else text for text in texts]
    return Reply(stage, code, "\n".join(texts).strip(), enhanced)


class Connection:
    """Open with `connect`, then any number of `send`, then `quit`. Not for use by two tasks at once."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.extensions: dict[str, str] = {}
        self.tls = ""
        self.sent = 0
        self.open = True
        self.must_reset = False

    @classmethod
    async def connect(
        cls, server: Server, helo: str, tls: ssl.SSLContext | None, source: str | None = None
    ) -> "Connection":
        """Greeting and EHLO, with STARTTLS where it is offered. Raises Trouble, or Refused for a 4xx or 5xx."""
        local = (source, 0) if source else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    server.ip, server.port, limit=MOST_LINE_BYTES, local_addr=local
                )
        except (OSError, TimeoutError) as error:
            raise Trouble("connect", f"cannot connect: {_words(error)}") from error
        connection = cls(server, reader, writer)
        try:
            await connection._greet(helo, tls)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, helo: str, tls: ssl.SSLContext | None) -> None:
        greeting = await self._reply("connect", COMMAND_SECONDS)
        if greeting.code != 220:
            raise Refused(greeting)
        await self._hello(helo)
        if tls is not None and "STARTTLS" in self.extensions:
            await self._start_tls(tls)
            await self._hello(helo)

    async def _hello(self, helo: str) -> None:
        reply = await self._command("ehlo", f"EHLO {helo}")
        if reply.code != 250:
            # RFC 5321 3.2: a server that knows no EHLO is spoken to in the old way.
            reply = await self._command("ehlo", f"HELO {helo}")
            if reply.code != 250:
                raise Refused(reply)
            self.extensions = {}
            return
        words = [line.partition(" ") for line in reply.text.split("\n")[1:]]
        self.extensions = {keyword.upper(): parameters for keyword, _, parameters in words}

    async def _start_tls(self, tls: ssl.SSLContext) -> None:
        reply = await self._command("starttls", "STARTTLS")
        if reply.code != 220:
            return
        if self.reader._buffer:  # type: ignore[attr-defined]
            # RFC 3207 6: what came in clear text before the handshake is not to be believed.
            raise Trouble("starttls", "the server sent data before the TLS handshake", tls=True)
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self.writer.start_tls(tls, server_hostname=self.server.host)
        except (OSError, TimeoutError, EOFError) as error:
            raise Trouble("starttls", f"TLS handshake failed: {_words(error)}", tls=True) from error
        session = self.writer.get_extra_info("ssl_object")
        self.tls = f"{session.version()} {session.cipher()[0]}" if session else "TLS"

    async def send(self, sender: str, recipient: str, prepared: Prepared, *, smtputf8: bool) -> Reply:
        """One transaction with one recipient; the reply that decided it. Raises Trouble."""
        self.sent += 1
        size = f" SIZE={len(prepared.wire)}" if "SIZE" in self.extensions else ""
        body = " BODY=8BITMIME" if prepared.eightbit and "8BITMIME" in self.extensions else ""
        utf8 = " SMTPUTF8" if smtputf8 else ""
        commands = [
            ("mail", f"MAIL FROM:<{sender}>{size}{body}{utf8}"),
            ("rcpt", f"RCPT TO:<{recipient}>"),
            ("data", "DATA"),
        ]
        if self.must_reset:
            commands.insert(0, ("rset", "RSET"))
        self.must_reset = True
        replies = await (self._pipelined(commands) if "PIPELINING" in self.extensions else self._one_by_one(commands))
        decisive = next((reply for reply in replies if not reply.good and reply.stage != "rset"), replies[-1])
        if replies[-1].stage == "data" and replies[-1].code == 354:
            if decisive is not replies[-1]:
                # RFC 2920 3.1: all recipients were refused, yet the server waits for content. It gets none.
                await self._write(b".\r\n", "data")
                await self._reply("end_of_data", FINAL_DOT_SECONDS)
                return decisive
            decisive = await self._content(prepared.wire)
            self.must_reset = False
        elif decisive.good:
            self.abort()
            raise Trouble("data", f"the server answered DATA with {decisive.code} instead of 354")
        if decisive.code == 421:
            self.abort()
        return decisive

    async def _pipelined(self, commands: list[tuple[str, str]]) -> list[Reply]:
        await self._write("".join(f"{line}\r\n" for _, line in commands).encode(), "mail")
        return [await self._reply(stage, DATA_SECONDS if stage == "data" else COMMAND_SECONDS) for stage, _ in commands]

    async def _one_by_one(self, commands: list[tuple[str, str]]) -> list[Reply]:
        replies: list[Reply] = []
        for stage, line in commands:
            replies.append(await self._command(stage, line))
            if not replies[-1].good and stage != "rset":
                break
        return replies

    async def _content(self, wire: bytes) -> Reply:
        if len(wire) <= CHUNK_BYTES:
            await self._write(wire + b".\r\n", "content")
        else:
            view = memoryview(wire)
            for start in range(0, len(wire), CHUNK_BYTES):
                await self._write(view[start : start + CHUNK_BYTES], "content")
            await self._write(b".\r\n", "content")
        try:
            return await self._reply("end_of_data", FINAL_DOT_SECONDS)
        except Trouble as trouble:
            trouble.may_have_it = True
            raise

    async def quit(self) -> None:
        """Polite and short: the outcome of every transaction is known already."""
        if self.open:
            with contextlib.suppress(Trouble):
                await self._write(b"QUIT\r\n", "quit")
        self.abort()

    def abort(self) -> None:
        self.open = False
        self.writer.close()

    @property
    def broken(self) -> bool:
        """The server has closed, or has something to say that nobody asked for (mostly 421)."""
        return not self.open or self.reader.at_eof() or self.writer.is_closing() or bool(self.reader._buffer)  # type: ignore[attr-defined]

    async def _command(self, stage: str, line: str) -> Reply:
        await self._write(f"{line}\r\n".encode(), stage)
        return await self._reply(stage, DATA_SECONDS if stage == "data" else COMMAND_SECONDS)

    async def _write(self, data: bytes | memoryview, stage: str) -> None:
        try:
            self.writer.write(data)
            async with asyncio.timeout(BLOCK_SECONDS):
                await self.writer.drain()
        except (OSError, TimeoutError, RuntimeError) as error:
            self.abort()
            raise Trouble(stage, f"the connection broke: {_words(error)}") from error

    async def _reply(self, stage: str, seconds: float) -> Reply:
        lines: list[tuple[int, str]] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    code, more, text = await self._line(stage)
                    lines.append((code, text))
                    if not more:
                        return parse_reply(stage, lines)
                    if len(lines) > MOST_LINES:
                        raise Trouble(stage, "the reply has too many lines")
        except (OSError, TimeoutError, ValueError) as error:
            self.abort()
            raise Trouble(stage, f"no reply: {_words(error)}") from error
        except Trouble:
            self.abort()
            raise

    async def _line(self, stage: str) -> tuple[int, bool, str]:
        # readline raises ValueError for a line over the reader's limit.
        raw = await self.reader.readline()
        if not raw.endswith(b"\n"):
            raise Trouble(stage, "the server closed the connection")
        match = REPLY_LINE.fullmatch(raw.rstrip(b"\r\n"))
        if match is None:
            raise Trouble(stage, f"not an SMTP reply: {raw[:200].decode('utf-8', 'replace').strip()}")
        return int(match[1]), match[2] == b"-", (match[3] or b"").decode("utf-8", "replace")


class Refused(Exception):
    """The server refused us before any transaction."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def _words(error: BaseException) -> str:
    return (
        "timed out"
        if isinstance(error, TimeoutError)
        else (getattr(error, "strerror", None) or str(error) or type(error).__name__)
    )
