"""The commands of a session in the order in which a message goes: EHLO, STARTTLS, MAIL, RCPT, DATA, the commit."""

import logging

from activity.accept import Unavailable
from activity.arrival import Refusal
from activity.text import one_line
from domains.senders import Sender
from relay.submission import gate
from relay.submission.acceptance import accept
from relay.submission.addresses import InvalidAddress, Path, check, parse_path
from relay.submission.auth import auth
from relay.submission.conversation import Conversation
from relay.submission.data import Content, Problem
from relay.submission.server import Kind
from relay.submission.transaction import MAX_REFUSED, Transaction
from relay.submission.wire import Gone

log = logging.getLogger(__name__)

MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH"})
MAX_DRAINED = 5  # times the size limit: how much of an oversize message is read before the connection is cut
NOT_LOGGED_IN = "530 5.7.0 Authentication required"
NO_ROOM = "452 4.3.1 No room for this message at the moment, try again later"
NOT_NOW = "451 4.3.0 The server cannot take mail at the moment, try again later"


class Session(Conversation):
    async def ehlo(self, argument: str) -> None:
        if self.greet(argument):
            self.extended = True
            lines = [self.server.hostname, *self.extensions()]
            for line in lines[:-1]:
                self.wire.say(f"250-{line}")
            self.wire.say(f"250 {lines[-1]}")

    async def helo(self, argument: str) -> None:
        if self.greet(argument):
            self.extended = False
            self.wire.say(f"250 {self.server.hostname}")

    def greet(self, name: str) -> bool:
        if not name:
            self.fail("501 5.5.4 Say who you are: EHLO your.host.name")
            return False
        self.end_transaction()
        self.hello = one_line(name, 255)
        return True

    def extensions(self) -> list[str]:
        offered = ["PIPELINING", f"SIZE {self.server.max_bytes}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.kind is Kind.STARTTLS and not self.wire.secure:
            offered.append("STARTTLS")
        elif self.kind is not Kind.PLAIN:
            offered.append("AUTH PLAIN LOGIN")
        return offered

    async def starttls(self, argument: str) -> None:
        if self.kind is not Kind.STARTTLS or self.wire.secure:
            self.fail("503 5.5.1 STARTTLS is not possible here, or was done already")
        elif argument:
            self.fail("501 5.5.4 STARTTLS has no argument")
        else:
            self.wire.say("220 2.0.0 Ready to start TLS")
            try:
                await self.wire.start_tls(self.server.certificate.context)
            except OSError as error:
                log.info("TLS handshake with %s failed: %s", self.wire.peer, one_line(str(error), 100))
                raise Gone from None
            # RFC 3207 4.2: the client begins anew, whatever it said before.
            self.end_transaction()
            self.hello, self.extended = "", False

    async def mail(self, argument: str) -> None:
        path = path_of(argument, "FROM:")
        if not self.hello:
            self.fail("503 5.5.1 Say EHLO first")
        elif self.transaction is not None:
            self.fail("503 5.5.1 A transaction is under way")
        elif path is None:
            self.fail("501 5.5.4 Say MAIL FROM:<address>")
        elif reply := self.parameter_error(path.parameters):
            self.fail(reply)
        elif sender := await self.sender():
            self.begin_transaction(sender, path)

    def parameter_error(self, given: dict[str, str]) -> str:
        if given and not self.extended:
            return "555 5.5.4 Parameters need EHLO"
        if given.keys() - MAIL_PARAMETERS:
            return "555 5.5.4 Parameter not recognised"
        size = given.get("SIZE", "0")
        # RFC 1870 3: up to 20 digits. RFC 6152 2 and RFC 6531 3.4 for the others.
        if not (size.isascii() and size.isdigit() and len(size) <= 20):
            return "501 5.5.4 SIZE is a number"
        if given.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME") or given.get("SMTPUTF8"):
            return "501 5.5.4 BODY is 7BIT or 8BITMIME, and SMTPUTF8 has no value"
        return ""

    async def sender(self) -> Sender | None:
        """Who sends; None when that was answered here. Asked for each message, so that a revocation holds at once."""
        try:
            sender = await self.server.identify(self.kind, self.wire.peer, self.login)
        except Unavailable:
            self.wire.say(NOT_NOW)
            return None
        if sender is None:
            self.fail(NOT_LOGGED_IN)
        elif not self.server.may_send(sender):
            self.wire.say("450 4.7.0 Too many messages a minute, try again in a minute")
            return None
        else:
            self.server.login_log.use(sender.credential_id)
        return sender

    def begin_transaction(self, sender: Sender, path: Path) -> None:
        given = path.parameters
        self.transaction = transaction = Transaction(
            sender=sender,
            mail_from=path.address,
            smtputf8="SMTPUTF8" in given,
            client=f"{self.wire.peer} ({self.hello})",
            max_recipients=self.server.max_recipients if sender.max_recipients is None else sender.max_recipients,
            size=int(given.get("SIZE", 0)),
        )
        transaction.refusal = self.judge_sender(transaction)
        self.wire.say("250 2.1.0 Sender noted")

    def judge_sender(self, transaction: Transaction) -> Refusal | None:
        """Why each recipient will be refused: it waits for RCPT, so that each of them is a row."""
        sender, address = transaction.sender, transaction.mail_from
        if refusal := gate.suspended(sender):
            return refusal
        if transaction.size > self.server.max_bytes:
            return gate.too_large(self.server.max_bytes)
        if not address:
            return None
        try:
            transaction.mail_from = check(address, transaction.smtputf8)
        except InvalidAddress as error:
            return gate.invalid_sender(address, str(error))
        return gate.unauthenticated_domain(sender, transaction.mail_from.rpartition("@")[2], "sender")

    async def rcpt(self, argument: str) -> None:
        path = path_of(argument, "TO:")
        if self.transaction is None:
            self.fail("503 5.5.1 Say MAIL first")
        elif path is None or not path.address:
            self.fail("501 5.5.4 Say RCPT TO:<address>")
        elif path.parameters:
            self.fail("555 5.5.4 Parameter not recognised")
        elif len(self.transaction.refused) >= MAX_REFUSED:
            self.close("421 4.7.0 Too many refused recipients in one message")
        else:
            try:
                await self.take_recipient(self.transaction, path.address)
            except Unavailable:
                self.wire.say(NOT_NOW)

    async def take_recipient(self, transaction: Transaction, given: str) -> None:
        address, refusal = given, transaction.refusal
        if refusal is None:
            try:
                address = check(given, transaction.smtputf8)
            except InvalidAddress as error:
                refusal = gate.invalid_recipient(given, str(error))
        if address in transaction.recipients:
            self.wire.say("250 2.1.5 Recipient noted already")
            return
        if refusal is None and transaction.is_full:
            refusal = gate.too_many_recipients(transaction.max_recipients)
        if refusal is None:
            refusal = await self.server.suppression(transaction.sender, address)
        if refusal is None:
            transaction.refused.pop(address, None)
            transaction.recipients[address] = None
            self.wire.say("250 2.1.5 Recipient noted")
        else:
            transaction.refused[address] = refusal
            self.wire.say(refusal.reply)

    async def data(self, argument: str) -> None:
        transaction = self.transaction
        if transaction is None:
            self.fail("503 5.5.1 Say MAIL first")
        elif argument:
            self.fail("501 5.5.4 DATA has no argument")
        elif not transaction.recipients:
            self.wire.say("554 5.5.1 No valid recipients")
        elif not self.server.room.has(transaction.size):
            self.wire.say(NO_ROOM)
        else:
            self.wire.say("354 End with a dot on its own line")
            content = Content(self.server.max_bytes, self.server.spool, self.server.room.reserve)
            try:
                await self.read(content)
                self.wire.say(await self.judge(transaction, content))
            finally:
                content.close()
            self.end_transaction()

    async def read(self, content: Content) -> None:
        until = self.wire.loop.time() + self.server.data_seconds
        behind = None
        while behind is None:
            behind = content.feed(await self.wire.chunk(until))
            if behind is None and content.received > MAX_DRAINED * self.server.max_bytes:
                # It is refused before its end, and is a row; what would come could not be told from commands.
                content.problem = content.problem or Problem.TOO_LARGE
                self.over = True
                return
        self.wire.give_back(behind)

    async def judge(self, transaction: Transaction, content: Content) -> str:
        """The reply to the final dot: 250 only after the commit."""
        if content.problem is Problem.NO_ROOM:
            return NO_ROOM
        if content.problem is Problem.NO_DISK:
            return NOT_NOW
        try:
            sender = await self.server.identify(self.kind, self.wire.peer, self.login)
            if sender is None:
                return NOT_LOGGED_IN
            transaction.sender = sender
            return await accept(self.server, transaction, content, secure=self.wire.secure)
        except Unavailable:
            return NOT_NOW

    async def rset(self, argument: str) -> None:
        if argument:
            self.fail("501 5.5.4 RSET has no argument")
        else:
            self.end_transaction()
            self.wire.say("250 2.0.0 Forgotten")

    async def noop(self, _argument: str) -> None:
        self.wire.say("250 2.0.0 Nothing done")

    async def vrfy(self, _argument: str) -> None:
        # RFC 5321 3.5.3: a server that will not tell.
        self.wire.say("252 2.5.2 Send it and see")

    async def help(self, _argument: str) -> None:
        self.wire.say(f"214 2.0.0 See {gate.page('/set-up/')}")

    async def not_offered(self, _argument: str) -> None:
        self.fail("502 5.5.1 Command not offered")

    async def quit(self, argument: str) -> None:
        if argument:
            self.fail("501 5.5.4 QUIT has no argument")
        else:
            self.end_transaction()
            self.close("221 2.0.0 Bye")

    commands = {
        "EHLO": ehlo,
        "HELO": helo,
        "STARTTLS": starttls,
        "AUTH": auth,
        "MAIL": mail,
        "RCPT": rcpt,
        "DATA": data,
        "RSET": rset,
        "NOOP": noop,
        "VRFY": vrfy,
        "EXPN": not_offered,
        "HELP": help,
        "QUIT": quit,
    }


def path_of(argument: str, keyword: str) -> Path | None:
    return parse_path(argument[len(keyword) :]) if argument[: len(keyword)].upper() == keyword else None
