"""The reply table: rows in the order in which they are tried; the first that matches decides.

What is wrong with the sender, its server or the content comes before what is wrong with the mailbox: a server that
blocks us often says "mailbox unavailable" as well, and in doubt a bounce is soft. Words come before codes, since the
same code is given for anything. The last row matches everything.
"""

from relay.replies.rule import Rule
from relay.replies.table import codes, content, mailbox, sender, server, volume

RULES: tuple[Rule, ...] = (
    *volume.GREYLISTING,
    *volume.FREQUENCY,
    *sender.REPUTATION,
    *sender.AUTHENTICATION,
    *sender.PERMISSION,
    *volume.RATES,
    *content.CONTENT,
    *mailbox.FULL,
    *sender.STRONG_POLICY,
    *mailbox.INACTIVE,
    *server.LOOKUP_TROUBLE,
    *mailbox.UNKNOWN,
    *mailbox.DOMAIN,
    *server.TROUBLE,
    *sender.ACCESS,
    *codes.SPECIFIC,
    *sender.REFUSAL,
    *codes.GENERAL,
)
