"""The Domains tab, asked for by Django's client. Alice owns, Charlie must see nothing."""

import datetime as dt
import re

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from domains import past, sharing
from domains.finding import Picture
from domains.models import DemoRecord, Domain, DomainEvent
from domains.records import claim_record_of, records_of
from domains.shown import RECORD_STATES
from domains.wording import PROBLEMS
from tests.dns_world import dns_world
from tests.factories import make_account, make_credential, make_domain, make_email, make_user

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Target": "records"}
Kind = DomainEvent.Kind


@pytest.fixture(autouse=True)
def nothing_was_checked():
    cache.clear()


@pytest.fixture
def world():
    with dns_world() as made:
        yield made


@pytest.fixture
def domain():
    account = make_account(make_user("alice@example.com"), name="Boutique")
    return make_domain(account, "shop.example", validated=False)


@pytest.fixture
def alices(client, domain):
    client.force_login(domain.account.members.get())
    return client


@pytest.fixture
def charlies(client):
    charlie = make_user("charlie@example.com")
    make_account(charlie, name="Elsewhere")
    client.force_login(charlie)
    return client


def url(name, domain, *more):
    return reverse(f"domains:{name}", args=[domain.pk, *more])


def page(client, domain):
    response = client.get(url("domain", domain))
    assert response.status_code == 200
    return response.content.decode()


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def find(domain, **states):
    """As a check would have left it: {record: (state, found, problem)}."""
    for key, (state, found, problem) in states.items():
        domain.found[key] = {"state": state, "found": found, "problem": problem, "server": "", "ttl": 0, "last": state}
    domain.checked_at = timezone.now()
    domain.save()


class TestAdding:
    def test_it_makes_the_keys_and_shows_three_records(self, alices, domain):
        response = alices.post(reverse("domains:add"), {"name": " News.Shop.Example. "}, follow=True)
        made = domain.account.domains.get(name="news.shop.example")
        assert made.keys.count() == 2
        assert made.events.get().by == "alice@example.com"
        for record in records_of(made):
            assert record.name in response.content.decode()
            assert record.target in response.content.decode()

    def test_adding_it_again_leads_to_the_same_one(self, alices, domain):
        response = alices.post(reverse("domains:add"), {"name": "SHOP.example"})
        assert response.url == url("domain", domain)

    @pytest.mark.parametrize(
        "typed",
        ["https://www2.shop.example/about?x=1", "marie@www2.shop.example", "www2.shop.example.", "WWW2.SHOP.EXAMPLE"],
    )
    def test_what_is_pasted_becomes_a_name(self, alices, domain, typed):
        alices.post(reverse("domains:add"), {"name": typed})
        assert domain.account.domains.filter(name="www2.shop.example").exists()

    def test_an_internationalised_name_is_kept_in_ascii_and_shown_as_it_is_read(self, alices, domain):
        response = alices.post(reverse("domains:add"), {"name": "Müller.example"}, follow=True)
        assert domain.account.domains.filter(name="xn--mller-kva.example").exists()
        assert "<h1>müller.example</h1>" in response.content.decode()

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("", "required"),
            ("example", "not complete"),
            ("exa mple.com", "not a domain name"),
            ("-a.com", "not a domain name"),
            ("127.0.0.1", "IP address"),
            ("co.uk", "anybody can register"),
            ("github.io", "anybody can register"),
            ("a" * 64 + ".com", "not a domain name"),
        ],
    )
    def test_what_is_no_domain_of_ones_own_is_refused_beside_the_field(self, alices, domain, typed, said):
        response = alices.post(reverse("domains:add"), {"name": typed})
        assert said in re.search(r'class="errorlist".*?</ul>', response.content.decode(), re.S)[0]
        assert domain.account.domains.count() == 1


