"""Translated expressions: DuckDB SQL with the Databricks type it has, and the scopes that names are looked up in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.types import DataType, quoted

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Window


class NotConstant:
    """Marks an expression whose value is only known at run time."""


NOT_CONSTANT = NotConstant()


@dataclass
class Typed:
    """An expression in DuckDB's SQL, its Databricks type, and what a caller must know before moving or repeating it."""

    sql: str
    type: DataType
    #: The value of a literal or parameter; patterns, paths and schemas must be one.
    constant: Any = NOT_CONSTANT
    aggregate: bool = False
    window: bool = False
    volatile: bool = False
    #: Whether it is written as a literal; only those are typed by the digits that they have.
    literal: bool = False
    #: Whether repeating the text costs nothing.
    simple: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the value is known now."""
        return not isinstance(self.constant, NotConstant)

    def with_type(self, kind: DataType) -> Typed:
        """The same expression read as another type."""
        return replace(self, type=kind)


def inherit(result: Typed, parts: list[Typed]) -> Typed:
    """Marks `result` as aggregate, window or volatile if a part of it is."""
    result.aggregate = result.aggregate or any(part.aggregate for part in parts)
    result.window = result.window or any(part.window for part in parts)
    result.volatile = result.volatile or any(part.volatile for part in parts)
    return result


@dataclass
class Column:
    """A column in scope. Several names may reach it: `catalog.schema.table.column` by any suffix."""

    name: str
    type: DataType
    sql: str
    qualifier: tuple[str, ...] = ()
    #: A USING column of the other side: reached by its qualifier only, and left out of `*`.
    hidden: bool = False

    def matches(self, qualifier: list[str]) -> bool:
        """Whether the written qualifier names this column's table."""
        if not qualifier:
            return not self.hidden
        written = tuple(part.lower() for part in qualifier)
        return len(written) <= len(self.qualifier) and self.qualifier[-len(written) :] == written


@dataclass
class Scope:
    """What names mean at a place in a query."""

    columns: list[Column] = field(default_factory=list)
    parent: Scope | None = None
    variables: dict[str, Typed] = field(default_factory=dict)
    #: Aliases of earlier items of the same SELECT list.
    aliases: dict[str, Typed] = field(default_factory=dict)
    #: Names of the SELECT list that come before columns, as in ORDER BY.
    outputs: dict[str, Typed] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    #: Whether the query groups by several sets, as ROLLUP does.
    grouping_sets: bool = False
    in_aggregate: bool = False

    def child(self, columns: list[Column] | None = None) -> Scope:
        """A scope for a subquery, from which this one is reachable."""
        return Scope(columns or [], parent=self)

    def with_variables(self, variables: dict[str, Typed]) -> Scope:
        """This scope with the parameters of a lambda."""
        return replace(self, variables={**self.variables, **variables})

    def resolve(self, parts: list[str]) -> Typed:
        """Finds what a name means.

        Raises:
            SqlError: UNRESOLVED_COLUMN, AMBIGUOUS_REFERENCE or FIELD_NOT_FOUND.
        """
        found = self.find(parts)
        if found is not None:
            return found
        raise self._unresolved(parts)

    def find(self, parts: list[str]) -> Typed | None:
        """What a name means, or None."""
        variable = self.variables.get(parts[0].lower())
        if variable is not None:
            return access_fields(variable, parts[1:])
        output = self.outputs.get(parts[0].lower())
        if output is not None:
            return access_fields(output, parts[1:])
        for split in range(len(parts) - 1, -1, -1):
            matches = [
                column
                for column in self.columns
                if column.name.lower() == parts[split].lower() and column.matches(parts[:split])
            ]
            if len({column.sql for column in matches}) > 1:
                options = ", ".join(
                    sorted(".".join(f"`{part}`" for part in (*column.qualifier, column.name)) for column in matches)
                )
                raise failure(
                    "AMBIGUOUS_REFERENCE",
                    "42704",
                    f"Reference `{'`.`'.join(parts)}` is ambiguous, could be: [{options}].",
                )
            if matches:
                column = Typed(matches[0].sql, matches[0].type, simple=True)
                return access_fields(column, parts[split + 1 :])
        alias = self.aliases.get(parts[0].lower())
        if alias is not None:
            if alias.volatile:
                raise unsupported("A lateral column alias of an expression that differs at every evaluation")
            return access_fields(alias, parts[1:])
        return self.parent.find(parts) if self.parent else None

    def _unresolved(self, parts: list[str]) -> Exception:
        name = "`" + "`.`".join(parts) + "`"
        known = sorted(
            {column.name for column in self.columns if not column.hidden},
            key=lambda item: (_distance(item, parts[-1]), item),
        )
        if not known:
            return failure(
                "UNRESOLVED_COLUMN.WITHOUT_SUGGESTION",
                "42703",
                f"A column, variable, or function parameter with name {name} cannot be resolved.",
            )
        options = ", ".join(f"`{item}`" for item in known[:5])
        return failure(
            "UNRESOLVED_COLUMN.WITH_SUGGESTION",
            "42703",
            f"A column, variable, or function parameter with name {name} cannot be resolved. Did you mean one of the following? [{options}].",
        )


