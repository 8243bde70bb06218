"""What kind of mail came back, by its header and its words: a bounce, a delay, an automatic answer or none of them."""

import re

from relay.bounces.mime import Part, words
from relay.bounces.notice import Notice

DAEMON = re.compile(
    r"mailer[-_. ]?daemon|mail[-_. ]?daemon|mdaemon|post[ _-]?master|mail[-_. ]deliver|mail ?(?:system|server)|"
    r"mailsystem|delivery[-_ ]sub|"
    r"delivery (?:system|service|agent|notif)|(?:system|mail|network) ?administrator|^administrator\b|"
    r"systemadministrator|mail(?:ing)?[-_ ]?(?:admin|robot|router|gateway)|"
    r"microsoft exchange|bounce|mta@|smtp@|mailmaster|autoresponder-dsn|dsn@|internet mail|postfix|qmail|"
    r"^\s*<?>?\s*$",
    re.IGNORECASE,
)
# Addresses from which nothing else is written (RFC 5321 4.5.1 keeps postmaster for people).
STRICT_DAEMON = re.compile(r"(?:^|[<\s])(?:mail(?:er)?[-_.]?daemon|mdaemon)@|<>", re.IGNORECASE)
SUBJECT = re.compile(
    r"\bndn\b|\bndr\b|\bdsn\b|undeliver|un ?deliver(?:ed|able)|not deliver|non[- ]?deliver|return(?:ed|"
    r"ing)? (?:mail|message|to sender|e-?mail)|returning|"
    r"deliver\w* (?:status|fail|notif|report|error|problem|has|incomplete|delay|unsuccess|warning)|"
    r"failure (?:notice|delivery|notification)|"
    r"fail(?:ed|ure)?.{0,20}(?:deliver|mail|message)|(?:mail|message|e-?mail).{0,30}(?:fail|error|could not|"
    r"not be|rejected|refused|returned|delayed|blocked|trouble)|"
    r"could ?n[o']t be deliver|could not deliver|cannot deliver|error sending|mail (?:system )?error|"
    r"user unknown|unknown (?:user|recipient|address)|"
    r"warning: (?:could|message|mail)|\bdelay (?:in|of)\b|mailbox (?:full|unavailable)|rejected|delayed|"
    r"unzustellbar|nicht zugestellt|zustell|r[uü]ckl[aä]ufer|non remis|non distribu|echec|échec|no se (?:ha |"
    r"pudo )?(?:podido )?entreg|no entregad|devuelto|"
    r"impossibile|mancato recapito|n[aã]o (?:foi )?entreg|falha|не доставлен|недоставлен|не (?:может|удалось)|"
    r"niedostarcz|nie dostarcz|退信|退回|系统|エラー|返送|送信でき|配信|반송|"
    r"remise|distribution|(?:non|mancat[ao]) (?:recapit|consegn)|n[aã]o (?:pode ser )?entreg|entrega|devolvid|"
    r"onbestelbaar|niet (?:bezorgd|afgeleverd)|bezorging|olevererbar|kan ikke leveres|kunne ikke lever|"
    r"kunde inte lever|ei voi(?:da|tu)? toimit|toimitus|nedoru[cč]iteln|nelze doru[cč]it|nebyl\w? doru[cč]en|"
    r"k[eé]zbes[ií]th?e?t|teslim edileme|iletileme|nelivrabil|доставк|"
    r"无法(?:传递|送达|投递|发送)|未送达|投递失败|전송|배달|전달할 수 없",
    re.IGNORECASE,
)
WORDS = re.compile(
    r"(?:could|can|was|were|did|has|have|is|are|be) ?n[o']t (?:be |been |able to (?:be )?)?(?:deliver|reach|"
    r"sent|send|receive|accept|process|relay|found|find)|"
    r"cannot (?:be )?deliver|unable to (?:be )?(?:deliver|relay|route|send|process)|undeliver|not delivered|"
    r"delivery (?:to|of|has|failed|failure|error|was|attempt)|"
    r"permanent(?:ly)? (?:fatal )?(?:error|fail)|fatal error|failed (?:permanently|recipient|address|"
    r"to deliver|for|after)|(?:user|recipient|address|mailbox|host|domain) (?:is )?(?:unknown|not found|full|"
    r"unavailable)|"
    r"(?:unknown|invalid|no such) (?:user|recipient|address|mailbox|host|domain)|rejected (?:by|recipient|"
    r"your|the|for)|was rejected|returned (?:to (?:you|sender)|mail|message|because)|bounce|"
    r"address(?:es|\(es\))? (?:failed|had|rejected|below)|did not reach|over quota|quota exceeded|"
    r"mailbox full|retry timeout|does not exist|doesn't exist|not (?:a )?member of|"
    r"(?:trouble|problem|error|errors)\b.{0,30}\b(?:delivering|sending|occurred|recipient)|an error|"
    r"will be retried|has been delayed|still being retried|"
    r"(?<![\d.])5\d\d[ -]#?5\.\d{1,3}\.\d{1,3}|(?:said|error|returned|code|reply|response)\W{1,4}[45]\d\d\b|"
    r"recipient|"
    r"nicht (?:zugestellt|erreicht)|unzustellbar|konnte(?:n)? nicht|n'a (?:pas )?pu|impossible|"
    r"pas (?:été )?(?:remis|distribu|deliv)|no (?:se )?(?:pudo|ha podido|puede)|non (?:è stato|può|recapit)|"
    r"n[aã]o (?:p[oô]de|foi|pode)|не (?:может|доставлен|удалось|существует)|nie (?:mo[zż]|dostarcz|zosta)|"
    r"できません|できなかった|存在しない|失敗|无法|失败|不存在|投递|"
    r"remise à|kan niet|kon niet|niet (?:bezorgd|afgeleverd|gevonden)|kunde inte|gick inte att|kan ikke|kunne ikke|"
    r"ei voi(?:da|tu)|nelze|nebyl\w? doru[cč]en|nem siker[uü]lt|nem k[eé]zbes[ií]thet|edileme|"
    r"nu (?:a putut|poate)|δεν (?:ήταν δυνατή|παραδόθηκε|μπορεί)|배달되지|배달할 수|전달되지|전송하지|보낼 수 없",
    re.IGNORECASE,
)
# So plain that even a stranger is believed who says it.
PLAIN = re.compile(
    r"^(?!>).{0,200}(?:(?:could|can|was|has|have)(?: ?not|n't) (?:be|been)? ?deliver|undeliverable|"
    r"delivery (?:has )?failed|"
    r"permanent(?:ly)? (?:fatal )?(?:error|fail)|(?:did|was|were) not (?:reach|be reached)|"
    r"not a member of (?:this|the) (?:mailing )?list|n'a pas pu .{0,10}deli|nicht zugestellt|"
    r"no se pudo entreg|"
    r"(?<![\d.])5\d\d[ -]{1,3}(?:#?5\.|\D{0,40}(?:user|recipient|address|mailbox|not taken)))",
    re.IGNORECASE | re.MULTILINE,
)
DELAY = re.compile(
    r"warning(?: message)? only|do not need to re-?send|don't need to re-?send|(?:has|have|is|was|been|being|"
    r"are) (?:temporarily )?delayed|delayed mail|still being (?:re)?tried|"
    r"will (?:be retried|keep trying|continue to (?:try|be)|retry|try again|still try|attempt|"
    r"be re-?attempted)|still (?:trying|attempting)|not yet (?:been )?deliver|"
    r"delivery attempts will continue|no action is required|further attempts? will be|will be (?:tried|"
    r"attempted) (?:again|until)|(?:status|notification) \(delay\)|delivery (?:is )?delayed|"
    r"retrying|warning: (?:message|could not|mail)|^delayed\b|temporar\w* (?:error|fail\w*).{0,60}(?:retr|"
    r"continue)|advisory[- ]only|(?:has been|is|was) postponed|"
    r"weiter\w{0,6} versucht|noch nicht zugestellt|verz[oö]ger|pas encore été (?:remis|distribu|d[eé]livr)|"
    r"(?:remise|distribution|livraison)\b.{0,60}(?:retard|diff[eé]r)|continuera d'essayer|"
    r"entrega\b.{0,60}(?:retras|demor|atras)|(?:todav[ií]a|a[uú]n) no se ha entregado|seguir[aá] intentando|"
    r"ainda n[aã]o foi entregue|consegna\b.{0,60}(?:ritard|rinviat)|non è stato ancora|"
    r"bezorging\b.{0,60}vertraagd|nog niet (?:bezorgd|afgeleverd)|op[oó][zź]nion|"
    r"доставк\w{1,3}\b.{0,60}(?:задерж|отложен)|ещ[её] не (?:было )?доставлен|"
    r"遅延|遅れています|再試行|まだ配信され|延迟|延遲|尚未(?:送达|投递|传递)|继续尝试",
    re.IGNORECASE | re.MULTILINE,
)
# Said when it is over, which a note on earlier retries does not change.
OVER = re.compile(
    r"giv(?:ing|en) up|gave up|no (?:further|more) (?:delivery )?(?:attempts|retries)|permanent(?:ly)?|"
    r"fail(?:ed|ure)\)|will not be (?:retried|tried)|not going to try|"
    r"undeliverable|returned to sender|failed after|(?:has|been) failed|timed out after|expired|too long|"
    r"could not be delivered (?:for|after|within) \d{1,3} days and",
    re.IGNORECASE,
)
# "You'll be notified if the delivery fails permanently": said of what has not happened yet.
IN_THAT_CASE = re.compile(r"\b(?:if|unless|should|in case)\b[^.:]{0,160}", re.IGNORECASE)

