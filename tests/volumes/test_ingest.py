"""`Connection.ingest`: every type exactly or refused, every row or an error, and nothing left in the volume."""

from __future__ import annotations

import datetime as dt
import decimal
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from child_processes import PRELUDE, interrupted

import seakernel
import seakernel.ingest

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection, Cursor
    from seakernel.local import LocalWarehouse

VOLUME = "/Volumes/main/default/files"
UTC = dt.timezone.utc
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)  # noqa: DTZ001


@pytest.fixture
def cursor(connection: Connection) -> Cursor:
    return connection.cursor()


@pytest.fixture
def ingest(connection: Connection) -> Callable[..., int]:
    def call(data: Any, mode: Any = "create", table: str = "main.default.t") -> int:
        return connection.ingest(table, data, mode=mode, volume=VOLUME)

    return call


def left_behind(connection: Connection) -> list[str]:
    """The files in the volume; directories are nothing to an object store."""
    directories, files = [VOLUME], []
    while directories:
        for entry in connection.volume.list(directories.pop()):
            (directories if entry.is_directory else files).append(entry.path.removesuffix("/"))
    return files


def types(cursor: Cursor) -> list[str]:
    cursor.execute("SELECT * FROM main.default.t LIMIT 0")
    assert cursor._result is not None
    return [column.type_text for column in cursor._result.columns]


# Arrow type, values, SQL type, values read back where they differ.
FAMILIES: list[tuple[pa.DataType, list[Any], str, list[Any] | None]] = [
    (pa.bool_(), [True, False], "BOOLEAN", None),
    (pa.int8(), [-128, 127], "TINYINT", None),
    (pa.int16(), [-(2**15), 2**15 - 1], "SMALLINT", None),
    (pa.int32(), [-(2**31), 2**31 - 1], "INT", None),
    (pa.int64(), [-(2**63), 2**63 - 1], "BIGINT", None),
    (pa.uint8(), [0, 255], "SMALLINT", None),
    (pa.uint16(), [0, 2**16 - 1], "INT", None),
    (pa.uint32(), [0, 2**32 - 1], "BIGINT", None),
    (pa.uint64(), [0, 2**64 - 1], "DECIMAL(20,0)", None),
    (pa.float16(), [0.5, -2.0], "FLOAT", None),
    (pa.float32(), [0.5, float("inf")], "FLOAT", None),
    (pa.float64(), [0.1, -1e300], "DOUBLE", None),
    (pa.decimal128(38, 10), [decimal.Decimal("-1.0000000001"), decimal.Decimal(9) ** 20], "DECIMAL(38,10)", None),
    (pa.decimal256(10, 2), [decimal.Decimal("1.25")], "DECIMAL(10,2)", None),
    (pa.string(), ["", "é'\\\"`"], "STRING", None),
    (pa.large_string(), ["x"], "STRING", None),
    (pa.string_view(), ["x", "a text that is longer than twelve bytes"], "STRING", None),
    (pa.binary(), [b"", b"\x00\xff"], "BINARY", None),
    (pa.large_binary(), [b"x"], "BINARY", None),
    (pa.binary(3), [b"abc"], "BINARY", None),
    (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)], "DATE", None),
    (pa.date64(), [dt.date(2024, 2, 29)], "DATE", None),
    (pa.timestamp("s"), [MOMENT.replace(microsecond=0)], "TIMESTAMP_NTZ", None),
    (pa.timestamp("ms"), [MOMENT.replace(microsecond=123000)], "TIMESTAMP_NTZ", None),
    (pa.timestamp("us"), [MOMENT], "TIMESTAMP_NTZ", None),
    (pa.timestamp("ns"), [MOMENT], "TIMESTAMP_NTZ", None),
    (pa.timestamp("us", "UTC"), [MOMENT.replace(tzinfo=UTC)], "TIMESTAMP", None),
    (pa.timestamp("ns", "Europe/Berlin"), [MOMENT.replace(tzinfo=UTC)], "TIMESTAMP", None),
    (pa.dictionary(pa.int8(), pa.string()), ["x", "y", "x"], "STRING", None),
    (pa.list_(pa.int16()), [[1, None], []], "ARRAY<SMALLINT>", None),
    (pa.large_list(pa.uint8()), [[1]], "ARRAY<SMALLINT>", None),
    (pa.list_(pa.float64(), 2), [[1.0, 2.0]], "ARRAY<DOUBLE>", None),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["x"]], "ARRAY<STRING>", None),
    (pa.struct([("a b", pa.uint16()), ("c", pa.list_(pa.date32()))]), [{"a b": 1, "c": [dt.date(2024, 1, 1)]}], "", None),
    (pa.map_(pa.string(), pa.timestamp("us", "UTC")), [[("k", MOMENT.replace(tzinfo=UTC))]], "", [{"k": MOMENT.replace(tzinfo=UTC)}]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "sql_type", "expected"), FAMILIES, ids=[str(row[0]) for row in FAMILIES])
