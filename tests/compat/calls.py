"""Calls of the kernel's surface, each by a name: what comes back, on whichever module, in a form that can be compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local import LocalWarehouse

    Call = Callable[["Place"], Any]


class Place:
    """A module and a warehouse to try it on."""

    def __init__(self, module: Any, warehouse: LocalWarehouse) -> None:
        self.module = module
        self.warehouse = warehouse
        self.sessions: list[Any] = []

    def session(self, **options: Any) -> Any:
        given = {
            "host": self.warehouse.server_hostname,
            "http_path": self.warehouse.http_path,
            "retry_max_attempts": 1,
            **options,
        }
        if "auth_type" not in options:
            given.setdefault("access_token", self.warehouse.access_token)
        session = self.module.Session(given.pop("host"), given.pop("http_path"), **given)
        self.sessions.append(session)
        return session

    def statement(self, sql: str, **options: Any) -> Any:
        statement = self.session(**options).statement()
        statement.set_sql(sql)
        return statement

    def close(self) -> None:
        self.warehouse.faults()
        self.warehouse.switches()
        for session in self.sessions:
            session.close()


def outcome(place: Place, call: Call) -> Any:
    """Returns what the call gives: a value, the fields of the kernel's error, or the kind of another exception."""
    try:
        return plain(call(place))
    except place.module.KernelError as error:
        return failure(error)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        return type(error).__name__
    finally:
        place.close()


def failure(error: Any) -> tuple[Any, ...]:
    return (
        "KernelError",
        error.code,
        error.sql_state,
        error.error_code,
        error.http_status,
        error.retryable,
        error.message == str(error),
    )


def plain(value: Any) -> Any:
    """Returns a value that equals another one of the same content, NaN included."""
    if isinstance(value, pa.Schema):
        return [(field.name, str(field.type)) for field in value]
    if isinstance(value, pa.Table | pa.RecordBatch):
        return plain(value.schema), repr(value.to_pylist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Exception):
        return failure(value)
    return value


def table(sql: str, **options: Any) -> Call:
    return lambda place: place.statement(sql, **options).execute().fetch_all_arrow()


def attempts(*calls: Callable[[], Any]) -> list[Any]:
    """Makes calls one after another, whatever each of them gives."""
    return [attempt(call) for call in calls]


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return plain(call())
    except Exception as error:  # noqa: BLE001 - that is the question
        return failure(error) if hasattr(error, "code") else type(error).__name__


# Results ---------------------------------------------------------------------------------------------------------------

