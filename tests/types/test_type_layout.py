"""The layout of copied results, pinned: what reads such memory elsewhere must not find other buffers after an upgrade.

A difference here is a drift of arrow-rs, of pyarrow or of ours. A layout that is to change gets another `version`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from type_families import FAMILIES, Family
from wire_warehouse import WireWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection, CopiedResult

#: By family: length and nulls of each column, `bytes@offset` of its buffers, its children; and the bytes of all.
PINNED = {
    "boolean": ("3/1 [1@0 1@64]", "b5cea1f6faed9f4d"),
    "tinyint": ("4/1 [1@0 4@64]", "14dba149f40149c9"),
    "smallint": ("3/1 [1@0 6@64]", "ca8c7948261f0202"),
    "int": ("3/1 [1@0 12@64]", "9f3896ec1c0a825b"),
    "bigint": ("3/1 [1@0 24@64]", "baef9520865546b1"),
    "float": ("7/1 [1@0 28@64]", "f7a5dbe7ca0a6baf"),
    "double": ("7/1 [1@0 56@64]", "b15ebe3361b95a8d"),
    "decimal(38,0)": ("4/1 [1@0 64@64]", "2025b488da47a9d4"),
    "decimal(38,38)": ("3/1 [1@0 48@64]", "8c8d64716f707d5c"),
    "decimal(10,2)": ("4/1 [1@0 64@64]", "eb1d0abe706212cb"),
    "string": ("6/1 [1@0 28@64 1048595@128]", "d246cd465aa6ab0d"),
    "varchar": ("4/1 [1@0 20@64 22@128]", "4291128fd5dc2e4d"),
    "char": ("3/1 [1@0 16@64 15@128]", "6b8369fb8ddd77f7"),
    "binary": ("3/1 [1@0 16@64 2@128]", "759fa5dc4ea67f18"),
    "date": ("4/1 [1@0 16@64]", "e25c2c7660c26baf"),
    "timestamp": ("4/1 [1@0 32@64]", "0d6e7f1ef6f4fe91"),
    "timestamp in a zone": ("4/1 [1@0 32@64]", "f923d39de3811607"),
    "timestamp_ntz": ("4/1 [1@0 32@64]", "0d6e7f1ef6f4fe91"),
    "interval year-month": ("6/1 [1@0 24@64]", "0dd0abb955a7386b"),
    "interval day-time": ("4/1 [1@0 32@64]", "fa491213f6650b4a"),
    "array": ("4/1 [1@0 20@64] (4/2 [1@128 16@192])", "6587845082035062"),
    "array nested 8 deep": (
        "4/1 [1@0 20@64] (2/0 [- 12@128] (2/0 [- 12@192] (2/0 [- 12@256] (2/1 [1@320 12@384] (1/0 [- 8@448] (1/0 [- 8@512] (1/0 [- 8@576] (1/0 [- 8@640 1@704]))))))))",
        "80507bc0431397b9",
    ),
    "map": ("3/1 [1@0 16@64] (3/0 [-] (3/0 [- 16@128 2@192]) (3/1 [1@256 12@320]))", "9feae80280a4b163"),
    "struct": (
        "3/1 [1@0] (3/2 [1@64 12@128]) (3/2 [1@192 16@256] (3/1 [1@320] (3/1 [1@384 48@448])))",
        "d0be873e6f3317c1",
    ),
    "variant": ("4/1 [1@0 20@64 30@128]", "fdd7c0472b6bc476"),
    "object": ("3/1 [1@0 16@64 19@128]", "ff7b23b8343b988b"),
    "geometry": ("3/1 [1@0 16@64 43@128]", "1502699f233af77c"),
    "geography": ("3/1 [1@0 16@64 56@128]", "721df7a133447956"),
    "void": ("2/2 []", "f5a5fd42d16a2030"),
}


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[WireWarehouse, Connection]]:
    with WireWarehouse() as warehouse, warehouse.connect() as connection:
        yield warehouse, connection


def column_of(family: Family) -> pa.Array:
    """All values of a family, and a null."""
    return family.column.take(pa.array([*range(len(family.column)), None], pa.int64()))


def copied(place: tuple[WireWarehouse, Connection], family: Family) -> CopiedResult:
    warehouse, connection = place
    with connection.cursor() as cursor:
        cursor.execute(warehouse.put(family.type_text, column_of(family)))
        return cursor.hand_off("copy", allocate=bytearray)


def shape(column: Any) -> str:
    """A column of a layout in one line."""
    assert sorted(column) == ["buffers", "children", "length", "null_count", "offset"]
    assert column["offset"] == 0
    buffers = ["-" if place is None else f"{place['length']}@{place['offset']}" for place in column["buffers"]]
    children = "".join(f" ({shape(child)})" for child in column["children"])
    return f"{column['length']}/{column['null_count']} [{' '.join(buffers)}]{children}"


def buffers_of(column: Any) -> Iterator[Any]:
    """The places of a column's buffers and those within it, in the order in which pyarrow tells them."""
    yield from column["buffers"] or [None]
    for child in column["children"]:
        yield from buffers_of(child)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_layout_is_the_pinned_one(place: tuple[WireWarehouse, Connection], family: Family) -> None:
    found = copied(place, family)
    (batch,), (memory,) = found.layout["batches"], found.memory
    (column,) = batch["columns"]
    assert (shape(column), hashlib.sha256(memory).hexdigest()[:16]) == PINNED[family.name]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_buffers_are_those_of_pyarrow(place: tuple[WireWarehouse, Connection], family: Family) -> None:
    found = copied(place, family)
    (batch,), (memory,) = found.layout["batches"], found.memory
    (column,) = batch["columns"]
    theirs = column_of(family)
    if family.name == "interval year-month":
        # On the wire they are months alone.
        theirs = pa.array([value if value is None else value[0] for value in theirs.to_pylist()], pa.int32())
    ours = list(buffers_of(column))
    assert len(ours) == len(theirs.buffers())
    for place_of, buffer in zip(ours, theirs.buffers(), strict=True):
        if place_of is None:
            continue  # where all are valid, pyarrow may have a bitmap that says so
        start, length = place_of["offset"], place_of["length"]
        assert bytes(memory[start : start + length]) == (buffer.to_pybytes()[:length] if buffer else b"")


