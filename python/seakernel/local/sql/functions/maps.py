"""Map functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.functions.arrays import array
from seakernel.local.sql.registry import scalar, wrong_type
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator

_DUPLICATE = "error('[DUPLICATED_MAP_KEY] Duplicate map key was found, please check the input data. SQLSTATE: 23505')"
_NULL_KEY = "error('[NULL_MAP_KEY] Cannot use null as map key. SQLSTATE: 2200E')"


def _map(name: str, value: Typed) -> Typed:
    if value.type.kind != "MAP":
        raise wrong_type(name, value, '"MAP"')
    return value


def _checked(keys: str, values: str, kind: types.DataType) -> Typed:
    """A map of a list of keys and one of values, with Spark's errors for bad keys."""
    return Typed(
        f"(CASE WHEN {keys} IS NULL OR {values} IS NULL THEN NULL WHEN list_position({keys}, NULL) > 0 THEN CAST({_NULL_KEY} AS {kind.engine}) "
        f"WHEN len(list_distinct({keys})) < len({keys}) THEN CAST({_DUPLICATE} AS {kind.engine}) ELSE map({keys}, {values}) END)",
        kind,
    )


@scalar("map", least=0, most=65534)
def make_map(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A map of keys and values in turn."""
    if not arguments:
        kind = types.map_of(types.VOID, types.VOID)
        return Typed(f"CAST(MAP {{}} AS {kind.engine})", kind)
    if len(arguments) % 2:
        raise failure("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "42605", "The `map` requires 2n (n > 0) parameters.")
    keys, key = translator.common(arguments[::2], "map")
    values, value = translator.common(arguments[1::2], "map")
    if key.kind == "VOID":
        raise failure("NULL_MAP_KEY", "2200E", "Cannot use null as map key.")
    kind = types.map_of(key, value)
    made = _checked(
        "[" + ", ".join(one.sql for one in keys) + "]", "[" + ", ".join(one.sql for one in values) + "]", kind
    )
    if all(isinstance(one.constant, str) for one in arguments):
        # The options of `from_json`.
        made.constant = {keys[i].constant: values[i].constant for i in range(len(keys))}
    return made


@scalar("map_from_arrays", least=2)
def map_from_arrays(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A map of an array of keys and one of values."""
    keys, values = array("map_from_arrays", arguments[0]), array("map_from_arrays", arguments[1])
    return _checked(keys.sql, values.sql, types.map_of(keys.type.item, values.type.item))


@scalar("map_from_entries")
def map_from_entries(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A map of an array of pairs."""
    entries = array("map_from_entries", arguments[0])
    if entries.type.item.kind != "STRUCT" or len(entries.type.item.fields) != 2:
        raise wrong_type("map_from_entries", entries, '"ARRAY<STRUCT>" of pairs')
    key, value = entries.type.item.fields
    keys, values = (
        f"list_transform({entries.sql}, lambda pair: struct_extract(pair, '{part.name}'))" for part in (key, value)
    )
    return _checked(keys, values, types.map_of(key.type, value.type))


@scalar("map_keys")
def map_keys(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The keys."""
    value = _map("map_keys", arguments[0])
    return Typed(f"map_keys({value.sql})", types.array_of(value.type.map_key))


@scalar("map_values")
def map_values(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The values."""
    value = _map("map_values", arguments[0])
    return Typed(f"map_values({value.sql})", types.array_of(value.type.item))


@scalar("map_entries")
def map_entries(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The pairs."""
    value = _map("map_entries", arguments[0])
    return Typed(
        f"map_entries({value.sql})",
        types.array_of(types.struct_of([("key", value.type.map_key), ("value", value.type.item)])),
    )


@scalar("map_contains_key", least=2)
def map_contains_key(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether a key is there."""
    value = _map("map_contains_key", arguments[0])
    key = translator.caster.implicit(arguments[1], value.type.map_key)
    return Typed(
        f"(CASE WHEN {value.sql} IS NULL OR {key.sql} IS NULL THEN NULL ELSE list_contains(map_keys({value.sql}), {key.sql}) END)",
        types.BOOLEAN,
    )


@scalar("map_concat", least=1, most=255)
def map_concat(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Several maps as one."""
    values, kind = translator.common([_map("map_concat", value) for value in arguments], "map_concat")
    missing = " OR ".join(f"{value.sql} IS NULL" for value in values)
    keys, items = (
        " || ".join(f"{function}({value.sql})" for value in values) for function in ("map_keys", "map_values")
    )
    made = _checked(f"({keys})", f"({items})", kind)
    return Typed(f"(CASE WHEN {missing} THEN NULL ELSE {made.sql} END)", kind)


@scalar("str_to_map", least=1, most=3)
def str_to_map(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A text such as `a:1,b:2` as a map."""
    texts = [translator.caster.implicit(value, types.STRING).sql for value in arguments]
    outer = texts[1] if len(texts) > 1 else "','"
    inner = texts[2] if len(texts) > 2 else "':'"
    if len(arguments) > 1 and any(not isinstance(value.constant, str) for value in arguments[1:]):
        raise unsupported("str_to_map with delimiters that are not constants")
    pairs = translator.python.call("split_by", [texts[0], outer, "-1"])
    keys = f"list_transform({pairs}, lambda pair: {translator.python.call('split_by', ['pair', inner, '2'])}[1])"
    values = f"list_transform({pairs}, lambda pair: {translator.python.call('split_by', ['pair', inner, '2'])}[2])"
    return _checked(keys, values, types.map_of(types.STRING, types.STRING))
