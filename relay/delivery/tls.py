"""How connections to recipients' servers are encrypted, and what the history says about it.

Opportunistic (RFC 7435): no certificate makes the handshake fail, for clear text would be the alternative. Whether it
was valid is found out afterwards from the chain that the server showed. Where a policy demands TLS, OpenSSL verifies.
"""

import contextlib
import datetime as dt
import logging
import ssl
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

log = logging.getLogger(__name__)

BROKEN_SECONDS = 3 * 86_400.0
MOST_BROKEN = 10_000


class Encryption:
    """`authorities`: a context that verifies by the certificates it trusts; by default the system's."""

    def __init__(self, authorities: ssl.SSLContext | None = None) -> None:
        self.verifying = authorities or ssl.create_default_context()
        self.opportunistic = _opportunistic()
        roots = _roots(self.verifying)
        self.store = Store(roots) if roots else None
        self.broken: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def context(self, required: bool) -> ssl.SSLContext:
        return self.verifying if required else self.opportunistic

    def describe(self, session: ssl.SSLObject, host: str) -> tuple[str, bool]:
        """Protocol, cipher and certificate in words for the history; whether the certificate is valid for `host`."""
        if session.context.verify_mode == ssl.CERT_REQUIRED:
            flaw = ""
        else:
            flaw = self.flaw(session.get_unverified_chain() or [], host)
        version = (session.version() or "TLS").replace("TLSv", "TLS ")
        cipher = (session.cipher() or ("unknown cipher",))[0]
        verdict = f"certificate not verified: {flaw}" if flaw else "certificate valid"
        return f"{version}, {cipher}, {verdict}", not flaw

    def flaw(self, chain: Iterable[bytes], host: str) -> str:
        """What is wrong with a chain of DER certificates, the server's own first; empty when it is valid for `host`."""
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
        except ValueError:
            return "not readable"
        if not certificates:
            return "none shown"
        leaf, *others = certificates
        if self.store is not None:
            try:
                PolicyBuilder().store(self.store).build_server_verifier(_subject(host)).verify(leaf, others)
                return ""
            except Exception:
                # Whatever a stranger's certificate does to the verifier, it is only not verified.
                log.debug("certificate of %s is not verified", host, exc_info=True)
        return _flaw(leaf, host)

    # Servers whose STARTTLS does not work.

    def fails_at(self, host: str) -> str:
        """Why TLS failed at this host in the last days; empty if it did not."""
        until, why = self.broken.get(host, (0.0, ""))
        return why if time.monotonic() < until else ""

    def failed_at(self, host: str, why: str) -> None:
        self.broken[host] = time.monotonic() + BROKEN_SECONDS, why
        self.broken.move_to_end(host)
        while len(self.broken) > MOST_BROKEN:
            self.broken.popitem(last=False)


def matches(pattern: str, host: str) -> bool:
    """Whether a name, or one whose left-most label is `*`, stands for the host (RFC 6125 6.4.3, RFC 8461 4.1)."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return host == pattern


def _opportunistic() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old protocols and short keys are still better than clear text.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _roots(context: ssl.SSLContext) -> list[x509.Certificate]:
    """The authorities a context trusts; OpenSSL loads those of a folder only when it needs them."""
    ders = context.get_ca_certs(binary_form=True)
    folder = ssl.get_default_verify_paths().capath
    if not ders and folder:
        ders = [ssl.PEM_cert_to_DER_cert(path.read_text("ascii")) for path in sorted(Path(folder).glob("*.[0-9]"))]
    roots: list[x509.Certificate] = []
    # Some authorities of long ago have serial numbers that the library does not like.
    with warnings.catch_warnings(action="ignore"):
        for der in ders:
            with contextlib.suppress(ValueError):
                roots.append(x509.load_der_x509_certificate(der))
    return roots


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _flaw(leaf: x509.Certificate, host: str) -> str:
    now = dt.datetime.now(dt.UTC)
    if now > leaf.not_valid_after_utc:
        return "expired"
    if now < leaf.not_valid_before_utc:
        return "not valid yet"
    if leaf.issuer == leaf.subject:
        return "self-signed"
    if not any(matches(name, host) for name in _names(leaf)):
        return "for another name"
    return "issuer not trusted"


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]