@pytest.mark.parametrize("mode", ["create", "replace", "append"])
def test_type_families(
    cursor: Cursor,
    ingest: Callable[..., int],
    kind: pa.DataType,
    values: list[Any],
    sql_type: str,
    expected: list[Any] | None,
    mode: str,
) -> None:
    values = [*values, None]
    array = pa.array(values, kind)
    table = pa.table({"n": pa.array(range(len(values)), pa.int32()), "v": array})
    if mode == "append":
        ingest(table.slice(0, 0))
    if mode == "replace":
        cursor.execute("CREATE TABLE main.default.t (x INT)")
    assert ingest(table, mode) == len(values)
    if sql_type:
        assert types(cursor)[1] == sql_type
    rows = cursor.execute("SELECT v FROM main.default.t ORDER BY n").fetchall()
    assert [row[0] for row in rows] == [*expected, None] if expected else values


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (pa.time64("us"), "time of day"),
        (pa.time32("s"), "time of day"),
        (pa.duration("us"), "cast it to an integer"),
        (pa.month_day_nano_interval(), "cast it"),
        (pa.null(), "the type that the column shall have"),
        (pa.decimal256(39, 0), "cast it"),
        (pa.decimal128(5, -2), "cast it"),
        (pa.decimal128(5, 6), "cast it"),
        (pa.list_(pa.time64("us")), "`v.element`"),
        (pa.struct([("inner", pa.duration("s"))]), "`v.inner`"),
        (pa.struct([]), "cast it"),
        (pa.run_end_encoded(pa.int32(), pa.string()), "decode it first"),
    ],
    ids=str,
)
def test_types_that_no_column_holds_are_refused_before_anything_is_sent(
    warehouse: LocalWarehouse, ingest: Callable[..., int], kind: pa.DataType, hint: str
) -> None:
    before = len(warehouse.requests())
    with pytest.raises(seakernel.NotSupportedError, match=hint):
        ingest(pa.schema([("v", kind)]).empty_table())
    assert len(warehouse.requests()) == before


def test_nanoseconds_that_would_be_lost_are_refused(connection: Connection, ingest: Callable[..., int]) -> None:
    data = pa.table({"v": pa.array([1_000, 1_700_000_000_000_000_001], pa.timestamp("ns"))})
    with pytest.raises(seakernel.DataError, match="column `v`") as raised:
        ingest(data)
    assert "1700000000" not in str(raised.value)
    assert raised.value.__cause__ is None
    with pytest.raises(seakernel.ProgrammingError, match="TABLE_OR_VIEW_NOT_FOUND"):
        connection.cursor().execute("SELECT * FROM main.default.t")
    assert left_behind(connection) == []


