"""Arrow across the border: the same buffers for everybody, and the live stream once."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Cursor, ResultStream
    from seakernel.local import LocalWarehouse

WIDE = (
    "SELECT id, id * 0.5D AS half, if(id % 3 = 0, NULL, 'row ' || id) AS text, CAST(id AS DECIMAL(12,2)) AS amount, "
    "timestamp_micros(id) AS at, array(id) AS list FROM range(5000)"
)


def result(cursor: Cursor) -> ResultStream:
    assert cursor._result is not None
    return cursor._result


def addresses(table: pa.Table) -> list[int]:
    """Addresses of all buffers, validity bitmaps included."""
    return [
        buffer.address
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None
    ]


def test_two_exports_share_their_buffers(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(WIDE)
    taken = result(chunked_cursor).take()
    assert (taken.num_rows, taken.num_columns, len(taken)) == (5000, 6, 5000)
    first, second = pa.table(taken), pa.table(taken)
    assert first.equals(second)
    assert addresses(first) == addresses(second)
    assert len(addresses(first)) > 5 * 5


def test_slices_point_into_the_same_memory(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id FROM range(1000)")
    stream = result(chunked_cursor)
    parts = [pa.table(stream.take(100)) for _ in range(10)]
    starts = [part.column(0).chunk(0).buffers()[1].address + 8 * part.column(0).chunk(0).offset for part in parts]
    assert starts[1] - starts[0] == 800
    assert pa.concat_tables(parts).column(0).to_pylist() == list(range(1000))


def test_data_outlives_its_source(warehouse: LocalWarehouse) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        table = cursor.execute("SELECT id, 'x' || id AS s FROM range(3000)").fetchall_arrow()
    del connection, cursor
    assert table.column("s").to_pylist() == [f"x{i}" for i in range(3000)]


def test_the_cursor_is_an_arrow_stream_once(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(WIDE)
    first = [chunked_cursor.fetchone(), chunked_cursor.fetchone()]
    schema = pa.schema(chunked_cursor)
    table = pa.table(chunked_cursor)
    assert table.schema == schema
    assert [row[0] for row in first if row] + table.column("id").to_pylist() == list(range(5000))
    for call in (
        chunked_cursor.fetchone,
        chunked_cursor.fetchall,
        chunked_cursor.fetchall_arrow,
        chunked_cursor.__arrow_c_stream__,
    ):
        with pytest.raises(seakernel.InterfaceError, match="handed over"):
            call()
    assert pa.schema(chunked_cursor) == schema


def test_a_handed_over_stream_outlives_the_cursor(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id FROM range(5000)")
    reader = pa.RecordBatchReader.from_stream(chunked_cursor)
    chunked_cursor.close()
    assert reader.read_all().column(0).to_pylist() == list(range(5000))


def test_an_unread_stream_can_be_dropped(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id FROM range(5000)")
    chunked_cursor.__arrow_c_stream__()
    assert chunked_cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_the_reader_is_live_and_typed(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(WIDE)
    chunked_cursor.fetchmany(10)
    reader = chunked_cursor.fetch_record_batch()
    assert reader.schema == pa.schema(chunked_cursor)
    batch = reader.read_next_batch()
    assert batch.num_rows == 290
    assert batch.column(0)[0].as_py() == 10
    assert chunked_cursor.fetchone()[0] == 300  # type: ignore[index]
    assert reader.read_all().num_rows == 5000 - 301


def test_the_reader_raises_our_errors(chunked_cursor: Cursor) -> None:
    reader = chunked_cursor.execute("SELECT id FROM range(5000)").fetch_record_batch()
    chunked_cursor.close()
    with pytest.raises(seakernel.InterfaceError, match="closed"):
        reader.read_all()


def test_every_field_is_nullable_and_schemas_agree(cursor: Cursor) -> None:
    full = cursor.execute(WIDE).fetchall_arrow().schema
    empty = cursor.execute(WIDE + " WHERE id < 0").fetchall_arrow().schema
    assert all(field.nullable for field in full)
    assert full.types == empty.types


def test_rows_and_streams_need_no_pyarrow(chunked: LocalWarehouse) -> None:
    script = """
