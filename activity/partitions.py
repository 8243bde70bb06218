"""CreateModel for the mail tables: the same migration operation, but the table is partitioned by time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import CreateModel
from django.db.migrations.state import ProjectState


class CreatePartitionedModel(CreateModel):
    """`primary_key` lists the columns of the SQL primary key; the first one is the partition key.

    PostgreSQL wants the partition key inside every unique key, so StatusEvent, which lies with its recipient, has the
    SQL key (recipient_id, id) while Django goes on to know it by `id`.
    """

    def __init__(self, *args: Any, primary_key: tuple[str, ...] = ("id",), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.primary_key = primary_key

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        name, args, kwargs = super().deconstruct()
        return name, list(args), {**kwargs, "primary_key": self.primary_key}

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        with self._partitioned(schema_editor):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    @contextmanager
    def _partitioned(self, schema_editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
        plain = schema_editor.table_sql

        def table_sql(model: Any) -> tuple[str, list[Any]]:
            sql, params = plain(model)
            columns = sql.replace(" PRIMARY KEY", "").rstrip().removesuffix(")")
            key = ", ".join(self.primary_key)
            return (
                f"{columns}, PRIMARY KEY ({key})) PARTITION BY RANGE ({self.primary_key[0]})",
                params,
            )

        schema_editor.table_sql = table_sql  # type: ignore[method-assign]
        try:
            yield
        finally:
            schema_editor.table_sql = plain  # type: ignore[method-assign]
