"""The grammar of CREATE, DROP and ALTER."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from seakernel.local.sql import commands
from seakernel.local.sql.catalog import TableColumn, TableKey
from seakernel.local.sql.commands import ColumnDefinition, Command
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.parse_query import QueryParser

if TYPE_CHECKING:
    from seakernel.local.sql.syntax import Expression, IdentifierClause
    from seakernel.local.sql.types import DataType

_REFUSED_KINDS = (
    "EXTERNAL", "CONNECTION", "SHARE", "RECIPIENT", "MATERIALIZED", "STREAMING", "LIVE", "GLOBAL", "PROVIDER", "FOREIGN",
    "STORAGE", "CREDENTIAL", "INDEX", "BLOOMFILTER", "GROUP", "USER", "ROW", "POLICY", "PROCEDURE", "AGGREGATE", "MODEL", "SERVER",
)  # fmt: skip


class DefinitionParser(QueryParser):
    """Parses statements that define things."""

    def table_target(self) -> list[str] | IdentifierClause:
        """Takes the name of a table, perhaps made by IDENTIFIER."""
        return self.identifier_clause() if self.at("IDENTIFIER", "(") else self.dotted()

    def object_name(self) -> list[str]:
        """Takes the name of something; one made by IDENTIFIER becomes a list of parts before the statement is run."""
        return cast("list[str]", self.table_target())

    def variable_name(self) -> str:
        """Takes the name of a session variable, perhaps with `system.session` before it."""
        parts = self.dotted()
        if [part.lower() for part in parts[:-1]] not in ([], ["session"], ["system", "session"]):
            raise failure(
                "UNRESOLVED_VARIABLE",
                "42883",
                f"Cannot resolve variable `{'`.`'.join(parts)}` on search path `system`.`session`.",
            )
        return parts[-1]

    def _if_not_exists(self) -> bool:
        return self.accept("IF", "NOT", "EXISTS")

    def create(self) -> Command:
        """Takes CREATE."""
        must_exist = replace = self.accept("REPLACE")
        if not replace:
            self.expect("CREATE")
            replace = self.accept("OR", "REPLACE")
        if must_exist and not self.at("TABLE"):
            raise self.fail("expected TABLE")
        if self.at("OR"):
            raise unsupported("CREATE OR REFRESH")
        temporary = bool(self.accept_any("TEMPORARY", "TEMP"))
        if self.accept("TABLE"):
            if temporary:
                raise unsupported("CREATE TEMPORARY TABLE")
            return self._create_table(replace=replace, must_exist=must_exist)
        if self.accept("VIEW"):
            return self._create_view(replace=replace, temporary=temporary)
        if self.accept("FUNCTION"):
            if temporary:
                raise unsupported("CREATE TEMPORARY FUNCTION")
            return self._create_function(replace=replace)
        kind = self.accept_any("SCHEMA", "DATABASE", "CATALOG")
        if kind:
            return self._create_schema("SCHEMA" if kind == "DATABASE" else kind)
        if self.accept("VOLUME"):
            exists = self._if_not_exists()
            name = self.table_target()
            if self.at("LOCATION"):
                raise unsupported("CREATE VOLUME ... LOCATION")
            return commands.CreateVolume(name, exists, self.text() if self.accept("COMMENT") else None)
        if self.token.value in _REFUSED_KINDS:
            raise unsupported(f"CREATE {self.token.value}")
        raise self.fail()

    # Tables ------------------------------------------------------------------------------------------------------

    def _create_table(self, *, replace: bool, must_exist: bool) -> Command:
        exists = self._if_not_exists()
        if exists and replace:
            raise self.fail("a table is either replaced or left as it is")
        table = commands.CreateTable(self.table_target(), replace=replace, must_exist=must_exist, if_not_exists=exists)
        if self.at_any("SHALLOW", "DEEP", "CLONE"):
            raise unsupported("CREATE TABLE ... CLONE")
        if self.accept("LIKE"):
            table.like = self.dotted()
        elif self.at("("):
            if self._query_follows(0):
                table.query = self.query()
                return table
            self._table_elements(table)
        self._table_clauses(table)
        if self.accept("AS") or self.at_any("SELECT", "WITH", "VALUES"):
            table.query = self.query()
        return table

    def _table_elements(self, table: commands.CreateTable) -> None:
        self.expect("(")
        while True:
            if (self.at_any("CONSTRAINT", "PRIMARY", "FOREIGN") and self.ahead().kind in ("word", "quoted")) or self.at(
                "CHECK", "("
            ):
                self._table_constraint(table)
            else:
                table.columns.append(self.column_definition())
            if not self.accept(","):
                break
        self.expect(")")

    def _table_constraint(self, table: commands.CreateTable) -> None:
        name = self.identifier() if self.accept("CONSTRAINT") else ""
        if self.accept("PRIMARY", "KEY"):
            table.primary_key = self._primary_key(name)
        elif self.accept("FOREIGN", "KEY"):
            table.foreign_keys.append(self._foreign_key(name))
        elif self.accept("CHECK"):
            table.checks[name or f"check_{len(table.checks) + 1}"] = self._wrapped_text()
            self._key_options()
        else:
            raise self.fail("expected a constraint")

    def _primary_key(self, name: str) -> TableKey:
        self.expect("(")
        columns = [self.identifier()]
        self.accept("TIMESERIES")
        while self.accept(","):
            columns.append(self.identifier())
            self.accept("TIMESERIES")
        self.expect(")")
        self._key_options()
        return TableKey(name, columns)

    def _foreign_key(self, name: str) -> TableKey:
        columns = self.names()
        self.expect("REFERENCES")
        key = TableKey(name, columns, self.dotted())
        if self.at("("):
            key.parent_columns = self.names()
        self._key_options()
        return key

    def _key_options(self) -> None:
        """Takes what a key may promise; none of it is enforced there either."""
        while True:
            if (
                self.accept("NOT", "ENFORCED")
                or self.accept("NOT", "DEFERRABLE")
                or self.accept("INITIALLY", "DEFERRED")
            ):
                continue
            if self.accept_any("RELY", "NORELY", "DEFERRABLE", "ENFORCED"):
                continue
            if (
                self.accept("MATCH", "FULL")
                or self.accept("ON", "UPDATE", "NO", "ACTION")
                or self.accept("ON", "DELETE", "NO", "ACTION")
            ):
                continue
            return

    def _wrapped_text(self) -> str:
        """Takes `(expression)` and gives its text."""
        self.expect("(")
        start = self.token.start
        self.expression()
        text = self.slice_from(start)
        self.expect(")")
        return text

    def column_definition(self) -> ColumnDefinition:
        """Takes a column of a table."""
        name, start = self.identifier(), self.index
        column = TableColumn(name, self.data_type())
        if any(
            (one.value, other.value) == ("NOT", "NULL")
            for one, other in zip(self.tokens[start : self.index], self.tokens[start + 1 : self.index], strict=False)
        ):
            raise unsupported("NOT NULL of a field of a STRUCT")
        definition = ColumnDefinition(column)
        while True:
            if self.accept("NOT", "NULL"):
                column.nullable = False
            elif self.accept("NULL"):
                column.nullable = True
            elif self.accept("COMMENT"):
                column.comment = self.text()
            elif self.accept("DEFAULT"):
                start = self.token.start
                self.comparison()
                column.default = self.slice_from(start)
            elif self.accept("GENERATED"):
                self._generated(column)
            elif self.at_any("CONSTRAINT", "PRIMARY", "REFERENCES", "FOREIGN", "CHECK"):
                self._column_constraint(definition)
            elif self.at("MASK"):
                raise unsupported("A column MASK")
            elif self.at("COLLATE"):
                raise unsupported("COLLATE")
            else:
                return definition

    def _generated(self, column: TableColumn) -> None:
        always = self.accept("ALWAYS")
        if not always:
            self.expect("BY", "DEFAULT")
        self.expect("AS")
        if not self.accept("IDENTITY"):
            column.generated = self._wrapped_text()
            return
        start, step = 1, 1
        if self.accept("("):
            while not self.accept(")"):
                if self.accept("START"):
                    self.accept("WITH")
                    start = self.integer()
                elif self.accept("INCREMENT"):
                    self.accept("BY")
                    step = self.integer()
                else:
                    raise self.fail("expected START WITH or INCREMENT BY")
        column.identity = (always, start, step)
        column.nullable = False

    def _column_constraint(self, definition: ColumnDefinition) -> None:
        name = self.identifier() if self.accept("CONSTRAINT") else ""
        if self.accept("PRIMARY", "KEY"):
            definition.primary_key = name
            self._key_options()
        elif self.accept("CHECK"):
            definition.check = (name, self._wrapped_text())
        else:
            if self.accept("FOREIGN"):
                self.expect("KEY")
            self.expect("REFERENCES")
            parent = self.dotted()
            columns = self.names() if self.at("(") else []
            definition.references = (name, parent, columns)
            self._key_options()

    def _table_clauses(self, table: commands.CreateTable) -> None:
        while True:
            if self.accept("USING"):
                form = self.identifier().upper()
                if form != "DELTA":
                    raise unsupported(f"A table USING {form}")
            elif self.accept("COMMENT"):
                table.comment = self.text()
            elif self.accept("TBLPROPERTIES"):
                table.properties.update(self.properties())
            elif self.accept("PARTITIONED", "BY"):
                table.partitioned_by = self._partition_columns(table)
            elif self.accept("CLUSTER", "BY"):
                table.clustered_by = (
                    [] if self.accept_any("AUTO", "NONE") else [".".join(parts) for parts in self._dotted_list()]
                )
            elif self.at("LOCATION"):
                raise unsupported("A table with a LOCATION")
            elif (
                self.at("OPTIONS")
                or self.at("CLUSTERED")
                or self.at("ROW")
                or self.at("STORED")
                or self.at("WITH", "ROW")
            ):
                raise unsupported(f"{self.token.value} of a table")
            elif self.accept("DEFAULT", "COLLATION"):
                if self.identifier().upper() != "UTF8_BINARY":
                    raise unsupported("A collation other than UTF8_BINARY")
            else:
                return

    def _partition_columns(self, table: commands.CreateTable) -> list[str]:
        self.expect("(")
        found = []
        while True:
            name = self.identifier()
            if not (self.at(",") or self.at(")")):
                table.columns.append(ColumnDefinition(TableColumn(name, self.data_type())))
                if self.accept("COMMENT"):
                    table.columns[-1].column.comment = self.text()
            found.append(name)
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def _dotted_list(self) -> list[list[str]]:
        self.expect("(")
        found = [self.dotted()]
        while self.accept(","):
            found.append(self.dotted())
        self.expect(")")
        return found

    def properties(self) -> dict[str, str]:
        """Takes `('key' = 'value', a.b = 1)`."""
        self.expect("(")
        found: dict[str, str] = {}
        while not self.at(")"):
            key = self.text() if self.token.kind == "string" else ".".join(self.dotted())
            self.accept("=")
            if self.token.kind == "string":
                found[key] = self.text()
            else:
                sign = "-" if self.accept("-") else ""
                token = self.advance()
                found[key] = sign + (token.value.lower() if token.kind == "word" else token.text)
            if not self.accept(","):
                break
        self.expect(")")
        return found

    # Views, functions, schemas -----------------------------------------------------------------------------------

    def _create_view(self, *, replace: bool, temporary: bool) -> Command:
        exists = self._if_not_exists()
        if exists and (replace or temporary):
            raise self.fail("a view is either replaced or left as it is")
        name = self.table_target()
        columns: list[tuple[str, str | None]] = []
        if self.accept("("):
            while True:
                column = self.identifier()
                columns.append((column, self.text() if self.accept("COMMENT") else None))
                if not self.accept(","):
                    break
            self.expect(")")
        comment: str | None = None
        properties: dict[str, str] = {}
        while True:
            if self.accept("COMMENT"):
                comment = self.text()
            elif self.accept("TBLPROPERTIES"):
                properties = self.properties()
            elif self.accept("WITH", "SCHEMA"):
                if not self.accept_any("BINDING", "COMPENSATION", "EVOLUTION"):
                    self.expect("TYPE", "EVOLUTION")
            elif self.at("WITH", "METRICS") or self.at("LANGUAGE"):
                raise unsupported("A metric view")
            elif self.accept("DEFAULT", "COLLATION"):
                self.identifier()
            else:
                break
        self.expect("AS")
        start = self.token.start
        self.query()
        return commands.CreateView(
            name, columns, self.slice_from(start), replace, exists, temporary, comment, properties
        )

    def _create_function(self, *, replace: bool) -> Command:
        exists = self._if_not_exists()
        name = self.object_name()
        parameters: list[tuple[str, DataType, Expression | None]] = []
        self.expect("(")
        while not self.at(")"):
            parameter, kind = self.identifier(), self.data_type()
            self.accept("NOT", "NULL")
            default = self.comparison() if self.accept("DEFAULT") else None
            if self.accept("COMMENT"):
                self.text()
            parameters.append((parameter, kind, default))
            if not self.accept(","):
                break
        self.expect(")")
        returns: DataType | None = None
        comment: str | None = None
        deterministic = True
        while not self.at_any("RETURN"):
            if self.accept("RETURNS", "TABLE"):
                raise unsupported("A SQL function that returns a table")
            if self.accept("RETURNS"):
                returns = self.data_type()
            elif self.accept("LANGUAGE"):
                if self.identifier().upper() != "SQL":
                    raise unsupported("A function that is not written in SQL")
            elif self.accept("COMMENT"):
                comment = self.text()
            elif self.accept("NOT", "DETERMINISTIC"):
                deterministic = False
            elif self.accept("CONTAINS", "SQL") or self.accept("READS", "SQL", "DATA") or self.accept("DETERMINISTIC"):
                continue
            elif self.at("AS") or self.at("ENVIRONMENT"):
                raise unsupported("A function that is not written in SQL")
            else:
                raise self.fail("expected RETURN")
        self.expect("RETURN")
        start = self.token.start
        if self.at_any("SELECT", "WITH"):
            raise unsupported("A SQL function whose body is a query without parentheses")
        body = self.expression()
        return commands.CreateFunction(
            name, parameters, returns, body, None, self.slice_from(start), comment, replace, exists, deterministic
        )

    def _create_schema(self, kind: str) -> Command:
        exists = self._if_not_exists()
        name = self.table_target()
        comment: str | None = None
        properties: dict[str, str] = {}
        while not self.at_end():
            if self.accept("COMMENT"):
                comment = self.text()
            elif self.accept("WITH", "DBPROPERTIES"):
                properties = self.properties()
            elif self.accept("DEFAULT", "COLLATION"):
                self.identifier()
            else:
                raise unsupported(f"{self.token.value} of a {kind.lower()}")
        return commands.CreateSchema(kind, name, exists, comment, properties)

    # DROP --------------------------------------------------------------------------------------------------------

    def drop(self) -> Command:
        """Takes DROP."""
        self.expect("DROP")
        temporary = bool(self.accept_any("TEMPORARY", "TEMP"))
        if self.accept_any("VARIABLE", "VAR"):
            exists = self.accept("IF", "EXISTS")
            return commands.DropVariable(self.variable_name(), exists)
        kind = self.accept_any("TABLE", "VIEW", "FUNCTION", "SCHEMA", "DATABASE", "CATALOG", "VOLUME")
        if not kind or (temporary and kind != "VIEW"):
            raise unsupported(f"DROP {self.token.value}")
        exists = self.accept("IF", "EXISTS")
        name = self.table_target()
        cascade = self.accept_any("CASCADE", "RESTRICT") == "CASCADE"
        return commands.Drop("SCHEMA" if kind == "DATABASE" else kind, name, exists, cascade)

    # ALTER -------------------------------------------------------------------------------------------------------

    def alter(self) -> Command:
        """Takes ALTER TABLE and ALTER VIEW."""
        self.expect("ALTER")
        kind = self.accept_any("TABLE", "VIEW")
        if not kind:
            raise unsupported(f"ALTER {self.token.value}")
        name = self.object_name()
        alter = commands.AlterTable(name, kind == "VIEW", "")
        if self.accept("RENAME", "TO"):
            alter.action, alter.names = "RENAME", [self.dotted()]
        elif self.accept("RENAME", "COLUMN"):
            old = self.dotted()
            self.expect("TO")
            alter.action, alter.names = "RENAME COLUMN", [old, [self.identifier()]]
        elif self.accept("AS"):
            start = self.token.start
            self.query()
            alter.action, alter.text = "AS", self.slice_from(start)
        elif self.accept("ADD"):
            self._alter_add(alter)
        elif self.accept("DROP"):
            self._alter_drop(alter)
        elif self.accept("SET"):
            self._alter_set(alter)
        elif self.accept("UNSET"):
            self.expect("TBLPROPERTIES")
            alter.action, alter.if_exists = "UNSET PROPERTIES", self.accept("IF", "EXISTS")
            alter.names = self._property_keys()
        elif self.at("CLUSTER", "BY"):
            self.index += 2
            alter.action = "CLUSTER"
            alter.names = [] if self.accept_any("NONE", "AUTO") else self._dotted_list()
        elif self.accept_any("ALTER", "CHANGE"):
            self.accept("COLUMN")
            self._alter_column(alter)
        else:
            raise unsupported(f"ALTER {kind} ... {self.token.value}")
        return alter

    def _property_keys(self) -> list[list[str]]:
        self.expect("(")
        found = []
        while True:
            found.append([self.text()] if self.token.kind == "string" else [".".join(self.dotted())])
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def _alter_add(self, alter: commands.AlterTable) -> None:
        if self.accept_any("COLUMNS", "COLUMN"):
            alter.action = "ADD COLUMNS"
            wrapped = self.accept("(")
            while True:
                alter.if_exists = self._if_not_exists() or alter.if_exists
                start = self.index
                parts = self.dotted()
                if len(parts) > 1:
                    raise unsupported("ADD COLUMN of a nested field")
                self.index = start
                definition = self.column_definition()
                where = (
                    "FIRST" if self.accept("FIRST") else f"AFTER {self.identifier()}" if self.accept("AFTER") else ""
                )
                alter.columns.append((parts, definition, where))
                if not self.accept(","):
                    break
            if wrapped:
                self.expect(")")
            return
        if self.accept("CONSTRAINT"):
            name = self.identifier()
        elif self.at("PRIMARY") or self.at("FOREIGN"):
            name = ""
        else:
            raise unsupported(f"ALTER TABLE ... ADD {self.token.value}")
        if self.accept("CHECK"):
            alter.action, alter.names, alter.text = "ADD CHECK", [[name]], self._wrapped_text()
        elif self.accept("PRIMARY", "KEY"):
            alter.action, alter.key = "ADD PRIMARY KEY", self._primary_key(name)
        else:
            self.expect("FOREIGN", "KEY")
            alter.action, alter.key = "ADD FOREIGN KEY", self._foreign_key(name)

    def _alter_drop(self, alter: commands.AlterTable) -> None:
        if self.accept_any("COLUMN", "COLUMNS"):
            alter.action, alter.if_exists = "DROP COLUMNS", self.accept("IF", "EXISTS")
            alter.names = self._dotted_list() if self.at("(") else [self.dotted()]
        elif self.accept("CONSTRAINT"):
            alter.action, alter.if_exists = "DROP CONSTRAINT", self.accept("IF", "EXISTS")
            alter.names = [[self.identifier()]]
            self.accept_any("RESTRICT", "CASCADE")
        elif self.accept("PRIMARY", "KEY"):
            alter.action, alter.if_exists = "DROP PRIMARY KEY", self.accept("IF", "EXISTS")
            self.accept_any("RESTRICT", "CASCADE")
        else:
            raise unsupported(f"ALTER TABLE ... DROP {self.token.value}")

    def _alter_set(self, alter: commands.AlterTable) -> None:
        if self.accept("TBLPROPERTIES"):
            alter.action, alter.properties = "SET PROPERTIES", self.properties()
        elif self.accept("OWNER", "TO") or self.accept("TAGS"):
            raise unsupported("ALTER ... SET OWNER and SET TAGS")
        else:
            raise unsupported(f"ALTER ... SET {self.token.value}")

    def _alter_column(self, alter: commands.AlterTable) -> None:
        alter.names = [self.dotted()]
        if self.accept("COMMENT"):
            alter.action, alter.text = "COLUMN COMMENT", self.text()
        elif self.accept("SET", "NOT", "NULL"):
            alter.action = "COLUMN SET NOT NULL"
        elif self.accept("DROP", "NOT", "NULL"):
            alter.action = "COLUMN DROP NOT NULL"
        elif self.accept("SET", "DEFAULT"):
            start = self.token.start
            self.comparison()
            alter.action, alter.text = "COLUMN SET DEFAULT", self.slice_from(start)
        elif self.accept("DROP", "DEFAULT"):
            alter.action = "COLUMN DROP DEFAULT"
        elif self.accept("TYPE"):
            alter.action, alter.type = "COLUMN TYPE", self.data_type()
        elif self.accept("FIRST"):
            alter.action, alter.text = "COLUMN PLACE", "FIRST"
        elif self.accept("AFTER"):
            alter.action, alter.text = "COLUMN PLACE", f"AFTER {self.identifier()}"
        else:
            raise unsupported("This form of ALTER TABLE ... ALTER COLUMN")
