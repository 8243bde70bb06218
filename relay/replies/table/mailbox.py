"""What is wrong with the mailbox or its domain: full, inactive, or not there. Only this file says Hard."""

from activity.reasons import Reason
from relay.replies.rule import rule

# A mailbox by any of its names, in the languages of the big providers (without accents: see judging.normalised).
BOX = (
    "(user|users|recipient|recipients|mailbox|mail box|mail-box|account|address|addresses|alias|addressee|subscriber|customer|"
    "person|local[- ]?part|username|user name|userid|user id|inbox|member|destination|mail ?drop|rcpt|login|contact|employee|client|"
    "e-?mail|email account|email address|e-mail address|mail address|mail account|addr)"
)
NOT_THERE = (
    "(unknown|not found|not known|not exist|not exists|non-?existent|nonexistant|inexistent|does not exist|doesn't exist|"
    "do not exist|don't exist|invalid|not valid|isn't valid|incorrect|unrouteable|unroutable|undeliverable|not recogni[sz]ed|"
    "unrecogni[sz]ed|not available here|not here|not present|not registered|not defined|not listed|couldn't be found|"
    "could not be found|cannot be found|can't be found|was not found|wasn't found|isn't found|not a known|no longer|illegal|not local)"
)

FULL = (
    rule(
        "mailbox_full",
        Reason.MAILBOX_FULL,
        "RFC 3463 X.2.2, RFC 5321 552; Gmail (p=OverQuotaPerm), Apple, Orange (OFR_417), Dovecot, Exchange, Courier, Zimbra",
        "over ?-?quota|overquota|p=overquota\\w{0,6}",
        "quota (\\w{1,12} ){0,3}(exceed|full|reached|violat|limit|over|issue)",
        "(exceed|exceeds|exceeded|exceeding|over|above|beyond|reached)…(quota|storage|mailbox size|mailbox limit|disk space|space limit|capacity)",
        "(mailbox|mailfolder|mail ?folder|mail ?drop|inbox|account|user|recipient|maildir|box|folder|mail box|home directory)('s)? "
        "(\\w{1,14} ){0,4}full\\b",
        "(mailbox|inbox|user's mailbox|mail box|account)…(size limit|storage limit|out of (storage|space|room)|limit exceeded|over (its |the )?(size|storage|disk))",
        "(out of|not enough|insufficient|no|lack of|running out of) (\\w{1,10} )?(storage|disk|space|room) ?(space|left|available)?(?! on the server)",
        "full mailbox|disk ?-?quota|mailbox is too (large|full)|mailbox size limit",
        "(boite|bal|messagerie)…(pleine|saturee)|quota…depasse|espace…(insuffisant|plein)|destinataire plein",
        "(postfach|mailbox|konto|speicher\\w{0,12}|briefkasten)…(voll|uberfullt|erschopft|uberschritten|ausgeschopft)|kein speicherplatz",
        "(buzon|casilla|cuenta|cuota)…(llen[oa]|excedid|superad|agotad)|(casella|quota|spazio)…(piena|superat|esaurit)",
        "(caixa|conta|cota|quota)…(cheia|lotada|excedid|esgotad)|sem espaco",
        "(ящик|квота|место|mailbox)…(переполнен|превышен|закончилось|заполнен)|(skrzynka|konto)…(pe.na|przepelnion)|(postvak|mailbox)…vol\\b|"
        "(schranka)…pln",
        "(容量|空间|配额|邮箱).{0,8}(不足|已满|超|满)|メールボックス.{0,10}(いっぱい|超)|容量.{0,6}超",
        "ofr ?417|ofr ?\\d{0,3} ?417",
        "^\\d{3} [45]\\.2\\.2 ",
    ),
)

