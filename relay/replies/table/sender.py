"""What a server has against the sender, its servers or its domain: never a reason to suppress an address."""

from activity.reasons import Reason
from relay.replies.rule import rule

REPUTATION = (
    rule(
        "reverse_dns",
        Reason.BLOCKED_REPUTATION,
        "RFC 7372 X.7.25; Postfix reject_unknown_client_hostname; Gmail, Comcast, GMX (postmaster.gmx.net)",
        r"ptr\b",
        r"r-?dns\b",
        "reverse[ -]?(dns|hostname|lookup|name|ip|resol|mapping|address|entry|record)",
        (
            r"(cannot|can't|unable to|could not|couldn't|cant) (find|resolve) your (\w{1,12} ){0,2}(hostname|"
            "host|ip|address|reverse)"
        ),
        "ip (name|address) lookup failed",
        r"client (host|hostname|name|domain) (\S{1,60} )?(is |was |does |could )?(not|unknown|unresolv)",
        (
            "(client host|helo|ehlo|hostname|host) (command )?(name )?(rejected|refused)…(hostname|host|name|"
            "address|resolve)"
        ),
        r"fcrdns|mismatch\w{0,4} (the )?client ip|(ip|hostname|host|helo|ehlo) mismatch",
        r"(missing|no|invalid|generic|dynamic|bad) (\w{1,10} )?(ptr|rdns|reverse)",
        r"(invalid|bad) (dns )?mx\b(?! host)|(dns )?mx or a(/aaaa)? resource record",
        "反向解析",
        "reverse-?(dns|eintrag)|rueckwaert",
    ),
    rule(
        "block_list",
        Reason.BLOCKED_REPUTATION,
        "RFC 5782; the names of the public lists, and Postfix's, Exim's and Sendmail's words for any of them",
        (
            "(spamhaus|spamcop|sorbs|uceprotect|abuseat|barracudacentral|invaluement|mailspike|backscatterer|"
            "njabl|surriel|psbl|spamrats|blocklist|blagr|cbl|pbl|xbl|sbl|dbl|senderbase|senderscore|"
            r"trustedsource|nerd\.dk|cloudmark|gbudb|wpbl|manitu|spfbl|abusix|talosintelligence|hostkarma|0spam|"
            "s5h|dronebl|spameatingmonkey|spl-xbl|sbl-xbl|rbl|dnsbl|rhsbl|drbl|uribl|surbl|dnsrbl|ivmsip|ivmuri|"
            r"swinog|ahbl|ordb|dul)\b"
        ),
        r"\w{0,20}(dnsbl|rbl)s?\b",
        "black ?-?list",
        r"(ip|block|deny|blocking|reject|spammer|spam|bad)[- ]?list(ed|s)?\b",
        (
            r"(blocked|rejected|refused|denied|listed|found|present) (using|by|in|at|on|from) (\w{1,20} "
            r"){0,3}[a-z0-9-]{1,40}\.[a-z0-9.-]{2,60}"
        ),
        r"blocked (using|by) \w",
        "(is|are|been|was) (currently )?listed (in|on|by|at)",
        r"listed (in|at|by|on) (a|an|the|our|one) (\w{1,12} ){0,3}(list|rbl|dns|database)",
        "your ip…(listed|blocked|banned|rejected|blacklisted)",
        "(liste noire|lista negra|lista nera|schwarze liste|zwarte lijst|czarn.. list|черн(ый|ом|ого) спис)",
        "blacklistis",
        "黑名单",
        "dt:rbl|wm:bl[iu]|hl:(rep|mep|ipb|ihu)",
    ),
    rule(
        "microsoft_block",
        Reason.BLOCKED_REPUTATION,
        (
            "Microsoft, sendersupport.olc.protection.outlook.com/pm/troubleshooting and NDRs in Exchange Online: "
            "banned and blocked addresses, codes S3140, S3150, 5.7.606-649"
        ),
        "banned send(ing ip|er)",
        r"^\d{3} 5\.7\.(511|6(0[6-9]|[1-4]\d)) ",
        r"\(?s31(40|50)\)",
        "(?<!some )messages from…weren't sent",
        "part of their network is on our block",
        "traffic not accepted from this ip",
        r"sc-00[1-4]\b",
    ),
    rule(
        "yahoo_block",
        Reason.BLOCKED_REPUTATION,
        (
            "Yahoo, senders.yahooinc.com/smtp-error-codes: [BL..] and [TSS07], [TSS09], [TSS11]; [TSS04] is in the "
            "next row"
        ),
        r"\[?tss(0[5-9]|1\d)\]",
        r"\[bl2\d\]|bl2\d\b",
        "permanently deferred",
        "connections will not be accepted from",
    ),
    rule(
        "yahoo_deferral",
        Reason.RATE_LIMITED,
        "Yahoo, as above: unusual volume or complaints",
        r"tss0[1-4]\b",
    ),
    rule(
        "orange_block",
        Reason.BLOCKED_REPUTATION,
        (
            "Orange and Laposte.net, observed: OFR_006 and most of OFR_102 to 109 block the client host, OFR_999 "
            "refuses service"
        ),
        r"ofr ?006 ?\d{3}|ofr ?\d{0,3} ?10[236-9]",
        "adresse ip…(bloque|refuse)",
        "client host blocked",
        "emails? (envoye|sent)…(bloque|blocked)",
        r"mail host laposte\.net were blocked",
    ),
    rule(
        "t_online_block",
        Reason.BLOCKED_REPUTATION,
        ('Telekom, postmaster.t-online.de: 554 IP=… - A problem occurred … (BL); and "None/bad reputation" at connect'),
        "ip=…a problem occurred",
        r"\(?(none|bad) ?/ ?bad reputation",
        "(dialup|dynamic|dynamische)[ /-](transaction|ip|adresse)",
    ),
    rule(
        "cox_charter_block",
        Reason.BLOCKED_REPUTATION,
        "Cox, cox.com/residential/support/email-error-codes.html, and Charter: AUP#… codes, E2110",
        r"aup#\w",
        r"(cxbl|cdrbl|ipbl[01]{3,4}|cxthrt|cxsndr|cxmxrt|e2110)\b",
    ),
    rule(
        "godaddy_block",
        Reason.BLOCKED_REPUTATION,
        "GoDaddy, godaddy.com/help/fix-rejected-email-with-a-bounce-error-40685: IB103 to IB115 and IB705",
        r"ib(10[3-9]|11[0-35]|705)\b",
    ),
    rule(
        "reputation",
        Reason.BLOCKED_REPUTATION,
        'Cisco ("poor reputation"), Barracuda, Proofpoint (PDR), Trend Micro (ERS), Gmail, ImprovMX, McAfee',
        r"reputation|ipcheck\.proofpoint|url:\S{0,20}(ipcheck|dnsbl|rbl|blacklist|reputation)",
        (
            "(ip|ips|host|server|address|client|network|domain|connection|connections|mta) (address "
            r")?(\[?[\w.:-]{3,60}\]? )?(has been|have been|is|are|was|were|being)? ?(temporarily |permanently |"
            "currently |now )?(blocked|banned|barred|blackholed)"
        ),
        r"(blocked|banned|barred) (\w{1,10} )?(ip|host|server|address|client|network|domain)\b",
        r"^\d{3} \S{1,9} blocked\W{1,4}see url:|block(ed|s)? (\w{1,10} )?for (\w{1,10} )?(spam|abuse)",
        r"ers-\w{0,20}-?block|ers-dul|ers-rbl",
        "ip…(not|isn't) in whitelist|not (in|on) (our |the )?whitelist",
        r"(invalid|bad) ip\b",
        "not (allowed|permitted|authorized|authorised) to (connect|send mail from|deliver)",
        "(currently|been) (sending|sent|relaying) spam|unusual rate of unsolicited",
        "(spamming|spam) (source|host|server|issues|sender|activity|incident)|suspected spam sender|known spammer",
        r"spammers?\b",
        "too many spams? from",
        "incident de spam",
        "your access to (submit|this mail|this e-mail|our)",
        "(ip|host|network|server)…(poor|bad|low|negative) (karma|score)|sender ?(score|rating)",
        r"rly:[a-z]{1,2}\d",
        "(spam trap|spamtrap|honeypot)",
        (
            r"we (do not|don't) accept (mail|e-mail|email|connections|messages) from (\w{1,12} ){0,3}(dynamic|"
            "dial|residential|ip|your|this)"
        ),
        (
            r"(dynamic|dial-?up|residential|home|consumer|broadband)[ /-](\w{1,10} )?(ip|address|host|pool|"
            "range|client|user)"
        ),
        "geographical location|country (is )?(blocked|not allowed|denied)",
        "ваш(его|ему)? ip|ip-адрес…заблок",
    ),
)

