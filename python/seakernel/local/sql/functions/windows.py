"""OVER clauses, and the functions that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.registry import FUNCTIONS as KNOWN
from seakernel.local.sql.registry import check_count, raw, wrong_type
from seakernel.local.sql.typed import Typed, inherit

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call, Window
    from seakernel.local.sql.typed import Scope
    from seakernel.local.sql.types import DataType


def resolved(window: Window, scope: Scope) -> Window:
    """The window with what it takes from a named one."""
    if not window.base:
        return window
    base = scope.windows.get(window.base.lower())
    if base is None:
        raise failure(
            "MISSING_WINDOW_SPECIFICATION",
            "42P20",
            f"Window specification is not defined in the WINDOW clause for `{window.base}`.",
        )
    base = resolved(base, scope)
    return syntax.Window(
        "", window.partition_by or base.partition_by, window.order_by or base.order_by, window.frame or base.frame
    )


def over(translator: ExpressionTranslator, window: Window, scope: Scope, *, framed: bool = True) -> str:
    """The SQL of an OVER clause."""
    window = resolved(window, scope)
    parts = []
    if window.partition_by:
        keys = translator.expressions(window.partition_by, scope)
        if any(key.window for key in keys):
            raise failure(
                "WINDOW_FUNCTION_NESTED",
                "42000",
                "It is not allowed to use a window function inside another window function.",
            )
        parts.append("PARTITION BY " + ", ".join(f"({key.sql})" for key in keys))
    if window.order_by:
        parts.append("ORDER BY " + ", ".join(_key(translator, item, scope) for item in window.order_by))
    if window.frame is not None:
        if not framed:
            raise failure("INVALID_WINDOW_SPEC", "42000", "This window function does not take a frame.")
        parts.append(_frame(translator, window, scope))
    return f" OVER ({' '.join(parts)})"


def _key(translator: ExpressionTranslator, item: syntax.OrderItem, scope: Scope) -> str:
    value = translator.expression(item.expression, scope)
    if value.window:
        raise failure(
            "WINDOW_FUNCTION_NESTED",
            "42000",
            "It is not allowed to use a window function inside another window function.",
        )
    if value.type.contains("MAP", "VARIANT"):
        raise wrong_type("sortorder", value, "orderable")
    return f"({value.sql}) {item.direction}"


def _frame(translator: ExpressionTranslator, window: Window, scope: Scope) -> str:
    frame = window.frame
    if frame is None:
        return ""
    if frame.unit == "RANGE" and (frame.start[1] or frame.end[1]) and len(window.order_by) != 1:
        raise failure(
            "DATATYPE_MISMATCH.RANGE_FRAME_MULTI_ORDER",
            "42K09",
            "A range window frame with value boundaries needs exactly one ORDER BY expression.",
        )
    bounds = []
    for kind, amount in (frame.start, frame.end):
        if amount is None:
            bounds.append(kind)
            continue
        value = translator.expression(amount, scope)
        if frame.unit == "ROWS" and not isinstance(value.constant, int):
            raise failure(
                "DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_UNACCEPTED_TYPE",
                "42K09",
                "The bound of a ROWS frame must be a constant integer.",
            )
        if isinstance(value.constant, int) and value.constant < 0:
            # A negative distance lies on the other side.
            bounds.append(f"{-value.constant} {'FOLLOWING' if kind == 'PRECEDING' else 'PRECEDING'}")
        else:
            bounds.append(f"{value.sql} {kind}")
    return f"{frame.unit} BETWEEN {bounds[0]} AND {bounds[1]}"


def _ordered_window(translator: ExpressionTranslator, call: Call, scope: Scope) -> str:
    name = call.name[-1].lower()
    if call.window is None:
        raise failure(
            "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE", "42601", f"Window function `{name}` requires an OVER clause."
        )
    if not resolved(call.window, scope).order_by:
        raise failure(
            "WINDOW_FUNCTION_AND_FRAME_MISMATCH",
            "42K0E",
            f"Window function `{name}` requires window to be ordered, please add ORDER BY clause.",
        )
    if call.distinct or call.where or call.order_by:
        raise failure(
            "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX",
            "42000",
            f"The function `{name}` does not support DISTINCT, FILTER or WITHIN GROUP.",
        )
    return over(translator, call.window, scope, framed=False)


def _ranking(name: str, kind: DataType) -> None:
    @raw(name, most=0, kind="window")
    def ranking(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
        return Typed(f"CAST({name}(){_ordered_window(translator, call, scope)} AS {kind.engine})", kind, window=True)


for _name in ("row_number", "rank", "dense_rank"):
    _ranking(_name, types.INT)
for _name in ("percent_rank", "cume_dist"):
    _ranking(_name, types.DOUBLE)


@raw("ntile", least=1, most=1, kind="window")
def ntile(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Buckets of equal size."""
    count = translator.expression(call.arguments[0], scope)
    if not isinstance(count.constant, int) or count.constant < 1:
        raise wrong_type("ntile", count, "positive constant integer")
    return Typed(
        f"CAST(ntile({count.constant}){_ordered_window(translator, call, scope)} AS INTEGER)", types.INT, window=True
    )


@raw("lag", "lead", least=1, most=3, kind="window")
def lag(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The value some rows before or after."""
    name = call.name[-1].lower()
    check_count(KNOWN[name], len(call.arguments))
    arguments = translator.expressions(call.arguments, scope)
    value = arguments[0]
    offset = 1
    if len(arguments) > 1:
        if not isinstance(arguments[1].constant, int):
            raise unsupported(f"{name} with an offset that is not a constant")
        offset = arguments[1].constant
    default = "NULL"
    if len(arguments) > 2:
        kind = types.common_type(value.type, arguments[2].type)
        if kind is None or (kind != value.type and value.type.kind != "VOID"):
            raise wrong_type(name, arguments[2], f'"{value.type.text}"')
        default = translator.caster.cast(arguments[2], kind).sql
        value = translator.caster.cast(value, kind)
    nulls = " IGNORE NULLS" if call.nulls == "IGNORE" else ""
    sql = f"{name}({value.sql}, {offset}, {default}{nulls}){_ordered_window(translator, call, scope)}"
    return inherit(Typed(sql, value.type, window=True), [value])


@raw("nth_value", least=2, most=2, kind="window")
def nth_value(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The value of the frame's nth row."""
    value, place = translator.expressions(call.arguments, scope)
    if call.window is None or not isinstance(place.constant, int) or place.constant < 1:
        raise unsupported("nth_value without OVER or with a place that is not a positive constant")
    nulls = " IGNORE NULLS" if call.nulls == "IGNORE" else ""
    return inherit(
        Typed(
            f"nth_value({value.sql}, {place.constant}{nulls}){over(translator, call.window, scope)}",
            value.type,
            window=True,
        ),
        [value],
    )
