"""Credentials whose software expects a notification of each bounce."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("domains", "0002_login_log"),
    ]

    operations = [
        migrations.AddField(
            model_name="smtpcredential",
            name="send_dsn",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Tell the envelope sender of each bounce by email (RFC 3464).",
                verbose_name="send DSNs",
            ),
        ),
    ]