INACTIVE = (
    rule(
        "mailbox_inactive",
        Reason.INACTIVE_MAILBOX,
        "RFC 3463 X.2.1, RFC 5248 X.7.13; Gmail 5.2.1, Yahoo 554.30, mail.ru, i.ua, Laposte.net, Exchange, cPanel: it exists "
        "and may be opened again",
        f"{BOX}('s)? (account |address |mailbox )?(addr )?(is |has been |was |are |has |temporar\\w{{2,4}} |currently |permanently |been ){{0,4}}"
        "(disabled|suspended|inactive|deactivated|frozen|locked|blocked|on hold|expired|dormant|restricted|"
        "not active|not activated|unavailable due|not enabled|turned off|closed temporarily|terminated|discontinued|hang ?up|hung up)"
        "(?! or illegal)",
        "(disabled|suspended|deactivated|frozen|locked|dormant|blocked) "
        f"(e-?mail )?{BOX}\\b",
        f"inactive (user|mailbox|account|recipient)|{BOX}…is (inactive|disabled|suspended|frozen)",
        "(temporar\\w{2,4}) (locked|disabled|suspended|blocked)|on hold\\b",
        "mail (receiving|delivery|reception) (is |has been )?(disabled|suspended)|(not|isn't|no longer) (currently )?(receiving|accepting) (mail|email|messages)",
        "accounts?[ .-]?disabled|disabled or discontinued",
        "compte…(bloque|desactive|suspendu|inactif|ferme)|(konto|postfach)…(gesperrt|deaktiviert|inaktiv)|"
        "(cuenta|buzon)…(suspendid|desactivad|deshabilitad|bloquead|inactiv)|(account|casella|utente)…(sospes|disattiv|disabilitat|bloccat)|"
        "(conta|caixa)…(suspens|desativad|bloquead|inativ)|(ящик|аккаунт|пользователь)…(заблокирован|отключен|приостановлен|неактивен)|"
        "(konto|skrzynka)…(zablokowan|nieaktywn|zawieszon)",
        "(用户|帐号|账号|邮箱|帐户|账户).{0,8}(停用|禁用|冻结|锁定|过期|挂起)",
        "lpn007 ?426",
        "^\\d{3} [45]\\.(2\\.1|7\\.13)\\b(?! (addr[: .]{1,6})?(\\w{1,10} ){0,3}(unknown|no such|not|invalid|blank|does))",
    ),
)

