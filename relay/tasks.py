"""Celery tasks: doorbells, reports and housekeeping. Each takes an id or a domain and may run twice."""

from uuid import UUID

from celery import shared_task
from django.conf import settings

from activity import bell, reports, slices
from relay.bounces.attribution import finding
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


@shared_task(name="relay.understand_report")
def understand_report(report_id: str) -> None:
    """What the report says becomes true of its email."""
    reports.settle(UUID(report_id), finding)


@shared_task(name="relay.sweep_reports")
def sweep_reports() -> None:
    """The reports whose task was lost, whose email was still under way, or which came too many at a time."""
    for report_id in reports.waiting():
        reports.settle(report_id, finding)
