"""Our side of DNS: the zone file, and the simulator that serves the same in the demo."""

import io

import dns.name
import dns.resolver
import dns.zone
import pytest
from django.core.management import call_command

from domains import demo_dns
from domains.finding import State
from domains.look import look_now
from domains.models import DemoRecord, Domain
from domains.own import own_domain
from domains.records import records_of
from domains.zone import zone_records
from relay.simulator.server import Simulator
from relay.simulator.world import World, database_records
from tests.dns_servers import FIRST, Network
from tests.factories import make_account, make_domain
from tests.mail_world import Client, dns_running, running

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def domain():
    made = make_domain(make_account(), "boutique.example")
    made.make_keys()
    return made


@pytest.fixture
def demo(settings):
    settings.DEMO = True


def printed():
    out = io.StringIO()
    call_command("zone", stdout=out)
    return out.getvalue()


def test_the_zone_file_holds_what_every_customer_record_leads_to(domain):
    zone = dns.zone.from_text(printed(), relativize=False)
    for record in records_of(domain):
        name = dns.name.from_text(record.target)
        if record.key == "bounce":
            assert zone.get_rdataset(name, "MX")[0].to_text() == "10 mx.relay.test."
            assert zone.get_rdataset(name, "TXT")[0].to_text() == '"v=spf1 a:smtp.relay.test -all"'
        else:
            text = b"".join(zone.get_rdataset(name, "TXT")[0].strings).decode()
            assert text == domain.keys.get(slot=record.key[-1]).txt


def test_the_zone_file_holds_our_own_names(settings):
    settings.ZONE_ADDRESSES = {4: "192.0.2.25", 6: "2001:db8::25"}
    zone = dns.zone.from_text(printed(), relativize=False)

    def texts(name, type_):
        return [each.to_text() for each in zone.get_rdataset(dns.name.from_text(name), type_)]

    assert texts("relay.test", "MX") == ["10 mx.relay.test."]
    assert texts("bounce.relay.test", "MX") == ["10 mx.relay.test."]
    assert texts("mx.relay.test", "A") == ["192.0.2.25"]
    assert texts("smtp.relay.test", "AAAA") == ["2001:db8::25"]
    assert texts("_dmarc.relay.test", "TXT") == ['"v=DMARC1; p=reject; rua=mailto:postmaster@relay.test"']
    assert texts("_smtp._tls.relay.test", "TXT") == ['"v=TLSRPTv1; rua=mailto:postmaster@relay.test"']
    assert texts("r1._domainkey.relay.test", "CNAME") == [f"{own_domain().token}.r1.dkim.relay.test."]


def test_addresses_that_nobody_told_us_are_named_as_missing():
    assert "; RELAY_ZONE_ADDRESS is empty" in printed()


@pytest.fixture
def network(settings):
    network = Network()
    settings.DNS_SERVER, settings.DNS_PORT = ("127.0.0.1", network.resolver.port), network.port
    settings.PRIVATE_MX = True
    yield network
    network.close()


def test_a_name_server_takes_the_zone_file_and_a_look_finds_all_it_needs_there(domain, network, settings):
    settings.NAME_SERVERS = ["ns1.relay.test", "ns2.example.net"]
    settings.ZONE_ADDRESSES = {4: "192.0.2.25", 6: "2001:db8::25"}
    text = printed()
    network.forget(**{"relay.test": f"{text}ns1 A {FIRST}\n"})
    lines = [f"{record.name}. CNAME {record.target}." for record in records_of(domain)]
    network.zone("boutique.example", *lines, '_dmarc TXT "v=DMARC1; p=reject"', "@ MX 10 mail")
    picture = look_now(domain)
    assert {finding.state for finding in picture.records.values()} == {State.VALIDATED}
    assert picture.keys == {key.selector: key.public_key for key in domain.keys.all()}
    assert {finding.state for finding in picture.advice.values()} == {State.VALIDATED}

    for name, rdataset in dns.zone.from_text(text, relativize=False).iterate_rdatasets():
        assert set(network.knot.ask(name, rdataset.rdtype)) == set(rdataset), f"{name} is served as printed"
    (soa,) = network.knot.ask("relay.test", "SOA")
    assert soa.to_text().startswith("ns1.relay.test. hostmaster.relay.test. ")


def test_our_own_domain_is_validated_from_the_zone_alone(network):
    """System mail is signed and its return path found without any record of a customer."""
    own = own_domain()
    network.forget(**{"relay.test": f"{printed()}ns A {FIRST}\n"})
    picture = look_now(own)
    assert {picture.records[key].state for key in ("dkim1", "dkim2")} == {State.VALIDATED}
    assert picture.advice["dmarc"].state is State.VALIDATED
    assert picture.advice["mx"].state is State.VALIDATED


def test_the_serial_grows(domain):
    def serial():
        return int(printed().splitlines()[2].split()[4])

    first = serial()
    assert serial() >= first > 1_700_000_000


def test_the_zone_of_many_domains_is_printed_with_few_queries(django_assert_max_num_queries):
    account = make_account()
    Domain.objects.bulk_create(Domain(account=account, name=f"shop{n}.example") for n in range(500))
    own_domain()
    with django_assert_max_num_queries(10):
        assert printed().count(" MX 10 mx.relay.test.") >= 500


def test_the_simulator_serves_our_zone_and_what_a_customer_of_the_demo_entered(domain, demo):
    demo_dns.enter(domain)
    with dns_running(World(database_records)) as server:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
        for key in domain.keys.all():
            answer = resolver.resolve(f"{key.selector}._domainkey.boutique.example", "TXT")
            assert b"".join(answer[0].strings).decode() == key.txt
        assert str(resolver.resolve("bounce.boutique.example", "MX")[0]) == "10 mx.relay.test."
        assert str(resolver.resolve("boutique.example", "NS")[0]) == "ns.relay.test."
        assert len(zone_records()) > 4


def test_the_mail_of_a_customer_of_the_demo_comes_to_the_simulator_and_nobody_elses(domain, demo, settings):
    settings.SIMULATOR_DOMAIN = "simulator.test"
    world = World(database_records)
    simulator = Simulator("simulator.test", takes=world.sends_here)
    with dns_running(world) as server, running(simulator):
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
        assert str(resolver.resolve("boutique.example", "MX")[0]) == "10 mx.simulator.test."
        client = Client(simulator.port)
        client.begin("marie@Boutique.example")
        client.close()
        client = Client(simulator.port)
        client.reply()
        client.ask("EHLO client.test")
        client.ask("MAIL FROM:<ann@example.test>")
        for stranger in ("x@shop.example", "x@bounce.boutique.example", f"x@{'a' * 70}.example"):
            assert client.ask(f"RCPT TO:<{stranger}>").startswith("550 5.7.1")
        client.close()


def test_what_is_removed_in_the_demo_is_gone_and_the_rest_stays(domain, demo):
    demo_dns.enter(domain)
    demo_dns.remove(domain, "dkim2")
    assert set(DemoRecord.objects.values_list("name", flat=True)) == {
        "r1._domainkey.boutique.example",
        "bounce.boutique.example",
    }


def test_another_account_of_the_demo_cannot_enter_records_in_somebody_elses_dns(domain, demo):
    demo_dns.enter(domain)
    stranger = make_domain(make_account(), "boutique.example", validated_at=None)
    with pytest.raises(demo_dns.Taken):
        demo_dns.enter(stranger)


def test_outside_the_demo_nothing_can_be_entered(domain):
    with pytest.raises(demo_dns.NotTheDemo):
        demo_dns.enter(domain)
