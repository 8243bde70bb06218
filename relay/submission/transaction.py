"""One mail transaction (RFC 5321 3.3): its sender, its recipients so far, and the arrival it becomes."""

from dataclasses import dataclass, field

from activity.arrival import Arrival, Refusal
from domains.senders import Sender
from relay.submission.message import Header

MAX_REFUSED = 1_000
MAX_SIZE = 2**31 - 1  # of the column: a client may announce any number


@dataclass(slots=True)
class Transaction:
    """`refusal` is what every recipient will be told, because of the sender; `mail_from` is "" for the null sender."""

    sender: Sender
    mail_from: str
    smtputf8: bool
    client: str
    max_recipients: int
    size: int = 0
    refusal: Refusal | None = None
    # In order and each once, however often it was named.
    recipients: dict[str, None] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.recipients) >= self.max_recipients

    def refuse_all(self, refusal: Refusal) -> None:
        self.refused |= dict.fromkeys(self.recipients, refusal)
        self.recipients.clear()

    def arrival(self, header: Header | None = None) -> Arrival:
        """Without its body."""
        arrival = Arrival(
            account_id=self.sender.account_id,
            credential_id=self.sender.credential_id,
            domain_id=None,
            mail_from=self.mail_from,
            recipients=list(self.recipients),
            refused=list(self.refused.items()),
            smtputf8=self.smtputf8,
            client=self.client,
            size=min(self.size, MAX_SIZE),
        )
        if header is not None:
            arrival.header_from = header.sender
            arrival.subject = header.subject
            arrival.header_id = header.message_id
            arrival.tag = header.tag
            arrival.metadata = header.metadata
        return arrival
