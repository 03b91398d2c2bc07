"""The same for asyncio: `await` and `async for` on the Rust runtime, without a thread that waits.

Works under asyncio, uvloop and anyio's asyncio backend. A connection is bound to no event loop: it may be used in one
`asyncio.run` after another, and from loops in several threads at once.

Cancelling a task, also by `asyncio.timeout` and the like, takes effect at once and loses no row. A cancelled `execute`
cancels the statement on the server, in the background, as soon as the server has named it. A cancelled fetch leaves its
rows to the next one. A cancelled `close` or `cancel` goes on in the background.

The examples of this module await at top level, as notebooks and `python -m asyncio` can, and start with `aio` imported,
`connection = await aio.connect("local")` and `cursor = connection.cursor()`.

Example:
    >>> import asyncio
    >>> from seakernel import aio
    >>> async def main() -> None:
    ...     async with aio.connect("local") as connection, connection.cursor() as cursor:
    ...         await cursor.execute("SELECT id FROM range(3)")
    ...         async for row in cursor:
    ...             print(row.id)
    >>> asyncio.run(main())
    0
    1
    2
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Literal, overload

from seakernel import dbapi, partitions
from seakernel._seakernel import Session
from seakernel.exceptions import InterfaceError
from seakernel.executemany import ParameterSets
from seakernel.hand_off import CopiedResult, check_mode
from seakernel.hand_off import IpcStream as _IpcStream
from seakernel.options import forget_locals, session_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
    from types import TracebackType

    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from typing_extensions import Self

    from seakernel._seakernel import (
        ArrowTable,
        Column,
        ExecutedStatement,
        Partition,
        PartitionLinks,
        ResultStream,
        Statement,
        Statistics,
    )
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

__all__ = [
    "Batches",
    "Connecting",
    "Connection",
    "Cursor",
    "IpcStream",
    "PartitionLease",
    "SubmittedStatement",
    "connect",
]


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
    **connector_options: object,
) -> Connecting:
    """Opens a session on a SQL warehouse; the arguments and errors are those of `seakernel.connect`.

    Without `progress` and `staging_allowed_local_path`: there is no display, and files of volumes are transferred by
    connections of `seakernel.connect` only.

    Returns:
        What to `await` for the connection, or to use in an `async with`, which closes the connection at its end.

    Example:
        >>> import asyncio
        >>> from seakernel import aio
        >>> async def main() -> None:
        ...     connection = await aio.connect("local")
        ...     print(connection.closed)
        ...     await connection.close()
        >>> asyncio.run(main())
        False
    """
    arguments = locals()
    try:
        session = session_arguments(**arguments)
    except BaseException as error:
        forget_locals(error)
        del arguments, server_hostname, access_token, auth, requests, tls, proxy, connector_options
        raise

    async def connection() -> Connection:
        try:
            return Connection(dbapi.Connection(await Session.open_async(**session)))
        finally:
            # What shows the locals of frames shows no secret.
            session.clear()

    return Connecting(connection())


class Connecting:
    """A connection to be: `await` it once, or use it in one `async with`.

    Example:
        >>> async with aio.connect("local") as connection:
        ...     cursor = await connection.cursor().execute("SELECT 1 AS one")
        ...     await cursor.fetchone()
        Row(one=1)
    """

    def __init__(self, opening: Coroutine[Any, Any, Connection]) -> None:
        # Made here, so that Python warns of a `connect` that nobody has awaited.
        self._opening = opening
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._opening.__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._opening
        return self._connection

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.close()


class Connection:
    """An open session. Tasks may share it, each with a cursor of its own; the statements run side by side.

    Made by `connect`. Bound to no event loop. There are no transactions: every statement is committed by itself. After a
    fork, a connection of the parent raises `InterfaceError` in the child, which must open its own.

    Example:
        >>> async def count(table: str) -> int:
        ...     async with connection.cursor() as cursor:
        ...         await cursor.execute(f"SELECT count(*) AS n FROM samples.nycflights13.{table}")
        ...         return (await cursor.fetchone()).n
        >>> await asyncio.gather(count("airlines"), count("flights"))
        [16, 336776]
    """

    def __init__(self, connection: dbapi.Connection) -> None:
        self._connection = connection

    @property
    def session_id(self) -> str:
        """The server's id of the session, also after `close`.

        Example:
            >>> other = await aio.connect("local")
            >>> connection.session_id == other.session_id
            False
        """
        return self._connection.session_id

    @property
    def closed(self) -> bool:
        """Whether `close` was called.

        Example:
            >>> await connection.close()
            >>> connection.closed
            True
        """
        return self._connection.closed

    def cursor(self, arraysize: int = 1000) -> Cursor:
        """Returns a new cursor, on which one statement at a time runs.

        Args:
            arraysize: Rows that `fetchmany` returns when it is not told.

        Example:
            >>> async with connection.cursor(arraysize=2) as cursor:
            ...     _ = await cursor.execute("SELECT id FROM range(5)")
            ...     await cursor.fetchmany()
            [Row(id=0), Row(id=1)]
        """
        return Cursor(self, self._connection.cursor(arraysize))

    async def submit(
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
        server finds it idle. Cancelling the task before this returns cancels the statement.

        Args:
            operation: SQL text, as for `Cursor.execute`.
            parameters: Values for its markers, as for `Cursor.execute`.
            row_limit: Most rows the server returns.
            query_tags: Tags of this statement, as for `Cursor.execute`.

        Raises:
            OperationalError: the connection failed, or the statement was refused. A statement that fails later says so
                when it is waited for.

        Example:
            >>> import asyncio
            >>> from seakernel import aio
            >>> async def main() -> None:
            ...     async with aio.connect("local") as connection:
            ...         statement = await connection.submit("SELECT id FROM range(3)")
            ...         elsewhere = await connection.attach(statement.statement_id)
            ...         print(await (await elsewhere.cursor()).fetchall())
            ...         await statement.close()
            >>> asyncio.run(main())
            [Row(id=0), Row(id=1), Row(id=2)]
        """
        statement, _ = self._connection._prepared(operation, parameters, row_limit, query_tags, None)  # noqa: SLF001
        executed = await statement.submit_async()
        executed.keep()
        return SubmittedStatement(self, executed)

    async def attach(self, statement_id: str) -> SubmittedStatement:
        """Returns a statement that was sent before, by whomever, to follow it, read its result or end it.

        A server keeps a result for about an hour, and may give up a waiting statement that nobody asks about for a
        quarter of an hour. A cursor's statement is closed on the server as soon as its result has arrived.

        Args:
            statement_id: The server's id, such as `SubmittedStatement.statement_id`, or that of another program.

        Raises:
            ProgrammingError: the server does not know the statement, or knows it no more (kind `NotFound`).

        Example:
            >>> statement_id = (await connection.submit("SELECT count(*) AS n FROM range(1000000)")).statement_id
            >>> statement = await connection.attach(statement_id)  # also elsewhere, and later
            >>> await (await statement.cursor()).fetchone()
            Row(n=1000000)
        """
        executed = await self._connection._open_session().attach_async(statement_id)  # noqa: SLF001
        executed.keep()
        return SubmittedStatement(self, executed)

    async def commit(self) -> None:
        """Does nothing: every statement is committed by itself.

        Example:
            >>> cursor = await cursor.execute("CREATE TABLE numbers AS SELECT id FROM range(3)")
            >>> await connection.commit()  # not needed
        """
        self._connection.commit()

    async def rollback(self) -> None:
        """Raises `NotSupportedError`: there are no transactions.

        Example:
            >>> await connection.rollback()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.NotSupportedError: there are no transactions; every statement is committed by itself
        """
        self._connection.rollback()

    async def close(self) -> None:
        """Closes the session on the server, with every cursor; statements that still run end. Safe to call twice.

        Where `submit` has sent statements that were not closed, these run on and the server keeps the session.

        Example:
            >>> await connection.close()
            >>> await cursor.execute("SELECT 1")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the cursor is closed
        """
        session, cursors = self._connection._taken()  # noqa: SLF001 - one module, one protocol
        for cursor in cursors:
            await _close(cursor)
        if session is not None:
            await _ended(session.close_async())

    async def __aenter__(self) -> Self:
        self._connection._open_session()  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Connection session_id={self.session_id} closed={self.closed}>"