class TestList:
    def test_each_domain_has_its_state_and_what_to_do_next(self, alices, domain):
        make_domain(domain.account, "good.example")
        failing = make_domain(domain.account, "bad.example", failing_since=timezone.now())
        find(failing, dkim2=("missing", [], ""))
        html = text_of(alices.get(reverse("domains:list")).content.decode())
        assert "shop.example Not checked yet Enter its three records at your DNS host." in html
        assert re.search(r"bad.example Failing, still sends .*DKIM 2: Not found · Put it right before", html)
        assert "good.example Validated" in html

    def test_an_empty_list_teaches(self, charlies):
        html = text_of(charlies.get(reverse("domains:list")).content.decode())
        assert "Add your first domain" in html
        assert "How it goes" in html

    def test_the_name_of_a_link_is_in_the_form(self, alices):
        assert 'value="news.example"' in alices.get(reverse("domains:list"), {"name": "news.example"}).content.decode()

    def test_the_number_of_queries_does_not_grow_with_the_domains(self, alices, domain, django_assert_max_num_queries):
        for number in range(30):
            make_domain(domain.account, f"d{number}.example")
        with django_assert_max_num_queries(8):
            alices.get(reverse("domains:list"))

    def test_many_domains_are_found_by_name_and_page_by_page(self, alices, domain):
        for number in range(120):
            make_domain(domain.account, f"d{number:03}.example")
        first = alices.get(reverse("domains:list")).content.decode()
        assert len(re.findall(r'<td class="who">', first)) == 50
        assert "Page 1 of 3" in first
        assert "d119.example" in alices.get(reverse("domains:list"), {"page": 3}).content.decode()
        some = alices.get(reverse("domains:list"), {"q": "D11"}).content.decode()
        assert len(re.findall(r'<td class="who">', some)) == 10
        for nothing in ("nothing", "\0nothing"):
            assert "No domain matches." in alices.get(reverse("domains:list"), {"q": nothing}).content.decode()


class TestRecords:
    def test_full_and_short_names_and_targets_have_copy_buttons(self, alices, domain):
        html = page(alices, domain)
        for record in records_of(domain):
            for text in (record.name, record.name.removesuffix(".shop.example"), record.target):
                assert f'data-copy="{text}"' in html

    def test_every_state_has_word_icon_and_colour(self, alices, domain):
        for state, label in RECORD_STATES.items():
            find(domain, dkim1=(state, ["x.example"], ""))
            html = page(alices, domain)
            assert re.search(rf'class="pill is-{state}"><svg[^>]*><use href="#i-{state}" /></svg>\s*{label}', html), (
                state
            )
            assert f'id="i-{state}"' in html

    def test_every_difference_is_told_in_words(self, alices, domain):
        for problem in PROBLEMS:
            find(domain, dkim1=("wrong", ["found.example"], problem))
            told = re.search(r'class="explained">(.*?)</p>', page(alices, domain), re.S)
            assert told, problem
            assert "%(" not in told[1]

    def test_a_domain_pasted_twice_is_named_and_what_to_enter_is_said(self, alices, domain):
        twice = "r1._domainkey.shop.example.shop.example"
        find(domain, dkim1=("missing", [twice], "domain_twice"))
        html = text_of(page(alices, domain))
        assert f"You pasted the domain twice: the record stands at {twice}." in html
        assert "enter only r1._domainkey as the name" in html

    def test_what_strangers_wrote_in_their_dns_is_text(self, alices, domain):
        find(domain, dkim1=("wrong", ["<script>alert(1)</script>"], "other_target"))
        assert "<script>alert" not in page(alices, domain)

    def test_the_zone_file_has_the_three_lines(self, alices, domain):
        html = page(alices, domain)
        lines = re.search(r'id="zone-lines">(.*?)</code>', html, re.S)[1].splitlines()
        assert lines == [f"{record.name}. 3600 IN CNAME {record.target}." for record in records_of(domain)]

    def test_the_dns_host_that_was_found_comes_first_and_the_other_nine_can_be_chosen(self, alices, domain):
        domain.advice = {"dns_host": "ovh"}
        domain.save()
        hosts = re.findall(r'<details name="host" id="host-(\w+)"( open)?', page(alices, domain))
        assert hosts[0] == ("ovh", " open")
        assert len(hosts) == 11
        assert [key for key, opened in hosts if opened] == ["ovh"]


