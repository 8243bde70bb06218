"""A late bounce on the whole product: four lines of history, corrected figures, no second mail, and the way back."""

import smtplib
import time

import pytest

from tests.stack import running_stack
from tests.test_end_to_end import wait_for_history

SENDER = "shop@boutique.test"
ADDRESS = "late-bounce+end@simulator.test"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory.mktemp("late") / "var") as running:
        yield running


def send(stack, address, subject):
    with stack.client() as client:
        client.sendmail(SENDER, address, f"From: {SENDER}\r\nSubject: {subject}\r\n\r\nHello\r\n")


def figures(stack):
    return dict(stack.sql("SELECT status, sum(emails)::int FROM activity_rollup GROUP BY status"))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def test_a_late_bounce_is_told_counted_and_protects_the_sender_until_the_entry_is_removed(stack):
    send(stack, ADDRESS, "First")
    wait_for_history(stack, ADDRESS, "First", ["accepted", "pending", "delivered", "hard_bounce"], seconds=60)
    ((cause, linked),) = stack.sql(
        "SELECT s.cause, r.address FROM activity_suppression s JOIN activity_recipient r ON r.id = s.recipient_id"
        " WHERE s.address = %s",
        ADDRESS,
    )
    assert (cause, linked) == ("hard_bounce", ADDRESS)
    # Beat counts; in the end the figures are what the emails are.
    wait_for(lambda: figures(stack) and figures(stack) == stack.statuses())
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(stack, ADDRESS.replace("late", "LATE"), "Second")
    ((code, text),) = refused.value.recipients.values()
    assert code == 550
    assert b"suppression list" in text
    query = "SELECT status, reason FROM activity_recipient WHERE address ILIKE %s ORDER BY id DESC LIMIT 1"
    wait_for(lambda: stack.sql(query, ADDRESS) == [("rejected", "suppressed")], 10)
    stack.sql("DELETE FROM activity_suppression WHERE address = %s RETURNING id", ADDRESS)
    wait_for(lambda: goes_through(stack), 10)
    wait_for_history(stack, ADDRESS, "Third", ["accepted", "pending", "delivered", "hard_bounce"], seconds=60)


def goes_through(stack):
    try:
        send(stack, ADDRESS, "Third")
    except smtplib.SMTPRecipientsRefused:
        return False
    return True
