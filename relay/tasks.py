"""Celery tasks: doorbells, reports and housekeeping. Each takes an id or a domain and may run twice."""

from celery import shared_task
from django.conf import settings

from activity import bell, slices
from relay.delivery import deliverer


@shared_task(name="relay.deliver")
def deliver(domain: str) -> None:
    """Hand the domain to this process's engine and return; the engine does the waiting."""
    bell.answered(domain)
    deliverer.ring(domain)


@shared_task(name="relay.keep_slices")
def keep_slices() -> None:
    """Slices ahead of time, and an end to those whose retention is over."""
    slices.ensure()
    slices.drop_expired(settings.RETENTION_DAYS)
