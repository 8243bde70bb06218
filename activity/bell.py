"""Doorbells: tell the deliverer which lanes have mail, without ever keeping anybody waiting.

A bell is a Redis key that stands from the first email until the lane is claimed, so bells do not pile up. Those that
are rung together are one task: a task costs more than the delivery of an email. Nothing depends on it: the engine looks
into PostgreSQL by itself, and a bell that cannot be rung is only a few seconds lost.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import batched

import redis
from celery import current_app
from django.conf import settings

log = logging.getLogger(__name__)

EXPIRES = 10
TASK = "relay.deliver"
TRY_TASK = "relay.try_now"
# Few enough that several deliverers share the lanes of a big mailing.
LANES_A_TASK = 100
# Bells that come closer together than this (seconds) are rung together.
GATHER = 0.025


def key(domain: str) -> str:
    return f"bell:{domain}"


class Ringer(threading.Thread):
    """Rings in the background: callers leave domains in a set and go on."""

    def __init__(self) -> None:
        super().__init__(name="bell", daemon=True)
        self.domains: set[str] = set()
        self.asked: set[str] = set()
        self.wake = threading.Event()
        self.lock = threading.Lock()
        self.redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)

    def add(self, domains: Iterable[str], *, asked: bool = False) -> None:
        with self.lock:
            (self.asked if asked else self.domains).update(domains)
        self.wake.set()

    def run(self) -> None:
        while True:
            self.wake.wait()
            self.wake.clear()
            with self.lock:
                domains, self.domains = self.domains, set()
                asked, self.asked = self.asked, set()
            try:
                self._ring(sorted(domains))
                self._ask(sorted(asked))
            except Exception as error:
                log.warning("bells not rung, the engine will look by itself: %s", error)
            time.sleep(GATHER)

    def _ring(self, domains: list[str]) -> None:
        pipe = self.redis.pipeline(transaction=False)
        for domain in domains:
            pipe.set(key(domain), 1, nx=True, ex=EXPIRES)
        rung = [domain for domain, is_new in zip(domains, pipe.execute(), strict=True) if is_new]
        self._send(TASK, rung)

    def _ask(self, domains: list[str]) -> None:
        self._send(TRY_TASK, domains)

    def _send(self, task: str, domains: Sequence[str]) -> None:
        for some in batched(domains, LANES_A_TASK, strict=False):
            current_app.send_task(task, some, queue="deliver", expires=60)


_ringer: Ringer | None = None
_starting = threading.Lock()


def ring(domains: Iterable[str], *, asked: bool = False) -> None:
    """Returns at once. `asked`: somebody wants a try now, so that a closed destination is probed before its time.

    Started on first use, so that a forked web worker has a thread of its own."""
    global _ringer
    with _starting:
        if _ringer is None or not _ringer.is_alive():
            _ringer = Ringer()
            _ringer.start()
    _ringer.add(domains, asked=asked)
