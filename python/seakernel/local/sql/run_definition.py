"""CREATE, DROP, ALTER, COMMENT ON: changes of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.catalog import (
    INFORMATION_SCHEMA,
    Catalog,
    Schema,
    Table,
    TableColumn,
    TableKey,
    exists_already,
    missing_table,
)
from seakernel.local.sql.errors import SqlError, failure, unsupported
from seakernel.local.sql.execution import Execution, counts, parse_expression, require_table, stored_columns
from seakernel.local.sql.routines import Routine
from seakernel.local.sql.run_rows import stored
from seakernel.local.sql.statements import parse_query
from seakernel.local.sql.typed import Column, QuerySql, Scope, Typed
from seakernel.local.sql.types import quoted
from seakernel.local.sql.volumes import drop_volume, remove_folder

if TYPE_CHECKING:
    from seakernel.local.sql import commands

_READ_ONLY_CATALOGS = ("samples", "system")


def writable_schema(execution: Execution, parts: list[str]) -> tuple[Schema, tuple[str, str, str]]:
    """The schema that a name is in, which must be one that can change, and the three parts of the name."""
    catalog, schema, name = execution.environment.qualified(parts)
    if catalog.lower() in _READ_ONLY_CATALOGS or schema.lower() == INFORMATION_SCHEMA:
        raise failure(
            "INSUFFICIENT_PERMISSIONS", "42501", f"Insufficient privileges: `{catalog}`.`{schema}` is read-only."
        )
    holder = execution.warehouse.schema(catalog, schema)
    return holder, (execution.warehouse.catalog(catalog).name, holder.name, object_name(name))


def object_name(name: str) -> str:
    """A name as Unity Catalog keeps it: in lower case, and without some characters."""
    if len(name) > 255 or any(character in "./ \x7f" or character < " " for character in name):
        raise unsupported(f"The object name `{name[:255]}`")
    return name.lower()


def check_properties(properties: dict[str, str]) -> None:
    """Refuses the names that are no properties."""
    for key in properties:
        if key.lower() in ("owner", "location", "provider", "external", "is_managed_location"):
            raise failure(
                "UNSUPPORTED_FEATURE.SET_TABLE_PROPERTY",
                "0A000",
                f"The feature is not supported: {key} is a reserved table property.",
            )
        if key.lower().startswith("delta.constraints."):
            raise failure(
                "DELTA_ADD_CONSTRAINTS", "0A000", "Please use ALTER TABLE ADD CONSTRAINT to add CHECK constraints."
            )


def create_table(execution: Execution, command: commands.CreateTable) -> QuerySql | None:
    """CREATE TABLE."""
    parts = execution.name(command.name)
    schema, (catalog_name, schema_name, name) = writable_schema(execution, parts)
    old = execution.warehouse.find(catalog_name, schema_name, name)
    if old is None and command.must_exist:
        raise failure(
            "DELTA_CANNOT_REPLACE_MISSING_TABLE",
            "42P01",
            f"Table {catalog_name}.{schema_name}.{name} cannot be replaced as it does not exist. Use CREATE OR REPLACE TABLE to create the table.",
        )
    if old is not None:
        if command.if_not_exists:
            return None
        if not command.replace:
            raise exists_already("table", [catalog_name, schema_name, name])
        if old.is_view:
            raise failure(
                "EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE",
                "42809",
                f"'REPLACE TABLE' expects a table but `{old.full_name}` is a view.",
            )
    table = Table(catalog_name, schema_name, name, [], owner=execution.session.user)
    table.storage = execution.warehouse.new_storage()
    _describe_new(execution, table, command)
    source = execution.translator().query(command.query) if command.query is not None else None
    if source is not None:
        _columns_of_query(table, command, source)
    _check_columns(execution, table)
    _create_storage(execution, table)
    added = 0
    if source is not None:
        added = _fill(execution, table, source)
    if old is not None:
        execution.preserve(old)
        table.versions = old.versions
        table.created = old.created
    schema.tables[name.lower()] = table
    operation = ("CREATE OR REPLACE TABLE" if command.replace else "CREATE TABLE") + (
        " AS SELECT" if source is not None else ""
    )
    execution.check_rows(table)
    execution.record(table, operation, {"numOutputRows": added} if source is not None else None)
    return counts(num_affected_rows=added, num_inserted_rows=added) if source is not None else None


def _describe_new(execution: Execution, table: Table, command: commands.CreateTable) -> None:
    table.comment = command.comment
    check_properties(command.properties)
    if command.partitioned_by and command.clustered_by:
        raise failure(
            "SPECIFY_CLUSTER_BY_WITH_PARTITIONED_BY_IS_NOT_ALLOWED",
            "42908",
            "Cannot specify both CLUSTER BY and PARTITIONED BY.",
        )
    table.properties = dict(command.properties)
    table.checks = dict(command.checks)
    table.foreign_keys = list(command.foreign_keys)
    table.primary_key = command.primary_key
    if command.like:
        model = execution.environment.require(command.like)
        if (
            model.partitioned_by
            or model.clustered_by
            or model.checks
            or any(column.default or column.generated or column.identity for column in model.columns)
            or (model.properties and not model.is_view)
        ):
            raise unsupported("CREATE TABLE ... LIKE a table with more than plain columns")
        table.columns = [
            TableColumn(column.name, column.type, column.comment, column.nullable) for column in model.columns
        ]
    for definition in command.columns:
        table.columns.append(definition.column)
        _column_constraints(table, definition)
    known = {column.name.lower(): column.name for column in table.columns}
    for name in [*command.partitioned_by, *command.clustered_by]:
        if table.columns and name.split(".")[0].lower() not in known:
            raise failure(
                "UNRESOLVED_COLUMN.WITH_SUGGESTION", "42703", f"A column with name `{name}` cannot be resolved."
            )
    table.partitioned_by = list(command.partitioned_by)
    table.clustered_by = list(command.clustered_by)
    for key in [table.primary_key, *table.foreign_keys]:
        if key is not None:
            complete_key(execution, table, key)


def _column_constraints(table: Table, definition: commands.ColumnDefinition) -> None:
    name = definition.column.name
    if definition.primary_key is not None:
        table.primary_key = TableKey(definition.primary_key, [name])
    if definition.references is not None:
        key, parent, columns = definition.references
        table.foreign_keys.append(TableKey(key, [name], parent, columns))
    if definition.check is not None:
        table.checks[definition.check[0] or f"check_{name}"] = definition.check[1]


def complete_key(execution: Execution, table: Table, key: TableKey) -> None:
    """Fills in the names that the statement leaves out."""
    key.columns = [table.column(name).name for name in key.columns]
    if key.parent:
        key.parent = list(execution.environment.qualified(key.parent))
        parent = execution.warehouse.find(*key.parent)
        if parent is None and [part.lower() for part in key.parent] != [
            table.catalog.lower(),
            table.schema.lower(),
            table.name.lower(),
        ]:
            raise missing_table(key.parent)
        if parent is not None and not key.parent_columns and parent.primary_key is not None:
            key.parent_columns = list(parent.primary_key.columns)
        key.name = key.name or f"{table.name}_{key.columns[0]}_fk"
    else:
        key.name = key.name or f"{table.name}_pk"
        for name in key.columns:
            table.column(name).nullable = False


def _columns_of_query(table: Table, command: commands.CreateTable, source: QuerySql) -> None:
    if table.columns:
        raise failure(
            "UNSUPPORTED_FEATURE.TABLE_OPERATION",
            "42000",
            "Schema may not be specified in a Create Table As Select (CTAS) statement.",
        )
    for column in source.columns:
        if column.type.contains("VOID"):
            raise (
                failure(
                    "DELTA_NULL_SCHEMA_IN_CTAS",
                    "42K09",
                    f"The column `{column.name}` has the type VOID, which a table cannot hold.",
                )
                if column.type.kind != "VOID"
                else unsupported(f"A table column `{column.name}` of type VOID")
            )
        table.columns.append(TableColumn(column.name, column.type))
    known = {column.name.lower() for column in table.columns}
    for name in [*command.partitioned_by, *command.clustered_by]:
        if name.split(".")[0].lower() not in known:
            raise failure(
                "UNRESOLVED_COLUMN.WITH_SUGGESTION", "42703", f"A column with name `{name}` cannot be resolved."
            )


def _check_columns(execution: Execution, table: Table) -> None:
    seen: set[str] = set()
    for column in table.columns:
        if column.name.lower() in seen:
            raise failure(
                "COLUMN_ALREADY_EXISTS",
                "42711",
                f"The column `{column.name}` already exists. Choose another name or rename the existing column.",
            )
        seen.add(column.name.lower())
        if (
            any(mark in column.name for mark in " ,;{}()\n\t=")
            and table.properties.get("delta.columnMapping.mode") != "name"
        ):
            raise failure(
                "DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES",
                "42K05",
                f"Found invalid character(s) among ' ,;{{}}()\\n\\t=' in the column names of your schema. Invalid column names: {column.name}. Please use other characters and try again.",
            )
        if column.type.contains("VOID"):
            raise unsupported(f"A column of type {column.type.text}")
        if column.default:
            check_default(execution, table, column, "CREATE TABLE")
        if column.generated:
            others = Scope(
                [
                    Column(other.name, types.STRING if other.type.is_string else other.type, "x")
                    for other in table.columns
                    if not other.generated
                ]
            )
            _check_generated(execution, column, others)
        if column.identity and column.type.kind != "BIGINT":
            raise failure(
                "DELTA_IDENTITY_COLUMNS_UNSUPPORTED_DATA_TYPE",
                "428H2",
                "DataType is not supported for IDENTITY columns: only BIGINT is.",
            )
    if sum(1 for column in table.columns if column.identity) > 1:
        raise unsupported("A table with several identity columns")
    for text in table.checks.values():
        check_condition(execution, table, text)
    if not table.columns:
        raise unsupported("A table without columns")


def check_default(execution: Execution, table: Table, column: TableColumn, command: str) -> None:
    """Fails unless the default is a constant that fits the column, and the table may have defaults."""
    if table.properties.get("delta.feature.allowColumnDefaults", "").lower() not in ("supported", "enabled"):
        raise failure(
            "WRONG_COLUMN_DEFAULTS_FOR_DELTA_FEATURE_NOT_ENABLED",
            "0AKDE",
            f"Failed to execute {command} command because it assigned a column DEFAULT value, but the corresponding table feature was not enabled. "
            "Please retry the command again after executing ALTER TABLE tableName SET TBLPROPERTIES('delta.feature.allowColumnDefaults' = 'supported').",
        )
    text = column.default or "NULL"
    translator = execution.translator()
    with execution.environment.stored_text():
        value = translator.expression(parse_expression(text), Scope())
    if value.aggregate or value.window:
        raise failure(
            "INVALID_DEFAULT_VALUE.NOT_CONSTANT",
            "42623",
            f"Failed to execute {command} command because the destination column or variable `{column.name}` has a DEFAULT value {text}, which is not a constant expression.",
        )
    if value.type.is_string and not column.type.is_string:
        raise failure(
            "INVALID_DEFAULT_VALUE.DATA_TYPE",
            "42623",
            f'Failed to execute {command} command because the destination column or variable `{column.name}` has a DEFAULT value {text}, which requires "{column.type.text}" type, but the statement provided a value of incorrect "STRING" type.',
        )
    # Computed now, so that a value that does not fit is found now.
    execution.run(f"SELECT count({stored(translator, value, column)})")


def _check_generated(execution: Execution, column: TableColumn, others: Scope) -> None:
    translator = execution.translator()
    text = column.generated or "NULL"
    try:
        with execution.environment.stored_text():
            value = translator.expression(parse_expression(text), others)
    except SqlError as error:
        if "UNRESOLVED_COLUMN" in error.message:
            raise failure(
                "DELTA_INVALID_GENERATED_COLUMN_REFERENCES",
                "42621",
                "A generated column cannot use a non-existent column or another generated column.",
            ) from None
        raise
    if value.aggregate:
        raise failure(
            "DELTA_AGGREGATE_IN_GENERATED_COLUMN",
            "42621",
            f"Found {text}. A generated column cannot use an aggregate expression.",
        )
    if value.volatile or value.window:
        raise failure(
            "DELTA_UNSUPPORTED_EXPRESSION_GENERATED_COLUMN", "42621", f"{text} cannot be used in a generated column."
        )
    if value.type != column.type and not (value.type.is_string and column.type.is_string):
        raise failure(
            "DELTA_GENERATED_COLUMNS_EXPR_TYPE_MISMATCH",
            "42K09",
            f"The expression type of the generated column {column.name} is {value.type.text}, but the column type is {column.type.text}.",
        )


def check_condition(execution: Execution, table: Table, text: str) -> None:
    """Fails unless the text is a condition that a CHECK constraint can have."""
    with execution.environment.stored_text():
        value = execution.translator().expression(parse_expression(text), Scope(stored_columns(table, "r0")))
    if value.type.kind not in ("BOOLEAN", "VOID"):
        raise failure(
            "DELTA_NON_BOOLEAN_CHECK_CONSTRAINT", "42621", f"CHECK constraint ({text}) should be a boolean expression."
        )
    if value.aggregate or value.window:
        raise unsupported("A CHECK constraint with aggregate or window functions")


def _create_storage(execution: Execution, table: Table) -> None:
    columns = ", ".join(
        f"{column.physical} {column.type.engine}{'' if column.nullable else ' NOT NULL'}" for column in table.columns
    )
    execution.run(f"CREATE TABLE {table.storage} ({columns})")
    for column in table.columns:
        if column.identity:
            _, start, step = column.identity
            if step == 0:
                raise failure("DELTA_IDENTITY_COLUMNS_ILLEGAL_STEP", "42611", "IDENTITY column step cannot be 0.")
            table.sequence = execution.warehouse.new_storage()
            execution.run(
                f"CREATE SEQUENCE {table.sequence} INCREMENT BY {step} MINVALUE {-(2**63)} MAXVALUE {2**63 - 1} START WITH {start}"
            )


def _fill(execution: Execution, table: Table, source: QuerySql) -> int:
    alias = "r0"
    items = ", ".join(
        f"{stored(execution.translator(), Typed(f'{alias}.{quoted(own.physical)}', own.type), column)} AS {column.physical}"
        for own, column in zip(source.columns, table.columns, strict=True)
    )
    return execution.count(f"INSERT INTO {table.storage} SELECT {items} FROM ({source.sql}) AS {alias}")


def create_view(execution: Execution, command: commands.CreateView) -> None:
    """CREATE VIEW; its query must be valid now, and is translated again at every use."""
    parts = execution.name(command.name)
    if command.temporary and len(parts) > 1:
        raise failure(
            "TEMP_VIEW_NAME_TOO_MANY_NAME_PARTS",
            "428EK",
            f"CREATE TEMPORARY VIEW or the corresponding Dataset APIs only accept single-part view names, but got: `{'`.`'.join(parts)}`.",
        )
    made = query_of_view(execution, command.text, ".".join(parts), temporary=command.temporary)
    if command.columns and len(command.columns) != len(made.columns):
        raise failure(
            "CREATE_VIEW_COLUMN_ARITY_MISMATCH",
            "21S01",
            f"Cannot create view, the reason is: the view has {len(command.columns)} columns and its query {len(made.columns)}.",
        )
    names = command.columns or [(column.name, None) for column in made.columns]
    columns = [
        TableColumn(name, column.type, comment) for (name, comment), column in zip(names, made.columns, strict=True)
    ]
    if len({column.name.lower() for column in columns}) != len(columns):
        raise failure("COLUMN_ALREADY_EXISTS", "42711", "The view's columns must have different names.")
    view = Table(
        "",
        "",
        parts[-1],
        columns,
        "VIEW",
        comment=command.comment,
        view_text=command.text,
        properties=command.properties,
    )
    view.query_names = [column.name for column in made.columns]
    view.view_place = (execution.environment.catalog, execution.environment.schema)
    view.owner = execution.session.user
    if command.temporary:
        view.temporary_names = frozenset(execution.session.temporary_views)
    if command.temporary:
        # A new dictionary: other statements of the session may be reading the old one.
        execution.session.temporary_views = dict(execution.session.temporary_views)
        _keep_view(execution, execution.session.temporary_views, view, [parts[-1]], command)
        return
    schema, (view.catalog, view.schema, view.name) = writable_schema(execution, parts)
    _keep_view(execution, schema.tables, view, [view.catalog, view.schema, view.name], command)


def query_of_view(execution: Execution, text: str, name: str, *, temporary: bool) -> QuerySql:
    """Translates the text of a view; that of a permanent one can name nothing that is gone with the session."""
    environment, session = execution.environment, execution.session
    seen = frozenset(session.temporary_views) if temporary else frozenset()
    try:
        with environment.stored_text(temporary=seen):
            return execution.translator().query(parse_query(text))
    except SqlError as error:
        if not any(name in error.message for name in ("TABLE_OR_VIEW_NOT_FOUND", "UNRESOLVED_COLUMN")):
            raise
        if not (session.temporary_views or session.variables):
            raise
        try:
            execution.translator().query(parse_query(text))
        except SqlError:
            raise error from None
        if temporary:
            raise unsupported("A temporary view that uses a session variable") from None
        raise failure(
            "INVALID_TEMP_OBJ_REFERENCE",
            "42K0F",
            f"Cannot create the persistent object `{name}` of the type VIEW because it references a temporary object.",
        ) from None


def _keep_view(
    execution: Execution, holder: dict[str, Table], view: Table, parts: list[str], command: commands.CreateView
) -> None:
    old = holder.get(view.name.lower())
    if old is not None:
        if command.if_not_exists:
            return
        if not command.replace:
            raise exists_already("table", parts)
        if not old.is_view:
            raise failure(
                "EXPECT_VIEW_NOT_TABLE.NO_ALTERNATIVE",
                "42809",
                f"The table `{old.full_name}` does not support CREATE OR REPLACE VIEW: a view is expected.",
            )
    holder[view.name.lower()] = view
    # Fails if the view leads back to itself.
    execution.environment.table(syntax.TableName(parts), execution.translator())


def create_function(execution: Execution, command: commands.CreateFunction) -> None:
    """CREATE FUNCTION; its body must be valid now."""
    schema, (catalog_name, schema_name, name) = writable_schema(execution, command.name)
    routine = Routine(
        catalog_name,
        schema_name,
        name,
        command.parameters,
        command.returns,
        command.body,
        command.text,
        command.comment,
        command.deterministic,
        command.table,
    )
    routine.place = (execution.environment.catalog, execution.environment.schema)
    columns = [Column(parameter, kind, "x", (name.lower(),)) for parameter, kind, _ in command.parameters]
    translator = execution.translator()
    if command.body is not None:
        with execution.environment.stored_text():
            value = translator.expression(command.body, Scope(columns))
        if value.aggregate or value.window:
            raise unsupported("A SQL function with an aggregate or window function")
        if command.returns is None:
            routine.returns = value.type
        else:
            translator.caster.cast(value, command.returns)
    if name.lower() in schema.routines and not command.replace:
        if command.if_not_exists:
            return
        raise exists_already("routine", [catalog_name, schema_name, name])
    schema.routines[name.lower()] = routine


def create_schema(execution: Execution, command: commands.CreateSchema) -> None:
    """CREATE SCHEMA and CREATE CATALOG."""
    parts = execution.name(command.name)
    if command.kind == "CATALOG":
        execution.environment.catalog_name(parts)
        if parts[-1].lower() in execution.warehouse.catalogs:
            if command.if_not_exists:
                return
            raise exists_already("catalog", parts)
        catalog = Catalog(
            object_name(parts[-1]), command.comment, {"default": Schema("default")}, execution.session.user
        )
        execution.warehouse.catalogs[parts[-1].lower()] = catalog
        return
    catalog_name, _ = execution.environment.schema_name(parts)
    holder = execution.warehouse.catalog(catalog_name)
    if holder.name.lower() in _READ_ONLY_CATALOGS:
        raise failure(
            "INSUFFICIENT_PERMISSIONS", "42501", f"Insufficient privileges: catalog `{holder.name}` is read-only."
        )
    if parts[-1].lower() in holder.schemas or parts[-1].lower() == INFORMATION_SCHEMA:
        if command.if_not_exists:
            return
        raise exists_already("schema", [holder.name, parts[-1]])
    holder.schemas[parts[-1].lower()] = Schema(
        object_name(parts[-1]), command.comment, properties=command.properties, owner=execution.session.user
    )


def drop(execution: Execution, command: commands.Drop) -> None:
    """DROP."""
    parts = execution.name(command.name)
    if command.kind in ("TABLE", "VIEW"):
        _drop_table(execution, command, parts)
    elif command.kind == "FUNCTION":
        routine = execution.environment.routine(parts)
        if routine is not None:
            del execution.warehouse.schema(routine.catalog, routine.schema).routines[routine.name.lower()]
        elif not command.if_exists:
            raise failure("ROUTINE_NOT_FOUND", "42883", f"The routine `{'`.`'.join(parts)}` cannot be found.")
    elif command.kind == "VOLUME":
        drop_volume(execution, command)
    elif command.kind == "SCHEMA":
        _drop_schema(execution, command, parts)
    else:
        _drop_catalog(execution, command, parts)


def _drop_table(execution: Execution, command: commands.Drop, parts: list[str]) -> None:
    if command.kind == "VIEW" and len(parts) == 1 and parts[0].lower() in execution.session.temporary_views:
        views = execution.session.temporary_views
        execution.session.temporary_views = {name: view for name, view in views.items() if name != parts[0].lower()}
        return
    found = execution.warehouse.find(*execution.environment.qualified(parts))
    if found is None:
        if command.if_exists:
            return
        raise missing_table(parts)
    if found.is_view != (command.kind == "VIEW"):
        expected, actual = ("view", "table") if command.kind == "VIEW" else ("table", "view")
        raise failure(
            "WRONG_COMMAND_FOR_OBJECT_TYPE",
            "42809",
            f"The operation DROP {command.kind} requires a {expected}. But `{found.full_name}` is a {actual}.",
        )
    schema, _ = writable_schema(execution, parts)
    _drop_storage(execution, found)
    del schema.tables[found.name.lower()]


def _drop_storage(execution: Execution, table: Table) -> None:
    for storage in {version.storage for version in table.versions if version.storage} | (
        {table.storage} if table.storage and table.reader is None else set()
    ):
        execution.run(f"DROP TABLE IF EXISTS {storage}")
    if table.sequence:
        execution.run(f"DROP SEQUENCE IF EXISTS {table.sequence}")


def _drop_schema(execution: Execution, command: commands.Drop, parts: list[str]) -> None:
    holder = execution.warehouse.catalogs.get(execution.environment.schema_name(parts)[0].lower())
    found = holder.schemas.get(parts[-1].lower()) if holder else None
    if holder is None or found is None:
        if command.if_exists:
            return
        raise failure(
            "SCHEMA_NOT_FOUND",
            "42704",
            f"The schema `{'`.`'.join(parts)}` cannot be found. Verify the spelling and correctness of the schema and catalog.",
        )
    if holder.name.lower() in _READ_ONLY_CATALOGS:
        raise failure(
            "INSUFFICIENT_PERMISSIONS", "42501", f"Insufficient privileges: catalog `{holder.name}` is read-only."
        )
    if (found.tables or found.routines or found.volumes) and not command.cascade:
        raise failure(
            "SCHEMA_NOT_EMPTY",
            "2BP01",
            f"Cannot drop a schema `{found.name}` because it contains objects. Use DROP SCHEMA ... CASCADE to drop the schema and all its objects.",
        )
    for table in found.tables.values():
        _drop_storage(execution, table)
    remove_folder(execution, holder.name, found.name)
    del holder.schemas[parts[-1].lower()]


def _drop_catalog(execution: Execution, command: commands.Drop, parts: list[str]) -> None:
    found = execution.warehouse.catalogs.get(execution.environment.catalog_name(parts).lower())
    if found is None:
        if command.if_exists:
            return
        execution.warehouse.catalog(parts[-1])
        return
    if found.name.lower() in (*_READ_ONLY_CATALOGS, "main"):
        raise failure(
            "INSUFFICIENT_PERMISSIONS", "42501", f"Insufficient privileges: catalog `{found.name}` cannot be dropped."
        )
    if not command.cascade and any(
        schema.tables or schema.routines or schema.volumes or name != "default"
        for name, schema in found.schemas.items()
    ):
        raise failure("CATALOG_NOT_EMPTY", "2BP01", f"Cannot drop catalog `{found.name}` because it is not empty.")
    for schema in found.schemas.values():
        for table in schema.tables.values():
            _drop_storage(execution, table)
    del execution.warehouse.catalogs[parts[-1].lower()]


def comment(execution: Execution, command: commands.Comment) -> None:
    """COMMENT ON."""
    place = {"CATALOG": 1, "SCHEMA": 2, "COLUMN": 4}.get(command.kind, 3)
    catalog = command.name[0] if len(command.name) == place else execution.environment.catalog
    if catalog.lower() in _READ_ONLY_CATALOGS:
        raise failure(
            "INSUFFICIENT_PERMISSIONS", "42501", f"Insufficient privileges: catalog `{catalog}` is read-only."
        )
    if command.kind == "CATALOG":
        execution.warehouse.catalog(execution.environment.catalog_name(command.name)).comment = command.text
    elif command.kind == "SCHEMA":
        execution.warehouse.schema(*execution.environment.schema_name(command.name)).comment = command.text
    else:
        table = execution.environment.require(command.name[:-1] if command.kind == "COLUMN" else command.name)
        if not table.catalog:
            raise unsupported("COMMENT ON a temporary view")
        if command.kind == "COLUMN":
            table.column(command.name[-1]).comment = command.text
        else:
            table.comment = command.text


def maintain(execution: Execution, command: commands.Maintenance) -> QuerySql | None:
    """OPTIMIZE, ANALYZE, VACUUM and REFRESH: nothing needs doing in memory, and the answers say so."""
    table = execution.environment.require(command.name)
    if command.what in ("OPTIMIZE", "VACUUM"):
        require_table(execution, command.name, command.what)
    for name in command.columns:
        table.column(name)
    if command.what == "OPTIMIZE":
        from seakernel.local.sql.execution import rows_query

        metrics = types.struct_of([("numFilesAdded", types.BIGINT), ("numFilesRemoved", types.BIGINT)])
        query = rows_query([("path", types.STRING)], [(f"local:/{table.catalog}/{table.schema}/{table.name}",)])
        query.sql = f"SELECT c0, struct_pack({quoted('numFilesAdded')} := CAST(0 AS BIGINT), {quoted('numFilesRemoved')} := CAST(0 AS BIGINT)) AS c1 FROM ({query.sql})"
        from seakernel.local.sql.typed import OutputColumn

        query.columns.append(OutputColumn("metrics", metrics, "c1"))
        return query
    if command.what == "VACUUM":
        from seakernel.local.sql.execution import rows_query

        return rows_query([("path", types.STRING)], [(f"local:/{table.catalog}/{table.schema}/{table.name}",)])
    return None
