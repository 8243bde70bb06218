"""Slices of time: made ahead, dropped when retention is over."""

import datetime as dt

import pytest
from django.db import connection

from activity import slices
from activity.models import Recipient
from tests.factories import make_account, make_email

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2030, 5, 15, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def remove_slices_of_2030():
    yield
    with connection.cursor() as cursor:
        for name in slices._there(cursor):
            if "_203" in name or "_2029" in name:
                cursor.execute(f"DROP TABLE {name}")


def test_slices_are_made_ahead_and_only_once():
    made = slices.ensure(NOW)
    assert made == ["2030w19", "2030w20", "2030w21", "2030w22", "2030w23"]
    assert slices.ensure(NOW) == []


def test_an_id_lies_in_the_slice_of_its_week():
    start = slices.week_of(NOW)
    assert slices.floor_id(start) <= slices.floor_id(NOW) < slices.floor_id(start + slices.WEEK)
    assert slices.time_of(slices.floor_id(NOW)) == NOW


def test_the_turn_of_the_year_has_no_gap():
    december = dt.datetime(2029, 12, 20, tzinfo=dt.UTC)
    slices.ensure(december, weeks_ahead=4)
    account = make_account()
    for days in range(0, 21, 2):
        make_email(account, at=december + dt.timedelta(days=days))
    assert Recipient.objects.count() == 11


def test_retention_drops_whole_weeks_and_nothing_younger():
    slices.ensure(NOW)
    account = make_account()
    old = make_email(account, at=NOW - dt.timedelta(days=8))
    young = make_email(account, at=NOW)
    dropped = slices.drop_expired(days=2, now=NOW)
    assert "2030w19" in dropped
    assert "2030w20" not in dropped
    assert list(Recipient.objects.values_list("id", flat=True)) == [young.id]
    assert old.id != young.id
    slices.ensure()
