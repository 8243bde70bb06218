"""What a report does to its email: the status, the history and the report's own conclusion."""

import datetime as dt
from threading import Thread

import pytest
from django.db import connection
from django.utils import timezone

from activity import reports
from activity.models import InboundReport, Recipient, StatusEvent
from activity.status import Status
from activity.story import Story
from relay import returnpath
from relay.bounces import attribution
from relay.simulator.reports import REPORTS, Report
from relay.tasks import sweep_reports, understand_report
from tests.factories import make_account, make_email, make_message
from tests.test_simulator_reports import received

pytestmark = pytest.mark.django_db(transaction=True)

HOUR_AGO = dt.timedelta(hours=1)
DSN = """\
From: MAILER-DAEMON@mx.dest.example
Subject: Undelivered
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.dest.example

{fields}
--b
Content-Type: text/rfc822-headers

{returned}
--b--
"""


@pytest.fixture
def account():
    return make_account()


@pytest.fixture
def email(account):
    return sent(account)


def sent(account, address="marie@dest.example", status=Status.DELIVERED, **fields):
    return make_email(account, address, status, at=timezone.now() - HOUR_AGO, **fields)


def return_path_of(email):
    return returnpath.make(email.id, "bounce.boutique.example")


def block(
    address="marie@dest.example", action="failed", status="5.1.1", diagnostic="smtp; 550 5.1.1 No such user", more=""
):
    return (
        f"Final-Recipient: rfc822; {address}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: {diagnostic}\n{more}"
    )


def dsn(*blocks, returned="Subject: x"):
    return DSN.format(fields="\n".join(blocks), returned=returned).encode()


def keep(raw, rcpt_to, sender=""):
    return InboundReport.objects.create(mail_from=sender, rcpt_to=rcpt_to, raw=raw)


def understood(raw, rcpt_to):
    report = keep(raw, rcpt_to)
    understand_report(str(report.id))
    report.refresh_from_db()
    return report


def status_of(email):
    return Recipient.objects.get(id=email.id).status


def notes_of(email):
    return list(StatusEvent.objects.filter(recipient_id=email.id, status="").values_list("note", flat=True))


def bounces_of(email):
    return StatusEvent.objects.filter(recipient_id=email.id, status__endswith="bounce").count()


# Bounces.


@pytest.mark.parametrize(
    ("diagnostic", "status", "code", "reason"),
    [
        ("smtp; 550 5.1.1 No such user", Status.HARD_BOUNCE, "5.1.1", "unknown_user"),
        ("smtp; 552 5.2.2 Mailbox full", Status.SOFT_BOUNCE, "5.2.2", "mailbox_full"),
        ("smtp; 554 5.7.1 Blocked by a block list", Status.SOFT_BOUNCE, "5.7.1", "blocked_reputation"),
        ("smtp; 451 4.4.1 Connection timed out", Status.SOFT_BOUNCE, "4.4.1", "network"),
    ],
)
def test_the_table_of_delivery_judges_reports_too(email, diagnostic, status, code, reason):
    understood(dsn(block(status="5.0.0", diagnostic=diagnostic)), return_path_of(email))
    email.refresh_from_db()
    assert (email.status, email.reason) == (status, reason)
    assert StatusEvent.objects.get(recipient_id=email.id, status=status).enhanced == code


def test_a_repeated_report_changes_nothing(email):
    for _ in range(3):
        report = understood(dsn(block()), return_path_of(email))
    assert status_of(email) == Status.HARD_BOUNCE
    assert bounces_of(email) == 1
    assert report.conclusion.endswith("Nothing new: the email had its final word before.")


def test_a_soft_bounce_never_becomes_a_hard_one(email):
    understood(dsn(block(status="5.2.2", diagnostic="smtp; 552 5.2.2 Mailbox full")), return_path_of(email))
    understood(dsn(block()), return_path_of(email))
    assert status_of(email) == Status.SOFT_BOUNCE
    assert bounces_of(email) == 1


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.PENDING, Status.DEFERRED])
def test_a_report_on_an_email_under_way_waits_for_its_attempts_record(account, status):
    email = sent(account, status=status)
    report = understood(dsn(block()), return_path_of(email))
    assert report.understood_at is None
    assert status_of(email) == status
    Recipient.objects.filter(id=email.id).update(status=Status.DELIVERED, next_attempt_at=None)
    sweep_reports()
    report.refresh_from_db()
    assert report.understood_at is not None
    assert status_of(email) == Status.HARD_BOUNCE


def test_reports_that_wait_do_not_keep_the_others_waiting(account, monkeypatch):
    monkeypatch.setattr(reports, "CHUNK", 2)
    for number in range(3):
        keep(dsn(block()), return_path_of(sent(account, f"waits{number}@dest.example", Status.PENDING)))
    emails = [sent(account, f"done{number}@dest.example") for number in range(3)]
    for email in emails:
        keep(dsn(block()), return_path_of(email))
    sweep_reports()
    assert {status_of(email) for email in emails} == {Status.HARD_BOUNCE}
    assert InboundReport.objects.filter(understood_at=None).count() == 3


