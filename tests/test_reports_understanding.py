"""Understanding: from the bytes of a report to what it says, form by form."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from activity.status import Status
from relay.bounces import dsn
from relay.bounces.understanding import understand

HARD, SOFT, LATE = Status.HARD_BOUNCE, Status.SOFT_BOUNCE, Status.DEFERRED
RETURNED = """\
Received: from shop.test by mx.test; Thu, 29 Apr 2010 23:34:45 +0900
From: sender@shop.test
To: someone-else@dest.test
Subject: Hello
Message-ID: <1@shop.test>

Hello
"""


def mail(author, subject, text, more=""):
    return f"From: {author}\nTo: sender@shop.test\nSubject: {subject}\n{more}\n{text}\n{RETURNED}".encode()


def in_short(report):
    return [(said.address, said.outcome, said.reason) for said in report.recipients]


def status_report(*blocks, text="Sorry.", kind="message/delivery-status"):
    body = "\n\n".join(("Reporting-MTA: dns; mx.test", *blocks))
    return mail(
        "MAILER-DAEMON@mx.test",
        "Undelivered",
        f"--b\n\n{text}\n--b\nContent-Type: {kind}\n\n{body}\n--b\nContent-Type: text/rfc822-headers\n\n",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
    )


FAILED = "Final-Recipient: rfc822; kit@dest.test\nAction: failed\nStatus: {}\nDiagnostic-Code: {}"

# RFC 3464.


@pytest.mark.parametrize(
    ("status", "diagnostic", "expected"),
    [
        ("5.1.1", "smtp; 550 5.1.1 No such user", (HARD, "unknown_user")),
        ("5.1.1", "", (HARD, "unknown_user")),
        ("5.0.0", "smtp; 550 5.1.1 No such user", (HARD, "unknown_user")),
        ("5.1.1", "smtp; 552 5.2.2 Mailbox full", (SOFT, "mailbox_full")),
        ("4.4.7", "smtp; 451 4.4.1 Connection timed out", (SOFT, "network")),
        ("5.4.4 (Illegal host/domain name found)", "", (HARD, "domain_not_found")),
        ("5.0.0", 'X-Postfix; unknown user: "kit"', (HARD, "unknown_user")),
        ("5.0.0", "X-Notes; User kit (kit@dest.test) not listed in Domino Directory", (HARD, "unknown_user")),
        ("nonsense", "", (SOFT, "other")),
    ],
)
def test_the_diagnostic_is_believed_before_the_status(status, diagnostic, expected):
    report = understand(status_report(FAILED.format(status, diagnostic)))
    assert in_short(report) == [("kit@dest.test", *expected)]


def test_the_words_for_people_explain_what_the_fields_leave_open():
    block = "Final-Recipient: rfc822; kit@dest.test\nAction: failed\nStatus: 5.0.0"
    report = understand(status_report(block, text="<kit@dest.test>: user unknown\n"))
    assert in_short(report) == [("kit@dest.test", HARD, "unknown_user")]


def test_every_recipient_block_is_read():
    other = "Final-Recipient: rfc822; ann@dest.test\nAction: delayed\nStatus: 4.4.1\nDiagnostic-Code: smtp; 451 Later"
    third = "Final-Recipient: rfc822; bob@dest.test\nAction: delivered\nStatus: 2.0.0"
    report = understand(status_report(FAILED.format("5.1.1", "smtp; 550 5.1.1 No"), other, third))
    assert report.kind == "bounce"
    assert [(said.address[:3], said.outcome) for said in report.recipients] == [
        ("kit", HARD),
        ("ann", LATE),
        ("bob", Status.DELIVERED),
    ]


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        *[("failed", "bounce"), ("Failed (permanently)", "bounce"), ("error", "bounce"), ("delayed", "delayed")],
        *[("relayed", "relayed"), ("expanded", "relayed"), ("delivered", "relayed"), ("", "bounce")],
    ],
)
def test_the_action_says_what_a_report_is(action, kind):
    block = f"Final-Recipient: rfc822; kit@dest.test\nAction: {action}\nStatus: 5.1.1"
    assert understand(status_report(block)).kind == kind


@pytest.mark.parametrize(("status", "kind"), [("5.1.1", "bounce"), ("4.4.1", "delayed"), ("2.0.0", "relayed")])
def test_without_an_action_the_class_of_the_status_counts(status, kind):
    assert understand(status_report(f"Final-Recipient: rfc822; kit@dest.test\nStatus: {status}")).kind == kind


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; kit@dest.test", "kit@dest.test"),
        ("RFC822;<kit@dest.test>", "kit@dest.test"),
        ("kit@dest.test", "kit@dest.test"),
        ("<kit@dest.test>", "kit@dest.test"),
        ("rfc822; kit+40dest.test", "kit@dest.test"),
        ("rfc822; kit+news@dest.test", "kit+news@dest.test"),
        ('rfc822; "kit cat"@dest.test', '"kit cat"@dest.test'),
        (r"utf-8; k\x{EF}t@dest.test", "kït@dest.test"),
        ("utf-8; kït@dest.test", "kït@dest.test"),
        (r"utf-8; \x{D800}\x{FFFFFF}@dest.test", "\ufffd\ufffd@dest.test"),
        ("rfc822; kit@[192.0.2.1]", "kit@[192.0.2.1]"),
        ("rfc822; Kit Cat (kit@dest.test)", "kit@dest.test"),
        ("rfc822; ki...@dest.test", ""),
        ("x400; /c=de/o=nobody", ""),
        ("", ""),
    ],
)
def test_addresses_are_read_in_every_form(value, address):
    assert dsn.address_in(value) == address


def test_a_forwarded_address_keeps_the_one_we_sent_to():
    block = f"Original-Recipient: rfc822;kit@dest.test\n{FAILED.format('5.1.1', '').replace('kit@', 'k.cat@')}"
    said = understand(status_report(block)).recipients[0]
    assert (said.address, said.final) == ("kit@dest.test", "k.cat@dest.test")


@pytest.mark.parametrize("gap", ["\n\n\n", "\n \n", "\n"])
def test_blocks_with_too_many_empty_lines_or_none_are_told_apart(gap):
    fields = FAILED.format("5.1.1", "smtp; 550 No").split("\n")
    broken = gap.join(fields) + "\n" + FAILED.format("5.2.2", "smtp; 552 5.2.2 Full").replace("kit@", "ann@")
    assert in_short(understand(status_report(broken)))[1] == ("ann@dest.test", SOFT, "mailbox_full")


def test_an_international_report_is_one_too():
    block = "Final-Recipient: utf-8; kït@dest.test\nAction: failed\nStatus: 5.1.1"
    assert in_short(understand(status_report(block, kind="message/global-delivery-status")))[0][0] == "kït@dest.test"


def test_a_boundary_that_a_gateway_changed_in_one_place_is_guessed():
    raw = status_report(FAILED.format("5.1.1", "")).replace(b"boundary=b", b"boundary=other")
    raw = raw.replace(b"--b\n\nSorry", b"--b\nContent-Type: text/plain\n\nSorry")
    assert in_short(understand(raw)) == [("kit@dest.test", HARD, "unknown_user")]


# Bounces in words. Each form as its software writes it.

DAEMON = "MAILER-DAEMON@mx.test"
# One file for each software; what it returns of the message is added here.
FORMS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "reports").glob("*.txt"))}


def form(name):
    return f"{FORMS[name]}{'' if 'html' in name else RETURNED}".encode()


@pytest.mark.parametrize("name", FORMS)
def test_a_bounce_in_words_is_understood(name):
    report = understand(form(name))
    assert report.kind == "bounce"
    assert in_short(report) == [("kit@dest.test", HARD, "unknown_user")]


def test_several_addresses_in_words_keep_their_own_replies():
    both = "<kit@dest.test>:\n550 5.1.1 no such user\n\n<ann@dest.test>:\n552 5.2.2 mailbox full\n"
    report = understand(mail(DAEMON, "failure notice", f"I wasn't able to deliver it.\n\n{both}\n--- Your message:\n"))
    assert in_short(report) == [("kit@dest.test", HARD, "unknown_user"), ("ann@dest.test", SOFT, "mailbox_full")]


def test_a_warning_is_a_delay():
    text = "THIS IS A WARNING ONLY.\n\n<kit@dest.test>: connection timed out\n\nIt will be retried for 5 days.\n"
    report = understand(mail(DAEMON, "Delayed Mail (still being retried)", text))
    assert (report.kind, report.recipients[0].address, report.recipients[0].outcome) == (
        "delayed",
        "kit@dest.test",
        LATE,
    )


def test_a_bounce_in_a_bounce_that_names_nobody_is_read():
    outer = f"From: {DAEMON}\nSubject: failure notice\n\nIt could not be delivered.\n\n----- Original message -----\n"
    assert in_short(understand(outer.encode() + form("qmail"))) == [("kit@dest.test", HARD, "unknown_user")]


# No bounces.


@pytest.mark.parametrize(
    ("author", "subject", "text", "more"),
    [
        ("Kit <kit@dest.test>", "Automatic reply: Hello", "My mailbox is full of mail, I could not be reached.", ""),
        ("Kit <kit@dest.test>", "Out of the office", "550 5.1.1 user unknown", ""),
        ("Kit <kit@dest.test>", "Re: Hello", "I am away.", "Auto-Submitted: auto-replied\n"),
        ("Kit <kit@dest.test>", "Abwesenheitsnotiz: Hallo", "Ich bin nicht da.", ""),
        ("Kit <kit@dest.test>", "Re: Hello", "Ich bin im Urlaub.", "X-Autoreply: yes\n"),
        ("kit@dest.test", "Please confirm your message", "Click the link to have your message delivered.", ""),
        ("a@spamarrest.test", "Re: Hello (verification)", "Please verify that you are human, kit@dest.test", ""),
    ],
)
def test_automatic_answers_and_challenges_bounce_nobody(author, subject, text, more):
    report = understand(mail(author, subject, text, more))
    assert (report.kind, report.recipients) == ("auto_reply", ())


@pytest.mark.parametrize(
    ("author", "subject", "text"),
    [
        ("Kit <kit@dest.test>", "Re: Hello", "This address is no longer in use. Write to ann@dest.test instead."),
        (
            "Kit <kit@dest.test>",
            "Re: failure notice",
            "> <ann@dest.test>: 550 5.1.1 user unknown\n\nWhat does that mean?",
        ),
        ("Postmaster <postmaster@dest.test>", "Our new rules", "From Monday on we count on you."),
        ("News <news@dest.test>", "Offers of the week", "Deliver joy to your recipients!"),
    ],
)
def test_letters_bounce_nobody(author, subject, text):
    assert understand(mail(author, subject, text)).kind == "other"


# Complaints.

ARF = """\
--b

