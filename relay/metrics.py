"""What the deliverer tells of itself: figures for Prometheus, and a line of log an attempt. Off by default."""

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from django.conf import settings
from prometheus_client import REGISTRY, Counter, Histogram, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from activity.claim import Claimed
from activity.lanes import LaneDue
from activity.outcome import Attempt

log = logging.getLogger("relay.attempts")

# A label for each lane of thousands would burden who stores the figures.
LANES_NAMED = 20
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)

ATTEMPTS = Counter("relay_attempts", "Attempts by what came of them and by provider", ["outcome", "provider"])
CONNECT_SECONDS = Histogram("relay_connect_seconds", "From dialling to the end of EHLO, TLS included", buckets=SECONDS)
TLS_SECONDS = Histogram("relay_tls_seconds", "TLS handshakes with recipients' servers", buckets=SECONDS)
TRANSACTION_SECONDS = Histogram("relay_transaction_seconds", "From MAIL to the last reply", buckets=SECONDS)
CLAIM_SECONDS = Histogram("relay_claim_seconds", "Claims", buckets=SECONDS)
CLAIM_BATCH = Histogram("relay_claim_batch", "Recipients taken by one claim", buckets=SIZES)
RECORD_BATCH = Histogram("relay_record_batch", "Outcomes written together", buckets=SIZES)


class Queue(Collector):
    """Due emails by lane, the fullest by name and the rest as "other"; as of the last look."""

    def __init__(self) -> None:
        self.lanes: Sequence[LaneDue] = ()
        self.seen_at = dt.datetime.now(dt.UTC)

    def saw(self, lanes: Iterable[LaneDue]) -> None:
        self.lanes = sorted(lanes, key=lambda lane: lane.due, reverse=True)
        self.seen_at = dt.datetime.now(dt.UTC)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        depth = GaugeMetricFamily("relay_due_emails", "Due emails (at most 1,000 are counted a lane)", labels=["lane"])
        for lane in self.lanes[:LANES_NAMED]:
            depth.add_metric([lane.domain], lane.due)
        depth.add_metric(["other"], sum(lane.due for lane in self.lanes[LANES_NAMED:]))
        yield depth
        oldest = min((lane.oldest for lane in self.lanes if lane.oldest is not None), default=self.seen_at)
        age = (self.seen_at - oldest).total_seconds()
        yield GaugeMetricFamily("relay_oldest_due_seconds", "For how long the oldest due email has been due", age)


QUEUE = Queue()


def serve() -> None:
    if settings.METRICS_PORT:
        REGISTRY.register(QUEUE)
        start_http_server(settings.METRICS_PORT, settings.BIND)


@cache
def _attempts(outcome: str, provider: str) -> Counter:
    return ATTEMPTS.labels(outcome, provider)


def attempted(attempt: Attempt, job: Claimed, provider: str) -> None:
    outcome = attempt.outcome
    _attempts(outcome.status.value, provider).inc()
    if settings.LOG_ATTEMPTS:
        log.info(
            "message=%s recipient=%s attempt=%d domain=%s outcome=%s reason=%s code=%d enhanced=%s host=%s ip=%s",
            job.message_id,
            job.id,
            attempt.number,
            job.domain,
            outcome.status.value,
            outcome.reason or "-",
            outcome.code,
            outcome.enhanced or "-",
            outcome.host or "-",
            outcome.ip or "-",
        )


def claimed(number: int, seconds: float) -> None:
    CLAIM_BATCH.observe(number)
    CLAIM_SECONDS.observe(seconds)
