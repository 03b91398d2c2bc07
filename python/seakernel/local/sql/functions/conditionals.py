"""Functions of NULL and of conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.arithmetic import comparison
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.registry import alias, raw, scalar, wrong_type
from seakernel.local.sql.typed import Typed, inherit
from seakernel.local.sql.types import text_literal

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope


@scalar("coalesce", least=1, most=255)
def coalesce(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The first argument that is not NULL."""
    values, kind = translator.common(arguments, "coalesce")
    return Typed(f"coalesce({', '.join(value.sql for value in values)})", kind)


@scalar("nvl", "ifnull", least=2)
def nvl(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The first argument, or the second where it is NULL."""
    return coalesce(translator, arguments)


@scalar("nvl2", least=3)
def nvl2(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The second argument where the first is not NULL, else the third."""
    values, kind = translator.common(arguments[1:], "nvl2")
    return Typed(f"(CASE WHEN {arguments[0].sql} IS NOT NULL THEN {values[0].sql} ELSE {values[1].sql} END)", kind)


@scalar("nullif", least=2)
def nullif(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """NULL where both are equal, else the first."""
    if arguments[0].volatile:
        raise unsupported("nullif over an expression that differs at every evaluation")
    same = comparison(translator.caster, "=", arguments[0], arguments[1])
    kind = arguments[0].type
    return Typed(f"(CASE WHEN {same.sql} THEN CAST(NULL AS {kind.engine}) ELSE {arguments[0].sql} END)", kind)


@scalar("nullifzero")
def nullifzero(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """NULL for 0."""
    return nullif(translator, [arguments[0], Typed("CAST(0 AS INTEGER)", types.INT, constant=0)])


@scalar("zeroifnull")
def zeroifnull(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """0 for NULL."""
    return coalesce(translator, [arguments[0], Typed("CAST(0 AS INTEGER)", types.INT, constant=0)])


@raw("if", "iff", least=3, most=3)
def if_then(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """One of two values, by a condition."""
    return translator.expression(syntax.Case(None, [(call.arguments[0], call.arguments[1])], call.arguments[2]), scope)


@raw("decode", least=2)
def decode(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The value beside the first key that is equal, NULL being equal to NULL; or bytes decoded as text."""
    arguments = translator.expressions(call.arguments, scope)
    if len(arguments) == 2:
        charset = str(arguments[1].constant).lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            raise unsupported("decode from another character set than UTF-8")
        return inherit(
            Typed(f"decode({translator.caster.implicit(arguments[0], types.BINARY).sql})", types.STRING), arguments
        )
    if arguments[0].volatile:
        raise unsupported("decode over an expression that differs at every evaluation")
    pairs = [(arguments[place], arguments[place + 1]) for place in range(1, len(arguments) - 1, 2)]
    default = [arguments[-1]] if len(arguments) % 2 == 0 else []
    values, kind = translator.common([value for _, value in pairs] + default, "decode")
    tests = [comparison(translator.caster, "<=>", arguments[0], key).sql for key, _ in pairs]
    arms = " ".join(f"WHEN {test} THEN {value.sql}" for test, value in zip(tests, values, strict=False))
    end = f" ELSE {values[-1].sql}" if default else ""
    return inherit(Typed(f"(CASE {arms}{end} END)", kind), arguments)


@scalar("greatest", "least", least=2, most=255)
def greatest(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The greatest argument, NULLs left out."""
    raise unsupported("greatest or least here")


def _extreme(name: str) -> None:
    @scalar(name, least=2, most=255)
    def extreme(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        values, kind = translator.common(arguments, name)
        if kind.is_nested or kind.kind in ("VARIANT", "INTERVAL_YM", "INTERVAL_DT"):
            raise unsupported(f"{name} of {kind.text}")
        return Typed(f"{name}({', '.join(value.sql for value in values)})", kind)


_extreme("greatest")
_extreme("least")


@scalar("isnull")
def isnull(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether it is NULL."""
    return Typed(f"({arguments[0].sql} IS NULL)", types.BOOLEAN)


@scalar("isnotnull")
def isnotnull(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether it is not NULL."""
    return Typed(f"({arguments[0].sql} IS NOT NULL)", types.BOOLEAN)


@scalar("isnan")
def isnan(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether it is NaN; false for NULL."""
    value = translator.caster.implicit(arguments[0], types.DOUBLE)
    return Typed(f"coalesce(isnan({value.sql}), false)", types.BOOLEAN)


@scalar("nanvl", least=2)
def nanvl(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The second argument where the first is NaN."""
    one, other = (translator.caster.implicit(value, types.DOUBLE) for value in arguments)
    return Typed(f"(CASE WHEN isnan({one.sql}) THEN {other.sql} ELSE {one.sql} END)", types.DOUBLE)


@scalar("equal_null", least=2)
def equal_null(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """`<=>` as a function."""
    return comparison(translator.caster, "<=>", arguments[0], arguments[1])


@scalar("not")
def negate(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """NOT as a function."""
    return Typed(f"(NOT {translator.caster.implicit(arguments[0], types.BOOLEAN).sql})", types.BOOLEAN)


@scalar("assert_true", most=2)
def assert_true(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """NULL, or an error where the condition does not hold."""
    condition = translator.caster.implicit(arguments[0], types.BOOLEAN)
    message = (
        translator.caster.implicit(arguments[1], types.STRING).sql
        if len(arguments) > 1
        else text_literal("The condition is not true")
    )
    text = f"'[USER_RAISED_EXCEPTION] ' || {message} || ' SQLSTATE: P0001'"
    return Typed(f"(CASE WHEN {condition.sql} THEN NULL ELSE error({text}) END)", types.VOID)


@scalar("raise_error")
def raise_error(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """An error with the given text."""
    message = translator.caster.implicit(arguments[0], types.STRING)
    if message.type.kind == "VOID":
        raise wrong_type("raise_error", message, "STRING")
    return Typed(f"error('[USER_RAISED_EXCEPTION] ' || {message.sql} || ' SQLSTATE: P0001')", types.VOID)


@scalar("typeof")
def typeof(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The type's name."""
    text = arguments[0].type.simple
    if arguments[0].aggregate or arguments[0].window:
        raise unsupported("typeof of an aggregate or a window function")
    return Typed(text_literal(text), types.STRING, constant=text)


for _name, _kind in (
    ("boolean", types.BOOLEAN),
    ("tinyint", types.TINYINT),
    ("smallint", types.SMALLINT),
    ("int", types.INT),
    ("bigint", types.BIGINT),
    ("float", types.FLOAT),
    ("double", types.DOUBLE),
    ("string", types.STRING),
    ("binary", types.BINARY),
    ("date", types.DATE),
    ("timestamp", types.TIMESTAMP),
    ("decimal", types.decimal(10, 0)),
):

    def _conversion(kind: types.DataType, name: str) -> None:
        @scalar(name)
        def convert(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
            return translator.caster.cast(arguments[0], kind)

    _conversion(_kind, _name)

alias("coalesce")
_UNUSED = failure
