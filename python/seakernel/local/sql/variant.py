"""VARIANT, kept as compact JSON text with sorted keys, which is also how it goes over the wire."""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from seakernel.local.sql.errors import SqlError, failure, unsupported
from seakernel.local.sql.json_text import _MISSING, NumberText, dump, follow, load, path_steps
from seakernel.local.sql.python_functions import PythonFunction, PythonFunctions, python_function
from seakernel.local.sql.types import INTEGER_BITS, DataType

if TYPE_CHECKING:
    from seakernel.local.sql.casts import Caster
    from seakernel.local.sql.typed import Typed


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    if isinstance(value, NumberText):
        return _number(value)
    return value


def _number(text: NumberText) -> NumberText:
    """An integer, a decimal without trailing zeros, or a double, in that order of preference, as the variant encoding has it."""
    if re.fullmatch(r"-?\d{1,38}", text):
        return NumberText(int(text))
    if re.fullmatch(r"-?\d+\.\d+", text) and len(text.lstrip("-").replace(".", "").lstrip("0")) <= 38:
        stripped = text.rstrip("0").rstrip(".")
        return NumberText(stripped if stripped not in ("-0", "") else "0")
    from seakernel.local.sql.java_text import java_number

    return NumberText(java_number(repr(float(text))))


@python_function("VARCHAR", "BOOLEAN", returns="VARCHAR")
def variant_of_json(text: str, is_try: bool) -> str | None:
    """parse_json: the text as a variant."""
    try:
        return dump(_canonical(load(text)))
    except ValueError:
        if is_try:
            return None
        raise failure(
            "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
            "22023",
            f"Malformed records are detected in record parsing: {text}. Parse Mode: FAILFAST.",
        ) from None


@python_function("VARCHAR", "VARCHAR", returns="VARCHAR")
def variant_at(variant: str, path: str) -> str | None:
    """The variant at a path such as `$.a[0]`; NULL where there is nothing."""
    steps = path_steps(path)
    if steps is None:
        raise failure(
            "INVALID_VARIANT_GET_PATH",
            "22023",
            f"The path `{path}` is not a valid variant extraction path in `variant_get`.",
        )
    value = follow(load(variant), steps)
    return None if value is _MISSING else dump(value)


def type_name(value: Any) -> str:
    """The type of one value as schema_of_variant says it."""
    if value is None:
        return "VOID"
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, NumberText):
        if re.fullmatch(r"-?\d+", value):
            return "BIGINT" if len(value.lstrip("-")) <= 18 else f"DECIMAL({len(value.lstrip('-'))},0)"
        if "E" in value or "." not in value:
            return "DOUBLE"
        digits = Decimal(value).as_tuple()
        scale = -int(digits.exponent)
        return f"DECIMAL({max(len(digits.digits), scale)},{scale})"
    if isinstance(value, str):
        return "STRING"
    raise unsupported("schema_of_variant of an object or array")


@python_function("VARCHAR", returns="VARCHAR")
def variant_schema(variant: str) -> str:
    """schema_of_variant for scalar values."""
    return type_name(load(variant))


def _invalid(value: Any, kind: DataType) -> SqlError:
    return failure(
        "INVALID_VARIANT_CAST",
        "22023",
        f"The variant value `{dump(value)}` cannot be cast into `{kind.text}`. Please use `try_variant_get` instead.",
    )


def _to(value: Any, kind: DataType) -> Any:
    if value is None:
        return None
    if kind.kind == "VARIANT":
        return dump(value)
    if kind.is_string:
        return str(value) if isinstance(value, str) else dump(value)
    if kind.kind == "ARRAY" and isinstance(value, list):
        return [_to(part, kind.item) for part in value]
    if kind.kind == "MAP" and isinstance(value, dict) and kind.map_key.is_string:
        return {name: _to(part, kind.item) for name, part in value.items()}
    if kind.kind == "STRUCT" and isinstance(value, dict):
        return {part.name: _to(value.get(part.name), part.type) for part in kind.fields}
    if kind.kind == "BOOLEAN":
        return _boolean(value, kind)
    if kind.is_numeric:
        return _numeric(value, kind)
    if kind.kind == "DATE" and type(value) is str:
        try:
            return datetime.date.fromisoformat(value.strip())
        except ValueError:
            raise _invalid(value, kind) from None
    if kind.kind in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY") or kind.is_interval:
        raise unsupported(f"The cast of this VARIANT to {kind.text}")
    raise _invalid(value, kind)


def _boolean(value: Any, kind: DataType) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, NumberText):
        return Decimal(value) != 0
    if isinstance(value, str) and value.strip().lower() in ("t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"):
        return value.strip().lower() in ("t", "true", "y", "yes", "1")
    raise _invalid(value, kind)


def _numeric(value: Any, kind: DataType) -> Any:
    if isinstance(value, bool):
        number = Decimal(int(value))
    elif isinstance(value, NumberText) or (
        isinstance(value, str) and re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", value)
    ):
        number = Decimal(value.strip())
    else:
        raise _invalid(value, kind)
    if kind.is_fractional:
        return float(number)
    if kind.is_integral:
        if isinstance(value, str) and not isinstance(value, NumberText) and not re.fullmatch(r"\s*[+-]?\d+\s*", value):
            raise _invalid(value, kind)
        whole = int(number)
        if not -(1 << (INTEGER_BITS[kind.kind] - 1)) <= whole < 1 << (INTEGER_BITS[kind.kind] - 1):
            raise _invalid(value, kind)
        return whole
    import decimal

    rounded = number.quantize(
        Decimal(1).scaleb(-kind.scale), rounding=decimal.ROUND_HALF_UP, context=decimal.Context(prec=100)
    )
    if rounded != 0 and len(rounded.as_tuple().digits) > kind.precision:
        raise _invalid(value, kind)
    return rounded


def cast_from(python: PythonFunctions, sql: str, kind: DataType, *, is_try: bool) -> str:
    """The SQL of a cast of VARIANT to `kind`."""

    def convert(text: str) -> Any:
        try:
            return _to(load(text), kind)
        except SqlError as error:
            if is_try and error.sql_state == "22023":
                return None
            raise

    import hashlib

    digest = hashlib.md5((kind.text + str(is_try)).encode(), usedforsecurity=False).hexdigest()
    return python.call_made(f"variant_to_{digest}", lambda: PythonFunction(convert, ("VARCHAR",), kind.engine), [sql])


def cast_to(python: PythonFunctions, caster: Caster, value: Typed) -> str:
    """The SQL of a cast of a value to VARIANT, for types that JSON text can hold without loss."""
    kind, sql = value.type, value.sql
    del caster
    if kind.is_string:
        return f"CAST(to_json({sql}) AS VARCHAR)"
    if kind.is_integral or kind.kind == "BOOLEAN":
        return f"CAST({sql} AS VARCHAR)"
    if kind.kind in ("DECIMAL", "STRUCT", "ARRAY", "MAP") and not kind.contains(
        "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY", "INTERVAL_YM", "INTERVAL_DT"
    ):
        from seakernel.local.sql.json_text import to_json

        if kind.contains("STRUCT"):
            raise unsupported("The cast of a STRUCT to VARIANT")
        return python.call("variant_of_json", [to_json(python, sql, kind), "false"])
    raise unsupported(f"The cast of {kind.text} to VARIANT")


def json_string(text: str) -> str:
    """The text as a JSON string."""
    return json.dumps(text, ensure_ascii=False)