SOURCES: dict[str, Callable[[], Any]] = {
    "pyarrow table": lambda: pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}),
    "pyarrow batch": lambda: pa.record_batch({"a": [1, 2, 3], "b": ["x", None, "z"]}),
    "pyarrow reader": lambda: pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}).to_reader(1),
    "polars": lambda: pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
    "duckdb": lambda: duckdb.sql("SELECT * FROM (VALUES (1, 'x'), (2, NULL), (3, 'z')) t(a, b)"),
    "chunked": lambda: pa.table({"a": pa.chunked_array([[1], [2, 3]]), "b": pa.chunked_array([["x", None], ["z"]])}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_sources(connection: Connection, cursor: Cursor, ingest: Callable[..., int], source: str) -> None:
    assert ingest(SOURCES[source]()) == 3
    rows = [(1, "x"), (2, None), (3, "z")]
    assert cursor.execute("SELECT * FROM main.default.t ORDER BY a").fetchall() == rows
    # A cursor is a stream as well.
    with connection.cursor() as other:
        assert ingest(other.execute("SELECT a + 10 AS a, b FROM main.default.t"), "append") == 3
    assert cursor.execute("SELECT count(*), sum(a) FROM main.default.t").fetchall() == [(6, 42)]
    assert left_behind(connection) == []


def test_modes(connection: Connection, cursor: Cursor, ingest: Callable[..., int]) -> None:
    data = pa.table({"a": [1, 2]})
    with pytest.raises(seakernel.ProgrammingError, match="TABLE_OR_VIEW_NOT_FOUND"):
        ingest(data, "append")
    assert ingest(data, "create") == 2
    with pytest.raises(seakernel.ProgrammingError, match='exists; pass mode="append"'):
        ingest(data, "create")
    assert ingest(data, "append") == 2
    assert ingest(data, "append") == 2, "the same data is no duplicate to COPY INTO"
    assert cursor.execute("SELECT count(*) FROM main.default.t").fetchall() == [(6,)]
    assert ingest(pa.table({"other": ["x"]}), "replace") == 1
    assert cursor.execute("SELECT * FROM main.default.t").fetchall() == [("x",)]
    with pytest.raises(seakernel.ProgrammingError, match="has no column `a`"):
        ingest(data, "append")
    with pytest.raises(seakernel.ProgrammingError, match="`mode` is 'upsert'"):
        ingest(data, "upsert")
    assert left_behind(connection) == []


def test_append_matches_columns_by_name(cursor: Cursor, ingest: Callable[..., int]) -> None:
    cursor.execute("CREATE TABLE main.default.t (A BIGINT, b STRING, c INT) PARTITIONED BY (c)")
    assert ingest(pa.table({"c": pa.array([7], pa.int32()), "a": [1]}), "append") == 1
    assert cursor.execute("SELECT * FROM main.default.t").fetchall() == [(1, None, 7)]


@pytest.mark.parametrize("mode", ["create", "replace"])
def test_no_rows_make_an_empty_table(cursor: Cursor, ingest: Callable[..., int], mode: str) -> None:
    data = pa.schema([("a", pa.int32()), ("b", pa.list_(pa.string()))]).empty_table()
    assert ingest(data, mode) == 0
    assert types(cursor) == ["INT", "ARRAY<STRING>"]
    assert ingest(data, "append") == 0


@pytest.mark.parametrize("table", ["t", "default.t", "`main`.`default`.`t`", "main.default.t", "`main`.default.t"])
def test_names(connection: Connection, cursor: Cursor, table: str) -> None:
    assert connection.ingest(table, pa.table({"a": [1]}), mode="create", volume=VOLUME + "/sub folder") == 1
    assert cursor.execute("SELECT * FROM main.default.t").fetchall() == [(1,)]


def test_names_of_folders_with_quotes(connection: Connection, cursor: Cursor) -> None:
    folder = VOLUME + "/it's `one`"
    for mode in ("create", "append"):
        assert connection.ingest("main.default.t", pa.table({"a": [1]}), mode=mode, volume=folder) == 1  # type: ignore[arg-type]
    assert cursor.execute("SELECT * FROM main.default.t").fetchall() == [(1,), (1,)]
    assert left_behind(connection) == []


@pytest.mark.parametrize("table", ["", ".", "a.", ".a", "a..b", "a.b.c.d", "`a", "``", "a; DROP TABLE b`", " "])
def test_names_that_are_none(warehouse: LocalWarehouse, ingest: Callable[..., int], table: str) -> None:
    before = len(warehouse.requests())
    with pytest.raises(seakernel.ProgrammingError, match="is no name of a table"):
        ingest(pa.table({"a": [1]}), table=table)
    assert len(warehouse.requests()) == before


def test_names_are_never_sql(cursor: Cursor, ingest: Callable[..., int]) -> None:
    cursor.execute("CREATE TABLE main.default.kept (a INT)")
    column = "a`+1--"
    assert ingest(pa.table({column: [1]})) == 1
    cursor.execute("SELECT * FROM main.default.t")
    assert [name[0] for name in cursor.description or ()] == [column]
    assert cursor.execute("SELECT * FROM main.default.kept").fetchall() == []


@pytest.mark.parametrize("data", [{}, {"a": [1], "A": [2]}, {"": [1]}])
def test_columns_that_no_table_has(ingest: Callable[..., int], data: dict[str, list[int]]) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="column"):
        ingest(pa.table(data))


