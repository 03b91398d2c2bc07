"""INSERT, UPDATE, DELETE and MERGE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, counts, parse_expression, require_table, stored_columns
from seakernel.local.sql.typed import Column, QuerySql, Scope, Typed
from seakernel.local.sql.types import quoted, text_literal

if TYPE_CHECKING:
    from seakernel.local.sql import commands
    from seakernel.local.sql.catalog import Table, TableColumn
    from seakernel.local.sql.queries import QueryTranslator


def insert(execution: Execution, command: commands.Insert) -> QuerySql:
    """Adds rows, in place of all or some of the old ones for OVERWRITE and REPLACE WHERE."""
    table = require_table(execution, execution.name(command.name), "INSERT")
    translator = execution.translator()
    source = translator.query(_with_defaults(command.query, table, command.columns))
    columns = _targets(table, command, source)
    values = _stored_values(translator, table, columns, source)
    execution.preserve(table)
    removed = 0
    if command.overwrite or command.replace_where is not None:
        # The source may read the table, so its rows are computed before the old ones go.
        execution.run(f"CREATE TEMP TABLE seakernel_staged AS {values}")
        where = ""
        if command.replace_where is not None:
            where = (
                f" WHERE {translator.boolean(command.replace_where, Scope(stored_columns(table, table.storage))).sql}"
            )
        removed = execution.count(f"DELETE FROM {table.storage}{where}")
        values = "SELECT * FROM seakernel_staged"
    added = execution.count(f"INSERT INTO {table.storage} {values}")
    if command.overwrite or command.replace_where is not None:
        execution.run("DROP TABLE seakernel_staged")
    execution.check_rows(table)
    mode = "Overwrite" if command.overwrite or command.replace_where is not None else "Append"
    execution.record(table, "WRITE", {"numOutputRows": added, "numDeletedRows": removed}, {"mode": mode})
    return counts(num_affected_rows=added, num_inserted_rows=added)


def _with_defaults(query: syntax.Query, table: Table, columns: list[str]) -> syntax.Query:
    """The query with each DEFAULT of a VALUES clause replaced by the column's own."""
    if not isinstance(query.body, syntax.ValuesRelation):
        return query
    targets = [table.column(name) for name in columns] or table.columns
    rows = []
    for row in query.body.rows:
        values = []
        for place, given in enumerate(row):
            value = given
            if (
                isinstance(value, syntax.Name)
                and [part.upper() for part in value.parts] == ["DEFAULT"]
                and place < len(targets)
            ):
                default = targets[place].default
                if targets[place].identity or targets[place].generated:
                    raise unsupported("DEFAULT for an identity or generated column (leave the column out)")
                value = parse_expression(default) if default else syntax.Literal("NULL", "NULL")
            values.append(value)
        rows.append(values)
    return syntax.Query(
        syntax.ValuesRelation(rows),
        query.tables,
        query.recursive,
        query.order_by,
        query.order_all,
        query.limit,
        query.offset,
    )


def _targets(table: Table, command: commands.Insert, source: QuerySql) -> list[TableColumn]:
    """The columns that the source's columns go to, in the source's order."""
    if command.by_name:
        chosen = [table.column(column.name) for column in source.columns]
    elif command.columns:
        chosen = [table.column(name) for name in command.columns]
    else:
        chosen = (
            [column for column in table.columns if not column.generated]
            if len(source.columns) < len(table.columns)
            else list(table.columns)
        )
        if len(source.columns) < len(chosen):
            chosen = [column for column in chosen if not column.identity]
    if len({column.name.lower() for column in chosen}) != len(chosen):
        raise failure("COLUMN_ALREADY_EXISTS", "42711", "A column is named twice.")
    if len(chosen) != len(source.columns):
        kind = "NOT_ENOUGH_DATA_COLUMNS" if len(chosen) > len(source.columns) else "TOO_MANY_DATA_COLUMNS"
        wanted, given = (", ".join(f"`{column.name}`" for column in part) for part in (chosen, source.columns))
        raise failure(
            f"INSERT_COLUMN_ARITY_MISMATCH.{kind}",
            "21S01",
            f"Cannot write to `{table.full_name}`, the reason is: Table columns: {wanted}. Data columns: {given}.",
        )
    for column in chosen:
        if column.generated or (column.identity and column.identity[0]):
            raise unsupported(f"A value for the generated column `{column.name}`")
    return chosen


