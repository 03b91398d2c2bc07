"""Reads what was copied, as a reader of Arrow in another place would: with the layout and the memory alone."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seakernel import Layout


def readable(arrow_type: pa.DataType) -> pa.DataType:
    """The type, or numbers where it is one of month intervals, of which pyarrow has no arrays."""
    return pa.int32() if str(arrow_type) == "month_interval" else arrow_type


def read_array(arrow_type: pa.DataType, column: Any, memory: pa.Buffer) -> pa.Array:
    """An array over `memory`, without a copy."""
    places = column["buffers"] or [None]  # pyarrow gives the null type one buffer more than the format does
    buffers = [None if place is None else memory.slice(place["offset"], place["length"]) for place in places]
    fields = [arrow_type.field(index) for index in range(arrow_type.num_fields)]
    children = [read_array(field.type, child, memory) for field, child in zip(fields, column["children"], strict=True)]
    return pa.Array.from_buffers(arrow_type, column["length"], buffers, column["null_count"], children=children)


def read_table(layout: Layout, memory: Sequence[Any]) -> pa.Table:
    """The result as a table over `memory`."""
    assert layout["version"] == 1
    schema = pa.ipc.open_stream(base64.b64decode(layout["schema"])).schema
    schema = pa.schema([field.with_type(readable(field.type)) for field in schema])
    batches = []
    for batch, piece in zip(layout["batches"], memory, strict=True):
        buffer = pa.py_buffer(piece)
        if layout["form"] == "ipc":
            batches += list(pa.ipc.open_stream(buffer))
        else:
            columns = [
                read_array(field.type, column, buffer) for field, column in zip(schema, batch["columns"], strict=True)
            ]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    for batch in batches:
        batch.validate(full=True)
    return pa.Table.from_batches(batches, schema)


def stored_bytes(table: pa.Table) -> list[bytes]:
    """Each batch with the bytes of every buffer, slices made whole, and bitmaps without what stands behind their last bit."""
    columns = [
        column
        if str(column.type) == "month_interval"
        else pa.chunked_array([pa.concat_arrays([chunk, chunk[:0]]) for chunk in column.chunks], column.type)
        for column in table.columns
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=table.schema))
    _, *messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    return [bytes(message.metadata) + bytes(message.body) for message in messages]
