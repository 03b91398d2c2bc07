"""The surface of databricks-sql-kernel 1.3.0 over this kernel, with `ExecutedAsyncStatement.reader()` of its successor.

Names, signatures, return types, `repr`s and error codes are the original's. `seakernel.compat.install()` lets
`import databricks_sql_kernel` find this module; databricks-sql-connector then runs on it with `use_kernel=True`. Where this
kernel does better, `docs/under-databricks-sql-connector.md` says so. `__version__` is that of the original that is stood in
for; `seakernel.__version__` is our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seakernel
from seakernel.compat import _log
from seakernel.compat._arguments import session_options, text, whole_number
from seakernel.compat._kernel_error import KernelError, from_ours, kernel_error, kernel_errors
from seakernel.compat._listed import Listed
from seakernel.compat._runs import Run, Target, Turns
from seakernel.compat._sealed import Sealed

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import Self

__all__ = [
    "ExecutedAsyncStatement",
    "ExecutedStatement",
    "KernelError",
    "Metadata",
    "ResultStream",
    "Session",
    "Statement",
    "StatementCanceller",
    "__version__",
    "init_logging",
    "reset_logging",
]

__version__ = "1.3.0"

# Code that catches the error by its module, or pickles it, finds it here.
KernelError.__module__ = __name__

_STATES = {"Canceled": "Cancelled", "Unknown": "Running"}
_ENDED = ("Succeeded", "Failed", "Cancelled", "Closed")


def init_logging() -> bool:
    """Routes the kernel's log to the logger `databricks.sql.kernel` of Python's `logging`.

    Returns:
        Whether this call did it; `seakernel.compat.install()` does it as well.
    """
    return _log.bridge()


def reset_logging() -> None:
    """Has log levels that were set meanwhile take effect now."""
    seakernel.forget_log_levels()


class Session(Sealed):
    """An open session on a SQL warehouse. Threads may share it."""

    __slots__ = ("_session",)
    _session: seakernel.Session | None

    def __new__(
        cls,
        host: str,
        http_path: str,
        *,
        auth_type: str | None = None,
        access_token: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        oauth_scopes: list[str] | None = None,
        token_url: str | None = None,
        redirect_ports: list[int] | None = None,
        oauth_callback_timeout_secs: int | None = None,
        jwt_key_file: str | None = None,
        jwt_kid: str | None = None,
        jwt_passphrase: str | None = None,
        jwt_algorithm: str | None = None,
        identity_federation_client_id: str | None = None,
        azure_client_id: str | None = None,
        azure_client_secret: str | None = None,
        azure_tenant_id: str | None = None,
        azure_workspace_resource_id: str | None = None,
        token_cache_enabled: bool | None = None,
        token_cache_passphrase: str | None = None,
        tls_ca_cert: bytes | None = None,
        tls_skip_verify: bool = False,
        tls_skip_hostname_verify: bool = False,
        tls_client_cert: bytes | None = None,
        tls_client_key: bytes | None = None,
        sea_response_compression_enabled: bool = False,
        request_timeout_secs: float | None = None,
        max_connections: int | None = None,
        retry_min_wait_secs: int | None = None,
        retry_max_wait_secs: int | None = None,
        retry_max_attempts: int | None = None,
        retry_overall_timeout_secs: int | None = None,
        http_headers: list[tuple[str, str]] | None = None,
        catalog: str | None = None,
        schema: str | None = None,
        session_conf: dict[str, str] | None = None,
        enable_geospatial_support: bool = True,
        driver_name: str | None = None,
        driver_version: str | None = None,
        runtime_name: str | None = None,
        runtime_version: str | None = None,
        runtime_vendor: str | None = None,
        os_name: str | None = None,
        os_version: str | None = None,
        os_arch: str | None = None,
        client_app_name: str | None = None,
        locale_name: str | None = None,
        char_set_encoding: str | None = None,
        process_name: str | None = None,
        complex_types_as_json: bool = False,
        intervals_as_string: bool = False,
        telemetry_enabled: bool | None = None,
        telemetry_batch_size: int | None = None,
        telemetry_flush_interval_ms: int | None = None,
        telemetry_max_retries: int | None = None,
        telemetry_retry_delay_ms: int | None = None,
        telemetry_close_flush_timeout_ms: int | None = None,
        telemetry_circuit_breaker_enabled: bool | None = None,
        telemetry_circuit_breaker_threshold: int | None = None,
        telemetry_circuit_breaker_timeout_ms: int | None = None,
    ) -> Self:
        """Opens a session; blocks until the server has answered, and ends promptly on Ctrl-C.

        The keywords are the original's. Those about telemetry and about the program are checked and otherwise ignored:
        nothing is reported to anybody. `sea_response_compression_enabled` is ignored too: answers come uncompressed.
        """
        options = session_options(locals())
        self = object.__new__(cls)
        with kernel_errors():
            self._session = seakernel.Session(**options)
        return self

    @property
    def session_id(self) -> str:
        """The server's id of the session."""
        return self._open().session_id

    def statement(self, /) -> Statement:
        """Returns a new statement of this session."""
        return Statement._of(self._open())  # noqa: SLF001

    def metadata(self, /) -> Metadata:
        """Returns a handle for catalogs, schemas, tables and the like."""
        return Metadata._of(self._open())  # noqa: SLF001

    def attach_async_statement(self, /, statement_id: str) -> ExecutedAsyncStatement:
        """Returns a read-only handle on a statement that was sent before, by whomever; asks the server once."""
        session = self._open()
        with kernel_errors():
            executed = session.attach(text("statement_id", statement_id))
        return ExecutedAsyncStatement._of(executed)  # noqa: SLF001

    def close(self, /) -> None:
        """Closes the session on the server. Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            with kernel_errors():
                session.close()

    def _open(self) -> seakernel.Session:
        if self._session is None:
            raise kernel_error("InvalidStatementHandle", "Session is closed")
        return self._session

    def __repr__(self) -> str:
        session = self._session
        return (
            "Session(closed=True)" if session is None else f'Session(session_id="{session.session_id}", closed=False)'
        )


class Statement(Sealed):
    """SQL with its parameters and limits; may be executed more than once.

    Threads may share it: a call waits while another thread's `execute` or `submit` is under way.
    """

    __slots__ = (
        "_closed",
        "_named",
        "_positional",
        "_row_limit",
        "_run",
        "_session",
        "_sql",
        "_tags",
        "_target",
        "_turns",
    )
    _session: seakernel.Session
    _sql: str | None
    _row_limit: int | None
    _tags: list[tuple[str, str | None]]
    _positional: dict[int, seakernel.Parameter]
    _named: dict[str, seakernel.Parameter]
    _run: Run | None
    _target: Target
    _turns: Turns
    _closed: bool

    @classmethod
    def _of(cls, session: seakernel.Session) -> Self:
        self = object.__new__(cls)
        self._session = session
        self._sql = None
        self._row_limit = None
        self._tags = []
        self._positional = {}
        self._named = {}
        self._run = None
        self._target = Target()
        self._turns = Turns()
        self._closed = False
        return self

    def set_sql(self, /, sql: str) -> None:
        """Replaces the SQL text, and forgets the parameters."""
        with self._turns:
            self._check_open()
            self._sql = text("sql", sql)
            self._positional = {}
            self._named = {}

    def set_row_limit(self, /, row_limit: int | None) -> None:
        """Sets the most rows the server returns; None for no limit."""
        limit = None if row_limit is None else whole_number("row_limit", row_limit, bits=64, signed=True)
        with self._turns:
            self._check_open()
            self._row_limit = limit

    def set_query_tags(self, /, tags: dict[str, str | None]) -> None:
        """Sets tags for the warehouse's query history, once; a tag without a value is a key alone."""
        if not isinstance(tags, dict):
            raise TypeError(f"'{type(tags).__name__}' object is not an instance of 'dict' (argument 'tags')")
        given = [(text("tags", key), None if value is None else text("tags", value)) for key, value in tags.items()]
        with self._turns:
            self._check_open()
            if given and self._tags:
                raise kernel_error("InvalidArgument", "the statement has query tags already")
            self._tags = given or self._tags

    def bind_param(self, /, ordinal: int, value_str: str | None, sql_type: str) -> None:
        """Binds the value of a `?` marker; `ordinal` counts from 1."""
        place = whole_number("ordinal", ordinal, bits=64, signed=True)
        if place < 1:
            raise kernel_error("InvalidArgument", "the ordinal of a positional parameter is 1 or more")
        with self._turns:
            self._check_open()
            self._positional[place] = _parameter(value_str, sql_type)

    def bind_named_param(self, /, name: str, value_str: str | None, sql_type: str) -> None:
        """Binds the value of a `:name` marker."""
        if not text("name", name):
            raise kernel_error("InvalidArgument", "the name of a parameter is empty")
        with self._turns:
            self._check_open()
            self._named[name] = _parameter(value_str, sql_type)

    def execute(self, /) -> ExecutedStatement:
        """Runs the statement and waits for its result; Ctrl-C ends the wait and cancels the statement on the server."""
        with self._turns:
            statement = self._send()
            with kernel_errors():
                stream = statement.execute()
            self._run = Run()
            return ExecutedStatement._of(stream, statement, self._run)  # noqa: SLF001

    def submit(self, /) -> ExecutedAsyncStatement:
        """Sends the statement and returns as soon as the server has taken it."""
        with self._turns:
            statement = self._send()
            with kernel_errors():
                executed = statement.submit()
            self._run = Run(executed)
            return ExecutedAsyncStatement._of(executed, self._run)  # noqa: SLF001

    def canceller(self, /) -> StatementCanceller:
        """Returns what cancels `execute` from another thread; take it before."""
        # No turn is waited for: it may be wanted while `execute` runs.
        self._check_open()
        return StatementCanceller._of(self._target)  # noqa: SLF001

    def close(self, /) -> None:
        """Ends what was executed through this object. Safe to call twice."""
        if self._turns.are_elsewhere():
            return
        with self._turns:
            self._closed = True
            self._end_run()

    def _send(self) -> seakernel.Statement:
        """Returns the statement of ours, ready to be sent, at which cancellers aim from now on."""
        self._check_open()
        if self._sql is None:
            raise kernel_error("InvalidArgument", "set_sql() was not called")
        parameters = self._parameters()
        self._end_run()
        with kernel_errors():
            statement = self._session.statement(self._sql, parameters, self._row_limit, self._tags)
        target = self._target
        target.statement = statement
        if target.requested:
            target.requested = False
            with kernel_errors():
                statement.cancel()
        return statement

    def _parameters(self) -> list[seakernel.Parameter] | dict[str, seakernel.Parameter] | None:
        if self._named and self._positional:
            raise kernel_error("InvalidArgument", "named and positional parameters cannot be mixed in one statement")
        if self._named:
            return self._named
        missing = set(range(1, max(self._positional, default=0) + 1)) - set(self._positional)
        if missing:
            raise kernel_error("InvalidArgument", f"positional parameter {min(missing)} has no value")
        return [self._positional[place] for place in sorted(self._positional)] or None

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.end()

    def _check_open(self) -> None:
        if self._closed:
            raise kernel_error("InvalidStatementHandle", "Statement is closed")


