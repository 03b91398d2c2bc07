"""The statements other than queries, as the parser builds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seakernel.local.sql.catalog import TableColumn, TableKey
    from seakernel.local.sql.syntax import Expression, IdentifierClause, Query, Relation
    from seakernel.local.sql.types import DataType


@dataclass(slots=True)
class Command:
    """Any statement that is not a query."""


@dataclass(slots=True)
class ColumnDefinition:
    """A column of CREATE TABLE, with the constraints written beside it."""

    column: TableColumn
    primary_key: str | None = None
    references: tuple[str, list[str], list[str]] | None = None
    check: tuple[str, str] | None = None


@dataclass(slots=True)
class CreateTable(Command):
    """CREATE TABLE, also AS SELECT, LIKE and OR REPLACE."""

    name: list[str] | IdentifierClause
    columns: list[ColumnDefinition] = field(default_factory=list)
    replace: bool = False
    #: REPLACE TABLE without CREATE.
    must_exist: bool = False
    if_not_exists: bool = False
    query: Query | None = None
    like: list[str] = field(default_factory=list)
    comment: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    partitioned_by: list[str] = field(default_factory=list)
    clustered_by: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    primary_key: TableKey | None = None
    foreign_keys: list[TableKey] = field(default_factory=list)


@dataclass(slots=True)
class CreateView(Command):
    """CREATE VIEW."""

    name: list[str] | IdentifierClause
    columns: list[tuple[str, str | None]]
    text: str
    replace: bool
    if_not_exists: bool
    temporary: bool
    comment: str | None
    properties: dict[str, str]


@dataclass(slots=True)
class CreateFunction(Command):
    """CREATE FUNCTION ... RETURN."""

    name: list[str]
    parameters: list[tuple[str, DataType, Expression | None]]
    returns: DataType | None
    body: Expression | None
    table: Query | None
    text: str
    comment: str | None
    replace: bool
    if_not_exists: bool
    deterministic: bool


@dataclass(slots=True)
class CreateSchema(Command):
    """CREATE SCHEMA or CATALOG."""

    kind: str
    name: list[str] | IdentifierClause
    if_not_exists: bool
    comment: str | None
    properties: dict[str, str]


@dataclass(slots=True)
class CreateVolume(Command):
    """CREATE VOLUME."""

    name: list[str] | IdentifierClause
    if_not_exists: bool
    comment: str | None


@dataclass(slots=True)
class TransferFile(Command):
    """PUT, GET and REMOVE of a file in a volume."""

    operation: str
    path: str
    local_file: str | None = None
    overwrite: bool = False


@dataclass(slots=True)
class ListFiles(Command):
    """LIST."""

    path: str
    limit: int | None = None


@dataclass(slots=True)
class CopyInto(Command):
    """COPY INTO from Parquet files in a volume."""

    name: list[str] | IdentifierClause
    path: str
    force: bool = False

    def as_insert(self, query: Query, columns: list[str]) -> Insert:
        """The INSERT that adds the rows of `query`."""
        return Insert(self.name, query, columns)


@dataclass(slots=True)
class Drop(Command):
    """DROP of anything."""

    kind: str
    name: list[str] | IdentifierClause
    if_exists: bool
    cascade: bool = False


@dataclass(slots=True)
class AlterTable(Command):
    """ALTER TABLE or VIEW: an action with what it needs."""

    name: list[str]
    is_view: bool
    action: str
    columns: list[tuple[list[str], ColumnDefinition, str]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    text: str = ""
    type: DataType | None = None
    properties: dict[str, str] = field(default_factory=dict)
    if_exists: bool = False
    key: TableKey | None = None


@dataclass(slots=True)
class Insert(Command):
    """INSERT INTO, OVERWRITE and REPLACE WHERE."""

    name: list[str] | IdentifierClause
    query: Query
    columns: list[str] = field(default_factory=list)
    by_name: bool = False
    overwrite: bool = False
    replace_where: Expression | None = None
    partition: list[tuple[str, Expression]] = field(default_factory=list)


@dataclass(slots=True)
class AppendRows(Command):
    """Rows that come as Arrow data; no statement says this."""

    name: list[str]
    rows: object


@dataclass(slots=True)
class Update(Command):
    """UPDATE."""

    name: list[str] | IdentifierClause
    alias: str
    assignments: list[tuple[list[str], Expression]]
    where: Expression | None


@dataclass(slots=True)
class Delete(Command):
    """DELETE and TRUNCATE."""

    name: list[str] | IdentifierClause
    alias: str
    where: Expression | None
    truncate: bool = False


@dataclass(slots=True)
class MergeClause:
    """One WHEN of a MERGE. `kind` is MATCHED, NOT_MATCHED or BY_SOURCE; `action` UPDATE, DELETE or INSERT."""

    kind: str
    condition: Expression | None
    action: str
    star: bool = False
    assignments: list[tuple[list[str], Expression]] = field(default_factory=list)


@dataclass(slots=True)
class Merge(Command):
    """MERGE INTO."""

    name: list[str] | IdentifierClause
    alias: str
    source: Relation
    on: Expression
    clauses: list[MergeClause]


@dataclass(slots=True)
class Use(Command):
    """USE CATALOG or SCHEMA."""

    kind: str
    name: list[str] | IdentifierClause


@dataclass(slots=True)
class SetOption(Command):
    """SET k = v, SET k, SET TIME ZONE, RESET."""

    key: str
    value: str | None = None
    reset: bool = False


@dataclass(slots=True)
class DeclareVariable(Command):
    """DECLARE VARIABLE."""

    name: str
    type: DataType | None
    default: Expression | None
    replace: bool


@dataclass(slots=True)
class SetVariable(Command):
    """SET VAR x = ..."""

    name: str
    value: Expression


@dataclass(slots=True)
class DropVariable(Command):
    """DROP TEMPORARY VARIABLE."""

    name: str
    if_exists: bool


@dataclass(slots=True)
class Show(Command):
    """SHOW of anything: what, where, and the patterns by the word before them."""

    what: str
    name: list[str] = field(default_factory=list)
    everywhere: bool = False
    patterns: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Describe(Command):
    """DESCRIBE of anything."""

    what: str
    name: list[str] = field(default_factory=list)
    extended: bool = False
    as_json: bool = False
    query: Query | None = None
    column: str = ""
    limit: int | None = None


@dataclass(slots=True)
class Comment(Command):
    """COMMENT ON."""

    kind: str
    name: list[str]
    text: str | None


@dataclass(slots=True)
class Maintenance(Command):
    """OPTIMIZE, ANALYZE, VACUUM, REFRESH: they change no rows."""

    what: str
    name: list[str]
    columns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Explain(Command):
    """EXPLAIN."""

    query: Query
