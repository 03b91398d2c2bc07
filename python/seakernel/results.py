"""A result as the frames and tables of other libraries."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from seakernel.exceptions import InterfaceError, NotSupportedError, ProgrammingError
from seakernel.hand_off import CopiedResult, IpcStream, check_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from seakernel._seakernel import ArrowTable, ResultStream

    T = TypeVar("T")

__all__ = ["ArrowReads", "duckdb_relation", "pandas_frame", "polars_frame", "pyarrow_table"]


class ArrowReads:
    """What a cursor offers beside rows: its result as Arrow, and as the frames of other libraries.

    All of it shares one position with the rows: each row goes to whoever reads it first.
    """

    # The method that has read the result whole.
    _read_by: str | None = None

    def _open_result(self) -> ResultStream:
        raise NotImplementedError

    def arrow(self) -> pa.Table:
        """Returns all remaining rows as a `pyarrow.Table`, without a copy.

        Like `pl`, `df` and `duckdb` it reads a result once, for what a second call could return has no rows and would be
        taken for the result: such a call raises. `fetchall_arrow` returns an empty table then. A call that fails or is
        interrupted leaves the rows to the next one.

        Raises:
            InterfaceError: the result was read whole before, was handed over, or is closed.
            ModuleNotFoundError: pyarrow is not installed; `pl`, `duckdb` and `batches` do without it.

        Example:
            >>> cursor.execute("SELECT 1 AS one").arrow().to_pydict()
            {'one': [1]}
        """
        return self._read_whole("arrow", pyarrow_table)

    def pl(self) -> pl.DataFrame:
        """Returns all remaining rows as a `polars.DataFrame`, without a copy and without pyarrow. Once, as `arrow` says.

        Raises:
            NotSupportedError: a column holds month intervals; nothing was read.
            InterfaceError: the result was read whole before, was handed over, or is closed.
            ModuleNotFoundError: polars is not installed.

        Example:
            >>> cursor.execute("SELECT 1 AS one").pl().to_dicts()
            [{'one': 1}]
        """
        return self._read_whole("pl", polars_frame)

    def df(self, *, dtype_backend: Literal["pyarrow"] | None = None) -> pd.DataFrame:
        """Returns all remaining rows as a `pandas.DataFrame`; pandas reads Arrow through pyarrow. Once, as `arrow` says.

        Args:
            dtype_backend: `"pyarrow"` for pandas' Arrow types, which keep NULL, decimals and nested values apart; numpy's
                as pyarrow chooses them by default. For others there is `cursor.arrow().to_pandas(...)`.

        Raises:
            NotSupportedError: a column holds month intervals; nothing was read.
            ProgrammingError: `dtype_backend` is another one.
            InterfaceError: the result was read whole before, was handed over, or is closed.
            ModuleNotFoundError: pandas or pyarrow is not installed.

        Example:
            >>> cursor.execute("SELECT 1 AS one").df().to_dict("records")
            [{'one': 1}]
        """
        if dtype_backend not in (None, "pyarrow"):
            message = f"`dtype_backend` is `{dtype_backend}`; expected `pyarrow` or None"
            raise ProgrammingError(message, kind="InvalidArgument")
        return self._read_whole("df", lambda result: pandas_frame(result, dtype_backend))

    def duckdb(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """Returns all remaining rows as a relation on a DuckDB connection, without a copy. Once, as `arrow` says.

        The rows are held in memory, since a relation may be run any number of times, and its `repr` runs it, too. To
        stream instead, give DuckDB the cursor: `connection.from_arrow(cursor)`, or its name in DuckDB's SQL; that can be
        run once.

        Raises:
            InterfaceError: the result was read whole before, was handed over, or is closed.

        Example:
            >>> import duckdb
            >>> cursor.execute("SELECT 1 AS one").duckdb(duckdb.connect()).fetchall()
            [(1,)]
        """
        return self._read_whole("duckdb", lambda result: duckdb_relation(result, connection))

    def batches(self) -> Iterator[ArrowTable]:
        """Returns an iterator of the remaining rows as they come, one Arrow batch with at least one row at a time.

        It reads through this cursor and downloads ahead within `memory_budget_bytes`; pyarrow is not needed. Whatever
        reads Arrow takes each batch, as in `polars.DataFrame(batch)`. An interrupted iterator goes on where it was.

        Example:
            >>> [len(batch) for batch in cursor.execute("SELECT id FROM range(3)").batches()]
            [3]
        """
        return iter(self._open_result().next_batch, None)

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """Returns the remaining rows as a `pyarrow.RecordBatchReader` that downloads while it is read.

        At most `memory_budget_bytes` are held at once. It reads through this cursor: errors are those of this package,
        Ctrl-C works, and closing the cursor ends it. To give the rows away instead, hand over the cursor itself, as in
        `pyarrow.RecordBatchReader.from_stream(cursor)`.

        Example:
            >>> cursor.execute("SELECT id FROM range(3)").fetch_record_batch().read_all().num_rows
            3
        """
        pyarrow = _imported("pyarrow", "fetch_record_batch")
        result = self._open_result()
        # No batch is kept here while the next one is waited for, as a generator would.
        batches = iter(result.next_pyarrow_batch, None)
        reader: pa.RecordBatchReader = pyarrow.RecordBatchReader.from_batches(pyarrow.schema(result), batches)
        return reader

    @overload
    def hand_off(self, mode: Literal["capsule"] = "capsule") -> ResultStream: ...
    @overload
    def hand_off(self, mode: Literal["ipc"]) -> IpcStream: ...
    @overload
    def hand_off(self, mode: Literal["copy"], *, allocate: Callable[[int], Any]) -> CopiedResult: ...
    def hand_off(
        self, mode: Literal["capsule", "ipc", "copy"] = "capsule", *, allocate: Callable[[int], Any] | None = None
    ) -> ResultStream | IpcStream | CopiedResult:
        """Gives the remaining rows away, in the form that suits whoever takes them. Once; pyarrow is not needed.

        `capsule` and `ipc` download while they are read and outlive the cursor; `copy` reads everything before it returns.
        Every form has the same values, bit by bit.

        Args:
            mode: `capsule`, an object with `__arrow_c_stream__`, the Arrow C stream interface, whose buffers are ours: without
                a copy, within a process. `ipc`, one Arrow IPC stream as pieces of `bytes`, for files, sockets, other
                processes, and runtimes without the C interface. `copy`, each buffer copied once into memory of the caller,
                such as that of a WASM instance or a shared segment, with a `Layout` that says what is where.
            allocate: For `copy`: gets a number of bytes, a multiple of 64 and never 0, and returns writable memory of at least
                as many, as a buffer that Python knows: a `bytearray`, a `memoryview`, a NumPy array. Called once for
                each batch, so that each can be freed or sent on by itself. The memory is written while the call lasts, and
                nothing refers to it afterwards. Where it raises, or returns anything else, the result is closed.

        Raises:
            ProgrammingError: an unknown mode, no `allocate` where one is needed, or none of the memory that was asked for.
            InterfaceError: the result was read whole before, was handed over, or is closed.

        Example:
            >>> import polars
            >>> sql = "SELECT id, id * id AS square FROM range(3)"
            >>> polars.DataFrame(cursor.execute(sql).hand_off()).rows()
            [(0, 0), (1, 1), (2, 4)]
            >>> polars.read_ipc_stream(cursor.execute(sql).hand_off("ipc").read_all()).rows()
            [(0, 0), (1, 1), (2, 4)]
            >>> copied = cursor.execute(sql).hand_off("copy", allocate=bytearray)
            >>> place = copied.layout["batches"][0]["columns"][1]["buffers"][1]
            >>> memoryview(copied.memory[0])[place["offset"] :][: place["length"]].cast("q").tolist()
            [0, 1, 4]
        """
        check_mode(mode, allocate)
        result = self._unread("hand_off")
        if allocate is None:
            given = result.hand_over()
            return given if mode == "capsule" else IpcStream(given)
        # From here on nobody else reads it, be it another thread or `allocate`; a cancel still ends it.
        given = result.hand_over(tied=True)
        self._read_by = "hand_off"
        try:
            copied = CopiedResult(given, allocate)
            while copied._copy(given.next_batch()):  # noqa: SLF001 - one protocol, and no batch held while it waits
                pass
        except BaseException:
            given.close()
            raise
        return copied

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._open_result().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._open_result().__arrow_c_schema__()

    def _read_whole(self, method: str, conversion: Callable[[ResultStream], Callable[[ArrowTable], T]]) -> T:
        result = self._unread(method)
        converted = result.take_as(conversion(result))
        self._read_by = method
        return converted

    def _unread(self, method: str) -> ResultStream:
        result = self._open_result()
        if self._read_by is not None:
            message = (
                f"`{method}()` would return no rows: `{self._read_by}()` has read the result, which can be done once; "
                "keep what it returned, or execute the statement again"
            )
            raise InterfaceError(message, kind="Closed", statement_id=result.statement_id)
        return result


def pyarrow_table(result: ResultStream) -> Callable[[ArrowTable], pa.Table]:
    """Returns what makes pyarrow tables of rows of `result`."""
    pyarrow = _imported("pyarrow", "arrow")
    # `pyarrow.table(table)` would import pandas to ask whether this is one of its frames: 160 ms.
    return lambda table: pyarrow.RecordBatchReader.from_stream(table).read_all()


def polars_frame(result: ResultStream) -> Callable[[ArrowTable], pl.DataFrame]:
    """Returns what makes polars frames of rows of `result`."""
    polars = _imported("polars", "pl")
    _refuse_month_intervals(result, "polars")
    frame: Callable[[ArrowTable], pl.DataFrame] = polars.DataFrame
    return frame


def pandas_frame(
    result: ResultStream, dtype_backend: Literal["pyarrow"] | None = None
) -> Callable[[ArrowTable], pd.DataFrame]:
    """Returns what makes pandas frames of rows of `result`."""
    pandas = _imported("pandas", "df")
    pyarrow = _imported("pyarrow", "df")
    _refuse_month_intervals(result, "pandas")
    types = pandas.ArrowDtype if dtype_backend == "pyarrow" else None
    return lambda table: pyarrow.RecordBatchReader.from_stream(table).read_all().to_pandas(types_mapper=types)


def duckdb_relation(
    result: ResultStream, connection: duckdb.DuckDBPyConnection
) -> Callable[[ArrowTable], duckdb.DuckDBPyRelation]:
    """Returns what makes relations of rows of `result` on `connection`."""
    relation: Callable[[ArrowTable], duckdb.DuckDBPyRelation] = connection.from_arrow
    return relation


def _imported(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        message = f"`{method}()` needs `{name}`: `pip install {name}`"
        raise ModuleNotFoundError(message, name=name) from None


def _refuse_month_intervals(result: ResultStream, library: str) -> None:
    if columns := set(result.month_intervals):
        plain = {column.name for column in result.columns if column.type_name == "INTERVAL"}
        options = ['"intervals": "text"'] if columns & plain else []
        options += ['"complex_types": "json"'] if columns - plain else []
        named = ", ".join(f"`{column}`" for column in sorted(columns))
        message = (
            f"{library} has no type for the month intervals of column {named}; "
            f"connect with `results={{{', '.join(options)}}}`, or cast to STRING in the SQL"
        )
        raise NotSupportedError(message, kind="InvalidArgument", statement_id=result.statement_id)
