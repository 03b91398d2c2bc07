"""The names of columns without an alias, as Databricks makes them from the expression: `count(1)`, `(a + 1)`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from seakernel.local.sql import syntax
from seakernel.local.sql.java_text import java_number

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Expression

_SUFFIXES = ("BD", "L", "S", "Y", "D", "F")
_GENERATED = {"explode": "col", "explode_outer": "col"}
#: Functions that appear under another name than the one they were called by.
_DISPLAYED = {
    "array_agg": "collect_list",
    "curdate": "current_date",
    "current_database": "current_schema",
    **{
        name: name.upper()
        for name in (
            *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "cot", "csc"),
            *("degrees", "e", "exp", "expm1", "floor", "hypot", "log", "log10", "log1p", "log2", "pi", "power"),
            *("radians", "regexp", "regexp_like", "rlike", "sec", "signum", "sin", "sinh", "sqrt", "tan", "tanh"),
        )
    },
}
#: The parameters of the lambdas around the expression at hand; each is shown as `namedlambdavariable()`.
_PARAMETERS: ContextVar[frozenset[str]] = ContextVar("parameters", default=frozenset())


def name_of(expression: Expression) -> str:
    """The name of the column that this expression makes."""
    if isinstance(expression, syntax.Alias):
        return expression.names[0]
    if isinstance(expression, syntax.Name):
        return expression.parts[-1]
    if isinstance(expression, syntax.FieldAccess):
        return expression.name
    return _text(expression)


def _list(items: list[Expression]) -> str:
    return ", ".join(map(_text, items))


def _text(expression: Expression) -> str:
    writer = _WRITERS.get(type(expression))
    return writer(expression) if writer else "expr"


def _literal(node: syntax.Literal) -> str:
    if node.kind == "NUMBER":
        text = node.text
        if "E" in text.upper() and not text.upper().endswith("BD"):
            return java_number(repr(float(text.rstrip("dDfF"))))
        for suffix in _SUFFIXES:
            if text.upper().endswith(suffix) and not text.upper().startswith("0X"):
                text = text[: -len(suffix)]
                if suffix in ("D", "F") and "." not in text:
                    text += ".0"
                break
        return text
    if node.kind == "BOOLEAN":
        return node.text.lower()
    if node.kind == "BINARY":
        return f"X'{node.text}'"
    if node.kind in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ"):
        return f"{node.kind} '{node.text}'"
    return node.text


def _call(node: syntax.Call) -> str:
    name = node.name[-1].lower() if len(node.name) == 1 else ".".join(node.name)
    arguments = _list(node.arguments)
    if (
        name == "count"
        and len(node.arguments) == 1
        and isinstance(node.arguments[0], syntax.Star)
        and not node.arguments[0].qualifier
    ):
        arguments = "1"
    if node.style == "extract":
        text = f"extract({_text(node.arguments[0])} FROM {_text(node.arguments[1])})"
    elif name == "if" and len(node.arguments) == 3:
        text = f"(IF({arguments}))"
    elif node.style == "trim":
        text = (
            f"TRIM(BOTH {_text(node.arguments[0])} FROM {_text(node.arguments[1])})"
            if len(node.arguments) == 2
            else f"trim({arguments})"
        )
    else:
        text = f"{_DISPLAYED.get(name, name)}({'DISTINCT ' if node.distinct else ''}{arguments})"
    if node.order_by:
        keys = ", ".join(_order(item) for item in node.order_by)
        text += f" WITHIN GROUP (ORDER BY {keys})"
    if node.nulls == "IGNORE":
        text = f"{text} ignore nulls"
    if node.where is not None:
        text += f" FILTER (WHERE {_text(node.where)})"
    if node.window is not None:
        text += f" OVER ({_window(node.window)})"
    return text


def _order(item: syntax.OrderItem) -> str:
    nulls = item.nulls or ("LAST" if item.descending else "FIRST")
    return f"{_text(item.expression)} {'DESC' if item.descending else 'ASC'} NULLS {nulls}"


def _window(window: syntax.Window) -> str:
    parts = []
    if window.base:
        parts.append(window.base)
    if window.partition_by:
        parts.append("PARTITION BY " + _list(window.partition_by))
    if window.order_by:
        parts.append("ORDER BY " + ", ".join(map(_order, window.order_by)))
    if window.frame:
        start, end = (
            f"{_text(amount)} {kind}" if amount else kind for kind, amount in (window.frame.start, window.frame.end)
        )
        parts.append(f"{window.frame.unit} BETWEEN {start} AND {end}")
    elif window.order_by:
        parts.append("RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW")
    else:
        parts.append("ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")
    return " ".join(parts)


def _case(node: syntax.Case) -> str:
    text = "CASE"
    for condition, value in node.branches:
        test = f"({_text(node.operand)} = {_text(condition)})" if node.operand else _text(condition)
        text += f" WHEN {test} THEN {_text(value)}"
    if node.default is not None:
        text += f" ELSE {_text(node.default)}"
    return text + " END"


def _negated(text: str, *, negated: bool) -> str:
    return f"(NOT {text})" if negated else text


def _like(node: syntax.Like) -> str:
    if node.operator == "RLIKE":
        return _negated(f"RLIKE({_text(node.operand)}, {_list(node.patterns)})", negated=node.negated)
    if node.operator == "ILIKE":
        return _negated(f"ilike({_text(node.operand)}, {_list(node.patterns)})", negated=node.negated)
    return _negated(f"{_text(node.operand)} LIKE {_list(node.patterns)}", negated=node.negated)


def _interval(node: syntax.Interval) -> str:
    if node.end_unit:
        return f"INTERVAL '{_text(node.pairs[0][0])}' {node.pairs[0][1]} TO {node.end_unit}"
    return "INTERVAL " + " ".join(f"'{_text(value)}' {unit}" for value, unit in node.pairs)


def _is(node: syntax.Is) -> str:
    return f"({_text(node.operand)} IS {'NOT ' if node.negated else ''}{node.what})"


def _path(node: syntax.VariantPath) -> str:
    text = _text(node.operand) + ":"
    for place, step in enumerate(node.steps):
        text += f"[{step}]" if isinstance(step, int) else ("." if place else "") + step
    return text


def _binary(node: syntax.Binary) -> str:
    if node.operator == "||":
        return f"concat({_text(node.left)}, {_text(node.right)})"
    operator = node.operator.lower() if node.operator == "DIV" else node.operator
    if operator == "<>":
        return f"(NOT ({_text(node.left)} = {_text(node.right)}))"
    return f"({_text(node.left)} {operator} {_text(node.right)})"


def _name(node: syntax.Name) -> str:
    if node.parts[0].lower() in _PARAMETERS.get():
        return ".".join(["namedlambdavariable()", *node.parts[1:]])
    return node.parts[-1]


def _lambda(node: syntax.Lambda) -> str:
    token = _PARAMETERS.set(_PARAMETERS.get() | {parameter.lower() for parameter in node.parameters})
    try:
        return f"lambdafunction({_text(node.body)}, {', '.join('namedlambdavariable()' for _ in node.parameters)})"
    finally:
        _PARAMETERS.reset(token)


def _unary(node: syntax.Unary) -> str:
    if node.operator == "~":
        return f"~ {_text(node.operand)}"
    return f"({node.operator} {_text(node.operand)})"


_WRITERS = {
    syntax.Literal: _literal,
    syntax.Parameter: lambda node: f":{node.name}" if isinstance(node.name, str) else "?",
    syntax.Name: _name,
    syntax.Star: lambda node: "*",
    syntax.Alias: lambda node: f"{_text(node.expression)} AS {node.names[0]}",
    syntax.Unary: _unary,
    syntax.Binary: _binary,
    syntax.Cast: lambda node: f"{'TRY_CAST' if node.is_try else 'CAST'}({_text(node.operand)} AS {node.type.text})",
    syntax.Case: _case,
    syntax.Between: lambda node: _negated(
        f"(({_text(node.operand)} >= {_text(node.low)}) AND ({_text(node.operand)} <= {_text(node.high)}))",
        negated=node.negated,
    ),
    syntax.InList: lambda node: _negated(f"({_text(node.operand)} IN ({_list(node.choices)}))", negated=node.negated),
    syntax.InQuery: lambda node: _negated(f"({_text(node.operand)} IN (listquery()))", negated=node.negated),
    syntax.Exists: lambda node: "exists()",
    syntax.Subquery: lambda node: "scalarsubquery()",
    syntax.Like: _like,
    syntax.Is: _is,
    syntax.IsDistinct: lambda node: _negated(f"({_text(node.left)} <=> {_text(node.right)})", negated=not node.negated),
    syntax.Subscript: lambda node: f"{_text(node.operand)}[{_text(node.index)}]",
    syntax.FieldAccess: lambda node: f"{_text(node.operand)}.{node.name}",
    syntax.VariantPath: _path,
    syntax.Lambda: _lambda,
    syntax.Row: lambda node: f"struct({_list(node.items)})",
    syntax.Interval: _interval,
    syntax.NamedArgument: lambda node: f"{node.name} => {_text(node.value)}",
    syntax.Call: _call,
}
