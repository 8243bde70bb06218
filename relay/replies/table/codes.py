"""What the codes alone say, when no words were understood; the last row takes the rest."""

from activity.reasons import Reason
from relay.replies.rule import Rule, rule


def code(name: str, reason: Reason, source: str, enhanced: str, hard: bool = False) -> Rule:
    """A row for enhanced codes: subject and detail, as a regular expression. Hard ones are of class 5 only."""
    return rule(name, reason, source, rf"^-?\d{{3,}} {'5' if hard else '[45]'}\.(?:{enhanced})(?!\d)", hard=hard)


SPECIFIC = (
    code(
        "code_unknown_user",
        Reason.UNKNOWN_USER,
        "RFC 3463 X.1.1, X.1.3, X.1.6; Exchange 5.1.351",
        r"1\.(?:1|3|6|351)",
        hard=True,
    ),
    code("code_domain", Reason.DOMAIN_NOT_FOUND, "RFC 3463 X.1.2; RFC 7505 4.2: X.1.10", r"1\.(?:2|10)", hard=True),
    rule(
        "code_unknown_user_temporary",
        Reason.UNKNOWN_USER,
        "RFC 3463 X.1.1 as a 4xx: the server may be out of order",
        r"4\d\d 4\.1\.(?:1|3|6)\b",
    ),
    code("code_inactive", Reason.INACTIVE_MAILBOX, "RFC 3463 X.2.1; RFC 5248 X.7.13", r"2\.1|7\.13"),
    code("code_too_large", Reason.TOO_LARGE, "RFC 3463 X.2.3, X.3.4", r"2\.3|3\.4"),
    code(
        "code_rate",
        Reason.RATE_LIMITED,
        "RFC 3463 X.4.5, X.5.3; RFC 7372 X.7.28; Exchange 5.2.121, 5.2.122",
        r"4\.5|5\.3|7\.28|2\.12[12]",
    ),
    code("code_reputation", Reason.BLOCKED_REPUTATION, "RFC 7372 X.7.25", r"7\.25"),
    code("code_tls", Reason.TLS, "RFC 3463 X.7.3 to X.7.6, RFC 5248 X.7.10, X.7.11", r"7\.(?:[3-6]|1[01])"),
    code("code_authentication", Reason.AUTHENTICATION, "RFC 3463 X.7.7; X.7.9 as Yahoo gives it for DMARC", r"7\.[79]"),
)

GENERAL = (
    code("code_policy", Reason.POLICY, "RFC 3463 X.7.x", r"7\.\d{1,3}"),
    code("code_expired", Reason.EXPIRED, "RFC 3463 X.4.7", r"4\.7"),
    code("code_network", Reason.NETWORK, "RFC 3463 X.4.x", r"4\.\d{1,3}"),
    code("code_server", Reason.SERVER_UNAVAILABLE, "RFC 3463 X.3.x", r"3\.\d{1,3}"),
    code("code_protocol", Reason.PROTOCOL, "RFC 3463 X.5.x, X.6.x", r"[56]\.[1-9]\d{0,2}|6\.0"),
    rule(
        "code_5321_server",
        Reason.SERVER_UNAVAILABLE,
        "RFC 5321 4.2.3: 421, 451, 452; RFC 7504: 521",
        r"^(?:421|451|452|521) ",
    ),
    rule("code_5321_protocol", Reason.PROTOCOL, "RFC 5321 4.2.3: 500 to 504, 555", r"^(?:50\d|555) "),
    rule("code_5321_full", Reason.MAILBOX_FULL, "RFC 5321 4.2.3: 552 exceeded storage allocation", "^552 -"),
    rule("code_5321_tls", Reason.TLS, "RFC 3207 4: 530; RFC 4954 6: 538", r"^(?:530|538) "),
    rule("unexplained", Reason.OTHER, "Nothing was said that we know", ""),
)
