"""The pages in a real browser: what each is for, live updates, accessibility, and nothing that the CSP forbids."""

import os
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from activity.models import Recipient
from activity.outcome import Outcome
from activity.rollup import roll_up
from activity.status import Status
from activity.suppress import Cause, suppress, unsuppress
from billing.models import Usage, period_of
from tests.factories import (
    make_account,
    make_credential,
    make_domain,
    make_email,
    make_event,
    make_login,
    make_message,
    make_user,
    record_report,
)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def chromium():
    # Playwright's own loop would make Django refuse every query of this thread.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def account():
    return make_account(make_user("alice@example.com", PASSWORD), name="Boutique")


def cookie_of(user, url):
    """A session as the log-in page would have made it, without typing."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return {"name": django_settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": url}


@pytest.fixture
def open_page(chromium, live_server, account):
    """Makes pages of a browser in which Alice is logged in; whatever the console complains about fails the test."""
    contexts, complaints = [], []

    def opened(path, *, user=None, **options):
        context = chromium.new_context(base_url=live_server.url, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        context.add_cookies([cookie_of(user or account.members.get(), live_server.url)])
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def email_url(email):
    return reverse("activity:email", args=[email.pk])


class TestLogIn:
    def test_one_logs_in_and_out(self, chromium, live_server, account):
        page = chromium.new_page(base_url=live_server.url)
        page.goto("/activity/")
        page.get_by_label("Email").fill("alice@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Activity")).to_be_visible()
        page.locator(".bar summary").click()
        page.get_by_role("button", name="Log out").click()
        page.goto("/activity/")
        assert "/log-in/" in page.url
        page.context.close()


class TestLive:
    def test_a_new_email_and_its_delivery_appear_without_a_reload(self, open_page, account):
        page = open_page("/activity/")
        page.evaluate("window.same = true")
        email = make_email(account, "marie@example.org", Status.PENDING)
        row = page.locator(f"#e-{email.pk}")
        expect(row).to_contain_text("Pending")
        Recipient.objects.filter(pk=email.pk).update(status=Status.DELIVERED)
        expect(row).to_contain_text("Delivered")
        assert page.evaluate("window.same") is True

    def test_an_email_is_watched_until_it_is_delivered_and_bounces_later(self, open_page, account):
        email = make_email(account, status=Status.PENDING)
        page = open_page(email_url(email))
        Recipient.objects.filter(pk=email.pk).update(status=Status.DELIVERED, next_attempt_at=None)
        make_event(email, "delivered", code=250, reply="OK queued as 4XyZ12")
        expect(page.locator("#headline")).to_contain_text("Delivered to marie.tremblay@example.org.")
        expect(page.get_by_role("status")).to_have_text("Delivered to marie.tremblay@example.org.")
        expect(page.locator(".story")).to_contain_text("250 OK queued as 4XyZ12")

    def test_focus_stays_on_the_row_when_rows_arrive(self, open_page, account):
        first = make_email(account, "first@example.org")
        page = open_page("/activity/")
        page.locator(f"#a-{first.pk}").focus()
        second = make_email(account, "second@example.org")
        expect(page.locator(f"#e-{second.pk}")).to_be_visible()
        assert page.evaluate("document.activeElement.id") == f"a-{first.pk}"

    def test_who_marks_text_is_not_disturbed(self, open_page, account):
        email = make_email(account, status=Status.DELIVERED, subject="Mark me")
        page = open_page("/activity/")
        page.get_by_text("Mark me").select_text()
        record_report(email.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
        page.wait_for_timeout(2500)  # longer than a round of the poll, which must not happen
        assert page.evaluate("getSelection().toString()").strip() == "Mark me"
        page.evaluate("getSelection().removeAllRanges()")
        expect(page.locator(f"#e-{email.pk}")).to_contain_text("Hard bounce")

    def test_who_has_scrolled_keeps_the_row_they_read(self, open_page, account):
        message = make_message(account)
        for n in range(40):
            make_email(account, f"n{n}@example.org", message=message)
        page = open_page("/activity/", viewport={"width": 1280, "height": 500})
        row = page.locator(f"#{page.locator('tr[id]').nth(20).get_attribute('id')}")
        row.scroll_into_view_if_needed()
        before = row.bounding_box()["y"]
        new = make_email(account, "new@example.org")
        page.locator(f"#e-{new.pk}").wait_for(state="attached")
        assert abs(row.bounding_box()["y"] - before) < 2


class TestFinding:
    def test_a_chip_and_a_search_narrow_the_list_and_the_back_button_undoes_it(self, open_page, account):
        make_email(account, "marie@example.org", Status.DELIVERED)
        make_email(account, "anne@example.net", Status.HARD_BOUNCE)
        page = open_page("/activity/")
        page.get_by_role("link", name="Hard bounce").click()
        expect(page.locator("tr[id]")).to_have_count(1)
        assert page.url.endswith("?status=hard_bounce")
        page.get_by_label("Search by recipient address").fill("nobody")
        page.keyboard.press("Enter")
        expect(page.locator("#emails")).to_contain_text("No email matches.")
        page.evaluate("history.back()")
        expect(page.locator("tr[id]")).to_have_count(1)
        page.evaluate("history.back()")
        expect(page.locator("tr[id]")).to_have_count(2)

    def test_the_keyboard_is_enough(self, open_page, account):
        email = make_email(account)
        page = open_page("/activity/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.locator(f"#a-{email.pk}").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="History")).to_be_visible()


class TestWithoutJavaScript:
    def test_list_filter_and_detail_work(self, open_page, account):
        make_email(account, "marie@example.org")
        make_email(account, "anne@example.net", Status.SOFT_BOUNCE)
        page = open_page("/activity/", java_script_enabled=False)
        page.get_by_role("link", name="Soft bounce").click()
        page.get_by_label("Search by recipient address").fill("anne")
        page.get_by_role("button", name="Search").click()
        assert "status=soft_bounce" in page.url
        page.get_by_role("link", name="anne@example.net").click()
        expect(page.get_by_text("Not delivered: the mailbox anne@example.net is full.")).to_be_visible()
        expect(page.locator(".copy").first).to_be_hidden()

    def test_a_credential_is_made(self, open_page, account):
        page = open_page("/set-up/", java_script_enabled=False)
        page.get_by_label("Which software uses it").fill("shop-web")
        page.get_by_role("button", name="Make a credential").click()
        expect(page.get_by_text("shown only this once")).to_be_visible()


class TestSettingUp:
    def test_a_secret_is_copied_by_its_button(self, open_page, account):
        page = open_page("/set-up/", permissions=["clipboard-read", "clipboard-write"])
        page.get_by_label("Which software uses it").fill("shop-web")
        page.get_by_role("button", name="Make a credential").click()
        page.get_by_role("button", name="Copy the password").click()
        expect(page.get_by_text("Copied")).to_be_visible()
        secret = page.evaluate("navigator.clipboard.readText()")
        assert re.fullmatch(r"[\w-]{43}", secret)
        assert secret in page.locator("#sample-python").text_content()

    def test_a_test_email_leads_to_its_page(self, open_page, account):
        make_domain(account)
        page = open_page("/set-up/")
        page.get_by_label("Send it to").fill("delivered@simulator.test")
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.locator("#headline")).to_contain_text("Accepted: on its way to delivered@simulator.test.")

    def test_the_theme_is_chosen_and_kept(self, open_page, account):
        page = open_page("/domains/")
        page.locator(".bar summary").click()
        page.get_by_role("button", name="Dark").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.url.endswith("/domains/")


@pytest.fixture
def furnished(account):
    """Every state that a page can show; the paths of all pages."""
    domain = make_domain(account)
    broken = make_domain(account, "news.example", validated=False, checked_at=timezone.now())
    broken.found = {
        "dkim1": {"state": "missing", "found": []},
        "dkim2": {"state": "wrong", "found": ["x.example"], "problem": "other_target"},
        "bounce": {"state": "error", "problem": "time-out"},
    }
    broken.save()
    credential, _ = make_credential(account)
    make_login(credential, "203.0.113.20", "refused", count=1_234)
    Usage.objects.create(account=account, period=period_of(timezone.now()), refused_unrecorded=12_345)
    message = make_message(account, tag="receipt", metadata={"order": "48213"})
    emails = [make_email(account, f"{status}@example.org", status, message=message) for status in Status]
    suppress(account.id, "hard_bounce@example.org", Cause.HARD_BOUNCE, emails[-1].id)
    suppress(account.id, "marie@example.org", Cause.MANUAL)
    unsuppress(account, account.suppressions.filter(cause="manual").values_list("id", flat=True), None, "she asked")
    roll_up()
    pages = ["/dashboard/", "/dashboard/?days=30", "/suppressions/", "/suppressions/?q=nobody"]
    pages += ["/activity/", "/activity/?q=nobody", "/domains/", "/set-up/", "/password/", "/log-out/"]
    pages.append(reverse("setup:credential_log", args=[credential.pk]))
    pages += [reverse("domains:domain", args=[each.pk]) for each in (domain, broken)]
    return pages + [email_url(email) for email in emails]


def problems_of(page):
    """What axe finds once nothing moves any more, short enough to read."""
    found = Axe().run(page).response["violations"]
    return [(page.url, each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_no_page_scrolls_sideways(open_page, furnished, scheme, width):
    page = open_page(furnished[0], color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    problems = []
    for path in furnished:
        page.goto(path)
        if summaries := page.locator(".bar summary").all():
            summaries[0].click()
        problems += problems_of(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_for_visitors_and_newcomers(open_page, chromium, live_server, account, scheme):
    page = open_page("/activity/", color_scheme=scheme, bypass_csp=True)
    problems = problems_of(page)
    page.context.clear_cookies()
    page.goto("/log-in/")
    assert problems + problems_of(page) == []


def test_operators_pages_break_no_rule_of_the_csp(open_page, account, furnished):
    operator = make_user("operator@example.com", is_staff=True, is_superuser=True)
    page = open_page("/admin/", user=operator)
    for path in ("billing/account/", f"billing/account/{account.pk}/change/", "activity/recipient/"):
        page.goto(f"/admin/{path}")
        expect(page.locator("#content")).to_be_visible()


def test_the_operators_page_of_lanes_fits_on_a_phone(open_page, account):
    email = make_email(account, f"x@{'long-' * 10}name.example", Status.DEFERRED)
    Recipient.objects.filter(pk=email.pk).update(next_attempt_at=timezone.now())
    operator = make_user("operator@example.com", is_staff=True, is_superuser=True)
    page = open_page("/admin/lanes/", user=operator, viewport={"width": 390, "height": 800})
    expect(page.get_by_role("button", name="Pause")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
