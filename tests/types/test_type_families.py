"""Every type family by every way to read it: what arrives is what was stored, and the schema does not depend on the rows."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from type_families import BY_NAME, FAMILIES, Family
from wire_warehouse import RewritingProxy, WireWarehouse, as_json_array

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel import Connection, Cursor

CHUNK_ROWS, BATCH_ROWS, ROWS = 4, 3, 11
SHAPES = ("values and nulls", "one row", "all null", "empty", "several batches")
INTERVALS_AND_NESTED = (
    "interval year-month",
    "interval day-time",
    "array",
    "array nested 8 deep",
    "map",
    "struct",
)


def shaped(family: Family, shape: str) -> tuple[pa.Array, list[Any]]:
    """A column of that shape and the rows it stands for."""
    values = [*range(len(family.column)), None]
    places = {
        "values and nulls": values,
        "one row": [0],
        "all null": [None] * 3,
        "empty": [],
        "several batches": list(itertools.islice(itertools.cycle(values), ROWS)),
    }[shape]
    rows = [None if place is None else family.rows[place] for place in places]
    return family.column.take(pa.array(places, pa.int64())), rows


def comparable(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """The values, so that NaN equals itself and -0.0 does not equal 0.0."""
    if str(column.type) == "month_interval":
        # pyarrow has no Python objects for them, only a text.
        return [
            {"null": "None"}.get(text, text[:-1])
            for text in re.findall(r"null|-?\d+M", column.to_string(window=100, container_window=100))
        ]
    return [repr(value) for value in column.to_pylist()]


def stored(column: pa.Array) -> list[str]:
    """The values of a column as they were given to the warehouse."""
    if pa.types.is_interval(column.type):
        return [repr(value if value is None else value[0]) for value in column.to_pylist()]
    return comparable(column)


def check_schema(schema: pa.Schema, family: Family) -> None:
    """Checks type, nullability and metadata."""
    (field,) = schema
    expected = {
        "databricks.type_name": family.type_name,
        "databricks.type_text": family.type_text,
        "Spark:DataType:SqlName": family.type_text,
        **dict(family.metadata),
    }
    assert (field.name, field.nullable) == ("v", True)
    assert {key.decode(): text.decode() for key, text in field.metadata.items()} == expected
    if family.name == "interval year-month":
        # pyarrow knows the type by name only.
        assert str(field.type) == "month_interval"
    else:
        assert field.type == family.column.type
    assert schema.metadata is None


def by_table(cursor: Cursor) -> pa.Table:
    return cursor.fetchall_arrow()


def by_batches(cursor: Cursor) -> pa.Table:
    reader = cursor.fetch_record_batch()
    batches = list(reader)
    assert all(batch.schema.equals(reader.schema, check_metadata=True) for batch in batches)
    assert all(batch.num_rows > 0 for batch in batches)
    return pa.Table.from_batches(batches, reader.schema)


def by_capsule(cursor: Cursor) -> pa.Table:
    return pa.table(cursor)


def by_ipc(cursor: Cursor) -> pa.Table:
    sink = pa.BufferOutputStream()
    reader = pa.RecordBatchReader.from_stream(cursor)
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    with pa.ipc.open_stream(sink.getvalue()) as stream:
        return stream.read_all()


WAYS = [by_table, by_batches, by_capsule, by_ipc]


@pytest.fixture(scope="module", params=["inline", "inline in pieces", "links"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[WireWarehouse, Connection]]:
    options = {"inline_bytes": 0} if request.param == "links" else {}
    with WireWarehouse(chunk_rows=CHUNK_ROWS, batch_rows=BATCH_ROWS, **options) as warehouse:
        if request.param == "inline in pieces":
            warehouse.switches(inline_chunks=2, empty_result="schema_only")
        with warehouse.connect() as connection:
            yield warehouse, connection


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_arrives_is_what_was_stored(place: tuple[WireWarehouse, Connection], family: Family, shape: str) -> None:
    warehouse, connection = place
    column, rows = shaped(family, shape)
    statement = warehouse.put(family.type_text, column)
    with connection.cursor() as cursor:
        if "zone" in family.name:
            # Where no row tells the zone it is that of the session's last timestamps.
            cursor.execute(warehouse.put(family.type_text, family.column)).fetchall()
        for way in WAYS:
            table = way(cursor.execute(statement))
            check_schema(table.schema, family)
            assert comparable(table.column(0)) == stored(column), way.__name__
        cursor.execute(statement)
        check_schema(pa.schema(cursor), family)
        assert [repr(tuple(row)) for row in cursor.fetchall()] == [repr((row,)) for row in rows]
        assert cursor.execute(statement).rowcount == len(rows)


def test_several_batches_and_files_are_what_they_say(place: tuple[WireWarehouse, Connection]) -> None:
    warehouse, connection = place
    column, _ = shaped(BY_NAME["array"], "several batches")
    with connection.cursor() as cursor:
        batches = list(cursor.execute(warehouse.put("ARRAY<INT>", column)).fetch_record_batch())
        assert cursor.statistics is not None
        downloads = cursor.statistics.download_requests
    assert len(batches) > 3
    assert downloads in (0, -(-ROWS // CHUNK_ROWS))


@pytest.fixture(scope="module")
def json_place() -> Iterator[tuple[WireWarehouse, Connection]]:
    with (
        WireWarehouse() as warehouse,
        RewritingProxy(warehouse, request=as_json_array) as proxy,
        proxy.connect() as connection,
    ):
        yield warehouse, connection


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_json_rows_are_the_same(json_place: tuple[WireWarehouse, Connection], family: Family, shape: str) -> None:
    warehouse, connection = json_place
    if "zone" in family.name:
        pytest.skip("the text of an instant names no zone")
    column, rows = shaped(family, shape)
    with connection.cursor() as cursor:
        cursor_of = lambda: cursor.execute(warehouse.put(family.type_text, column))  # noqa: E731
        if family.name in INTERVALS_AND_NESTED and rows:
            with pytest.raises(seakernel.OperationalError, match="no documented form"):
                cursor_of()
            return
        table = cursor_of().fetchall_arrow()
        check_schema(table.schema, family)
        assert comparable(table.column(0)) == stored(column)
        assert [repr(tuple(row)) for row in cursor_of().fetchall()] == [repr((row,)) for row in rows]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.sql], ids=lambda family: family.name)
def test_sql_makes_the_same_values(cursor: Cursor, family: Family) -> None:
    """The families that the SQL of the local warehouse has, by their expressions."""
    for place, expression in enumerate(family.sql):
        table = cursor.execute(f"SELECT {expression} AS v").fetchall_arrow()
        if family.name != "array nested 8 deep" or place == 0:
            check_schema(table.schema, family)
        assert comparable(table.column(0)) == stored(family.column.slice(place, 1)), expression
        assert [repr(tuple(row)) for row in cursor.execute(f"SELECT {expression} AS v")] == [
            repr((family.rows[place],))
        ]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.sql], ids=lambda family: family.name)
def test_sql_without_rows_has_the_same_schema(cursor: Cursor, family: Family) -> None:
    expression = family.sql[0]
    for clause in ("WHERE id < 0", "LIMIT 0"):
        cursor.execute(f"SELECT {expression} AS v FROM range(3) {clause}")
        check_schema(pa.schema(cursor), family)
        assert cursor.fetchall() == []


def test_char_and_varchar_columns_are_read_as_strings(cursor: Cursor) -> None:
    """As in Spark: the declared types of a table check what is written and pad it, and queries see STRING."""
    cursor.execute("CREATE OR REPLACE TABLE main.default.texts (c CHAR(3), v VARCHAR(5))")
    cursor.execute("INSERT INTO main.default.texts VALUES ('ab', '🦭'), (NULL, NULL)")
    for clause, rows in (("", [("ab ", "🦭"), (None, None)]), ("WHERE c = 'x'", [])):
        table = cursor.execute(f"SELECT * FROM main.default.texts {clause}").fetchall_arrow()
        assert [field.metadata[b"databricks.type_text"] for field in table.schema] == [b"STRING", b"STRING"]
        assert [tuple(row.values()) for row in table.to_pylist()] == rows


@pytest.mark.parametrize(
    "expression",
    ["CAST(NULL AS GEOMETRY(4326))", "CAST(NULL AS GEOGRAPHY(4326))", "CAST(NULL AS OBJECT)", "st_point(1, 2)"],
)
def test_sql_of_types_that_the_local_warehouse_lacks_is_refused(cursor: Cursor, expression: str) -> None:
    with pytest.raises(seakernel.NotSupportedError, match="not in the local warehouse"):
        cursor.execute(f"SELECT {expression}")


def test_an_empty_result_is_in_the_time_zone_that_the_session_was_opened_with() -> None:
    columns = "ARRAY<TIMESTAMP>", pa.array([], pa.list_(pa.timestamp("us", "UTC")))
    for configuration, zone in (({}, "Etc/UTC"), ({"timezone": "Asia/Tokyo"}, "Asia/Tokyo")):
        with (
            WireWarehouse() as warehouse,
            warehouse.connect(session_configuration=configuration) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(warehouse.put(*columns))
            assert pa.schema(cursor).field(0).type.value_type.tz == zone


def test_instants_within_others_are_in_the_zone_that_was_set(cursor: Cursor) -> None:
    moment = "TIMESTAMP'2024-07-01 12:00:00Z'"
    for zone in ("Asia/Tokyo", "Etc/UTC"):
        cursor.execute(f"SET TIME ZONE '{zone}'")
        for expression in (moment, f"array({moment})", f"map('at', {moment})", f"named_struct('at', array({moment}))"):
            # Without rows the zone is that of the latest result, which a setting may have overtaken.
            (field,) = pa.schema(cursor.execute(f"SELECT {expression} AS v"))
            assert f"tz={zone}" in str(field.type), expression


def alike(value: Any, row: Any) -> bool:
    """Whether a reader that turns lists into numpy arrays shows the same."""
    if isinstance(row, list):
        return len(value) == len(row) and all(map(alike, value, row))
    if isinstance(row, dict):
        return list(value) == list(row) and all(alike(value[name], row[name]) for name in row)
    return value is None or math.isnan(value) if row is None else value == row


def consumers() -> list[Callable[[Any], Any]]:
    """Other readers of Arrow streams, each as rows."""
    import duckdb

    def by_pandas(cursor: Cursor) -> Any:
        return cursor.fetchall_arrow().to_pandas()["v"].tolist()

    def by_duckdb(cursor: Cursor) -> Any:
        stream = cursor.fetch_record_batch()
        assert stream is not None
        return [row[0] for row in duckdb.sql("SELECT v FROM stream").fetchall()]

    return [by_pandas, by_duckdb]


@pytest.mark.parametrize(
    "name", ["bigint", "string", "decimal(10,2)", "date", "array", "struct", "variant", "geometry"]
)
def test_field_metadata_disturbs_no_consumer(place: tuple[WireWarehouse, Connection], name: str) -> None:
    warehouse, connection = place
    family = BY_NAME[name]
    for consume in consumers():
        with connection.cursor() as cursor:
            read = consume(cursor.execute(warehouse.put(family.type_text, family.column)))
        assert len(read) == len(family.rows)
        for value, row in zip(read, family.rows, strict=True):
            assert alike(value, row)
