"""Rows: each SQL type as its Python type, exactly or not at all."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

import seakernel

if TYPE_CHECKING:
    from seakernel import Cursor
    from seakernel.local import LocalWarehouse

UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("NULL", None),
        ("true", True),
        ("-128Y", -128),
        ("-32768S", -32768),
        ("-2147483648", -(2**31)),
        ("9223372036854775807L", 2**63 - 1),
        ("CAST(1.5 AS FLOAT)", 1.5),
        ("0.1D", 0.1),
        ("CAST('-12.30' AS DECIMAL(10,2))", Decimal("-12.30")),
        ("CAST('-0.05' AS DECIMAL(4,2))", Decimal("-0.05")),
        ("CAST(7 AS DECIMAL(5,0))", Decimal(7)),
        (
            "CAST('-12345678901234567890123456789012345678' AS DECIMAL(38,0))",
            Decimal(-12345678901234567890123456789012345678),
        ),
        ("'é € 🦭'", "é € 🦭"),
        ("X'00FF'", b"\x00\xff"),
        ("DATE'2024-02-29'", dt.date(2024, 2, 29)),
        ("DATE'0001-01-01'", dt.date(1, 1, 1)),
        ("DATE'9999-12-31'", dt.date(9999, 12, 31)),
        ("TIMESTAMP'2024-07-01 12:34:56.789012'", dt.datetime(2024, 7, 1, 12, 34, 56, 789012, tzinfo=UTC)),
        ("TIMESTAMP'1969-12-31 23:59:59.999999'", dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("TIMESTAMP_NTZ'2024-07-01 12:34:56'", dt.datetime(2024, 7, 1, 12, 34, 56)),  # noqa: DTZ001
        ("INTERVAL '2-6' YEAR TO MONTH", "2-6"),
        ("INTERVAL '-1' MONTH", "-0-1"),
        ("INTERVAL '1 02:03:04.5' DAY TO SECOND", dt.timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("INTERVAL '-1' SECOND", dt.timedelta(seconds=-1)),
        ("array(1, NULL, 3)", [1, None, 3]),
        ("array(array('a'), NULL, array())", [["a"], None, []]),
        ("named_struct('x', 1, 'y', array(named_struct('z', 'q')))", {"x": 1, "y": [{"z": "q"}]}),
        ("map('k', 1, 'l', NULL)", {"k": 1, "l": None}),
        ("map(array(1), 'a')", [([1], "a")]),
        ("parse_json('{\"a\": [1, 2]}')", '{"a":[1,2]}'),
    ],
)
def test_values(cursor: Cursor, sql: str, expected: Any) -> None:
    rows = cursor.execute(f"SELECT {sql} AS v").fetchall()
    assert rows == [(expected,)]
    assert type(rows[0][0]) is type(expected)
    if isinstance(expected, Decimal):
        assert str(rows[0][0]) == str(expected)


def test_nulls_stand_where_they_were(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT if(id % 3 = 0, NULL, id) AS a, if(id % 2 = 0, NULL, 's' || id) AS b, "
        "if(id % 5 = 0, NULL, array(id)) AS c, if(id % 7 = 0, NULL, named_struct('x', id)) AS d FROM range(5000)"
    )
    assert cursor.fetchall() == [
        (
            None if i % 3 == 0 else i,
            None if i % 2 == 0 else f"s{i}",
            None if i % 5 == 0 else [i],
            None if i % 7 == 0 else {"x": i},
        )
        for i in range(5000)
    ]


def test_timestamps_are_in_the_zone_of_the_session(warehouse: LocalWarehouse) -> None:
    options = {"session_configuration": {"TIMEZONE": "America/Los_Angeles"}}
    with warehouse.connect(**options) as connection, connection.cursor() as cursor:
        row = cursor.execute(
            "SELECT TIMESTAMP'2024-11-03 08:30:00Z' AS a, TIMESTAMP'2024-11-03 09:30:00Z' AS b"
        ).fetchone()
    assert row is not None
    assert all(value.tzinfo is ZoneInfo("America/Los_Angeles") for value in row)
    assert [(value.hour, value.fold) for value in row] == [(1, 0), (1, 1)]
    assert [value.astimezone(UTC).hour for value in row] == [8, 9]


@pytest.mark.parametrize(
    "sql",
    [
        "date_add(DATE'9999-12-31', 1)",
        "timestamp_micros(253402300800000000)",
        "array(date_add(DATE'9999-12-31', 1))",
    ],
)
def test_values_python_cannot_hold_are_errors_and_lose_nothing(cursor: Cursor, sql: str) -> None:
    cursor.execute(f"SELECT 1 AS one, {sql} AS far")
    for fetch in (cursor.fetchall, cursor.fetchone, lambda: cursor.fetchmany(1)):
        with pytest.raises(seakernel.DataError, match=r"column `far`.*years 1 to 9999") as caught:
            fetch()
        assert caught.value.kind == "OutOfRange"
    assert cursor.fetchall_arrow().column("one").to_pylist() == [1]


def test_wide_and_long_results_match_arrow(chunked_cursor: Cursor) -> None:
    sql = (
        "SELECT id, id * 0.5D AS half, 'row ' || id AS text, CAST(id AS DECIMAL(12,2)) AS amount, "
        "date_add(DATE'1970-01-01', CAST(id AS INT)) AS day, timestamp_micros(id * 1000003) AS at, id % 2 = 0 AS even "
        "FROM range(20000)"
    )
    rows = chunked_cursor.execute(sql).fetchall()
    table = chunked_cursor.execute(sql).fetchall_arrow()
    assert rows == list(zip(*(column.to_pylist() for column in table.columns)))  # noqa: B905
