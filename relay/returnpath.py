"""Return paths: `b+TOKEN@bounce.customer-domain`, the envelope sender that names one recipient and cannot be forged.

TOKEN is base 32 in lower case (servers may fold case): one byte that names the key, the recipient's 16-byte id and the
first 9 bytes of an HMAC-SHA256 over both. With `b+` that is 44 characters, below the 64 of RFC 5321 4.5.3.1.1.
"""

import base64
import binascii
import hashlib
import hmac
from functools import lru_cache
from uuid import UUID

from django.conf import settings

PREFIX = "b+"
MAC_BYTES = 9
TOKEN_CHARACTERS = 42


def _keys() -> list[bytes]:
    """The signing key first, then the older ones that are still accepted."""
    return _derived((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(4)
def _derived(secrets: tuple[str, ...]) -> list[bytes]:
    return [hashlib.sha256(b"relay.return-path:" + secret.encode()).digest() for secret in secrets]


@lru_cache(4)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _mac(key: bytes, signed: bytes) -> bytes:
    # A copy of a keyed one: hmac.digest would give up the interpreter to another thread, for every email.
    mac = _keyed(key).copy()
    mac.update(signed)
    return mac.digest()[:MAC_BYTES]


def make(recipient_id: UUID, host: str) -> str:
    """The return path of a recipient at the customer's bounce host."""
    key = _keys()[0]
    signed = key[:1] + recipient_id.bytes
    token = base64.b32encode(signed + _mac(key, signed)).decode().rstrip("=").lower()
    return f"{PREFIX}{token}@{host}"


def recipient_of(local_part: str) -> UUID | None:
    """The recipient that a return path's local part names; None unless the token is one of ours."""
    token = local_part[len(PREFIX) :].upper()
    if not local_part.lower().startswith(PREFIX) or len(token) != TOKEN_CHARACTERS:
        return None
    try:
        raw = base64.b32decode(token + "=" * (-len(token) % 8))
    except binascii.Error:
        return None
    signed, mac = raw[:17], raw[17:]
    known = [key for key in _keys() if key[:1] == signed[:1] and hmac.compare_digest(_mac(key, signed), mac)]
    return UUID(bytes=signed[1:]) if known else None
