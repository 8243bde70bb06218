"""A changed suppression list rings submission's bell (billing/0002), with the account it belongs to."""

from django.db import migrations

MAKE = """
CREATE FUNCTION relay_suppressions_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relay_senders', 'suppressions ' || coalesce(NEW.account_id, OLD.account_id));
    RETURN NULL;
END $$;
CREATE TRIGGER suppressions_changed AFTER INSERT OR UPDATE OR DELETE ON activity_suppression
    FOR EACH ROW EXECUTE FUNCTION relay_suppressions_changed();
"""
REMOVE = """
DROP TRIGGER suppressions_changed ON activity_suppression;
DROP FUNCTION relay_suppressions_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("activity", "0001_initial")]

    operations = [migrations.RunSQL(MAKE, REMOVE)]
