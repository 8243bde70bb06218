"""What submission hands over: one SMTP transaction with its recipients, accepted and refused."""

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from uuid_utils.compat import uuid7

from activity.reasons import Reason
from billing.models import renewal_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that refuses: `text` is what stands after the codes; `stage` the command it answered."""

    reason: str
    code: int
    enhanced: str
    text: str
    stage: str = "rcpt"

    @property
    def reply(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(slots=True)
class Arrival:
    """One SMTP transaction. `recipients` are still to be judged as a whole, `refused` were refused one by one.

    `read_body` gives the bytes to be delivered; it is called inside the commit, so that a big body can lie on disk
    until then. `recordable` says of how many recipients that are refused there are to be rows. Sizes are in bytes.
    """

    account_id: int
    credential_id: int | None
    domain_id: int | None
    mail_from: str
    recipients: list[str]
    header_from: str = ""
    subject: str = ""
    header_id: str = ""
    size: int = 0
    smtputf8: bool = False
    client: str = ""
    tag: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, Refusal]] = field(default_factory=list)
    read_body: Callable[[], bytes] = bytes
    recordable: Callable[[int], int] = int
    id: UUID = field(default_factory=uuid7)


def recipient_id_for(message_id: UUID) -> UUID:
    """A new UUIDv7 with the 48-bit time of its message, so that an email's rows lie in one slice."""
    rest = (1 << 80) - 1
    return UUID(int=(message_id.int & ~rest) | (uuid7().int & rest))


def destination_of(address: str) -> str:
    """The lane: the lower-case ASCII form of the domain (an IDN as its A-labels, RFC 5891)."""
    domain = address.rpartition("@")[2].lower()
    if domain.isascii():
        return domain
    with suppress(UnicodeError):
        return domain.encode("idna").decode()
    return domain


def quota_refusal(used: int, limit: int, period: dt.date) -> Refusal:
    renewal = renewal_of(period)
    text = (
        f"Monthly quota reached: {used} of {limit} emails used, too few are left for this message. "
        f"It renews on {renewal:%Y-%m-%d}; see {settings.WEB_URL}/"
    )
    return Refusal(Reason.QUOTA_REACHED, 550, "5.7.1", text, "end_of_data")
