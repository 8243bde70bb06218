"""The name of a sending domain, from whatever somebody typed or pasted."""

import re
from functools import cache
from ipaddress import ip_address

import idna
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from publicsuffixlist import PublicSuffixList

LONGEST = 200  # leaves room for `r1._domainkey.` and other labels of ours within 253


def normalised(typed: str) -> str:
    """Lower-case A-labels without a last dot; raises ValidationError with a sentence for the one who typed it."""
    name = bare(typed)
    if not name:
        raise ValidationError(_("Enter a domain, such as example.com."), code="empty")
    if _is_address(name):
        raise ValidationError(_("That is an IP address. Enter a domain, such as example.com."), code="address")
    try:
        ascii_name = idna.encode(name, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        raise ValidationError(_("“%(name)s” is not a domain name."), code="syntax", params={"name": name}) from None
    if len(ascii_name) > LONGEST:
        raise ValidationError(_("This domain name is too long."), code="long")
    _refuse_suffix(ascii_name)
    return ascii_name


def bare(typed: str) -> str:
    """Without what comes along when an address, a URL or a zone-file name is pasted."""
    name = re.sub(r".*<(.*)>.*", r"\1", typed.strip(), flags=re.DOTALL).strip("<>\"'")
    name = re.split(r"[/?#]", name.partition("://")[2] if "://" in name else name, maxsplit=1)[0]
    name = name.rpartition("@")[2].strip()
    # RFC 3986 3.2.2, RFC 5321 4.1.3: an address in brackets, perhaps with a port.
    if bracketed := re.match(r"\[(?:ipv6:)?([^\]]*)\]", name, flags=re.IGNORECASE):
        return bracketed[1]
    if name.count(":") == 1:
        name = name.partition(":")[0]
    return name.removesuffix(".").strip()


def _is_address(name: str) -> bool:
    """Or nearly one: no top-level domain is a number (RFC 3696 2)."""
    try:
        ip_address(name)
    except ValueError:
        return name.rpartition(".")[2].isdecimal()
    return True


def _refuse_suffix(name: str) -> None:
    if "." not in name:
        text = _("“%(name)s” is not complete. Enter the whole domain, such as example.com.")
        raise ValidationError(text, code="single_label", params={"name": name})
    if is_public_suffix(name):
        text = _("Under “%(name)s” anybody can register a domain, so nobody can prove it. Enter your own domain.")
        raise ValidationError(text, code="public_suffix", params={"name": name})


@cache
def _suffixes() -> PublicSuffixList:
    """The packaged list, with its private section: nobody owns github.io either."""
    return PublicSuffixList()


def is_public_suffix(name: str) -> bool:
    return bool(_suffixes().is_public(name))


def organisational(name: str) -> str:
    """The registered domain above a name (RFC 7489 3.2): `example.co.uk` of `mail.example.co.uk`."""
    return _suffixes().privatesuffix(name) or name


def in_unicode(name: str) -> str:
    """As people read it."""
    try:
        return idna.decode(name)
    except idna.IDNAError:
        return name
