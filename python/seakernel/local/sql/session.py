"""Sessions, and the environment that a statement is translated in."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seakernel.local.sql import syntax, types
from seakernel.local.sql.casts import Caster
from seakernel.local.sql.catalog import INFORMATION_SCHEMA, Table, Warehouse, missing_table
from seakernel.local.sql.cursor import parse_type
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.expressions import ExpressionTranslator, string
from seakernel.local.sql.typed import Column, RelationSql, Typed
from seakernel.local.sql.types import text_literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seakernel.local.sql.python_functions import PythonFunctions
    from seakernel.local.sql.routines import Routine


@dataclass
class Session:
    """What a session remembers between statements."""

    session_id: str
    catalog: str = "main"
    schema: str = "default"
    user: str = "local"
    zone: str = "Etc/UTC"
    settings: dict[str, str] = field(default_factory=dict)
    temporary_views: dict[str, Table] = field(default_factory=dict)
    variables: dict[str, Typed] = field(default_factory=dict)

    def set_zone(self, name: str) -> None:
        """Sets the time zone; whole-hour offsets become zones that DuckDB knows.

        Raises:
            SqlError: INVALID_TIMEZONE for a name that cannot be one.
        """
        found = re.fullmatch(r"(?:GMT|UTC)?([+-])(\d{1,2})(?::?(\d{2}))?", name)
        if found:
            if found[3] not in (None, "00"):
                raise unsupported("A time zone whose offset is not in whole hours")
            # The signs of these zones are turned round.
            hours = int(found[2])
            name = "Etc/UTC" if hours == 0 else f"Etc/GMT{'-' if found[1] == '+' else '+'}{hours}"
        if name.upper() in ("Z", "UTC", "GMT"):
            name = "Etc/UTC"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+/-]*", name):
            raise failure("INVALID_TIMEZONE", "22009", f"The timezone: '{name}' is invalid.")
        self.zone = name


class StatementEnvironment:
    """The environment of one statement; see `expressions.Environment`."""

    def __init__(
        self,
        warehouse: Warehouse,
        session: Session,
        python: PythonFunctions,
        parameters: list[dict[str, object]],
        cursor: Any,
    ) -> None:
        self.warehouse = warehouse
        self.session = session
        self.python = python
        self.catalog = session.catalog
        self.schema = session.schema
        self.user = session.user
        self.session_id = session.session_id
        self.now_micros = time.time_ns() // 1000
        #: Where the files of volumes are.
        self.volume_folder: Path | None = None
        self._parameters = parameters
        self._cursor = cursor
        self._open_views: list[str] = []
        #: Inside a stored text: the temporary views that it may name; it can neither hold parameters nor variables.
        self._temporary: frozenset[str] | None = None

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs DuckDB SQL that is needed to translate the statement, and gives its rows."""
        rows: list[tuple[Any, ...]] = self._cursor.execute(sql).fetchall()
        return rows

    def evaluated(self, value: Typed) -> str | None:
        """The text of an expression without columns, computed now."""
        found = self._cursor.execute(f"SELECT CAST({value.sql} AS VARCHAR)").fetchone()
        return None if found is None or found[0] is None else str(found[0])

    @contextmanager
    def stored_text(
        self, place: tuple[str, str] | None = None, temporary: frozenset[str] = frozenset()
    ) -> Iterator[None]:
        """While it lasts, names mean what they mean in the text of a view, a function or a constraint.

        Such a text is read in the catalog and schema in which it was written, whoever uses it and from where.
        """
        before = (self.catalog, self.schema, self._temporary)
        self.catalog, self.schema = place or before[:2]
        self._temporary = temporary
        try:
            yield
        finally:
            self.catalog, self.schema, self._temporary = before

    # Parameters --------------------------------------------------------------------------------------------------

    def parameter(self, name: str | int) -> Typed:
        """The value bound to a marker, cast to its declared type.

        Raises:
            SqlError: UNBOUND_SQL_PARAMETER, or the error of a value that is not of its type.
        """
        if self._temporary is not None:
            raise failure(
                "UNSUPPORTED_FEATURE.PARAMETER_MARKER_IN_UNEXPECTED_STATEMENT",
                "0A000",
                "The feature is not supported: Parameter markers are not allowed in a text that is stored.",
            )
        for place, given in enumerate(self._parameters, start=1):
            if isinstance(name, str) and given.get("name") is not None and str(given["name"]).lower() == name.lower():
                return self._bound(given)
            if isinstance(name, int) and (
                given.get("ordinal") == name
                or (given.get("ordinal") is None and given.get("name") is None and place == name)
            ):
                return self._bound(given)
        raise failure(
            "UNBOUND_SQL_PARAMETER",
            "42P02",
            f"Found the unbound parameter: {name}. Please, fix `args` and provide a mapping of the parameter to either a SQL literal or collection constructor functions such as `map()`, `array()`, `struct()`.",
        )

    def _bound(self, given: dict[str, object]) -> Typed:
        type_text = str(given.get("type") or "STRING")
        kind = parse_type(type_text)
        value = given.get("value")
        if value is None:
            return Typed(
                f"CAST(NULL AS {kind.engine})" if kind.kind != "VOID" else "NULL", kind, constant=None, simple=True
            )
        text = str(value)
        if kind.kind == "VOID":
            raise failure("INVALID_PARAMETER_VALUE", "22023", "A parameter of type VOID has no value.")
        if kind.is_nested or kind.kind == "VARIANT":
            raise unsupported(f"A parameter of type {type_text}")
        if kind.is_string:
            return string(text)
        if kind.kind == "BINARY":
            if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text):
                raise failure(
                    "INVALID_PARAMETER_VALUE", "22023", "The value of a BINARY parameter must be hexadecimal digits."
                )
            return Typed(f"unhex('{text}')", kind, constant=text, simple=True)
        made = Caster(self.python).cast(Typed(text_literal(text), types.STRING), kind)
        made.constant = int(text) if kind.is_integral and re.fullmatch(r"\s*[+-]?\d+\s*", text) else text
        if kind.is_integral and isinstance(made.constant, int):
            bits = types.INTEGER_BITS[kind.kind]
            if not -(1 << (bits - 1)) <= made.constant < 1 << (bits - 1):
                raise failure(
                    "CAST_INVALID_INPUT",
                    "22018",
                    f'The value \'{text}\' of the type "STRING" cannot be cast to "{kind.text}" because it is malformed.',
                )
            made.sql = f"CAST({made.constant} AS {kind.engine})"
            made.simple = True
        elif kind.kind == "BOOLEAN":
            made.constant = {"true": True, "false": False}.get(text.strip().lower(), text)
        return made

    def setting(self, name: str) -> str | None:
        """A value set with SET."""
        return self.session.zone if name == "timezone" else self.session.settings.get(name)

    def variable(self, parts: list[str]) -> Typed | None:
        """The value of a session variable."""
        if self._temporary is not None:
            return None
        places: tuple[list[str], ...] = ([], ["session"], ["system", "session"])
        return (
            self.session.variables.get(parts[-1].lower()) if [part.lower() for part in parts[:-1]] in places else None
        )

    # Names -------------------------------------------------------------------------------------------------------

    def qualified(self, parts: list[str]) -> tuple[str, str, str]:
        """The three-part name of a table."""
        if len(parts) > 3:
            raise failure("REQUIRES_SINGLE_PART_NAMESPACE", "42K05", f"`{'`.`'.join(parts)}` has too many parts.")
        filled = [self.catalog, self.schema][: 3 - len(parts)] + parts
        return filled[0], filled[1], filled[2]

    def catalog_name(self, parts: list[str]) -> str:
        """The name of a catalog, which has one part."""
        if len(parts) != 1:
            raise failure("PARSE_SYNTAX_ERROR", "42601", f"`{'`.`'.join(parts)}` is no name of a catalog.")
        return parts[0]

    def schema_name(self, parts: list[str]) -> tuple[str, str]:
        """The two-part name of a schema."""
        if len(parts) > 2:
            raise failure("REQUIRES_SINGLE_PART_NAMESPACE", "42K05", f"`{'`.`'.join(parts)}` has too many parts.")
        return (parts[0], parts[1]) if len(parts) == 2 else (self.catalog, parts[0])

    def find(self, parts: list[str]) -> Table | None:
        """The table or view of that name, temporary ones first."""
        if len(parts) == 1:
            temporary = self._temporary_view(parts[0])
            if temporary is not None:
                return temporary
        return self.warehouse.find(*self.qualified(parts))

    def _temporary_view(self, name: str) -> Table | None:
        if self._temporary is not None and name.lower() not in self._temporary:
            return None
        return self.session.temporary_views.get(name.lower())

    def require(self, parts: list[str]) -> Table:
        """The table or view of that name.

        Raises:
            SqlError: TABLE_OR_VIEW_NOT_FOUND.
        """
        found = self.find(parts)
        if found is None:
            raise missing_table(parts)
        return found

    def routine(self, name: list[str]) -> Routine | None:
        """The SQL function of that name."""
        catalog, schema, routine = self.qualified(name)
        holder = self.warehouse.catalogs.get(catalog.lower())
        within = holder.schemas.get(schema.lower()) if holder else None
        return within.routines.get(routine.lower()) if within else None

    def table(self, table: syntax.TableName, translator: ExpressionTranslator) -> RelationSql:
        """The relation that a name stands for."""
        if len(table.parts) == 2 and table.parts[0].lower() == "parquet" and "/" in table.parts[1]:
            from seakernel.local.sql.volumes import files_relation

            return files_relation(self, table.parts[1], translator.alias())
        catalog, schema, name = self.qualified(table.parts)
        if schema.lower() == INFORMATION_SCHEMA and not (
            len(table.parts) == 1 and self._temporary_view(table.parts[0])
        ):
            from seakernel.local.sql.information_schema import relation

            return relation(self, catalog, name, translator.alias())
        found = self.require(table.parts)
        alias = translator.alias()
        if found.is_view:
            if table.version is not None or table.timestamp is not None:
                raise unsupported("Time travel on a view")
            return self._view(found, alias)
        storage, columns = found.storage, found.columns
        if table.version is not None or table.timestamp is not None:
            from seakernel.local.sql.versions import at_version

            storage, columns = at_version(found, table, translator)
        elif found.reader is not None:
            storage = found.reader()
        qualifier = (
            (found.catalog.lower(), found.schema.lower(), found.name.lower())
            if found.catalog
            else (found.name.lower(),)
        )
        scope_columns = [
            Column(
                column.name,
                types.STRING if column.type.is_string else column.type,
                f"{alias}.{column.physical}",
                qualifier,
            )
            for column in columns
        ]
        return RelationSql(f"{storage} AS {alias}", scope_columns)

    def files(self, files: list[str], alias: str) -> RelationSql:
        """The rows of Parquet files on disk."""
        from seakernel.local.sql.volumes import relation_of_files

        return relation_of_files(self, files, alias)

    def _view(self, view: Table, alias: str) -> RelationSql:
        """The text of a view, read in the catalog and schema that it was created in."""
        from seakernel.local.sql.queries import QueryTranslator
        from seakernel.local.sql.statements import parse_query

        if view.full_name in self._open_views:
            raise failure("RECURSIVE_VIEW", "42K0H", f"Recursive view `{view.full_name}` detected.")
        self._open_views.append(view.full_name)
        try:
            with self.stored_text(view.view_place, view.temporary_names):
                made = QueryTranslator(self).query(parse_query(view.view_text))
        finally:
            self._open_views.pop()
        found = made.relation(alias, "", []).columns
        qualifier = (
            (view.catalog.lower(), view.schema.lower(), view.name.lower()) if view.catalog else (view.name.lower(),)
        )
        columns = []
        for place, column in enumerate(view.columns):
            name = view.query_names[place].lower()
            # Of several columns with the same name each stays where it was among them.
            alike = [one for one in found if one.name.lower() == name]
            earlier = sum(1 for other in view.query_names[:place] if other.lower() == name)
            if len(alike) != sum(1 for other in view.query_names if other.lower() == name):
                raise failure(
                    "INCOMPATIBLE_VIEW_SCHEMA_CHANGE",
                    "51024",
                    f"The SQL query of view `{view.full_name}` has an incompatible schema change and column `{view.query_names[place]}` cannot be resolved.",
                )
            value = Caster(self.python).cast(Typed(alike[earlier].sql, alike[earlier].type), column.type)
            columns.append(Column(column.name, value.type, value.sql, qualifier))
        return RelationSql(f"({made.sql}) AS {alias}", columns)
