"""Bounces that are no DSN: finds in the words for people who was not reached and what was said about each."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from relay.bounces.dsn import ADDRESS, bare, elided
from relay.bounces.notice import Notice

MAX_MENTIONS = 1000
MAX_ADDRESSES = 100
SEGMENT_LINES = 25
SEGMENT = 1500

# Addresses that a notice names for other reasons: whom to ask, and who speaks.
OFFICE = re.compile(
    r"(?:post-?master|mail(?:er)?-?daemon|abuse|support|help(?:desk)?|hostmaster|webmaster|no-?reply|do-?not-?reply|mail-?admin|antispam|noc|sysadmin|delist\w{0,6})@",
    re.IGNORECASE,
)
# What stands before an address that did not fail, and before one that did.
OTHERS = re.compile(
    r"(?:from|sender|reply[- ]?to|sent by|contact|e-?mail us|write to|please\b.{0,40}|message[- ]id|"
    r"return[- ]path|errors[- ]to|envelope[- ]from|mailto|originator|"
    r"forward\w{0,6}\b.{0,30}|assistance\b.{0,60}|questions?\b.{0,60}|hello|hi|dear|subject|"
    r"by|via|on behalf of|"
    r"(?:absender|expéditeur|remitente|mittente|remetente|от)|(?:send|sending)\b.{0,40}\bto)[\s:=<(\[\"'«*,-]{0,8}$",
    re.IGNORECASE,
)
RECIPIENT = re.compile(
    r"(?:recipients?|rcpt(?:[ _-]to)?|to|for|address(?:es)?|user(?: ?id| ?name)?|mailbox|account|destination|"
    r"(?:intended|original)|deliver(?:y|ed|ing)?|attempts?|failed|undeliverable|unknown|reach|of|"
    r"empf[aä]nger\w{0,3}|adresse?|an|destinataires?|[àa]|para|destinatario|destinat[aá]rio|получател\w{0,3}|"
    r"odbiorc\w{0,3}|收件人|收信人|宛先|error|invalid|local|alias|original|list|group|smtp)"
    r"(?:\(s\))?(?: address| name| is| was)?[\s:：=<(\[\"'«*#>.-]{0,12}$",
    re.IGNORECASE,
)
# Which address led to another, to a file or to a program.
BEHIND = re.compile(r"(?:generated|expanded)\s(?:from|by)[\s:=<(\[\"'«*,-]{0,8}$", re.IGNORECASE)
# Nothing but bullets, brackets, quotes and a short name before the address.
LEADS = re.compile(r"[\s\W\d]{0,20}(?:\"[^\"]{0,80}\"\s{0,3}|(?:[\w.'-]{1,30}\s){0,4})?[\s<(\[\"'«*>-]{0,6}$")
LABELLED = re.compile(r"\w[\w ]{2,60}\S? ?:[\s<(\[\"']{0,9}$")
WORDS = re.compile(r"\w{3}")
ENDS = re.compile(r"[>\"')\]]?\s{0,3}(?:$|[,;.]\s?(?:$|\S{1,320}@))")
LISTED = re.compile(r"[>\"')\]]?\s{0,3}(?:[,;&]|and|und|et|y|e)\s{0,9}[<\"'(\[]?", re.IGNORECASE)
FOLLOWS = re.compile(r"[>)\]\"'»]{0,3}\s{0,4}(?:$|[:;,.(\[<|=-]|\.\.\.|…|on\s|\()")
SUMMARY = re.compile(r"\s{0,20}(?:to|an|à|para|a|кому|cc)\s{0,3}:", re.IGNORECASE)
RULER = re.compile(r"\s{0,9}[-=_*#~]{5,200}\s{0,9}")
REPLY = re.compile(r"(?<![\d.:])[45]\d\d(?=[ \-:#,][^\d]|\s*[45]\.)|(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])")


@dataclass(slots=True)
class Mention:
    """An address in the notice: where, and how sure it is that it failed (0 is surest). `office`: see OFFICE."""

    address: str
    line: int
    rank: int
    office: bool


IN_PASSING = 3


def failures(
    notice: Notice,
    sender: Collection[str] = (),
    wanted: Collection[str] = (),
    *,
    most: int = IN_PASSING - 1,
    offices: bool = False,
) -> list[tuple[str, str]]:
    """(address, what was said about it), for each address that seems to have failed.

    `sender`: addresses, in lower case, that are not believed to have failed; `wanted`: those the returned message was
    for; `most`: the least sure rank that is still believed; `offices`: postmaster@ and the like may have failed too.
    """
    found = islice(_mentions(notice.lines, wanted), MAX_MENTIONS)
    mentions = [mention for mention in found if mention.rank <= most and (offices or not mention.office)]
    others = _outside([mention for mention in mentions if mention.address.lower() not in sender])
    best = min((mention.rank for mention in others), default=9)
    firsts: dict[str, Mention] = {}
    for mention in others:
        if mention.rank == best:
            firsts.setdefault(mention.address.lower(), mention)
    if best >= IN_PASSING and len(firsts) > 1:
        # Several in passing, and none that we wrote to: no telling which.
        return []
    chosen = list(firsts.values())[:MAX_ADDRESSES]
    if len(chosen) == 1:
        return [(chosen[0].address, said_about(chosen, chosen, notice.lines))]
    wanted = {mention.address.lower() for mention in chosen}
    named = [mention for mention in others if mention.address.lower() in wanted]
    return [(mention.address, said_about(_of(mention, named), named, notice.lines)) for mention in chosen]


def _of(mention: Mention, mentions: Sequence[Mention]) -> list[Mention]:
    return [other for other in mentions if other.address.lower() == mention.address.lower()]


def _outside(mentions: list[Mention]) -> list[Mention]:
    """Without the parts of the server that speaks, such as ims-ms-daemon@ims-ms-daemon, if others are named."""
    return [mention for mention in mentions if "." in mention.address.rpartition("@")[2]] or mentions


def _mentions(lines: Sequence[str], wanted: Collection[str]) -> Iterator[Mention]:
    before = ""
    for number, line in enumerate(lines):
        end, rank = 0, None
        for address, start in _addresses(line):
            # In a list each is what the first one is.
            if not (end and LISTED.fullmatch(line[end:start])):
                rank = _rank(line, start, start + len(address), before)
            end = start + len(address)
            ours = address.lower() in wanted
            if rank is not None:
                yield Mention(address, number, min(rank, 2) if ours else rank, not ours and bool(OFFICE.match(address)))
        before = line if line.strip() else before


def _addresses(line: str) -> Iterator[tuple[str, int]]:
    """Those that are whole, and where each begins."""
    for found in ADDRESS.finditer(line):
        address = bare(found[0].strip(".'`*="))
        cut_short = found[0].endswith("...") and "." not in address.rpartition("@")[2]
        if not address.startswith("@") and not cut_short and not elided(address):
            yield address, line.find(address, found.start())


def _rank(line: str, start: int, end: int, previous: str) -> int | None:
    """0 leads its line or is named as a recipient, 1 stands in a reply, 2 behind a forwarding, 3 and 4 in passing.

    None is somebody else's.
    """
    prefix = line[max(0, start - 80) : start]
    if BEHIND.search(prefix):
        return 2
    if OTHERS.search(prefix) and not re.search(r"rcpt[ _-]to[:\s<]{1,4}$", prefix, re.IGNORECASE):
        return None
    leads = LEADS.fullmatch(prefix) is not None and FOLLOWS.match(line[end:]) is not None
    if leads and start <= 80:
        return None if re.search(r"(?:sent by|from|sender)[\s:]{0,4}$", previous, re.IGNORECASE) else 0
    if not prefix.strip() and line[end : end + 1].isspace():
        return 1
    if SUMMARY.match(line):
        return 4
    if RECIPIENT.search(prefix) or (LABELLED.search(prefix) and ENDS.match(line[end:])):
        return 0
    return 1 if REPLY.search(line) else 3


def said_about(own: Sequence[Mention], mentions: Sequence[Mention], lines: Sequence[str]) -> str:
    """The words that belong to an address: a reply behind one of its own mentions, else words there, else all words.

    `mentions` are those of all addresses that failed: what stands behind one belongs to it until another comes.
    """
    starts = sorted({each.line for each in mentions})
    others = sorted({each.line for each in mentions if each.address.lower() != own[0].address.lower()})
    texts = [_behind(mention, others, lines) for mention in own]
    with_words = [text for text in texts if WORDS.search(text)]
    with_reply = [text for text in with_words if REPLY.search(text)]
    if with_reply or with_words:
        return (with_reply or with_words)[0]
    if len(starts) > 1:
        naming = [lines[each.line] for each in own if WORDS.search(lines[each.line].partition(each.address)[0])]
        text = segment(naming or lines[starts[-1] + 1 :][:SEGMENT_LINES], "")
        if WORDS.search(text):
            return text
    return segment(lines, "")


def _behind(mention: Mention, others: Sequence[int], lines: Sequence[str]) -> str:
    following = next((line for line in others if line > mention.line), len(lines))
    return segment(lines[mention.line : min(following, mention.line + SEGMENT_LINES)], mention.address)


def segment(lines: Sequence[str], address: str) -> str:
    """On one line, without the address that introduces it; the paragraph of the reply if there is one."""
    number = next((number for number, line in enumerate(lines) if REPLY.search(line)), None)
    if number is not None:
        end = next((n for n in range(number, len(lines)) if not lines[n].strip()), len(lines))
        lines = lines[max(0, number - 4) : end]
    else:
        end = next((n for n in range(1, len(lines)) if RULER.fullmatch(lines[n])), len(lines))
        lines = lines[:end]
    text = " ".join(" ".join(lines).split())
    if address and address in text:
        text = text.partition(address)[2].lstrip(" >:)]\"'.;,-")
    found = REPLY.search(text)
    return text[max(0, found.start() - 200) if found else 0 :][:SEGMENT]
