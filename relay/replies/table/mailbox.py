"""What is wrong with the mailbox or its domain: full, inactive, or not there. Only this file says Hard."""

from activity.reasons import Reason
from relay.replies.rule import rule

# A mailbox by any of its names; not an IP address.
BOX = (
    "(users?|recipients?|mail[ -]?box|account|(?<!ip )address(?:es)?|alias|addressee|subscriber|customer|person|"
    "local[- ]?part|user ?name|user ?id|inbox|member|destination|mail ?drop|rcpt|addr|"
    "(?:e-?)?mail (?:account|address))"
)
NOT_THERE = (
    "(unknown|(?:is |was |are )?not (?:found|known|exists?|valid|here|available here|present|registered|defined|"
    "listed|local|recogni[sz]ed|a known)|(?:isn't|wasn't|aren't) (?:valid|found|known)|(?:does|do) not exist|"
    "(?:does|do)n't exist|(?:could not|couldn't|cannot|can't) be found|non-?existent|nonexistant|inexistent|"
    "invalid|incorrect|unroute?able|undeliverable|unrecogni[sz]ed|no longer|illegal)"
)

FULL = (
    rule(
        "mailbox_full",
        Reason.MAILBOX_FULL,
        (
            "RFC 3463 X.2.2, RFC 5321 552; Gmail (p=OverQuotaPerm), Apple, Orange (OFR_417), Dovecot, Exchange, "
            "Courier, Zimbra"
        ),
        r"over ?-?quota|overquota|p=overquota\w{0,6}",
        r"quota (\w{1,12} ){0,3}(exceed|full|reached|violat|limit|over|issue)",
        (
            "(exceed|exceeds|exceeded|exceeding|over|above|beyond|reached)…(quota|storage|mailbox size|mailbox "
            "limit|disk space|space limit|capacity)"
        ),
        (
            "(mailbox|mailfolder|mail ?folder|mail ?drop|inbox|account|user|recipient|maildir|box|folder|mail "
            r"box|home directory)('s)? (\w{1,14} ){0,4}full\b"
        ),
        (
            "(mailbox|inbox|user's mailbox|mail box|account)…(size limit|storage limit|out of (storage|space|"
            "room)|limit exceeded|over (its |the )?(size|storage|disk))"
        ),
        (
            r"(out of|not enough|insufficient|no|lack of|running out of) (\w{1,10} )?(storage|disk|space|room) "
            "?(space|left|available)?(?! on the server)"
        ),
        "full mailbox|disk ?-?quota|mailbox is too (large|full)|mailbox size limit",
        "(boite|bal|messagerie)…(pleine|saturee)|quota…depasse|espace…(insuffisant|plein)|destinataire plein",
        (
            r"(postfach|mailbox|konto|speicher\w{0,12}|briefkasten)…(voll|uberfullt|erschopft|uberschritten|"
            "ausgeschopft)"
        ),
        "kein speicherplatz",
        "(buzon|casilla|cuenta|cuota)…(llen[oa]|excedid|superad|agotad)",
        "(casella|quota|spazio)…(piena|superat|esaurit)",
        "(caixa|conta|cota|quota)…(cheia|lotada|excedid|esgotad)|sem espaco",
        "(ящик|квота|место|mailbox)…(переполнен|превышен|закончилось|заполнен)",
        r"(skrzynka|konto)…(pe.na|przepelnion)|(postvak|mailbox)…vol\b|(schranka)…pln",
        "(容量|空间|配额|邮箱).{0,8}(不足|已满|超|满)|メールボックス.{0,10}(いっぱい|超)|容量.{0,6}超",
        r"ofr ?417|ofr ?\d{0,3} ?417",
        r"^\d{3} [45]\.2\.2 ",
    ),
)

