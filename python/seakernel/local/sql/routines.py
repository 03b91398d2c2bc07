"""SQL functions: `CREATE FUNCTION f(x INT) RETURNS INT RETURN x + 1`, put in place of every call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.typed import Column, Scope, Typed, inherit

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Expression, Query
    from seakernel.local.sql.types import DataType


@dataclass
class Routine:
    """A SQL function."""

    catalog: str
    schema: str
    name: str
    parameters: list[tuple[str, DataType, Expression | None]]
    returns: DataType | None
    body: Expression | None
    text: str
    comment: str | None = None
    deterministic: bool = True
    #: The columns of a table function; those are refused where they are called.
    table: Query | None = None
    parameter_comments: dict[str, str] = field(default_factory=dict)
    #: The catalog and schema in which the body is read.
    place: tuple[str, str] = ("", "")

    def call(self, translator: ExpressionTranslator, arguments: list[Expression], scope: Scope) -> Typed:
        """Translates a call, the body read with its parameters as columns."""
        from seakernel.local.sql.syntax import NamedArgument

        if self.body is None:
            raise unsupported("A call of a table function written in SQL")
        positional = [node for node in arguments if not isinstance(node, NamedArgument)]
        named = {node.name.lower(): node.value for node in arguments if isinstance(node, NamedArgument)}
        if len(positional) > len(self.parameters):
            raise failure(
                "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                "42605",
                f"The `{self.name}` requires {len(self.parameters)} parameters but the actual number is {len(arguments)}.",
            )
        columns: list[Column] = []
        values: list[Typed] = []
        for place, (name, kind, default) in enumerate(self.parameters):
            node = positional[place] if place < len(positional) else named.pop(name.lower(), default)
            if node is None:
                raise failure(
                    "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                    "42605",
                    f"The `{self.name}` requires {len(self.parameters)} parameters but the actual number is {len(arguments)}.",
                )
            value = translator.caster.cast(translator.expression(node, scope), kind)
            if value.volatile:
                raise unsupported("A SQL function called with an argument that differs at every evaluation")
            values.append(value)
            columns.append(Column(name, kind, f"({value.sql})", (self.name.lower(),)))
        if named:
            raise failure(
                "UNRECOGNIZED_PARAMETER_NAME",
                "4274K",
                f"Cannot invoke routine `{self.name}` because the routine call included named argument reference for the argument named `{next(iter(named))}`.",
            )
        with translator.environment.stored_text(self.place):
            result = translator.expression(self.body, Scope(columns))
        if self.returns is not None:
            result = translator.caster.cast(result, self.returns)
        return inherit(result, values)
