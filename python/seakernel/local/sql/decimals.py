"""Exact DECIMAL arithmetic where DuckDB has none, or not to Spark's precision and scale."""

from __future__ import annotations

import decimal
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from seakernel.local.sql.errors import failure
from seakernel.local.sql.python_functions import PythonFunction, PythonFunctions

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.types import DataType

# 38 digits by 38 digits, divided to 38 places: twice that is enough to round once and rightly.
_CONTEXT = decimal.Context(prec=160, Emax=999, Emin=-999)


def _fit(value: Decimal, kind: DataType, rounding: str = ROUND_HALF_UP) -> Decimal:
    rounded = value.quantize(Decimal(1).scaleb(-kind.scale), rounding=rounding, context=_CONTEXT)
    if len(rounded.as_tuple().digits) > kind.precision and rounded != 0:
        raise failure(
            "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
            "22003",
            f"The value {rounded:f} cannot be represented as {kind.text}. If necessary, use `try_` functions to tolerate overflow and return NULL instead.",
        )
    return rounded


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if right == 0:
        raise failure(
            "DIVIDE_BY_ZERO",
            "22012",
            "Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead.",
        )
    return _CONTEXT.divide(left, right)


def _remainder(left: Decimal, right: Decimal) -> Decimal:
    if right == 0:
        raise failure(
            "REMAINDER_BY_ZERO",
            "22012",
            "Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead.",
        )
    return _CONTEXT.remainder(left, right)


_OPERATIONS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": _CONTEXT.add,
    "-": _CONTEXT.subtract,
    "*": _CONTEXT.multiply,
    "/": _divide,
    "%": _remainder,
}
_NAMES = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder"}


def arithmetic(
    python: PythonFunctions,
    operator: str,
    operands: tuple[str, str],
    kinds: tuple[DataType, DataType],
    result: DataType,
    *,
    is_try: bool = False,
) -> str:
    """The SQL of an exact operation on two DECIMALs with the given result type; NULL instead of an error for `try_`."""
    operation = _OPERATIONS[operator]

    def make() -> PythonFunction:
        def compute(left: Decimal, right: Decimal) -> Decimal | None:
            try:
                return _fit(operation(left, right), result)
            except Exception:
                if is_try:
                    return None
                raise

        return PythonFunction(compute, (kinds[0].engine, kinds[1].engine), result.engine)

    shape = "_".join(f"{kind.precision}_{kind.scale}" for kind in (*kinds, result))
    name = f"decimal_{_NAMES[operator]}_{shape}{'_try' if is_try else ''}"
    return python.call_made(name, make, list(operands))


def rounded(python: PythonFunctions, sql: str, kind: DataType, places: int, result: DataType, mode: str) -> str:
    """The SQL of a DECIMAL rounded to a count of places: `up` half away from zero, `even`, `floor` or `ceiling`."""
    rounding = {
        "up": ROUND_HALF_UP,
        "even": ROUND_HALF_EVEN,
        "floor": decimal.ROUND_FLOOR,
        "ceiling": decimal.ROUND_CEILING,
    }[mode]

    def make() -> PythonFunction:
        def compute(value: Decimal) -> Decimal:
            return _fit(value.quantize(Decimal(1).scaleb(-places), rounding=rounding, context=_CONTEXT), result)

        return PythonFunction(compute, (kind.engine,), result.engine)

    shape = f"{kind.precision}_{kind.scale}_{places}_{result.precision}_{result.scale}".replace("-", "m")
    return python.call_made(f"decimal_round_{mode}_{shape}", make, [sql])
