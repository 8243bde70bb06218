"""Rules for destinations, and what is known to be polite towards the big providers."""

import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models

# Connections and messages a connection: KumoMTA's assets/policy-extras/shaping.toml; Apple publishes no figures.
SOURCE = "From KumoMTA's shaping rules."
DEFAULTS = [
    ("google", ["google.com", "googlemail.com"], 5, 50, SOURCE),
    ("microsoft365", ["mail.protection.outlook.com", "mx.microsoft"], 5, 50, SOURCE),
    ("outlook", ["olc.protection.outlook.com"], 5, 50, SOURCE),
    ("yahoo", ["yahoodns.net"], 5, 20, SOURCE),
    ("apple", ["icloud.com"], 5, 50, "Cautious: Apple publishes no figures."),
]


def add_defaults(apps, schema_editor):
    rule = apps.get_model("activity", "DestinationRule")
    for name, suffixes, connections, messages, note in DEFAULTS:
        rule.objects.create(
            name=name, mx_suffixes=suffixes, connections=connections, messages_per_connection=messages, note=note
        )


class Migration(migrations.Migration):
    dependencies = [("activity", "0003_suppressions_and_figures")]

    operations = [
        migrations.CreateModel(
            name="DestinationRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=253, unique=True, verbose_name="name")),
                (
                    "domains",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=253),
                        blank=True,
                        default=list,
                        help_text="Destination domains, separated by commas. They go before mail hosts.",
                        verbose_name="domains",
                    ),
                ),
                (
                    "mx_suffixes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=253),
                        blank=True,
                        default=list,
                        help_text="Ends of the first MX host's name, separated by commas, such as google.com.",
                        verbose_name="mail hosts",
                    ),
                ),
                (
                    "connections",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="connections",
                    ),
                ),
                (
                    "messages_per_connection",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="messages a connection",
                    ),
                ),
                (
                    "messages_a_minute",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="messages a minute",
                    ),
                ),
                ("paused_at", models.DateTimeField(blank=True, null=True, verbose_name="paused since")),
                ("note", models.TextField(blank=True, verbose_name="note")),
            ],
            options={
                "verbose_name": "rule for destinations",
                "verbose_name_plural": "rules for destinations",
                "ordering": ["name"],
            },
        ),
        migrations.RunPython(add_defaults, migrations.RunPython.noop),
    ]
