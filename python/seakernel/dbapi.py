"""PEP 249: connections and cursors over one session each."""

from __future__ import annotations

import contextlib
import sys
import time
import weakref
from typing import TYPE_CHECKING, Literal

from seakernel import exceptions
from seakernel._seakernel import Session, with_native_markers
from seakernel.exceptions import InterfaceError, NotSupportedError, OperationalError, ProgrammingError
from seakernel.executemany import ParameterSets
from seakernel.hints import sql_excerpt
from seakernel.options import forget_locals, session_arguments
from seakernel.partitions import PartitionLease
from seakernel.preview import Preview
from seakernel.progress import Observer
from seakernel.results import ArrowReads
from seakernel.volumes import Volume, allowed_paths, transfer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, BinaryIO

    import pyarrow as pa
    from seakernel_datafusion import Catalog, Table
    from typing_extensions import Self

    from seakernel._seakernel import (
        Column,
        ExecutedStatement,
        Metadata,
        ResultStream,
        Statement,
        Statistics,
        VolumeOperation,
    )
    from seakernel.ingest import IngestMode
    from seakernel.progress import ProgressOption
    from seakernel.row import Row
    from seakernel.types import (
        ArrowStreamExportable,
        Auth,
        DescriptionColumn,
        Parameters,
        ProxyOption,
        RequestOptions,
        ResultOptions,
        RetryOptions,
        StatementState,
        TlsOptions,
    )
    from seakernel.volumes import LocalPath

__all__ = ["Connection", "Cursor", "SubmittedStatement", "apilevel", "connect", "paramstyle", "threadsafety"]

apilevel = "2.0"
threadsafety = 2
paramstyle = "named"

_TYPE_CODES = {
    "BYTE": "tinyint",
    "SHORT": "smallint",
    "LONG": "bigint",
    "CHAR": "string",
    "TIMESTAMP_NTZ": "timestamp",
}


def connect(
    server_hostname: str | None = None,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    auth: Auth | None = None,
    warehouse_id: str | None = None,
    profile: str | None = None,
    catalog: str | None = None,
    schema: str | None = None,
    session_configuration: Mapping[str, str | float] | None = None,
    query_tags: Mapping[str, str | None] | None = None,
    user_agent_entry: str | None = None,
    results: ResultOptions | None = None,
    retry: RetryOptions | None = None,
    requests: RequestOptions | None = None,
    tls: TlsOptions | None = None,
    proxy: ProxyOption = None,
    connect_timeout_s: float | None = None,
    read_timeout_s: float | None = None,
    progress: ProgressOption = None,
    staging_allowed_local_path: LocalPath | Sequence[LocalPath] | None = None,
    **connector_options: object,
) -> Connection:
    """Opens a session on a SQL warehouse.

    Blocks until the session is open; Ctrl-C ends the wait. A warehouse that is stopped starts with the first statement.

    Host, warehouse and token that are not given come from the environment (`DATABRICKS_HOST`, `DATABRICKS_TOKEN`,
    `DATABRICKS_WAREHOUSE_ID` or `DATABRICKS_HTTP_PATH`), and what is missing there from a profile of `~/.databrickscfg`
    (keys `host`, `token`, `warehouse_id` or `http_path`): the one that `DATABRICKS_CONFIG_PROFILE` names, or `DEFAULT`.
    A place that names another host than the one found before is passed over: its token is not for that host.
    `python -m seakernel doctor` shows what is found where.

    Args:
        server_hostname: Host of the workspace, such as `dbc-a1b2.cloud.databricks.com`; or `local` alone, for the
            embedded warehouse of `seakernel.local`.
        http_path: Path of the warehouse, `/sql/1.0/warehouses/{id}`, with `?o={workspace id}` where one host serves
            several workspaces.
        access_token: Personal access token, or any other bearer token. It is never renewed.
        auth: How to sign in otherwise than with a token: a group of options by its `type`, see `AuthOptions`; a callable that
            returns tokens or headers, see `CallableAuth`; or a `Config`, `WorkspaceClient` or token source of databricks-sdk.
        warehouse_id: The last part of `http_path`, in its place.
        profile: Profile of `~/.databrickscfg`, or of the file that `DATABRICKS_CONFIG_FILE` names; it goes before the
            environment.
        catalog: Initial catalog; the warehouse's default when absent.
        schema: Initial schema; the warehouse's default when absent.
        session_configuration: Session parameters such as `{"ANSI_MODE": "true", "TIMEZONE": "UTC"}`.
        query_tags: Tags of every statement for the warehouse's query history: keys with values, or with None.
        user_agent_entry: Name of the application, for the warehouse's query history.
        results: How results are fetched; see `ResultOptions`.
        retry: How requests are repeated; see `RetryOptions`.
        requests: Own headers and limits of requests to the workspace; see `RequestOptions`.
        tls: Own certificate authorities, a client certificate, and what is verified; see `TlsOptions`.
        proxy: Address of the proxy for everything, such as `http://user:password@host:port`; a group, see `ProxyOptions`;
            or False for none. By default that of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, and none for this
            machine.
        connect_timeout_s: Seconds to establish a connection, TLS included. Default 30.
        read_timeout_s: Longest silence while an answer is read, in seconds. Default 900, for the server may hold an
            answer until a statement is done.
        staging_allowed_local_path: Local files and directories that PUT and GET statements may read and write, symbolic
            links resolved. Without it such a statement raises. `Connection.volume` needs no such leave.
        progress: A callable that gets a `Progress` five times a second while a cursor waits; or whether to show it, on the
            terminal with rich or tqdm where one is installed, or as a line of text. By default it is shown, after a
            second, where stderr is a terminal, and in notebooks. A callback that fails is reported once, through
            `sys.unraisablehook`, and not called again.
        connector_options: Keywords of databricks-sql-connector. What this package has too is used; the others raise and
            say why, unless they ask for what this package does anyway.

    Returns:
        The connection; close it, or use it in a `with`.

    Raises:
        ProgrammingError: an argument has a wrong value or is found nowhere, or the warehouse does not exist.
        OperationalError: the token was refused, or the host cannot be reached.
        NotSupportedError: an option of databricks-sql-connector, or a way of signing in, that this package does not have.
        TypeError: an unknown option; the message suggests the nearest name.

    Example:
        >>> with seakernel.connect("local", session_configuration={"TIMEZONE": "Europe/Berlin"}) as connection:
        ...     connection.cursor().execute("SELECT current_timezone() AS zone").fetchone()
        Row(zone='Europe/Berlin')
    """
    arguments = locals()
    allowed_local_paths = allowed_paths(staging_allowed_local_path)
    try:
        session = Session(**session_arguments(**arguments))
    except BaseException as error:
        forget_locals(error)
        del arguments, server_hostname, access_token, auth, requests, tls, proxy, connector_options
        raise
    return Connection(session, allowed_local_paths=allowed_local_paths, progress=progress, profile=profile)


