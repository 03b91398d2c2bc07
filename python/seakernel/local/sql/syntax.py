"""The syntax tree of Databricks SQL: what the parser builds and the translator reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from seakernel.local.sql.types import DataType


@dataclass(slots=True)
class Expression:
    """Any expression."""


@dataclass(slots=True)
class Literal(Expression):
    """A constant. `kind` is NULL, BOOLEAN, STRING, BINARY, DATE, TIMESTAMP, TIMESTAMP_NTZ, or NUMBER with its suffix in the text."""

    kind: str
    text: str


@dataclass(slots=True)
class Parameter(Expression):
    """A marker: a name, or the ordinal of a `?` counted from 1."""

    name: str | int


@dataclass(slots=True)
class Name(Expression):
    """A column, with as many qualifiers and struct fields as were written."""

    parts: list[str]


@dataclass(slots=True)
class Star(Expression):
    """`*`, `t.*`, `* EXCEPT (...)`."""

    qualifier: list[str] = field(default_factory=list)
    without: list[list[str]] = field(default_factory=list)


@dataclass(slots=True)
class Alias(Expression):
    """An expression with a name, or several names for a generator."""

    expression: Expression
    names: list[str]


@dataclass(slots=True)
class Unary(Expression):
    """`-x`, `+x`, `~x`, `NOT x`."""

    operator: str
    operand: Expression


@dataclass(slots=True)
class Binary(Expression):
    """Arithmetic, comparison, AND, OR, `||`, bit operators."""

    operator: str
    left: Expression
    right: Expression


@dataclass(slots=True)
class Cast(Expression):
    """CAST, TRY_CAST, `::` and `?::`."""

    operand: Expression
    type: DataType
    is_try: bool = False


@dataclass(slots=True)
class Case(Expression):
    """CASE, with or without an operand."""

    operand: Expression | None
    branches: list[tuple[Expression, Expression]]
    default: Expression | None


@dataclass(slots=True)
class Between(Expression):
    """`x BETWEEN low AND high`."""

    operand: Expression
    low: Expression
    high: Expression
    negated: bool


@dataclass(slots=True)
class InList(Expression):
    """`x IN (1, 2)`."""

    operand: Expression
    choices: list[Expression]
    negated: bool


@dataclass(slots=True)
class InQuery(Expression):
    """`x IN (SELECT ...)`."""

    operand: Expression
    query: Query
    negated: bool


@dataclass(slots=True)
class Exists(Expression):
    """`EXISTS (SELECT ...)`."""

    query: Query


@dataclass(slots=True)
class Subquery(Expression):
    """A scalar subquery."""

    query: Query


@dataclass(slots=True)
class Like(Expression):
    """LIKE, ILIKE, RLIKE; `quantifier` is ANY, ALL or empty."""

    operator: str
    operand: Expression
    patterns: list[Expression]
    quantifier: str
    escape: Expression | None
    negated: bool


@dataclass(slots=True)
class Is(Expression):
    """`x IS [NOT] NULL | TRUE | FALSE | UNKNOWN`."""

    operand: Expression
    what: str
    negated: bool


@dataclass(slots=True)
class IsDistinct(Expression):
    """`x IS [NOT] DISTINCT FROM y`."""

    left: Expression
    right: Expression
    negated: bool


@dataclass(slots=True)
class Subscript(Expression):
    """`x[i]`."""

    operand: Expression
    index: Expression


@dataclass(slots=True)
class FieldAccess(Expression):
    """`f(x).name`."""

    operand: Expression
    name: str


@dataclass(slots=True)
class VariantPath(Expression):
    """`x:a.b[0]`, the path as written."""

    operand: Expression
    steps: list[str | int]


@dataclass(slots=True)
class Lambda(Expression):
    """`(x, y) -> body`."""

    parameters: list[str]
    body: Expression


@dataclass(slots=True)
class Row(Expression):
    """`(a, b)`."""

    items: list[Expression]


@dataclass(slots=True)
class Interval(Expression):
    """An interval literal: pairs of value and unit, or one text over a range of units."""

    pairs: list[tuple[Expression, str]]
    end_unit: str = ""


@dataclass(slots=True)
class NamedArgument(Expression):
    """`name => value`."""

    name: str
    value: Expression


@dataclass(slots=True)
class OrderItem:
    """A sort key. `nulls` is FIRST, LAST or empty."""

    expression: Expression
    descending: bool = False
    nulls: str = ""

    @property
    def direction(self) -> str:
        """Direction and place of NULLs: first in ascending order, last in descending, unless said otherwise."""
        nulls = self.nulls or ("LAST" if self.descending else "FIRST")
        return f"{'DESC' if self.descending else 'ASC'} NULLS {nulls}"


@dataclass(slots=True)
class Frame:
    """A window frame: ROWS or RANGE between two bounds such as `UNBOUNDED PRECEDING`."""

    unit: str
    start: tuple[str, Expression | None]
    end: tuple[str, Expression | None]


@dataclass(slots=True)
class Window:
    """An OVER clause or a named window."""

    base: str = ""
    partition_by: list[Expression] = field(default_factory=list)
    order_by: list[OrderItem] = field(default_factory=list)
    frame: Frame | None = None


@dataclass(slots=True)
class Call(Expression):
    """A function call with everything that may hang on it."""

    name: list[str]
    arguments: list[Expression]
    distinct: bool = False
    order_by: list[OrderItem] = field(default_factory=list)
    where: Expression | None = None
    nulls: str = ""
    window: Window | None = None
    #: How the function was written, where that decides the column's name (`CURRENT_DATE`, `EXTRACT`).
    style: str = ""


@dataclass(slots=True)
class TableName:
    """A table or view, perhaps at an older version."""

    parts: list[str]
    version: Expression | None = None
    timestamp: Expression | None = None
    place: int = 0


@dataclass(slots=True)
class FilesRelation:
    """Parquet files on disk."""

    files: list[str]


@dataclass(slots=True)
class IdentifierClause:
    """`IDENTIFIER(expression)` where a name is expected."""

    expression: Expression


@dataclass(slots=True)
class SubqueryRelation:
    """A query in FROM."""

    query: Query
    lateral: bool = False


@dataclass(slots=True)
class TableFunction:
    """`range(5)`, `explode(...)` and other functions in FROM."""

    call: Call
    lateral: bool = False


@dataclass(slots=True)
class ValuesRelation:
    """`VALUES (1, 2), (3, 4)`."""

    rows: list[list[Expression]]


@dataclass(slots=True)
class Aliased:
    """A relation with a name and perhaps column names."""

    relation: Relation
    name: str
    columns: list[str]


@dataclass(slots=True)
class Join:
    """Two relations. `kind` is INNER, LEFT, RIGHT, FULL, CROSS, SEMI or ANTI."""

    left: Relation
    right: Relation
    kind: str
    on: Expression | None = None
    using: list[str] = field(default_factory=list)
    natural: bool = False


@dataclass(slots=True)
class LateralView:
    """`LATERAL VIEW [OUTER] explode(x) t AS a, b`."""

    source: Relation
    call: Call
    outer: bool
    table: str
    columns: list[str]


@dataclass(slots=True)
class Pivot:
    """`PIVOT (sum(x) FOR c IN (...))`."""

    source: Relation
    aggregates: list[Expression]
    columns: list[Expression]
    choices: list[Expression]


@dataclass(slots=True)
class Unpivot:
    """`UNPIVOT [INCLUDE NULLS] (v FOR n IN (a, b))`."""

    source: Relation
    include_nulls: bool
    values: list[str]
    name: str
    choices: list[tuple[list[list[str]], str]]


@dataclass(slots=True)
class Sample:
    """`TABLESAMPLE (...)`."""

    source: Relation
    count: Expression
    unit: str
    seed: int | None


Relation: TypeAlias = (
    TableName
    | FilesRelation
    | IdentifierClause
    | SubqueryRelation
    | TableFunction
    | ValuesRelation
    | Aliased
    | Join
    | LateralView
    | Pivot
    | Unpivot
    | Sample
)


@dataclass(slots=True)
class Grouping:
    """GROUP BY: plain expressions, `ALL`, or grouping sets over them."""

    items: list[Expression]
    is_all: bool = False
    #: Each element of the clause is a list of sets; their cross product is what is grouped by.
    sets: list[list[list[Expression]]] = field(default_factory=list)


@dataclass(slots=True)
class Select:
    """One SELECT without what orders and limits it."""

    items: list[Expression]
    source: Relation | None = None
    distinct: bool = False
    where: Expression | None = None
    group_by: Grouping | None = None
    having: Expression | None = None
    qualify: Expression | None = None
    windows: dict[str, Window] = field(default_factory=dict)


@dataclass(slots=True)
class SetOperation:
    """UNION, EXCEPT or INTERSECT of two queries."""

    operator: str
    left: Body
    right: Body
    is_all: bool
    by_name: bool = False


Body: TypeAlias = "Select | SetOperation | ValuesRelation | Query | TableName"


@dataclass(slots=True)
class CommonTable:
    """A named query of a WITH clause."""

    name: str
    columns: list[str]
    query: Query


@dataclass(slots=True)
class Query:
    """A whole query."""

    body: Body
    tables: list[CommonTable] = field(default_factory=list)
    recursive: bool = False
    order_by: list[OrderItem] = field(default_factory=list)
    order_all: OrderItem | None = None
    limit: Expression | None = None
    offset: Expression | None = None
