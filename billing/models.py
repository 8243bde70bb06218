"""Who are you, and how much may you send: users, accounts, memberships, plans and usage."""

import datetime as dt
import zoneinfo
from typing import Any, ClassVar

from django.contrib.auth.models import (
    AbstractBaseUser,
    BaseUserManager,
    PermissionsMixin,
)
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import durations


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in with an e-mail address."""

    email = models.EmailField(_("email address"), unique=True)
    name = models.CharField(_("name"), max_length=100, blank=True)
    is_staff = models.BooleanField(_("operator"), default=False, help_text=_("May log in to the admin."))
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(_("joined"), default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")

    def __str__(self) -> str:
        return self.email


def valid_schedule(text: str) -> None:
    try:
        steps = durations.schedule(text)
    except ValueError:
        raise ValidationError(_("Write durations separated by commas, such as 5m,15m,1h.")) from None
    if min(steps) < 1:
        raise ValidationError(_("Leave at least a second between two attempts."))


class Plan(models.Model):
    """What an account may do: its quota a month, how long its history stays visible, how long its mail is retried."""

    name = models.CharField(_("name"), max_length=60, unique=True)
    monthly_quota = models.PositiveIntegerField(_("emails a month"))
    history_days = models.PositiveSmallIntegerField(_("days of history"), default=45)
    # Empty: those of the settings.
    retry_schedule = models.CharField(
        _("retry schedule"),
        max_length=200,
        blank=True,
        db_default="",
        validators=[valid_schedule],
        help_text=_("Waits between attempts, such as 5m,15m,1h; the last one repeats."),
    )
    give_up_hours = models.PositiveSmallIntegerField(
        _("hours until we give up"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(14 * 24)],
        help_text=_("Counts for mail accepted from now on."),
    )

    class Meta:
        verbose_name = _("plan")
        verbose_name_plural = _("plans")

    def __str__(self) -> str:
        return self.name


def valid_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(_("“%(name)s” is not a time zone."), params={"name": name})


class Account(models.Model):
    """The customer."""

    name = models.CharField(_("name"), max_length=100)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, verbose_name=_("plan"))
    members = models.ManyToManyField(User, through="Membership", related_name="accounts")
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC", validators=[valid_time_zone])
    language = models.CharField(_("language"), max_length=10, default="en")
    suspended_at = models.DateTimeField(_("suspended"), null=True, blank=True)
    # Limits of its own; empty: those of the settings.
    max_recipients = models.PositiveIntegerField(_("recipients a message"), null=True, blank=True)
    messages_a_minute = models.PositiveIntegerField(_("messages a minute"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")

    def __str__(self) -> str:
        return self.name

    @property
    def tzinfo(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def usage(self, at: dt.datetime | None = None) -> "Usage":
        """This month's usage; a row of zero, unsaved, while nothing was sent."""
        period = period_of(at or timezone.now())
        return self.usages.filter(period=period).first() or Usage(account=self, period=period, refused_unrecorded=0)


class Membership(models.Model):
    """A user belongs to an account."""

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        MEMBER = "member", _("Member")

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["account", "user"], name="one_membership_per_account")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.account_id}"


def period_of(moment: dt.datetime) -> dt.date:
    """The first day (UTC) of the calendar month a quota counts for."""
    return moment.astimezone(dt.UTC).date().replace(day=1)


def renewal_of(period: dt.date) -> dt.date:
    return (period + dt.timedelta(days=32)).replace(day=1)


class Usage(models.Model):
    """Emails (recipients) an account sent in one month; `activity/accept.py` spends it."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="usages")
    period = models.DateField(_("month"))
    used = models.PositiveIntegerField(_("emails sent"), default=0)
    # Refusals beyond the bound of what is recorded: counted, so that the customer sees there were more.
    refused_unrecorded = models.PositiveBigIntegerField(_("refused emails without a row"), db_default=0)

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        constraints = [models.UniqueConstraint(fields=["account", "period"], name="one_usage_per_month")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.period:%Y-%m}: {self.used}"

    @property
    def renews_on(self) -> dt.date:
        return renewal_of(self.period)
