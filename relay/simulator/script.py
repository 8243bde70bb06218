"""The words in which a mail server's behaviour is scripted: stages, envelopes, replies and faults."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf


class Stage(StrEnum):
    """What is being answered. END_OF_DATA is the final dot, all others are named by their command."""

    CONNECT = "connect"
    EHLO = "ehlo"
    HELO = "helo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end_of_data"
    RSET = "rset"
    NOOP = "noop"
    QUIT = "quit"


@dataclass(slots=True)
class Envelope:
    """What one connection has said so far; MAIL begins a new one. `recipient` is the last that RCPT named."""

    connection: int
    peer: tuple[str, int]
    hello: str = ""
    tls: bool = False
    sender: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    recipient: str = ""
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""

    def fresh(self) -> "Envelope":
        """The same connection's next envelope."""
        return Envelope(self.connection, self.peer, self.hello, self.tls)


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer and the trouble around it.

    `reply`: text (several lines make a several-line reply), bytes to send as they are, or None for the usual
    reply. `delay`: seconds before it. `drop`: close the connection after it. `taken`: whether the command had its
    effect (for the final dot: the message counts as received); None lets the first digit of the reply decide.
    """

    reply: str | bytes | None = None
    delay: float = 0.0
    drop: bool = False
    taken: bool | None = None


USUAL = Fault()
HANG = Fault(delay=inf)
DROP = Fault(b"", drop=True)  # no reply, nothing taken
DROP_AFTER_REPLY = Fault(drop=True)
TAKE_AND_DROP = Fault(b"", drop=True, taken=True)  # the sender cannot know that its message arrived
BROKEN_TLS = Fault("220 2.0.0 Ready to start TLS", drop=True, taken=False)
GARBAGE = Fault(b"\x00\xff\xfenot SMTP at all\r\n")

type Action = str | Fault | None
type Behave = Callable[[Stage, Envelope], Action]


def script(**stages: Action | Sequence[Action]) -> Behave:
    """What to answer by stage: always the same, or a list that is used up one by one and then leaves the usual.

    `script(rcpt="550 5.1.1 No such user", end_of_data=["451 4.7.1 Later", DROP])`
    """
    always: dict[Stage, Action] = {}
    once: dict[Stage, Iterator[Action]] = {}
    for name, actions in stages.items():
        if actions is None or isinstance(actions, str | Fault):
            always[Stage(name)] = actions
        else:
            once[Stage(name)] = iter(actions)

    def behave(stage: Stage, _envelope: Envelope) -> Action:
        return next(once[stage], None) if stage in once else always.get(stage)

    return behave


def wire(reply: str) -> bytes:
    """A reply's bytes (RFC 5321 4.2.1). `"250 one\\ntwo"` becomes `250-one`, `250 two`."""
    code, text = reply[:3], reply[4:]
    *first, last = text.split("\n")
    lines = [f"{code}-{line}\r\n" for line in first]
    return "".join([*lines, f"{code} {last}\r\n"]).encode()
