"""Aggregate functions, also as window functions, with Spark's result types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seakernel.local.sql import decimals, types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.functions.windows import over, resolved
from seakernel.local.sql.registry import FUNCTIONS, Function, raw, wrong_type
from seakernel.local.sql.syntax import Star
from seakernel.local.sql.typed import Scope, Typed, inherit

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.types import DataType


class Aggregation:
    """One call of an aggregate function: its arguments, and what stands behind its parentheses."""

    def __init__(self, translator: ExpressionTranslator, call: Call, scope: Scope) -> None:
        self.translator = translator
        self.call = call
        self.name = call.name[-1].lower()
        self.scope = replace(scope, in_aggregate=True)
        self.arguments = (
            []
            if any(isinstance(node, Star) for node in call.arguments)
            else translator.expressions(call.arguments, self.scope)
        )
        if call.window is None and any(argument.aggregate for argument in self.arguments):
            raise failure(
                "NESTED_AGGREGATE_FUNCTION",
                "42607",
                "It is not allowed to use an aggregate function in the argument of another aggregate function.",
            )
        if any(argument.window for argument in self.arguments):
            raise unsupported("A window function inside an aggregate function")
        if call.window is not None and call.where is not None:
            raise unsupported("FILTER on a window function")
        if call.window is not None and call.distinct:
            raise failure(
                "DISTINCT_WINDOW_FUNCTION_UNSUPPORTED", "0A000", "Distinct window functions are not supported."
            )
        self.where = translator.boolean(call.where, self.scope) if call.where is not None else None
        if self.where is not None and (self.where.aggregate or self.where.window):
            raise failure(
                f"INVALID_AGGREGATE_FILTER.CONTAINS_{'AGGREGATE' if self.where.aggregate else 'WINDOW_FUNCTION'}",
                "42903",
                "The FILTER expression in an aggregate function is invalid.",
            )
        self.over = over(translator, call.window, scope) if call.window is not None else ""

    def sql(
        self, function: str, arguments: str, *, condition: str = "", distinct: bool | None = None, order: str = ""
    ) -> str:
        """The call of DuckDB's `function`, with FILTER and OVER as the statement has them."""
        is_distinct = self.call.distinct if distinct is None else distinct
        tests = [test for test in (condition, self.where.sql if self.where else "") if test]
        behind = f" FILTER (WHERE {' AND '.join(tests)})" if tests else ""
        return f"{function}({'DISTINCT ' if is_distinct else ''}{arguments}{order}){behind}{self.over}"

    def result(self, sql: str, kind: DataType) -> Typed:
        """The call's result."""
        made = inherit(Typed(sql, kind), self.arguments)
        made.aggregate = not self.over or made.aggregate
        made.window = bool(self.over)
        return made

    def refuse_order(self) -> None:
        """Refuses WITHIN GROUP and IGNORE NULLS."""
        if self.call.order_by or self.call.nulls:
            raise failure(
                "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX",
                "42000",
                f"The function `{self.name}` does not support WITHIN GROUP or IGNORE NULLS.",
            )


