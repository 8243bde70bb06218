"""The header block of a message: what is read from it, what is removed, added and repaired; every other byte stays.

Pure functions over bytes. RFC 5322 for the syntax; RFC 6532 lets UTF-8 stand in header fields.
"""

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.headerregistry import HeaderRegistry
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings

log = logging.getLogger(__name__)

MAX_HEADER = settings.MAX_HEADER_BYTES
MAX_FIELDS = settings.MAX_HEADER_FIELDS
MAX_RECEIVED = 50
MAX_METADATA = 20
MAX_FROM = 2_000
MAX_READABLE = 2_000

# A field with its folded lines. RFC 5322 2.2: printable ASCII but colon, and no space before the colon: the obsolete
# form (RFC 5322 4.5) cannot be signed, because DKIM verifiers disagree about it.
FIELD = re.compile(rb"([!-9;-~]+):([^\n]*\n(?:[ \t][^\n]*\n)*)")
# A line that somebody may have meant as a field, or may take for one, however wrong its name is.
LIKE_A_FIELD = re.compile(rb"^[^\s:]++[ \t]*+:", re.MULTILINE)
EMPTY_LINE = b"\r\n"
# The usual ways to write one mailbox: an address alone, or behind a name.
LONE_MAILBOX = re.compile(r'[^\s<>@,;:"()\[\]\\]+@[^\s<>@,;:"()\[\]\\]+')
NAMED_MAILBOX = re.compile(
    r'(?:"(?:[^"\\]|\\.)*"\s*|[^<>",;:()\\]*)<\s*([^\s<>@,;:"()\[\]\\]+@[^\s<>@,;:"()\[\]\\]+)\s*>'
)
REMOVED = frozenset({b"bcc", b"resent-bcc"})
TAG = b"x-relay-tag"
METADATA = b"x-relay-metadata-"
registry = HeaderRegistry()


class Malformed(Exception):
    """The header block cannot be sent on; the text says why, for the customer."""


class Looping(Malformed):
    """The message has been through too many servers."""


@dataclass(slots=True)
class Header:
    """What the header block says. `kept`: the fields to carry, byte for byte; `length`: of the block as it came.

    `repair` is the empty line that the client left out between the block and the body, or nothing.
    """

    kept: list[bytes] = field(default_factory=list)
    length: int = 0
    repair: bytes = b""
    seen: set[bytes] = field(default_factory=set)
    sender: str = ""
    subject: str = ""
    message_id: str = ""
    tag: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def parse(head: bytes, header: Header | None = None) -> Header:
    """`head` begins with the message and holds at least its header block.

    Raises Malformed; what could be read until then is in `header`, if one is given.
    """
    header = header or Header()
    senders, received = [], 0
    block = block_of(head)
    fields, end = fields_of(block)
    for name, raw, value in fields:
        header.length += len(raw)
        if name == TAG:
            header.tag = readable(value)
        elif name.startswith(METADATA):
            if len(header.metadata) < MAX_METADATA:
                header.metadata[name.removeprefix(METADATA).decode()] = readable(value)
        elif name not in REMOVED:
            header.kept.append(raw)
            header.seen.add(name)
        if name == b"from":
            senders.append(value)
        elif name == b"subject":
            header.subject = readable(value)
        elif name == b"message-id":
            header.message_id = text_of(value)
        received += name == b"received"
    if end < len(block):
        header.repair = missing_line(block, end)
    if received > MAX_RECEIVED:
        raise Looping(f"it has {received} Received header fields, so it seems to travel in a loop")
    header.sender = sender_of(senders)
    return header


def block_of(head: bytes) -> bytes:
    """The header fields with their line ends, without the empty line that ends them."""
    if head.startswith(b"\r\n"):
        return b""
    end = head.find(b"\r\n\r\n")
    if end < 0 and len(head) <= MAX_HEADER:
        return head
    if end < 0 or end > MAX_HEADER:
        raise Malformed(f"its header is larger than {MAX_HEADER} bytes")
    return head[: end + 2]


def fields_of(block: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], int]:
    """(name in lower case, the whole field, its value) in order, and where the first line stands that is no field."""
    found, at = [], 0
    while match := FIELD.match(block, at):
        found.append((match[1].lower(), match[0], match[2]))
        at = match.end()
    if len(found) > MAX_FIELDS:
        raise Malformed(f"it has more than {MAX_FIELDS} header fields")
    return found, at


def missing_line(block: bytes, at: int) -> bytes:
    """The empty line to put in at `at`, where text begins that is no field. Raises Malformed.

    RFC 5322 2.1 wants an empty line before the body. Most servers take a line that is no field for the body's first,
    some skip it and read on; with the empty line in its place all read what we signed. But when something like a field
    follows, it was not the body that the client meant, and to make it so would show a Bcc, or the fields, to everybody.
    """
    if LIKE_A_FIELD.search(block, at):
        line = block.count(b"\n", 0, at) + 1
        raise Malformed(f"line {line} is not a header field, and no empty line stands before it")
    return EMPTY_LINE


def sender_of(values: list[bytes]) -> str:
    """The address of the one and only mailbox of the one and only From."""
    if len(values) != 1:
        count = "no" if not values else "more than one"
        raise Malformed(f"it has {count} From header field; exactly one is needed")
    value = text_of(values[0])
    if len(value) > MAX_FROM:
        raise Malformed(f"its From header field is longer than {MAX_FROM} characters")
    if LONE_MAILBOX.fullmatch(value):
        return value
    if match := NAMED_MAILBOX.fullmatch(value):
        return match[1]
    return unusual_mailbox(value)


def unusual_mailbox(value: str) -> str:
    """Comments, quoted local parts and the like; a group (RFC 5322 3.4) is no mailbox."""
    try:
        parsed: Any = registry("From", value)
        [group] = parsed.groups
        if not parsed.defects and group.display_name is None and group.addresses[0].domain:
            return str(group.addresses[0].addr_spec)
    except Exception as error:  # the library fails in many ways on what attackers write
        log.debug("a From header field cannot be read: %r", error)
    raise Malformed("its From header field does not hold exactly one mailbox")


def text_of(value: bytes) -> str:
    """A field's value on one line. RFC 6532: UTF-8; whatever else was written is shown as Latin-1."""
    unfolded = value.replace(b"\r\n", b"").strip()
    try:
        return unfolded.decode()
    except UnicodeDecodeError:
        return unfolded.decode("latin-1")


def readable(value: bytes) -> str:
    """Its beginning, with encoded words (RFC 2047) decoded where they can be."""
    text = text_of(value)[:MAX_READABLE]
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (MessageError, LookupError, UnicodeError, ValueError):
        return text


@lru_cache(4)
def date_of(second: int) -> str:
    """RFC 5322 3.3."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def rewritten(header: Header, message_id: UUID, hostname: str, protocol: str, now: float) -> bytes:
    """The header block as it is sent on, without the empty line: our fields first, then the customer's as they came."""
    date = date_of(int(now))
    # RFC 5321 4.4 wants the client's name and address in a "from" clause. Like other hosted relays we leave it out: it
    # would tell every recipient, and every block list that reads old trace fields, where the customer's software runs.
    # The client is kept with the message, so operators can still trace it by this id.
    added = f"Received: by {hostname} with {protocol}\r\n\tid {message_id}; {date}\r\n"
    if b"message-id" not in header.seen:
        header.message_id = f"<{message_id}@{header.sender.rpartition('@')[2]}>"
        added += f"Message-ID: {header.message_id}\r\n"
    if b"date" not in header.seen:
        added += f"Date: {date}\r\n"
    return added.encode() + b"".join(header.kept)
