"""Results of SQL warehouses as data frames of Dask; needs the extra `seakernel[dask]`.

Example:
    >>> import seakernel.dask
    >>> int(seakernel.dask.read_sql("SELECT id FROM range(1000)")["id"].sum().compute())
    499500
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.dataframe
import pandas

from seakernel.distributed import PartitionReader, leased

if TYPE_CHECKING:
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
    target_bytes: int = 128 << 20,
    lease_s: float | None = None,
    **options: Any,
) -> dask.dataframe.DataFrame:
    """Runs a statement, once and now, and returns a frame whose partitions Dask's tasks read from the warehouse by themselves.

    The index is the place of each row in the result, from 0, and Dask knows its divisions: order is kept and can be
    restored. Columns have pandas' Arrow types.

    Every task reads a partition, checks that it has got all of its rows, and can be repeated. Graph and tasks hold no
    credential: a task signs in where it runs, by `profile` if that is given, or else by its environment.

    Args:
        sql: SQL text.
        parameters: Values for its markers, as for `Cursor.execute`. They stay here.
        connection: Runs the statement, which ends with it. Without it one is opened with `options`.
        sign_in: A function that a task calls for the options of `Partition.read`, such as `access_token` or `tls`, or its
            name, as `module:function`. Only the name travels.
        target_bytes: Bytes of a partition, as for `Cursor.partitions`.
        lease_s: Longest time in which tasks can start to read, in seconds. Default 3600, which is how long a server keeps
            a result. The statement is closed then, or when this process ends.
        options: Arguments of `seakernel.connect`, for the statement; of these only `profile` is told to the tasks.

    Raises:
        Error: as `connect` and `Cursor.execute`.

    Example:
        >>> import seakernel.dask
        >>> seakernel.dask.read_sql("SELECT id, id % 2 = 0 AS even FROM range(3)").compute()
           id   even
        0   0   True
        1   1  False
        2   2   True
    """
    reader = PartitionReader(sign_in)
    lease = leased(sql, parameters, connection, options, target_bytes=target_bytes, lease_s=lease_s)
    partitions = list(lease)
    last = partitions[-1]
    rows = last.row_offset + last.row_count
    # Divisions are the first row of every partition and the last of all; a result without rows has none.
    divisions = (*(partition.row_offset for partition in partitions), rows - 1) if rows else None
    frame: dask.dataframe.DataFrame = dask.dataframe.from_map(
        _Frame(reader),
        partitions,
        meta=_pandas(reader.schema(lease).empty_table(), 0),
        divisions=divisions,
        label="seakernel",
    )
    return frame


class _Frame:
    """Reads a partition as a frame of pandas."""

    def __init__(self, reader: PartitionReader) -> None:
        self._reader = reader

    def __call__(self, partition: Partition) -> pandas.DataFrame:
        return _pandas(self._reader.table(partition), partition.row_offset)


def _pandas(table: pa.Table, place: int) -> pandas.DataFrame:
    frame: pandas.DataFrame = table.to_pandas(types_mapper=pandas.ArrowDtype)
    return frame.set_axis(pandas.RangeIndex(place, place + len(frame)), axis="index")
