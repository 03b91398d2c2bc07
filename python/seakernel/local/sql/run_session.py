"""USE, SET, RESET and session variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, rows_query
from seakernel.local.sql.typed import QuerySql, Scope, Typed

if TYPE_CHECKING:
    from seakernel.local.sql import commands

_ZONE_NAMES = ("timezone", "spark.sql.session.timezone")
#: Settings that clients send, and that change no answer here at the given values.
_HARMLESS = {
    "ansi_mode": ("true",),
    "spark.sql.ansi.enabled": ("true",),
    "use_cached_result": ("true", "false"),
    "statement_timeout": None,
    "query_tags": None,
}


def harmless(key: str, value: str) -> bool | None:
    """Whether a setting at this value changes no answer; None if the setting is not known."""
    if key.lower() not in _HARMLESS:
        return None
    accepted = _HARMLESS[key.lower()]
    return accepted is None or value.strip().lower() in accepted


def use(execution: Execution, command: commands.Use) -> None:
    """USE CATALOG and USE SCHEMA."""
    parts = execution.name(command.name)
    session = execution.session
    if command.kind == "CATALOG":
        session.catalog = execution.warehouse.catalog(execution.environment.catalog_name(parts)).name
        session.schema = "default"
        return
    catalog, _ = execution.environment.schema_name(parts)
    if parts[-1].lower() == "information_schema":
        session.catalog, session.schema = execution.warehouse.catalog(catalog).name, "information_schema"
        return
    schema = execution.warehouse.schema(catalog, parts[-1])
    session.catalog, session.schema = execution.warehouse.catalog(catalog).name, schema.name


def set_option(execution: Execution, command: commands.SetOption) -> QuerySql | None:
    """SET and RESET."""
    session = execution.session
    key = command.key.strip("`")
    if command.reset:
        if not key or key.lower() in _ZONE_NAMES:
            session.zone = "Etc/UTC"
        if key:
            session.settings.pop(key.lower(), None)
        else:
            session.settings.clear()
        return None
    if command.value is None:
        value = session.zone if key.lower() in _ZONE_NAMES else session.settings.get(key.lower())
        return rows_query(
            [("key", types.STRING), ("value", types.STRING)], [(key, value if value is not None else "<undefined>")]
        )
    if key.lower() in _ZONE_NAMES:
        before = session.zone
        session.set_zone(command.value)
        try:
            execution.run(f"SET TimeZone = {types.text_literal(session.zone)}")
        except duckdb.Error:
            session.zone = before
            raise failure("INVALID_TIMEZONE", "22009", f"The timezone: '{command.value}' is invalid.") from None
        return rows_query([("key", types.STRING), ("value", types.STRING)], [(key, command.value)])
    if not harmless(key, command.value):
        raise unsupported(f"SET {key} = {command.value}")
    session.settings[key.lower()] = command.value
    return rows_query([("key", types.STRING), ("value", types.STRING)], [(key, command.value)])


def declare(execution: Execution, command: commands.DeclareVariable) -> None:
    """DECLARE VARIABLE."""
    variables = execution.session.variables
    if command.name.lower() in variables and not command.replace:
        raise failure(
            "VARIABLE_ALREADY_EXISTS",
            "42723",
            f"Cannot create the variable `system`.`session`.`{command.name}` because it already exists.",
        )
    translator = execution.translator()
    value = (
        translator.expression(command.default, Scope())
        if command.default is not None
        else Typed("NULL", types.VOID, constant=None)
    )
    variables[command.name.lower()] = _evaluated(execution, translator.caster.cast(value, command.type or value.type))


def set_variable(execution: Execution, command: commands.SetVariable) -> None:
    """SET VAR."""
    variables = execution.session.variables
    old = variables.get(command.name.lower())
    if old is None:
        raise failure(
            "UNRESOLVED_VARIABLE",
            "42883",
            f"Cannot resolve variable `{command.name}` on search path `system`.`session`.",
        )
    translator = execution.translator()
    value = translator.expression(command.value, Scope())
    variables[command.name.lower()] = _evaluated(execution, translator.caster.cast(value, old.type))


def _evaluated(execution: Execution, value: Typed) -> Typed:
    """The value computed now, as a literal; only types whose text is exact."""
    if value.type.is_nested or value.type.kind in ("VARIANT", "BINARY", "TIMESTAMP") or value.type.is_interval:
        raise unsupported(f"A variable of type {value.type.text}")
    row = execution.run(f"SELECT CAST({value.sql} AS VARCHAR)")[0][0]
    text = "NULL" if row is None else types.text_literal(str(row))
    constant = row if row is None or value.type.is_string else value.constant
    return Typed(f"CAST({text} AS {value.type.engine})", value.type, constant=constant, simple=True)


def drop_variable(execution: Execution, command: commands.DropVariable) -> None:
    """DROP TEMPORARY VARIABLE."""
    if execution.session.variables.pop(command.name.lower(), None) is None and not command.if_exists:
        raise failure("VARIABLE_NOT_FOUND", "42883", f"The variable `{command.name}` cannot be found.")
