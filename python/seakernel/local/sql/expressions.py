"""Translates expressions: each kind of node by its own rule, and a kind without a rule is refused."""

from __future__ import annotations

import datetime
import re
import sys
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Protocol

from seakernel.local.sql import java_text, syntax, types
from seakernel.local.sql.arithmetic import arithmetic, comparable, comparison
from seakernel.local.sql.casts import Caster
from seakernel.local.sql.errors import failure, type_mismatch, unsupported
from seakernel.local.sql.python_functions import interval_of_micros
from seakernel.local.sql.registry import FUNCTIONS, check_count
from seakernel.local.sql.typed import Scope, Typed, access_field, inherit
from seakernel.local.sql.types import DataType, text_literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from seakernel.local.sql.python_functions import PythonFunctions
    from seakernel.local.sql.routines import Routine
    from seakernel.local.sql.typed import QuerySql, RelationSql

_NUMBER = re.compile(r"(-?)(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(BD|[LSYDF])?$", re.IGNORECASE)
_GREATEST_FLOAT = 3.4028234663852886e38
_SUFFIX_TYPES = {"L": types.BIGINT, "S": types.SMALLINT, "Y": types.TINYINT}


class Environment(Protocol):
    """What the translator must know of the session and the warehouse."""

    catalog: str
    schema: str
    user: str
    session_id: str
    python: PythonFunctions
    #: The moment of the statement's start, which `current_timestamp` stands for, in microseconds since 1970.
    now_micros: int

    def parameter(self, name: str | int) -> Typed:
        """The value bound to a marker."""

    def table(self, table: syntax.TableName, translator: ExpressionTranslator) -> RelationSql:
        """The relation that a name stands for."""

    def files(self, files: list[str], alias: str) -> RelationSql:
        """The rows of Parquet files on disk."""

    def routine(self, name: list[str]) -> Routine | None:
        """The SQL function that a name stands for."""

    def setting(self, name: str) -> str | None:
        """A value set with SET."""

    def variable(self, parts: list[str]) -> Typed | None:
        """The value of a session variable."""

    def evaluated(self, value: Typed) -> str | None:
        """The text of an expression without columns, computed now."""

    def stored_text(
        self, place: tuple[str, str] | None = None, temporary: frozenset[str] = frozenset()
    ) -> AbstractContextManager[None]:
        """While it lasts, names mean what they mean in the text of a view, a function or a constraint."""


