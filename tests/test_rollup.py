"""The Dashboard's figures: counted from the emails, corrected when an email bounces later, the same however often."""

import datetime as dt
import threading

import pytest
from django.db import connection
from django.utils import timezone

from activity import rollup
from activity.models import Recipient, Rollup, RollupHour, RollupMark
from activity.outcome import Outcome
from activity.rollup import HOUR, drop_old, hour_of
from activity.status import Status
from tests.factories import make_account, make_email, record_report

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account():
    return make_account()


def figures(account=None):
    """{(hours ago, status): emails}"""
    now = hour_of(timezone.now())
    rows = Rollup.objects.all() if account is None else Rollup.objects.filter(account=account)
    return {(int((now - row.hour) / HOUR), row.status): row.emails for row in rows}


def roll_up(**options):
    """However slow this machine is."""
    return rollup.roll_up(seconds=60, **options)


def ago(hours):
    return hour_of(timezone.now()) - hours * HOUR + dt.timedelta(minutes=5)


def truth():
    counted = {}
    for email in Recipient.objects.all():
        key = (email.account_id, hour_of(email.at), email.status)
        counted[key] = counted.get(key, 0) + 1
    return counted


def kept():
    return {(row.account_id, row.hour, row.status): row.emails for row in Rollup.objects.all()}


def test_emails_are_counted_by_account_hour_and_status(account):
    other = make_account()
    for status in (Status.DELIVERED, Status.DELIVERED, Status.REJECTED):
        make_email(account, status=status, at=ago(30))
    make_email(other, at=ago(30))
    make_email(account, status=Status.PENDING, at=ago(0))
    roll_up()
    assert figures(account) == {(30, "delivered"): 2, (30, "rejected"): 1, (0, "pending"): 1}
    assert figures(other) == {(30, "delivered"): 1}


def test_a_late_bounce_corrects_the_hour_in_which_the_email_was_sent(account):
    email = make_email(account, at=ago(100))
    roll_up()
    assert figures() == {(100, "delivered"): 1}
    record_report(email.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())
    roll_up()
    assert figures() == {(100, "hard_bounce"): 1}
    assert not RollupMark.objects.exists()


def test_a_deferred_email_of_yesterday_is_counted_anew_when_it_is_delivered(account):
    email = make_email(account, status=Status.DEFERRED, at=ago(26))
    roll_up()
    Recipient.objects.filter(id=email.id).update(status=Status.DELIVERED)
    roll_up()
    assert figures() == {(26, "delivered"): 1}


def test_hours_that_are_over_are_left_alone_until_their_daily_turn(account):
    make_email(account, at=ago(30))
    roll_up()
    Rollup.objects.update(emails=7)
    roll_up()
    assert figures() == {(30, "delivered"): 7}
    RollupHour.objects.update(counted_at=timezone.now() - dt.timedelta(days=2))
    roll_up()
    assert figures() == {(30, "delivered"): 1}


def test_nothing_is_missed_after_a_long_pause(account):
    now = timezone.now()
    make_email(account, at=ago(60))
    roll_up(now=now - 55 * HOUR)
    for hours in (50, 20, 3):
        make_email(account, at=ago(hours))
    roll_up()
    assert set(figures()) == {(hours, "delivered") for hours in (60, 50, 20, 3)}


def test_counting_again_changes_nothing_not_even_a_row_version(account):
    make_email(account, at=ago(1))
    roll_up()

    def versions():
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, xmin::text FROM activity_rollup")
            return cursor.fetchall()

    before = versions()
    assert roll_up() >= 2
    assert versions() == before


def test_a_run_that_is_killed_in_the_middle_leaves_nothing_half_done(account, monkeypatch):
    email = make_email(account, at=ago(100))
    roll_up()
    record_report(email.id, Outcome(Status.SOFT_BOUNCE, "mailbox_full"), timezone.now())
    monkeypatch.setattr(rollup, "COUNT", "SELECT 1 / 0 WHERE %(low)s::uuid IS NOT NULL")
    with pytest.raises(Exception, match="division by zero"):
        roll_up()
    monkeypatch.undo()
    assert RollupMark.objects.exists(), "the mark outlives the crash"
    roll_up()
    assert kept() == truth()


def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(account):
    for hours in range(5, 10):
        make_email(account, at=ago(hours))
    assert rollup.roll_up(seconds=0) == 1
    for _ in range(12):
        rollup.roll_up(seconds=0)
    assert kept() == truth()


def test_figures_outlive_the_emails_they_were_counted_from(account):
    email = make_email(account, at=timezone.now() - dt.timedelta(days=5))
    roll_up()
    later = timezone.now() + dt.timedelta(days=60)
    Recipient.objects.filter(id=email.id).delete()
    RollupHour.objects.update(counted_at=timezone.now() - dt.timedelta(days=2))
    roll_up(now=later)
    assert Rollup.objects.get().emails == 1
    drop_old(timezone.now() + dt.timedelta(days=500))
    assert not Rollup.objects.exists()


def test_with_late_bounces_and_runs_at_once_no_figure_is_wrong_in_the_end(account):
    emails = [make_email(account, at=ago(30 + n % 3)) for n in range(60)]
    roll_up()
    errors = []

    def run(step, *values):
        try:
            for value in values or range(10):
                step(value)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def bounce(email):
        record_report(email.id, Outcome(Status.HARD_BOUNCE, "unknown_user"), timezone.now())

    threads = [threading.Thread(target=run, args=(bounce, *emails[n::2])) for n in (0, 1)]
    threads += [threading.Thread(target=run, args=(lambda _: roll_up(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    roll_up()
    assert errors == []
    assert kept() == truth()
    assert {status for _, status in figures()} == {"hard_bounce"}