AUTHENTICATION = (
    rule(
        "spf_dkim_dmarc",
        Reason.AUTHENTICATION,
        ("RFC 7208, 6376, 7489, 7372; support.google.com/a/answer/3726730; Microsoft 5.7.509, 5.7.515, 5.7.23; Apple"),
        r"(dmarc|dkim|spf|domainkeys?|sender[ -]?id|arc|senderid)\b",
        "unauthenticated (mail|email|e-mail|message)",
        (
            "(email|e-mail|message|sender|mail|domain)…(fail|fails|failed|failing|not pass|doesn't pass|pass)…"
            "authentication"
        ),
        r"authentication (check|information|result|level|requirement|status|fail\w{0,4} for domain)",
        "required authentication level",
        "from: header…(aligned|alignment)|not aligned|alignment",
        "permitted by (the )?domain owner|(sender|domain) policy of the domain",
        r"(spoof|forge)(d|s|ed|ing)?\b|anti-?spoof|impersonat",
        "(dt:sum|mi:spf|mi:nhd)",
        "domain owner discourages",
    ),
    rule(
        "authentication_code",
        Reason.AUTHENTICATION,
        "RFC 7372: X.7.20 to X.7.24, X.7.26 and X.7.29; Microsoft 5.7.509 and 5.7.515; Gmail 4.7.27 to 4.7.40",
        r"^\d{3} [45]\.7\.(2[0-4]|26|29|30|31|32|40|509|515)\b",
    ),
)
