"""What operators see of the deliverer: figures for Prometheus, a line of log an attempt, and the page of lanes."""

import datetime as dt
import logging
import socket
import urllib.request

import pytest
from django.test import override_settings
from django.urls import reverse
from prometheus_client import REGISTRY, generate_latest

from activity.destinations import DestinationRule
from activity.lanes import LaneDue
from domains.models import DkimKey
from relay import metrics
from relay.simulator.script import Fault, script
from tests.delivering import accepted_email, engine_running, simulated, wait_until, wait_until_final
from tests.factories import make_account, make_domain, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="session")
def private_key():
    from domains.keys import make_private_key

    return make_private_key()


@pytest.fixture
def domain(private_key):
    made = make_domain(make_account(), "boutique.example")
    DkimKey.objects.create(domain=made, slot=1, active=True, private_key=private_key)
    return made


@pytest.fixture
def operator(client):
    client.force_login(make_user("operator@example.com", is_staff=True, is_superuser=True))
    return client


def figure(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def gauges(queue):
    return {tuple(sample.labels.values()): sample.value for metric in queue.collect() for sample in metric.samples}


def test_every_attempt_is_counted_by_outcome_and_provider(domain):
    DestinationRule.objects.create(name="loopback", mx_suffixes=["127.0.0.1"])
    delivered = {"outcome": "delivered", "provider": "loopback"}
    before = figure("relay_attempts_total", **delivered), figure("relay_transaction_seconds_count")
    with simulated(), engine_running() as engine:
        wait_until(lambda: engine.rules)
        wait_until_final(accepted_email(domain))
    assert figure("relay_attempts_total", **delivered) == before[0] + 1
    assert figure("relay_transaction_seconds_count") == before[1] + 1
    assert figure("relay_claim_batch_sum") > 0
    assert figure("relay_record_batch_sum") > 0
    assert figure("relay_connect_seconds_count") > 0


def test_the_queue_names_only_the_fullest_lanes():
    queue = metrics.Queue()
    now = dt.datetime.now(dt.UTC)
    queue.saw(LaneDue(f"d{n}.test", n, n, now - dt.timedelta(seconds=n)) for n in range(30))
    depths = gauges(queue)
    assert len(depths) == metrics.LANES_NAMED + 2
    assert depths["d29.test",] == 29
    assert depths["other",] == sum(range(10))
    assert 29 <= depths[()] < 60


def test_an_empty_queue_is_not_old():
    queue = metrics.Queue()
    queue.saw([])
    assert gauges(queue) == {("other",): 0, (): 0}


def test_due_emails_are_counted_by_lane(domain):
    for n in range(3):
        accepted_email(domain, f"u{n}@paused.test")
    DestinationRule.objects.pause("paused.test")
    with override_settings(METRICS_PORT=1), simulated(), engine_running():
        wait_until(lambda: gauges(metrics.QUEUE).get(("paused.test",)) == 3)
        assert gauges(metrics.QUEUE)[()] > 0


def test_prometheus_reads_the_figures_over_http():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with override_settings(METRICS_PORT=port):
        metrics.serve()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    finally:
        REGISTRY.unregister(metrics.QUEUE)
    assert "relay_due_emails" in text
    assert "relay_oldest_due_seconds" in text
    assert "relay_attempts" in generate_latest().decode()


def test_each_attempt_is_a_line_of_log_if_wanted(domain, caplog):
    caplog.set_level(logging.INFO, "relay.attempts")
    with simulated(script(rcpt="550 5.1.1 No such user\nsecond=line")), engine_running():
        silent = accepted_email(domain)
        wait_until_final(silent)
        assert not [record for record in caplog.records if record.name == "relay.attempts"]
        with override_settings(LOG_ATTEMPTS=True):
            email = accepted_email(domain)
            wait_until_final(email)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "relay.attempts"]
    assert f"message={email.message_id} recipient={email.id} attempt=1 domain=dest.test" in line
    assert "outcome=hard_bounce reason=unknown_user code=550 enhanced=5.1.1 host=127.0.0.1" in line
    assert "second" not in line


# The page of lanes.


def test_the_page_shows_what_is_due_in_flight_and_went_wrong(domain, operator):
    slow = script(end_of_data=[Fault("451 4.3.2 <b>Too busy</b> now"), *[Fault(delay=8)] * 20])
    with simulated(slow), override_settings(LANE_CONNECTIONS=2, RETRY=[60.0]), engine_running():
        for n in range(6):
            accepted_email(domain, f"u{n}@dest.test")
        seen = []

        def shown():
            seen[:] = [row for row in operator.get(reverse("lanes")).context["rows"] if row.domain == "dest.test"]
            return seen and seen[0].in_flight and seen[0].error

        wait_until(shown)
        (row,) = seen
        assert (row.site, row.limit) == ("dest.test", 2)
        assert 1 <= row.in_flight <= 2
        page = operator.get(reverse("lanes")).content.decode()
    assert "&lt;b&gt;Too busy&lt;/b&gt; now" in page


def test_a_lane_is_paused_and_resumed_from_the_page(domain, operator):
    accepted_email(domain, "x@dest.test")
    assert "Pause" in operator.get(reverse("lanes")).content.decode()
    operator.post(reverse("lanes"), {"domain": "dest.test", "action": "pause"})
    assert DestinationRule.objects.get().paused_at
    page = operator.get(reverse("lanes"))
    assert [row.paused for row in page.context["rows"]] == ["dest.test"]
    assert "Resume" in page.content.decode()
    operator.post(reverse("lanes"), {"domain": "dest.test", "action": "resume"})
    assert not DestinationRule.objects.exists()


def test_resuming_keeps_a_rules_figures():
    DestinationRule.objects.create(name="mine", domains=["dest.test"], connections=2)
    DestinationRule.objects.pause("dest.test")
    DestinationRule.objects.resume("dest.test")
    rule = DestinationRule.objects.get()
    assert (rule.connections, rule.paused_at) == (2, None)


def test_the_page_says_when_valkey_is_away(domain, operator):
    accepted_email(domain, "x@dest.test")
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        page = operator.get(reverse("lanes")).content.decode()
    assert "Valkey is away" in page
    assert "dest.test" in page


def test_only_operators_see_the_page(client, domain):
    assert client.get(reverse("lanes")).status_code == 302
    client.force_login(make_user("charlie@example.com"))
    assert client.get(reverse("lanes")).status_code == 302
    client.force_login(make_user("clerk@example.com", is_staff=True))
    assert client.get(reverse("lanes")).status_code == 403
    assert client.post(reverse("lanes"), {"domain": "dest.test", "action": "pause"}).status_code == 403


def test_the_admins_first_page_leads_to_the_lanes(operator):
    assert reverse("lanes") in operator.get(reverse("admin:index")).content.decode()
