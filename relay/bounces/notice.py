"""A report as people read it: the words before the returned message, and the returned message itself."""

import re
from dataclasses import dataclass, field

from relay.bounces.mime import Part, read

MAX_LINES = 400
MAX_LINE = 600

# A line that announces what is returned, whatever the software: "--- Below this line is a copy of the message."
ANNOUNCED = re.compile(
    r"^(?!.{0,60}\bnot\b)[\s>|#*=_~-]{0,80}(?:"
    r"(?:(?:this|here|below|enclosed|the following|attached|start|begin\w*)\b.{0,40})?\b(?:copy of|"
    r"headers? of|text of)\s(?:the|your)\s"
    r"(?:original\s)?(?:message|mail|e-?mail)\b.{0,60}"
    r"|(?:here is |start of |begin(?:ning)? of |the )?(?:your )?(?:original|returned|undelivered|"
    r"undeliverable|unsent|rejected|failed)\s"
    r"(?:e-?mail |mail )?(?:message|mail|e-?mail)(?:\s(?:text|headers?|info|body|content))?"
    r"(?:\s(?:follows?|attached|below|is attached|is included|is as follows|is below|info))?"
    r"|(?:the )?(?:message|mail)\s(?:text|headers?|body|contents?)\s(?:follows?|is attached)"
    r"|(?:the )?(?:first \d{1,6} (?:lines|bytes)|header|headers|text) of (?:the|"
    r"your) (?:original )?(?:message|mail).{0,40}"
    r"|old message|your message:|unsent message.{0,40}|.{0,30}returned (?:message|mail) follows.{0,20}"
    r"|urspr[uü]ngliche (?:nachricht|e-?mail|mail)|message d'origine|mensaje original|messaggio originale|"
    r"mensagem original"
    r"|(?:below|this) (?:this )?(?:line )?is (?:a copy of )?(?:the|your) (?:original )?(?:message|"
    r"mail(?! (?:system|server|deliver|trans|daemon|program|agent|gateway|router|host)))\b.{0,40}"
    r")[\s.:|#*=_~-]{0,80}$",
    re.IGNORECASE,
)
# Is as often a title, or announces a summary, which is part of the notice: it needs a header behind it.
OFTEN_TITLE = re.compile(
    r"\s{0,60}(?:your message|(?:returned|undelivered|undeliverable|unsent|rejected|failed) \S{4,7}\s{0,9}$)",
    re.IGNORECASE,
)
# What a header of a message begins with and a notice for people does not.
TRACE = re.compile(
    r"(?:received|return-path|message-id|dkim-signature|arc-seal|delivered-to|mime-version|x-[a-z0-9-]{2,60})"
    r"[ \t]{0,4}:\s*\S",
    re.IGNORECASE,
)
FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}[ \t]{0,4}:(?!//)|From \S|> ")
FIELD_OR_FOLD = re.compile(FIELD.pattern + r"|[ \t]+\S")
# These look like fields of a header but belong to a report.
OF_REPORT = re.compile(
    r"(?:x-(?:failed|actual|postfix|notes|display|supplementary|original)|reporting|final|diagnostic)", re.IGNORECASE
)


@dataclass(slots=True)
class Notice:
    """`lines` are for people; `returned` is what came back of our message: its header, perhaps its body."""

    lines: list[str] = field(default_factory=list)
    returned: Part | None = None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def unquoted(self) -> "Notice":
        """Without what somebody quotes from another mail."""
        return Notice([line for line in self.lines if not line.lstrip().startswith(">")], self.returned)


def notice_of(root: Part) -> Notice:
    notice = Notice()
    words: list[str] = []
    for part in root.walk():
        if part.parts and not part.kind.startswith("multipart/"):
            notice.returned = notice.returned or part.parts[0]
        elif part.kind in ("text/plain", "text/html", "text/enriched") and notice.returned is None:
            # An alternative in HTML says the same again.
            if part.kind == "text/html" and any(line.strip() for line in words):
                continue
            words += part.text.splitlines()[: 10 * MAX_LINES]
    end, start = returned_from(words)
    notice.lines = [line[:MAX_LINE] for line in words[:end][:MAX_LINES]]
    if notice.returned is None and start < len(words):
        notice.returned = read(
            "\n".join(line.removeprefix("> ") for line in words[start:]).strip().encode("utf-8", "replace")
        )
    return notice


def returned_from(lines: list[str]) -> tuple[int, int]:
    """Where the words for people end, and where the returned message begins; the number of lines if there is none."""
    for index, line in enumerate(lines):
        if len(line) < 200 and ANNOUNCED.match(line):
            start = _header_after(lines, index + 1)
            if not OFTEN_TITLE.match(line) or start == len(lines) or FIELD.match(lines[start]):
                return index, start
        if TRACE.match(line.removeprefix("> ")) and not OF_REPORT.match(line) and _is_header(lines, index):
            return index, index
    return len(lines), len(lines)


def _header_after(lines: list[str], start: int) -> int:
    """Past the empty lines and rulers between the announcement and the message."""
    for index in range(start, min(start + 6, len(lines))):
        if any(char.isalnum() for char in lines[index]):
            return index
    return min(start, len(lines))


def _is_header(lines: list[str], index: int) -> bool:
    """Three fields in a row, or all there is."""
    following = [line.removeprefix("> ") for line in lines[index + 1 : index + 4]]
    return sum(FIELD_OR_FOLD.match(line) is not None for line in following) >= min(2, len(following))
