"""A client's commands taken one by one, until it leaves, is too slow, makes too many errors, or we stop."""

import logging
from collections.abc import Awaitable, Callable
from typing import ClassVar

from relay.submission.logins import Login
from relay.submission.server import Kind, Server
from relay.submission.transaction import Transaction
from relay.submission.wire import Gone, LineTooLong, Stopping, TimedOut, Wire

log = logging.getLogger(__name__)

MAX_COMMAND = 2_048  # all but AUTH; RFC 5321 4.5.3.1.4 asks for 512, extensions and long addresses for some more


class Conversation:
    """`hello`: what the client calls itself; `login`: as whom it logged in."""

    commands: ClassVar[dict[str, Callable[..., Awaitable[None]]]] = {}

    def __init__(self, server: Server, kind: Kind, wire: Wire) -> None:
        self.server = server
        self.kind = kind
        self.wire = wire
        self.hello = ""
        self.extended = False
        self.login: Login | None = None
        self.transaction: Transaction | None = None
        self.errors = 0
        self.over = False

    @property
    def is_known(self) -> bool:
        return self.login is not None or self.kind is Kind.PLAIN

    @classmethod
    async def serve(cls, server: Server, kind: Kind, wire: Wire) -> None:
        if not server.admit(wire):
            wire.say("421 4.7.0 Too many connections from your address")
            return
        conversation = cls(server, kind, wire)
        try:
            await conversation.run()
        finally:
            conversation.end_transaction()
            server.release(wire, conversation.login)

    async def run(self) -> None:
        self.wire.say(f"220 {self.server.hostname} ESMTP ready")
        try:
            while not self.over:
                await self.step()
        except Gone:
            pass
        except TimedOut:
            self.wire.say("421 4.4.2 You took too long")
        except Stopping:
            self.wire.say("421 4.3.2 This server is being restarted, try again in a moment")
        except Exception:
            log.exception("a session failed")
            self.wire.say("421 4.3.0 Internal error")

    async def step(self) -> None:
        try:
            line = await self.wire.line(self.server.patience(known=self.is_known))
            verb, _, argument = text_of(line).partition(" ")
        except (LineTooLong, UnicodeDecodeError):
            self.fail("500 5.5.2 Line not understood")
            return
        command = self.commands.get(verb.upper())
        if command is None:
            self.fail("500 5.5.2 Command not understood")
        else:
            await command(self, argument.strip())

    def fail(self, reply: str) -> None:
        """A reply to a client that does not keep to the protocol; such clients are sent away in the end."""
        self.wire.say(reply)
        self.errors += 1
        if self.errors >= self.server.max_errors:
            self.close("421 4.7.0 Too many errors")

    def close(self, reply: str) -> None:
        self.wire.say(reply)
        self.over = True

    def end_transaction(self) -> None:
        """RSET, a new EHLO, QUIT or a lost connection: what was refused so far is still recorded."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None and transaction.refused:
            transaction.recipients.clear()
            self.server.refusals.record_soon(transaction.arrival())


def text_of(line: bytes) -> str:
    if b"\r" in line or b"\0" in line or (len(line) > MAX_COMMAND and line[:5].upper() != b"AUTH "):
        raise LineTooLong
    return line.decode()