INACTIVE = (
    rule(
        "mailbox_inactive",
        Reason.INACTIVE_MAILBOX,
        (
            "RFC 3463 X.2.1, RFC 5248 X.7.13; Gmail 5.2.1, Yahoo 554.30, mail.ru, i.ua, Laposte.net, Exchange, "
            "cPanel: it exists and may be opened again"
        ),
        (
            rf"{BOX}('s)? (account |address |mailbox )?(addr )?(is |has been |was |are |has |temporar\w{{1,4}} |"
            "currently |permanently |been ){0,4}(disabled|suspended|inactive|deactivated|frozen|locked|blocked|"
            "on hold|expired|dormant|restricted|not active|not activated|unavailable due|not enabled|turned off|"
            "closed temporarily|terminated|discontinued|hang ?up|hung up)(?! or illegal)"
        ),
        rf"(disabled|suspended|deactivated|frozen|locked|dormant|blocked|archived) (e-?mail )?{BOX}\b",
        f"inactive (user|mailbox|account|recipient)|{BOX}…is (inactive|disabled|suspended|frozen)",
        r"(temporar\w{1,4}) (locked|disabled|suspended|blocked)|on hold\b",
        "mail (receiving|delivery|reception) (is |has been )?(disabled|suspended)",
        "(not|isn't|no longer) (currently )?(receiving|accepting) (mail|email|messages)",
        "accounts?[ .-]?disabled|disabled or discontinued",
        "compte…(bloque|desactive|suspendu|inactif|ferme)|(konto|postfach)…(gesperrt|deaktiviert|inaktiv)",
        "(cuenta|buzon)…(suspendid|desactivad|deshabilitad|bloquead|inactiv)",
        "(account|casella|utente)…(sospes|disattiv|disabilitat|bloccat)",
        "(conta|caixa)…(suspens|desativad|bloquead|inativ)",
        "(ящик|аккаунт|пользователь)…(заблокирован|отключен|приостановлен|неактивен)",
        "(konto|skrzynka)…(zablokowan|nieaktywn|zawieszon)",
        "(用户|帐号|账号|邮箱|帐户|账户).{0,8}(停用|禁用|冻结|锁定|过期|挂起)",
        "lpn007 ?426",
        r"^\d{3} [45]\.2\.1 …mailbox (is )?unavailable",
    ),
)

