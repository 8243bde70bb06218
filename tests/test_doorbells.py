"""Doorbells: rung once for any number of emails, taken down when the lane is claimed, and never depended upon."""

import base64
import json
from types import SimpleNamespace

import pytest
import redis
from django.conf import settings

from activity import bell
from relay import tasks
from relay.delivery.lane import Lane
from tests.delivering import accepted_email, engine_running, simulated, wait_until, wait_until_final
from tests.factories import make_account, make_domain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def valkey():
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def domain():
    made = make_domain(make_account(), "boutique.example")
    made.make_keys()
    return made


def rung(valkey):
    """What each task that waits is about."""
    return [json.loads(base64.b64decode(json.loads(task)["body"]))[0] for task in valkey.lrange("deliver", 0, -1)]


def test_many_emails_for_one_domain_ring_once(valkey):
    for domains in (["dest.test"], ["dest.test", "other.test"], ["dest.test", "other.test"]):
        bell.Ringer()._ring(domains)
    assert rung(valkey) == [["other.test"], ["dest.test"]]
    assert 0 < valkey.ttl(bell.key("dest.test")) <= bell.EXPIRES


def test_many_domains_at_once_are_few_tasks(valkey):
    domains = [f"d{n}.test" for n in range(2 * bell.LANES_A_TASK + 1)]
    bell.Ringer()._ring(domains)
    assert [len(each) for each in rung(valkey)] == [1, bell.LANES_A_TASK, bell.LANES_A_TASK]
    assert [domain for each in reversed(rung(valkey)) for domain in each] == domains


def test_who_asks_for_a_retry_is_heard_although_the_bell_stands(valkey):
    ringer = bell.Ringer()
    ringer._ring(["dest.test"])
    ringer._ask(["dest.test"])
    sent = [json.loads(task)["headers"]["task"] for task in valkey.lrange("deliver", 0, -1)]
    assert sorted(sent) == [tasks.deliver.name, tasks.try_now.name]


def test_a_bell_stands_until_its_lane_is_claimed(domain, valkey):
    valkey.set(bell.key("dest.test"), 1, ex=bell.EXPIRES)
    with simulated(), engine_running() as engine:
        email = accepted_email(domain)
        engine.ring("dest.test")
        wait_until_final(email)
        wait_until(lambda: not valkey.exists(bell.key("dest.test")))
    assert email.status == "delivered"


def test_a_busy_lane_leaves_its_bell_up_and_takes_what_was_accepted_meanwhile(domain, valkey):
    with simulated() as simulator, engine_running() as engine:
        emails = [accepted_email(domain, f"x{n}@dest.test") for n in range(60)]
        engine.ring("dest.test")
        wait_until(lambda: simulator.received_count)
        bell.Ringer()._ring(["dest.test"])
        later = accepted_email(domain, "later@dest.test")
        engine.ring("dest.test")
        wait_until_final(*emails, later)
        wait_until(lambda: not valkey.exists(bell.key("dest.test")))
    assert valkey.llen("deliver") <= 1


def test_a_lane_whose_mail_comes_in_numbers_answers_its_bell_when_the_stream_ends():
    lane = Lane("dest.test", SimpleNamespace(hungry={}))
    lane.put = lambda jobs: None

    def claims(number):
        wish = lane.wish()
        answering = lane.unanswered(wish)
        jobs = [SimpleNamespace(account_id=1)] * number
        lane.claimed(wish, jobs, lane.rung if answering else lane.answered)
        return answering

    lane.ring()
    assert claims(5)
    lane.ring()
    assert [claims(number) for number in (7, 6, 1)] == [False, False, False]
    assert lane.more
    assert claims(0)
    assert not lane.more


def test_without_redis_mail_flows_and_bells_need_no_answer(domain, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with simulated(), engine_running() as engine:
        email = accepted_email(domain)
        engine.ring("dest.test")
        wait_until_final(email)
    assert email.status == "delivered"
