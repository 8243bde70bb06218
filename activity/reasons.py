"""Why an email was deferred, bounced or rejected: a closed list, each with what the customer is told."""

from dataclasses import dataclass

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Advice:
    """Two sentences or three for the customer: what the reason means, and what can be done about it."""

    meaning: Promise
    action: Promise


class Reason(models.TextChoices):
    # Said by, or learnt on the way to, the recipient's server.
    UNKNOWN_USER = "unknown_user", _("No such mailbox")
    INACTIVE_MAILBOX = "inactive_mailbox", _("Mailbox inactive")
    MAILBOX_FULL = "mailbox_full", _("Mailbox full")
    DOMAIN_NOT_FOUND = "domain_not_found", _("Domain not found")
    TOO_LARGE = "too_large", _("Too large for the recipient")
    SPAM_CONTENT = "spam_content", _("Taken for spam")
    BLOCKED_REPUTATION = "blocked_reputation", _("Blocked by reputation")
    POLICY = "policy", _("Refused by policy")
    AUTHENTICATION = "authentication", _("SPF, DKIM or DMARC failed")
    GREYLISTED = "greylisted", _("Greylisted")
    RATE_LIMITED = "rate_limited", _("Rate limited")
    SERVER_UNAVAILABLE = "server_unavailable", _("Server unavailable")
    NETWORK = "network", _("Connection failed")
    TLS = "tls", _("Encryption failed")
    PROTOCOL = "protocol", _("Protocol error")
    EXPIRED = "expired", _("Gave up waiting")
    OTHER = "other", _("Other")
    # Said by us before we accepted the email (status Rejected).
    UNAUTHENTICATED_DOMAIN = "unauthenticated_domain", _("Domain not authenticated")
    QUOTA_REACHED = "quota_reached", _("Quota reached")
    TOO_MANY_RECIPIENTS = "too_many_recipients", _("Too many recipients")
    MESSAGE_TOO_LARGE = "message_too_large", _("Message too large")
    INVALID_ADDRESS = "invalid_address", _("Invalid address")
    SUPPRESSED = "suppressed", _("On the suppression list")
    MALFORMED_MESSAGE = "malformed_message", _("Malformed message")
    ACCOUNT_SUSPENDED = "account_suspended", _("Account suspended")

    @property
    def advice(self) -> Advice:
        return ADVICE[self]


# The reasons of the status Rejected; every other reason belongs to Deferred, Soft bounce or Hard bounce.
REJECTIONS = frozenset(
    {
        Reason.UNAUTHENTICATED_DOMAIN,
        Reason.QUOTA_REACHED,
        Reason.TOO_MANY_RECIPIENTS,
        Reason.MESSAGE_TOO_LARGE,
        Reason.INVALID_ADDRESS,
        Reason.SUPPRESSED,
        Reason.MALFORMED_MESSAGE,
        Reason.ACCOUNT_SUSPENDED,
    }
)


