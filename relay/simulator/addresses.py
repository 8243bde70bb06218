"""The simulator's addresses: what a mail to each of them meets (DESIGN section 8)."""

from dataclasses import dataclass
from enum import StrEnum

from relay.simulator.script import Stage

TAKEN = "250 2.0.0 Taken"


class Report(StrEnum):
    """What is sent to the return path some seconds after the message was taken."""

    NON_DELIVERY = "non-delivery"
    COMPLAINT = "complaint"
    VACATION = "vacation"


@dataclass(frozen=True, slots=True)
class Address:
    """`reply` is given at `stage`: the first `times` times for each email (0: always), `slow` after some seconds."""

    reply: str = TAKEN
    stage: Stage = Stage.END_OF_DATA
    times: int = 0
    slow: bool = False
    after: Report | None = None


ADDRESSES = {
    # Taken at once.
    "delivered": Address(),
    # Greylisted: the first two attempts of each email are put off, the third is taken.
    "deferred": Address("451 4.7.1 Greylisted, please try again later", times=2),
    # A soft bounce: the address is good, but there is no room.
    "mailbox-full": Address("552 5.2.2 The mailbox is full", Stage.RCPT),
    # A hard bounce: there is no such address.
    "unknown": Address("550 5.1.1 No such user here", Stage.RCPT),
    # Taken, but a non-delivery notification follows (RFC 3464): delivered first, a hard bounce later.
    "late-bounce": Address(after=Report.NON_DELIVERY),
    # A spam filter's verdict after it has read the message: a soft bounce.
    "blocked": Address("554 5.7.1 Message blocked: it looks like spam"),
    # Taken, then reported as spam by its reader (RFC 5965).
    "complaint": Address(after=Report.COMPLAINT),
    # Taken after some seconds of thought.
    "slow": Address(slow=True),
    # Taken, and a vacation notice comes back (RFC 3834).
    "autoreply": Address(after=Report.VACATION),
}


def address_of(mailbox: str) -> Address:
    """The behaviour of `name+suffix@domain`. Names that are not in the table are taken like `delivered`."""
    name, _, _ = mailbox.rpartition("@")[0].partition("+")
    return ADDRESSES.get(name.lower(), ADDRESSES["delivered"])
