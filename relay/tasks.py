"""Celery tasks: doorbells, reports and housekeeping. Each takes an id or a domain and may run twice.

What a task needs is imported when it first runs: the worker of one queue does not carry the machinery of the others.
"""

from uuid import UUID

from celery import shared_task
from django.conf import settings

from activity import bell, slices


@shared_task(name="relay.deliver")
def deliver(domain: str) -> None:
    """Hand the domain to this process's engine and return; the engine does the waiting."""
    from relay.delivery import deliverer

    bell.answered(domain)
    deliverer.ring(domain)


@shared_task(name="relay.keep_slices")
def keep_slices() -> None:
    """Slices ahead of time, and an end to those whose retention is over."""
    slices.ensure()
    slices.drop_expired(settings.RETENTION_DAYS)


@shared_task(name="relay.understand_report")
def understand_report(report_id: str) -> None:
    """What the report says becomes true of its email."""
    from activity import reports
    from relay.bounces.attribution import Reading

    reports.settle([UUID(report_id)], Reading)


@shared_task(name="relay.sweep_reports")
def sweep_reports() -> None:
    """The reports whose task was lost, whose email was still under way, or which came too many at a time."""
    from activity import reports
    from relay.bounces.attribution import Reading

    reports.settle_waiting(Reading)
