"""The engine inside the Celery deliverer: it starts with the worker, before any broker answers, and ends with it."""

import threading
from collections.abc import Iterable
from typing import Any

from celery import signals

from relay import metrics, open_files
from relay.delivery.engine import STOP_SECONDS, Engine, run_in_thread

_engine: Engine | None = None
_thread: threading.Thread | None = None


def ring(domains: Iterable[str], *, asked: bool = False) -> None:
    if _engine is not None:
        _engine.ring(*domains, asked=asked)


def start() -> None:
    global _engine, _thread
    open_files.allow_many()
    metrics.serve()
    _engine = Engine()
    _thread = run_in_thread(_engine)


@signals.worker_shutting_down.connect
def stop(**_kwargs: Any) -> None:
    if _engine is not None:
        _engine.stop()


@signals.worker_shutdown.connect
def join(**_kwargs: Any) -> None:
    stop()
    if _thread is not None:
        _thread.join(STOP_SECONDS + 2)
