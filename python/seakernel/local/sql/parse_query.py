"""The grammar of queries: WITH, SELECT, FROM with its joins, set operations, ORDER BY and LIMIT."""

from __future__ import annotations

from seakernel.local.sql import syntax
from seakernel.local.sql.errors import unsupported
from seakernel.local.sql.parse_expression import ExpressionParser
from seakernel.local.sql.syntax import Body, Call, Expression, Grouping, Query, Relation, Select

#: Words that end an item of a SELECT list or a relation, and so are no alias unless AS stands before them.
_NO_ALIAS = frozenset(
    [
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "SORT",
        "CLUSTER",
        "DISTRIBUTE",
        "LIMIT",
        "OFFSET",
        "UNION",
        "EXCEPT",
        "MINUS",
        "INTERSECT",
        "WINDOW",
        "QUALIFY",
        "LATERAL",
        "PIVOT",
        "UNPIVOT",
        "TABLESAMPLE",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "SEMI",
        "ANTI",
        "NATURAL",
        "ON",
        "USING",
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "LIKE",
        "ILIKE",
        "RLIKE",
        "BETWEEN",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "AS",
        "SET",
        "VERSION",
        "TIMESTAMP",
        "FOR",
        "ASC",
        "DESC",
        "NULLS",
        "INTO",
        "SELECT",
        "REGEXP",
        "DIV",
        "WITHIN",
        "FILTER",
        "OVER",
        "ESCAPE",
    ]
)


