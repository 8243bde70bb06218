"""Too new, too fast, too many: greylisting and rate limits."""

from activity.reasons import Reason
from relay.replies.rule import rule

GREYLISTING = (
    rule(
        "greylisted",
        Reason.GREYLISTED,
        "RFC 6647; the words of postgrey, milter-greylist, SQLgrey, Exim recipes and rspamd",
        "gr[ae]y ?-?list",
        "postgrey",
        "gr[ae]y ?list",
        r"(please )?(try again|retry|come back|resend) (again )?(in|after) \d{1,5} ?(s|m|sec|second|min|minute)",
        "early talker",
        "(first|initial) (contact|connection|attempt|delivery)…(try|retry|later)",
        "(rechazo temporal|rejet temporaire|liste grise|lista grigia|lista gris|graue liste)",
        "灰名单",
    ),
)

FREQUENCY = (
    rule(
        "netease_rate",
        Reason.RATE_LIMITED,
        ("NetEase (163.com, 126.com), published list of bounce codes, mail.163.com/help: HL, MI and RP are limits"),
        "hl:(icc|ifc|ifq)",
        "(mi:(cel|dmc|ccl|sfq|stc)|rp:(drc|ccl|cel|qrc|trc))",
    ),
    rule(
        "qq_frequency",
        Reason.RATE_LIMITED,
        "Tencent, service.mail.qq.com: 550 Ip / Domain / Sender / Connection frequency limited",
        "frequency (is )?limited",
        "频率",
    ),
    rule(
        "gmail_microsoft_rate",
        Reason.RATE_LIMITED,
        (
            "Google, support.google.com/a/answer/3726730: 4.2.1, 4.7.28, 5.4.5 and 5.7.28 are limits; Microsoft's "
            "RP-001 to 003"
        ),
        "receiving mail (at a rate|too quickly)",
        "unusual rate of (?!unsolicited)",
        "p=receivingrate",
        "exceeded (its|the|your) quota for sending",
        r"limits for how many messages|rp-00[1-3]\b",
        "daily (user |smtp |relay )?sending (quota|limit)",
    ),
)

RATES = (
    rule(
        "too_many_messages",
        Reason.RATE_LIMITED,
        ("RFC 3463 X.4.5; the words of Postfix's anvil, Exim's ratelimit, Yahoo, Microsoft, Orange, GoDaddy, Comcast"),
        (
            r"too many (\w{1,12} ){0,2}(connection|message|mail|e-mail|email|session|recipient|command|login|"
            "request|error|deliver|bad|invalid|unknown|concurrent|attempt|transaction|simultaneous)"
        ),
        "too much (mail|email|e-mail|traffic|load)",
        "rate ?-?limit",
        "(message|mail|sending|connection|relay|recipient|delivery) rate",
        "throttl",
        (
            "(sending|sent|connecting|connections|messages|mail|mails|emails|commands) (too|so) (fast|frequently|"
            "quickly|often)"
        ),
        "slow down",
        (
            "(unexpected|unusual|excessive|high|higher than normal) (mail |email |message |connection )?(volume|"
            "traffic|rate)"
        ),
        "higher than normal email volume",
        (
            "(exceed|exceeds|exceeded|exceeding|over|reached|reaches|above)…(number of|rate|maximum allowed|max "
            r"allowed|limit for|per hour|per minute|per day|per session|connections?\b|hourly|daily|concurrent|"
            "simultaneous|messages)"
        ),
        "(limit|maximum|max)…(connections|messages|recipients|mails|emails)…(exceeded|reached)",
        (
            "(relay|sending|send|hourly|daily|session|connection|message|messages|recipients?) (limit|quota) (is |"
            "was |has been |have been )?(exceeded|reached)"
        ),
        "maximum (number of )?(connections|messages|recipients|concurrent)",
        r"exceed\w{0,4} (\w{1,10} ){0,3}(sending|hourly|daily|message|connection|mail) (limit|quota)",
        (
            "(trop de|zu viele|demasiad[oa]s|troppi|troppe|muitas|muitos|слишком много|te veel|za duzo|prilis "
            "mnoho) (connexion|message|mail|e-mail|verbindung|nachricht|empfanger|conexion|mensaj|conness|"
            "messagg|conex|mensage|соединен|сообщен|пис|bericht|verbinding|wiadomosci|polacz|sprav|spojen)"
        ),
        "(连接|并发|发信|频次).{0,10}(过多|超过|限制)",
    ),
)
