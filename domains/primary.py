"""The operator's name server that takes our zone's changes: read by transfer, changed by update, signed with TSIG.

RFC 2136 (UPDATE), RFC 5936 (AXFR), RFC 8945 (TSIG).
"""

import base64
from collections.abc import Callable, Collection, Iterable

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone
from django.conf import settings

from domains.answers import plain, text_of
from domains.drift import Change, Standing
from domains.records import ZoneRecord
from domains.transfer import transfer
from domains.zone import TTL, value_text

PATIENCE = 10.0  # seconds for one answer
TYPES = ("TXT", "MX", "CNAME", "A", "AAAA")


class Trouble(Exception):
    """Why nothing can be read or changed, said to the operator. `passing`: it may be better in a moment."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class BadKey(Trouble):
    """The server does not know the key, or not for what was asked."""


class Primary:
    def __init__(self) -> None:
        if settings.PUBLISH_SERVER is None:
            raise Trouble("RELAY_PUBLISH_SERVER is empty: there is no name server to publish to.")
        self.host, self.port = settings.PUBLISH_SERVER
        self.zone = dns.name.from_text(settings.ZONE)
        self.key = tsig_key(settings.TSIG_NAME, settings.TSIG_SECRET, settings.TSIG_ALGORITHM)

    def read(self, names: Iterable[tuple[str, str]]) -> Standing:
        """The whole zone, or where the key is not good for a transfer only these (name, type)."""
        try:
            return self._transfer()
        except BadKey:
            return self.look_up(names)
        except dns.xfr.TransferError as error:
            if error.rcode in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
                return self.look_up(names)
            raise self._refused(error.rcode, "transfer") from None

    def look_up(self, names: Iterable[tuple[str, str]]) -> Standing:
        """What stands at these (name, type)."""
        found = {}
        for name, rdtype in names:
            query = dns.message.make_query(name, rdtype)
            query.use_tsig(self.key)
            response = self._ask(query)
            if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise self._refused(response.rcode(), "question")
            found[name, rdtype] = {
                text_of(rdata): rdata
                for rrset in response.answer
                if plain(rrset.name) == name and rrset.rdtype == dns.rdatatype.from_text(rdtype)
                for rdata in rrset
            }
        return found

    def update(self, changes: Collection[Change]) -> bool:
        """All of them or none; False when what stood there before is not what stands there now."""
        message = dns.update.UpdateMessage(self.zone, keyring=self.key)
        for change in changes:
            _compose(message, change)
        code = self._ask(message).rcode()
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.YXDOMAIN, dns.rcode.NXDOMAIN):
            return False
        if code != dns.rcode.NOERROR:
            raise self._refused(code, "update")
        return True

    def _transfer(self) -> Standing:
        zone = dns.zone.Zone(self.zone, relativize=False)
        query, _ = dns.xfr.make_query(zone, serial=None, keyring=self.key)
        self._talk(lambda: transfer(query, zone, (self.host, self.port)))
        return {
            (plain(name), dns.rdatatype.to_text(rdataset.rdtype)): {text_of(rdata): rdata for rdata in rdataset}
            for name, rdataset in zone.iterate_rdatasets()
            if dns.rdatatype.to_text(rdataset.rdtype) in TYPES
        }

    def _ask(self, query: dns.message.Message) -> dns.message.Message:
        """Over TCP: an update may be as long as a message can be."""
        return self._talk(lambda: dns.query.tcp(query, self.host, port=self.port, timeout=PATIENCE))

    def _talk[T](self, talk: Callable[[], T]) -> T:
        where = f"{self.host}:{self.port}"
        try:
            return talk()
        except dns.xfr.TransferError:
            raise
        except (dns.tsig.PeerBadKey, dns.message.UnknownTSIGKey):
            raise BadKey(f"{where} does not take the key {settings.TSIG_NAME} for this (RELAY_TSIG_NAME).") from None
        except (dns.tsig.PeerBadSignature, dns.tsig.BadSignature):
            raise Trouble(f"{where} has another secret for the key {settings.TSIG_NAME} (RELAY_TSIG_SECRET).") from None
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime):
            raise Trouble(f"The clock of {where} and ours differ too much for TSIG.") from None
        except (dns.exception.Timeout, OSError, EOFError) as error:
            raise Trouble(f"{where} cannot be reached: {error or 'no answer'}.", passing=True) from None
        except dns.exception.DNSException as error:
            if "requires a TSIG" in str(error):
                # RFC 8945 5.3: a server that cannot sign says no without a signature, which anybody could.
                text = f"{where} answers without a signature: it has no zone {settings.ZONE} for this key."
                raise Trouble(text) from None
            raise Trouble(f"{where} answered what cannot be understood: {error!r}.", passing=True) from None

    def _refused(self, code: int, what: str) -> Trouble:
        where, name = f"{self.host}:{self.port}", dns.rcode.to_text(dns.rcode.Rcode.make(code))
        if code in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
            return Trouble(f"{where} may not be asked for this {what}, or does not serve {settings.ZONE} ({name}).")
        if code == dns.rcode.REFUSED:
            return Trouble(f"{where} refused the {what}: the key {settings.TSIG_NAME} may not do that ({name}).")
        return Trouble(f"{where} failed at the {what} ({name}).", passing=True)


def tsig_key(name: str, secret: str, algorithm: str) -> dns.tsig.Key:
    """Raises Trouble for settings that are no key."""
    if not name or not secret:
        raise Trouble("RELAY_TSIG_NAME and RELAY_TSIG_SECRET are needed: nothing is published without a signature.")
    try:
        base64.b64decode(secret, validate=True)
        key = dns.tsig.Key(name, secret, dns.name.from_text(algorithm.lower()))
        dns.tsig.get_context(key)  # type: ignore[no-untyped-call]
    except (NotImplementedError, dns.exception.DNSException, ValueError):
        raise Trouble("RELAY_TSIG_NAME, RELAY_TSIG_SECRET (base 64) and RELAY_TSIG_ALGORITHM are no key.") from None
    return key


def _compose(message: dns.update.UpdateMessage, change: Change) -> None:
    name = dns.name.from_text(change.name)
    if change.before:
        message.present(name, *change.before)
    elif change.before is not None:
        message.absent(name, change.type)
    for rdata in change.remove:
        message.delete(name, rdata)
    for record in change.add:
        message.add(name, TTL, _rdata(record))


def _rdata(record: ZoneRecord) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, record.type, value_text(record))
