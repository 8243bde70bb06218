"""How long reports are kept: as long after they came as emails are, so that they outlive the emails they are about."""

import datetime as dt

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from activity import reports
from activity.models import InboundReport, Recipient
from activity.pool import conninfo
from activity.slices import floor_id
from relay.tasks import drop_expired, sweep_reports
from tests.factories import make_account, make_email
from tests.test_reports import block, dsn, return_path_of

pytestmark = pytest.mark.django_db(transaction=True)


def came(days, number=0, **fields):
    """A report that came so many days ago."""
    key = floor_id(timezone.now() - dt.timedelta(days=days))
    fields = {"rcpt_to": "postmaster@relay.test", "raw": b"x", "understood_at": timezone.now(), **fields}
    return InboundReport.objects.create(id=type(key)(int=key.int + number), **fields)


def kept():
    return set(InboundReport.objects.values_list("id", flat=True))


def test_old_reports_are_deleted_and_young_ones_are_not():
    came(settings.RETENTION_DAYS + 1)
    young = came(settings.RETENTION_DAYS - 1)
    drop_expired()
    assert kept() == {young.id}


def test_what_could_not_be_understood_is_kept_for_an_operator_as_long_and_no_longer():
    came(settings.RETENTION_DAYS + 1, understood_at=None)
    young = came(settings.RETENTION_DAYS - 1, kind="other", conclusion="Other: Thanks!.")
    waiting = came(settings.RETENTION_DAYS - 1, 1, understood_at=None)
    drop_expired()
    assert kept() == {young.id, waiting.id}


def test_more_than_are_deleted_at_once_are_deleted_too(monkeypatch):
    monkeypatch.setattr(reports, "DROPPED_AT_ONCE", 3)
    for number in range(8):
        came(settings.RETENTION_DAYS + 1, number)
    assert reports.drop_expired(settings.RETENTION_DAYS) == 8
    assert kept() == set()


def test_a_report_being_understood_is_left_for_the_next_time():
    old = came(settings.RETENTION_DAYS + 1)
    with psycopg.connect(conninfo()) as other:
        other.execute("SELECT 1 FROM activity_inboundreport WHERE id = %s FOR UPDATE", [old.id])
        assert reports.drop_expired(settings.RETENTION_DAYS) == 0
    assert reports.drop_expired(settings.RETENTION_DAYS) == 1


def test_a_report_stays_readable_when_its_email_is_no_longer_kept(admin_client):
    """An email's slice is dropped; the report that came on its last day is kept a whole period more."""
    email = make_email(make_account(), "marie@dest.example", at=timezone.now() - dt.timedelta(days=1))
    report = came(1, rcpt_to=return_path_of(email), raw=dsn(block()), understood_at=None)
    sweep_reports()
    Recipient.objects.filter(id=email.id).delete()
    drop_expired()
    page = admin_client.get(f"/admin/activity/inboundreport/{report.id}/change/")
    assert page.status_code == 200
    assert "Final-Recipient: rfc822; marie@dest.example" in page.content.decode()
    assert str(email.id) in page.content.decode()
