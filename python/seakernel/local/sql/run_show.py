"""SHOW: what there is, in the columns that official clients read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from seakernel.local.sql import types
from seakernel.local.sql.catalog import INFORMATION_SCHEMA, Catalog, Schema, Table
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, require_table, rows_query
from seakernel.local.sql.information_schema import TABLES, described_columns
from seakernel.local.sql.run_describe import create_table_text
from seakernel.local.sql.typed import OutputColumn, QuerySql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local.sql import commands
    from seakernel.local.sql.types import DataType

S, B, I = types.STRING, types.BOOLEAN, types.INT  # noqa: E741


def matches(pattern: str | None, name: str) -> bool:
    """Whether a name fits a pattern of SHOW: `*` for anything, `|` between choices, `.` for one character, case apart."""
    if pattern is None:
        return True
    for choice in pattern.strip().split("|"):
        regex = ".*".join(_literal(part) for part in choice.strip().split("*"))
        if re.fullmatch(regex, name, re.IGNORECASE | re.DOTALL):
            return True
    return False


def _literal(text: str) -> str:
    # Clients send `.` for any one character, and a backslash before one that is meant.
    return "".join(
        part if part == "." else re.escape(part) for part in re.findall(r"\.|[^.]", text.replace("\\\\", "\\"))
    )


def _catalogs(execution: Execution, show: commands.Show) -> QuerySql:
    names = sorted(catalog.name for catalog in execution.warehouse.catalogs.values())
    return rows_query([("catalog", S)], [(name,) for name in names if matches(show.patterns.get("LIKE"), name)])


def _schema_names(catalog: Catalog) -> list[str]:
    return sorted([schema.name for schema in catalog.schemas.values()] + [INFORMATION_SCHEMA])


def _schemas(execution: Execution, show: commands.Show) -> QuerySql:
    pattern = show.patterns.get("LIKE")
    if show.everywhere:
        rows = [
            (name, catalog.name)
            for catalog in sorted(execution.warehouse.catalogs.values(), key=lambda one: one.name)
            for name in _schema_names(catalog)
            if matches(pattern, name)
        ]
        return rows_query([("databaseName", S), ("catalog", S)], rows)
    catalog = execution.warehouse.catalog(
        execution.environment.catalog_name(show.name) if show.name else execution.environment.catalog
    )
    return rows_query([("databaseName", S)], [(name,) for name in _schema_names(catalog) if matches(pattern, name)])


def _places(execution: Execution, show: commands.Show) -> Iterator[tuple[Catalog, str, Schema | None]]:
    """The schemas that a SHOW looks into; information_schema comes without a Schema."""
    if show.everywhere or "IN CATALOG" in show.patterns:
        catalogs = sorted(execution.warehouse.catalogs.values(), key=lambda one: one.name)
        if not show.everywhere:
            catalogs = [execution.warehouse.catalog(show.name[0])]
        only = show.name[1:] if not show.everywhere else []
        for catalog in catalogs:
            for name in _schema_names(catalog):
                if matches(show.patterns.get("SCHEMA"), name) and (not only or name.lower() == only[0].lower()):
                    yield catalog, name, catalog.schemas.get(name.lower())
        return
    catalog_name, name = execution.environment.schema_name(show.name or [execution.environment.schema])
    catalog = execution.warehouse.catalog(catalog_name)
    if name.lower() == INFORMATION_SCHEMA:
        yield catalog, INFORMATION_SCHEMA, None
        return
    schema = execution.warehouse.schema(catalog_name, name)
    yield catalog, schema.name, schema


def _tables(execution: Execution, show: commands.Show) -> QuerySql:
    columns = [
        ("namespace", S),
        ("tableName", S),
        ("isTemporary", B),
        ("information", S),
        ("catalogName", S),
        ("tableType", S),
        ("remarks", S),
    ]
    wide = show.everywhere or "IN CATALOG" in show.patterns
    pattern = show.patterns.get("LIKE")
    rows: list[tuple[Any, ...]] = []
    for catalog, name, schema in _places(execution, show):
        if schema is None:
            rows += [
                (name, table, False, None, catalog.name, "SYSTEM TABLE", None)
                for table in sorted(TABLES)
                if matches(pattern, table)
            ]
            continue
        for table in sorted(schema.tables.values(), key=lambda one: one.name):
            if matches(pattern, table.name):
                rows.append(
                    (name, table.name, False, None, catalog.name, "VIEW" if table.is_view else "TABLE", table.comment)
                )
    rows += [
        ("", view.name, True, None, None, "VIEW", None)
        for view in execution.session.temporary_views.values()
        if matches(pattern, view.name)
    ]
    if wide:
        return rows_query(columns, rows)
    return rows_query([("database", S), *columns[1:3]], [row[:3] for row in rows])


def _views(execution: Execution, show: commands.Show) -> QuerySql:
    pattern = show.patterns.get("LIKE")
    rows: list[tuple[Any, ...]] = []
    for _, name, schema in _places(execution, show):
        tables = sorted(schema.tables.values() if schema else [], key=lambda one: one.name)
        rows += [(name, table.name, False, False) for table in tables if table.is_view and matches(pattern, table.name)]
    rows += [
        ("", view.name, True, False)
        for view in execution.session.temporary_views.values()
        if matches(pattern, view.name)
    ]
    return rows_query([("namespace", S), ("viewName", S), ("isTemporary", B), ("isMaterialized", B)], rows)


_COLUMN_FACTS: list[tuple[str, DataType]] = [
    ("col_name", S),
    ("catalogName", S),
    ("namespace", S),
    ("tableName", S),
    ("columnType", S),
    ("columnSize", I),
    ("decimalDigits", I),
    ("radix", I),
    ("isNullable", S),
    ("remarks", S),
    ("ordinalPosition", I),
    ("isAutoIncrement", S),
    ("isGenerated", S),
]
_SIZES = {
    "BOOLEAN": 1,
    "TINYINT": 1,
    "SMALLINT": 2,
    "INT": 4,
    "BIGINT": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
    "DATE": 4,
    "TIMESTAMP": 8,
    "TIMESTAMP_NTZ": 8,
    "STRING": 2147483647,
}
_DIGITS = {
    "FLOAT": 7,
    "DOUBLE": 15,
    "TIMESTAMP": 6,
    "TIMESTAMP_NTZ": 6,
    "TINYINT": 0,
    "SMALLINT": 0,
    "INT": 0,
    "BIGINT": 0,
}


def _columns(execution: Execution, show: commands.Show) -> QuerySql:
    if "IN CATALOG" not in show.patterns and not show.everywhere:
        table = execution.environment.require(show.name)
        return rows_query([("col_name", S)], [(column.name,) for column in table.columns])
    rows: list[tuple[Any, ...]] = []
    for catalog, name, schema in _places(execution, show):
        for table in sorted(schema.tables.values() if schema else [], key=lambda one: one.name):
            if matches(show.patterns.get("TABLE"), table.name):
                rows += [
                    row for row in _column_rows(catalog, name, table) if matches(show.patterns.get("LIKE"), row[0])
                ]
        if schema is None:
            for known in sorted(TABLES):
                if matches(show.patterns.get("TABLE"), known):
                    listed = described_columns(known)
                    rows += [
                        (
                            column,
                            catalog.name,
                            name,
                            known,
                            kind.text,
                            _SIZES.get(kind.kind),
                            _DIGITS.get(kind.kind),
                            10 if kind.is_numeric else None,
                            "true",
                            None,
                            place,
                            "",
                            "",
                        )
                        for place, (column, kind) in enumerate(listed)
                        if matches(show.patterns.get("LIKE"), column)
                    ]
    return rows_query(_COLUMN_FACTS, rows)


def _column_rows(catalog: Catalog, schema: str, table: Table) -> Iterator[tuple[Any, ...]]:
    for place, column in enumerate(table.columns):
        kind = column.type
        size = (
            kind.precision
            if kind.kind == "DECIMAL"
            else kind.length
            if kind.kind in ("CHAR", "VARCHAR")
            else _SIZES.get(kind.kind)
        )
        digits = kind.scale if kind.kind == "DECIMAL" else _DIGITS.get(kind.kind)
        yield (
            column.name,
            catalog.name,
            schema,
            table.name,
            kind.text,
            size,
            digits,
            10 if kind.is_numeric else None,
            "true" if column.nullable else "false",
            column.comment,
            place,
            "YES" if column.identity else "NO",
            "YES" if column.generated else "NO",
        )


def _functions(execution: Execution, show: commands.Show) -> QuerySql:
    pattern = show.patterns.get("LIKE")
    if "IN CATALOG" not in show.patterns and not show.everywhere:
        from seakernel.local.sql.registry import FUNCTIONS

        names = []
        if show.patterns.get("KIND") != "USER":
            names += [name for name in FUNCTIONS if name.isidentifier()]
        if show.patterns.get("KIND") != "SYSTEM":
            names += [
                f"{catalog.name}.{name}.{routine.name}"
                for catalog, name, schema in _places(execution, show)
                for routine in (schema.routines.values() if schema else [])
            ]
        return rows_query(
            [("function", S)], [(name,) for name in sorted(names) if matches(pattern, name.rsplit(".", 1)[-1])]
        )
    rows = [
        (routine.name, catalog.name, name, routine.comment, "FUNCTION", routine.name)
        for catalog, name, schema in _places(execution, show)
        for routine in (schema.routines.values() if schema else [])
        if matches(pattern, routine.name)
    ]
    return rows_query(
        [
            ("functionName", S),
            ("catalogName", S),
            ("namespace", S),
            ("remarks", S),
            ("functionType", S),
            ("specificName", S),
        ],
        rows,
    )


def _keyed_table(execution: Execution, show: commands.Show) -> Table:
    return execution.environment.require(show.name)


def _keys(execution: Execution, show: commands.Show) -> QuerySql:
    table = _keyed_table(execution, show)
    key = table.primary_key
    rows = (
        [
            (table.catalog, table.schema, table.name, name, place, key.name)
            for place, name in enumerate(key.columns, start=1)
        ]
        if key
        else []
    )
    return rows_query(
        [("catalogName", S), ("namespace", S), ("tableName", S), ("col_name", S), ("keySeq", I), ("constraintName", S)],
        rows,
    )


def _foreign_keys(execution: Execution, show: commands.Show) -> QuerySql:
    table = _keyed_table(execution, show)
    rows = [
        (*key.parent, parent, table.catalog, table.schema, table.name, name, place, 3, 3, key.name, None)
        for key in table.foreign_keys
        for place, (name, parent) in enumerate(
            zip(key.columns, key.parent_columns or key.columns, strict=False), start=1
        )
    ]
    columns = [
        *[
            (name, S)
            for name in (
                "parentCatalogName",
                "parentNamespace",
                "parentTableName",
                "parentColName",
                "catalogName",
                "namespace",
                "tableName",
                "col_name",
            )
        ],
        ("keySeq", I),
        ("updateRule", I),
        ("deleteRule", I),
        ("constraintName", S),
        ("primaryKeyName", S),
    ]
    return rows_query(columns, rows)


def table_properties(table: Table) -> dict[str, str]:
    """The properties of a table, with those that every Delta table has."""
    if table.is_view:
        return dict(table.properties)
    checks = {f"delta.constraints.{name.lower()}": text for name, text in table.checks.items()}
    return {"delta.minReaderVersion": "1", "delta.minWriterVersion": "2", **checks, **table.properties}


def _properties(execution: Execution, show: commands.Show) -> QuerySql:
    table = execution.environment.require(show.name)
    properties = table_properties(table)
    key = show.patterns.get("KEY")
    if key is not None:
        value = properties.get(key, f"Table {table.full_name} does not have property: {key}")
        return rows_query([("key", S), ("value", S)], [(key, value)])
    return rows_query([("key", S), ("value", S)], sorted(properties.items()))


def _create(execution: Execution, show: commands.Show) -> QuerySql:
    table = execution.environment.require(show.name)
    if not table.catalog:
        raise unsupported("SHOW CREATE TABLE of a temporary view")
    return rows_query([("createtab_stmt", S)], [(create_table_text(table),)])


def _volumes(execution: Execution, show: commands.Show) -> QuerySql:
    pattern = show.patterns.get("LIKE")
    rows = [
        (place, name)
        for _, place, schema in _places(execution, show)
        for name in sorted(schema.volumes if schema is not None else ())
        if matches(pattern, name)
    ]
    return rows_query([("database", S), ("volume_name", S)], rows)


def _partitions(execution: Execution, show: commands.Show) -> QuerySql:
    table = require_table(execution, show.name, "SHOW PARTITIONS")
    if not table.partitioned_by:
        raise failure(
            "DELTA_SHOW_PARTITION_IN_NON_PARTITIONED_TABLE",
            "42809",
            f"SHOW PARTITIONS is not allowed on a table that is not partitioned: {table.full_name}.",
        )
    columns = [table.column(name) for name in table.partitioned_by]
    items = ", ".join(f"{column.physical} AS c{place}" for place, column in enumerate(columns))
    outputs = [OutputColumn(column.name, column.type, f"c{place}") for place, column in enumerate(columns)]
    return QuerySql(f"SELECT DISTINCT {items} FROM {table.storage} ORDER BY ALL", outputs)


_WHAT: dict[str, Callable[[Execution, commands.Show], QuerySql]] = {
    "CATALOGS": _catalogs,
    "SCHEMAS": _schemas,
    "TABLES": _tables,
    "VIEWS": _views,
    "COLUMNS": _columns,
    "FUNCTIONS": _functions,
    "KEYS": _keys,
    "FOREIGN KEYS": _foreign_keys,
    "TBLPROPERTIES": _properties,
    "CREATE TABLE": _create,
    "VOLUMES": _volumes,
    "PARTITIONS": _partitions,
}


def show(execution: Execution, command: commands.Show) -> QuerySql:
    """Answers a SHOW."""
    handler = _WHAT.get(command.what)
    if handler is None:
        raise unsupported(f"SHOW {command.what}")
    return handler(execution, command)