def test_a_report_that_names_nobody_still_bounces_the_email_of_its_token(email):
    words = b"From: MAILER-DAEMON@dest.example\nSubject: failure notice\n\nSorry, no mailbox here by that name.\n"
    understood(words, return_path_of(email))
    assert status_of(email) == Status.HARD_BOUNCE


# Whose email it is.


def test_a_token_for_one_recipient_changes_only_that_one(account):
    message = make_message(account, timezone.now() - HOUR_AGO)
    marie, bob = (make_email(account, f"{name}@dest.example", message=message) for name in ("marie", "bob"))
    understood(dsn(block("bob@dest.example")), return_path_of(marie))
    assert (status_of(marie), status_of(bob)) == (Status.HARD_BOUNCE, Status.DELIVERED)


def test_of_several_blocks_the_one_that_names_our_recipient_counts(email):
    full = block("MARIE@Dest.Example", status="5.2.2", diagnostic="smtp; 552 5.2.2 Mailbox full")
    understood(dsn(block("bob@dest.example"), full), return_path_of(email))
    assert status_of(email) == Status.SOFT_BOUNCE


def test_a_failure_of_somebody_else_in_a_report_on_a_delay_is_no_bounce_of_ours(email):
    late = block(action="delayed", status="4.4.1", diagnostic="smtp; 451 4.4.1 Later")
    report = understood(dsn(late, block("bob@dest.example")), return_path_of(email))
    assert status_of(email) == Status.DELIVERED
    assert (report.kind, notes_of(email)) == ("delayed", ["delayed"])


def test_a_forwarded_email_bounces_by_its_token_and_its_original_recipient(email):
    forwarded = block("m.tremblay@elsewhere.example", more="Original-Recipient: rfc822;marie@dest.example\n")
    understood(dsn(forwarded), return_path_of(email))
    assert status_of(email) == Status.HARD_BOUNCE


@pytest.mark.parametrize("address", ["postmaster@relay.test", "fbl@relay.test"])
def test_without_a_token_in_the_address_the_returned_message_may_hold_one(email, address):
    returned = f"Return-Path: <{return_path_of(email).upper()}>\nSubject: x"
    report = understood(dsn(block(), returned=returned), address)
    assert report.recipient_id == email.id
    assert status_of(email) == Status.HARD_BOUNCE


def test_two_tokens_in_one_report_are_ambiguous(account, email):
    other = sent(account, "bob@dest.example")
    returned = f"Return-Path: <{return_path_of(email)}>\nX-Other: <{return_path_of(other)}>"
    report = understood(dsn(block(), returned=returned), "postmaster@relay.test")
    assert report.recipient_id is None
    assert {status_of(email), status_of(other)} == {Status.DELIVERED}


def test_our_message_id_finds_the_email_of_a_message_with_one_recipient(email):
    for header in ("Message-ID: <{}@boutique.example>", "Received: by smtp.relay.test with ESMTPSA\n\tid {}; now"):
        report = understood(dsn(block(), returned=header.format(email.message_id)), "postmaster@relay.test")
        assert report.recipient_id == email.id
    assert status_of(email) == Status.HARD_BOUNCE


def test_a_message_id_that_several_recipients_know_proves_nothing_for_any_of_them(account):
    message = make_message(account, timezone.now() - HOUR_AGO)
    marie, bob = (make_email(account, f"{name}@dest.example", message=message) for name in ("marie", "bob"))
    returned = f"Message-ID: <{message.id}@boutique.example>"
    report = understood(dsn(block(), returned=returned), "postmaster@relay.test")
    assert report.recipient_id is None
    assert report.conclusion.endswith("No email was changed.")
    assert {status_of(marie), status_of(bob)} == {Status.DELIVERED}


def test_a_forged_token_in_the_returned_message_is_ignored(email):
    path = return_path_of(email)
    forged = path[:30] + ("a" if path[30] != "a" else "b") + path[31:]
    assert understood(dsn(block(), returned=f"Return-Path: <{forged}>"), "fbl@relay.test").recipient_id is None
    assert status_of(email) == Status.DELIVERED


# Notes: lines of history that change no status.


@pytest.mark.parametrize(("action", "kind"), [("delayed", "delayed"), ("relayed", "relayed"), ("expanded", "relayed")])
def test_delays_and_relays_are_noted_once_and_change_no_status(email, action, kind):
    for _ in range(2):
        report = understood(
            dsn(block(action=action, status="4.4.1", diagnostic="smtp; 451 Later")), return_path_of(email)
        )
        assert report.kind == kind
    assert status_of(email) == Status.DELIVERED
    assert notes_of(email) == [kind]


