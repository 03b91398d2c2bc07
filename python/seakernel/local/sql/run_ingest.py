"""Rows that come as Arrow data, by Zerobus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import unsupported
from seakernel.local.sql.execution import parse_expression, require_table
from seakernel.local.sql.run_rows import stored
from seakernel.local.sql.typed import Column, Scope, Typed
from seakernel.local.sql.types import quoted

if TYPE_CHECKING:
    from seakernel.local.sql import commands
    from seakernel.local.sql.catalog import Table, TableColumn
    from seakernel.local.sql.execution import Execution
    from seakernel.local.sql.queries import QueryTranslator

#: The operation of a version that rows are still added to: a version of each message would be a copy of the table each.
_OPERATION = "STREAMING UPDATE"


def describe(table: Table) -> list[tuple[str, str, bool]]:
    """Names, types and nullability of the columns.

    Raises:
        SqlError: rows cannot be added, or not without values that the warehouse makes.
    """
    if table.is_view or table.reader is not None:
        raise unsupported(f"Ingestion into `{table.full_name}`, which is a view or read from files,")
    if any(column.generated or column.identity for column in table.columns):
        raise unsupported(f"Ingestion into `{table.full_name}`, which has generated columns,")
    return [(column.name, column.type.text, column.nullable) for column in table.columns]


def append(execution: Execution, command: commands.AppendRows) -> None:
    """Adds rows that have all columns of the table, in order."""
    table = require_table(execution, command.name, "Ingestion")
    open_version = bool(table.versions) and table.versions[-1].operation == _OPERATION
    if not open_version:
        execution.preserve(table)
    execution.cursor.register("seakernel_arrived", command.rows)
    translator = execution.translator()
    items = ", ".join(f"{_value(translator, column)} AS {column.physical}" for column in table.columns)
    added = execution.count(f"INSERT INTO {table.storage} SELECT {items} FROM seakernel_arrived AS r0")
    execution.cursor.unregister("seakernel_arrived")
    execution.check_rows(table)
    if open_version:
        added += int(table.versions.pop().metrics["numOutputRows"])
    execution.record(table, _OPERATION, {"numOutputRows": added}, {"outputMode": "Append"})


def _value(translator: QueryTranslator, column: TableColumn) -> str:
    sql = f"r0.{quoted(column.name)}"
    if column.type.kind == "VARIANT":
        scope = Scope([Column("arrived", types.STRING, sql)])
        return stored(translator, translator.expression(parse_expression("parse_json(arrived)"), scope), column)
    return stored(translator, Typed(sql, types.STRING if column.type.is_string else column.type), column)