@pytest.mark.parametrize("volume", ["", "/tmp", "/Volumes/main/default", "/Volumes/main/default/files/../x"])
def test_volumes_that_are_none(warehouse: LocalWarehouse, connection: Connection, volume: str) -> None:
    before = len(warehouse.requests())
    with pytest.raises(seakernel.ProgrammingError, match="is not of the form"):
        connection.ingest("t", pa.table({"a": [1]}), volume=volume)
    assert len(warehouse.requests()) == before


def test_what_is_no_arrow_data_is_refused(ingest: Callable[..., int]) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="`list` is no Arrow data"):
        ingest([1, 2])


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seakernel.ingest, "_PART_BYTES", 100_000)
    monkeypatch.setattr(seakernel.ingest, "_ROW_GROUP_BYTES", 200_000)


def large(batches: int = 40) -> pa.RecordBatchReader:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])

    def make() -> Any:
        for number in range(batches):
            values = range(number * 10_000, (number + 1) * 10_000)
            yield pa.record_batch({"a": values, "b": [f"row {value * 7919 % 1000003}" for value in values]}, schema)

    return pa.RecordBatchReader.from_batches(schema, make())


@pytest.mark.usefixtures("small_parts")
def test_many_parts(
    warehouse: LocalWarehouse, connection: Connection, cursor: Cursor, ingest: Callable[..., int]
) -> None:
    assert ingest(large()) == 400_000
    parts = [request["path"] for request in warehouse.requests() if request["operation"] == "volume_put"]
    assert len(parts) > 10
    assert len(set(parts)) == len(parts)
    assert cursor.execute("SELECT count(*), count(DISTINCT a), sum(a) FROM main.default.t").fetchall() == [
        (400_000, 400_000, sum(range(400_000)))
    ]
    assert left_behind(connection) == []
    # One batch that is larger than a row group is divided.
    assert ingest(large().read_all().combine_chunks(), "append") == 400_000
    assert cursor.execute("SELECT count(*), count(DISTINCT a) FROM main.default.t").fetchall() == [(800_000, 400_000)]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("place", ["upload", "source", "statement"])
def test_a_failure_leaves_nothing_behind(
    warehouse: LocalWarehouse, connection: Connection, cursor: Cursor, ingest: Callable[..., int], place: str
) -> None:
    cursor.execute("CREATE TABLE main.default.t (a BIGINT, b STRING)")
    data: Any = large()
    if place == "upload":
        warehouse.faults([{"on": "volume_put", "after": 5, "times": "always", "do": {"status": {"code": 400}}}])
    if place == "source":
        schema, batches = data.schema, iter(data)

        def failing() -> Any:
            for number, batch in enumerate(batches):
                if number == 30:
                    raise ZeroDivisionError("source")
                yield batch

        data = pa.RecordBatchReader.from_batches(schema, failing())
    if place == "statement":
        fault = {"status": {"code": 400, "error_code": "BAD_REQUEST"}}
        warehouse.faults([{"on": "execute", "statement_contains": "COPY INTO", "do": fault}])
    expected = pa.ArrowException if place == "source" else seakernel.Error
    with pytest.raises((expected, ZeroDivisionError)):
        ingest(data, "append")
    warehouse.faults()
    assert left_behind(connection) == []
    assert cursor.execute("SELECT count(*) FROM main.default.t").fetchall() == [(0,)]


