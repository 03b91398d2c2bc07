"""ALTER TABLE and ALTER VIEW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.catalog import Table, TableColumn, exists_already
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, require_table
from seakernel.local.sql.run_definition import (
    check_condition,
    check_default,
    check_properties,
    complete_key,
    query_of_view,
    writable_schema,
)
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from seakernel.local.sql import commands
    from seakernel.local.sql.types import DataType


def alter(execution: Execution, command: commands.AlterTable) -> None:
    """Changes a table or view."""
    table = execution.environment.require(command.name)
    if table.catalog:
        writable_schema(execution, [table.catalog, table.schema, table.name])
    if table.is_view:
        _alter_view(execution, command, table)
        return
    require_table(execution, command.name, f"ALTER TABLE ... {command.action}")
    if command.is_view:
        raise failure(
            "EXPECT_VIEW_NOT_TABLE.NO_ALTERNATIVE",
            "42809",
            f"'ALTER VIEW' expects a view but `{table.full_name}` is a table.",
        )
    _ACTIONS[command.action](execution, command, table)


def _alter_view(execution: Execution, command: commands.AlterTable, view: Table) -> None:
    if not view.catalog:
        raise unsupported("ALTER VIEW of a temporary view (CREATE OR REPLACE it instead)")
    if command.action == "AS":
        made = query_of_view(execution, command.text, view.full_name, temporary=False)
        if len({column.name.lower() for column in made.columns}) != len(made.columns):
            raise failure("COLUMN_ALREADY_EXISTS", "42711", "The view's columns must have different names.")
        view.view_text = command.text
        view.view_place = (execution.environment.catalog, execution.environment.schema)
        view.columns = [TableColumn(column.name, column.type) for column in made.columns]
        view.query_names = [column.name for column in made.columns]
        # Fails if the view leads back to itself.
        execution.environment.table(syntax.TableName(command.name), execution.translator())
    elif command.action == "RENAME":
        _rename(execution, command, view)
    elif command.action in ("SET PROPERTIES", "UNSET PROPERTIES"):
        _ACTIONS[command.action](execution, command, view)
    else:
        raise unsupported(f"ALTER VIEW ... {command.action}")


def _rename(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    schema, (catalog_name, schema_name, name) = writable_schema(
        execution, command.names[0] if len(command.names[0]) > 1 else [table.catalog, table.schema, command.names[0][0]]
    )
    if name.lower() in schema.tables:
        raise exists_already("table", [catalog_name, schema_name, name])
    del execution.warehouse.schema(table.catalog, table.schema).tables[table.name.lower()]
    table.catalog, table.schema, table.name = catalog_name, schema_name, name
    schema.tables[name.lower()] = table


def _rename_column(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    old, new = _plain(command.names[0]), command.names[1][0]
    column = table.column(old)
    if any(other.name.lower() == new.lower() and other is not column for other in table.columns):
        raise failure("FIELD_ALREADY_EXISTS", "42710", f"Cannot rename column, because `{new}` already exists.")
    _require_column_mapping(table, "RENAME_COLUMN", "Column rename")
    _check_name(table, new)
    if table.checks or any(other.generated for other in table.columns):
        raise unsupported("RENAME COLUMN of a table with CHECK constraints or generated columns")
    _refuse_keys(table, column.name)
    before = column.name
    column_names = {before.lower(): new}
    execution.preserve(table)
    old_physical, column.name = column.physical, new
    execution.run(f"ALTER TABLE {table.storage} RENAME COLUMN {old_physical} TO {column.physical}")
    table.partitioned_by = [column_names.get(name.lower(), name) for name in table.partitioned_by]
    table.clustered_by = [column_names.get(name.lower(), name) for name in table.clustered_by]
    execution.record(table, "RENAME COLUMN")


def _refuse_keys(table: Table, name: str) -> None:
    for key in [table.primary_key, *table.foreign_keys]:
        if key is not None and name in key.columns:
            raise unsupported(f"This change of `{name}`, which is part of a key,")


def _require_column_mapping(table: Table, error_class: str, what: str) -> None:
    if table.properties.get("delta.columnMapping.mode", "none").lower() not in ("name", "id"):
        raise failure(
            f"DELTA_UNSUPPORTED_{error_class}",
            "0AKDC",
            f"{what} is not supported for your Delta table. Please enable column mapping on your Delta table with mapping mode 'name', "
            "with ALTER TABLE ... SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name').",
        )


def _check_name(table: Table, name: str) -> None:
    if any(mark in name for mark in " ,;{}()\n\t=") and table.properties.get("delta.columnMapping.mode") != "name":
        raise failure(
            "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES",
            "42K05",
            f"Found invalid character(s) among ' ,;{{}}()\\n\\t=' in the column names of your schema. Invalid column names: {name}. Please use other characters and try again.",
        )


def _plain(parts: list[str]) -> str:
    if len(parts) > 1:
        raise unsupported("ALTER TABLE of a field of a STRUCT")
    return parts[0]


def _add_columns(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    for _, definition, where in command.columns:
        column = definition.column
        if any(other.name.lower() == column.name.lower() for other in table.columns):
            if command.if_exists:
                continue
            raise failure(
                "FIELD_ALREADY_EXISTS",
                "42710",
                f"Cannot add column, because `{column.name}` already exists in the table.",
            )
        if (
            not column.nullable
            or column.generated
            or column.identity
            or definition.check
            or definition.primary_key is not None
            or definition.references
        ):
            raise unsupported("ADD COLUMN with NOT NULL, GENERATED or a constraint")
        if column.default:
            raise failure(
                "WRONG_COLUMN_DEFAULTS_FOR_DELTA_ALTER_TABLE_ADD_COLUMN_NOT_SUPPORTED",
                "0AKDC",
                "Failed to execute the command because DEFAULT values are not supported when adding new columns to previously existing Delta tables.",
            )
        if column.type.contains("VOID"):
            raise unsupported(f"A column of type {column.type.text}")
        _check_name(table, column.name)
        table.columns.insert(_place(table, where), column)
    # Rows are kept in the order of the columns, so the storage is made anew.
    _rebuild(execution, table, {})
    execution.record(table, "ADD COLUMNS")


def _place(table: Table, where: str) -> int:
    if where == "FIRST":
        return 0
    if where:
        return table.columns.index(table.column(where.removeprefix("AFTER "))) + 1
    return len(table.columns)


def _rebuild(execution: Execution, table: Table, values: dict[str, str]) -> None:
    """Copies the rows to a new DuckDB table with the columns of now; a column that was not there is NULL."""
    present = {str(row[0]).lower() for row in execution.run(f"SELECT column_name FROM (DESCRIBE {table.storage})")}
    storage = execution.warehouse.new_storage()
    columns = ", ".join(
        f"{column.physical} {column.type.engine}{'' if column.nullable else ' NOT NULL'}" for column in table.columns
    )
    items = ", ".join(
        values.get(column.name.lower())
        or (f"r0.{column.physical}" if f"c_{column.name}".lower() in present else f"CAST(NULL AS {column.type.engine})")
        for column in table.columns
    )
    execution.run(f"CREATE TABLE {storage} ({columns})")
    execution.run(f"INSERT INTO {storage} SELECT {items} FROM {table.storage} AS r0")
    # The old storage stays as the last version's.
    table.storage = storage


def _drop_columns(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    _require_column_mapping(table, "DROP_COLUMN", "DROP COLUMN")
    for parts in command.names:
        name = _plain(parts)
        if command.if_exists and not any(column.name.lower() == name.lower() for column in table.columns):
            continue
        column = table.column(name)
        if table.checks or any(other.generated for other in table.columns):
            raise unsupported("DROP COLUMN of a table with CHECK constraints or generated columns")
        if column.name.lower() in [other.lower() for other in (*table.partitioned_by, *table.clustered_by)]:
            raise failure(
                "DELTA_UNSUPPORTED_DROP_PARTITION_COLUMN",
                "0AKDC",
                "Dropping partition or clustering columns is not supported.",
            )
        if len(table.columns) == 1:
            raise failure(
                "DELTA_DROP_COLUMN_ON_SINGLE_FIELD_SCHEMA",
                "0AKDC",
                "Cannot drop column from a schema with a single column.",
            )
        _refuse_keys(table, column.name)
        table.columns.remove(column)
    _rebuild(execution, table, {})
    execution.record(table, "DROP COLUMNS")


def _set_properties(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    if not table.is_view:
        check_properties(command.properties)
    table.properties = {**table.properties, **command.properties}
    if not table.is_view:
        execution.record(table, "SET TBLPROPERTIES")


def _unset_properties(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    for (name,) in command.names:
        if name not in table.properties and not command.if_exists:
            raise failure(
                "DELTA_UNSET_NON_EXISTENT_PROPERTY" if not table.is_view else "UNSET_NONEXISTENT_PROPERTIES",
                "42616" if not table.is_view else "42K0J",
                f"Attempted to unset non-existent property '{name}' in table {table.full_name}.",
            )
        table.properties = {key: value for key, value in table.properties.items() if key != name}
    if not table.is_view:
        execution.record(table, "UNSET TBLPROPERTIES")


def _cluster(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    if table.partitioned_by:
        raise failure(
            "DELTA_ALTER_TABLE_CLUSTER_BY_ON_PARTITIONED_TABLE_NOT_ALLOWED",
            "42000",
            "ALTER TABLE CLUSTER BY cannot be applied to a partitioned table.",
        )
    table.clustered_by = [table.column(_plain(parts)).name for parts in command.names]
    execution.record(table, "CLUSTER BY")


def _add_check(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    name = command.names[0][0]
    if not name or name.lower() in [other.lower() for other in table.checks]:
        raise failure(
            "DELTA_CONSTRAINT_ALREADY_EXISTS",
            "42710",
            f"Constraint '{name}' already exists. Please delete the old constraint first.",
        )
    check_condition(execution, table, command.text)
    broken = execution.count_breaking(table, command.text)
    if broken:
        raise failure(
            "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION",
            "23512",
            f"{broken} rows in {table.full_name} violate the new CHECK constraint ({command.text}).",
        )
    table.checks = {**table.checks, name: command.text}
    execution.record(table, "ADD CONSTRAINT")


def _add_key(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    key = command.key
    if key is None:
        raise unsupported("This constraint")
    if command.action == "ADD PRIMARY KEY":
        if table.primary_key is not None:
            raise failure("CONSTRAINT_ALREADY_EXISTS", "42710", f"Table `{table.full_name}` has a primary key already.")
        for name in key.columns:
            if table.column(name).nullable:
                raise failure(
                    "DELTA_PRIMARY_KEY_ON_NULLABLE_COLUMN",
                    "42831",
                    f"Cannot create the primary key `{key.name}` because its child column(s) `{name}` is nullable. Please change the column nullability and retry.",
                )
        complete_key(execution, table, key)
        table.primary_key = key
    else:
        complete_key(execution, table, key)
        table.foreign_keys = [*table.foreign_keys, key]


def _drop_constraint(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    if command.action == "DROP PRIMARY KEY":
        table.primary_key = None
        return
    name = command.names[0][0].lower()
    before = (len(table.checks), len(table.foreign_keys), table.primary_key)
    table.checks = {key: text for key, text in table.checks.items() if key.lower() != name}
    table.foreign_keys = [key for key in table.foreign_keys if key.name.lower() != name]
    if table.primary_key is not None and table.primary_key.name.lower() == name:
        table.primary_key = None
    if before == (len(table.checks), len(table.foreign_keys), table.primary_key) and not command.if_exists:
        raise failure(
            "DELTA_CONSTRAINT_DOES_NOT_EXIST",
            "42704",
            f"Cannot drop nonexistent constraint {command.names[0][0]} from table `{table.full_name}`.",
        )


def _column_comment(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    table.column(_plain(command.names[0])).comment = command.text
    execution.record(table, "CHANGE COLUMN")


def _column_nullable(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    column = table.column(_plain(command.names[0]))
    required = command.action == "COLUMN SET NOT NULL"
    broken = execution.run(f"SELECT count(*) FROM {table.storage} WHERE {column.physical} IS NULL")[0][0]
    if required and broken:
        raise failure(
            "DELTA_NEW_NOT_NULL_VIOLATION",
            "23512",
            f"{broken} rows in {table.full_name} violate the new NOT NULL constraint on {column.name}.",
        )
    if not required and table.primary_key and column.name in table.primary_key.columns:
        raise unsupported("DROP NOT NULL of a column of the primary key")
    execution.run(
        f"ALTER TABLE {table.storage} ALTER COLUMN {column.physical} {'SET' if required else 'DROP'} NOT NULL"
    )
    column.nullable = not required
    execution.record(table, "CHANGE COLUMN")


def _column_default(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    column = table.column(_plain(command.names[0]))
    if command.action == "COLUMN DROP DEFAULT":
        column.default = None
        execution.record(table, "CHANGE COLUMN")
        return
    column.default = command.text
    check_default(execution, table, column, "ALTER TABLE")
    execution.record(table, "CHANGE COLUMN")


def _column_type(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    column = table.column(_plain(command.names[0]))
    target = command.type or column.type
    text_only = column.type.is_string and target.is_string
    allowed = text_only or table.properties.get("delta.enableTypeWidening", "false").lower() == "true"
    if not _widens(column.type, target) or not (allowed or target == column.type):
        raise failure(
            "DELTA_UNSUPPORTED_ALTER_TABLE_CHANGE_COL_OP",
            "0AKDC",
            f"ALTER TABLE CHANGE COLUMN is not supported for changing column {column.name} from {column.type.text} to {target.text}.",
        )
    value = execution.translator().caster.cast(Typed(f"r0.{column.physical}", column.type), target)
    column.type = target
    _rebuild(execution, table, {column.name.lower(): value.sql})
    execution.record(table, "CHANGE COLUMN")


def _widens(old: DataType, new: DataType) -> bool:
    if old.is_integral and new.is_integral:
        return types.INTEGER_BITS[new.kind] >= types.INTEGER_BITS[old.kind]
    if old.kind == "DECIMAL" and new.kind == "DECIMAL":
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    if old.is_string and new.is_string:
        return new.kind == "STRING" or (old.kind == new.kind and new.length >= old.length)
    return (old.kind, new.kind) in (
        ("FLOAT", "DOUBLE"),
        ("DATE", "TIMESTAMP_NTZ"),
        ("INT", "DOUBLE"),
        ("SMALLINT", "DOUBLE"),
        ("TINYINT", "DOUBLE"),
    ) or (
        old == new
        or (
            old.is_integral
            and new.kind == "DECIMAL"
            and new.precision - new.scale >= (20 if old.kind == "BIGINT" else 10)
        )
    )


def _column_place(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    """Moves a column: `FIRST` or `AFTER another`."""
    column = table.column(_plain(command.names[0]))
    if command.text.removeprefix("AFTER ").lower() == column.name.lower():
        raise unsupported("A column moved behind itself")
    table.columns.remove(column)
    table.columns.insert(_place(table, command.text), column)
    _rebuild(execution, table, {})
    execution.record(table, "CHANGE COLUMN")


def _refuse_as(execution: Execution, command: commands.AlterTable, table: Table) -> None:
    raise failure(
        "EXPECT_VIEW_NOT_TABLE.NO_ALTERNATIVE",
        "42809",
        f"'ALTER VIEW ... AS' expects a view but `{table.full_name}` is a table.",
    )


_ACTIONS = {
    "AS": _refuse_as,
    "RENAME": _rename,
    "RENAME COLUMN": _rename_column,
    "ADD COLUMNS": _add_columns,
    "DROP COLUMNS": _drop_columns,
    "SET PROPERTIES": _set_properties,
    "UNSET PROPERTIES": _unset_properties,
    "CLUSTER": _cluster,
    "ADD CHECK": _add_check,
    "ADD PRIMARY KEY": _add_key,
    "ADD FOREIGN KEY": _add_key,
    "DROP CONSTRAINT": _drop_constraint,
    "DROP PRIMARY KEY": _drop_constraint,
    "COLUMN COMMENT": _column_comment,
    "COLUMN SET NOT NULL": _column_nullable,
    "COLUMN DROP NOT NULL": _column_nullable,
    "COLUMN SET DEFAULT": _column_default,
    "COLUMN DROP DEFAULT": _column_default,
    "COLUMN TYPE": _column_type,
    "COLUMN PLACE": _column_place,
}