def aggregate(
    *names: str, least: int = 1, most: int | None = None, ordered: bool = False
) -> Callable[[Callable[[Aggregation], Typed]], Callable[[Aggregation], Typed]]:
    """Adds an aggregate function."""

    def add(build: Callable[[Aggregation], Typed]) -> Callable[[Aggregation], Typed]:
        def handler(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
            one = Aggregation(translator, call, scope)
            if not ordered:
                one.refuse_order()
            return build(one)

        for name in names:
            FUNCTIONS[name] = Function(name, None, handler, least, least if most is None else most, "aggregate")
        return build

    return add


@aggregate("count", least=0, most=255)
def count(one: Aggregation) -> Typed:
    """Rows, or rows where no argument is NULL."""
    if not one.call.arguments or one.arguments == []:
        star = one.call.arguments[0] if one.call.arguments else None
        if star is None:
            raise failure(
                "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                "42605",
                "The `count` requires >= 1 parameters but the actual number is 0.",
            )
        if isinstance(star, Star) and (
            star.qualifier or star.without or one.call.distinct or len(one.call.arguments) > 1
        ):
            raise unsupported("count over t.*")
        return one.result(one.sql("count", "*"), types.BIGINT)
    if len(one.arguments) == 1:
        value = one.arguments[0].sql if one.arguments[0].type.kind != "VOID" else "CAST(NULL AS INTEGER)"
        return one.result(one.sql("count", value), types.BIGINT)
    present = " AND ".join(f"{argument.sql} IS NOT NULL" for argument in one.arguments)
    value = f"row({', '.join(argument.sql for argument in one.arguments)})" if one.call.distinct else "1"
    return one.result(one.sql("count", f"CASE WHEN {present} THEN {value} END"), types.BIGINT)


@aggregate("count_if")
def count_if(one: Aggregation) -> Typed:
    """Rows where the condition holds."""
    condition = one.translator.caster.implicit(one.arguments[0], types.BOOLEAN)
    return one.result(one.sql("count", f"CASE WHEN {condition.sql} THEN 1 END"), types.BIGINT)


def _number(one: Aggregation, place: int = 0) -> Typed:
    value = one.arguments[place]
    if value.type.is_string or value.type.kind == "VOID":
        return one.translator.caster.cast(value, types.DOUBLE)
    if value.type.is_interval:
        raise unsupported(f"{one.name} of an interval")
    if not value.type.is_numeric:
        raise wrong_type(one.name, value, "numeric")
    return value


@aggregate("sum", "try_sum")
def sum_of(one: Aggregation) -> Typed:
    """The sum: BIGINT, DOUBLE, or a DECIMAL with ten more digits."""
    value = _number(one)
    if value.type.is_integral:
        kind = types.BIGINT
    elif value.type.kind == "DECIMAL":
        kind = types.decimal(value.type.precision + 10, value.type.scale)
    else:
        kind = types.DOUBLE
        value = one.translator.caster.cast(value, kind)
    cast = "TRY_CAST" if one.name == "try_sum" else "CAST"
    return one.result(f"{cast}({one.sql('sum', value.sql)} AS {kind.engine})", kind)


@aggregate("avg", "mean", "try_avg")
def average(one: Aggregation) -> Typed:
    """The mean: DOUBLE, or a DECIMAL with four more digits behind the point."""
    value = _number(one)
    if value.type.kind != "DECIMAL":
        return one.result(one.sql("avg", one.translator.caster.cast(value, types.DOUBLE).sql), types.DOUBLE)
    total = types.decimal(value.type.precision + 10, value.type.scale)
    kind = types.decimal(value.type.precision + 4, value.type.scale + 4)
    rows = types.decimal(20, 0)
    number = f"nullif({one.sql('count', value.sql)}, 0)"
    operands = (f"CAST({one.sql('sum', value.sql)} AS {total.engine})", f"CAST({number} AS {rows.engine})")
    return one.result(decimals.arithmetic(one.translator.python, "/", operands, (total, rows), kind), kind)


@aggregate("min", "max")
def extreme(one: Aggregation) -> Typed:
    """The least or greatest value."""
    value = one.arguments[0]
    if value.type.contains("MAP", "VARIANT"):
        raise wrong_type(one.name, value, "orderable")
    if value.type.kind == "VOID":
        return one.result("NULL", types.VOID)
    return one.result(one.sql(one.name, value.sql, distinct=False), value.type)


def _ignores_nulls(one: Aggregation) -> bool:
    if len(one.arguments) > 1:
        if not isinstance(one.arguments[1].constant, bool):
            raise wrong_type(one.name, one.arguments[1], "constant boolean")
        return one.arguments[1].constant
    return one.call.nulls == "IGNORE"


@aggregate("first", "first_value", "last", "last_value", "any_value", most=2, ordered=True)
def first(one: Aggregation) -> Typed:
    """The value of the first or last row, perhaps of those that have one."""
    if one.call.order_by or one.call.distinct:
        raise unsupported(f"{one.name} with DISTINCT or WITHIN GROUP")
    value = one.arguments[0]
    is_last = one.name.startswith("last")
    ignore = _ignores_nulls(one)
    if one.over:
        function = "last_value" if is_last else "first_value"
        return one.result(one.sql(function, value.sql + (" IGNORE NULLS" if ignore else "")), value.type)
    condition = f"{value.sql} IS NOT NULL" if ignore else ""
    return one.result(one.sql("last" if is_last else "first", value.sql, condition=condition), value.type)


@aggregate("collect_list", "array_agg", "collect_set")
def collect(one: Aggregation) -> Typed:
    """The values that are not NULL, as an array."""
    value = one.arguments[0]
    is_set = one.name == "collect_set"
    if is_set and value.type.contains("MAP", "VARIANT"):
        raise wrong_type(one.name, value, "comparable")
    kind = types.array_of(value.type)
    listed = one.sql("list", value.sql, condition=f"{value.sql} IS NOT NULL", distinct=True if is_set else None)
    return one.result(f"coalesce({listed}, CAST([] AS {kind.engine}))", kind)


@aggregate("max_by", "min_by", least=2)
def best_by(one: Aggregation) -> Typed:
    """The value of the row with the greatest or least key."""
    value, key = one.arguments
    if key.type.contains("MAP", "VARIANT"):
        raise wrong_type(one.name, key, "orderable")
    function = "arg_max_null" if one.name == "max_by" else "arg_min_null"
    return one.result(
        one.sql(function, f"{value.sql}, {key.sql}", condition=f"{key.sql} IS NOT NULL", distinct=False), value.type
    )


@aggregate("bool_and", "every", "bool_or", "any", "some")
def bool_all(one: Aggregation) -> Typed:
    """Whether all or any of the conditions hold."""
    value = one.translator.caster.implicit(one.arguments[0], types.BOOLEAN)
    function = "bool_and" if one.name in ("bool_and", "every") else "bool_or"
    return one.result(one.sql(function, value.sql), types.BOOLEAN)


@aggregate("bit_and", "bit_or", "bit_xor")
def bits(one: Aggregation) -> Typed:
    """Bits of all values combined."""
    value = one.arguments[0]
    if not value.type.is_integral:
        raise wrong_type(one.name, value, "integral")
    return one.result(one.sql(one.name, value.sql), value.type)


_DOUBLE_FUNCTIONS = {
    "stddev": "stddev_samp",
    "std": "stddev_samp",
    "stddev_samp": "stddev_samp",
    "stddev_pop": "stddev_pop",
    "variance": "var_samp",
    "var_samp": "var_samp",
    "var_pop": "var_pop",
}


@aggregate(*_DOUBLE_FUNCTIONS)
def spread(one: Aggregation) -> Typed:
    """Standard deviation and variance."""
    value = one.translator.caster.cast(_number(one), types.DOUBLE)
    return one.result(one.sql(_DOUBLE_FUNCTIONS[one.name], value.sql), types.DOUBLE)


@aggregate(
    "covar_samp",
    "covar_pop",
    "corr",
    "regr_count",
    "regr_avgx",
    "regr_avgy",
    "regr_slope",
    "regr_intercept",
    "regr_r2",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
    least=2,
)
def regression(one: Aggregation) -> Typed:
    """Covariance, correlation and linear regression."""
    values = [one.translator.caster.cast(_number(one, place), types.DOUBLE).sql for place in (0, 1)]
    kind = types.BIGINT if one.name == "regr_count" else types.DOUBLE
    if one.name == "corr":
        pairs = one.sql("regr_count", ", ".join(values))
        made = one.sql("corr", ", ".join(values))
        return one.result(f"(CASE WHEN {pairs} > 1 THEN {made} END)", kind)
    return one.result(f"CAST({one.sql(one.name, ', '.join(values))} AS {kind.engine})", kind)


@aggregate("approx_count_distinct", most=2)
def approx_count_distinct(one: Aggregation) -> Typed:
    """The number of distinct values: here the exact one, which no error bound forbids."""
    if one.over:
        raise unsupported("approx_count_distinct as a window function")
    return one.result(one.sql("count", one.arguments[0].sql, distinct=True), types.BIGINT)


def _fractions(one: Aggregation, value: Typed) -> tuple[str, bool]:
    shares = value.type.kind == "ARRAY"
    if shares:
        return one.translator.caster.cast(value, types.array_of(types.DOUBLE)).sql, True
    if not value.type.is_numeric:
        raise wrong_type(one.name, value, "numeric")
    if value.is_constant and not 0 <= float(value.constant) <= 1:
        raise failure(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            "42K09",
            f"The percentage must be between [0.0, 1.0] (current value = {value.constant}).",
        )
    return (
        str(float(value.constant)) if value.is_constant else one.translator.caster.cast(value, types.DOUBLE).sql
    ), False


@aggregate("percentile", least=2, most=3)
def percentile(one: Aggregation) -> Typed:
    """An exact percentile, interpolated."""
    if len(one.arguments) > 2:
        raise unsupported("percentile with frequencies")
    value = one.translator.caster.cast(_number(one), types.DOUBLE)
    share, is_array = _fractions(one, one.arguments[1])
    return one.result(
        one.sql("quantile_cont", f"{value.sql}, {share}"), types.array_of(types.DOUBLE) if is_array else types.DOUBLE
    )


def _check_whole_partition(one: Aggregation) -> None:
    """Refuses DISTINCT, and a window that is not the whole partition."""
    if one.call.distinct:
        raise unsupported(f"{one.name} with DISTINCT")
    if one.call.window is not None:
        window = resolved(one.call.window, one.scope)
        if window.order_by or window.frame is not None:
            raise failure(
                "INVALID_WINDOW_SPEC_FOR_AGGREGATION_FUNC",
                "42601",
                f"Cannot specify ORDER BY or a window frame for `{one.name}`.",
            )


@aggregate("median")
def median(one: Aggregation) -> Typed:
    """The middle value, interpolated."""
    _check_whole_partition(one)
    value = one.translator.caster.cast(_number(one), types.DOUBLE)
    return one.result(one.sql("quantile_cont", f"{value.sql}, 0.5"), types.DOUBLE)


@aggregate("percentile_approx", "approx_percentile", least=2, most=3)
def percentile_approx(one: Aggregation) -> Typed:
    """The least value that at least that share of the values does not exceed: here the exact one."""
    value = _number(one)
    share, is_array = _fractions(one, one.arguments[1])
    return one.result(
        one.sql("quantile_disc", f"{value.sql}, {share}"), types.array_of(value.type) if is_array else value.type
    )


@aggregate("percentile_cont", "percentile_disc", ordered=True)
def percentile_within(one: Aggregation) -> Typed:
    """`percentile_cont(p) WITHIN GROUP (ORDER BY x)`."""
    if len(one.call.order_by) != 1 or one.call.nulls:
        raise failure(
            "INVALID_WITHIN_GROUP_EXPRESSION.WITHIN_GROUP_MISSING",
            "42K0K",
            f"Invalid function `{one.name}` with WITHIN GROUP. WITHIN GROUP is required for the function.",
        )
    _check_whole_partition(one)
    item = one.call.order_by[0]
    value = one.translator.expression(item.expression, one.scope)
    if not value.type.is_numeric:
        raise wrong_type(one.name, value, "numeric")
    kind = types.DOUBLE
    share, is_array = _fractions(one, one.arguments[0])
    if item.descending:
        if is_array or one.name == "percentile_disc":
            raise unsupported("percentile_disc, or several percentiles, in descending order")
        share = f"(1 - {share})"
    function = "quantile_cont" if one.name == "percentile_cont" else "quantile_disc"
    value = one.translator.caster.cast(value, kind)
    return one.result(one.sql(function, f"{value.sql}, {share}"), types.array_of(kind) if is_array else kind)


@aggregate("mode", least=0, most=2, ordered=True)
def mode(one: Aggregation) -> Typed:
    """The most frequent value; among several, one of them."""
    if len(one.arguments) != 1 or one.call.order_by or one.call.nulls or one.call.distinct:
        raise unsupported("mode with a second argument, DISTINCT or WITHIN GROUP")
    return one.result(one.sql("mode", one.arguments[0].sql), one.arguments[0].type)


@aggregate("listagg", "string_agg", most=2, ordered=True)
def listagg(one: Aggregation) -> Typed:
    """The texts that are not NULL, joined in the given order."""
    caster = one.translator.caster
    value = caster.implicit(one.arguments[0], types.STRING)
    delimiter = caster.implicit(one.arguments[1], types.STRING).sql if len(one.arguments) > 1 else "''"
    if len(one.arguments) > 1 and not one.arguments[1].is_constant:
        raise failure(
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "42K09", "The delimiter of `listagg` should be a foldable STRING."
        )
    if len(one.arguments) > 1 and one.arguments[1].constant is None:
        delimiter = "''"
    order = ""
    if one.call.order_by:
        keys = [
            f"{one.translator.expression(item.expression, one.scope).sql} {item.direction}"
            for item in one.call.order_by
        ]
        if one.call.distinct and any(not key.startswith(f"{value.sql} ") for key in keys):
            raise failure(
                "INVALID_WITHIN_GROUP_EXPRESSION.MISMATCH_WITH_DISTINCT_INPUT",
                "42K0K",
                "Invalid function `listagg` with WITHIN GROUP: DISTINCT and the ordering must be of the same expression.",
            )
        if one.over:
            raise unsupported("listagg with WITHIN GROUP as a window function")
        order = " ORDER BY " + ", ".join(keys)
    return one.result(one.sql("string_agg", f"{value.sql}, {delimiter}", order=order), types.STRING)


def _check_grouped(scope: Scope) -> None:
    if not scope.grouping_sets:
        raise failure(
            "UNSUPPORTED_GROUPING_EXPRESSION",
            "42K0E",
            "grouping()/grouping_id() can only be used with GroupingSets/Cube/Rollup.",
        )


@raw("grouping", least=1, most=1, kind="aggregate")
def grouping(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Whether a column is grouped over: 1 in the rows of a total."""
    value = translator.expression(call.arguments[0], scope)
    _check_grouped(scope)
    return Typed(f"CAST(grouping(({value.sql})) AS TINYINT)", types.TINYINT, aggregate=True)


@raw("grouping_id", kind="aggregate")
def grouping_id(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The bits of `grouping` of several columns."""
    if not call.arguments:
        raise unsupported("grouping_id() without its columns")
    values = translator.expressions(call.arguments, scope)
    _check_grouped(scope)
    return Typed(
        f"CAST(grouping({', '.join(f'({value.sql})' for value in values)}) AS BIGINT)", types.BIGINT, aggregate=True
    )
