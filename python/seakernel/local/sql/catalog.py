"""What the warehouse holds: catalogs, schemas, tables, views and SQL functions, with the facts that DESCRIBE shows."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from seakernel.local.sql.errors import SqlError, failure
from seakernel.local.sql.types import DataType, quoted

if TYPE_CHECKING:
    from seakernel.local.sql.routines import Routine

INFORMATION_SCHEMA = "information_schema"


@dataclass
class TableColumn:
    """A column of a table or view."""

    name: str
    type: DataType
    comment: str | None = None
    nullable: bool = True
    #: The text of DEFAULT, and of GENERATED ALWAYS AS.
    default: str | None = None
    generated: str | None = None
    #: IDENTITY: whether the values are always made, the start and the step.
    identity: tuple[bool, int, int] | None = None

    @property
    def physical(self) -> str:
        """Its name in the DuckDB table, quoted. The prefix keeps it apart from DuckDB's own columns, such as `rowid`."""
        return quoted(f"c_{self.name}")


@dataclass
class TableKey:
    """A PRIMARY KEY or FOREIGN KEY, which informs and is not enforced."""

    name: str
    columns: list[str]
    parent: list[str] = field(default_factory=list)
    parent_columns: list[str] = field(default_factory=list)


@dataclass
class Version:
    """A state of a table: where its rows are kept, or None once they are forgotten."""

    number: int
    moment: datetime.datetime
    operation: str
    parameters: dict[str, str]
    metrics: dict[str, str]
    storage: str | None
    row_count: int
    columns: list[TableColumn]


@dataclass
class Table:
    """A table, view, or view over files."""

    catalog: str
    schema: str
    name: str
    columns: list[TableColumn]
    kind: str = "MANAGED"
    #: The DuckDB table with the rows.
    storage: str = ""
    #: The DuckDB sequence behind an identity column.
    sequence: str = ""
    comment: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    partitioned_by: list[str] = field(default_factory=list)
    clustered_by: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    primary_key: TableKey | None = None
    foreign_keys: list[TableKey] = field(default_factory=list)
    view_text: str = ""
    #: The catalog and schema in which a view's text is read.
    view_place: tuple[str, str] = ("", "")
    #: The names that the query of a view gave its columns; they are found by them again when its tables have changed.
    query_names: list[str] = field(default_factory=list)
    #: The temporary views that a temporary view may name: those that were there before it.
    temporary_names: frozenset[str] = frozenset()
    versions: list[Version] = field(default_factory=list)
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))
    owner: str = ""
    #: The files of volumes whose rows COPY INTO has added.
    loaded_files: frozenset[str] = frozenset()
    #: For tables over files: gives the FROM item that reads them, and is asked only when the rows are.
    reader: Callable[[], str] | None = None

    @property
    def full_name(self) -> str:
        """The three-part name."""
        return ".".join(part for part in (self.catalog, self.schema, self.name) if part)

    @property
    def is_view(self) -> bool:
        """Whether it is a view of SQL text."""
        return self.kind == "VIEW"

    def copy(self) -> Table:
        """A copy that can change without the other seeing it."""
        return replace(
            self,
            columns=[replace(column) for column in self.columns],
            properties=dict(self.properties),
            partitioned_by=list(self.partitioned_by),
            clustered_by=list(self.clustered_by),
            checks=dict(self.checks),
            primary_key=replace(self.primary_key) if self.primary_key else None,
            foreign_keys=[replace(key) for key in self.foreign_keys],
            versions=[replace(version) for version in self.versions],
        )

    def column(self, name: str) -> TableColumn:
        """The column of that name.

        Raises:
            SqlError: UNRESOLVED_COLUMN.
        """
        for column in self.columns:
            if column.name.lower() == name.lower():
                return column
        options = ", ".join(f"`{column.name}`" for column in self.columns)
        raise failure(
            "UNRESOLVED_COLUMN.WITH_SUGGESTION",
            "42703",
            f"A column, variable, or function parameter with name `{name}` cannot be resolved. Did you mean one of the following? [{options}].",
        )


@dataclass
class Volume:
    """A volume; its files are in the warehouse's folder."""

    name: str
    comment: str | None = None
    owner: str = ""
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))


@dataclass
class Schema:
    """A schema."""

    name: str
    comment: str | None = None
    tables: dict[str, Table] = field(default_factory=dict)
    routines: dict[str, Routine] = field(default_factory=dict)
    #: Never changed in place: drafts share it.
    volumes: dict[str, Volume] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass
class Catalog:
    """A catalog."""

    name: str
    comment: str | None = None
    schemas: dict[str, Schema] = field(default_factory=dict)
    owner: str = ""


