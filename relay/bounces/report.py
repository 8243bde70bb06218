"""What a report says: the value that understanding ends in."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from activity.status import Status


class Kind(StrEnum):
    BOUNCE = "bounce"
    DELAYED = "delayed"
    RELAYED = "relayed"
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Said:
    """What is said about one recipient.

    `address` is the one we sent to, as far as the report tells (empty if it names nobody: a token tells); `final` the
    one where it ended (another, when mail is forwarded). `status` is an enhanced code (RFC 3463) or empty, `diagnostic`
    the remote server's own words. `rule` names the row of the reply table that judged them.
    """

    address: str
    outcome: Status
    reason: str = ""
    status: str = ""
    diagnostic: str = ""
    final: str = ""
    code: int = 0
    host: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """`return_paths`: addresses in the returned message that may hold a token. `message_ids`: ours, from its header."""

    kind: Kind
    recipients: tuple[Said, ...] = ()
    return_paths: tuple[str, ...] = ()
    message_ids: tuple[UUID, ...] = ()
    explanation: str = ""

    @property
    def named(self) -> bool:
        return any(said.address for said in self.recipients)
