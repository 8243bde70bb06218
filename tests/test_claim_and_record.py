"""Claim and record: who gets which mail, what a lease is worth, and which moves are allowed."""

import asyncio
import datetime as dt
import re
from uuid import UUID

import psycopg
import pytest
from django.utils import timezone

from activity.claim import (
    CLAIM,
    DUE_LANES,
    HAND_BACK,
    LEASE,
    RENEW,
    Claimed,
    LaneWish,
    _held,
    claim,
    due_lanes,
    hand_back,
    oldest_due,
    renew,
)
from activity.models import Recipient, StatusEvent
from activity.outcome import Attempt, Outcome
from activity.pool import PLANNER, conninfo, open_pool
from activity.record import RECORD, _columns, record
from activity.status import MOVES, Status
from tests.factories import make_account, make_email, record_report

pytestmark = pytest.mark.django_db(transaction=True)

EVER = UUID(int=0)


def with_connection(step):
    async def run():
        pool = await open_pool(2, "test")
        try:
            async with pool.connection() as each:
                return await step(each)
        finally:
            await pool.close()

    return asyncio.run(run())


def claim_now(*wishes):
    return with_connection(lambda each: claim(each, wishes, EVER))


def due_email(account, address="a@dest.example", **fields):
    email = make_email(account, address, Status.ACCEPTED, **fields)
    Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now() - dt.timedelta(seconds=1))
    return email


def outcome_of(claimed, status=Status.DELIVERED, **fields):
    values = {
        "stage": "end_of_data",
        "code": 250,
        "enhanced": "2.0.0",
        "text": "OK",
        "host": "mx.dest.example",
        **fields,
    }
    due = timezone.now() + dt.timedelta(minutes=5) if status == Status.DEFERRED else None
    return Attempt(claimed.id, claimed.attempt, Outcome(status, **values), timezone.now(), due)


def record_now(*attempts):
    return with_connection(lambda each: record(each, attempts, EVER))


def test_a_claim_books_the_next_attempt_before_trying():
    email = due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 10))
    email.refresh_from_db()
    assert (job.id, job.attempt) == (email.id, 1)
    assert email.status == "pending"
    assert dt.timedelta(seconds=50) < email.next_attempt_at - timezone.now() < dt.timedelta(seconds=61)
    assert StatusEvent.objects.filter(recipient_id=email.id, status="pending").count() == 1


def test_what_one_worker_holds_no_other_gets():
    account = make_account()
    for _ in range(10):
        due_email(account)

    async def both(first):
        pool = await open_pool(2, "other")
        async with pool.connection() as second:
            wishes = [LaneWish("dest.example", 10)]
            claims = await asyncio.gather(claim(first, wishes, EVER), claim(second, wishes, EVER))
        await pool.close()
        return claims

    first, second = with_connection(both)
    ids = [job.id for job in first + second]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(claim_now(LaneWish("dest.example", 10))) == 10


def test_after_a_crash_the_email_is_due_again_when_its_lease_is_over():
    due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 10))
    assert claim_now(LaneWish("dest.example", 10)) == []
    Recipient.objects.update(next_attempt_at=timezone.now())
    (again,) = claim_now(LaneWish("dest.example", 10))
    assert (again.id, again.attempt) == (job.id, 2)


def test_a_claim_is_fair_between_accounts():
    big, small = make_account(), make_account()
    for _ in range(30):
        due_email(big)
    late = due_email(small)
    jobs = claim_now(LaneWish("dest.example", 4))
    assert late.id in [job.id for job in jobs]
    assert len(jobs) <= 5


def test_a_lane_of_many_accounts_is_walked_in_turns():
    accounts = [make_account() for _ in range(5)]
    for account in accounts:
        due_email(account)
    first = claim_now(LaneWish("dest.example", 2))
    rest = claim_now(LaneWish("dest.example", 3, after=max(job.account_id for job in first)))
    assert sorted(job.account_id for job in first + rest) == sorted(account.id for account in accounts)


def test_one_statement_claims_for_many_lanes_and_only_what_is_due():
    account = make_account()
    due_email(account, "a@one.example")
    due_email(account, "a@two.example")
    make_email(account, "a@three.example", Status.DEFERRED)
    jobs = claim_now(LaneWish("one.example", 1), LaneWish("two.example", 1), LaneWish("three.example", 1))
    assert sorted(job.domain for job in jobs) == ["one.example", "two.example"]


def test_the_lanes_with_due_mail_are_found_without_a_bell():
    account = make_account()
    for _ in range(3):
        due_email(account, "a@one.example")
    due_email(account, "a@two.example")
    make_email(account, "a@three.example", Status.DEFERRED)
    make_email(account, "a@four.example", Status.DELIVERED)
    assert with_connection(lambda each: due_lanes(each, EVER)) == ["one.example", "two.example"]


def test_the_oldest_due_email_bounds_what_is_looked_at():
    account = make_account()
    make_email(account, status=Status.DELIVERED, at=timezone.now() - dt.timedelta(hours=2))
    older = due_email(account, at=timezone.now() - dt.timedelta(hours=1))
    due_email(account)
    assert with_connection(oldest_due) == older.id


def test_a_lease_is_renewed_only_while_it_is_ours():
    due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 1))
    assert with_connection(lambda each: renew(each, [job], EVER)) == {job.id}
    Recipient.objects.update(next_attempt_at=timezone.now())
    claim_now(LaneWish("dest.example", 1))
    assert with_connection(lambda each: renew(each, [job], EVER)) == set()


def test_a_renewal_that_comes_late_does_not_touch_the_next_attempt_of_a_deferred_email():
    email = due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 1))
    attempt = outcome_of(job, Status.DEFERRED)
    record_now(attempt)
    assert with_connection(lambda each: renew(each, [job], EVER)) == set()
    email.refresh_from_db()
    assert email.next_attempt_at == attempt.next_attempt_at


