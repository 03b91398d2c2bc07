"""JSON text: reading by path (`$.a[0].b`), and into rows and columns."""

from __future__ import annotations

import datetime
import json
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.java_text import java_number
from seakernel.local.sql.python_functions import PythonFunction, PythonFunctions, python_function
from seakernel.local.sql.types import INTEGER_BITS, DataType, text_literal

_MISSING = object()


class NumberText(str):
    """A JSON number as it was written."""

    __slots__ = ()


@lru_cache(maxsize=512)
def path_steps(path: str) -> tuple[str | int, ...] | None:
    """The steps of `$.a['b'][0]`; None if it is not a path.

    Raises:
        SqlError: for a wildcard, which is refused.
    """
    if not path.startswith("$"):
        return None
    steps: list[str | int] = []
    pattern = re.compile(r"\.([^.\[\]*'\"]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
    offset = 1
    while offset < len(path):
        if path[offset:].startswith((".*", "[*]", "..")):
            raise unsupported("A wildcard in a JSON path")
        found = pattern.match(path, offset)
        if not found:
            return None
        steps.append(
            int(found[2])
            if found[2] is not None
            else next(part for part in (found[1], found[3], found[4]) if part is not None)
        )
        offset = found.end()
    return tuple(steps)


def follow(value: Any, steps: tuple[str | int, ...]) -> Any:
    """The value at the end of the path, or `_MISSING`."""
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(step, int) and isinstance(value, list):
            value = value[step] if step < len(value) else _MISSING
        else:
            return _MISSING
        if value is _MISSING:
            return _MISSING
    return value


def load(text: str) -> Any:
    """Parses JSON with numbers kept as written; raises ValueError."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(text, parse_float=NumberText, parse_int=NumberText, parse_constant=refuse)


def dump(value: Any) -> str:
    """Compact JSON text, numbers as they were written."""
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{dump(part)}" for name, part in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@python_function("VARCHAR", "VARCHAR", returns="VARCHAR")
def json_at(text: str, path: str) -> str | None:
    """get_json_object: text unquoted, other values as JSON; NULL where there is nothing or the JSON is broken."""
    steps = path_steps(path)
    if steps is None:
        return None
    try:
        value = follow(load(text), steps)
    except ValueError:
        return None
    if value is _MISSING or value is None:
        return None
    value = _doubles(value)
    return str(value) if isinstance(value, str) else dump(value)


def _doubles(value: Any) -> Any:
    """The value with its fractional numbers as Java writes a double, which is how they are copied."""
    if isinstance(value, NumberText):
        return value if value.lstrip("-").isdigit() else NumberText(java_number(repr(float(value))))
    if isinstance(value, list):
        return [_doubles(part) for part in value]
    if isinstance(value, dict):
        return {name: _doubles(part) for name, part in value.items()}
    return value


@python_function("VARCHAR", "VARCHAR[]", returns="VARCHAR[]", takes_nulls=True)
def json_fields(text: str | None, names: list[str]) -> list[str | None]:
    """json_tuple: several top-level fields at once."""
    try:
        value = load(text) if text is not None else None
    except ValueError:
        value = None
    fields = value if isinstance(value, dict) else {}
    found = [fields.get(name) for name in names]
    return [None if part is None else str(part) if isinstance(part, str) else dump(part) for part in found]


@python_function("VARCHAR", returns="INTEGER")
def json_length(text: str) -> int | None:
    """The number of elements of the outermost array, NULL for anything else."""
    try:
        value = load(text)
    except ValueError:
        return None
    return len(value) if isinstance(value, list) else None


@python_function("VARCHAR", returns="VARCHAR[]")
def json_keys(text: str) -> list[str] | None:
    """The keys of the outermost object, NULL for anything else."""
    try:
        value = load(text)
    except ValueError:
        return None
    return list(value) if isinstance(value, dict) else None


# from_json -----------------------------------------------------------------------------------------------------------


class _BadRecordError(Exception):
    """A value that does not fit the schema; the field that holds it becomes NULL."""


def convert(value: Any, kind: DataType) -> Any:
    """A parsed JSON value as the given type, the way from_json's PERMISSIVE mode does."""
    if value is None:
        return None
    if kind.kind == "STRUCT":
        if not isinstance(value, dict):
            raise _BadRecordError
        return {part.name: _field(value.get(part.name), part.type) for part in kind.fields}
    if kind.kind == "ARRAY":
        if not isinstance(value, list):
            raise _BadRecordError
        return [convert(part, kind.item) for part in value]
    if kind.kind == "MAP":
        if not isinstance(value, dict):
            raise _BadRecordError
        return {name: convert(part, kind.item) for name, part in value.items()}
    return _scalar(value, kind)


def _field(value: Any, kind: DataType) -> Any:
    try:
        return convert(value, kind)
    except _BadRecordError:
        return None


def _scalar(value: Any, kind: DataType) -> Any:
    is_number = isinstance(value, NumberText)
    if kind.is_string:
        return str(value) if isinstance(value, str) else dump(value)
    if kind.kind == "BOOLEAN" and isinstance(value, bool):
        return value
    if kind.is_integral and is_number and re.fullmatch(r"-?\d+", value):
        number = int(value)
        if -(1 << (INTEGER_BITS[kind.kind] - 1)) <= number < 1 << (INTEGER_BITS[kind.kind] - 1):
            return number
    if kind.is_fractional and is_number:
        return float(value)
    if kind.is_fractional and value in ("NaN", "Infinity", "-Infinity", "+INF", "INF", "-INF", "+Infinity"):
        return float(value)
    if kind.kind == "DECIMAL" and isinstance(value, str):
        return _decimal(value, kind)
    if kind.kind == "DATE" and isinstance(value, str) and not is_number:
        return _date(value)
    raise _BadRecordError


def _decimal(value: str, kind: DataType) -> Decimal:
    try:
        number = Decimal(value).quantize(Decimal(1).scaleb(-kind.scale), rounding=ROUND_HALF_UP)
    except InvalidOperation:
        raise _BadRecordError from None
    if len(number.as_tuple().digits) > kind.precision and number != 0:
        raise _BadRecordError
    return number


def _date(value: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        raise _BadRecordError from None


def from_json(python: PythonFunctions, sql: str, kind: DataType, *, fail_fast: bool) -> str:
    """The SQL of from_json in PERMISSIVE or FAILFAST mode."""
    if kind.contains("TIMESTAMP", "TIMESTAMP_NTZ", "BINARY", "INTERVAL_YM", "INTERVAL_DT", "VARIANT"):
        raise unsupported("from_json with TIMESTAMP, BINARY, INTERVAL or VARIANT in its schema")
    if kind.kind == "MAP" and not kind.map_key.is_string:
        raise unsupported("from_json into a MAP whose keys are not STRING")

    def parse(text: str) -> Any:
        try:
            value = load(text)
            if kind.kind == "ARRAY" and kind.item.kind == "STRUCT" and isinstance(value, dict):
                value = [value]
            if kind.kind == "STRUCT" and isinstance(value, list):
                value = value[0] if len(value) == 1 else value
            return convert(value, kind)
        except (ValueError, _BadRecordError):
            if fail_fast:
                raise failure(
                    "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
                    "22023",
                    f"Malformed records are detected in record parsing: {text}. Parse Mode: FAILFAST.",
                ) from None
            if kind.kind == "STRUCT" and text.strip():
                return {part.name: None for part in kind.fields}
            return None

    import hashlib

    digest = hashlib.md5((kind.text + str(fail_fast)).encode(), usedforsecurity=False).hexdigest()
    return python.call_made(f"from_json_{digest}", lambda: PythonFunction(parse, ("VARCHAR",), kind.engine), [sql])


# to_json -------------------------------------------------------------------------------------------------------------


def to_json(python: PythonFunctions, sql: str, kind: DataType) -> str:
    """The SQL of a value as JSON text: fields that are NULL are left out, elements that are NULL are `null`."""
    if kind.is_string:
        return f"CAST(to_json({sql}) AS VARCHAR)"
    if kind.is_integral or kind.kind in ("BOOLEAN", "DECIMAL"):
        return f"CAST({sql} AS VARCHAR)"
    if kind.is_fractional:
        text = python.call("java_number", [f"CAST({sql} AS VARCHAR)"])
        return f"CASE WHEN isfinite({sql}) THEN {text} ELSE '\"' || {text} || '\"' END"
    if kind.kind == "DATE":
        return f"('\"' || CAST({sql} AS VARCHAR) || '\"')"
    if kind.kind == "VOID":
        return "CAST(NULL AS VARCHAR)"
    if kind.kind == "VARIANT":
        return sql
    if kind.kind in ("TIMESTAMP", "TIMESTAMP_NTZ"):
        local = f"CAST({sql} AS TIMESTAMP)"
        offset = f"CAST((epoch_us({local}) - epoch_us({sql})) // 1000000 AS BIGINT)"
        pattern = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX" if kind.kind == "TIMESTAMP" else "yyyy-MM-dd'T'HH:mm:ss.SSS"
        return f"('\"' || {python.call('format_datetime', [local, offset, text_literal(pattern)])} || '\"')"
    if kind.kind == "ARRAY":
        inner = f"coalesce({to_json(python, 'entry', kind.item)}, 'null')"
        return f"('[' || array_to_string(list_transform({sql}, lambda entry: {inner}), ',') || ']')"
    if kind.kind == "MAP" and (kind.map_key.is_string or kind.map_key.is_integral):
        name = "CAST(to_json(CAST(pair.key AS VARCHAR)) AS VARCHAR)"
        inner = f"{name} || ':' || coalesce({to_json(python, 'pair.value', kind.item)}, 'null')"
        return f"('{{' || array_to_string(list_transform(map_entries({sql}), lambda pair: {inner}), ',') || '}}')"
    if kind.kind == "STRUCT":
        parts = []
        for part in kind.fields:
            value = to_json(python, f"struct_extract({sql}, {text_literal(part.name)})", part.type)
            parts.append(f"{text_literal(json.dumps(part.name, ensure_ascii=False) + ':')} || {value}")
        return f"CASE WHEN {sql} IS NOT NULL THEN '{{' || array_to_string([{', '.join(parts)}], ',') || '}}' END"
    raise unsupported(f"to_json of {kind.text}")
