"""Functions of the session and of the moment, and identifiers that differ at every evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.registry import FUNCTIONS, scalar
from seakernel.local.sql.typed import Typed
from seakernel.local.sql.types import text_literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.expressions import Environment, ExpressionTranslator


def _fact(names: tuple[str, ...], read: Callable[[Environment], str]) -> None:
    @scalar(*names, least=0)
    def fact(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        text = read(translator.environment)
        return Typed(text_literal(text), types.STRING, constant=text)


_fact(("current_catalog",), lambda environment: environment.catalog)
_fact(("current_schema", "current_database"), lambda environment: environment.schema)
_fact(("current_user", "user", "session_user"), lambda environment: environment.user)
_fact(("current_timezone",), lambda environment: environment.setting("timezone") or "Etc/UTC")
_fact(("version",), lambda environment: "4.0.0 local")


@scalar("current_version", least=0)
def current_version(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The versions, as a struct."""
    parts = [("dbr_version", "local"), ("dbsql_version", "local"), ("u_build_hash", "local"), ("r_build_hash", "local")]
    sql = ", ".join(f"{name} := '{value}'" for name, value in parts)
    return Typed(f"struct_pack({sql})", types.struct_of([(name, types.STRING) for name, _ in parts]))


@scalar("current_timestamp", "now", "getdate", least=0)
def current_timestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The moment of the statement's start."""
    return Typed(f"make_timestamptz({translator.environment.now_micros})", types.TIMESTAMP)


@scalar("localtimestamp", least=0)
def localtimestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """That moment on the session's clock."""
    return Typed(f"CAST(make_timestamptz({translator.environment.now_micros}) AS TIMESTAMP)", types.TIMESTAMP_NTZ)


@scalar("current_date", "curdate", least=0, most=1)
def current_date(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The session's date."""
    if arguments:
        zone = translator.caster.implicit(arguments[0], types.STRING)
        return Typed(
            f"CAST(timezone({zone.sql}, make_timestamptz({translator.environment.now_micros})) AS DATE)", types.DATE
        )
    return Typed(f"CAST(make_timestamptz({translator.environment.now_micros}) AS DATE)", types.DATE)


@scalar("uuid", least=0)
def uuid(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A random identifier."""
    return Typed("CAST(uuid() AS VARCHAR)", types.STRING, volatile=True)


del FUNCTIONS
