"""What happened to each email: the mail tables, suppressions and incoming reports.

The four mail tables are partitioned by time (activity/slices.py), have no foreign-key constraints between them, and
are written only by accept.py, claim.py and record.py.
"""

import datetime as dt
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from activity.acquaintances import Acquaintance as Acquaintance
from activity.addresses import normalised
from activity.destinations import DestinationRule as DestinationRule
from activity.figures import Rollup as Rollup
from activity.figures import RollupHour as RollupHour
from activity.figures import RollupMark as RollupMark
from activity.slices import floor_id, time_of
from activity.status import WAITING, Status
from billing.models import Account


class Message(models.Model):
    """One accepted or refused SMTP transaction; its raw bytes lie in MessageContent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    account = models.ForeignKey(Account, models.DO_NOTHING, db_constraint=False, db_index=False)
    credential_id = models.BigIntegerField(_("credential"), null=True)
    domain_id = models.BigIntegerField(_("sending domain"), null=True)
    mail_from = models.TextField(_("envelope sender"))
    header_from = models.TextField(_("sender"))
    subject = models.TextField(_("subject"))
    header_id = models.TextField(_("Message-ID"))
    size = models.PositiveIntegerField(_("size"))
    smtputf8 = models.BooleanField(default=False)
    client = models.TextField(_("client"), help_text=_("Address and EHLO name of the customer's software."))
    tag = models.TextField(_("tag"), blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")

    def __str__(self) -> str:
        return str(self.id)

    @property
    def at(self) -> dt.datetime:
        return time_of(self.id)


class MessageContent(models.Model):
    """The bytes of a message as they are delivered, but for the DKIM signature; `id` is the message's."""

    id = models.UUIDField(primary_key=True, editable=False)
    body = models.BinaryField()

    class Meta:
        verbose_name = _("message content")
        verbose_name_plural = _("message contents")

    def __str__(self) -> str:
        return str(self.id)


class RecipientQuerySet(models.QuerySet["Recipient"]):
    def of(self, account: Account) -> Self:
        """Newest first, within the days the account's plan shows."""
        oldest = timezone.now() - dt.timedelta(days=min(account.plan.history_days, settings.RETENTION_DAYS))
        return self.filter(account=account, id__gte=floor_id(oldest)).order_by("-id")

    def to_address(self, search: str) -> Self:
        """Part of an address, in any case."""
        return self.filter(address__icontains=search) if search else self

    def of_message(self, account_id: int, message_id: UUID) -> Self:
        """A recipient's id has the time of its message's, so the index on (account, id) leads to a message's rows."""
        low, high = (UUID(int=((message_id.int >> 80) + n) << 80) for n in (0, 1))
        same_time = self.filter(account=account_id, id__gte=low, id__lt=high)
        return same_time.filter(message_id=message_id).order_by("id")

    def with_status(self, status: str) -> Self:
        return self.filter(status=status) if status in Status else self


class Recipient(models.Model):
    """One recipient of a Message: the row of the Activity tab, the thing that has a status."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    message_id = models.UUIDField(_("message"))
    account = models.ForeignKey(Account, models.DO_NOTHING, db_constraint=False, db_index=False)
    address = models.TextField(_("recipient"))
    domain = models.TextField(_("destination domain"))
    status = models.CharField(_("status"), max_length=12, choices=Status)
    reason = models.CharField(_("reason"), max_length=24, blank=True)
    reply = models.TextField(_("last reply"), blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempts"), default=0)
    # Due when this is past; empty when the status is final. While an attempt is under way, its lease ends here.
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, blank=True)
    give_up_at = models.DateTimeField(_("give up"), null=True, blank=True)

    objects = RecipientQuerySet.as_manager()

    class Meta:
        verbose_name = _("email")
        verbose_name_plural = _("emails")
        indexes = [
            models.Index(fields=["account", "id"], name="recipient_newest"),
            models.Index(fields=["account", "status", "id"], name="recipient_by_status"),
            models.Index(
                fields=["domain", "account", "next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
                name="recipient_due",
            ),
            GinIndex(OpClass(Upper("address"), "gin_trgm_ops"), name="recipient_address"),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.status}"

    @property
    def at(self) -> dt.datetime:
        return time_of(self.id)

    @property
    def waits(self) -> bool:
        return self.status in WAITING


class StatusEvent(models.Model):
    """One line of a recipient's history; `status` is empty for a note that changes none."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    recipient_id = models.UUIDField(_("email"))
    at = models.DateTimeField(_("time"))
    status = models.CharField(_("status"), max_length=12, choices=Status, blank=True)
    reason = models.CharField(_("reason"), max_length=24, blank=True)
    stage = models.CharField(_("stage"), max_length=12, blank=True)
    code = models.PositiveSmallIntegerField(_("code"), default=0)
    enhanced = models.CharField(_("enhanced code"), max_length=11, blank=True)
    reply = models.TextField(_("reply"), blank=True)
    host = models.TextField(_("host"), blank=True)
    ip = models.GenericIPAddressField(_("address"), null=True, blank=True)
    tls = models.TextField(_("TLS"), blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, blank=True)
    note = models.TextField(_("note"), blank=True)

    class Meta:
        verbose_name = _("status event")
        verbose_name_plural = _("status events")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.status or self.note}"


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def valid(self) -> Self:
        """Without those that have expired and were not yet removed."""
        return self.filter(created_at__gte=oldest_valid()) if settings.SUPPRESSION_EXPIRY else self

    def expired(self) -> Self:
        return self.filter(created_at__lt=oldest_valid()) if settings.SUPPRESSION_EXPIRY else self.none()

    def to_address(self, search: str) -> Self:
        return self.filter(address__icontains=search) if search else self


