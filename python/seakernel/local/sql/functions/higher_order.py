"""Functions that take a lambda."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.functions.arrays import array
from seakernel.local.sql.registry import raw, wrong_type
from seakernel.local.sql.typed import Typed, inherit

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope
    from seakernel.local.sql.types import DataType


def _lambda(translator: ExpressionTranslator, call: Call, place: int, counts: tuple[int, ...]) -> syntax.Lambda:
    node = call.arguments[place]
    if not isinstance(node, syntax.Lambda):
        raise unsupported(f"{call.name[-1].lower()} with a function that is not written as a lambda")
    if len(node.parameters) not in counts:
        raise failure(
            "INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH",
            "42K0D",
            f"Invalid lambda function call. A higher order function expects {counts[0]} arguments, but got {len(node.parameters)}.",
        )
    return node


def _body(
    translator: ExpressionTranslator, node: syntax.Lambda, kinds: list[DataType], scope: Scope
) -> tuple[list[str], Typed]:
    """The names that the parameters get in DuckDB, and the body."""
    names = [f"{translator.alias()}_v" for _ in node.parameters]
    variables = {
        parameter.lower(): Typed(name, kind, simple=True)
        for parameter, name, kind in zip(node.parameters, names, kinds, strict=False)
    }
    body = translator.expression(node.body, scope.with_variables(variables))
    if body.aggregate or body.window or body.volatile:
        raise unsupported("A lambda with aggregate functions or with a value that differs at every evaluation")
    if "SELECT " in body.sql:
        raise failure(
            "UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.HIGHER_ORDER_FUNCTION",
            "0A000",
            "Unsupported subquery expression: Subquery in a higher-order function.",
        )
    return names, body


def _condition(body: Typed) -> Typed:
    if body.type.kind not in ("BOOLEAN", "VOID"):
        raise wrong_type("lambda", body, '"BOOLEAN"')
    return body


def _indexed(names: list[str], body: str) -> str:
    """The lambda; a second parameter counts from 0, DuckDB's from 1."""
    if len(names) == 1:
        return f"lambda {names[0]}: {body}"
    return f"lambda {names[0]}, {names[1]}_1: {body.replace(names[1], f'CAST({names[1]}_1 - 1 AS INTEGER)')}"