UNKNOWN = (
    rule(
        "mailbox_gone",
        Reason.UNKNOWN_USER,
        "RFC 5321 551, RFC 3463 X.1.6: moved without a forwarding address; and mailboxes that were closed for good",
        rf"{BOX} (\w{{1,12}} ){{0,3}}(has |have )?moved|user not local",
        "not (one of )?our (user|customer|member|subscriber)|not a customer",
        "no longer (on (this |the |our )?(server|system)|exists?|valid|active|in use|works?|here|employed)",
        (
            rf"{BOX} (\w{{1,12}} ){{0,2}}(has been |was |is |been )?(permanently )?"
            "(deleted|removed|closed|cancel?led|erased|purged|retired)"
        ),
        hard=True,
    ),
    rule(
        "no_valid_recipients",
        Reason.OTHER,
        "Postfix's answer to DATA after every RCPT was refused: it says nothing about this recipient",
        r"^554 (- |5\.5\.1 )(error: )?no valid recipients\W{0,3}$",
    ),
    rule(
        "unknown_user",
        Reason.UNKNOWN_USER,
        (
            "RFC 3463 X.1.1; the words of Postfix, Sendmail, Exim, qmail and chkuser, Exchange (RESOLVER.ADR), Domino, "
            "Gmail (p=NoSuchUser), Yahoo (no yahoo.com account), Apple, Yandex, mail.ru, NTT docomo, KDDI, Mimecast, "
            "Barracuda (nsu)"
        ),
        (
            rf"{BOX}('s)? (name |address |account |mailbox |id )?(\(?addr\)?[ :;.,]{{0,3}})?"
            rf"(\w{{1,14}} ){{0,3}}{NOT_THERE}\b"
        ),
        rf"{BOX}[ :;,.-]{{1,3}}(addr[ :;,.-]{{1,3}})?(\w{{1,10}}[ :;,.-]{{1,3}}){{0,2}}{NOT_THERE}\b",
        (
            "(unknown|invalid|no such|not such|non-?existent|nonexistant|unrecogni[sz]ed|illegal|bad|"
            "(?:not|isn't) a (?:valid|known)|not valid|wrong|unroute?able|incorrect|no valid|non-?existing|"
            rf"not existing) (or \w{{1,10}} )?(\w{{1,12}} ){{0,2}}{BOX}\b"
        ),
        r"(unknown|invalid|no such|non-?existent) e-?mail\b(?! (content|format|header))|undeliverable address",
        (
            rf"no (\w{{1,10}} )?{BOX} (\w{{1,12}} ){{0,3}}"
            r"(by|with|of|named|called|here|at|found|for|under|like|matching|exists)\b"
        ),
        r"no mailbox\b|no such (person|name|one|addressee|rcpt|user|local)|no one (here )?by that name",
        rf"no {BOX}[: ]{{1,3}}addr",
        rf"(doesn't|does not|don't|do not|didn't) have (a|an|any) (\S{{1,40}} )?{BOX}",
        (
            "(cannot|can't|could not|couldn't|unable to|failed to|did not|not) "
            "(find|locate|look ?up|resolve|recogni[sz]e|identify|match)(ed|d)? "
            rf"(\w{{1,12}} ){{0,3}}{BOX}"
        ),
        (
            r"(not|n't) (\w{1,10} )?(listed |found |present |known |exist |registered )?(in|on|at|by|to) "
            r"(\w{1,14} ){0,4}"
            "(directory|address book|database|this (server|system|domain|host)|"
            "our (server|system|domain|host|records|list)|user ?list|recipient (list|map|table)|local table|passwd)"
        ),
        (
            r"(addr|user|mailbox|account|recipient|that you tried to reach)[ :,.]{1,3}(\w{1,12} ){0,3}"
            "(does not|doesn't|did not|not) exist"
        ),
        r"validrcptto|recipient ?not ?found|recipnotfound|p=nosuchuser|cuda nsu|nsu\b",
        r"5\.1\.0 address rejected|(?<!sender )(?<!recipient )address rejected addr",
        "(is not|isn't|not) a valid (e-?mail|smtp|rfc)|blank mailhost|invalid final delivery",
        "user doesn't|unknown (or illegal )?(alias|user)|recipient unknown|bad destination (mailbox|email|user)",
        (
            "(?<!mail action not taken: )mailbox (is )?(unavailable|not available)"
            "(?!…(polic|block|reput|denied|try|temporar|spam))"
        ),
        hard=True,
    ),
    rule(
        "unknown_user_german",
        Reason.UNKNOWN_USER,
        "T-Online, GMX, web.de, Exchange in German",
        (
            r"(benutzer|empfanger|(?<!ip-)adresse(?! ip)|postfach|mailbox|konto|teilnehmer|adressat)\w{0,8}…(unbekannt|"
            "existiert nicht|existiert hier nicht|nicht gefunden|nicht vorhanden|nicht bekannt|nicht existent|"
            "ungultig|gibt es nicht)"
        ),
        (
            r"(unbekannte|ungultige|kein)(r|s|n|e)? (\w{1,12} )?(benutzer|empfanger|adresse|postfach|mailbox|"
            "teilnehmer)"
        ),
        hard=True,
    ),
    rule(
        "unknown_user_romance",
        Reason.UNKNOWN_USER,
        (
            "Orange (OFR_416), Free, Laposte.net, SFR; Terra, UOL, Telefonica, Libero, Aruba, Tiscali, Exchange in "
            "these languages"
        ),
        (
            r"(destinataire|utilisateur|adresse(?! ip)|boite|compte|usager|abonne)\w{0,2}…(inconnu|invalide|inexistant|"
            "n'existe pas|n existe pas|introuvable|non trouve)"
        ),
        (
            r"(usuario|cuenta|buzon|direccion(?! ip)|destinatario|casilla|correo)\w{0,2}…(no existe|inexistente|"
            "desconocid|no encontrad|invalid|no valid|no se encontro)"
        ),
        (
            r"(utente|casella|indirizzo(?! ip)|destinatario|account|mailbox)\w{0,2}…(sconosciut|inesistente|non esiste|"
            "non valid|non trovat|insesistente)"
        ),
        (
            r"(usuario|conta|caixa|destinatario|endereco(?! ip)|mailbox)\w{0,2}…(desconhecid|inexistente|nao existe|"
            "nao encontrad|nao foi encontrad|invalid)"
        ),
        r"ofr ?416|ofr ?\d{0,3} ?416",
        hard=True,
    ),
    rule(
        "unknown_user_slavic",
        Reason.UNKNOWN_USER,
        "Yandex, mail.ru, Rambler, ukr.net; WP, Onet, o2; Seznam",
        (
            r"(пользовател|ящик|адрес|получател|аккаунт|абонент|почтов)\w{0,6}…(не существует|не наиден|"
            "неизвест|не зарегистр|недеиств|не снаиден|отсутству|не існує|не знаид)"
        ),
        r"(нет такого|несуществующ|неизвестн|неверн)\w{0,4} (\w{1,12} )?(пользовател|ящик|адрес|получател)",
        (
            r"(uzytkownik|konto|adres|skrzynka|odbiorca|adresat)\w{0,3}…(nie istnieje|nieznan|nie znalezion|"
            "nieprawidlow)"
        ),
        "(nieznany|brak) (uzytkownik|adresat|odbiorc|kont)",
        r"(uzivatel|schranka|adresa|prijemce)\w{0,3}…(neexistuj|neznam|nenalezen)",
        "(neexistujici|neznamy) (uzivatel|schranka|adresa|prijemce)",
        hard=True,
    ),
    rule(
        "unknown_user_other_languages",
        Reason.UNKNOWN_USER,
        "KPN, Ziggo; Telia, One.com; Turkish, Chinese (QQ, NetEase, Coremail), Japanese and Korean providers",
        r"(gebruiker|ontvanger|adres|postvak|mailbox)\w{0,3}…(onbekend|bestaat niet|niet gevonden)",
        "onbekende? (gebruiker|ontvanger|aan-adres)|is niet gevonden bij",
        "(okand|ukendt|ukjent) (mottagare|anvandare|modtager|bruger|mottaker|bruker)",
        r"(mottagar|adress|modtager|mottaker|bruger)\w{0,4}…(finns inte|findes ikke|finnes ikke)",
        r"(kullanici|alici|adres)\w{0,4}…(bulunamadi|gecersiz|mevcut degil)",
        "(用户|收件人|邮箱|帐号|账号|地址|收信人|信箱).{0,8}(不存在|找不到|未找到|无效|没有找到)|(无此|查无此|没有此)(用户|人|邮箱|帐号|账号)|未知的?(用户|收件人|邮箱|地址)",
        "(宛先|ユーザ|メールアドレス|受信者|アドレス).{0,14}(存在しません|見つかりません|不明|存在しない|誤り)|宛先不明",
        "(사용자|수신자|계정|주소).{0,10}(존재하지|없습니다|없는|찾을 수)",
        hard=True,
    ),
)

