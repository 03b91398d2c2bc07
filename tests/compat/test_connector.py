"""databricks-sql-connector 4.9.0, unmodified, with `use_kernel=True`: the same tests on the original and on ours."""

from __future__ import annotations

import datetime as dt
import decimal
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from databricks import sql as connector
from databricks.sql.backend.types import CommandState
from databricks.sql.parameters import native
from kernels import KERNELS, kernel_in_place

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    with kernel_in_place(request.param):
        yield request.param


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    with LocalWarehouse() as warehouse:
        yield warehouse


@pytest.fixture
def connect(kernel: str, warehouse: LocalWarehouse) -> Iterator[Callable[..., Any]]:
    opened = []

    def connect(**options: Any) -> Any:
        place = {
            "server_hostname": warehouse.server_hostname,
            "http_path": warehouse.http_path,
            "access_token": warehouse.access_token,
            "use_kernel": True,
            "enable_telemetry": False,
        }
        connection = connector.connect(**{**place, **options})
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def cursor(connect: Callable[..., Any]) -> Any:
    return connect().cursor()


@pytest.fixture
def only_ours(kernel: str, request: pytest.FixtureRequest) -> None:
    """Marks what the original is measured to fail at."""
    if kernel == "official":
        request.applymarker(pytest.mark.xfail(strict=True, reason="a fault of the original"))


def bodies(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request["body"] for request in warehouse.requests() if request["operation"] == operation]


def last(warehouse: LocalWarehouse, operation: str) -> dict[str, Any]:
    return [request for request in warehouse.requests() if request["operation"] == operation][-1]


def until_done(cursor: Any) -> None:
    deadline = time.monotonic() + 20
    while cursor.is_query_pending():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_select_one(cursor: Any) -> None:
    cursor.execute("SELECT 1 AS one, 'x' AS word")
    assert [column[:2] for column in cursor.description] == [("one", "int"), ("word", "string")]
    assert cursor.fetchone() == (1, "x")
    assert cursor.fetchone() is None
    assert cursor.query_id


def test_fetchone_fetchmany_and_fetchall_share_a_position(cursor: Any) -> None:
    cursor.execute("SELECT id FROM range(10)")
    assert cursor.fetchone() == (0,)
    assert [row.id for row in cursor.fetchmany(3)] == [1, 2, 3]
    assert [row.id for row in cursor.fetchall()] == [4, 5, 6, 7, 8, 9]
    assert cursor.fetchall() == []


def test_arrow(cursor: Any) -> None:
    cursor.execute("SELECT id, CAST(id AS DECIMAL(10,2)) AS price FROM range(10)")
    first = cursor.fetchmany_arrow(4)
    rest = cursor.fetchall_arrow()
    assert [first.num_rows, rest.num_rows] == [4, 6]
    assert rest.schema.types == [pa.int64(), pa.decimal128(10, 2)]
    assert pa.concat_tables([first, rest]).column("id").to_pylist() == list(range(10))


def test_rows_without_pandas(connect: Callable[..., Any]) -> None:
    cursor = connect(_disable_pandas=True).cursor()
    cursor.execute("SELECT array(1, NULL) AS list, DATE'2024-02-29' AS day, NULL AS nothing")
    assert cursor.fetchall() == [([1, None], dt.date(2024, 2, 29), None)]


def test_an_empty_result_keeps_its_columns(cursor: Any) -> None:
    cursor.execute("SELECT id, CAST(id AS DECIMAL(10,2)) AS price FROM range(10) WHERE id < 0")
    assert [column[0] for column in cursor.description] == ["id", "price"]
    assert cursor.fetchall() == []
    assert cursor.fetchall_arrow().num_rows == 0


