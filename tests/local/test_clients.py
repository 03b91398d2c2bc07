"""Unmodified official clients, and ours, on the local warehouse: what they read is what DuckDB reads on its own."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from clients import CLIENTS
from column_checksum import column_checksums
from databricks import sql as connector
from databricks.sdk.errors import DatabricksError

import seakernel
from seakernel.local.samples import SAMPLE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seakernel.local import LocalWarehouse

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"

# SQL type, literal, the Arrow type and value that a client sees, and the text of JSON_ARRAY.
ALL_TYPES: list[tuple[str, str, pa.DataType, Any, str]] = [
    ("BOOLEAN", "true", pa.bool_(), True, "true"),
    ("TINYINT", "-7", pa.int8(), -7, "-7"),
    ("SMALLINT", "300", pa.int16(), 300, "300"),
    ("INT", "2147483647", pa.int32(), 2147483647, "2147483647"),
    ("BIGINT", "-9223372036854775807", pa.int64(), -9223372036854775807, "-9223372036854775807"),
    ("FLOAT", "1.5", pa.float32(), 1.5, "1.5"),
    ("DOUBLE", "-2.25", pa.float64(), -2.25, "-2.25"),
    ("DECIMAL(10,2)", "123.45", pa.decimal128(10, 2), Decimal("123.45"), "123.45"),
    ("DECIMAL(38,10)", "-1.5", pa.decimal128(38, 10), Decimal("-1.5000000000"), "-1.5000000000"),
    ("STRING", "'Grüße, 世界'", pa.string(), "Grüße, 世界", "Grüße, 世界"),
    ("DATE", "DATE'2024-02-29'", pa.date32(), dt.date(2024, 2, 29), "2024-02-29"),
    (
        "TIMESTAMP",
        "TIMESTAMP'2024-02-29 12:34:56.789'",
        pa.timestamp("us", "Etc/UTC"),
        dt.datetime(2024, 2, 29, 12, 34, 56, 789000, tzinfo=dt.timezone.utc),
        "2024-02-29T12:34:56.789Z",
    ),
    (
        "TIMESTAMP_NTZ",
        "TIMESTAMP_NTZ'2024-02-29 12:34:56.789'",
        pa.timestamp("us"),
        dt.datetime(2024, 2, 29, 12, 34, 56, 789000),  # noqa: DTZ001 the type has no zone
        "2024-02-29T12:34:56.789",
    ),
    ("ARRAY<INT>", "array(1, NULL, 3)", pa.list_(pa.int32()), [1, None, 3], "[1,null,3]"),
    ("MAP<STRING, INT>", "map('k', 7)", pa.map_(pa.string(), pa.int32()), [("k", 7)], '{"k":7}'),
    (
        "STRUCT<a: INT, b: STRING>",
        "named_struct('a', 1, 'b', 'x')",
        pa.struct([("a", pa.int32()), ("b", pa.string())]),
        {"a": 1, "b": "x"},
        '{"a":1,"b":"x"}',
    ),
    ("BINARY", "X'00FF'", pa.binary(), b"\x00\xff", ""),
]


@pytest.fixture(scope="module", params=list(CLIENTS))
def client(request: pytest.FixtureRequest, served: LocalWarehouse) -> Iterator[Any]:
    client = CLIENTS[request.param](served)
    yield client
    client.close()


def test_select_one(client: Any) -> None:
    (value,) = client.rows("SELECT 1 AS one")[0]
    assert int(value) == 1
    assert client.columns("SELECT 1 AS one") == ["one"]


def test_every_flight_arrives_in_order(client: Any, flights: Path) -> None:
    statement = "SELECT * FROM samples.nycflights13.flights"
    if client.name == "sdk-INLINE":
        # As text the flights are larger than an inline result may be, so a third of the columns comes at a time.
        assert "Inline byte limit exceeded" in client.failure(statement).message
        names = list(SAMPLE_COLUMNS["nycflights13"]["flights"])
        thirds = [flight_columns(client, names[place::3]) for place in range(3)]
        table = pa.table(thirds[0] | thirds[1] | thirds[2]).select(names)
    else:
        table = client.arrow(statement)
    assert table.num_rows == 336_776
    assert column_checksums(table) == column_checksums(f"read_parquet('{flights}')")


def flight_columns(client: Any, names: list[str]) -> dict[str, pa.Array]:
    """Reads columns of the flights as texts and gives each the type of its values."""
    rows = client.rows(f"SELECT {', '.join(names)} FROM samples.nycflights13.flights")
    types = {"INT": pa.int32(), "STRING": pa.string(), "TIMESTAMP": pa.timestamp("us", "UTC")}
    declared = SAMPLE_COLUMNS["nycflights13"]["flights"]
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: pa.array(texts, pa.string()).cast(types[declared[name]]) for name, texts in columns}


def test_named_parameters(client: Any) -> None:
    parameters = {"carrier": "UA", "delay": 1000, "nothing": None}
    rows = client.rows(
        "SELECT carrier, dep_delay, :nothing IS NULL AS empty FROM samples.nycflights13.flights "
        "WHERE carrier <> :carrier AND dep_delay > :delay ORDER BY dep_delay DESC",
        parameters,
    )
    assert [(carrier, int(delay), str(empty).lower()) for carrier, delay, empty in rows] == [
        ("HA", 1301, "true"),
        ("MQ", 1137, "true"),
        ("MQ", 1126, "true"),
        ("AA", 1014, "true"),
        ("MQ", 1005, "true"),
    ]


def test_positional_parameters(client: Any) -> None:
    if not client.positional:
        pytest.skip(f"{client.name} cannot send positional parameters")
    assert client.rows("SELECT ? + ? AS total, ? AS word", [40, 2, "ok"]) == [(42, "ok")]


def test_a_failing_statement_names_its_sqlstate(client: Any) -> None:
    failure = client.failure("SELECT * FROM main.default.no_such_table")
    assert "TABLE_OR_VIEW_NOT_FOUND" in failure.message
    assert "SQLSTATE: 42P01" in failure.message
    # The connector's SEA backend reports the message only.
    assert failure.sql_state == (None if client.name == "connector-sea" else "42P01")


def test_a_syntax_error_names_its_sqlstate(client: Any) -> None:
    assert "SQLSTATE: 42601" in client.failure("SELEC 1").message


def test_show_tables(client: Any) -> None:
    statement = "SHOW TABLES IN samples.nycflights13"
    place = client.columns(statement).index("tableName")
    names = {row[place] for row in client.rows(statement)}
    assert names == {"airlines", "airports", "flights", "planes", "weather"}


def test_an_empty_result_keeps_its_columns(client: Any) -> None:
    statement = "SELECT carrier, dep_delay FROM samples.nycflights13.flights WHERE 1 = 0"
    assert client.columns(statement) == ["carrier", "dep_delay"]
    if client.name != "sdk-EXTERNAL_LINKS":
        assert client.rows(statement) == []


def test_every_type(client: Any) -> None:
    table = f"main.default.every_type_{client.name.replace('-', '_').lower()}"
    declared = ", ".join(f"c{number} {row[0]}" for number, row in enumerate(ALL_TYPES))
    literals = ", ".join(row[1] for row in ALL_TYPES)
    nulls = ", ".join("NULL" for _ in ALL_TYPES)
    client.rows(f"CREATE OR REPLACE TABLE {table} (number INT, {declared})")
    client.rows(f"INSERT INTO {table} VALUES (1, {literals}), (2, {nulls})")
    statement = f"SELECT * EXCEPT (number) FROM {table} ORDER BY number"
    if client.name == "sdk-INLINE":
        first, second = client.rows(statement)
        # How JSON_ARRAY writes BINARY is not documented; the values of the other types are.
        assert first[:-1] == tuple(row[4] for row in ALL_TYPES)[:-1]
        assert second == (None,) * len(ALL_TYPES)
        return
    result = client.arrow(statement)
    assert [field.type for field in result.schema] == [row[2] for row in ALL_TYPES]
    first, second = (list(row.values()) for row in result.to_pylist())
    assert first == [row[3] for row in ALL_TYPES]
    assert second == [None] * len(ALL_TYPES)


def test_a_running_statement_is_cancelled(client: Any) -> None:
    assert client.state_after_cancel(NEVER_ENDING).upper().startswith("CANCEL")


@pytest.mark.parametrize("name", list(CLIENTS))
def test_a_wrong_token_is_refused(served: LocalWarehouse, name: str) -> None:
    with pytest.raises((seakernel.Error, connector.Error, DatabricksError)) as refused:
        CLIENTS[name](served, access_token="canary-refused").rows("SELECT 1")
    assert "canary" not in str(refused.value)