UNKNOWN = (
    rule(
        "mailbox_moved",
        Reason.UNKNOWN_USER,
        "RFC 5321 551, RFC 3463 X.1.6: moved without a forwarding address; and mailboxes that were closed for good",
        f"{BOX} (\\w{{1,12}} ){{0,3}}(has |have )?moved|user not local|not our (user|customer|client|member|subscriber)|not a customer",
        "no longer (on (this |the |our )?(server|system)|exist|valid|active|available|in use|used|works|work|here|with|employed|"
        "a (customer|user|valid|member)|registered|monitored|at this|supported|on file)",
        f"{BOX} (\\w{{1,12}} ){{0,2}}(has been |was |is |been )?(permanently )?(deleted|removed|closed|cancel?led|erased|purged|retired)",
        hard=True,
    ),
    rule(
        "no_valid_recipients",
        Reason.OTHER,
        "SMTP's answer to DATA after every RCPT was refused (RFC 5321 3.3), which says nothing of this recipient alone",
        "^554 (- |5\\.5\\.1 )(error: )?no valid recipients$",
    ),
    rule(
        "unknown_user",
        Reason.UNKNOWN_USER,
        "RFC 3463 X.1.1; the words of Postfix, Sendmail, Exim, qmail and chkuser, Exchange (RESOLVER.ADR), Domino, "
        "Gmail (p=NoSuchUser), Yahoo (\"doesn't have a yahoo.com account\"), Apple, Yandex, mail.ru, NTT docomo, KDDI, Mimecast, Barracuda (nsu)",
        f"{BOX}('s)? (name |address |account |mailbox |id )?(\\(?addr\\)?[ :;.,]{{0,3}})?(\\w{{1,14}} ){{0,3}}{NOT_THERE}\\b",
        f"{BOX}[ :;,.-]{{1,3}}(addr[ :;,.-]{{1,3}})?(\\w{{1,10}}[ :;,.-]{{1,3}}){{0,2}}{NOT_THERE}\\b",
        f"(unknown|invalid|no such|not such|non-?existent|nonexistant|unrecogni[sz]ed|illegal|bad|not a valid|not valid|isn't a valid|"
        f"not a known|wrong|undeliverable|unrouteable|unroutable|incorrect|no valid|nonexisting|not existing) "
        f"(or \\w{{1,10}} )?(\\w{{1,12}} )?(\\w{{1,12}} )?{BOX}\\b",
        f"(there is |has |have |is )?no (\\w{{1,10}} )?{BOX} (\\w{{1,12}} ){{0,3}}(by|with|of|named|called|here|at|found|for|under|like|matching|exists)\\b",
        f"no mailbox\\b|no such (person|name|one|addressee|rcpt|user|local)|no one (here )?by that name|no {BOX}[: ]{{1,3}}addr",
        f"(doesn't|does not|don't|do not|didn't) have (a|an|any) (\\S{{1,40}} )?{BOX}",
        f"(cannot|can't|could not|couldn't|unable to|failed to|did not|not) (find|locate|look ?up|resolve|recogni[sz]e|identify|match)(ed|d)? "
        f"(\\w{{1,12}} ){{0,3}}{BOX}",
        f"(not|n't) (\\w{{1,10}} )?(listed |found |present |known |exist |registered )?(in|on|at|by|to) (\\w{{1,14}} ){{0,4}}(directory|address book|"
        "database|this (server|system|domain|host)|our (server|system|domain|host|records|list)|user ?list|recipient (list|map|table)|local table|passwd)",
        "(addr|user|mailbox|account|recipient|it|that you tried to reach)[ :,.]{1,3}(\\w{1,12} ){0,3}(does not|doesn't|did not|not) exist",
        "(could not|couldn't|cannot|can't) be (found|delivered to the recipient because it)|address (not found|couldn't|error: )",
        "recipient ?not ?found|recipnotfound|recipientnotfound|p=nosuchuser|cuda nsu|nsu\\b|invalid recipient",
        "(#)?5\\.1\\.0 address rejected|(?<!sender )(?<!recipient )address rejected (addr|unknown)",
        "is not a valid|isn't a valid|not a valid (mail|smtp|rfc)|blank mailhost|invalid final delivery",
        "user doesn't|unknown (or illegal )?(alias|user)|recipient unknown|bad destination (mailbox|email|user)",
        "mailbox (is )?(unavailable|not available)(?!…(polic|block|reput|denied|try|temporar|spam))",
        hard=True,
    ),
    rule(
        "unknown_user_german",
        Reason.UNKNOWN_USER,
        "T-Online, GMX, web.de, Exchange in German",
        "(benutzer|empfanger|adresse|postfach|mailbox|konto|teilnehmer|adressat)\\w{0,8}…(unbekannt|existiert nicht|existiert hier nicht|"
        "nicht gefunden|nicht vorhanden|nicht bekannt|nicht existent|ungultig|gibt es nicht)",
        "(unbekannte|ungultige|kein)(r|s|n|e)? (\\w{1,12} )?(benutzer|empfanger|adresse|postfach|mailbox|teilnehmer)",
        hard=True,
    ),
    rule(
        "unknown_user_romance",
        Reason.UNKNOWN_USER,
        "Orange (OFR_416), Free, Laposte.net, SFR; Terra, UOL, Telefonica, Libero, Aruba, Tiscali, Exchange in these languages",
        "(destinataire|utilisateur|adresse|boite|compte|usager|abonne)\\w{0,2}…(inconnu|invalide|inexistant|n'existe pas|n existe pas|introuvable|non trouve)",
        "(usuario|cuenta|buzon|direccion|destinatario|casilla|correo)\\w{0,2}…(no existe|inexistente|desconocid|no encontrad|invalid|no valid|no se encontro)",
        "(utente|casella|indirizzo|destinatario|account|mailbox)\\w{0,2}…(sconosciut|inesistente|non esiste|non valid|non trovat|insesistente)",
        "(usuario|conta|caixa|destinatario|endereco|mailbox)\\w{0,2}…(desconhecid|inexistente|nao existe|nao encontrad|nao foi encontrad|invalid)",
        "ofr ?416|ofr ?\\d{0,3} ?416",
        hard=True,
    ),
    rule(
        "unknown_user_slavic",
        Reason.UNKNOWN_USER,
        "Yandex, mail.ru, Rambler, ukr.net; WP, Onet, o2; Seznam",
        "(пользовател|ящик|адрес|получател|аккаунт|абонент|почтов)\\w{0,6}…(не существует|не наиден|неизвест|не зарегистр|недеиств|не снаиден|отсутству|не існує|не знаид)",
        "(нет такого|несуществующ|неизвестн|неверн)\\w{0,4} (\\w{1,12} )?(пользовател|ящик|адрес|получател)",
        "(uzytkownik|konto|adres|skrzynka|odbiorca|adresat)\\w{0,3}…(nie istnieje|nieznan|nie znalezion|nieprawidlow)|(nieznany|brak) (uzytkownik|adresat|odbiorc|kont)",
        "(uzivatel|schranka|adresa|prijemce)\\w{0,3}…(neexistuj|neznam|nenalezen)|(neexistujici|neznamy) (uzivatel|schranka|adresa|prijemce)",
        hard=True,
    ),
    rule(
        "unknown_user_other_languages",
        Reason.UNKNOWN_USER,
        "KPN, Ziggo; Telia, One.com; Turkish, Chinese (QQ, NetEase, Coremail), Japanese and Korean providers",
        "(gebruiker|ontvanger|adres|postvak|mailbox)\\w{0,3}…(onbekend|bestaat niet|niet gevonden)|onbekende (gebruiker|ontvanger)",
        "(okand|ukendt|ukjent) (mottagare|anvandare|modtager|bruger|mottaker|bruker)|(mottagar|adress|modtager|mottaker|bruger)\\w{0,4}…(finns inte|findes ikke|finnes ikke)",
        "(kullanici|alici|adres)\\w{0,4}…(bulunamadi|gecersiz|mevcut degil)",
        "(用户|收件人|邮箱|帐号|账号|地址|收信人|信箱).{0,8}(不存在|找不到|未找到|无效|没有找到)|(无此|查无此|没有此)(用户|人|邮箱|帐号|账号)",
        "(宛先|ユーザ|メールアドレス|受信者|アドレス).{0,14}(存在しません|見つかりません|不明|存在しない|誤り)|宛先不明",
        "(사용자|수신자|계정|주소).{0,10}(존재하지|없습니다|없는|찾을 수)",
        hard=True,
    ),
)

