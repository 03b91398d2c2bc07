"""Results of SQL warehouses as datasets of Ray Data; needs the extra `seakernel[ray]`.

Example:
    >>> import seakernel.ray
    >>> seakernel.ray.read_sql("SELECT id FROM range(1000)").count()
    1000
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from seakernel.distributed import PartitionReader, leased

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from seakernel._seakernel import Partition
    from seakernel.dbapi import Connection
    from seakernel.distributed import SignIn
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
    ray_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Runs a statement, once and now, and returns a dataset whose rows Ray's tasks read from the warehouse by themselves.

    Every task reads a partition, checks that it has got all of its rows, and can be repeated. Plan and tasks hold no
    credential: a task signs in where it runs, by `profile` if that is given, or else by its environment
    (`runtime_env={"env_vars": ...}` of Ray, or the machine's).

    Ray gives blocks in the order of the result only with `DataContext.execution_options.preserve_order`; sort by
    `row_number` where order matters.

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
        ray_options: Further arguments of `ray.data.read_datasource`, such as `num_cpus` and `concurrency`.
        options: Arguments of `seakernel.connect`, for the statement; of these only `profile` is told to the tasks.

    Raises:
        Error: as `connect` and `Cursor.execute`.

    Example:
        >>> import seakernel.ray
        >>> dataset = seakernel.ray.read_sql("SELECT id FROM range(:n)", {"n": 3}, row_number="row")
        >>> dataset.sort("row").take_all()
        [{'id': 0, 'row': 0}, {'id': 1, 'row': 1}, {'id': 2, 'row': 2}]
    """
    reader = PartitionReader(sign_in, row_number)
    lease = leased(sql, parameters, connection, options, target_bytes=target_bytes, lease_s=lease_s)
    source = _SeakernelDatasource(list(lease), reader, reader.schema(lease))
    return ray.data.read_datasource(source, **(ray_options or {}))


class _SeakernelDatasource(Datasource):  # type: ignore[misc] # untyped here
    """One task for each partition."""

    def __init__(self, partitions: list[Partition], reader: PartitionReader, schema: pa.Schema) -> None:
        super().__init__()
        self._partitions = partitions
        self._reader = reader
        self._schema = schema

    def estimate_inmemory_data_size(self) -> int | None:
        sizes = [partition.byte_count for partition in self._partitions]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        return [
            ReadTask(
                partial(_blocks, self._reader, partition),
                BlockMetadata(
                    num_rows=partition.row_count,
                    size_bytes=partition.byte_count,
                    input_files=None,
                    exec_stats=None,
                ),
                schema=self._schema,
                per_task_row_limit=per_task_row_limit,
            )
            for partition in self._partitions
        ]


def _blocks(reader: PartitionReader, partition: Partition) -> list[pa.Table]:
    return [reader.table(partition)]