class SubmittedStatement:
    """A statement that runs on the server by itself, until it is closed there.

    Made by `Connection.submit` and `Connection.attach`. Tasks may share it. Dropping it, closing the connection or ending
    the process leaves the statement alone: only `cancel` and `close` end it.

    Example:
        >>> statement = await connection.submit("SELECT count(*) AS n FROM range(1000000)")
        >>> cursor = await statement.cursor()
        >>> await cursor.fetchone()
        Row(n=1000000)
        >>> await statement.close()
    """

    def __init__(self, connection: Connection, executed: ExecutedStatement) -> None:
        self._connection = connection
        self._executed = executed

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, by which `Connection.attach` finds it.

        Example:
            >>> statement = await connection.submit("SELECT count(*) AS n FROM range(1000000)")
            >>> attached = await connection.attach(statement.statement_id)
            >>> attached.statement_id == statement.statement_id
            True
        """
        return self._executed.statement_id

    async def state(self) -> StatementState:
        """Asks the server for the state, unless it is known to be final. A failed statement is no error here.

        Raises:
            ProgrammingError: the server does not know the statement any more (kind `NotFound`).
            OperationalError: the connection failed.

        Example:
            >>> statement = await connection.submit("SELECT count(*) AS n FROM range(1000000)")
            >>> while await statement.state() in ("Pending", "Running"):
            ...     await asyncio.sleep(0.1)
            >>> await statement.state()
            'Succeeded'
        """
        return await self._executed.state_async()

    async def cursor(self, arraysize: int = 1000) -> Cursor:
        """Waits until the statement has succeeded, and returns a new cursor on its result, at its first row.

        May be called again, also while another cursor reads. Cancelling the task leaves the statement running.

        Args:
            arraysize: Rows that `fetchmany` returns when it is not told.

        Raises:
            DatabaseError: by SQLSTATE class, where the statement failed.
            OperationalError: it was cancelled, or the connection failed.
            InterfaceError: its result was released before it could be read, or the connection is closed.

        Example:
            >>> statement = await connection.submit("SELECT id FROM range(3)")
            >>> cursor = await statement.cursor()
            >>> await cursor.fetchall()
            [Row(id=0), Row(id=1), Row(id=2)]
        """
        cursor = self._connection.cursor(arraysize)
        cursor._cursor._take_result(await self._executed.results_async())  # noqa: SLF001
        return cursor

    async def partitions(
        self,
        *,
        target_bytes: int = 128 << 20,
        ordered: bool = False,
        links: bool = False,
        profile: str | None = None,
        lease_s: float | None = None,
    ) -> PartitionLease:
        """Cuts the result into partitions, as `seakernel.SubmittedStatement.partitions` does; downloads nothing.

        Example:
            >>> statement = await connection.submit("SELECT id FROM range(1000)")
            >>> [partition.row_count async for partition in await statement.partitions()]
            [1000]
        """
        profile = self._connection._connection._profile if profile is None else profile  # noqa: SLF001
        stream = await self._executed.partitions_async(target_bytes, ordered, links, profile, lease_s)
        return PartitionLease(partitions.PartitionLease(stream))

    async def cancel(self) -> None:
        """Asks the server to cancel; waiting for the statement raises when the server has ended it.

        Example:
            >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> statement = await connection.submit(endless)
            >>> await statement.cancel()
            >>> await statement.cursor()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """
        await self._executed.cancel_async()

    async def close(self) -> None:
        """Releases the statement and its result on the server, which also ends it if it still runs. Safe to call twice.

        Example:
            >>> statement = await connection.submit("SELECT id FROM range(3)")
            >>> await statement.close()
            >>> await connection.attach(statement.statement_id)
            Traceback (most recent call last):
                ...
            seakernel.exceptions.ProgrammingError: statement status: HTTP 404: The statement ... was not found. ...
        """
        await _ended(self._executed.close_async())

    def __repr__(self) -> str:
        return f"<aio.SubmittedStatement statement_id={self.statement_id}>"


class Cursor:
    """Runs statements and reads their results, as rows or as Arrow; both share one position and may be mixed.

    Made by `Connection.cursor`. One statement at a time: an `execute` beside another raises. Tasks may fetch from one
    result side by side, and each row goes to one of them. Whatever a cancelled task was waiting for, no row is lost: a
    later fetch goes on where the last complete one ended.

    Rows are made in the event loop's thread, 1024 at a time with a turn for other tasks in between; a `fetchall` of a
    million rows holds it up for some 40 ms at its end. Frames of polars and pandas are made there, too.

    Example:
        >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(5)")
        >>> await cursor.fetchone()
        Row(id=0, square=0)
        >>> [row.square async for row in cursor]
        [1, 4, 9, 16]

    Attributes:
        arraysize: Rows that `fetchmany` returns when it is not told.
    """

    def __init__(self, connection: Connection, cursor: dbapi.Cursor) -> None:
        self._connection = connection
        # Holds the result and the position, and makes what fetches return. Never called before that needs no wait.
        self._cursor = cursor
        self._executing: Statement | None = None
        # Tasks that wait for rows.
        self._fetching = 0

    @property
    def connection(self) -> Connection:
        """The connection that made this cursor.

        Example:
            >>> cursor.connection is connection
            True
        """
        return self._connection

    @property
    def arraysize(self) -> int:
        """Rows that `fetchmany` returns when it is not told.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(5)")
            >>> cursor.arraysize = 2
            >>> await cursor.fetchmany()
            [Row(id=0), Row(id=1)]
        """
        return self._cursor.arraysize

    @arraysize.setter
    def arraysize(self, rows: int) -> None:
        self._cursor.arraysize = rows

    @property
    def description(self) -> list[DescriptionColumn] | None:
        """One 7-tuple per column, as that of `seakernel.Cursor`; None without a result.

        Example:
            >>> cursor = await cursor.execute("SELECT 'tea' AS item, CAST(9.9 AS DECIMAL(10,2)) AS price")
            >>> [(column[0], column[1]) for column in cursor.description]
            [('item', 'string'), ('price', 'decimal')]
        """
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """Rows of the result, or rows that INSERT, UPDATE, DELETE or MERGE changed; -1 where unknown.

        Example:
            >>> cursor = await cursor.execute("CREATE TABLE squares AS SELECT id, id * id AS square FROM range(10)")
            >>> cursor.rowcount
            10
        """
        return self._cursor.rowcount

    @property
    def statement_id(self) -> str | None:
        """The server's id of the running or last statement, also after a failure or a cancelled task.

        None until the server has named it.

        Example:
            >>> try:
            ...     await cursor.execute("SELECT 1 / 0")
            ... except seakernel.Error as error:
            ...     error.statement_id == cursor.statement_id
            True
        """
        return self._cursor.statement_id

    @property
    def query_id(self) -> str | None:
        """Same as `statement_id`, under databricks-sql-connector's name.

        Example:
            >>> cursor = await cursor.execute("SELECT 1 AS one")
            >>> cursor.query_id == cursor.statement_id
            True
        """
        return self._cursor.statement_id

    @property
    def statistics(self) -> Statistics | None:
        """What fetching the current result has cost so far; None without a result.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> len(await cursor.fetchall()), cursor.statistics.rows, cursor.statistics.chunks
            (1000, 1000, 1)
        """
        return self._cursor.statistics

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the current result.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)", row_limit=10)
            >>> cursor.truncated
            True
        """
        return self._cursor.truncated

    async def execute(
        self,
        operation: str,
        parameters: Parameters | None = None,
        *,
        row_limit: int | None = None,
        timeout: float | None = None,
        query_tags: Mapping[str, str | None] | None = None,
    ) -> Self:
        """Runs one statement and waits until its first rows are here; arguments as for `seakernel.Cursor.execute`.

        The previous result is closed first. When this raises, there is no result and no description, but `statement_id`
        names the statement. Cancelling the task cancels the statement on the server: in the background, and as soon as
        the server has named it, which it may put off by 10 s.

        Returns:
            This cursor.

        Raises:
            Error: by SQLSTATE class where the statement failed; see `seakernel.exceptions`.
            InterfaceError: another task is executing on this cursor.
            NotSupportedError: the statement is a PUT, GET or REMOVE of a file of a volume.

        Example:
            >>> cursor = await cursor.execute("SELECT upper(:name) AS name", {"name": "ada"}, timeout=60)
            >>> await cursor.fetchone()
            Row(name='ADA')
        """
        self._check_idle()
        self._cursor._cancelled = False  # noqa: SLF001
        connection = self._connection._connection  # noqa: SLF001 - one module, one protocol
        statement, sent = connection._prepared(operation, parameters, row_limit, query_tags, timeout)  # noqa: SLF001
        await self._run(statement, sent)
        return self

    async def executemany(
        self,
        operation: str,
        seq_of_parameters: Iterable[Parameters] | ArrowStreamExportable,
        *,
        timeout: float | None = None,
        query_tags: Mapping[str, str | None] | None = None,
    ) -> Self:
        """Runs a statement for each set of parameters, in their order; as `seakernel.Cursor.executemany` does.

        Returns:
            This cursor: `rowcount` is the sum, and the result is that of the last statement.

        Example:
            >>> cursor = await cursor.execute("CREATE TABLE orders (item STRING, price DECIMAL(10,2))")
            >>> cursor = await cursor.executemany("INSERT INTO orders VALUES (?, ?)", [("tea", 9.9), ("mug", 12)])
            >>> cursor.rowcount
            2
        """
        self._check_idle()
        cursor = self._cursor
        cursor._cancelled = False  # noqa: SLF001
        await _release(cursor)
        session, tags = cursor._open_session(), dbapi._tags(query_tags)  # noqa: SLF001
        sets = ParameterSets(operation, seq_of_parameters, cursor._check_not_cancelled)  # noqa: SLF001
        try:
            for batch in sets.statements():
                statement = session.statement(batch.operation, batch.parameters, None, tags, timeout)
                await self._run(statement, batch.operation)
                sets.applied(cursor.rowcount)
        except BaseException as failure:
            cursor._forget_result()  # noqa: SLF001
            sets.tell(failure)
            raise
        cursor._rowcount = sets.rowcount  # noqa: SLF001
        return self

    def _check_idle(self) -> None:
        self._cursor._open_session()  # noqa: SLF001
        if self._executing is not None:
            message = (
                "another task is executing on this cursor, which runs one statement at a time; use a cursor per task"
            )
            raise InterfaceError(message, kind="InvalidArgument")

    async def _run(self, statement: Statement, operation: str) -> None:
        cursor = self._cursor
        # Before anything is awaited, so that no other task comes in between.
        self._check_idle()
        self._executing = statement
        try:
            with cursor._sending(statement, operation):  # noqa: SLF001
                await _release(cursor)
                result = await statement.execute_async()
            cursor._take_result(result)  # noqa: SLF001
        finally:
            self._executing = None

    async def partitions(
        self,
        operation: str,
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
        """Runs a statement and cuts its result into partitions, as `seakernel.Cursor.partitions` does; downloads nothing.

        Example:
            >>> async with await cursor.partitions("SELECT id FROM range(1000)") as parts:
            ...     [partition.row_count async for partition in parts]
            [1000]
        """
        self._check_idle()
        cursor, connection = self._cursor, self._connection._connection  # noqa: SLF001 - one module, one protocol
        cursor._cancelled = False  # noqa: SLF001
        profile = connection._profile if profile is None else profile  # noqa: SLF001
        statement, sent = connection._prepared(operation, parameters, row_limit, query_tags, timeout)  # noqa: SLF001
        self._executing = statement
        try:
            with cursor._sending(statement, sent):  # noqa: SLF001
                await _release(cursor)
                stream = await statement.partitions_async(target_bytes, ordered, links, profile, lease_s)
        finally:
            self._executing = None
        return PartitionLease(partitions.PartitionLease(stream))

    async def read(self, partition: Partition) -> Self:
        """Opens the rows of a partition as the result of this cursor, with the connection's sign-in; sends no statement.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(3)")
            >>> async for partition in parts:
            ...     reader = await connection.cursor().read(partition)  # also elsewhere
            ...     await reader.fetchall()
            [Row(id=0), Row(id=1), Row(id=2)]
        """
        self._check_idle()
        cursor = self._cursor
        session = cursor._open_session()  # noqa: SLF001
        await _release(cursor)
        cursor._take_result(await partition.results_async(session))  # noqa: SLF001
        return self

    async def cancel(self) -> None:
        """Ends what another task is waiting for on this cursor, and the current result; without either, nothing.

        A waiting `execute` raises `OperationalError` with kind `Cancelled` as soon as the server has ended the
        statement; a cancel that comes before the server has named the statement is sent as soon as it has. A waiting
        fetch raises the same at once, as does every later one. `executemany` sends no further statement.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> await cursor.cancel()  # from any task
            >>> await cursor.fetchall()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: fetching the result of statement ... was cancelled
        """
        self._cursor._cancelled = True  # noqa: SLF001
        result = self._cursor._result  # noqa: SLF001
        if self._executing is not None:
            await self._executing.cancel_async()
        elif result is not None:
            await _ended(result.cancel_async())

    async def fetchone(self) -> Row | None:
        """Returns the next row, None after the last one.

        Example:
            >>> cursor = await cursor.execute("SELECT 1 AS id, 'Ada' AS name")
            >>> await cursor.fetchone(), await cursor.fetchone()
            (Row(id=1, name='Ada'), None)
        """
        await self._prepared(1, as_rows=True)
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Row]:
        """Returns the next `size` rows (default `arraysize`), fewer at the end, an empty list after the last one.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(5)")
            >>> while rows := await cursor.fetchmany(2):
            ...     print(rows)
            [Row(id=0), Row(id=1)]
            [Row(id=2), Row(id=3)]
            [Row(id=4)]
        """
        await self._prepared(self._cursor._checked_size(size), as_rows=True)  # noqa: SLF001
        return self._cursor.fetchmany(size)

    async def fetchall(self) -> list[Row]:
        """Returns all remaining rows.

        A value that Python cannot hold, such as a date after the year 9999, raises `DataError` and no row is lost.

        Example:
            >>> cursor = await cursor.execute("SELECT name FROM samples.nycflights13.airlines ORDER BY carrier LIMIT 2")
            >>> await cursor.fetchall()
            [Row(name='Endeavor Air Inc.'), Row(name='American Airlines Inc.')]
        """
        await self._prepared(None, as_rows=True)
        return self._cursor.fetchall()

    async def fetchmany_arrow(self, size: int | None = None) -> pa.Table:
        """Returns the next `size` rows (default `arraysize`) as a `pyarrow.Table`, without a copy.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> (await cursor.fetchmany_arrow(10)).num_rows
            10
        """
        await self._prepared(self._cursor._checked_size(size), as_rows=False)  # noqa: SLF001
        return self._cursor.fetchmany_arrow(size)

    async def fetchall_arrow(self) -> pa.Table:
        """Returns all remaining rows as a `pyarrow.Table`, without a copy.

        Example:
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
            >>> (await cursor.fetchall_arrow()).to_pydict()
            {'id': [0, 1, 2], 'square': [0, 1, 4]}
        """
        await self._prepared(None, as_rows=False)
        return self._cursor.fetchall_arrow()

    async def arrow(self) -> pa.Table:
        """Returns all remaining rows as a `pyarrow.Table`, without a copy; once, as `seakernel.Cursor.arrow` does.

        Example:
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
            >>> (await cursor.arrow()).to_pydict()
            {'id': [0, 1, 2], 'square': [0, 1, 4]}
        """
        await self._prepared(None, as_rows=False)
        return self._cursor.arrow()

    async def pl(self) -> pl.DataFrame:
        """Returns all remaining rows as a `polars.DataFrame`, once; pyarrow is not needed.

        Example:
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
            >>> (await cursor.pl()).rows()
            [(0, 0), (1, 1), (2, 4)]
        """
        await self._prepared(None, as_rows=False)
        return self._cursor.pl()

    async def duckdb(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """Returns all remaining rows as a relation on a DuckDB connection, held in memory, once; pyarrow is not needed.

        Example:
            >>> import duckdb
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> relation = await cursor.duckdb(duckdb.connect())
            >>> relation.filter("id > 997").fetchall()
            [(998,), (999,)]
        """
        await self._prepared(None, as_rows=False)
        return self._cursor.duckdb(connection)

    async def df(self, *, dtype_backend: Literal["pyarrow"] | None = None) -> pd.DataFrame:
        """Returns all remaining rows as a `pandas.DataFrame`, once; it is made in the event loop's thread.

        Args:
            dtype_backend: `pyarrow` for columns of Arrow types; columns of NumPy types by default.

        Example:
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(2)")
            >>> (await cursor.df()).to_dict("records")
            [{'id': 0, 'square': 0}, {'id': 1, 'square': 1}]
        """
        await self._prepared(None, as_rows=False)
        return self._cursor.df(dtype_backend=dtype_backend)

    def batches(self) -> Batches:
        """Returns the remaining rows for `async for`, as they come: one Arrow batch with at least one row at a time.

        Whatever reads Arrow takes each batch, as in `polars.DataFrame(batch)`; pyarrow is not needed. At most
        `memory_budget_bytes` are held at once, however slow the reader is. The position is the cursor's: a loop that was
        left or cancelled goes on with a new `batches()`, or with any other fetch.

        Example:
            >>> import asyncio
            >>> from seakernel import aio
            >>> async def main() -> None:
            ...     async with aio.connect("local") as connection, connection.cursor() as cursor:
            ...         await cursor.execute("SELECT id FROM range(5)")
            ...         async for batch in cursor.batches():
            ...             print(len(batch))
            >>> asyncio.run(main())
            5
        """
        return Batches(self)

    @overload
    async def hand_off(self, mode: Literal["capsule"] = "capsule") -> ArrowTable: ...
    @overload
    async def hand_off(self, mode: Literal["ipc"]) -> IpcStream: ...
    @overload
    async def hand_off(self, mode: Literal["copy"], *, allocate: Callable[[int], Any]) -> CopiedResult: ...
    async def hand_off(
        self, mode: Literal["capsule", "ipc", "copy"] = "capsule", *, allocate: Callable[[int], Any] | None = None
    ) -> ArrowTable | IpcStream | CopiedResult:
        """Gives the remaining rows away, in the form that suits whoever takes them; once, as `seakernel.Cursor.hand_off` does.

        Args:
            mode: `capsule`, the rows in memory with `__arrow_c_stream__`, for its readers would wait for a download in the
                event loop's thread. `ipc`, one Arrow IPC stream for `async for`. `copy`, each buffer copied once into memory
                of the caller, a batch at a time in the event loop's thread.
            allocate: For `copy`: gets a number of bytes and returns as many, writable.

        Raises:
            InterfaceError: another task is fetching from this cursor; and for one that fetches once this has begun.

        Example:
            >>> import polars
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
            >>> polars.DataFrame(await cursor.hand_off()).rows()
            [(0, 0), (1, 1), (2, 4)]
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> copied = await cursor.hand_off("copy", allocate=bytearray)
            >>> [len(memory) for memory in copied.memory]
            [8000]
        """
        check_mode(mode, allocate)
        result = self._cursor._unread("hand_off")  # noqa: SLF001
        if self._fetching:
            message = "another task is fetching from this cursor: hand the result off when that has its rows"
            raise InterfaceError(message, kind="InvalidArgument", statement_id=result.statement_id)
        if mode == "ipc":
            return IpcStream(result.hand_over())
        # From here on nobody else reads it, be it another task or `allocate`; a cancel still ends it.
        self._cursor._read_by = "hand_off"  # noqa: SLF001
        try:
            if allocate is None:
                return (await _prepared(result, None, as_rows=False)).take()
            return await _copied(result.hand_over(tied=True), allocate)
        except BaseException:
            if self._cursor._result is result:  # noqa: SLF001
                self._cursor._read_by = None  # noqa: SLF001
            raise

    async def close(self) -> None:
        """Closes the cursor and releases its result. Safe to call twice.

        Example:
            >>> await cursor.close()
            >>> await cursor.execute("SELECT 1")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the cursor is closed
        """
        await _close(self._cursor)

    async def _prepared(self, rows: int | None, *, as_rows: bool) -> ResultStream:
        """Waits until the next `rows` rows can be taken without a wait, and returns the result that has them."""
        result = self._cursor._open_result()  # noqa: SLF001
        self._check_not_handed_off(result)
        self._fetching += 1
        try:
            return await _prepared(result, rows, as_rows=as_rows)
        finally:
            self._fetching -= 1

    def _check_not_handed_off(self, result: ResultStream) -> None:
        # Also while `hand_off` still gathers the rows, which would lack those that others take.
        if self._cursor._read_by == "hand_off":  # noqa: SLF001
            message = "the result was handed over by `hand_off()`, which can be done once; read what that returns"
            raise InterfaceError(message, kind="Closed", statement_id=result.statement_id)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Row:
        result = self._cursor._result  # noqa: SLF001
        row = None
        if result is not None:
            self._check_not_handed_off(result)
            row = result.next_made()
        if row is None:
            row = await self.fetchone()
        if row is None:
            raise StopAsyncIteration
        return row

    async def __aenter__(self) -> Self:
        self._cursor._open_session()  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Cursor statement_id={self.statement_id} closed={self._cursor._closed}>"  # noqa: SLF001


class Batches:
    """The rest of a result for `async for`, one Arrow batch at a time. Made by `Cursor.batches`.

    Example:
        >>> import polars
        >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
        >>> [polars.DataFrame(batch).rows() async for batch in cursor.batches()]
        [[(0, 0), (1, 1), (2, 4)]]
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ArrowTable:
        result = await self._cursor._prepared(1, as_rows=False)  # noqa: SLF001 - one module, one protocol
        batch = result.next_batch()
        if batch is None:
            raise StopAsyncIteration
        return batch


class IpcStream:
    """The rest of a result as one Arrow IPC stream for `async for`, in pieces of `bytes`. Made by `Cursor.hand_off("ipc")`.

    Example:
        >>> import polars
        >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
        >>> pieces = [piece async for piece in await cursor.hand_off("ipc")]
        >>> polars.read_ipc_stream(b"".join(pieces)).height
        1000
    """

    def __init__(self, result: ResultStream) -> None:
        self._result = result
        self._stream = _IpcStream(result)

    async def read_all(self) -> bytes:
        """Returns what is left of the stream, gathered in memory.

        Example:
            >>> import polars
            >>> cursor = await cursor.execute("SELECT id, id * id AS square FROM range(3)")
            >>> stream = await cursor.hand_off("ipc")
            >>> polars.read_ipc_stream(await stream.read_all()).rows()
            [(0, 0), (1, 1), (2, 4)]
        """
        return b"".join([piece async for piece in self])

    async def close(self) -> None:
        """Ends what another task waits for here, and releases the result. Safe to call twice.

        Example:
            >>> cursor = await cursor.execute("SELECT id FROM range(1000)")
            >>> stream = await cursor.hand_off("ipc")
            >>> await stream.close()
        """
        await _ended(self._result.close_async())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._stream._ended:  # noqa: SLF001 - one protocol
            raise StopAsyncIteration
        await _prepared(self._result, 1, as_rows=False)
        piece = self._stream._piece()  # noqa: SLF001
        if piece is None:
            raise StopAsyncIteration
        return piece


class PartitionLease:
    """The partitions of a result, and the right to have them read; `seakernel.PartitionLease` for asyncio.

    Made by `Cursor.partitions`. For `async for`, which walks the chain of the result's links, and `async with`.

    Example:
        >>> async with await cursor.partitions("SELECT id FROM range(1000)") as parts:
        ...     async for partition in parts:
        ...         reader = await connection.cursor().read(partition)
        ...         parts.acknowledge(partition, (await reader.arrow()).num_rows)
        >>> parts.acknowledged_rows
        1000
    """

    def __init__(self, lease: partitions.PartitionLease) -> None:
        # Keeps the accounts. Never called where it would wait.
        self._lease = lease
        # Partitions that came to calls which were cancelled.
        self._returned: list[Partition] = []

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> (await anext(parts)).statement_id == parts.statement_id
            True
        """
        return self._lease.statement_id

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result. The object exports its Arrow schema, too.

        Example:
            >>> [column.name for column in (await cursor.partitions("SELECT 1 AS one")).columns]
            ['one']
        """
        return self._lease.columns

    @property
    def total_row_count(self) -> int | None:
        """Rows of the whole result as announced by the server, None where it did not say.

        Example:
            >>> (await cursor.partitions("SELECT id FROM range(10)")).total_row_count
            10
        """
        return self._lease.total_row_count

    @property
    def acknowledged_rows(self) -> int:
        """Rows of the partitions that were acknowledged.

        Example:
            >>> (await cursor.partitions("SELECT id FROM range(10)")).acknowledged_rows
            0
        """
        return self._lease.acknowledged_rows

    def acknowledge(self, partition: Partition, rows: int) -> None:
        """Notes that all rows of a partition were read, as `seakernel.PartitionLease.acknowledge` does.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> parts.acknowledge(await anext(parts), 10)
        """
        self._lease.acknowledge(partition, rows)

    async def links(self, partition: Partition) -> PartitionLinks:
        """Asks the workspace for fresh links to the rows of a partition, as `seakernel.PartitionLease.links` does.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> await parts.links(await anext(parts))
            PartitionLinks(0 secret links)
        """
        self._lease._check_own(partition)  # noqa: SLF001 - one protocol
        return await self._lease._stream.links_async(partition)  # noqa: SLF001

    async def finish(self) -> None:
        """Ends the lease, and raises unless every row was acknowledged, as `seakernel.PartitionLease.finish` does.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> async for partition in parts:
            ...     parts.acknowledge(partition, 10)
            >>> await parts.finish()
        """
        await self.close()
        self._lease._check_complete()  # noqa: SLF001

    def detach(self) -> None:
        """Has the statement outlive the process, as `seakernel.PartitionLease.detach` does.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> parts.detach()
        """
        self._lease.detach()

    async def close(self) -> None:
        """Ends the lease without a check. Safe to call twice; after `detach` it does nothing.

        Example:
            >>> parts = await cursor.partitions("SELECT id FROM range(10)")
            >>> await parts.close()
        """
        if not self._lease._closed:  # noqa: SLF001
            self._lease._closed = True  # noqa: SLF001
            await _ended(self._lease._stream.close_async())  # noqa: SLF001

    def __arrow_c_schema__(self) -> object:
        return self._lease.__arrow_c_schema__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Partition:
        lease = self._lease
        partition: Partition | None = None
        if not self._returned:
            future = lease._stream.next_partition_async()  # noqa: SLF001
            try:
                partition = await future
            except BaseException:
                # Cancelled when it had come already: it is the next one again, even if others have seen the end.
                has_come = future.done() and not future.cancelled() and future.exception() is None
                if has_come and (come := future.result()) is not None:
                    self._returned.append(come)
                    lease._exhausted = False  # noqa: SLF001
                raise
        if partition is None and self._returned:
            partition = self._returned.pop(0)
        if lease._handed_out(partition) is None or partition is None:  # noqa: SLF001
            raise StopAsyncIteration
        return partition

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_type is None and self._lease._acknowledged:  # noqa: SLF001
            await self.finish()
        else:
            await self.close()

    def __repr__(self) -> str:
        return repr(self._lease).replace("<", "<aio.", 1)


async def _prepared(result: ResultStream, rows: int | None, *, as_rows: bool) -> ResultStream:
    while (step := result.prepare_async(rows, as_rows=as_rows)) is not True:
        await (step or _turn())
    return result


async def _copied(given: ResultStream, allocate: Callable[[int], Any]) -> CopiedResult:
    try:
        copied = CopiedResult(given, allocate)
        while copied._copy((await _prepared(given, 1, as_rows=False)).next_batch()):  # noqa: SLF001 - one protocol
            pass
    except BaseException:
        await _ended(given.close_async())
        raise
    return copied


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """Lets the event loop run once: `asyncio.sleep(0)`, without the import of asyncio."""
    yield


async def _ended(ending: Awaitable[None] | None) -> None:
    if ending is not None:
        await ending


async def _release(cursor: dbapi.Cursor) -> None:
    """Forgets the result, without a wait in the event loop's thread."""
    result, cursor._result = cursor._result, None  # noqa: SLF001
    cursor._clear()  # noqa: SLF001
    if result is not None:
        await _ended(result.close_async())


async def _close(cursor: dbapi.Cursor) -> None:
    cursor._closed = True  # noqa: SLF001
    await _release(cursor)
