"""No report that got 250 is lost and none counts twice: the server, the worker and Valkey are killed under load."""

import time

import psycopg
import pytest
import redis

from tests.stack import running_stack

EMAILS = 300


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    home = tmp_path_factory.mktemp("bounces-kills") / "var"
    with running_stack(home, RELAY_SIMULATOR_FILES="0") as running:
        yield running


def send(stack, name):
    """Emails that are delivered and bounce at once; returns the id after which they come."""
    since = stack.newest_id()
    sender = f"load@{stack.up['domain']}"
    with stack.client() as client:
        for number in range(EMAILS):
            address = f"late-bounce+{name}{number}@simulator.test"
            client.sendmail(sender, address, f"From: <{sender}>\r\nSubject: load\r\n\r\n{'x' * 1000}\r\n")
    return since


def bounced(stack, since):
    try:
        return stack.statuses(since).get("hard_bounce", 0)
    except psycopg.OperationalError:
        return 0  # It was killed, and comes back.


def every_email_bounces_once(stack, since, seconds=150):
    deadline = time.monotonic() + seconds
    while bounced(stack, since) < EMAILS:
        assert time.monotonic() < deadline, stack.statuses(since)
        time.sleep(0.2)
    lines = stack.sql(
        "SELECT recipient_id, count(*) FROM activity_statusevent"
        " WHERE recipient_id > %s AND status = 'hard_bounce' GROUP BY 1 HAVING count(*) > 1",
        since,
    )
    assert lines == []
    ((waiting,),) = stack.sql("SELECT count(*) FROM activity_inboundreport WHERE understood_at IS NULL")
    assert waiting == 0


def while_reports_come(stack, since):
    """Once some emails have bounced and most have not."""
    deadline = time.monotonic() + 60
    while not bounced(stack, since) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_broker_that_forgets_everything_loses_no_report(stack):
    since = send(stack, "flush")
    while_reports_come(stack, since)
    with redis.Redis.from_url(stack.up["redis_url"]) as client:
        for _ in range(10):
            client.flushall()
            time.sleep(0.1)
    every_email_bounces_once(stack, since)


@pytest.mark.parametrize("name", ["bounces", "worker", "postgres"])
def test_a_program_killed_in_the_middle_loses_no_report_and_counts_none_twice(stack, name):
    since = send(stack, name)
    while_reports_come(stack, since)
    for _ in range(2):
        stack.kill(name)
        time.sleep(1)
    every_email_bounces_once(stack, since)
