"""`information_schema` of every catalog, and that of `system` over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seakernel.local.sql import types
from seakernel.local.sql.catalog import INFORMATION_SCHEMA, Catalog, Table, TableColumn, missing_table
from seakernel.local.sql.errors import unsupported
from seakernel.local.sql.typed import Column, RelationSql
from seakernel.local.sql.types import DataType, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local.sql.session import StatementEnvironment

_TEXT, _INT, _TIME = types.STRING, types.INT, types.TIMESTAMP
_KINDS = {"i": _INT, "t": _TIME, "b": types.BOOLEAN, "l": types.BIGINT}


def _columns(text: str) -> list[tuple[str, DataType]]:
    """Columns as `name` for STRING, `name:i` for INT and so on."""
    found = []
    for word in text.split():
        name, _, kind = word.partition(":")
        found.append((name, _KINDS.get(kind, _TEXT)))
    return found


def _schemata(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for name in [*(schema.name for schema in catalog.schemas.values()), INFORMATION_SCHEMA]:
        schema = catalog.schemas.get(name.lower())
        yield (
            catalog.name,
            name,
            schema.owner if schema else "System user",
            schema.comment if schema else None,
            None,
            "System user",
            None,
            "System user",
        )


def _catalogs(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    yield catalog.name, catalog.owner, catalog.comment, None, "System user", None, "System user"


def _each_table(catalog: Catalog) -> Iterator[Table]:
    for schema in catalog.schemas.values():
        yield from list(schema.tables.values())


def _table_type(table: Table) -> str:
    return "VIEW" if table.is_view else "EXTERNAL" if table.reader is not None else "MANAGED"


def _tables(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        moment = table.versions[-1].moment if table.versions else table.created
        source = "UNKNOWN_DATA_SOURCE_FORMAT" if table.is_view else "DELTA"
        yield (
            table.catalog,
            table.schema,
            table.name,
            _table_type(table),
            "NO" if table.is_view else "YES",
            "PRESERVE",
            table.owner,
            table.comment,
            table.created,
            table.owner,
            moment,
            table.owner,
            source,
            None,
            None,
        )
    for name in TABLES:
        yield (
            catalog.name,
            INFORMATION_SCHEMA,
            name,
            "VIEW",
            "NO",
            "PRESERVE",
            "System user",
            None,
            None,
            "System user",
            None,
            "System user",
            "UNKNOWN_DATA_SOURCE_FORMAT",
            None,
            None,
        )


def _table_columns(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        for place, column in enumerate(table.columns):
            kind = column.type
            partition = [name.lower() for name in table.partitioned_by]
            yield (
                table.catalog, table.schema, table.name, column.name, place, column.default, "YES" if column.nullable else "NO", kind.simple, _data_type(kind),
                None, None, *_numeric_facts(kind), 0 if kind.kind == "DATE" else 3 if kind.kind.startswith("TIMESTAMP") else None,
                " TO ".join(dict.fromkeys(kind.units)) if kind.is_interval else None, None, None, *_identity_facts(column),
                "ALWAYS" if column.generated else "NEVER", column.generated, "NO", None, "YES", partition.index(column.name.lower()) + 1 if column.name.lower() in partition else None,
                column.comment,
            )  # fmt: skip


_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64, "FLOAT": 24, "DOUBLE": 53}


def _data_type(kind: DataType) -> str:
    """The simple name of a type, as the catalog writes it."""
    simple = kind.kind if not kind.is_interval else "INTERVAL"
    return {"BIGINT": "LONG", "SMALLINT": "SHORT", "TINYINT": "BYTE"}.get(simple, simple)


def _numeric_facts(kind: DataType) -> tuple[int | None, int | None, int | None]:
    """Precision, its radix and the scale of a number."""
    if kind.kind == "DECIMAL":
        return kind.precision, 10, kind.scale
    return (_BITS[kind.kind], 2, 0 if kind.is_integral else None) if kind.kind in _BITS else (None, None, None)


def _identity_facts(column: TableColumn) -> tuple[str | None, ...]:
    if column.identity is None:
        return "NO", None, None, None, None, None, None
    always, start, step = column.identity
    return "YES", "ALWAYS" if always else "BY DEFAULT", str(start), str(step), None, None, "NO"


def _views(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        if table.is_view:
            yield table.catalog, table.schema, table.name, table.view_text, "NONE", "NO", "NO", "NO", "false"


def _routines(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for schema in catalog.schemas.values():
        for routine in schema.routines.values():
            kind = "TABLE_TYPE" if routine.returns is None else routine.returns.text
            yield (
                catalog.name,
                schema.name,
                routine.name,
                catalog.name,
                schema.name,
                routine.name,
                "FUNCTION",
                kind,
                kind,
                "SQL",
                routine.text,
                "YES" if routine.deterministic else "NO",
                "CONTAINS_SQL",
                routine.comment,
            )


def _parameters(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for schema in catalog.schemas.values():
        for routine in schema.routines.values():
            for place, (name, kind, _) in enumerate(routine.parameters):
                yield catalog.name, schema.name, routine.name, place, "IN", "NO", name, kind.text, kind.simple, None


def _constraints(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        for kind, key in [("PRIMARY KEY", table.primary_key), *(("FOREIGN KEY", key) for key in table.foreign_keys)]:
            if key is not None:
                yield (
                    table.catalog,
                    table.schema,
                    key.name,
                    table.catalog,
                    table.schema,
                    table.name,
                    kind,
                    "NO",
                    "NO",
                    "NO",
                    None,
                )


def _key_columns(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        for key in [table.primary_key, *table.foreign_keys]:
            if key is not None:
                for place, name in enumerate(key.columns, start=1):
                    yield (
                        table.catalog,
                        table.schema,
                        key.name,
                        table.catalog,
                        table.schema,
                        table.name,
                        name,
                        place,
                        place if key.parent else None,
                    )


def _referential(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        for key in table.foreign_keys:
            yield (
                table.catalog,
                table.schema,
                key.name,
                key.parent[0],
                key.parent[1],
                f"{key.parent[2]}_pk",
                "FULL",
                "NO ACTION",
                "NO ACTION",
            )


def _constraint_tables(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for table in _each_table(catalog):
        if table.primary_key is not None:
            yield table.catalog, table.schema, table.primary_key.name, table.catalog, table.schema, table.name


def _volumes(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    for schema in catalog.schemas.values():
        for volume in schema.volumes.values():
            made = (volume.created, volume.owner)
            yield catalog.name, schema.name, volume.name, "MANAGED", volume.owner, volume.comment, None, *made, *made


def _nothing(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    yield from ()


_NAMES = "table_catalog table_schema table_name"
_CONSTRAINT = "constraint_catalog constraint_schema constraint_name"
TABLES: dict[str, tuple[list[tuple[str, DataType]], Callable[[Catalog], Iterator[tuple[Any, ...]]]]] = {
    "catalogs": (
        _columns("catalog_name catalog_owner comment created:t created_by last_altered:t last_altered_by"),
        _catalogs,
    ),
    "schemata": (
        _columns("catalog_name schema_name schema_owner comment created:t created_by last_altered:t last_altered_by"),
        _schemata,
    ),
    "tables": (
        _columns(
            f"{_NAMES} table_type is_insertable_into commit_action table_owner comment created:t created_by last_altered:t last_altered_by data_source_format storage_path storage_sub_directory"
        ),
        _tables,
    ),
    "columns": (
        _columns(
            f"{_NAMES} column_name ordinal_position:i column_default is_nullable full_data_type data_type character_maximum_length:l character_octet_length:l numeric_precision:i numeric_precision_radix:i "
            "numeric_scale:i datetime_precision:i interval_type interval_precision:i maximum_cardinality:l is_identity identity_generation identity_start "
            "identity_increment identity_maximum identity_minimum identity_cycle is_generated generation_expression is_system_time_period_start "
            "system_time_period_timestamp_generation is_updatable partition_index:i comment"
        ),
        _table_columns,
    ),
    "views": (
        _columns(f"{_NAMES} view_definition check_option is_updatable is_insertable_into sql_path is_materialized"),
        _views,
    ),
    "routines": (
        _columns(
            "specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name routine_type data_type full_data_type routine_body routine_definition is_deterministic sql_data_access comment"
        ),
        _routines,
    ),
    "parameters": (
        _columns(
            "specific_catalog specific_schema specific_name ordinal_position:i parameter_mode is_result parameter_name data_type full_data_type comment"
        ),
        _parameters,
    ),
    "table_constraints": (
        _columns(f"{_CONSTRAINT} {_NAMES} constraint_type is_deferrable initially_deferred enforced comment"),
        _constraints,
    ),
    "key_column_usage": (
        _columns(f"{_CONSTRAINT} {_NAMES} column_name ordinal_position:i position_in_unique_constraint:i"),
        _key_columns,
    ),
    "referential_constraints": (
        _columns(
            f"{_CONSTRAINT} unique_constraint_catalog unique_constraint_schema unique_constraint_name match_option update_rule delete_rule"
        ),
        _referential,
    ),
    "constraint_table_usage": (_columns(f"{_CONSTRAINT} {_NAMES}"), _constraint_tables),
    "table_tags": (_columns("catalog_name schema_name table_name tag_name tag_value"), _nothing),
    "column_tags": (_columns("catalog_name schema_name table_name column_name tag_name tag_value"), _nothing),
    "schema_tags": (_columns("catalog_name schema_name tag_name tag_value"), _nothing),
    "catalog_tags": (_columns("catalog_name tag_name tag_value"), _nothing),
    "row_filters": (_columns(f"{_NAMES} filter_name target_columns"), _nothing),
    "column_masks": (_columns(f"{_NAMES} column_name mask_name using_columns"), _nothing),
    "volumes": (
        _columns(
            "volume_catalog volume_schema volume_name volume_type volume_owner comment storage_location created:t created_by last_altered:t last_altered_by"
        ),
        _volumes,
    ),
    "table_privileges": (_columns(f"grantor grantee {_NAMES} privilege_type is_grantable inherited_from"), _nothing),
}


#: Relations that a warehouse has and this one has not.
_NOT_HERE = [
    "catalog_privileges",
    "catalog_provider_share_usage",
    "check_constraints",
    "column_privileges",
    "connection_privileges",
    "connections",
    "constraint_column_usage",
    "credential_privileges",
    "credentials",
    "external_location_privileges",
    "external_locations",
    "information_schema_catalog_name",
    "metastore_privileges",
    "metastores",
    "providers",
    "recipient_allowed_ip_ranges",
    "recipient_tokens",
    "recipients",
    "routine_columns",
    "routine_privileges",
    "schema_privileges",
    "schema_share_usage",
    "share_recipient_privileges",
    "shares",
    "storage_credential_privileges",
    "storage_credentials",
    "table_share_usage",
    "volume_privileges",
    "volume_tags",
]


def described_columns(name: str) -> list[tuple[str, DataType]]:
    """The columns of one of the tables."""
    return TABLES[name][0]


def relation(environment: StatementEnvironment, catalog: str, name: str, alias: str) -> RelationSql:
    """One of the tables as a relation; its rows are what the catalog holds now."""
    from seakernel.local.sql.execution import rows_query

    found = TABLES.get(name.lower())
    holder = environment.warehouse.catalogs.get(catalog.lower())
    if found is None and holder is not None and name.lower() in _NOT_HERE:
        raise unsupported(f"{INFORMATION_SCHEMA}.{name.lower()}")
    if found is None or holder is None:
        raise missing_table([catalog, INFORMATION_SCHEMA, name])
    columns, read = found
    everywhere = holder.name == "system"
    holders = (
        [environment.warehouse.catalogs[key] for key in sorted(environment.warehouse.catalogs)]
        if everywhere
        else [holder]
    )
    rows = [row for one in holders for row in read(one)]
    if name.lower() == "catalogs" and not everywhere:
        rows = list(_catalogs(holder))
    query = rows_query(columns, [tuple(row) for row in rows])
    qualifier = (holder.name.lower(), INFORMATION_SCHEMA, name.lower())
    return RelationSql(
        f"({query.sql}) AS {alias}",
        [Column(column.name, column.type, f"{alias}.{quoted(column.physical)}", qualifier) for column in query.columns],
    )