QUERIES = {
    "one": "SELECT 1 AS one",
    "integers": "SELECT 1Y AS a, 2S AS b, 3 AS c, 4L AS d",
    "floats": "SELECT CAST(1.5 AS FLOAT) AS a, CAST('NaN' AS DOUBLE) AS b, CAST('-Infinity' AS DOUBLE) AS c, -0.0D AS d",
    "decimals": "SELECT CAST(123.45 AS DECIMAL(10,2)) AS a, CAST(-1.5 AS DECIMAL(38,10)) AS b, CAST(7 AS DECIMAL(38,0)) AS c",
    "texts": "SELECT '' AS a, 'Grüße, 世界 🦭' AS b, CAST(NULL AS STRING) AS c",
    "long text": "SELECT repeat('x', 1048576) AS a",
    "binary": "SELECT X'00FF' AS a, X'' AS b",
    "booleans": "SELECT true AS a, false AS b, CAST(NULL AS BOOLEAN) AS c",
    "dates": "SELECT DATE'0001-01-01' AS a, DATE'9999-12-31' AS b, DATE'2024-02-29' AS c",
    "timestamps": "SELECT TIMESTAMP'2024-02-29 12:34:56.789123' AS a, TIMESTAMP_NTZ'2024-02-29 12:34:56.789123' AS b",
    "array": "SELECT array(1, NULL, 3) AS a, array() AS b, array(array('x'), array()) AS c",
    "map": "SELECT map('k', 7) AS a, map() AS b",
    "struct": "SELECT named_struct('a', 1, 'b', 'x') AS a, named_struct('c', array(1)) AS b",
    "twice the same name": "SELECT 1 AS a, 2 AS a",
    "strange names": "SELECT 1 AS `a b`, 2 AS `ä``c`, 3 AS ``",
    "rows": "SELECT id, id * 2 AS twice FROM range(1000) ORDER BY id",
    "empty": "SELECT id, CAST(id AS DECIMAL(10,2)) AS d, 'x' AS t FROM range(10) WHERE id < 0",
    "empty with every type": (
        "SELECT 1Y AS a, 2S AS b, CAST(1 AS FLOAT) AS c, 1.5D AS d, true AS e, X'00' AS f, DATE'2024-01-01' AS g,"
        " TIMESTAMP'2024-01-01 00:00:00' AS h, TIMESTAMP_NTZ'2024-01-01 00:00:00' AS i, array(1) AS j, map('k', 1) AS k,"
        " named_struct('a', 1) AS l WHERE 1 = 0"
    ),
    "join": "SELECT count(*) AS n, max(name) AS m FROM samples.nycflights13.airlines",
    "group": "SELECT origin, count(*) AS n FROM samples.nycflights13.flights GROUP BY origin ORDER BY origin",
    "comment first": "/* a */ -- b\nSELECT 1 AS one",
    "use": "USE main.default",
    "set": "SET TIMEZONE = 'UTC'",
    "show schemas": "SHOW SCHEMAS IN samples",
    "show tables": "SHOW TABLES IN samples.nycflights13",
    "describe": "DESCRIBE TABLE samples.nycflights13.airlines",
    "missing table": "SELECT * FROM main.default.no_such_table",
    "missing column": "SELECT nothing FROM samples.nycflights13.airlines",
    "syntax": "SELEC 1",
    "division by zero": "SELECT 1 / 0",
    "bad cast": "SELECT CAST('x' AS INT)",
    "overflow": "SELECT CAST(300 AS TINYINT)",
    "missing parameter": "SELECT :p",
    "blank": "   ",
    "unknown function": "SELECT no_such_function(1)",
}

# Parameters ------------------------------------------------------------------------------------------------------------

PARAMETERS: list[tuple[str, str | None]] = [
    *((kind, None) for kind in ("INT", "STRING", "DECIMAL(5,2)", "DATE", "BOOLEAN", "DOUBLE", "VOID", "TIMESTAMP")),
    *(("BOOLEAN", value) for value in ("true", "True", "1", "0", "yes", "", " true")),
    *(("TINYINT", value) for value in ("1", "-128", "+5", "007", "128", "1.0", " 1", "abc", "", "1e2")),
    *(("SMALLINT", value) for value in ("5", "40000")),
    *(("INT", value) for value in ("5", "2147483648")),
    *(("INTEGER", value) for value in ("5", "-5")),
    *(("BIGINT", value) for value in ("5", "9223372036854775807", "9223372036854775808")),
    ("LONG", "5"),
    *(("DOUBLE", value) for value in ("1.5", "1e3", "-0.0", ".5", "5.", "+1", "1", "abc", "1e400", "1_0", " 1", "")),
    *(("DOUBLE", value) for value in ("NaN", "Infinity", "-inf")),
    *(("FLOAT", value) for value in ("1.5", "0.1", "1e39")),
    *(("STRING", value) for value in ("", "x", "Grüße", "it's")),
    ("VARCHAR", "x"),
    ("CHAR", "x"),
    ("VARCHAR(3)", "x"),
    ("CHAR(3)", "x"),
    ("BINARY", "00ff"),
    ("SHORT", "1"),
    ("BYTE", "1"),
    ("NUMERIC(3,1)", "1"),
    ("int", "1"),
    *((kind, "x") for kind in ("ARRAY<INT>", "MAP", "STRUCT", "foo", "", "TIME", "NUMERIC")),
    *(
        ("DATE", value)
        for value in ("2024-02-29", "2024-2-9", "0001-01-01", "9999-12-31", "2023-02-29", "20240229", "", "x")
    ),
    ("DATE", "2024-02-29 00:00:00"),
    *(
        ("TIMESTAMP", value)
        for value in (
            "2024-02-29 12:34:56.789",
            "2024-02-29T12:34:56",
            "2024-02-29 12:34:56+05:00",
            "2024-02-29T12:34:56Z",
            "2024-02-29 12:34:56+0500",
            "2024-02-29",
            "2024-02-29 12:34",
            "2024-02-29 25:00:00",
            "2024-02-29 12:34:56 UTC",
        )
    ),
    *(("TIMESTAMP_NTZ", value) for value in ("2024-02-29 12:34:56.789", "2024-02-29 12:34:56+05:00", "2024-02-29")),
    *(("DECIMAL(3,2)", value) for value in ("1.23", "1.234", "1")),
    *(("DECIMAL(5,2)", value) for value in ("abc", "", "NaN", "+1.5", "-1.50")),
    ("DECIMAL(5, 2)", "1.5"),
    ("DECIMAL(4)", "12"),
    ("DECIMAL(38,38)", "0.5"),
    *((kind, "1") for kind in ("DECIMAL", "DECIMAL(39,0)", "DECIMAL(2,3)", "DECIMAL(5,-2)", "DECIMAL(0,0)")),
    ("DECIMAL(4,0)", "1E+5"),
    ("DECIMAL(3,2)", "123.45"),
    ("VARIANT", '{"a":1}'),
    ("GEOMETRY", "POINT(1 2)"),
    ("GEOMETRY(4326)", "SRID=4326;POINT(1 2)"),
    ("GEOMETRY(4326)", "SRID=3857;POINT(1 2)"),
    ("GEOMETRY(x)", "POINT(1 2)"),
    ("GEOGRAPHY", ""),
    ("INTERVAL DAY TO SECOND", "1 02:03:04"),
]


