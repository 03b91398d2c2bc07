"""Results cut into parts that other processes and machines read by themselves."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seakernel._seakernel import Partition, PartitionLinks
from seakernel.exceptions import DataLossError, Error, InterfaceError, ProgrammingError
from seakernel.options import forget_locals, session_arguments
from seakernel.results import ArrowReads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import TypeAlias

    from typing_extensions import Self

    from seakernel._seakernel import Column, PartitionStream, ResultStream, Statistics
    from seakernel.dbapi import Connection
    from seakernel.row import Row

    Broker: TypeAlias = Callable[[Partition], PartitionLinks | bytes]

__all__ = ["LinkServer", "LinkServerAddress", "PartitionLease", "PartitionResult"]

# What stands where a token is asked for and none is needed.
_NO_TOKEN = "not-needed"  # noqa: S105 - no secret
# Keywords of `connect` that are not a session's, or not the reader's to say.
_NOT_OF_A_READER = ("catalog", "schema", "session_configuration", "query_tags", "warehouse_id")


class PartitionLease:
    """The partitions of a result, and the right to have them read: as long as it lasts, the statement stays on the server.

    Made by `Cursor.partitions` and `SubmittedStatement.partitions`. It is an iterator: the chain of the result's links is
    walked as partitions are taken, and nothing is downloaded. At the end the sum of the rows is held against what the
    server has announced, and a difference raises `DataLossError`.

    The lease ends, and the statement is closed on the server, with `finish`, `close`, the end of a `with`, after
    `lease_s`, when the object is dropped, and when the connection or the process ends. `detach` has the statement outlive
    all of that. Only its owner closes a statement: the end of a lease on one that was submitted or attached leaves it alone,
    and of several leases in this process on one statement the last one closes it.

    Threads may share it.

    Example:
        >>> with cursor.partitions("SELECT id FROM range(1000)") as parts:
        ...     for partition in parts:
        ...         rows = partition.read(connection).arrow().num_rows  # elsewhere, with a sign-in of its own
        ...         parts.acknowledge(partition, rows)
        >>> parts.acknowledged_rows
        1000
    """

    def __init__(self, stream: PartitionStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        # Rows by the first row of the partition: those handed out and not read yet, and those read.
        self._outstanding: dict[int, int] = {}
        self._acknowledged: dict[int, int] = {}
        self._exhausted = False
        self._closed = self._detached = False

    @property
    def statement_id(self) -> str:
        """The server's id of the statement.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> next(parts).statement_id == parts.statement_id
            True
        """
        return self._stream.statement_id

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result. The object exports its Arrow schema, too, as in `pyarrow.schema(parts)`.

        Example:
            >>> [column.name for column in cursor.partitions("SELECT 1 AS one, 2 AS two").columns]
            ['one', 'two']
        """
        return self._stream.columns

    @property
    def total_row_count(self) -> int | None:
        """Rows of the whole result as announced by the server, None where it did not say.

        Example:
            >>> cursor.partitions("SELECT id FROM range(10)").total_row_count
            10
        """
        return self._stream.total_row_count

    @property
    def truncated(self) -> bool:
        """Whether a row or byte limit cut the result.

        Example:
            >>> cursor.partitions("SELECT id FROM range(10)", row_limit=3).truncated
            True
        """
        return self._stream.truncated

    @property
    def outstanding(self) -> int:
        """How many partitions were handed out and not acknowledged.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> partition = next(parts)
            >>> parts.outstanding
            1
        """
        return len(self._outstanding)

    @property
    def acknowledged_rows(self) -> int:
        """Rows of the partitions that were acknowledged.

        Example:
            >>> cursor.partitions("SELECT id FROM range(10)").acknowledged_rows
            0
        """
        with self._lock:
            return sum(self._acknowledged.values())

    def acknowledge(self, partition: Partition, rows: int) -> None:
        """Notes that all rows of a partition were read. A second time, as after a task was repeated, it changes nothing.

        Args:
            partition: One of these, or an equal one that has travelled.
            rows: How many rows its reader has got.

        Raises:
            DataLossError: the partition has another number of rows.
            ProgrammingError: it is not one of these.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> parts.acknowledge(next(parts), 9)
            Traceback (most recent call last):
                ...
            seakernel.exceptions.DataLossError: 9 rows were read of a partition with 10 (rows 0..10 of the result)...
        """
        self._check_own(partition)
        place, count = partition.row_offset, partition.row_count
        range_ = f"rows {place}..{place + count} of the result"
        with self._lock:
            # What has travelled is not what says how many rows there are.
            if count != self._outstanding.get(place, self._acknowledged.get(place)):
                raise ProgrammingError(
                    f"no partition of {range_} was handed out", kind="InvalidArgument", statement_id=self.statement_id
                )
            if rows != count:
                raise DataLossError(
                    f"{rows} rows were read of a partition with {count} ({range_})",
                    kind="DataLoss",
                    statement_id=self.statement_id,
                    chunk_index=partition.chunk_index,
                )
            if self._outstanding.pop(place, None) is not None:
                self._acknowledged[place] = rows

    def links(self, partition: Partition) -> PartitionLinks:
        """Asks the workspace for fresh links to the rows of a partition: for readers who have no sign-in.

        The links are as secret as the rows, live for 15 minutes at most, and are what a `broker` of `Partition.read`
        returns. `LinkServer` hands them out to other processes.

        Raises:
            ProgrammingError: the partition is not one of these, or the statement is gone.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> parts.links(next(parts))
            PartitionLinks(0 secret links)
        """
        self._check_own(partition)
        return self._stream.links(partition)

    def finish(self) -> None:
        """Ends the lease, and raises unless every row of the result was acknowledged.

        Raises:
            DataLossError: partitions were not acknowledged, or their rows are not those that the server announced.
            InterfaceError: not all partitions were taken.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> _ = list(parts)
            >>> parts.finish()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.DataLossError: 1 partition was not acknowledged: rows 0..10 are missing...
        """
        self.close()
        self._check_complete()

    def _check_complete(self) -> None:
        if not self._exhausted:
            raise InterfaceError(
                "not all partitions of the result were taken", kind="Closed", statement_id=self.statement_id
            )
        with self._lock:
            missing, read = dict(self._outstanding), sum(self._acknowledged.values())
        message = None
        if missing:
            first = min(missing)
            count = len(missing)
            what = "1 partition was" if count == 1 else f"{count} partitions were"
            range_ = f"rows {first}..{first + missing[first]}"
            message = f"{what} not acknowledged: {range_} {'are' if count == 1 else 'and others are'} missing"
        elif self.total_row_count not in (None, read) and not self.truncated:
            message = f"the partitions read have {read} rows and the server announced {self.total_row_count}"
        if message is not None:
            raise DataLossError(message, kind="DataLoss", statement_id=self.statement_id)

    def detach(self) -> None:
        """Has the statement outlive this object, the connection and the process; for drivers that end before the readers.

        Nobody closes it then: the server gives up its result an hour after the statement has succeeded. Its session
        stays open on the server until that finds it idle.

        Raises:
            InterfaceError: the lease has ended.

        Example:
            >>> with cursor.partitions("SELECT id FROM range(10)") as parts:
            ...     partitions = list(parts)
            ...     parts.detach()
            >>> sum(partition.row_count for partition in partitions)
            10
        """
        if self._detached:
            return
        if self._closed:
            raise InterfaceError(
                "the lease is over: the statement cannot be kept any more",
                kind="Closed",
                statement_id=self.statement_id,
            )
        self._stream.keep()
        self._closed = self._detached = True

    def close(self) -> None:
        """Ends the lease: closes the statement on the server, so that no partition can be opened any more. Safe to call twice.

        Not where the statement was submitted or attached, or where this process has another lease on it, which then closes it.

        Nothing is checked; `finish` does. After `detach` it does nothing.

        Example:
            >>> parts = cursor.partitions("SELECT id FROM range(10)")
            >>> parts.close()
        """
        if not self._closed:
            self._closed = True
            self._stream.close()

    def _check_own(self, partition: Partition) -> None:
        if partition.statement_id != self.statement_id:
            raise ProgrammingError(
                f"the partition is of statement {partition.statement_id}, and these are of {self.statement_id}",
                kind="InvalidArgument",
                statement_id=self.statement_id,
            )

    def __arrow_c_schema__(self) -> object:
        return self._stream.__arrow_c_schema__()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Partition:
        partition = self._handed_out(self._stream.next_partition())
        if partition is None:
            raise StopIteration
        return partition

    def _handed_out(self, partition: Partition | None) -> Partition | None:
        if partition is None:
            self._exhausted = True
            return None
        with self._lock:
            self._outstanding[partition.row_offset] = partition.row_count
        return partition

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finishes where anything was acknowledged, and only closes where nothing was."""
        if exception_type is None and self._acknowledged:
            self.finish()
        else:
            self.close()

    def __repr__(self) -> str:
        return f"<PartitionLease statement_id={self.statement_id} outstanding={self.outstanding} closed={self._closed}>"


class PartitionResult(ArrowReads):
    """The rows of one partition, read once from the first to the last; all of them, or an error.

    Made by `Partition.read`. What a cursor offers of its result is here, too.

    Example:
        >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
        >>> partition.read(connection).fetchall()
        [Row(id=0), Row(id=1), Row(id=2)]
    """

    def __init__(self, result: ResultStream) -> None:
        self._result = result

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns.

        Example:
            >>> result = next(cursor.partitions("SELECT id FROM range(3)")).read(connection)
            >>> [column.type_text for column in result.columns]
            ['BIGINT']
        """
        return self._result.columns

    @property
    def statistics(self) -> Statistics:
        """What fetching has cost so far.

        Example:
            >>> result = next(cursor.partitions("SELECT id FROM range(3)")).read(connection)
            >>> len(result.fetchall()), result.statistics.rows
            (3, 3)
        """
        return self._result.statistics

    def fetchall(self) -> list[Row]:
        """Returns all remaining rows.

        Example:
            >>> partition = next(cursor.partitions("SELECT id FROM range(3)"))
            >>> partition.read(connection).fetchall()
            [Row(id=0), Row(id=1), Row(id=2)]
        """
        return self._result.rows()

    def close(self) -> None:
        """Ends what is under way. Safe to call twice.

        Example:
            >>> next(cursor.partitions("SELECT id FROM range(3)")).read(connection).close()
        """
        self._result.close()

    def _open_result(self) -> ResultStream:
        return self._result

    def __iter__(self) -> Iterator[Row]:
        return iter(self._result)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PartitionResult of {self._result!r}>"


