"""The figures of the Dashboard: how many emails of each hour have which status. activity/rollup.py writes them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from activity.status import Status
from billing.models import Account


class Rollup(models.Model):
    """How many of an account's emails of one hour have a status now; activity/rollup.py counts them."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, db_index=False)
    hour = models.DateTimeField(_("hour"))
    status = models.CharField(_("status"), max_length=12, choices=Status)
    emails = models.PositiveIntegerField(_("emails"))

    class Meta:
        verbose_name = _("figure")
        verbose_name_plural = _("figures")
        constraints = [models.UniqueConstraint(fields=["account", "hour", "status"], name="one_figure_per_hour")]
        indexes = [models.Index(fields=["hour"], name="rollup_hour")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.status}: {self.emails}"


class RollupHour(models.Model):
    """When an hour was last counted, and how many of its emails were not final then."""

    hour = models.DateTimeField(_("hour"), primary_key=True)
    counted_at = models.DateTimeField(_("counted"), null=True)
    waiting = models.PositiveIntegerField(_("not final"), default=0)

    class Meta:
        verbose_name = _("counted hour")
        verbose_name_plural = _("counted hours")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


class RollupMark(models.Model):
    """An email of this hour changed after its last word: one row a change, so that no two writers meet."""

    hour = models.DateTimeField(_("hour"), db_index=True)

    class Meta:
        verbose_name = _("mark of a changed hour")
        verbose_name_plural = _("marks of changed hours")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"
