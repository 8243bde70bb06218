"""The Celery app: doorbells and housekeeping only; the truth about mail is in Postgres."""

import os
from typing import Any

from celery import Celery, signals
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay.settings")


def broker_url(redis_url: str) -> str:
    """Celery names a Unix socket `redis+socket://`, redis-py `unix://`."""
    return redis_url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)


app = Celery("relay")
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    # A doorbell that cannot be rung is not worth waiting for: the engine looks into Postgres by itself.
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2, "visibility_timeout": 300},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_publish_retry=False,
    worker_prefetch_multiplier=4,
    worker_hijack_root_logger=False,
    task_default_queue="housekeeping",
    task_routes={
        "relay.deliver": {"queue": "deliver"},
        "relay.understand_report": {"queue": "reports"},
        "relay.check_domains": {"queue": "domains"},
        "relay.rotate_keys": {"queue": "domains"},
        "relay.publish_zone": {"queue": "domains"},
        "relay.warn_owners": {"queue": "domains"},
    },
    timezone="UTC",
    beat_schedule_filename=str(settings.HOME / "beat-schedule"),
    beat_schedule={
        "slices": {"task": "relay.keep_slices", "schedule": 3600.0},
        "reports": {"task": "relay.sweep_reports", "schedule": 30.0},
        # One that could not begin in time is not worth running: the next one does the same.
        "figures": {"task": "relay.roll_up", "schedule": 10.0, "options": {"expires": 10}},
        "dsns": {"task": "relay.send_dsns", "schedule": 10.0, "options": {"expires": 10}},
        "domains": {"task": "relay.check_domains", "schedule": 3.0, "options": {"expires": 3}},
        "keys": {"task": "relay.rotate_keys", "schedule": 3.0, "options": {"expires": 3}},
        "warnings": {"task": "relay.warn_owners", "schedule": 5.0, "options": {"expires": 5}},
        "expired": {"task": "relay.drop_expired", "schedule": 3600.0},
    },
)
if settings.PUBLISH_SERVER is not None:
    app.conf.beat_schedule["zone"] = {"task": "relay.publish_zone", "schedule": 15.0, "options": {"expires": 15}}
app.set_default()
app.autodiscover_tasks(["relay"])


@signals.celeryd_after_setup.connect
def start_engine(instance: Any, **_kwargs: Any) -> None:
    """A worker that takes deliver tasks has an engine; it does not wait for the broker to answer."""
    if "deliver" in instance.app.amqp.queues.consume_from:
        from relay.delivery import deliverer

        deliverer.start()
    else:
        # Mail on its way goes before reports and housekeeping.
        os.nice(settings.BACKGROUND_NICENESS)
