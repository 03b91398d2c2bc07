"""What running a statement needs: its session, a DuckDB cursor, and the way to make results."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from seakernel.local.sql import types
from seakernel.local.sql.catalog import INFORMATION_SCHEMA, Table, TableColumn, Version
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.queries import QueryTranslator
from seakernel.local.sql.typed import Column, OutputColumn, QuerySql, Scope
from seakernel.local.sql.types import DataType, text_literal
from seakernel.local.sql.versions import ROW_BUDGET

if TYPE_CHECKING:
    from seakernel.local.sql.catalog import Warehouse
    from seakernel.local.sql.session import Session, StatementEnvironment
    from seakernel.local.sql.syntax import IdentifierClause


@dataclass
class Execution:
    """One statement being run."""

    warehouse: Warehouse
    session: Session
    environment: StatementEnvironment
    cursor: Any

    def translator(self) -> QueryTranslator:
        """A translator for the statement."""
        return QueryTranslator(self.environment)

    def name(self, given: list[str] | IdentifierClause) -> list[str]:
        """A name as its parts, an IDENTIFIER clause resolved."""
        return given if isinstance(given, list) else self.translator().identifier(given)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs DuckDB SQL and gives its rows."""
        rows: list[tuple[Any, ...]] = self.cursor.execute(sql).fetchall()
        return rows

    def count(self, sql: str) -> int:
        """Runs DuckDB SQL that changes rows, and says how many."""
        rows = self.run(sql)
        return int(rows[0][0]) if rows and rows[0] else 0

    def row_count(self, storage: str) -> int:
        """The number of rows of a DuckDB table."""
        return int(self.run(f"SELECT count(*) FROM {storage}")[0][0])

    def preserve(self, table: Table) -> None:
        """Keeps the rows of the table's last version apart before they change, if they are few enough."""
        if not any(version.storage == table.storage for version in table.versions):
            return
        # Several versions share a storage when only facts about the table changed between them.
        rows = {version.storage: version.row_count for version in table.versions if version.storage}
        needed = rows.pop(table.storage, 0)
        while rows and sum(rows.values()) + needed > ROW_BUDGET:
            oldest = next(iter(rows))
            del rows[oldest]
            self.run(f"DROP TABLE {oldest}")
            _move(table, oldest, None)
        if needed > ROW_BUDGET:
            _move(table, table.storage, None)
            return
        copy = self.warehouse.new_storage()
        self.run(f"CREATE TABLE {copy} AS SELECT * FROM {table.storage}")
        _move(table, table.storage, copy)

    def record(
        self,
        table: Table,
        operation: str,
        metrics: dict[str, int] | None = None,
        parameters: dict[str, str] | None = None,
    ) -> None:
        """Adds a version to the table's history."""
        table.versions.append(
            Version(
                number=table.versions[-1].number + 1 if table.versions else 0,
                moment=datetime.datetime.now(datetime.timezone.utc),
                operation=operation,
                parameters=parameters or {},
                metrics={name: str(value) for name, value in (metrics or {}).items()},
                storage=table.storage,
                row_count=self.row_count(table.storage),
                columns=[TableColumn(column.name, column.type) for column in table.columns],
            )
        )

    def check_rows(self, table: Table) -> None:
        """Fails if a row breaks a CHECK constraint, or has a value in a generated column that is not the generated one."""
        checks = [
            *table.checks.items(),
            *(
                ("Generated Column", f"`{column.name.replace('`', '``')}` <=> ({column.generated})")
                for column in table.columns
                if column.generated
            ),
        ]
        for name, text in checks:
            if self.count_breaking(table, text):
                raise failure(
                    "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES",
                    "23001",
                    f"CHECK constraint {name} ({text}) violated by row with values.",
                )

    def count_breaking(self, table: Table, text: str) -> int:
        """How many rows do not fulfil a condition; NULL does not fulfil it."""
        with self.environment.stored_text():
            condition = self.translator().boolean(parse_expression(text), Scope(stored_columns(table, "r0")))
        rows = self.run(f"SELECT count(*) FROM {table.storage} AS r0 WHERE ({condition.sql}) IS DISTINCT FROM true")
        return int(rows[0][0])


def _move(table: Table, storage: str, target: str | None) -> None:
    """Says where the versions are now whose rows were in `storage`."""
    for version in table.versions:
        if version.storage == storage:
            version.storage = target


def parse_expression(text: str) -> Any:
    """Parses the text of a default, a check or a generated column."""
    from seakernel.local.sql.parse_query import QueryParser

    parser = QueryParser(text)
    found = parser.expression()
    parser.expect_end()
    return found


def stored_columns(table: Table, alias: str) -> list[Column]:
    """The columns of a table as a scope sees them."""
    names = (table.catalog.lower(), table.schema.lower(), table.name.lower())
    return [
        Column(column.name, types.STRING if column.type.is_string else column.type, f"{alias}.{column.physical}", names)
        for column in table.columns
    ]


def require_table(execution: Execution, parts: list[str], what: str) -> Table:
    """The table of that name, which must be one whose rows can change."""
    catalog, schema, name = execution.environment.qualified(parts)
    if schema.lower() == INFORMATION_SCHEMA and len(parts) > 1:
        raise failure(
            "INSUFFICIENT_PERMISSIONS",
            "42501",
            f"Insufficient privileges: `{catalog}`.`{schema}`.`{name}` is read-only.",
        )
    table = execution.environment.require(parts)
    if table.is_view:
        raise failure(
            "EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE",
            "42809",
            f"'{what}' expects a table but `{table.full_name}` is a view.",
        )
    if table.reader is not None:
        raise unsupported(f"{what} on `{table.full_name}`, which is read from files,")
    return table


def value_literal(value: Any, kind: DataType) -> str:
    """A Python value as DuckDB SQL."""
    if value is None:
        return f"CAST(NULL AS {kind.engine})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return f"CAST({value} AS {kind.engine})"
    if isinstance(value, datetime.datetime):
        micros = int(
            (value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1)
        )
        return f"make_timestamptz({micros})"
    if isinstance(value, dict):
        keys = ", ".join(text_literal(str(key)) for key in value)
        values = ", ".join(text_literal(str(part)) for part in value.values())
        return f"CAST(map([{keys}], [{values}]) AS {kind.engine})"
    if isinstance(value, list):
        return f"CAST([{', '.join(value_literal(part, kind.item) for part in value)}] AS {kind.engine})"
    return text_literal(str(value))


def rows_query(columns: list[tuple[str, DataType]], rows: list[tuple[Any, ...]]) -> QuerySql:
    """A query that gives fixed rows."""
    outputs = [OutputColumn(name, kind, f"c{place}") for place, (name, kind) in enumerate(columns)]
    if not rows:
        items = ", ".join(f"CAST(NULL AS {kind.engine}) AS c{place}" for place, (_, kind) in enumerate(columns))
        return QuerySql(f"SELECT {items} WHERE false", outputs)
    text = ", ".join(
        "(" + ", ".join(value_literal(value, kind) for value, (_, kind) in zip(row, columns, strict=True)) + ")"
        for row in rows
    )
    names = ", ".join(column.physical for column in outputs)
    items = ", ".join(f"CAST({column.physical} AS {column.type.engine}) AS {column.physical}" for column in outputs)
    return QuerySql(f"SELECT {items} FROM (VALUES {text}) AS r({names})", outputs)


def counts(**numbers: int) -> QuerySql:
    """The one row that a statement changing rows answers with."""
    return rows_query([(name, types.BIGINT) for name in numbers], [tuple(numbers.values())])