def bound(sql_type: str, value: str | None, *, named: bool) -> Call:
    def call(place: Place) -> Any:
        statement = place.statement("SELECT :p AS p" if named else "SELECT ? AS p")
        if named:
            statement.bind_named_param("p", value, sql_type)
        else:
            statement.bind_param(1, value, sql_type)
        return statement.execute().fetch_all_arrow()

    return call


# Arguments of Session --------------------------------------------------------------------------------------------------

SESSIONS: list[dict[str, Any]] = [
    {"auth_type": "x"},
    {"auth_type": "x", "access_token": "t"},
    {"auth_type": "PAT", "access_token": "t"},
    {"auth_type": "pat"},
    {"auth_type": None},
    {"access_token": ""},
    {"access_token": 5},
    {"access_token": "a\nb"},
    {"access_token": "wrong"},
    {"auth_type": None, "client_id": "c", "client_secret": "s"},
    {"auth_type": "oauth-m2m"},
    {"auth_type": "oauth-m2m", "client_id": "x"},
    {"auth_type": "oauth-m2m-jwt", "client_id": "x"},
    {"auth_type": "oauth-m2m-jwt", "client_id": "x", "jwt_key_file": "/none"},
    {"auth_type": "azure-sp-m2m", "azure_client_id": "", "azure_client_secret": "x"},
    {"auth_type": "azure-sp-m2m", "azure_client_id": "x"},
    {"auth_type": "oauth-u2m", "redirect_ports": [70000]},
    {"oauth_scopes": "x"},
    {"oauth_scopes": ["x"]},
    {"redirect_ports": "x"},
    *(
        {"request_timeout_secs": value}
        for value in (0, -1, float("nan"), float("inf"), 1e300, 1e-10, 30, 30.5, True, None, "x")
    ),
    *(
        {name: value}
        for name in ("max_connections", "retry_min_wait_secs", "retry_max_wait_secs", "retry_overall_timeout_secs")
        for value in (0, -1, 4, 1.5, "x", 2**64)
    ),
    *({"retry_max_attempts": value} for value in (0, 1, -1, 2**32, 1.5)),
    {"retry_min_wait_secs": 5, "retry_max_wait_secs": 1},
    *({"telemetry_batch_size": value} for value in (0, 5, -1)),
    {"telemetry_flush_interval_ms": 0},
    {"telemetry_close_flush_timeout_ms": 0},
    {"telemetry_max_retries": 2**32},
    {"telemetry_circuit_breaker_threshold": 0},
    {"telemetry_circuit_breaker_threshold": 0, "telemetry_circuit_breaker_enabled": False},
    {"telemetry_circuit_breaker_timeout_ms": 0},
    {"telemetry_enabled": 1},
    {"http_headers": {"a": "b"}},
    {"http_headers": [("a", "b")]},
    {"http_headers": (("a", "ü"),)},
    {"http_headers": [["a", "b"]]},
    {"http_headers": [("a", 5)]},
    {"http_headers": [("a b", "b")]},
    {"http_headers": [("a", "b\n")]},
    {"tls_ca_cert": "x"},
    {"tls_ca_cert": b"x"},
    {"tls_ca_cert": b""},
    {"tls_client_cert": b"x"},
    {"tls_client_key": b"x"},
    {"tls_client_cert": b"x", "tls_client_key": b"x"},
    {"tls_skip_verify": 1},
    {"tls_skip_verify": None},
    {"tls_skip_verify": True, "tls_skip_hostname_verify": True},
    {"tls_skip_hostname_verify": True},
    {"catalog": 5},
    {"catalog": "samples", "schema": "tpch"},
    {"catalog": "no_such_catalog"},
    {"session_conf": {"a": 1}},
    {"session_conf": {"a": None}},
    {"session_conf": [("a", "b")]},
    {"session_conf": {"TIMEZONE": "Europe/Paris"}},
    {"session_conf": {"CloudFetch_Max_Chunks_In_Memory": "4", "intervals_as_string": "true"}},
    {"complex_types_as_json": None},
    {"enable_geospatial_support": 0},
    {"driver_name": 5},
    {"driver_name": "d", "driver_version": "1", "process_name": "p"},
    {"http_path": "a"},
    {"http_path": ""},
    {"http_path": "/SQL/1.0/warehouses/a"},
    {"http_path": None},
    {"http_path": 5},
    {"nothing": 1},
    {"host": 5},
]


