"""The functions that the local warehouse knows. A name that is not here is refused before DuckDB could misread it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from seakernel.local.sql.errors import failure
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope
    from seakernel.local.sql.types import DataType

Handler: TypeAlias = "Callable[[ExpressionTranslator, list[Typed]], Typed]"
RawHandler: TypeAlias = "Callable[[ExpressionTranslator, Call, Scope], Typed]"


@dataclass(frozen=True)
class Function:
    """A function: how many arguments it takes and what translates it.

    A raw function sees the call as written: lambdas, units, DISTINCT and the like.
    """

    name: str
    handler: Handler | None
    raw: RawHandler | None
    least: int
    most: int
    kind: str = "scalar"


FUNCTIONS: dict[str, Function] = {}


def scalar(*names: str, least: int = 1, most: int | None = None) -> Callable[[Handler], Handler]:
    """Adds a function whose arguments are translated before it is called."""

    def add(handler: Handler) -> Handler:
        for name in names:
            FUNCTIONS[name] = Function(name, handler, None, least, least if most is None else most)
        return handler

    return add


def raw(*names: str, least: int = 0, most: int = 255, kind: str = "scalar") -> Callable[[RawHandler], RawHandler]:
    """Adds a function that sees the call as written."""

    def add(handler: RawHandler) -> RawHandler:
        for name in names:
            FUNCTIONS[name] = Function(name, None, handler, least, most, kind)
        return handler

    return add


def simple(name: str, template: str, arguments: list[DataType], returns: DataType) -> None:
    """Adds a function that is a template over arguments cast to the given types: `{0}`, `{1}`."""

    def handler(translator: ExpressionTranslator, given: list[Typed]) -> Typed:
        cast = [translator.caster.implicit(value, kind).sql for value, kind in zip(given, arguments, strict=True)]
        return Typed(template.format(*cast), returns)

    FUNCTIONS[name] = Function(name, handler, None, len(arguments), len(arguments))


def python(name: str, implementation: str, arguments: list[DataType], returns: DataType) -> None:
    """Adds a function of the Python library, its arguments cast to the given types."""

    def handler(translator: ExpressionTranslator, given: list[Typed]) -> Typed:
        cast = [translator.caster.implicit(value, kind).sql for value, kind in zip(given, arguments, strict=True)]
        return Typed(translator.python.call(implementation, cast), returns)

    FUNCTIONS[name] = Function(name, handler, None, len(arguments), len(arguments))


def alias(name: str, *others: str) -> None:
    """Gives a function further names."""
    for other in others:
        FUNCTIONS[other] = FUNCTIONS[name]


def wrong_count(name: str, expected: str, actual: int) -> Exception:
    """The error of a call with too many or too few arguments."""
    return failure(
        "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
        "42605",
        f"The `{name}` requires {expected} parameters but the actual number is {actual}.",
    )


def check_count(function: Function, actual: int) -> None:
    """Refuses a call with too many or too few arguments."""
    if not function.least <= actual <= function.most:
        expected = str(function.least) if function.least == function.most else f"[{function.least}, {function.most}]"
        raise wrong_count(function.name, expected, actual)


def wrong_type(name: str, value: Typed, wanted: str) -> Exception:
    """The error of an argument with a type that the function does not take."""
    return failure(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        "42K09",
        f'Cannot resolve "{name}" due to data type mismatch: a parameter requires the {wanted} type, however it has the type "{value.type.text}".',
    )