DOMAIN = (
    rule(
        "domain_not_found",
        Reason.DOMAIN_NOT_FOUND,
        "RFC 3463 X.1.2, RFC 7505 X.1.10 and 556; Postfix \"Host or domain name not found\", Sendmail \"Host unknown\", Exchange 5.4.310",
        "(no such|unknown|invalid|illegal|nonexistent|non-?existent|bad|unresolvable|unrouteable|unroutable) (mail |destination |recipient |remote )?"
        "(host/)?(domain|host|system|hostname)\\b( name)?",
        "(domain|host|hostname|destination system|destination domain)s?( or domain)?( name)?[: ]{1,2}(\\S{1,60} )?(is |was |does |could |has )?"
        "(unknown|not found|not exist|doesn't exist|nonexistent|not resolve|invalid|not be found|couldn't be found|not reachable|no mx|not valid)",
        "nxdomain|domain not found|bad destination (system|host)|null ?mx|no mx (record|host|found)|(has|have|had|with) no mx|"
        "(does not|doesn't|do not) (accept|receive) (any )?(mail|email|e-?mail)( according|$)|domain does not accept mail",
        "unrouteable (mail )?domain|(all|the) relevant mx records point to non-?existent hosts",
        "(domain(e)?|dominio|домен|domena|domane)…(inconnu|inexistant|unbekannt|existiert nicht|no existe|desconocid|inesistente|non esiste|"
        "inexistente|nao existe|не существует|не наиден|nie istnieje|n'existe pas)",
        "域名.{0,6}不存在",
        "^556 |^\\d{3} 5\\.4\\.310 ",
        hard=True,
    ),
)