def _parameter(value: str | None, sql_type: str) -> seakernel.Parameter:
    checked = None if value is None else text("value_str", value)
    with kernel_errors():
        return seakernel.Parameter.from_text(checked, text("sql_type", sql_type))


class StatementCanceller(Sealed):
    """Cancels what a `Statement` executes, from any thread."""

    __slots__ = ("_target",)
    _target: Target

    @classmethod
    def _of(cls, target: Target) -> Self:
        self = object.__new__(cls)
        self._target = target
        return self

    def cancel(self, /) -> None:
        """Asks the server to cancel. Before the server has named the statement, it is asked as soon as it has."""
        statement = self._target.statement
        if statement is None:
            # Nothing was sent yet: the first thing that will be is meant.
            self._target.requested = True
            return
        with kernel_errors():
            statement.cancel()

    def statement_id(self, /) -> str | None:
        """Returns the server's id of the statement, None until the server has named it."""
        statement = self._target.statement
        return None if statement is None else statement.statement_id


class ExecutedStatement(Sealed):
    """A statement that has succeeded, and its result."""

    __slots__ = ("_closed", "_run", "_statement", "_stream")
    _stream: seakernel.ResultStream
    _statement: seakernel.Statement
    _run: Run
    _closed: bool

    @classmethod
    def _of(cls, stream: seakernel.ResultStream, statement: seakernel.Statement, run: Run) -> Self:
        self = object.__new__(cls)
        self._stream = stream
        self._statement = statement
        self._run = run
        self._closed = False
        return self

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, also after `close`."""
        return self._stream.statement_id

    @property
    def num_modified_rows(self) -> int | None:
        """Rows that the statement has changed; None where the server does not tell, and for queries."""
        return self._stream.modified_row_count

    def arrow_schema(self, /) -> pa.Schema:
        """Returns the schema of the result, also after `close`."""
        return _schema(self._stream)

    def fetch_next_batch(self, /) -> pa.RecordBatch | None:
        """Returns the next rows, None after the last ones. An interrupted call loses nothing."""
        return _next_batch(self._open())

    def fetch_all_arrow(self, /) -> pa.Table:
        """Returns all rows that are left."""
        return _all_batches(self._open())

    def cancel(self, /) -> None:
        """Asks the server to cancel the statement."""
        self._open()
        self._run.check()
        with kernel_errors():
            self._statement.cancel()

    def close(self, /) -> None:
        """Releases the result on the server. Safe to call twice."""
        self._closed = True
        with kernel_errors():
            self._stream.close()

    def _open(self) -> seakernel.ResultStream:
        if self._closed:
            raise kernel_error("InvalidStatementHandle", "ExecutedStatement is closed", query_id=self.statement_id)
        return self._stream

    def __repr__(self) -> str:
        return f'ExecutedStatement(statement_id="{self.statement_id}", state={_open_or_closed(self._closed)})'


class ExecutedAsyncStatement(Sealed):
    """A statement that the server has taken, running or done. Threads may share it."""

    __slots__ = ("_closed", "_executed", "_run")
    _executed: seakernel.ExecutedStatement
    _run: Run
    _closed: bool

    @classmethod
    def _of(cls, executed: seakernel.ExecutedStatement, run: Run | None = None) -> Self:
        self = object.__new__(cls)
        self._executed = executed
        self._run = run or Run()
        self._closed = False
        return self

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, also after `close`."""
        return self._executed.statement_id

    def status(self, /) -> tuple[str, KernelError | None]:
        """Returns the state, and for `Failed` why: `Pending`, `Running`, `Succeeded`, `Failed`, `Cancelled` or `Closed`."""
        executed = self._open()
        with kernel_errors():
            state = executed.state()
        if state != "Failed":
            return _STATES.get(state, state), None
        try:
            executed.wait()
        except seakernel.Error as error:
            return state, from_ours(error)
        return state, None

    def await_result(self, /) -> ResultStream:
        """Waits until the statement is done and returns its result, from the first row, each time anew."""
        executed = self._open()
        with kernel_errors():
            return ResultStream._of(executed.results())  # noqa: SLF001

    def fetch_result(self, /) -> ResultStream:
        """Returns the result, as `await_result`, of a statement that is known to be done."""
        executed = self._open()
        with kernel_errors():
            told = executed.state()
        state = _STATES.get(told, told)
        if state not in _ENDED:
            raise kernel_error(
                "InvalidArgument",
                f"statement {self.statement_id} is not done (status: {state}); call await_result(), or wait until "
                "status() says Succeeded",
                query_id=self.statement_id,
            )
        return self.await_result()

    def reader(self, /) -> ExecutedAsyncStatement:
        """Returns an independent, read-only handle on the same statement, for instance for another thread."""
        executed = self._open()
        with kernel_errors():
            return ExecutedAsyncStatement._of(executed.reader())

    def cancel(self, /) -> None:
        """Asks the server to cancel the statement; a read-only handle cannot."""
        executed = self._open()
        with kernel_errors():
            executed.cancel()

    def close(self, /) -> None:
        """Closes the statement on the server, unless the handle is read-only. Safe to call twice."""
        self._closed = True
        with kernel_errors():
            self._executed.close()

    def _open(self) -> seakernel.ExecutedStatement:
        if self._closed:
            raise kernel_error("InvalidStatementHandle", "ExecutedAsyncStatement is closed", query_id=self.statement_id)
        self._run.check()
        return self._executed

    def __repr__(self) -> str:
        return f'ExecutedAsyncStatement(statement_id="{self.statement_id}", state={_open_or_closed(self._closed)})'


