"""The log-in log, and the bells that tell submission of changed credentials and domains."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

# See billing/0002: what changes who may send rings submission's bell.
MAKE = """
CREATE TRIGGER senders_changed
    AFTER INSERT OR DELETE OR UPDATE OF secret_sha256, revoked_at, networks, domain_id, account_id
    ON domains_smtpcredential
    FOR EACH STATEMENT EXECUTE FUNCTION relay_senders_changed();
CREATE TRIGGER senders_changed
    AFTER INSERT OR DELETE OR UPDATE OF name, validated_at, account_id ON domains_domain
    FOR EACH STATEMENT EXECUTE FUNCTION relay_senders_changed();
"""
REMOVE = """
DROP TRIGGER senders_changed ON domains_smtpcredential;
DROP TRIGGER senders_changed ON domains_domain;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("domains", "0001_initial"),
        ("billing", "0002_limits_and_refusals"),
    ]

    operations = [
        migrations.CreateModel(
            name="LoginEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("username", models.CharField(max_length=64, verbose_name="user name")),
                ("address", models.GenericIPAddressField(verbose_name="address")),
                (
                    "result",
                    models.CharField(
                        choices=[
                            ("accepted", "Logged in"),
                            ("refused", "Wrong secret"),
                            ("revoked", "Credential revoked"),
                            ("unknown", "Unknown user name"),
                            ("blocked", "Blocked after too many failures"),
                        ],
                        max_length=10,
                        verbose_name="result",
                    ),
                ),
                ("count", models.PositiveIntegerField(default=1, verbose_name="times")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="time")),
                (
                    "credential",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="logins",
                        to="domains.smtpcredential",
                    ),
                ),
            ],
            options={
                "verbose_name": "log-in",
                "verbose_name_plural": "log-ins",
                "indexes": [
                    models.Index(fields=["credential", "-at"], name="login_newest"),
                    models.Index(fields=["at"], name="login_oldest"),
                ],
            },
        ),
        migrations.RunSQL(MAKE, REMOVE),
    ]