def opened(options: dict[str, Any]) -> Call:
    def call(place: Place) -> Any:
        session = place.session(**options)
        statement = session.statement()
        statement.set_sql("SELECT 1 AS one")
        return [bool(session.session_id), statement.execute().fetch_all_arrow()]

    return call


# Answers of the server -------------------------------------------------------------------------------------------------

STATUSES = (400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 422, 425, 429, 500, 501, 502, 503, 504, 507)
BODIES = {
    "json": '{"error_code":"CODE","message":"text"}',
    "text": "plain text",
    "nothing": "",
    "html": "<html><title>Log in</title></html>",
}
GOOD_FOR_NOTHING = {
    "html": "<html><title>Log in</title></html>",
    "empty": "",
    "no status": '{"statement_id":"01ef0000-0000-1000-8000-000000000000"}',
    "list": "[]",
}


def refused(operation: str, code: int, body: str | None) -> Call:
    def call(place: Place) -> Any:
        session = None if operation == "open_session" else place.session()
        place.warehouse.faults([{"on": operation, "times": "always", "do": {"status": {"code": code, "body": body}}}])
        statement = (session or place.session()).statement()
        statement.set_sql("SELECT 1 AS one")
        return statement.execute().fetch_all_arrow()

    return call


# Lives of objects ------------------------------------------------------------------------------------------------------

FEW = "SELECT id FROM range(5)"
SLOW = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


def closed_session(place: Place) -> Any:
    session = place.session()
    statement = session.statement()
    session.close()
    session.close()
    return attempts(
        lambda: session.session_id,
        session.statement,
        session.metadata,
        lambda: session.attach_async_statement("x"),
        session.close,
        lambda: repr(session),
        statement.close,
    )


def closed_statement(place: Place) -> Any:
    statement = place.statement(FEW)
    executed = statement.execute()
    statement.close()
    statement.close()
    return attempts(
        lambda: statement.set_sql("x"),
        lambda: statement.set_row_limit(1),
        lambda: statement.set_query_tags({"a": "b"}),
        lambda: statement.bind_param(1, "1", "INT"),
        lambda: statement.bind_named_param("a", "1", "INT"),
        statement.execute,
        statement.submit,
        statement.canceller,
        executed.cancel,
        executed.fetch_all_arrow,
        executed.close,
    )