def _distance(name: str, wanted: str) -> int:
    return -len(set(name.lower()) & set(wanted.lower())) + abs(len(name) - len(wanted))


def access_fields(value: Typed, names: list[str]) -> Typed:
    """Follows struct fields: `column.a.b`."""
    for name in names:
        value = access_field(value, name)
    return value


def access_field(value: Typed, name: str) -> Typed:
    """One struct field, or that field of every struct of an array."""
    if value.type.kind == "STRUCT":
        for part in value.type.fields:
            if part.name.lower() == name.lower():
                return inherit(
                    Typed(f"struct_extract({value.sql}, {types.text_literal(part.name)})", part.type), [value]
                )
        options = ", ".join(f"`{part.name}`" for part in value.type.fields)
        raise failure("FIELD_NOT_FOUND", "42704", f"No such struct field `{name}` in {options}.")
    if value.type.kind == "ARRAY" and value.type.item.kind == "STRUCT":
        inner = access_field(Typed("entry", value.type.item), name)
        return inherit(
            Typed(f"list_transform({value.sql}, lambda entry: {inner.sql})", types.array_of(inner.type)), [value]
        )
    if value.type.kind == "MAP" and value.type.map_key.is_string:
        return inherit(Typed(f"map_extract_value({value.sql}, {types.text_literal(name)})", value.type.item), [value])
    raise failure(
        "INVALID_EXTRACT_BASE_FIELD_TYPE",
        "42000",
        f'Can\'t extract a value from "{name}". Need a complex type [STRUCT, ARRAY, MAP] but got "{value.type.text}".',
    )


@dataclass
class RelationSql:
    """A relation in DuckDB's SQL, as it stands in FROM, with the columns it brings into scope."""

    sql: str
    columns: list[Column]


@dataclass
class OutputColumn:
    """A column of a query's result: its Databricks name and the name it has inside DuckDB."""

    name: str
    type: DataType
    physical: str


@dataclass
class QuerySql:
    """A translated query."""

    sql: str
    columns: list[OutputColumn]
    volatile: bool = False

    def relation(self, alias: str, name: str, renamed: list[str]) -> RelationSql:
        """The query as a relation called `name`, its columns perhaps renamed."""
        if renamed and len(renamed) != len(self.columns):
            raise failure(
                "ASSIGNMENT_ARITY_MISMATCH",
                "42802",
                f"The number of column names is {len(renamed)}, but the relation has {len(self.columns)} columns.",
            )
        names = renamed or [column.name for column in self.columns]
        qualifier = (name.lower(),) if name else ()
        columns = [
            Column(shown, column.type, f"{alias}.{quoted(column.physical)}", qualifier)
            for shown, column in zip(names, self.columns, strict=True)
        ]
        return RelationSql(f"({self.sql}) AS {alias}", columns)
