"""What a server has against the sender, its servers or its domain: never a reason to suppress an address."""

from activity.reasons import Reason
from relay.replies.rule import rule

REPUTATION = (
    rule(
        "reverse_dns",
        Reason.BLOCKED_REPUTATION,
        "RFC 7372 X.7.25; Postfix reject_unknown_client_hostname; Gmail, Comcast, GMX (postmaster.gmx.net)",
        "ptr\\b",
        "r-?dns\\b",
        "reverse[ -]?(dns|hostname|lookup|name|ip|resol|mapping|address|entry|record)",
        "(cannot|can't|unable to|could not|couldn't|cant) (find|resolve) your (\\w{1,12} ){0,2}(hostname|host|ip|address|reverse)",
        "ip (name|address) lookup failed",
        "(client host|helo|ehlo|hostname|host) (command )?(name )?(rejected|refused)…(hostname|host|name|address|resolve)",
        "fcrdns",
        "(missing|no|invalid|generic|dynamic|bad) (\\w{1,10} )?(ptr|rdns|reverse)",
        "反向解析",
        "reverse-?(dns|eintrag)|rueckwaert",
    ),
    rule(
        "block_list",
        Reason.BLOCKED_REPUTATION,
        "RFC 5782; the names of the public lists, and Postfix's, Exim's and Sendmail's words for any of them",
        "(spamhaus|spamcop|sorbs|uceprotect|abuseat|barracudacentral|invaluement|mailspike|backscatterer|njabl|"
        "surriel|psbl|spamrats|blocklist|blagr|cbl|pbl|xbl|sbl|dbl|senderbase|senderscore|trustedsource|nerd\\.dk|"
        "cloudmark|gbudb|wpbl|manitu|spfbl|abusix|talosintelligence|hostkarma|0spam|s5h|dronebl|spameatingmonkey|"
        "spl-xbl|sbl-xbl|rbl|dnsbl|rhsbl|drbl|uribl|surbl|dnsrbl|ivmsip|ivmuri|swinog|ahbl|ordb|dul)\\b",
        "\\w{0,20}(dnsbl|rbl)s?\\b",
        "black ?-?list",
        "(ip|block|deny|blocking|reject|spammer|spam|bad)[- ]?list(ed|s)?\\b",
        "(blocked|rejected|refused|denied|listed|found|present) (using|by|in|at|on|from) (\\w{1,20} ){0,3}[a-z0-9-]{1,40}\\.[a-z0-9.-]{2,60}",
        "blocked (using|by) \\w",
        "(is|are|been|was) (currently )?listed (in|on|by|at)",
        "listed (in|at|by|on) (a|an|the|our|one) (\\w{1,12} ){0,3}(list|rbl|dns|database)",
        "your ip…(listed|blocked|banned|rejected|blacklisted)",
        "(liste noire|lista negra|lista nera|schwarze liste|zwarte lijst|czarn.. list|черн(ый|ом|ого) спис)",
        "blacklistis",
        "黑名单",
        "dt:rbl|wm:bl[iu]|hl:(rep|mep|ipb|ihu)",
    ),
    rule(
        "microsoft_block",
        Reason.BLOCKED_REPUTATION,
        "Microsoft, sendersupport.olc.protection.outlook.com/pm/troubleshooting and NDRs in Exchange Online: banned "
        "and blocked addresses, codes S3140, S3150, 5.7.606-649",
        "banned sending ip",
        "^\\d{3} 5\\.7\\.6(0[6-9]|[1-4]\\d)\\b",
        "\\(?s31(40|50)\\)",
        "messages from…weren't sent",
        "part of their network is on our block",
        "traffic not accepted from this ip",
        "sc-00[1-4]\\b",
    ),
    rule(
        "yahoo_block",
        Reason.BLOCKED_REPUTATION,
        "Yahoo, senders.yahooinc.com/smtp-error-codes: [BL..] and [TSS07], [TSS09], [TSS11]; [TSS04] is in the next row",
        "\\[?tss(0[5-9]|1\\d)\\]",
        "\\[bl2\\d\\]|bl2\\d\\b",
        "permanently deferred",
        "connections will not be accepted from",
    ),
    rule("yahoo_deferral", Reason.RATE_LIMITED, "Yahoo, as above: unusual volume or complaints", "tss0[1-4]\\b"),
    rule(
        "orange_block",
        Reason.BLOCKED_REPUTATION,
        "Orange and Laposte.net, observed: OFR_006 and OFR_102 to 109 block the client host, OFR_999 refuses service",
        "ofr ?006 ?\\d{3}|ofr ?\\d{0,3} ?10[2-9]",
        "adresse ip…(bloque|refuse)",
        "client host blocked",
        "emails? (envoye|sent)…(bloque|blocked)",
        "mail host laposte\\.net were blocked",
    ),
    rule(
        "t_online_block",
        Reason.BLOCKED_REPUTATION,
        "Telekom, postmaster.t-online.de: 554 IP=… - A problem occurred … (BL); and \"None/bad reputation\" at connect",
        "ip=…a problem occurred",
        "\\(?(none|bad) ?/ ?bad reputation",
        "(dialup|dynamic|dynamische)[ /-](transaction|ip|adresse)",
    ),
    rule(
        "cox_charter_block",
        Reason.BLOCKED_REPUTATION,
        "Cox, cox.com/residential/support/email-error-codes.html, and Charter: AUP#… codes, E2110",
        "aup#\\w",
        "(cxbl|cdrbl|ipbl[01]{3,4}|cxthrt|cxsndr|cxmxrt|e2110)\\b",
    ),
    rule(
        "godaddy_block",
        Reason.BLOCKED_REPUTATION,
        "GoDaddy, godaddy.com/help/fix-rejected-email-with-a-bounce-error-40685: IB103 to IB113 and IB705",
        "ib(10[3-9]|11[0-35]|212|705)\\b",
    ),
    rule(
        "reputation",
        Reason.BLOCKED_REPUTATION,
        "Cisco (\"poor reputation\"), Barracuda, Proofpoint (PDR), Trend Micro (ERS), Gmail, ImprovMX, McAfee",
        "reputation",
        "(ip|ips|host|server|address|client|network|domain|connection|connections|mta) (address )?(\\[?[\\w.:-]{3,60}\\]? )?"
        "(has been|have been|is|are|was|were|being)? ?(temporarily |permanently |currently |now )?(blocked|banned|barred|blackholed)",
        "(blocked|banned|barred) (\\w{1,10} )?(ip|host|server|address|client|network|domain)\\b",
        "ers-\\w{0,20}-?block|ers-dul|ers-rbl",
        "ip…(not|isn't) in whitelist|not (in|on) (our |the )?whitelist",
        "(invalid|bad) ip for sending",
        "not (allowed|permitted|authorized|authorised) to (connect|send mail from|deliver)",
        "(currently|been) (sending|sent|relaying) spam",
        "(spamming|spam) (source|host|server|issues|sender|activity|incident)|suspected spam sender|known spammer|spammers?\\b",
        "too many spams? from",
        "incident de spam",
        "your access to (submit|this mail|this e-mail|our)",
        "(ip|host|network|server)…(poor|bad|low|negative) (karma|score)",
        "(spam trap|spamtrap|honeypot)",
        "we (do not|don't) accept (mail|e-mail|email|connections|messages) from (\\w{1,12} ){0,3}(dynamic|dial|residential|ip|your|this)",
        "(dynamic|dial-?up|residential|home|consumer|broadband)[ /-](\\w{1,10} )?(ip|address|host|pool|range|client|user)",
        "geographical location|country (is )?(blocked|not allowed|denied)",
        "ваш(его|ему)? ip|ip-адрес…заблок",
    ),
)