def closed_result(place: Place) -> Any:
    executed = place.statement(FEW).execute()
    executed.close()
    executed.close()
    return attempts(
        executed.fetch_next_batch,
        executed.fetch_all_arrow,
        executed.cancel,
        executed.arrow_schema,
        lambda: bool(executed.statement_id),
        lambda: executed.num_modified_rows,
        lambda: repr(executed).partition(",")[2],
    )


def drained_result(place: Place) -> Any:
    executed = place.statement(FEW).execute()
    return attempts(
        executed.fetch_next_batch,
        executed.fetch_next_batch,
        executed.fetch_next_batch,
        executed.fetch_all_arrow,
        executed.arrow_schema,
        executed.close,
    )


def result_without_its_statement(place: Place) -> Any:
    executed = place.statement(FEW).execute()
    return executed.fetch_all_arrow()


def executed_again(place: Place) -> Any:
    statement = place.statement(FEW)
    first = statement.execute()
    second = statement.execute()
    return attempts(
        first.cancel,
        first.fetch_all_arrow,
        second.fetch_all_arrow,
        lambda: first.statement_id != second.statement_id,
        lambda: repr(first).partition(",")[2],
        first.close,
        second.cancel,
    )


def other_sql(place: Place) -> Any:
    statement = place.statement("SELECT :a AS a")
    statement.bind_named_param("a", "1", "INT")
    first = statement.execute().fetch_all_arrow()
    statement.bind_named_param("a", "2", "INT")
    second = statement.execute().fetch_all_arrow()
    statement.set_sql("SELECT 3 AS a")
    return [first, second, statement.execute().fetch_all_arrow()]


def parameters_are_forgotten(place: Place) -> Any:
    statement = place.statement("SELECT :a AS a")
    statement.bind_named_param("a", "1", "INT")
    statement.set_sql("SELECT :a AS a")
    return statement.execute().fetch_all_arrow()


def wrong_arguments(place: Place) -> Any:
    statement = place.session().statement()
    return attempts(
        statement.execute,
        lambda: statement.set_sql(1),
        lambda: statement.set_sql(None),
        lambda: statement.set_row_limit("1"),
        lambda: statement.set_row_limit(1.5),
        lambda: statement.set_row_limit(2**63),
        lambda: statement.set_row_limit(-(2**63)),
        lambda: statement.set_row_limit(None),
        lambda: statement.set_query_tags([("a", "b")]),
        lambda: statement.set_query_tags({"a": 1}),
        lambda: statement.set_query_tags({1: "a"}),
        lambda: statement.set_query_tags({}),
        lambda: statement.set_query_tags({"a": "b", "c": None}),
        lambda: statement.set_query_tags({"a": "b", "c": None}),
        lambda: statement.set_query_tags({}),
        lambda: statement.bind_param(0, "1", "INT"),
        lambda: statement.bind_param(-1, "1", "INT"),
        lambda: statement.bind_param("1", "1", "INT"),
        lambda: statement.bind_param(1.0, "1", "INT"),
        lambda: statement.bind_param(1, 1, "INT"),
        lambda: statement.bind_param(1, "1", None),
        lambda: statement.bind_named_param("", "1", "INT"),
        lambda: statement.bind_named_param(None, "1", "INT"),
        lambda: statement.bind_named_param("a", b"1", "INT"),
        lambda: statement.execute(1),
        lambda: statement.no_such_method,
    )


def mixed_parameters(place: Place) -> Any:
    statement = place.statement("SELECT ? AS a, :b AS b")
    statement.bind_param(1, "1", "INT")
    statement.bind_named_param("b", "1", "INT")
    return statement.execute().fetch_all_arrow()


def a_gap_in_ordinals(place: Place) -> Any:
    statement = place.statement("SELECT ? AS a, ? AS b")
    statement.bind_param(2, "1", "INT")
    return statement.execute().fetch_all_arrow()


def ordinals_in_any_order(place: Place) -> Any:
    statement = place.statement("SELECT ? AS a, ? AS b, ? AS c")
    for ordinal, value in ((3, "30"), (1, "10"), (2, "0"), (2, "20")):
        statement.bind_param(ordinal, value, "INT")
    return statement.execute().fetch_all_arrow()


