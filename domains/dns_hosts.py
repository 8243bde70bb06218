"""DNS hosts by their name servers, and how each wants a record entered: the ten where most domains are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class DnsHost:
    """`servers`: the ends of its name servers' names, with 0 for any number. `relative`: the name is entered without
    the domain. `where`: the way to the form; `hint`: what goes wrong.
    """

    name: str
    servers: tuple[str, ...]
    relative: bool
    where: Promise
    hint: Promise


DOMAIN_IS_ADDED = _("It adds the domain to the name by itself.")

HOSTS = {
    "cloudflare": DnsHost(
        "Cloudflare",
        (".ns.cloudflare.com",),
        True,
        _("Choose the domain, then DNS, Records, Add record."),
        _("Switch “Proxy status” to “DNS only”, or the record cannot be seen."),
    ),
    "godaddy": DnsHost(
        "GoDaddy",
        (".domaincontrol.com",),
        True,
        _("Domain Portfolio, the domain, DNS, Add New Record."),
        DOMAIN_IS_ADDED,
    ),
    "namecheap": DnsHost(
        "Namecheap",
        (".registrar-servers.com", ".namecheaphosting.com"),
        True,
        _("Domain List, Manage, Advanced DNS, Add New Record."),
        DOMAIN_IS_ADDED,
    ),
    "route53": DnsHost(
        "Amazon Route 53",
        (".awsdns-0.com", ".awsdns-0.net", ".awsdns-0.org", ".awsdns-0.co.uk"),
        True,
        _("Hosted zones, the domain, Create record."),
        _("The domain stands beside the name field; leave “Alias” off."),
    ),
    "squarespace": DnsHost(
        "Squarespace",
        (".squarespacedns.com", ".googledomains.com"),
        True,
        _("Domains, the domain, DNS, DNS Settings, Custom records, Add record."),
        DOMAIN_IS_ADDED,
    ),
    "ionos": DnsHost(
        "IONOS",
        (".ui-dns.com", ".ui-dns.de", ".ui-dns.org", ".ui-dns.biz"),
        True,
        _("Domains & SSL, the domain, DNS, Add record, CNAME."),
        DOMAIN_IS_ADDED,
    ),
    "ovh": DnsHost(
        "OVHcloud",
        (".ovh.net", ".ovh.ca", ".anycast.me"),
        True,
        _("Web Cloud, Domain names, the domain, DNS zone, Add an entry, CNAME."),
        _("End the target with a dot, or the domain is added to it."),
    ),
    "hostinger": DnsHost(
        "Hostinger",
        (".dns-parking.com", ".hostinger.com"),
        True,
        _("Domains, the domain, DNS / Nameservers, DNS records."),
        DOMAIN_IS_ADDED,
    ),
    "wix": DnsHost(
        "Wix",
        (".wixdns.net",),
        True,
        _("Domains, the domain’s menu, Manage DNS Records, CNAME, Add Record."),
        DOMAIN_IS_ADDED,
    ),
    "digitalocean": DnsHost(
        "DigitalOcean",
        (".digitalocean.com",),
        True,
        _("Networking, Domains, the domain, CNAME."),
        _("End the target with a dot, or the domain is added to it."),
    ),
}


def host_of(servers: Sequence[str]) -> str:
    """A key of HOSTS, or empty: whoever runs most of the zone’s name servers."""
    names = [re.sub(r"\d+", "0", f".{server}") for server in servers]
    for key, host in HOSTS.items():
        if 2 * sum(name.endswith(host.servers) for name in names) > len(names):
            return key
    return ""
