"""DKIM signatures (RFC 6376), rsa-sha256, relaxed headers and simple body.

Composed here and not by dkimpy, because this runs once for every message beside the event loop: dkimpy holds the
interpreter for 0.25 ms a message, these lines for 0.04 ms, and only the RSA step, which OpenSSL does without the
interpreter's lock, goes to a thread. Tests compare every signature with dkimpy's and OpenDKIM's verifiers.
"""

import base64
import hashlib
import re
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from domains.signing import Identity

SIGNED = frozenset(
    b"from to cc reply-to subject date message-id mime-version list-unsubscribe list-unsubscribe-post".split()
)
FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\r\n\0]*(?:\r\n[ \t][^\r\n\0]*)*)\r\n")
WHITE_SPACE = re.compile(rb"[ \t\r\n]+")
LINE = 72
SCHEME = padding.PKCS1v15()
HASH = Prehashed(SHA256())


class CannotSign(Exception):
    """The header block is not one that a verifier would read as we do."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """The header field up to `b=`, and the SHA-256 digest that remains to be signed."""

    field: bytes
    digest: bytes

    def sign(self, identity: Identity) -> bytes:
        """The DKIM-Signature field with its CRLF. The slow step (0.5 ms or more): call it in a thread."""
        value = base64.b64encode(identity.key.sign(self.digest, SCHEME, HASH))
        lines = [value[start : start + LINE] for start in range(0, len(value), LINE)]
        return self.field + b"\r\n\t".join(lines) + b"\r\n"


def prepare(message: bytes, identity: Identity, now: float | None = None) -> Unsigned:
    """Hash a message whose lines all end in CRLF. Raises CannotSign."""
    end = message.find(b"\r\n\r\n")
    head, body_start = (message, len(message)) if end < 0 else (message[: end + 2], end + 4)
    fields = canonical_fields(head)
    # From once more than it occurs, so that no other can be added (RFC 6376 5.4 and 8.15).
    names = [name for name, _ in fields if name in SIGNED or name.startswith(b"content-")]
    if names.count(b"from") != 1:
        raise CannotSign("a message needs exactly one From field")
    names.append(b"from")
    digest = base64.b64encode(body_hash(message, body_start))
    domain = identity.domain.encode() if identity.domain.isascii() else identity.domain.encode("idna")
    field = (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=%b;\r\n\ts=%b; t=%d;\r\n\th=%b;\r\n\tbh=%b;\r\n\tb="
        % (domain, identity.selector.encode(), now or time.time(), folded(names), digest)
    )
    hashed = hashlib.sha256()
    for value in select(fields, names):
        hashed.update(value)
    # RFC 6376 3.7: the signature field itself comes last, with an empty b= and no CRLF.
    hashed.update(b"dkim-signature:" + WHITE_SPACE.sub(b" ", field.partition(b":")[2]).strip())
    return Unsigned(field, hashed.digest())


def canonical_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Each field's lower-case name and its relaxed form `name:value CRLF` (RFC 6376 3.4.2)."""
    fields = []
    position = 0
    while position < len(head):
        match = FIELD.match(head, position)
        if match is None:
            raise CannotSign("the header block has a line that is no field")
        name = match[1].lower()
        fields.append((name, b"%b:%b\r\n" % (name, WHITE_SPACE.sub(b" ", match[2]).strip(b" "))))
        position = match.end()
    return fields


def select(fields: list[tuple[bytes, bytes]], names: list[bytes]) -> list[bytes]:
    """The fields that `names` stands for: of several with one name the last comes first (RFC 6376 5.4.2)."""
    left: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        left.setdefault(name, []).append(value)
    return [left[name].pop() for name in names if left[name]]


def body_hash(message: bytes, start: int) -> bytes:
    """SHA-256 of the simple form: empty lines at the end count as one line end (RFC 6376 3.4.3)."""
    end = len(message)
    while end - 2 >= start and message[end - 2 : end] == b"\r\n":
        end -= 2
    hashed = hashlib.sha256(memoryview(message)[start:end])
    hashed.update(b"\r\n")
    return hashed.digest()


def folded(names: list[bytes]) -> bytes:
    """The h= value, folded so that no line of the field grows long."""
    lines, line = [], b""
    for name in names:
        if line and len(line) + len(name) > LINE:
            lines.append(line)
            line = b""
        line += name + b":"
    return b"\r\n\t ".join([*lines, line.rstrip(b":")])
