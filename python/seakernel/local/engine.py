"""The SQL engine of the local warehouse: Databricks SQL in, Arrow out, DuckDB in between.

The statement is parsed and typed by `seakernel.local.sql`, which writes DuckDB SQL only for what it knows to mean the same;
everything else fails as not being in the local warehouse.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from seakernel.local.sql import commands, types
from seakernel.local.sql.catalog import Catalog, Schema, Table, TableColumn, Warehouse
from seakernel.local.sql.cursor import parse_type
from seakernel.local.sql.errors import SqlError, failure, from_engine, unsupported
from seakernel.local.sql.execution import Execution
from seakernel.local.sql.python_functions import PythonFunctions
from seakernel.local.sql.run_session import harmless
from seakernel.local.sql.session import Session, StatementEnvironment
from seakernel.local.sql.statements import parse_statement
from seakernel.local.sql.syntax import IdentifierClause, Query
from seakernel.local.sql.types import quoted, text_literal

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from seakernel.local.sql.python_functions import PythonFunction
    from seakernel.local.sql.typed import QuerySql

__all__ = ["DuckDbEngine", "Result", "SqlError"]


@dataclass
class Result:
    """The answer to a statement.

    `columns` are names with Databricks types such as `DECIMAL(18,2)`. `stream` has `__arrow_c_stream__`, or is None for a
    statement without a result; its rows are computed already, so reading it can neither fail nor run Python.
    """

    columns: list[tuple[str, str]]
    stream: Any
    #: The operation, the path and the client's own file, for a statement that has the client transfer a file of a volume.
    transfer: tuple[str, str, str | None] | None = None


class DuckDbEngine:
    """Runs Databricks SQL statements, from several threads at once: each statement has a DuckDB cursor of its own."""

    def __init__(
        self,
        *,
        catalogs: Iterable[str] = ("main",),
        user: str = "local@example.com",
        volume_folder: Path | None = None,
    ) -> None:
        """Starts with the given catalogs, each with an empty schema `default`, in memory; volumes need a folder."""
        self._volume_folder = volume_folder
        self._connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
        self._connection.execute("SET TimeZone = 'Etc/UTC'")
        self._connection.execute("CREATE TABLE seakernel_moment (nothing INTEGER)")
        # It turns sum(x + 1) into sum(x) + count(x), which hides an overflow of x + 1.
        self._connection.execute("SET disabled_optimizers = 'aggregate_function_rewriter'")
        self._registration = threading.Lock()
        self._python = PythonFunctions(self._register)
        self._warehouse = Warehouse()
        self._user = user
        self._sessions: dict[str, Session] = {}
        self._running: dict[str, _Running] = {}
        self._appends = itertools.count()
        self._closed = False
        self._lock = threading.Lock()
        #: Held by the one statement that changes something.
        self._writing = threading.Lock()
        #: Held while a change is made visible, or while a statement fixes the state that it sees.
        self._publishing = threading.Lock()
        for name in (*catalogs, "system"):
            self.create_catalog(name)
        for name in catalogs:
            self.create_schema(name, "default")

    def close(self) -> None:
        """Lets go of the database; what runs is interrupted, and nothing begins any more.

        A server that stops cancels its statements, but does not wait for those that come to the engine late.
        """
        with self._lock:
            self._closed = True
            left = list(self._running.values())
        for running in left:
            if running.cancel():
                threading.Thread(target=running.interrupt, name="seakernel-cancel", daemon=True).start()
        for running in left:
            running.over.wait(_CLOSE_LIMIT_S)
        # The engine refuses while something runs all the same; it goes with the last reference then.
        with contextlib.suppress(duckdb.Error):
            self._connection.close()

    # Sessions ----------------------------------------------------------------------------------------------------

    def open_session(
        self, session_id: str, catalog: str | None, schema: str | None, configuration: Mapping[str, str] | None
    ) -> None:
        """Opens a session; `configuration` may set its time zone.

        Raises:
            SqlError: the catalog does not exist. A schema need not exist yet.
        """
        session = self._session_at(session_id, catalog, schema)
        for key, value in (configuration or {}).items():
            if key.lower() in ("timezone", "spark.sql.session.timezone"):
                session.set_zone(value)
            elif harmless(key, value) is False:
                raise unsupported(f"The session setting {key} = {value}")
            else:
                session.settings[key.lower()] = value
        with self._lock:
            self._sessions[session_id] = session

    def close_session(self, session_id: str) -> None:
        """Forgets a session and its temporary views."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def _session_at(self, session_id: str, catalog: str | None, schema: str | None) -> Session:
        session = Session(session_id, user=self._user)
        if catalog:
            session.catalog = self._warehouse.catalog(catalog).name
        if schema:
            session.schema = schema
        return session

    # Statements --------------------------------------------------------------------------------------------------

    def execute(
        self,
        statement_id: str,
        session_id: str | None,
        statement: str | commands.AppendRows,
        parameters: list[dict[str, object]] | None = None,
        catalog: str | None = None,
        schema: str | None = None,
    ) -> Result:
        """Runs a statement to its end.

        Raises:
            SqlError: the statement failed, was refused or was cancelled.
        """
        session = self._session(session_id, catalog, schema)
        with self._lock:
            if self._closed:
                raise _cancelled()
            running = _Running(self._connection.cursor())
            self._running[statement_id] = running
        try:
            return self._execute(running, session, statement, parameters or [])
        except SqlError:
            if running.cancelled:
                raise _cancelled() from None
            raise
        except RecursionError:
            raise failure(
                "FAILED_TO_PARSE_TOO_COMPLEX",
                "54001",
                "The statement, including potential SQL functions and referenced views, was too complex to parse.",
            ) from None
        except Exception as error:
            if running.cancelled:
                raise _cancelled() from error
            raise from_engine(error) from error
        finally:
            running.over.set()
            with self._lock:
                self._running.pop(statement_id, None)

    def describe_table(self, name: str) -> list[tuple[str, str, bool]] | None:
        """Names, types and nullability of the columns of a table of rows, or None if there is no table of that name.

        Raises:
            SqlError: rows cannot be ingested into it.
        """
        from seakernel.local.sql.run_ingest import describe

        parts = name.split(".")
        found = self._warehouse.find(*parts) if len(parts) == _NAME_PARTS else None
        return None if found is None else describe(found)

    def append_rows(self, name: str, rows: object) -> None:
        """Adds rows that have `__arrow_c_stream__` and all columns of the table; all of them or none.

        Raises:
            SqlError: the table does not take them.
        """
        self.execute(f"append-{next(self._appends)}", None, commands.AppendRows(name.split("."), rows))

    def cancel(self, statement_id: str) -> None:
        """Interrupts a statement if it runs."""
        with self._lock:
            running = self._running.get(statement_id)
        if running is not None and running.cancel():
            threading.Thread(target=running.interrupt, name="seakernel-cancel", daemon=True).start()

    def _session(self, session_id: str | None, catalog: str | None, schema: str | None) -> Session:
        if session_id is None:
            return self._session_at("", catalog, schema)
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise SqlError(f"Session {session_id} does not exist.", error_code="NOT_FOUND")
        return session

    def _execute(
        self,
        running: _Running,
        session: Session,
        statement: str | commands.AppendRows,
        parameters: list[dict[str, object]],
    ) -> Result:
        parsed = parse_statement(statement) if isinstance(statement, str) else statement
        try:
            running.cursor.execute(f"SET TimeZone = {text_literal(session.zone)}")
        except duckdb.Error:
            raise failure("INVALID_TIMEZONE", "22009", f"The timezone: '{session.zone}' is invalid.") from None
        import seakernel.local.sql.functions  # noqa: F401 - fills the registry

        writes = isinstance(parsed, _WRITING)
        if writes:
            # Looked at from time to time, so that a statement can be cancelled while others write.
            while not self._writing.acquire(timeout=0.05):
                running.check()
        try:
            while True:
                known = self._python.count
                try:
                    return self._attempt(running, session, parsed, parameters, writes=writes)
                except duckdb.CatalogException:
                    # A transaction does not see the functions that were registered after it began: the next one does.
                    if self._python.count == known:
                        raise
        finally:
            if writes:
                self._writing.release()

    def _attempt(
        self,
        running: _Running,
        session: Session,
        parsed: Query | commands.Command,
        parameters: list[dict[str, object]],
        *,
        writes: bool,
    ) -> Result:
        """Runs a statement in a transaction, over rows and catalogs of one moment; all its changes are made, or none."""
        running.check()
        cursor, views = running.cursor, session.temporary_views
        with self._publishing:
            seen = Warehouse(self._warehouse.catalogs) if not writes else self._warehouse.draft()
            cursor.execute("BEGIN")
            # The transaction sees the database as it is when it first touches it.
            cursor.execute("SELECT nothing FROM seakernel_moment").fetchall()
        try:
            environment = StatementEnvironment(seen, session, self._python, parameters, cursor)
            environment.volume_folder = self._volume_folder
            execution = Execution(seen, session, environment, cursor)
            if isinstance(parsed, commands.TransferFile):
                from seakernel.local.sql.volumes import transfer

                result = Result([], None, transfer(execution, parsed))
                running.finish()
                cursor.execute("ROLLBACK")
                return result
            made = execution.translator().query(parsed) if isinstance(parsed, Query) else run(execution, parsed)
            running.check()
            result = Result([], None)
            if made is not None:
                _refuse_depth(made)
                columns = [(column.name, column.type.text) for column in made.columns]
                result = Result(columns, cursor.sql(made.sql).materialize())
            running.finish()
        except BaseException:
            if writes:
                session.temporary_views = views
            with running.undisturbed:
                cursor.execute("ROLLBACK")
            raise
        with self._publishing:
            cursor.execute("COMMIT")
            if writes:
                self._warehouse.catalogs = seen.catalogs
        return result

    # What the warehouse holds ------------------------------------------------------------------------------------

    def create_catalog(self, name: str) -> None:
        """Adds an empty catalog."""
        self._warehouse.catalogs[name.lower()] = Catalog(name, owner=self._user)

    def create_schema(self, catalog: str, schema: str) -> None:
        """Adds an empty schema."""
        self._warehouse.catalog(catalog).schemas.setdefault(schema.lower(), Schema(schema, owner=self._user))

    def create_view_over_files(
        self, catalog: str, schema: str, table: str, paths: Iterable[str | os.PathLike[str]], file_format: str
    ) -> None:
        """Makes a read-only table of Parquet or CSV files; its columns are read from them now."""
        listed = "[" + ", ".join(text_literal(str(path)) for path in paths) + "]"
        reader = f"read_parquet({listed})" if file_format == "parquet" else f"read_csv({listed})"
        cursor = self._connection.cursor()
        described = cursor.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
        columns = [(str(row[0]), from_engine_type(str(row[1]))) for row in described]
        self._add_files(catalog, schema, table, columns, lambda: reader)

    def create_lazy_view(
        self, catalog: str, schema: str, table: str, columns: Mapping[str, str], path: Callable[[], object]
    ) -> None:
        """Makes a read-only table of a Parquet file that `path` names, and perhaps makes, when the table is first read."""
        typed = [(name, parse_type(text)) for name, text in columns.items()]

        def reader() -> str:
            try:
                found = path()
            except Exception as error:
                raise SqlError(f"[SAMPLE_DATA_UNAVAILABLE] {error} SQLSTATE: 58030", sql_state="58030") from error
            paths = [found] if isinstance(found, str) or hasattr(found, "__fspath__") else list(found)  # type: ignore[call-overload]
            return f"read_parquet([{', '.join(text_literal(str(one)) for one in paths)}])"

        self._add_files(catalog, schema, table, typed, reader)

    def _add_files(
        self,
        catalog: str,
        schema: str,
        table: str,
        columns: list[tuple[str, types.DataType]],
        reader: Callable[[], str],
    ) -> None:
        made_columns = [TableColumn(name, kind) for name, kind in columns]
        items = ", ".join(
            f"CAST({quoted(column.name)} AS {column.type.engine}) AS {column.physical}" for column in made_columns
        )
        made = Table(
            catalog,
            schema,
            table,
            made_columns,
            kind="EXTERNAL",
            owner=self._user,
        )
        made.reader = lambda: f"(SELECT {items} FROM {reader()})"
        self._warehouse.schema(catalog, schema).tables[table.lower()] = made

    def _register(self, name: str, function: PythonFunction) -> None:
        with self._registration:
            self._connection.create_function(
                name,
                function.implementation,
                list(function.arguments),
                function.returns,
                null_handling="special" if function.takes_nulls else "default",
            )