AUTHENTICATION = (
    rule(
        "spf_dkim_dmarc",
        Reason.AUTHENTICATION,
        "RFC 7208, 6376, 7489, 7372; support.google.com/a/answer/3726730; Microsoft 5.7.509, 5.7.515, 5.7.23; Apple",
        "(dmarc|dkim|spf|domainkeys?|sender[ -]?id|arc|senderid)\\b",
        "unauthenticated (mail|email|e-mail|sender|message)",
        "(email|e-mail|message|sender|mail|domain)…(fail|fails|failed|failing|not pass|doesn't pass|pass)…authentication",
        "authentication (check|information|result|level|requirement|status|fail\\w{0,4} for domain)",
        "required authentication level",
        "from: header…(aligned|alignment)|not aligned|alignment",
        "permitted by (the )?domain owner|(sender|domain) policy of the domain",
        "(spoof|forge)(d|s|ed|ing)?\\b|anti-?spoof|impersonat",
        "(dt:sum|mi:spf|mi:nhd)",
        "domain owner discourages",
    ),
    rule(
        "authentication_code",
        Reason.AUTHENTICATION,
        "RFC 7372: X.7.20 to X.7.24, X.7.26 and X.7.29; Microsoft 5.7.509 and 5.7.515; Gmail 4.7.27 to 4.7.40",
        "^\\d{3} [45]\\.7\\.(2[0-4]|26|29|30|31|32|40|509|515)\\b",
    ),
)

