"""Array functions. Order is kept, and NULL elements are elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.registry import raw, scalar, wrong_type
from seakernel.local.sql.typed import Typed, inherit
from seakernel.local.sql.types import quoted

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope
    from seakernel.local.sql.types import DataType


def array(name: str, value: Typed) -> Typed:
    """The argument, which must be an array."""
    if value.type.kind == "VOID":
        return Typed("CAST(NULL AS INTEGER[])", types.array_of(types.INT))
    if value.type.kind != "ARRAY":
        raise wrong_type(name, value, '"ARRAY"')
    return value


def _pair(translator: ExpressionTranslator, name: str, left: Typed, right: Typed) -> tuple[str, str, DataType]:
    one, other = array(name, left), array(name, right)
    values, kind = translator.common([one, other], name)
    if kind.contains("MAP", "VARIANT"):
        raise wrong_type(name, values[0], "comparable")
    return values[0].sql, values[1].sql, kind


def _with_element(
    translator: ExpressionTranslator, name: str, listed: Typed, element: Typed
) -> tuple[str, str, DataType]:
    """An array and an element in their common type."""
    values = array(name, listed)
    if values.type.item.kind == "VOID" and element.type.kind != "VOID":
        values = translator.caster.cast(values, types.array_of(element.type))
    kind = types.common_type(values.type.item, element.type)
    if kind is None:
        raise wrong_type(name, element, f'"{values.type.item.text}"')
    whole = types.array_of(kind)
    return translator.caster.cast(values, whole).sql, translator.caster.cast(element, kind).sql, whole


def _distinct(sql: str) -> str:
    """The first of each value, in order."""
    return f"list_filter({sql}, lambda member, place: list_position({sql}, member) = place)"


@scalar("array", least=0, most=65535)
def make_array(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """An array of the arguments."""
    if not arguments:
        return Typed('CAST([] AS "NULL"[])' if False else "[]", types.array_of(types.VOID))
    values, kind = translator.common(arguments, "array")
    listed = "[" + ", ".join(value.sql for value in values) + "]"
    return Typed(
        listed
        if kind.kind == "VOID"
        else f"CAST({listed} AS {types.array_of(kind).engine})"
        if kind.is_nested
        else listed,
        types.array_of(kind),
    )


@scalar("[]", least=2)
def subscript(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """`array[i]`, counted from 0; an error outside."""
    listed, index = arguments[0], translator.caster.implicit(arguments[1], types.INT)
    kind = listed.type.item
    problem = (
        f"'[INVALID_ARRAY_INDEX] The index ' || CAST({index.sql} AS VARCHAR) || ' is out of bounds. The array has ' || CAST(len({listed.sql}) AS VARCHAR) || "
        "' elements. Use the SQL function `get()` to tolerate accessing element at invalid index and return NULL instead. SQLSTATE: 22003'"
    )
    if listed.volatile or index.volatile:
        raise unsupported("A subscript of an expression that differs at every evaluation")
    return Typed(
        f"(CASE WHEN {index.sql} < 0 OR {index.sql} >= len({listed.sql}) THEN CAST(error({problem}) AS {kind.engine}) ELSE ({listed.sql})[{index.sql} + 1] END)",
        kind,
    )


@scalar("get", least=2)
def get(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The element at a place counted from 0; NULL outside."""
    listed, index = array("get", arguments[0]), translator.caster.implicit(arguments[1], types.INT)
    return Typed(f"(CASE WHEN {index.sql} >= 0 THEN ({listed.sql})[{index.sql} + 1] END)", listed.type.item)


