"""Rules for destinations: operators write them in the admin; the engine reads them now and then, without the ORM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from psycopg import AsyncConnection
from psycopg.rows import class_row

RULES = """
SELECT name, domains, mx_suffixes, connections, messages_per_connection, messages_a_minute,
    paused_at IS NOT NULL AS paused
FROM activity_destinationrule ORDER BY name
"""


AT_LEAST_ONE = [MinValueValidator(1)]


class DestinationRuleQuerySet(models.QuerySet["DestinationRule"]):
    def naming(self, domain: str) -> "DestinationRule | None":
        return self.filter(domains__contains=[domain]).first()

    def pause(self, domain: str) -> None:
        """Nothing is sent to the domain until `resume`; a rule that names it among others pauses them all."""
        rule = self.naming(domain) or self.model(name=domain, domains=[domain])
        rule.paused_at = rule.paused_at or timezone.now()
        rule.save()

    def resume(self, domain: str) -> None:
        """A rule that did nothing but pause goes, so that the rule for the domain's mail hosts holds again."""
        rule = self.naming(domain)
        if rule is not None and rule.only_pauses and rule.domains == [domain]:
            rule.delete()
        elif rule is not None:
            rule.paused_at = None
            rule.save()


class DestinationRule(models.Model):
    """How mail to some destinations is sent; all that one rule matches counts as one. Empty: the relay's default."""

    name = models.CharField(_("name"), max_length=253, unique=True)
    domains = ArrayField(
        models.CharField(max_length=253),
        verbose_name=_("domains"),
        default=list,
        blank=True,
        help_text=_("Destination domains, separated by commas. They go before mail hosts."),
    )
    mx_suffixes = ArrayField(
        models.CharField(max_length=253),
        verbose_name=_("mail hosts"),
        default=list,
        blank=True,
        help_text=_("Ends of the first MX host's name, separated by commas, such as google.com."),
    )
    connections = models.PositiveSmallIntegerField(_("connections"), null=True, blank=True, validators=AT_LEAST_ONE)
    messages_per_connection = models.PositiveIntegerField(
        _("messages a connection"), null=True, blank=True, validators=AT_LEAST_ONE
    )
    messages_a_minute = models.PositiveIntegerField(
        _("messages a minute"), null=True, blank=True, validators=AT_LEAST_ONE
    )
    paused_at = models.DateTimeField(_("paused since"), null=True, blank=True)
    note = models.TextField(_("note"), blank=True)

    objects = DestinationRuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("rule for destinations")
        verbose_name_plural = _("rules for destinations")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.domains = [name.strip().lower() for name in self.domains]
        self.mx_suffixes = [name.strip().lower().strip(".") for name in self.mx_suffixes]
        super().save(*args, **kwargs)

    @property
    def only_pauses(self) -> bool:
        return not (self.connections or self.messages_per_connection or self.messages_a_minute)


@dataclass(frozen=True, slots=True)
class Rule:
    """One DestinationRule. None: the relay's default holds."""

    name: str
    domains: Sequence[str] = ()
    mx_suffixes: Sequence[str] = ()
    connections: int | None = None
    messages_per_connection: int | None = None
    messages_a_minute: int | None = None
    paused: bool = False

    def __hash__(self) -> int:
        return hash(self.name)


async def rules(connection: AsyncConnection[Any]) -> list[Rule]:
    async with connection.cursor(row_factory=class_row(Rule)) as cursor:
        await cursor.execute(RULES)
        return await cursor.fetchall()


def rule_for(rules: Iterable[Rule], domain: str, mx_host: str) -> Rule | None:
    """A rule that names the domain goes before one that names the end of its mail host's name."""
    rules = list(rules)
    for rule in rules:
        if domain in rule.domains:
            return rule
    for rule in rules:
        if any(mx_host == suffix or mx_host.endswith(f".{suffix}") for suffix in rule.mx_suffixes):
            return rule
    return None