class Metadata(Sealed):
    """Catalogs, schemas, tables and the like of a session, as listings in JDBC's columns.

    Patterns are LIKE patterns, None does not filter, and the empty text matches nothing; see `seakernel.Metadata`.
    """

    __slots__ = ("_session",)
    _session: seakernel.Session

    @classmethod
    def _of(cls, session: seakernel.Session) -> Self:
        self = object.__new__(cls)
        self._session = session
        return self

    def list_catalogs(self, /) -> ResultStream:
        """Lists all catalogs."""
        with kernel_errors():
            return _listing(self._session.metadata().catalogs())

    def list_schemas(self, /, *, catalog: str | None = None, schema_pattern: str | None = None) -> ResultStream:
        """Lists schemas of one catalog, or of all."""
        with kernel_errors():
            return _listing(self._session.metadata().schemas(catalog=catalog, schema_pattern=schema_pattern))

    def list_tables(
        self,
        /,
        *,
        catalog: str | None = None,
        schema_pattern: str | None = None,
        table_pattern: str | None = None,
        table_types: list[str] | None = None,
    ) -> ResultStream:
        """Lists tables and views; here, `catalog` is a pattern too."""
        with kernel_errors():
            return _listing(
                self._session.metadata().tables(
                    catalog_pattern=catalog,
                    schema_pattern=schema_pattern,
                    table_pattern=table_pattern,
                    table_types=table_types,
                )
            )

    def list_columns(
        self,
        /,
        *,
        catalog: str | None = None,
        schema_pattern: str | None = None,
        table_pattern: str | None = None,
        column_pattern: str | None = None,
    ) -> ResultStream:
        """Lists columns of the tables of one catalog, or of all."""
        with kernel_errors():
            return _listing(
                self._session.metadata().columns(
                    catalog=catalog,
                    schema_pattern=schema_pattern,
                    table_pattern=table_pattern,
                    column_pattern=column_pattern,
                )
            )

    def primary_keys(self, /, *, catalog: str, schema: str, table: str) -> ResultStream:
        """Lists the columns of a table's primary key."""
        with kernel_errors():
            return _listing(self._session.metadata().primary_keys(catalog=catalog, schema=schema, table=table))

    def foreign_keys(
        self,
        /,
        *,
        parent_catalog: str | None = None,
        parent_schema: str | None = None,
        parent_table: str | None = None,
        foreign_catalog: str,
        foreign_schema: str,
        foreign_table: str,
    ) -> ResultStream:
        """Lists the columns of a table's foreign keys, of those to the parent's tables where one is named."""
        with kernel_errors():
            return _listing(
                self._session.metadata().foreign_keys(
                    parent_catalog=parent_catalog,
                    parent_schema=parent_schema,
                    parent_table=parent_table,
                    foreign_catalog=foreign_catalog,
                    foreign_schema=foreign_schema,
                    foreign_table=foreign_table,
                )
            )

    def functions(
        self, /, *, catalog: str | None = None, schema_pattern: str | None = None, name_pattern: str | None = None
    ) -> ResultStream:
        """Lists functions."""
        with kernel_errors():
            return _listing(
                self._session.metadata().functions(
                    catalog=catalog, schema_pattern=schema_pattern, name_pattern=name_pattern
                )
            )

    def procedures(
        self, /, *, catalog: str | None = None, schema_pattern: str | None = None, name_pattern: str | None = None
    ) -> ResultStream:
        """Lists procedures."""
        with kernel_errors():
            return _listing(
                self._session.metadata().procedures(
                    catalog=catalog, schema_pattern=schema_pattern, name_pattern=name_pattern
                )
            )

    def table_types(self, /) -> ResultStream:
        """Lists the types of tables, without a request."""
        return _listing(self._session.metadata().table_types())

    def type_info(self, /) -> ResultStream:
        """Lists the SQL types, without a request."""
        return _listing(self._session.metadata().type_info())


