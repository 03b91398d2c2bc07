"""What the readers for distributed engines share: one statement on the driver, and each worker's own sign-in.

The engines have a module each, which imports the engine: `seakernel.ray`, `seakernel.dask`, `seakernel.spark` (also for
Sail) and `seakernel.daft`. Their workers get partitions, which hold no token, and read them with what `Partition.read`
finds where they run: the profile that the driver has named, or else the worker's environment.

Example:
    >>> from seakernel.distributed import PartitionReader
    >>> parts = cursor.partitions("SELECT id FROM range(3)")
    >>> partition = next(parts)
    >>> PartitionReader(row_number="row").table(partition).to_pydict()
    {'id': [0, 1, 2], 'row': [0, 1, 2]}
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from functools import reduce
from typing import TYPE_CHECKING, Any

from seakernel.dbapi import connect
from seakernel.exceptions import ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    import pyarrow as pa

    from seakernel._seakernel import Partition
    from seakernel.dbapi import Connection
    from seakernel.partitions import PartitionLease, PartitionResult
    from seakernel.types import Parameters

    SignIn: TypeAlias = Callable[[], Mapping[str, Any]] | str | None

__all__ = ["PartitionReader", "leased"]

# How long a server keeps a result, and so the longest that readers have.
_LONGEST_LEASE_S = 3600.0


class PartitionReader:
    """Reads partitions where a worker of an engine runs. It can be pickled, and holds no credential.

    Example:
        >>> import pickle
        >>> from seakernel.distributed import PartitionReader
        >>> reader = PartitionReader(sign_in="my_job.sign_in:options")
        >>> pickle.loads(pickle.dumps(reader))
        PartitionReader(sign_in='my_job.sign_in:options', row_number=None)
    """

    def __init__(self, sign_in: SignIn = None, row_number: str | None = None) -> None:
        """Makes a reader.

        Args:
            sign_in: A function that a worker calls for the options of `Partition.read`, such as `access_token`, `auth`,
                `profile` or `tls`; or its name, as `module:function`. Only the name travels. By default the worker
                signs in by the partition's profile or its own environment.
            row_number: Name of a further column with the place of each row in the result, from 0.

        Raises:
            ProgrammingError: the function cannot be imported by its name.
        """
        self._sign_in = _name(sign_in)
        self._row_number = row_number

    def open(self, partition: Partition) -> PartitionResult:
        """Opens the rows of `partition` with the worker's own sign-in.

        Example:
            >>> from seakernel.distributed import PartitionReader
            >>> parts = cursor.partitions("SELECT id FROM range(2)")
            >>> PartitionReader().open(next(parts)).fetchall()
            [Row(id=0), Row(id=1)]
        """
        return partition.read(**self.options())

    def options(self) -> dict[str, Any]:
        """Returns what `sign_in` gives, here and now; nothing without it.

        Example:
            >>> from seakernel.distributed import PartitionReader
            >>> PartitionReader().options()
            {}
        """
        return {} if self._sign_in is None else dict(_imported(self._sign_in)())

    def schema(self, partitions: PartitionLease | Partition) -> pa.Schema:
        """Returns the schema of what is read.

        Example:
            >>> from seakernel.distributed import PartitionReader
            >>> PartitionReader(row_number="row").schema(cursor.partitions("SELECT 1 AS one")).names
            ['one', 'row']
        """
        import pyarrow

        schema: pa.Schema = pyarrow.schema(partitions)  # type: ignore[arg-type] # exported by both
        if self._row_number is None:
            return schema
        if self._row_number in schema.names:
            raise ProgrammingError(
                f"`row_number` is `{self._row_number}`, and the result has a column of that name",
                kind="InvalidArgument",
            )
        return schema.append(pyarrow.field(self._row_number, pyarrow.int64(), nullable=False))

    def batches(self, partition: Partition) -> Iterator[pa.RecordBatch]:
        """Returns the rows as they come; the iterator ends after all of them, or raises.

        Example:
            >>> from seakernel.distributed import PartitionReader
            >>> parts = cursor.partitions("SELECT id FROM range(3)")
            >>> [batch.num_rows for batch in PartitionReader().batches(next(parts))]
            [3]
        """
        import pyarrow

        schema, place = self.schema(partition), partition.row_offset
        with self.open(partition) as result:
            for batch in result.fetch_record_batch():
                end = place + batch.num_rows
                numbers = [] if self._row_number is None else [pyarrow.arange(place, end)]  # type: ignore[attr-defined] # newer than its stubs
                yield pyarrow.RecordBatch.from_arrays([*batch.columns, *numbers], schema=schema)
                place = end

    def table(self, partition: Partition) -> pa.Table:
        """Returns all rows.

        Example:
            >>> from seakernel.distributed import PartitionReader
            >>> parts = cursor.partitions("SELECT id FROM range(3)")
            >>> PartitionReader().table(next(parts)).num_rows
            3
        """
        import pyarrow

        return pyarrow.Table.from_batches(self.batches(partition), self.schema(partition))

    def __repr__(self) -> str:
        return f"PartitionReader(sign_in={self._sign_in!r}, row_number={self._row_number!r})"


def leased(
    sql: str,
    parameters: Parameters | None,
    connection: Connection | None,
    options: Mapping[str, Any],
    *,
    target_bytes: int,
    lease_s: float | None,
) -> PartitionLease:
    """Runs a statement, and keeps its lease as long as tasks may be repeated: until `lease_s` or the end of the process.

    An engine runs tasks again after it has let go of the plan they came from, as for a result that it has kept and lost
    with a machine. So the lease belongs to no plan, but to the process; or to `connection`, if that is given.

    Example:
        >>> from seakernel.distributed import leased
        >>> leased("SELECT id FROM range(3)", None, connection, {}, target_bytes=1 << 27, lease_s=60).total_row_count
        3
    """
    if connection is not None and options:
        named = "`, `".join(options)
        raise ProgrammingError(f"a `connection` is open already: `{named}` come too late", kind="InvalidArgument")
    lasts = _LONGEST_LEASE_S if lease_s is None else lease_s
    used = connect(**options) if connection is None else connection
    try:
        with used.cursor() as cursor:
            lease = cursor.partitions(sql, parameters, target_bytes=target_bytes, ordered=True, lease_s=lasts)
    except BaseException:
        if connection is None:
            used.close()
        raise
    _KEPT.add(lease, None if connection is not None else used, lasts)
    return lease


class _Kept:
    """Leases in use, and the connections opened for them. Each is let go when it is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: list[tuple[float, PartitionLease, Connection | None]] = []

    def add(self, lease: PartitionLease, connection: Connection | None, lasts_s: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._leases.append((now + lasts_s, lease, connection))
        timer = threading.Timer(lasts_s, self._let_go)
        timer.daemon = True
        timer.start()

    def _let_go(self) -> None:
        now = time.monotonic()
        with self._lock:
            over = [entry for entry in self._leases if entry[0] <= now]
            self._leases = [entry for entry in self._leases if entry[0] > now]
        for _, ended, used in over:
            for close in (ended.close, used.close if used is not None else None):
                try:
                    if close is not None:
                        close()
                except Exception:  # noqa: BLE001, PERF203 - nobody waits for this one
                    _LOG.warning("statement %s: not closed at the end of its lease", ended.statement_id, exc_info=True)


_LOG = logging.getLogger(__name__)
_KEPT = _Kept()


def _name(sign_in: SignIn) -> str | None:
    if sign_in is None:
        return None
    if isinstance(sign_in, str):
        if not all(sign_in.partition(":")):
            raise ProgrammingError(f"`sign_in` is `{sign_in}`; expected `module:function`", kind="InvalidArgument")
        return sign_in
    module, name = getattr(sign_in, "__module__", None), getattr(sign_in, "__qualname__", "")
    # What cannot be imported would travel with all that it refers to, secrets included.
    try:
        found = None if module in (None, "__main__") else _imported(f"{module}:{name}")
    except (ImportError, AttributeError):
        found = None
    if found is not sign_in:
        raise ProgrammingError(
            "`sign_in` must be a function of a module that workers can import, for only its name is sent to them",
            kind="InvalidArgument",
        )
    return f"{module}:{name}"


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))