@pytest.mark.usefixtures("only_ours")
def test_an_empty_result_that_comes_as_a_schema(connect: Callable[..., Any], warehouse: LocalWarehouse) -> None:
    warehouse.switches(empty_result="schema_only")
    try:
        cursor = connect().cursor()
        cursor.execute("SELECT id AS only_schema FROM range(10) WHERE id < 0")
        assert cursor.fetchall() == []
    finally:
        warehouse.switches()


def test_execute_async(cursor: Any) -> None:
    cursor.execute_async("SELECT id FROM range(5)")
    until_done(cursor)
    cursor.get_async_execution_result()
    assert [row.id for row in cursor.fetchall()] == [0, 1, 2, 3, 4]


def test_an_async_result_is_resumed_from_another_connection(connect: Callable[..., Any]) -> None:
    first = connect().cursor()
    first.execute_async("SELECT id FROM range(5)")
    until_done(first)
    second = connect().cursor()
    second.active_command_id = first.active_command_id
    until_done(second)
    second.get_async_execution_result()
    assert [row.id for row in second.fetchall()] == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("only_ours")
def test_an_async_result_is_read_twice(cursor: Any) -> None:
    cursor.execute_async("SELECT id FROM range(5)")
    until_done(cursor)
    for _ in range(2):
        cursor.get_async_execution_result()
        assert [row.id for row in cursor.fetchall()] == [0, 1, 2, 3, 4]


def test_an_async_failure_is_raised(cursor: Any) -> None:
    cursor.execute_async("SELECT * FROM main.default.no_such_table")
    with pytest.raises(connector.exc.ServerOperationError, match="TABLE_OR_VIEW_NOT_FOUND") as raised:
        until_done(cursor)
    assert raised.value.sql_state == "42P01"
    with pytest.raises(connector.exc.ServerOperationError, match="TABLE_OR_VIEW_NOT_FOUND"):
        cursor.get_async_execution_result()


def test_an_async_statement_is_cancelled(cursor: Any) -> None:
    cursor.execute_async(NEVER_ENDING)
    assert cursor.is_query_pending()
    cursor.cancel()
    until_done(cursor)
    assert cursor.get_query_state() is CommandState.CANCELLED


def never_ending(cursor: Any) -> tuple[threading.Thread, list[connector.Error]]:
    """Returns a thread that runs a statement without an end, and where it puts the error that ends it."""
    raised: list[connector.Error] = []

    def run() -> None:
        try:
            cursor.execute(NEVER_ENDING)
        except connector.Error as error:
            raised.append(error)

    return threading.Thread(target=run), raised


def test_cancel_from_a_thread(cursor: Any, warehouse: LocalWarehouse) -> None:
    thread, raised = never_ending(cursor)
    # The first answer names the statement, after which both kernels can cancel.
    warehouse.switches(running_answers=1000)
    try:
        thread.start()
        deadline = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.2)
            cursor.cancel()
        thread.join(timeout=5)
    finally:
        warehouse.switches()
    assert isinstance(raised[0], connector.exc.OperationalError)
    assert raised[0].code == "Cancelled"


@pytest.mark.usefixtures("only_ours")
def test_one_cancel_before_the_statement_has_a_name_is_enough(cursor: Any, warehouse: LocalWarehouse) -> None:
    thread, raised = never_ending(cursor)
    warehouse.faults([{"on": "execute", "do": {"delay": {"ms": 1000}}}])
    warehouse.switches(running_answers=1000)
    try:
        thread.start()
        time.sleep(0.5)
        cursor.cancel()
        thread.join(timeout=5)
        enough = not thread.is_alive()
        cursor.cancel()
        thread.join(timeout=5)
    finally:
        warehouse.faults()
        warehouse.switches()
    assert [error.code for error in raised] == ["Cancelled"]
    assert enough


def test_catalogs(cursor: Any) -> None:
    cursor.catalogs()
    assert {"main", "samples"} <= {row[0] for row in cursor.fetchall()}


def test_schemas(cursor: Any) -> None:
    cursor.schemas(catalog_name="samples")
    assert "nycflights13" in {row[0] for row in cursor.fetchall()}


