"""Destinations that took mail, by the day."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("activity", "0004_destination_rules")]

    operations = [
        migrations.CreateModel(
            name="Acquaintance",
            fields=[
                ("domain", models.TextField(primary_key=True, serialize=False, verbose_name="destination domain")),
                ("last_delivered_on", models.DateField(verbose_name="last delivered")),
            ],
            options={"verbose_name": "acquaintance", "verbose_name_plural": "acquaintances"},
        ),
    ]
