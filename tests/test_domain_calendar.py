"""When a domain is looked at again: often while somebody waits, daily with jitter when all is well, never for ever."""

import datetime as dt

import pytest
from django.utils import timezone

from domains import calendar
from domains.calendar import next_check, next_rotation
from domains.models import Domain

NOW = timezone.now()
DAY = dt.timedelta(days=1)


def wait(**fields):
    return next_check(Domain(**fields), NOW) - NOW


def found(state):
    return {"dkim1": {"state": state}}


def test_a_pending_domain_is_looked_at_with_growing_waits_up_to_some_hours():
    waits = [wait(unchanged_checks=number).total_seconds() for number in range(20)]
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 6 * 3600
    assert waits == sorted(waits)


def test_a_pending_domain_that_nobody_mends_is_looked_at_daily_and_then_left_alone():
    assert wait(unchanged_checks=calendar.TIRED) == DAY
    assert next_check(Domain(unchanged_checks=calendar.GIVEN_UP), NOW) is None


def test_giving_up_takes_months():
    total = sum((wait(unchanged_checks=number) for number in range(calendar.GIVEN_UP)), dt.timedelta())
    assert 60 * DAY < total < 120 * DAY


def test_a_domain_that_was_demoted_after_years_is_looked_at_soon(settings):
    assert wait(created_at=NOW - 1000 * DAY, unchanged_checks=0) == calendar.FIRST


def test_a_validated_domain_is_looked_at_daily_with_jitter():
    waits = [wait(validated_at=NOW, found=found("validated"), unchanged_checks=n) for n in range(300)]
    assert all(0.8 * DAY <= each <= 1.2 * DAY for each in waits)
    assert max(waits) - min(waits) > 0.2 * DAY


@pytest.mark.parametrize("state", ["error", "spreading"])
def test_trouble_is_looked_at_again_soon_but_never_more_seldom_than_daily(state):
    assert wait(validated_at=NOW, found=found(state), unchanged_checks=0) == calendar.TROUBLE
    assert wait(validated_at=NOW, found=found(state), unchanged_checks=1) == 2 * calendar.TROUBLE
    assert wait(validated_at=NOW, found=found(state), unchanged_checks=500) <= 1.2 * DAY


def test_a_failing_domain_is_looked_at_often_and_at_the_end_of_its_grace(settings):
    settings.DOMAIN_GRACE = 72 * 3600
    failing = {"validated_at": NOW, "found": found("missing")}
    assert wait(failing_since=NOW, **failing) == calendar.FAILING
    assert wait(failing_since=NOW - 3 * DAY + dt.timedelta(seconds=20), **failing) == dt.timedelta(seconds=20)


def test_after_the_grace_only_an_answer_is_missing():
    assert wait(validated_at=NOW, failing_since=NOW - 4 * DAY, found=found("error")) == calendar.TROUBLE


def test_with_a_short_grace_and_a_short_pace_all_of_it_is_over_in_seconds(settings):
    settings.DOMAIN_GRACE, settings.DOMAIN_CHECK = 4, 3
    assert wait(validated_at=NOW, found=found("validated")) < dt.timedelta(seconds=4)
    assert wait(validated_at=NOW, failing_since=NOW, found=found("missing")) == dt.timedelta(seconds=4)


def test_domains_that_were_added_together_do_not_change_their_keys_together(settings):
    ages = [(next_rotation(NOW) - NOW).total_seconds() / settings.KEY_AGE for _ in range(300)]
    assert all(0.8 <= age <= 1 for age in ages)
    assert max(ages) - min(ages) > 0.1
