"""DKIM signatures (RFC 6376): dkimpy canonicalises and composes, OpenSSL does the RSA step."""

from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from domains.signing import Identity

SIGNED = frozenset(
    b"from to cc reply-to subject date message-id mime-version list-unsubscribe list-unsubscribe-post".split()
)


class CannotSign(Exception):
    """The header block is not one that a verifier would read as we do."""


class Signer(dkim.DKIM):  # type: ignore[misc]
    """dkimpy's signer, but the body is taken as it is instead of being split into lines and joined again."""

    def set_message(self, message: bytes) -> None:
        end = message.find(b"\r\n\r\n")
        head, body = (message, b"") if end < 0 else (message[: end + 2], message[end + 4 :])
        super().set_message(head)
        self.body = body

    def signed_headers_of(self) -> list[bytes]:
        """What we sign; From once more than it occurs, so that none can be added (RFC 6376 5.4)."""
        names = [name.lower() for name, _ in self.headers]
        wanted = [name for name in names if name in SIGNED or name.startswith(b"content-")]
        return [*wanted, b"from"]


def _rsa_sign(hasher: Any, key: Any) -> bytes:
    signature: bytes = key.sign(hasher.digest(), padding.PKCS1v15(), Prehashed(SHA256()))
    return signature


# dkimpy's pure-Python RSA takes 12 ms a signature, OpenSSL's 0.5 ms without holding the interpreter's lock. These are
# the only two places where dkimpy touches the key.
dkim.RSASSA_PKCS1_v1_5_sign = _rsa_sign
dkim.parse_pem_private_key = lambda key: key


def signature(message: bytes, identity: Identity) -> bytes:
    """The DKIM-Signature header line, with its CRLF. Raises CannotSign."""
    try:
        signer = Signer(message)
        line: bytes = signer.sign(
            identity.selector.encode(),
            identity.domain.encode("idna"),
            identity.key,
            include_headers=signer.signed_headers_of(),
        )
    except (dkim.DKIMException, IndexError) as error:
        raise CannotSign(str(error)) from error
    return line
