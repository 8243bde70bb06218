"""One SMTP connection to a recipient's server: greeting, STARTTLS, and one transaction after the other.

Commands are pipelined where the server offers it (RFC 2920). What a reply means is not decided here.
"""

import asyncio
import contextlib

from relay import metrics
from relay.delivery.contents import Prepared
from relay.delivery.route import Server
from relay.delivery.tls import Encryption
from relay.delivery.wire import BLOCK_BYTES, Reply, TimeOuts, Trouble, Wire, words

TIME_OUTS = TimeOuts()


class Refused(Exception):
    """The server refused us before any transaction, by a 4xx or 5xx reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Connection:
    """Open with `connect`, then any number of `send`, then `quit`. Not for use by two tasks at once.

    `tls` tells how the connection is encrypted, or why not; `verified` that the certificate is valid for the server's
    name; `note` what else every email over this connection should say.
    """

    def __init__(self, server: Server, wire: Wire, time_outs: TimeOuts = TIME_OUTS) -> None:
        self.server = server
        self.wire = wire
        self.time_outs = time_outs
        self.extensions: dict[str, str] = {}
        self.tls = ""
        self.verified = False
        self.note = ""
        self.sent = 0
        self.must_reset = False

    @classmethod
    async def connect(
        cls,
        server: Server,
        helo: str,
        encryption: Encryption | None = None,
        *,
        required: bool = False,
        source: str | None = None,
        time_outs: TimeOuts = TIME_OUTS,
    ) -> "Connection":
        """Greeting and EHLO, with STARTTLS where it is offered, or `required` with a valid certificate.

        Raises Trouble, or Refused.
        """
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        try:
            async with asyncio.timeout(time_outs.connect):
                _, wire = await loop.create_connection(Wire, server.ip, server.port, local_addr=local)
        except (OSError, TimeoutError) as error:
            raise Trouble("connect", f"cannot connect: {words(error)}") from error
        connection = cls(server, wire, time_outs)
        try:
            await connection._greet(helo, encryption, required)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, helo: str, encryption: Encryption | None, required: bool) -> None:
        _expect(220, await self.wire.reply("connect", self.time_outs.command))
        await self._hello(helo)
        # A middlebox may have hidden the offer, so where TLS is required it is asked for anyway.
        if encryption is None or not (required or "STARTTLS" in self.extensions):
            return
        if await self._start_tls(encryption, required):
            await self._hello(helo)

    async def _hello(self, helo: str) -> None:
        reply = await self._command("ehlo", f"EHLO {helo}")
        if reply.code >= 500:
            # RFC 5321 3.2: a server that knows no EHLO is spoken to in the old way.
            _expect(250, await self._command("ehlo", f"HELO {helo}"))
            self.extensions = {}
            return
        _expect(250, reply)
        keywords = [line.partition(" ") for line in reply.text.split("\n")[1:]]
        self.extensions = {keyword.upper(): parameters for keyword, _, parameters in keywords}

    async def _start_tls(self, encryption: Encryption, required: bool) -> bool:
        try:
            reply = await self._command("starttls", "STARTTLS")
        except Trouble as trouble:
            trouble.tls = True
            raise
        if reply.code != 220:
            if required or reply.code == 421:
                raise Trouble("starttls", f"the server refused STARTTLS: {reply.code} {reply.text}", tls=True)
            self.tls = f"no TLS: the server refused STARTTLS ({reply.code})"
            return False
        with metrics.TLS_SECONDS.time():
            session = await self.wire.start_tls(encryption.context(required), self.server.host, self.time_outs.tls)
        self.tls, self.verified = encryption.describe(session, self.server.host)
        return True

    async def send(self, sender: str, recipient: str, prepared: Prepared, *, smtputf8: bool) -> Reply:
        """One transaction with one recipient; the reply that decided it. Raises Trouble."""
        self.sent += 1
        commands = self._commands(sender, recipient, prepared, smtputf8)
        self.must_reset = True
        try:
            replies = await (self._pipelined if "PIPELINING" in self.extensions else self._one_by_one)(commands)
            refusal = next((reply for reply in replies if reply.code >= 400), None)
            _check(replies)
            if replies[-1].code == 354:
                reply = await (self._content(prepared.wire) if refusal is None else self._nothing(refusal))
            else:
                reply = refusal or replies[-1]
        except Trouble:
            self.abort()
            raise
        if reply.code == 421:
            self.abort()
        return reply

    def _commands(self, sender: str, recipient: str, prepared: Prepared, smtputf8: bool) -> list[tuple[str, str]]:
        extensions = self.extensions
        size = f" SIZE={len(prepared.wire)}" if "SIZE" in extensions else ""
        # RFC 6152 3; without the offer 8-bit bodies go as they are: to re-encode them would break the signature.
        body = " BODY=8BITMIME" if prepared.eightbit and "8BITMIME" in extensions else ""
        utf8 = " SMTPUTF8" if smtputf8 and "SMTPUTF8" in extensions else ""
        commands = [
            ("mail", f"MAIL FROM:<{sender}>{size}{body}{utf8}\r\n"),
            ("rcpt", f"RCPT TO:<{recipient}>\r\n"),
            ("data", "DATA\r\n"),
        ]
        return [("rset", "RSET\r\n"), *commands] if self.must_reset else commands

    async def _pipelined(self, commands: list[tuple[str, str]]) -> list[Reply]:
        await self.wire.write("".join([line for _, line in commands]).encode(), "mail", self.time_outs.block)
        replies: list[Reply] = []
        try:
            for stage, _ in commands:
                replies.append(await self.wire.reply(stage, self.time_outs.after(stage)))
        except Trouble:
            # A server that has refused may hang up; what it said counts.
            if not any(reply.code >= 400 for reply in replies):
                raise
            self.abort()
        return replies

    async def _one_by_one(self, commands: list[tuple[str, str]]) -> list[Reply]:
        replies: list[Reply] = []
        for stage, line in commands:
            await self.wire.write(line.encode(), stage, self.time_outs.block)
            replies.append(await self.wire.reply(stage, self.time_outs.after(stage)))
            if replies[-1].code >= 300:
                break
        return replies

    async def _content(self, content: bytes) -> Reply:
        whole = False
        try:
            if len(content) > BLOCK_BYTES:
                view = memoryview(content)
                for start in range(0, len(content), BLOCK_BYTES):
                    await self.wire.write(view[start : start + BLOCK_BYTES], "content", self.time_outs.block)
                content = b""
            whole = True
            await self.wire.write(content + b".\r\n", "content", self.time_outs.block)
            reply = await self.wire.reply("end_of_data", self.time_outs.final_dot)
            _check([reply])
        except Trouble as trouble:
            # A server that takes no more of it may say why and hang up at once.
            if not whole and (said := self.wire.take("end_of_data")) is not None and said.code >= 400:
                self.abort()
                return said
            trouble.may_have_it = whole
            raise
        except asyncio.CancelledError:
            # This process ends. What a server may have is not sent again as if nothing had been.
            if not whole:
                raise
            raise Trouble("end_of_data", "the relay stopped before an answer came", may_have_it=True) from None
        self.must_reset = False
        return reply

    async def _nothing(self, refusal: Reply) -> Reply:
        """RFC 2920 3.1: the recipient was refused, yet the server waits for content. It gets none."""
        with contextlib.suppress(Trouble):
            await self.wire.write(b".\r\n", "data", self.time_outs.block)
            await self.wire.reply("end_of_data", self.time_outs.final_dot)
        return refusal

    async def quit(self) -> None:
        """Polite and short: the outcome of every transaction is known already."""
        with contextlib.suppress(Trouble):
            await self.wire.write(b"QUIT\r\n", "quit", self.time_outs.block)
        self.wire.close()

    def abort(self) -> None:
        self.wire.abort()

    @property
    def broken(self) -> bool:
        """The server has closed, or has something to say that nobody asked for (mostly 421)."""
        return not self.wire.quiet

    async def _command(self, stage: str, line: str) -> Reply:
        await self.wire.write(f"{line}\r\n".encode(), stage, self.time_outs.block)
        return await self.wire.reply(stage, self.time_outs.after(stage))


def _expect(code: int, reply: Reply) -> None:
    if reply.code >= 400:
        raise Refused(reply)
    if reply.code != code:
        raise Trouble(reply.stage, f"the server said {reply.code} where {code} was due")


def _check(replies: list[Reply]) -> None:
    """Raises Trouble for a reply that its command cannot have: whoever sends it has lost the thread."""
    for reply in replies:
        if reply.stage == "rset" and reply.code >= 300:
            raise Trouble("rset", f"the server refused RSET: {reply.code} {reply.text}")
        if reply.code < 400 and reply.code // 100 != 2 + (reply.stage == "data"):
            raise Trouble(reply.stage, f"the server said {reply.code} where {_due(reply.stage)} was due")


def _due(stage: str) -> str:
    return "354" if stage == "data" else "250"