DOMAIN = (
    rule(
        "domain_not_found",
        Reason.DOMAIN_NOT_FOUND,
        (
            'RFC 3463 X.1.2, RFC 7505 X.1.10 and 556; Postfix "Host or domain name not found", Sendmail "Host '
            'unknown", Exchange 5.4.310'
        ),
        (
            r"(no such|unknown|invalid|illegal|non-?existent|bad|unresolvable|unroute?able) "
            r"(mail |destination |recipient |remote )?(host/)?(domain|host|system|hostname)\b( name)?"
        ),
        (
            "(domain|host|hostname|destination system|destination domain)s?( or domain)?( name)?"
            r"[: ]{1,2}(\S{1,60} )?(is |was |does |could |has )?"
            "(unknown|not found|not exist|doesn't exist|non-?existent|not resolve|invalid|not be found|"
            "couldn't be found|not reachable|no mx|not valid)"
        ),
        "nxdomain|domain not found|bad destination (system|host)|null ?mx|no mx (record|host|found)",
        "(has|have|had|with) no mx|relevant mx records point to non-?existent hosts",
        r"domain (\S{1,60} )?(does not|doesn't) (accept|receive) (any )?(mail|e-?mail)",
        (
            "(domaine?|dominio|домен|domena|domane)…"
            "(inconnu|inexistant|unbekannt|existiert nicht|no existe|desconocid|inesistente|non esiste|inexistente|"
            "nao existe|не существует|не наиден|nie istnieje|n'existe pas)"
        ),
        "域名.{0,6}不存在",
        r"^556 |^\d{3} 5\.4\.310 ",
        hard=True,
    ),
)