AUTO_SUBJECT = re.compile(
    r"^\W{0,4}(?:auto(?:matic|mated|matische|matisk|m[aá]tica|mática)?[-: ]{0,3}(?:re(?:ply|sponse|sponder)|"
    r"antwort|svar|respuesta|resposta|response)|autoreply|autorespon|out ?of ?(?:the )?office|ooo\b|"
    r"vacation|away (?:from|until)|on (?:vacation|holiday|leave)|abwesen\w{0,20}|r[eé]ponse automatique|"
    r"absen\w{1,6}|respuesta autom|risposta autom|resposta autom|"
    r"автоответ|автоматическ\w{2,3} ответ|автоматична відповідь|automaattinen|automatisch|autosvar|automatick\w odpov|"
    r"odpowied[zź] automatyczna|automatikus v[aá]lasz|otomatik yan[iı]t|r[aă]spuns automat|αυτόματη απάντηση|"
    r"자동 ?(?:회신|응답)|自動(?:返信|応答|回覆)|自动(?:回复|答复))|"
    r"\b(?:out of (?:the )?office|auto(?:matic)?[- ]?repl(?:y|ies)|autoresponder|vacation (?:message|reply|"
    r"notice)|is (?:away|on vacation))\b",
    re.IGNORECASE,
)
CHALLENGE = re.compile(
    r"(?:please )?(?:confirm|verify|authenticate|authori[sz]e)\b.{0,60}\b(?:your (?:e-?mail|message|address|"
    r"identity)|you are (?:a |not )?(?:human|real|person|spam)|sender|to (?:be )?deliver)|"
    r"(?:click|visit|follow|reply|respond)\b.{0,80}\b(?:to (?:have|get|let|release|deliver|"
    r"complete)\b.{0,30}(?:message|mail|e-?mail|delivered)|white ?list|approved sender)|"
    r"challenge[-/ ]response|one[- ]time (?:confirmation|verification)|awaiting (?:your )?(?:confirmation|"
    r"verification)|spam ?arrest|boxbe|tmda|sender verification|"
    r"(?:held|quarantined|waiting) (?:until|for|pending)\b.{0,40}(?:confirm|verif|approv|respon)|"
    r"requires? (?:that you )?verif|\blive human\b|not a spam (?:source|bot|robot)|list of allowed senders|"
    r"spam ?blocker|box ?trapper|\bwaitlisted\b|add yourself to my guest list|whitelist me|mailinblack|"
    r"(?:best[aä]tigen|confirmer|confirme|confermi|authentifi\w{0,4})\b.{0,60}(?:nachricht|absender|message|mensaje|"
    r"messaggio|mail)",
    re.IGNORECASE,
)


