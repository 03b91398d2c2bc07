"""The grammar of statements, above that of queries."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from seakernel.local.sql import commands, syntax
from seakernel.local.sql.catalog import TableKey
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.parse_definition import DefinitionParser
from seakernel.local.sql.parse_query import QueryParser
from seakernel.local.sql.syntax import Query

if TYPE_CHECKING:
    from seakernel.local.sql.commands import Command
    from seakernel.local.sql.tokens import Token

_REFUSED = {
    "GRANT": "GRANT (there are no principals but you)",
    "REVOKE": "REVOKE (there are no principals but you)",
    "DENY": "DENY (there are no principals but you)",
    "CALL": "CALL",
    "EXECUTE": "EXECUTE IMMEDIATE",
    "BEGIN": "BEGIN (neither a script nor a transaction over several statements)",
    "START": "START TRANSACTION",
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
    "CACHE": "CACHE",
    "UNCACHE": "UNCACHE",
    "CLEAR": "CLEAR CACHE",
    "RESTORE": "RESTORE",
    "MSCK": "MSCK REPAIR",
    "UNDROP": "UNDROP",
    "SYNC": "SYNC",
    "LOAD": "LOAD DATA",
    "CONVERT": "CONVERT TO DELTA",
    "REORG": "REORG",
    "FSCK": "FSCK REPAIR",
    "GENERATE": "GENERATE",
    "FROM": "A query that starts with FROM",
    "REPAIR": "REPAIR TABLE",
    "ADD": "ADD",
}


class StatementParser(DefinitionParser):
    """Parses whole statements."""

    def statement(self) -> Query | Command:
        """Takes the one statement of the text."""
        if self.at_end():
            raise failure("PARSE_EMPTY_STATEMENT", "42617", "Syntax error, unexpected empty statement.")
        found = self._statement()
        self.expect_end()
        return found

    def _statement(self) -> Query | Command:
        word = self.token.value if self.token.kind == "word" else ""
        if self.at("(") or word in ("SELECT", "VALUES", "TABLE", "WITH"):
            return self._query_or_dml()
        rules = {
            "CREATE": self.create,
            "REPLACE": self.create,
            "DROP": self.drop,
            "ALTER": self.alter,
            "INSERT": self._insert,
            "UPDATE": self._update,
            "DELETE": self._delete,
            "MERGE": self._merge,
            "TRUNCATE": self._truncate,
            "USE": self._use,
            "SET": self._set,
            "RESET": self._reset,
            "DECLARE": self._declare,
            "SHOW": self._show,
            "DESCRIBE": self._describe,
            "DESC": self._describe,
            "COMMENT": self._comment,
            "OPTIMIZE": self._optimize,
            "ANALYZE": self._analyze,
            "VACUUM": self._vacuum,
            "REFRESH": self._refresh,
            "EXPLAIN": self._explain,
            "PUT": self._transfer,
            "GET": self._transfer,
            "REMOVE": self._transfer,
            "LIST": self._list,
            "COPY": self._copy_into,
        }
        rule = rules.get(word)
        if rule is not None:
            return rule()
        if word in _REFUSED:
            raise unsupported(_REFUSED[word])
        raise self.fail()

    def _query_or_dml(self) -> Query | Command:
        if self.at("WITH"):
            start = self.index
            self._skip_with()
            if self.at("INSERT"):
                # The same as WITH before the query of the INSERT.
                definitions = self.tokens[start : self.index]
                return self._insert(definitions)
            if self.at_any("UPDATE", "DELETE", "MERGE"):
                raise unsupported(f"WITH before {self.token.value}")
            self.index = start
        return self.query()

    def _skip_with(self) -> None:
        """Moves behind the definitions of a WITH clause without reading them."""
        depth = 0
        while not self.at_end():
            if self.at("("):
                depth += 1
            elif self.at(")"):
                depth -= 1
            elif depth == 0 and self.at_any("SELECT", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE"):
                return
            self.advance()

    # Rows --------------------------------------------------------------------------------------------------------

    def _insert(self, definitions: list[Token] | None = None) -> Command:
        self.expect("INSERT")
        overwrite = bool(self.accept("OVERWRITE"))
        if not overwrite:
            self.expect("INTO")
        if self.at("DIRECTORY") or self.at("LOCAL", "DIRECTORY"):
            raise unsupported("INSERT OVERWRITE DIRECTORY")
        self.accept("TABLE")
        insert = commands.Insert(self.table_target(), Query(syntax.ValuesRelation([])), overwrite=overwrite)
        if self.accept("PARTITION"):
            insert.partition = self._partition_values()
        if self.accept("REPLACE", "WHERE"):
            insert.replace_where = self.expression()
        elif self.at("REPLACE"):
            raise unsupported("INSERT ... REPLACE ON and USING")
        if self.accept("BY", "NAME"):
            insert.by_name = True
        elif self.at("(") and not self._query_follows(0):
            insert.columns = self.names()
        if self.accept("REPLACE", "WHERE"):
            insert.replace_where = self.expression()
        if definitions:
            if self.at("WITH"):
                raise unsupported("WITH before INSERT and before its query")
            self.tokens[self.index : self.index] = definitions
        insert.query = self.query()
        if insert.partition and (insert.by_name or insert.replace_where is not None):
            raise unsupported("INSERT into a PARTITION by name or with REPLACE WHERE")
        return insert

    def _partition_values(self) -> list[tuple[str, syntax.Expression]]:
        self.expect("(")
        found = []
        while True:
            name = self.identifier()
            if not self.accept("="):
                raise unsupported("INSERT into a PARTITION without a value")
            found.append((name, self.comparison()))
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def _update(self) -> Command:
        self.expect("UPDATE")
        name = self.table_target()
        alias = self._optional_alias("SET")
        self.expect("SET")
        assignments = self._assignments()
        where = self.expression() if self.accept("WHERE") else None
        return commands.Update(name, alias, assignments, where)

    def _assignments(self) -> list[tuple[list[str], syntax.Expression]]:
        found = []
        while True:
            column = self.dotted()
            self.expect("=")
            found.append((column, self.expression()))
            if not self.accept(","):
                return found

    def _optional_alias(self, *stops: str) -> str:
        if self.accept("AS"):
            return self.identifier()
        if self.token.kind == "quoted" or (
            self.token.kind == "word"
            and self.token.value not in (*stops, "WHERE", "USING", "ON", "SET", "WHEN", "VERSION", "TIMESTAMP")
        ):
            return self.identifier()
        return ""

    def _delete(self) -> Command:
        self.expect("DELETE", "FROM")
        name = self.table_target()
        alias = self._optional_alias()
        where = self.expression() if self.accept("WHERE") else None
        return commands.Delete(name, alias, where)

    def _truncate(self) -> Command:
        self.expect("TRUNCATE", "TABLE")
        name = self.table_target()
        if self.at("PARTITION"):
            raise failure(
                "DELTA_TRUNCATE_TABLE_PARTITION_NOT_SUPPORTED",
                "0AKDC",
                "Operation not allowed: TRUNCATE TABLE on Delta tables does not support partition predicates; use DELETE to delete specific partitions or rows.",
            )
        return commands.Delete(name, "", None, truncate=True)

    def _merge(self) -> Command:
        self.expect("MERGE")
        if self.at("WITH"):
            raise unsupported("MERGE WITH SCHEMA EVOLUTION")
        self.expect("INTO")
        name = self.table_target()
        alias = self._optional_alias("USING")
        self.expect("USING")
        source = self._relation_primary()
        self.expect("ON")
        merge = commands.Merge(name, alias, source, self.expression(), [])
        while self.accept("WHEN"):
            merge.clauses.append(self._merge_clause())
        if not merge.clauses:
            raise self.fail("expected WHEN")
        return merge

    def _merge_clause(self) -> commands.MergeClause:
        negated = self.accept("NOT")
        self.expect("MATCHED")
        kind = "NOT_MATCHED" if negated else "MATCHED"
        if negated and self.accept("BY", "SOURCE"):
            kind = "BY_SOURCE"
        elif negated:
            self.accept("BY", "TARGET")
        condition = self.expression() if self.accept("AND") else None
        self.expect("THEN")
        clause = commands.MergeClause(kind, condition, self.accept_any("UPDATE", "DELETE", "INSERT"))
        if clause.action == "UPDATE" and kind != "NOT_MATCHED":
            self.expect("SET")
            if self.accept("*"):
                clause.star = True
            else:
                clause.assignments = self._assignments()
        elif clause.action == "INSERT" and kind == "NOT_MATCHED":
            self._merge_insert(clause)
        elif clause.action != "DELETE" or kind == "NOT_MATCHED":
            raise self.fail("expected an action that fits the clause")
        return clause

    def _merge_insert(self, clause: commands.MergeClause) -> None:
        if self.accept("*"):
            clause.star = True
            return
        self.expect("(")
        columns = [self.dotted()]
        while self.accept(","):
            columns.append(self.dotted())
        self.expect(")", "VALUES", "(")
        values = self.expressions()
        self.expect(")")
        if len(columns) != len(values):
            raise self.fail("as many values as columns are needed")
        clause.assignments = list(zip(columns, values, strict=True))

    # Sessions ----------------------------------------------------------------------------------------------------

    def _use(self) -> Command:
        self.expect("USE")
        kind = self.accept_any("CATALOG", "SCHEMA", "DATABASE", "NAMESPACE")
        if self.at("IDENTIFIER", "("):
            return commands.Use(kind or "SCHEMA", self.identifier_clause())
        if self.token.kind == "string":
            return commands.Use(kind or "SCHEMA", [self.text()])
        return commands.Use(kind or "SCHEMA", self.dotted())

    def _set(self) -> Command:
        self.expect("SET")
        if self.accept("TIME", "ZONE"):
            return self._set_zone()
        if self.at_any("VAR", "VARIABLE") and self.ahead().kind in ("word", "quoted"):
            self.advance()
            name = self.variable_name()
            self.expect("=")
            if self.accept("DEFAULT"):
                raise unsupported("SET VARIABLE ... = DEFAULT")
            return commands.SetVariable(name, self.expression())
        if self.at_end() or (self.at("-") and self.ahead().text in ("v", "V")):
            raise unsupported("SET without a name")
        key = self._setting_name()
        if self.at_end():
            return commands.SetOption(key)
        self.expect("=")
        start = self.token.start
        if self.token.kind == "string" and (self.ahead().kind == "end" or self.ahead().text == ";"):
            return commands.SetOption(key, self.text())
        while not self.at_end():
            self.advance()
        return commands.SetOption(key, self.slice_from(start))

    def _setting_name(self) -> str:
        if self.token.kind == "quoted":
            return self.identifier()
        start = self.token.start
        self.identifier()
        while self.at_any(".", ":", "-"):
            self.advance()
            self.identifier()
        return self.slice_from(start)

    def _set_zone(self) -> Command:
        if self.accept("LOCAL"):
            return commands.SetOption("timezone", "UTC")
        if self.at("INTERVAL"):
            raise unsupported("SET TIME ZONE with an interval")
        return commands.SetOption("timezone", self.text())

    def _reset(self) -> Command:
        self.expect("RESET")
        return commands.SetOption("" if self.at_end() else self._setting_name(), reset=True)

    def _declare(self) -> Command:
        self.expect("DECLARE")
        replace = self.accept("OR", "REPLACE")
        if not self.accept("VARIABLE"):
            self.accept("VAR")
        name = self.variable_name()
        kind = None if self.at_any("DEFAULT", "=") or self.at_end() else self.data_type()
        default = self.expression() if self.accept_any("DEFAULT", "=") else None
        return commands.DeclareVariable(name, kind, default, replace)

    # Files in volumes ---------------------------------------------------------------------------------------------

    def _transfer(self) -> Command:
        operation = self.advance().value
        if operation == "PUT":
            local = self.text()
            self.expect("INTO")
            return commands.TransferFile(operation, self.text(), local, overwrite=self.accept("OVERWRITE"))
        path = self.text()
        local_file = None
        if operation == "GET":
            self.expect("TO")
            local_file = self.text()
        return commands.TransferFile(operation, path, local_file)

    def _list(self) -> Command:
        self.expect("LIST")
        path = self.text()
        return commands.ListFiles(path, self.integer() if self.accept("LIMIT") else None)

    def _copy_into(self) -> Command:
        self.expect("COPY", "INTO")
        copy = commands.CopyInto(self.table_target(), "")
        if not self.accept("FROM") or self.token.kind != "string":
            raise unsupported("COPY INTO from anything but a path,")
        copy.path = self.text()
        self.expect("FILEFORMAT", "=")
        if self.identifier().upper() != "PARQUET":
            raise unsupported("COPY INTO from files other than Parquet")
        if self.accept("FORMAT_OPTIONS"):
            # A file that is missing fails here in any case.
            self._copy_option("ignoremissingfiles")
        if self.accept("COPY_OPTIONS"):
            copy.force = self._copy_option("force")
        if not self.at_end():
            raise unsupported(f"{self.token.text} in COPY INTO")
        return copy

    def _copy_option(self, name: str) -> bool:
        self.expect("(")
        option = self.text().lower()
        self.expect("=")
        value = self.text().lower()
        self.expect(")")
        if option != name:
            raise unsupported(f"The option `{option}` of COPY INTO")
        return value == "true"

    # SHOW and DESCRIBE -------------------------------------------------------------------------------------------

    def _show(self) -> Command:
        self.expect("SHOW")
        if self.accept("CREATE", "TABLE"):
            return commands.Show("CREATE TABLE", self.object_name())
        if self.accept("FOREIGN", "KEYS"):
            return self._show_within(commands.Show("FOREIGN KEYS"))
        if self.at_any("CURRENT"):
            raise unsupported(f"SHOW {self.token.value}")
        what = self.accept_any(
            "CATALOGS",
            "SCHEMAS",
            "DATABASES",
            "TABLES",
            "VIEWS",
            "COLUMNS",
            "FUNCTIONS",
            "KEYS",
            "TBLPROPERTIES",
            "VOLUMES",
            "USER",
            "SYSTEM",
            "ALL",
            "PARTITIONS",
            "TABLE",
        )
        if what in ("USER", "SYSTEM", "ALL") and self.accept("FUNCTIONS"):
            return self._show_within(commands.Show("FUNCTIONS", patterns={"KIND": what}))
        if what == "PARTITIONS":
            name = self.object_name()
            if self.at("PARTITION"):
                raise unsupported("SHOW PARTITIONS ... PARTITION")
            return commands.Show(what, name)
        if what in ("", "TABLE", "USER", "SYSTEM", "ALL"):
            raise unsupported(f"SHOW {what or self.token.value}")
        if what == "TBLPROPERTIES":
            return self._show_properties()
        return self._show_within(commands.Show("SCHEMAS" if what == "DATABASES" else what))

    def _show_properties(self) -> Command:
        show = commands.Show("TBLPROPERTIES", self.object_name())
        if self.accept("("):
            start = self.token.start
            if self.token.kind == "string":
                show.patterns["KEY"] = self.text()
            else:
                self.dotted()
                show.patterns["KEY"] = self.slice_from(start)
            self.expect(")")
        return show

    def _show_within(self, show: commands.Show) -> Command:
        """Takes IN or FROM with a name, or `IN CATALOG c SCHEMA LIKE 's' TABLE LIKE 't' LIKE 'p'`."""
        while not self.at_end():
            if self.accept_any("IN", "FROM"):
                if self.accept("ALL", "CATALOGS"):
                    show.everywhere = True
                    continue
                kind = (
                    self.accept_any("CATALOG", "SCHEMA", "DATABASE", "TABLE")
                    if self.ahead().kind in ("word", "quoted", "string")
                    else ""
                )
                if self.at("IDENTIFIER", "("):
                    if kind or show.name:
                        raise unsupported("IDENTIFIER as a part of a name")
                    show.name = self.object_name()
                    continue
                parts = [self.text()] if self.token.kind == "string" else self.dotted()
                if kind:
                    show.patterns[f"IN {kind}"] = ""
                show.name = (
                    parts + show.name if show.what == "COLUMNS" and show.name and not kind else show.name + parts
                )
            elif self.at_any("SCHEMA", "TABLE") and self.ahead().value == "LIKE":
                word = self.advance().value
                self.expect("LIKE")
                show.patterns[word] = self.text()
            elif self.accept("LIKE") or self.token.kind == "string":
                show.patterns["LIKE"] = self.text()
            elif show.what == "FUNCTIONS" and self.token.kind in ("word", "quoted"):
                parts = self.dotted()
                if len(parts) > 1:
                    raise unsupported("SHOW FUNCTIONS with a qualified name")
                show.patterns["LIKE"] = parts[0]
            else:
                raise self.fail()
        return show

    def _describe(self) -> Command:
        self.advance()
        if self.at_any("SELECT", "WITH", "VALUES", "(") or (
            self.at("QUERY") and self.ahead().kind in ("word", "operator") and self.ahead().text != "."
        ):
            self.accept("QUERY")
            return commands.Describe("QUERY", query=self.query())
        kind = ""
        if self.ahead().kind in ("word", "quoted"):
            kind = self.accept_any("TABLE", "CATALOG", "SCHEMA", "DATABASE", "HISTORY", "FUNCTION", "VOLUME", "DETAIL")
        if kind == "VOLUME":
            raise unsupported(f"DESCRIBE {kind}")
        extended = bool(self.ahead().kind in ("word", "quoted") and self.accept_any("EXTENDED", "FORMATTED"))
        describe = commands.Describe("SCHEMA" if kind == "DATABASE" else kind or "TABLE", extended=extended)
        if self.token.kind == "string":
            raise unsupported("DESCRIBE of a path")
        describe.name = self.object_name()
        if kind == "HISTORY" and self.accept("LIMIT"):
            describe.limit = self.integer()
        if self.at("PARTITION"):
            raise unsupported("DESCRIBE ... PARTITION")
        if describe.what == "TABLE" and self.token.kind in ("word", "quoted") and not self.at("AS"):
            describe.column = ".".join(self.dotted())
        if self.accept("AS", "JSON"):
            describe.as_json = True
            self.accept("STATIC", "ONLY")
        return describe

    # The rest ----------------------------------------------------------------------------------------------------

    def _comment(self) -> Command:
        self.expect("COMMENT", "ON")
        kind = self.accept_any("TABLE", "VIEW", "SCHEMA", "DATABASE", "CATALOG", "COLUMN")
        if not kind:
            raise unsupported(f"COMMENT ON {self.token.value}")
        name = self.object_name()
        self.expect("IS")
        text = None if self.accept("NULL") else self.text()
        return commands.Comment("SCHEMA" if kind == "DATABASE" else kind, name, text)

    def _optimize(self) -> Command:
        self.expect("OPTIMIZE")
        name = self.object_name()
        self.accept("FULL")
        if self.at("WHERE"):
            raise unsupported("OPTIMIZE ... WHERE")
        columns = []
        if self.accept("ZORDER", "BY"):
            columns = self.names() if self.at("(") else [self.identifier()]
        return commands.Maintenance("OPTIMIZE", name, columns)

    def _analyze(self) -> Command:
        self.expect("ANALYZE", "TABLE")
        name = self.object_name()
        self.expect("COMPUTE")
        if not self.accept("DELTA"):
            self.accept("STORAGE")
        if not self.accept("STATISTICS"):
            raise unsupported("ANALYZE TABLE ... COMPUTE without STATISTICS")
        if self.accept("FOR"):
            if not self.accept("ALL", "COLUMNS"):
                self.expect("COLUMNS")
                self.dotted()
                while self.accept(","):
                    self.dotted()
        else:
            self.accept("NOSCAN")
        return commands.Maintenance("ANALYZE", name)

    def _vacuum(self) -> Command:
        self.expect("VACUUM")
        name = self.object_name()
        if self.accept("RETAIN"):
            self.integer()
            self.expect("HOURS")
        if self.accept("DRY", "RUN"):
            raise unsupported("VACUUM DRY RUN")
        return commands.Maintenance("VACUUM", name)

    def _refresh(self) -> Command:
        self.expect("REFRESH")
        self.accept("TABLE")
        if self.at_any("FOREIGN", "MATERIALIZED", "STREAMING", "FUNCTION"):
            raise unsupported(f"REFRESH {self.token.value}")
        return commands.Maintenance("REFRESH", self.object_name())

    def _explain(self) -> Command:
        self.expect("EXPLAIN")
        if self.accept_any("EXTENDED", "CODEGEN", "COST", "FORMATTED"):
            raise unsupported("EXPLAIN with details of Spark's plans")
        raise unsupported("EXPLAIN (its plans are Spark's)")


@lru_cache(maxsize=256)
def parse_query(text: str) -> Query:
    """Parses the text of a view; the tree is shared, for nothing changes trees."""
    parser = QueryParser(text)
    query = parser.query()
    parser.expect_end()
    return query


def parse_statement(text: str) -> Query | Command:
    """Parses a statement."""
    return StatementParser(text).statement()


__all__ = ["StatementParser", "TableKey", "parse_query", "parse_statement"]
