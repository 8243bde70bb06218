"""Our side of DNS: everything our zone has to answer, as records and as a zone file."""

from collections.abc import Iterable, Iterator

from django.conf import settings

from domains.models import DkimKey, Domain
from domains.own import own_domain
from domains.records import ZoneRecord

TTL = 300  # seconds; short enough for a rotation within the hour
# RFC 2308 4: how long resolvers may remember that a target does not exist yet.
NEGATIVE_TTL = 60
STRING = 255  # RFC 1035 3.3.14: a longer text is several strings


def zone_records(domains: Iterable[Domain] | None = None) -> list[ZoneRecord]:
    """What customers' CNAME records lead to: of these domains, or of all."""
    # Without what would have to be decrypted.
    keys = DkimKey.objects.select_related("domain").only("slot", "public_key", "domain__token").order_by("id")
    tokens = Domain.objects.order_by("id").values_list("token", flat=True)
    if domains is not None:
        wanted = [domain.pk for domain in domains]
        keys, tokens = keys.filter(domain__in=wanted), tokens.filter(pk__in=wanted)
    return [key_record(key) for key in keys] + [record for token in tokens for record in bounce_records(token)]


def key_record(key: DkimKey) -> ZoneRecord:
    return ZoneRecord(f"{key.domain.token}.{key.selector}.dkim.{settings.ZONE}", "TXT", key.txt)


def bounce_records(token: str) -> list[ZoneRecord]:
    return _return_path(f"{token}.bounce.{settings.ZONE}")


def _return_path(name: str) -> list[ZoneRecord]:
    """Reports come to us, and a receiver that checks SPF of the return path finds the hosts that send."""
    return [ZoneRecord(name, "MX", f"10 mx.{settings.ZONE}"), ZoneRecord(name, "TXT", spf())]


def spf() -> str:
    """The host that sends, and the addresses it sends from where they are settings."""
    addresses = [f"ip{version}:{address}" for version, address in sorted(settings.SOURCE_ADDRESSES.items())]
    return " ".join(["v=spf1", f"a:{settings.HOSTNAME}", *addresses, "-all"])


def own_records() -> list[ZoneRecord]:
    """Of our own names: hosts, system mail's DKIM, SPF, DMARC (RFC 7489) and TLS reports (RFC 8460)."""
    zone, own = settings.ZONE, own_domain()
    reports = f"rua=mailto:postmaster@{zone}"
    records = [
        ZoneRecord(zone, "MX", f"10 mx.{zone}"),
        ZoneRecord(zone, "TXT", spf()),
        *_return_path(f"bounce.{zone}"),
        *(
            ZoneRecord(f"{key.selector}._domainkey.{zone}", "CNAME", key_record(key).name)
            for key in own.keys.select_related("domain").only("slot", "public_key", "domain__token").order_by("slot")
        ),
        ZoneRecord(f"_dmarc.{zone}", "TXT", f"v=DMARC1; p=reject; {reports}"),
        ZoneRecord(f"_smtp._tls.{zone}", "TXT", f"v=TLSRPTv1; {reports}"),
    ]
    hosts = [f"mx.{zone}", *([settings.HOSTNAME] if settings.HOSTNAME.endswith(f".{zone}") else [])]
    for version, address in sorted(settings.ZONE_ADDRESSES.items()):
        records += [ZoneRecord(host, "A" if version == 4 else "AAAA", address) for host in hosts]
    if settings.HOSTNAME in hosts:
        # RFC 7208 2.3: receivers may check the name of our EHLO too.
        records.append(ZoneRecord(settings.HOSTNAME, "TXT", "v=spf1 a -all"))
    return records


def zone_file(serial: int) -> Iterator[str]:
    """The lines of the whole zone for an operator's name server (RFC 1035 5)."""
    first, *_ = settings.NAME_SERVERS
    yield f"$ORIGIN {settings.ZONE}."
    yield f"$TTL {TTL}"
    yield f"@ SOA {first}. hostmaster.{settings.ZONE}. {serial} 3600 600 1209600 {NEGATIVE_TTL}"
    for server in settings.NAME_SERVERS:
        yield f"@ NS {server}."
    if not settings.ZONE_ADDRESSES:
        yield f"; RELAY_ZONE_ADDRESS is empty: add A and AAAA records of mx.{settings.ZONE} and {settings.HOSTNAME}."
    for server in settings.NAME_SERVERS:
        if server.endswith(f".{settings.ZONE}"):
            yield f"; {server} needs its own A or AAAA record here."
    for record in [*own_records(), *zone_records()]:
        yield line(record)


def line(record: ZoneRecord) -> str:
    return f"{record.name}. {record.type} {value_text(record)}"


def value_text(record: ZoneRecord) -> str:
    """The value as a zone file has it: names with their last dot, a long text in pieces."""
    if record.type == "TXT":
        pieces = [record.value[start : start + STRING] for start in range(0, len(record.value), STRING)]
        return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)
    return f"{record.value}." if record.type in ("MX", "CNAME") else record.value
