"""Limits of an account, the counter of unrecorded refusals, and the bell that tells submission of changes."""

from django.db import migrations, models

# Submission remembers for moments who may send as what, and forgets when it hears this (relay/submission/directory.py).
# Triggers and not signals, so that an UPDATE by hand, of a QuerySet or in the admin is heard as well.
MAKE = """
CREATE FUNCTION relay_senders_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relay_senders', TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER senders_changed
    AFTER DELETE OR UPDATE OF suspended_at, max_recipients, messages_a_minute ON billing_account
    FOR EACH STATEMENT EXECUTE FUNCTION relay_senders_changed();
"""
REMOVE = """
DROP TRIGGER senders_changed ON billing_account;
DROP FUNCTION relay_senders_changed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="max_recipients",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="recipients a message"),
        ),
        migrations.AddField(
            model_name="account",
            name="messages_a_minute",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="messages a minute"),
        ),
        migrations.AddField(
            model_name="usage",
            name="refused_unrecorded",
            field=models.PositiveBigIntegerField(db_default=0, verbose_name="refused emails without a row"),
        ),
        migrations.RunSQL(MAKE, REMOVE),
    ]
