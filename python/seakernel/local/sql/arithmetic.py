"""Arithmetic and comparison with Spark's result types, in ANSI mode: overflow and division by zero are errors."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from seakernel.local.sql import decimals, types
from seakernel.local.sql.errors import DIVIDE_BY_ZERO, failure, raised, type_mismatch, unsupported
from seakernel.local.sql.python_functions import interval_of_micros, micros_of_interval
from seakernel.local.sql.typed import Typed, inherit
from seakernel.local.sql.types import DataType

if TYPE_CHECKING:
    from seakernel.local.sql.casts import Caster

_REMAINDER_BY_ZERO = raised(
    "REMAINDER_BY_ZERO",
    "22012",
    "Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead.",
)


def arithmetic(caster: Caster, operator: str, left: Typed, right: Typed, *, is_try: bool = False) -> Typed:
    """`left operator right` for `+ - * / % DIV`; with `is_try` NULL stands for an error of the operation itself."""
    return inherit(_Operation(caster, is_try=is_try).apply(operator, left, right), [left, right])


class _Operation:
    def __init__(self, caster: Caster, *, is_try: bool) -> None:
        self.caster = caster
        self.is_try = is_try

    def apply(self, operator: str, left: Typed, right: Typed) -> Typed:
        if left.type.is_datetime or right.type.is_datetime:
            return self._datetime(operator, left, right)
        if left.type.is_interval or right.type.is_interval:
            return self._interval(operator, left, right)
        left, right = self._numbers(operator, left, right)
        if operator == "DIV":
            return self._integer_division(left, right)
        if left.type.kind == "DECIMAL" or right.type.kind == "DECIMAL":
            return self._decimal(operator, left, right)
        if operator == "/":
            return self._divide(
                self.caster.cast(left, types.DOUBLE), self.caster.cast(right, types.DOUBLE), types.DOUBLE
            )
        kind = types.common_type(left.type, right.type) or types.DOUBLE
        left, right = self.caster.cast(left, kind), self.caster.cast(right, kind)
        if operator == "%":
            return self._guarded(f"({left.sql} % {right.sql})", right, kind, _REMAINDER_BY_ZERO)
        if self.is_try and kind.is_integral:
            return self._try_integral(operator, left, right, kind)
        return Typed(f"({left.sql} {operator} {right.sql})", kind)

    def _numbers(self, operator: str, left: Typed, right: Typed) -> tuple[Typed, Typed]:
        """Both operands as numbers: text becomes BIGINT beside an integer, else DOUBLE; NULL takes the other's type."""
        for one, other in ((left, right), (right, left)):
            if not (one.type.is_numeric or one.type.is_string or one.type.kind == "VOID"):
                raise failure(
                    "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE"
                    if one.type == other.type
                    else "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
                    "42K09",
                    f'Cannot resolve "({operator})" due to data type mismatch: the binary operator requires numeric operands, not "{left.type.text}" and "{right.type.text}".',
                )
        if left.type.is_string and right.type.is_string:
            raise failure(
                "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE",
                "42K09",
                f'Cannot resolve "({operator})" due to data type mismatch: the binary operator requires the input type ("NUMERIC" or "INTERVAL"), not "STRING".',
            )
        both = (left.type, right.type)

        def number(one: Typed, other: DataType) -> Typed:
            if one.type.is_string:
                return self.caster.cast(one, types.BIGINT if other.is_integral else types.DOUBLE)
            if one.type.kind == "VOID":
                return self.caster.cast(one, other if other.is_numeric else types.DOUBLE)
            return one

        return number(left, both[1]), number(right, both[0])

    # Guards ------------------------------------------------------------------------------------------------------

    def _guarded(self, sql: str, divisor: Typed, kind: DataType, message: str) -> Typed:
        if divisor.is_constant and divisor.constant:
            return Typed(sql, kind)
        if divisor.volatile:
            raise unsupported("A division by an expression that differs at every evaluation")
        problem = f"CAST(NULL AS {kind.engine})" if self.is_try else f"CAST(error({message}) AS {kind.engine})"
        return Typed(f"(CASE WHEN {divisor.sql} = 0 THEN {problem} ELSE {sql} END)", kind)

    def _divide(self, left: Typed, right: Typed, kind: DataType) -> Typed:
        # NULL / 0 is NULL, not an error.
        quotient = self._guarded(f"({left.sql} / {right.sql})", right, kind, DIVIDE_BY_ZERO)
        if "CASE WHEN" in quotient.sql[:12] and not self.is_try:
            quotient.sql = quotient.sql.replace(
                f"{right.sql} = 0 THEN", f"{right.sql} = 0 AND {left.sql} IS NOT NULL THEN", 1
            )
        return quotient

    def _integer_division(self, left: Typed, right: Typed) -> Typed:
        if left.type.is_fractional or right.type.is_fractional:
            left, right = self.caster.cast(left, types.BIGINT), self.caster.cast(right, types.BIGINT)
        if left.type.kind == "DECIMAL" or right.type.kind == "DECIMAL":
            quotient = self._decimal_division_exact(left, right)
            return Typed(f"CAST({quotient} AS BIGINT)", types.BIGINT)
        left, right = self.caster.cast(left, types.BIGINT), self.caster.cast(right, types.BIGINT)
        return self._guarded(f"({left.sql} // {right.sql})", right, types.BIGINT, DIVIDE_BY_ZERO)

    def _decimal_division_exact(self, left: Typed, right: Typed) -> str:
        one, other = types.decimal_for(left.type), types.decimal_for(right.type)
        scaled = max(one.scale, other.scale)
        if max(one.precision - one.scale, other.precision - other.scale) + scaled > 38:
            raise unsupported("DIV of DECIMALs this wide")
        unit = types.decimal(38, scaled)
        shift = 10**scaled
        parts = [f"CAST(CAST({part.sql} AS {unit.engine}) * {shift} AS HUGEINT)" for part in (left, right)]
        if scaled:
            parts = [
                f"CAST(replace(CAST(CAST({part.sql} AS {unit.engine}) AS VARCHAR), '.', '') AS HUGEINT)"
                for part in (left, right)
            ]
        return self._guarded(f"({parts[0]} // {parts[1]})", right, types.BIGINT, DIVIDE_BY_ZERO).sql

    def _try_integral(self, operator: str, left: Typed, right: Typed, kind: DataType) -> Typed:
        wide = f"(CAST({left.sql} AS HUGEINT) {operator} CAST({right.sql} AS HUGEINT))"
        return Typed(f"TRY_CAST({wide} AS {kind.engine})", kind)

    # DECIMAL -----------------------------------------------------------------------------------------------------

    def _decimal(self, operator: str, left: Typed, right: Typed) -> Typed:
        if left.type.is_fractional or right.type.is_fractional:
            left, right = self.caster.cast(left, types.DOUBLE), self.caster.cast(right, types.DOUBLE)
            return self.apply(operator, left, right)
        left, right = self._as_decimal(left), self._as_decimal(right)
        natural, kind = decimal_result(operator, left.type, right.type)
        if operator in ("+", "-", "*") and natural <= 38 and not self.is_try:
            return Typed(self._native(operator, left, right, kind), kind)
        sql = decimals.arithmetic(
            self.caster.python, operator, (left.sql, right.sql), (left.type, right.type), kind, is_try=self.is_try
        )
        return Typed(sql, kind)

    def _as_decimal(self, value: Typed) -> Typed:
        if value.type.kind == "DECIMAL":
            return value
        if value.literal and isinstance(value.constant, int):
            # A literal needs only the digits that it has.
            kind = types.decimal(len(str(abs(value.constant))), 0)
            return Typed(
                f"CAST({value.constant} AS {kind.engine})", kind, constant=Decimal(value.constant), simple=True
            )
        return self.caster.cast(value, types.decimal_for(value.type))

    def _native(self, operator: str, left: Typed, right: Typed, kind: DataType) -> str:
        if operator in ("+", "-"):
            return f"CAST(CAST({left.sql} AS {kind.engine}) {operator} CAST({right.sql} AS {kind.engine}) AS {kind.engine})"
        # DuckDB keeps a product of narrow DECIMALs at 18 digits unless one side is wide.
        wide = types.decimal(max(left.type.precision, min(19, 38 - right.type.precision)), left.type.scale)
        return f"CAST(CAST({left.sql} AS {wide.engine}) * {right.sql} AS {kind.engine})"

    # Dates, timestamps, intervals --------------------------------------------------------------------------------

    def _datetime(self, operator: str, left: Typed, right: Typed) -> Typed:
        if left.type.is_datetime and right.type.is_datetime and operator == "-":
            return self._difference(left, right)
        if right.type.is_datetime and operator == "+":
            left, right = right, left
        if operator in ("+", "-") and left.type.is_datetime:
            if left.type.kind == "DATE" and right.type.kind in ("INT", "SMALLINT", "TINYINT"):
                return Typed(f"({left.sql} {operator} CAST({right.sql} AS INTEGER))", types.DATE)
            if right.type.is_interval:
                return add_interval(operator, left, right)
            if right.type.kind == "VOID" and operator == "-":
                return self._difference(left, self.caster.cast(right, left.type))
            if right.type.kind == "VOID":
                kind = types.TIMESTAMP if left.type.kind == "DATE" else left.type
                return Typed(f"CAST(NULL AS {kind.engine})", kind)
            if right.type.is_string and operator == "-":
                return self._difference(left, self.caster.cast(right, left.type))
        raise type_mismatch(f"{left.type.text} {operator} {right.type.text} is not defined")

    def _difference(self, left: Typed, right: Typed) -> Typed:
        if left.type.kind == right.type.kind == "DATE":
            return Typed(
                f"to_days(CAST({left.sql} - {right.sql} AS INTEGER))", DataType("INTERVAL_DT", units=("DAY", "DAY"))
            )
        kind = types.common_type(left.type, right.type) or types.TIMESTAMP
        local = [f"epoch_us(CAST({self.caster.cast(side, kind).sql} AS TIMESTAMP))" for side in (left, right)]
        return Typed(interval_of_micros(f"{local[0]} - {local[1]}"), types.DAY_TO_SECOND)

    def _interval(self, operator: str, left: Typed, right: Typed) -> Typed:
        if left.type.is_interval and right.type.is_interval and operator in ("+", "-"):
            kind = types.common_type(left.type, right.type)
            if kind is None:
                raise type_mismatch("year-month and day-time intervals do not mix")
            if kind.kind == "INTERVAL_YM":
                return Typed(f"({left.sql} {operator} {right.sql})", kind)
            return Typed(
                interval_of_micros(f"({micros_of_interval(left.sql)} {operator} {micros_of_interval(right.sql)})"), kind
            )
        if operator == "*" and right.type.is_interval:
            left, right = right, left
        if left.type.is_interval and right.type.is_integral and operator == "*":
            if left.type.kind == "INTERVAL_YM":
                return Typed(f"to_months(CAST({_months(left.sql)} * {right.sql} AS INTEGER))", types.YEAR_TO_MONTH)
            return Typed(interval_of_micros(f"({micros_of_interval(left.sql)} * {right.sql})"), types.DAY_TO_SECOND)
        if left.type.is_interval and right.type.is_integral and operator == "/" and left.type.kind == "INTERVAL_DT":
            micros = f"CAST(round(CAST({micros_of_interval(left.sql)} AS DOUBLE) / {right.sql}) AS BIGINT)"
            return self._guarded(interval_of_micros(micros), right, types.DAY_TO_SECOND, DIVIDE_BY_ZERO)
        raise unsupported(f"{left.type.text} {operator} {right.type.text}")


