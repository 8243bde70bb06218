"""The SMTP commands of one connection (RFC 5321 4.1), each answered as the site decides."""

import re
from collections.abc import Callable

from relay.simulator.connection import Connection
from relay.simulator.script import Stage

MAX_RECIPIENTS = 1000
# RFC 5321 4.1.2: a path, its source route ignored (appendix C), and the parameters behind it.
PATH = re.compile(r'(?:FROM|TO):\s*<(?:@[^:>]*:)?((?:"(?:[^"\\]|\\.)*"|[^">])*)>\s*(.*)', re.IGNORECASE)


class Session(Connection):
    def command(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        verb, _, rest = text.partition(" ")
        handler = COMMANDS.get(verb.upper())
        if handler is None or not text.isprintable() or "\ufffd" in text:
            self.say("500 5.5.2 Command not understood")
        else:
            handler(self, rest.strip())

    def content(self, content: bytes | None) -> None:
        envelope = self.envelope
        if content is None:
            self.say("552 5.3.4 Message too big")
        else:
            envelope.content = content
            usual = "250 2.0.0 Taken" if envelope.recipients else "554 5.5.1 No valid recipients"
            self.answer(Stage.END_OF_DATA, usual, lambda: self.site.accepted(envelope))
        self.envelope = envelope.fresh()

    def ehlo(self, rest: str) -> None:
        extensions = ["PIPELINING", f"SIZE {self.site.max_message}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.site.ssl_context is not None and not self.envelope.tls:
            extensions.append("STARTTLS")
        self.greet(Stage.EHLO, rest, "\n".join([self.site.hostname, *extensions]))

    def helo(self, rest: str) -> None:
        self.greet(Stage.HELO, rest, self.site.hostname)

    def greet(self, stage: Stage, name: str, text: str) -> None:
        self.envelope = self.envelope.fresh()
        envelope = self.envelope
        usual = f"250 {text}" if name else "501 5.5.4 Say who you are"
        self.answer(stage, usual, lambda: setattr(envelope, "hello", name))

    def starttls(self, _rest: str) -> None:
        if self.envelope.tls:
            self.say("503 5.5.1 TLS is already there")
        elif self.site.ssl_context is None:
            self.answer(Stage.STARTTLS, "454 4.7.0 TLS is not available")
        else:
            self.answer(Stage.STARTTLS, "220 2.0.0 Ready to start TLS", self.begin_tls)

    def mail(self, rest: str) -> None:
        path = PATH.fullmatch(rest)
        if not self.envelope.hello:
            self.say("503 5.5.1 Say EHLO first")
        elif self.envelope.sender is not None:
            self.say("503 5.5.1 A transaction is under way")
        elif path is None:
            self.say("501 5.1.7 Say MAIL FROM:<address>")
        elif problem := self.mail_problem(path[1], given := parameters(path[2])):
            self.say(problem)
        else:
            envelope = self.envelope = self.envelope.fresh()
            envelope.parameters = given
            self.answer(Stage.MAIL, "250 2.1.0 Sender taken", lambda: setattr(envelope, "sender", path[1]))

    def mail_problem(self, sender: str, given: dict[str, str]) -> str:
        size = given.get("SIZE", "0")
        if set(given) - {"SIZE", "BODY", "SMTPUTF8"} or given.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
            return "555 5.5.4 Parameter not recognised"
        # RFC 1870 3: up to 20 digits.
        if not re.fullmatch(r"[0-9]{1,20}", size):
            return "501 5.5.4 SIZE is a number"
        if int(size) > self.site.max_message:
            return "552 5.3.4 Message too big"
        return "" if sender.isascii() or "SMTPUTF8" in given else "553 5.6.7 Such an address needs SMTPUTF8"

    def rcpt(self, rest: str) -> None:
        envelope = self.envelope
        path = PATH.fullmatch(rest)
        if envelope.sender is None:
            self.say("503 5.5.1 Say MAIL first")
        elif path is None or not path[1]:
            self.say("501 5.1.3 Say RCPT TO:<address>")
        elif path[2]:
            self.say("555 5.5.4 Parameter not recognised")
        elif not path[1].isascii() and "SMTPUTF8" not in envelope.parameters:
            self.say("553 5.6.7 Such an address needs SMTPUTF8")
        elif len(envelope.recipients) >= MAX_RECIPIENTS:
            self.say("452 4.5.3 Too many recipients")
        else:
            envelope.recipient = path[1]
            self.answer(Stage.RCPT, "250 2.1.5 Recipient taken", lambda: envelope.recipients.append(path[1]))

    def data(self, _rest: str) -> None:
        if self.envelope.sender is None:
            self.say("503 5.5.1 Say MAIL first")
        else:
            usual = "354 End with a lone dot" if self.envelope.recipients else "554 5.5.1 No valid recipients"
            self.answer(Stage.DATA, usual, self.begin_content)

    def rset(self, _rest: str) -> None:
        self.envelope = self.envelope.fresh()
        self.answer(Stage.RSET, "250 2.0.0 Forgotten")

    def noop(self, _rest: str) -> None:
        self.answer(Stage.NOOP, "250 2.0.0 Nothing done")

    def vrfy(self, _rest: str) -> None:
        self.say("252 2.5.2 Send it and see")

    def quit(self, _rest: str) -> None:
        self.answer(Stage.QUIT, "221 2.0.0 Bye", self.close)


COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "EHLO": Session.ehlo,
    "HELO": Session.helo,
    "STARTTLS": Session.starttls,
    "MAIL": Session.mail,
    "RCPT": Session.rcpt,
    "DATA": Session.data,
    "RSET": Session.rset,
    "NOOP": Session.noop,
    "VRFY": Session.vrfy,
    "QUIT": Session.quit,
}


def parameters(text: str) -> dict[str, str]:
    """`SIZE=12 SMTPUTF8` as {"SIZE": "12", "SMTPUTF8": ""}; names in capitals (RFC 5321 4.1.2)."""
    pairs = (word.partition("=") for word in text.split())
    return {name.upper(): value for name, _, value in pairs}
