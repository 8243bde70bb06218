"""What a server has against the message itself: its size, its words, its form."""

from activity.reasons import Reason
from relay.replies.rule import rule

CONTENT = (
    rule(
        "headers_wrong",
        Reason.PROTOCOL,
        'RFC 5322 3.6; Gmail\'s 5.6.0 and 5.7.1 "RFC 5322", Yahoo\'s "Header error", Exchange\'s 5.6.x and 5.7.512',
        "headers? (is |are )?(too (large|big|long|many)|error|malformed|invalid)",
        r"too many (\w{1,10} )?headers?\b",
        (
            r"(message|mail|email|header|headers|mime|content) (\w{1,12} ){0,3}(is |are )?(malformed|not rfc|"
            "non-?compliant|violat|ill-formed)"
        ),
        "malformed (message|mail|header|mime|email)",
        "(rfc|5322|2822|822)[ -]?(5322|2822|822)?[ -](compliant|violation|compliance|conform)",
        r"(not|isn't|comply|compliant|conform|violat\w{1,4})…rfc ?-?(5322|2822|822|2045|2047)",
        (
            r"(missing|no|multiple|duplicate|invalid|bare|required) (\w{1,10} )?(headers?|message-id|date:|lf\b|"
            r"line ?feed|cr\b|newline|subject:)"
        ),
        "8-?bit data|smtputf8|lines? (is |are )?too long|lines? longer than|bare (lf|cr|line)|stray newline",
        "media error|conversion (required|failed)|mime (error|type)",
    ),
    rule(
        "too_large",
        Reason.TOO_LARGE,
        "RFC 1870, RFC 3463 X.2.3 and X.3.4; Postfix, Exim, Gmail (552 5.2.3, 5.3.4), Exchange, Coremail",
        (
            "(message|mail|email|e-mail|attachment|content|header|body|data|file|msg)('s)? (file |body )?(size |"
            r"length )?(\w{1,12} ){0,3}(too (large|big|long)|exceed|larger than|bigger than|greater than|over "
            r"the limit|over limit)…(size|limit|maximum|large|big|long|fixed|bytes|kb|mb|allowed|\d)?"
        ),
        r"(size|length) (\w{1,12} ){0,3}(limit|exceed|too|larger|bigger)",
        "too (large|big) (a )?(message|mail|email|for)|too large",
        r"exceed\w{0,4} (\w{1,12} ){0,4}(size|length)",
        r"(maximum|max) (\w{1,12} ){0,3}size",
        "(nachricht|mail) (ist )?zu (gross|groß)|message trop (volumineux|gros|grand)|mensaje demasiado grande",
        "messaggio troppo grande|mensagem muito grande|слишком больш|te groot|zbyt duz|prilis velk",
        "(邮件|附件).{0,8}(过大|太大|超过)",
        r"^\d{3} [45]\.(2\.3|3\.4)\b(?! mailpolicy)",
    ),
    rule(
        "virus",
        Reason.SPAM_CONTENT,
        (
            "ClamAV in Exim and amavis, Zoho, Mimecast, Gmail's blocked attachments "
            "(support.google.com/mail/?p=BlockedMessage)"
        ),
        r"virus|malware|trojan|phish|ransomware|worm\b|infected|dangerous|harmful",
        (
            "(banned|blocked|forbidden|illegal|unsafe|prohibited|disallowed|executable|not allowed|unacceptable) "
            r"(\w{1,10} )?(attachment|file|extension|content|file ?type)"
        ),
        (
            r"attachments? (\w{1,12} ){0,3}(banned|blocked|forbidden|not allowed|denied|type|rejected|not "
            "accepted|prohibited)"
        ),
        "p=blockedmessage|potential security (issue|risk)|mcspamsignature",
        "病毒",
    ),
    rule(
        "spam",
        Reason.SPAM_CONTENT,
        (
            'SpamAssassin, rspamd, amavis, Gmail (5.7.1 "likely unsolicited mail"), Yandex ("under suspicion of '
            'SPAM"), mail.ru, Free ("spam detected"), Orange (OFR_506), Symantec ("Message filtered"), QQ ("Mail '
            'content denied"), NetEase (DT:SPM)'
        ),
        r"(anti-?)?spam|junk ?-?mail|junk\b|gtube",
        r"unsolicited|(bulk|ube|uce)\b",
        (
            r"(content|body|subject|text|url|link|links)s? (\w{1,12} ){0,3}(reject|denied|den[iy]|block|refus|"
            "not accept|unacceptable|filter|restrict|prohibit|suspicious|detected|violat|scor)"
        ),
        "(suspicious|suspect|objectionable|offensive|inappropriate)",
        "(message|mail|email|e-mail) (was |has been |is )?(filtered|scored|flagged)|content (filter|scan)",
        "dt:spm|mi:spb",
        r"ofr ?50[6-9]|ofr ?\d{0,3} ?50[6-9]",
        "(high|spam) (probability|score|level)|profile the internet community",
        "indesirable|pourriel|no deseado|indesiderat|indesejad|нежелательн|спам|ungewunscht|unerwunscht",
        "垃圾|迷惑メール|反垃圾",
    ),
)
