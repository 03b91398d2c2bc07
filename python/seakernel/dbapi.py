"""PEP 249: connections and cursors over one session each."""

from __future__ import annotations

import contextlib
import difflib
import weakref
from typing import TYPE_CHECKING, Any

from seakernel import exceptions
from seakernel._seakernel import Session
from seakernel.exceptions import InterfaceError, NotSupportedError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    import pyarrow as pa
    from typing_extensions import Self

    from seakernel._seakernel import (
        Column,
        ExecutedStatement,
        Metadata,
        ResultStream,
        Statement,
        Statistics,
    )
    from seakernel.types import (
        DescriptionColumn,
        Parameters,
        RequestOptions,
        ResultOptions,
        RetryOptions,
        StatementState,
        TlsOptions,
    )

__all__ = ["Connection", "Cursor", "SubmittedStatement", "apilevel", "connect", "paramstyle", "threadsafety"]

apilevel = "2.0"
threadsafety = 2
paramstyle = "named"

# Keywords of databricks-sql-connector whose one value given here is what this package does anyway.
_ACCEPTED: dict[str, tuple[object, ...]] = {
    "_disable_pandas": (True, False),
    "_use_arrow_native_complex_types": (True,),
    "_use_arrow_native_decimals": (True,),
    "_use_arrow_native_timestamps": (True,),
    "auth_type": ("access-token", "pat"),
    "enable_telemetry": (False,),
    "ignore_transactions": (True,),
    "use_cloud_fetch": (True,),
    "use_hybrid_disposition": (True, False),
    "use_inline_params": (False,),
    "use_kernel": (True, False),
    "use_sea": (True, False),
}
# Keywords of databricks-sql-connector that say here something else, and what to do instead.
_INSTEAD: dict[str, str] = {
    "_port": "write the port in `server_hostname`",
    "_retry_delay_max": 'use `retry={"max_wait_s": ...}`',
    "_retry_delay_min": 'use `retry={"min_wait_s": ...}`',
    "_retry_stop_after_attempts_count": 'use `retry={"max_attempts": ...}`',
    "_retry_stop_after_attempts_duration": 'use `retry={"max_elapsed_s": ...}`',
    "_socket_timeout": "use `read_timeout_s` and `connect_timeout_s`",
    "_tls_client_cert_file": 'use `tls={"client_certificate_pem": ..., "client_key_pem": ...}`',
    "_tls_no_verify": 'use `tls={"verify_certificates": False}`',
    "_tls_trusted_ca_file": 'use `tls={"ca_certificates_pem": ...}`',
    "_tls_verify_hostname": 'use `tls={"verify_hostnames": False}`',
    "_use_arrow_native_complex_types": 'use `results={"complex_types": "json"}`',
    "_user_agent_entry": "use `user_agent_entry`",
    "auth_type": "only `access_token` is supported yet",
    "credentials_provider": "only `access_token` is supported yet",
    "enable_query_result_lz4_compression": 'use `results={"compression": ...}`',
    "enable_telemetry": "this package sends no telemetry",
    "http_headers": 'use `requests={"headers": ...}`',
    "max_download_threads": 'use `results={"max_concurrent_downloads": ...}`',
    "oauth_client_id": "only `access_token` is supported yet",
    "oauth_client_secret": "only `access_token` is supported yet",
    "query_tags": 'use `session_configuration={"QUERY_TAGS": "key:value"}`',
    "staging_allowed_local_path": "volume PUT, GET and REMOVE are not supported",
    "use_cloud_fetch": "the server decides how a result travels",
    "use_inline_params": "parameters are always sent apart from the SQL",
}
_TYPE_CODES = {
    "BYTE": "tinyint",
    "SHORT": "smallint",
    "LONG": "bigint",
    "CHAR": "string",
    "TIMESTAMP_NTZ": "timestamp",
}


