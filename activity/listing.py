"""One page of the Activity list: found by walking an index from the newest row or from a given one, never counted."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from django.utils import timezone

from activity.advice import reason_label
from activity.models import Message, Recipient
from activity.status import Status
from billing.models import Account

PAGE = 50


@dataclass(frozen=True, slots=True)
class Search:
    """What the customer looks for: part of an address, a status, and where the page begins (`before` an id)."""

    address: str = ""
    status: str = ""
    before: UUID | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Search":
        """From GET parameters; what makes no sense is left out, so that a mistyped link still shows a list."""
        before = None
        with suppress(ValueError):
            before = UUID(query["before"]) if query.get("before") else None
        status = query.get("status", "")
        address = query.get("q", "").strip().replace("\0", "")[:254]
        return cls(address, status if status in Status else "", before)

    @property
    def narrows(self) -> bool:
        return bool(self.address or self.status)


@dataclass(frozen=True, slots=True)
class Row:
    recipient: Recipient
    message: Message | None

    @property
    def at(self) -> dt.datetime:
        return timezone.localtime(self.recipient.at)

    @property
    def reason(self) -> str:
        return reason_label(self.recipient.reason)

    @property
    def next_attempt_at(self) -> dt.datetime | None:
        return self.recipient.next_attempt_at if self.recipient.status == Status.DEFERRED else None


class Page:
    """At most PAGE recipients; the messages are fetched only when rows are rendered."""

    def __init__(self, account: Account, search: Search) -> None:
        found = Recipient.objects.of(account).with_status(search.status).to_address(search.address)
        if search.before is not None:
            found = found.filter(id__lt=search.before)
        recipients = list(found[: PAGE + 1])
        self.search = search
        self.recipients = recipients[:PAGE]
        self.older = self.recipients[-1].id if len(recipients) > PAGE else None

    @property
    def live(self) -> bool:
        """The newest page refreshes itself; an older one is read in peace."""
        return self.search.before is None

    @cached_property
    def version(self) -> str:
        """Changes exactly when a row would look different; the day is part of it, for “Today” does not last."""
        shown = [(r.id, r.status, r.reason, r.attempt, r.next_attempt_at) for r in self.recipients]
        facts = repr((timezone.localdate(), self.older, shown))
        return hashlib.blake2s(facts.encode(), digest_size=8).hexdigest()

    @cached_property
    def rows(self) -> list[Row]:
        messages = messages_of(self.recipients)
        return [Row(recipient, messages.get(recipient.message_id)) for recipient in self.recipients]


def messages_of(recipients: Sequence[Recipient]) -> dict[UUID, Message]:
    """The messages of one account's recipients; the ids bound which slices are looked into."""
    ids = {recipient.message_id for recipient in recipients}
    if not ids:
        return {}
    account = recipients[0].account_id
    found = Message.objects.filter(account=account, id__in=ids, id__gte=min(ids), id__lte=max(ids))
    return {message.id: message for message in found}
