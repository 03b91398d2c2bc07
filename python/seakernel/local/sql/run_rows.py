"""INSERT, UPDATE, DELETE and MERGE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seakernel.local.sql import syntax, types
from seakernel.local.sql.catalog import TableColumn
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, counts, parse_expression, require_table, stored_columns
from seakernel.local.sql.typed import Column, QuerySql, Scope, Typed, access_field
from seakernel.local.sql.types import quoted, text_literal

if TYPE_CHECKING:
    from seakernel.local.sql import commands
    from seakernel.local.sql.catalog import Table
    from seakernel.local.sql.errors import SqlError
    from seakernel.local.sql.queries import QueryTranslator


def insert(execution: Execution, command: commands.Insert) -> QuerySql:
    """Adds rows, in place of all or some of the old ones for OVERWRITE and REPLACE WHERE."""
    table = require_table(execution, execution.name(command.name), "INSERT")
    if command.overwrite or command.replace_where is not None:
        _refuse_append_only(table)
    translator = execution.translator()
    source = translator.query(_with_defaults(command.query, table, command.columns))
    fixed = _partition_values(translator, table, command)
    columns = _targets(table, command, source)
    values = _stored_values(translator, table, columns, source, fixed)
    execution.preserve(table)
    removed = 0
    if command.overwrite or command.replace_where is not None:
        # The source may read the table, so its rows are computed before the old ones go.
        execution.run(f"CREATE TEMP TABLE seakernel_staged AS {values}")
        where = " AND ".join(f"{table.column(name).physical} IS NOT DISTINCT FROM {sql}" for name, sql in fixed.items())
        where = f" WHERE {where}" if where else ""
        if command.replace_where is not None:
            condition = translator.boolean(command.replace_where, Scope(stored_columns(table, "r0"))).sql
            if execution.run(f"SELECT 1 FROM seakernel_staged AS r0 WHERE ({condition}) IS DISTINCT FROM true LIMIT 1"):
                raise failure(
                    "DELTA_REPLACE_WHERE_MISMATCH",
                    "44000",
                    "Data written out does not match replaceWhere.",
                )
            where = f" WHERE rowid IN (SELECT r0.rowid FROM {table.storage} AS r0 WHERE {condition})"
        removed = execution.count(f"DELETE FROM {table.storage}{where}")
        values = "SELECT * FROM seakernel_staged"
    added = execution.count(f"INSERT INTO {table.storage} {values}")
    if command.overwrite or command.replace_where is not None:
        execution.run("DROP TABLE seakernel_staged")
    execution.check_rows(table)
    mode = "Overwrite" if command.overwrite or command.replace_where is not None else "Append"
    execution.record(table, "WRITE", {"numOutputRows": added, "numDeletedRows": removed}, {"mode": mode})
    return counts(num_affected_rows=added, num_inserted_rows=added)


def _partition_values(translator: QueryTranslator, table: Table, command: commands.Insert) -> dict[str, str]:
    """The values of PARTITION (column = value), by column."""
    found: dict[str, str] = {}
    for name, node in command.partition:
        column = table.column(name)
        if column.name.lower() not in [other.lower() for other in table.partitioned_by]:
            raise failure(
                "NON_PARTITION_COLUMN", "42000", f"PARTITION clause cannot contain the non-partition column: `{name}`."
            )
        if column.name.lower() in found or column.generated:
            raise unsupported(f"This value of the partition column `{name}`")
        value = translator.expression(node, Scope())
        if not value.is_constant:
            raise unsupported("A partition value that is not a literal")
        found[column.name.lower()] = stored(translator, value, column)
    return found


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
        if any(name.lower() == column.name.lower() for name, _ in command.partition for column in chosen):
            raise unsupported("A partition column with a value in the list of columns")
    else:
        fixed = {name.lower() for name, _ in command.partition}
        chosen = [column for column in table.columns if column.name.lower() not in fixed]
        if len(source.columns) < len(chosen) and any(column.generated or column.identity for column in chosen):
            raise unsupported("An INSERT without a list of columns that leaves out generated columns")
    if len({column.name.lower() for column in chosen}) != len(chosen):
        raise failure("COLUMN_ALREADY_EXISTS", "42711", "A column is named twice.")
    if len(source.columns) < len(chosen) and not command.columns:
        raise failure(
            "DELTA_INSERT_COLUMN_ARITY_MISMATCH",
            "42802",
            f"Cannot write to '{table.full_name}', not enough data columns; target table has {len(chosen)} column(s) but the inserted data has {len(source.columns)} column(s).",
        )
    if len(chosen) != len(source.columns):
        kind = "NOT_ENOUGH_DATA_COLUMNS" if len(chosen) > len(source.columns) else "TOO_MANY_DATA_COLUMNS"
        wanted, given = (", ".join(f"`{column.name}`" for column in part) for part in (chosen, source.columns))
        raise failure(
            f"INSERT_COLUMN_ARITY_MISMATCH.{kind}",
            "21S01",
            f"Cannot write to `{table.full_name}`, the reason is: Table columns: {wanted}. Data columns: {given}.",
        )
    for column in chosen:
        _refuse_identity(column)
    return chosen


def _refuse_identity(column: TableColumn) -> None:
    if column.identity and column.identity[0]:
        raise failure(
            "DELTA_IDENTITY_COLUMNS_EXPLICIT_INSERT_NOT_SUPPORTED",
            "42808",
            f"Providing values for GENERATED ALWAYS AS IDENTITY column {column.name} is not supported.",
        )


def _refuse_append_only(table: Table) -> None:
    if table.properties.get("delta.appendOnly", "false").lower() == "true":
        raise failure(
            "DELTA_CANNOT_MODIFY_APPEND_ONLY",
            "42809",
            f"This table is configured to only allow appends. If you would like to permit updates or deletes, use 'ALTER TABLE {table.full_name} SET TBLPROPERTIES (delta.appendOnly=false)'.",
        )


def _stored_values(
    translator: QueryTranslator, table: Table, chosen: list[TableColumn], source: QuerySql, fixed: dict[str, str]
) -> str:
    """The SELECT that gives all columns of the table in order."""
    alias = translator.alias()
    given = {
        column.name.lower(): stored(translator, Typed(f"{alias}.{quoted(own.physical)}", own.type), column)
        for column, own in zip(chosen, source.columns, strict=True)
    } | fixed
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
        return _generated(translator, column, table, {name: f"({sql})" for name, sql in given.items()})
    if column.default:
        return stored(translator, _default(translator, column), column)
    return f"CAST(NULL AS {column.type.engine})"


def _default(translator: QueryTranslator, column: TableColumn) -> Typed:
    with translator.environment.stored_text():
        return translator.expression(parse_expression(column.default or "NULL"), Scope())


def _generated(translator: QueryTranslator, column: TableColumn, table: Table, values: dict[str, str]) -> str:
    """The value of a generated column, from those of the others; one without a value is NULL."""
    others = [
        Column(
            other.name,
            types.STRING if other.type.is_string else other.type,
            values.get(other.name.lower(), f"CAST(NULL AS {other.type.engine})"),
        )
        for other in table.columns
        if not other.generated
    ]
    with translator.environment.stored_text():
        value = translator.expression(parse_expression(column.generated or "NULL"), Scope(others))
    return stored(translator, value, column)


def stored(translator: QueryTranslator, value: Typed, column: TableColumn, *, insert: bool = True) -> str:
    """A value as the column holds it; text that is too long for CHAR or VARCHAR is an error."""
    kind = column.type
    if not _assignable(value.type, kind):
        raise unsupported(f"The assignment of {value.type.text} to the column `{column.name}` of type {kind.text}")
    if (
        value.type.is_nested
        and kind.is_nested
        and value.type.kind == "STRUCT"
        and [f.name.lower() for f in value.type.fields] != [f.name.lower() for f in kind.fields]
    ) and {f.name.lower() for f in value.type.fields} & {f.name.lower() for f in kind.fields}:
        raise unsupported("A STRUCT whose fields are in another order than the column's")
    sql = translator.caster.cast(value, kind).sql
    if value.type.is_numeric and kind.is_numeric and kind.kind not in ("FLOAT", "DOUBLE") and not value.volatile:
        attempt = translator.caster.cast(value, kind, is_try=True).sql
        problem = text_literal(
            f"[{'CAST_OVERFLOW_IN_TABLE_INSERT' if insert else 'DELTA_CAST_OVERFLOW_IN_TABLE_WRITE'}] "
            f'Fail to assign a value of "{value.type.text}" type to the "{kind.text}" type column or variable `{column.name}` '
            "due to an overflow. Use `try_cast` on the input value to tolerate overflow and return NULL instead. SQLSTATE: 22003"
        )
        sql = f"(CASE WHEN {attempt} IS NULL AND {value.sql} IS NOT NULL THEN CAST(error({problem}) AS {kind.engine}) ELSE {attempt} END)"
    if kind.kind in ("CHAR", "VARCHAR"):
        problem = text_literal(
            f"[EXCEED_LIMIT_LENGTH] Exceeds char/varchar type length limitation: {kind.length}. SQLSTATE: 54006"
        )
        trimmed = f"rtrim({sql}, ' ')" if kind.kind == "CHAR" else sql
        sql = f"(CASE WHEN length({trimmed}) > {kind.length} THEN CAST(error({problem}) AS VARCHAR) ELSE {f'rpad({trimmed}, {kind.length}, chr(32))' if kind.kind == 'CHAR' else sql} END)"
    return sql


def _assignable(source: types.DataType, target: types.DataType) -> bool:
    """Whether a value is stored without being cast by the statement: not every cast is made on its own."""
    if source == target or source.kind == "VOID" or source.is_string:
        return True
    if source.is_nested and source.kind == target.kind:
        if source.kind == "STRUCT":
            return len(source.fields) == len(target.fields) and all(
                _assignable(one.type, other.type) for one, other in zip(source.fields, target.fields, strict=True)
            )
        keys = source.kind == "ARRAY" or _assignable(source.map_key, target.map_key)
        return keys and _assignable(source.item, target.item)
    return (
        (source.is_numeric and target.is_numeric)
        or (target.is_string and not source.is_nested and source.kind != "VARIANT")
        or (source.is_datetime and target.is_datetime)
        or (source.is_interval and source.kind == target.kind)
    )


def _alias_scope(table: Table, alias: str, storage_alias: str) -> list[Column]:
    columns = stored_columns(table, storage_alias)
    if alias:
        for column in columns:
            column.qualifier = (alias.lower(),)
    return columns


class _Assignments:
    """What UPDATE and MERGE set: whole columns, and fields of STRUCT columns."""

    def __init__(self, translator: QueryTranslator, table: Table, alias: str, scope: Scope) -> None:
        self.translator = translator
        self.table = table
        self.scope = scope
        self.names = [alias.lower()] if alias else [table.catalog.lower(), table.schema.lower(), table.name.lower()]
        #: By column, by field, and so on: the new value, or the fields that change.
        self.changes: dict[str, Any] = {}

    def add(self, parts: list[str], node: syntax.Expression, *, insert: bool = False) -> None:
        """Notes one `column = value`."""
        column, path = self._target(parts)
        if column.identity and not insert:
            raise failure(
                "DELTA_IDENTITY_COLUMNS_UPDATE_NOT_SUPPORTED",
                "42808",
                f"Updating IDENTITY column {column.name} is not supported.",
            )
        if insert:
            _refuse_identity(column)
        kind, place = column.type, self.changes
        keys = [column.name.lower()]
        for name in path:
            found = (
                next((part for part in kind.fields if part.name.lower() == name.lower()), None)
                if kind.kind == "STRUCT"
                else None
            )
            if found is None or insert:
                raise failure("FIELD_NOT_FOUND", "42704", f"No such struct field `{name}` in `{column.name}`.")
            kind = found.type
            keys.append(name.lower())
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise self._conflict(column)
        if keys[-1] in place:
            raise self._conflict(column)
        target = column if not path else TableColumn(path[-1], kind)
        value = _assignment(self.translator, node, target, self.scope)
        place[keys[-1]] = stored(self.translator, value, target, insert=insert)

    def _conflict(self, column: TableColumn) -> SqlError:
        return failure(
            "DELTA_CONFLICT_SET_COLUMN", "42701", f"There is a conflict from these SET columns: `{column.name}`."
        )

    def _target(self, parts: list[str]) -> tuple[TableColumn, list[str]]:
        """The column that the parts name, perhaps with the table before it, and the fields below it."""
        known = {column.name.lower() for column in self.table.columns}
        for length in range(min(len(parts) - 1, len(self.names)), -1, -1):
            prefix = [part.lower() for part in parts[:length]]
            if prefix == self.names[len(self.names) - length :] and parts[length].lower() in known:
                return self.table.column(parts[length]), parts[length + 1 :]
        return self.table.column(".".join(parts)), []

    def values(self, current: dict[str, Typed]) -> dict[str, str]:
        """The new values of the columns that change."""
        return {
            name: change if isinstance(change, str) else self._struct(current[name], change)
            for name, change in self.changes.items()
        }

    def _struct(self, value: Typed, changes: dict[str, Any]) -> str:
        parts = []
        for part in value.type.fields:
            inner = access_field(value, part.name)
            change = changes.get(part.name.lower())
            new = inner.sql if change is None else change if isinstance(change, str) else self._struct(inner, change)
            parts.append(f"{quoted(part.name)} := {new}")
        return f"CAST(struct_pack({', '.join(parts)}) AS {value.type.engine})"


def update(execution: Execution, command: commands.Update) -> QuerySql:
    """Changes rows."""
    table = require_table(execution, execution.name(command.name), "UPDATE")
    _refuse_append_only(table)
    translator = execution.translator()
    scope = Scope(_alias_scope(table, command.alias, "r0"))
    assignments = _Assignments(translator, table, command.alias, scope)
    for parts, node in command.assignments:
        assignments.add(parts, node)
    new = assignments.values({column.name.lower(): Typed(column.sql, column.type) for column in scope.columns})
    _regenerate(translator, table, new, {column.name.lower(): column.sql for column in scope.columns})
    where = f" WHERE {_condition(translator, command.where, scope)}" if command.where is not None else ""
    changes = ", ".join(f"{table.column(name).physical} = {sql}" for name, sql in new.items())
    execution.preserve(table)
    changed = execution.count(f"UPDATE {table.storage} AS r0 SET {changes}{where}")
    if changed:
        execution.check_rows(table)
        execution.record(table, "UPDATE", {"numUpdatedRows": changed})
    return counts(num_affected_rows=changed)


def _condition(translator: QueryTranslator, node: syntax.Expression, scope: Scope) -> str:
    value = translator.boolean(node, scope)
    if value.aggregate or value.window:
        raise failure(
            "INVALID_WHERE_CONDITION",
            "42903",
            "The WHERE condition contains invalid expressions. Rewrite the query to avoid window functions, aggregate functions, and generator functions in the WHERE clause.",
        )
    return value.sql


def _assignment(translator: QueryTranslator, node: syntax.Expression, column: TableColumn, scope: Scope) -> Typed:
    if isinstance(node, syntax.Name) and [part.upper() for part in node.parts] == ["DEFAULT"]:
        if column.generated or column.identity:
            raise unsupported("DEFAULT for an identity or generated column")
        return _default(translator, column)
    value = translator.expression(node, scope)
    if value.aggregate or value.window:
        raise failure(
            "DELTA_AGGREGATION_NOT_SUPPORTED",
            "42903",
            f"Aggregate functions are not supported in the assignment of `{column.name}`.",
        )
    return value


def _regenerate(translator: QueryTranslator, table: Table, new: dict[str, str], old: dict[str, str]) -> None:
    """Adds what generated columns become once others have changed, unless the statement sets them itself."""
    for column in table.columns:
        if column.generated and column.name.lower() not in new:
            new[column.name.lower()] = _generated(translator, column, table, {**old, **new})


def delete(execution: Execution, command: commands.Delete) -> QuerySql | None:
    """Removes rows."""
    table = require_table(execution, execution.name(command.name), "TRUNCATE TABLE" if command.truncate else "DELETE")
    _refuse_append_only(table)
    translator = execution.translator()
    where = ""
    if command.where is not None:
        condition = _condition(translator, command.where, Scope(_alias_scope(table, command.alias, "r0")))
        where = f" WHERE rowid IN (SELECT r0.rowid FROM {table.storage} AS r0 WHERE {condition})"
    execution.preserve(table)
    removed = execution.count(f"DELETE FROM {table.storage}{where}")
    if removed:
        execution.record(table, "TRUNCATE" if command.truncate else "DELETE", {"numDeletedRows": removed})
    return None if command.truncate else counts(num_affected_rows=removed)


# MERGE ---------------------------------------------------------------------------------------------------------------


def merge(execution: Execution, command: commands.Merge) -> QuerySql:
    """Brings a table and a source together.

    The join is computed once into a staging table with the number of the clause that each pair falls under; the rows are
    changed from there, so that no clause sees what another has done.
    """
    table = require_table(execution, execution.name(command.name), "MERGE")
    _check_clauses(command)
    if any(clause.action != "INSERT" for clause in command.clauses):
        _refuse_append_only(table)
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
    if updated or deleted or inserted:
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


_CLAUSE_NAMES = {"MATCHED": "MATCHED", "NOT_MATCHED": "NOT MATCHED", "BY_SOURCE": "NOT MATCHED BY SOURCE"}


def _check_clauses(command: commands.Merge) -> None:
    """Of each kind only the last clause can do without a condition."""
    for kind, name in _CLAUSE_NAMES.items():
        alike = [clause for clause in command.clauses if clause.kind == kind]
        if any(clause.condition is None for clause in alike[:-1]):
            raise failure(
                f"NON_LAST_{name.replace(' ', '_')}_CLAUSE_OMIT_CONDITION",
                "42613",
                f"When there are more than one {name} clauses in a MERGE statement, only the last {name} clause can omit the condition.",
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
                if column.generated or column.identity:
                    raise unsupported("UPDATE SET * and INSERT * into a table with generated columns")
                found = [other for other in self.source_columns if other.name.lower() == column.name.lower()]
                if len(found) != 1:
                    raise failure(
                        "DELTA_MERGE_UNRESOLVED_EXPRESSION",
                        "42601",
                        f"Cannot resolve {column.name} in {clause.action} clause given columns of the source.",
                    )
                new[column.name.lower()] = stored(
                    self.translator, Typed(found[0].sql, found[0].type), column, insert=clause.action == "INSERT"
                )
        insert = clause.action == "INSERT"
        assignments = _Assignments(self.translator, self.table, self.command.alias, scope)
        for parts, node in clause.assignments:
            assignments.add(parts, node, insert=insert)
        new |= assignments.values(
            {column.name.lower(): Typed(column.sql, column.type) for column in self.target_columns}
        )
        old = {} if insert else {column.name.lower(): column.sql for column in self.target_columns}
        for column in self.table.columns:
            if column.name.lower() not in new and not column.generated:
                new[column.name.lower()] = (
                    _missing(self.translator, self.table, column, new) if insert else old[column.name.lower()]
                )
        _regenerate(self.translator, self.table, new, old)
        return new