class TestChecking:
    def test_check_now_works_as_a_form_and_as_a_part(self, world, alices, domain):
        assert "Not found" in alices.post(url("check", domain), follow=True).content.decode()
        world.publish(domain)
        cache.clear()
        part = alices.post(url("check", domain), headers=PART).content.decode()
        assert "This domain may send" in part
        assert "<html" not in part
        domain.refresh_from_db()
        assert domain.validated_at is not None

    def test_a_wrong_value_is_shown_with_what_was_found(self, world, alices, domain):
        world.publish(domain, bounce="mail.other.example")
        html = text_of(alices.post(url("check", domain), headers=PART).content.decode())
        assert (
            "Wrong value It leads somewhere else. Replace it by the target on this page. Found: mail.other.example"
            in html
        )

    def test_clicking_twice_asks_once(self, world, alices, domain):
        alices.post(url("check", domain))
        domain.refresh_from_db()
        before = domain.checked_at
        assert "checked a moment ago" in alices.post(url("check", domain), headers=PART).content.decode()
        domain.refresh_from_db()
        assert domain.checked_at == before

    def test_one_that_is_removed_during_its_check_is_gone(self, alices, domain, monkeypatch):
        def look(looked_at):
            Domain.objects.filter(pk=looked_at.pk).delete()
            return Picture({})

        monkeypatch.setattr("domains.check.look_now", look)
        assert alices.post(url("check", domain), headers=PART).status_code == 404


class TestUpdatingItself:
    def seen(self, html):
        found = re.search(r'id="records" data-live hx-get="[^"]*\?seen=(\w+)" hx-trigger="every (\d+)s"', html)
        return found and found[1]

    def test_a_page_with_nothing_new_is_left_alone(self, alices, domain):
        seen = self.seen(page(alices, domain))
        response = alices.get(url("domain", domain), {"seen": seen}, headers=PART)
        assert (response.status_code, response.content) == (204, b"")

    def test_news_come_as_parts_with_the_next_version(self, alices, domain):
        seen = self.seen(page(alices, domain))
        find(domain, dkim1=("wrong", ["x.example"], "other_target"))
        part = alices.get(url("domain", domain), {"seen": seen}, headers=PART).content.decode()
        assert "Wrong value" in part
        assert self.seen(part) not in (None, seen)
        for section in ("entering", "advice", "past", "keys"):
            assert re.search(rf'id="{section}"[^>]* hx-swap-oob="true"', part), section

    def test_it_stops_when_all_is_right_and_goes_on_while_a_record_fails(self, alices, domain):
        now = timezone.now()
        domain.validated_at, domain.next_check_at = now, now + dt.timedelta(days=1)
        find(domain, **{key: ("validated", [], "") for key in ("dkim1", "dkim2", "bounce")})
        assert self.seen(page(alices, domain)) is None
        domain.failing_since = now
        find(domain, dkim1=("missing", [], ""))
        assert self.seen(page(alices, domain))

    def test_it_goes_on_while_a_check_is_about_to_happen(self, alices, domain):
        domain.validated_at = domain.next_check_at = timezone.now()
        find(domain, **{key: ("validated", [], "") for key in ("dkim1", "dkim2", "bounce")})
        assert self.seen(page(alices, domain))

    def test_it_goes_on_while_a_new_key_is_on_its_way(self, alices, domain):
        domain.make_keys()
        domain.validated_at = timezone.now()
        domain.next_check_at = timezone.now() + dt.timedelta(days=1)
        find(domain, **{key: ("validated", [], "") for key in ("dkim1", "dkim2", "bounce")})
        assert self.seen(page(alices, domain))

    def test_an_open_page_brings_the_next_check_forward_but_not_for_ever_nearer(self, alices, domain):
        now = timezone.now()
        Domain.objects.filter(pk=domain.pk).update(checked_at=now, next_check_at=now + dt.timedelta(hours=3))
        alices.get(url("domain", domain), headers=PART)
        domain.refresh_from_db()
        first = domain.next_check_at
        assert now + dt.timedelta(seconds=10) < first < now + dt.timedelta(seconds=60)
        alices.get(url("domain", domain), headers=PART)
        domain.refresh_from_db()
        assert domain.next_check_at == first


