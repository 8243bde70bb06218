"""Trouble on the way and in the server: DNS, network, encryption, overload, time running out."""

from activity.reasons import Reason
from relay.replies.rule import rule

LOOKUP_TROUBLE = (
    rule(
        "routing_loop",
        Reason.NETWORK,
        ('RFC 3463 X.4.6; RFC 5321 6.3; Postfix "too many hops", qmail "this message is looping", Exchange 5.4.14'),
        r"too many (\w{1,10} )?(hops|received)|hop ?count",
        r"(mail|routing|forwarding|message) (is )?(\w{1,10} )?loop|loop(s|ing)? (detected|back|message)|looping",
        r"mail for \S{1,80} loops",
        r"^\d{3} [45]\.4\.(6|14) ",
    ),
    rule(
        "lookup_failed",
        Reason.NETWORK,
        (
            'Postfix "Host not found, try again", Sendmail "host name lookup failure", ZoneMTA and SparkPost "DNS '
            'error": the name may well exist'
        ),
        "try again…(dns|name server|lookup)(?!.{0,120}nxdomain)|not found, try again",
        (
            "(host ?name|host|dns|name|mx|address|domain) (name )?(lookup|resolution|resolving|server) "
            # DragonFly's "DNS lookup failure: host … not found" is final.
            r"(\w{1,10} )?(failure(?!: host \S{1,255} not found)|failed|error|timeout|timed out|temporar)"
        ),
        "find a gateway",
        (
            "dns (error|failure|problem|timeout|server failure|query (failed|error)|lookup(?! failure: host))"
            "(?!.{0,120}(null mx|nxdomain|does not exist|doesn't receive))"
        ),
        r"name server: \S{1,80} host name lookup failure|servfail|temporary (lookup|dns|name resolution)",
    ),
    rule(
        "verification_unavailable",
        Reason.SERVER_UNAVAILABLE,
        (
            "Postfix reject_unverified_recipient, Exim callouts, LDAP: the server could not ask whether the mailbox "
            "exists"
        ),
        (
            "(unable|could not|cannot|can't|couldn't|failed) to (verify|validate|check|complete|contact|look ?up|"
            "query|access|reach)"
        ),
        (
            r"(verification|callout|lookup|ldap|validation|callback|database|directory) (\w{1,12} ){0,2}(in "
            r"progress|temporar\w{1,4}|timed out|defer)"
        ),
        r"(ldap|database|directory) (\w{1,12} ){0,2}(failed|failure|error)",
        "unverified (address|recipient)|could not complete (sender|recipient) verify|could not load drd",
        "unable to contact",
        "(cannot|could not) (be )?(verified|determine)",
    ),
)