def connect(
    server_hostname: str,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    catalog: str | None = None,
    schema: str | None = None,
    session_configuration: Mapping[str, str | float] | None = None,
    user_agent_entry: str | None = None,
    results: ResultOptions | None = None,
    retry: RetryOptions | None = None,
    requests: RequestOptions | None = None,
    tls: TlsOptions | None = None,
    connect_timeout_s: float | None = None,
    read_timeout_s: float | None = None,
    **connector_options: object,
) -> Connection:
    """Opens a session on a SQL warehouse.

    Blocks until the session is open; Ctrl-C ends the wait. A warehouse that is stopped starts with the first statement.

    Args:
        server_hostname: Host of the workspace, such as `dbc-a1b2.cloud.databricks.com`; or `local` alone, for the
            embedded warehouse of `seakernel.local`.
        http_path: Path of the warehouse, `/sql/1.0/warehouses/{id}`, with `?o={workspace id}` where one host serves
            several workspaces.
        access_token: Personal access token, or any other bearer token. It is never renewed.
        catalog: Initial catalog; the warehouse's default when absent.
        schema: Initial schema; the warehouse's default when absent.
        session_configuration: Session parameters such as `{"ANSI_MODE": "true", "TIMEZONE": "UTC"}`.
        user_agent_entry: Name of the application, for the warehouse's query history.
        results: How results are fetched; see `ResultOptions`.
        retry: How requests are repeated; see `RetryOptions`.
        requests: Own headers and limits of requests to the workspace; see `RequestOptions`.
        tls: Own certificate authorities, a client certificate, and what is verified; see `TlsOptions`.
        connect_timeout_s: Seconds to establish a connection, TLS included. Default 30.
        read_timeout_s: Longest silence while an answer is read, in seconds. Default 900, for the server may hold an
            answer until a statement is done.
        connector_options: Keywords of databricks-sql-connector. Those that ask for what this package does anyway are
            accepted; the others raise and say what to use instead.

    Returns:
        The connection; close it, or use it in a `with`.

    Raises:
        ProgrammingError: an argument has a wrong value, or the warehouse does not exist.
        OperationalError: the token was refused, or the host cannot be reached.
        NotSupportedError: an option of databricks-sql-connector that this package does not have.
        TypeError: an unknown option; the message suggests the nearest name.
    """
    return Connection(Session(**_session_arguments(**locals())))


def _session_arguments(connector_options: Mapping[str, object], **options: Any) -> dict[str, Any]:
    """Returns the arguments of `Session` for those of `connect`, which are checked."""
    _check_connector_options(connector_options)
    if options["server_hostname"] == "local" and options["http_path"] is None:
        from seakernel.local import LocalWarehouse

        warehouse = LocalWarehouse.shared()
        options["server_hostname"], options["http_path"] = warehouse.server_hostname, warehouse.http_path
        options["access_token"] = options["access_token"] or warehouse.access_token
    for name in ("http_path", "access_token"):
        if options[name] is None:
            raise ProgrammingError(f"`{name}` is missing", kind="InvalidArgument")
    if options["session_configuration"] is not None:
        options["session_configuration"] = dict(options["session_configuration"])
    return options