class Suppression(models.Model):
    """An address, in its normalised form, that this account does not send to any more."""

    class Cause(models.TextChoices):
        HARD_BOUNCE = "hard_bounce", _("Hard bounce")
        COMPLAINT = "complaint", _("Complaint")
        MANUAL = "manual", _("Added by hand")

    # Both constraints below begin with the account, so it needs no index of its own.
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="suppressions", db_index=False)
    address = models.TextField(_("address"))
    cause = models.CharField(_("cause"), max_length=12, choices=Cause)
    recipient_id = models.UUIDField(_("the email that caused it"), null=True, blank=True)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)

    objects = SuppressionQuerySet.as_manager()

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        constraints = [models.UniqueConstraint(fields=["account", "address"], name="one_suppression_per_address")]
        indexes = [
            models.Index(fields=["account", "id"], name="suppression_newest"),
            GinIndex(OpClass(Upper("address"), "gin_trgm_ops"), name="suppression_address"),
        ]

    def __str__(self) -> str:
        return self.address

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.address = normalised(self.address)
        super().save(*args, **kwargs)


class SuppressionRemoval(models.Model):
    """Who took an address off an account's list, and why; `cause` and `since` are those of the entry."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="removals", db_index=False)
    address = models.TextField(_("address"))
    cause = models.CharField(_("cause"), max_length=12, choices=Suppression.Cause)
    since = models.DateTimeField(_("since"))
    removed_at = models.DateTimeField(_("removed"), auto_now_add=True)
    removed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, verbose_name=_("by"))
    reason = models.CharField(_("reason"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("removal from a suppression list")
        verbose_name_plural = _("removals from suppression lists")
        indexes = [models.Index(fields=["account", "id"], name="removal_newest")]

    def __str__(self) -> str:
        return f"{self.address}: {self.reason}"


def oldest_valid() -> dt.datetime:
    """Entries made before this have expired; the beginning of time while none ever does."""
    if not settings.SUPPRESSION_EXPIRY:
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    return timezone.now() - dt.timedelta(seconds=settings.SUPPRESSION_EXPIRY)


class OwedDsn(models.Model):
    """An email whose sender is owed a delivery status notification; the row goes when the DSN is accepted."""

    recipient_id = models.UUIDField(primary_key=True)

    class Meta:
        verbose_name = _("DSN to be made")
        verbose_name_plural = _("DSNs to be made")

    def __str__(self) -> str:
        return str(self.recipient_id)


class InboundReport(models.Model):
    """A report that came to a return path, kept raw before it was acknowledged, understood later."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    mail_from = models.TextField(_("envelope sender"), blank=True)
    rcpt_to = models.TextField(_("return path"))
    recipient_id = models.UUIDField(_("email"), null=True, blank=True)
    raw = models.BinaryField()
    understood_at = models.DateTimeField(_("understood"), null=True, blank=True)
    kind = models.CharField(_("kind"), max_length=12, blank=True)
    conclusion = models.TextField(_("conclusion"), blank=True)

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        indexes = [
            models.Index(
                fields=["id"],
                condition=models.Q(understood_at__isnull=True),
                name="report_waiting",
            ),
            # Those that no rule knew: operators look through them.
            models.Index(fields=["id"], condition=models.Q(kind="other"), name="report_other"),
        ]

    def __str__(self) -> str:
        return f"{self.kind or 'waiting'} for {self.rcpt_to}"

    @property
    def at(self) -> dt.datetime:
        return time_of(self.id)