def test_tables(cursor: Any) -> None:
    cursor.tables(catalog_name="samples", schema_name="nycflights13")
    assert {row[2] for row in cursor.fetchall()} == {"airlines", "airports", "flights", "planes", "weather"}


def test_columns(cursor: Any) -> None:
    cursor.columns(catalog_name="samples", schema_name="nycflights13", table_name="airlines")
    assert [row[3] for row in cursor.fetchall()] == ["carrier", "name"]


PARAMETERS: list[tuple[str, Any, str, Any]] = [
    ("bool", True, "boolean", True),
    ("int", 7, "int", 7),
    ("bigint", 2**40, "bigint", 2**40),
    ("float", 1.5, "double", 1.5),
    ("str", "Grüße", "string", "Grüße"),
    ("empty str", "", "string", ""),
    ("date", dt.date(2024, 2, 29), "date", dt.date(2024, 2, 29)),
    ("decimal", decimal.Decimal("-12.50"), "decimal", decimal.Decimal("-12.50")),
    ("tinyint", native.TinyIntParameter(-5), "tinyint", -5),
    ("smallint", native.SmallIntParameter(300), "smallint", 300),
    ("integer", native.IntegerParameter(300), "int", 300),
    ("big integer", native.BigIntegerParameter(300), "bigint", 300),
    ("float type", native.FloatParameter(0.5), "float", 0.5),
    ("double type", native.DoubleParameter(0.5), "double", 0.5),
    ("timestamp_ntz", native.TimestampNTZParameter(dt.datetime(2024, 2, 29, 12, 34, 56)), "timestamp", None),  # noqa: DTZ001
    ("none", None, None, None),
]


@pytest.mark.parametrize("style", ["named", "positional"])
@pytest.mark.parametrize(
    ("value", "type_code", "expected"), [row[1:] for row in PARAMETERS], ids=[p[0] for p in PARAMETERS]
)
def test_parameters(connect: Callable[..., Any], style: str, value: Any, type_code: Any, expected: Any) -> None:
    cursor = connect(_disable_pandas=True).cursor()
    if style == "named":
        cursor.execute(
            "SELECT :p AS p", {"p": value} if not isinstance(value, native.DbsqlParameterBase) else [named(value)]
        )
    else:
        cursor.execute("SELECT ? AS p", [value])
    if type_code is not None:
        assert cursor.description[0][1] == type_code
    row = cursor.fetchone()
    if isinstance(value, native.TimestampNTZParameter):
        expected = value.value
    assert row == (expected,)


def named(parameter: Any) -> Any:
    return type(parameter)(parameter.value, name="p")