class TestFailing:
    @pytest.fixture
    def failing(self, domain):
        Domain.objects.filter(pk=domain.pk).update(validated_at=timezone.now(), failing_since=timezone.now())
        domain.refresh_from_db()
        find(domain, dkim1=("missing", [], ""))
        return domain

    def test_the_page_says_until_when_it_sends(self, alices, failing):
        assert "Mail still goes out until" in page(alices, failing)

    @pytest.mark.parametrize(
        "name", ["activity:list", "dashboard:show", "suppressions:list", "domains:list", "setup:show"]
    )
    def test_every_page_of_the_account_warns(self, alices, failing, name):
        html = alices.get(reverse(name)).content.decode()
        assert re.search(rf'class="notice trouble.*?<a href="{url("domain", failing)}">', html, re.S)

    def test_nobody_elses_page_does(self, failing, charlies):
        assert "notice trouble" not in charlies.get(reverse("activity:list")).content.decode()

    def test_one_that_was_lost_is_told_on_every_page_until_it_is_validated_or_removed(self, alices, domain):
        DomainEvent.objects.create(domain=domain, kind=Kind.VALIDATED)
        DomainEvent.objects.create(domain=domain, kind=Kind.UNAUTHENTICATED, detail={"records": ["dkim1"]})
        assert "Mail from it is Rejected" in text_of(alices.get(reverse("activity:list")).content.decode())
        assert "Mail from this domain is Rejected since" in page(alices, domain)
        Domain.objects.filter(pk=domain.pk).update(validated_at=timezone.now())
        assert "Mail from it is Rejected" not in text_of(alices.get(reverse("activity:list")).content.decode())

    def test_one_that_never_was_validated_is_no_trouble(self, alices, domain):
        assert "notice trouble" not in alices.get(reverse("activity:list")).content.decode()


class TestClaim:
    @pytest.fixture
    def theirs(self):
        return make_domain(make_account(make_user("dora@secret.example"), name="Secret Co"), "shop.example")

    def test_the_page_shows_the_record_that_moves_it_and_nothing_of_the_other_account(self, alices, domain, theirs):
        html = page(alices, domain)
        claim = claim_record_of(domain)
        assert claim.name in html
        assert claim.value in html
        for secret in ("Secret Co", "dora@secret.example", theirs.token, theirs.claim_token):
            assert secret not in html

    def test_right_records_alone_do_not_take_it_and_the_claim_does(self, world, alices, domain, theirs):
        world.publish(domain)
        assert "One more record is needed" in alices.post(url("check", domain), headers=PART).content.decode()
        world.zone.add(*claim_record_of(domain))
        cache.clear()
        assert "This domain may send" in alices.post(url("check", domain), headers=PART).content.decode()
        theirs.refresh_from_db()
        assert theirs.validated_at is None

    def test_who_lost_it_is_told_so_but_not_who_has_it(self, world, alices, domain, theirs, client):
        world.publish(domain)
        world.zone.add(*claim_record_of(domain))
        alices.post(url("check", domain))
        client.force_login(theirs.account.members.get())
        assert "Mail from it is Rejected" in text_of(client.get(reverse("activity:list")).content.decode())
        html = page(client, theirs)
        assert "moved it to another account" in html
        assert claim_record_of(theirs).value in html
        for secret in ("Boutique", "alice@example.com", domain.token, domain.claim_token):
            assert secret not in html

    def test_the_same_name_has_other_tokens_and_keys_in_another_account(self, charlies, domain):
        charlies.post(reverse("domains:add"), {"name": domain.name})
        (other,) = Domain.objects.exclude(pk=domain.pk)
        assert {other.token, other.claim_token}.isdisjoint({domain.token, domain.claim_token})
        html = page(charlies, other)
        assert domain.token not in html
        assert domain.claim_token not in html

    def test_without_another_owner_there_is_no_claim(self, alices, domain):
        assert "relay-claim" not in page(alices, domain)


