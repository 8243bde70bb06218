"""Rules of the receiving side: who may write to whom, and refusals that give no better cause."""

from activity.reasons import Reason
from relay.replies.rule import rule

PERMISSION = (
    rule(
        "sender_refused",
        Reason.POLICY,
        ("RFC 3463 X.1.7, X.1.8; Postfix reject_unknown_sender_domain and reject_unverified_sender; Exim's callouts"),
        (
            "sender('s)? (e-?mail |mail |mailbox |envelope |user )?(address |domain |name |host )?(has been |has |was |"
            "is |does |could |must |can |may |are )?(not|n't|rejected|refused|denied|unknown|invalid|blocked|"
            "unverified|unresolv|undeliverable|unauthorized|exist|verif|ver(ify|ification)|does|doesn't|isn't|"
            "failed|disallowed|banned|empty|in blacklist|hangup|hang up|unroutable|needs|be )"
        ),
        (
            "(invalid|unknown|unverified|bad|illegal|fake|unresolvable|unauthorized|malformed|null|blocked|empty|"
            r"non-?existent|no such) (envelope )?(senders?|return[- ]?path|from|mail ?from|mailfrom|originator)\b"
        ),
        r"(domain|address|host) of (the )?sender|your (\w{1,10} )?(host|domain|hostname)…(not|unknown|invalid|n't)",
        "sender (verify|account)|mail sending denied",
        "sending (domain|address|host)…(not exist|not found|invalid|unknown|no mx|resolve|does not|doesn't)",
        (
            "(return[- ]?path|envelope[- ]from|envelope sender|mail from|mailfrom|from: ?domain|from: header|"
            "from header|from address|from domain|from field|header from)…(invalid|not|n't|unknown|reject|refus|"
            "denied|missing|malformed|multiple|must|resolve)"
        ),
        r"(address|domain|host) (\w{1,10} )?in (the )?(\w{1,10} )?(from|sender|return)",
        r"(for|of) (the |your )?(envelope )?sender\b",
        "from: domain is invalid|(valid|multiple) from:",
        "emetteur (invalide|inconnu|refuse)|expediteur (invalide|inconnu|refuse)",
        (
            r"(absender|remitente|mittente|remetente|отправител|afzender|nadawc|odesilatel)\w{0,8}…(unbekannt|"
            "ungultig|abgelehnt|desconocid|invalid|rechazad|sconosciut|non valid|desconhecid|отклон|не существ|"
            "не наиден|заблок|onbekend|geweigerd|nieznan|odrzucon|neznam)"
        ),
        "发件人",
        r"^\d{3} [45]\.1\.[78] ",
        r"invalid hostname|(invalid|your|the|bad|wrong) (helo|ehlo)\b",
        "(helo|ehlo) (command|name|hostname)? ?(rejected|invalid|required|refused)|need fully-qualified",
    ),
    rule(
        "relay_denied",
        Reason.POLICY,
        (
            "Postfix reject_unauth_destination, Sendmail, Exim, qmail's rcpthosts, Exchange 5.7.54 and 5.7.64: the "
            "server is not configured for the domain, which its owner can repair, so the address is not suppressed"
        ),
        (
            r"relay(ing)?[ -](access |mail |of mail |of e-?mail )?(\w{1,12} ){0,2}(denied|refused|prohibited|"
            "rejected|disallowed|forbidden|not (allowed|permitted|authorized|authorised|local|available|"
            "supported|enabled))"
        ),
        (
            "(unable|not permitted|not allowed|not configured|not authorized|refuse|refuses|cannot|can't|won't|"
            "not|unauthorized|not able|denied|no|deny|denies|not possible) (to )?(mail )?relay"
        ),
        "relay (check|domain|local|is|restriction|denied)",
        r"(we )?(do not|don't|does not|doesn't) (\w{1,10} )?relay",
        "rcpthosts",
        "authentication (is )?required|auth(entication)? (failed|failure|error|user)|password",
        "(must|need to|please|have to) (first )?(authenticate|login|log in|be authenticated|auth)",
        "not (been )?authenticated|smtp auth|client was not authenticated|login first",
        "invalid credentials for relay",
        r"(use|using) (me|us|this server) (\S{1,60} )?as a relay",
        "use the smtp relay (at|of|from)|send email directly to our",
        "(open relay|open proxy|openrelay)",
        "tenantattribution|tenantinboundattribution",
        "relais (refuse|interdit)|relay(en|ing)? nicht|weiterleitung nicht",
        "code d.authentification",
    ),
    rule(
        "not_for_this_sender",
        Reason.POLICY,
        (
            "Google Groups, Mailman, Microsoft 5.7.124, 5.7.133, 5.7.134 (NDRs in Exchange Online), Meta RCP-P2, "
            "Mimecast"
        ),
        "not (a )?(member|subscribed|subscriber|allowed to post|permitted to post|authorized to post)",
        "permission to (post|send|submit|mail|email|e-mail)",
        "(allowed|permitted|authorized|authorised) to (post|send|submit|mail)",
        "p=disabledgroup|(group|list) you tried to contact",
        r"(moderat(ed|or|ion))\b",
        "recipient('s)? preferences?|recipient (has )?(blocked|refuses|declined|does not want)",
        "(blocked|rejected|refused|not accepted|denied) by (the )?(recipient|user|addressee|owner)",
        (
            "(user|recipient|mailbox) (only accepts|does not accept|doesn't accept|is not accepting|isn't "
            r"accepting|not accepting|refuses|has refused|has rejected|only receives)\b"
        ),
        "sendernotauthenticatedfor|notauthorized|allowed senders? list|safe ?list|whitelist only",
        "approved senders?",
        "private list|restricted (to|recipient|group|list|address)|internal (use|users|only|mail)",
        "local users? only|only (for )?local|registered gateway user",
        r"header based manually blocked|blocked senders?\b|manually blocked|envelope rejected|envelope blocked",
        "challenge|verify that you are (a )?human|confirm your",
        "block-rcpt",
    ),
)

