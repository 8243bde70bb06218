"""A plan may have its own retry schedule and its own time until we give up."""

import django.core.validators
from django.db import migrations, models

import billing.models


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_limits_and_refusals")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="give_up_hours",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Counts for mail accepted from now on.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(336),
                ],
                verbose_name="hours until we give up",
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="retry_schedule",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="Waits between attempts, such as 5m,15m,1h; the last one repeats.",
                max_length=200,
                validators=[billing.models.valid_schedule],
                verbose_name="retry schedule",
            ),
        ),
    ]