import sys, seakernel
cursor = seakernel.connect(*sys.argv[1:]).cursor()
cursor.execute("SELECT id, CAST(id AS DECIMAL(10,2)) AS d, current_timestamp() AS t FROM range(5000)")
cursor.fetchone(); cursor.fetchmany(5); next(cursor)
cursor._result.take(10).__arrow_c_stream__()
cursor.__arrow_c_schema__(); cursor.__arrow_c_stream__()
assert len(cursor.execute("SELECT id FROM range(5000)").fetchall()) == 5000
assert not [name for name in sys.modules if name.split(".")[0] in {"pyarrow", "numpy", "pandas"}]
"""
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    subprocess.run([sys.executable, "-c", script, *place], check=True, timeout=60)


def test_arrow_results_do_not_load_pandas(warehouse: LocalWarehouse) -> None:
    script = """
import sys
import seakernel
host, path, token = sys.argv[1:]
with seakernel.connect(server_hostname=host, http_path=path, access_token=token) as connection:
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT id FROM range(9)").fetchmany_arrow(2).num_rows == 2
        assert cursor.fetchall_arrow().num_rows == 7
        assert cursor.execute("SELECT id FROM range(9)").fetch_record_batch().read_all().num_rows == 9
print(sorted({"pandas", "polars", "duckdb"} & set(sys.modules)))
"""
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    done = subprocess.run(
        [sys.executable, "-c", script, *place], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("nulls", [False, True], ids=["no nulls", "nulls"])
def test_columns_are_slices_of_the_decoded_file(warehouse: LocalWarehouse, nulls: bool) -> None:
    """Every buffer of every column, bitmaps included, lies inside the one block that the file was decompressed into."""
    expressions = {
        "id": "id",
        "half": "id * 0.5D",
        "text": "'row ' || id",
        "amount": "CAST(id AS DECIMAL(12,2))",
        "at": "timestamp_micros(id)",
    }
    shown = "if(id % 5 = 0, NULL, {})" if nulls else "{}"
    columns = ", ".join(f"{shown.format(text)} AS {name}" for name, text in expressions.items())
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM range(200000)")
        table = cursor.fetchall_arrow()
        statistics = cursor.statistics
    assert (statistics.chunks, table.num_rows) == (1, 200_000)
    assert [str(field.type) for field in table.schema] == [
        "int64",
        "double",
        "string",
        "decimal128(12, 2)",
        "timestamp[us, tz=Etc/UTC]",
    ]
    buffers = [
        buffer
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None and buffer.size > 0
    ]
    bitmaps = [chunk.buffers()[0] for column in table.columns for chunk in column.chunks]
    assert {bitmap is not None for bitmap in bitmaps} == {nulls}
    begin = min(buffer.address for buffer in buffers)
    end = max(buffer.address + buffer.size for buffer in buffers)
    assert end - begin <= statistics.decoded_bytes
    used = sum(buffer.size for buffer in buffers)
    assert used > 0.9 * statistics.decoded_bytes, "the block holds the columns and little else"


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT 1 AS `a\0b`", r"a\\0b"),
        ("SELECT array(named_struct('x\0y', 2)) AS s", r"s\.element\.x\\0y"),
        ("SELECT * FROM (VALUES (1)) AS v(`\0`)", r"\\0"),
    ],
)
def test_a_name_that_the_c_interface_cannot_hold_is_refused_by_name(cursor: Cursor, sql: str, name: str) -> None:
    row = cursor.execute(sql).fetchone()
    assert row is not None
    exports: list[Callable[[], object]] = [
        lambda: cursor.execute(sql).arrow(),
        lambda: cursor.execute(sql).pl(),
        lambda: cursor.execute(sql).df(),
        lambda: cursor.execute(sql).fetch_record_batch(),
        lambda: cursor.execute(sql).__arrow_c_schema__(),
        lambda: pa.table(cursor.execute(sql).hand_off()),
        lambda: cursor.execute(sql).hand_off("copy", allocate=bytearray),
        lambda: pa.schema(next(cursor.partitions(sql))),
    ]
    for export in exports:
        with pytest.raises(seakernel.NotSupportedError, match=rf"column `{name}` has a NUL character") as refused:
            export()
        assert "defect" not in str(refused.value)
    cursor.execute(sql)
    with pytest.raises(seakernel.NotSupportedError):
        cursor.arrow()
    with pytest.raises(seakernel.NotSupportedError):
        cursor.__arrow_c_stream__()
    assert cursor.fetchone() == row, "nothing was given away"