def _element_at(name: str) -> None:
    @scalar(name, least=2)
    def element_at(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = arguments[0]
        if value.type.kind == "MAP":
            key = translator.caster.implicit(arguments[1], value.type.map_key)
            return Typed(f"map_extract_value({value.sql}, {key.sql})", value.type.item)
        listed, index = array(name, value), translator.caster.implicit(arguments[1], types.INT)
        kind = listed.type.item
        zero = "error('[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1). SQLSTATE: 22003')"
        outside = "NULL"
        if name == "element_at":
            message = f"'[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] The index ' || CAST({index.sql} AS VARCHAR) || ' is out of bounds. The array has ' || CAST(len({listed.sql}) AS VARCHAR) || ' elements. Use `try_element_at` to tolerate accessing element at invalid index and return NULL instead. SQLSTATE: 22003'"
            outside = f"error({message})"
        return Typed(
            f"(CASE WHEN {index.sql} = 0 THEN CAST({zero} AS {kind.engine}) WHEN abs({index.sql}) > len({listed.sql}) THEN CAST({outside} AS {kind.engine}) ELSE ({listed.sql})[{index.sql}] END)",
            kind,
        )


_element_at("element_at")
_element_at("try_element_at")


@scalar("size", "cardinality", "array_size")
def size(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The number of elements or entries; NULL for NULL, as in ANSI mode."""
    value = arguments[0]
    if value.type.kind == "MAP":
        return Typed(f"CAST(cardinality({value.sql}) AS INTEGER)", types.INT)
    return Typed(f"CAST(len({array('size', value).sql}) AS INTEGER)", types.INT)


@scalar("array_contains", least=2)
def array_contains(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether an element is there; NULL if it is not found but might be one of the NULLs."""
    listed, element, _ = _with_element(translator, "array_contains", *arguments)
    return Typed(
        f"(CASE WHEN {listed} IS NULL OR {element} IS NULL THEN NULL WHEN list_contains({listed}, {element}) THEN true "
        f"WHEN list_position({listed}, NULL) > 0 THEN NULL ELSE false END)",
        types.BOOLEAN,
    )


@scalar("array_position", least=2)
def array_position(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The place of an element counted from 1, or 0."""
    listed, element, _ = _with_element(translator, "array_position", *arguments)
    return Typed(
        f"(CASE WHEN {listed} IS NULL OR {element} IS NULL THEN NULL ELSE CAST(coalesce(list_position({listed}, {element}), 0) AS BIGINT) END)",
        types.BIGINT,
    )


@scalar("array_remove", least=2)
def array_remove(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array without the elements equal to one value."""
    listed, element, kind = _with_element(translator, "array_remove", *arguments)
    return Typed(
        f"(CASE WHEN {element} IS NULL THEN NULL ELSE list_filter({listed}, lambda member: member IS NULL OR member <> {element}) END)",
        kind,
    )


@scalar("array_append", least=2)
def array_append(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array with one more element at its end."""
    listed, element, kind = _with_element(translator, "array_append", *arguments)
    return Typed(f"(CASE WHEN {listed} IS NULL THEN NULL ELSE list_append({listed}, {element}) END)", kind)


@scalar("array_prepend", least=2)
def array_prepend(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array with one more element at its start."""
    listed, element, kind = _with_element(translator, "array_prepend", *arguments)
    return Typed(f"(CASE WHEN {listed} IS NULL THEN NULL ELSE list_prepend({element}, {listed}) END)", kind)


@scalar("array_compact")
def array_compact(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array without NULLs."""
    listed = array("array_compact", arguments[0])
    return Typed(f"list_filter({listed.sql}, lambda member: member IS NOT NULL)", listed.type)


@scalar("array_distinct")
def array_distinct(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The first of each value, in order."""
    listed = array("array_distinct", arguments[0])
    if listed.type.contains("MAP", "VARIANT"):
        raise wrong_type("array_distinct", listed, "comparable")
    return Typed(_distinct(listed.sql), listed.type)


@scalar("array_union", least=2)
def array_union(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The distinct elements of both arrays."""
    one, other, kind = _pair(translator, "array_union", *arguments)
    joined = f"({one} || {other})"
    return Typed(f"(CASE WHEN {one} IS NULL OR {other} IS NULL THEN NULL ELSE {_distinct(joined)} END)", kind)


@scalar("array_intersect", least=2)
def array_intersect(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The distinct elements that both arrays have."""
    one, other, kind = _pair(translator, "array_intersect", *arguments)
    kept = f"list_filter({_distinct(one)}, lambda member: list_position({other}, member) > 0)"
    return Typed(f"(CASE WHEN {one} IS NULL OR {other} IS NULL THEN NULL ELSE {kept} END)", kind)


@scalar("array_except", least=2)
def array_except(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The distinct elements of the first array that the second has not."""
    one, other, kind = _pair(translator, "array_except", *arguments)
    kept = f"list_filter({_distinct(one)}, lambda member: coalesce(list_position({other}, member), 0) = 0)"
    return Typed(f"(CASE WHEN {one} IS NULL OR {other} IS NULL THEN NULL ELSE {kept} END)", kind)


@scalar("arrays_overlap", least=2)
def arrays_overlap(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether both arrays share an element; NULL if only their NULLs could tell."""
    one, other, _ = _pair(translator, "arrays_overlap", *arguments)
    shared = f"len(list_filter({one}, lambda member: member IS NOT NULL AND list_position({other}, member) > 0)) > 0"
    unknown = f"(len({one}) > 0 AND len({other}) > 0 AND (list_position({one}, NULL) > 0 OR list_position({other}, NULL) > 0))"
    return Typed(
        f"(CASE WHEN {one} IS NULL OR {other} IS NULL THEN NULL WHEN {shared} THEN true WHEN {unknown} THEN NULL ELSE false END)",
        types.BOOLEAN,
    )


@scalar("array_join", least=2, most=3)
def array_join(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The elements as one text; NULLs are left out or replaced."""
    listed = translator.caster.cast(array("array_join", arguments[0]), types.array_of(types.STRING)).sql
    delimiter = translator.caster.implicit(arguments[1], types.STRING).sql
    if len(arguments) > 2:
        filler = translator.caster.implicit(arguments[2], types.STRING).sql
        listed = f"list_transform({listed}, lambda member: coalesce(member, {filler}))"
    else:
        listed = f"list_filter({listed}, lambda member: member IS NOT NULL)"
    return Typed(f"array_to_string({listed}, {delimiter})", types.STRING)


@scalar("array_max", "array_min")
def array_max(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The greatest or least element that is not NULL."""
    raise unsupported("array_max here")


for _name, _function in (("array_max", "list_max"), ("array_min", "list_min")):

    def _extreme(name: str, function: str) -> None:
        @scalar(name)
        def extreme(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
            listed = array(name, arguments[0])
            return Typed(f"{function}({listed.sql})", listed.type.item)

    _extreme(_name, _function)


@scalar("array_repeat", least=2)
def array_repeat(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """An array of one value several times."""
    count = translator.caster.implicit(arguments[1], types.INT)
    kind = types.array_of(arguments[0].type)
    return Typed(f"list_transform(range(CAST({count.sql} AS BIGINT)), lambda place: {arguments[0].sql})", kind)


@scalar("array_insert", least=3)
def array_insert(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array with an element put at a place."""
    place = arguments[1].constant
    if not isinstance(place, int) or place < 1:
        raise unsupported("array_insert at a place that is not a positive constant")
    listed, element, kind = _with_element(translator, "array_insert", arguments[0], arguments[2])
    filler = (
        f"list_transform(range(greatest({place - 1} - len({listed}), 0)), lambda gap: CAST(NULL AS {kind.item.engine}))"
    )
    return Typed(
        f"(CASE WHEN {listed} IS NULL THEN NULL ELSE ({listed})[1:{place - 1}] || {filler} || [{element}] || ({listed})[{place}:] END)",
        kind,
    )


@scalar("slice", least=3)
def slice_of(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Part of an array, from a place counted from 1, or from the end."""
    listed = array("slice", arguments[0])
    start, count = (translator.caster.implicit(value, types.INT).sql for value in arguments[1:])
    first = f"(CASE WHEN {start} > 0 THEN {start} ELSE len({listed.sql}) + {start} + 1 END)"
    problem = "error('[INVALID_PARAMETER_VALUE] The start of `slice` must not be 0 and its length not negative. SQLSTATE: 22023')"
    return Typed(
        f"(CASE WHEN {start} = 0 OR {count} < 0 THEN CAST({problem} AS {listed.type.engine}) WHEN {first} < 1 OR {count} = 0 THEN CAST([] AS {listed.type.engine}) "
        f"ELSE ({listed.sql})[{first}:{first} + {count} - 1] END)",
        listed.type,
    )


@scalar("flatten")
def flatten(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """An array of arrays as one array; NULL if one of them is."""
    listed = array("flatten", arguments[0])
    if listed.type.item.kind != "ARRAY":
        raise wrong_type("flatten", listed, '"ARRAY<ARRAY>"')
    return Typed(
        f"(CASE WHEN list_position({listed.sql}, NULL) > 0 THEN NULL ELSE flatten({listed.sql}) END)", listed.type.item
    )


@scalar("arrays_zip", least=1, most=255)
def arrays_zip(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Refused without the names of its arguments; see the raw form."""
    raise unsupported("arrays_zip here")


@raw("arrays_zip", least=1)
def arrays_zip_named(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The nth elements of several arrays as a struct each, named as the arrays are."""
    from seakernel.local.sql.syntax import FieldAccess, Name

    values = [array("arrays_zip", value) for value in translator.expressions(call.arguments, scope)]
    names = [
        node.parts[-1] if isinstance(node, Name) else node.name if isinstance(node, FieldAccess) else str(place)
        for place, node in enumerate(call.arguments)
    ]
    kind = types.struct_of([(name, value.type.item) for name, value in zip(names, values, strict=True)])
    longest = f"greatest({', '.join(f'len({value.sql})' for value in values)})"
    missing = " OR ".join(f"{value.sql} IS NULL" for value in values)
    parts = ", ".join(f"{quoted(name)} := ({value.sql})[place]" for name, value in zip(names, values, strict=True))
    sql = f"(CASE WHEN {missing} THEN NULL ELSE list_transform(range(1, {longest} + 1), lambda place: struct_pack({parts})) END)"
    return inherit(Typed(sql, types.array_of(kind)), values)


@scalar("sort_array", least=1, most=2)
def sort_array(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The array in order: NULLs first ascending, last descending."""
    listed = array("sort_array", arguments[0])
    if listed.type.contains("MAP", "VARIANT"):
        raise wrong_type("sort_array", listed, "orderable")
    ascending = True
    if len(arguments) > 1:
        if not isinstance(arguments[1].constant, bool):
            raise unsupported("sort_array with a direction that is not a constant")
        ascending = arguments[1].constant
    return Typed(
        f"list_sort({listed.sql}, '{'ASC' if ascending else 'DESC'}', 'NULLS {'FIRST' if ascending else 'LAST'}')",
        listed.type,
    )


@raw("array_sort", least=1, most=2)
def array_sort(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The array in ascending order, NULLs last."""
    if len(call.arguments) > 1:
        raise unsupported("array_sort with a comparison function")
    listed = array("array_sort", translator.expression(call.arguments[0], scope))
    if listed.type.contains("MAP", "VARIANT"):
        raise wrong_type("array_sort", listed, "orderable")
    return inherit(Typed(f"list_sort({listed.sql}, 'ASC', 'NULLS LAST')", listed.type), [listed])


@scalar("sequence", least=2, most=3)
def sequence(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Numbers or dates from start to stop, both included."""
    kind = types.common_type(arguments[0].type, arguments[1].type)
    if kind is not None and kind.is_integral:
        step = arguments[2] if len(arguments) > 2 else None
        if step is not None and not step.type.is_integral:
            raise wrong_type("sequence", step, "integral")
        if step is not None:
            kind = types.common_type(kind, step.type) or kind
        start, stop = (translator.caster.cast(value, kind).sql for value in arguments[:2])
        by = translator.caster.cast(step, kind).sql if step else f"(CASE WHEN {start} <= {stop} THEN 1 ELSE -1 END)"
        problem = (
            "error('[ILLEGAL_SEQUENCE_BOUNDARIES] The boundaries of `sequence` do not fit its step. SQLSTATE: 22023')"
        )
        wrong = (
            f"({by} = 0 AND {start} <> {stop}) OR ({by} > 0 AND {start} > {stop}) OR ({by} < 0 AND {start} < {stop})"
        )
        numbers = f"CASE WHEN {start} = {stop} THEN [CAST({start} AS BIGINT)] ELSE generate_series(CAST({start} AS BIGINT), CAST({stop} AS BIGINT), CAST({by} AS BIGINT)) END"
        result = types.array_of(kind)
        return Typed(
            f"(CASE WHEN {start} IS NULL OR {stop} IS NULL THEN NULL WHEN {wrong} THEN CAST({problem} AS {result.engine}) ELSE CAST({numbers} AS {result.engine}) END)",
            result,
        )
    if kind is not None and kind.is_datetime:
        return _date_sequence(translator, arguments, kind)
    raise wrong_type("sequence", arguments[0], "integral, date or timestamp")


def _date_sequence(translator: ExpressionTranslator, arguments: list[Typed], kind: DataType) -> Typed:
    step = arguments[2].sql if len(arguments) > 2 else "to_days(1)"
    if len(arguments) > 2 and not arguments[2].type.is_interval:
        raise wrong_type("sequence", arguments[2], "interval")
    start, stop = (translator.caster.cast(value, kind).sql for value in arguments[:2])
    result = types.array_of(kind)
    if len(arguments) > 2 and arguments[2].type.kind == "INTERVAL_YM":
        # Months are added to the start, so that the 31st comes back after a short month.
        months = f"(datepart('year', {step}) * 12 + datepart('month', {step}))"
        count = f"(datediff('month', CAST({start} AS TIMESTAMP), CAST({stop} AS TIMESTAMP)) // {months})"
        moved = f"CAST({start} + to_months(CAST(place * {months} AS INTEGER)) AS {kind.engine})"
        made = f"list_filter(list_transform(range({count} + 2), lambda place: {moved}), lambda member: CASE WHEN {months} > 0 THEN member <= {stop} ELSE member >= {stop} END)"
        bad = f"{months} = 0 OR ({months} > 0) <> ({start} <= {stop})"
    else:
        made = f"CAST(generate_series(CAST({start} AS {'TIMESTAMP' if kind.kind == 'DATE' else kind.engine}), CAST({stop} AS {'TIMESTAMP' if kind.kind == 'DATE' else kind.engine}), {_direction(step, start, stop) if len(arguments) < 3 else step}) AS {result.engine})"
        bad = "false"
        if len(arguments) > 2:
            bad = f"{step} = to_days(0) OR ({step} > to_days(0)) <> ({start} <= {stop})"
    problem = "error('[ILLEGAL_SEQUENCE_BOUNDARIES] The boundaries of `sequence` do not fit its step. SQLSTATE: 22023')"
    return Typed(
        f"(CASE WHEN {start} IS NULL OR {stop} IS NULL THEN NULL WHEN {start} = {stop} THEN [{start}] WHEN {bad} THEN CAST({problem} AS {result.engine}) ELSE {made} END)",
        result,
    )


def _direction(step: str, start: str, stop: str) -> str:
    return f"(CASE WHEN {start} <= {stop} THEN {step} ELSE -({step}) END)"


@raw("struct", least=0)
def struct(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """A struct whose fields are named after columns and aliases, others col1, col2."""
    from seakernel.local.sql.syntax import Alias, FieldAccess, Name

    values = translator.expressions(call.arguments, scope)
    names = []
    for place, node in enumerate(call.arguments, start=1):
        if isinstance(node, Alias):
            names.append(node.names[0])
        elif isinstance(node, Name):
            names.append(node.parts[-1])
        else:
            names.append(node.name if isinstance(node, FieldAccess) else f"col{place}")
    return make_struct(names, values)


@scalar("named_struct", least=2, most=65534)
def named_struct(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A struct of names and values."""
    if len(arguments) % 2:
        raise failure(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "42605", "The `named_struct` requires 2n (n > 0) parameters."
        )
    names = [value.constant for value in arguments[::2]]
    if any(not isinstance(name, str) for name in names):
        raise failure(
            "DATATYPE_MISMATCH.CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING",
            "42K09",
            "Only foldable `STRING` expressions are allowed to appear at odd position.",
        )
    return make_struct(names, arguments[1::2])


def make_struct(names: list[str], values: list[Typed]) -> Typed:
    """A struct; DuckDB cannot hold two fields of one name."""
    if len({name.lower() for name in names}) != len(names):
        raise unsupported("A STRUCT with two fields of the same name")
    if not names:
        raise unsupported("A STRUCT without fields")
    parts = ", ".join(f"{quoted(name)} := {value.sql}" for name, value in zip(names, values, strict=True))
    return inherit(
        Typed(
            f"struct_pack({parts})", types.struct_of(list(zip(names, (value.type for value in values), strict=True)))
        ),
        values,
    )
