"""A link for the colleague who runs the DNS: it opens without a log-in, for one domain, for a week."""

import datetime as dt
import re

import pytest
from django.core.cache import cache
from django.core.signing import Signer
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from domains import sharing
from domains.models import DomainEvent
from domains.records import records_of
from domains.shared_views import CHECKS
from tests.dns_world import dns_world
from tests.factories import make_account, make_credential, make_domain, make_user

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Target": "records"}


@pytest.fixture(autouse=True)
def nothing_was_checked():
    cache.clear()


@pytest.fixture
def domain():
    account = make_account(make_user("alice@example.com"), name="Boutique")
    return make_domain(account, "shop.example", validated=False)


@pytest.fixture
def link(domain):
    return sharing.share(domain, "alice@example.com")


def address(link, name="shared"):
    return reverse(f"domains:{name}", args=[sharing.token_of(link)])


class TestMaking:
    @pytest.fixture
    def alices(self, client, domain):
        client.force_login(domain.account.members.get())
        return client

    def test_a_member_makes_one_copies_it_and_stops_it(self, alices, domain, settings):
        html = alices.post(reverse("domains:share", args=[domain.pk]), follow=True).content.decode()
        url = re.search(rf'data-copy="({settings.WEB_URL}/domains/shared/[^"]+)"', html)[1]
        assert domain.events.get().by == "alice@example.com"
        assert Client().get(url.removeprefix(settings.WEB_URL)).status_code == 200
        html = alices.post(reverse("domains:unshare", args=[domain.pk]), follow=True).content.decode()
        assert url not in html
        assert "it was stopped" in html
        assert Client().get(url.removeprefix(settings.WEB_URL)).status_code == 404

    def test_a_second_one_is_the_same_while_it_opens(self, domain, link):
        assert sharing.share(domain, "bob@example.com") == link

    def test_after_it_was_stopped_another_one_is_made(self, domain, link):
        sharing.stop(domain, "alice@example.com")
        assert sharing.share(domain, "alice@example.com") != link

    def test_a_stranger_makes_and_stops_none(self, client, domain, link):
        charlie = make_user("charlie@example.com")
        make_account(charlie)
        client.force_login(charlie)
        assert client.post(reverse("domains:share", args=[domain.pk])).status_code == 404
        assert client.post(reverse("domains:unshare", args=[domain.pk])).status_code == 404
        assert sharing.link_of(domain) == link


class TestOpening:
    def test_it_shows_the_records_and_their_state_without_a_log_in(self, client, domain, link):
        domain.found = {"dkim1": {"state": "wrong", "found": ["x.example"], "problem": "other_target"}}
        domain.save()
        html = client.get(address(link)).content.decode()
        for record in records_of(domain):
            assert record.name in html
            assert record.target in html
        assert "Wrong value" in html
        assert "Found:" in html

    def test_it_shows_nothing_else_of_the_account(self, client, domain, link):
        make_credential(domain.account, name="shop-web")
        make_domain(domain.account, "other.example")
        html = client.get(address(link)).content.decode()
        for secret in ("Boutique", "alice@example.com", "shop-web", "other.example", ">History<", "quota", "Keys"):
            assert secret not in html
        assert not re.search(r'(href|action)="/(?!static/|domains/shared/|favicon)', html.replace('href="#', ""))

    def test_search_engines_caches_and_other_sites_learn_nothing(self, client, link):
        response = client.get(address(link))
        assert response.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert '<meta name="robots" content="noindex, nofollow">' in response.content.decode()
        assert "no-store" in response.headers["Cache-Control"]
        # Not "no-referrer": browsers then hide the origin of forms too, and Django refuses them.
        assert response.headers["Referrer-Policy"] == "same-origin"

    def test_it_ends_after_a_week(self, client, link):
        almost = timezone.now() - sharing.LIFETIME + dt.timedelta(minutes=1)
        DomainEvent.objects.filter(pk=link.pk).update(at=almost)
        assert client.get(address(link)).status_code == 200
        DomainEvent.objects.filter(pk=link.pk).update(at=almost - dt.timedelta(minutes=2))
        assert client.get(address(link)).status_code == 404
        assert client.post(address(link, "shared_check")).status_code == 404

    def test_it_ends_with_the_domain(self, client, domain, link):
        url = address(link)
        domain.delete()
        assert client.get(url).status_code == 404

    def test_it_cannot_be_guessed_or_bent(self, client, domain, link):
        other = sharing.share(make_domain(make_account(make_user()), "other.example"), "")
        number, signature = sharing.token_of(link).split(".")
        forged = [
            number,
            f"{other.pk}.{signature}",
            f"{number}.{signature[:-1]}",
            f"{number}.{signature}x",
            f"{number}.",
            Signer(sep=".").sign(number),
            Signer(salt="domains.sharing", sep=".", key="another").sign(number),
        ]
        for token in forged:
            assert client.get(reverse("domains:shared", args=[token])).status_code == 404, token

    def test_another_line_of_the_history_is_no_link(self, client, domain):
        line = DomainEvent.objects.create(domain=domain, kind=DomainEvent.Kind.ADDED)
        assert client.get(address(line)).status_code == 404


class TestLiveState:
    def test_a_check_by_the_link_is_told_in_the_history_without_a_name(self, client, domain, link):
        with dns_world() as world:
            world.publish(domain)
            part = client.post(address(link, "shared_check"), headers=PART).content.decode()
        assert "This domain may send" in part
        assert "<html" not in part
        assert set(domain.events.exclude(pk=link.pk).values_list("by", flat=True)) <= {sharing.COLLEAGUE, ""}

    def test_it_works_as_a_form_too(self, client, domain, link):
        with dns_world():
            response = client.post(address(link, "shared_check"), follow=True)
        assert response.redirect_chain == [(address(link), 302)]
        assert "Not found" in response.content.decode()

    def test_with_nothing_new_the_page_is_left_alone(self, client, link):
        seen = re.search(r"seen=(\w+)", client.get(address(link)).content.decode())[1]
        assert client.get(address(link), {"seen": seen}, headers=PART).status_code == 204

    def test_news_come_without_what_only_members_see(self, client, domain, link):
        part = client.get(address(link), {"seen": "old"}, headers=PART).content.decode()
        assert 'id="records"' in part
        assert 'id="entering"' in part
        assert "History" not in part

    def test_it_checks_only_so_often(self, client, domain, link, monkeypatch):
        checks = []
        monkeypatch.setattr("domains.views.check", lambda *given: checks.append(given))
        for _ in range(CHECKS + 3):
            cache.delete(f"check:{domain.pk}")
            response = client.post(address(link, "shared_check"), headers=PART)
        assert len(checks) == CHECKS
        assert "checked very often" in response.content.decode()
