"""Functions computed in Python, called from DuckDB: what Java defines and SQL cannot express exactly.

They are registered with DuckDB when a statement first needs them, because registration imports numpy.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from seakernel.local.sql.errors import unsupported
from seakernel.local.sql.types import DataType, text_literal

if TYPE_CHECKING:
    from seakernel.local.sql.casts import Caster
    from seakernel.local.sql.typed import Typed

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


@dataclass(frozen=True)
class PythonFunction:
    """A function with the DuckDB types of its arguments and result."""

    implementation: Callable[..., Any]
    arguments: tuple[str, ...]
    returns: str
    #: Whether it is called for NULL arguments too; otherwise NULL in is NULL out.
    takes_nulls: bool = False


LIBRARY: dict[str, PythonFunction] = {}


def python_function(
    *arguments: str, returns: str, takes_nulls: bool = False
) -> Callable[[Implementation], Implementation]:
    """Adds the decorated function to the library under its own name."""

    def add(implementation: Implementation) -> Implementation:
        LIBRARY[implementation.__name__] = PythonFunction(implementation, arguments, returns, takes_nulls)
        return implementation

    return add


class PythonFunctions:
    """Registers functions of the library with one DuckDB database, each when it is first needed."""

    def __init__(self, register: Callable[[str, PythonFunction], None]) -> None:
        self._register = register
        self._registered: set[str] = set()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many functions are registered."""
        return len(self._registered)

    def call(self, name: str, arguments: list[str]) -> str:
        """The SQL of a call of the library's function `name`."""
        return self.call_made(name, lambda: LIBRARY[name], arguments)

    def call_made(self, name: str, make: Callable[[], PythonFunction], arguments: list[str]) -> str:
        """The SQL of a call of a function that `make` builds, once, for the types at hand."""
        with self._lock:
            if name not in self._registered:
                _load_library()
                try:
                    self._register(f"seakernel_{name}", _null_safe(make()))
                except Exception as error:
                    if "numpy" in str(error):
                        raise unsupported("A function that needs the package numpy, which is not installed,") from None
                    raise
                self._registered.add(name)
        return f"seakernel_{name}({', '.join(arguments)})"

    def interval_text(self, sql: str, kind: DataType) -> str:
        """The SQL of an interval's text, such as `INTERVAL '1 02:00:00' DAY TO SECOND`."""
        if kind.kind == "INTERVAL_YM":
            amount = f"(datepart('year', {sql}) * 12 + datepart('month', {sql}))"
        else:
            amount = micros_of_interval(sql)
        return self.call("interval_text", [f"CAST({amount} AS BIGINT)", text_literal(kind.text)])

    def from_variant(self, sql: str, to: DataType, *, is_try: bool) -> str:
        """The SQL of a cast of VARIANT to another type."""
        from seakernel.local.sql import variant

        return variant.cast_from(self, sql, to, is_try=is_try)

    def to_variant(self, caster: Caster, value: Typed) -> str:
        """The SQL of a cast of a value to VARIANT."""
        from seakernel.local.sql import variant

        return variant.cast_to(self, caster, value)


def micros_of_interval(sql: str) -> str:
    """The SQL of a day-time interval's length in microseconds."""
    return f"(datepart('day', {sql}) * 86400000000 + datepart('hour', {sql}) * 3600000000 + datepart('minute', {sql}) * 60000000 + datepart('microsecond', {sql}))"


def interval_of_micros(sql: str) -> str:
    """The SQL of a day-time interval from microseconds, whole days kept as days."""
    return f"(to_days(CAST(({sql}) // 86400000000 AS INTEGER)) + to_microseconds(({sql}) % 86400000000))"


def _null_safe(function: PythonFunction) -> PythonFunction:
    """The function as DuckDB must see it: one that may return NULL, yet is not called for NULL arguments."""
    if function.takes_nulls:
        return function

    def call(*arguments: Any) -> Any:
        return None if any(argument is None for argument in arguments) else function.implementation(*arguments)

    # DuckDB counts the parameters that the signature names.
    names = [
        inspect.Parameter(f"a{place}", inspect.Parameter.POSITIONAL_ONLY) for place in range(len(function.arguments))
    ]
    call.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    return PythonFunction(call, function.arguments, function.returns, takes_nulls=True)


def _load_library() -> None:
    """Imports the modules that fill the library."""
    from seakernel.local.sql import decimals, digests, java_dates, java_regex, java_text, json_text, variant

    del decimals, digests, java_dates, java_regex, java_text, json_text, variant