def _stored_values(translator: QueryTranslator, table: Table, chosen: list[TableColumn], source: QuerySql) -> str:
    """The SELECT that gives all columns of the table in order."""
    alias = translator.alias()
    given = {
        column.name.lower(): stored(translator, Typed(f"{alias}.{quoted(own.physical)}", own.type), column)
        for column, own in zip(chosen, source.columns, strict=True)
    }
    items = []
    for column in table.columns:
        value = given.get(column.name.lower())
        if value is None:
            value = _missing(translator, table, column, given)
        items.append(f"{value} AS {column.physical}")
    return f"SELECT {', '.join(items)} FROM ({source.sql}) AS {alias}"


def _missing(translator: QueryTranslator, table: Table, column: TableColumn, given: dict[str, str]) -> str:
    """The value of a column that the statement does not give."""
    if column.identity:
        return f"nextval({text_literal(table.sequence)})"
    if column.generated:
        scope = Scope(
            [
                Column(
                    other.name, types.STRING if other.type.is_string else other.type, f"({given[other.name.lower()]})"
                )
                for other in table.columns
                if other.name.lower() in given
            ]
        )
        return stored(translator, translator.expression(parse_expression(column.generated), scope), column)
    if column.default:
        return stored(translator, translator.expression(parse_expression(column.default), Scope()), column)
    return f"CAST(NULL AS {column.type.engine})"


def stored(translator: QueryTranslator, value: Typed, column: TableColumn) -> str:
    """A value as the column holds it; text that is too long for CHAR or VARCHAR is an error."""
    kind = column.type
    if (
        value.type.is_nested
        and kind.is_nested
        and value.type.kind == "STRUCT"
        and [f.name.lower() for f in value.type.fields] != [f.name.lower() for f in kind.fields]
    ) and {f.name.lower() for f in value.type.fields} & {f.name.lower() for f in kind.fields}:
        raise unsupported("A STRUCT whose fields are in another order than the column's")
    sql = translator.caster.cast(value, kind).sql
    if kind.kind in ("CHAR", "VARCHAR"):
        problem = text_literal(
            f"[EXCEED_LIMIT_LENGTH] Exceeds char/varchar type length limitation: {kind.length}. SQLSTATE: 54006"
        )
        trimmed = f"rtrim({sql}, ' ')" if kind.kind == "CHAR" else sql
        sql = f"(CASE WHEN length({trimmed}) > {kind.length} THEN CAST(error({problem}) AS VARCHAR) ELSE {f'rpad({trimmed}, {kind.length}, chr(32))' if kind.kind == 'CHAR' else sql} END)"
    return sql


def _alias_scope(table: Table, alias: str, storage_alias: str) -> list[Column]:
    columns = stored_columns(table, storage_alias)
    if alias:
        for column in columns:
            column.qualifier = (alias.lower(),)
    return columns


def _assigned(table: Table, parts: list[str], alias: str) -> TableColumn:
    """The column that an assignment names, perhaps with the table before it."""
    if len(parts) > 1:
        prefix = [part.lower() for part in parts[:-1]]
        names = [alias.lower()] if alias else [table.catalog.lower(), table.schema.lower(), table.name.lower()]
        if names[-len(prefix) :] != prefix:
            raise unsupported("An assignment to a field of a STRUCT")
    column = table.column(parts[-1])
    if column.generated or (column.identity and column.identity[0]):
        raise unsupported(f"An assignment to the generated column `{column.name}`")
    return column


def update(execution: Execution, command: commands.Update) -> QuerySql:
    """Changes rows."""
    table = require_table(execution, execution.name(command.name), "UPDATE")
    translator = execution.translator()
    scope = Scope(_alias_scope(table, command.alias, "r0"))
    new: dict[str, str] = {}
    for parts, node in command.assignments:
        column = _assigned(table, parts, command.alias)
        if column.name.lower() in new:
            raise failure("DUPLICATE_ASSIGNMENTS", "42701", f"The column `{column.name}` is assigned twice.")
        new[column.name.lower()] = stored(translator, _assignment(translator, node, column, scope), column)
    _regenerate(translator, table, new, "r0")
    where = f" WHERE {translator.boolean(command.where, scope).sql}" if command.where is not None else ""
    assignments = ", ".join(f"{table.column(name).physical} = {sql}" for name, sql in new.items())
    execution.preserve(table)
    changed = execution.count(f"UPDATE {table.storage} AS r0 SET {assignments}{where}")
    execution.check_rows(table)
    execution.record(table, "UPDATE", {"numUpdatedRows": changed})
    return counts(num_affected_rows=changed)


def _assignment(translator: QueryTranslator, node: syntax.Expression, column: TableColumn, scope: Scope) -> Typed:
    if isinstance(node, syntax.Name) and [part.upper() for part in node.parts] == ["DEFAULT"]:
        return translator.expression(parse_expression(column.default or "NULL"), Scope())
    return translator.expression(node, scope)


