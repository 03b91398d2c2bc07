"""Rows that are in memory, read as a stream is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    import seakernel


class Listed:
    """The rows of a listing, each handed over once."""

    __slots__ = ("_left", "_table")

    def __init__(self, table: seakernel.ArrowTable) -> None:
        self._table = table
        self._left: pa.RecordBatchReader | None = None

    def __arrow_c_schema__(self) -> object:
        return self._table.__arrow_c_schema__()

    def next_pyarrow_batch(self) -> pa.RecordBatch | None:
        """Returns the next batch, None after the last one."""
        return next(iter(self._reader()), None)

    def take_pyarrow(self) -> pa.Table:
        """Returns what is left."""
        return self._reader().read_all()

    def close(self) -> None:
        """Does nothing: nothing is open."""

    def _reader(self) -> pa.RecordBatchReader:
        if self._left is None:
            import pyarrow as pa

            self._left = pa.RecordBatchReader.from_stream(self._table)
        return self._left
