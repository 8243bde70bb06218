"""A message as the simulator received it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from relay.simulator.script import Envelope


@dataclass(frozen=True, slots=True)
class Received:
    """`content` is what came between DATA and the final dot, free of added dots and otherwise as it was sent.

    `number` counts from 1; `connection` is the number of the connection that carried it; `parameters` are MAIL's.
    """

    number: int
    time: datetime
    connection: int
    peer: tuple[str, int]
    hello: str
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    parameters: dict[str, str]
    content: bytes

    @classmethod
    def of(cls, envelope: Envelope, number: int, time: datetime) -> Self:
        return cls(
            number=number,
            time=time,
            connection=envelope.connection,
            peer=envelope.peer,
            hello=envelope.hello,
            tls=envelope.tls,
            sender=envelope.sender or "",
            recipients=tuple(envelope.recipients),
            parameters=envelope.parameters,
            content=envelope.content,
        )

    def __str__(self) -> str:
        recipients = ", ".join(self.recipients[:5])
        return f"{self.number}: from=<{self.sender}> to=<{recipients}> {len(self.content)} bytes"