class ExpressionTranslator:
    """Translates expressions of one statement; the query translator adds subqueries."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.python = environment.python
        self.caster = Caster(environment.python)
        self._aliases = 0

    def alias(self) -> str:
        """A name for a relation that no other relation of the statement has."""
        self._aliases += 1
        return f"r{self._aliases}"

    def subquery(self, query: syntax.Query, scope: Scope) -> QuerySql:
        """Translates a subquery; the query translator defines it."""
        raise NotImplementedError

    def expression(self, node: syntax.Expression, scope: Scope) -> Typed:
        """Translates any expression."""
        rule = self._RULES.get(type(node))
        if rule is None:
            raise unsupported(f"This use of {type(node).__name__}")
        return rule(self, node, scope)

    def expressions(self, nodes: list[syntax.Expression], scope: Scope) -> list[Typed]:
        """Translates a list of expressions."""
        return [self.expression(node, scope) for node in nodes]

    def boolean(self, node: syntax.Expression, scope: Scope) -> Typed:
        """Translates a condition."""
        value = self.expression(node, scope)
        if value.type.kind not in ("BOOLEAN", "VOID"):
            if value.type.is_string:
                return self.caster.cast(value, types.BOOLEAN)
            raise failure(
                "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
                "42K09",
                f'Cannot resolve the condition due to data type mismatch: it requires the "BOOLEAN" type, however it has the type "{value.type.text}".',
            )
        return self.caster.cast(value, types.BOOLEAN)

    def common(self, values: list[Typed], what: str) -> tuple[list[Typed], DataType]:
        """The values cast to their common type."""
        kind = types.VOID
        for value in values:
            wider = types.common_type(kind, value.type)
            if wider is None:
                raise failure(
                    "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
                    "42K09",
                    f'Cannot resolve "{what}" due to data type mismatch: Input to `{what}` should all be the same type, but it\'s ("{kind.text}", "{value.type.text}").',
                )
            kind = wider
        return [self.caster.cast(value, kind) for value in values], kind

    # Rules -------------------------------------------------------------------------------------------------------

    def _literal(self, node: syntax.Literal, scope: Scope) -> Typed:
        if node.kind == "NULL":
            return Typed("NULL", types.VOID, constant=None, simple=True)
        if node.kind == "BOOLEAN":
            return Typed(node.text.lower(), types.BOOLEAN, constant=node.text == "TRUE", simple=True)
        if node.kind == "STRING":
            return string(node.text)
        if node.kind == "BINARY":
            if re.search(r"[^0-9A-Fa-f]", node.text):
                raise failure(
                    "INVALID_TYPED_LITERAL", "42604", f"The value of the typed literal \"X\" is invalid: '{node.text}'."
                )
            return Typed(
                f"unhex('{'0' * (len(node.text) % 2)}{node.text}')", types.BINARY, constant=node.text, simple=True
            )
        if node.kind == "NUMBER":
            return number(node.text)
        kind = DataType(node.kind)
        value = self.caster.cast(Typed(text_literal(node.text), types.STRING), kind, is_try=True)
        return Typed(self._typed_literal(node, value, kind), kind, constant=node.text, simple=True)

    def _typed_literal(self, node: syntax.Literal, value: Typed, kind: DataType) -> str:
        text = node.text.strip()
        plain = r"\d{4}-\d{2}-\d{2}" + ("" if kind.kind == "DATE" else r"( \d{2}:\d{2}:\d{2}(\.\d{1,6})?)?")
        if re.fullmatch(plain, text):
            # The common spelling needs no guard at run time.
            try:
                datetime.datetime.fromisoformat(text)
            except ValueError:
                raise failure(
                    "INVALID_TYPED_LITERAL",
                    "42604",
                    f"The value of the typed literal \"{kind.kind}\" is invalid: '{node.text}'.",
                ) from None
            return f"CAST({text_literal(text)} AS {kind.engine})"
        message = text_literal(
            f"[INVALID_TYPED_LITERAL] The value of the typed literal \"{kind.kind}\" is invalid: '{node.text}'. SQLSTATE: 42604"
        )
        return f"coalesce({value.sql}, CAST(error({message}) AS {kind.engine}))"

    def _parameter(self, node: syntax.Parameter, scope: Scope) -> Typed:
        return self.environment.parameter(node.name)

    def _name(self, node: syntax.Name, scope: Scope) -> Typed:
        found = scope.find(node.parts) or self.environment.variable(node.parts)
        return found if found is not None else scope.resolve(node.parts)

    def _star(self, node: syntax.Star, scope: Scope) -> Typed:
        raise failure("INVALID_USAGE_OF_STAR_OR_REGEX", "42000", "Invalid usage of '*' in expression.")

    def _alias_node(self, node: syntax.Alias, scope: Scope) -> Typed:
        return self.expression(node.expression, scope)

    def _unary(self, node: syntax.Unary, scope: Scope) -> Typed:
        if node.operator == "NOT":
            value = self.boolean(node.operand, scope)
            return inherit(Typed(f"(NOT {value.sql})", types.BOOLEAN), [value])
        value = self.expression(node.operand, scope)
        if value.type.is_string:
            value = self.caster.cast(value, types.DOUBLE)
        if value.type.kind == "VOID":
            value = self.caster.cast(value, types.DOUBLE)
        if node.operator == "~":
            if not value.type.is_integral:
                raise type_mismatch(f'~ requires an integer, not "{value.type.text}"')
            return inherit(Typed(f"(~{value.sql})", value.type), [value])
        if not (value.type.is_numeric or value.type.is_interval):
            raise type_mismatch(f'{node.operator} requires a number, not "{value.type.text}"')
        if node.operator == "+":
            return value
        if value.type.is_integral:
            # DuckDB widens the negation of the least integer; a subtraction overflows as it should.
            return inherit(Typed(f"(CAST(0 AS {value.type.engine}) - {value.sql})", value.type), [value])
        return inherit(Typed(f"(-({value.sql}))", value.type), [value])

    def _binary(self, node: syntax.Binary, scope: Scope) -> Typed:
        operator = node.operator
        if operator in ("AND", "OR"):
            left, right = self.boolean(node.left, scope), self.boolean(node.right, scope)
            return inherit(Typed(f"({left.sql} {operator} {right.sql})", types.BOOLEAN), [left, right])
        left, right = self.expression(node.left, scope), self.expression(node.right, scope)
        if operator in ("=", "<>", "<", "<=", ">", ">=", "<=>"):
            return comparison(self.caster, operator, left, right)
        if operator == "||":
            return self.call("concat", [left, right])
        if operator in ("&", "|", "^", "<<", ">>", ">>>"):
            return self._bits(operator, left, right)
        return arithmetic(self.caster, operator, left, right)

    def _bits(self, operator: str, left: Typed, right: Typed) -> Typed:
        if operator in ("<<", ">>", ">>>"):
            return self.call(
                {"<<": "shiftleft", ">>": "shiftright", ">>>": "shiftrightunsigned"}[operator], [left, right]
            )
        for value in (left, right):
            if not (value.type.is_integral or value.type.kind == "VOID"):
                raise type_mismatch(f'{operator} requires integers, not "{value.type.text}"')
        (left, right), kind = self.common([left, right], operator)
        symbol = f"xor({left.sql}, {right.sql})" if operator == "^" else f"({left.sql} {operator} {right.sql})"
        return inherit(Typed(symbol, kind), [left, right])

    def _cast(self, node: syntax.Cast, scope: Scope) -> Typed:
        made = self.caster.cast(self.expression(node.operand, scope), node.type, is_try=node.is_try)
        return replace(made, literal=False)

    def _case(self, node: syntax.Case, scope: Scope) -> Typed:
        conditions: list[Typed] = []
        for condition, _ in node.branches:
            if node.operand is None:
                conditions.append(self.boolean(condition, scope))
            else:
                conditions.append(
                    comparison(
                        self.caster, "=", self.expression(node.operand, scope), self.expression(condition, scope)
                    )
                )
        if node.operand is not None and conditions[0].volatile:
            raise unsupported("CASE over an expression that differs at every evaluation")
        values = [self.expression(value, scope) for _, value in node.branches]
        if node.default is not None:
            values.append(self.expression(node.default, scope))
        values, kind = self.common(values, "casewhen")
        sql = "CASE " + " ".join(
            f"WHEN {condition.sql} THEN {value.sql}" for condition, value in zip(conditions, values, strict=False)
        )
        if node.default is not None:
            sql += f" ELSE {values[-1].sql}"
        return inherit(Typed(f"({sql} END)", kind), [*conditions, *values])

    def _between(self, node: syntax.Between, scope: Scope) -> Typed:
        value = self.expression(node.operand, scope)
        if value.volatile:
            raise unsupported("BETWEEN over an expression that differs at every evaluation")
        low = comparison(self.caster, ">=", value, self.expression(node.low, scope))
        high = comparison(self.caster, "<=", value, self.expression(node.high, scope))
        sql = f"({low.sql} AND {high.sql})"
        return inherit(Typed(f"(NOT {sql})" if node.negated else sql, types.BOOLEAN), [low, high])

    def _in_list(self, node: syntax.InList, scope: Scope) -> Typed:
        values, kind = self.common(self.expressions([node.operand, *node.choices], scope), "in")
        if kind.contains("MAP", "VARIANT"):
            raise type_mismatch(f"IN does not work on {kind.text}")
        choices = ", ".join(value.sql for value in values[1:])
        return inherit(
            Typed(f"({values[0].sql} {'NOT ' if node.negated else ''}IN ({choices}))", types.BOOLEAN), values
        )

    def _in_query(self, node: syntax.InQuery, scope: Scope) -> Typed:
        query = self.subquery(node.query, scope)
        operands = node.operand.items if isinstance(node.operand, syntax.Row) else [node.operand]
        values = self.expressions(operands, scope)
        if len(values) != len(query.columns):
            raise failure(
                "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH",
                "42K09",
                f"The number of columns in the left hand side of an IN subquery ({len(values)}) does not match the number of columns in the output of subquery ({len(query.columns)}).",
            )
        alias = self.alias()
        left, right = [], []
        for value, column in zip(values, query.columns, strict=True):
            one, other = comparable(self.caster, value, Typed(f"{alias}.{types.quoted(column.physical)}", column.type))
            left.append(one.sql)
            right.append(other.sql)
        negation = "NOT " if node.negated else ""
        if len(values) == 1:
            sql = f"({left[0]} {negation}IN (SELECT {right[0]} FROM ({query.sql}) AS {alias}))"
        elif node.negated:
            raise unsupported("NOT IN over several columns")
        else:
            pairs = " AND ".join(f"{one} = {other}" for one, other in zip(left, right, strict=True))
            sql = f"EXISTS (SELECT 1 FROM ({query.sql}) AS {alias} WHERE {pairs})"
        return inherit(Typed(sql, types.BOOLEAN), values)

    def _exists(self, node: syntax.Exists, scope: Scope) -> Typed:
        return Typed(f"EXISTS ({self.subquery(node.query, scope).sql})", types.BOOLEAN)

    def _subquery_node(self, node: syntax.Subquery, scope: Scope) -> Typed:
        query = self.subquery(node.query, scope)
        if len(query.columns) != 1:
            raise failure(
                "INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN",
                "42823",
                f"Scalar subquery must return only one column, but found {len(query.columns)}.",
            )
        return Typed(f"({query.sql})", query.columns[0].type, volatile=query.volatile)

    def _like(self, node: syntax.Like, scope: Scope) -> Typed:
        value = self._text_operand(self.expression(node.operand, scope))
        patterns = [self._text_operand(self.expression(pattern, scope)) for pattern in node.patterns]
        escape = "\\"
        if node.escape is not None:
            given = self.expression(node.escape, scope)
            if not isinstance(given.constant, str) or len(given.constant) != 1:
                raise failure("INVALID_ESCAPE_CHAR", "42604", "`escape` should be a string literal of length one.")
            escape = given.constant
        tests = []
        for pattern in patterns:
            if node.operator == "RLIKE":
                tests.append(self.python.call("regexp_found", [value.sql, pattern.sql]))
            else:
                _check_like(pattern, escape)
                tests.append(f"({value.sql} {node.operator} {pattern.sql} ESCAPE {text_literal(escape)})")
        if node.negated:
            tests = [f"(NOT {test})" for test in tests]
        # NOT LIKE ANY means that some pattern does not match, as the reference has it.
        joiner = " OR " if node.quantifier == "ANY" else " AND "
        return inherit(Typed("(" + joiner.join(tests) + ")", types.BOOLEAN), [value, *patterns])

    def _text_operand(self, value: Typed) -> Typed:
        return self.caster.implicit(value, types.STRING)

    def _is(self, node: syntax.Is, scope: Scope) -> Typed:
        negation = "NOT " if node.negated else ""
        if node.what == "NULL":
            value = self.expression(node.operand, scope)
            if value.type.kind == "VOID":
                return inherit(Typed("false" if node.negated else "true", types.BOOLEAN), [value])
            return inherit(Typed(f"({value.sql} IS {negation}NULL)", types.BOOLEAN), [value])
        value = self.boolean(node.operand, scope)
        what = "NULL" if node.what == "UNKNOWN" else node.what
        return inherit(Typed(f"({value.sql} IS {negation}{what})", types.BOOLEAN), [value])

    def _is_distinct(self, node: syntax.IsDistinct, scope: Scope) -> Typed:
        same = comparison(self.caster, "<=>", self.expression(node.left, scope), self.expression(node.right, scope))
        return same if node.negated else inherit(Typed(f"(NOT {same.sql})", types.BOOLEAN), [same])

    def _subscript(self, node: syntax.Subscript, scope: Scope) -> Typed:
        value, index = self.expression(node.operand, scope), self.expression(node.index, scope)
        if value.type.kind == "ARRAY":
            return self.call("[]", [value, index])
        if value.type.kind == "MAP":
            key = self.caster.implicit(index, value.type.map_key)
            return inherit(Typed(f"map_extract_value({value.sql}, {key.sql})", value.type.item), [value, key])
        if value.type.kind == "STRUCT" and isinstance(index.constant, str):
            return access_field(value, index.constant)
        raise failure(
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            "42000",
            f'Can\'t extract a value. Need a complex type [STRUCT, ARRAY, MAP] but got "{value.type.text}".',
        )

    def _field_access(self, node: syntax.FieldAccess, scope: Scope) -> Typed:
        return access_field(self.expression(node.operand, scope), node.name)

    def _variant_path(self, node: syntax.VariantPath, scope: Scope) -> Typed:
        value = self.expression(node.operand, scope)
        path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in node.steps)
        if any(isinstance(step, str) and "'" in step for step in node.steps):
            raise unsupported("A path with a quote in it")
        if value.type.kind == "VARIANT":
            return inherit(
                Typed(self.python.call("variant_at", [value.sql, text_literal(path)]), types.VARIANT), [value]
            )
        if value.type.is_string:
            return inherit(Typed(self.python.call("json_at", [value.sql, text_literal(path)]), types.STRING), [value])
        raise type_mismatch(f'the path operator : requires VARIANT or STRING, not "{value.type.text}"')

    def _lambda(self, node: syntax.Lambda, scope: Scope) -> Typed:
        raise failure(
            "INVALID_LAMBDA_FUNCTION_CALL", "42K0D", "A lambda function should only be used in a higher order function."
        )

    def _row(self, node: syntax.Row, scope: Scope) -> Typed:
        return self.expression(syntax.Call(["struct"], node.items), scope)

    def _interval(self, node: syntax.Interval, scope: Scope) -> Typed:
        if node.pairs and not node.pairs[0][1]:
            text = node.pairs[0][0]
            written = text.text if isinstance(text, syntax.Literal) else ""
            units = _span(java_text.interval_units(written))
            return interval_of(*java_text.months_and_micros(written), DataType(_interval_kind(units[0]), units=units))
        if node.end_unit:
            value = node.pairs[0][0]
            if not isinstance(value, syntax.Literal):
                raise unsupported("An interval over units that is not a literal")
            from seakernel.local.sql.cursor import interval_type

            kind = interval_type(node.pairs[0][1], node.end_unit)
            sign = -1 if value.kind == "NUMBER" and value.text.startswith("-") else 1
            months, micros = java_text.unit_text(value.text.lstrip("-") if sign < 0 else value.text, *kind.units)
            return interval_of(sign * months, sign * micros, kind)
        return self._interval_pairs(node, scope)

    def _interval_pairs(self, node: syntax.Interval, scope: Scope) -> Typed:
        parts = [(self.expression(value, scope), unit) for value, unit in node.pairs]
        kinds = {_interval_kind(unit) for _, unit in parts}
        if len(kinds) != 1:
            raise unsupported("An interval of months and days at once")
        kind = DataType(kinds.pop(), units=_span([unit for _, unit in parts]))
        terms = []
        for value, unit in parts:
            scale = _UNIT_SIZES[unit]
            if value.type.is_string and isinstance(value.constant, str):
                if not re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*", value.constant):
                    raise failure(
                        "INVALID_INTERVAL_FORMAT.INVALID_VALUE",
                        "22006",
                        f"Error parsing '{value.constant}' to interval. Please ensure that the value provided is in a valid format for defining an interval.",
                    )
                months, micros = java_text.months_and_micros(f"{value.constant} {unit}")
                terms.append(str(months if kind.kind == "INTERVAL_YM" else micros))
            elif value.type.is_integral:
                terms.append(f"CAST({value.sql} AS BIGINT) * {scale}")
            elif value.type.kind == "DECIMAL" and unit == "SECOND":
                terms.append(f"CAST(trunc({value.sql} * {scale}) AS BIGINT)")
            else:
                raise type_mismatch(f'the amount of an interval is an integer, not "{value.type.text}"')
        total = "(" + " + ".join(terms) + ")"
        sql = f"to_months(CAST({total} AS INTEGER))" if kind.kind == "INTERVAL_YM" else interval_of_micros(total)
        return inherit(Typed(sql, kind), [value for value, _ in parts])

    def _named_argument(self, node: syntax.NamedArgument, scope: Scope) -> Typed:
        raise unsupported(f"The named argument {node.name}")

    # Calls -------------------------------------------------------------------------------------------------------

    def call(self, name: str, arguments: list[Typed]) -> Typed:
        """Calls a known function with translated arguments."""
        handler = FUNCTIONS[name].handler
        if handler is None:
            raise unsupported(f"This use of {name}")
        return inherit(handler(self, arguments), arguments)

    def _call(self, node: syntax.Call, scope: Scope) -> Typed:
        name = self._function_name(node.name)
        function = FUNCTIONS.get(name)
        if function is None:
            return self._routine(node, scope)
        if function.kind == "generator":
            raise failure(
                "UNSUPPORTED_GENERATOR.OUTSIDE_SELECT",
                "42K0E",
                f"The generator is not supported: outside the SELECT clause, found: {name}.",
            )
        check_count(function, len(node.arguments))
        if function.raw is not None:
            return function.raw(self, node, scope)
        if node.distinct or node.order_by or node.where or node.nulls or node.window:
            raise failure(
                "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX",
                "42000",
                f"The function `{name}` does not support DISTINCT, FILTER, IGNORE NULLS, WITHIN GROUP or OVER.",
            )
        return self.call(name, self.expressions(node.arguments, scope))

    def _function_name(self, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0].lower()
        if len(parts) == 3 and [part.lower() for part in parts[:2]] == ["system", "builtin"]:
            return parts[2].lower()
        return ""

    def _routine(self, node: syntax.Call, scope: Scope) -> Typed:
        routine = self.environment.routine(node.name)
        if routine is None:
            name = "`" + "`.`".join(node.name) + "`"
            if len(node.name) == 1 and node.name[0].lower() in _databricks_functions():
                raise unsupported(f"The function {name}")
            raise failure(
                "UNRESOLVED_ROUTINE",
                "42883",
                f"Cannot resolve routine {name} on search path [`system`.`builtin`, `system`.`session`, `{self.environment.catalog}`.`{self.environment.schema}`].",
            )
        if node.distinct or node.order_by or node.where or node.nulls or node.window:
            raise unsupported("DISTINCT, FILTER or OVER on a SQL function")
        return routine.call(self, node.arguments, scope)

    _RULES: ClassVar[dict[type[syntax.Expression], Callable[..., Typed]]] = {
        syntax.Literal: _literal,
        syntax.Parameter: _parameter,
        syntax.Name: _name,
        syntax.Star: _star,
        syntax.Alias: _alias_node,
        syntax.Unary: _unary,
        syntax.Binary: _binary,
        syntax.Cast: _cast,
        syntax.Case: _case,
        syntax.Between: _between,
        syntax.InList: _in_list,
        syntax.InQuery: _in_query,
        syntax.Exists: _exists,
        syntax.Subquery: _subquery_node,
        syntax.Like: _like,
        syntax.Is: _is,
        syntax.IsDistinct: _is_distinct,
        syntax.Subscript: _subscript,
        syntax.FieldAccess: _field_access,
        syntax.VariantPath: _variant_path,
        syntax.Lambda: _lambda,
        syntax.Row: _row,
        syntax.Interval: _interval,
        syntax.NamedArgument: _named_argument,
        syntax.Call: _call,
    }


def string(text: str) -> Typed:
    """A STRING constant."""
    return Typed(text_literal(text), types.STRING, constant=text, simple=True)


def number(text: str) -> Typed:
    """A number with Spark's type for the way it is written: `1` INT, `1.5` DECIMAL(2,1), `1e3` DOUBLE, `1L` BIGINT."""
    found = _NUMBER.match(text)
    if not found:
        raise failure("PARSE_SYNTAX_ERROR", "42601", f"Syntax error at or near '{text}'.")
    sign, digits, exponent, suffix = found[1], found[2], found[3], (found[4] or "").upper()
    body = sign + digits + (exponent or "")
    if suffix in ("D", "F") or (exponent and suffix != "BD"):
        kind = types.FLOAT if suffix == "F" else types.DOUBLE
        if abs(float(body)) > (_GREATEST_FLOAT if suffix == "F" else sys.float_info.max):
            raise failure(
                "INVALID_NUMERIC_LITERAL_RANGE",
                "22003",
                f"Numeric literal {text} is outside the valid range for {kind.text}.",
            )
        return Typed(f"CAST('{body}' AS {kind.engine})", kind, constant=float(body), simple=True)
    if suffix in _SUFFIX_TYPES or (suffix == "" and "." not in digits):
        value = int(body) if "." not in body else None
        if value is not None:
            kinds = [_SUFFIX_TYPES[suffix]] if suffix else [types.INT, types.BIGINT]
            for kind in kinds:
                bits = types.INTEGER_BITS[kind.kind]
                if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
                    return Typed(f"CAST({value} AS {kind.engine})", kind, constant=value, literal=True, simple=True)
        if suffix:
            raise failure(
                "INVALID_NUMERIC_LITERAL_RANGE",
                "22003",
                f"Numeric literal {text} is outside the valid range for its type.",
            )
    exact = Decimal(body)
    _, all_digits, power = exact.as_tuple()
    scale = max(0, -int(power))
    precision = max(len(all_digits) + max(0, int(power)), scale, 1)
    if precision > 38:
        raise failure(
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            "22003",
            f"Decimal precision {precision} exceeds max precision 38.",
        )
    kind = types.decimal(precision, scale)
    return Typed(f"CAST('{exact:f}' AS {kind.engine})", kind, constant=exact, simple=True)