def test_what_was_not_begun_is_handed_back_and_its_attempt_not_counted():
    email = due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 1))
    with_connection(lambda each: hand_back(each, [job], EVER))
    email.refresh_from_db()
    assert email.attempt == 0
    assert email.next_attempt_at <= timezone.now()


def test_many_outcomes_are_recorded_in_one_statement():
    account = make_account()
    for _ in range(3):
        due_email(account)
    jobs = claim_now(LaneWish("dest.example", 3))
    statuses = (Status.DELIVERED, Status.DEFERRED, Status.HARD_BOUNCE)
    moved = record_now(*(outcome_of(job, status) for job, status in zip(jobs, statuses, strict=True)))
    assert moved == {job.id for job in jobs}
    assert sorted(Recipient.objects.values_list("status", flat=True)) == ["deferred", "delivered", "hard_bounce"]
    deferred = StatusEvent.objects.get(status="deferred")
    assert deferred.next_attempt_at is not None
    assert Recipient.objects.get(status="delivered").next_attempt_at is None


def test_a_late_worker_overwrites_nothing():
    due_email(make_account())
    (late,) = claim_now(LaneWish("dest.example", 1))
    Recipient.objects.update(next_attempt_at=timezone.now())
    (current,) = claim_now(LaneWish("dest.example", 1))
    assert record_now(outcome_of(late, Status.HARD_BOUNCE)) == set()
    assert record_now(outcome_of(current)) == {current.id}
    assert record_now(outcome_of(current, Status.HARD_BOUNCE)) == set()
    assert Recipient.objects.get().status == "delivered"
    assert not StatusEvent.objects.filter(status="hard_bounce").exists()


@pytest.mark.parametrize("text", ["nul \x00 here", "half \ud800 pair", "x" * 100_000, "", "two\nlines \x1b[31m"])
def test_recording_never_fails_on_what_a_server_said(text):
    due_email(make_account())
    (job,) = claim_now(LaneWish("dest.example", 1))
    assert record_now(outcome_of(job, Status.DEFERRED, text=text, host=text, enhanced="5.999.9999999")) == {job.id}
    assert len(StatusEvent.objects.get(status="deferred").reply) <= 1000


def test_only_the_moves_of_the_table_are_carried_out():
    account = make_account()
    for source in Status:
        for target in Status:
            email = make_email(account, "a@moves.example", source)
            Recipient.objects.filter(id=email.id).update(next_attempt_at=timezone.now(), attempt=1)
            job = Claimed(email.id, EVER, 1, "", "", 1, timezone.now(), "", "", None, "", 0, False)
            moved = record_now(outcome_of(job, target))
            under_way = source in (Status.PENDING, Status.DEFERRED)
            assert bool(moved) == (under_way and target in MOVES[source]), f"{source} to {target}"


def test_a_delivered_email_bounces_when_a_report_comes_and_only_once():
    email = make_email(make_account(), status=Status.DELIVERED)
    bounce = Outcome(Status.HARD_BOUNCE, "unknown_user", "report", 550, "5.1.1", "550 5.1.1 no such user", "mx.example")
    assert record_report(email.id, bounce, timezone.now())
    assert not record_report(email.id, bounce, timezone.now())
    email.refresh_from_db()
    assert (email.status, email.reason) == ("hard_bounce", "unknown_user")
    assert StatusEvent.objects.filter(recipient_id=email.id, status="hard_bounce").count() == 1


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.PENDING, Status.DEFERRED])
def test_the_status_of_an_attempt_under_way_is_changed_by_no_report(status):
    email = make_email(make_account(), status=status)
    assert not record_report(email.id, Outcome(Status.HARD_BOUNCE), timezone.now())
    email.refresh_from_db()
    assert email.status == status


@pytest.mark.parametrize("status", [Status.REJECTED, Status.SOFT_BOUNCE, Status.HARD_BOUNCE])
def test_a_final_status_is_changed_by_no_report(status):
    email = make_email(make_account(), status=status)
    assert not record_report(email.id, Outcome(Status.SOFT_BOUNCE), timezone.now())
    email.refresh_from_db()
    assert email.status == status


def plan_of(statement, values):
    with psycopg.connect(conninfo(), autocommit=True, options=PLANNER) as each:
        return "\n".join(line for (line,) in each.execute("EXPLAIN " + statement, values))


def test_the_hot_statements_walk_indexes_and_never_a_whole_table():
    held = [Claimed(EVER, EVER, 1, "", "", 1, timezone.now(), "", "", None, "", 0, False)]
    wish = {"domains": ["dest.example"], "rooms": [5], "after": [0], "each": [5], "accounts": 32}
    wish |= {"lease": LEASE, "oldest": EVER}
    plans = {
        "claim": plan_of(CLAIM, wish),
        "due lanes": plan_of(DUE_LANES, {"oldest": EVER}),
        "renew": plan_of(RENEW, _held(held, EVER)),
        "hand back": plan_of(HAND_BACK, _held(held, EVER)),
        "record": plan_of(RECORD, {**_columns([outcome_of(held[0])]), "oldest": EVER}),
    }
    for name, plan in plans.items():
        assert not re.search(r"Seq Scan on activity_|Hash Join|Merge Join", plan), f"{name}\n{plan}"
    due_index = r"Index.* using activity_recipient_\w+_domain_account_id_next_attempt_\w+ on"
    assert re.search(due_index, plans["claim"]), plans["claim"]
    assert re.search(due_index, plans["due lanes"]), plans["due lanes"]
    assert re.search(r"Index Scan using activity_message_\w+_pkey", plans["claim"]), plans["claim"]
