"""Accept: group commit, quota, and what is refused or repaired on the way in."""

import asyncio
import datetime as dt

import pytest
from django.db import connection

from activity import rows, slices
from activity.accept import GroupCommit, Unavailable
from activity.arrival import Arrival, Refusal, destination_of, recipient_id_for
from activity.models import Message, MessageContent, Recipient, StatusEvent
from activity.pool import open_pool
from billing.models import Usage
from tests.factories import make_account, make_plan

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = {
    "int8": "bigint",
    "int4": "integer",
    "int2": "smallint",
    "bool": "boolean",
    "timestamptz": "timestamp with time zone",
}
BODY = b"From: shop@boutique.example\r\n\r\nHello\r\n"


def arrival(account, *recipients, **fields):
    values = {"mail_from": "shop@boutique.example", "subject": "Hello", "size": len(BODY), **fields}
    values.setdefault("read_body", lambda: BODY)
    return Arrival(account.id, None, None, values.pop("mail_from"), list(recipients), **values)


def accept_all(*arrivals):
    """The verdict, or the exception, of each; all handed over at once."""

    async def run():
        pool = await open_pool(2, "test")
        committer = GroupCommit(pool)
        try:
            return await asyncio.gather(*(committer.accept(each) for each in arrivals), return_exceptions=True)
        finally:
            await committer.close()
            await pool.close()

    return asyncio.run(run())


def test_the_columns_of_copy_are_those_of_the_models():
    for model in (Message, MessageContent, Recipient, StatusEvent):
        expected = {field.column: field.db_type(connection).split("(")[0] for field in model._meta.fields}
        given = {name: NAMES.get(kind, kind) for name, kind in rows.COLUMNS[model._meta.db_table]}
        assert given == expected


def test_an_accepted_message_has_its_bytes_its_recipients_and_their_first_line_of_history():
    account = make_account()
    assert accept_all(arrival(account, "a@one.example", "b@Two.example")) == [None]
    message = Message.objects.get()
    assert bytes(MessageContent.objects.get(id=message.id).body) == BODY
    emails = {email.address: email for email in Recipient.objects.all()}
    assert {email.domain for email in emails.values()} == {"one.example", "two.example"}
    assert all(email.status == "accepted" and email.next_attempt_at and email.give_up_at for email in emails.values())
    assert all(slices.time_of(email.id) == slices.time_of(message.id) for email in emails.values())
    assert {event.recipient_id for event in StatusEvent.objects.filter(status="accepted")} == {
        e.id for e in emails.values()
    }


def test_each_recipient_costs_one_of_the_quota():
    account = make_account()
    accept_all(arrival(account, "a@x.example", "b@x.example"), arrival(account, "c@x.example"))
    assert account.usage().used == 3


def test_a_message_that_does_not_fit_the_quota_whole_is_refused_and_costs_nothing():
    account = make_account(plan=make_plan(monthly_quota=2))
    verdicts = accept_all(arrival(account, "a@x.example", "b@x.example", "c@x.example"))
    assert isinstance(verdicts[0], Refusal)
    assert (verdicts[0].code, verdicts[0].enhanced) == (550, "5.7.1")
    assert "0 of 2" in verdicts[0].text
    assert account.usage().used == 0
    assert set(Recipient.objects.values_list("status", "reason")) == {("rejected", "quota_reached")}
    assert not MessageContent.objects.exists()


def test_a_refused_message_leaves_its_neighbours_in_the_batch_alone():
    account, other = make_account(plan=make_plan(monthly_quota=2)), make_account()
    verdicts = accept_all(
        arrival(account, "a@x.example"),
        arrival(account, "b@x.example", "c@x.example"),
        arrival(other, "d@x.example"),
        arrival(account, "e@x.example"),
    )
    assert [verdict is None for verdict in verdicts] == [True, False, True, True]
    assert account.usage().used == 2
    assert other.usage().used == 1


def test_recipients_refused_one_by_one_are_rows_beside_the_accepted_ones():
    account = make_account()
    refusal = Refusal("invalid_address", 553, "5.1.3", "bad address")
    accept_all(arrival(account, "a@x.example", refused=[("nonsense", refusal)]))
    assert set(Recipient.objects.values_list("address", "status")) == {
        ("a@x.example", "accepted"),
        ("nonsense", "rejected"),
    }
    rejected = StatusEvent.objects.get(status="rejected")
    assert (rejected.code, rejected.enhanced, rejected.stage) == (553, "5.1.3", "rcpt")
    assert rejected.reply == "553 5.1.3 bad address"


def test_what_postgres_cannot_store_in_a_text_is_replaced():
    account = make_account()
    assert accept_all(arrival(account, "a\udcff@x.example", subject="nul \x00 and \ud800", tag="x" * 5000)) == [None]
    message = Message.objects.get()
    assert "\x00" not in message.subject
    assert len(message.tag) == 100


def test_a_message_that_cannot_be_stored_fails_alone():
    account = make_account()
    bad = arrival(account, "b@x.example")
    bad.account_id = 999_999
    first, second, third = accept_all(arrival(account, "a@x.example"), bad, arrival(account, "c@x.example"))
    assert (first, third) == (None, None)
    assert isinstance(second, Unavailable)
    assert set(Recipient.objects.values_list("address", flat=True)) == {"a@x.example", "c@x.example"}


def test_a_missing_slice_is_made_and_the_message_accepted():
    account = make_account()
    this_week = slices.suffix(slices.week_of(dt.datetime.now(dt.UTC)))
    with connection.cursor() as cursor:
        for table in slices.TABLES:
            cursor.execute(f"DROP TABLE {table}_{this_week}")
    assert accept_all(arrival(account, "a@x.example")) == [None]
    assert Recipient.objects.count() == 1


def test_two_programs_that_accept_for_the_same_accounts_do_not_wait_crosswise():
    accounts = [make_account() for _ in range(6)]

    async def run():
        pools = [await open_pool(2, f"test{n}") for n in range(2)]
        committers = [GroupCommit(pool) for pool in pools]
        orders = (accounts, list(reversed(accounts)))
        jobs = [
            committer.accept(arrival(account, "a@x.example"))
            for _ in range(20)
            for committer, order in zip(committers, orders, strict=True)
            for account in order
        ]
        verdicts = await asyncio.gather(*jobs)
        for committer, pool in zip(committers, pools, strict=True):
            await committer.close()
            await pool.close()
        return verdicts

    assert set(asyncio.run(run())) == {None}
    assert list(Usage.objects.values_list("used", flat=True)) == [40] * 6


def test_a_recipients_id_has_the_time_of_its_message():
    message_id = Message().id
    assert slices.time_of(recipient_id_for(message_id)) == slices.time_of(message_id)


@pytest.mark.parametrize(
    ("address", "lane"), [("a@EXAMPLE.org", "example.org"), ("a@bücher.example", "xn--bcher-kva.example")]
)
def test_the_lane_is_the_ascii_form_of_the_domain(address, lane):
    assert destination_of(address) == lane
