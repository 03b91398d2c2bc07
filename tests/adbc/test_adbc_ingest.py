"""Bulk ingest: modes, places, types, and what a failure leaves."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from adbc_driver_manager import dbapi

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse

ROWS = pa.table({"id": [1, 2, None], "text": ["a", None, "c'?:x"]})


def content(cursor: dbapi.Cursor, table: str) -> list[Any]:
    return cursor.execute(f"SELECT * FROM {table} ORDER BY 1 NULLS LAST").fetchall()


def test_modes(adbc_cursor: dbapi.Cursor, table: str) -> None:
    three = [(1, "a"), (2, None), (None, "c'?:x")]
    with pytest.raises(dbapi.ProgrammingError) as missing:
        adbc_cursor.adbc_ingest(table, ROWS, mode="append")
    assert missing.value.status_code.name == "NOT_FOUND"
    assert adbc_cursor.adbc_ingest(table, ROWS, mode="create") == 3
    assert content(adbc_cursor, table) == three
    with pytest.raises(dbapi.ProgrammingError) as there:
        adbc_cursor.adbc_ingest(table, ROWS, mode="create")
    assert there.value.status_code.name == "ALREADY_EXISTS"
    assert adbc_cursor.adbc_ingest(table, ROWS, mode="append") == 3
    assert len(content(adbc_cursor, table)) == 6
    assert adbc_cursor.adbc_ingest(table, ROWS.slice(0, 1), mode="replace") == 1
    assert content(adbc_cursor, table) == three[:1]
    assert adbc_cursor.adbc_ingest(table, ROWS.slice(1), mode="create_append") == 2
    assert content(adbc_cursor, table) == three
    adbc_cursor.execute(f"DROP TABLE {table}")
    assert adbc_cursor.adbc_ingest(table, ROWS.schema.empty_table(), mode="create_append") == 0
    assert content(adbc_cursor, table) == []


def test_a_stream_is_sent_in_batches(adbc_cursor: dbapi.Cursor, warehouse: LocalWarehouse, table: str) -> None:
    batches = [pa.record_batch({"a": range(start, start + 100), "b": ["x"] * 100}) for start in range(0, 1000, 100)]
    before = len(warehouse.requests())
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert adbc_cursor.adbc_ingest(table, reader, mode="create") == 1000
    operations = [entry["operation"] for entry in warehouse.requests()[before:]]
    # One to create, and rows only share statements within what the batches so far have.
    assert operations.count("execute") <= 1 + 10
    assert adbc_cursor.execute(f"SELECT count(*), sum(a) FROM {table}").fetchall() == [(1000, 499500)]


def test_places(adbc_cursor: dbapi.Cursor) -> None:
    adbc_cursor.execute("CREATE SCHEMA adbc_place")
    try:
        assert (
            adbc_cursor.adbc_ingest("adbc_there", ROWS, "create", catalog_name="main", db_schema_name="adbc_place") == 3
        )
        # What follows is not there because this was.
        assert adbc_cursor.adbc_ingest("adbc_here", ROWS, "create") == 3
        assert len(content(adbc_cursor, "main.adbc_place.adbc_there")) == 3
        assert len(content(adbc_cursor, "main.default.adbc_here")) == 3
        adbc_cursor.adbc_statement.set_options(**{"adbc.ingest.target_db_schema": "adbc_place"})
        adbc_cursor.execute("SELECT 1")
        assert adbc_cursor.adbc_ingest("adbc_here", ROWS, "append") == 3
        assert len(content(adbc_cursor, "main.default.adbc_here")) == 6
    finally:
        adbc_cursor.execute("DROP SCHEMA adbc_place CASCADE")
        adbc_cursor.execute("DROP TABLE IF EXISTS main.default.adbc_here")
    with pytest.raises(dbapi.NotSupportedError, match="temporary"):
        adbc_cursor.adbc_ingest("t", ROWS, "create", temporary=True)


def test_types(adbc_cursor: dbapi.Cursor, table: str) -> None:
    struct = pa.struct([("x", pa.int32()), ("y", pa.list_(pa.string()))])
    at = datetime(2024, 2, 29, 12, 30, 0, 5, tzinfo=timezone.utc)
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "b": (pa.bool_(), True),
        "i8": (pa.int8(), -1),
        "i16": (pa.int16(), 2),
        "i32": (pa.int32(), 3),
        "i64": (pa.int64(), 1 << 40),
        "u64": (pa.uint64(), (1 << 64) - 1),
        "f32": (pa.float32(), 0.5),
        "f64": (pa.float64(), 0.1),
        "dec": (pa.decimal128(20, 5), Decimal("-1.00001")),
        "s": (pa.large_string(), "text"),
        "bin": (pa.binary(), b"\x00\x01"),
        "d": (pa.date32(), date(1, 1, 1)),
        "ts": (pa.timestamp("us", "UTC"), at),
        "ntz": (pa.timestamp("us"), at.replace(tzinfo=None)),
        "l": (pa.list_(pa.int64()), [1, None]),
        "st": (struct, {"x": 1, "y": ["it's", None]}),
        "m": (pa.map_(pa.string(), pa.int32()), [("k", 1)]),
        "none": (pa.null(), None),
    }
    rows = pa.table({name: pa.array([value, None], data_type) for name, (data_type, value) in columns.items()})
    assert adbc_cursor.adbc_ingest(table, rows, mode="create") == 2
    got = adbc_cursor.execute(f"SELECT * FROM {table} ORDER BY i8 NULLS LAST").fetch_arrow_table()
    values = {name: value for name, (_, value) in columns.items()}
    assert got.to_pylist() == [values | {"u64": Decimal((1 << 64) - 1)}, dict.fromkeys(columns)]


def test_a_failure_says_how_far_it_came(adbc_cursor: dbapi.Cursor, table: str) -> None:
    adbc_cursor.execute(f"CREATE TABLE {table} (id TINYINT)")
    rows = pa.table({"id": [1] * 256 + [1000]})
    with pytest.raises(dbapi.Error, match="the first 256 of the bound rows were applied"):
        adbc_cursor.adbc_ingest(table, rows, mode="append")
    assert adbc_cursor.execute(f"SELECT count(*) FROM {table}").fetchall() == [(256,)]


def test_what_cannot_be_ingested(adbc_cursor: dbapi.Cursor) -> None:
    many = pa.table({f"c{number}": [1] for number in range(257)})
    with pytest.raises(dbapi.NotSupportedError, match="257 columns"):
        adbc_cursor.adbc_ingest("adbc_many", many, mode="create")
    statement = adbc_cursor.adbc_statement
    statement.set_options(**{"adbc.ingest.target_table": "adbc_nothing"})
    with pytest.raises(dbapi.ProgrammingError, match="no rows are bound"):
        statement.execute_update()
    with pytest.raises(dbapi.ProgrammingError, match=r"adbc\.ingest\.mode"):
        statement.set_options(**{"adbc.ingest.mode": "nonsense"})