def read(
    partition: Partition, connection: Connection | None = None, broker: Broker | None = None, /, **options: Any
) -> PartitionResult:
    """Opens the rows of `partition`; `Partition.read` says how."""
    if connection is not None:
        if broker is not None or options:
            raise ProgrammingError(
                "a `connection` signs in by itself: give either it, or a `broker` or options", kind="InvalidArgument"
            )
        return PartitionResult(partition.results(connection._open_session()))  # noqa: SLF001 - one package
    try:
        arguments = reader_arguments(partition, broker, options)
        return PartitionResult(partition.results(None, broker, arguments))
    except BaseException as error:
        forget_locals(error)
        arguments = options = {}
        raise


def reader_arguments(partition: Partition, broker: Broker | None, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a session for who reads `partition`, completed as those of `connect` are."""
    from inspect import signature

    from seakernel.dbapi import connect

    for name in _NOT_OF_A_READER:
        if name in options:
            raise ProgrammingError(
                f"`{name}` is of no use to the reader of a partition: the statement has run", kind="InvalidArgument"
            )
    # One that the reader names itself is held against the partition's by the kernel.
    options.setdefault("http_path", partition.http_path)
    if broker is None and not partition.needs_no_sign_in:
        signs_in = True
    else:
        # Links that came along may have to be asked for again.
        signs_in = broker is None and partition.has_links and _has_sign_in(partition, options)
    if (not signs_in or partition.has_links) and not _is_host_of_reader(partition, options):
        # A host that only the partition names, or its profile, vouches for no address of an inner network.
        options["results"] = {"private_storage_addresses": False, **(options.get("results") or {})}
    if signs_in:
        if partition.sign_in is not None and not _names_sign_in(options):
            options["profile"] = partition.sign_in
        _check_names_host(partition, options)
    else:
        options.setdefault("server_hostname", partition.server_hostname)
        options |= {"access_token": _NO_TOKEN, "auth": None, "profile": None}
    known = signature(connect).parameters
    defaults = {name: None for name in known if name != "connector_options"}
    further = {name: options.pop(name) for name in list(options) if name not in known}
    arguments = session_arguments(**{**defaults, **options}, connector_options=further)
    if not signs_in:
        arguments["access_token"] = None
    return arguments


def _names_sign_in(options: dict[str, Any]) -> bool:
    return any(options.get(name) is not None for name in ("access_token", "auth", "profile"))


def _has_sign_in(partition: Partition, options: dict[str, Any]) -> bool:
    """Tells whether options name a sign-in, or profile or environment have one for the host of `partition`."""
    from seakernel.configuration import configuration

    if _names_sign_in(options):
        return True
    if not _is_host_of_reader(partition, options, partition.sign_in):
        return False
    try:
        found = configuration(options.get("server_hostname"), options.get("http_path"), profile=partition.sign_in)
    except Error:
        return False
    return found.access_token is not None or found.sign_in is not None


def _is_host_of_reader(partition: Partition, options: dict[str, Any], profile: str | None = None) -> bool:
    """Tells whether options, environment or `profile` name the host of `partition`."""
    from seakernel.configuration import configuration, normalised_host

    try:
        profile = profile if options.get("profile") is None else options["profile"]
        found = configuration(options.get("server_hostname"), profile=profile, signs_in=True).server_hostname
        return found is not None and normalised_host(found.value) == partition.server_hostname
    except Error:
        # What is wrong with them is said where they are used.
        return False


def _check_names_host(partition: Partition, options: dict[str, Any]) -> None:
    """Refuses a sign-in without a host of the reader's own: it would go to any that a partition names."""
    from seakernel.configuration import configuration

    names = ("server_hostname", "http_path", "access_token", "profile")
    found = configuration(**{name: options.get(name) for name in names}, signs_in=options.get("auth") is not None)
    if found.server_hostname is None:
        raise ProgrammingError(
            "a sign-in is used only with a host that the reader names: name the workspace by `server_hostname`,"
            f" `DATABRICKS_HOST` or a profile; the partition is of `{partition.server_hostname}`",
            kind="InvalidArgument",
            statement_id=partition.statement_id,
        )


def ask_broker(broker: Broker, partition: Partition, deliver: Callable[[object, BaseException | None], None]) -> None:
    """Calls `broker` in a thread of its own and delivers what it returns or raises."""

    def call() -> None:
        try:
            links = broker(partition)
        except BaseException as error:  # noqa: BLE001 - it is raised again, where the rows are read
            deliver(None, error)
        else:
            deliver(links, None)

    threading.Thread(target=call, name="seakernel-broker", daemon=True).start()


class LinkServer:
    """Hands out links to the rows of a lease, over a connection of this machine or network.

    For readers that must not, or cannot, sign in. Who connects must prove that they know a key of 256 random bits that
    only `address` holds: whoever has that can read the rows of this one statement, for as long as the server and the
    lease live. The key itself is not sent, but the links are, unencrypted: between machines use the engine's own
    channels, for every callable that returns `PartitionLease.links` is a broker.

    Example:
        >>> with cursor.partitions("SELECT id FROM range(10)") as parts, seakernel.LinkServer(parts) as server:
        ...     partition, address = next(parts), server.address  # both travel to the reader
        ...     partition.read(broker=address).arrow().num_rows
        10
    """

    def __init__(self, lease: PartitionLease, host: str = "127.0.0.1") -> None:
        """Starts to listen.

        Args:
            lease: Whose links to hand out.
            host: The address of this machine by which the readers reach it.
        """
        import secrets
        from multiprocessing.connection import Listener

        self._lease = lease
        self._listener = Listener((host, 0), family="AF_INET", backlog=_BACKLOG)
        port = self._listener.address[1]
        self._address = LinkServerAddress(host, int(port), secrets.token_bytes(32))
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self._room = threading.Semaphore(_MOST_CONNECTIONS)
        threading.Thread(target=self._serve, name="seakernel-links", daemon=True).start()

    @property
    def address(self) -> LinkServerAddress:
        """The broker for `Partition.read`; it can be pickled, and is a secret.

        Example:
            >>> seakernel.LinkServer(cursor.partitions("SELECT 1")).address
            LinkServerAddress('127.0.0.1', ..., <secret>)
        """
        return self._address

    def close(self) -> None:
        """Hands out no links any more. Safe to call twice.

        Example:
            >>> server = seakernel.LinkServer(cursor.partitions("SELECT 1"))
            >>> server.close()
        """
        import contextlib
        import socket

        if self._closed.is_set():
            return
        self._closed.set()
        with self._lock:
            answered = list(self._open)
        for connection in answered:
            self._break(connection)
        # A thread that waits in `accept` does not see that its socket is closed.
        with contextlib.suppress(OSError), socket.create_connection((self._address.host, self._address.port), 1):
            pass
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            # Others wait in the listener's queue.
            self._room.acquire()
            try:
                connection = self._listener.accept()
            except OSError:
                self._room.release()
                continue
            with self._lock:
                if self._closed.is_set():
                    connection.close()
                    return
                self._open.add(connection)
            threading.Thread(target=self._answer, args=(connection,), name="seakernel-links", daemon=True).start()

    def _answer(self, connection: Any) -> None:
        import contextlib
        from multiprocessing import AuthenticationError
        from multiprocessing.connection import answer_challenge, deliver_challenge

        try:
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                with self._patience(connection):
                    deliver_challenge(connection, self._address._key)  # noqa: SLF001 - one protocol
                    answer_challenge(connection, self._address._key)  # noqa: SLF001
                    asked = connection.recv_bytes(_LONGEST_MESSAGE)
                if self._closed.is_set():
                    return
                try:
                    # Bytes and no objects: nothing is unpickled that comes over the network.
                    answer = b"+" + self._lease.links(Partition(asked)).to_bytes()
                except Exception as error:  # noqa: BLE001 - the reader is told
                    answer = b"-" + str(error).encode(errors="replace")
                with self._patience(connection):
                    connection.send_bytes(answer)
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()
            self._room.release()

    @contextmanager
    def _patience(self, connection: Any) -> Iterator[None]:
        """Breaks the connection unless the body ends in time: who has not proved anything yet could hold it for ever."""
        timer = threading.Timer(_PATIENCE_S, self._break, (connection,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _break(self, connection: Any) -> None:
        """Wakes the thread that reads or writes; it closes the connection."""
        import contextlib
        import socket

        with self._lock, contextlib.suppress(OSError):
            if connection in self._open:
                with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as own:
                    own.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LinkServer {self._address!r} closed={self._closed.is_set()}>"


_PATIENCE_S = 60
_MOST_CONNECTIONS = 64
_BACKLOG = 128
_LONGEST_MESSAGE = 256 << 20


class LinkServerAddress:
    """Asks a `LinkServer` for links; what `Partition.read` takes as `broker`. A secret that can be pickled.

    Example:
        >>> parts = cursor.partitions("SELECT id FROM range(10)")
        >>> server = seakernel.LinkServer(parts)
        >>> next(parts).read(broker=server.address).arrow().num_rows
        10
    """

    def __init__(self, host: str, port: int, key: bytes) -> None:
        self.host = host
        self.port = port
        self._key = key

    def __call__(self, partition: Partition) -> PartitionLinks:
        """Returns fresh links to the rows of `partition`."""
        from multiprocessing.connection import Client

        with Client((self.host, self.port), family="AF_INET", authkey=self._key) as connection:
            connection.send_bytes(partition.to_bytes())
            answer = connection.recv_bytes(_LONGEST_MESSAGE)
        if answer[:1] != b"+":
            raise ProgrammingError(answer[1:].decode(errors="replace"), kind="NotFound")
        return PartitionLinks(answer[1:])

    def __reduce__(self) -> tuple[type[Self], tuple[str, int, bytes]]:
        return type(self), (self.host, self.port, self._key)

    def __repr__(self) -> str:
        return f"LinkServerAddress('{self.host}', {self.port}, <secret>)"