def _regenerate(translator: QueryTranslator, table: Table, new: dict[str, str], alias: str) -> None:
    """Adds what generated columns become once others have changed."""
    for column in table.columns:
        if column.generated:
            scope = Scope(
                [
                    Column(
                        other.name,
                        types.STRING if other.type.is_string else other.type,
                        new.get(other.name.lower(), f"{alias}.{other.physical}"),
                    )
                    for other in table.columns
                    if not other.generated
                ]
            )
            new[column.name.lower()] = stored(
                translator, translator.expression(parse_expression(column.generated), scope), column
            )


def delete(execution: Execution, command: commands.Delete) -> QuerySql | None:
    """Removes rows."""
    table = require_table(execution, execution.name(command.name), "TRUNCATE TABLE" if command.truncate else "DELETE")
    translator = execution.translator()
    where = ""
    if command.where is not None:
        condition = translator.boolean(command.where, Scope(_alias_scope(table, command.alias, "r0")))
        where = f" WHERE rowid IN (SELECT r0.rowid FROM {table.storage} AS r0 WHERE {condition.sql})"
    execution.preserve(table)
    removed = execution.count(f"DELETE FROM {table.storage}{where}")
    execution.record(table, "TRUNCATE" if command.truncate else "DELETE", {"numDeletedRows": removed})
    return None if command.truncate else counts(num_affected_rows=removed)


# MERGE ---------------------------------------------------------------------------------------------------------------


def merge(execution: Execution, command: commands.Merge) -> QuerySql:
    """Brings a table and a source together.

    The join is computed once into a staging table with the number of the clause that each pair falls under; the rows are
    changed from there, so that no clause sees what another has done.
    """
    table = require_table(execution, execution.name(command.name), "MERGE")
    translator = execution.translator()
    staged = _Staging(translator, table, command)
    execution.preserve(table)
    execution.run(f"CREATE TEMP TABLE seakernel_merge AS {staged.sql}")
    numbers = {
        action: [place for place, clause in enumerate(command.clauses) if clause.action == action]
        for action in ("UPDATE", "DELETE", "INSERT")
    }
    _refuse_ambiguity(execution, command)
    columns = [column.physical for column in table.columns]
    updated = deleted = inserted = 0
    if numbers["UPDATE"]:
        assignments = ", ".join(f"{name} = m.v{place}" for place, name in enumerate(columns))
        updated = execution.count(
            f"UPDATE {table.storage} AS r0 SET {assignments} FROM seakernel_merge AS m WHERE r0.rowid = m.target_row AND m.clause IN ({_numbers(numbers['UPDATE'])})"
        )
    if numbers["DELETE"]:
        deleted = execution.count(
            f"DELETE FROM {table.storage} WHERE rowid IN (SELECT target_row FROM seakernel_merge WHERE clause IN ({_numbers(numbers['DELETE'])}))"
        )
    if numbers["INSERT"]:
        values = ", ".join(f"v{place}" for place in range(len(columns)))
        inserted = execution.count(
            f"INSERT INTO {table.storage} SELECT {values} FROM seakernel_merge WHERE clause IN ({_numbers(numbers['INSERT'])})"
        )
    execution.run("DROP TABLE seakernel_merge")
    execution.check_rows(table)
    execution.record(
        table,
        "MERGE",
        {"numTargetRowsUpdated": updated, "numTargetRowsDeleted": deleted, "numTargetRowsInserted": inserted},
    )
    return counts(
        num_affected_rows=updated + deleted + inserted,
        num_updated_rows=updated,
        num_deleted_rows=deleted,
        num_inserted_rows=inserted,
    )


def _numbers(places: list[int]) -> str:
    return ", ".join(map(str, places))


def _refuse_ambiguity(execution: Execution, command: commands.Merge) -> None:
    matched = [clause for clause in command.clauses if clause.kind == "MATCHED"]
    if len(matched) == 1 and matched[0].action == "DELETE" and matched[0].condition is None:
        return
    places = _numbers([place for place, clause in enumerate(command.clauses) if clause.kind == "MATCHED"]) or "-1"
    twice = execution.run(
        f"SELECT 1 FROM seakernel_merge WHERE clause IN ({places}) GROUP BY target_row HAVING count(*) > 1 LIMIT 1"
    )
    if twice:
        raise failure(
            "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE",
            "21506",
            "Cannot perform Merge as multiple source rows matched and attempted to modify the same target row in the Delta table in possibly conflicting ways.",
        )


