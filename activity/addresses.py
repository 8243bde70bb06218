"""Addresses as they are compared: one form for the same mailbox, however it is written."""

import re

from domains.senders import ascii_name

# RFC 1035 2.3.4: labels of at most 63 octets.
DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SPECIALS = frozenset('()<>[]:;@\\," ')  # RFC 5322 3.2.3: only inside quotes
MAX_LOCAL = 64  # octets, RFC 5321 4.5.3.1.1
MAX_ADDRESS = 254


def normalised(address: str) -> str:
    """The local part case-folded, the domain in lower-case ASCII: what every suppression is kept and found by.

    RFC 5321 2.4 lets a server tell `Marie@` from `marie@`; none does, and to send on would harm the sender.
    """
    local, _, domain = address.strip().rpartition("@")
    return f"{local.casefold()}@{ascii_name(domain)}"


def well_formed(address: str) -> bool:
    """Could this be somebody's address? Lenient: a list may hold whatever submission could be asked to send to."""
    local, _, domain = address.rpartition("@")
    return (
        0 < len(local.encode(errors="replace")) <= MAX_LOCAL
        and len(address.encode(errors="replace")) <= MAX_ADDRESS
        and address.isprintable()
        and (local.startswith('"') or not SPECIALS.intersection(local))
        and DOMAIN.fullmatch(ascii_name(domain)) is not None
    )
