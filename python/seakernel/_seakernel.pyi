"""The extension module. Everything public of it is re-exported by `seakernel`, which says what examples start with."""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, Literal, TypeAlias, TypeVar, final

import pyarrow as pa
from typing_extensions import Self

from seakernel.dbapi import Connection
from seakernel.hand_off import BatchLayout
from seakernel.partitions import Broker, PartitionResult
from seakernel.row import Row
from seakernel.types import Auth, ProxyOption, RequestOptions, ResultOptions, RetryOptions, StatementState, TlsOptions

__all__ = [
    "ArrowParameters",
    "ArrowTable",
    "Column",
    "ExecutedStatement",
    "IpcEncoder",
    "LocalServer",
    "Metadata",
    "MultiRowInsert",
    "Parameter",
    "Partition",
    "PartitionLinks",
    "PartitionStream",
    "ResultStream",
    "Session",
    "Statement",
    "Statistics",
    "VolumeOperation",
    "__version__",
    "copy_batch",
    "environment_proxy",
    "forget_log_levels",
    "has_named_markers",
    "layout_head",
    "typed_parameters",
    "with_native_markers",
]

_T = TypeVar("_T")
_Observer: TypeAlias = Callable[[Literal["waiting", "back", "done", "failed"], Statistics | None, int | None], object]

__version__: Final[str]

def forget_log_levels() -> None:
    """Has log levels that were set since the last `connect` take effect now."""

def environment_proxy(url: str) -> str | None:
    """Returns the address of the environment's proxy for `url`, with its user name and password, which are secret.

    Raises:
        ProgrammingError: a variable of the environment holds no address of a proxy.
    """

def has_named_markers(sql: str) -> bool:
    """Tells whether the markers of `sql` are `:name` or `%(name)s`."""

def typed_parameters(parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[str | None, str, str | None]]:
    """Returns marker name, SQL type and text of each parameter, as they would be sent; raises as `Session.statement`."""

