"""The Domains tab in a real browser: a domain's life on the demo, and a page that updates without disturbing."""

import datetime as dt
import re
import time

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from domains import sharing
from domains.models import Domain, DomainEvent
from domains.records import records_of
from tests.dns_world import dns_world
from tests.factories import make_account, make_credential, make_domain, make_user
from tests.stack import running_stack
from tests.test_browser import (  # noqa: F401  (fixtures)
    CHROMIUM,
    account,
    chromium,
    open_page,
    problems_of,
)

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")
in_database = pytest.mark.django_db(transaction=True)

PATIENCE = 60_000  # ms; the machine may be busy
# As settings of the demo: how often a validated domain is looked at, and how long a failing one sends.
CHECK, GRACE = "2s", "12s"


@pytest.fixture
def stack(tmp_path):
    with running_stack(tmp_path / "var", RELAY_DOMAIN_CHECK=CHECK, RELAY_DOMAIN_GRACE=GRACE) as running:
        yield running


@pytest.fixture
def page(stack, chromium):  # noqa: F811
    context = chromium.new_context(base_url=stack.up["web"])
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    opened = context.new_page()
    opened.goto("/domains/")
    opened.get_by_label("Email").fill(stack.up["login"]["email"])
    opened.get_by_label("Password").fill(stack.up["login"]["password"])
    opened.get_by_role("button", name="Log in").click()
    yield opened
    context.close()
    expect.set_options(timeout=5_000)


def send(stack, subject):
    """Without AUTH, as the old printer does; the reply code at RCPT or after it."""
    with stack.client() as client:
        client.ehlo()
        client.mail("news@colibri.test")
        code, _ = client.rcpt("delivered+colibri@simulator.test")
        if code != 250:
            return code
        text = f"From: news@colibri.test\r\nTo: delivered+colibri@simulator.test\r\nSubject: {subject}\r\n\r\nHi\r\n"
        return client.data(text.encode())[0]


