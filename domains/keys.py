"""DKIM keys: made, kept encrypted at rest, and opened again."""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from django.conf import settings
from django.db import models


@lru_cache(4)
def _fernet(secrets: tuple[str, ...]) -> MultiFernet:
    return MultiFernet(
        Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"relay.at-rest:" + secret.encode()).digest()))
        for secret in secrets
    )


def at_rest() -> MultiFernet:
    """Encrypts with RELAY_SECRET_KEY; opens what an older key of RELAY_OLD_SECRET_KEYS encrypted too."""
    return _fernet((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


class EncryptedField(models.TextField):  # type: ignore[type-arg]  # Django has no generic fields at run time.
    """Text that is encrypted in the database and plain in Python."""

    def get_prep_value(self, value: Any) -> Any:
        return at_rest().encrypt(value.encode()).decode() if isinstance(value, str) else value

    def from_db_value(self, value: str | None, *_args: object) -> str | None:
        return None if value is None else at_rest().decrypt(value.encode()).decode()


def make_private_key() -> str:
    """A new RSA-2048 key as PKCS#8 PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def open_private_key(pem: str) -> rsa.RSAPrivateKey:
    # Checking that the primes are prime takes 45 ms, and what we encrypted ourselves was not tampered with.
    key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("a DKIM key must be an RSA key")
    return key


def public_key_of(pem: str) -> str:
    """The `p=` value: base64 of the DER SubjectPublicKeyInfo (RFC 6376 3.6.1)."""
    der = open_private_key(pem).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()