def subject_of(root: Part) -> str:
    return words(root.get("subject"))[:500]


def from_machine(root: Part) -> bool:
    """From a mail system rather than from a person or their assistant (RFC 5321 6.1: bounces have no sender)."""
    author = root.get("from") or root.get("sender")
    return bool(DAEMON.search(words(author)[:500])) or "x-failed-recipients" in dict(root.fields)


def is_automatic(root: Part) -> bool:
    """An answer that a person's software gives by itself (RFC 3834), which tells nothing about delivery."""
    fields = dict(reversed(root.fields))
    submitted = fields.get("auto-submitted", "").lower()
    marks = (
        submitted.startswith("auto-replied"),
        bool(
            fields.keys()
            & {"x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-vacation", "x-autogenerated"}
        ),
        fields.get("precedence", "").lower().startswith(("auto_reply", "auto-reply")),
        fields.get("x-precedence", "").lower().startswith(("auto_reply", "auto-reply")),
        bool(AUTO_SUBJECT.search(subject_of(root))),
    )
    return any(marks)


def is_absence(root: Part) -> bool:
    """By its subject an answer of somebody who is away; a postmaster may be, too."""
    return bool(AUTO_SUBJECT.match(subject_of(root)))


def is_challenge(root: Part, text: str) -> bool:
    return bool(CHALLENGE.search(f"{subject_of(root)}\n{text[:4000]}"))


def sounds_like_bounce(root: Part, text: str) -> bool:
    return bool(SUBJECT.search(subject_of(root)) or WORDS.search(text[:8000]))


def is_plainly_bounce(root: Part, text: str) -> bool:
    """Said by somebody who is no mail system, so it has to be plain and no answer of a person."""
    subject = subject_of(root)
    if is_automatic(root) or is_challenge(root, text):
        return False
    return bool(PLAIN.search(text[:4000])) or bool(SUBJECT.search(subject) and not subject.lower().startswith("re:"))


def is_clear(root: Part, notice: Notice) -> bool:
    """Not only words that mail systems use, as a newsletter about mail may have them."""
    if notice.returned is not None or STRICT_DAEMON.search(root.get("from")[:500]):
        return True
    return bool(SUBJECT.search(subject_of(root)) or PLAIN.search(notice.text[:4000]))


def is_delay(root: Part, text: str) -> bool:
    """Still being tried: RFC 3464's Action "delayed", in words."""
    said = f"{subject_of(root)}\n{text[:4000]}"
    return bool(DELAY.search(said)) and not OVER.search(IN_THAT_CASE.sub("", said))