class Connection:
    """An open session. Threads may share it, each with a cursor of its own.

    Made by `connect`. There are no transactions: every statement is committed by itself. After a fork, a connection of
    the parent raises `InterfaceError` in the child, which must open its own.

    Servers end sessions that were idle for hours. A statement refused for that reason has not run, and is sent in a new
    session; not after statements such as USE, SET or CREATE TEMPORARY VIEW, whose effects the new one would lack: then
    `execute` raises `InterfaceError`, and a new connection is needed.

    Example:
        >>> with seakernel.connect("local") as connection, connection.cursor() as cursor:
        ...     cursor.execute("SELECT current_catalog() AS catalog").fetchone()
        Row(catalog='main')
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

    def __init__(
        self,
        session: Session,
        *,
        allowed_local_paths: Sequence[str] | None = None,
        progress: ProgressOption = None,
        profile: str | None = None,
    ) -> None:
        self._session: Session | None = session
        self._profile = profile
        self._allowed_local_paths = allowed_local_paths
        self._progress: ProgressOption = progress
        self._session_id = session.session_id  # of the session it had last
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()

    @property
    def session_id(self) -> str:
        """The server's id of the session, also after `close`. It changes where a new session had to be opened.

        Example:
            >>> connection.session_id == seakernel.connect("local").session_id
            False
        """
        if self._session is not None:
            self._session_id = self._session.session_id
        return self._session_id

    @property
    def closed(self) -> bool:
        """Whether `close` was called.

        Example:
            >>> connection.close()
            >>> connection.closed
            True
        """
        return self._session is None

    def cursor(self, arraysize: int = 1000) -> Cursor:
        """Returns a new cursor, on which one statement at a time runs.

        Args:
            arraysize: Rows that `fetchmany` returns when it is not told.

        Example:
            >>> with connection.cursor(arraysize=2) as cursor:
            ...     cursor.execute("SELECT id FROM range(5)").fetchmany()
            [Row(id=0), Row(id=1)]
        """
        self._open_session()
        cursor = Cursor(self, arraysize)
        self._cursors.add(cursor)
        return cursor

    def submit(
        self,
        operation: str,
        parameters: Parameters | None = None,
        *,
        row_limit: int | None = None,
        query_tags: Mapping[str, str | None] | None = None,
    ) -> SubmittedStatement:
        """Sends a statement and returns as soon as the server has taken it; for long jobs, and for other processes.

        The statement runs on when the connection is closed and when the process ends: `Connection.attach` finds it again
        by its `statement_id`. Its session stays open on the server until `SubmittedStatement.close`, or until the
        server finds it idle.

        Args:
            operation: SQL text, as for `Cursor.execute`.
            parameters: Values for its markers, as for `Cursor.execute`.
            row_limit: Most rows the server returns.
            query_tags: Tags of this statement, as for `Cursor.execute`.

        Raises:
            OperationalError: the connection failed, or the statement was refused. A statement that fails later says so
                when it is waited for.

        Example:
            >>> statement = connection.submit("SELECT id FROM range(3)")
            >>> elsewhere = connection.attach(statement.statement_id)
            >>> elsewhere.cursor().fetchall()
            [Row(id=0), Row(id=1), Row(id=2)]
            >>> statement.close()
        """
        statement, _ = self._prepared(operation, parameters, row_limit, query_tags, None)
        executed = statement.submit()
        executed.keep()
        return SubmittedStatement(self, executed)

    def attach(self, statement_id: str) -> SubmittedStatement:
        """Returns a statement that was sent before, by whomever, to follow it, read its result or end it.

        A server keeps a result for about an hour, and may give up a waiting statement that nobody asks about for a
        quarter of an hour. A cursor's statement is closed on the server as soon as its result has arrived.

        Args:
            statement_id: The server's id, such as `SubmittedStatement.statement_id`, or that of another program.

        Raises:
            ProgrammingError: the server does not know the statement, or knows it no more (kind `NotFound`).

        Example:
            >>> statement_id = connection.submit("SELECT count(*) AS n FROM range(1000000)").statement_id
            >>> connection.attach(statement_id).cursor().fetchone()  # also elsewhere, and later
            Row(n=1000000)
        """
        executed = self._open_session().attach(statement_id)
        executed.keep()
        return SubmittedStatement(self, executed)

    def metadata(self) -> Metadata:
        """Returns what lists catalogs, schemas, tables and the like, as Arrow tables.

        Example:
            >>> import polars
            >>> polars.DataFrame(connection.metadata().schemas(catalog="samples"))["TABLE_SCHEM"].to_list()
            ['information_schema', 'nycflights13', 'tpch']
        """
        return self._open_session().metadata()

    @property
    def autocommit(self) -> bool:
        """True: every statement is committed by itself. Setting it to anything else raises `NotSupportedError`.

        Example:
            >>> connection.autocommit
            True
            >>> connection.autocommit = False
            Traceback (most recent call last):
                ...
            seakernel.exceptions.NotSupportedError: there are no transactions; `autocommit` can only be True
        """
        return True

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._open_session()
        if value is not True:
            raise NotSupportedError("there are no transactions; `autocommit` can only be True", kind="InvalidArgument")

    @property
    def volume(self) -> Volume:
        """What uploads, downloads, deletes and lists the files of volumes.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            6
            >>> connection.volume.get("/Volumes/main/default/files/prices.csv")
            b'1,9.90'
        """
        self._open_session()
        return Volume(self)

    def ingest(
        self,
        table: str,
        data: ArrowStreamExportable,
        *,
        volume: str | None = None,
        mode: IngestMode = "append",
        via: Literal["volume", "zerobus"] = "volume",
        zerobus_endpoint: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        unity_catalog_url: str | None = None,
    ) -> int:
        """Loads Arrow data into a table and waits until it is there.

        With `via="zerobus"` the rows go to the Zerobus service, which makes each durable at once and shows it in the table
        seconds later; it is not all or nothing, and wants a service principal of its own. See `seakernel.zerobus`, which also
        gives back the rows that failed. What follows is about volumes.

        The data is written as Parquet files of about 128 MiB, each uploaded while the next is written, into a directory of
        its own in `volume`; one statement then loads them all, and they are deleted, also after a failure. That statement is
        all or nothing: the table is changed completely or not at all. While it may still run, as after Ctrl-C or a lost
        answer, they stay, and the error or the log names their directory. Needs `pyarrow`.

        Held at a time: about 64 MiB of rows in memory, besides what `data` holds itself, and up to four files in the
        system's temporary directory.

        Types become: integers TINYINT to BIGINT, unsigned ones the next larger type and uint64 DECIMAL(20,0); float16 and
        float32 FLOAT; timestamps with a zone TIMESTAMP and others TIMESTAMP_NTZ, in microseconds; dictionaries the type of
        their values; lists ARRAY, structs STRUCT, maps MAP. Times of day, durations, intervals and untyped NULLs are refused.

        Args:
            table: Name of the table, `catalog.schema.table`, parts with special characters in backticks.
            data: Whatever exports an Arrow stream: a `pyarrow.Table` or reader, a polars or pandas data frame, a DuckDB
                relation, a cursor.
            volume: Volume or directory in one for the files, `/Volumes/{catalog}/{schema}/{volume}`, where you may write.
            mode: `append` adds rows to a table that exists, with columns matched by name (COPY INTO). `create` makes the
                table and fails if it exists; `replace` puts it in the place of the one that there is, if there is one.
            via: Whether the rows go through files in `volume`, or through Zerobus, which takes rows for tables that exist.
            zerobus_endpoint: Address of the Zerobus service; by default the environment's `ZEROBUS_ENDPOINT`.
            client_id: The service principal for Zerobus; by default `ZEROBUS_CLIENT_ID`.
            client_secret: Its secret; by default `ZEROBUS_CLIENT_SECRET`.
            unity_catalog_url: Address of the workspace that gives it tokens; by default `UNITY_CATALOG_URL`.

        Returns:
            The rows added, as counted by the server and equal to those in `data`.

        Raises:
            NotSupportedError: no SQL type holds a column exactly; the message names it. Nothing was sent.
            DataError: a timestamp has nanoseconds that are no whole microseconds. Nothing was loaded.
            ProgrammingError: the table exists or does not, or lacks a column, or `volume` is none.
            DataLossError: the server counted other rows than were sent. The table has changed.
            OperationalError: the connection failed. If that was while the statement ran, it may still be done.
            ModuleNotFoundError: `via="zerobus"` needs `seakernel-zerobus`. Rows that it did not store are named by a
                `DataError`, or by an `OperationalError` where they may be stored later.

        Example:
            >>> import pyarrow
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> prices = pyarrow.table({"item": ["tea", "mug"], "price": [9.9, 12.0]})
            >>> connection.ingest("main.default.prices", prices, volume="/Volumes/main/default/files", mode="create")
            2
        """
        from seakernel.ingest import ingest, ingest_by_zerobus

        if via == "zerobus":
            if volume is not None or mode != "append":
                message = '`via="zerobus"` takes no `volume`, and rows for tables that exist: `mode="append"`'
                raise ProgrammingError(message, kind="InvalidArgument")
            self._open_session()
            options = {"endpoint": zerobus_endpoint, "client_id": client_id, "client_secret": client_secret}
            return ingest_by_zerobus(table, data, {**options, "unity_catalog_url": unity_catalog_url})
        if via != "volume" or volume is None:
            message = f'`via` is {via!r}; expected "volume", with `volume`, or "zerobus"'
            raise ProgrammingError(message, kind="InvalidArgument")
        return ingest(self, table, data, mode=mode, volume=volume)

    def table(self, name: str) -> Table:
        """Returns a table or view for DataFusion, which sends the warehouse what it needs of it. Asks for its columns.

        Needs `seakernel-datafusion`: `pip install 'seakernel[datafusion]'`.

        Args:
            name: Name of the table, `catalog.schema.table`, parts with special characters in backticks.

        Raises:
            ProgrammingError: there is no such table.
            ModuleNotFoundError: `seakernel-datafusion` is not installed.

        Example:
            >>> import datafusion
            >>> context = datafusion.SessionContext()
            >>> context.register_table("lineitem", connection.table("samples.tpch.lineitem"))
            >>> context.sql("SELECT count(*) AS items FROM lineitem WHERE l_shipdate < '1992-02-01'").to_pydict()
            {'items': [968]}
        """
        from seakernel.ingest import quoted_name

        table: Table = _datafusion("table").Table(self._open_session(), quoted_name(name))
        return table

    def query(self, operation: str, parameters: Parameters | None = None) -> Table:
        """Returns a query for DataFusion as a table, as `table` does; the query is run by each scan of it.

        Args:
            operation: A query, such as a SELECT, with markers as for `Cursor.execute`. Its columns have names of their own.
                No order of its rows is kept. It may end with a `;`, but none may stand before a comment at the end.
            parameters: Values for its markers.

        Raises:
            ProgrammingError: the query is wrong.
            ValueError: two of its columns have the same name, but for the case of letters.
            ModuleNotFoundError: `seakernel-datafusion` is not installed.

        Example:
            >>> import datafusion
            >>> squares = connection.query("SELECT id, id * id AS square FROM range(?)", [100])
            >>> context = datafusion.SessionContext()  # DataFusion wants it kept as long as the table
            >>> context.read_table(squares).filter(datafusion.col("id") > 97).to_pydict()
            {'id': [98, 99], 'square': [9604, 9801]}
        """
        module = _datafusion("query")
        if parameters is not None:
            operation = with_native_markers(operation, parameters)
        end = "\n" if "--" in operation else ""  # of a comment that the query may end with
        table: Table = module.Table(self._open_session(), f"({operation.rstrip().rstrip(';')}{end})", parameters)
        return table

    def catalog(self, name: str | None = None) -> Catalog:
        """Returns a catalog for DataFusion, which looks tables up as queries name them. Sends nothing.

        Args:
            name: Name of the catalog. Without one, all catalogs are there as schemas named `catalog.schema`, for DataFusion's
                names have three parts: registered as `dbx`, it has `dbx."samples.tpch".lineitem`.

        Raises:
            ModuleNotFoundError: `seakernel-datafusion` is not installed.

        Example:
            >>> import datafusion
            >>> context = datafusion.SessionContext()
            >>> context.register_catalog_provider("samples", connection.catalog("samples"))
            >>> context.sql("SELECT n_name FROM samples.tpch.nation WHERE n_nationkey = 7").to_pydict()
            {'n_name': ['GERMANY']}
        """
        catalog: Catalog = _datafusion("catalog").Catalog(self._open_session(), name)
        return catalog

    def commit(self) -> None:
        """Does nothing: every statement is committed by itself.

        Example:
            >>> _ = cursor.execute("CREATE TABLE numbers AS SELECT id FROM range(3)")
            >>> connection.commit()  # not needed
        """
        self._open_session()

    def rollback(self) -> None:
        """Raises `NotSupportedError`: there are no transactions.

        Example:
            >>> connection.rollback()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.NotSupportedError: there are no transactions; every statement is committed by itself
        """
        self._open_session()
        raise NotSupportedError("there are no transactions; every statement is committed by itself")

    def close(self) -> None:
        """Closes the session on the server, with every cursor; statements that still run end. Safe to call twice.

        Where `submit` has sent statements that were not closed, these run on and the server keeps the session. A server
        that is out of reach, or does not answer within five seconds, ends the session when it was idle for long: that is
        logged as a warning and raises nothing, so that the end of a `with` does not hide the program's own exception.

        Example:
            >>> connection.close()
            >>> cursor.execute("SELECT 1")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the cursor is closed
        """
        session, cursors = self._taken()
        for cursor in cursors:
            cursor.close()
        if session is not None:
            session.close()

    def _taken(self) -> tuple[Session | None, list[Cursor]]:
        """Returns the session and its cursors, for the caller to close; from now on there are no new ones."""
        self._session_id = self.session_id
        session, self._session = self._session, None
        while True:
            # Not a lock: one that another thread held during a fork would stay held in the child.
            with contextlib.suppress(RuntimeError):  # a thread that saw the session has added its cursor meanwhile
                return session, list(self._cursors)

    def _open_session(self) -> Session:
        if self._session is None:
            raise InterfaceError("the connection is closed", kind="Closed")
        return self._session

    def _prepared(
        self,
        operation: str,
        parameters: Parameters | None,
        row_limit: int | None,
        query_tags: Mapping[str, str | None] | None,
        timeout: float | None,
    ) -> tuple[Statement, str]:
        """Returns a statement, and its SQL with the markers that the server knows."""
        session = self._open_session()
        if parameters is not None:
            operation = with_native_markers(operation, parameters)
        return session.statement(operation, parameters, row_limit, _tags(query_tags), timeout), operation

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
        return f"<Connection session_id={self.session_id} closed={self.closed}>"


class SubmittedStatement:
    """A statement that runs on the server by itself, until it is closed there.

    Made by `Connection.submit` and `Connection.attach`. Threads may share it. Dropping it, closing the connection or ending
    the process leaves the statement alone: only `cancel` and `close` end it.

    Example:
        >>> statement = connection.submit("SELECT count(*) AS n FROM range(1000000)")
        >>> statement.cursor().fetchone()
        Row(n=1000000)
        >>> statement.close()
    """

    def __init__(self, connection: Connection, executed: ExecutedStatement) -> None:
        self._connection = connection
        self._executed = executed

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, by which `Connection.attach` finds it.

        Example:
            >>> statement = connection.submit("SELECT count(*) AS n FROM range(1000000)")
            >>> connection.attach(statement.statement_id).cursor().fetchone()
            Row(n=1000000)
        """
        return self._executed.statement_id

    def state(self) -> StatementState:
        """Asks the server for the state, unless it is known to be final. A failed statement is no error here.

        Raises:
            ProgrammingError: the server does not know the statement any more (kind `NotFound`).
            OperationalError: the connection failed.

        Example:
            >>> import time
            >>> statement = connection.submit("SELECT count(*) AS n FROM range(1000000)")
            >>> while statement.state() in ("Pending", "Running"):
            ...     time.sleep(0.1)
            >>> statement.state()
            'Succeeded'
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

        Example:
            >>> statement = connection.submit("SELECT id FROM range(3)")
            >>> statement.cursor().fetchone(), statement.cursor().fetchall()
            (Row(id=0), [Row(id=0), Row(id=1), Row(id=2)])
        """
        cursor = self._connection.cursor(arraysize)
        cursor._take_result(self._executed.results())  # noqa: SLF001 - one module, one protocol
        return cursor

    def partitions(
        self,
        *,
        target_bytes: int = 128 << 20,
        ordered: bool = False,
        links: bool = False,
        profile: str | None = None,
        lease_s: float | None = None,
    ) -> PartitionLease:
        """Waits until the statement has succeeded and cuts its result into partitions; downloads nothing.

        As `Cursor.partitions` does, but the statement outlives the lease, its connection and this process: only `close` of
        this object and the server end it.

        Args:
            target_bytes: Bytes of a partition, uncompressed where the server tells so, else as downloaded. Chunks of the
                result, of about 20 MiB, are not cut: a partition has one at least.
            ordered: Numbers the partitions, from 0 in the order of the rows, as `Partition.sequence`.
            links: Has the presigned links travel in the partitions, which can then be read without a sign-in for as long
                as the links live, 15 minutes at most. Such a partition is as secret as its rows.
            profile: Profile of `~/.databrickscfg` by which readers sign in, where they do not say otherwise. By default
                that of the connection, if it was opened with one; else whatever a reader's own environment says.
            lease_s: Longest time in which the lease hands out partitions, in seconds. Default 3600, which is how long a
                server keeps a result. Those that were handed out can be opened for as long as the statement lives.

        Example:
            >>> statement = connection.submit("SELECT id FROM range(1000)")
            >>> [partition.row_count for partition in statement.partitions()]
            [1000]
        """
        profile = self._connection._profile if profile is None else profile  # noqa: SLF001 - one module, one protocol
        return PartitionLease(self._executed.partitions(target_bytes, ordered, links, profile, lease_s))

    def cancel(self) -> None:
        """Asks the server to cancel; waiting for the statement raises when the server has ended it.

        Example:
            >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> statement = connection.submit(endless)
            >>> statement.cancel()
            >>> statement.cursor()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """
        self._executed.cancel()

    def close(self) -> None:
        """Releases the statement and its result on the server, which also ends it if it still runs. Safe to call twice.

        Example:
            >>> statement = connection.submit("SELECT id FROM range(3)")
            >>> statement.close()
            >>> connection.attach(statement.statement_id)
            Traceback (most recent call last):
                ...
            seakernel.exceptions.ProgrammingError: statement status: HTTP 404: The statement ... was not found. ...
        """
        self._executed.close()

    def __repr__(self) -> str:
        return f"<SubmittedStatement statement_id={self.statement_id}>"


