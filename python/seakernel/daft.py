"""Results of SQL warehouses as data frames of Daft; needs the extra `seakernel[daft]`.

Example:
    >>> import seakernel.daft
    >>> seakernel.daft.read_sql("SELECT id FROM range(1000)").count_rows()
    1000
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import daft
import daft.io.source
import daft.recordbatch

from seakernel.distributed import PartitionReader, leased

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from seakernel._seakernel import Partition
    from seakernel.dbapi import Connection
    from seakernel.distributed import SignIn
    from seakernel.partitions import PartitionLease
    from seakernel.types import Parameters

__all__ = ["read_sql"]


def read_sql(
    sql: str,
    parameters: Parameters | None = None,
    *,
    connection: Connection | None = None,
    sign_in: SignIn = None,
    row_number: str | None = None,
    target_bytes: int = 128 << 20,
    lease_s: float | None = None,
    **options: Any,
) -> daft.DataFrame:
    """Runs a statement, once and now, and returns a frame whose rows Daft's tasks read from the warehouse by themselves.

    Tasks are made while the chain of the result's links is walked, so that reading starts with the first. Every task
    reads a partition, checks that it has got all of its rows, and can be repeated. Plan and tasks hold no credential: a
    task signs in where it runs, by `profile` if that is given, or else by its environment.

    Order is not promised by Daft; sort by `row_number` where it matters.

    Args:
        sql: SQL text.
        parameters: Values for its markers, as for `Cursor.execute`. They stay here.
        connection: Runs the statement, which ends with it. Without it one is opened with `options`.
        sign_in: A function that a task calls for the options of `Partition.read`, such as `access_token` or `tls`, or its
            name, as `module:function`. Only the name travels.
        row_number: Name of a further column with the place of each row in the result, from 0.
        target_bytes: Bytes of a partition, as for `Cursor.partitions`.
        lease_s: Longest time in which tasks can start to read, in seconds. Default 3600, which is how long a server keeps
            a result. The statement is closed then, or when this process ends.
        options: Arguments of `seakernel.connect`, for the statement; of these only `profile` is told to the tasks.

    Raises:
        Error: as `connect` and `Cursor.execute`.

    Example:
        >>> import seakernel.daft
        >>> frame = seakernel.daft.read_sql("SELECT id FROM range(3)", row_number="row")
        >>> frame.sort("row").to_pydict()
        {'id': [0, 1, 2], 'row': [0, 1, 2]}
    """
    reader = PartitionReader(sign_in, row_number)
    lease = leased(sql, parameters, connection, options, target_bytes=target_bytes, lease_s=lease_s)
    return _SeakernelSource(lease, reader).read()


class _SeakernelSource(daft.io.source.DataSource):  # type: ignore[misc] # untyped here
    """One task for each partition. Where it is pickled, all partitions travel, and the lease stays."""

    def __init__(self, lease: PartitionLease, reader: PartitionReader) -> None:
        self._reader = reader
        self._schema = daft.Schema.from_pyarrow_schema(reader.schema(lease))
        self._partitions = _Partitions(lease)

    @property
    def name(self) -> str:
        return "seakernel"

    @property
    def schema(self) -> daft.Schema:
        return self._schema

    async def get_tasks(self, pushdowns: object) -> AsyncIterator[daft.io.source.DataSourceTask]:
        number = 0
        while (partition := await asyncio.to_thread(self._partitions.get, number)) is not None:
            yield _SeakernelTask(partition, self._reader, self._schema)
            number += 1


class _Partitions:
    """The partitions by their numbers, each taken from the lease when it is first asked for."""

    def __init__(self, lease: PartitionLease | None, taken: list[Partition] | None = None) -> None:
        self._lease = lease
        self._taken = taken or []
        self._lock = threading.Lock()

    def get(self, number: int) -> Partition | None:
        with self._lock:
            while number >= len(self._taken) and self._lease is not None:
                partition = next(self._lease, None)
                if partition is None:
                    self._lease = None
                else:
                    self._taken.append(partition)
            return self._taken[number] if number < len(self._taken) else None

    def __reduce__(self) -> tuple[type[_Partitions], tuple[None, list[Partition]]]:
        while self.get(len(self._taken)) is not None:
            pass
        return _Partitions, (None, self._taken)


class _SeakernelTask(daft.io.source.DataSourceTask):  # type: ignore[misc] # untyped here
    """Reads one partition."""

    def __init__(self, partition: Partition, reader: PartitionReader, schema: daft.Schema) -> None:
        self._partition = partition
        self._reader = reader
        self._schema = schema

    @property
    def schema(self) -> daft.Schema:
        return self._schema

    async def read(self) -> AsyncIterator[daft.recordbatch.RecordBatch]:
        batches = self._reader.batches(self._partition)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([batch], batch.schema)