def row_limit(limit: int | None) -> Call:
    def call(place: Place) -> Any:
        statement = place.statement("SELECT id FROM range(100)")
        statement.set_row_limit(limit)
        return statement.execute().fetch_all_arrow()

    return call


def dml(place: Place) -> Any:
    session = place.session()
    counts = []
    for sql in (
        "CREATE OR REPLACE TABLE main.default.differential (a INT)",
        "INSERT INTO main.default.differential VALUES (1), (2), (3)",
        "UPDATE main.default.differential SET a = 5 WHERE a < 3",
        "DELETE FROM main.default.differential WHERE a = 5",
        "WITH one AS (SELECT 9 AS a) INSERT INTO main.default.differential SELECT a FROM one",
        "SELECT a FROM main.default.differential ORDER BY a",
        "DROP TABLE main.default.differential",
    ):
        statement = session.statement()
        statement.set_sql(sql)
        executed = statement.execute()
        counts.append(executed.num_modified_rows)
        counts.append(executed.fetch_all_arrow())
    return counts


def a_query_with_the_name_of_a_count(place: Place) -> Any:
    executed = place.statement("SELECT 7L AS num_affected_rows").execute()
    return [executed.num_modified_rows, executed.fetch_all_arrow()]


def submitted(sql: str) -> Call:
    def call(place: Place) -> Any:
        statement = place.statement(sql)
        handle = statement.submit()
        while (status := handle.status())[0] in ("Pending", "Running"):
            time.sleep(0.02)
        return [
            *status,
            *attempts(lambda: handle.await_result().fetch_all_arrow(), lambda: handle.fetch_result().arrow_schema()),
        ]

    return call


def awaited_twice(place: Place) -> Any:
    statement = place.statement(FEW)
    handle = statement.submit()
    first, second = handle.await_result(), handle.await_result()
    return [
        first.fetch_all_arrow(),
        second.fetch_all_arrow(),
        handle.await_result().fetch_next_batch(),
        handle.status()[0],
    ]


def fetched_too_early(place: Place) -> Any:
    statement = place.statement(SLOW)
    handle = statement.submit()
    tried = attempts(handle.fetch_result)
    handle.cancel()
    while handle.status()[0] in ("Pending", "Running"):
        time.sleep(0.02)
    return [*tried, handle.status(), *attempts(handle.await_result, handle.fetch_result)]


def attached(place: Place) -> Any:
    session = place.session()
    statement = session.statement()
    statement.set_sql(FEW)
    owner = statement.submit()
    owner.await_result()
    other = place.session().attach_async_statement(owner.statement_id)
    return attempts(
        other.status,
        lambda: other.await_result().fetch_all_arrow(),
        lambda: other.fetch_result().fetch_all_arrow(),
        other.cancel,
        lambda: other.statement_id == owner.statement_id,
        other.close,
        other.close,
        other.status,
        other.await_result,
        owner.status,
        lambda: owner.await_result().fetch_all_arrow(),
        owner.close,
        owner.status,
        owner.close,
    )


def attach_unknown(place: Place) -> Any:
    session = place.session()
    return attempts(
        lambda: session.attach_async_statement("01ef0000-0000-1000-8000-000000000000"),
        lambda: session.attach_async_statement(5),
    )


def attach_what_is_no_id(place: Place) -> Any:
    return place.session().attach_async_statement("a/b")


def closing_a_statement_ends_what_it_submitted(place: Place) -> Any:
    statement = place.statement(FEW)
    handle = statement.submit()
    statement.close()
    return attempts(handle.status, handle.await_result, handle.cancel, lambda: bool(handle.statement_id), handle.close)


def files_batch_by_batch(place: Place) -> Any:
    executed = place.statement("SELECT id, id % 7 AS seven FROM range(2000000)").execute()
    schema = executed.arrow_schema()
    rows = total = 0
    same = True
    while (batch := executed.fetch_next_batch()) is not None:
        rows += batch.num_rows
        total += pa.compute.sum(batch.column("id")).as_py()
        same = same and batch.schema.equals(schema)
    return [rows, total, same, executed.fetch_next_batch(), executed.fetch_all_arrow()]