def with_native_markers(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> str:
    """Returns `sql` with `?` or `:name` in place of `%s` or `%(name)s`; what is quoted or a comment stays.

    Raises:
        ProgrammingError: styles are mixed, a marker has no parameter, a parameter has no marker, or there are more than 256.
    """

@final
class IpcEncoder:
    """Writes one Arrow IPC stream of the rows of `result`."""

    def __new__(cls, result: ResultStream) -> Self: ...
    def encode(self, table: ArrowTable) -> bytes:
        """Returns the next piece of the stream, with the schema where it is the first one."""

    def finish(self) -> bytes:
        """Returns the end of the stream, with the schema where nothing was encoded."""

def copy_batch(table: ArrowTable, allocate: Callable[[int], Any]) -> tuple[Any, BatchLayout]:
    """Copies a table of one batch into memory of `allocate`, and returns that with what is where."""

def layout_head(result: ResultStream) -> Any:
    """Returns what is known of a result's layout before its first batch."""

@final
class MultiRowInsert:
    """An INSERT of one row that can as well insert several; `executemany` is made of it."""

    @staticmethod
    def parse(sql: str) -> MultiRowInsert | None:
        """Reads `INSERT INTO t [(columns)] VALUES (...)` of markers and constants; None for any other statement."""

    @property
    def markers(self) -> list[str | None]:
        """Names of the row's markers in their order; None for `?`."""

    def statement(self, rows: int) -> str:
        """Returns the SQL that inserts so many rows. Named markers are then `:p1`, `:p2`, ... through all rows."""

@final
class ArrowParameters:
    """The rows of an Arrow stream as parameter sets; iterating gives lists of rows."""

    def __new__(cls, stream: object) -> Self:
        """Takes over the stream of an object with `__arrow_c_stream__`.

        Raises:
            NotSupportedError: no SQL type of a parameter holds a column's Arrow type exactly.
        """

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Name and SQL type of each column."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> list[Row]: ...

@final
class Parameter:
    """A statement parameter with its SQL type named, where inference would choose another.

    Immutable. Its `repr` does not show the value.

    Example:
        >>> price = seakernel.Parameter("9.90", "DECIMAL(10,2)")
        >>> cursor.execute("SELECT typeof(:price) AS type", {"price": price}).fetchone()
        Row(type='decimal(10,2)')
        >>> seakernel.Parameter(7, "TINYINT")
        Parameter(..., sql_type='TINYINT')
    """

    def __new__(cls, value: object, sql_type: str) -> Self:
        """Makes a parameter.

        Args:
            value: None for NULL, or a value of a type that inference knows; a str goes out as it is, so
                `Parameter("2024-02-29", "DATE")` is a date. A list, tuple or dict is of an ARRAY, MAP or STRUCT type.
            sql_type: SQL type to which the server casts the value, such as `TINYINT`, `DECIMAL(10,2)` or `ARRAY<INT>`.

        Raises:
            ProgrammingError: `sql_type` is empty.
        """

    @staticmethod
    def from_text(text: str | None, sql_type: str) -> Parameter:
        """Makes a parameter from text that is checked against its type here, before anything is sent.

        The text keeps its meaning and is written as the server reads it: a DECIMAL is widened to hold its digits, a
        TIMESTAMP with an offset goes out in UTC, NULL keeps its type, BINARY is hexadecimal digits, and VARIANT, GEOMETRY
        and GEOGRAPHY travel as STRING.

        Args:
            text: The value, None for NULL.
            sql_type: SQL type in any letter case, such as `DECIMAL(10,2)` or `INTERVAL DAY TO SECOND`.

        Raises:
            ProgrammingError: no parameter has that type, or the text is no value of it. The text is not repeated.

        Example:
            >>> parameter = seakernel.Parameter.from_text("2024-02-29T12:00:00+01:00", "TIMESTAMP")
            >>> cursor.execute("SELECT date_format(?, 'HH:mm') AS utc", [parameter]).fetchone()
            Row(utc='11:00')
        """

    @property
    def value(self) -> Any:
        """The value as given.

        Example:
            >>> seakernel.Parameter("2024-02-29", "DATE").value
            '2024-02-29'
        """

    @property
    def sql_type(self) -> str:
        """The SQL type as given.

        Example:
            >>> seakernel.Parameter([1, 2], "ARRAY<INT>").sql_type
            'ARRAY<INT>'
        """

@final
class Column:
    """One column of a result, as the server describes it. Immutable.

    Example:
        >>> result = session.execute("SELECT 1 AS id, 'Ada' AS name")
        >>> [(column.name, column.type_text) for column in result.columns]
        [('id', 'INT'), ('name', 'STRING')]
    """

    @property
    def name(self) -> str:
        """Name, or text of the expression. Names may repeat.

        Example:
            >>> [column.name for column in session.execute("SELECT 1 AS id, 1 + 1").columns]
            ['id', '(1 + 1)']
        """

    @property
    def type_text(self) -> str:
        """Full SQL type, such as `DECIMAL(10,2)` or `ARRAY<INT>`.

        Example:
            >>> session.execute("SELECT array(1, 2) AS numbers").columns[0].type_text
            'ARRAY<INT>'
        """

    @property
    def type_name(self) -> str:
        """Base type in the server's words, such as `DECIMAL`, `LONG` (for BIGINT) or `STRING`.

        Example:
            >>> session.execute("SELECT array(1, 2) AS numbers").columns[0].type_name
            'ARRAY'
        """

    @property
    def precision(self) -> int | None:
        """Digits of a DECIMAL; None for every other type.

        Example:
            >>> result = session.execute("SELECT CAST(9.9 AS DECIMAL(10,2)) AS price, 1 AS id")
            >>> [column.precision for column in result.columns]
            [10, None]
        """

    @property
    def scale(self) -> int | None:
        """Digits behind the point of a DECIMAL; None for every other type.

        Example:
            >>> result = session.execute("SELECT CAST(9.9 AS DECIMAL(10,2)) AS price, 1 AS id")
            >>> [column.scale for column in result.columns]
            [2, None]
        """

@final
class Statistics:
    """What fetching a result has cost so far: a snapshot, immutable.

    Example:
        >>> cursor.execute("SELECT id FROM range(1000)").fetchall()[-1]
        Row(id=999)
        >>> statistics = cursor.statistics
        >>> statistics.rows, statistics.chunks, statistics.retries
        (1000, 1, 0)
    """

    @property
    def chunks(self) -> int:
        """Result chunks received.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> len(result.rows()), result.statistics.chunks
            (1000, 1)
        """

    @property
    def rows(self) -> int:
        """Rows received; those not yet fetched by the caller included.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> len(result.rows(10)), result.statistics.rows
            (10, 1000)
        """

    @property
    def wire_bytes(self) -> int:
        """Bytes of result bodies that arrived whole or came with an answer, refused ones included.

        Example:
            >>> result = session.execute("SELECT repeat('abc', 1000) AS text FROM range(1000)")
            >>> result.take().num_rows, result.statistics.wire_bytes < result.statistics.decoded_bytes / 10
            (1000, True)
        """

    @property
    def decoded_bytes(self) -> int:
        """Bytes after decompression, of the bodies that were accepted.

        Example:
            >>> result = session.execute("SELECT repeat('abc', 1000) AS text FROM range(1000)")
            >>> result.take().num_rows, result.statistics.decoded_bytes > 3_000_000
            (1000, True)
        """

    @property
    def link_requests(self) -> int:
        """Requests for further links, after the first answer.

        Example:
            >>> result = session.execute("SELECT 1 AS one")
            >>> result.rows(), result.statistics.link_requests  # the rows came with the answer
            ([Row(one=1)], 0)
        """

    @property
    def renewals(self) -> int:
        """Those of them that asked for links again because the old ones had expired.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.renewals
            (1000000, 0)
        """

    @property
    def download_requests(self) -> int:
        """Requests to storage hosts.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.download_requests >= result.statistics.chunks
            (1000000, True)
        """

    @property
    def range_requests(self) -> int:
        """Those of them for a range of a file.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.range_requests <= result.statistics.download_requests
            (1000000, True)
        """

    @property
    def hedged_requests(self) -> int:
        """Downloads requested a second time because the first was slow, while the reader waited for them.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.hedged_requests <= result.statistics.download_requests
            (1000000, True)
        """

    @property
    def retries(self) -> int:
        """Downloads repeated after a failure.

        Example:
            >>> warehouse.faults([{"on": "download", "chunk_index": 0, "times": 1, "do": {"status": {"code": 503}}}])
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.retries
            (1000000, 1)
        """

    @property
    def trimmed_rows(self) -> int:
        """Surplus rows cut from chunks that held more than was announced.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, result.statistics.trimmed_rows
            (1000000, 0)
        """

    @property
    def reader_wait_s(self) -> float:
        """Seconds in which the reader waited for chunks: the network or the decoder was slower.

        Example:
            >>> result = session.execute("SELECT id, uuid() AS key FROM range(1000000)")
            >>> result.take().num_rows, 0 < result.statistics.reader_wait_s < 60
            (1000000, True)
        """

    @property
    def memory_wait_s(self) -> float:
        """Seconds in which the next chunk waited for room in the byte budget: the reader was slower, or it is small.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> result.take().num_rows, result.statistics.memory_wait_s  # the budget was never full
            (1000, 0.0)
        """

@final
class ArrowTable:
    """Arrow batches in memory.

    Exports itself any number of times and from any thread, each time the same buffers without a copy:
    `pyarrow.table(table)`, `polars.DataFrame(table)`. The memory lives as long as this object or anything read from it.

    Example:
        >>> import polars
        >>> table = session.execute("SELECT id, id * id AS square FROM range(3)").take()
        >>> polars.DataFrame(table).to_dicts()
        [{'id': 0, 'square': 0}, {'id': 1, 'square': 1}, {'id': 2, 'square': 4}]
    """

    @property
    def num_rows(self) -> int:
        """Number of rows, same as `len`.

        Example:
            >>> table = connection.metadata().table_types()
            >>> table.num_rows, len(table)
            (4, 4)
        """

    @property
    def num_columns(self) -> int:
        """Number of columns.

        Example:
            >>> connection.metadata().catalogs().num_columns
            1
        """

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Returns an Arrow stream of all batches.

        Args:
            requested_schema: Ignored, as the interface allows; cast on the consumer's side.
        """

    def __arrow_c_schema__(self) -> object:
        """Returns the Arrow schema. Every field is nullable."""

@final
class Partition:
    """A run of consecutive rows of a result, which any process and machine reads by itself.

    Made by `Cursor.partitions`. It holds the ids of statement and warehouse, the rows it stands for and their columns:
    no token and no link, unless `links=True` asked for these; what came of a small result with the server's answer
    travels in it as rows. It can be pickled, compared and hashed, and what was written by an older release of this package
    is read by a newer one.

    A server keeps a result for an hour after the statement has succeeded, and shows it to those who may see the
    statement: sign in as the user that has run it.

    Example:
        >>> import pickle
        >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
        >>> received = pickle.loads(pickle.dumps(partition))
        >>> received.read(access_token=warehouse.access_token).fetchall()
        [Row(id=0), Row(id=1), Row(id=2)]
    """

    def __new__(cls, data: bytes) -> Self:
        """Reads what `to_bytes` of this or an older release has written.

        Raises:
            ProgrammingError: it is something else, or of a newer release.
        """

    def to_bytes(self) -> bytes:
        """Writes the partition down, for `Partition(data)` of this and later releases; what is pickled is just this.

        Example:
            >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
            >>> seakernel.Partition(partition.to_bytes()) == partition
            True
        """

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(3)")
            >>> next(parts).statement_id == parts.statement_id
            True
        """

    @property
    def server_hostname(self) -> str:
        """The workspace, as `connect` takes it.

        Example:
            >>> next(cursor.partitions("SELECT 1")).server_hostname == warehouse.server_hostname
            True
        """

    @property
    def http_path(self) -> str:
        """Path of the warehouse, as `connect` takes it.

        Example:
            >>> next(cursor.partitions("SELECT 1")).http_path == warehouse.http_path
            True
        """

    @property
    def sign_in(self) -> str | None:
        """The profile by which to sign in, None where a reader's own environment says how.

        Example:
            >>> next(cursor.partitions("SELECT 1", profile="etl")).sign_in
            'etl'
        """

    @property
    def sequence(self) -> int | None:
        """The place among the partitions, from 0 in the order of the rows, where `ordered=True` asked for it.

        Example:
            >>> [partition.sequence for partition in cursor.partitions("SELECT 1", ordered=True)]
            [0]
        """

    @property
    def chunk_index(self) -> int:
        """Index of its first chunk.

        Example:
            >>> next(cursor.partitions("SELECT 1")).chunk_index
            0
        """

    @property
    def row_offset(self) -> int:
        """Place of its first row in the result.

        Example:
            >>> next(cursor.partitions("SELECT 1")).row_offset
            0
        """

    @property
    def row_count(self) -> int:
        """Number of its rows.

        Example:
            >>> next(cursor.partitions("SELECT id FROM range(3)")).row_count
            3
        """

    @property
    def byte_count(self) -> int | None:
        """Its size as the server tells it, uncompressed where that is told, None where it is not.

        Example:
            >>> next(cursor.partitions("SELECT id FROM range(3)")).byte_count > 24
            True
        """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns. The object exports its Arrow schema, too, as in `pyarrow.schema(partition)`.

        Example:
            >>> next(cursor.partitions("SELECT 1 AS one")).columns
            (Column(name='one', type_text='INT'),)
        """

    @property
    def has_links(self) -> bool:
        """Whether presigned links are in it: then it is as secret as its rows.

        Example:
            >>> next(cursor.partitions("SELECT 1")).has_links
            False
        """

    @property
    def needs_no_sign_in(self) -> bool:
        """Whether it can be read without a sign-in, because its rows or its links are in it.

        Example:
            >>> next(cursor.partitions("SELECT 1")).needs_no_sign_in  # a small result came with the answer
            True
        """

    def read(
        self, connection: Connection | None = None, *, broker: Broker | None = None, **options: Any
    ) -> PartitionResult:
        """Opens the rows, all of them and no others; needs no session on the server.

        Without arguments the reader signs in as `connect` does where it runs: by the profile that the driver has named, or
        else by its own environment. The workspace must be named there, too, or by `server_hostname`: a sign-in never goes to a
        host that only the partition names.

        Args:
            connection: Whose sign-in and connections to use, for several partitions; the others are then not given.
            broker: A callable that gets this partition and returns fresh `PartitionLinks`, or their bytes, such as
                `LinkServer.address`. It is called when the rows are opened and when links have expired, within two minutes;
                no sign-in is needed then.
            options: Those of `connect` that a sign-in and a download have, such as `server_hostname`, `access_token`,
                `auth`, `profile`, `results`, `retry`, `tls` and `proxy`.

        Raises:
            ProgrammingError: the statement was closed, the result is older than an hour or of another user (kind
                `NotFound`), or the sign-in is for another host or warehouse, or for none that the reader has named.
            OperationalError: links that travelled along are about to expire or have expired (kind `LinkExpired`), or the
                connection failed.
            DataLossError: when rows are read and some are missing, surplus or damaged.

        Example:
            >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
            >>> place = {"server_hostname": warehouse.server_hostname, "access_token": warehouse.access_token}
            >>> partition.read(**place).arrow().num_rows
            3
        """

    def results(
        self,
        session: Session | None = None,
        broker: Broker | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> ResultStream:
        """Opens the rows in a session, or with the arguments of one; `read` completes these first.

        Example:
            >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
            >>> partition.results(session).rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def results_async(
        self,
        session: Session | None = None,
        broker: Broker | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Future[ResultStream]:
        """As `results`, for asyncio.

        Example:
            >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
            >>> (await partition.results_async(session)).rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def __arrow_c_schema__(self) -> object: ...
    def __reduce__(self) -> tuple[type[Partition], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PartitionLinks:
    """Presigned links to the rows of one partition. A secret: who has them reads the rows, for 15 minutes at most.

    Made by `PartitionLease.links`.

    Example:
        >>> parts = cursor.partitions("SELECT id FROM range(3)")
        >>> parts.links(next(parts))
        PartitionLinks(0 secret links)
    """

    def __new__(cls, data: bytes) -> Self:
        """Reads what `to_bytes` has written.

        Raises:
            ProgrammingError: it is something else, or of a newer release.
        """

    def to_bytes(self) -> bytes:
        """Writes the links down, secrets included.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(3)")
            >>> links = parts.links(next(parts))
            >>> seakernel.PartitionLinks(links.to_bytes()) == links
            True
        """

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the first of them expires, by the local clock; None where the server names no end.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(3)")
            >>> print(parts.links(next(parts)).seconds_left)
            None
        """

    def __reduce__(self) -> tuple[type[PartitionLinks], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class PartitionStream:
    """The partitions of a result, cut while the chain of its links is walked; `PartitionLease` keeps the accounts.

    Made by `Statement.partitions`, `ExecutedStatement.partitions` and `ResultStream.partitions`.

    Example:
        >>> stream = session.statement("SELECT id FROM range(3)").partitions()
        >>> stream.next_partition().row_count, stream.next_partition()
        (3, None)
    """

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> statement = session.statement("SELECT 1 AS one")
            >>> statement.partitions().statement_id == statement.statement_id
            True
        """

    @property
    def total_row_count(self) -> int | None:
        """Rows of the whole result as announced by the server, None where it did not say.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions().total_row_count
            3
        """

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the result.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions().truncated
            False
        """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result.

        Example:
            >>> session.statement("SELECT 1 AS one").partitions().columns
            (Column(name='one', type_text='INT'),)
        """

    def next_partition(self) -> Partition | None:
        """Returns the next partition; None after the last, when the sum of their rows was held against the manifest.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions().next_partition().row_count
            3
        """

    def next_partition_async(self) -> Future[Partition | None]:
        """As `next_partition`, for asyncio.

        Example:
            >>> (await session.statement("SELECT id FROM range(3)").partitions().next_partition_async()).row_count
            3
        """

    def links(self, partition: Partition) -> PartitionLinks:
        """Asks the workspace for fresh links to the rows of `partition`.

        Example:
            >>> stream = session.statement("SELECT id FROM range(3)").partitions()
            >>> stream.links(stream.next_partition())
            PartitionLinks(0 secret links)
        """

    def links_async(self, partition: Partition) -> Future[PartitionLinks]:
        """As `links`, for asyncio.

        Example:
            >>> stream = session.statement("SELECT id FROM range(3)").partitions()
            >>> await stream.links_async(stream.next_partition())
            PartitionLinks(0 secret links)
        """

    def keep(self) -> None:
        """Has the statement outlive this object, its session and the process; nobody closes it then.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions().keep()
        """

    def close(self) -> None:
        """Closes the statement on the server, so that no partition can be opened any more.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions().close()
        """

    def close_async(self) -> Future[None] | None:
        """As `close`, for asyncio; None where nothing is left to do.

        Example:
            >>> await session.statement("SELECT id FROM range(3)").partitions().close_async()
        """

    def __arrow_c_schema__(self) -> object: ...

@final
class ResultStream:
    """The rows of one statement, in server order, read once from the first to the last.

    `rows`, `take`, `next_batch`, iteration and the Arrow stream share one position and may be mixed. Chunks are
    downloaded ahead in the background, within the memory budget.

    Every waiting call releases the GIL, ends within a fraction of a second on Ctrl-C, and loses no row: a call that
    raises leaves the position where it was. Threads may share a result: their calls take turns, and each row goes to one
    of them. A failure of the download is final: every later call that needs more rows raises it again.

    Dropping the object aborts what is under way and closes the statement on the server in the background. In a forked
    child every call of a parent's result raises `InterfaceError`, save `close`, which does nothing.

    Example:
        >>> result = session.execute("SELECT id FROM range(5)")
        >>> next(result), result.rows(2), len(result.take())
        (Row(id=0), [Row(id=1), Row(id=2)], 2)
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns; empty for statements without a result set.

        Example:
            >>> result = session.execute("SELECT 1 AS id, DATE '2024-02-29' AS day")
            >>> [(column.name, column.type_text) for column in result.columns]
            [('id', 'INT'), ('day', 'DATE')]
        """

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> statement = session.statement("SELECT 1 AS one")
            >>> statement.execute().statement_id == statement.statement_id
            True
        """

    @property
    def total_row_count(self) -> int | None:
        """Rows of the whole result as announced by the server, None where it did not say.

        Example:
            >>> session.execute("SELECT id FROM range(1000)").total_row_count
            1000
        """

    @property
    def fetched_row_count(self) -> int:
        """Rows handed over so far, in any form; those of a stream taken over by another library are not counted.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> len(result.rows(10)), result.fetched_row_count
            (10, 10)
        """

    @property
    def is_volume_operation(self) -> bool:
        """Whether the statement asks for the transfer of a file: the result is for `Session.volume_operation`.

        Example:
            >>> session.execute("SELECT 1 AS one").is_volume_operation
            False
        """

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the result.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)", row_limit=10)
            >>> len(result.rows()), result.truncated
            (10, True)
        """

    @property
    def modified_row_count(self) -> int | None:
        """Rows that an INSERT, UPDATE, DELETE, MERGE, COPY or CREATE TABLE AS has changed.

        None where the server does not tell, and for every other statement. The row that tells it stays in the result.

        Example:
            >>> session.execute("CREATE TABLE squares AS SELECT id * id AS square FROM range(10)").modified_row_count
            10
            >>> session.execute("DELETE FROM squares WHERE square > 20").modified_row_count
            5
        """

    @property
    def statistics(self) -> Statistics:
        """What fetching has cost up to now, also by whoever the result was handed over to.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> len(result.rows()), result.statistics.rows
            (1000, 1000)
        """

    @property
    def state(self) -> Literal["Open", "Reading", "Read", "Failed", "HandedOver", "Cancelled", "Closed"]:
        """Whether there is something to read. `Reading` while another thread does, `Read` after the last row.

        Example:
            >>> result = session.execute("SELECT 1 AS one")
            >>> result.state, result.rows(), result.state
            ('Open', [Row(one=1)], 'Read')
        """

    @property
    def month_intervals(self) -> list[str]:
        """Names of the columns that hold Arrow's month intervals, also nested: polars and pandas cannot read them.

        Example:
            >>> sql = "SELECT INTERVAL '2-6' YEAR TO MONTH AS term, INTERVAL '3' DAY AS notice"
            >>> session.execute(sql).month_intervals
            ['term']
        """

    def rows(self, max_rows: int | None = None) -> list[Row]:
        """Returns the next rows, tuples that know their columns.

        SQL types become: BOOLEAN bool; whole numbers int; FLOAT and DOUBLE float; DECIMAL `decimal.Decimal`, exact; STRING
        str; BINARY bytes; DATE `datetime.date`; TIMESTAMP `datetime.datetime` in the session's zone (`timezone.utc` for
        UTC); TIMESTAMP_NTZ naive `datetime.datetime`; day-time intervals `datetime.timedelta`; year-month intervals text
        such as `2-6`; ARRAY list; STRUCT dict; MAP dict, or a list of pairs where the keys are nested; VARIANT and OBJECT
        their JSON text; GEOMETRY and GEOGRAPHY EWKT text; NULL None. `ResultOptions` has other forms for some.

        Args:
            max_rows: Most rows to return; None for all that are left.

        Returns:
            The rows; fewer than `max_rows` only at the end, an empty list after it.

        Raises:
            DataError: a value does not fit its Python type, such as a date after the year 9999. Nothing is skipped:
                fetch Arrow from here instead.
            NotSupportedError: the zone of a TIMESTAMP column is not known to `zoneinfo`.
            DataLossError: rows are missing, surplus or unreadable.
            OperationalError: the download failed after its retries, or was cancelled.
            InterfaceError: the result is closed, handed over, or of the parent process.

        Example:
            >>> sql = "SELECT * FROM VALUES (1, 9.90, DATE '2024-02-29'), (2, 5.00, NULL) AS orders(id, price, day)"
            >>> result = session.execute(sql)
            >>> result.rows(1)
            [Row(id=1, price=Decimal('9.90'), day=datetime.date(2024, 2, 29))]
            >>> result.rows()
            [Row(id=2, price=Decimal('5.00'), day=None)]
        """

    def take(self, max_rows: int | None = None) -> ArrowTable:
        """Returns the next rows as Arrow, gathered in memory without a copy.

        Args:
            max_rows: Most rows to return; None for all that are left.

        Raises:
            DataLossError: rows are missing, surplus or unreadable.
            OperationalError: the download failed after its retries, or was cancelled.
            InterfaceError: the result is closed, handed over, or of the parent process.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> len(result.take(10)), len(result.take())
            (10, 990)
        """

    def take_as(self, convert: Callable[[ArrowTable], _T], max_rows: int | None = None) -> _T:
        """Returns what `convert` makes of the next rows; where that raises, also on Ctrl-C, the rows stay here.

        Args:
            convert: Gets the rows as `take` returns them. It must not read this result, nor wait for any other: that
                raises `InterfaceError`.
            max_rows: Most rows; None for all that are left.

        Raises:
            DataLossError: rows are missing, surplus or unreadable.
            OperationalError: the download failed after its retries, or was cancelled.
            InterfaceError: the result is closed, handed over, or of the parent process.

        Example:
            >>> import polars
            >>> session.execute("SELECT id FROM range(1000)").take_as(polars.DataFrame, 10).shape
            (10, 1)
        """

    def next_batch(self) -> ArrowTable | None:
        """Returns the next rows as they came, one Arrow batch with at least one row; None after the last one.

        Raises:
            DataLossError: rows are missing, surplus or unreadable.
            OperationalError: the download failed after its retries, or was cancelled.
            InterfaceError: the result is closed, handed over, or of the parent process.

        Example:
            >>> result = session.execute("SELECT id FROM range(1000)")
            >>> while (batch := result.next_batch()) is not None:
            ...     print(batch.num_rows)
            1000
        """

    def take_pyarrow(self, max_rows: int | None = None) -> pa.Table:
        """Returns the next rows as a `pyarrow.Table`, like `take`; an interrupted conversion leaves them here, too.

        Example:
            >>> session.execute("SELECT id FROM range(3)").take_pyarrow().to_pydict()
            {'id': [0, 1, 2]}
        """

    def next_pyarrow_batch(self) -> pa.RecordBatch | None:
        """Returns the next rows as they came, like `next_batch`, as a `pyarrow.RecordBatch`; None after the last one.

        Example:
            >>> session.execute("SELECT id FROM range(3)").next_pyarrow_batch().num_rows
            3
        """

    def peek(self) -> Row | None:
        """Returns the next row without moving on; None after the last one. Raises as `rows` does.

        Example:
            >>> result = session.execute("SELECT id FROM range(3)")
            >>> result.peek(), result.rows()
            (Row(id=0), [Row(id=0), Row(id=1), Row(id=2)])
        """

    def preview(self, max_rows: int, max_columns: int) -> tuple[int, list[list[Any] | None]]:
        """Looks at the next rows that have arrived already; waits for nothing and moves nothing.

        Args:
            max_rows: Most rows to look at.
            max_columns: Most columns to look at, from the first.

        Returns:
            The number of rows, and their values by column, None for a column with values that Python cannot hold. No
            rows where another thread reads, and where the result was handed over or is closed.

        Example:
            >>> result = session.execute("SELECT id, id * id AS square FROM range(4)")
            >>> result.preview(max_rows=2, max_columns=10)
            (2, [[0, 1], [0, 1]])
        """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Row: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hands the remaining rows over as an Arrow stream that downloads while it is read. Works once.

        The stream may be read from any thread, with or without the GIL. Its errors are the consumer's Arrow errors, with
        the text of ours; a Ctrl-C ends the read with such an error and is raised once Python code runs again.

        Args:
            requested_schema: Ignored, as the interface allows; cast on the consumer's side.

        Raises:
            InterfaceError: the result was handed over before, is closed, or is of the parent process.
        """

    def __arrow_c_schema__(self) -> object:
        """Returns the Arrow schema. Every field is nullable."""

    def hand_over(self, *, tied: bool = False) -> ResultStream:
        """Hands the remaining rows over to another object like this one, which lives on when this one is closed.

        One that is tied does not: it ends with this one, closed or cancelled, and its rows count as fetched here.

        Raises:
            InterfaceError: the result was handed over before, is closed, or is of the parent process.

        Example:
            >>> result = session.execute("SELECT id FROM range(3)")
            >>> given = result.hand_over()
            >>> result.close()
            >>> given.rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def partitions(
        self,
        target_bytes: int = 134217728,
        ordered: bool = False,
        links: bool = False,
        sign_in: str | None = None,
        lease_s: float | None = None,
    ) -> PartitionStream:
        """Cuts the whole result into partitions instead of reading it here; arguments as for `Cursor.partitions`.

        Raises:
            InterfaceError: rows were read.

        Example:
            >>> session.execute("SELECT id FROM range(3)").partitions().total_row_count
            3
        """

    def cancel(self) -> None:
        """Ends a call that waits in another thread, and the result; both then raise `OperationalError`.

        Example:
            >>> result = session.execute("SELECT id FROM range(3)")
            >>> result.cancel()
            >>> result.rows()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: fetching the result of statement ... was cancelled
        """

    def close(self) -> None:
        """Ends a call that waits in another thread, and releases the result on the server. Safe to call twice.

        Example:
            >>> result = session.execute("SELECT id FROM range(3)")
            >>> result.close()
            >>> result.state
            'Closed'
        """

    def prepare_async(self, max_rows: int | None = None, *, as_rows: bool) -> Future[None] | bool:
        """Has the next rows ready, so that reading them waits for nothing. For an asyncio event loop.

        Nothing is handed over and the position stays: a future that is cancelled loses no row. Rows are made 1024 at a
        time, so that the loop gets its turn.

        Args:
            max_rows: Rows that the next call is to return at most; None for all that are left.
            as_rows: Whether that call is `rows` or `__next__`; else it is one that returns Arrow.

        Returns:
            True when everything is ready. False where the caller is to let the loop run once and to ask again. Else a
            future: await it and ask again.

        Raises:
            DataError: as `rows`.
            InterfaceError: the result is closed, handed over, or of the parent process; or no asyncio loop runs here.

        Example:
            >>> result = await session.statement("SELECT id FROM range(3)").execute_async()
            >>> while (step := result.prepare_async(2, as_rows=True)) is not True:
            ...     await (step or asyncio.sleep(0))
            >>> result.rows(2)
            [Row(id=0), Row(id=1)]
        """

    def next_made(self) -> Row | None:
        """Returns the next row and moves on, where `prepare_async` has made it; else None, which is not the end.

        Example:
            >>> result = await session.statement("SELECT id FROM range(3)").execute_async()
            >>> while (step := result.prepare_async(2, as_rows=True)) is not True:
            ...     await (step or asyncio.sleep(0))
            >>> result.next_made()
            Row(id=0)
        """

    def cancel_async(self) -> Future[None] | None:
        """Same as `cancel`, as a future of the running event loop; None where nothing is under way.

        Example:
            >>> result = await session.statement("SELECT id FROM range(3)").execute_async()
            >>> if (ending := result.cancel_async()) is not None:
            ...     await ending
            >>> result.state
            'Cancelled'
        """

    def close_async(self) -> Future[None] | None:
        """Same as `close`, as a future of the running event loop; None where nothing is under way.

        Example:
            >>> result = await session.statement("SELECT id FROM range(3)").execute_async()
            >>> if (ending := result.close_async()) is not None:
            ...     await ending
            >>> result.state
            'Closed'
        """

@final
class Statement:
    """A statement before and while it runs.

    Made by `Session.statement`. Threads may share it.

    Example:
        >>> statement = session.statement("SELECT :a + :b AS total", {"a": 1, "b": 2})
        >>> statement.execute().rows()
        [Row(total=3)]
    """

    @property
    def statement_id(self) -> str | None:
        """The server's id, None until the server has named it. Known after a failure too.

        Example:
            >>> statement = session.statement("SELECT 1 AS one")
            >>> print(statement.statement_id)
            None
            >>> statement.execute().statement_id == statement.statement_id
            True
        """

    @property
    def state(self) -> Literal["Pending", "Running", "Succeeded", "Failed", "Canceled", "Closed", "Unknown"] | None:
        """The newest state that the server has told while `execute` waits; None before and after.

        Example:
            >>> print(session.statement("SELECT 1 AS one").state)  # not sent yet
            None
        """

    def execute(self, observer: _Observer | None = None) -> ResultStream:
        """Runs the statement and waits until its first rows are here. Works once.

        Ctrl-C ends the wait, and the statement is cancelled on the server in the background. A statement whose answer
        was lost is never sent again.

        Args:
            observer: Called in the thread that waits, here and in calls of the result: with `"waiting"` five times a
                second, with `"back"` as a call returns that it was told of, and with `"done"` after the last row or
                `"failed"`. Once there are rows it also gets the statistics and, where known, the number of rows in
                all. It may cancel; calls that wait raise `InterfaceError` in it. Its own failures go to
                `sys.unraisablehook`.

        Raises:
            DatabaseError: by SQLSTATE class, where the statement failed.
            OperationalError: it was cancelled, has reached its time limit (SQLSTATE HYT00), or the connection failed.
            InterfaceError: it was executed before, or belongs to the parent process.

        Example:
            >>> events = []
            >>> result = session.statement("SELECT id FROM range(3)").execute(lambda event, *_: events.append(event))
            >>> result.rows(), events
            ([Row(id=0), Row(id=1), Row(id=2)], ['done'])
        """

    def submit(self) -> ExecutedStatement:
        """Sends the statement and returns as soon as the server has taken it. Works once, instead of `execute`.

        Raises:
            OperationalError: the connection failed, or the statement was refused.
            InterfaceError: it was executed before, or belongs to the parent process.

        Example:
            >>> executed = session.statement("SELECT count(*) AS n FROM range(1000000)").submit()
            >>> executed.wait()
            >>> executed.results().rows()
            [Row(n=1000000)]
        """

    def partitions(
        self,
        target_bytes: int = 134217728,
        ordered: bool = False,
        links: bool = False,
        sign_in: str | None = None,
        lease_s: float | None = None,
    ) -> PartitionStream:
        """Runs the statement and cuts its result into partitions; arguments as for `Cursor.partitions`.

        Example:
            >>> session.statement("SELECT id FROM range(3)").partitions(ordered=True).next_partition().sequence
            0
        """

    def cancel(self) -> None:
        """Asks the server to cancel, from any thread; `execute` raises when the server has ended the statement.

        A cancel that comes before the server has named the statement is sent as soon as it has.

        Example:
            >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> statement = session.statement(endless)
            >>> executed = statement.submit()
            >>> statement.cancel()
            >>> executed.wait()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """

    def execute_async(self) -> Future[ResultStream]:
        """Same as `execute`, as a future of the running event loop. Cancelling it cancels the statement on the server.

        Example:
            >>> result = await session.statement("SELECT id FROM range(3)").execute_async()
            >>> result.total_row_count
            3
        """

    def submit_async(self) -> Future[ExecutedStatement]:
        """Same as `submit`, as a future of the running event loop. Cancelling it cancels the statement on the server.

        Example:
            >>> executed = await session.statement("SELECT count(*) AS n FROM range(1000000)").submit_async()
            >>> result = await executed.results_async()
            >>> result.rows()
            [Row(n=1000000)]
        """

    def partitions_async(
        self,
        target_bytes: int = 134217728,
        ordered: bool = False,
        links: bool = False,
        sign_in: str | None = None,
        lease_s: float | None = None,
    ) -> Future[PartitionStream]:
        """As `partitions`, for asyncio.

        Example:
            >>> (await session.statement("SELECT id FROM range(3)").partitions_async()).total_row_count
            3
        """

    def cancel_async(self) -> Future[None]:
        """Same as `cancel`, as a future of the running event loop. Cancelling the future does not stop it.

        Example:
            >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> statement = session.statement(endless)
            >>> executed = await statement.submit_async()
            >>> await statement.cancel_async()
            >>> await executed.wait_async()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """

@final
class VolumeOperation:
    """A transfer of a file of a volume that a PUT, GET or REMOVE statement has asked for. It is done once.

    Made by `Session.volume_operation`. Waiting calls release the GIL and end within a fraction of a second on Ctrl-C.

    Example:
        >>> _ = session.execute("CREATE VOLUME main.default.files")
        >>> session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'").put(b"1,9.90")
        6
        >>> session.volume_operation("GET '/Volumes/main/default/files/prices.csv' TO 'prices.csv'").get()
        b'1,9.90'
    """

    @property
    def operation(self) -> Literal["PUT", "GET", "REMOVE"]:
        """What is to be done.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> session.volume_operation("REMOVE '/Volumes/main/default/files/prices.csv'").operation
            'REMOVE'
        """

    @property
    def local_file(self) -> str | None:
        """The client's own file, as the statement names it; None where it names none.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'").local_file
            'prices.csv'
        """

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> operation = session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'")
            >>> len(operation.statement_id)
            36
        """

    def put(self, source: bytes | str | BinaryIO, progress: Callable[[int, int | None], object] | None = None) -> int:
        """Uploads a file and returns its bytes; a broken upload is repeated from the first byte.

        Args:
            source: The content, the path of a file, or a file object that can seek.
            progress: Called with the bytes sent and the bytes in all, on this thread. What it raises ends the call.

        Raises:
            OperationalError: the connection failed, or the storage host refused the file.
            OSError: the file cannot be read.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> operation = session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'")
            >>> operation.put(b"1,9.90", lambda sent, total: print(f"{sent} of {total} bytes"))
            6 of 6 bytes
            6
        """

    def get(
        self, sink: str | BinaryIO | None = None, progress: Callable[[int, int | None], object] | None = None
    ) -> Any:
        """Downloads a file and returns its content, or the bytes written; a broken download goes on where it stopped.

        Args:
            sink: Path of a file that does not exist yet, or a file object; None to return the content. After a failure it
                has a part of the file.
            progress: Called with the bytes received and the bytes in all, on this thread. What it raises ends the call.

        Raises:
            ProgrammingError: there is no such file (kind `NotFound`).
            OperationalError: the connection failed, or the storage host refused.
            OSError: the local file exists or cannot be written.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            >>> session.volume_operation("GET '/Volumes/main/default/files/prices.csv' TO 'prices.csv'").get()
            b'1,9.90'
        """

    def remove(self) -> None:
        """Deletes the file.

        Raises:
            ProgrammingError: there is no such file (kind `NotFound`), if the storage host tells.
            OperationalError: the connection failed, or the storage host refused.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            >>> session.volume_operation("REMOVE '/Volumes/main/default/files/prices.csv'").remove()
        """

    def cancel(self) -> None:
        """Ends a transfer that waits in another thread, or the coming one; it raises `OperationalError`.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> operation = session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'")
            >>> operation.cancel()  # from any thread, while `put` waits
        """

@final
class ExecutedStatement:
    """A statement that the server has taken, running or done.

    Made by `Statement.submit`, `Session.attach` and `reader`. Threads may share it. Its result may be opened any number of
    times, also at once. When the object and every result opened through it are done (dropped, closed or, a result, read to
    its end), the statement is closed on the server in the background, which also ends it if it still runs; read-only
    objects, those of `attach` and `reader`, leave it alone.

    Example:
        >>> executed = session.statement("SELECT id FROM range(3)").submit()
        >>> executed.wait()
        >>> executed.state(), executed.results().rows()
        ('Succeeded', [Row(id=0), Row(id=1), Row(id=2)])
    """

    @property
    def statement_id(self) -> str:
        """The server's id of the statement, also after `close`.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> session.attach(executed.statement_id).results().rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def state(self) -> StatementState:
        """Asks the server for the state, unless it is known to be final. A failed statement is no error here.

        Raises:
            ProgrammingError: the server does not know the statement, or knows it no more (kind `NotFound`).
            OperationalError: the connection failed.

        Example:
            >>> import time
            >>> executed = session.statement("SELECT 1 / 0").submit()
            >>> while executed.state() in ("Pending", "Running"):
            ...     time.sleep(0.1)
            >>> executed.state()
            'Failed'
        """

    def wait(self) -> None:
        """Waits until the statement has succeeded. Ctrl-C ends the wait and leaves the statement running.

        Raises:
            DatabaseError: by SQLSTATE class, where the statement failed.
            OperationalError: it was cancelled, or the connection failed.
            InterfaceError: its result was released before it could be read.

        Example:
            >>> executed = session.statement("SELECT count(*) AS n FROM range(1000000)").submit()
            >>> executed.wait()
            >>> executed.state()
            'Succeeded'
        """

    def results(self) -> ResultStream:
        """Waits for success and opens the result from its first row; raises as `wait` does.

        The first result takes what came with the server's answer; each further one asks the server again.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> executed.results().rows(1), executed.results().rows()
            ([Row(id=0)], [Row(id=0), Row(id=1), Row(id=2)])
        """

    def partitions(
        self,
        target_bytes: int = 134217728,
        ordered: bool = False,
        links: bool = False,
        sign_in: str | None = None,
        lease_s: float | None = None,
    ) -> PartitionStream:
        """Waits for success and cuts the result into partitions; arguments as for `Cursor.partitions`.

        Example:
            >>> session.statement("SELECT id FROM range(3)").submit().partitions().total_row_count
            3
        """

    def reader(self) -> ExecutedStatement:
        """Returns another object for the same statement, read-only and independent, for instance for another thread.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> reader = executed.reader()
            >>> reader.results().rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def cancel(self) -> None:
        """Asks the server to cancel; `wait` raises when the server has ended the statement.

        Raises:
            ProgrammingError: the object is read-only.

        Example:
            >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> executed = session.statement(endless).submit()
            >>> executed.cancel()
            >>> executed.wait()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """

    def close(self) -> None:
        """Releases the statement and its result on the server, also under results being read. Safe to call twice.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> executed.close()
            >>> executed.state()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.ProgrammingError: statement status: HTTP 404: The statement ... was not found. ...
        """

    def keep(self) -> None:
        """Has the statement outlive this object, its results and its session: only `cancel` and `close` end it then.

        Read-only objects may cancel and close afterwards, too. A session whose statement is kept is not closed on the
        server, which would end the statement, until that is closed here; the server closes it when it has been idle.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> executed.keep()
            >>> session.close()
            >>> connection.attach(executed.statement_id).cursor().fetchall()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def state_async(self) -> Future[StatementState]:
        """Same as `state`, as a future of the running event loop.

        Example:
            >>> executed = await session.statement("SELECT id FROM range(3)").submit_async()
            >>> await executed.wait_async()
            >>> await executed.state_async()
            'Succeeded'
        """

    def wait_async(self) -> Future[None]:
        """Same as `wait`, as a future of the running event loop. Cancelling it leaves the statement running.

        Example:
            >>> executed = await session.statement("SELECT 1 / 0").submit_async()
            >>> await executed.wait_async()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.DataError: [DIVIDE_BY_ZERO] Division by zero. ...
        """

    def results_async(self) -> Future[ResultStream]:
        """Same as `results`, as a future of the running event loop. Cancelling it leaves the statement running.

        Example:
            >>> executed = await session.statement("SELECT id FROM range(3)").submit_async()
            >>> result = await executed.results_async()
            >>> result.rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def partitions_async(
        self,
        target_bytes: int = 134217728,
        ordered: bool = False,
        links: bool = False,
        sign_in: str | None = None,
        lease_s: float | None = None,
    ) -> Future[PartitionStream]:
        """As `partitions`, for asyncio.

        Example:
            >>> (await session.statement("SELECT id FROM range(3)").submit().partitions_async()).total_row_count
            3
        """

    def cancel_async(self) -> Future[None]:
        """Same as `cancel`, as a future of the running event loop. Cancelling the future does not stop it.

        Example:
            >>> sql = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
            >>> executed = await session.statement(sql).submit_async()
            >>> await executed.cancel_async()
            >>> await executed.wait_async()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: the statement was cancelled
        """

    def close_async(self) -> Future[None] | None:
        """Same as `close`, as a future of the running event loop; None where nothing is left to close.

        Example:
            >>> executed = await session.statement("SELECT id FROM range(3)").submit_async()
            >>> await executed.close_async()
            >>> await executed.state_async()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.ProgrammingError: statement status: HTTP 404: The statement ... was not found. ...
        """

@final
class Session:
    """An open session on a SQL warehouse.

    A session that the server has ended is replaced by a new one when a statement is refused for it, and so has not run;
    not after statements such as USE, SET or CREATE TEMPORARY VIEW, whose effects the new one would lack: then statements
    raise `InterfaceError`.

    Threads may share it; their statements run side by side. Dropping the object closes the session in the background,
    and so does the interpreter's exit. In a forked child every call of a parent's session raises `InterfaceError`, save
    `close`, which does nothing.

    Example:
        >>> session = seakernel.Session(warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
        >>> session.execute("SELECT :greeting AS greeting", {"greeting": "hello"}).rows()
        [Row(greeting='hello')]
        >>> session.close()
    """

    def __new__(
        cls,
        server_hostname: str,
        http_path: str,
        access_token: str | None = None,
        *,
        auth: Auth | None = None,
        catalog: str | None = None,
        schema: str | None = None,
        session_configuration: Mapping[str, str | float] | None = None,
        user_agent_entry: str | None = None,
        results: ResultOptions | None = None,
        retry: RetryOptions | None = None,
        requests: RequestOptions | None = None,
        tls: TlsOptions | None = None,
        proxy: ProxyOption = None,
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
    ) -> Self:
        """Opens a session; blocks until the server has answered. The arguments are those of `seakernel.connect`.

        Raises:
            ProgrammingError: an argument has a wrong value, or the warehouse does not exist.
            OperationalError: the token was refused, or the host cannot be reached.
        """

    @staticmethod
    def open_async(
        server_hostname: str,
        http_path: str,
        access_token: str | None = None,
        *,
        auth: Auth | None = None,
        catalog: str | None = None,
        schema: str | None = None,
        session_configuration: Mapping[str, str | float] | None = None,
        user_agent_entry: str | None = None,
        results: ResultOptions | None = None,
        retry: RetryOptions | None = None,
        requests: RequestOptions | None = None,
        tls: TlsOptions | None = None,
        proxy: ProxyOption = None,
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
    ) -> Future[Session]:
        """Opens a session as a future of the running event loop.

        A session that the server opens within 10 s of the future's cancellation is closed again.

        Example:
            >>> place = warehouse.server_hostname, warehouse.http_path, warehouse.access_token
            >>> session = await seakernel.Session.open_async(*place, schema="information_schema")
            >>> session.execute("SELECT current_schema() AS schema").rows()
            [Row(schema='information_schema')]
        """

    @property
    def session_id(self) -> str:
        """The server's id of the session, also after `close`. It changes where a new session had to be opened.

        Example:
            >>> other = seakernel.Session(warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
            >>> session.session_id == other.session_id
            False
        """

    def statement(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        row_limit: int | None = None,
        query_tags: Sequence[tuple[str, str | None]] | None = None,
        timeout_s: float | None = None,
    ) -> Statement:
        """Prepares a statement; sends nothing.

        Args:
            sql: SQL text with `:name` or `?` markers.
            parameters: Mapping for `:name` or sequence for `?`; types are inferred as `Cursor.execute` says.
            row_limit: Most rows the server returns.
            query_tags: Keys with values, or with None, for the warehouse's query history.
            timeout_s: Longest wait of `Statement.execute` for the statement to succeed, in seconds; it is then cancelled.

        Raises:
            DataError: a value is outside every SQL type, such as an int of more than 38 digits.
            NotSupportedError: a value has no SQL type, such as a list.
            ProgrammingError: `parameters` or `row_limit` is of the wrong shape.

        Example:
            >>> statement = session.statement("SELECT id FROM range(?)", [1000], row_limit=3, timeout_s=60)
            >>> statement.execute().rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, row_limit: int | None = None
    ) -> ResultStream:
        """Runs a statement: `statement` and its `execute` in one call.

        Example:
            >>> session.execute("SELECT upper(:name) AS name", {"name": "ada"}).rows()
            [Row(name='ADA')]
        """

    def attach(self, statement_id: str) -> ExecutedStatement:
        """Returns a read-only object for a statement that was sent before, by whomever.

        Raises:
            ProgrammingError: the server does not know the id, or knows it no more (kind `NotFound`).
            OperationalError: the connection failed.

        Example:
            >>> executed = session.statement("SELECT id FROM range(3)").submit()
            >>> session.attach(executed.statement_id).results().rows()
            [Row(id=0), Row(id=1), Row(id=2)]
        """

    def attach_async(self, statement_id: str) -> Future[ExecutedStatement]:
        """Same as `attach`, as a future of the running event loop.

        Example:
            >>> executed = await session.statement("SELECT id FROM range(3)").submit_async()
            >>> attached = await session.attach_async(executed.statement_id)
            >>> (await attached.results_async()).total_row_count
            3
        """

    def volume_operation(self, sql: str | None, result: ResultStream | None = None) -> VolumeOperation:
        """Runs a PUT, GET or REMOVE statement of a file of a volume, and returns the transfer it asks for.

        Args:
            sql: The statement. It is run again when its link has expired meanwhile, which is safe: it only hands out links.
            result: Its result, where it was run before; nothing of it may have been read. `sql` may then be None, and an
                expired link is an error.

        Raises:
            ProgrammingError: the statement asks for no transfer.
            DatabaseError: by SQLSTATE class, where it failed.

        Example:
            >>> _ = session.execute("CREATE VOLUME main.default.files")
            >>> operation = session.volume_operation("PUT 'prices.csv' INTO '/Volumes/main/default/files/prices.csv'")
            >>> operation.operation, operation.local_file
            ('PUT', 'prices.csv')
        """

    def metadata(self) -> Metadata:
        """Returns what lists catalogs, schemas, tables and the like; sends nothing. It keeps the session open.

        Example:
            >>> import polars
            >>> polars.DataFrame(session.metadata().catalogs())["TABLE_CAT"].to_list()
            ['main', 'samples', 'system']
        """

    def close(self) -> None:
        """Closes the session on the server; statements that still run end. Safe to call twice.

        Example:
            >>> session.close()
            >>> session.execute("SELECT 1 AS one")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the session is closed; open a new one
        """

    def close_async(self) -> Future[None] | None:
        """Same as `close`, as a future of the running event loop; None where nothing is left to close.

        Example:
            >>> await session.close_async()
            >>> print(session.close_async())
            <Future pending cb=[PyCapsule.pyo3-closure()]>
        """

@final
class Metadata:
    """Lists what a session's warehouse has: catalogs, schemas, tables and the like, in the columns that JDBC names.

    Arguments named `..._pattern` are LIKE patterns: `%` for any text, `_` for one character, a backslash before one that
    is meant literally. Patterns and names match whatever the case. None does not filter; the empty pattern matches nothing.
    Servers read patterns more loosely than LIKE does, so rows are filtered again here: what is returned matches exactly.
    What does not exist has no rows.

    Every call returns all rows at once, with the same schema whether there are rows or not, and blocks meanwhile as
    `Statement.execute` does. Threads may share the object.

    Raises:
        ProgrammingError: a name or pattern is blank or longer than 255 bytes, or a name is empty where it must not be, or
            holds a backtick. Nothing was sent.
        DataLossError: the server's rows cannot be read.

    Example:
        >>> import polars
        >>> metadata = connection.metadata()
        >>> polars.DataFrame(metadata.schemas(catalog="samples", schema_pattern="nyc%")).to_dicts()
        [{'TABLE_SCHEM': 'nycflights13', 'TABLE_CATALOG': 'samples'}]
    """

    def catalogs(self) -> ArrowTable:
        """Lists the catalogs: `TABLE_CAT`.

        Example:
            >>> import polars
            >>> polars.DataFrame(connection.metadata().catalogs())["TABLE_CAT"].to_list()
            ['main', 'samples', 'system']
        """

    def schemas(self, *, catalog: str | None = None, schema_pattern: str | None = None) -> ArrowTable:
        """Lists schemas: `TABLE_SCHEM`, `TABLE_CATALOG`.

        Args:
            catalog: The one catalog to look into; the empty one has no schemas.
            schema_pattern: Pattern of the schema.

        Example:
            >>> import polars
            >>> polars.DataFrame(connection.metadata().schemas(catalog="samples"))["TABLE_SCHEM"].to_list()
            ['information_schema', 'nycflights13', 'tpch']
        """

    def tables(
        self,
        *,
        catalog_pattern: str | None = None,
        schema_pattern: str | None = None,
        table_pattern: str | None = None,
        table_types: list[str] | None = None,
    ) -> ArrowTable:
        """Lists tables and views by type, catalog, schema and name.

        The columns are `TABLE_CAT`, `TABLE_SCHEM`, `TABLE_NAME`, `TABLE_TYPE`, `REMARKS`, and five that are NULL. The
        session's temporary views have no catalog.

        Args:
            catalog_pattern: Pattern of the catalog, unlike in the other calls.
            schema_pattern: Pattern of the schema.
            table_pattern: Pattern of the name.
            table_types: Types such as `TABLE` and `VIEW`, in any case; an empty list matches nothing.

        Example:
            >>> import polars
            >>> metadata = connection.metadata()
            >>> tables = metadata.tables(catalog_pattern="samples", schema_pattern="tpch", table_pattern="part%")
            >>> polars.DataFrame(tables)["TABLE_NAME"].to_list()
            ['part', 'partsupp']
        """

    def columns(
        self,
        *,
        catalog: str | None = None,
        schema_pattern: str | None = None,
        table_pattern: str | None = None,
        column_pattern: str | None = None,
    ) -> ArrowTable:
        """Lists columns, in 23 columns from `TABLE_CAT` to `IS_AUTO_INCREMENT`; `DATA_TYPE` is JDBC's code.

        Args:
            catalog: The one catalog to look into; the empty one has no columns.
            schema_pattern: Pattern of the schema.
            table_pattern: Pattern of the table.
            column_pattern: Pattern of the name.

        Example:
            >>> import polars
            >>> metadata = connection.metadata()
            >>> columns = metadata.columns(catalog="samples", schema_pattern="nycflights13", table_pattern="airlines")
            >>> polars.DataFrame(columns).select("COLUMN_NAME", "TYPE_NAME").rows()
            [('carrier', 'STRING'), ('name', 'STRING')]
        """

    def primary_keys(self, *, catalog: str, schema: str, table: str) -> ArrowTable:
        """Lists the columns of one table's primary key.

        The columns are `TABLE_CAT`, `TABLE_SCHEM`, `TABLE_NAME`, `COLUMN_NAME`, `KEY_SEQ`, `PK_NAME`.

        Args:
            catalog: The table's catalog.
            schema: Its schema.
            table: Its name.

        Example:
            >>> import polars
            >>> _ = cursor.execute("CREATE TABLE customers (id INT NOT NULL, CONSTRAINT customers_pk PRIMARY KEY (id))")
            >>> keys = connection.metadata().primary_keys(catalog="main", schema="default", table="customers")
            >>> polars.DataFrame(keys).select("COLUMN_NAME", "KEY_SEQ", "PK_NAME").rows()
            [('id', 1, 'customers_pk')]
        """

    def foreign_keys(
        self,
        *,
        foreign_catalog: str,
        foreign_schema: str,
        foreign_table: str,
        parent_catalog: str | None = None,
        parent_schema: str | None = None,
        parent_table: str | None = None,
    ) -> ArrowTable:
        """Lists the columns of one table's foreign keys, in 14 columns from `PKTABLE_CAT` to `DEFERRABILITY`.

        Args:
            foreign_catalog: Catalog of the table that has the keys.
            foreign_schema: Its schema.
            foreign_table: Its name.
            parent_catalog: Only keys to tables of this catalog.
            parent_schema: Only keys to tables of this schema.
            parent_table: Only keys to tables of this name.

        Example:
            >>> import polars
            >>> _ = cursor.execute("CREATE TABLE customers (id INT NOT NULL PRIMARY KEY)")
            >>> _ = cursor.execute("CREATE TABLE orders (buyer INT REFERENCES customers)")
            >>> order = {"foreign_catalog": "main", "foreign_schema": "default", "foreign_table": "orders"}
            >>> keys = connection.metadata().foreign_keys(**order)
            >>> polars.DataFrame(keys).select("FKCOLUMN_NAME", "PKTABLE_NAME").rows()
            [('buyer', 'customers')]
        """

    def functions(
        self, *, catalog: str | None = None, schema_pattern: str | None = None, name_pattern: str | None = None
    ) -> ArrowTable:
        """Lists functions of one catalog.

        The columns are `FUNCTION_CAT`, `FUNCTION_SCHEM`, `FUNCTION_NAME`, `REMARKS`, `FUNCTION_TYPE`, `SPECIFIC_NAME`.

        Args:
            catalog: The catalog; the session's where it is None.
            schema_pattern: Pattern of the schema.
            name_pattern: Pattern of the name.

        Example:
            >>> import polars
            >>> _ = cursor.execute("CREATE FUNCTION net(price DOUBLE) RETURNS DOUBLE RETURN price / 1.19")
            >>> polars.DataFrame(connection.metadata().functions(name_pattern="n%"))["FUNCTION_NAME"].to_list()
            ['net']
        """

    def procedures(
        self, *, catalog: str | None = None, schema_pattern: str | None = None, name_pattern: str | None = None
    ) -> ArrowTable:
        """Lists procedures.

        The columns are `PROCEDURE_CAT`, `PROCEDURE_SCHEM`, `PROCEDURE_NAME`, three that are NULL, `REMARKS`,
        `PROCEDURE_TYPE`, `SPECIFIC_NAME`.

        Args:
            catalog: The one catalog to look into; all where it is None.
            schema_pattern: Pattern of the schema.
            name_pattern: Pattern of the name.

        Example:
            >>> connection.metadata().procedures(catalog="main").num_rows
            0
        """

    def table_types(self) -> ArrowTable:
        """Lists the types of tables, `TABLE_TYPE`, without asking the server.

        Example:
            >>> import polars
            >>> polars.DataFrame(connection.metadata().table_types())["TABLE_TYPE"].to_list()
            ['SYSTEM TABLE', 'TABLE', 'VIEW', 'METRIC_VIEW']
        """

    def type_info(self) -> ArrowTable:
        """Lists the SQL types in 18 columns from `TYPE_NAME` to `NUM_PREC_RADIX`, without asking the server.

        Example:
            >>> import polars
            >>> polars.DataFrame(connection.metadata().type_info())["TYPE_NAME"].to_list()[:3]
            ['VOID', 'BOOLEAN', 'STRING']
        """

@final
class LocalServer:
    """The server under `seakernel.local.LocalWarehouse`: the warehouse's protocol on loopback, around a Python SQL engine.

    Use `LocalWarehouse`. Threads may share it.
    """

    def __new__(
        cls,
        engine: object,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        access_token: str | None = None,
        warehouse_id: str | None = None,
        options_json: str = "{}",
    ) -> Self:
        """Starts the server.

        Args:
            engine: Object with `open_session`, `close_session`, `execute` and `cancel`, called from many threads.
            host: IP address to listen on.
            port: Port of the API; 0 lets the system choose.
            access_token: Token that clients must send.
            warehouse_id: Id of the one warehouse.
            options_json: Further options as a JSON object.

        Raises:
            ValueError: an option is unknown or wrong; the message names it.
            OSError: the port is taken.
        """

    @property
    def address(self) -> str:
        """Origin of the API, such as `http://127.0.0.1:40123`."""

    @property
    def storage_address(self) -> str:
        """Origin of the presigned result files."""

    @property
    def http_path(self) -> str:
        """Path of the warehouse."""

    @property
    def access_token(self) -> str:
        """Token that clients must send."""

    def requests_json(self) -> str:
        """Returns the log of requests as a JSON array."""

    def set_faults_json(self, json: str) -> None:
        """Replaces the faults in force by those of a JSON array."""

    def set_switches_json(self, json: str) -> None:
        """Replaces the switches by those of a JSON object."""

    def counters_json(self) -> str:
        """Returns the totals as a JSON object."""

    @property
    def ca_certificate_pem(self) -> bytes:
        """Certificate of the authority made at start; empty without TLS."""

    @property
    def client_certificate_pem(self) -> bytes:
        """Certificate that clients may have to show; empty without TLS."""

    @property
    def client_key_pem(self) -> bytes:
        """Key of that certificate."""

    def foreign_token(self, claims_json: str) -> str:
        """Signs the claims of a JSON object as another identity provider does."""

    def revoke_tokens(self) -> None:
        """Makes every access token issued so far worthless."""

    def revoke_refresh_tokens(self) -> None:
        """Makes every refresh token issued so far worthless."""

    def stop(self) -> None:
        """Stops listening and ends running statements. Safe to call twice."""

def _guard_exit() -> None:
    """Has the exit of the interpreter wait for log handlers in the I/O threads of the ADBC driver, too."""

def _alive_tasks() -> int:
    """Returns how many tasks the I/O threads have, waiting ones included; tests look for forgotten ones."""