def test_a_domain_is_added_validated_sent_for_and_lost_without_a_word_of_dns(stack, page):
    page.get_by_role("textbox", name="Domain").fill("https://Colibri.test/shop")
    page.get_by_role("button", name="Add domain").click()
    expect(page.get_by_role("heading", name="colibri.test", exact=True)).to_be_visible()
    assert send(stack, "Too early") == 550

    # The three marks turn green without a reload and without a click.
    page.get_by_role("button", name="Publish these records").click()
    expect(page.get_by_text("The demo’s DNS has the three records now.")).to_be_visible()
    page.evaluate("window.same = true")
    expect(page.locator("table.records .is-validated")).to_have_count(3)
    expect(page.locator("#records")).to_contain_text("This domain may send.")
    expect(page.locator("#past")).to_contain_text("Validated")
    expect(page.get_by_role("status").first).to_contain_text("colibri.test: Validated")
    assert page.evaluate("window.same") is True

    wait_for_code(stack, "In time", 250)
    page.goto("/activity/?q=colibri")
    expect(page.locator("tr", has_text="In time")).to_contain_text("Delivered")

    # The keys change places.
    page.goto("/domains/")
    page.get_by_role("link", name="colibri.test").click()
    expect(page.locator("#keys")).to_contain_text(re.compile(r"DKIM 1\s*signs your mail"))
    page.get_by_role("button", name="Rotate now").click()
    expect(page.locator("#keys")).to_contain_text(re.compile(r"DKIM 2\s*signs your mail"))

    # A record vanishes: it is warned of everywhere, and still sends, signed with the key that is left.
    page.get_by_role("button", name="Remove DKIM 2").click()
    until = time.monotonic() + 60
    while not stack.sql("SELECT 1 FROM domains_domain WHERE name = 'colibri.test' AND failing_since IS NOT NULL"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert send(stack, "In the grace") == 250
    expect(page.locator("#records")).to_contain_text("Mail still goes out until")
    expect(page.locator("#keys")).to_contain_text(re.compile(r"DKIM 1\s*signs your mail"))
    page.goto("/activity/?q=colibri")
    expect(page.locator(".trouble")).to_contain_text("colibri.test: a DNS record is not right any more.")
    expect(page.locator("tr", has_text="In the grace")).to_contain_text("Delivered")

    # The grace is over.
    page.locator(".trouble").get_by_role("link").click()
    expect(page.locator("#records")).to_contain_text("Mail from this domain is Rejected since")
    wait_for_code(stack, "Too late", 550)
    page.goto("/activity/?q=colibri&status=rejected")
    page.get_by_role("link", name="delivered+colibri@simulator.test").first.click()
    expect(page.locator("#headline")).to_contain_text("the sender's domain is not validated.")
    page.get_by_role("link", name="Open its domain").click()
    expect(page.get_by_role("heading", name="colibri.test", exact=True)).to_be_visible()
    expect(page.locator("#record-dkim2")).to_contain_text("Not found")


def wait_for_code(stack, subject, wanted):
    """Submission remembers for some seconds as what a client may send."""
    deadline = time.monotonic() + 60
    while (code := send(stack, subject)) != wanted:
        assert time.monotonic() < deadline, code
        time.sleep(0.5)


@pytest.fixture
def domain(account):  # noqa: F811
    return make_domain(account, "shop.example", validated=False)


def found(domain, problem="", **states):
    for key, state in states.items():
        domain.found[key] = {"state": state, "found": ["x.example"], "problem": problem, "server": "", "ttl": 0}
    domain.checked_at = timezone.now()
    domain.save()


def path_of(domain):
    return reverse("domains:domain", args=[domain.pk])


@pytest.fixture
def quick(monkeypatch):
    """Rounds of one second, not of four."""
    monkeypatch.setattr("domains.shown.QUICK", 1)


@in_database
@pytest.mark.usefixtures("quick")
class TestUpdatingItself:
    def test_focus_and_what_is_open_survive_and_nothing_jumps(self, open_page, domain):  # noqa: F811
        page = open_page(path_of(domain), viewport={"width": 1280, "height": 600})
        page.locator("#host-wix-name").click()
        page.locator("#dkim1-target").focus()
        before = page.locator("#dkim1-target").bounding_box()
        found(domain, dkim2="validated")
        expect(page.locator("#record-dkim2 .is-validated")).to_be_visible(timeout=20_000)
        expect(page.locator("#host-wix")).to_have_attribute("open", "")
        assert page.evaluate("document.activeElement.id") == "dkim1-target"
        assert abs(page.locator("#dkim1-target").bounding_box()["y"] - before["y"]) < 2

    def test_what_is_being_typed_is_left_alone(self, open_page, domain):  # noqa: F811
        page = open_page(path_of(domain))
        page.get_by_label("Label of the return-path host").fill("mail-b")
        found(domain, dkim2="validated")
        expect(page.locator("#record-dkim2 .is-validated")).to_be_visible(timeout=20_000)
        expect(page.get_by_label("Label of the return-path host")).to_have_value("mail-b")

    def test_it_stops_by_itself(self, open_page, domain):  # noqa: F811
        page = open_page(path_of(domain))
        now = timezone.now()
        domain.validated_at = now
        domain.next_check_at = now + dt.timedelta(days=1)
        found(domain, dkim1="validated", dkim2="validated", bounce="validated")
        expect(page.locator("#records")).to_contain_text("This domain may send.", timeout=20_000)
        assert page.locator("#records").get_attribute("hx-trigger") is None
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2_500)  # longer than a round
        assert asked == []


@in_database
class TestChecking:
    def test_check_now_shows_that_it_works_and_then_what_was_found(self, open_page, domain):  # noqa: F811
        page = open_page(path_of(domain))
        page.route("**/check/", lambda route: (time.sleep(0.5), route.continue_()))
        with dns_world() as world:
            world.publish(domain, dkim2=None)
            page.get_by_role("button", name="Check now").focus()
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Checking…")).to_be_disabled()
            expect(page.locator("table.records .is-validated")).to_have_count(2, timeout=20_000)
        expect(page.locator("#record-dkim2")).to_contain_text("No CNAME record stands at this name.")
        expect(page.get_by_role("button", name="Check now")).to_be_focused()

    def test_the_copy_buttons_give_the_full_the_short_name_and_the_target(self, open_page, domain):  # noqa: F811
        page = open_page(path_of(domain), permissions=["clipboard-read", "clipboard-write"])
        record = records_of(domain)[0]
        for what, text in (
            ("full name", record.name),
            ("short name", "r1._domainkey"),
            ("target", record.target),
        ):
            button = page.get_by_role("button", name=f"Copy the {what} of DKIM 1")
            button.click()
            expect(button).to_contain_text("Copied")
            assert page.evaluate("navigator.clipboard.readText()") == text
        page.locator("#host-zone-name").click()
        lines = page.get_by_role("button", name="Copy the lines for the zone file")
        lines.click()
        expect(lines).to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()").count(" IN CNAME ") == 3

    @pytest.mark.usefixtures("quick")
    def test_the_colleague_watches_by_the_link_without_a_log_in(self, chromium, live_server, domain):  # noqa: F811
        link = sharing.share(domain, "alice@example.com")
        context = chromium.new_context(base_url=live_server.url)
        page = context.new_page()
        page.goto(reverse("domains:shared", args=[sharing.token_of(link)]))
        found(domain, dkim2="validated")
        expect(page.locator("#record-dkim2 .is-validated")).to_be_visible(timeout=20_000)
        with dns_world() as world:
            world.publish(domain)
            page.get_by_role("button", name="Check now").click()
            expect(page.locator("#records")).to_contain_text("This domain may send.", timeout=20_000)
        context.close()


