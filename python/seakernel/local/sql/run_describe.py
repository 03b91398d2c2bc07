"""DESCRIBE, and the text that would create a table."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, rows_query

if TYPE_CHECKING:
    from seakernel.local.sql import commands
    from seakernel.local.sql.catalog import Table
    from seakernel.local.sql.typed import QuerySql
    from seakernel.local.sql.types import DataType

S = types.STRING
_FACTS: list[tuple[str, DataType]] = [("col_name", S), ("data_type", S), ("comment", S)]


def describe(execution: Execution, command: commands.Describe) -> QuerySql:
    """Answers a DESCRIBE."""
    if command.what == "QUERY":
        if command.query is None:
            raise unsupported("DESCRIBE QUERY without a query")
        made = execution.translator().query(command.query)
        return rows_query(_FACTS, [(column.name, column.type.simple, None) for column in made.columns])
    if command.what == "SCHEMA":
        return _schema(execution, command)
    if command.what == "CATALOG":
        catalog = execution.warehouse.catalog(execution.environment.catalog_name(command.name))
        return rows_query(
            [("info_name", S), ("info_value", S)],
            [("Catalog Name", catalog.name), ("Comment", catalog.comment or ""), ("Owner", catalog.owner)],
        )
    if command.what == "FUNCTION":
        return _function(execution, command)
    table = execution.environment.find(command.name)
    if table is None:
        return _information_schema(execution, command)
    if command.what == "HISTORY":
        return history(table, command.limit)
    if command.what == "DETAIL":
        return _detail(table)
    if command.as_json:
        return rows_query([("json_metadata", S)], [(json_text(table),)])
    if command.column:
        column = table.column(command.column)
        return rows_query(
            [("info_name", S), ("info_value", S)],
            [("col_name", column.name), ("data_type", column.type.simple), ("comment", column.comment or "NULL")],
        )
    return rows_query(_FACTS, _table_rows(table, extended=command.extended))


def _information_schema(execution: Execution, command: commands.Describe) -> QuerySql:
    from seakernel.local.sql.information_schema import TABLES, described_columns

    _, schema, name = execution.environment.qualified(command.name)
    if (
        schema.lower() == "information_schema"
        and name.lower() in TABLES
        and command.what == "TABLE"
        and not command.as_json
    ):
        return rows_query(_FACTS, [(column, kind.simple, None) for column, kind in described_columns(name.lower())])
    execution.environment.require(command.name)
    raise unsupported("This DESCRIBE")


def _table_rows(table: Table, *, extended: bool) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [(column.name, column.type.simple, column.comment) for column in table.columns]
    if table.partitioned_by:
        rows += [("# Partition Information", "", ""), ("# col_name", "data_type", "comment")]
        rows += [
            (column.name, column.type.simple, column.comment)
            for column in table.columns
            if column.name.lower() in [name.lower() for name in table.partitioned_by]
        ]
    if table.clustered_by:
        rows += [("# Clustering Information", "", ""), ("# col_name", "data_type", "comment")]
        rows += [
            (column.name, column.type.simple, column.comment)
            for column in table.columns
            if column.name.lower() in [name.lower() for name in table.clustered_by]
        ]
    if not extended:
        return rows
    rows += [("", "", ""), ("# Detailed Table Information", "", "")]
    rows += [("Catalog", table.catalog, ""), ("Database", table.schema, ""), ("Table", table.name, "")]
    rows += [
        ("Created Time", table.created.strftime("%a %b %d %H:%M:%S UTC %Y"), ""),
        ("Last Access", "UNKNOWN", ""),
        ("Created By", "Spark ", ""),
    ]
    rows += [("Type", _kind(table), "")]
    if table.comment:
        rows += [("Comment", table.comment, "")]
    if table.is_view:
        rows += [("View Text", table.view_text, ""), ("View Catalog and Namespace", ".".join(table.view_place), "")]
    else:
        rows += [
            ("Location", f"local:/{table.catalog}/{table.schema}/{table.name}", ""),
            ("Provider", _provider(table), ""),
        ]
    rows += [("Owner", table.owner, "")]
    properties = _shown_properties(table)
    rows += [("Table Properties", "[" + ",".join(f"{key}={value}" for key, value in properties) + "]", "")]
    if table.primary_key or table.foreign_keys:
        rows += [("", "", ""), ("# Constraints", "", "")]
        if table.primary_key:
            rows += [
                (
                    table.primary_key.name,
                    f"PRIMARY KEY ({', '.join(f'`{name}`' for name in table.primary_key.columns)})",
                    "",
                )
            ]
        for key in table.foreign_keys:
            parent = ".".join(f"`{part}`" for part in key.parent)
            rows += [
                (key.name, f"FOREIGN KEY ({', '.join(f'`{name}`' for name in key.columns)}) REFERENCES {parent}", "")
            ]
    return rows


def _shown_properties(table: Table) -> list[tuple[str, str]]:
    from seakernel.local.sql.run_show import table_properties

    return sorted(table_properties(table).items())


def _kind(table: Table) -> str:
    return "VIEW" if table.is_view else "EXTERNAL" if table.reader is not None else "MANAGED"


def _provider(table: Table) -> str:
    return "delta"


def _schema(execution: Execution, command: commands.Describe) -> QuerySql:
    catalog, name = execution.environment.schema_name(command.name)
    schema = execution.warehouse.schema(catalog, name)
    rows = [
        ("Catalog Name", execution.warehouse.catalog(catalog).name),
        ("Namespace Name", schema.name),
        ("Comment", schema.comment or ""),
        ("Location", ""),
        ("Owner", schema.owner),
    ]
    if command.extended:
        properties = ", ".join(f"({key},{value})" for key, value in sorted(schema.properties.items()))
        rows.append(("Properties", f"({properties})" if properties else ""))
    return rows_query([("database_description_item", S), ("database_description_value", S)], rows)


def _detail(table: Table) -> QuerySql:
    """DESCRIBE DETAIL; a table in memory has no files, so what is said of them is NULL."""
    if table.is_view:
        raise failure(
            "DELTA_UNSUPPORTED_DESCRIBE_DETAIL_VIEW",
            "42809",
            f"{table.full_name} is a view. DESCRIBE DETAIL is only supported for tables.",
        )
    texts, facts = types.array_of(S), types.map_of(S, S)
    columns: list[tuple[str, DataType]] = [
        ("format", S),
        ("id", S),
        ("name", S),
        ("description", S),
        ("location", S),
        ("createdAt", types.TIMESTAMP),
        ("lastModified", types.TIMESTAMP),
        ("partitionColumns", texts),
        ("clusteringColumns", texts),
        ("numFiles", types.BIGINT),
        ("sizeInBytes", types.BIGINT),
        ("properties", facts),
        ("minReaderVersion", types.INT),
        ("minWriterVersion", types.INT),
        ("tableFeatures", texts),
        ("statistics", facts),
    ]
    changed = table.versions[-1].moment if table.versions else table.created
    row: tuple[Any, ...] = (
        "delta",
        str(uuid.uuid5(uuid.NAMESPACE_URL, f"{table.full_name}/{table.created.isoformat()}")),
        table.full_name,
        table.comment,
        f"local:/{table.catalog}/{table.schema}/{table.name}",
        table.created,
        changed,
        table.partitioned_by,
        table.clustered_by,
        None,
        None,
        table.properties,
        1,
        2,
        ["appendOnly", "invariants"],
        {},
    )
    return rows_query(columns, [row])


def _function(execution: Execution, command: commands.Describe) -> QuerySql:
    from seakernel.local.sql.registry import FUNCTIONS

    routine = execution.environment.routine(command.name)
    if routine is not None:
        parameters = ", ".join(f"{name} {kind.text}" for name, kind, _ in routine.parameters)
        lines = [
            f"Function: {routine.catalog}.{routine.schema}.{routine.name}",
            "Type:     SCALAR",
            f"Input:    {parameters}",
            f"Returns:  {routine.returns.text if routine.returns else 'TABLE'}",
        ]
        if command.extended:
            lines.append(f"Body:     {routine.text}")
        return rows_query([("function_desc", S)], [(line,) for line in lines])
    if len(command.name) == 1 and command.name[0].lower() in FUNCTIONS:
        raise unsupported("DESCRIBE FUNCTION of a built-in function")
    raise failure("ROUTINE_NOT_FOUND", "42883", f"The routine `{'`.`'.join(command.name)}` cannot be found.")


def history(table: Table, limit: int | None = None) -> QuerySql:
    """The versions of a table, newest first."""
    if table.is_view:
        raise failure("DELTA_CANNOT_DESCRIBE_VIEW_HISTORY", "42809", "Cannot describe the history of a view.")
    if not table.versions:
        raise unsupported(f"DESCRIBE HISTORY of `{table.full_name}`")
    texts = types.map_of(S, S)
    columns: list[tuple[str, DataType]] = [
        ("version", types.BIGINT),
        ("timestamp", types.TIMESTAMP),
        ("userId", S),
        ("userName", S),
        ("operation", S),
        ("operationParameters", texts),
        ("job", S),
        ("notebook", S),
        ("clusterId", S),
        ("readVersion", types.BIGINT),
        ("isolationLevel", S),
        ("isBlindAppend", types.BOOLEAN),
        ("operationMetrics", texts),
        ("userMetadata", S),
        ("engineInfo", S),
    ]
    rows = [
        (
            version.number,
            version.moment,
            None,
            table.owner,
            version.operation,
            version.parameters,
            None,
            None,
            None,
            version.number - 1 if version.number else None,
            "WriteSerializable",
            version.parameters.get("mode") == "Append",
            version.metrics,
            None,
            "seakernel-local",
        )
        for version in reversed(table.versions[-limit:] if limit else table.versions)
    ]
    return rows_query(columns, rows)


def json_type(kind: DataType) -> dict[str, Any]:
    """A type as DESCRIBE ... AS JSON spells it."""
    if kind.kind == "DECIMAL":
        return {"name": "decimal", "precision": kind.precision, "scale": kind.scale}
    if kind.kind in ("CHAR", "VARCHAR"):
        return {"name": kind.kind.lower(), "length": kind.length}
    if kind.kind == "ARRAY":
        return {"name": "array", "element_type": json_type(kind.item), "element_nullable": True}
    if kind.kind == "MAP":
        return {
            "name": "map",
            "key_type": json_type(kind.map_key),
            "value_type": json_type(kind.item),
            "value_nullable": True,
        }
    if kind.kind == "STRUCT":
        return {
            "name": "struct",
            "fields": [{"name": part.name, "type": json_type(part.type), "nullable": True} for part in kind.fields],
        }
    if kind.is_interval:
        return {"name": "interval", "start_unit": kind.units[0].lower(), "end_unit": kind.units[1].lower()}
    return {"name": {"TIMESTAMP": "timestamp_ltz"}.get(kind.kind, kind.kind.lower())}


def json_text(table: Table) -> str:
    """A table as DESCRIBE ... AS JSON gives it."""
    columns = []
    for column in table.columns:
        entry: dict[str, Any] = {"name": column.name, "type": json_type(column.type)}
        if column.comment:
            entry["comment"] = column.comment
        entry["nullable"] = column.nullable
        if column.default:
            entry["default"] = column.default
        columns.append(entry)
    facts: dict[str, Any] = {
        "table_name": table.name,
        "catalog_name": table.catalog,
        "namespace": [table.schema],
        "schema_name": table.schema,
        "columns": columns,
    }
    if table.is_view:
        facts |= {"view_text": table.view_text, "view_catalog_and_namespace": ".".join(table.view_place)}
    else:
        facts |= {"location": f"local:/{table.catalog}/{table.schema}/{table.name}", "provider": "delta"}
    if table.comment:
        facts["comment"] = table.comment
    if table.partitioned_by:
        facts["partition_columns"] = table.partitioned_by
    facts |= {
        "table_properties": dict(_shown_properties(table)),
        "created_time": table.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "created_by": "Spark",
        "type": _kind(table),
        "owner": table.owner,
    }
    return json.dumps(facts)


def create_table_text(table: Table) -> str:
    """The statement that would create the table or view."""
    name = ".".join(_shown(part) for part in (table.catalog, table.schema, table.name) if part)
    if table.is_view:
        columns = ",\n  ".join(
            _shown(column.name) + (f" COMMENT '{_escaped(column.comment)}'" if column.comment else "")
            for column in table.columns
        )
        comment = f"COMMENT '{_escaped(table.comment)}'\n" if table.comment else ""
        return f"CREATE VIEW {name} (\n  {columns})\n{comment}AS {table.view_text}\n"
    lines = []
    for column in table.columns:
        line = f"{_shown(column.name)} {column.type.text}"
        if column.generated:
            line += f" GENERATED ALWAYS AS ({column.generated})"
        if column.identity:
            always, start, step = column.identity
            line += f" GENERATED {'ALWAYS' if always else 'BY DEFAULT'} AS IDENTITY (START WITH {start} INCREMENT BY {step})"
        elif not column.nullable:
            line += " NOT NULL"
        if column.default:
            line += f" DEFAULT {column.default}"
        if column.comment:
            line += f" COMMENT '{_escaped(column.comment)}'"
        lines.append(line)
    if table.primary_key:
        lines.append(
            f"CONSTRAINT {_shown(table.primary_key.name)} PRIMARY KEY ({', '.join(map(_shown, table.primary_key.columns))})"
        )
    text = f"CREATE TABLE {name} (\n  " + ",\n  ".join(lines) + ")\nUSING delta\n"
    if table.partitioned_by:
        text += f"PARTITIONED BY ({', '.join(map(_shown, table.partitioned_by))})\n"
    if table.clustered_by:
        text += f"CLUSTER BY ({', '.join(map(_shown, table.clustered_by))})\n"
    if table.comment:
        text += f"COMMENT '{_escaped(table.comment)}'\n"
    properties = ",\n  ".join(f"'{_escaped(key)}' = '{_escaped(value)}'" for key, value in _shown_properties(table))
    return text + f"TBLPROPERTIES (\n  {properties})\n"


def _shown(name: str) -> str:
    return (
        name
        if name.replace("_", "").isalnum() and name.isascii() and not name[0].isdigit()
        else f"`{name.replace('`', '``')}`"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