def files_at_once(place: Place) -> Any:
    executed = place.statement("SELECT id FROM range(2000000)").execute()
    first = executed.fetch_next_batch()
    rest = executed.fetch_all_arrow()
    return [
        first.num_rows + rest.num_rows,
        pa.compute.sum(rest.column("id")).as_py() + pa.compute.sum(first.column("id")).as_py(),
    ]


def files_of_a_submitted_statement(place: Place) -> Any:
    statement = place.statement("SELECT id FROM range(2000000)")
    return pa.compute.sum(statement.submit().await_result().fetch_all_arrow().column("id")).as_py()


def submitted_by_a_statement_that_is_gone(place: Place) -> Any:
    handle = place.statement(FEW).submit()
    return handle.await_result().fetch_all_arrow()


def stream_of_a_handle_that_is_gone(place: Place) -> Any:
    statement = place.statement("SELECT id FROM range(100000)")
    stream = statement.submit().await_result()
    return stream.fetch_all_arrow()


def closed_stream(place: Place) -> Any:
    statement = place.statement(FEW)
    stream = statement.submit().await_result()
    first = stream.fetch_next_batch()
    stream.close()
    stream.close()
    return [
        first,
        *attempts(stream.fetch_next_batch, stream.fetch_all_arrow, stream.arrow_schema, lambda: repr(stream)),
    ]


def idle_canceller(place: Place) -> Any:
    statement = place.statement(FEW)
    canceller = statement.canceller()
    before = canceller.statement_id()
    executed = statement.execute()
    return [before, canceller.statement_id() == executed.statement_id, canceller.cancel(), executed.fetch_all_arrow()]


def canceller_of_a_failure(place: Place) -> Any:
    statement = place.statement("SELEC")
    canceller = statement.canceller()
    return [*attempts(statement.execute), bool(canceller.statement_id())]


LIVES: dict[str, Call] = {
    call.__name__: call
    for call in (
        closed_session,
        closed_statement,
        closed_result,
        drained_result,
        result_without_its_statement,
        executed_again,
        other_sql,
        parameters_are_forgotten,
        wrong_arguments,
        mixed_parameters,
        a_gap_in_ordinals,
        ordinals_in_any_order,
        dml,
        a_query_with_the_name_of_a_count,
        awaited_twice,
        fetched_too_early,
        attached,
        attach_unknown,
        attach_what_is_no_id,
        closing_a_statement_ends_what_it_submitted,
        files_at_once,
        files_batch_by_batch,
        files_of_a_submitted_statement,
        submitted_by_a_statement_that_is_gone,
        stream_of_a_handle_that_is_gone,
        closed_stream,
        idle_canceller,
        canceller_of_a_failure,
    )
}


def all_calls() -> dict[str, Call]:
    """Returns every call by its name."""
    calls: dict[str, Call] = {}
    for name, sql in QUERIES.items():
        calls[f"execute {name}"] = table(sql)
        calls[f"submit {name}"] = submitted(sql)
    for sql_type, value in PARAMETERS:
        calls[f"parameter {sql_type} {value!r}"] = bound(sql_type, value, named=False)
    for sql_type, value in PARAMETERS[::6]:
        calls[f"named parameter {sql_type} {value!r}"] = bound(sql_type, value, named=True)
    for options in SESSIONS:
        calls[f"session {options!r}"] = opened(options)
    for operation in ("open_session", "execute"):
        for code in STATUSES:
            calls[f"{operation} answers {code}"] = refused(operation, code, BODIES["json"])
    for name, body in BODIES.items():
        calls[f"execute answers 400 with {name}"] = refused("execute", 400, body)
    for operation in ("open_session", "execute"):
        for name, body in GOOD_FOR_NOTHING.items():
            calls[f"{operation} answers 200 with {name}"] = refused(operation, 200, body)
    for limit in (None, 1, 10, 100, 1000, 0, -1):
        calls[f"row limit {limit}"] = row_limit(limit)
    calls.update(LIVES)
    return calls