def _months(sql: str) -> str:
    return f"(datepart('year', {sql}) * 12 + datepart('month', {sql}))"


def add_interval(operator: str, moment: Typed, interval: Typed) -> Typed:
    """A date or timestamp plus or minus an interval; a DATE stays one unless the interval has hours."""
    sql = f"({moment.sql} {operator} {interval.sql})"
    if moment.type.kind == "DATE":
        if interval.type.kind == "INTERVAL_YM" or interval.type.units == ("DAY", "DAY"):
            return Typed(f"CAST({sql} AS DATE)", types.DATE)
        return Typed(f"(CAST({moment.sql} AS TIMESTAMPTZ) {operator} {interval.sql})", types.TIMESTAMP)
    return Typed(sql, moment.type)


def decimal_result(operator: str, left: DataType, right: DataType) -> tuple[int, DataType]:
    """The digits that an operation would need, and the type that Spark gives it within 38."""
    one, other = left, right
    if operator in ("+", "-"):
        scale = max(one.scale, other.scale)
        precision = max(one.precision - one.scale, other.precision - other.scale) + scale + 1
    elif operator == "*":
        scale = one.scale + other.scale
        precision = one.precision + other.precision + 1
    elif operator == "/":
        scale = max(6, one.scale + other.precision + 1)
        precision = one.precision - one.scale + other.scale + scale
    else:
        scale = max(one.scale, other.scale)
        precision = min(one.precision - one.scale, other.precision - other.scale) + scale
    return precision, types.adjusted_decimal(precision, scale)


