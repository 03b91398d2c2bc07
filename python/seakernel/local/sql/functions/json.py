"""JSON and VARIANT functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import json_text, types
from seakernel.local.sql.cursor import Cursor, parse_type
from seakernel.local.sql.errors import SqlError, failure, unsupported
from seakernel.local.sql.registry import python, scalar, wrong_type
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.types import DataType

S = types.STRING
python("get_json_object", "json_at", [S, S], S)
python("json_array_length", "json_length", [S], types.INT)
python("json_object_keys", "json_keys", [S], types.array_of(S))
python("schema_of_variant", "variant_schema", [types.VARIANT], S)


def schema(text: str) -> DataType:
    """A schema argument: a type, or the fields of a struct as in a table definition."""
    try:
        found = parse_type(text)
    except SqlError:
        pass
    else:
        if found.kind in ("STRUCT", "ARRAY", "MAP", "VARIANT"):
            return found
        raise failure(
            "INVALID_SCHEMA.NON_STRUCT_TYPE", "42K07", f'The input schema "{text}" is not a valid schema string.'
        )
    cursor = Cursor(text)
    fields = []
    while True:
        name = cursor.identifier()
        cursor.accept(":")
        fields.append((name, cursor.data_type()))
        if cursor.at("NOT"):
            cursor.expect("NOT", "NULL")
        if not cursor.accept(","):
            break
    cursor.expect_end()
    return types.struct_of(fields)


def _options(arguments: list[Typed], name: str) -> dict[str, str]:
    if len(arguments) < 1:
        return {}
    raise unsupported(f"{name} with options")


@scalar("from_json", least=2, most=3)
def from_json(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """JSON text as a struct, array or map."""
    mode = {"mode": "PERMISSIVE"} if len(arguments) < 3 else arguments[2].constant
    if mode not in ({"mode": "PERMISSIVE"}, {"mode": "FAILFAST"}):
        raise unsupported("from_json with other options than its mode")
    if not isinstance(arguments[1].constant, str):
        raise unsupported("from_json with a schema that is not a constant")
    kind = schema(arguments[1].constant)
    text = translator.caster.implicit(arguments[0], S)
    return Typed(json_text.from_json(translator.python, text.sql, kind, fail_fast=mode["mode"] == "FAILFAST"), kind)


@scalar("to_json", least=1, most=2)
def to_json(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A struct, array, map or variant as JSON text."""
    _options(arguments[1:], "to_json")
    if arguments[0].type.kind not in ("STRUCT", "ARRAY", "MAP", "VARIANT"):
        raise wrong_type("to_json", arguments[0], '("STRUCT" or "ARRAY" or "MAP" or "VARIANT")')
    return Typed(json_text.to_json(translator.python, arguments[0].sql, arguments[0].type), S)


def _parse(name: str, is_try: str) -> None:
    @scalar(name)
    def parse_json(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        text = translator.caster.implicit(arguments[0], S)
        return Typed(translator.python.call("variant_of_json", [text.sql, is_try]), types.VARIANT)


_parse("parse_json", "false")
_parse("try_parse_json", "true")


def _get(name: str, *, is_try: bool) -> None:
    @scalar(name, least=3)
    def variant_get(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value, path, kind = arguments
        if value.type.kind != "VARIANT":
            raise wrong_type(name, value, '"VARIANT"')
        if not isinstance(kind.constant, str):
            raise unsupported(f"{name} with a type that is not a constant")
        found = Typed(
            translator.python.call("variant_at", [value.sql, translator.caster.implicit(path, S).sql]), types.VARIANT
        )
        return translator.caster.cast(found, parse_type(kind.constant), is_try=is_try)


_get("variant_get", is_try=False)
_get("try_variant_get", is_try=True)


@scalar("is_variant_null")
def is_variant_null(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether a variant is JSON's null, which is not SQL's."""
    if arguments[0].type.kind != "VARIANT":
        raise wrong_type("is_variant_null", arguments[0], '"VARIANT"')
    return Typed(f"coalesce({arguments[0].sql} = 'null', false)", types.BOOLEAN)