@raw("transform", least=2, most=2)
def transform(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Each element changed."""
    listed = array("transform", translator.expression(call.arguments[0], scope))
    names, body = _body(translator, _lambda(translator, call, 1, (1, 2)), [listed.type.item, types.INT], scope)
    return inherit(
        Typed(f"list_transform({listed.sql}, {_indexed(names, body.sql)})", types.array_of(body.type)), [listed]
    )


@raw("filter", least=2, most=2)
def filter_array(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The elements for which a condition holds."""
    listed = array("filter", translator.expression(call.arguments[0], scope))
    names, body = _body(translator, _lambda(translator, call, 1, (1, 2)), [listed.type.item, types.INT], scope)
    return inherit(Typed(f"list_filter({listed.sql}, {_indexed(names, _condition(body).sql)})", listed.type), [listed])


@raw("exists", "any_match", least=2, most=2)
def exists(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Whether a condition holds for some element; NULL if only unknown ones could."""
    return _quantified(translator, call, scope, decisive="true", otherwise="false")


@raw("forall", least=2, most=2)
def forall(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Whether a condition holds for every element."""
    return _quantified(translator, call, scope, decisive="false", otherwise="true")


def _quantified(translator: ExpressionTranslator, call: Call, scope: Scope, *, decisive: str, otherwise: str) -> Typed:
    listed = array(call.name[-1], translator.expression(call.arguments[0], scope))
    names, body = _body(translator, _lambda(translator, call, 1, (1,)), [listed.type.item], scope)
    tests = f"list_transform({listed.sql}, lambda {names[0]}: {_condition(body).sql})"
    sql = f"(CASE WHEN {tests} IS NULL THEN NULL WHEN list_contains({tests}, {decisive}) THEN {decisive} WHEN list_position({tests}, NULL) > 0 THEN NULL ELSE {otherwise} END)"
    return inherit(Typed(sql, types.BOOLEAN), [listed])


@raw("aggregate", "reduce", least=3, most=4)
def aggregate(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The elements folded into one value.

    DuckDB folds values of one type only, so both the running value and the elements travel in a struct.
    """
    listed = array("aggregate", translator.expression(call.arguments[0], scope))
    start = translator.expression(call.arguments[1], scope)
    names, body = _body(translator, _lambda(translator, call, 2, (2,)), [start.type, listed.type.item], scope)
    if body.type != start.type:
        raise failure(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            "42K09",
            f'Cannot resolve "aggregate" due to data type mismatch: The third parameter requires the "{start.type.text}" type, however the lambda has the type "{body.type.text}".',
        )
    if start.type.kind == "VOID":
        raise unsupported("aggregate from an untyped NULL")
    item = listed.type.item
    step = body.sql.replace(names[0], "folded.total").replace(names[1], "following.item")
    empty = f"CAST(NULL AS {item.engine})"
    entries = (
        f"list_transform({listed.sql}, lambda element: {{'total': CAST(NULL AS {start.type.engine}), 'item': element}})"
    )
    first = f"{{'total': CAST({start.sql} AS {start.type.engine}), 'item': {empty}}}"
    total = f"struct_extract(list_reduce({entries}, lambda folded, following: {{'total': CAST({step} AS {start.type.engine}), 'item': {empty}}}, {first}), 'total')"
    result = Typed(total, start.type)
    if len(call.arguments) == 4:
        last, finish = _body(translator, _lambda(translator, call, 3, (1,)), [start.type], scope)
        result = Typed(f"list_transform([{total}], lambda {last[0]}: {finish.sql})[1]", finish.type)
        result.sql = f"(CASE WHEN {listed.sql} IS NOT NULL THEN {result.sql} END)"
    return inherit(result, [listed, start])


@raw("zip_with", least=3, most=3)
def zip_with(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The nth elements of two arrays combined; the shorter one is filled with NULLs."""
    left, right = (array("zip_with", value) for value in translator.expressions(call.arguments[:2], scope))
    names, body = _body(translator, _lambda(translator, call, 2, (2,)), [left.type.item, right.type.item], scope)
    step = body.sql.replace(names[0], f"({left.sql})[place]").replace(names[1], f"({right.sql})[place]")
    sql = f"(CASE WHEN {left.sql} IS NULL OR {right.sql} IS NULL THEN NULL ELSE list_transform(range(1, greatest(len({left.sql}), len({right.sql})) + 1), lambda place: {step}) END)"
    return inherit(Typed(sql, types.array_of(body.type)), [left, right])


def _entries(translator: ExpressionTranslator, call: Call, scope: Scope) -> tuple[Typed, str, Typed]:
    value = translator.expression(call.arguments[0], scope)
    if value.type.kind != "MAP":
        raise wrong_type(call.name[-1], value, '"MAP"')
    names, body = _body(translator, _lambda(translator, call, 1, (2,)), [value.type.map_key, value.type.item], scope)
    step = body.sql.replace(names[0], "pair_of.key").replace(names[1], "pair_of.value")
    return value, step, body


@raw("map_filter", least=2, most=2)
def map_filter(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """The entries for which a condition holds."""
    value, step, body = _entries(translator, call, scope)
    _condition(body)
    sql = f"(CASE WHEN {value.sql} IS NOT NULL THEN map_from_entries(list_filter(map_entries({value.sql}), lambda pair_of: {step})) END)"
    return inherit(Typed(sql, value.type), [value])


@raw("transform_values", least=2, most=2)
def transform_values(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Each value changed."""
    value, step, body = _entries(translator, call, scope)
    kind = types.map_of(value.type.map_key, body.type)
    sql = f"(CASE WHEN {value.sql} IS NOT NULL THEN map_from_entries(list_transform(map_entries({value.sql}), lambda pair_of: {{'key': pair_of.key, 'value': {step}}})) END)"
    return inherit(Typed(sql, kind), [value])


@raw("transform_keys", least=2, most=2)
def transform_keys(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Each key changed; DuckDB raises if two become the same."""
    value, step, body = _entries(translator, call, scope)
    kind = types.map_of(body.type, value.type.item)
    sql = f"(CASE WHEN {value.sql} IS NOT NULL THEN map_from_entries(list_transform(map_entries({value.sql}), lambda pair_of: {{'key': {step}, 'value': pair_of.value}})) END)"
    return inherit(Typed(sql, kind), [value])