def _check_like(pattern: Typed, escape: str) -> None:
    text = pattern.constant
    if not isinstance(text, str):
        return
    index = 0
    while index < len(text):
        if text[index] == escape:
            if index + 1 >= len(text):
                raise failure(
                    "INVALID_FORMAT.ESC_AT_THE_END",
                    "42601",
                    f"The format is invalid: '{text}'. The escape character is not allowed to end with.",
                )
            if text[index + 1] not in ("_", "%", escape):
                raise failure(
                    "INVALID_FORMAT.ESC_IN_THE_MIDDLE",
                    "42601",
                    f"The format is invalid: '{text}'. The escape character is not allowed to precede '{text[index + 1]}'.",
                )
            index += 1
        index += 1


_UNIT_SIZES = {
    "YEAR": 12,
    "QUARTER": 3,
    "MONTH": 1,
    "WEEK": 604_800_000_000,
    "DAY": 86_400_000_000,
    "HOUR": 3_600_000_000,
    "MINUTE": 60_000_000,
    "SECOND": 1_000_000,
    "MILLISECOND": 1000,
    "MICROSECOND": 1,
}


def _interval_kind(unit: str) -> str:
    return "INTERVAL_YM" if unit in ("YEAR", "QUARTER", "MONTH") else "INTERVAL_DT"