class Cursor(ArrowReads):
    """Runs statements and reads their results, as rows or as Arrow; both share one position and may be mixed.

    Made by `Connection.cursor`. Use a cursor from one thread at a time; only `cancel` may be called from another.
    Every waiting call ends within a fraction of a second on Ctrl-C and loses no rows: a later fetch goes on where the
    last complete one ended. Ctrl-C during `execute` cancels the statement on the server.

    It is itself an Arrow stream: `pyarrow.table(cursor)`, `polars.DataFrame(cursor)` and the like take over the rows not
    yet fetched, once, without a copy. A look at it, as HTML in a notebook or by `repr`, tells rows, bytes and time; in
    notebooks and interactive interpreters it shows the next ten rows, as far as they have arrived, and reads none.

    Example:
        >>> import polars
        >>> _ = cursor.execute("SELECT id, id * id AS square FROM range(5)")
        >>> cursor.fetchone(), cursor.fetchmany(2), polars.DataFrame(cursor).rows()
        (Row(id=0, square=0), [Row(id=1, square=1), Row(id=2, square=4)], [(3, 9), (4, 16)])

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
        # Of a file of a volume, while it is under way.
        self._transfer: VolumeOperation | None = None
        # Whether the `execute` or `executemany` under way was cancelled, also where it waits for nothing just then.
        self._cancelled = False
        self._executed = False
        self._rowcount = -1
        # Seconds until the first rows were here.
        self._elapsed_s = 0.0

    @property
    def connection(self) -> Connection:
        """The connection that made this cursor.

        Example:
            >>> cursor.connection is connection
            True
        """
        return self._connection

    @property
    def description(self) -> list[DescriptionColumn] | None:
        """One 7-tuple per column: name, type code, None, None, precision, scale, None.

        Type codes are lower-case SQL names such as `int`, `bigint`, `decimal`, `string`; they equal the type objects of
        the module. Precision and scale are given for decimals. None before `execute`, after a failed one and for
        statements without columns.

        Example:
            >>> _ = cursor.execute("SELECT 'tea' AS item, CAST(9.9 AS DECIMAL(10,2)) AS price")
            >>> [(column[0], column[1]) for column in cursor.description]
            [('item', 'string'), ('price', 'decimal')]
            >>> cursor.description[1][1] == seakernel.NUMBER
            True
        """
        if self._result is None:
            return None
        return [
            (column.name, _type_code(column), None, None, column.precision, column.scale, None)
            for column in self._result.columns
        ]

    @property
    def rowcount(self) -> int:
        """Rows of the result, or rows that INSERT, UPDATE, DELETE or MERGE changed; -1 where unknown.

        Example:
            >>> cursor.execute("CREATE TABLE squares AS SELECT id, id * id AS square FROM range(10)").rowcount
            10
            >>> cursor.execute("UPDATE squares SET square = 0 WHERE id < 3").rowcount
            3
            >>> cursor.execute("SELECT * FROM squares WHERE square = 0").rowcount
            3
        """
        return self._rowcount

    @property
    def rownumber(self) -> int | None:
        """Rows of the result that were fetched, which is the index of the next one; None without a result.

        Example:
            >>> rows = cursor.execute("SELECT id FROM range(5)").fetchmany(2)
            >>> cursor.rownumber
            2
        """
        return None if self._result is None else self._result.fetched_row_count

    @property
    def lastrowid(self) -> None:
        """None: the warehouse has no row ids.

        Example:
            >>> print(cursor.execute("CREATE TABLE numbers AS SELECT id FROM range(3)").lastrowid)
            None
        """

    @property
    def statement_id(self) -> str | None:
        """The server's id of the running or last statement, also after a failure; None until the server has named it.

        Example:
            >>> try:
            ...     cursor.execute("SELECT 1 / 0")
            ... except seakernel.Error as error:
            ...     error.statement_id == cursor.statement_id
            True
        """
        statement = self._statement
        return self._statement_id if statement is None else statement.statement_id

    @property
    def query_id(self) -> str | None:
        """Same as `statement_id`, under databricks-sql-connector's name.

        Example:
            >>> _ = cursor.execute("SELECT 1 AS one")
            >>> cursor.query_id == cursor.statement_id
            True
        """
        return self.statement_id

    @property
    def statistics(self) -> Statistics | None:
        """What fetching the current result has cost so far; None without a result.

        Example:
            >>> rows = cursor.execute("SELECT id FROM range(1000)").fetchall()
            >>> cursor.statistics.rows, cursor.statistics.chunks
            (1000, 1)
        """
        return None if self._result is None else self._result.statistics

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the current result.

        Example:
            >>> cursor.execute("SELECT id FROM range(1000)", row_limit=10).truncated
            True
        """
        return self._result is not None and self._result.truncated

    def execute(
        self,
        operation: str,
        parameters: Parameters | None = None,
        *,
        row_limit: int | None = None,
        timeout: float | None = None,
        query_tags: Mapping[str, str | None] | None = None,
        progress: ProgressOption = None,
        input_stream: BinaryIO | None = None,
    ) -> Cursor:
        """Runs one statement and waits until its first rows are here.

        The previous result is closed first. When this raises, there is no result and no description, but
        `statement_id` names the statement that failed.

        Args:
            operation: SQL text with markers of one style: `:name` or `%(name)s` for a mapping, `?` or `%s` for a
                sequence. Beside `%` markers, `%%` is one percent sign. Markers in texts and comments are none.
            parameters: Mapping or sequence, of 256 values at most, one for each marker. Types are inferred: bool BOOLEAN;
                int INT, BIGINT or DECIMAL(p,0); float DOUBLE; str and UUID STRING; bytes BINARY; Decimal DECIMAL(p,s);
                date DATE; naive datetime TIMESTAMP_NTZ and aware datetime TIMESTAMP, both exact; timedelta INTERVAL DAY
                TO SECOND; None VOID; scalars of NumPy like those of Python. `Parameter(value, sql_type)` names another
                type, and so do databricks-sql-connector's `StringParameter` and the like. Lists and dicts need
                theirs, as in `Parameter([1, 2], "ARRAY<INT>")`: the server takes no nested parameters, so they go out as
                JSON text in a `from_json`. Nested are BOOLEAN, whole numbers, FLOAT, DOUBLE, DECIMAL, STRING and DATE.
            row_limit: Most rows the server returns; `truncated` tells whether it cut the result.
            timeout: Longest wait for the statement to succeed, in seconds; None waits for as long as it takes. Reading the
                result is not limited. On expiry the statement is cancelled on the server: at once where the server has
                named it, which it does within ten seconds.
            query_tags: Tags of this statement for the warehouse's query history: keys with values, or with None.
            progress: For this statement and its fetch, instead of the connection's; see `connect`.
            input_stream: What `PUT '__input_stream__' INTO '/Volumes/...'` uploads: a file object opened with `rb`.

        Returns:
            This cursor. PUT, GET and REMOVE of a file of a volume have no result; the file is transferred when this returns.

        Raises:
            OperationalError: `timeout` is over (kind `Timeout`, SQLSTATE HYT00).
            ProgrammingError: PUT or GET names a local file outside of `staging_allowed_local_path`.
            Error: by SQLSTATE class where the statement failed; see `seakernel.exceptions`.

        Example:
            >>> cursor.execute("SELECT upper(:name) AS name", {"name": "ada"}).fetchone()
            Row(name='ADA')
            >>> cursor.execute("SELECT id FROM range(?) WHERE id > ?", [10, 7], timeout=60).fetchall()
            [Row(id=8), Row(id=9)]
            >>> cursor.execute("SELECT size(?) AS size", [seakernel.Parameter([1, 2], "ARRAY<INT>")]).fetchone()
            Row(size=2)
        """
        self._open_session()
        self._cancelled = False
        self._clear()
        statement, sent = self._connection._prepared(operation, parameters, row_limit, query_tags, timeout)  # noqa: SLF001
        renewed_by = operation if parameters is None else None
        return self._run(statement, sent, progress, renewed_by=renewed_by, input_stream=input_stream)

    def _run(
        self,
        statement: Statement,
        operation: str,
        progress: ProgressOption = None,
        *,
        renewed_by: str | None = None,
        input_stream: BinaryIO | None = None,
    ) -> Cursor:
        session = self._open_session()
        self._clear()
        observer = Observer.of(self._connection._progress if progress is None else progress, statement)  # noqa: SLF001
        with self._sending(statement, operation):
            result = statement.execute(observer)
        if result.is_volume_operation:
            self._transfer = session.volume_operation(renewed_by, result)
            try:
                self._check_not_cancelled(result.statement_id)
                transfer(self._transfer, self._connection._allowed_local_paths, input_stream)  # noqa: SLF001
            finally:
                self._transfer = None
            self._executed = True
        else:
            self._take_result(result)
        return self

    def executemany(
        self,
        operation: str,
        seq_of_parameters: Iterable[Parameters] | ArrowStreamExportable,
        *,
        timeout: float | None = None,
        query_tags: Mapping[str, str | None] | None = None,
    ) -> Cursor:
        """Runs a statement for each set of parameters, in their order; stops at the first failure.

        An `INSERT INTO t [(columns)] VALUES (...)` of markers and constants is sent for many sets at once, as rows of one
        VALUES with up to 256 parameters, where that inserts exactly what one statement for each set would; only what a
        column makes by itself, such as an IDENTITY or a DEFAULT of the current time, may tell the two apart. Without sets
        nothing is sent.

        Args:
            operation: As in `execute`.
            seq_of_parameters: Mappings or sequences, of which a generator is read as it goes; or anything that exports an
                Arrow stream, such as a table of pyarrow, polars or pandas: each row is a set, with the types of its
                schema, matched to `:name` by name and to `?` by position.
            timeout: As in `execute`, of each statement.
            query_tags: As in `execute`, of each statement.

        Returns:
            This cursor: `rowcount` is the sum, and the result is that of the last statement.

        Raises:
            Error: as `execute` does; the message and `applied_sets` say how many sets were applied before. So do a note
                (from Python 3.11 on) and an `applied_sets` on what else ends the call, such as an exception of the
                generator or `KeyboardInterrupt`. There is no result then.

        Example:
            >>> _ = cursor.execute("CREATE TABLE orders (item STRING, price DECIMAL(10,2))")
            >>> cursor.executemany("INSERT INTO orders VALUES (?, ?)", [("tea", 9.9), ("mug", 12)]).rowcount
            2
        """
        session = self._open_session()
        self._cancelled = False
        self._clear()
        tags = _tags(query_tags)
        sets = ParameterSets(operation, seq_of_parameters, self._check_not_cancelled)
        try:
            for batch in sets.statements():
                statement = session.statement(batch.operation, batch.parameters, None, tags, timeout)
                self._run(statement, batch.operation)
                sets.applied(self._rowcount)
        except BaseException as failure:
            self._forget_result()
            sets.tell(failure)
            raise
        self._rowcount = sets.rowcount
        return self

    def partitions(
        self,
        operation: str | None = None,
        parameters: Parameters | None = None,
        *,
        target_bytes: int = 128 << 20,
        ordered: bool = False,
        links: bool = False,
        profile: str | None = None,
        lease_s: float | None = None,
        row_limit: int | None = None,
        timeout: float | None = None,
        query_tags: Mapping[str, str | None] | None = None,
    ) -> PartitionLease:
        """Cuts a result into partitions that other processes and machines read by themselves; for what one cannot hold.

        A `Partition` is small, can be pickled, and holds no token and no link: its reader signs in by itself, or gets
        links from a broker. The rows of a small result that came with the server's answer travel in it.

        Args:
            operation: SQL text to run first, as for `execute`; nothing of its result is downloaded. Without it the
                result that this cursor has is cut, of which no row may have been read.
            parameters: Values for its markers, as for `execute`.
            target_bytes: Bytes of a partition, uncompressed where the server tells so, else as downloaded. Chunks of the
                result, of about 20 MiB, are not cut: a partition has one at least.
            ordered: Numbers the partitions, from 0 in the order of the rows, as `Partition.sequence`.
            links: Has the presigned links travel in the partitions, which can then be read without a sign-in for as long
                as the links live, 15 minutes at most. Such a partition is as secret as its rows.
            profile: Profile of `~/.databrickscfg` by which readers sign in, where they do not say otherwise. By default
                that of the connection, if it was opened with one; else whatever a reader's own environment says.
            lease_s: Longest time in which partitions can be opened, in seconds. Default 3600, which is how long a server
                keeps a result.
            row_limit: As in `execute`.
            timeout: As in `execute`.
            query_tags: As in `execute`.

        Returns:
            The partitions, at least one, and the lease that keeps the statement for their readers.

        Raises:
            InterfaceError: rows of the cursor's result were read before.
            Error: as `execute`, where the statement failed.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(1000)", ordered=True)
            >>> [(partition.sequence, partition.row_count) for partition in parts]
            [(0, 1000)]
        """
        profile = self._connection._profile if profile is None else profile  # noqa: SLF001 - one module, one protocol
        cut = (target_bytes, ordered, links, profile, lease_s)
        if operation is None:
            if parameters is not None or row_limit is not None or timeout is not None or query_tags is not None:
                raise ProgrammingError(
                    "`parameters`, `row_limit`, `timeout` and `query_tags` are for an `operation`",
                    kind="InvalidArgument",
                )
            parts = self._open_result().partitions(*cut)
            self._forget_result()
            return PartitionLease(parts)
        self._open_session()
        self._cancelled = False
        self._clear()
        statement, sent = self._connection._prepared(operation, parameters, row_limit, query_tags, timeout)  # noqa: SLF001
        with self._sending(statement, sent):
            return PartitionLease(statement.partitions(*cut))

    def cancel(self) -> None:
        """Ends what another thread is waiting for on this cursor, and the current result; without either, nothing.

        A waiting `execute` raises `OperationalError` with kind `Cancelled` as soon as the server has ended the
        statement; a cancel that comes before the server has named the statement is sent as soon as it has. A waiting
        fetch raises the same at once, as does every later one, also after the last row. So does a transfer of a file.
        `executemany` sends no further statement.

        Example:
            >>> _ = cursor.execute("SELECT id FROM range(1000)")
            >>> cursor.cancel()  # from any thread
            >>> cursor.fetchall()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: fetching the result of statement ... was cancelled
        """
        # First, so that whatever begins after the looks below ends by itself.
        self._cancelled = True
        statement, transferring, result = self._statement, self._transfer, self._result
        if statement is not None:
            statement.cancel()
        elif transferring is not None:
            transferring.cancel()
        elif result is not None:
            result.cancel()

    def fetchone(self) -> Row | None:
        """Returns the next row, None after the last one.

        Example:
            >>> cursor.execute("SELECT id, upper(name) AS name FROM VALUES (1, 'ada') AS people(id, name)").fetchone()
            Row(id=1, name='ADA')
            >>> print(cursor.fetchone())
            None
        """
        return next(self._open_result(), None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Returns the next `size` rows (default `arraysize`), fewer at the end, an empty list after the last one.

        Example:
            >>> _ = cursor.execute("SELECT id FROM range(5)")
            >>> while rows := cursor.fetchmany(2):
            ...     print(rows)
            [Row(id=0), Row(id=1)]
            [Row(id=2), Row(id=3)]
            [Row(id=4)]
        """
        return self._open_result().rows(self._checked_size(size))

    def fetchall(self) -> list[Row]:
        """Returns all remaining rows.

        A value that Python cannot hold, such as a date after the year 9999, raises `DataError` and no row is lost.

        Example:
            >>> cursor.execute("SELECT name FROM samples.nycflights13.airlines ORDER BY carrier LIMIT 2").fetchall()
            [Row(name='Endeavor Air Inc.'), Row(name='American Airlines Inc.')]
        """
        return self._open_result().rows()

    def fetchmany_arrow(self, size: int | None = None) -> pa.Table:
        """Returns the next `size` rows (default `arraysize`) as a `pyarrow.Table`, without a copy.

        Example:
            >>> cursor.execute("SELECT id FROM range(1000)").fetchmany_arrow(10).num_rows
            10
        """
        return self._open_result().take_pyarrow(self._checked_size(size))

    def fetchall_arrow(self) -> pa.Table:
        """Returns all remaining rows as a `pyarrow.Table`, without a copy.

        Example:
            >>> cursor.execute("SELECT id, id * id AS square FROM range(3)").fetchall_arrow().to_pydict()
            {'id': [0, 1, 2], 'square': [0, 1, 4]}
        """
        return self._open_result().take_pyarrow()

    def close(self) -> None:
        """Closes the cursor and releases its result. Safe to call twice.

        Example:
            >>> cursor.close()
            >>> cursor.execute("SELECT 1")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the cursor is closed
        """
        self._closed = True
        self._clear()

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing, as PEP 249 allows.

        Example:
            >>> cursor.setinputsizes([10])
        """
        self._open_session()

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing, as PEP 249 allows.

        Example:
            >>> cursor.setoutputsize(1000)
        """
        self._open_session()

    def _clear(self) -> None:
        result = self._result
        self._forget_result()
        self._statement_id = None
        if result is not None:
            result.close()

    def _forget_result(self) -> None:
        """Leaves the result to be released in the background; `statement_id` still names the last statement."""
        self._result = None
        self._executed = False
        self._rowcount = -1
        self._read_by = None

    @contextlib.contextmanager
    def _sending(self, statement: Statement, operation: str) -> Iterator[None]:
        """Holds the statement that runs on this cursor in the `with`; its failure tells where in `operation` it is."""
        self._statement = statement
        begin = time.perf_counter()
        try:
            self._check_not_cancelled()
            yield
        except exceptions.Error as error:
            error.sql_excerpt = sql_excerpt(error.message, operation)
            raise
        finally:
            self._elapsed_s = time.perf_counter() - begin
            self._statement_id = statement.statement_id
            if self._statement_id is not None:
                # Else it was given up before the server has named it, which it may do yet.
                self._statement = None

    def _check_not_cancelled(self, statement_id: str | None = None) -> None:
        if self._cancelled:
            raise OperationalError("cancelled by `cancel` of the cursor", kind="Cancelled", statement_id=statement_id)

    def _take_result(self, result: ResultStream) -> None:
        if result.is_volume_operation:
            result.close()
            raise NotSupportedError(
                "the statement asks for the transfer of a file: run it with `execute` of a connection of"
                " `seakernel.connect`, or use `Connection.volume`",
                kind="InvalidArgument",
                statement_id=result.statement_id,
            )
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

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row:
        return next(self._result or self._open_result())

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
        head = f"Cursor statement_id={self.statement_id}"
        if self._result is None:
            return f"<{head} closed={self._closed}>"
        # Rows are for the person who looks: logs and tracebacks want a line, and rows may repeat parameters.
        max_rows = 10 if hasattr(sys, "ps1") else 0
        return Preview.of(self._result, self._elapsed_s, max_rows).text(head)

    def _repr_html_(self) -> str | None:
        if self._result is None:
            return None
        return Preview.of(self._result, self._elapsed_s).html(f"Cursor statement_id={self.statement_id}")


def _datafusion(method: str) -> Any:
    try:
        import seakernel_datafusion
    except ModuleNotFoundError as error:
        if error.name != "seakernel_datafusion":
            raise
        message = f"`{method}()` needs `seakernel-datafusion`: `pip install 'seakernel[datafusion]'`"
        raise ModuleNotFoundError(message, name="seakernel_datafusion") from None
    return seakernel_datafusion


def _tags(query_tags: Mapping[str, str | None] | None) -> list[tuple[str, str | None]] | None:
    return None if query_tags is None else list(query_tags.items())


def _type_code(column: Column) -> str:
    if column.type_name == "INTERVAL":
        year_month = "YEAR" in column.type_text or "MONTH" in column.type_text
        return "interval_year_month" if year_month else "interval_day_time"
    return _TYPE_CODES.get(column.type_name, column.type_name.lower())


def _row_count(result: ResultStream) -> int:
    if result.modified_row_count is not None:
        return result.modified_row_count
    return -1 if result.total_row_count is None or result.truncated else result.total_row_count
