"""Translates what stands in FROM: tables, joins, lateral views, PIVOT and UNPIVOT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.arithmetic import comparable, comparison
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.expressions import Environment, ExpressionTranslator
from seakernel.local.sql.functions.unsupported import NAMES
from seakernel.local.sql.generators import Generated, generate, is_generator
from seakernel.local.sql.naming import name_of
from seakernel.local.sql.typed import Column, OutputColumn, RelationSql, Scope, Typed
from seakernel.local.sql.types import quoted, text_literal

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Relation

_JOIN_WORDS = {
    "INNER": "JOIN",
    "LEFT": "LEFT JOIN",
    "RIGHT": "RIGHT JOIN",
    "FULL": "FULL JOIN",
    "SEMI": "SEMI JOIN",
    "ANTI": "ANTI JOIN",
}


class RelationTranslator(ExpressionTranslator):
    """Translates relations."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        #: The named queries in reach, innermost last: for each name its DuckDB name and columns.
        self.common_tables: list[dict[str, tuple[str, list[OutputColumn]]]] = []

    def relation(self, node: Relation, scope: Scope) -> RelationSql:
        """Translates a relation; names inside it are looked up in `scope` only where it is lateral."""
        if isinstance(node, syntax.TableName):
            return self._table(node)
        if isinstance(node, syntax.IdentifierClause):
            return self._table(syntax.TableName(self.identifier(node)))
        if isinstance(node, syntax.FilesRelation):
            return self.environment.files(node.files, self.alias())
        if isinstance(node, syntax.Aliased):
            return self._aliased(node, scope)
        if isinstance(node, syntax.Join):
            return self._join(node, scope)
        if isinstance(node, syntax.SubqueryRelation):
            return self._subquery_relation(node, scope)
        if isinstance(node, syntax.ValuesRelation):
            return self._values(node, scope)
        if isinstance(node, syntax.TableFunction):
            return self._table_function(node, scope)
        if isinstance(node, syntax.LateralView):
            return self._lateral_view(node, scope)
        if isinstance(node, syntax.Pivot):
            return self._pivot(node, scope)
        if isinstance(node, syntax.Unpivot):
            return self._unpivot(node, scope)
        return self._sample(node, scope)

    def identifier(self, node: syntax.IdentifierClause) -> list[str]:
        """The name that an IDENTIFIER clause makes."""
        from seakernel.local.sql.cursor import Cursor

        value = self.expression(node.expression, Scope())
        if not value.is_constant and value.type.is_string and not (value.aggregate or value.window or value.volatile):
            value.constant = self.environment.evaluated(value)
        if not isinstance(value.constant, str):
            raise failure(
                "NOT_A_CONSTANT_STRING.NOT_CONSTANT",
                "42601",
                "The expression used for the routine or clause `IDENTIFIER` must be a constant STRING which is NOT NULL.",
            )
        cursor = Cursor(value.constant)
        parts = cursor.dotted()
        cursor.expect_end()
        return parts

    def _table(self, node: syntax.TableName) -> RelationSql:
        if len(node.parts) == 1 and node.version is None and node.timestamp is None:
            for tables in reversed(self.common_tables):
                found = tables.get(node.parts[0].lower())
                if found:
                    alias = self.alias()
                    qualifier = (node.parts[0].lower(),)
                    columns = [
                        Column(column.name, column.type, f"{alias}.{quoted(column.physical)}", qualifier)
                        for column in found[1]
                    ]
                    return RelationSql(f"{found[0]} AS {alias}", columns)
        return self.environment.table(node, self)

    def _aliased(self, node: syntax.Aliased, scope: Scope) -> RelationSql:
        relation = self.relation(node.relation, scope)
        visible = [column for column in relation.columns if not column.hidden]
        if node.columns and len(node.columns) != len(visible):
            raise failure(
                "ASSIGNMENT_ARITY_MISMATCH",
                "42802",
                f"The number of column aliases is {len(node.columns)}, but the relation has {len(visible)} columns.",
            )
        names = node.columns or [column.name for column in visible]
        columns = [
            Column(name, column.type, column.sql, (node.name.lower(),))
            for name, column in zip(names, visible, strict=True)
        ]
        return RelationSql(relation.sql, columns)

    def _subquery_relation(self, node: syntax.SubqueryRelation, scope: Scope) -> RelationSql:
        made = self.subquery(node.query, scope if node.lateral else Scope(parent=scope.parent))
        alias = self.alias()
        relation = made.relation(alias, "", [])
        return RelationSql(f"LATERAL {relation.sql}" if node.lateral else relation.sql, relation.columns)

    def _values(self, node: syntax.ValuesRelation, scope: Scope) -> RelationSql:
        width = len(node.rows[0])
        if any(len(row) != width for row in node.rows):
            raise failure(
                "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH",
                "42000",
                "Invalid inline table. Inline table expected the same number of columns in every row.",
            )
        rows = [self.expressions(row, Scope(parent=scope.parent)) for row in node.rows]
        kinds = []
        columns: list[list[Typed]] = []
        for place in range(width):
            try:
                cast, kind = self.common([row[place] for row in rows], "values")
            except Exception as error:
                raise failure(
                    "INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE",
                    "42000",
                    f"Invalid inline table. Found incompatible types in the column `col{place + 1}` for inline table.",
                ) from error
            columns.append(cast)
            kinds.append(kind)
        alias = self.alias()
        text = ", ".join(
            "(" + ", ".join(columns[place][row].sql for place in range(width)) + ")" for row in range(len(rows))
        )
        names = ", ".join(f"col{place + 1}" for place in range(width))
        return RelationSql(
            f"(VALUES {text}) AS {alias}({names})",
            [Column(f"col{place + 1}", kind, f"{alias}.col{place + 1}") for place, kind in enumerate(kinds)],
        )

    # Joins -------------------------------------------------------------------------------------------------------

    def _join(self, node: syntax.Join, scope: Scope) -> RelationSql:
        left = self.relation(node.left, scope)
        made = self._lateral_generator(node, left, scope)
        if made is not None:
            return made
        right = self.relation(node.right, Scope(left.columns, parent=scope.parent))
        lateral = right.sql.startswith("LATERAL ")
        if lateral and node.kind not in ("INNER", "CROSS", "LEFT"):
            raise failure("UNSUPPORTED_FEATURE.LATERAL_JOIN_TYPE", "0A000", f"LATERAL join type {node.kind}.")
        if node.natural or node.using:
            return self._join_using(node, left, right)
        columns = [*left.columns, *right.columns]
        if node.on is None:
            if node.kind not in ("CROSS", "INNER"):
                if lateral:
                    return RelationSql(f"{left.sql} {_JOIN_WORDS[node.kind]} {right.sql} ON true", columns)
                if node.kind in ("SEMI", "ANTI"):
                    return RelationSql(f"{left.sql} {_JOIN_WORDS[node.kind]} {right.sql} ON true", left.columns)
                raise unsupported("An outer join without a condition")
            return RelationSql(f"{left.sql} CROSS JOIN {self._grouped(right)}", columns)
        condition = self.boolean(node.on, Scope(columns, parent=scope.parent))
        if condition.aggregate or condition.window:
            raise failure(
                "UNSUPPORTED_EXPR_FOR_OPERATOR", "42K0E", "A join condition cannot hold aggregate or window functions."
            )
        word = "JOIN" if node.kind == "CROSS" else _JOIN_WORDS[node.kind]
        kept = left.columns if node.kind in ("SEMI", "ANTI") else columns
        return RelationSql(f"{left.sql} {word} {self._grouped(right)} ON {condition.sql}", kept)

    def _grouped(self, relation: RelationSql) -> str:
        """The relation in parentheses if it is itself a join."""
        return (
            f"({relation.sql})"
            if " JOIN " in relation.sql and not relation.sql.startswith(("LATERAL ", "(SELECT"))
            else relation.sql
        )

    def _join_using(self, node: syntax.Join, left: RelationSql, right: RelationSql) -> RelationSql:
        names = node.using
        if node.natural:
            others = {column.name.lower() for column in right.columns if not column.hidden}
            names = [column.name for column in left.columns if not column.hidden and column.name.lower() in others]
            if not names:
                return RelationSql(f"{left.sql} CROSS JOIN {self._grouped(right)}", [*left.columns, *right.columns])
        merged: list[Column] = []
        conditions: list[str] = []
        used: list[Column] = []
        for name in names:
            one, other = _only(left.columns, name, "left"), _only(right.columns, name, "right")
            left_key, right_key = comparable(self.caster, Typed(one.sql, one.type), Typed(other.sql, other.type))
            conditions.append(f"{left_key.sql} = {right_key.sql}")
            used += [one, other]
            if node.kind == "RIGHT":
                merged.append(Column(one.name, other.type, other.sql))
            elif node.kind == "FULL":
                values, kind = self.common([Typed(one.sql, one.type), Typed(other.sql, other.type)], "coalesce")
                merged.append(Column(one.name, kind, f"coalesce({values[0].sql}, {values[1].sql})"))
            else:
                merged.append(Column(one.name, one.type, one.sql))
        word = "JOIN" if node.kind == "CROSS" else _JOIN_WORDS[node.kind]
        sql = f"{left.sql} {word} {self._grouped(right)} ON {' AND '.join(conditions)}"
        if node.kind in ("SEMI", "ANTI"):
            return RelationSql(sql, left.columns)
        rest = []
        for column in [*left.columns, *right.columns]:
            hidden = column.hidden or any(column is key for key in used)
            rest.append(Column(column.name, column.type, column.sql, column.qualifier, hidden))
        # The merged keys come first and answer to the bare name; each side still answers to its own.
        return RelationSql(sql, [*merged, *rest])

    # Generators and table functions ------------------------------------------------------------------------------

    def _lateral_generator(self, node: syntax.Join, left: RelationSql, scope: Scope) -> RelationSql | None:
        """A join with a generator, done as LATERAL VIEW is, so that rows stay in order."""
        right, name, columns = node.right, "", []
        if isinstance(right, syntax.Aliased):
            name, columns, right = right.name, right.columns, right.relation
        if not (isinstance(right, syntax.TableFunction) and is_generator(right.call)):
            return None
        if node.on is not None or node.using or node.natural or node.kind not in ("CROSS", "INNER", "LEFT"):
            raise unsupported("A join condition on a generator")
        return self._exploded(left, right.call, scope, outer=node.kind == "LEFT", table=name, names=columns)

    def _lateral_view(self, node: syntax.LateralView, scope: Scope) -> RelationSql:
        if not is_generator(node.call):
            raise failure(
                "UNRESOLVED_TABLE_VALUED_FUNCTION",
                "42883",
                f"Could not resolve `{node.call.name[-1]}` to a table-valued function.",
            )
        return self._exploded(
            self.relation(node.source, scope), node.call, scope, outer=node.outer, table=node.table, names=node.columns
        )

    def _exploded(
        self, source: RelationSql, call: syntax.Call, scope: Scope, *, outer: bool, table: str, names: list[str]
    ) -> RelationSql:
        made = generate(self, call, Scope(source.columns, parent=scope.parent))
        if outer:
            made = made.outer()
        sql, (entry, columns) = self.unnested(f" FROM {source.sql}", Scope(source.columns), made)
        outputs = self.generator_columns(made, entry)
        shown = names or [name for name, _ in outputs]
        if len(shown) != len(outputs):
            raise failure(
                "UDTF_ALIAS_NUMBER_MISMATCH",
                "42802",
                f"The number of aliases supplied in the AS clause does not match the number of columns output by the generator: expected {len(outputs)} aliases but got {len(shown)}.",
            )
        qualifier = (table.lower(),) if table else ()
        added = [
            Column(name, value.type, value.sql, qualifier) for name, (_, value) in zip(shown, outputs, strict=True)
        ]
        return RelationSql(sql, [*columns, *added])

    def unnested(self, source: str, scope: Scope, made: Generated) -> tuple[str, tuple[str, list[Column]]]:
        """Multiplies rows by a generator; the query translator defines it."""
        raise NotImplementedError

    def generator_columns(self, made: Generated, entry: str) -> list[tuple[str, Typed]]:
        """The columns of a generator; the query translator defines it."""
        raise NotImplementedError

    def _table_function(self, node: syntax.TableFunction, scope: Scope) -> RelationSql:
        call = node.call
        name = call.name[-1].lower() if len(call.name) == 1 else ""
        if is_generator(call):
            made = generate(self, call, scope if node.lateral else Scope(parent=scope.parent))
            sql, (entry, _) = self.unnested("", Scope(), made)
            outputs = self.generator_columns(made, entry)
            return RelationSql(
                f"LATERAL {sql}" if node.lateral else sql,
                [Column(shown, value.type, value.sql) for shown, value in outputs],
            )
        if name == "range":
            return self._range(call, scope)
        if name == "read_files" and call.arguments:
            return self._read_files(call)
        if name in NAMES:
            raise unsupported(f"The table function `{name}`")
        raise failure(
            "UNRESOLVED_TABLE_VALUED_FUNCTION",
            "42883",
            f"Could not resolve `{'`.`'.join(call.name)}` to a table-valued function.",
        )

    def _range(self, call: syntax.Call, scope: Scope) -> RelationSql:
        if not 1 <= len(call.arguments) <= 4:
            raise failure("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "42605", "The `range` requires [1, 4] parameters.")
        values = [self.caster.implicit(value, types.BIGINT) for value in self.expressions(call.arguments[:3], Scope())]
        if any(not isinstance(value.constant, int) for value in values):
            raise unsupported("range() over anything but constants")
        bounds = [value.constant for value in values]
        start, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        if step == 0:
            raise failure("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", "42K09", "The step of `range` cannot be 0.")
        alias = self.alias()
        return RelationSql(f"range({start}, {end}, {step}) AS {alias}(id)", [Column("id", types.BIGINT, f"{alias}.id")])

    def _read_files(self, call: syntax.Call) -> RelationSql:
        options = {
            argument.name.lower(): argument.value
            for argument in call.arguments
            if isinstance(argument, syntax.NamedArgument)
        }
        path, *others = (node for node in call.arguments if not isinstance(node, syntax.NamedArgument))
        values = self.expressions([path, *options.values()], Scope())
        constants = [value.constant for value in values]
        if others or list(options) != ["format"] or not isinstance(constants[0], str) or constants[1] != "parquet":
            raise unsupported("read_files with anything but a path and `format => 'parquet'`")
        return self.environment.table(syntax.TableName(["parquet", constants[0]]), self)

    def _sample(self, node: syntax.Sample, scope: Scope) -> RelationSql:
        relation = self.relation(node.source, scope)
        amount = self.expression(node.count, Scope())
        if not amount.is_constant or amount.constant is None or amount.type.is_string:
            raise unsupported("TABLESAMPLE with an amount that is not a number")
        if amount.constant < 0 and node.unit == "ROWS":
            raise failure(
                "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
                "42K0E",
                f"The limit expression must be equal to or greater than 0, but got {amount.constant}.",
            )
        alias = self.alias()
        items = ", ".join(f"{column.sql} AS s{place}" for place, column in enumerate(relation.columns))
        if node.unit == "ROWS":
            sql = f"(SELECT {items} FROM {relation.sql} LIMIT {int(amount.constant)}) AS {alias}"
        else:
            if not 0 <= amount.constant <= 100:
                raise failure(
                    "PARSE_SYNTAX_ERROR",
                    "42601",
                    f"Sampling fraction ({amount.constant}) must be on interval [0, 100].",
                )
            seed = f", {node.seed}" if node.seed is not None else ""
            sql = f"(SELECT * FROM (SELECT {items} FROM {relation.sql}) USING SAMPLE {amount.constant} PERCENT (bernoulli{seed})) AS {alias}"
        columns = [
            Column(column.name, column.type, f"{alias}.s{place}", column.qualifier, column.hidden)
            for place, column in enumerate(relation.columns)
        ]
        return RelationSql(sql, columns)

    # PIVOT and UNPIVOT -------------------------------------------------------------------------------------------

    def _pivot(self, node: syntax.Pivot, scope: Scope) -> RelationSql:
        source = self.relation(node.source, scope)
        inner = Scope(source.columns, parent=scope.parent)
        keys = self.expressions(node.columns, inner)
        aggregates = [(node_item, self.expression(node_item, inner)) for node_item in node.aggregates]
        for _, value in aggregates:
            if not value.aggregate:
                raise failure("INVALID_PIVOT_AGGREGATE", "42000", "A PIVOT needs aggregate functions.")
        consumed = {key.sql for key in keys}
        used = " ".join(value.sql for _, value in aggregates)
        groups = [
            column
            for column in source.columns
            if not column.hidden and column.sql not in consumed and not _contains(used, column.sql)
        ]
        first, second = self.alias(), self.alias()
        items = [f"{column.sql} AS g{place}" for place, column in enumerate(groups)]
        items += [f"{key.sql} AS k{place}" for place, key in enumerate(keys)]
        items += [f"{value.sql} AS a{place}" for place, (_, value) in enumerate(aggregates)]
        grouped = ", ".join(f"({item.rsplit(' AS ', 1)[0]})" for item in items[: len(groups) + len(keys)])
        phase = f"(SELECT {', '.join(items)} FROM {source.sql} GROUP BY {grouped}) AS {first}"
        columns = [
            Column(column.name, column.type, f"{second}.g{place}", column.qualifier)
            for place, column in enumerate(groups)
        ]
        outputs = [f"{first}.g{place} AS g{place}" for place in range(len(groups))]
        for choice in node.choices:
            test, label = self._pivot_choice(choice, keys, first)
            for place, (aggregate, value) in enumerate(aggregates):
                physical = f"p{len(outputs)}"
                outputs.append(f"any_value({first}.a{place}) FILTER (WHERE {test}) AS {physical}")
                columns.append(
                    Column(
                        label if len(aggregates) == 1 else f"{label}_{name_of(aggregate)}",
                        value.type,
                        f"{second}.{physical}",
                    )
                )
        by = f" GROUP BY {', '.join(f'{first}.g{place}' for place in range(len(groups)))}" if groups else ""
        return RelationSql(f"(SELECT {', '.join(outputs)} FROM {phase}{by}) AS {second}", columns)

    def _pivot_choice(self, choice: syntax.Expression, keys: list[Typed], first: str) -> tuple[str, str]:
        label = choice.names[0] if isinstance(choice, syntax.Alias) else ""
        plain = choice.expression if isinstance(choice, syntax.Alias) else choice
        parts = plain.items if isinstance(plain, syntax.Row) else [plain]
        if len(parts) != len(keys):
            raise failure(
                "PIVOT_VALUE_DATA_TYPE_MISMATCH", "42K09", "A PIVOT value must have as many parts as the pivot column."
            )
        tests = []
        for place, (part, key) in enumerate(zip(parts, keys, strict=True)):
            value = self.expression(part.expression if isinstance(part, syntax.Alias) else part, Scope())
            tests.append(comparison(self.caster, "<=>", Typed(f"{first}.k{place}", key.type), value).sql)
        if not label:
            texts = [
                name_of(part) if not isinstance(part, syntax.Literal) or part.kind != "NULL" else "null"
                for part in parts
            ]
            label = texts[0] if len(texts) == 1 else "{" + ", ".join(texts) + "}"
        return " AND ".join(tests), label

    def _unpivot(self, node: syntax.Unpivot, scope: Scope) -> RelationSql:
        source = self.relation(node.source, scope)
        inner = Scope(source.columns, parent=scope.parent)
        width = len(node.values)
        choices = [
            ([inner.resolve(parts) for parts in group], label or "_".join(parts[-1] for parts in group))
            for group, label in node.choices
        ]
        if any(len(group) != width for group, _ in choices):
            raise failure(
                "UNPIVOT_VALUE_SIZE_MISMATCH",
                "428C4",
                "All unpivot value columns must have the same size as there are value column names.",
            )
        consumed = {value.sql for group, _ in choices for value in group}
        cast = [self.common([group[place] for group, _ in choices], "unpivot") for place in range(width)]
        entries = []
        for row, (_, label) in enumerate(choices):
            values = ", ".join(f"'v{place}': {cast[place][0][row].sql}" for place in range(width))
            entries.append(f"{{'n': {text_literal(label)}, {values}}}")
        listed = "[" + ", ".join(entries) + "]"
        if not node.include_nulls:
            test = " OR ".join(f"struct_extract(entry, 'v{place}') IS NOT NULL" for place in range(width))
            listed = f"list_filter({listed}, lambda entry: {test})"
        made = Generated(listed, [(node.name, types.STRING, "struct_extract({0}, 'n')")])
        made.columns += [
            (name, cast[place][1], f"struct_extract({{0}}, 'v{place}')") for place, name in enumerate(node.values)
        ]
        kept = [column for column in source.columns if not column.hidden and column.sql not in consumed]
        sql, (entry, columns) = self.unnested(f" FROM {source.sql}", Scope(kept), made)
        return RelationSql(
            sql,
            [*columns, *(Column(name, value.type, value.sql) for name, value in self.generator_columns(made, entry))],
        )


def _only(columns: list[Column], name: str, side: str) -> Column:
    found = [column for column in columns if column.name.lower() == name.lower() and not column.hidden]
    if len(found) == 1:
        return found[0]
    if found:
        raise failure(
            "AMBIGUOUS_REFERENCE", "42704", f"Reference `{name}` is ambiguous on the {side} side of the join."
        )
    raise failure(
        "UNRESOLVED_USING_COLUMN_FOR_JOIN",
        "42703",
        f"USING column `{name}` cannot be resolved on the {side} side of the join.",
    )


def _contains(text: str, column: str) -> bool:
    start = text.find(column)
    while start >= 0:
        following = text[start + len(column) : start + len(column) + 1]
        if not (following.isalnum() or following == "_"):
            return True
        start = text.find(column, start + 1)
    return False
