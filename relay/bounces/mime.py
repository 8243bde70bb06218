"""A report's bytes as a bounded tree of parts. Tolerant of everything, linear in time, and it never raises.

Reports come from broken software and from attackers, so size, number of parts, depth and header fields are bounded,
and what lies beyond a bound is not read. Nothing is decompressed.
"""

import binascii
import html
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header

MAX_BYTES = 1_000_000
MAX_PARTS = 200
MAX_DEPTH = 20
MAX_HEADER = 65_536
MAX_FIELDS = 500
MAX_VALUE = 8_192
MAX_TEXT = 100_000

FIELD = re.compile(r"([!-9;-~]{1,76})[ \t]{0,8}:(.*)", re.DOTALL)
# Charsets that mail is written in; Python has others, which take quadratic time (punycode).
CHARSET = re.compile(r"(?:utf|us-ascii|iso|windows|cp\d|koi8|gb|big5|euc|shift|sjis|ks_c|tis|mac|latin)", re.IGNORECASE)
CONTENT_TYPE = re.compile(r"\s*([\w.+-]{1,60}/[\w.+-]{1,60})")
PARAMETER = re.compile(r';\s{0,20}([\w*-]{1,40})\s{0,5}=\s{0,5}("[^"]{0,300}"|[^\s;"]{1,300})')
BOUNDARY = re.compile(
    rb"^--([^\s-][^\n]{0,200}?|-{1,60}[^\s-][^\n]{0,140}?)[ \t]{0,9}\ncontent-[a-z-]{1,30}:",
    re.IGNORECASE | re.MULTILINE,
)
# What stands between tags and can be seen; the elements that break a line.
UNSEEN = (("<style", "</style"), ("<script", "</script"), ("<head>", "</head>"), ("<!--", "-->"))
BREAK = re.compile(r"<(?:br|/?p|/?div|/?tr|/?h\d|/?li|/?table|/?td)\b[^<>]{0,2000}>", re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,2000}>")


