"""The customer's pages, asked for by Django's client. Alice owns, Bob is on her team, Charlie must see nothing."""

import datetime as dt
import re

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from activity.listing import PAGE
from activity.models import Recipient
from activity.outcome import Outcome
from activity.status import Status
from billing.models import Usage, period_of
from domains.models import hash_secret
from domains.samples import first_samples
from tests.factories import (
    make_account,
    make_credential,
    make_domain,
    make_email,
    make_event,
    make_login,
    make_message,
    make_plan,
    make_user,
    record_report,
)

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def alice():
    return make_user("alice@example.com")


@pytest.fixture
def account(alice):
    return make_account(alice, make_user("bob@example.com"), name="Boutique")


@pytest.fixture
def alices(client, alice, account):
    client.force_login(alice)
    return client


@pytest.fixture
def charlies(client):
    charlie = make_user("charlie@example.com")
    make_account(charlie, name="Elsewhere")
    client.force_login(charlie)
    return client


def page(client, name, *args, **query):
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def rows(html):
    return re.findall(r'<tr id="e-([0-9a-f-]{36})"', html)


def every_url(patterns, prefix="", names=()):
    """(path with its converters, full name) of every page that is ours."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from every_url(pattern.url_patterns, prefix + str(pattern.pattern), (*names, pattern.namespace))
        elif isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern), ":".join(filter(None, (*names, pattern.name)))


class TestWhoMaySee:
    OPEN = {"home", "healthz", "account_login", "account_logout", "account_inactive", "billing:switch_theme"}
    # These open for whoever has the link: tests/test_domain_sharing.py.
    OPEN |= {"domains:shared", "domains:shared_check"}

    @pytest.fixture
    def things(self, account):
        email = make_email(account, "secret@example.org")
        return {
            "activity": email.pk,
            "domains": make_domain(account).pk,
            "setup": make_credential(account)[0].pk,
            "billing": account.pk,
        }

    def test_a_stranger_gets_404_at_every_url_that_names_a_thing_of_somebody_else(self, charlies, things):
        seen = 0
        for path, name in every_url(get_resolver().url_patterns):
            if "<" not in path:
                continue
            url = "/" + re.sub(r"<[^>]+>", str(things[name.split(":")[0]]), path)
            answers = {charlies.get(url).status_code, charlies.post(url).status_code}
            assert answers in ({404}, {404, 405}), (url, answers)
            seen += 1
        assert seen >= 6

    def test_a_stranger_sees_nothing_on_pages_that_everybody_has(self, charlies, things, account):
        for name in ("dashboard:show", "activity:list", "suppressions:list", "domains:list", "setup:show"):
            html = page(charlies, name)
            for secret in ("secret@example.org", "boutique.example", account.credentials.get().username, account.name):
                assert secret not in html

    def test_a_stranger_does_not_find_others_mail_by_searching(self, charlies, things):
        assert rows(page(charlies, "activity:list", q="secret@example.org")) == []

    def test_a_team_mate_sees_everything(self, client, account, things):
        client.force_login(account.members.get(email="bob@example.com"))
        assert "secret@example.org" in page(client, "activity:email", things["activity"])
        assert "boutique.example" in page(client, "domains:domain", things["domains"])

    def test_a_visitor_is_sent_to_the_log_in_page(self, client, things):
        for path, name in every_url(get_resolver().url_patterns):
            if name in self.OPEN:
                continue
            url = "/" + re.sub(r"<[^>]+>", str(things.get(name.split(":")[0])), path)
            log_in = ("/log-in/?next=", "/admin/login/?next=") if url.startswith("/admin/") else "/log-in/?next="
            for response in (client.get(url), client.post(url)):
                assert response.status_code == 405 or response.url.startswith(log_in), url

    def test_a_part_of_a_page_sends_a_logged_out_visitor_away_as_a_whole(self, client):
        response = client.get("/activity/", headers={**HTMX, "HX-Current-URL": "http://testserver/activity/?q=x"})
        assert response.headers["HX-Redirect"] == "/log-in/?next=/activity/%3Fq%3Dx"

    def test_a_user_without_an_account_is_told_so(self, client):
        client.force_login(make_user())
        assert client.get("/activity/").status_code == 403

    def test_an_operator_without_an_account_works_in_the_admin(self, client):
        client.force_login(make_user(is_staff=True))
        assert client.get("/activity/").url == "/admin/"

    def test_a_member_of_two_accounts_switches_between_them(self, alices, alice, account):
        other = make_account(alice, name="Second shop")
        make_email(other, "there@example.org")
        assert rows(page(alices, "activity:list")) == []
        alices.post(reverse("billing:switch_account", args=[other.pk]))
        assert "there@example.org" in page(alices, "activity:list")

    def test_nobody_signs_up(self, client):
        assert client.get("/signup/").status_code == 404

    def test_pages_are_kept_by_no_shared_cache(self, alices):
        response = alices.get("/activity/")
        assert "private" in response.headers["Cache-Control"]
        assert "HX-Request" in response.headers["Vary"]

    def test_a_forged_post_is_refused_in_our_style(self, alice, account):
        client = Client(enforce_csrf_checks=True)
        client.force_login(alice)
        response = client.post(reverse("domains:add"), {"name": "example.com"})
        assert response.status_code == 403
        assert "The form was too old" in response.content.decode()


class TestActivityList:
    def test_the_newest_email_comes_first(self, alices, account):
        now = timezone.now()
        older = make_email(account, "older@example.org", at=now - dt.timedelta(hours=1))
        newer = make_email(account, "newer@example.org", at=now)
        assert rows(page(alices, "activity:list")) == [str(newer.id), str(older.id)]

    def test_every_status_has_its_word_and_icon(self, alices, account):
        for status in Status:
            make_email(account, status=status)
        html = page(alices, "activity:list")
        for status in Status:
            assert re.search(rf'class="pill is-{status}"><svg.*?#i-{status}"', html, re.S), status
            assert f"</svg>\n{status.label}</span>" in html or f"{status.label}</span>" in html

    def test_the_reason_stands_under_the_status(self, alices, account):
        make_email(account, status=Status.SOFT_BOUNCE)
        assert "Mailbox full" in page(alices, "activity:list")

    def test_times_are_in_the_accounts_zone(self, alices, account):
        make_email(account, at=timezone.now().replace(hour=15, minute=4, second=5) - dt.timedelta(days=2))
        offset = timezone.localtime(timezone=account.tzinfo).utcoffset()
        local = (dt.datetime(2000, 1, 1, 15, 4, 5) + offset).strftime("%H:%M:%S")
        assert f">{local}</time>" in page(alices, "activity:list")

    def test_older_emails_are_reached_page_by_page_without_gap_or_repetition(self, alices, account):
        message = make_message(account)
        emails = [make_email(account, f"n{n}@example.org", message=message) for n in range(PAGE + 3)]
        first = page(alices, "activity:list")
        older = re.search(r'href="\?(before=[^"]+)" rel="next"', first)[1]
        second = alices.get(f"/activity/?{older}").content.decode()
        assert sorted(rows(first) + rows(second)) == sorted(str(email.id) for email in emails)
        assert "Newest emails" in second
        assert "Older emails" not in second

    def test_a_status_narrows_the_list(self, alices, account):
        make_email(account, status=Status.DELIVERED)
        bounced = make_email(account, status=Status.HARD_BOUNCE)
        assert rows(page(alices, "activity:list", status="hard_bounce")) == [str(bounced.id)]

    @pytest.mark.parametrize(
        "search", ["anne.roy@example.net", "ANNE.ROY@EXAMPLE.NET", "anne", "roy@exam", "example.net", " anne "]
    )
    def test_a_part_of_an_address_finds_it(self, alices, account, search):
        make_email(account, "marie@example.org")
        wanted = make_email(account, "anne.roy@example.net")
        assert rows(page(alices, "activity:list", q=search)) == [str(wanted.id)]

    def test_wildcards_in_a_search_are_ordinary_characters(self, alices, account):
        make_email(account, "anne@example.net")
        wanted = make_email(account, "100%_off@example.net")
        assert rows(page(alices, "activity:list", q="%_")) == [str(wanted.id)]

    def test_a_search_without_result_offers_to_show_all(self, alices, account):
        make_email(account)
        html = page(alices, "activity:list", q="nobody")
        assert "No email matches" in html
        assert "Show all emails" in html

    @pytest.mark.parametrize("query", ["before=x", "status=x", "q=%00", "before=" + "f" * 36, "q=" + "a" * 5000])
    def test_a_broken_link_still_shows_a_list(self, alices, query):
        assert alices.get(f"/activity/?{query}").status_code == 200

    def test_what_strangers_wrote_is_escaped(self, alices, account):
        email = make_email(account, '"<script>x</script>"@example.org', subject="<b>bold</b>", header_from="<i>me</i>")
        for html in (page(alices, "activity:list"), page(alices, "activity:email", email.pk)):
            assert "<script>x" not in html
            assert "<b>bold" not in html
            assert "<i>me" not in html

    def test_the_empty_list_teaches_the_first_send(self, alices, account):
        credential, _ = make_credential(account)
        html = page(alices, "activity:list")
        for word in ("smtplib", "nodemailer", "PHPMailer", "swaks --server", credential.username):
            assert word in html

    def test_emails_older_than_the_plan_shows_are_hidden(self, alices, account):
        account.plan.history_days = 7
        account.plan.save()
        email = make_email(account, at=timezone.now() - dt.timedelta(days=6, hours=23))
        account.plan.history_days = 6
        account.plan.save()
        assert rows(page(alices, "activity:list")) == []
        assert alices.get(reverse("activity:email", args=[email.pk])).status_code == 404

    def test_the_number_of_queries_does_not_grow_with_the_rows(self, alices, account, django_assert_num_queries):
        for _ in range(12):
            make_email(account)
        with django_assert_num_queries(7):  # session, user, accounts, recipients, messages, usage, domains in trouble
            alices.get("/activity/")

    def test_nothing_is_ever_counted(self, alices, account, django_assert_num_queries):
        make_email(account)
        with django_assert_num_queries(6) as queries:
            alices.get("/activity/", headers={**HTMX, "HX-Target": "emails"})
        statements = " ".join(query["sql"] for query in queries.captured_queries)
        assert "COUNT(" not in statements.upper()
        assert " OFFSET " not in statements.upper()


class TestLiveList:
    def poll(self, client, html, **query):
        seen = re.search(r"seen=([0-9a-f]{16})", html)[1]
        return client.get("/activity/", {"seen": seen, **query}, headers={**HTMX, "HX-Target": "emails"})

    def test_nothing_is_sent_while_nothing_changed(self, alices, account):
        make_email(account)
        response = self.poll(alices, page(alices, "activity:list"))
        assert (response.status_code, response.content) == (204, b"")

    def test_a_new_email_arrives_as_rows_without_the_page_around_them(self, alices, account):
        html = page(alices, "activity:list")
        email = make_email(account)
        part = self.poll(alices, html).content.decode()
        assert rows(part) == [str(email.id)]
        assert "<html" not in part
        assert 'id="quota"' in part

    def test_a_changed_status_arrives(self, alices, account):
        email = make_email(account, status=Status.DELIVERED)
        html = page(alices, "activity:list")
        record_report(email.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
        assert "Hard bounce</span>" in self.poll(alices, html).content.decode()

    def test_an_older_page_stays_as_it_is(self, alices, account):
        email = make_email(account)
        assert "hx-trigger" not in page(alices, "activity:list", before=email.id)

    def test_a_chip_swaps_the_search_too(self, alices, account):
        response = alices.get("/activity/?status=pending", headers={**HTMX, "HX-Target": "browse"})
        html = response.content.decode()
        assert 'name="status" value="pending"' in html
        assert "<html" not in html

    def test_going_back_shows_a_whole_page(self, alices):
        headers = {**HTMX, "HX-History-Restore-Request": "true", "HX-Target": "browse"}
        assert "<html" in alices.get("/activity/", headers=headers).content.decode()


class TestOneEmail:
    def test_the_answer_comes_first(self, alices, account):
        email = make_email(account, "anne.roy@example.net", Status.SOFT_BOUNCE)
        html = page(alices, "activity:email", email.pk)
        assert "Not delivered: the mailbox anne.roy@example.net is full." in html
        assert "This status is final" in html
        assert "What you can do:" in html

    @pytest.mark.parametrize("status", list(Status))
    def test_every_status_is_explained(self, alices, account, status):
        html = page(alices, "activity:email", make_email(account, status=status).pk)
        headline, meaning = re.search(r'id="headline">(.+?)</h2>\s*<p>(.+?)</p>', html, re.S).groups()
        assert len(headline) > 20
        assert len(meaning) > 20
        assert "%(" not in headline

    def test_the_history_shows_what_the_server_said_and_where(self, alices, account):
        html = page(alices, "activity:email", make_email(account, "j@example.net", Status.DEFERRED).pk)
        assert "451 4.7.1 Greylisted, try again in 300 seconds" in html
        assert "mx1.example.net [203.0.113.8] · at RCPT TO · TLSv1.3 · attempt 1" in html

    def test_a_deferred_email_names_its_next_attempt_and_when_we_give_up(self, alices, account):
        email = make_email(account, status=Status.DEFERRED)
        html = page(alices, "activity:email", email.pk)
        due = timezone.localtime(email.next_attempt_at, account.tzinfo)
        assert f"Next attempt at <b>{due:%H:%M:%S}</b>" in html
        assert "We give up at" in html

    def test_an_attempt_under_way_is_not_called_the_next_one(self, alices, account):
        email = make_email(account, status=Status.DEFERRED)
        Recipient.objects.filter(pk=email.pk).update(attempt=2)
        html = page(alices, "activity:email", email.pk)
        assert "Attempt 2 is under way now" in html
        assert "Next attempt" not in html

    def test_a_late_bounce_shows_both_lines(self, alices, account):
        email = make_email(account, status=Status.DELIVERED)
        record_report(
            email.id,
            Outcome(Status.HARD_BOUNCE, "unknown_user", text="5.1.1 gone"),
            timezone.now() + dt.timedelta(minutes=5),
        )
        lines = re.findall(r"<h3>([A-Z][a-z ]+)<time", page(alices, "activity:email", email.pk))
        assert lines == ["Hard bounce", "Delivered", "Pending", "Accepted"]

    def test_a_note_that_changes_no_status_is_a_line_too(self, alices, account):
        email = make_email(account)
        make_event(email, "", note="The server may have it already.")
        assert "The server may have it already." in page(alices, "activity:email", email.pk)

    def test_the_other_recipients_of_the_message_are_named(self, alices, account):
        message = make_message(account)
        one, two = (make_email(account, f"{name}@example.org", message=message) for name in ("one", "two"))
        html = page(alices, "activity:email", one.pk)
        assert reverse("activity:email", args=[two.pk]) in html

    def test_it_looks_for_news_until_the_status_is_final(self, alices, account):
        waiting, final = make_email(account, status=Status.PENDING), make_email(account, status=Status.HARD_BOUNCE)
        assert 'hx-trigger="every 1s"' in page(alices, "activity:email", waiting.pk)
        assert "hx-trigger" not in page(alices, "activity:email", final.pk)

    def test_no_news_is_no_content_and_news_is_the_part(self, alices, account):
        email = make_email(account, status=Status.DELIVERED)
        url = reverse("activity:email", args=[email.pk])
        seen = re.search(r"seen=([0-9a-f]{16})", page(alices, "activity:email", email.pk))[1]
        headers = {**HTMX, "HX-Target": "email"}
        assert alices.get(url, {"seen": seen}, headers=headers).status_code == 204
        record_report(email.id, Outcome(Status.SOFT_BOUNCE, "mailbox_full"), timezone.now())
        html = alices.get(url, {"seen": seen}, headers=headers).content.decode()
        assert "Soft bounce" in html
        assert "<html" not in html

    def test_the_number_of_queries_is_bounded(self, alices, account, django_assert_max_num_queries):
        message = make_message(account, credential_id=make_credential(account)[0].pk)
        emails = [make_email(account, f"{n}@example.org", message=message) for n in range(20)]
        with django_assert_max_num_queries(11):
            alices.get(reverse("activity:email", args=[emails[0].pk]))


class TestQuotaBar:
    def test_it_shows_used_limit_and_renewal(self, alices, account):
        Usage.objects.create(account=account, period=period_of(timezone.now()), used=6412)
        html = page(alices, "domains:list")
        assert "<b>6,412</b> of 10,000" in html
        assert "renews 1 " in html

    def test_a_plan_of_nothing_is_no_error(self, alices, account):
        account.plan = make_plan(monthly_quota=0)
        account.save()
        assert "<b>0</b> of 0" in page(alices, "activity:list")


class TestRefusalsWithoutARow:
    def test_their_number_is_told_where_the_others_are_listed(self, alices, account):
        assert "counted but not listed" not in page(alices, "activity:list")
        Usage.objects.create(account=account, period=period_of(timezone.now()), refused_unrecorded=12_345)
        assert "12,345 more refusals this month were counted but not listed" in page(alices, "activity:list")

    def test_those_of_another_month_are_not(self, alices, account):
        Usage.objects.create(account=account, period="2020-01-01", refused_unrecorded=12_345)
        assert "counted but not listed" not in page(alices, "activity:list")


class TestSetUp:
    def test_the_log_of_a_credential_shows_its_newest_log_ins_and_nobody_elses(self, alices, account):
        credential, _ = make_credential(account)
        other, _ = make_credential(account, name="other")
        for number in range(101):
            make_login(credential, f"203.0.113.{number}", "accepted", at=timezone.now() + dt.timedelta(seconds=number))
        make_login(credential, "198.51.100.7", "refused", at=timezone.now() + dt.timedelta(hours=1), count=1_234)
        make_login(other, "192.0.2.55", "refused")
        url = reverse("setup:credential_log", args=[credential.pk])
        assert url in page(alices, "setup:show")
        html = page(alices, "setup:credential_log", credential.pk)
        found = re.findall(r"<code>([\d.]+)</code>", html)
        assert found == ["198.51.100.7", *(f"203.0.113.{number}" for number in range(100, 1, -1))]
        assert "Wrong secret" in html
        assert "1,234" in html
        assert "The newest 100 lines" in html

    def test_the_log_stays_after_a_revocation(self, alices, account):
        credential, _ = make_credential(account, revoked_at=timezone.now())
        assert "Nobody has logged in" in page(alices, "setup:credential_log", credential.pk)

    def test_the_code_names_a_credential_that_logs_in(self, alices, account):
        credential, _ = make_credential(account)
        printer, _ = make_credential(account, name="old-printer", networks=["192.0.2.0/24"])
        code = first_samples(account)[0].code
        assert credential.username in code
        credential.revoke()
        assert printer.username in first_samples(account)[0].code

    def test_a_secret_is_shown_once_and_is_the_right_one(self, alices, account):
        response = alices.post(reverse("setup:make_credential"), {"name": "shop-web", "domain": ""})
        secret = re.search(r'data-copy="([\w-]{43})"', response.content.decode())[1]
        assert bytes(account.credentials.get().secret_sha256) == hash_secret(secret)
        assert "no-store" in response.headers["Cache-Control"]
        assert secret not in page(alices, "setup:show")
        assert secret not in str(dict(alices.session))

    def test_a_reset_makes_another_secret(self, alices, account):
        credential, secret = make_credential(account)
        alices.post(reverse("setup:reset_credential", args=[credential.pk]))
        credential.refresh_from_db()
        assert bytes(credential.secret_sha256) != hash_secret(secret)

    def test_a_revoked_credential_is_gone_for_good(self, alices, account):
        credential, _ = make_credential(account)
        alices.post(reverse("setup:revoke_credential", args=[credential.pk]))
        assert credential.username not in page(alices, "setup:show")
        assert alices.post(reverse("setup:reset_credential", args=[credential.pk])).status_code == 404

    def test_a_credential_is_bound_only_to_a_domain_of_the_account(self, alices, account):
        foreign = make_domain(make_account(make_user()), "foreign.example")
        alices.post(reverse("setup:make_credential"), {"name": "x", "domain": foreign.pk})
        assert not account.credentials.exists()

    def test_without_a_validated_domain_there_is_no_test_email(self, alices, account):
        make_domain(account, validated=False)
        assert alices.post(reverse("test_email"), {"recipient": "a@example.org"}).url == reverse("domains:list")


def test_one_logs_in_while_valkey_is_away(client, settings):
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
    make_account(make_user("alice@example.com", "correct horse battery"))
    response = client.post("/log-in/", {"login": "alice@example.com", "password": "correct horse battery"})
    assert response.url == "/activity/"


class TestTheme:
    def test_the_choice_is_rendered_by_the_server(self, alices):
        alices.post(reverse("billing:switch_theme"), {"theme": "dark"})
        assert 'data-theme="dark"' in page(alices, "activity:list")

    def test_it_leads_back_but_never_to_another_site(self, client):
        there = client.post(
            reverse("billing:switch_theme"), {"theme": "x"}, headers={"Referer": "http://evil.example/"}
        )
        assert there.url == "/"
        assert "theme" not in there.cookies


class TestHealth:
    def test_it_is_well_while_the_database_answers(self, client):
        response = client.get("/healthz")
        assert response.status_code == 200
        assert response.json()["ok"] is True

    def test_it_is_unwell_without_the_database(self, client, monkeypatch):
        monkeypatch.setattr("relay.views.conninfo", lambda: "host=/nowhere dbname=nothing")
        response = client.get("/healthz")
        assert (response.status_code, response.json()["ok"]) == (503, False)

    def test_it_names_a_lost_valkey_but_stays_well(self, client, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        assert client.get("/healthz").json() == {"ok": True, "database": True, "redis": False}


def test_errors_are_in_our_style(client):
    assert "There is no such page" in client.get("/nothing/").content.decode()


def test_no_page_has_a_script_or_style_of_its_own(alices, account):
    make_domain(account)
    email = make_email(account)
    pages = [page(alices, name) for name in ("activity:list", "domains:list", "setup:show")]
    pages.append(page(alices, "activity:email", email.pk))
    for html in pages:
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", html)


def test_the_pages_need_no_migration():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
