"""What is refused, with which codes and words: each row of DESIGN's table of refusals, as pure judgement.

A text names the domain, the limit or the date it is about and the page where it can be mended.
"""

from django.conf import settings

from activity.arrival import Refusal
from activity.models import Suppression
from activity.reasons import Reason
from activity.text import one_line
from domains.senders import Sender, ascii_name
from relay.submission.data import Problem

MAX_TEXT = 440  # RFC 5321 4.5.3.1.5: a reply line has at most 512 octets
RCPT, END_OF_DATA = "rcpt", "end_of_data"

SINCE = {
    Suppression.Cause.HARD_BOUNCE: ("5.1.1", "it bounced for good"),
    Suppression.Cause.COMPLAINT: ("5.7.1", "its owner complained about mail from you"),
    Suppression.Cause.MANUAL: ("5.7.1", "it was added by hand"),
}


def page(path: str) -> str:
    return f"{settings.WEB_URL}{path}"


def refuse(reason: Reason, code: int, enhanced: str, text: str, stage: str = RCPT) -> Refusal:
    return Refusal(reason, code, enhanced, one_line(text, MAX_TEXT), stage)


def suspended(sender: Sender, stage: str = RCPT) -> Refusal | None:
    if not sender.suspended:
        return None
    text = f"This account is suspended and cannot send; see {page('/')}"
    return refuse(Reason.ACCOUNT_SUSPENDED, 550, "5.7.1", text, stage)


def unauthenticated_domain(sender: Sender, domain: str, what: str, stage: str = RCPT) -> Refusal | None:
    """`what` is the part that names the domain: "sender" or "From"."""
    if ascii_name(domain) in sender.domains:
        return None
    if sender.bound_to and ascii_name(domain) != ascii_name(sender.bound_to):
        why = f"this credential may only send as {sender.bound_to}"
    else:
        why = "it is not a validated domain of this account (a subdomain is a domain of its own)"
    text = f"The {what} domain {domain[:253]} may not be used: {why}. See {page('/domains/')}"
    return refuse(Reason.UNAUTHENTICATED_DOMAIN, 550, "5.7.1", text, stage)


def too_many_recipients(limit: int) -> Refusal:
    text = f"A message may have {limit} recipients; send to this one in another message"
    return refuse(Reason.TOO_MANY_RECIPIENTS, 550, "5.5.3", text)


def too_large(limit: int, stage: str = RCPT) -> Refusal:
    text = f"The message is larger than {limit} bytes ({limit // 1_048_576} MB), the most that may be sent"
    return refuse(Reason.MESSAGE_TOO_LARGE, 552, "5.3.4", text, stage)


def invalid_sender(address: str, why: str) -> Refusal:
    return refuse(Reason.INVALID_ADDRESS, 553, "5.1.7", f"The sender address <{address[:100]}> is not valid: {why}")


def invalid_recipient(address: str, why: str) -> Refusal:
    return refuse(Reason.INVALID_ADDRESS, 553, "5.1.3", f"The address <{address[:100]}> is not valid: {why}")


def suppressed(entry: Suppression) -> Refusal:
    enhanced, why = SINCE[Suppression.Cause(entry.cause)]
    text = (
        f"<{entry.address[:254]}> is on your suppression list since {entry.created_at:%Y-%m-%d} because {why}. "
        f"See {page('/suppressions/')}"
    )
    return refuse(Reason.SUPPRESSED, 550, enhanced, text)


def malformed(why: str) -> Refusal:
    return refuse(Reason.MALFORMED_MESSAGE, 550, "5.6.0", f"The message cannot be sent: {why}", END_OF_DATA)


def looping(why: str) -> Refusal:
    return refuse(Reason.MALFORMED_MESSAGE, 554, "5.4.6", f"The message cannot be sent: {why}", END_OF_DATA)


def unreadable(problem: Problem, limit: int) -> Refusal:
    """Why the content as it came in cannot be taken."""
    if problem is Problem.TOO_LARGE:
        return too_large(limit, END_OF_DATA)
    return malformed(f"it has {problem.value}")
