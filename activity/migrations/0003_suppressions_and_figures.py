"""Suppression lists with search and a log of removals, the Dashboard's figures, and DSNs to be made."""

import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("activity", "0002_suppressions_ring"),
        ("billing", "0002_limits_and_refusals"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="OwedDsn",
            fields=[
                ("recipient_id", models.UUIDField(primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "DSN to be made",
                "verbose_name_plural": "DSNs to be made",
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField(verbose_name="hour")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("rejected", "Rejected"),
                            ("accepted", "Accepted"),
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("deferred", "Deferred"),
                            ("soft_bounce", "Soft bounce"),
                            ("hard_bounce", "Hard bounce"),
                        ],
                        max_length=12,
                        verbose_name="status",
                    ),
                ),
                ("emails", models.PositiveIntegerField(verbose_name="emails")),
            ],
            options={
                "verbose_name": "figure",
                "verbose_name_plural": "figures",
            },
        ),
        migrations.CreateModel(
            name="RollupHour",
            fields=[
                ("hour", models.DateTimeField(primary_key=True, serialize=False, verbose_name="hour")),
                ("counted_at", models.DateTimeField(null=True, verbose_name="counted")),
                ("waiting", models.PositiveIntegerField(default=0, verbose_name="not final")),
            ],
            options={
                "verbose_name": "counted hour",
                "verbose_name_plural": "counted hours",
            },
        ),
        migrations.CreateModel(
            name="RollupMark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField(db_index=True, verbose_name="hour")),
            ],
            options={
                "verbose_name": "mark of a changed hour",
                "verbose_name_plural": "marks of changed hours",
            },
        ),
        migrations.CreateModel(
            name="SuppressionRemoval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.TextField(verbose_name="address")),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("hard_bounce", "Hard bounce"),
                            ("complaint", "Complaint"),
                            ("manual", "Added by hand"),
                        ],
                        max_length=12,
                        verbose_name="cause",
                    ),
                ),
                ("since", models.DateTimeField(verbose_name="since")),
                ("removed_at", models.DateTimeField(auto_now_add=True, verbose_name="removed")),
                ("reason", models.CharField(blank=True, max_length=200, verbose_name="reason")),
            ],
            options={
                "verbose_name": "removal from a suppression list",
                "verbose_name_plural": "removals from suppression lists",
            },
        ),
        migrations.AlterField(
            model_name="suppression",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="suppressions",
                to="billing.account",
            ),
        ),
        migrations.AddIndex(
            model_name="suppression",
            index=models.Index(fields=["account", "id"], name="suppression_newest"),
        ),
        migrations.AddIndex(
            model_name="suppression",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Upper("address"), "gin_trgm_ops"
                ),
                name="suppression_address",
            ),
        ),
        migrations.AddField(
            model_name="rollup",
            name="account",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to="billing.account"),
        ),
        migrations.AddField(
            model_name="suppressionremoval",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="removals",
                to="billing.account",
            ),
        ),
        migrations.AddField(
            model_name="suppressionremoval",
            name="removed_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL, verbose_name="by"
            ),
        ),
        migrations.AddIndex(
            model_name="rollup",
            index=models.Index(fields=["hour"], name="rollup_hour"),
        ),
        migrations.AddConstraint(
            model_name="rollup",
            constraint=models.UniqueConstraint(fields=("account", "hour", "status"), name="one_figure_per_hour"),
        ),
        migrations.AddIndex(
            model_name="suppressionremoval",
            index=models.Index(fields=["account", "id"], name="removal_newest"),
        ),
    ]