def comparison(caster: Caster, operator: str, left: Typed, right: Typed) -> Typed:
    """`left operator right` for `= <> < <= > >= <=>`, both sides cast to their common type."""
    left, right = comparable(caster, left, right)
    symbol = "IS NOT DISTINCT FROM" if operator == "<=>" else operator
    return inherit(Typed(f"({left.sql} {symbol} {right.sql})", types.BOOLEAN), [left, right])


def comparable(caster: Caster, left: Typed, right: Typed) -> tuple[Typed, Typed]:
    """Both sides in their common type.

    Raises:
        SqlError: DATATYPE_MISMATCH if there is none, or if values of it have no order.
    """
    kind = types.common_type(left.type, right.type)
    if kind is None or (kind.is_interval and (left.type.is_string or right.type.is_string)):
        raise failure(
            "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
            "42K09",
            f'Cannot resolve the comparison due to data type mismatch: the left and right operands of the binary operator have incompatible types ("{left.type.text}" and "{right.type.text}").',
        )
    if kind.contains("MAP", "VARIANT"):
        raise failure(
            "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
            "42K09",
            f'Cannot resolve the comparison due to data type mismatch: it does not support ordering on type "{kind.text}".',
        )
    if kind.kind == "DECIMAL":
        # DuckDB compares any two DECIMALs exactly; casting both could cut digits off.
        return tuple(
            side if side.type.kind == "DECIMAL" else caster.cast(side, types.decimal_for(side.type))
            for side in (left, right)
        )  # type: ignore[return-value]
    return caster.cast(left, kind), caster.cast(right, kind)
