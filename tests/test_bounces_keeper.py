"""Reports are committed in groups, each answered only when it is kept, and none refused for its neighbour."""

import asyncio

import psycopg
import pytest
from django.db import connection

from activity import reports
from activity.models import InboundReport
from activity.pool import open_pool
from activity.reports import Arrived
from relay.bounces import keeper
from relay.bounces.keeper import Keeper
from tests.mail_world import Loop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pool(loop):
    pool = loop.run(open_pool(2, "bounces"))
    yield pool
    loop.run(pool.close(1))


def arrived(raw, *addresses):
    return Arrived("", dict.fromkeys(addresses or ("postmaster@relay.test",)), raw)


def keep_all(loop, pool, *some):
    """All at once; what became of each: its ids, or the error."""

    async def keep():
        one = Keeper(pool)
        return await asyncio.gather(*map(one.keep, some), return_exceptions=True)

    return loop.run(keep())


def commits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT xmin::text) FROM activity_inboundreport")
        return cursor.fetchone()[0]


def test_reports_that_come_at_once_share_a_commit_and_none_is_mistaken_for_another(loop, pool):
    kept = keep_all(loop, pool, *(arrived(b"report %d" % number) for number in range(150)))
    found = {row.id: bytes(row.raw) for row in InboundReport.objects.all()}
    assert [found[key] for (key,) in kept] == [b"report %d" % number for number in range(150)]
    assert commits() == 2


def test_a_report_to_several_addresses_is_kept_for_each(loop, pool):
    first, second = keep_all(loop, pool, arrived(b"to two", "a@relay.test", "b@relay.test"), arrived(b"to one"))
    rows = InboundReport.objects.filter(id__in=first).order_by("id").values_list("rcpt_to", "raw")
    assert [(address, bytes(raw)) for address, raw in rows] == [
        ("a@relay.test", b"to two"),
        ("b@relay.test", b"to two"),
    ]
    assert bytes(InboundReport.objects.get(id=second[0]).raw) == b"to one"


def test_big_reports_are_committed_by_themselves(loop, pool, monkeypatch):
    monkeypatch.setattr(keeper, "MOST_BYTES", 10_000)
    keep_all(loop, pool, *(arrived(b"x" * 8_000) for _ in range(3)))
    assert (InboundReport.objects.count(), commits()) == (3, 3)


def test_one_that_cannot_be_stored_does_not_refuse_its_neighbours(loop, pool, monkeypatch):
    storing = reports.keep

    async def picky(connection, some):
        if any(report.raw == b"poison" for report in some):
            raise psycopg.DataError("poison")
        return await storing(connection, some)

    monkeypatch.setattr(reports, "keep", picky)
    kept = keep_all(loop, pool, arrived(b"first"), arrived(b"poison"), arrived(b"last"))
    assert isinstance(kept[1], psycopg.DataError)
    assert {bytes(row.raw) for row in InboundReport.objects.all()} == {b"first", b"last"}


def test_a_lost_database_is_told_to_everybody_who_waits(loop, pool, monkeypatch):
    async def lost(_connection, _some):
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(reports, "keep", lost)
    kept = keep_all(loop, pool, arrived(b"first"), arrived(b"last"))
    assert [type(each) for each in kept] == [psycopg.OperationalError] * 2
    assert not InboundReport.objects.exists()


def test_a_client_that_goes_away_while_it_waits_keeps_nobody_else_waiting(loop, pool):
    async def keep():
        one = Keeper(pool)
        leaving = asyncio.create_task(one.keep(arrived(b"leaving")))
        staying = asyncio.create_task(one.keep(arrived(b"staying")))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    (key,) = loop.run(keep())
    assert bytes(InboundReport.objects.get(id=key).raw) == b"staying"