_NAME_PARTS = 3
#: Longest wait for one interrupted statement.
_CLOSE_LIMIT_S = 5


class _Running:
    """A statement that runs: cancelled, it is interrupted until it is over, unless it was finished before."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self.over = threading.Event()
        self.cancelled = False
        self._finished = False
        self._lock = threading.Lock()
        #: Held by whom does not want to be interrupted.
        self.undisturbed = threading.Lock()

    def cancel(self) -> bool:
        """Marks the statement as cancelled, and says whether it must be interrupted."""
        with self._lock:
            if self._finished or self.cancelled:
                return False
            self.cancelled = True
            return True

    def interrupt(self) -> None:
        """Interrupts the statement until it is over: an interrupt is lost on a cursor that does nothing just now."""
        while not self.over.wait(0.02):
            with self.undisturbed:
                self.cursor.interrupt()

    def check(self) -> None:
        """Fails if the statement is cancelled."""
        if self.cancelled:
            raise _cancelled()

    def finish(self) -> None:
        """Comes before the commit, from where on nothing is cancelled."""
        with self._lock:
            if self.cancelled:
                raise _cancelled()
            self._finished = True


def _cancelled() -> SqlError:
    return SqlError(
        "[OPERATION_CANCELED] The statement was cancelled. SQLSTATE: HY008", sql_state="HY008", error_code="CANCELLED"
    )


#: Readers of Arrow data end at 64 levels.
_DEEPEST = 50


def _depth(kind: types.DataType) -> int:
    """How many types there are inside each other."""
    inner = [part.type for part in kind.fields] if kind.kind == "STRUCT" else []
    if kind.kind in ("ARRAY", "MAP"):
        inner = [kind.item, *([kind.map_key] if kind.kind == "MAP" else [])]
    return 1 + max(map(_depth, inner), default=0)


def _refuse_depth(made: QuerySql) -> None:
    if any(_depth(column.type) > _DEEPEST for column in made.columns):
        raise unsupported(f"A result whose types are nested more than {_DEEPEST} times")


#: The statements that change rows or catalogs.
_WRITING = (
    commands.AppendRows,
    commands.CreateTable,
    commands.CreateView,
    commands.CreateFunction,
    commands.CreateSchema,
    commands.CreateVolume,
    commands.CopyInto,
    commands.Drop,
    commands.Comment,
    commands.AlterTable,
    commands.Insert,
    commands.Update,
    commands.Delete,
    commands.Merge,
)


def run(execution: Execution, command: commands.Command) -> QuerySql | None:
    """Runs a statement that is not a query."""
    from seakernel.local.sql import (
        run_alter,
        run_definition,
        run_describe,
        run_ingest,
        run_rows,
        run_session,
        run_show,
        volumes,
    )

    handlers: dict[type[commands.Command], Callable[..., QuerySql | None]] = {
        commands.CreateTable: run_definition.create_table,
        commands.CreateView: run_definition.create_view,
        commands.CreateFunction: run_definition.create_function,
        commands.CreateSchema: run_definition.create_schema,
        commands.CreateVolume: volumes.create_volume,
        commands.CopyInto: volumes.copy_into,
        commands.ListFiles: volumes.list_files,
        commands.Drop: run_definition.drop,
        commands.Comment: run_definition.comment,
        commands.Maintenance: run_definition.maintain,
        commands.AlterTable: run_alter.alter,
        commands.AppendRows: run_ingest.append,
        commands.Insert: run_rows.insert,
        commands.Update: run_rows.update,
        commands.Delete: run_rows.delete,
        commands.Merge: run_rows.merge,
        commands.Show: run_show.show,
        commands.Describe: run_describe.describe,
        commands.Use: run_session.use,
        commands.SetOption: run_session.set_option,
        commands.DeclareVariable: run_session.declare,
        commands.SetVariable: run_session.set_variable,
        commands.DropVariable: run_session.drop_variable,
    }
    handler = handlers.get(type(command))
    if handler is None:
        raise unsupported(f"This {type(command).__name__} statement")
    name = getattr(command, "name", None)
    if isinstance(name, IdentifierClause):
        command.name = execution.name(name)  # type: ignore[attr-defined]
    return handler(execution, command)


_ENGINE_TYPES = {
    "BOOLEAN": types.BOOLEAN,
    "TINYINT": types.TINYINT,
    "SMALLINT": types.SMALLINT,
    "INTEGER": types.INT,
    "BIGINT": types.BIGINT,
    "UTINYINT": types.SMALLINT,
    "USMALLINT": types.INT,
    "UINTEGER": types.BIGINT,
    "UBIGINT": types.decimal(20, 0),
    "HUGEINT": types.decimal(38, 0),
    "FLOAT": types.FLOAT,
    "DOUBLE": types.DOUBLE,
    "VARCHAR": types.STRING,
    "BLOB": types.BINARY,
    "DATE": types.DATE,
    "TIMESTAMP": types.TIMESTAMP_NTZ,
    "TIMESTAMP_NS": types.TIMESTAMP_NTZ,
    "TIMESTAMP_MS": types.TIMESTAMP_NTZ,
    "TIMESTAMP_S": types.TIMESTAMP_NTZ,
    "TIMESTAMP WITH TIME ZONE": types.TIMESTAMP,
    "TIME": types.STRING,
    "UUID": types.STRING,
}


def from_engine_type(text: str) -> types.DataType:
    """The Databricks type for the DuckDB type of a file's column."""
    plain = text.strip()
    if plain.endswith("[]"):
        return types.array_of(from_engine_type(plain[:-2]))
    if plain in _ENGINE_TYPES:
        return _ENGINE_TYPES[plain]
    found = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", plain)
    if found:
        return types.decimal(int(found[1]), int(found[2]))
    found = re.fullmatch(r"STRUCT\((.*)\)", plain, re.DOTALL)
    if found:
        return types.struct_of([_field(part) for part in _split(found[1])])
    found = re.fullmatch(r"MAP\((.*)\)", plain, re.DOTALL)
    if found:
        key, value = _split(found[1])
        return types.map_of(from_engine_type(key), from_engine_type(value))
    raise ValueError(f"a column of type `{plain}` has no Databricks type")


def _field(text: str) -> tuple[str, types.DataType]:
    found = re.match(r'\s*(?:"((?:[^"]|"")*)"|(\w+))\s+(.*)', text, re.DOTALL)
    if not found:
        raise ValueError(f"`{text}` is no field of a struct")
    return (found[1].replace('""', '"') if found[1] is not None else found[2]), from_engine_type(found[3])


def _split(text: str) -> list[str]:
    """Splits at the commas outside parentheses and quotes."""
    parts, depth, start, is_quoted = [], 0, 0, False
    for place, character in enumerate(text):
        if character == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character == "," and depth == 0:
                parts.append(text[start:place].strip())
                start = place + 1
    return [*parts, text[start:].strip()]