PERMISSION = (
    rule(
        "sender_refused",
        Reason.POLICY,
        "RFC 3463 X.1.7, X.1.8; Postfix reject_unknown_sender_domain and reject_unverified_sender; Exim's callouts",
        "sender('s)? (e-?mail |mail |mailbox |envelope )?(address |domain |name |host )?(has been |has |was |is |does |could |must |can |may |are )?"
        "(not|n't|rejected|refused|denied|unknown|invalid|blocked|unverified|unresolv|undeliverable|unauthorized|"
        "exist|verif|ver(ify|ification)|does|doesn't|isn't|failed|disallowed|banned|in blacklist|hangup|hang up|unroutable|needs|be )",
        "(invalid|unknown|unverified|bad|illegal|fake|unresolvable|unauthorized|malformed|null|blocked|empty|non-?existent|no such) "
        "(envelope )?(senders?|return[- ]?path|from|mail ?from|mailfrom|originator)\\b",
        "(domain|address|host) of (the )?sender",
        "sender verify",
        "sending (domain|address|host)…(not exist|not found|invalid|unknown|no mx|resolve|does not|doesn't)",
        "(return[- ]?path|envelope[- ]from|envelope sender|mail from|mailfrom|from: ?domain|from: header|from header|from address|"
        "from domain|from field|header from)…(invalid|not|n't|unknown|reject|refus|denied|missing|malformed|multiple|must|resolve)",
        "from: domain is invalid|(valid|multiple) from:",
        "emetteur (invalide|inconnu|refuse)|expediteur (invalide|inconnu|refuse)",
        "(absender|remitente|mittente|remetente|отправител|afzender|nadawc|odesilatel)\\w{0,8}…(unbekannt|ungultig|abgelehnt|"
        "desconocid|invalid|rechazad|sconosciut|non valid|desconhecid|отклон|не существ|не наиден|заблок|onbekend|geweigerd|nieznan|odrzucon|neznam)",
        "发件人",
        "^\\d{3} [45]\\.1\\.[78] ",
        "invalid hostname|invalid (helo|ehlo)|(helo|ehlo) (command|name|hostname)? ?(rejected|invalid|required|refused)|need fully-qualified",
    ),
    rule(
        "relay_denied",
        Reason.POLICY,
        "Postfix reject_unauth_destination, Sendmail, Exim, qmail's rcpthosts, Exchange 5.7.54 and 5.7.64: the server is "
        "not configured for the domain, which its owner can repair, so the address is not suppressed",
        "relay(ing)?[ -](access |mail |of mail |of e-?mail )?(\\w{1,12} ){0,2}(denied|refused|prohibited|rejected|disallowed|"
        "forbidden|not (allowed|permitted|authorized|authorised|local|available|supported|enabled))",
        "(unable|not permitted|not allowed|not configured|not authorized|refuse|refuses|cannot|can't|won't|not|unauthorized|not able|"
        "denied|no|deny|denies|not possible) (to )?(mail )?relay",
        "relay (check|domain|local|is|restriction|denied)",
        "(we )?(do not|don't|does not|doesn't) (\\w{1,10} )?relay",
        "rcpthosts",
        "authentication (is )?required|(must|need to|please|have to) (first )?(authenticate|login|log in|be authenticated|auth)|"
        "not (been )?authenticated|smtp auth|client was not authenticated|login first",
        "invalid credentials for relay",
        "use the smtp relay (at|of|from)|send email directly to our",
        "(open relay|open proxy|openrelay)",
        "tenantattribution|tenantinboundattribution",
        "relais (refuse|interdit)|relay(en|ing)? nicht|weiterleitung nicht",
        "code d[ '\"]authentification",
    ),
    rule(
        "not_for_this_sender",
        Reason.POLICY,
        "Google Groups, Mailman, Microsoft 5.7.124, 5.7.133, 5.7.134 (NDRs in Exchange Online), Meta RCP-P2, Mimecast",
        "not (a )?(member|subscribed|subscriber|allowed to post|permitted to post|authorized to post)",
        "permission to (post|send|submit|mail|email|e-mail)|(allowed|permitted|authorized|authorised) to (post|send|submit|mail)",
        "p=disabledgroup|(group|list) you tried to contact",
        "(moderat(ed|or|ion))\\b",
        "recipient('s)? preferences?|recipient (has )?(blocked|refuses|declined|does not want)",
        "(blocked|rejected|refused|not accepted|denied) by (the )?(recipient|user|addressee|owner)",
        "(user|recipient|mailbox) (only accepts|does not accept|doesn't accept|is not accepting|isn't accepting|not accepting|"
        "refuses|has refused|has rejected|only receives)\\b",
        "sendernotauthenticatedfor|notauthorized|allowed senders? list|safe ?list|whitelist only|approved senders?",
        "private list|restricted (to|recipient|group|list|address)|internal (use|users|only|mail)",
        "local users? only|only (for )?local|registered gateway user",
        "header based manually blocked|blocked senders?\\b|manually blocked|envelope rejected|envelope blocked",
        "challenge|verify that you are (a )?human|confirm your",
        "block-rcpt",
    ),
)

