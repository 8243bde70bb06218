"""The Dashboard: figures of one account, by the day of its zone on which an email was sent, and late corrections."""

import datetime as dt
import re
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from activity.dashboard import Dashboard, Figures
from activity.models import Rollup
from activity.outcome import Outcome
from activity.rollup import hour_of, roll_up
from activity.status import Status
from tests.factories import make_account, make_email, make_event, make_user, record_report

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return make_account(make_user("alice@example.com"), name="Boutique")


@pytest.fixture
def alices(client, account):
    client.force_login(account.members.get())
    return client


def dashboard(client, **query):
    response = client.get("/dashboard/", query)
    assert response.status_code == 200
    return response.content.decode()


def tiles(html):
    found = re.findall(r'id="tile-(\w+)".*?<b>([\d,]+)</b>', html, re.S)
    return {status: int(count.replace(",", "")) for status, count in found}


def rolled(account, hour, status, emails):
    Rollup.objects.create(account=account, hour=hour_of(hour), status=status, emails=emails)


def test_emails_are_counted_by_status(alices, account):
    for status in (Status.DELIVERED, Status.DELIVERED, Status.SOFT_BOUNCE, Status.REJECTED, Status.PENDING):
        make_email(account, status=status)
    make_email(make_account())
    roll_up()
    found = tiles(dashboard(alices))
    assert found == {
        "delivered": 2,
        "soft_bounce": 1,
        "hard_bounce": 0,
        "deferred": 0,
        "pending": 1,
        "accepted": 0,
        "rejected": 1,
    }


def test_a_late_bounce_corrects_the_figures_of_the_day_the_email_was_sent(alices, account):
    email = make_email(account, at=timezone.now() - dt.timedelta(days=2))
    roll_up(seconds=60)
    assert tiles(dashboard(alices))["delivered"] == 1
    record_report(email.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
    roll_up(seconds=60)
    found = Dashboard(account, {}).by_day
    day = timezone.localdate(email.at, account.tzinfo)
    assert (found[day].delivered, found[day].hard) == (0, 1)
    assert sum(figures.hard for figures in found.values()) == 1


def test_an_hour_counts_to_the_day_of_the_accounts_own_zone(account):
    account.time_zone = "Asia/Tokyo"
    evening = timezone.now().replace(hour=20, minute=0) - dt.timedelta(days=3)
    rolled(account, evening, "delivered", 5)
    found = Dashboard(account, {}).by_day
    assert found[(evening.astimezone(ZoneInfo("Asia/Tokyo"))).date()].delivered == 5
    assert found[evening.date()].delivered == 0


def test_a_period_has_all_its_days_and_nothing_older(account):
    for days in (0, 6, 7, 29, 30):
        noon = dt.datetime.combine(timezone.localdate(timezone=account.tzinfo), dt.time(12), account.tzinfo)
        rolled(account, noon - dt.timedelta(days=days), "delivered", 1)
    week, month = Dashboard(account, {}), Dashboard(account, {"days": "30"})
    assert (len(week.days), week.total.delivered) == (7, 2)
    assert (len(month.days), month.total.delivered) == (30, 4)


@pytest.mark.parametrize("days", ["x", "-1", "99999", "", "7.5"])
def test_a_broken_link_shows_the_last_seven_days(alices, days):
    assert "7 days" in dashboard(alices, days=days)


@pytest.mark.parametrize(
    ("delivered", "hard", "rate"), [(0, 0, None), (1, 0, 100.0), (0, 3, 0.0), (99_999, 1, 99.9), (1, 99_999, 0.1)]
)
def test_a_rate_is_all_or_nothing_only_when_it_is(delivered, hard, rate):
    assert Figures({Status.DELIVERED: delivered, Status.HARD_BOUNCE: hard}).delivery_rate == rate


def test_what_is_under_way_or_rejected_is_no_part_of_a_rate():
    figures = Figures({Status.DELIVERED: 3, Status.SOFT_BOUNCE: 1, Status.DEFERRED: 50, Status.REJECTED: 50})
    assert (figures.delivery_rate, figures.soft_rate, figures.hard_rate) == (75.0, 25.0, 0.0)


def test_every_bar_stays_inside_the_chart(account):
    now = timezone.now()
    for status, emails in (
        ("delivered", 7),
        ("soft_bounce", 2),
        ("hard_bounce", 1),
        ("deferred", 3),
        ("rejected", 900),
    ):
        rolled(account, now, status, emails)
    board = Dashboard(account, {})
    pieces = board.days[-1].segments
    assert [piece.state for piece in pieces] == ["delivered", "pending", "soft_bounce", "hard_bounce"]
    assert sum(piece.height for piece in pieces) == pytest.approx(100, abs=0.01)
    assert min(piece.y for piece in pieces) == pytest.approx(0, abs=0.01)


def test_the_chart_has_no_style_and_a_table_with_the_same_figures(alices, account):
    make_email(account)
    roll_up()
    html = dashboard(alices)
    assert " style=" not in html
    assert re.search(r'<svg class="bars"[^>]*role="img" aria-label="[^"]+"', html)
    assert html.count('<th scope="row">') == 7


def test_the_last_ten_events_are_told_the_latest_first(alices, account):
    for number in range(12):
        make_email(account, f"n{number}@example.org", at=timezone.now() - dt.timedelta(hours=12 - number))
    late = make_email(account, "late@example.org", at=timezone.now() - dt.timedelta(days=3))
    make_event(late, "hard_bounce", "unknown_user")
    events = Dashboard(account, {}).events
    assert len(events) == 10
    assert events[0].email == late
    assert [event.at for event in events] == sorted((event.at for event in events), reverse=True)
    assert "late@example.org" in dashboard(alices)


def test_the_page_refreshes_itself_only_when_something_changed(alices, account):
    make_email(account)
    roll_up()
    seen = Dashboard(account, {}).version
    headers = {"HX-Request": "true", "HX-Target": "figures"}
    assert alices.get("/dashboard/", {"seen": seen}, headers=headers).status_code == 204
    make_email(account, "new@example.org")
    response = alices.get("/dashboard/", {"seen": seen}, headers=headers)
    assert response.status_code == 200
    assert "<html" not in response.content.decode()


def test_a_newcomer_is_shown_the_way(alices):
    html = dashboard(alices)
    assert "No email in these days." in html
    assert 'href="/set-up/"' in html


def test_the_number_of_queries_does_not_grow_with_the_mail(alices, account, django_assert_max_num_queries):
    for _ in range(5):
        make_email(account)
    roll_up()
    with django_assert_max_num_queries(8):
        dashboard(alices, days="30")
