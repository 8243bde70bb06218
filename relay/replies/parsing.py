"""Reads a reply as people paste it: from a log, a bounce report, a JSON file, a terminal."""

import json
import re

from relay.replies.reply import Reply, Stage

LIMIT = 2000

# RFC 3463 2: class.subject.detail. Not a piece of an IP address or of a version such as 4.92.3.1.
ENHANCED = re.compile(r"(?<![\d.])([245]\.[0-7]\.\d{1,3})(?![\d]|\.\d)")
# RFC 3464 2.3.6: the diagnostic's type before the text.
DIAGNOSTIC_TYPE = re.compile(r"\A\s{0,9}(?:diagnostic-code:\s{0,9})?(?:smtp|lmtp|x-[a-z-]{1,20})\s{0,9};\s{0,9}", re.I)
# A reply's first line: the code at the very start, or behind what introduces a quoted reply.
# Only there may it be 2xx or 3xx; elsewhere the second digit tells a code from a port (RFC 5321 4.2.1).
CODE = re.compile(
    r"\A\s{0,9}([2-5]\d\d)(?=[\s:#-]|\Z)|(?:[:'\"(\[<;>]|\.\s|\b(?:error|code|returned)\s)\s{0,9}([45][0-5]\d)(?=[\s:#-]|\Z)"
)
# A code anywhere, if an enhanced code of the same class stands behind it.
PAIR = re.compile(r"(?<![\d.])([245])(\d\d)[ -]{1,3}#?\1\.[0-7]\.\d{1,3}(?![\d.])")
# The continuation of a multi-line reply repeats its code, and the enhanced code as well (RFC 2034 4).
REPEATED = re.compile(r"[\r\n]\s{0,9}[2-5]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3}\s)?")
LEADING = re.compile(r"[\s:#-]{0,9}(?:#?[245]\.\d{1,3}\.\d{1,3}(?![\d.])[\s:-]{0,9})?")
HOST = re.compile(r"\bhost ([a-z0-9._-]{1,255})", re.I)

# What Postfix, Exim, qmail and others write about the command that was refused.
STAGES: tuple[tuple[Stage, re.Pattern[str]], ...] = (
    ("connect", re.compile(r"refused to talk to me|after initial connection|\[CONNECT\]", re.I)),
    ("ehlo", re.compile(r"in reply to (?:EHLO|HELO|LHLO)|after (?:EHLO|HELO)|\[(?:EHLO|HELO)\]", re.I)),
    ("starttls", re.compile(r"in reply to STARTTLS|after STARTTLS|\[STARTTLS\]", re.I)),
    ("mail", re.compile(r"in reply to MAIL|after MAIL FROM|sender was rejected\.|\[MAIL_FROM\]", re.I)),
    ("rcpt", re.compile(r"in reply to RCPT|after RCPT TO|does not like recipient|our RCPT TO|\[RCPT_TO\]", re.I)),
    (
        "end_of_data",
        re.compile(r"in reply to end of DATA|after end of data|our final DATA|after I sent the mess", re.I),
    ),
    ("data", re.compile(r"in reply to DATA command|after DATA\b|\[DATA\]", re.I)),
)


def parse(line: str) -> Reply:
    """The reply in `line`, which may hold several lines, be quoted as JSON or carry a log's or a report's words.

    Never raises. Without a reply code the stage is left empty too: such words are a report's, not an attempt's.
    """
    whole = bounded(DIAGNOSTIC_TYPE.sub("", _unquoted(line)))
    found = CODE.search(whole) or PAIR.search(whole)
    if found is None:
        return Reply("", 0, enhanced_code(whole, 0), one_line(whole), _host(whole))
    code = int("".join(filter(None, found.groups())))
    introduction, text = whole[: found.start()], whole[found.end(found.lastindex or 0) :]
    if found.re is PAIR:
        text = whole[found.start() + 3 :]
    leading = LEADING.match(text)
    enhanced = enhanced_code(leading[0] if leading else "", code) or enhanced_code(text, code)
    text = REPEATED.sub(" ", text[leading.end() if leading else 0 :])
    return Reply(_stage(whole), code, enhanced, one_line(text), _host(introduction))


def enhanced_code(text: str, code: int) -> str:
    """The first enhanced status code in `text` whose class is that of `code` (any class when `code` is 0), or ""."""
    for found in ENHANCED.finditer(bounded(text)):
        if not code or found[1][0] == str(code)[0]:
            return found[1]
    return ""


def bounded(text: str) -> str:
    """The part that is read at all: a reply line has at most 512 octets (RFC 5321 4.5.3.1.5), a reply some lines."""
    return text[:LIMIT]


def one_line(text: str) -> str:
    return " ".join(text.split())


def _unquoted(line: str) -> str:
    """JSON's string as the text it stands for; a backslash-n of somebody's log as the line end it stands for."""
    line = line.strip()
    if len(line) > 1 and line[0] == line[-1] == '"':
        try:
            return str(json.loads(line, strict=False))
        except ValueError:
            line = line[1:-1]
    return line.replace("\\r\\n", "\n").replace("\\n", "\n")


def _stage(text: str) -> Stage:
    return next((stage for stage, pattern in STAGES if pattern.search(text)), "")


def _host(introduction: str) -> str:
    found = HOST.search(introduction)
    return found[1] if found else ""
