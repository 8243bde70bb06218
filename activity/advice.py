"""What the customer is told about one email: what happened, what it means and what can be done."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from activity.models import Recipient
from activity.reasons import Advice, Reason
from activity.status import Status

STATUS_ADVICE: dict[Status, Advice] = {
    Status.ACCEPTED: Advice(
        gettext_lazy("We have the email and keep it safe. It goes out within seconds."),
        gettext_lazy("Nothing. This page shows by itself what happens next."),
    ),
    Status.PENDING: Advice(
        gettext_lazy("The email is in the sending queue and waits for its turn on a connection."),
        gettext_lazy("Nothing. This page shows by itself what happens next."),
    ),
    Status.DELIVERED: Advice(
        gettext_lazy("The recipient's server took the email and answers for it now."),
        gettext_lazy(
            "Nothing. If the recipient cannot find it, it may lie in the spam folder. Should the server report "
            "later that it failed after all, the status changes here."
        ),
    ),
    Status.DEFERRED: Advice(
        gettext_lazy("The recipient's server could not take the email yet."),
        gettext_lazy("Nothing. We try again by ourselves; if it never goes through, it becomes a soft bounce."),
    ),
    Status.SOFT_BOUNCE: Advice(
        gettext_lazy("The email could not be delivered, for a cause that may pass."),
        gettext_lazy("Send it again later, or reach the person another way."),
    ),
    Status.HARD_BOUNCE: Advice(
        gettext_lazy("The email can never be delivered to this address."),
        gettext_lazy("Check the address, and remove it from your lists if it is right as written."),
    ),
    Status.REJECTED: Advice(
        gettext_lazy("We did not take this email, so it was not sent."),
        gettext_lazy("Read our reply below, correct the cause and send the email again."),
    ),
}

# What happened, in one clause; %(address)s and %(domain)s are the recipient's.
CAUSES: dict[str, Promise] = {
    Reason.UNKNOWN_USER: gettext_lazy("there is no mailbox %(address)s."),
    Reason.INACTIVE_MAILBOX: gettext_lazy("the mailbox %(address)s is inactive."),
    Reason.MAILBOX_FULL: gettext_lazy("the mailbox %(address)s is full."),
    Reason.DOMAIN_NOT_FOUND: gettext_lazy("the domain %(domain)s takes no mail or does not exist."),
    Reason.TOO_LARGE: gettext_lazy("the message is too large for %(domain)s."),
    Reason.SPAM_CONTENT: gettext_lazy("%(domain)s took it for spam."),
    Reason.BLOCKED_REPUTATION: gettext_lazy("%(domain)s does not trust the sender's reputation."),
    Reason.POLICY: gettext_lazy("a rule of %(domain)s refuses it."),
    Reason.AUTHENTICATION: gettext_lazy("%(domain)s could not confirm the sender (SPF, DKIM, DMARC)."),
    Reason.GREYLISTED: gettext_lazy("%(domain)s asks senders it does not know to come again later."),
    Reason.RATE_LIMITED: gettext_lazy("%(domain)s takes no more mail for the moment."),
    Reason.SERVER_UNAVAILABLE: gettext_lazy("the mail server of %(domain)s has trouble."),
    Reason.NETWORK: gettext_lazy("the mail server of %(domain)s could not be reached."),
    Reason.TLS: gettext_lazy("no encrypted connection to %(domain)s could be made."),
    Reason.PROTOCOL: gettext_lazy("%(domain)s did not understand the message."),
    Reason.EXPIRED: gettext_lazy("%(domain)s did not take it in all the time we tried."),
    Reason.OTHER: gettext_lazy("%(domain)s did not take it."),
    Reason.UNAUTHENTICATED_DOMAIN: gettext_lazy("the sender's domain is not validated."),
    Reason.QUOTA_REACHED: gettext_lazy("the monthly quota was reached."),
    Reason.TOO_MANY_RECIPIENTS: gettext_lazy("the message had too many recipients, %(address)s among them."),
    Reason.MESSAGE_TOO_LARGE: gettext_lazy("the message is too large."),
    Reason.INVALID_ADDRESS: gettext_lazy("%(address)s is not a valid address."),
    Reason.SUPPRESSED: gettext_lazy("%(address)s is on your suppression list."),
    Reason.MALFORMED_MESSAGE: gettext_lazy("the message is malformed."),
    Reason.ACCOUNT_SUSPENDED: gettext_lazy("your account was suspended."),
}
HEADLINES: dict[Status, Promise] = {
    Status.ACCEPTED: gettext_lazy("Accepted: on its way to %(address)s."),
    Status.PENDING: gettext_lazy("Pending: about to be delivered to %(domain)s."),
    Status.DELIVERED: gettext_lazy("Delivered to %(address)s."),
    Status.DEFERRED: gettext_lazy("Not delivered yet: %(cause)s"),
    Status.SOFT_BOUNCE: gettext_lazy("Not delivered: %(cause)s"),
    Status.HARD_BOUNCE: gettext_lazy("Not delivered: %(cause)s"),
    Status.REJECTED: gettext_lazy("Not sent: %(cause)s"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Plain texts; they may contain what strangers wrote, so templates escape them."""

    headline: str
    meaning: str
    action: str


def reason_label(reason: str) -> str:
    """The reason in words; one that a newer version wrote is shown as it is."""
    return str(Reason(reason).label) if reason in Reason else reason


def answer(recipient: Recipient) -> Answer:
    status, reason = Status(recipient.status), recipient.reason
    names = {"address": recipient.address, "domain": recipient.domain}
    cause = str(CAUSES.get(reason, CAUSES[Reason.OTHER])) % names
    headline = str(HEADLINES[status]) % {**names, "cause": cause}
    general = STATUS_ADVICE[status]
    special = Reason(reason).advice if reason in Reason else general
    if status == Status.DEFERRED:
        return Answer(headline, str(special.meaning), str(general.action))
    if status in (Status.SOFT_BOUNCE, Status.HARD_BOUNCE):
        final = _("This status is final: we do not try this email again.")
        return Answer(headline, f"{special.meaning} {final}", str(special.action))
    return Answer(headline, str(special.meaning), str(special.action))