class TestReturnPathHost:
    def test_another_label_moves_the_third_record_and_forgets_what_was_found(self, alices, domain):
        domain.validated_at = timezone.now()
        find(domain, bounce=("validated", [], ""))
        response = alices.post(url("label", domain), {"label": "Mail-Bounces"}, follow=True)
        assert "mail-bounces.shop.example" in response.content.decode()
        domain.refresh_from_db()
        assert domain.bounce_host == "mail-bounces.shop.example"
        assert "bounce" not in domain.found
        # Nobody can be sure yet that the new host leads to us.
        assert domain.own_return_path
        assert domain.next_check_at <= timezone.now()
        assert "SPF/Return-Path: the host is mail-bounces.shop.example now" in past.words(domain.events.get())

    def test_the_same_label_changes_nothing(self, alices, domain):
        alices.post(url("label", domain), {"label": "bounce"})
        assert not domain.events.exists()

    @pytest.mark.parametrize("label", ["", "-a", "a.b", "a b", "ä", "x" * 64])
    def test_what_is_no_label_is_refused_beside_the_field(self, alices, domain, label):
        assert "errorlist" in alices.post(url("label", domain), {"label": label}).content.decode()

    def test_a_sending_domain_of_ones_own_is_not_taken(self, alices, domain):
        make_domain(domain.account, "news.shop.example")
        html = alices.post(url("label", domain), {"label": "news"}).content.decode()
        assert "one of your sending domains" in html


class TestRemoving:
    def test_it_asks_first_and_says_what_happens(self, alices, domain):
        make_credential(domain.account, name="only-shop", domain=domain)
        html = text_of(alices.get(url("remove", domain)).content.decode())
        for said in ("Rejected at once", "end as Soft bounce", "only-shop", "Delete the three records"):
            assert said in html
        assert Domain.objects.filter(pk=domain.pk).exists()

    def test_it_is_gone_with_its_keys_and_its_own_credentials_and_the_mail_stays(self, alices, domain):
        make_credential(domain.account, name="only-shop", domain=domain)
        free, _ = make_credential(domain.account, name="shop-web")
        email = make_email(domain.account)
        response = alices.post(url("remove", domain), follow=True)
        assert "shop.example was removed" in response.content.decode()
        assert not Domain.objects.filter(pk=domain.pk).exists()
        assert list(domain.account.credentials.all()) == [free]
        assert alices.get(reverse("activity:email", args=[email.pk])).status_code == 200


class TestAround:
    def test_the_history_is_told_newest_first_with_who_did_it(self, alices, domain):
        DomainEvent.objects.create(domain=domain, kind=Kind.ADDED, by="alice@example.com")
        DomainEvent.objects.create(domain=domain, kind=Kind.FAILING, detail={"records": ["dkim1", "bounce"]})
        html = text_of(page(alices, domain))
        assert re.search(r"A record is not right any more: DKIM 1, SPF/Return-Path .*Added .*alice@example.com", html)

    def test_every_kind_of_line_has_words(self, domain):
        for kind in Kind:
            assert past.words(DomainEvent(domain=domain, kind=kind, detail={}))
        assert past.words(DomainEvent(domain=domain, kind="newer", detail={})) == "newer"

    def test_the_keys_say_which_signs(self, alices, domain):
        domain.make_keys()
        assert re.search(r"DKIM 1 will sign your mail; made \d+ \w+ \d{4}", text_of(page(alices, domain)))

    def test_a_button_rotates_them_once(self, alices, domain):
        domain.make_keys()
        now = timezone.now()
        later = now + dt.timedelta(days=20)
        assert "Rotate now" not in page(alices, domain)
        domain.keys.update(seen_at=now, usable_at=now)
        Domain.objects.filter(pk=domain.pk).update(validated_at=now, rotate_at=later)
        assert "Rotate now" in page(alices, domain)
        html = alices.post(url("rotate", domain), follow=True).content.decode()
        assert "takes over as soon as every name server shows it" in html
        assert "Rotate now" not in html
        domain.refresh_from_db()
        assert domain.rotate_at <= timezone.now()
        assert domain.events.get(kind=Kind.ROTATION_ASKED).by == "alice@example.com"
        assert "under way already" in alices.post(url("rotate", domain), follow=True).content.decode()

    def test_advice_has_a_record_to_paste(self, alices, domain):
        domain.advice = {"dmarc": {"state": "missing", "found": [], "problem": "dmarc_missing"}}
        domain.save()
        html = page(alices, domain)
        assert 'data-copy="_dmarc.shop.example"' in html
        assert 'data-copy="v=DMARC1; p=none; rua=mailto:dmarc@shop.example"' in html

    def test_credentials_that_may_send_for_it_are_listed_with_the_way_to_set_up(self, alices, domain):
        other = make_domain(domain.account, "other.example")
        make_credential(domain.account, name="mine", domain=domain)
        make_credential(domain.account, name="everywhere")
        make_credential(domain.account, name="not-here", domain=other)
        html = page(alices, domain)
        assert "mine" in html
        assert "everywhere" in html
        assert "not-here" not in html
        assert f'href="{reverse("setup:show")}"' in html

    def test_a_rejected_email_leads_to_its_domain(self, alices, domain):
        fields = {"mail_from": "b@shop.example", "header_from": "Shop <a@shop.example>"}
        email = make_email(domain.account, status="rejected", **fields)
        html = alices.get(reverse("activity:email", args=[email.pk])).content.decode()
        link = re.search(rf'href="({reverse("domains:find")}[^"]*)"', html)[1].replace("&amp;", "&")
        assert alices.get(link).url == url("domain", domain)

    def test_or_to_the_form_with_its_name_filled_in(self, alices, domain):
        make_domain(domain.account, "good.example")
        link = f"{reverse('domains:find')}?sender=a@good.example&sender=b@boutlque.example"
        assert alices.get(link).url == f"{reverse('domains:list')}?name=boutlque.example"

    @pytest.mark.parametrize("sender", ["", "<>", "x@", "@", "a b"])
    def test_a_sender_without_a_domain_leads_to_the_list(self, alices, sender):
        assert alices.get(reverse("domains:find"), {"sender": sender}).url == reverse("domains:list")