ADVICE: dict[Reason, Advice] = {
    Reason.UNKNOWN_USER: Advice(
        _("The recipient's server says that there is no mailbox with this address."),
        _(
            "Check the address for typing errors. If it is right as written, ask the person for a new one and remove "
            "this one from your lists."
        ),
    ),
    Reason.INACTIVE_MAILBOX: Advice(
        _("The mailbox exists but is disabled, suspended or locked, so it takes no mail at present."),
        _("Reach the person another way. If the mailbox stays inactive for long, stop sending to it."),
    ),
    Reason.MAILBOX_FULL: Advice(
        _("The recipient's mailbox has no room for more mail."),
        _(
            "Try again in a few days, or reach the person another way. A mailbox that is full for months has usually "
            "been given up."
        ),
    ),
    Reason.DOMAIN_NOT_FOUND: Advice(
        _("The part of the address after the @ does not exist in the DNS, or says that it takes no mail."),
        _(
            "Check the domain for typing errors, such as gmial.com. If it is right, its owner must repair its DNS "
            "records."
        ),
    ),
    Reason.TOO_LARGE: Advice(
        _("The recipient's server does not take messages of this size. Its limit is lower than ours."),
        _("Send a smaller message: shrink the attachments, or put the files online and send a link."),
    ),
    Reason.SPAM_CONTENT: Advice(
        _(
            "The recipient's server took the content for spam, or found a virus or a dangerous link or attachment in "
            "it."
        ),
        _(
            "Look at the text, links and attachments that you sent. Avoid link shorteners and executable files, and "
            "send only to people who asked for it."
        ),
    ),
    Reason.BLOCKED_REPUTATION: Advice(
        _(
            "The recipient's server does not trust where the email came from: the sending server or your domain is on "
            "a block list or has a poor reputation there."
        ),
        _(
            "Nothing is wrong with the address. We watch our servers' reputation; if the reply names your own domain, "
            "look it up on the list named there and ask for its removal."
        ),
    ),
    Reason.POLICY: Advice(
        _("A rule of the recipient's server refuses this email, for example a list of permitted senders."),
        _("Ask the recipient, or whoever runs their mail, to permit your address. Show them the server's reply below."),
    ),
    Reason.AUTHENTICATION: Advice(
        _("The recipient's server could not confirm that the email really comes from your domain (SPF, DKIM, DMARC)."),
        _(
            "Open the Domains page and check that all records are validated, and that the From address uses that "
            "domain."
        ),
    ),
    Reason.GREYLISTED: Advice(
        _("The recipient's server puts off mail from senders that it does not know yet, and takes it at a later try."),
        _("Nothing. We try again by ourselves, and it usually goes through within the hour."),
    ),
    Reason.RATE_LIMITED: Advice(
        _("The recipient or their server has received more mail in a short time than it allows."),
        _("Nothing for a single email. If it happens often, spread large mailings over a longer time."),
    ),
    Reason.SERVER_UNAVAILABLE: Advice(
        _("The recipient's server had trouble of its own: it was overloaded, in maintenance or out of order."),
        _(
            "Such trouble usually passes. If the email bounced in the end, send it again later or reach the person "
            "another way."
        ),
    ),
    Reason.NETWORK: Advice(
        _("We could not connect to the recipient's server, the connection broke, or the DNS gave no answer."),
        _("Such trouble usually passes. If it lasts, the people who run the recipient's mail should know of it."),
    ),
    Reason.TLS: Advice(
        _("An encrypted connection was required, and could not be made with the recipient's server."),
        _("The people who run the recipient's mail must repair its encryption. Show them the server's reply below."),
    ),
    Reason.PROTOCOL: Advice(
        _("The recipient's server did not understand the delivery, or finds the form of the message wrong."),
        _(
            "Check that your software writes correct headers and addresses. If other emails to this server arrive, "
            "compare them with this one."
        ),
    ),
    Reason.EXPIRED: Advice(
        _("The email could not be delivered within the time allowed for trying."),
        _("Look at the earlier lines of the history for the cause. Send it again when the recipient's server works."),
    ),
    Reason.OTHER: Advice(
        _("The recipient's server gave no reason that we know."),
        _("Read its reply below. If it does not help, ask whoever runs the recipient's mail."),
    ),
    Reason.UNAUTHENTICATED_DOMAIN: Advice(
        _(
            "The sender's domain is not validated for your account, or the credential may not send for it. The email "
            "was not sent."
        ),
        _("Open the Domains page, add the domain and set its three records, then send the email again."),
    ),
    Reason.QUOTA_REACHED: Advice(
        _("The email did not fit into what is left of your plan's monthly quota. It was not sent."),
        _("Choose a larger plan, or send it again when the quota is renewed."),
    ),
    Reason.TOO_MANY_RECIPIENTS: Advice(
        _(
            "The message had more recipients than one message may have. It was not sent to this one; the first ones "
            "were served."
        ),
        _("Send one message for each recipient, or divide the recipients over several messages."),
    ),
    Reason.MESSAGE_TOO_LARGE: Advice(
        _("The message is larger than we take, attachments included. It was not sent."),
        _(
            "Shrink the attachments, or put the files online and send a link. Attachments grow by a third when they "
            "are encoded."
        ),
    ),
    Reason.INVALID_ADDRESS: Advice(
        _("This is not a well-formed email address. The email was not sent."),
        _("Correct the address in your software or address book, and send the email again."),
    ),
    Reason.SUPPRESSED: Advice(
        _(
            "The address is on your suppression list, because an email to it bounced for good, its owner complained, "
            "or one of you put it there. The email was not sent."
        ),
        _(
            "Leave it there unless you know that the address is good and its owner wants your mail; then remove it "
            "from the list."
        ),
    ),
    Reason.MALFORMED_MESSAGE: Advice(
        _("The message breaks the rules of email, for example with no From header or with two. It was not sent."),
        _("Repair the software that makes the message. Our reply below names what is wrong."),
    ),
    Reason.ACCOUNT_SUSPENDED: Advice(
        _("Your account was suspended when the email came in. It was not sent."),
        _("Please write to our support; we will tell you why and what is needed."),
    ),
}