@in_database
class TestWithoutJavaScript:
    def test_a_domain_is_added_checked_and_removed(self, open_page, account):  # noqa: F811
        page = open_page("/domains/", java_script_enabled=False)
        page.get_by_role("textbox", name="Domain").fill("shop.example")
        page.get_by_role("button", name="Add domain").click()
        expect(page.get_by_text("Not checked yet", exact=True)).to_have_count(4)
        with dns_world() as world:
            world.publish(account.domains.get())
            page.get_by_role("button", name="Check now").click()
            expect(page.get_by_text("This domain may send.")).to_be_visible(timeout=20_000)
        page.get_by_role("button", name="Make a link").click()
        expect(page.locator("#share code")).to_contain_text("/domains/shared/")
        page.get_by_role("link", name="Remove…").click()
        page.get_by_role("button", name="Remove shop.example").click()
        expect(page.get_by_text("Add your first domain")).to_be_visible()
        assert not Domain.objects.exists()

    def test_the_colleague_checks_by_the_link(self, chromium, live_server, domain):  # noqa: F811
        link = sharing.share(domain, "alice@example.com")
        context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
        page = context.new_page()
        page.goto(reverse("domains:shared", args=[sharing.token_of(link)]))
        expect(page.get_by_text("Updates by itself")).to_be_hidden()
        with dns_world() as world:
            world.publish(domain)
            page.get_by_role("button", name="Check now").click()
            expect(page.get_by_text("This domain may send.")).to_be_visible(timeout=20_000)
        context.close()


@pytest.fixture
def every_state(account, domain):  # noqa: F811
    """The paths of pages in every state."""
    now = timezone.now()
    fine = {"dkim1": "validated", "dkim2": "validated", "bounce": "validated"}
    broken = make_domain(account, "broken.example", validated=False)
    found(broken, "domain_twice", dkim1="missing", dkim2="wrong", bounce="conflict")
    broken.advice = {"dns_host": "ovh", "dmarc": {"state": "missing", "found": [], "problem": "dmarc_missing"}}
    broken.save()
    failing = make_domain(account, "failing.example", failing_since=now)
    found(failing, **{**fine, "dkim2": "several"})
    stopped = make_domain(account, "stopped.example", validated=False)
    found(stopped, **{**fine, "bounce": "error"})
    DomainEvent.objects.create(domain=stopped, kind=DomainEvent.Kind.UNAUTHENTICATED)
    fine_one = make_domain(account, "fine.example", rotate_at=now + sharing.LIFETIME)
    found(fine_one, **fine)
    make_domain(make_account(make_user()), "taken.example")
    taken = make_domain(account, "taken.example", validated=False)
    found(taken, **{**fine, "dkim1": "spreading"})
    make_credential(account, domain=domain)
    link = sharing.share(domain, "alice@example.com")
    domains = (domain, broken, failing, stopped, fine_one, taken)
    return [
        "/domains/",
        *(path_of(each) for each in domains),
        reverse("domains:shared", args=[sharing.token_of(link)]),
        reverse("domains:remove", args=[domain.pk]),
    ]


@in_database
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_no_page_scrolls_sideways(open_page, every_state, settings, scheme, width):  # noqa: F811
    settings.DEMO = True
    page = open_page(every_state[0], color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    problems = []
    for path in every_state:
        page.goto(path)
        for summary in page.locator("#host-zone-name").all():
            summary.click()
        problems += problems_of(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert problems == []


@in_database
def test_the_keyboard_is_enough(open_page, domain):  # noqa: F811
    page = open_page(path_of(domain))
    page.locator("#check").focus()
    stops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id"))
    wanted = [f"{key}-{part}" for key in ("dkim1", "dkim2", "bounce") for part in ("full", "short", "target")]
    assert [stop for stop in stops if re.fullmatch(r"(dkim\d|bounce)-\w+", stop)] == wanted
    page.locator("#host-wix-name").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#host-wix .inside")).to_be_visible()
