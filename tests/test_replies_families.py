"""Replies as the mail servers of the world write them, group by group, each with its source; none is from the corpora.

A group names a server or a provider and where its texts are documented. H, S and D are Hard bounce, Soft bounce and
Deferred. What is asked of the table is that it reads families of wordings: where one of these fails, mend a phrase so
that it reads the wording in general, never this one line.
"""

import pytest

from activity.reasons import Reason as R
from activity.status import Status
from relay.replies import judge, parse

H, S, D = Status.HARD_BOUNCE, Status.SOFT_BOUNCE, Status.DEFERRED

FAMILIES = {
    # support.google.com/a/answer/3726730 (SMTP errors and codes)
    "gmail": [
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking"
            " the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to"
            " 550 5.1.1  https://support.google.com/mail/?p=NoSuchUser a12si334.7 - gsmtp",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "550 5.2.1 The email account that you tried to reach is inactive. For more information, go to"
            " https://support.google.com/mail/?p=DisabledUser 41be03b00d2f7-x.2 - gsmtp",
            S,
            R.INACTIVE_MAILBOX,
        ),
        (
            "452-4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to 452-4.2.2"
            " https://support.google.com/mail/?p=OverQuotaTemp - gsmtp",
            D,
            R.MAILBOX_FULL,
        ),
        ("552-5.2.2 The recipient's inbox is out of storage space and inactive. - gsmtp", S, R.MAILBOX_FULL),
        (
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your"
            " message at a"
            " later time. - gsmtp",
            D,
            R.RATE_LIMITED,
        ),
        (
            "550-5.7.26 Your email has been blocked because the sender is unauthenticated. Gmail requires"
            " all senders to"
            " authenticate with either SPF or DKIM. - gsmtp",
            S,
            R.AUTHENTICATION,
        ),
        (
            "550-5.7.26 This mail has been blocked because the sender is unauthenticated. DKIM = did not pass SPF"
            " [x.example] with ip: [192.0.2.3] = did not pass - gsmtp",
            S,
            R.AUTHENTICATION,
        ),
        (
            "550-5.7.1 [192.0.2.3 12] Our system has detected that this message is likely unsolicited mail."
            " To reduce the"
            " amount of spam sent to Gmail, this message has been blocked. - gsmtp",
            S,
            R.SPAM_CONTENT,
        ),
        (
            "421-4.7.28 Gmail has detected an unusual rate of mail originating from your SPF domain [x.example]. To"
            " protect our users from spam, mail sent from your domain has been temporarily rate limited. - gsmtp",
            D,
            R.RATE_LIMITED,
        ),
        (
            "550-5.7.25 [192.0.2.3] The IP address sending this message does not have a PTR record setup, or the"
            " corresponding forward DNS entry does not match the sending IP. - gsmtp",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "552-5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp",
            S,
            R.SPAM_CONTENT,
        ),
        ("552 5.3.4 Your message exceeded Google's message size limits. - gsmtp", S, R.TOO_LARGE),
        ("451 4.3.0 Mail server temporarily rejected message. - gsmtp", D, None),
    ],
    # learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online
    "microsoft 365 and outlook.com": [
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", H, R.UNKNOWN_USER),
        (
            "550 5.4.1 Recipient address rejected: Access denied."
            " [AM6EUR05FT047.eop-eur05.prod.protection.outlook.com]",
            S,
            R.POLICY,
        ),
        ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", H, R.UNKNOWN_USER),
        (
            "554 5.2.2 mailbox full;"
            " STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
            S,
            R.MAILBOX_FULL,
        ),
        (
            "550 5.7.1 Unfortunately, messages from [192.0.2.3] weren't sent. Please contact your Internet service"
            " provider since part of their network is on our block list (S3140).",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "451 4.7.650 The mail server [192.0.2.3] has been temporarily rate limited due to IP reputation. For e-mail"
            " delivery information, see https://postmaster.live.com (S775)",
            D,
            (R.RATE_LIMITED, R.BLOCKED_REPUTATION),
        ),
        (
            "550 5.7.509 Access denied, sending domain x.example does not pass DMARC verification and has a"
            " DMARC policy"
            " of reject.",
            S,
            R.AUTHENTICATION,
        ),
        (
            "550 5.7.515 Access denied, sending domain x.example doesn't meet the required authentication level.",
            S,
            R.AUTHENTICATION,
        ),
        (
            "550 5.7.606 Access denied, banned sending IP [192.0.2.3]. To request removal from this list please visit"
            " https://sender.office.com/",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.", S, R.BLOCKED_REPUTATION),
        (
            "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery"
            " restriction check"
            " failed because the sender was not authenticated when sending to this group",
            S,
            R.POLICY,
        ),
        (
            "550 5.7.129 RESOLVER.RST.RestrictedToRecipientsPermission; recipients only accept mail from"
            " certain senders",
            S,
            R.POLICY,
        ),
        (
            "550 5.4.310 DNS domain nowhere.example does not exist [Message=InfoDomainNonexistent]",
            H,
            R.DOMAIN_NOT_FOUND,
        ),
        (
            "451 4.4.4 Mail received as unauthenticated, incoming to a recipient domain configured in a hosted tenant"
            " which has no mail-enabled subscriptions. [x.outlook.com]",
            D,
            None,
        ),
        ("452 4.5.3 Too many recipients (AS780090)", D, R.RATE_LIMITED),
        (
            "451 4.7.500 Server busy. Please try again later from [192.0.2.3]. (AS761)",
            D,
            (R.SERVER_UNAVAILABLE, R.RATE_LIMITED),
        ),
        ("550 5.2.0 STOREDRV.Deliver; delivery result banner", S, None),
        ("550 5.1.8 Access denied, bad outbound sender AS(42003)", S, (R.POLICY, R.BLOCKED_REPUTATION)),
        ("554 5.4.14 Hop count exceeded - possible mail loop ATTR34", S, R.NETWORK),
        ("552 5.3.4 Message size exceeds fixed maximum message size", S, R.TOO_LARGE),
    ],
    # senders.yahooinc.com/smtp-error-codes
    "yahoo and aol": [
        (
            "554 delivery error: dd This user doesn't have a yahoo.com account (someone@yahoo.com) [0] -"
            " mta4105.mail.bf1.yahoo.com",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "554 delivery error: dd Sorry your message to someone@aol.com cannot be delivered. This mailbox is disabled"
            " (554.30). - mta4212.mail.ne1.yahoo.com",
            S,
            R.INACTIVE_MAILBOX,
        ),
        ("552 1 Requested mail action aborted, mailbox not found", H, R.UNKNOWN_USER),
        (
            "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
            S,
            R.POLICY,
        ),
        (
            "421 4.7.0 [TSS04] Messages from 192.0.2.3 temporarily deferred due to unexpected volume or"
            " user complaints -"
            " 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
            D,
            (R.RATE_LIMITED, R.BLOCKED_REPUTATION),
        ),
        (
            "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.3, because the ip is in"
            " Spamhaus's list; see"
            " http://postmaster.yahoo.com/550-bl23.html",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("554 5.7.5 (DKIM) Permanent error evaluating DMARC policy", S, R.AUTHENTICATION),
    ],
    # support.apple.com/102322 (postmaster information for iCloud Mail)
    "icloud": [
        ("550 5.1.1 <someone@icloud.com>: user does not exist", H, R.UNKNOWN_USER),
        ("552 5.2.2 <someone@icloud.com>: user is over quota", S, R.MAILBOX_FULL),
        (
            "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.3",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "554 5.7.1 [CS01] Message rejected due to local policy. Please visit"
            " https://support.apple.com/en-us/HT204137",
            S,
            R.POLICY,
        ),
        (
            "450 4.2.0 [HME1] This message was rejected due to the current administrative policy by the destination"
            " server",
            D,
            R.POLICY,
        ),
    ],
    # Proofpoint's, Mimecast's, Barracuda's, IronPort's, Sophos's, Trend Micro's and Fortinet's knowledge bases
    "filters in front of company servers": [
        ("550 5.1.1 User Unknown - sp1", H, R.UNKNOWN_USER),
        ("554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.3", S, R.BLOCKED_REPUTATION),
        ("550 5.7.1 Message rejected due to DMARC p=reject policy - proofpoint essentials", S, R.AUTHENTICATION),
        (
            "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [sWk-TtvNNs.uk87]",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "550 Administrative prohibition - envelope blocked - https://community.mimecast.com/docs/DOC-1369#550",
            S,
            R.POLICY,
        ),
        (
            "451 Internal resource temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451",
            D,
            (R.GREYLISTED, R.SERVER_UNAVAILABLE),
        ),
        ("554 Email rejected due to security policies - https://community.mimecast.com/docs/DOC-1369#554", S, R.POLICY),
        (
            "550 Rejected by header based Anti-Spoofing policy: x@y.example - https://community.mimecast.com",
            S,
            (R.POLICY, R.AUTHENTICATION),
        ),
        (
            "550 permanent failure for one or more recipients (someone@dest.example:550 No such user here)",
            H,
            R.UNKNOWN_USER,
        ),
        ("550 permanent failure for one or more recipients (someone@dest.example:blocked)", S, None),
        (
            "554 Service unavailable; Client host [mail.x.example] blocked using Barracuda Reputation;"
            " http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.3",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("550 #5.1.0 Address rejected.", H, R.UNKNOWN_USER),
        ("550 #5.7.1 Your access to submit messages to this e-mail system has been rejected.", S, R.BLOCKED_REPUTATION),
        (
            "554-esa1.dest.example 554 Your access to this mail system has been rejected due to the sending MTA's poor"
            " reputation. If you believe that this failure is in error, please contact the recipient",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("452 Too many recipients received this hour", D, R.RATE_LIMITED),
        ("552 #5.3.4 message size exceeds limit", S, R.TOO_LARGE),
        ("550 5.7.1 This email was rejected because it violates our security policy", S, R.POLICY),
        ("550 5.7.1 Message contains a virus (Eicar-Test-Signature)", S, R.SPAM_CONTENT),
        ("554 5.7.1 This message has been blocked because it contains a banned attachment (.exe)", S, R.SPAM_CONTENT),
        (
            "450 4.7.1 Service unavailable; Client host [192.0.2.3] blocked using Trend Micro Email Reputation Service",
            D,
            R.BLOCKED_REPUTATION,
        ),
    ],
    # postfix.org: smtpd(8), bounce(5), smtpd_client_restrictions and friends in postconf(5), Dovecot's LMTP
    "postfix and dovecot": [
        (
            "550 5.1.1 <x@dest.example>: Recipient address rejected: User unknown in virtual mailbox table",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "550 5.1.1 <x@dest.example>: Recipient address rejected: undeliverable address: host"
            " lmtp[private/lmtp] said:"
            " 550 5.1.1 <x@dest.example> User doesn't exist: x@dest.example (in reply to RCPT TO command)",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "450 4.1.1 <x@dest.example>: Recipient address rejected: unverified address: Address"
            " verification in progress",
            D,
            None,
        ),
        (
            "450 4.2.0 <x@dest.example>: Recipient address rejected: Greylisted, see"
            " http://postgrey.schweikert.ch/help",
            D,
            R.GREYLISTED,
        ),
        ("554 5.7.1 <x@dest.example>: Relay access denied", S, R.POLICY),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.3] blocked using zen.spamhaus.org;"
            " https://www.spamhaus.org/query/ip/192.0.2.3",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.3]", D, R.BLOCKED_REPUTATION),
        (
            "550 5.7.23 <x@dest.example>: Recipient address rejected: Message rejected due to: SPF fail -"
            " not authorized",
            S,
            R.AUTHENTICATION,
        ),
        ("452 4.3.1 Insufficient system storage", D, (R.MAILBOX_FULL, R.SERVER_UNAVAILABLE)),
        ("451 4.3.5 Server configuration error", D, R.SERVER_UNAVAILABLE),
        ("552 5.2.2 <x@dest.example> Quota exceeded (mailbox for user is full)", S, R.MAILBOX_FULL),
        ("421 4.7.0 mx.dest.example Error: too many connections from 192.0.2.3", D, R.RATE_LIMITED),
        ("503 5.5.1 Error: need MAIL command", S, R.PROTOCOL),
        ("550 5.7.1 <x@y.example>: Sender address rejected: not owned by user", S, R.POLICY),
        ("554 5.7.1 <x@dest.example>: Recipient address rejected: Access denied", S, R.POLICY),
        ("550 5.1.8 <x@y.example>: Sender address rejected: Domain not found", S, (R.POLICY, R.AUTHENTICATION)),
    ],
    # exim.org: default configuration and chapter 43; cPanel's and DirectAdmin's shipped ACLs
    "exim, cpanel and directadmin": [
        ("550 Unrouteable address", H, R.UNKNOWN_USER),
        ('550 No Such User Here"', H, R.UNKNOWN_USER),
        (
            "550-Verification failed for <x@y.example> 550-The mail server could not deliver mail to x@y.example. The"
            " account or domain may not exist 550 Sender verify failed",
            S,
            R.POLICY,
        ),
        (
            '550-"JunkMail rejected - mail.x.example [192.0.2.3]:41422 is in an RBL, see'
            ' http://www.spamhaus.org/query/bl?ip=192.0.2.3"',
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("550 Account x@dest.example is over quota", S, R.MAILBOX_FULL),
        ("451 Temporary local problem - please try later", D, R.SERVER_UNAVAILABLE),
        ("550 This message was classified as SPAM and may not be delivered", S, R.SPAM_CONTENT),
        ("550 authentication required", S, R.POLICY),
        ("552 Message size exceeds maximum permitted", S, R.TOO_LARGE),
        ("550 message has lines too long for transport", S, R.PROTOCOL),
        ("550 High probability of spam", S, R.SPAM_CONTENT),
    ],
    # cr.yp.to/qmail, vpopmail, Sendmail's cf/README and sysexits, Zimbra's and MDaemon's shipped texts
    "qmail, sendmail, zimbra and others": [
        ("511 sorry, no mailbox here by that name (#5.1.1 - chkuser)", H, R.UNKNOWN_USER),
        ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", S, R.POLICY),
        ("552 sorry, that message size exceeds my databytes limit (#5.3.4)", S, R.TOO_LARGE),
        ("571 sorry, sender address has invalid format (#5.7.1 - chkuser)", S, R.POLICY),
        ("550 5.1.1 <x@dest.example>... User unknown", H, R.UNKNOWN_USER),
        (
            "550 5.7.1 <x@dest.example>... Relaying denied. IP name lookup failed [192.0.2.3]",
            S,
            (R.POLICY, R.BLOCKED_REPUTATION),
        ),
        ("553 5.1.8 <x@y.example>... Domain of sender address x@y.example does not exist", S, R.POLICY),
        (
            "550 5.1.2 <x@nowhere.example>... Host unknown (Name server: nowhere.example: host not found)",
            H,
            R.DOMAIN_NOT_FOUND,
        ),
        ("421 4.3.2 Connection rate limit exceeded.", D, R.RATE_LIMITED),
        ("452 4.4.5 Insufficient disk space; try again later", D, (R.MAILBOX_FULL, R.SERVER_UNAVAILABLE)),
        ("550 5.1.1 <x@dest.example> Recipient unknown", H, R.UNKNOWN_USER),
        ("550 <x@dest.example>, Recipient unknown", H, R.UNKNOWN_USER),
        ("550 Requested action not taken: mailbox unavailable or not local", H, R.UNKNOWN_USER),
        ("550 5.2.1 <x@dest.example>: Mailbox locked: the user has been suspended", S, R.INACTIVE_MAILBOX),
    ],
    # postmaster.t-online.de, postmaster.gmx.net, postmaster.web.de, postmaster.freenet.de, postmaster.free.fr,
    # assistance.orange.fr, postmaster.laposte.net, libero.it, seznam.cz, wp.pl
    "european providers": [
        (
            "550 Requested action not taken: mailbox unavailable. invalid DNS MX or A/AAAA resource record.",
            S,
            (R.POLICY, R.BLOCKED_REPUTATION),
        ),
        (
            "554-web.de (mxweb011) Nemesis ESMTP Service not available 554-No SMTP service 554-IP address is black"
            " listed.",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "421 Rate limit reached. Please try again later. For explanation visit https://postmaster.web.de/",
            D,
            R.RATE_LIMITED,
        ),
        ("550 User unknown - Empfänger unbekannt", H, R.UNKNOWN_USER),
        (
            "554 IP=192.0.2.3 - A problem occurred. (Ask your postmaster for help or to contact"
            " tosa@rx.t-online.de to clarify.) (BL)",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient. OFR204_418 [418]",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration. Too many"
            " connections, slow down."
            " OFR004_104 [104]",
            D,
            R.RATE_LIMITED,
        ),
        (
            "550 5.7.1 Service refuse. Veuillez essayer plus tard. service refused, please try later. OFR_506 [506]",
            S,
            None,
        ),
        ("550 5.5.0 Boite du destinataire archivee. Archived recipient. OFR_420 [420]", S, R.INACTIVE_MAILBOX),
        ("451 too many errors from your ip (192.0.2.3), please visit http://postmaster.free.fr/", D, None),
        ("550 L'utilisateur n'existe pas", H, R.UNKNOWN_USER),
        ("550 La casella del destinatario e' piena", S, R.MAILBOX_FULL),
        ("550 5.1.1 El buzon no existe", H, R.UNKNOWN_USER),
        ("552 Das Postfach ist voll (mailbox quota exceeded)", S, R.MAILBOX_FULL),
        ("550 5.1.1 Konto nie istnieje", H, R.UNKNOWN_USER),
        ("550 Utente sconosciuto", H, R.UNKNOWN_USER),
        ("550 5.1.1 Caixa postal inexistente", H, R.UNKNOWN_USER),
        ("550 Gebruiker onbekend", H, R.UNKNOWN_USER),
    ],
    # yandex.com/support/mail, help.mail.ru/developers/mailing_rules, service.mail.qq.com, help.163.com
    "russian and chinese providers": [
        ("550 5.7.1 No such user!", H, R.UNKNOWN_USER),
        (
            "554 5.7.1 [1] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1700000000-abc",
            S,
            R.SPAM_CONTENT,
        ),
        ("451 4.7.1 Sorry, the service is currently unavailable. Please come back later.", D, R.SERVER_UNAVAILABLE),
        (
            "550 Message was not accepted -- invalid mailbox.  Local mailbox x@mail.ru is unavailable: user not found",
            H,
            R.UNKNOWN_USER,
        ),
        ("550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc", S, R.SPAM_CONTENT),
        (
            "550 Message was not accepted -- invalid mailbox. Local mailbox x@mail.ru is unavailable: account is"
            " disabled",
            S,
            R.INACTIVE_MAILBOX,
        ),
        ("452 4.2.2 Mailbox quota exceeded: user@list.ru", D, R.MAILBOX_FULL),
        (
            "550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728",
            H,
            R.UNKNOWN_USER,
        ),
        (
            "550 Mail content denied. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000726",
            S,
            R.SPAM_CONTENT,
        ),
        (
            "550 Connection frequency limited. http://service.mail.qq.com/cgi-bin/help?subtype=1&id=20022&no=1000722",
            S,
            R.RATE_LIMITED,
        ),
        ("550 Domain frequency limited [MN8xwK 192.0.2.3]", S, R.RATE_LIMITED),
        ("550 User not found: x@163.com", H, R.UNKNOWN_USER),
        (
            "554 DT:SPM 163 mx5,PcCowAD3 please see http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.3",
            S,
            R.SPAM_CONTENT,
        ),
        (
            "550 MI:SPB 163 mx14 please see http://mail.163.com/help/help_spam_16.htm",
            S,
            (R.SPAM_CONTENT, R.RATE_LIMITED),
        ),
        ("421 DT:SPM 163 try later", D, None),
        ("550 RP:RCL 163 mx10 user over quota", S, R.MAILBOX_FULL),
    ],
    # postmaster.comcast.net, att.net's, Cox's, Charter's and Verizon's error pages
    "american providers": [
        ("550 5.1.1 Not our Customer", H, R.UNKNOWN_USER),
        (
            "554 resimta-po-03v.sys.comcast.net comcast 192.0.2.3 Comcast block for spam. Please see"
            " https://postmaster.comcast.net/smtp-error-codes.php#BL000000",
            S,
            R.BLOCKED_REPUTATION,
        ),
        (
            "421 4.1.0 192.0.2.3 Throttled - try again later. Please see http://postmaster.comcast.net/#RL000001",
            D,
            R.RATE_LIMITED,
        ),
        ("550 5.2.0 Message considered spam. Please see https://postmaster.comcast.net/#BL000010", S, R.SPAM_CONTENT),
        (
            "553 5.3.0 flph832 DNSBL:RBL 521< 192.0.2.3 >_is_blocked.For assistance forward this error to"
            " abuse_rbl@abuse-att.net",
            S,
            R.BLOCKED_REPUTATION,
        ),
        ("550 5.1.1 <x@cox.net> recipient rejected", H, R.UNKNOWN_USER),
        ("554 cox mx.east.cox.net 192.0.2.3 - Refused - CXBL", S, R.BLOCKED_REPUTATION),
        ("550 4.2.1 mailbox temporarily disabled: x@verizon.net", S, R.INACTIVE_MAILBOX),
        ("452 4.1.1 <x@charter.net> requested action aborted: try again later", D, None),
        ("550 5.7.1 Charter.net has blocked the IP 192.0.2.3 AUP#I-1300", S, R.BLOCKED_REPUTATION),
    ],
    # RFC 5321 4.2.2 and 7.9: what is said of the sender, of its host or of our manners says nothing about the address
    "traps: these words also stand in replies about unknown users": [
        ("550 sender user unknown", S, R.POLICY),
        ("550 Callback verification failed: user unknown for sender", S, R.POLICY),
        ("550 5.7.1 sender verify failed: mailbox does not exist", S, R.POLICY),
        ("550 unrouteable mail domain for sender", S, R.POLICY),
        ("550 Invalid domain in From", S, R.POLICY),
        ("550 5.1.1 Your message was blocked: address in From: does not exist", S, R.POLICY),
        ("550 return path address does not exist", S, R.POLICY),
        ("550 No such host: your HELO name is unknown", S, (R.POLICY, R.BLOCKED_REPUTATION)),
        ("550 5.7.1 client host not found", S, R.BLOCKED_REPUTATION),
        ("554 helo command rejected: host not found", S, R.BLOCKED_REPUTATION),
        ("554 5.7.1 Your host mail.x.example does not exist in DNS", S, (R.POLICY, R.BLOCKED_REPUTATION)),
        ("550 5.1.1 recipient address rejected: rate limited, too many unknown users", S, R.RATE_LIMITED),
        ("550 too many invalid recipients", S, R.RATE_LIMITED),
        ("550 mailbox unavailable: message identified as spam", S, R.SPAM_CONTENT),
        ("550 user unknown or blocked by spam filter: your ip is blacklisted", S, R.BLOCKED_REPUTATION),
        ("550 This account does not accept mail from unknown senders", S, R.POLICY),
        ("550 5.1.1 the user has blocked your address", S, None),
        ("550 unknown reason", S, R.OTHER),
        ("554 Transaction failed", S, None),
        ("550 Mailbox unavailable, recipient's quota is used up: over quota", S, R.MAILBOX_FULL),
    ],
    # the same thing said in the words of smaller servers and of other languages
    "unknown users": [
        ("550 That is not one of our users", H, R.UNKNOWN_USER),
        ("550 Address unknown", H, R.UNKNOWN_USER),
        ("553 <x@dest.example>: user not known", H, R.UNKNOWN_USER),
        ("550-5.1.1 <x@dest.example>: Email address could not be found, or was misspelled (G8)", H, R.UNKNOWN_USER),
        ("550 Адресат не найден", H, R.UNKNOWN_USER),
        ("550 Empfängeradresse unbekannt", H, R.UNKNOWN_USER),
        ("550 Utilisateur inconnu", H, R.UNKNOWN_USER),
        ("550 El destinatario no existe", H, R.UNKNOWN_USER),
        ("550 Usuário desconhecido", H, R.UNKNOWN_USER),
        ("550 L'indirizzo e-mail non esiste", H, R.UNKNOWN_USER),
        ("550 收件人不存在", H, R.UNKNOWN_USER),
        ("550 宛先のユーザーが存在しません", H, R.UNKNOWN_USER),
        ("550 Kullanıcı bulunamadı", H, R.UNKNOWN_USER),
        ("550 Okänd mottagare", H, R.UNKNOWN_USER),
        ("550 Uživatel neexistuje", H, R.UNKNOWN_USER),
    ],
}


@pytest.mark.parametrize(
    ("line", "outcome", "reasons"),
    [pytest.param(*row, id=f"{family}: {row[0][:60]}") for family, rows in FAMILIES.items() for row in rows],
)
def test_replies_of(line, outcome, reasons):
    verdict = judge(parse(line))
    assert outcome in (None, verdict.outcome), verdict
    allowed = reasons if isinstance(reasons, tuple) else (reasons,)
    assert reasons is None or verdict.reason in allowed, verdict