class Connection:
    """An open session. Threads may share it, each with a cursor of its own.

    Made by `connect`. There are no transactions: every statement is committed by itself. After a fork, a connection of
    the parent raises `InterfaceError` in the child, which must open its own.
    """

    Warning = exceptions.Warning
    Error = exceptions.Error
    InterfaceError = exceptions.InterfaceError
    DatabaseError = exceptions.DatabaseError
    DataError = exceptions.DataError
    OperationalError = exceptions.OperationalError
    IntegrityError = exceptions.IntegrityError
    InternalError = exceptions.InternalError
    ProgrammingError = exceptions.ProgrammingError
    NotSupportedError = exceptions.NotSupportedError

    def __init__(self, session: Session) -> None:
        self._session: Session | None = session
        self._session_id = session.session_id
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()

    @property
    def session_id(self) -> str:
        """The server's id of the session, also after `close`."""
        return self._session_id

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._session is None

    def cursor(self, arraysize: int = 1000) -> Cursor:
        """Returns a new cursor, on which one statement at a time runs.

        Args:
            arraysize: Rows that `fetchmany` returns when it is not told.
        """
        self._open_session()
        cursor = Cursor(self, arraysize)
        self._cursors.add(cursor)
        return cursor

    def submit(
        self, operation: str, parameters: Parameters | None = None, *, row_limit: int | None = None
    ) -> SubmittedStatement:
        """Sends a statement and returns as soon as the server has taken it; for long jobs, and for other processes.

        The statement runs on when the connection is closed and when the process ends: `Connection.attach` finds it again
        by its `statement_id`. Its session stays open on the server until `SubmittedStatement.close`, or until the
        server finds it idle.

        Args:
            operation: SQL text, as for `Cursor.execute`.
            parameters: Values for its markers, as for `Cursor.execute`.
            row_limit: Most rows the server returns.

        Raises:
            OperationalError: the connection failed, or the statement was refused. A statement that fails later says so
                when it is waited for.

        Example:
            >>> statement = connection.submit("SELECT id FROM range(3)")
            >>> elsewhere = connection.attach(statement.statement_id)
            >>> elsewhere.cursor().fetchall()
            [(0,), (1,), (2,)]
            >>> statement.close()
        """
        with self.cursor()._sending(operation, parameters, row_limit) as statement:  # noqa: SLF001 - one module, one protocol
            executed = statement.submit()
        executed.keep()
        return SubmittedStatement(self, executed)

    def attach(self, statement_id: str) -> SubmittedStatement:
        """Returns a statement that was sent before, by whomever, to follow it, read its result or end it.

        A server keeps a result for about an hour, and may give up a waiting statement that nobody asks about for a
        quarter of an hour.

        Args:
            statement_id: The server's id, such as `SubmittedStatement.statement_id` or `Cursor.statement_id`.

        Raises:
            ProgrammingError: the server does not know the statement, or knows it no more (kind `NotFound`).
        """
        executed = self._open_session().attach(statement_id)
        executed.keep()
        return SubmittedStatement(self, executed)

    def metadata(self) -> Metadata:
        """Returns what lists catalogs, schemas, tables and the like, as Arrow tables."""
        return self._open_session().metadata()

    def commit(self) -> None:
        """Does nothing: every statement is committed by itself."""
        self._open_session()

    def rollback(self) -> None:
        """Raises `NotSupportedError`: there are no transactions."""
        self._open_session()
        raise NotSupportedError("there are no transactions; every statement is committed by itself")

    def close(self) -> None:
        """Closes the session on the server, with every cursor; statements that still run end. Safe to call twice.

        Where `submit` has sent statements that were not closed, these run on and the server keeps the session.
        """
        session, self._session = self._session, None
        for cursor in list(self._cursors):
            cursor.close()
        if session is not None:
            session.close()

    def _open_session(self) -> Session:
        if self._session is None:
            raise InterfaceError("the connection is closed", kind="Closed")
        return self._session

    def __enter__(self) -> Self:
        self._open_session()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection session_id={self._session_id} closed={self.closed}>"