def simulated(email, kind):
    message = received(sender=return_path_of(email), mailbox=email.address)
    return REPORTS[kind](message, email.address, "mx.simulator.test")


def test_a_complaint_is_a_note_with_its_own_marker(email):
    report = understood(simulated(email, Report.COMPLAINT), return_path_of(email))
    assert report.kind == "complaint"
    assert status_of(email) == Status.DELIVERED
    event = StatusEvent.objects.get(recipient_id=email.id, status="")
    assert (event.note, event.reply) == ("complaint", "Feedback-Type: abuse")


def test_a_complaint_sent_to_the_feedback_loops_address_is_found_by_the_return_path_in_it(email):
    assert understood(simulated(email, Report.COMPLAINT), "fbl@relay.test").recipient_id == email.id
    assert notes_of(email) == ["complaint"]


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_feedback_in_which_no_reader_complains_is_not_noted(email, kind):
    raw = simulated(email, Report.COMPLAINT).replace(b"Feedback-Type: abuse", f"Feedback-Type: {kind}".encode())
    assert understood(raw, return_path_of(email)).kind == "complaint"
    assert notes_of(email) == []


def test_an_automatic_answer_bounces_nobody(email):
    report = understood(simulated(email, Report.VACATION), return_path_of(email))
    assert report.kind == "auto_reply"
    assert status_of(email) == Status.DELIVERED
    assert notes_of(email) == ["auto_reply"]


def test_anything_else_is_kept_for_an_operator(email):
    report = understood(b"From: bob@dest.example\nSubject: Re: Hi\n\nThanks!\n", return_path_of(email))
    assert (report.kind, report.recipient_id) == ("other", email.id)
    assert report.conclusion == "Other: Thanks!. No email was changed."
    assert (status_of(email), notes_of(email)) == (Status.DELIVERED, [])


def test_a_note_for_an_email_that_is_no_longer_kept_is_not_written(email):
    Recipient.objects.filter(id=email.id).delete()
    report = understood(simulated(email, Report.VACATION), return_path_of(email))
    assert report.conclusion.endswith("The email is no longer kept.")
    assert notes_of(email) == []


# One commit: none lost, none twice.


def test_a_report_is_carried_out_once_however_often_its_task_runs(email):
    report = keep(dsn(block()), return_path_of(email))
    for _ in range(2):
        understand_report(str(report.id))
        sweep_reports()
    assert bounces_of(email) == 1


def test_two_workers_with_the_same_reports_do_not_count_any_twice(account):
    emails = [sent(account, f"n{number}@dest.example") for number in range(20)]
    for email in emails:
        keep(dsn(block()), return_path_of(email))
        keep(simulated(email, Report.VACATION), return_path_of(email))

    def work():
        sweep_reports()
        connection.close()

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not InboundReport.objects.filter(understood_at=None).exists()
    assert {bounces_of(email) for email in emails} == {1}
    assert {tuple(notes_of(email)) for email in emails} == {("auto_reply",)}


def test_a_crash_before_the_commit_leaves_the_report_waiting_and_the_email_as_it_was(email, monkeypatch):
    report = keep(dsn(block()), return_path_of(email))
    with monkeypatch.context() as patch:
        patch.setattr(reports, "CONCLUDE", "SELECT 1 / 0, %s, %s, %s, %s, %s")
        understand_report(str(report.id))
    assert (status_of(email), bounces_of(email)) == (Status.DELIVERED, 0)
    sweep_reports()
    assert (status_of(email), bounces_of(email)) == (Status.HARD_BOUNCE, 1)


def test_one_report_that_fails_does_not_keep_the_others_from_being_understood(account, monkeypatch):
    first, second = (sent(account, f"{name}@dest.example") for name in ("a", "b"))
    keep(b"poison", return_path_of(first))
    keep(dsn(block()), return_path_of(second))
    healthy = attribution.Reading
    failing = "relay.bounces.attribution.Reading"
    monkeypatch.setattr(failing, lambda report: 1 / 0 if bytes(report.raw) == b"poison" else healthy(report))
    sweep_reports()
    assert status_of(second) == Status.HARD_BOUNCE


def test_what_the_remote_said_is_cleaned_before_it_is_stored(email):
    words = (
        "smtp; 550 5.1.1 No \x00such \x1b[31muser "
        + "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")
        + "x" * 5000
    )
    report = understood(dsn(block(diagnostic=words)), return_path_of(email))
    email.refresh_from_db()
    assert email.status == Status.HARD_BOUNCE
    assert len(email.reply) <= 1000
    assert "\x00" not in email.reply
    assert "\n" not in report.conclusion


def test_the_history_names_a_note_in_words(email):
    understood(simulated(email, Report.COMPLAINT), return_path_of(email))
    line = next(line for line in Story(Recipient.objects.get(id=email.id)).lines if not line.event.status)
    assert (line.label, line.note, line.reply) == ("Marked as spam by its reader", "", "Feedback-Type: abuse")
