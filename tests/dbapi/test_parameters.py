"""Parameters: inferred types, named types, and values that are refused."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

import seakernel
from seakernel import Parameter

if TYPE_CHECKING:
    from seakernel import Cursor

UTC = dt.timezone.utc


class Size(enum.IntEnum):
    LARGE = 3


@pytest.mark.parametrize(
    ("value", "sql_type", "expected"),
    [
        (None, "void", None),
        (True, "boolean", True),
        (Size.LARGE, "int", 3),
        (-(2**31), "int", -(2**31)),
        (2**31, "bigint", 2**31),
        (2**63, "decimal(19,0)", Decimal(2**63)),
        (0.1, "double", 0.1),
        (1e300, "double", 1e300),
        (float("-inf"), "double", float("-inf")),
        ("it's :x ? ü", "string", "it's :x ? ü"),
        ("", "string", ""),
        (b"\x00\xff", "binary", b"\x00\xff"),
        (bytearray(b"ab"), "binary", b"ab"),
        (Decimal("123.450"), "decimal(6,3)", Decimal("123.450")),
        (Decimal("-0.001"), "decimal(3,3)", Decimal("-0.001")),
        (Decimal("1E+3"), "decimal(4,0)", Decimal(1000)),
        (Decimal("0.00"), "decimal(2,2)", Decimal("0.00")),
        (dt.date(2024, 2, 29), "date", dt.date(2024, 2, 29)),
        (dt.datetime(2024, 2, 29, 1, 2, 3, 4), "timestamp_ntz", dt.datetime(2024, 2, 29, 1, 2, 3, 4)),  # noqa: DTZ001
        (dt.datetime(2024, 2, 29, 1, tzinfo=UTC), "timestamp", dt.datetime(2024, 2, 29, 1, tzinfo=UTC)),
        (
            dt.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
            "timestamp",
            dt.datetime(2024, 7, 1, 10, tzinfo=UTC),
        ),
        (dt.timedelta(days=1, microseconds=5), "interval day to second", dt.timedelta(days=1, microseconds=5)),
        (dt.timedelta(seconds=-90), "interval day to second", dt.timedelta(seconds=-90)),
    ],
)
def test_values_arrive_with_their_type(cursor: Cursor, value: Any, sql_type: str, expected: Any) -> None:
    for sql, parameters in [("SELECT :p, typeof(:p)", {"p": value}), ("SELECT ?, typeof(?)", [value, value])]:
        cursor.execute(sql, parameters)
        assert cursor.fetchall() == [(expected, sql_type)]


def test_nan_arrives(cursor: Cursor) -> None:
    row = cursor.execute("SELECT :p", {"p": float("nan")}).fetchone()
    assert row is not None
    assert math.isnan(row[0])


def test_a_named_type_wins(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT typeof(:a), typeof(:b), :c, typeof(:d)",
        {
            "a": Parameter(1, "TINYINT"),
            "b": Parameter(None, "DATE"),
            "c": Parameter("2024-02-29", "DATE"),
            "d": Parameter(Decimal("1.5"), "DECIMAL(10,2)"),
        },
    )
    assert cursor.fetchall() == [("tinyint", "date", dt.date(2024, 2, 29), "decimal(10,2)")]


def test_a_parameter_does_not_show_its_value() -> None:
    parameter = Parameter("a-private-word", "STRING")
    assert (parameter.value, parameter.sql_type) == ("a-private-word", "STRING")
    assert "a-private-word" not in repr(parameter)
    with pytest.raises(seakernel.ProgrammingError, match="sql_type"):
        Parameter(1, " ")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (10**38, seakernel.DataError, "38 digits"),
        (Decimal("1E-39"), seakernel.DataError, "38 digits"),
        (Decimal("NaN"), seakernel.DataError, "finite"),
        ("\ud800", seakernel.DataError, "surrogate"),
        (dt.timedelta.max, seakernel.DataError, "INTERVAL"),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), seakernel.DataError, "UTC"),
        ([1, 2], seakernel.NotSupportedError, "from_json"),
        ({"a": 1}, seakernel.NotSupportedError, "from_json"),
        ((1,), seakernel.NotSupportedError, "from_json"),
        (dt.time(1), seakernel.NotSupportedError, "`time`"),
        (object(), seakernel.NotSupportedError, "`object`"),
    ],
)
def test_values_without_a_type_are_refused_by_name(cursor: Cursor, value: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        cursor.execute("SELECT :p", {"p": value})
    assert "`:p`" in str(caught.value)
    with pytest.raises(error, match="number 2"):
        cursor.execute("SELECT ?, ?", [1, value])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [("x", "`str`"), (b"x", "`bytes`"), (5, "`int`"), ({1: 1}, "1"), ({":p": 1}, "without|write"), ({"": 1}, "name")],
)
def test_parameters_of_a_wrong_shape(cursor: Cursor, parameters: Any, message: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=message):
        cursor.execute("SELECT :p", parameters)


def test_numpy_like_integers_are_integers(cursor: Cursor) -> None:
    class Index:
        def __index__(self) -> int:
            return 7

    assert cursor.execute("SELECT :p, typeof(:p)", {"p": Index()}).fetchall() == [(7, "int")]


def test_a_missing_parameter_fails_on_the_server(cursor: Cursor) -> None:
    with pytest.raises(seakernel.ProgrammingError):
        cursor.execute("SELECT :p", {"q": 1})


def test_scalars_of_numpy(cursor: Cursor) -> None:
    numpy = pytest.importorskip("numpy")
    moment = dt.datetime(2024, 2, 29, 1, 2, 3, 4)  # noqa: DTZ001
    for value, expected in [
        (numpy.int8(-5), (-5, "int")),
        (numpy.uint64(2**63), (Decimal(2**63), "decimal(19,0)")),
        (numpy.float64(0.1), (0.1, "double")),
        (numpy.float32(0.1), (float(numpy.float32(0.1)), "double")),
        (numpy.bool_(True), (True, "boolean")),
        (numpy.str_("x"), ("x", "string")),
        (numpy.datetime64(moment), (moment, "timestamp_ntz")),
        (numpy.datetime64("2024-02-29"), (dt.date(2024, 2, 29), "date")),
        (numpy.timedelta64(90, "s"), (dt.timedelta(seconds=90), "interval day to second")),
    ]:
        assert cursor.execute("SELECT :p, typeof(:p)", {"p": value}).fetchone() == expected
    for value in (numpy.datetime64("2024-02-29T00:00:00", "ns"), numpy.timedelta64(5, "ns"), numpy.datetime64("NaT")):
        with pytest.raises(seakernel.NotSupportedError, match=r"datetime64|timedelta64"):
            cursor.execute("SELECT :p", {"p": value})
    with pytest.raises(seakernel.NotSupportedError, match="`ndarray`"):
        cursor.execute("SELECT :p", {"p": numpy.array([1, 2])})


def test_a_uuid_is_text(cursor: Cursor) -> None:
    value = uuid.UUID(int=5)
    assert cursor.execute("SELECT ?, typeof(?)", [value, value]).fetchone() == (str(value), "string")


@pytest.mark.parametrize(
    ("value", "sql_type"),
    [
        ([1, None, 3], "ARRAY<INT>"),
        ([], "ARRAY<STRING>"),
        (["it's \\ \" ü\n", ""], "array<string>"),
        ([[1.5], None], "ARRAY<ARRAY<DOUBLE>>"),
        ([2**63 - 1, -(2**63)], "ARRAY<BIGINT>"),
        ([Decimal("-0.05"), Decimal("99999999.99")], "ARRAY<DECIMAL(10,2)>"),
        ({"k": 1, "l": None}, "MAP<STRING, INT>"),
        ({"a": 1, "b": [{"c": True}]}, "STRUCT<a: INT, b: ARRAY<STRUCT<c: BOOLEAN>>>"),
        ([dt.date(2024, 2, 29)], "ARRAY<DATE>"),
    ],
)
def test_nested_values_with_their_type(cursor: Cursor, value: Any, sql_type: str) -> None:
    parameter = Parameter(value, sql_type)
    for sql, parameters in [
        ("SELECT :p, typeof(:p)", {"p": parameter}),
        ("SELECT %(p)s, typeof(%(p)s)", {"p": parameter}),
        ("SELECT ?, typeof(?)", [parameter, parameter]),
    ]:
        row = cursor.execute(sql, parameters).fetchone()
        assert row is not None
        assert row[0] == value
        assert row[1] == sql_type.lower().replace(": ", ":").replace(", ", ",")


@pytest.mark.parametrize(
    ("value", "sql_type", "message"),
    [
        ([2**31], "ARRAY<INT>", "no exact Int32"),
        ([1.5], "ARRAY<INT>", "`float` that is no exact"),
        ([True], "ARRAY<INT>", "`bool` that is no exact"),
        (["1"], "ARRAY<INT>", "`str` that is no exact"),
        ([float("nan")], "ARRAY<DOUBLE>", "no exact"),
        ([Decimal("1.005")], "ARRAY<DECIMAL(10,2)>", "no exact"),
        ([10**9], "ARRAY<DECIMAL(10,2)>", "no exact"),
        ([b"x"], "ARRAY<BINARY>", "no exact"),
        ({"a": 1, "z": 2}, "STRUCT<a: INT>", "a key that its STRUCT has not"),
        ({1: 2}, "MAP<INT, INT>", "keys are no STRING"),
        ("[1]", "ARRAY<INT>", "no list, tuple or dict"),
        ([1], "INT", "is no ARRAY, MAP or STRUCT"),
        ([1], "ARRAY<INT", "is no ARRAY, MAP or STRUCT"),
        ([1], "ARRAY<STRUCT<a: INT COMMENT 'x'>>", "no exact|quotes"),
        ({"a": 1}, "STRUCT<a: INT COMMENT 'x'>", "quotes"),
    ],
)
def test_nested_values_that_are_not_of_their_type(cursor: Cursor, value: Any, sql_type: str, message: str) -> None:
    with pytest.raises((seakernel.DataError, seakernel.ProgrammingError), match=message):
        cursor.execute("SELECT :p", {"p": Parameter(value, sql_type)})


def test_nested_values_in_many_sets(cursor: Cursor) -> None:
    cursor.execute("CREATE OR REPLACE TABLE main.default.nested (id INT, items ARRAY<INT>)")
    sets = [(number, Parameter([number, None], "ARRAY<INT>")) for number in range(3)]
    cursor.executemany("INSERT INTO main.default.nested VALUES (?, ?)", sets)
    rows = cursor.execute("SELECT * FROM main.default.nested ORDER BY id").fetchall()
    assert rows == [(number, [number, None]) for number in range(3)]