This is an abuse report.
--b
Content-Type: message/feedback-report

Feedback-Type: {}
Version: 1
{}
--b
Content-Type: message/rfc822

"""


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ("Original-Rcpt-To: <kit@dest.test>\n", "kit@dest.test"),
        ("Removal-Recipient: kit@dest.test\n", "kit@dest.test"),
        ("", "someone-else@dest.test"),
    ],
)
def test_a_feedback_report_is_a_complaint(fields, address):
    more = "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n"
    report = understand(mail("fbl@isp.test", "complaint", ARF.format("abuse", fields), more))
    assert (report.kind, in_short(report)) == ("complaint", [(address, Status.DELIVERED, "abuse")])


def test_amazons_notifications_are_understood():
    who = {"emailAddress": "kit@dest.test"}
    bounced = {**who, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
    bounce = {"notificationType": "Bounce", "bounce": {"bouncedRecipients": [bounced]}}
    complaint = {"notificationType": "Complaint", "complaint": {"complainedRecipients": [who]}}
    reports = [understand(f"From: a@sns.test\n\n{json.dumps(said)}\n".encode()) for said in (bounce, complaint)]
    assert [in_short(report) for report in reports] == [
        [("kit@dest.test", HARD, "unknown_user")],
        [("kit@dest.test", Status.DELIVERED, "abuse")],
    ]


# What finds the email.


def test_return_paths_and_ids_of_ours_are_found_wherever_they_stand():
    token = "b+" + "a2" * 21
    key = "0190a1b2-c3d4-7e5f-8a9b-0123456789ab"
    header = (
        f"Return-Path: <{token.upper()}@bounce.shop.test>\nReceived: by smtp.relay.test with ESMTPS\n\tid {key}; now\n"
    )
    report = understand(f"From: x@y.test\n\n{header}Message-ID: <{key}@shop.test>\n".encode())
    assert report.return_paths == (f"{token.upper()}@bounce.shop.test",)
    assert [str(found) for found in report.message_ids] == [key]


# explain_report.


def explained(*arguments):
    out = StringIO()
    call_command("explain_report", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_explain_report_prints_json_lines(tmp_path):
    path = tmp_path / "report.eml"
    path.write_bytes(form("qmail"))
    lines = explained("--json", str(path), str(path))
    assert len(lines) == 2
    assert json.loads(lines[0]) == {
        "file": str(path),
        "kind": "bounce",
        "recipients": [
            {
                "address": "kit@dest.test",
                "outcome": "hard_bounce",
                "reason": "unknown_user",
                "status": "5.1.1",
                "diagnostic": "192.0.2.1 does not like recipient. Remote host said: 550 5.1.1 no such user "
                "Giving up on 192.0.2.1.",
            }
        ],
    }


def test_explain_report_speaks_to_people_too(tmp_path):
    path = tmp_path / "report.eml"
    path.write_bytes(mail(DAEMON, "failure notice", "It could not be delivered: mailbox full."))
    assert explained(str(path))[0] == f"{path}: bounce"
    with pytest.raises(CommandError, match="No such file"):
        explained(str(tmp_path / "missing"))