@dataclass(slots=True)
class Part:
    """One MIME entity. `parts` are its children; a message/rfc822 has the message in it as its one child."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    kind: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    parts: list["Part"] = field(default_factory=list)

    def get(self, name: str) -> str:
        """The first field of this name (lower case), unfolded; "" if there is none."""
        return next((value for key, value in self.fields if key == name), "")

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def walk(self) -> Iterator["Part"]:
        """This part and those within it, but not those of a message that it encloses."""
        yield self
        if not self.kind.startswith("message/"):
            for part in self.parts:
                yield from part.walk()

    @property
    def content(self) -> bytes:
        """The body with its transfer encoding undone."""
        encoding = self.get("content-transfer-encoding").strip().lower()
        if encoding == "base64":
            return _base64(self.body)
        if encoding == "quoted-printable":
            return quopri.decodestring(self.body)
        return self.body

    @property
    def text(self) -> str:
        """The content in words; tags of HTML removed."""
        words = decoded(self.content[:MAX_TEXT], self.parameters.get("charset", ""))
        return without_tags(words) if self.kind == "text/html" else words


def read(raw: bytes) -> Part:
    """The tree of the first MAX_BYTES of a message, whatever its line ends."""
    lines = raw[:MAX_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _Reader().part(lines, 0)


class _Reader:
    def __init__(self) -> None:
        self.count = 0

    def part(self, raw: bytes, depth: int, default: str = "text/plain") -> Part:
        self.count += 1
        fields, body = split(raw)
        part = Part(fields, body)
        value = part.get("content-type")
        found = CONTENT_TYPE.match(value)
        part.kind = found[1].lower() if found else default
        part.parameters = {name.lower(): text.strip('"') for name, text in PARAMETER.findall(value[:MAX_VALUE])}
        if depth >= MAX_DEPTH:
            return part
        if part.kind.startswith("multipart/"):
            self._children(part, depth)
        elif part.kind in ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"):
            part.parts = [self.part(part.content.lstrip(b"\n"), depth + 1)] if self.count < MAX_PARTS else []
        return part

    def _children(self, part: Part, depth: int) -> None:
        default = "message/rfc822" if part.kind == "multipart/digest" else "text/plain"
        boundary = part.parameters.get("boundary", "").strip()
        if (b"--" + boundary.encode("utf-8", "surrogateescape")) not in part.body or not boundary:
            boundary = guessed_boundary(part.body)
        for piece in pieces(part.body, boundary):
            if self.count >= MAX_PARTS:
                return
            part.parts.append(self.part(piece, depth + 1, default))
        if not part.parts:
            # No boundary at all: what there is can only be read as words.
            part.kind = "text/plain"


def guessed_boundary(body: bytes) -> str:
    """The first line that looks like a boundary: gateways rewrite one of the two places and forget the other."""
    found = BOUNDARY.search(body[:MAX_HEADER])
    return found[1].decode("utf-8", "surrogateescape") if found else ""


def pieces(body: bytes, boundary: str) -> Iterator[bytes]:
    """What lies between the boundary lines (RFC 2046 5.1.1); the last may lack its end."""
    if not boundary:
        return
    delimiter = b"\n--" + boundary.encode("utf-8", "surrogateescape")
    body = b"\n" + body
    start = body.find(delimiter)
    while start >= 0:
        line_end = body.find(b"\n", start + len(delimiter))
        if line_end < 0 or body.startswith(b"--", start + len(delimiter)):
            return
        following = body.find(delimiter, line_end)
        yield body[line_end + 1 : following if following >= 0 else len(body)]
        start = following


def split(raw: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """The header fields of an entity, and its body."""
    if raw.startswith(b"\n"):
        return [], raw[1:]
    end = raw.find(b"\n\n")
    block, body = (raw, b"") if end < 0 else (raw[:end], raw[end + 2 :])
    return fields_of(block[:MAX_HEADER]), body


def fields_of(block: bytes | str) -> list[tuple[str, str]]:
    """(name in lower case, unfolded value); lines that are no field are skipped."""
    text = block if isinstance(block, str) else decoded(block, "")
    found: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            if found:
                found[-1][1].append(line.strip())
        elif (match := FIELD.match(line)) is not None:
            if len(found) >= MAX_FIELDS:
                break
            found.append((match[1].lower(), [match[2].strip()]))
    return [(name, " ".join(lines)[:MAX_VALUE]) for name, lines in found]


def decoded(content: bytes, charset: str) -> str:
    """In the charset that is named, else in UTF-8, else in Latin-1."""
    for name in (charset if CHARSET.match(charset) else "utf-8", "utf-8"):
        try:
            return content.decode(name)
        except (LookupError, ValueError):
            continue
    return content.decode("latin-1")


def words(value: str) -> str:
    """A header value with its encoded words (RFC 2047) decoded where they can be."""
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value[:1000])))
    except (MessageError, LookupError, ValueError):
        return value


def without_tags(text: str) -> str:
    for start, end in UNSEEN:
        text = _without(text, start, end)
    lines = text if "<pre" in text.lower() else text.replace("\n", " ")
    return html.unescape(TAG.sub("", BREAK.sub("\n", lines)))


def _without(text: str, start: str, end: str) -> str:
    """The text without what stands between two marks, in one pass."""
    kept, at, lower = [], 0, text.lower()
    if len(lower) != len(text):
        return text
    while (begin := lower.find(start, at)) >= 0 and (finish := lower.find(end, begin)) >= 0:
        kept.append(text[at:begin])
        at = finish + len(end)
    return "".join(kept) + text[at:]


def _base64(body: bytes) -> bytes:
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
    try:
        return b64decode(clean[: len(clean) // 4 * 4] if len(clean) % 4 == 1 else clean + b"=" * (-len(clean) % 4))
    except binascii.Error:
        return body
