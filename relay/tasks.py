"""Celery tasks: doorbells, reports and housekeeping. Each takes an id or a domain and may run twice.

What a task needs is imported when it first runs: the worker of one queue does not carry the machinery of the others.
"""

import logging
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from activity import slices

log = logging.getLogger(__name__)


@shared_task(name="relay.deliver")
def deliver(*domains: str) -> None:
    """Hand the domains to this process's engine and return; the engine does the waiting."""
    from relay.delivery import deliverer

    deliverer.ring(domains)


@shared_task(name="relay.try_now")
def try_now(*domains: str) -> None:
    """Somebody asked for a retry: like `deliver`, and a closed destination is probed before its time."""
    from relay.delivery import deliverer

    deliverer.ring(domains, asked=True)


@shared_task(name="relay.keep_slices")
def keep_slices() -> None:
    """Slices ahead of time, and an end to what has been kept long enough, the log-in log included."""
    from activity import acquaintances
    from domains import logins

    slices.ensure()
    slices.drop_expired(settings.RETENTION_DAYS)
    logins.drop_expired(settings.RETENTION_DAYS)
    acquaintances.forget_old(timezone.now().date())


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


@shared_task(name="relay.roll_up")
def roll_up() -> None:
    """The Dashboard's figures of the hours that may have changed."""
    from activity import rollup

    rollup.roll_up()


@shared_task(name="relay.drop_expired")
def drop_expired() -> None:
    """Suppressions whose time is over, old reports, and figures that nobody looks at any more."""
    from activity import reports, rollup, suppress

    suppress.drop_expired()
    reports.drop_expired(settings.RETENTION_DAYS)
    rollup.drop_old()


@shared_task(name="relay.send_dsns")
def send_dsns() -> None:
    """Notifications to the senders of bounced emails, where a credential asks for them."""
    from relay import dsn

    dsn.send_owed()


@shared_task(name="relay.check_domains")
def check_domains() -> None:
    """The DNS records of the domains whose time has come."""
    from domains import check

    check.check_due()


@shared_task(name="relay.rotate_keys")
def rotate_keys() -> None:
    """The steps of key rotation whose time has come."""
    from domains import rotation

    rotation.take_steps()


@shared_task(name="relay.publish_zone")
def publish_zone() -> None:
    """New domains and keys at the operator's name server; what cannot be published now is the next time."""
    from domains import primary, publish

    try:
        publish.publish_changes()
    except primary.Trouble as trouble:
        log.warning("our zone is not published: %s", trouble)


@shared_task(name="relay.warn_owners")
def warn_owners() -> None:
    """Emails about domains that fail, stopped or were taken over."""
    from domains import warnings

    warnings.send_owed()
