"""Numeric functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import decimals, types
from seakernel.local.sql.arithmetic import arithmetic
from seakernel.local.sql.errors import OVERFLOW, failure, unsupported
from seakernel.local.sql.registry import alias, python, scalar, simple, wrong_type
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.types import DataType

_OPERATORS = {"try_add": "+", "try_subtract": "-", "try_multiply": "*", "try_divide": "/", "try_mod": "%"}


def _try_operator(name: str, operator: str) -> None:
    @scalar(name, least=2)
    def attempt(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        if any(value.type.is_datetime or value.type.is_interval for value in arguments):
            raise unsupported(f"{name} on dates and intervals")
        return arithmetic(translator.caster, operator, arguments[0], arguments[1], is_try=True)


for _name, _operator in _OPERATORS.items():
    _try_operator(_name, _operator)


@scalar("mod", least=2)
def mod(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The remainder, with the sign of the dividend."""
    return arithmetic(translator.caster, "%", arguments[0], arguments[1])


@scalar("div", least=2)
def div(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Integer division."""
    return arithmetic(translator.caster, "DIV", arguments[0], arguments[1])


@scalar("pmod", least=2)
def pmod(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The remainder, never negative for a positive divisor."""
    rest = arithmetic(translator.caster, "%", arguments[0], arguments[1])
    if rest.volatile:
        raise unsupported("pmod over an expression that differs at every evaluation")
    if rest.type.kind == "DECIMAL":
        raise unsupported("pmod of DECIMAL")
    divisor = translator.caster.cast(arguments[1], rest.type)
    return Typed(
        f"(CASE WHEN {rest.sql} < 0 THEN ({rest.sql} + {divisor.sql}) % {divisor.sql} ELSE {rest.sql} END)", rest.type
    )


def _number(translator: ExpressionTranslator, value: Typed, name: str) -> Typed:
    if value.type.is_string or value.type.kind == "VOID":
        return translator.caster.cast(value, types.DOUBLE)
    if value.type.is_interval:
        raise unsupported(f"{name} of an interval")
    if not value.type.is_numeric:
        raise wrong_type(name, value, "numeric")
    return value


@scalar("abs")
def absolute(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The absolute value."""
    value = _number(translator, arguments[0], "abs")
    return Typed(f"abs({value.sql})", value.type)


@scalar("negative")
def negative(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The number with its sign changed."""
    value = _number(translator, arguments[0], "negative")
    if value.type.is_integral:
        return Typed(f"(CAST(0 AS {value.type.engine}) - {value.sql})", value.type)
    return Typed(f"(-({value.sql}))", value.type)


@scalar("positive")
def positive(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The number itself."""
    return _number(translator, arguments[0], "positive")


@scalar("sign", "signum")
def sign(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """-1.0, 0.0 or 1.0."""
    value = translator.caster.implicit(_number(translator, arguments[0], "sign"), types.DOUBLE)
    return Typed(
        f"(CASE WHEN isnan({value.sql}) THEN {value.sql} ELSE CAST(sign({value.sql}) AS DOUBLE) END)", types.DOUBLE
    )


def _places(arguments: list[Typed], name: str) -> int:
    if len(arguments) == 1:
        return 0
    if not isinstance(arguments[1].constant, int):
        raise unsupported(f"{name} to a number of places that is not a constant")
    return arguments[1].constant


def _round(name: str, mode: str) -> None:
    @scalar(name, least=1, most=2)
    def rounded(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = _number(translator, arguments[0], name)
        places = _places(arguments, name)
        if value.type.is_fractional:
            function = "round_double" if mode == "up" else "bround_double"
            if value.type.kind == "FLOAT":
                wide = translator.caster.cast(value, types.DOUBLE)
                made = translator.python.call(function, [wide.sql, str(places)])
                return Typed(f"CAST({made} AS FLOAT)", types.FLOAT)
            return Typed(translator.python.call(function, [value.sql, str(places)]), types.DOUBLE)
        if value.type.is_integral:
            if places >= 0:
                return value
            kind = types.decimal_for(value.type)
            text = decimals.rounded(
                translator.python,
                f"CAST({value.sql} AS {kind.engine})",
                kind,
                places,
                types.decimal(kind.precision + 1, 0),
                mode,
            )
            return Typed(f"CAST({text} AS {value.type.engine})", value.type)
        kind = value.type
        scale = min(max(places, 0), kind.scale)
        # One more digit for what rounding may carry over.
        whole = kind.precision - kind.scale + 1
        result = (
            types.decimal(max(whole, 1) + scale, scale) if places >= 0 else types.decimal(max(whole, 1 - places), 0)
        )
        if places >= kind.scale:
            return (
                translator.caster.cast(value, result)
                if result.precision - result.scale >= kind.precision - kind.scale
                else value
            )
        if mode == "up" and places >= 0 and result.precision <= 38:
            return Typed(f"CAST({value.sql} AS {result.engine})", result)
        return Typed(decimals.rounded(translator.python, value.sql, kind, places, result, mode), result)


_round("round", "up")
_round("bround", "even")


def _floor(names: tuple[str, ...], mode: str, function: str) -> None:
    @scalar(*names, least=1, most=2)
    def whole(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = _number(translator, arguments[0], names[0])
        if len(arguments) == 2:
            if value.type.is_fractional:
                raise unsupported(f"{names[0]} of DOUBLE to a number of places")
            kind = types.decimal_for(value.type)
            places = _places(arguments, names[0])
            scale = min(max(places, 0), kind.scale)
            result = types.decimal(max(kind.precision - kind.scale + 1, 1 - places) + scale, scale)
            return Typed(
                decimals.rounded(
                    translator.python, translator.caster.cast(value, kind).sql, kind, places, result, mode
                ),
                result,
            )
        if value.type.is_integral:
            return translator.caster.cast(value, types.BIGINT)
        if value.type.kind == "DECIMAL":
            result = types.decimal(value.type.precision - value.type.scale + 1, 0)
            return Typed(f"CAST({function}({value.sql}) AS {result.engine})", result)
        return Typed(f"CAST({function}(CAST({value.sql} AS DOUBLE)) AS BIGINT)", types.BIGINT)


_floor(("floor",), "floor", "floor")
_floor(("ceil", "ceiling"), "ceiling", "ceil")


def _double(name: str, template: str) -> None:
    simple(name, template, [types.DOUBLE], types.DOUBLE)


# DuckDB raises outside the domain where Java answers NaN or NULL.
_double("sqrt", "(CASE WHEN {0} < 0 THEN CAST('nan' AS DOUBLE) ELSE sqrt({0}) END)")
# DuckDB misses the exact root of a cube by a digit at times, Java does not.
_double("cbrt", "(CASE WHEN pow(round(cbrt({0})), 3) = {0} THEN round(cbrt({0})) ELSE cbrt({0}) END)")
_double("exp", "exp({0})")
_double("expm1", "(CASE WHEN abs({0}) < 1e-5 THEN {0} + {0} * {0} / 2 + {0} * {0} * {0} / 6 ELSE exp({0}) - 1 END)")
_double("ln", "(CASE WHEN {0} > 0 THEN ln({0}) WHEN isnan({0}) THEN {0} END)")
_double("log10", "(CASE WHEN {0} > 0 THEN log10({0}) WHEN isnan({0}) THEN {0} END)")
_double("log2", "(CASE WHEN {0} > 0 THEN log2({0}) WHEN isnan({0}) THEN {0} END)")
_double("sin", "sin({0})")
_double("cos", "cos({0})")
_double("tan", "tan({0})")
_double("cot", "(1 / tan({0}))")
_double("sec", "(1 / cos({0}))")
_double("csc", "(1 / sin({0}))")
_double("asin", "(CASE WHEN abs({0}) <= 1 THEN asin({0}) WHEN {0} IS NOT NULL THEN CAST('nan' AS DOUBLE) END)")
_double("acos", "(CASE WHEN abs({0}) <= 1 THEN acos({0}) WHEN {0} IS NOT NULL THEN CAST('nan' AS DOUBLE) END)")
_double("atan", "atan({0})")
_double("asinh", "asinh({0})")
_double("acosh", "(CASE WHEN {0} >= 1 THEN acosh({0}) WHEN {0} IS NOT NULL THEN CAST('nan' AS DOUBLE) END)")
_double(
    "atanh",
    "(CASE WHEN abs({0}) < 1 THEN atanh({0}) WHEN abs({0}) = 1 THEN {0} * 'inf'::DOUBLE WHEN {0} IS NOT NULL THEN CAST('nan' AS DOUBLE) END)",
)
_double("sinh", "sinh({0})")
_double("cosh", "cosh({0})")
_double("tanh", "tanh({0})")
_double("degrees", "degrees({0})")
_double("radians", "radians({0})")
_double("rint", "round_even({0}, 0)")
alias("sqrt", "sqrt")
simple("atan2", "atan2({0}, {1})", [types.DOUBLE, types.DOUBLE], types.DOUBLE)
# Java has no number for 1 to the power of NaN or infinity, where C has 1.
simple(
    "power",
    "(CASE WHEN isnan({1}) OR (isinf({1}) AND abs({0}) = 1) THEN 'NaN'::DOUBLE * {0} ELSE pow({0}, {1}) END)",
    [types.DOUBLE, types.DOUBLE],
    types.DOUBLE,
)
alias("power", "pow")
simple("hypot", "sqrt({0} * {0} + {1} * {1})", [types.DOUBLE, types.DOUBLE], types.DOUBLE)
simple("pi", "pi()", [], types.DOUBLE)
simple("e", "exp(CAST(1 AS DOUBLE))", [], types.DOUBLE)
python("conv", "convert_base", [types.STRING, types.INT, types.INT], types.STRING)


@scalar("bit_count")
def bit_count(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """How many bits are set."""
    value = arguments[0]
    if value.type.kind == "BOOLEAN":
        value = translator.caster.cast(value, types.INT)
    value = translator.caster.implicit(value, types.BIGINT)
    return Typed(f"CAST(bit_count({value.sql}) AS INTEGER)", types.INT)


@scalar("log", least=1, most=2)
def log(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The natural logarithm, or that to a base."""
    if len(arguments) == 1:
        return translator.call("ln", arguments)
    base, value = (translator.caster.implicit(argument, types.DOUBLE) for argument in arguments)
    return Typed(
        f"(CASE WHEN {value.sql} > 0 AND {base.sql} > 0 THEN ln({value.sql}) / ln({base.sql}) END)", types.DOUBLE
    )


@scalar("log1p")
def log1p(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The natural logarithm of one more."""
    value = translator.caster.implicit(arguments[0], types.DOUBLE)
    return translator.call("ln", [Typed(f"(1 + {value.sql})", types.DOUBLE)])


@scalar("factorial")
def factorial(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The factorial of 0 to 20, else NULL."""
    value = translator.caster.implicit(arguments[0], types.INT)
    return Typed(
        f"(CASE WHEN {value.sql} BETWEEN 0 AND 20 THEN CAST(factorial({value.sql}) AS BIGINT) END)", types.BIGINT
    )


@scalar("width_bucket", least=4)
def width_bucket(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The number of the bucket that a value falls in."""
    value, low, high = (translator.caster.implicit(argument, types.DOUBLE).sql for argument in arguments[:3])
    count = translator.caster.implicit(arguments[3], types.BIGINT).sql
    inner = f"CASE WHEN {value} < {low} THEN 0 WHEN {value} >= {high} THEN {count} + 1 ELSE CAST(floor({count} * ({value} - {low}) / ({high} - {low})) AS BIGINT) + 1 END"
    turned = f"CASE WHEN {value} > {low} THEN 0 WHEN {value} <= {high} THEN {count} + 1 ELSE CAST(floor({count} * ({low} - {value}) / ({low} - {high})) AS BIGINT) + 1 END"
    return Typed(
        f"(CASE WHEN {count} <= 0 OR {count} = 9223372036854775807 OR {low} = {high} OR isnan({value}) OR isnan({low}) OR isnan({high}) OR isinf({low}) OR isinf({high}) THEN NULL WHEN {low} < {high} THEN {inner} WHEN {low} > {high} THEN {turned} END)",
        types.BIGINT,
    )


def _shift(name: str, operator: str) -> None:
    @scalar(name, least=2)
    def shifted(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = arguments[0]
        if not value.type.is_integral:
            raise wrong_type(name, value, "integral")
        kind = types.BIGINT if value.type.kind == "BIGINT" else types.INT
        bits = 64 if kind == types.BIGINT else 32
        distance = f"({translator.caster.implicit(arguments[1], types.INT).sql} & {bits - 1})"
        wide = f"CAST({value.sql} AS HUGEINT)"
        if operator == ">>":
            return Typed(
                f"CAST(floor_shift({wide}, {distance}) AS {kind.engine})"
                if False
                else _right(value.sql, distance, kind),
                kind,
            )
        if operator == "<<":
            return Typed(_left(wide, distance, bits, kind), kind)
        unsigned = f"(CASE WHEN {wide} < 0 THEN {wide} + {1 << bits}::HUGEINT ELSE {wide} END)"
        moved = f"({unsigned} // CAST(pow(2::DOUBLE, {distance}) AS HUGEINT))"
        return Typed(f"CAST({_signed(moved, bits)} AS {kind.engine})", kind)


def _right(value: str, distance: str, kind: DataType) -> str:
    power = f"CAST(pow(2::DOUBLE, {distance}) AS HUGEINT)"
    wide = f"CAST({value} AS HUGEINT)"
    # An arithmetic shift rounds down, integer division toward zero.
    return f"CAST(CASE WHEN {wide} >= 0 THEN {wide} // {power} ELSE -((-{wide} + {power} - 1) // {power}) END AS {kind.engine})"


def _signed(sql: str, bits: int) -> str:
    return f"(CASE WHEN {sql} >= {1 << (bits - 1)}::HUGEINT THEN {sql} - {1 << bits}::HUGEINT ELSE {sql} END)"


def _left(wide: str, distance: str, bits: int, kind: DataType) -> str:
    # 64 bits shifted by 63 still fit a HUGEINT once the value is cut to what will remain.
    power = f"CAST(pow(2::DOUBLE, {distance}) AS HUGEINT)"
    keep = f"CAST(pow(2::DOUBLE, {bits} - {distance}) AS HUGEINT)"
    rest = f"((({wide}) % {keep} + {keep}) % {keep})"
    return f"CAST({_signed(f'({rest} * {power})', bits)} AS {kind.engine})"


_shift("shiftleft", "<<")
_shift("shiftright", ">>")
_shift("shiftrightunsigned", ">>>")


@scalar("bit_get", "getbit", least=2)
def bit_get(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """One bit."""
    value, place = arguments
    if (
        not value.type.is_integral
        or not isinstance(place.constant, int)
        or not 0 <= place.constant < types.INTEGER_BITS[value.type.kind]
    ):
        raise wrong_type("bit_get", value, "integral")
    return Typed(f"CAST(({value.sql} >> {place.constant}) & 1 AS TINYINT)", types.TINYINT)


@scalar("rand", "random", least=0, most=1)
def rand(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A random number from 0 to 1."""
    if arguments and arguments[0].constant is not None:
        raise unsupported("rand with a seed, whose sequence is Spark's own,")
    return Typed("random()", types.DOUBLE, volatile=True)


_UNUSED = (OVERFLOW, failure)
