"""Every type family in every mode of a hand-off: the same schema, the same batches, the same bytes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from copied_result import read_table, stored_bytes
from test_type_families import SHAPES, comparable, shaped, stored
from type_families import FAMILIES, Family
from wire_warehouse import RewritingProxy, WireWarehouse

# pyarrow has arrays of month intervals in tables only, where nobody sees their buffers.
SEEN = [family for family in FAMILIES if family.name != "interval year-month"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection, Cursor

PLACES = {
    "inline": {},
    "files": {"chunk_rows": 4, "batch_rows": 3, "inline_bytes": 0},
}


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[WireWarehouse, Connection]]:
    with WireWarehouse(**PLACES[request.param]) as warehouse, warehouse.connect() as connection:
        yield warehouse, connection


def by_capsule(cursor: Cursor) -> pa.Table:
    return pa.RecordBatchReader.from_stream(cursor.hand_off()).read_all()


def by_ipc(cursor: Cursor) -> pa.Table:
    return pa.ipc.open_stream(cursor.hand_off("ipc").read_all()).read_all()


def by_copy(cursor: Cursor) -> pa.Table:
    # Memory that was used before: every byte counts on being written.
    copied = cursor.hand_off("copy", allocate=lambda size: bytearray(b"\xaa" * size))
    described = pa.ipc.open_stream(base64.b64decode(copied.layout["schema"])).schema
    assert pa.schema(copied).equals(described, check_metadata=True)
    assert described.equals(pa.schema(cursor), check_metadata=True)
    assert copied.layout["form"] == "buffers"
    return read_table(copied.layout, copied.memory)


MODES = {"capsule": by_capsule, "ipc": by_ipc, "copy": by_copy}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_mode_gives_the_same_bytes(place: tuple[WireWarehouse, Connection], family: Family, shape: str) -> None:
    warehouse, connection = place
    column, _ = shaped(family, shape)
    # A second time with a row less in front, so that every buffer is a slice, and bitmaps begin within a byte.
    for skipped in (0, 1):
        read = {}
        for mode, hand_off in MODES.items():
            with connection.cursor() as cursor:
                cursor.execute(warehouse.put(family.type_text, column))
                cursor.fetchmany_arrow(skipped)
                read[mode] = hand_off(cursor)
        assert comparable(read["capsule"]["v"]) == stored(column)[skipped:]
        wanted = stored_bytes(read["capsule"])
        assert {mode: stored_bytes(table) == wanted for mode, table in read.items()} == dict.fromkeys(MODES, True)
        assert read["ipc"].schema.equals(read["capsule"].schema, check_metadata=True)
        assert read["capsule"].schema.field(0).metadata


@pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no nulls"])
@pytest.mark.parametrize("family", SEEN, ids=lambda family: family.name)
def test_no_buffer_of_a_capsule_is_a_copy(family: Family, nulls: bool) -> None:
    """Bitmaps and nested columns included, every buffer lies in the one block that the file was decompressed into."""
    places = [*range(len(family.column)), None] if nulls else range(len(family.column))
    column = family.column.take(pa.array([*places] * 3, pa.int64()))
    with WireWarehouse(inline_bytes=0) as warehouse, warehouse.connect() as connection:
        cursor = connection.cursor().execute(warehouse.put(family.type_text, column))
        table = by_capsule(cursor)
        statistics = cursor.statistics
    (chunk,) = table["v"].chunks
    buffers = [buffer for buffer in chunk.buffers() if buffer is not None and buffer.size > 0]
    assert chunk.null_count == column.null_count
    if family.name == "void":
        assert buffers == []
        return
    assert (chunk.buffers()[0] is not None) == (column.null_count > 0)
    begin = min(buffer.address for buffer in buffers)
    end = max(buffer.address + buffer.size for buffer in buffers)
    assert statistics.chunks == 1
    assert end - begin <= statistics.decoded_bytes


@pytest.mark.parametrize("family", SEEN, ids=lambda family: family.name)
def test_the_buffers_of_a_stream_lie_in_its_pieces(family: Family) -> None:
    """Readers need no second copy: bodies are not compressed, and buffers begin at multiples of 64 bytes."""
    column = family.column.take(pa.array([*range(len(family.column)), None], pa.int64()))
    with WireWarehouse() as warehouse, warehouse.connect() as connection:
        stream = pa.py_buffer(
            connection.cursor().execute(warehouse.put(family.type_text, column)).hand_off("ipc").read_all()
        )
    chunks = pa.ipc.open_stream(stream).read_all()["v"].chunks
    found = [buffer for chunk in chunks for buffer in chunk.buffers() if buffer is not None and buffer.size > 0]
    assert found or family.name == "void"
    for buffer in found:
        start = buffer.address - stream.address
        assert 0 < start < start + buffer.size < stream.size
        assert start % 64 == 0


UNION = pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["x", "y", "z"])])
WITHOUT_LAYOUT = {
    "large string": pa.array(["a", None, "b"], pa.large_string()),
    "large binary": pa.array([b"a", None, b"b"], pa.large_binary()),
    "large list": pa.array([[1], None, [2, None]], pa.large_list(pa.int64())),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "union": UNION,
    "dictionary in a list": pa.array([["a"], None, ["b", None]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
}


@pytest.mark.parametrize("name", WITHOUT_LAYOUT)
def test_types_without_a_layout_are_copied_as_streams(name: str) -> None:
    """No server is known to send such types; the whole result falls back, the columns that have a layout, too."""
    column = pa.chunked_array([WITHOUT_LAYOUT[name]] * 2)
    schema = pa.schema([("id", pa.int64()), ("v", column.type)])
    sent = pa.Table.from_arrays([pa.chunked_array([[1, 2, 3], [4, 5, 6]], pa.int64()), column], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(sent)

    def answer(body: Any) -> None:
        if isinstance(body, dict) and "attachment" in body.get("result", {}):
            manifest = body["manifest"]
            manifest["result_compression"] = "NONE"
            columns = [("id", "BIGINT", "LONG"), ("v", "NEW_TYPE", "NEW_TYPE")]
            manifest["schema"]["column_count"] = 2
            manifest["schema"]["columns"] = [
                {"name": name, "position": position, "type_text": text, "type_name": kind}
                for position, (name, text, kind) in enumerate(columns)
            ]
            body["result"]["attachment"] = base64.b64encode(sink.getvalue()).decode()

    with (
        WireWarehouse() as warehouse,
        RewritingProxy(warehouse, answer=answer) as proxy,
        proxy.connect() as connection,
        connection.cursor() as cursor,
    ):
        statement = warehouse.put("BIGINT", pa.array(range(6)))
        plain = by_capsule(cursor.execute(statement))
        streamed = by_ipc(cursor.execute(statement))
        asked = []

        def allocate(size: int) -> bytearray:
            asked.append(size)
            return bytearray(size + 1)

        copied = cursor.execute(statement).hand_off("copy", allocate=allocate)
    assert plain["v"].type == column.type
    assert plain.to_pylist() == sent.to_pylist()
    assert copied.layout["form"] == "ipc"
    assert [batch["byte_count"] for batch in copied.layout["batches"]] == asked
    assert [sorted(batch) for batch in copied.layout["batches"]] == [["byte_count", "row_count"]] * 2
    read = read_table(copied.layout, copied.memory)
    for table in (streamed, read):
        assert table.schema.equals(plain.schema, check_metadata=True)
        assert table.to_pylist() == plain.to_pylist()