TROUBLE = (
    rule(
        "verification_failed",
        Reason.SERVER_UNAVAILABLE,
        "Exim callouts and Postfix verify(8), where the reply says no more than that",
        r"(verification|callout|lookup|validation|callback) (\w{1,12} ){0,2}(failed|failure|error)",
    ),
    rule(
        "tls",
        Reason.TLS,
        (
            'RFC 3207 (530 Must issue a STARTTLS), RFC 3463 X.7.10, RFC 8461, RFC 7672; Gmail "TLS required for '
            'RCPT domain"'
        ),
        "starttls",
        (
            "(tls|ssl|encryption|encrypted)…(required|needed|not available|not supported|failed|failure|error|"
            "must|unavailable|handshake|negotiation|mandatory|not offered)"
        ),
        (
            "(require|requires|required|mandatory|must use|needs|no|without|support|supports)…(tls|ssl|"
            r"encryption|encrypted)\b"
        ),
        r"(certificate|handshake|cipher|mta-sts|dane|tlsa)\b",
    ),
    rule(
        "expired",
        Reason.EXPIRED,
        "RFC 3463 X.4.7; the last words of Postfix, qmail, Exim, Sendmail, Exchange (QUEUE.Expired), Amazon",
        (
            r"(in the queue too long|been in the queue|queue ?\.?expired|message (has )?expired|retry time ?-?out|"
            "delivery time ?-?(d ?)?(out|expired)|queue (lifetime|time))"
        ),
        r"(not|could not be|couldn't be|unable to be|cannot be) delivered (\w{1,10} )?(within|for|after|in) \d",
        "all hosts have been failing|retry (timeout|time) (exceeded|not reached)|maximum (retry|queue) ",
        "(multiple|several|too many) (retries|attempts)",
        r"(delivery|delivering|deliver|trying) (\w{1,12} ){0,3}(expired|for more than|for \d{1,3} (hour|day))",
        "(giving|gave) up (after|trying)",
        r"[45]\.4\.7\b",
    ),
    rule(
        "connection_failed",
        Reason.NETWORK,
        (
            "RFC 3463 X.4.1, X.4.2, X.4.4; errno's words as MTAs repeat them; Gmail's \"did not accept our requests "
            'to connect"'
        ),
        (
            r"(connection|connect|conversation|session|socket|network|read|operation|i/o|dialogue) (\w{1,12} "
            "){0,3}(timed ?-?out|time ?-?out|refused|reset|dropped|lost|closed|aborted|failed|died|broken|"
            "unreachable|terminated|interrupted)"
        ),
        "lost connection|no route to host",
        (
            "(host|network|server|mx|mx host|destination)s? (is |are |was )?(unreachable|not reachable|down|not "
            "responding)"
        ),
        (
            "(unable|couldn't|could not|cannot|can't|wasn't able|not able|failed|failing|being unable) (to "
            r")?(\w{1,14} )?(connect|establish|open|reach|contact)"
        ),
        "accept our requests? to connect|no answer from|not respond|no response|timed out|timeout|broken pipe",
        "bad connection|delai depasse",
        "all (attempts|servers|hosts|mx)…(failed|failing|unreachable)",
    ),
    rule(
        "server_trouble",
        Reason.SERVER_UNAVAILABLE,
        (
            "RFC 5321 421, 451, 452; RFC 3463 X.3.0, X.3.1, X.3.2; Yahoo 451, Outlook 4.3.2, Orange OFR_999, qmail, "
            "Postfix"
        ),
        r"service (\w{1,12} ){0,3}(not available|unavailable|shutting|closing)",
        (
            r"(temporar\w{1,4}|internal|local|system|server|technical|transient|software|configuration|"
            "operating system|unknown mailer|mailer|database|backend|processing|unexpected|resource|resources|"
            r"queue file write|unknown) (\w{1,12} ){0,2}(error|failure|problem|fault|issue|unavailable|"
            "unreachable|difficult)"
        ),
        (
            r"(server|system|service|host|queue|mta|resources?|we are|mailbox|backend|site) (\w{1,12} "
            "){0,3}(busy|overload|unavailable|down for|not available|maintenance|too busy|shutting down|not "
            "ready)"
        ),
        r"(insufficient|out of|not enough) (system )?(storage|memory|resources|disk)|busy\b|high load|load average",
        "maintenance|overloaded|license expired|licence expired",
        "local error in processing|error in processing|requested action aborted|action aborted",
        "please try (again )?later at another",
        "service refuse|service non disponible|dienst nicht verfugbar|servicio no disponible",
        r"servizio non disponibile|сервис…недоступен|временн\w{0,4} (ошибка|недоступ)|系统(忙|繁忙|错误)",
        "(temporarily|currently) (unavailable|unable|not available|not accepting|disabled|out of service)",
        "cannot accept|can't accept|not accepting (mail|messages)",
        "unable to (accept|process|deliver|queue)|delivery (error|failure|failed|mechanism)",
        r"^421 …(again|later|closing)",
    ),
    rule(
        "try_later",
        Reason.GREYLISTED,
        "RFC 6647 4: a server that asks an unknown sender to come back without saying why. 4xx only",
        r"^4\d\d …(try|retry|again|later|deferred|temporarily (rejected|denied|refused|blocked|deferred))",
    ),
    rule(
        "protocol",
        Reason.PROTOCOL,
        "RFC 5321 4.2.4 (500 to 504, 555), RFC 3463 X.5.x",
        r"syntax error|(bad|improper|wrong|invalid) (\w{1,10} )?(sequence|command|syntax|parameter|argument)",
        "out of sequence|sequence error",
        (
            r"(command|parameter|argument|option|verb)s? (\w{1,12} ){0,3}(unrecogni[sz]ed|not recogni[sz]ed|"
            "unknown|not implemented|rejected|invalid|out of|not supported|disabled)"
        ),
        (
            r"(unrecogni[sz]ed|unknown|unimplemented|unsupported|not implemented) (\w{1,10} )?(command|"
            "parameter|verb|option)"
        ),
        r"(need|valid|expected|issue|say|send) (\w{1,10} ){0,2}(rcpt|mail|helo|ehlo|data)\b|no data after bdat",
        "must precede|rcpt first|nested mail|pipelining|unexpected (data|input)",
        "requested (mail )?action not taken|syntaxfehler|protocol (error|violation)",
    ),
)
