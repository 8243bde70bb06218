"""Delivery status notifications of our own (RFC 3464), for customers whose software expects them."""

import logging
import re
from email.message import Message as Part
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, make_msgid
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils import timezone
from psycopg import AsyncConnection

from activity import bell
from activity.accept import accept
from activity.arrival import Arrival, destination_of
from activity.owed import Bounce, bounce_of, forgive, owed, settle
from activity.pool import conninfo
from activity.status import Status
from activity.suppressed import suppression_of
from activity.text import one_line
from domains.own import own_domain

log = logging.getLogger(__name__)

A_RUN = 500
CLIENT = "notifications"
# What can stand in a header field as it is, whatever the customer's software wrote: ASCII, and no encoded word.
MESSAGE_ID = re.compile(r"(?!.*=\?)[!-;=?-~]{1,250}")
TEXT = """This is the mail system at {hostname}.

Your message could not be delivered to this address:

    {address}

{why}

The message was: {subject}
Sent: {sent}
"""


def send_owed() -> int:
    """Make and accept the notifications that are owed; how many there were. Each is one commit."""
    ids = owed(A_RUN)
    return sum(_send(recipient_id) for recipient_id in ids)


def _send(recipient_id: UUID) -> bool:
    bounce = bounce_of(recipient_id)
    domain = own_domain()
    # Nobody is told of a notification that failed (RFC 3464 2), nor where notifications bounce.
    if bounce is None or not bounce.message.mail_from or suppression_of(domain.account_id, bounce.message.mail_from):
        forgive(recipient_id)
        return False
    try:
        raw = compose(bounce).as_bytes(policy=SMTP if bounce.message.mail_from.isascii() else SMTPUTF8)
    except Exception:  # it would fail again, and everybody who is owed one waits behind it
        log.exception("no notification about %s can be written", recipient_id)
        forgive(recipient_id)
        return False
    arrival = Arrival(
        account_id=domain.account_id,
        credential_id=None,
        domain_id=domain.id,
        mail_from="",
        recipients=[bounce.message.mail_from],
        header_from=f"MAILER-DAEMON@{settings.ZONE}",
        subject="Undelivered mail returned to sender",
        size=len(raw),
        smtputf8=not bounce.message.mail_from.isascii(),
        client=CLIENT,
        read_body=lambda: raw,
    )
    return async_to_sync(_accept)(recipient_id, arrival)


async def _accept(recipient_id: UUID, arrival: Arrival) -> bool:
    """The debt ends in the transaction that accepts its notification."""
    async with await AsyncConnection.connect(conninfo(), autocommit=True) as connection, connection.transaction():
        if not await settle(connection, recipient_id):
            return False
        [refusal] = await accept(connection, [arrival])
    if refusal is not None:
        log.error("a notification was refused: %s", refusal.reply)
        return False
    # The bell that accept rang was heard before this commit.
    bell.ring({destination_of(address) for address in arrival.recipients})
    return True


def compose(bounce: Bounce) -> MIMEMultipart:
    """multipart/report: words for people, the status for programs, the header of the original (RFC 6522)."""
    report = MIMEMultipart("report", report_type="delivery-status")
    report["From"] = f"Mail delivery <MAILER-DAEMON@{settings.ZONE}>"
    report["To"] = bounce.message.mail_from
    report["Subject"] = "Undelivered mail returned to sender"
    report["Date"] = format_datetime(timezone.now())
    report["Message-ID"] = make_msgid(domain=settings.ZONE)
    report["Auto-Submitted"] = "auto-replied"  # RFC 3834 5
    message_id = bounce.message.header_id.strip("<>")
    if MESSAGE_ID.fullmatch(message_id):
        report["References"] = f"<{message_id}>"
    report.attach(MIMEText(_words(bounce), "plain", "utf-8"))
    report.attach(_status(bounce))
    original = MIMEBase("text", "rfc822-headers")
    original.set_payload(bounce.header.decode("ascii", "replace").replace("\r\n", "\n") + "\n", "utf-8")
    report.attach(original)
    return report


def _words(bounce: Bounce) -> str:
    event = bounce.event
    said = f"{event.host or 'Its server'} said: {event.reply}" if event.reply else f"{event.reason or event.status}"
    return TEXT.format(
        hostname=settings.HOSTNAME,
        address=one_line(bounce.recipient.address, 320),
        why=one_line(said),
        subject=one_line(bounce.message.subject, 200),
        sent=format_datetime(bounce.message.at),
    )


def _status(bounce: Bounce) -> MIMEBase:
    about, recipient = Part(), Part()
    about["Reporting-MTA"] = f"dns; {settings.HOSTNAME}"
    about["Arrival-Date"] = format_datetime(bounce.message.at)
    recipient["Final-Recipient"] = typed_address(bounce.recipient.address)
    recipient["Action"] = "failed"
    recipient["Status"] = status_code(bounce)
    if bounce.event.host:
        recipient["Remote-MTA"] = f"dns; {_ascii(bounce.event.host, 255)}"
    if bounce.event.reply:
        codes = "" if bounce.event.reply.startswith(str(bounce.event.code)) else f"{bounce.event.code or ''} "
        recipient["Diagnostic-Code"] = f"smtp; {codes.lstrip()}{_ascii(bounce.event.reply, 800)}"
    recipient["Last-Attempt-Date"] = format_datetime(bounce.event.at)
    part = MIMEBase("message", "delivery-status")
    part.set_payload([about, recipient])
    return part


def typed_address(address: str) -> str:
    """With the address type of RFC 3464 2.3.2; one that is not ASCII as RFC 6533 3 writes it in ASCII."""
    if address.isascii():
        return f"rfc822; {one_line(address, 320)}"
    return "utf-8; " + "".join(
        each if each.isascii() and each not in "\\+=" else f"\\x{{{ord(each):02X}}}" for each in one_line(address, 320)
    )


def status_code(bounce: Bounce) -> str:
    """RFC 3463; what no server gave a code for is 5.0.0, and 4.4.7 when the time was over."""
    known = bounce.event.enhanced
    if known and known[0] in "45":
        return known
    return "4.4.7" if bounce.event.status == Status.SOFT_BOUNCE else "5.0.0"


def _ascii(text: str, limit: int) -> str:
    return one_line(text, limit).encode("ascii", "replace").decode()