def test_a_timestamp_parameter_keeps_its_instant(connect: Callable[..., Any]) -> None:
    cursor = connect(_disable_pandas=True).cursor()
    moment = dt.datetime(2024, 2, 29, 12, 34, 56, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    cursor.execute("SELECT unix_timestamp(:p) AS p", {"p": moment})
    assert cursor.fetchone() == (int(moment.timestamp()),)


@pytest.mark.usefixtures("only_ours")
def test_a_timestamp_parameter_keeps_its_instant_in_any_session_zone(connect: Callable[..., Any]) -> None:
    cursor = connect(_disable_pandas=True, session_configuration={"TIMEZONE": "America/New_York"}).cursor()
    moment = dt.datetime(2024, 2, 29, 12, 34, 56, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    cursor.execute("SELECT unix_timestamp(:p) AS p", {"p": moment})
    assert cursor.fetchone() == (int(moment.timestamp()),)


@pytest.mark.usefixtures("only_ours")
def test_a_decimal_parameter_with_an_exponent(connect: Callable[..., Any]) -> None:
    cursor = connect(_disable_pandas=True).cursor()
    cursor.execute("SELECT :p AS p", [native.DecimalParameter(decimal.Decimal("1E+5"), precision=4, scale=0, name="p")])
    assert cursor.fetchone() == (decimal.Decimal(100000),)


def test_row_limit(connect: Callable[..., Any]) -> None:
    cursor = connect().cursor(row_limit=3)
    cursor.execute("SELECT id FROM range(10)")
    assert len(cursor.fetchall()) == 3


def test_query_tags(cursor: Any, warehouse: LocalWarehouse) -> None:
    cursor.execute("SELECT 1", query_tags={"team": "x", "bare": None})
    tags = last(warehouse, "execute")["body"]["query_tags"]
    # The original sends them in no order.
    assert sorted(tags, key=str) == [{"key": "bare"}, {"key": "team", "value": "x"}]


def test_dml_rowcount(cursor: Any, kernel: str) -> None:
    table = f"main.default.changed_{kernel}"
    cursor.execute(f"CREATE OR REPLACE TABLE {table} (a INT)")
    for statement, count in [
        (f"INSERT INTO {table} VALUES (1), (2), (3)", 3),
        (f"/* note */ UPDATE {table} SET a = 5 WHERE a < 3", 2),
        (f"DELETE FROM {table} WHERE a = 5", 2),
        (f"DELETE FROM {table} WHERE a = 99", 0),
    ]:
        cursor.execute(statement)
        assert cursor.rowcount == count
    cursor.execute("SELECT 1 AS one")
    assert cursor.rowcount == -1


@pytest.mark.usefixtures("only_ours")
def test_a_query_has_no_rowcount_whatever_its_columns_are_called(cursor: Any) -> None:
    cursor.execute("SELECT 17L AS num_affected_rows")
    assert cursor.rowcount == -1
    assert cursor.fetchall() == [(17,)]


def test_session_configuration_catalog_and_schema(connect: Callable[..., Any], warehouse: LocalWarehouse) -> None:
    configuration = {"TIMEZONE": "America/New_York", "cloudfetch_max_chunks_in_memory": "4"}
    cursor = connect(session_configuration=configuration, catalog="samples", schema="nycflights13").cursor()
    cursor.execute("SELECT current_timezone(), current_catalog(), current_schema(), (SELECT count(*) FROM airlines)")
    assert cursor.fetchone() == ("America/New_York", "samples", "nycflights13", 16)
    confs = last(warehouse, "open_session")["body"]["session_confs"]
    assert "cloudfetch_max_chunks_in_memory" not in confs


def test_retry_tls_and_pool_keywords_are_taken(connect: Callable[..., Any]) -> None:
    cursor = connect(
        _retry_stop_after_attempts_count=3,
        _retry_delay_min=1,
        _retry_delay_max=2,
        _retry_stop_after_attempts_duration=10,
        _tls_verify_hostname=False,
        _socket_timeout=30,
        max_connections=4,
    ).cursor()
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,)]


def test_the_number_of_attempts_is_obeyed(connect: Callable[..., Any], warehouse: LocalWarehouse) -> None:
    cursor = connect(_retry_stop_after_attempts_count=2, _retry_delay_min=1, _retry_delay_max=1).cursor()
    warehouse.faults([{"on": "execute", "times": "always", "do": {"status": {"code": 429}}}])
    before = len(bodies(warehouse, "execute"))
    try:
        with pytest.raises(connector.exc.OperationalError) as raised:
            cursor.execute("SELECT 1")
    finally:
        warehouse.faults()
    assert len(bodies(warehouse, "execute")) == before + 2
    assert (raised.value.code, raised.value.http_status, raised.value.retryable) == ("ResourceExhausted", 429, True)


def test_the_user_agent_is_the_connectors(connect: Callable[..., Any], warehouse: LocalWarehouse) -> None:
    connect(user_agent_entry="my-app")
    agent = last(warehouse, "open_session")["user_agent"]
    assert agent.startswith("PyDatabricksSqlConnector/4.9.0")
    assert "my-app" in agent


