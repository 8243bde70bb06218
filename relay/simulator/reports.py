"""What comes back after a message was taken: a non-delivery notification, a complaint, a vacation notice."""

import re
from collections.abc import Callable
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, localtime, make_msgid

from relay.simulator.addresses import Report
from relay.simulator.received import Received

MESSAGE_ID = re.compile(rb"^message-id:\s*(<[\x21-\x7e]{1,900}>)", re.IGNORECASE | re.MULTILINE)
MAX_HEADERS = 65_536  # bytes of the original's headers that are sent back
POLICY = compat32.clone(linesep="\r\n", max_line_length=998)


def non_delivery(message: Received, mailbox: str, hostname: str) -> bytes:
    """RFC 3464: the mailbox does not exist after all."""
    reply = "550 5.1.1 No such user here"
    about_message = fields(
        ("Reporting-MTA", f"dns; {hostname}"),
        ("Arrival-Date", format_datetime(message.time)),
    )
    about_recipient = fields(
        ("Final-Recipient", typed(mailbox)),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", f"dns; {hostname}"),
        ("Diagnostic-Code", f"smtp; {reply}"),
        ("Last-Attempt-Date", format_datetime(localtime())),
    )
    text = f"Your message could not be delivered to one of its recipients.\n\n<{printable(mailbox)}>: {reply}\n"
    report = multipart_report("delivery-status", text, [about_message, about_recipient], message)
    return finished(report, message, hostname, "MAILER-DAEMON", "Undelivered Mail Returned to Sender", "auto-replied")


def complaint(message: Received, mailbox: str, hostname: str) -> bytes:
    """RFC 5965: the reader called it spam."""
    feedback = fields(
        ("Feedback-Type", "abuse"),
        ("User-Agent", "Simulator/1.0"),
        ("Version", "1"),
        ("Original-Mail-From", f"<{printable(message.sender)}>"),
        ("Original-Rcpt-To", f"<{printable(mailbox)}>"),
        ("Arrival-Date", format_datetime(message.time)),
        ("Source-IP", message.peer[0]),
        ("Reporting-MTA", f"dns; {hostname}"),
    )
    text = "This is an email abuse report for a message that its reader marked as spam.\n"
    report = multipart_report("feedback-report", text, [feedback], message)
    return finished(report, message, hostname, "feedback", "Abuse report", "auto-generated")


def vacation(message: Received, mailbox: str, hostname: str) -> bytes:
    """RFC 3834: an automatic answer, which says nothing about delivery."""
    report = MIMEText("I am away until Monday and will answer then.\n", "plain", "us-ascii")
    name = mailbox.rpartition("@")[0] if mailbox.isascii() else "autoreply"
    return finished(report, message, hostname, name, "Out of office", "auto-replied")


REPORTS: dict[Report, Callable[[Received, str, str], bytes]] = {
    Report.NON_DELIVERY: non_delivery,
    Report.COMPLAINT: complaint,
    Report.VACATION: vacation,
}


def fields(*pairs: tuple[str, str]) -> Message:
    """A block of header-like fields."""
    block = Message()
    for name, value in pairs:
        block[name] = value
    return block


def multipart_report(kind: str, text: str, blocks: list[Message], message: Received) -> Message:
    """RFC 6522: words for people, fields for programs, the original's headers."""
    report = MIMEMultipart("report", report_type=kind)
    report.attach(MIMEText(text, "plain", "us-ascii"))
    machine_readable = MIMEBase("message", kind)
    for block in blocks:
        machine_readable.attach(block)
    report.attach(machine_readable)
    headers = MIMEBase("text", "rfc822-headers")
    if not (original := original_headers(message)).isascii():
        headers["Content-Transfer-Encoding"] = "8bit"
    headers.set_payload(original.decode("ascii", "surrogateescape"))
    report.attach(headers)
    return report


def original_headers(message: Received) -> bytes:
    block = message.content.partition(b"\r\n\r\n")[0][:MAX_HEADERS]
    return block.rstrip(b"\r\n") + b"\r\n"


def finished(report: Message, message: Received, hostname: str, name: str, subject: str, auto_submitted: str) -> bytes:
    domain = hostname.removeprefix("mx.")
    report["From"] = f"<{name}@{domain}>"
    report["To"] = f"<{printable(message.sender)}>"
    report["Subject"] = subject
    report["Date"] = format_datetime(localtime())
    report["Message-ID"] = make_msgid(domain=hostname)
    report["Auto-Submitted"] = auto_submitted
    original = MESSAGE_ID.search(original_headers(message))
    if original is not None:
        report["In-Reply-To"] = report["References"] = original[1].decode()
    return report.as_bytes(policy=POLICY)


def typed(mailbox: str) -> str:
    """`rfc822; address`, or RFC 6533's `utf-8; address` where it needs more than ASCII."""
    return f"{'rfc822' if mailbox.isascii() else 'utf-8'}; {printable(mailbox)}"


def printable(mailbox: str) -> str:
    """RFC 6533 3: characters beyond ASCII as `\\x{E9}`."""
    return "".join(each if each.isascii() else f"\\x{{{ord(each):X}}}" for each in mailbox)