def _span(units: list[str]) -> tuple[str, str]:
    named = {"QUARTER": "MONTH", "WEEK": "DAY", "MILLISECOND": "SECOND", "MICROSECOND": "SECOND"}
    order = ("YEAR", "MONTH", *types.DAY_TIME_UNITS)
    places = [order.index(named.get(unit, unit)) for unit in units]
    return order[min(places)], order[max(places)]


def interval_of(months: int, micros: int, kind: DataType | None) -> Typed:
    """An interval constant."""
    if months and micros:
        raise unsupported("An interval of months and days at once")
    if kind is None:
        kind = types.YEAR_TO_MONTH if months else types.DAY_TO_SECOND
    if not -(1 << 31) <= months < 1 << 31 or not -(1 << 63) <= micros < 1 << 63:
        raise failure("INVALID_INTERVAL_FORMAT.ARITHMETIC_EXCEPTION", "22006", "The interval is out of range.")
    if kind.kind == "INTERVAL_YM":
        return Typed(f"to_months({months})", kind)
    days, rest = divmod(abs(micros), 86_400_000_000)
    sign = -1 if micros < 0 else 1
    return Typed(f"(to_days({sign * days}) + to_microseconds({sign * rest}))", kind)


def _databricks_functions() -> frozenset[str]:
    from seakernel.local.sql.functions.unsupported import NAMES

    return NAMES
