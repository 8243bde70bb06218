"""What an attempt came to: the one value that ends every attempt."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from activity.status import Status


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` is 0 where no reply was read; `text` is the remote's own words, not yet bounded."""

    status: Status
    reason: str = ""
    stage: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    host: str = ""
    ip: str | None = None
    tls: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An outcome, whose it is, and when the next try is due (None: never)."""

    recipient_id: UUID
    number: int
    outcome: Outcome
    at: dt.datetime
    next_attempt_at: dt.datetime | None = None