@pytest.mark.usefixtures("small_parts")
def test_the_clean_up_gives_up_at_the_first_file_where_the_server_is_away(
    warehouse: LocalWarehouse, connection: Connection, ingest: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    away = {"on": "execute", "statement_contains": "REMOVE", "times": "always", "do": {"status": {"code": 503}}}
    warehouse.faults([away])
    assert ingest(large(10)) == 100_000
    warehouse.faults()
    files = left_behind(connection)
    assert len(files) > 2
    sent = {request["body"]["statement"] for request in warehouse.requests() if "REMOVE" in str(request.get("body"))}
    assert len(sent) == 1
    assert caplog.text.count("stays in the volume") == 1
    assert f"those after it in {files[0].rpartition('/')[0]}" in caplog.text


def test_a_count_that_differs_is_data_loss(
    connection: Connection, ingest: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(pa.table({"a": [1]}))
    # A directory whose files were loaded before is skipped by COPY INTO without a word.
    monkeypatch.setattr("seakernel.ingest.uuid.uuid4", lambda: type("Uuid", (), {"hex": "same"}))
    assert ingest(pa.table({"a": [1, 2]}), "append") == 2
    with pytest.raises(seakernel.DataLossError, match=r"3 rows were sent .* added 0 rows") as raised:
        ingest(pa.table({"a": [1, 2, 3]}), "append")
    assert raised.value.statement_id is not None
    assert left_behind(connection) == []


def test_an_interrupt_leaves_nothing_behind(warehouse: LocalWarehouse, connection: Connection) -> None:
    warehouse.faults([{"on": "volume_put", "do": {"slow": {"bytes_per_second": 1_000_000}}, "times": "always"}])
    script = f"""
import os, pyarrow as pa
data = pa.table({{"a": [os.urandom(1_000_000) for _ in range(50)]}})
connection = seakernel.connect(host, path, token)
ready()
try:
    connection.ingest("main.default.t", data, mode="create", volume={VOLUME!r})
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    # The upload's own watch, and the deletions.
    assert seconds < 2
    assert left_behind(connection) == []


def test_an_interrupt_while_a_link_is_awaited_is_prompt(warehouse: LocalWarehouse, connection: Connection) -> None:
    warehouse.faults([{"on": "execute", "statement_contains": "PUT", "do": {"delay": {"ms": 10_000}}}])
    script = f"""
import pyarrow as pa
connection = seakernel.connect(host, path, token)
data = pa.table({{"a": [1, 2]}})
ready()
try:
    connection.ingest("main.default.t", data, mode="create", volume={VOLUME!r})
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < 2
    assert left_behind(connection) == []


def statements(warehouse: LocalWarehouse) -> list[str]:
    """The first words of the statements that were sent."""
    bodies = [request.get("body") for request in warehouse.requests() if request["operation"] == "execute"]
    return [body["statement"].split()[0] for body in bodies if isinstance(body, dict)]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_files_that_the_server_may_be_reading_are_kept_and_named(
    warehouse: LocalWarehouse,
    connection: Connection,
    ingest: Callable[..., int],
    caplog: pytest.LogCaptureFixture,
    mode: str,
) -> None:
    ingest(pa.table({"a": [1]}))
    word = "COPY INTO" if mode == "append" else "CREATE OR REPLACE"
    warehouse.faults([{"on": "execute", "statement_contains": word, "do": "drop_before_response"}])
    with pytest.raises(seakernel.OperationalError, match="may still be done, so the files in") as raised:
        ingest(pa.table({"a": [2, 3]}), mode)
    assert statements(warehouse)[-1] == word.split(maxsplit=1)[0], "no REMOVE follows"
    (file,) = left_behind(connection)
    directory = file.rpartition("/")[0]
    assert directory in str(raised.value)
    assert directory in caplog.text


def test_an_interrupt_while_the_table_is_loaded_keeps_the_files(
    warehouse: LocalWarehouse, connection: Connection, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    connection.cursor().execute("CREATE TABLE main.default.t (a BIGINT)")
    warehouse.faults([{"on": "execute", "statement_contains": "COPY INTO", "do": {"delay": {"ms": 3000}}}])
    script = f"""
import logging, pyarrow as pa
logging.basicConfig(stream=sys.stdout, format="%(message)s")
connection = seakernel.connect(host, path, token)
data = pa.table({{"a": [1, 2]}})
ready()
try:
    connection.ingest("main.default.t", data, volume={VOLUME!r})
except KeyboardInterrupt:
    print(flush=True)
"""
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    command = [sys.executable, "-c", PRELUDE + script, *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert eventually(lambda: "COPY" in statements(warehouse))
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    (file,) = left_behind(connection)
    assert f"the statement that loads {file.rpartition('/')[0]} may still run" in output
    assert "REMOVE" not in statements(warehouse)


def test_without_pyarrow_it_says_so(connection: Connection) -> None:
    script = """
import sys
sys.modules["pyarrow"] = None
import seakernel.ingest
class Data:
    def __arrow_c_stream__(self, requested_schema=None): ...
try:
    seakernel.ingest._reader(Data())
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install pyarrow" in done.stdout
