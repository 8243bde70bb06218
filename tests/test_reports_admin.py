"""What operators can do with reports: have them understood again, and paste one to see what it would do."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from activity.models import InboundReport, Recipient
from activity.status import Status
from relay.tasks import sweep_reports
from tests.factories import make_user
from tests.test_reports import account, bounces_of, email, keep, return_path_of, status_of  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

BOUNCE = b"""\
From: MAILER-DAEMON@dest.example
Subject: failure notice

<marie@dest.example>: 550 5.1.1 No such <b>user</b>
"""


@pytest.fixture
def operator(client):
    client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
    return client


def test_a_report_that_was_not_understood_can_be_tried_again(operator, email, monkeypatch):  # noqa: F811
    report = keep(BOUNCE, return_path_of(email))
    with monkeypatch.context() as patch:
        patch.setattr("relay.bounces.understanding.read", lambda raw: 1 / 0)
        sweep_reports()
    assert InboundReport.objects.get().kind == "other"
    url = reverse("admin:activity_inboundreport_changelist")
    for _ in range(2):
        operator.post(url, {"action": "again", "_selected_action": [str(report.id)]})
        assert InboundReport.objects.get().understood_at is None
        sweep_reports()
    assert status_of(email) == Status.HARD_BOUNCE
    assert bounces_of(email) == 1


def test_an_operator_finds_and_reads_what_no_rule_knew(operator, email):  # noqa: F811
    letter = keep(b"Subject: Re: Hi\n\n<script>Thanks!</script>\n", return_path_of(email))
    keep(BOUNCE, return_path_of(email))
    sweep_reports()
    waiting = keep(b"x" * 200_000, return_path_of(email))
    url = reverse("admin:activity_inboundreport_changelist")
    for answer, report in (("other", letter), ("waiting", waiting)):
        page = operator.get(url, {"settled": answer}).content.decode()
        links = {each.id for each in InboundReport.objects.all() if f"{each.id}/change/" in page}
        assert links == {report.id}
    page = operator.get(reverse("admin:activity_inboundreport_change", args=[letter.id])).content.decode()
    assert "<pre>Subject: Re: Hi\n\n&lt;script&gt;Thanks!&lt;/script&gt;\n</pre>" in page
    page = operator.get(reverse("admin:activity_inboundreport_change", args=[waiting.id])).content.decode()
    assert "and 100000 bytes more" in page
    assert len(page) < 150_000


def test_the_list_of_reports_does_not_load_them(operator, email):  # noqa: F811
    keep(BOUNCE, return_path_of(email))
    with CaptureQueriesContext(connection) as queries:
        operator.get(reverse("admin:activity_inboundreport_changelist"))
    assert not [query for query in queries if '"raw"' in query["sql"]]


def test_a_pasted_bounce_is_explained_and_changes_nothing(operator, email):  # noqa: F811
    page = operator.post(reverse("explain_report"), {"raw": BOUNCE.decode(), "rcpt_to": return_path_of(email)})
    text = page.content.decode()
    assert "It is: bounce" in text
    for words in ("marie@dest.example", "Hard bounce", "unknown_user", "5.1.1", "No such &lt;b&gt;user&lt;/b&gt;"):
        assert words in text
    assert reverse("admin:activity_recipient_change", args=[email.id]) in text
    assert Recipient.objects.get(id=email.id).status == Status.DELIVERED
    assert not InboundReport.objects.exists()


def test_only_operators_who_may_see_reports_paste_one(client, db):
    url = reverse("explain_report")
    assert client.get(url).status_code == 302
    client.force_login(make_user("staff@example.com", is_staff=True))
    assert client.get(url).status_code == 403


def test_an_empty_page_shows_the_form(operator):
    assert "The whole message" in operator.get(reverse("explain_report")).content.decode()