STRONG_POLICY = (
    rule(
        "policy",
        Reason.POLICY,
        (
            "RFC 3463 X.7.1, X.7.2; administrators' rules in Exchange (RESOLVER.RST, TRANSPORT.RULES), Proofpoint, "
            "GMX, Zoho"
        ),
        r"polic(y|ies)\b|mailpolicy",
        (
            r"(administrat\w{0,6}|site|local|security|company|corporate) (prohibit|rule|restriction|reject|"
            "block|decision)"
        ),
        "prohibit",
        r"rulereject|transport ?rule|transport\.rules",
        "delivery not authorized|not authorized to (receive|deliver|send)",
        "mailbox unavailable or access denied",
        "(content|message|mail|email) (was |is |has been )?(quarantin)",
        "delivery (was |is )?(restricted|not allowed|prohibited|forbidden)",
        "richtlinie|politique|politica|politik|beleid|zasad bezpieczenstwa|политик",
    ),
)

ACCESS = (
    rule(
        "access_denied",
        Reason.POLICY,
        (
            'Postfix access(5); Exchange Online\'s "5.4.1 Recipient address rejected: Access denied" also comes for '
            "good addresses when the domain's set-up is wrong (learn.microsoft.com, NDRs in Exchange Online)"
        ),
        "access (is |was |has been )?(denied|refused|rejected|forbidden|restricted)",
    ),
)

REFUSAL = (
    rule(
        "refused",
        Reason.POLICY,
        "A refusal that gives no cause, in words (RFC 5321 4.2.3: 554)",
        "(permission|authorization|authorisation) denied|unauthori[sz]ed|not authori[sz]ed|not permitted",
        "not allowed|forbidden|disallowed",
        (
            "(mail|email|e-mail|message|messages|delivery|connection|transaction|sender|client|host|server|"
            r"service|request|recipient) (\w{1,12} ){0,3}(refus|reject|block|denied|declin|not accepted|"
            "discarded|bounced)"
        ),
        r"(refus|reject|block|declin|denied)(ed|e|es|s|ing)?\b",
        "we (do not|don't|will not|won't|cannot|can't) (accept|allow|receive|take)",
        (
            "(mail )?(rejete|abgelehnt|verweigert|rechazad[oa]|rifiutat[oa]|rejeitad[oa]|recusad[oa]|отклонен|"
            "отказано|geweigerd|odrzucon[ae]|odmitnut)"
        ),
        "拒绝|拒收|拒否",
        "undesirable|unwanted",
    ),
)