def test_no_page_has_a_script_or_style_of_its_own(alices, domain, settings):
    settings.DEMO = True
    link = sharing.share(domain, "alice@example.com")
    paths = (reverse("domains:list"), url("domain", domain), url("remove", domain))
    for path in (*paths, reverse("domains:shared", args=[sharing.token_of(link)])):
        response = alices.get(path)
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", response.content.decode())
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_the_number_of_queries_of_a_page_does_not_grow_with_its_history(alices, domain, django_assert_max_num_queries):
    domain.make_keys()
    for _ in range(40):
        DomainEvent.objects.create(domain=domain, kind=Kind.FAILING)
    with django_assert_max_num_queries(24):
        assert "The newest 30 lines are shown." in page(alices, domain)


class TestDemo:
    @pytest.fixture
    def demo(self, settings):
        settings.DEMO = True

    def test_outside_the_demo_there_are_no_such_buttons_and_addresses(self, alices, domain):
        assert "play the DNS host" not in page(alices, domain)
        for name, more in (("demo_publish", []), ("demo_claim", []), ("demo_remove", ["dkim1"])):
            assert alices.post(url(name, domain, *more)).status_code == 404
        assert not DemoRecord.objects.exists()

    def test_the_records_are_published_and_taken_away_one_by_one(self, demo, alices, domain):
        assert "Publish these records" in page(alices, domain)
        alices.post(url("demo_publish", domain))
        assert domain.demo_records.count() == 3
        alices.post(url("demo_remove", domain, "dkim2"))
        assert not domain.demo_records.filter(name__startswith="r2.").exists()
        assert domain.demo_records.count() == 2
        assert alices.post(url("demo_remove", domain, "nothing")).status_code == 404

    def test_the_claim_is_published_and_then_the_records_can_be(self, demo, alices, domain):
        theirs = make_domain(make_account(make_user()), "shop.example")
        DemoRecord.objects.create(domain=theirs, name="bounce.shop.example", type="CNAME", value="x.test")
        assert "Another account of the demo" in alices.post(url("demo_publish", domain), follow=True).content.decode()
        alices.post(url("demo_claim", domain))
        alices.post(url("demo_publish", domain))
        assert domain.demo_records.count() == 4
        assert not theirs.demo_records.exists()

    def test_a_stranger_gets_404(self, demo, domain, charlies):
        for name, more in (("demo_publish", []), ("demo_claim", []), ("demo_remove", ["dkim1"])):
            assert charlies.post(url(name, domain, *more)).status_code == 404
