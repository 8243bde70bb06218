"""Mailbox syntax of the envelope: RFC 5321 with SMTPUTF8 (RFC 6531) and internationalised domains."""

import re
from dataclasses import dataclass
from functools import lru_cache

import email_validator

from domains.senders import ascii_name

# Whether a domain exists is for DNS to say, at delivery; internal and test networks use such names in earnest.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# RFC 5321 4.1.2: Path, with the source route (appendix C: to be ignored), then the parameters.
PATH = re.compile(r'\s*<(?:@[^:<>"]*:)?((?:"(?:[^"\\]|\\.)*"|[^">])*)>(?:\s+(\S.*))?\s*', re.DOTALL)
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The form nearly every address has; what it does not match is looked at by email-validator.
PLAIN = re.compile(rf"(?=[^@]{{1,64}}@){ATOM}(?:\.{ATOM})*@(?=[^@]{{1,253}}\Z)(?:{LABEL}\.)+{LABEL}")
MAX_ADDRESS = 254  # RFC 5321 4.5.3.1.3: a path has 256 octets with its brackets


class InvalidAddress(Exception):
    """The text says what is wrong, for the customer."""


@dataclass(frozen=True, slots=True)
class Path:
    """The argument of MAIL or RCPT: the address as it was written, and {PARAMETER: value}."""

    address: str
    parameters: dict[str, str]


def parse_path(argument: str) -> Path | None:
    """None when it is not `<address> [parameters]`."""
    match = PATH.fullmatch(argument)
    if match is None:
        return None
    words = (match[2] or "").split()
    pairs = (word.partition("=") for word in words)
    return Path(match[1], {name.upper(): value for name, _, value in pairs})


@lru_cache(4096)
def check(address: str, smtputf8: bool) -> str:
    """The address with its domain in lower-case ASCII. Raises InvalidAddress."""
    if not address.isascii() and not smtputf8:
        raise InvalidAddress("an internationalised address needs the SMTPUTF8 parameter of MAIL")
    if len(address.encode(errors="replace")) > MAX_ADDRESS:
        raise InvalidAddress(f"an address has at most {MAX_ADDRESS} bytes")
    local, _, domain = address.rpartition("@")
    if PLAIN.fullmatch(address) is None:
        examine(address)
    return f"{local}@{ascii_name(domain)}"


def examine(address: str) -> None:
    # RFC 5321 4.1.2 allows control characters nowhere; the library looks at the domain first.
    if not address.isprintable():
        raise InvalidAddress("it has characters that no address may have")
    try:
        email_validator.validate_email(
            address,
            allow_smtputf8=True,
            allow_quoted_local=True,
            allow_domain_literal=False,
            strict=True,  # RFC 5321 4.5.3.1.1: a local part has at most 64 octets
            check_deliverability=False,
            globally_deliverable=False,
        )
    except email_validator.EmailNotValidError as error:
        raise InvalidAddress(str(error).rstrip(".")) from None
