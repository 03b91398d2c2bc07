"""Translates queries: WITH, SELECT with its clauses, set operations, ORDER BY and LIMIT."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.errors import failure, raised, unsupported
from seakernel.local.sql.generators import Generated, generate, is_generator
from seakernel.local.sql.naming import name_of
from seakernel.local.sql.relations import RelationTranslator
from seakernel.local.sql.typed import Column, OutputColumn, QuerySql, Scope, Typed
from seakernel.local.sql.types import quoted

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Query, Select


class _Item:
    """An item of a SELECT list: its name and its translation."""

    def __init__(self, name: str, value: Typed) -> None:
        self.name = name
        self.value = value


class QueryTranslator(RelationTranslator):
    """Translates queries."""

    def query(self, query: Query, outer: Scope | None = None) -> QuerySql:
        """Translates a whole query; `outer` is the scope of the query around it."""
        definitions = self._define(query, outer)
        try:
            result = self._body(query.body, outer, query)
        finally:
            self.common_tables.pop()
        if definitions:
            result.sql = f"WITH {'RECURSIVE ' if query.recursive else ''}{', '.join(definitions)} {result.sql}"
        return result

    def subquery(self, query: Query, scope: Scope) -> QuerySql:
        """Translates a subquery, whose names may reach into `scope`."""
        return self.query(query, scope)

    def _define(self, query: Query, outer: Scope | None) -> list[str]:
        definitions: list[str] = []
        tables: dict[str, tuple[str, list[OutputColumn]]] = {}
        self.common_tables.append(tables)
        try:  # the names go out of scope whatever happens
            for table in query.tables:
                name = self.alias()
                if table.name.lower() in tables:
                    raise failure(  # noqa: TRY301
                        "DUPLICATED_CTE_NAMES", "42602", f"CTE definition can't have duplicate names: `{table.name}`."
                    )
                if query.recursive and _mentions(table.query, table.name):
                    made = self._recursive(table, name, tables, outer)
                else:
                    made = self.query(table.query, outer)
                    if table.columns:
                        made = self._renamed(made, table.columns)
                tables[table.name.lower()] = (name, made.columns)
                definitions.append(f"{name} AS ({made.sql})")
        except BaseException:
            self.common_tables.pop()
            raise
        return definitions

    def _renamed(self, made: QuerySql, names: list[str]) -> QuerySql:
        if len(names) != len(made.columns):
            raise failure(
                "ASSIGNMENT_ARITY_MISMATCH",
                "42802",
                f"The number of column names is {len(names)}, but the query has {len(made.columns)} columns.",
            )
        columns = [
            OutputColumn(name, column.type, column.physical) for name, column in zip(names, made.columns, strict=True)
        ]
        return QuerySql(made.sql, columns, made.volatile)

    def _recursive(
        self,
        table: syntax.CommonTable,
        name: str,
        tables: dict[str, tuple[str, list[OutputColumn]]],
        outer: Scope | None,
    ) -> QuerySql:
        body = table.query.body
        if (
            table.query.tables
            or table.query.order_by
            or table.query.limit
            or not (isinstance(body, syntax.SetOperation) and body.operator == "UNION" and body.is_all)
        ):
            raise unsupported("A recursive query that is not an anchor UNION ALL a step")
        anchor = self._arm(body.left, outer)
        if table.columns:
            anchor = self._renamed(anchor, table.columns)
        tables[table.name.lower()] = (name, anchor.columns)
        step = self._arm(body.right, outer)
        if len(step.columns) != len(anchor.columns):
            raise _arity("UNION", anchor, step)
        casts = []
        alias = self.alias()
        for place, (one, other) in enumerate(zip(anchor.columns, step.columns, strict=True), start=1):
            value = Typed(f"{alias}.{quoted(other.physical)}", other.type)
            if types.common_type(one.type, other.type) != one.type or other.type.is_string != one.type.is_string:
                raise failure(
                    "CANNOT_MERGE_INCOMPATIBLE_DATA_TYPE",
                    "42825",
                    f'The column {place} of the recursive step has the type "{other.type.text}", that of the anchor "{one.type.text}".',
                )
            casts.append(f"{self.caster.cast(value, one.type).sql} AS {quoted(one.physical)}")
        first = self.alias()
        step_sql, level = _leveled(step.sql, name)
        return QuerySql(
            f"(SELECT {first}.*, 0 AS {_LEVEL} FROM ({anchor.sql}) AS {first}) UNION ALL "
            f"(SELECT {', '.join(casts)}, {alias}.{level} AS {_LEVEL} FROM ({step_sql}) AS {alias})",
            anchor.columns,
        )

    # Bodies ------------------------------------------------------------------------------------------------------

    def _body(self, body: syntax.Body, outer: Scope | None, query: Query) -> QuerySql:
        if isinstance(body, syntax.Select):
            return self._select(body, outer, query)
        made = self._arm(body, outer)
        if query.order_by or query.order_all or query.limit or query.offset:
            return self._ordered(made, outer, query)
        return made

    def _arm(self, body: syntax.Body, outer: Scope | None) -> QuerySql:
        if isinstance(body, syntax.Select):
            return self._select(body, outer, syntax.Query(body))
        if isinstance(body, syntax.Query):
            return self.query(body, outer)
        if isinstance(body, syntax.SetOperation):
            return self._set_operation(body, outer)
        relation = self.relation(body, Scope(parent=outer))
        columns = _outputs([(column.name, column.type) for column in relation.columns])
        items = ", ".join(
            f"{column.sql} AS {quoted(made.physical)}" for column, made in zip(relation.columns, columns, strict=True)
        )
        return QuerySql(f"SELECT {items} FROM {relation.sql}", columns)

    def _set_operation(self, node: syntax.SetOperation, outer: Scope | None) -> QuerySql:
        left, right = self._arm(node.left, outer), self._arm(node.right, outer)
        if node.by_name:
            raise unsupported("UNION BY NAME")
        if len(left.columns) != len(right.columns):
            raise _arity(node.operator, left, right)
        kinds = []
        for place, (one, other) in enumerate(zip(left.columns, right.columns, strict=True), start=1):
            kind = types.common_type(one.type, other.type)
            if kind is None:
                raise failure(
                    "INCOMPATIBLE_COLUMN_TYPE",
                    "42825",
                    f'{node.operator} can only be performed on tables with compatible column types. The column {place} of the second table is "{other.type.text}" type which is not compatible with "{one.type.text}" at the same column of the first table.',
                )
            kinds.append(kind)
        if not (node.operator == "UNION" and node.is_all) and any(kind.contains("MAP", "VARIANT") for kind in kinds):
            raise failure(
                "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE",
                "0A000",
                "Cannot have MAP type columns in DataFrame which calls set operations.",
            )
        columns = [
            OutputColumn(column.name, kind, column.physical) for column, kind in zip(left.columns, kinds, strict=True)
        ]
        sides = [self._recast(side, columns) for side in (left, right)]
        word = f"{node.operator} ALL" if node.is_all else node.operator
        return QuerySql(f"({sides[0]}) {word} ({sides[1]})", columns, left.volatile or right.volatile)

    def _recast(self, side: QuerySql, columns: list[OutputColumn]) -> str:
        if all(own.type == column.type for own, column in zip(side.columns, columns, strict=True)):
            return side.sql
        alias = self.alias()
        items = []
        for own, column in zip(side.columns, columns, strict=True):
            value = self.caster.cast(Typed(f"{alias}.{quoted(own.physical)}", own.type), column.type)
            items.append(f"{value.sql} AS {quoted(column.physical)}")
        return f"SELECT {', '.join(items)} FROM ({side.sql}) AS {alias}"

    def _ordered(self, made: QuerySql, outer: Scope | None, query: Query) -> QuerySql:
        alias = self.alias()
        relation = made.relation(alias, "", [])
        scope = Scope(relation.columns, parent=outer)
        items = [_Item(column.name, Typed(column.sql, column.type, simple=True)) for column in relation.columns]
        selected = ", ".join(
            f"{column.sql} AS {quoted(own.physical)}"
            for column, own in zip(relation.columns, made.columns, strict=True)
        )
        sql = f"SELECT {selected} FROM {relation.sql}" + self._tail(query, items, scope)
        return QuerySql(sql, made.columns, made.volatile)

    # SELECT ------------------------------------------------------------------------------------------------------

    def _select(self, select: Select, outer: Scope | None, query: Query) -> QuerySql:
        scope = Scope(parent=outer, windows=select.windows)
        scope.grouping_sets = select.group_by is not None and bool(select.group_by.sets)
        source = ""
        if select.source is not None:
            relation = self.relation(select.source, scope)
            scope.columns = relation.columns
            source = f" FROM {relation.sql}"
        where = ""
        if select.where is not None:
            condition = self.boolean(select.where, scope)
            if condition.aggregate or condition.window:
                raise failure(
                    "INVALID_WHERE_CONDITION",
                    "42903",
                    "The WHERE condition contains invalid expressions: aggregate and window functions do not belong there.",
                )
            where = f" WHERE {condition.sql}"
        generator = next((item for item in select.items if _generator_of(item)), None)
        if generator is not None:
            source, scope, items = self._select_generator(select, source + where, scope)
            where = ""
        else:
            items = self._items(select.items, scope)
        return self._assemble(select, query, items, source + where, scope)

    def _assemble(self, select: Select, query: Query, items: list[_Item], source: str, scope: Scope) -> QuerySql:
        columns = _outputs([(item.name, item.value.type) for item in items])
        selected = ", ".join(
            f"{item.value.sql} AS {quoted(column.physical)}" for item, column in zip(items, columns, strict=True)
        )
        if select.distinct and any(item.value.type.contains("MAP", "VARIANT") for item in items):
            raise failure(
                "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE",
                "0A000",
                "Cannot have MAP type columns in DataFrame which calls set operations.",
            )
        grouping = self._group_by(select, items, scope)
        after = self._after_scope(items, scope)
        sql = f"SELECT {'DISTINCT ' if select.distinct else ''}{selected}{source}{grouping}"
        if select.having is not None:
            condition = self.boolean(select.having, after)
            if not (grouping or condition.aggregate or any(item.value.aggregate for item in items)):
                # HAVING alone makes the query an aggregation, in DuckDB as in Spark.
                raise failure("MISSING_AGGREGATION", "42803", "HAVING needs GROUP BY or an aggregate function.")
            sql += f" HAVING {condition.sql}"
        if select.qualify is not None:
            condition = self.boolean(select.qualify, after)
            if not condition.window and not any(item.value.window for item in items):
                raise failure("UNSUPPORTED_EXPR_FOR_OPERATOR", "42K0E", "QUALIFY needs a window function.")
            sql += f" QUALIFY {condition.sql}"
        sql += self._tail(query, items, scope, distinct=select.distinct)
        return QuerySql(sql, columns, any(item.value.volatile for item in items))

    def _after_scope(self, items: list[_Item], scope: Scope) -> Scope:
        """The scope of HAVING and QUALIFY: columns first, then the aliases of the SELECT list."""
        return Scope(
            scope.columns,
            scope.parent,
            scope.variables,
            {**{item.name.lower(): item.value for item in reversed(items)}},
            {},
            scope.windows,
            scope.grouping_sets,
        )

    def _items(self, nodes: list[syntax.Expression], scope: Scope) -> list[_Item]:
        items: list[_Item] = []
        for node in nodes:
            items += self._item(node, scope)
        return items

    def _item(self, node: syntax.Expression, scope: Scope) -> list[_Item]:
        if isinstance(node, syntax.Star):
            return self._star_items(node, scope)
        if isinstance(node, syntax.Alias) and len(node.names) > 1:
            raise failure("UNSUPPORTED_GENERATOR.NOT_GENERATOR", "42K0E", "Several aliases need a generator.")
        value = self.expression(node, scope)
        name = self._parameter_name(node) or name_of(node)
        if isinstance(node, syntax.Name) and len(node.parts) >= 1:
            name = self._cased(node, scope)
        if isinstance(node, syntax.Alias):
            scope.aliases.setdefault(name.lower(), value)
        return [_Item(name, value)]

    def _parameter_name(self, node: syntax.Expression) -> str:
        if isinstance(node, syntax.Parameter):
            constant = self.environment.parameter(node.name).constant
            return str(constant) if isinstance(constant, (str, int)) else "NULL" if constant is None else ""
        return ""

    def _cased(self, node: syntax.Name, scope: Scope) -> str:
        """The name as written, which is how the column is shown."""
        return node.parts[-1]

    def _star_items(self, node: syntax.Star, scope: Scope) -> list[_Item]:
        columns = [
            column
            for column in scope.columns
            if column.matches(node.qualifier) and not (column.hidden and not node.qualifier)
        ]
        items = [_Item(column.name, Typed(column.sql, column.type, simple=True)) for column in columns]
        if not columns and node.qualifier:
            value = scope.resolve(node.qualifier)
            if value.type.kind != "STRUCT":
                raise failure(
                    "CANNOT_RESOLVE_STAR_EXPAND",
                    "42704",
                    f"Cannot resolve `{'`.`'.join(node.qualifier)}`.* given input columns.",
                )
            from seakernel.local.sql.typed import access_field

            items = [_Item(part.name, access_field(value, part.name)) for part in value.type.fields]
        elif not scope.columns:
            raise failure("INVALID_USAGE_OF_STAR_OR_REGEX", "42000", "Invalid usage of '*' without FROM.")
        for parts in node.without:
            kept = [item for item in items if item.name.lower() != parts[-1].lower()]
            if len(parts) > 1:
                excluded = scope.resolve(parts)
                kept = [item for item in items if item.value.sql != excluded.sql]
            if len(kept) == len(items):
                raise failure(
                    "UNRESOLVED_COLUMN.WITH_SUGGESTION",
                    "42703",
                    f"A column with name `{parts[-1]}` cannot be resolved in EXCEPT.",
                )
            items = kept
        if not items:
            raise unsupported("A SELECT without columns")
        return items

    def _select_generator(self, select: Select, source: str, scope: Scope) -> tuple[str, Scope, list[_Item]]:
        if select.group_by or select.having or sum(1 for item in select.items if _generator_of(item)) > 1:
            raise failure(
                "UNSUPPORTED_GENERATOR.MULTI_GENERATOR",
                "42K0E",
                "The generator is not supported: only one generator allowed per SELECT clause, and none beside GROUP BY.",
            )
        node = next(item for item in select.items if _generator_of(item))
        call = _generator_of(node)
        if call is None:
            raise unsupported("This generator")
        made = generate(self, call, scope)
        sql, inner = self.unnested(source, scope, made)
        outputs = self.generator_columns(made, inner[0])
        names = node.names if isinstance(node, syntax.Alias) else [name for name, _ in outputs]
        if len(names) != len(outputs):
            raise failure(
                "UDTF_ALIAS_NUMBER_MISMATCH",
                "42802",
                f"The number of aliases supplied in the AS clause does not match the number of columns output by the generator: expected {len(outputs)} aliases but got {len(names)}.",
            )
        wrapped = Scope(inner[1], scope.parent, windows=scope.windows)
        items: list[_Item] = []
        for item in select.items:
            if item is node:
                made_items = [_Item(name, value) for name, (_, value) in zip(names, outputs, strict=True)]
                items += made_items
                for made_item in made_items:
                    wrapped.aliases.setdefault(made_item.name.lower(), made_item.value)
            else:
                items += self._item(item, wrapped)
        if any(item.value.aggregate for item in items):
            raise unsupported("A generator beside an aggregate function")
        return f" FROM {sql}", wrapped, items

    def unnested(self, source: str, scope: Scope, made: Generated) -> tuple[str, tuple[str, list[Column]]]:
        """The rows of `source` (a FROM clause) multiplied by a generator, and where its entries and columns are then."""
        alias = self.alias()
        columns = []
        items = []
        for place, column in enumerate(scope.columns):
            items.append(f"{column.sql} AS s{place}")
            columns.append(Column(column.name, column.type, f"{alias}.s{place}", column.qualifier, column.hidden))
        items.append(f"unnest({made.entries}) AS made")
        return f"(SELECT {', '.join(items)}{source}) AS {alias}", (f"{alias}.made", columns)

    def generator_columns(self, made: Generated, entry: str) -> list[tuple[str, Typed]]:
        """The columns of a generator whose entries are in the column `entry`."""
        return [(name, Typed(template.format(entry), kind, simple=True)) for name, kind, template in made.columns]

    # GROUP BY, ORDER BY, LIMIT -----------------------------------------------------------------------------------

    def _group_by(self, select: Select, items: list[_Item], scope: Scope) -> str:
        grouping = select.group_by
        if grouping is None:
            return ""
        if grouping.is_all:
            keys = [item.value for item in items if not item.value.aggregate]
            return " GROUP BY " + ", ".join(key.sql for key in keys) if keys else ""
        if not grouping.sets:
            keys = [self._group_key(node, items, scope) for node in grouping.items]
            return " GROUP BY " + ", ".join(_group_sql(key) for key in keys)
        elements = []
        for sets in grouping.sets:
            groups = [
                "(" + ", ".join(_group_sql(self._group_key(node, items, scope)) for node in group) + ")"
                for group in sets
            ]
            elements.append(f"GROUPING SETS ({', '.join(groups)})")
        return " GROUP BY " + ", ".join(elements)

    def _group_key(self, node: syntax.Expression, items: list[_Item], scope: Scope) -> Typed:
        if isinstance(node, syntax.Literal) and node.kind == "NUMBER" and node.text.lstrip("-").isdigit():
            place = int(node.text)
            if not 1 <= place <= len(items):
                raise failure(
                    "GROUP_BY_POS_OUT_OF_RANGE",
                    "42805",
                    f"GROUP BY position {place} is not in select list (valid range is [1, {len(items)}]).",
                )
            key = items[place - 1].value
        else:
            key = self.expression(node, Scope(scope.columns, scope.parent, scope.variables, scope.aliases))
        if key.aggregate:
            raise failure("GROUP_BY_AGGREGATE", "42903", "Aggregate functions are not allowed in GROUP BY.")
        if key.window:
            raise unsupported("GROUP BY of a window function")
        if key.type.contains("MAP", "VARIANT"):
            raise failure(
                "GROUP_EXPRESSION_TYPE_IS_NOT_ORDERABLE",
                "42822",
                f'The expression cannot be used as a grouping expression because its data type "{key.type.text}" is not an orderable data type.',
            )
        return key

    def _tail(self, query: Query, items: list[_Item], scope: Scope, *, distinct: bool = False) -> str:
        sql = ""
        if query.order_all is not None:
            sql += " ORDER BY " + ", ".join(
                f"{place} {query.order_all.direction}" for place in range(1, len(items) + 1)
            )
        elif query.order_by:
            outputs = {item.name.lower(): item.value for item in reversed(items)}
            inner = replace(scope, outputs=outputs, in_aggregate=False)
            sql += " ORDER BY " + ", ".join(
                self._order_key(item, items, inner, distinct=distinct) for item in query.order_by
            )
        for word, node in (("LIMIT", query.limit), ("OFFSET", query.offset)):
            if node is not None:
                sql += f" {word} {self._count(word, node)}"
        return sql

    def _order_key(self, item: syntax.OrderItem, items: list[_Item], scope: Scope, *, distinct: bool) -> str:
        node = item.expression
        if isinstance(node, syntax.Literal) and node.kind == "NUMBER" and node.text.lstrip("-").isdigit():
            place = int(node.text)
            if not 1 <= place <= len(items):
                raise failure(
                    "ORDER_BY_POS_OUT_OF_RANGE",
                    "42805",
                    f"ORDER BY position {place} is not in select list (valid range is [1, {len(items)}]).",
                )
            kind, key = items[place - 1].value.type, str(place)
        else:
            value = self.expression(node, scope)
            kind, key = value.type, value.sql
            for place, known in enumerate(items, start=1):
                if known.value.sql == value.sql:
                    key = str(place)
                    break
            else:
                if distinct:
                    raise failure(
                        "UNRESOLVED_COLUMN.WITH_SUGGESTION",
                        "42703",
                        "ORDER BY of a SELECT DISTINCT can only name what is selected.",
                    )
                if value.is_constant:
                    # No constant orders anything, and DuckDB takes only numbers here.
                    key = "(1 - 1)"
        if kind.contains("MAP", "VARIANT"):
            raise failure(
                "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
                "42K09",
                f'Cannot resolve "sortorder" due to data type mismatch: it does not support ordering on type "{kind.text}".',
            )
        return f"{key} {item.direction}"

    def _count(self, word: str, node: syntax.Expression) -> str:
        value = self.expression(node, Scope())
        if value.type.is_string or not (value.type.is_integral or value.type.kind == "VOID"):
            raise failure(
                "INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE",
                "42K0E",
                f'The {word.lower()} expression must be integer type, but got "{value.type.text}".',
            )
        if value.is_constant and value.constant is None:
            raise failure(
                "INVALID_LIMIT_LIKE_EXPRESSION.IS_NULL",
                "42K0E",
                f"The evaluated {word.lower()} expression must not be null.",
            )
        if isinstance(value.constant, int) and value.constant < 0:
            raise failure(
                "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
                "42K0E",
                f"The {word.lower()} expression must be equal to or greater than 0, but got {value.constant}.",
            )
        return value.sql


#: Counts the steps of a recursive query, of which a warehouse allows 100.
_LEVEL = "recursion_level"
_TOO_DEEP = raised(
    "RECURSION_LEVEL_LIMIT_EXCEEDED",
    "42836",
    "Recursion level limit 100 reached but query has not exhausted, try increasing it like 'WITH RECURSIVE t(col) MAX RECURSION LEVEL 200'.",
)


def _leveled(step: str, name: str) -> tuple[str, str]:
    """The step of a recursive query with a column that counts the steps, and that column's name.

    Raises:
        SqlError: the query does not stand in the FROM clause of the step itself, just once.
    """
    if re.search(rf"(LEFT|FULL|SEMI|ANTI)( OUTER)? JOIN {name} AS|\b{name} AS r\d+ (RIGHT|FULL)", step):
        raise failure(
            "INVALID_RECURSIVE_REFERENCE.PLACE",
            "42836",
            "Recursive references cannot be used on the right side of left outer/semi/anti joins, on the left side of right outer joins, in full outer joins, in aggregates and in subquery expressions.",
        )
    found = re.findall(rf"\b{name} AS (r\d+)\b", step)
    place = step.find(f"{name} AS ")
    before = re.sub(r"'(?:[^']|'')*'", "", step[:place])
    if len(found) != 1 or before.count("(") != before.count(")") or not step.startswith("SELECT "):
        raise unsupported("A recursive query that is not named once, in the FROM clause of its step,")
    deeper = f"CASE WHEN {found[0]}.{_LEVEL} < 99 THEN {found[0]}.{_LEVEL} + 1 ELSE error({_TOO_DEEP}) END"
    return f"SELECT {deeper} AS {_LEVEL}, {step.removeprefix('SELECT ')}", _LEVEL


def _group_sql(key: Typed) -> str:
    # A bare constant would be read as a position.
    return f"({key.sql})"


def _generator_of(node: syntax.Expression) -> syntax.Call | None:
    inner = node.expression if isinstance(node, syntax.Alias) else node
    return inner if isinstance(inner, syntax.Call) and is_generator(inner) else None


def _outputs(named: list[tuple[str, types.DataType]]) -> list[OutputColumn]:
    """Gives each column a name that is its own inside DuckDB, where names are compared without case."""
    taken: set[str] = set()
    columns = []
    for name, kind in named:
        physical = name
        count = 1
        while physical.lower() in taken or not physical:
            count += 1
            physical = f"{name}_{count}"
        taken.add(physical.lower())
        columns.append(OutputColumn(name, kind, physical))
    return columns


def _arity(operator: str, left: QuerySql, right: QuerySql) -> Exception:
    return failure(
        "NUM_COLUMNS_MISMATCH",
        "42826",
        f"{operator} can only be performed on inputs with the same number of columns, but the first input has {len(left.columns)} columns and the second input has {len(right.columns)} columns.",
    )


def _mentions(query: Query, name: str) -> bool:
    """Whether a query reads from the table `name`; its text form is enough, since a false hit only changes the plan."""
    return f"parts=['{name.lower()}']" in repr(query).lower()