class QueryParser(ExpressionParser):
    """Parses queries."""

    def query(self) -> Query:
        """Takes a query with its WITH clause, ORDER BY and LIMIT."""
        tables: list[syntax.CommonTable] = []
        recursive = False
        if self.accept("WITH"):
            recursive = self.accept("RECURSIVE")
            tables.append(self._common_table())
            while self.accept(","):
                tables.append(self._common_table())
        query = Query(self._set_operation(), tables, recursive)
        self._organization(query)
        if self.at("|>"):
            raise unsupported("The pipe syntax |>")
        return query

    def _common_table(self) -> syntax.CommonTable:
        name = self.identifier()
        columns = self.names() if self.at("(") else []
        if self.accept("MAX", "RECURSION", "LEVEL"):
            raise unsupported("MAX RECURSION LEVEL")
        self.accept("AS")
        self.expect("(")
        query = self.query()
        self.expect(")")
        return syntax.CommonTable(name, columns, query)

    def _organization(self, query: Query) -> None:
        while True:
            if self.accept("ORDER", "BY"):
                if self.at("ALL") and self.ahead().text not in (",", "(", "."):
                    self.advance()
                    query.order_all = syntax.OrderItem(syntax.Literal("NULL", "NULL"))
                    self.order_direction(query.order_all)
                else:
                    query.order_by = self.order_items()
            elif self.at("SORT", "BY") or self.at("CLUSTER", "BY") or self.at("DISTRIBUTE", "BY"):
                raise unsupported(f"{self.token.value} BY, which orders rows within partitions,")
            elif self.accept("LIMIT"):
                query.limit = None if self.accept("ALL") else self.expression()
            elif self.accept("OFFSET"):
                query.offset = self.expression()
            else:
                return

    # Set operations ----------------------------------------------------------------------------------------------

    def _set_operation(self) -> Body:
        left = self._intersection()
        while self.at_any("UNION", "EXCEPT", "MINUS"):
            operator = "UNION" if self.advance().value == "UNION" else "EXCEPT"
            left = self._set_operand(operator, left)
        return left

    def _intersection(self) -> Body:
        left = self._query_primary()
        while self.accept("INTERSECT"):
            is_all = self.accept("ALL")
            self.accept("DISTINCT")
            left = syntax.SetOperation("INTERSECT", left, self._query_primary(), is_all)
        return left

    def _set_operand(self, operator: str, left: Body) -> Body:
        is_all = self.accept("ALL")
        self.accept("DISTINCT")
        by_name = self.accept("BY", "NAME")
        return syntax.SetOperation(operator, left, self._intersection(), is_all, by_name)

    def _query_primary(self) -> Body:
        if self.accept("("):
            query = self.query()
            self.expect(")")
            return query
        if self.at("VALUES"):
            values = self._values()
            named = self._with_alias(values)
            return values if named is values else Select([syntax.Star([])], source=named)
        if self.accept("TABLE"):
            return self._table_name()
        if self.at("SELECT"):
            return self._select()
        raise self.fail("expected a query")

    def _values(self) -> syntax.ValuesRelation:
        self.expect("VALUES")
        rows = [self._values_row()]
        while self.accept(","):
            rows.append(self._values_row())
        return syntax.ValuesRelation(rows)

    def _values_row(self) -> list[Expression]:
        value = self.expression()
        if isinstance(value, syntax.Row):
            return value.items
        return [value]

    # SELECT ------------------------------------------------------------------------------------------------------

    def _select(self) -> Select:
        self.expect("SELECT")
        select = Select([], distinct=self.accept("DISTINCT"))
        if not select.distinct and self.at("ALL") and self.ahead().text not in (",", ".", "("):
            self.advance()
        select.items.append(self._select_item())
        while self.accept(","):
            select.items.append(self._select_item())
        if self.accept("FROM"):
            select.source = self._from()
        if self.accept("WHERE"):
            select.where = self.expression()
        if self.accept("GROUP", "BY"):
            select.group_by = self._grouping()
        if self.accept("HAVING"):
            select.having = self.expression()
        if self.accept("QUALIFY"):
            select.qualify = self.expression()
        if self.accept("WINDOW"):
            self._named_window(select)
            while self.accept(","):
                self._named_window(select)
        if select.qualify is None and self.accept("QUALIFY"):
            select.qualify = self.expression()
        return select

    def _named_window(self, select: Select) -> None:
        name = self.identifier()
        self.expect("AS")
        select.windows[name.lower()] = self.window() if self.at("(") else syntax.Window(base=self.identifier())

    def _select_item(self) -> Expression:
        value = self.expression()
        if self.accept("AS"):
            if self.at("("):
                return syntax.Alias(value, self.names())
            return syntax.Alias(value, [self.identifier()])
        if self.token.kind == "quoted" or (self.token.kind == "word" and self.token.value not in _NO_ALIAS):
            return syntax.Alias(value, [self.identifier()])
        return value

    def _grouping(self) -> Grouping:
        if self.at("ALL") and self.ahead().text not in (",", ".", "("):
            self.advance()
            return Grouping([], is_all=True)
        grouping = Grouping([])
        while True:
            self._grouping_element(grouping)
            if not self.accept(","):
                break
        if self.accept("WITH", "ROLLUP"):
            return Grouping(grouping.items, sets=[_rollup([[item] for item in grouping.items])])
        if self.accept("WITH", "CUBE"):
            return Grouping(grouping.items, sets=[_cube([[item] for item in grouping.items])])
        if self.at("GROUPING", "SETS") and not grouping.sets:
            # The older form names the columns before the sets; the sets alone decide.
            named, grouping.items = grouping.items, []
            self._grouping_element(grouping)
            used = [item for part in grouping.sets[0] for item in part]
            if any(item not in used for item in named):
                raise unsupported("GROUP BY of a column that is in none of the GROUPING SETS")
        if grouping.sets and grouping.items:
            grouping.sets.insert(0, [list(grouping.items)])
        return grouping

    def _grouping_element(self, grouping: Grouping) -> None:
        if self.accept("GROUPING", "SETS"):
            grouping.sets.append([found for group in self._grouping_sets() for found in group])
        elif self.at_any("ROLLUP", "CUBE") and self.ahead().text == "(":
            expand = _rollup if self.advance().value == "ROLLUP" else _cube
            self.expect("(")
            parts = [self._grouping_part()]
            while self.accept(","):
                parts.append(self._grouping_part())
            self.expect(")")
            grouping.sets.append(expand(parts))
        else:
            grouping.items.append(self.expression())

    def _grouping_part(self) -> list[Expression]:
        if self.at("(", ")"):
            self.index += 2
            return []
        value = self.expression()
        return value.items if isinstance(value, syntax.Row) else [value]

    def _grouping_sets(self) -> list[list[list[Expression]]]:
        self.expect("(")
        found = []
        while True:
            if self.at_any("ROLLUP", "CUBE") or self.at("GROUPING", "SETS"):
                inner = Grouping([])
                self._grouping_element(inner)
                found.append(inner.sets[0])
            else:
                found.append([self._grouping_part()])
            if not self.accept(","):
                break
        self.expect(")")
        return found

    # FROM --------------------------------------------------------------------------------------------------------

    def _from(self) -> Relation:
        relation = self.relation()
        while self.accept(","):
            relation = syntax.Join(relation, self.relation(), "CROSS")
        while self.at("LATERAL", "VIEW"):
            relation = self._lateral_view(relation)
        while self.at_any("PIVOT", "UNPIVOT") and self.ahead().value in ("(", "INCLUDE", "EXCLUDE"):
            relation = self._reshaped(relation)
        return relation

    def relation(self) -> Relation:
        """Takes a relation with its joins."""
        left = self._reshapings(self._relation_primary())
        while True:
            natural = self.at("NATURAL")
            distance = 1 if natural else 0
            kind = self._join_kind(distance)
            if not kind:
                return left
            right = self._reshapings(self._relation_primary())
            join = syntax.Join(left, right, kind, natural=natural)
            if self.accept("ON"):
                join.on = self.expression()
            elif self.accept("USING"):
                join.using = self.names()
            left = join

    def _join_kind(self, distance: int) -> str:
        """Takes the words of a join, if one comes next."""
        start = self.index
        self.index += distance
        kind = self.accept_any("INNER", "CROSS", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI")
        if kind in ("LEFT", "RIGHT", "FULL"):
            self.accept("OUTER")
        if kind == "LEFT":
            kind = self.accept_any("SEMI", "ANTI") or kind
        if self.accept("JOIN"):
            return kind or "INNER"
        self.index = start
        if kind and self.token.value in ("SEMI", "ANTI", "INNER", "CROSS", "NATURAL"):
            raise self.fail("expected JOIN")
        return ""

    def _relation_primary(self) -> Relation:
        lateral = self.at("LATERAL") and self.ahead().value != "VIEW"
        if lateral:
            self.advance()
        if self.at("("):
            return self._with_alias(self._parenthesized_relation(lateral=lateral))
        if self.at("VALUES") and self.ahead().text not in (",", "."):
            return self._with_alias(self._values())
        if self.at("IDENTIFIER", "("):
            return self._with_alias(self.identifier_clause())
        if self.at("STREAM") and self.ahead().text not in (",", "."):
            raise unsupported("STREAM")
        start = self.token.start
        parts = self.dotted()
        if self.at("("):
            call = self._call(parts)
            if not isinstance(call, Call):
                raise self.fail("expected a table function")
            return self._with_alias(syntax.TableFunction(call, lateral))
        table = syntax.TableName(parts, place=start)
        self._time_travel(table)
        return self._with_alias(table)

    def identifier_clause(self) -> syntax.IdentifierClause:
        """Takes `IDENTIFIER(expression)`."""
        self.expect("IDENTIFIER", "(")
        value = self.expression()
        self.expect(")")
        return syntax.IdentifierClause(value)

    def _table_name(self) -> syntax.TableName:
        table = syntax.TableName([], place=self.token.start)
        table.parts = self.dotted()
        self._time_travel(table)
        return table

    def _time_travel(self, table: syntax.TableName) -> None:
        if self.at("@"):
            self.advance()
            mark = self.identifier()
            if not (mark[0] in "vV" and mark[1:].isdigit()):
                raise unsupported("The `@timestamp` form of time travel")
            table.version = syntax.Literal("NUMBER", mark[1:])
            return
        start = self.index
        self.accept("FOR")
        kind = self.accept_any("VERSION", "SYSTEM_VERSION", "TIMESTAMP", "SYSTEM_TIME")
        if not (kind and self.accept("AS", "OF")):
            self.index = start
            return
        if kind in ("VERSION", "SYSTEM_VERSION"):
            table.version = self._operators(0)
        else:
            table.timestamp = self._operators(0)

    def _parenthesized_relation(self, *, lateral: bool) -> Relation:
        start = self.index
        if self._query_follows(1):
            self.expect("(")
            if self.at("(") or lateral or self.at_any("SELECT", "WITH", "VALUES", "TABLE"):
                query = self.query()
                if self.accept(")"):
                    return syntax.SubqueryRelation(query, lateral)
            self.index = start
        self.expect("(")
        relation = self.relation()
        self.expect(")")
        return relation

    def _with_alias(self, relation: Relation) -> Relation:
        relation = self._sampled(relation)
        explicit = self.accept("AS")
        if explicit or self.token.kind == "quoted" or (self.token.kind == "word" and self.token.value not in _NO_ALIAS):
            name = self.identifier()
            columns = self.names() if self.at("(") else []
            return self._sampled(syntax.Aliased(relation, name, columns))
        return relation

    def _sampled(self, relation: Relation) -> Relation:
        if not self.accept("TABLESAMPLE"):
            return relation
        self.expect("(")
        if self.accept("BUCKET"):
            raise unsupported("TABLESAMPLE (BUCKET ...)")
        count = self._operators(0)
        unit = self.accept_any("PERCENT", "ROWS")
        if not unit:
            raise self.fail("expected PERCENT or ROWS")
        self.expect(")")
        seed = None
        if self.accept("REPEATABLE"):
            self.expect("(")
            seed = self.integer()
            self.expect(")")
        return syntax.Sample(relation, count, unit, seed)

    def _lateral_view(self, source: Relation) -> Relation:
        self.expect("LATERAL", "VIEW")
        outer = self.accept("OUTER")
        call = self._call(self.dotted())
        if not isinstance(call, Call):
            raise self.fail("expected a table function")
        table = ""
        if not self.at("AS") and (
            self.token.kind == "quoted" or (self.token.kind == "word" and self.token.value not in _NO_ALIAS)
        ):
            table = self.identifier()
        columns: list[str] = []
        if self.accept("AS") or (table and self.token.kind in ("word", "quoted") and self.token.value not in _NO_ALIAS):
            columns.append(self.identifier())
            while self.accept(","):
                columns.append(self.identifier())
        return syntax.LateralView(source, call, outer, table, columns)

    # PIVOT and UNPIVOT -------------------------------------------------------------------------------------------

    def _reshapings(self, relation: Relation) -> Relation:
        while self.at_any("PIVOT", "UNPIVOT") and self.ahead().value in ("(", "INCLUDE", "EXCLUDE"):
            relation = self._reshaped(relation)
        return relation

    def _reshaped(self, relation: Relation) -> Relation:
        return self._with_alias(self._pivot(relation) if self.accept("PIVOT") else self._unpivot(relation))

    def _pivot(self, source: Relation) -> Relation:
        self.expect("(")
        aggregates = [self._select_item()]
        while self.accept(","):
            aggregates.append(self._select_item())
        self.expect("FOR")
        columns: list[Expression] = list(map(_name, self._pivot_columns()))
        self.expect("IN", "(")
        choices = [self._select_item()]
        while self.accept(","):
            choices.append(self._select_item())
        self.expect(")", ")")
        return syntax.Pivot(source, aggregates, columns, choices)

    def _pivot_columns(self) -> list[list[str]]:
        if not self.accept("("):
            return [self.dotted()]
        found = [self.dotted()]
        while self.accept(","):
            found.append(self.dotted())
        self.expect(")")
        return found

    def _unpivot(self, source: Relation) -> Relation:
        self.expect("UNPIVOT")
        include_nulls = self.accept("INCLUDE", "NULLS")
        if not include_nulls:
            self.accept("EXCLUDE", "NULLS")
        self.expect("(")
        values = self.names() if self.at("(") else [self.identifier()]
        self.expect("FOR")
        name = self.identifier()
        self.expect("IN", "(")
        choices: list[tuple[list[list[str]], str]] = []
        while True:
            columns = self._pivot_columns()
            label = ""
            if self.accept("AS") or self.token.kind in ("quoted", "word"):
                label = self.identifier()
            choices.append((columns, label))
            if not self.accept(","):
                break
        self.expect(")", ")")
        return syntax.Unpivot(source, include_nulls, values, name, choices)


def _name(parts: list[str]) -> Expression:
    return syntax.Name(parts)


def _rollup(parts: list[list[Expression]]) -> list[list[Expression]]:
    return [[item for part in parts[:count] for item in part] for count in range(len(parts), -1, -1)]


def _cube(parts: list[list[Expression]]) -> list[list[Expression]]:
    if not parts:
        return [[]]
    rest = _cube(parts[1:])
    return [parts[0] + chosen for chosen in rest] + rest
