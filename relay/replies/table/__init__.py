"""The reply table: rows in the order in which they are tried; the first that matches decides.

What is wrong with the sender, its server or the content comes before what is wrong with the mailbox: a server that
blocks us often says "mailbox unavailable" as well, and in doubt a bounce is soft. Words come before codes, since the
same code is given for anything. The last row matches everything.
"""

from relay.replies.rule import Rule
from relay.replies.table import codes, content, mailbox, policy, sender, server, volume

RULES: tuple[Rule, ...] = (
    *volume.GREYLISTING,
    *volume.FREQUENCY,
    *sender.REPUTATION,
    *sender.AUTHENTICATION,
    *policy.PERMISSION,
    *volume.RATES,
    *mailbox.FULL,
    *content.CONTENT,
    *policy.STRONG_POLICY,
    *policy.ACCESS,
    *mailbox.INACTIVE,
    *server.LOOKUP_TROUBLE,
    *mailbox.DOMAIN,
    *mailbox.UNKNOWN,
    *server.TROUBLE,
    *codes.SPECIFIC,
    *policy.REFUSAL,
    *codes.GENERAL,
)