class _Staging:
    """The query behind a MERGE: a row per pair, with its clause and the new values of the table's columns."""

    def __init__(self, translator: QueryTranslator, table: Table, command: commands.Merge) -> None:
        self.translator = translator
        self.table = table
        self.command = command
        source = translator.relation(command.source, Scope())
        self.source_columns = [
            Column(column.name, column.type, f"j.s{place}", column.qualifier)
            for place, column in enumerate(source.columns)
        ]
        self.target_columns = _alias_scope(table, command.alias, "j")
        for place, column in enumerate(self.target_columns):
            column.sql = f"j.t{place}"
        inner_source = [
            Column(column.name, column.type, f"s.s{place}", column.qualifier)
            for place, column in enumerate(source.columns)
        ]
        inner_target = [
            Column(column.name, column.type, f"t.t{place}", column.qualifier)
            for place, column in enumerate(self.target_columns)
        ]
        condition = translator.boolean(command.on, Scope([*inner_target, *inner_source]))
        source_items = ", ".join(f"{column.sql} AS s{place}" for place, column in enumerate(source.columns))
        target_items = ", ".join(f"{column.physical} AS t{place}" for place, column in enumerate(table.columns))
        sides = f"(SELECT {source_items}, true AS in_source FROM {source.sql}) AS s"
        targets = f"(SELECT {target_items}, rowid AS target_row FROM {table.storage}) AS t"
        kinds = {clause.kind for clause in command.clauses}
        join = "FULL JOIN" if "BY_SOURCE" in kinds else "LEFT JOIN" if "NOT_MATCHED" in kinds else "JOIN"
        joined = f"(SELECT * FROM {sides} {join} {targets} ON {condition.sql}) AS j"
        staged = f"(SELECT *, {self._clause()} AS clause FROM {joined}) AS j"
        values = ", ".join(f"{self._value(place)} AS v{place}" for place in range(len(table.columns)))
        self.sql = f"SELECT target_row, clause, {values} FROM {staged} WHERE clause IS NOT NULL"

    def _scope(self, kind: str) -> Scope:
        if kind == "NOT_MATCHED":
            return Scope(self.source_columns)
        if kind == "BY_SOURCE":
            return Scope(self.target_columns)
        return Scope([*self.target_columns, *self.source_columns])

    def _clause(self) -> str:
        """The number of the clause that a pair falls under: the first whose condition holds."""
        tests = {
            "MATCHED": "in_source AND target_row IS NOT NULL",
            "NOT_MATCHED": "in_source AND target_row IS NULL",
            "BY_SOURCE": "in_source IS NULL",
        }
        arms = []
        for place, clause in enumerate(self.command.clauses):
            test = tests[clause.kind]
            if clause.condition is not None:
                test += f" AND {self.translator.boolean(clause.condition, self._scope(clause.kind)).sql}"
            arms.append(f"WHEN {test} THEN {place}")
        return f"CASE {' '.join(arms)} END"

    def _value(self, place: int) -> str:
        """The new value of one column, by clause."""
        column = self.table.columns[place]
        arms = []
        for number, clause in enumerate(self.command.clauses):
            if clause.action != "DELETE":
                new = self._clause_values(clause)
                arms.append(f"WHEN {number} THEN {new[column.name.lower()]}")
        return f"CASE clause {' '.join(arms)} END" if arms else "NULL"

    def _clause_values(self, clause: commands.MergeClause) -> dict[str, str]:
        scope = self._scope(clause.kind)
        new: dict[str, str] = {}
        if clause.star:
            for column in self.table.columns:
                if column.generated or (column.identity and column.identity[0]):
                    continue
                found = [other for other in self.source_columns if other.name.lower() == column.name.lower()]
                if len(found) != 1:
                    raise failure(
                        "DELTA_MERGE_UNRESOLVED_EXPRESSION",
                        "42601",
                        f"Cannot resolve {column.name} in {clause.action} clause given columns of the source.",
                    )
                new[column.name.lower()] = stored(self.translator, Typed(found[0].sql, found[0].type), column)
        for parts, node in clause.assignments:
            column = _assigned(self.table, parts, self.command.alias)
            if column.name.lower() in new:
                raise failure("DUPLICATE_ASSIGNMENTS", "42701", f"The column `{column.name}` is assigned twice.")
            new[column.name.lower()] = stored(
                self.translator, _assignment(self.translator, node, column, scope), column
            )
        for place, column in enumerate(self.table.columns):
            if column.name.lower() not in new and not column.generated:
                if clause.action == "UPDATE":
                    new[column.name.lower()] = f"j.t{place}"
                else:
                    new[column.name.lower()] = _missing(self.translator, self.table, column, new)
        _regenerate(self.translator, self.table, new, "j")
        return new