class ResultStream(Sealed):
    """The rows of a submitted statement, or of a listing, read once."""

    __slots__ = ("_closed", "_stream")
    _stream: seakernel.ResultStream | Listed
    _closed: bool

    @classmethod
    def _of(cls, stream: seakernel.ResultStream | Listed) -> Self:
        self = object.__new__(cls)
        self._stream = stream
        self._closed = False
        return self

    def arrow_schema(self, /) -> pa.Schema:
        """Returns the schema, also after `close`."""
        return _schema(self._stream)

    def fetch_next_batch(self, /) -> pa.RecordBatch | None:
        """Returns the next rows, None after the last ones. An interrupted call loses nothing."""
        return _next_batch(self._open())

    def fetch_all_arrow(self, /) -> pa.Table:
        """Returns all rows that are left."""
        return _all_batches(self._open())

    def close(self, /) -> None:
        """Ends the fetching. Safe to call twice."""
        self._closed = True
        with kernel_errors():
            self._stream.close()

    def _open(self) -> seakernel.ResultStream | Listed:
        if self._closed:
            raise kernel_error("InvalidStatementHandle", "ResultStream is closed")
        return self._stream

    def __repr__(self) -> str:
        return f"ResultStream(state={_open_or_closed(self._closed)})"


def _open_or_closed(closed: bool) -> str:
    return "closed" if closed else "open"


def _listing(table: seakernel.ArrowTable) -> ResultStream:
    return ResultStream._of(Listed(table))  # noqa: SLF001


def _schema(stream: seakernel.ResultStream | Listed) -> pa.Schema:
    import pyarrow as pa

    exporter: Any = stream
    return pa.schema(exporter)


# Not under `kernel_errors`: a signal that came while that ends would lose rows that were just received.
def _next_batch(stream: seakernel.ResultStream | Listed) -> pa.RecordBatch | None:
    try:
        return stream.next_pyarrow_batch()
    except seakernel.Error as error:
        raise from_ours(error) from error


def _all_batches(stream: seakernel.ResultStream | Listed) -> pa.Table:
    try:
        return stream.take_pyarrow()
    except seakernel.Error as error:
        raise from_ours(error) from error