class SubmittedStatement:
    """A statement that runs on the server by itself, until it is closed there.

    Made by `Connection.submit` and `Connection.attach`. Threads may share it. Dropping it, closing the connection or ending
    the process leaves the statement alone: only `cancel` and `close` end it.
    """

    def __init__(self, connection: Connection, executed: ExecutedStatement) -> None:
        self._connection = connection
        self._executed = executed

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, by which `Connection.attach` finds it."""
        return self._executed.statement_id

    def state(self) -> StatementState:
        """Asks the server for the state, unless it is known to be final. A failed statement is no error here.

        Raises:
            ProgrammingError: the server does not know the statement any more (kind `NotFound`).
            OperationalError: the connection failed.
        """
        return self._executed.state()

    def cursor(self, arraysize: int = 1000) -> Cursor:
        """Waits until the statement has succeeded, and returns a new cursor on its result, at its first row.

        May be called again, also while another cursor reads. Ctrl-C ends the wait and leaves the statement running.

        Args:
            arraysize: Rows that `fetchmany` returns when it is not told.

        Raises:
            DatabaseError: by SQLSTATE class, where the statement failed.
            OperationalError: it was cancelled, or the connection failed.
            InterfaceError: its result was released before it could be read, or the connection is closed.
        """
        cursor = self._connection.cursor(arraysize)
        cursor._take_result(self._executed.results())  # noqa: SLF001 - one module, one protocol
        return cursor

    def cancel(self) -> None:
        """Asks the server to cancel; waiting for the statement raises when the server has ended it."""
        self._executed.cancel()

    def close(self) -> None:
        """Releases the statement and its result on the server, which also ends it if it still runs. Safe to call twice."""
        self._executed.close()

    def __repr__(self) -> str:
        return f"<SubmittedStatement statement_id={self.statement_id}>"


class Cursor:
    """Runs statements and reads their results, as rows or as Arrow; both share one position and may be mixed.

    Made by `Connection.cursor`. Use a cursor from one thread at a time; only `cancel` may be called from another.
    Every waiting call ends within a fraction of a second on Ctrl-C and loses no rows: a later fetch goes on where the
    last complete one ended. Ctrl-C during `execute` cancels the statement on the server.

    It is itself an Arrow stream: `pyarrow.table(cursor)`, `polars.DataFrame(cursor)` and the like take over the rows not
    yet fetched, once, without a copy.

    Attributes:
        arraysize: Rows that `fetchmany` returns when it is not told.
    """

    def __init__(self, connection: Connection, arraysize: int = 1000) -> None:
        self.arraysize = arraysize
        self._connection = connection
        self._closed = False
        self._statement: Statement | None = None
        self._statement_id: str | None = None
        # Absent also after statements without columns: there is nothing to read.
        self._result: ResultStream | None = None
        self._executed = False
        self._rowcount = -1

    @property
    def connection(self) -> Connection:
        """The connection that made this cursor."""
        return self._connection

    @property
    def description(self) -> list[DescriptionColumn] | None:
        """One 7-tuple per column: name, type code, None, None, precision, scale, None.

        Type codes are lower-case SQL names such as `int`, `bigint`, `decimal`, `string`; they equal the type objects of
        the module. Precision and scale are given for decimals. None before `execute`, after a failed one and for
        statements without columns.
        """
        if self._result is None:
            return None
        return [
            (column.name, _type_code(column), None, None, column.precision, column.scale, None)
            for column in self._result.columns
        ]

    @property
    def rowcount(self) -> int:
        """Rows of the result, or rows that INSERT, UPDATE, DELETE or MERGE changed; -1 where unknown."""
        return self._rowcount

    @property
    def statement_id(self) -> str | None:
        """The server's id of the running or last statement, also after a failure; None until the server has named it."""
        statement = self._statement
        return self._statement_id if statement is None else statement.statement_id

    @property
    def query_id(self) -> str | None:
        """Same as `statement_id`, under databricks-sql-connector's name."""
        return self.statement_id

    @property
    def statistics(self) -> Statistics | None:
        """What fetching the current result has cost so far; None without a result."""
        return None if self._result is None else self._result.statistics

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the current result."""
        return self._result is not None and self._result.truncated

    def execute(self, operation: str, parameters: Parameters | None = None, *, row_limit: int | None = None) -> Cursor:
        """Runs one statement and waits until its first rows are here.

        The previous result is closed first. When this raises, there is no result and no description, but
        `statement_id` names the statement that failed.

        Args:
            operation: SQL text with `:name` or `?` markers, never both.
            parameters: Mapping for `:name` or sequence for `?`. Types are inferred: bool BOOLEAN; int INT, BIGINT or
                DECIMAL(p,0); float DOUBLE; str STRING; bytes BINARY; Decimal DECIMAL(p,s); date DATE; naive datetime
                TIMESTAMP_NTZ and aware datetime TIMESTAMP, both exact; timedelta INTERVAL DAY TO SECOND; None VOID.
                `Parameter(value, sql_type)` names another type. Lists and dicts are refused, as by the server.
            row_limit: Most rows the server returns; `truncated` tells whether it cut the result.

        Returns:
            This cursor.

        Raises:
            Error: by SQLSTATE class where the statement failed; see `seakernel.exceptions`.
        """
        self._open_session()
        self._clear()
        with self._sending(operation, parameters, row_limit) as statement:
            self._take_result(statement.execute())
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Parameters]) -> Cursor:
        """Runs one statement per set of parameters, one after another; stops at the first failure.

        Returns:
            This cursor: `rowcount` is the sum, and the result is that of the last statement.
        """
        self._open_session()
        self._clear()
        total = 0
        for parameters in seq_of_parameters:
            self.execute(operation, parameters)
            total = -1 if self._rowcount < 0 or total < 0 else total + self._rowcount
        self._rowcount = total
        return self

    def cancel(self) -> None:
        """Ends what another thread is waiting for on this cursor; does nothing where nothing is under way.

        A waiting `execute` raises `OperationalError` with kind `Cancelled` as soon as the server has ended the
        statement; a cancel that comes before the server has named the statement is sent as soon as it has. A waiting
        fetch raises the same at once, and the result is gone.
        """
        statement, result = self._statement, self._result
        if statement is not None:
            statement.cancel()
        elif result is not None:
            result.cancel()

    def fetchone(self) -> tuple[Any, ...] | None:
        """Returns the next row, None after the last one."""
        return next(self._open_result(), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Returns the next `size` rows (default `arraysize`), fewer at the end, an empty list after the last one."""
        return self._open_result().rows(self._checked_size(size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Returns all remaining rows.

        A value that Python cannot hold, such as a date after the year 9999, raises `DataError` and no row is lost.
        """
        return self._open_result().rows()

    def fetchmany_arrow(self, size: int | None = None) -> pa.Table:
        """Returns the next `size` rows (default `arraysize`) as a `pyarrow.Table`, without a copy."""
        return self._open_result().take_pyarrow(self._checked_size(size))

    def fetchall_arrow(self) -> pa.Table:
        """Returns all remaining rows as a `pyarrow.Table`, without a copy."""
        return self._open_result().take_pyarrow()

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """Returns the remaining rows as a `pyarrow.RecordBatchReader` that downloads while it is read.

        At most `memory_budget_bytes` are held at once. It reads through this cursor: errors are those of this package,
        Ctrl-C works, and closing the cursor ends it. To give the rows away instead, hand over the cursor itself, as in
        `pyarrow.RecordBatchReader.from_stream(cursor)`.
        """
        import pyarrow as pa

        result = self._open_result()

        def batches() -> Iterator[pa.RecordBatch]:
            while (table := result.next_batch()) is not None:
                yield from pa.RecordBatchReader.from_stream(table)

        return pa.RecordBatchReader.from_batches(pa.schema(result), batches())

    def close(self) -> None:
        """Closes the cursor and releases its result. Safe to call twice."""
        self._closed = True
        self._clear()

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing, as PEP 249 allows."""

    def _clear(self) -> None:
        result, self._result = self._result, None
        self._executed = False
        self._statement_id = None
        self._rowcount = -1
        if result is not None:
            result.close()

    @contextlib.contextmanager
    def _sending(self, operation: str, parameters: Parameters | None, row_limit: int | None) -> Iterator[Statement]:
        """Makes the statement that this cursor runs in the `with`."""
        self._statement = None
        statement = self._statement = self._open_session().statement(operation, parameters, row_limit)
        try:
            yield statement
        finally:
            self._statement_id = statement.statement_id
            if self._statement_id is not None:
                # Else it was given up before the server has named it, which it may do yet.
                self._statement = None

    def _take_result(self, result: ResultStream) -> None:
        self._executed = True
        self._statement_id = result.statement_id
        if result.columns:
            self._result = result
            self._rowcount = _row_count(result)

    def _open_session(self) -> Session:
        if self._closed:
            raise InterfaceError("the cursor is closed", kind="Closed")
        return self._connection._open_session()  # noqa: SLF001 - one module, one protocol

    def _open_result(self) -> ResultStream:
        if self._result is not None:
            return self._result
        self._open_session()
        what = "the statement has no result set" if self._executed else "no statement was executed"
        raise ProgrammingError(f"there is nothing to fetch: {what}", kind="InvalidArgument")

    def _checked_size(self, size: int | None) -> int:
        rows = self.arraysize if size is None else size
        if rows < 0:
            raise ProgrammingError(
                f"cannot fetch {rows} rows; expected a number that is not negative", kind="InvalidArgument"
            )
        return rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._open_result().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._open_result().__arrow_c_schema__()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, ...]:
        return next(self._open_result())

    def __enter__(self) -> Self:
        self._open_session()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Cursor statement_id={self.statement_id} closed={self._closed}>"


def _check_connector_options(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if any(value is accepted or value == accepted for accepted in _ACCEPTED.get(name, ())):
            continue
        if name in _INSTEAD:
            raise NotSupportedError(f"option `{name}` is not supported: {_INSTEAD[name]}", kind="InvalidArgument")
        if name in _ACCEPTED:
            accepted = " or ".join(map(repr, _ACCEPTED[name]))
            raise NotSupportedError(f"option `{name}` can only be {accepted} here", kind="InvalidArgument")
        nearest = difflib.get_close_matches(name, [*_options(), *_ACCEPTED, *_INSTEAD], 1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        raise TypeError(f"connect() got an unexpected option `{name}`{hint}")


def _options() -> list[str]:
    return [name for name in connect.__annotations__ if name not in {"connector_options", "return"}]


def _type_code(column: Column) -> str:
    if column.type_name == "INTERVAL":
        year_month = "YEAR" in column.type_text or "MONTH" in column.type_text
        return "interval_year_month" if year_month else "interval_day_time"
    return _TYPE_CODES.get(column.type_name, column.type_name.lower())


def _row_count(result: ResultStream) -> int:
    if result.modified_row_count is not None:
        return result.modified_row_count
    return -1 if result.total_row_count is None or result.truncated else result.total_row_count
