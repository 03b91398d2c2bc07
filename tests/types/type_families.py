"""The type families of Databricks SQL, each with values at the edges of what it holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

UTC = dt.timezone.utc
ZURICH = ZoneInfo("Europe/Zurich")
DAYS = dt.timedelta(days=1)


@dataclass(frozen=True)
class Family:
    """A column of one type."""

    name: str
    type_text: str
    type_name: str
    #: Values, nulls apart, as the warehouse stores them.
    column: pa.Array
    #: The same as rows of a cursor show them.
    rows: list[Any]
    #: An expression per value that makes them in SQL, where the local warehouse has the type.
    sql: tuple[str, ...] = ()
    #: Metadata besides names and texts of the type.
    metadata: tuple[tuple[str, str], ...] = ()


def plain(name: str, type_text: str, type_name: str, arrow_type: pa.DataType, values: list[Any], **more: Any) -> Family:
    """A family whose rows are what pyarrow makes of the column."""
    column = pa.array(values, arrow_type)
    return Family(name, type_text, type_name, column, more.pop("rows", values), **more)


def nested(depth: int, value: Any) -> Any:
    """A value inside so many lists."""
    for _ in range(depth):
        value = [value]
    return value


def nested_type(depth: int, inner: pa.DataType) -> pa.DataType:
    """The type of such a value."""
    for _ in range(depth):
        inner = pa.list_(pa.field("element", inner))
    return inner


def list_of(inner: pa.DataType) -> pa.DataType:
    """A list as it is on the wire."""
    return pa.list_(pa.field("element", inner))


FIRST = dt.datetime(1, 1, 1)  # noqa: DTZ001 - a wall clock
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
MOMENT = dt.datetime(2024, 7, 1, 12, 34, 56, 789012)  # noqa: DTZ001
BIG_TEXT = "a€🦭" * (1 << 17)
POINT = "SRID=4326;POINT(1 2)"
MONTHS = [14, -25, 0, 2**31 - 1, -(2**31)]

FAMILIES = [
    plain("boolean", "BOOLEAN", "BOOLEAN", pa.bool_(), [True, False], sql=("true", "false")),
    plain("tinyint", "TINYINT", "BYTE", pa.int8(), [-128, 127, 0], sql=("-128Y", "127Y", "0Y")),
    plain("smallint", "SMALLINT", "SHORT", pa.int16(), [-(2**15), 2**15 - 1], sql=("-32768S", "32767S")),
    plain("int", "INT", "INT", pa.int32(), [-(2**31), 2**31 - 1], sql=("-2147483648", "2147483647")),
    plain(
        "bigint",
        "BIGINT",
        "LONG",
        pa.int64(),
        [-(2**63), 2**63 - 1],
        sql=("-9223372036854775808L", "9223372036854775807L"),
    ),
    plain(
        "float",
        "FLOAT",
        "FLOAT",
        pa.float32(),
        [1.5, float("nan"), float("inf"), float("-inf"), -0.0, 2.0**-149],
        sql=(
            "CAST(1.5 AS FLOAT)",
            "CAST('NaN' AS FLOAT)",
            "CAST('Infinity' AS FLOAT)",
            "CAST('-Infinity' AS FLOAT)",
            "CAST('-0.0' AS FLOAT)",
            "CAST(1.401298464324817E-45D AS FLOAT)",
        ),
    ),
    plain(
        "double",
        "DOUBLE",
        "DOUBLE",
        pa.float64(),
        [0.1, float("nan"), float("inf"), float("-inf"), -0.0, 1.7976931348623157e308],
        sql=(
            "0.1D",
            "CAST('NaN' AS DOUBLE)",
            "CAST('Infinity' AS DOUBLE)",
            "CAST('-Infinity' AS DOUBLE)",
            "-0.0D",
            "1.7976931348623157E308D",
        ),
    ),
    plain(
        "decimal(38,0)",
        "DECIMAL(38,0)",
        "DECIMAL",
        pa.decimal128(38, 0),
        [Decimal(10**38 - 1), Decimal(-(10**38) + 1), Decimal(0)],
        sql=tuple(f"CAST('{text}' AS DECIMAL(38,0))" for text in ("9" * 38, "-" + "9" * 38, "0")),
        metadata=(("databricks.type_precision", "38"), ("databricks.type_scale", "0")),
    ),
    plain(
        "decimal(38,38)",
        "DECIMAL(38,38)",
        "DECIMAL",
        pa.decimal128(38, 38),
        [Decimal("0." + "9" * 38), Decimal("-0." + "0" * 37 + "1")],
        sql=(f"CAST('0.{'9' * 38}' AS DECIMAL(38,38))", f"CAST('-0.{'0' * 37}1' AS DECIMAL(38,38))"),
        metadata=(("databricks.type_precision", "38"), ("databricks.type_scale", "38")),
    ),
    plain(
        "decimal(10,2)",
        "DECIMAL(10,2)",
        "DECIMAL",
        pa.decimal128(10, 2),
        [Decimal("99999999.99"), Decimal("-0.05"), Decimal("1.20")],
        sql=tuple(f"CAST('{text}' AS DECIMAL(10,2))" for text in ("99999999.99", "-0.05", "1.20")),
        metadata=(("databricks.type_precision", "10"), ("databricks.type_scale", "2")),
    ),
    plain(
        "string",
        "STRING",
        "STRING",
        pa.string(),
        ["", "é € 🦭", "null", "a\0b\n", BIG_TEXT],
        sql=("''", "'é € 🦭'", "'null'", "'a' || chr(0) || 'b' || chr(10)", f"repeat('a€🦭', {1 << 17})"),
    ),
    plain("varchar", "VARCHAR(5)", "STRING", pa.string(), ["", "ab", "🦭🦭🦭🦭🦭"]),
    plain("char", "CHAR(3)", "CHAR", pa.string(), ["ab ", "🦭🦭🦭"]),
    plain("binary", "BINARY", "BINARY", pa.binary(), [b"", b"\x00\xff"], sql=("X''", "X'00FF'")),
    plain(
        "date",
        "DATE",
        "DATE",
        pa.date32(),
        [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1969, 12, 31)],
        sql=("DATE'0001-01-01'", "DATE'9999-12-31'", "DATE'1969-12-31'"),
    ),
    plain(
        "timestamp",
        "TIMESTAMP",
        "TIMESTAMP",
        pa.timestamp("us", "Etc/UTC"),
        [moment.replace(tzinfo=UTC) for moment in (FIRST, LAST, MOMENT)],
        sql=(
            "TIMESTAMP'0001-01-01 00:00:00Z'",
            "TIMESTAMP'9999-12-31 23:59:59.999999Z'",
            "TIMESTAMP'2024-07-01 12:34:56.789012Z'",
        ),
    ),
    plain(
        "timestamp in a zone",
        "TIMESTAMP",
        "TIMESTAMP",
        pa.timestamp("us", "Europe/Zurich"),
        [moment.replace(tzinfo=ZURICH) for moment in (FIRST + DAYS, LAST - DAYS, MOMENT)],
    ),
    plain(
        "timestamp_ntz",
        "TIMESTAMP_NTZ",
        "TIMESTAMP_NTZ",
        pa.timestamp("us"),
        [FIRST, LAST, MOMENT],
        sql=(
            "TIMESTAMP_NTZ'0001-01-01 00:00:00'",
            "TIMESTAMP_NTZ'9999-12-31 23:59:59.999999'",
            "TIMESTAMP_NTZ'2024-07-01 12:34:56.789012'",
        ),
    ),
    Family(
        "interval year-month",
        "INTERVAL YEAR TO MONTH",
        "INTERVAL",
        pa.array([pa.MonthDayNano([months, 0, 0]) for months in MONTHS], pa.month_day_nano_interval()),
        ["1-2", "-2-1", "0-0", "178956970-7", "-178956970-8"],
        sql=tuple(f"INTERVAL '{text}' YEAR TO MONTH" for text in ("1-2", "-2-1", "0-0", "178956970-7", "-178956970-8")),
        metadata=(("databricks.type_interval_type", "YEAR TO MONTH"),),
    ),
    plain(
        "interval day-time",
        "INTERVAL DAY TO SECOND",
        "INTERVAL",
        pa.duration("us"),
        [
            dt.timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=500000),
            dt.timedelta(seconds=-5),
            dt.timedelta(microseconds=2**63 - 1),
        ],
        sql=(
            "INTERVAL '1 02:03:04.5' DAY TO SECOND",
            "INTERVAL '-0 00:00:05' DAY TO SECOND",
            "INTERVAL '106751991 04:00:54.775807' DAY TO SECOND",
        ),
        metadata=(("databricks.type_interval_type", "DAY TO SECOND"),),
    ),
    plain(
        "array",
        "ARRAY<INT>",
        "ARRAY",
        list_of(pa.int32()),
        [[], [1, None, 3], [None]],
        sql=("CAST(array() AS ARRAY<INT>)", "array(1, NULL, 3)", "CAST(array(NULL) AS ARRAY<INT>)"),
    ),
    plain(
        "array nested 8 deep",
        "ARRAY<" * 8 + "STRING" + ">" * 8,
        "ARRAY",
        nested_type(8, pa.string()),
        [nested(8, "x"), nested(4, None), []],
        sql=("array(" * 8 + "'x'" + ")" * 8, "array(" * 4 + "NULL" + ")" * 4, "array()"),
    ),
    plain(
        "map",
        "MAP<STRING, INT>",
        "MAP",
        pa.map_(pa.string(), pa.int32()),
        [[], [("b", 1), ("a", None), ("", 3)]],
        rows=[{}, {"b": 1, "a": None, "": 3}],
        sql=("CAST(map() AS MAP<STRING, INT>)", "map('b', 1, 'a', NULL, '', 3)"),
    ),
    plain(
        "struct",
        "STRUCT<a: INT, `b c`: ARRAY<STRUCT<d: DECIMAL(4,2)>>>",
        "STRUCT",
        pa.struct(
            [
                pa.field("a", pa.int32()),
                pa.field("b c", list_of(pa.struct([pa.field("d", pa.decimal128(4, 2))]))),
            ]
        ),
        [{"a": 1, "b c": [{"d": Decimal("1.20")}, {"d": None}, None]}, {"a": None, "b c": None}],
        sql=(
            (
                "named_struct('a', 1, 'b c', array(named_struct('d', CAST('1.20' AS DECIMAL(4,2))),"
                " named_struct('d', CAST(NULL AS DECIMAL(4,2))), NULL))"
            ),
            "named_struct('a', CAST(NULL AS INT), 'b c', CAST(NULL AS ARRAY<STRUCT<d: DECIMAL(4,2)>>))",
        ),
    ),
    plain(
        "variant",
        "VARIANT",
        "VARIANT",
        pa.string(),
        ['{"a":[1,null],"b":"é"}', "null", "1.5"],
        sql=("""parse_json('{"b": "é", "a": [1, null]}')""", "parse_json('null')", "parse_json('1.5')"),
    ),
    plain("object", "OBJECT<a: INT, b: ARRAY<STRING>>", "OBJECT", pa.string(), ['{"a":1,"b":["x"]}', "{}"]),
    plain("geometry", "GEOMETRY(4326)", "GEOMETRY", pa.string(), [POINT, "SRID=4326;POLYGON EMPTY"]),
    plain("geography", "GEOGRAPHY(4326)", "GEOGRAPHY", pa.string(), [POINT, "SRID=4326;LINESTRING Z (0 0 1,1 1 2)"]),
    plain("void", "VOID", "NULL", pa.null(), [None], sql=("NULL",)),
]
BY_NAME = {family.name: family for family in FAMILIES}
