"""The seven statuses of an email, and the only table of moves between them."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    REJECTED = "rejected", _("Rejected")
    ACCEPTED = "accepted", _("Accepted")
    PENDING = "pending", _("Pending")
    DELIVERED = "delivered", _("Delivered")
    DEFERRED = "deferred", _("Deferred")
    SOFT_BOUNCE = "soft_bounce", _("Soft bounce")
    HARD_BOUNCE = "hard_bounce", _("Hard bounce")


BOUNCES = frozenset({Status.SOFT_BOUNCE, Status.HARD_BOUNCE})

# From → to. A Delivered email bounces only by a later non-delivery notification.
MOVES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTED: BOUNCES | {Status.PENDING},
    Status.PENDING: BOUNCES | {Status.DELIVERED, Status.DEFERRED},
    Status.DEFERRED: BOUNCES | {Status.DELIVERED, Status.DEFERRED},
    Status.DELIVERED: BOUNCES,
    Status.REJECTED: frozenset(),
    Status.SOFT_BOUNCE: frozenset(),
    Status.HARD_BOUNCE: frozenset(),
}

WAITING = (Status.ACCEPTED, Status.PENDING, Status.DEFERRED)