def test_the_head_of_a_layout_is_this_one(place: tuple[WireWarehouse, Connection]) -> None:
    warehouse, connection = place
    with connection.cursor() as cursor:
        cursor.execute(warehouse.put("MAP<STRING, INT>", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))))
        layout = cursor.hand_off("copy", allocate=bytearray).layout
    type_text = "MAP<STRING, INT>"
    names = ("Spark:DataType:SqlName", "databricks.type_name", "databricks.type_text")
    key = {"name": "key", "format": "u", "nullable": False, "metadata": {}, "children": []}
    value = {"name": "value", "format": "i", "nullable": True, "metadata": {}, "children": []}
    entries = {"name": "entries", "format": "+s", "nullable": False, "metadata": {}, "children": [key, value]}
    metadata = dict(zip(names, (type_text, "MAP", type_text), strict=True))
    assert sorted(layout) == ["batches", "fields", "form", "schema", "version"]
    assert (layout["version"], layout["form"]) == (1, "buffers")
    assert layout["fields"] == [
        {"name": "v", "format": "+m", "nullable": True, "metadata": metadata, "children": [entries]}
    ]
    assert [(batch["row_count"], batch["byte_count"]) for batch in layout["batches"]] == [(1, 256)]


def test_the_letters_of_the_types_are_these(place: tuple[WireWarehouse, Connection]) -> None:
    found = {family.name: copied(place, family).layout["fields"][0]["format"] for family in FAMILIES}
    assert found == {
        "boolean": "b",
        "tinyint": "c",
        "smallint": "s",
        "int": "i",
        "bigint": "l",
        "float": "f",
        "double": "g",
        "decimal(38,0)": "d:38,0",
        "decimal(38,38)": "d:38,38",
        "decimal(10,2)": "d:10,2",
        "string": "u",
        "varchar": "u",
        "char": "u",
        "binary": "z",
        "date": "tdD",
        "timestamp": "tsu:Etc/UTC",
        "timestamp in a zone": "tsu:Europe/Zurich",
        "timestamp_ntz": "tsu:",
        "interval year-month": "tiM",
        "interval day-time": "tDu",
        "array": "+l",
        "array nested 8 deep": "+l",
        "map": "+m",
        "struct": "+s",
        "variant": "u",
        "object": "u",
        "geometry": "u",
        "geography": "u",
        "void": "n",
    }
