"""Functions that make rows: explode, posexplode, inline, stack, json_tuple.

Each becomes a list with one entry per row, which `unnest` turns into rows in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.registry import FUNCTIONS, Function, check_count, wrong_type
from seakernel.local.sql.typed import Typed
from seakernel.local.sql.types import DataType, text_literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope


@dataclass
class Generated:
    """The rows of a generator: a list, and for each column its name, type and place in an entry (`{0}`)."""

    entries: str
    columns: list[tuple[str, DataType, str]]

    def outer(self) -> Generated:
        """The same with one row of NULLs where there would be none."""
        return Generated(f"CASE WHEN len({self.entries}) > 0 THEN {self.entries} ELSE [NULL] END", self.columns)


def is_generator(call: Call) -> bool:
    """Whether the call makes rows."""
    function = FUNCTIONS.get(call.name[0].lower()) if len(call.name) == 1 else None
    return function is not None and function.kind == "generator"


def generate(translator: ExpressionTranslator, call: Call, scope: Scope) -> Generated:
    """Translates a generator."""
    name = call.name[0].lower()
    function = FUNCTIONS[name]
    check_count(function, len(call.arguments))
    if call.distinct or call.where or call.order_by or call.window:
        raise unsupported(f"DISTINCT, FILTER or OVER on {name}")
    arguments = translator.expressions(call.arguments, scope)
    for argument in arguments:
        if argument.aggregate or argument.window:
            raise unsupported("A generator over an aggregate or a window function")
        if argument.volatile:
            raise unsupported("A generator over an expression that differs at every evaluation")
    made = _GENERATORS[name.removesuffix("_outer")](translator, arguments)
    return made.outer() if name.endswith("_outer") else made


def _explode(translator: ExpressionTranslator, arguments: list[Typed]) -> Generated:
    value = arguments[0]
    if value.type.kind == "ARRAY":
        return Generated(value.sql, [("col", value.type.item, "{0}")])
    if value.type.kind == "MAP":
        return Generated(
            f"map_entries({value.sql})",
            [
                ("key", value.type.map_key, "struct_extract({0}, 'key')"),
                ("value", value.type.item, "struct_extract({0}, 'value')"),
            ],
        )
    raise wrong_type("explode", value, '("ARRAY" or "MAP")')


def _posexplode(translator: ExpressionTranslator, arguments: list[Typed]) -> Generated:
    plain = _explode(translator, arguments)
    entries = (
        f"list_transform({plain.entries}, lambda entry, place: {{'pos': CAST(place - 1 AS INTEGER), 'entry': entry}})"
    )
    inner = "struct_extract({0}, 'entry')"
    columns = [(name, kind, sql.format(inner)) for name, kind, sql in plain.columns]
    return Generated(entries, [("pos", types.INT, "struct_extract({0}, 'pos')"), *columns])


def _inline(translator: ExpressionTranslator, arguments: list[Typed]) -> Generated:
    value = arguments[0]
    if value.type.kind != "ARRAY" or value.type.item.kind != "STRUCT":
        raise wrong_type("inline", value, '"ARRAY<STRUCT>"')
    return Generated(
        value.sql,
        [
            (part.name, part.type, f"struct_extract({{0}}, {text_literal(part.name)})")
            for part in value.type.item.fields
        ],
    )


def _stack(translator: ExpressionTranslator, arguments: list[Typed]) -> Generated:
    count = arguments[0].constant
    if not isinstance(count, int) or count < 1:
        raise failure(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            "42K09",
            "The first argument of `stack` must be a positive constant integer.",
        )
    values = arguments[1:]
    width = -(-len(values) // count)
    columns = []
    for place in range(width):
        column = [
            values[index] if index < len(values) else Typed("NULL", types.VOID)
            for index in range(place, count * width, width)
        ]
        columns.append(translator.common(column, "stack"))
    rows = [
        "{" + ", ".join(f"'c{place}': {column[row].sql}" for place, (column, _) in enumerate(columns)) + "}"
        for row in range(count)
    ]
    return Generated(
        "[" + ", ".join(rows) + "]",
        [(f"col{place}", kind, f"struct_extract({{0}}, 'c{place}')") for place, (_, kind) in enumerate(columns)],
    )


def _json_tuple(translator: ExpressionTranslator, arguments: list[Typed]) -> Generated:
    names = [translator.caster.implicit(argument, types.STRING).sql for argument in arguments[1:]]
    text = translator.caster.implicit(arguments[0], types.STRING).sql
    fields = translator.python.call("json_fields", [text, "[" + ", ".join(names) + "]"])
    return Generated(f"[{fields}]", [(f"c{place}", types.STRING, f"{{0}}[{place + 1}]") for place in range(len(names))])


_GENERATORS: dict[str, Callable[[ExpressionTranslator, list[Typed]], Generated]] = {
    "explode": _explode,
    "posexplode": _posexplode,
    "inline": _inline,
    "stack": _stack,
    "json_tuple": _json_tuple,
}

for _name in ("explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer"):
    FUNCTIONS[_name] = Function(_name, None, None, 1, 1, "generator")
for _name in ("stack", "json_tuple"):
    FUNCTIONS[_name] = Function(_name, None, None, 2, 255, "generator")
