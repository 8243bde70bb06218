"""DNS hosts are known by the name servers that their customers' domains have."""

import pytest

from domains.dns_hosts import HOSTS, host_of

# As the hosts' own help pages name them.
SERVERS = [
    ("cloudflare", ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"]),
    ("godaddy", ["ns01.domaincontrol.com", "ns02.domaincontrol.com"]),
    ("namecheap", ["dns1.registrar-servers.com", "dns2.registrar-servers.com"]),
    ("namecheap", ["dns1.namecheaphosting.com", "dns2.namecheaphosting.com"]),
    ("route53", ["ns-2048.awsdns-64.com", "ns-2049.awsdns-65.net", "ns-2050.awsdns-66.org", "ns-2051.awsdns-67.co.uk"]),
    ("squarespace", ["connect1.squarespacedns.com", "connect2.squarespacedns.com"]),
    ("squarespace", ["ns-cloud-a1.googledomains.com", "ns-cloud-a2.googledomains.com"]),
    ("ionos", ["ns1045.ui-dns.com", "ns1045.ui-dns.de", "ns1045.ui-dns.org", "ns1045.ui-dns.biz"]),
    ("ovh", ["dns104.ovh.net", "ns104.ovh.net"]),
    ("ovh", ["dns10.anycast.me", "ns10.ovh.ca"]),
    ("hostinger", ["ns1.dns-parking.com", "ns2.dns-parking.com"]),
    ("wix", ["ns10.wixdns.net", "ns11.wixdns.net"]),
    ("digitalocean", ["ns1.digitalocean.com", "ns2.digitalocean.com", "ns3.digitalocean.com"]),
]


@pytest.mark.parametrize(("host", "servers"), SERVERS)
def test_a_host_is_known_by_its_name_servers(host, servers):
    assert host_of(servers) == host


def test_ten_hosts_are_known_and_each_has_words_for_its_way():
    assert len(HOSTS) == 10
    assert {host for host, _ in SERVERS} == HOSTS.keys()
    for host in HOSTS.values():
        assert str(host.where).endswith(".")
        assert str(host.hint).endswith(".")


@pytest.mark.parametrize(
    "servers",
    [
        [],
        ["ns1.example.net", "ns2.example.net"],
        ["notcloudflare.com", "ns.cloudflare.com.example.net"],
        ["ns1.myovh.net", "ns2.myovh.net"],
        ["awsdns-64.com.example.net"],
        ["ns1.digitalocean.com.example", "digitalocean.com.evil.example"],
    ],
)
def test_nobody_else_is_taken_for_one_of_them(servers):
    assert host_of(servers) == ""


def test_whoever_runs_most_of_the_servers_is_the_host():
    assert host_of(["ada.ns.cloudflare.com", "bob.ns.cloudflare.com", "ns1.example.net"]) == "cloudflare"
    assert host_of(["ada.ns.cloudflare.com", "ns1.example.net"]) == ""