def test_own_headers_reach_the_workspace(connect: Callable[..., Any], warehouse: LocalWarehouse) -> None:
    connect(http_headers=[("X-Trace", "canary")]).cursor().execute("SELECT 1")
    assert "x-trace" in last(warehouse, "open_session")["headers"]
    assert "x-trace" in last(warehouse, "execute")["headers"]


def test_errors_with_their_context(cursor: Any) -> None:
    with pytest.raises(connector.exc.ServerOperationError, match="TABLE_OR_VIEW_NOT_FOUND") as raised:
        cursor.execute("SELECT * FROM main.default.no_such_table")
    error = raised.value
    assert (error.code, error.sql_state, error.error_code) == ("SqlError", "42P01", "BAD_REQUEST")
    assert error.context["operation-id"] == error.query_id == cursor.query_id
    with pytest.raises(connector.exc.ServerOperationError, match="PARSE_SYNTAX_ERROR"):
        cursor.execute("SELEC 1")
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,)]


def test_a_wrong_token_is_refused(connect: Callable[..., Any]) -> None:
    with pytest.raises(connector.Error) as refused:
        connect(access_token="wrong-canary")
    assert "wrong-canary" not in str(refused.value)


def test_a_closed_connection_refuses(connect: Callable[..., Any]) -> None:
    connection = connect()
    cursor = connection.cursor()
    connection.close()
    with pytest.raises(connector.Error):
        cursor.execute("SELECT 1")


def test_staging_is_refused(cursor: Any) -> None:
    with pytest.raises(connector.exc.NotSupportedError):
        cursor.execute("/* c */ PUT 'x' INTO '/Volumes/x'")


def test_nested_types(connect: Callable[..., Any]) -> None:
    cursor = connect(_disable_pandas=True).cursor()
    cursor.execute("SELECT array(1, 2) AS list, map('k', 7) AS pairs, named_struct('a', 1) AS record")
    assert cursor.fetchone() == ([1, 2], [("k", 7)], {"a": 1})


def test_the_log_is_the_connectors(connect: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="databricks.sql.kernel"):
        sys.modules["databricks_sql_kernel"].reset_logging()
        connect().cursor().execute("SELECT 1")
    assert any(record.name.startswith("databricks.sql.kernel") for record in caplog.records)


@pytest.mark.usefixtures("only_ours")
def test_no_sql_text_is_logged_by_the_kernel(connect: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="databricks.sql.kernel"):
        sys.modules["databricks_sql_kernel"].reset_logging()
        connect().cursor().execute("SELECT 'sql-text-canary'")
    ours = [record for record in caplog.records if record.name.startswith("databricks.sql.kernel")]
    assert ours
    assert not [record for record in ours if "sql-text-canary" in record.getMessage()]


def test_five_million_rows(connect: Callable[..., Any]) -> None:
    cursor = connect().cursor()
    cursor.execute("SELECT id FROM range(5000000)")
    rows = total = 0
    while (table := cursor.fetchmany_arrow(500_000)).num_rows:
        rows += table.num_rows
        total += pa.compute.sum(table.column("id")).as_py()
    assert (rows, total) == (5_000_000, 5_000_000 * 4_999_999 // 2)


def test_requests_that_nobody_asked_for(connect: Callable[..., Any], kernel: str) -> None:
    # The original remembers the answer per host.
    with LocalWarehouse() as other:
        place = {
            "server_hostname": other.server_hostname,
            "http_path": other.http_path,
            "access_token": other.access_token,
        }
        connection = connect(**place, enable_telemetry=True)
        connection.cursor().execute("SELECT 1")
        connection.close()
        paths = [request["path"] for request in other.requests()]
    reported = [path for path in paths if "telemetry" in path or "feature-flags" in path]
    assert bool(reported) == (kernel == "official")
