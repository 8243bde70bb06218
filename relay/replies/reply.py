"""The two values of this package: the reply that is judged and the verdict on it."""

from dataclasses import dataclass
from typing import Literal

from activity.reasons import Reason
from activity.status import Status

# Where in the SMTP dialogue the reply was given; empty when a bounce report does not say.
Stage = Literal["", "connect", "ehlo", "starttls", "mail", "rcpt", "data", "end_of_data"]

BEFORE_MAIL = frozenset({"connect", "ehlo", "starttls"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a remote server said, untrusted and of any length.

    `code` is 0 and `enhanced` (RFC 3463) is empty where none is known. With a stage, `code` 0 means that
    no reply came at all: the connection failed, and `text` is our own account of it. `host` is the MX host's name.
    """

    stage: Stage
    code: int
    enhanced: str
    text: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` is Delivered, Deferred, Soft bounce or Hard bounce; `reason` is empty only when Delivered.

    `rule` names the row of the table that decided.
    """

    outcome: Status
    reason: Reason | Literal[""]
    rule: str