class Warehouse:
    """All catalogs as one statement sees them.

    What has been published never changes: a statement that changes something works on a `draft`, which takes the place of
    the catalogs in the moment in which its rows are committed.
    """

    def __init__(self, catalogs: dict[str, Catalog] | None = None) -> None:
        self.catalogs: dict[str, Catalog] = catalogs if catalogs is not None else {}
        self._numbers = itertools.count(1)
        #: The tables that a draft has not made its own; None outside drafts.
        self._shared: set[int] | None = None

    def draft(self) -> Warehouse:
        """The same catalogs, free to change; a table is copied when it is first looked up."""
        made = Warehouse(
            {
                key: replace(
                    catalog,
                    schemas={
                        name: replace(
                            schema,
                            tables=dict(schema.tables),
                            routines=dict(schema.routines),
                            properties=dict(schema.properties),
                        )
                        for name, schema in catalog.schemas.items()
                    },
                )
                for key, catalog in self.catalogs.items()
            }
        )
        made._numbers = self._numbers
        made._shared = {
            id(table)
            for catalog in self.catalogs.values()
            for schema in catalog.schemas.values()
            for table in schema.tables.values()
        }
        return made

    def new_storage(self) -> str:
        """A name for a DuckDB table that no other has."""
        return quoted(f"table_{next(self._numbers)}")

    def catalog(self, name: str) -> Catalog:
        """The catalog of that name.

        Raises:
            SqlError: CATALOG_NOT_FOUND.
        """
        found = self.catalogs.get(name.lower())
        if found is None:
            raise failure(
                "CATALOG_NOT_FOUND",
                "42P08",
                f'The catalog `{name}` was not found. Consider to set the SQL config "spark.sql.catalog.{name}" to a catalog plugin.',
            )
        return found

    def schema(self, catalog: str, name: str) -> Schema:
        """The schema of that name.

        Raises:
            SqlError: SCHEMA_NOT_FOUND.
        """
        found = self.catalog(catalog).schemas.get(name.lower())
        if found is None:
            raise failure(
                "SCHEMA_NOT_FOUND",
                "42704",
                f"The schema `{catalog}`.`{name}` cannot be found. Verify the spelling and correctness of the schema and catalog.",
            )
        return found

    def find(self, catalog: str, schema: str, name: str) -> Table | None:
        """The table of that name, or None."""
        holder = self.catalogs.get(catalog.lower())
        within = holder.schemas.get(schema.lower()) if holder else None
        found = within.tables.get(name.lower()) if within else None
        if within is not None and found is not None and self._shared is not None and id(found) in self._shared:
            found = found.copy()
            within.tables[name.lower()] = found
        return found

    def table(self, parts: tuple[str, str, str]) -> Table:
        """The table of that name.

        Raises:
            SqlError: TABLE_OR_VIEW_NOT_FOUND.
        """
        found = self.find(*parts)
        if found is None:
            raise missing_table(list(parts))
        return found


def missing_table(parts: list[str]) -> SqlError:
    """The error of a table that is not there."""
    name = "`" + "`.`".join(parts) + "`"
    return failure(
        "TABLE_OR_VIEW_NOT_FOUND",
        "42P01",
        f"The table or view {name} cannot be found. Verify the spelling and correctness of the schema and catalog. "
        "If you did not qualify the name with a schema, verify the current_schema() output, or qualify the name with the correct schema and catalog. "
        "To tolerate the error on drop use DROP VIEW IF EXISTS or DROP TABLE IF EXISTS.",
    )


def exists_already(kind: str, parts: list[str]) -> SqlError:
    """The error of a name that is taken."""
    name = "`" + "`.`".join(parts) + "`"
    if kind == "table":
        return failure(
            "TABLE_OR_VIEW_ALREADY_EXISTS",
            "42P07",
            f"Cannot create table or view {name} because it already exists. Choose a different name, drop or replace the existing object, or add the IF NOT EXISTS clause to tolerate pre-existing objects.",
        )
    error_class = {
        "schema": "SCHEMA_ALREADY_EXISTS",
        "catalog": "CATALOG_ALREADY_EXISTS",
        "routine": "ROUTINE_ALREADY_EXISTS",
    }[kind]
    sql_state = {"schema": "42P06", "catalog": "42P04", "routine": "42723"}[kind]
    return failure(
        error_class,
        sql_state,
        f"Cannot create {kind} {name} because it already exists. Choose a different name, drop or replace the existing {kind}, or add the IF NOT EXISTS clause to tolerate pre-existing {kind}.",
    )


Reader = Callable[[], Any]