STRONG_POLICY = (
    rule(
        "policy",
        Reason.POLICY,
        "RFC 3463 X.7.1, X.7.2; administrators' rules in Exchange (RESOLVER.RST, TRANSPORT.RULES), Proofpoint, GMX, Zoho",
        "polic(y|ies)\\b|mailpolicy",
        "(administrat\\w{0,6}|site|local|security|company|corporate) (prohibit|rule|restriction|reject|block|decision)",
        "prohibit",
        "rulereject|transport ?rule|transport\\.rules",
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
        "Postfix access(5); Exchange Online's \"5.4.1 Recipient address rejected: Access denied\" also comes for good "
        "addresses when the domain's set-up is wrong (learn.microsoft.com, NDRs in Exchange Online)",
        "access (is |was |has been )?(denied|refused|rejected|forbidden|restricted)",
    ),
)

REFUSAL = (
    rule(
        "refused",
        Reason.POLICY,
        "A refusal that gives no cause, in words (RFC 5321 4.2.3: 554)",
        "(permission|authorization|authorisation) denied|unauthori[sz]ed|not authori[sz]ed|not permitted|not allowed|forbidden|disallowed",
        "(mail|email|e-mail|message|messages|delivery|connection|transaction|sender|client|host|server|service|request|recipient) "
        "(\\w{1,12} ){0,3}(refus|reject|block|denied|declin|not accepted|discarded|bounced)",
        "(refus|reject|block|declin|denied)(ed|e|es|s|ing)?\\b",
        "we (do not|don't|will not|won't|cannot|can't) (accept|allow|receive|take)",
        "(mail )?(rejete|abgelehnt|verweigert|rechazad[oa]|rifiutat[oa]|rejeitad[oa]|recusad[oa]|отклонен|отказано|geweigerd|odrzucon[ae]|odmitnut)",
        "拒绝|拒收|拒否",
        "undesirable|unwanted",
    ),
)
