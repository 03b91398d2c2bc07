"""Statements: results as the cursor gives them, parameters of every type, schemas, limits, cancel, errors."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_manager import dbapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Cursor
    from seakernel.local import LocalWarehouse

TYPES = """
SELECT id, if(id % 3 = 0, NULL, 'row ' || id) AS text, CAST(id AS DECIMAL(12,2)) AS amount, timestamp_micros(id) AS at,
       CAST(timestamp_micros(id) AS TIMESTAMP_NTZ) AS local, date_add(DATE'2024-01-01', CAST(id % 9 AS INT)) AS day,
       INTERVAL '1 02:03:04.5' DAY TO SECOND AS span, INTERVAL '2-6' YEAR TO MONTH AS months, array(id) AS list,
       named_struct('a', id, 'b', 'x') AS pair, map('k', id) AS pairs, id % 2 = 0 AS even, CAST('ab' AS BINARY) AS bytes,
       CAST(id AS TINYINT) AS tiny, CAST(id AS FLOAT) AS f, CAST(id AS DOUBLE) AS d, NULL AS nothing
FROM range({rows})
"""
# Cancelled long before its end.
ENDLESS = "SELECT count(*) FROM range(10000000) a CROSS JOIN range(10000000) b WHERE a.id + b.id = -1"


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_results_are_those_of_the_cursor(adbc_cursor: dbapi.Cursor, cursor: Cursor, rows: int) -> None:
    statement = TYPES.format(rows=rows)
    ours = cursor.execute(statement).fetchall_arrow()
    theirs = adbc_cursor.execute(statement).fetch_arrow_table()
    assert theirs.schema.equals(ours.schema, check_metadata=True)
    assert theirs.equals(ours)


def test_many_chunks(chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    with opened(chunked).cursor() as cursor:
        table = cursor.execute("SELECT id FROM range(123456)").fetch_arrow_table()
        assert table["id"].to_pylist() == list(range(123456))
        # The same statement again.
        cursor.adbc_statement.set_sql_query("SELECT id FROM range(5)")
        for _ in range(2):
            handle, count = cursor.adbc_statement.execute_query()
            assert pa.RecordBatchReader._import_from_c(handle.address).read_all().num_rows == 5
            assert count == -1


VALUES: list[tuple[pa.DataType, Any, str, Any]] = [
    (pa.bool_(), True, "boolean", True),
    (pa.int8(), -8, "tinyint", -8),
    (pa.int16(), -16, "smallint", -16),
    (pa.int32(), -32, "int", -32),
    (pa.int64(), -(1 << 63), "bigint", -(1 << 63)),
    (pa.uint8(), 255, "smallint", 255),
    (pa.uint16(), 65535, "int", 65535),
    (pa.uint32(), (1 << 32) - 1, "bigint", (1 << 32) - 1),
    (pa.uint64(), (1 << 64) - 1, "decimal(20,0)", Decimal((1 << 64) - 1)),
    (pa.float16(), 1.5, "float", 1.5),
    (pa.float32(), 0.5, "float", 0.5),
    (pa.float64(), 0.1, "double", 0.1),
    (pa.float64(), 1e300, "double", 1e300),
    (pa.float64(), float("-inf"), "double", float("-inf")),
    (pa.decimal32(5, 2), Decimal("-1.25"), "decimal(5,2)", Decimal("-1.25")),
    (pa.decimal64(12, 3), Decimal("1.250"), "decimal(12,3)", Decimal("1.250")),
    (pa.decimal128(38, 10), Decimal("-1234567890.0123456789"), "decimal(38,10)", Decimal("-1234567890.0123456789")),
    (pa.decimal256(20, 4), Decimal("0.0001"), "decimal(20,4)", Decimal("0.0001")),
    (pa.string(), "it's ? :x", "string", "it's ? :x"),
    (pa.large_string(), "ä", "string", "ä"),
    (pa.string_view(), "", "string", ""),
    (pa.binary(), b"\x00\xff", "binary", b"\x00\xff"),
    (pa.large_binary(), b"x", "binary", b"x"),
    (pa.binary_view(), b"", "binary", b""),
    (pa.binary(2), b"ab", "binary", b"ab"),
    (pa.date32(), date(2024, 2, 29), "date", date(2024, 2, 29)),
    (pa.date64(), date(1969, 12, 31), "date", date(1969, 12, 31)),
    (
        pa.timestamp("s", "UTC"),
        datetime(2024, 1, 1, tzinfo=timezone.utc),
        "timestamp",
        datetime(2024, 1, 1, tzinfo=timezone.utc),
    ),
    (
        pa.timestamp("us", "Asia/Tokyo"),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        "timestamp",
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
    ),
    (pa.timestamp("ms"), datetime(2024, 1, 1, 1, 2, 3, 4000), "timestamp_ntz", datetime(2024, 1, 1, 1, 2, 3, 4000)),  # noqa: DTZ001
    (pa.timestamp("ns"), datetime(2024, 1, 1, 1, 2, 3, 4), "timestamp_ntz", datetime(2024, 1, 1, 1, 2, 3, 4)),  # noqa: DTZ001
    (
        pa.duration("us"),
        timedelta(days=-1, microseconds=1),
        "interval day to second",
        timedelta(days=-1, microseconds=1),
    ),
    (pa.dictionary(pa.int8(), pa.string()), "word", "string", "word"),
]


@pytest.mark.parametrize(("data_type", "value", "sql_type", "expected"), VALUES, ids=lambda value: str(value)[:20])
def test_parameters_have_the_types_of_their_columns(
    adbc_cursor: dbapi.Cursor, data_type: pa.DataType, value: Any, sql_type: str, expected: Any
) -> None:
    rows = pa.table({"x": pa.array([value, None], data_type)})
    got = adbc_cursor.execute(
        "SELECT typeof(?) AS t, ? AS v", pa.table({"t": rows["x"], "v": rows["x"]})
    ).fetch_arrow_table()
    assert got["t"].to_pylist() == [sql_type] * 2
    assert got["v"].to_pylist() == [expected, None]


def test_nested_parameters(adbc_cursor: dbapi.Cursor) -> None:
    nested = pa.struct([("a", pa.int32()), ("b b", pa.list_(pa.string())), ("m", pa.map_(pa.string(), pa.float64()))])
    value = {"a": 1, "b b": ["x", None, "it's"], "m": [("k", 0.5)]}
    rows = pa.table({"x": pa.array([value, None], nested)})
    got = adbc_cursor.execute("SELECT ? AS v", rows).fetch_arrow_table()["v"].to_pylist()
    assert got == [value, None]


def test_untyped_nulls(adbc_cursor: dbapi.Cursor) -> None:
    assert adbc_cursor.execute("SELECT ? IS NULL, ? AS n", [None, None]).fetchall() == [(True, None)]


def test_what_no_parameter_can_be(adbc_cursor: dbapi.Cursor) -> None:
    for array, text in [
        (pa.array([1], pa.time64("us")), "Time64"),
        (pa.array([None], pa.month_day_nano_interval()), "Interval"),
        (pa.array([[1]], pa.list_(pa.timestamp("us", "UTC"))), "List"),
        (pa.array([1], pa.decimal256(60, 0)), "Decimal256"),
    ]:
        with pytest.raises(dbapi.NotSupportedError, match=text):
            adbc_cursor.execute("SELECT ?", pa.table({"x": array}))
    with pytest.raises(dbapi.DataError, match="nanoseconds"):
        adbc_cursor.execute("SELECT ?", pa.table({"x": pa.array([1], pa.timestamp("ns"))}))
    time = pa.timestamp("ns")
    for data_type, value in [
        (pa.list_(time), lambda at: [None, at]),
        (pa.struct([("a", time), ("b", pa.large_list(time))]), lambda at: {"a": 1000, "b": [at]}),
        (pa.map_(pa.string(), time), lambda at: [("k", at)]),
    ]:
        with pytest.raises(dbapi.DataError, match="nanoseconds"):
            adbc_cursor.execute("SELECT ? AS x", pa.table({"x": pa.array([None, value(1)], data_type)})).fetchall()
        # Whole microseconds are sent; it is the local warehouse that reads no times in JSON.
        with pytest.raises(dbapi.NotSupportedError, match="local warehouse"):
            adbc_cursor.execute("SELECT ? AS x", pa.table({"x": pa.array([value(1000)], data_type)}))


def test_a_query_runs_once_for_each_row(adbc_cursor: dbapi.Cursor) -> None:
    rows = pa.table({"n": pa.chunked_array([[1, 2], [], [3]], pa.int64())})
    assert adbc_cursor.execute("SELECT id, ? AS n FROM range(2)", rows).fetchall() == [
        (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3),
    ]  # fmt: skip
    # Consumed: what is executed next has no parameters.
    assert adbc_cursor.execute("SELECT 1 AS one").fetchall() == [(1,)]
    with pytest.raises(dbapi.ProgrammingError, match="one row"):
        adbc_cursor.execute("SELECT ? AS n", pa.table({"n": pa.array([], pa.int64())}))


def test_rows_come_as_a_stream(adbc_cursor: dbapi.Cursor) -> None:
    taken = []

    def batches() -> Any:
        for number in range(3):
            taken.append(number)
            yield pa.record_batch({"n": [number]})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), batches())
    adbc_cursor.execute("SELECT ? AS n", reader)
    assert len(taken) < 3
    assert adbc_cursor.fetchall() == [(0,), (1,), (2,)]


def test_a_stream_of_parameters_that_fails(adbc_cursor: dbapi.Cursor) -> None:
    def batches() -> Any:
        yield pa.record_batch({"n": [1]})
        raise ValueError("broken source")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), batches())
    adbc_cursor.execute("SELECT ? AS n", reader)
    with pytest.raises(dbapi.Error, match="broken source"):
        adbc_cursor.fetchall()


def test_rows_that_are_null_are_refused(adbc_cursor: dbapi.Cursor) -> None:
    null_rows = pa.array([{"n": 1}, None], pa.struct([("n", pa.int64())]))
    schema, values = null_rows.__arrow_c_array__()
    statement = adbc_cursor.adbc_statement
    statement.set_sql_query("SELECT ? AS n")
    with pytest.raises(dbapi.ProgrammingError, match="null as a whole"):
        statement.bind(values, schema)
    # The driver goes on.
    assert adbc_cursor.execute("SELECT ? AS n", [7]).fetchall() == [(7,)]


def test_names_are_matched(adbc_cursor: dbapi.Cursor) -> None:
    assert adbc_cursor.execute("SELECT :b AS b, :a AS a, :b AS c", {"a": 1, "b": "x"}).fetchall() == [("x", 1, "x")]
    assert adbc_cursor.execute("SELECT :n AS n", pa.table({"n": [1, 2]})).fetchall() == [(1,), (2,)]
    with pytest.raises(dbapi.ProgrammingError, match=":missing"):
        adbc_cursor.execute("SELECT :missing", {"a": 1})
    with pytest.raises(dbapi.ProgrammingError, match="2 `\\?` markers"):
        adbc_cursor.execute("SELECT ?, ?", [1])


def test_updates_count_their_rows(adbc_cursor: dbapi.Cursor, warehouse: LocalWarehouse, table: str) -> None:
    adbc_cursor.execute(f"CREATE TABLE {table} (a BIGINT, b STRING)")
    before = len(warehouse.requests())
    adbc_cursor.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(number, str(number)) for number in range(300)])
    assert adbc_cursor.rowcount == 300
    sent = [entry["operation"] for entry in warehouse.requests()[before:]].count("execute")
    assert sent == 3  # 128 rows of two parameters fit into one
    rows = pa.table({"b": ["x", "y"], "a": [1, 2]})
    adbc_cursor.executemany(f"INSERT INTO {table} (a, b) VALUES (:a, concat(:b, '!'))", rows)
    assert adbc_cursor.rowcount == 2
    adbc_cursor.executemany(f"UPDATE {table} SET b = ? WHERE a < ?", [("z", 10)])
    assert adbc_cursor.rowcount == 12
    adbc_cursor.executemany(f"DELETE FROM {table} WHERE a = ?", pa.table({"a": pa.array([], pa.int64())}))
    assert adbc_cursor.rowcount == 0
    assert adbc_cursor.execute(f"SELECT count(*), sum(a) FROM {table}").fetchall() == [(302, 44853)]


def test_changes_with_a_stream_are_made_at_once(adbc_cursor: dbapi.Cursor, table: str) -> None:
    adbc_cursor.execute(f"CREATE TABLE {table} (a BIGINT)")
    # Nobody reads the stream.
    adbc_cursor.execute(f"INSERT INTO {table} VALUES (?)", pa.table({"a": [1, 2, 3]}))
    assert adbc_cursor.execute(f"SELECT sum(a) FROM {table}").fetchall() == [(6,)]
    adbc_cursor.execute(f"UPDATE {table} SET a = a + 10 WHERE a = :n", pa.table({"n": [1, 2]}))
    assert adbc_cursor.fetch_arrow_table().to_pylist() == [{"num_affected_rows": 2}]
    assert adbc_cursor.execute(f"SELECT sum(a) FROM {table}").fetchall() == [(26,)]
    with pytest.raises(dbapi.Error, match="the first 2 of the bound rows were applied"):
        adbc_cursor.execute(f"INSERT INTO {table} SELECT CAST(? AS BIGINT)", pa.table({"a": ["1", "2", "x"]}))


def test_a_failure_tells_what_was_applied(adbc_cursor: dbapi.Cursor, table: str) -> None:
    adbc_cursor.execute(f"CREATE TABLE {table} (a BIGINT)")
    rows = pa.table({"a": ["1", "2", "x"]})
    with pytest.raises(dbapi.Error, match="the first 2 of the bound rows were applied"):
        adbc_cursor.executemany(f"INSERT INTO {table} SELECT CAST(? AS BIGINT)", rows)
    assert adbc_cursor.execute(f"SELECT count(*) FROM {table}").fetchall() == [(2,)]


def test_schemas_without_execution(adbc_cursor: dbapi.Cursor, warehouse: LocalWarehouse) -> None:
    statement = TYPES.format(rows=3) + " -- the end"
    told = adbc_cursor.adbc_execute_schema(statement + "\n;")
    assert told.equals(adbc_cursor.execute(statement).fetch_arrow_table().schema, check_metadata=True)
    assert adbc_cursor.adbc_execute_schema("SELECT ? AS n", [1]).names == ["n"]
    with pytest.raises(dbapi.ProgrammingError, match="only queries have a schema"):
        adbc_cursor.adbc_execute_schema("INSERT INTO nowhere VALUES (1)")


def test_schemas_of_parameters(adbc_cursor: dbapi.Cursor) -> None:
    assert adbc_cursor.adbc_prepare("SELECT ?, '?', ?") == pa.schema([("0", pa.null()), ("1", pa.null())])
    assert adbc_cursor.adbc_prepare("SELECT :b, :a, :b") == pa.schema([("b", pa.null()), ("a", pa.null())])
    assert adbc_cursor.adbc_prepare("SELECT 1") == pa.schema([])
    assert adbc_cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_limits(warehouse: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    connection = opened(warehouse, **{"databricks.query.max_rows": "7", "databricks.query.timeout": "1m"})
    with connection.cursor() as cursor:
        assert len(cursor.execute("SELECT id FROM range(100)").fetchall()) == 7
        assert cursor.adbc_statement.get_option("databricks.query.timeout") == "60000ms"
        cursor.adbc_statement.set_options(**{"databricks.query.max_rows": "3"})
        assert cursor.adbc_statement.get_option_int("databricks.query.max_rows") == 3
        assert len(cursor.execute("SELECT id FROM range(100)").fetchall()) == 3


def test_a_time_limit(adbc_cursor: dbapi.Cursor) -> None:
    adbc_cursor.adbc_statement.set_options(**{"adbc.apache.statement.query_timeout_s": "1"})
    with pytest.raises(dbapi.OperationalError) as raised:
        adbc_cursor.execute(ENDLESS)
    assert (raised.value.status_code, raised.value.sqlstate) == (adbc_driver_manager.AdbcStatusCode.TIMEOUT, "HYT00")


def test_cancel_ends_execute(
    warehouse: LocalWarehouse, opened: Callable[..., dbapi.Connection], eventually: Any
) -> None:
    with opened(warehouse).cursor() as cursor:
        before = [entry["operation"] for entry in warehouse.requests()].count("cancel")
        raised: list[dbapi.Error] = []

        def execute() -> None:
            with pytest.raises(dbapi.OperationalError) as error:
                cursor.execute(ENDLESS)
            raised.append(error.value)

        thread = threading.Thread(target=execute)
        thread.start()

        def cancelled() -> bool:
            try:
                cursor.adbc_cancel()
            except dbapi.ProgrammingError as error:  # it has not begun, or is over
                assert "nothing is being executed" in str(error)  # noqa: PT017
            return not thread.is_alive()

        assert eventually(cancelled)
        thread.join()
        assert raised[0].status_code == adbc_driver_manager.AdbcStatusCode.CANCELLED
        assert raised[0].sqlstate == "57014"
        assert eventually(lambda: [entry["operation"] for entry in warehouse.requests()].count("cancel") > before)
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_cancel_ends_reading(opened: Callable[..., dbapi.Connection], chunked: LocalWarehouse, eventually: Any) -> None:
    chunked.faults([{"on": "download", "chunk_index": 3, "times": "always", "do": {"delay": {"ms": 60_000}}}])
    try:
        with opened(chunked).cursor() as cursor:
            cursor.execute("SELECT id FROM range(10000)")
            raised: list[dbapi.Error] = []

            def read() -> None:
                with pytest.raises(dbapi.OperationalError) as error:
                    cursor.fetchall()
                raised.append(error.value)

            thread = threading.Thread(target=read)
            thread.start()

            def cancelled() -> bool:
                try:
                    cursor.adbc_cancel()
                except dbapi.ProgrammingError as error:
                    assert "nothing is being executed" in str(error)  # noqa: PT017
                return not thread.is_alive()

            assert eventually(cancelled)
            thread.join()
            assert raised[0].status_code == adbc_driver_manager.AdbcStatusCode.CANCELLED
    finally:
        chunked.faults()


def test_nothing_to_cancel(adbc_cursor: dbapi.Cursor) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="nothing is being executed") as raised:
        adbc_cursor.adbc_cancel()
    assert raised.value.status_code == adbc_driver_manager.AdbcStatusCode.INVALID_STATE


@pytest.mark.parametrize(
    ("statement", "error", "status", "sql_state"),
    [
        ("SELECT * FROM nowhere", dbapi.ProgrammingError, "NOT_FOUND", "42P01"),
        ("SELEC", dbapi.ProgrammingError, "INVALID_ARGUMENT", "42601"),
        ("SELECT 1/0", dbapi.DataError, "INVALID_DATA", "22012"),
        ("CREATE SCHEMA default", dbapi.ProgrammingError, "ALREADY_EXISTS", "42P06"),
        ("SELECT CAST('x' AS INT)", dbapi.DataError, "INVALID_DATA", "22018"),
    ],
)
def test_errors_have_status_and_sqlstate(
    adbc_cursor: dbapi.Cursor, statement: str, error: type[Exception], status: str, sql_state: str
) -> None:
    with pytest.raises(dbapi.Error) as raised:
        adbc_cursor.execute(statement)
    failure: Any = raised.value
    assert (failure.status_code.name, failure.sqlstate) == (status, sql_state)
    assert isinstance(failure, error)
    details = dict(failure.details)
    assert details[b"databricks.error_kind"] == b"Sql"
    assert details[b"databricks.statement_id"].decode() in str(failure)
    assert details[b"databricks.retryable"] == b"false"


def test_errors_of_streams_have_them_too(chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    chunked.faults([{"on": "download", "chunk_index": 5, "times": "always", "do": {"status": {"code": 404}}}])
    try:
        with opened(chunked).cursor() as cursor:
            cursor.execute("SELECT id FROM range(10000)")
            with pytest.raises(dbapi.Error, match="chunk 5") as raised:
                cursor.fetch_arrow_table()
            failure: Any = raised.value
            details = dict(failure.details)
            assert details[b"databricks.http_status"] == b"404"
            assert details[b"databricks.statement_id"].decode() in str(failure)
            assert "X-Amz" not in str(failure)
            # The rows so far are not all: whoever reads on is told again.
            reader = cursor.execute("SELECT id FROM range(10000)").fetch_record_batch()
            for _ in range(2):
                with pytest.raises((dbapi.Error, OSError), match="chunk 5"):
                    reader.read_all()
    finally:
        chunked.faults()


def test_what_the_driver_does_not_do(adbc_cursor: dbapi.Cursor) -> None:
    statement = adbc_cursor.adbc_statement
    with pytest.raises(dbapi.NotSupportedError, match="Substrait"):
        adbc_cursor.execute(b"plan")
    for name, text in [("adbc.statement.exec.incremental", "incremental"), ("adbc.ingest.temporary", "temporary")]:
        statement.set_options(**{name: "false"})
        with pytest.raises(dbapi.NotSupportedError, match=text):
            statement.set_options(**{name: "true"})
    with pytest.raises(dbapi.NotSupportedError, match="`nonsense`"):
        statement.set_options(nonsense="x")
    adbc_cursor.execute("CREATE VOLUME main.default.adbc_files")
    with pytest.raises(dbapi.NotSupportedError, match="transfer of files"):
        adbc_cursor.execute("PUT '/etc/hostname' INTO '/Volumes/main/default/adbc_files/x'")
    adbc_cursor.execute("DROP VOLUME main.default.adbc_files")


def test_the_statement_id_can_be_read(adbc_cursor: dbapi.Cursor, warehouse: LocalWarehouse, table: str) -> None:
    adbc_cursor.execute("SELECT 1")
    statement_id = adbc_cursor.adbc_statement.get_option("databricks.statement_id")
    assert statement_id in {entry["statement_id"] for entry in warehouse.requests()}
    adbc_cursor.execute(f"CREATE TABLE {table} (a BIGINT)")
    rows = pa.table({"a": [1, 2]})
    for change in (
        lambda: adbc_cursor.executemany(f"INSERT INTO {table} VALUES (?)", rows),
        lambda: adbc_cursor.adbc_ingest(table, rows, "append"),
    ):
        change()
        sent = [entry["statement_id"] for entry in warehouse.requests() if entry["operation"] == "execute"]
        assert adbc_cursor.adbc_statement.get_option("databricks.statement_id") == sent[-1]
    with pytest.raises(dbapi.Error):
        adbc_cursor.execute("SELECT nonsense FROM nowhere")
    with pytest.raises(dbapi.Error, match="not set"):
        adbc_cursor.adbc_statement.get_option("databricks.statement_id")


def test_limits_of_a_connection_can_be_read(adbc: dbapi.Connection) -> None:
    low = adbc.adbc_connection
    with pytest.raises(dbapi.Error, match="not set"):
        low.get_option("databricks.query.timeout")
    low.set_options(**{"databricks.query.timeout": "90s"})
    assert low.get_option("databricks.query.timeout") == "90000ms"
