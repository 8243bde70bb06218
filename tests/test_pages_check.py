"""The check of a domain's three records, asked of a real DNS server on loopback."""

import socket

import pytest
from django.urls import reverse
from django.utils import timezone

from domains.check import OwnedElsewhere, check
from domains.records import records_of
from relay.simulator.zone import Failure, Zone
from tests.factories import make_account, make_domain, make_user
from tests.mail_world import dns_running

pytestmark = pytest.mark.django_db

SOA = "ns.test hostmaster.test 1 3600 600 86400 5"


@pytest.fixture
def zone(settings):
    """A world with nothing but the apexes of its zones, asked by the relay's resolver."""
    zone = Zone([("example", "SOA", SOA), ("relay.test", "SOA", SOA)])
    with dns_running(zone) as server:
        settings.DNS_SERVER = ("127.0.0.1", server.port)
        yield zone


@pytest.fixture
def domain():
    return make_domain(make_account(make_user("alice@example.com")), "shop.example", validated=False)


def publish(zone, domain, **other):
    """The three records as they should be, but for those named in `other`."""
    for record in records_of(domain):
        target = other.get(record.key, record.target)
        if target is not None:
            zone.add(record.name, "CNAME", target)


def states(findings):
    return {key: finding.state for key, finding in findings.items()}


def test_three_right_records_validate_the_domain(zone, domain):
    publish(zone, domain)
    assert states(check(domain)) == {"dkim1": "validated", "dkim2": "validated", "bounce": "validated"}
    domain.refresh_from_db()
    assert domain.validated_at is not None
    assert domain.checked_at is not None


def test_case_and_chains_of_cnames_do_not_matter(zone, domain):
    [record, *_] = records_of(domain)
    publish(zone, domain, dkim1="dkim.hosted.example")
    zone.add("dkim.hosted.example", "CNAME", record.target.upper())
    assert states(check(domain))["dkim1"] == "validated"


def test_a_missing_record_keeps_it_from_sending(zone, domain):
    publish(zone, domain, dkim2=None)
    assert states(check(domain)) == {"dkim1": "validated", "dkim2": "missing", "bounce": "validated"}
    assert domain.validated_at is None


def test_a_wrong_record_is_shown_with_what_was_found(zone, domain):
    publish(zone, domain, bounce="mail.other.example")
    finding = check(domain)["bounce"]
    assert (finding.state, finding.value) == ("wrong", "mail.other.example")
    assert domain.found["bounce"] == {"state": "wrong", "value": "mail.other.example"}


def test_a_record_of_another_type_is_not_the_record(zone, domain):
    publish(zone, domain, dkim1=None)
    zone.add("r1._domainkey.shop.example", "TXT", "v=DKIM1; p=AAAA")
    assert states(check(domain))["dkim1"] == "missing"


def test_a_loop_of_cnames_ends(zone, domain):
    publish(zone, domain, dkim1="a.example")
    zone.add("a.example", "CNAME", "b.example")
    zone.add("b.example", "CNAME", "a.example")
    assert states(check(domain))["dkim1"] in {"wrong", "error"}


@pytest.mark.parametrize("failure", [Failure.SERVFAIL, Failure.REFUSED])
def test_trouble_of_the_dns_never_takes_a_validation_back(zone, domain, failure):
    publish(zone, domain)
    check(domain)
    zone.fail("r1._domainkey.shop.example", failure)
    assert states(check(domain))["dkim1"] == "error"
    domain.refresh_from_db()
    assert domain.validated_at is not None


def test_a_silent_server_is_trouble_and_not_a_missing_record(settings, domain, monkeypatch):
    monkeypatch.setattr("domains.check.SECONDS", 0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.DNS_SERVER = silent.getsockname()
        assert set(states(check(domain)).values()) == {"error"}


def test_a_record_that_was_taken_away_ends_the_validation(zone, domain):
    publish(zone, domain)
    check(domain)
    zone.remove("bounce.shop.example")
    check(domain)
    domain.refresh_from_db()
    assert domain.validated_at is None


def test_a_validated_domain_has_one_owner(zone, domain):
    publish(zone, domain)
    make_domain(make_account(make_user()), "Shop.example", validated_at=timezone.now())
    with pytest.raises(OwnedElsewhere):
        check(domain)
    domain.refresh_from_db()
    assert domain.validated_at is None
    assert domain.checked_at is not None


class TestPage:
    @pytest.fixture
    def alices(self, client, domain):
        client.force_login(domain.account.members.get())
        return client

    def test_adding_a_domain_makes_its_keys_and_shows_three_records(self, alices, domain):
        response = alices.post(reverse("domains:add"), {"name": " News.Shop.Example. "}, follow=True)
        made = domain.account.domains.get(name="news.shop.example")
        assert made.keys.count() == 2
        for record in records_of(made):
            assert record.name in response.content.decode()
            assert record.target in response.content.decode()

    def test_adding_it_again_leads_to_the_same_one(self, alices, domain):
        response = alices.post(reverse("domains:add"), {"name": "SHOP.example"})
        assert response.url == reverse("domains:domain", args=[domain.pk])

    @pytest.mark.parametrize(
        "name", ["", "example", "exa mple.com", "-a.com", "a..b", "https://example.com", "a" * 64 + ".com", "127.0.0.1"]
    )
    def test_what_is_no_domain_is_refused_beside_the_field(self, alices, domain, name):
        response = alices.post(reverse("domains:add"), {"name": name})
        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert domain.account.domains.count() == 1

    def test_an_internationalised_name_is_kept_as_its_a_labels(self, alices, domain):
        alices.post(reverse("domains:add"), {"name": "Müller.example"})
        assert domain.account.domains.filter(name="xn--mller-kva.example").exists()

    def test_check_now_works_as_a_form_and_as_a_part(self, zone, alices, domain):
        url = reverse("domains:check", args=[domain.pk])
        assert "Not found" in alices.post(url, follow=True).content.decode()
        publish(zone, domain)
        part = alices.post(url, headers={"HX-Request": "true", "HX-Target": "records"}).content.decode()
        assert "This domain may send" in part
        assert "<html" not in part
