"""Emails whose senders are owed a notification: what there is to say, and the end of the debt with its acceptance."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from activity.models import Message, MessageContent, OwedDsn, Recipient, StatusEvent
from activity.status import BOUNCES

MAX_HEADER = 20_000

# Whoever deletes the row makes the notification, in the same transaction: no crash makes two of it, or none.
SETTLE = "DELETE FROM activity_oweddsn WHERE recipient_id = %s RETURNING recipient_id"


@dataclass(frozen=True, slots=True)
class Bounce:
    """A bounced email with its last word; `header` is its header block as far as it is kept."""

    recipient: Recipient
    message: Message
    event: StatusEvent
    header: bytes


def owed(limit: int) -> list[UUID]:
    return list(OwedDsn.objects.order_by("recipient_id").values_list("recipient_id", flat=True)[:limit])


def bounce_of(recipient_id: UUID) -> Bounce | None:
    """None when the email is no longer kept."""
    recipient = Recipient.objects.filter(id=recipient_id).first()
    message = Message.objects.filter(id=recipient.message_id).first() if recipient else None
    if recipient is None or message is None:
        return None
    events = StatusEvent.objects.filter(recipient_id=recipient_id, status__in=BOUNCES)
    event = events.order_by("-at", "-id").first()
    content = MessageContent.objects.filter(id=message.id).first()
    header = bytes(content.body).partition(b"\r\n\r\n")[0][:MAX_HEADER] if content else b""
    return None if event is None else Bounce(recipient, message, event, header)


def forgive(recipient_id: UUID) -> None:
    """There is nothing to tell, or nobody who could hear it."""
    OwedDsn.objects.filter(recipient_id=recipient_id).delete()


async def settle(connection: AsyncConnection[Any], recipient_id: UUID) -> bool:
    """False when another process was first."""
    return await (await connection.execute(SETTLE, [recipient_id])).fetchone() is not None
