"""Text forms of nested values, intervals and geometries: byte for byte those of databricks-sql-kernel, but where it is wrong."""

from __future__ import annotations

import datetime as dt
import math
import random
import struct
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel
import pyarrow as pa
import pytest
from wire_warehouse import RewritingProxy, WireWarehouse, shown_as

import seakernel

if TYPE_CHECKING:
    from collections.abc import Iterator

UTC = pa.timestamp("us", "Etc/UTC")
MICROSECONDS = [0, -1, 1709210096789000, 1709210096789012, -62135596800000000, 253402300799999999]
MONTHS = [pa.MonthDayNano([months, 0, 0]) for months in (14, -25, 0, 2**31 - 1, -(2**31))]


def keyed(key: pa.DataType, *keys: Any) -> pa.Array:
    """A map with those keys and an empty one."""
    return pa.array([[(key, place) for place, key in enumerate(keys)], [], None], pa.map_(key, pa.int32()))


def listed(item: pa.DataType, *items: Any) -> pa.Array:
    """A list with those items and an empty one."""
    return pa.array([[*items, None], [], None], pa.list_(item))


NESTED: dict[str, pa.Array] = {
    "ARRAY<BOOLEAN>": listed(pa.bool_(), True, False),
    "ARRAY<TINYINT>": listed(pa.int8(), -128, 127),
    "ARRAY<SMALLINT>": listed(pa.int16(), -(2**15)),
    "ARRAY<INT>": listed(pa.int32(), -(2**31)),
    "ARRAY<BIGINT>": listed(pa.int64(), 2**63 - 1, -(2**63)),
    "ARRAY<FLOAT>": listed(pa.float32(), 1.5, 0.1, -0.0, 1e30, 1e-10, 16777216.0, 3.4028235e38, 2.0**-149),
    "ARRAY<DOUBLE>": listed(
        pa.float64(),
        1.0,
        0.1,
        -0.0,
        1e300,
        1e-3,
        9.99e-4,
        1e7,
        9999999.5,
        123456789.123,
        1e16,
        5e-324,
        1.7976931348623157e308,
    ),
    "ARRAY<DECIMAL(10,2)>": listed(pa.decimal128(10, 2), Decimal("1.20"), Decimal("-0.05"), Decimal("99999999.99")),
    "ARRAY<DECIMAL(38,0)>": listed(pa.decimal128(38, 0), Decimal(10**38 - 1), Decimal(0)),
    "ARRAY<DECIMAL(38,38)>": listed(pa.decimal128(38, 38), Decimal("0." + "9" * 38), Decimal(0)),
    "ARRAY<STRING>": listed(pa.string(), "", 'a"b\\c/', "\n\r\t\b\f\0\x01\x1f\x7f", "é€🦭", "\u2028<>&'"),
    "ARRAY<BINARY>": listed(pa.binary(), b"", b"\x00\xff", b"abc"),
    "ARRAY<DATE>": listed(pa.date32(), dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1969, 12, 31)),
    "ARRAY<TIMESTAMP>": pa.array([MICROSECONDS, [], None], pa.list_(UTC)),
    "ARRAY<TIMESTAMP_NTZ>": pa.array([MICROSECONDS, [], None], pa.list_(pa.timestamp("us"))),
    "ARRAY<INTERVAL DAY TO SECOND>": listed(pa.duration("us"), 0, -5_000_000, 93_784_500_000, 2**63 - 1),
    "ARRAY<INTERVAL YEAR TO MONTH>": listed(pa.month_day_nano_interval(), *MONTHS),
    "ARRAY<VOID>": listed(pa.null()),
    "ARRAY<VARIANT>": listed(pa.string(), '{"a":1}', '"s"'),
    "MAP<STRING, INT>": keyed(pa.string(), "b", "a", 'q"\n'),
    "MAP<INT, INT>": keyed(pa.int32(), 1, -2),
    "MAP<DOUBLE, INT>": keyed(pa.float64(), 1.0, 0.1, float("nan"), 1e300),
    "MAP<DECIMAL(4,2), INT>": keyed(pa.decimal128(4, 2), Decimal("1.20")),
    "MAP<BOOLEAN, INT>": keyed(pa.bool_(), True, False),
    "MAP<DATE, INT>": keyed(pa.date32(), dt.date(2024, 2, 29)),
    "MAP<TIMESTAMP, INT>": keyed(UTC, *MICROSECONDS),
    "MAP<BINARY, INT>": keyed(pa.binary(), b"\xff", b""),
    "MAP<INTERVAL YEAR TO MONTH, INT>": keyed(pa.month_day_nano_interval(), *MONTHS),
    "MAP<INTERVAL DAY TO SECOND, INT>": keyed(pa.duration("us"), 5),
    "MAP<ARRAY<INT>, INT>": keyed(pa.list_(pa.int32()), [1, 2], []),
    "MAP<STRUCT<a: STRING>, INT>": keyed(pa.struct([("a", pa.string())]), {"a": '"'}),
    "STRUCT<a: INT, b: DECIMAL(4,2)>": pa.array(
        [{"a": 1, "b": Decimal("1.20")}, {"a": None, "b": None}, None],
        pa.struct([("a", pa.int32()), ("b", pa.decimal128(4, 2))]),
    ),
    "STRUCT<>": pa.array([{}, None], pa.struct([])),
    'STRUCT<`a"b`: INT, a: INT>': pa.array([{'a"b': 1, "a": 2}], pa.struct([('a"b', pa.int32()), ("a", pa.int32())])),
    "ARRAY<MAP<STRING, ARRAY<STRUCT<x: DOUBLE>>>>": pa.array(
        [[[("k", [{"x": 1.0}, None]), ("l", None)], None, []], None],
        pa.list_(pa.map_(pa.string(), pa.list_(pa.struct([("x", pa.float64())])))),
    ),
    "ARRAY<" * 8 + "INT" + ">" * 8: pa.array(
        [[[[[[[[[1, None]]]]]]], None]],
        pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.int32())))))))),
    ),
}
INTERVALS: dict[str, pa.Array] = {
    "INTERVAL YEAR TO MONTH": pa.array([*MONTHS, None], pa.month_day_nano_interval()),
    "INTERVAL MONTH": pa.array(MONTHS[:1], pa.month_day_nano_interval()),
    "INTERVAL DAY TO SECOND": pa.array(
        [0, 93_784_500_000, -5_000_000, -86_405_000_000, 1, -1, None, 2**63 - 1, -(2**63)], pa.duration("us")
    ),
    "INTERVAL HOUR": pa.array([7_200_000_000, None], pa.duration("us")),
}
SCALARS: dict[str, pa.Array] = {
    "INT": pa.array([1, None], pa.int32()),
    "STRING": pa.array(["x", None]),
    "TIMESTAMP": pa.array(MICROSECONDS, UTC),
    "VARIANT": pa.array(['{"a":1}', None]),
    "OBJECT<a: INT>": pa.array(['{"a":1}', None]),
    "VOID": pa.nulls(2),
    "DECIMAL(10,2)": pa.array([Decimal("1.20"), None], pa.decimal128(10, 2)),
    "CHAR(3)": pa.array(["a  "]),
    "BINARY": pa.array([b"\xff"]),
}
GEOMETRIES = [
    "POINT(1 2)",
    "POINT (1.5 -0)",
    "SRID=4326;POINT(1 2)",
    "srid=3857;POINT(1e3 -2.5E-2)",
    "SRID=-1;POINT(1 2)",
    "  POINT  ( 1   2 ) ",
    "point(+1 .5)",
    "POINT EMPTY",
    "POINT Z EMPTY",
    "POINTZ(1 2 3)",
    "POINT M (1 2 3)",
    "POINT ZM (1 2 3 4)",
    "POINT(0.1 1e300)",
    "POINT(0.0000000001 123456789.123)",
    "LINESTRING(0 0,1 1,2 3)",
    "LINESTRING EMPTY",
    "LINESTRING Z (0 0 1,1 1 2)",
    "POLYGON((0 0,4 0,4 4,0 0),(1 1,2 1,2 2,1 1))",
    "POLYGON EMPTY",
    "MULTIPOINT(1 2,3 4)",
    "MULTIPOINT(EMPTY,(1 2))",
    "MULTIPOINT Z ((1 2 3))",
    "MULTIPOINT M EMPTY",
    "MULTILINESTRING((0 0,1 1),(2 2,3 3))",
    "MULTILINESTRING(EMPTY,(0 0,1 1))",
    "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))",
    "MULTIPOLYGON Z (((0 0 1,1 0 1,1 1 1,0 0 1)))",
    "MULTIPOLYGON(EMPTY)",
    "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))",
    "GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(POINT(1 2)),POINT EMPTY,POLYGON EMPTY)",
    "GEOMETRYCOLLECTION Z (POINT Z (1 2 3))",
    "GEOMETRYCOLLECTION EMPTY",
]
BROKEN_GEOMETRIES = [
    "",
    "junk",
    "POINT(1)",
    "POINT(1 2 3)",
    "POINT(1,2)",
    "POINT(1 2) x",
    "SRID=4326;",
    "SRID=x;POINT(1 2)",
    "SRID=99999999999;POINT(1 2)",
    "CIRCULARSTRING(0 0,1 1,2 0)",
    "TIN(((0 0,1 0,1 1,0 0)))",
]
GEOMETRY_STRUCT = pa.struct([("srid", pa.int32()), ("wkb", pa.binary())])
#: Types that the official kernel gives another Arrow type or other names where there are no rows: day-time intervals are
#: `day_time_interval`, VOID within others is text, and quotes stay around names of fields.
CHANGE_WITHOUT_ROWS = ("INTERVAL DAY", "INTERVAL HOUR", "ARRAY<VOID>", "`")
#: How the two are asked for the same.
FORMS = [
    pytest.param({}, {"geospatial": "native", "void": "text"}, id="native"),
    pytest.param(
        {"complex_types_as_json": True, "intervals_as_string": True, "enable_geospatial_support": False},
        {"complex_types": "json", "intervals": "text", "geospatial": "text", "void": "text"},
        id="text",
    ),
]


@pytest.fixture(scope="module")
def place() -> Iterator[WireWarehouse]:
    with WireWarehouse() as warehouse:
        yield warehouse


def ours(place: WireWarehouse | RewritingProxy, statement: str, **results: str) -> pa.Table:
    """The result from our kernel."""
    with place.connect(results=results) as connection, connection.cursor() as cursor:
        return cursor.execute(statement).fetchall_arrow()


def theirs(place: WireWarehouse | RewritingProxy, statement: str, **options: Any) -> pa.Table:
    """The result from the official kernel."""
    warehouse = place.warehouse if isinstance(place, RewritingProxy) else place
    session = databricks_sql_kernel.Session(
        place.server_hostname, warehouse.http_path, access_token=warehouse.access_token, **options
    )
    try:
        prepared = session.statement()
        prepared.set_sql(statement)
        executed = prepared.execute()
        schema, batches = executed.arrow_schema(), []
        while (batch := executed.fetch_next_batch()) is not None:
            batches.append(batch)
        return pa.Table.from_batches(batches, schema)
    finally:
        session.close()


def assert_equal(mine: pa.Table, other: pa.Table) -> None:
    """Compares schema, metadata and values."""
    assert mine.schema.equals(other.schema, check_metadata=True), (mine.schema, other.schema)
    if "month_interval" in str(mine.schema):
        assert mine.column(0).to_string(window=100, container_window=100) == other.column(0).to_string(
            window=100, container_window=100
        )
    else:
        assert repr(mine.column(0).to_pylist()) == repr(other.column(0).to_pylist())


class RandomColumns:
    """Columns of random nested types and values; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def nested_type(self, depth: int) -> tuple[str, pa.DataType]:
        """A type as text and for Arrow."""
        kind = self.random.choice(["ARRAY", "MAP", "STRUCT"] if depth else list(LEAVES))
        if kind == "ARRAY":
            text, item = self.nested_type(self.random.randrange(depth))
            return f"ARRAY<{text}>", pa.list_(item)
        if kind == "MAP":
            key, key_type = self.nested_type(0)
            text, item = self.nested_type(self.random.randrange(depth))
            return f"MAP<{key}, {text}>", pa.map_(key_type, item)
        if kind == "STRUCT":
            parts = [self.nested_type(self.random.randrange(depth)) for _ in range(self.random.randrange(1, 4))]
            texts = ", ".join(f"f{place}: {text}" for place, (text, _) in enumerate(parts))
            return f"STRUCT<{texts}>", pa.struct([(f"f{place}", part) for place, (_, part) in enumerate(parts)])
        return kind, LEAVES[kind]

    def value(self, kind: pa.DataType, *, nullable: bool = True) -> Any:
        """A value of the type, or None."""
        choose = self.random
        if nullable and choose.random() < 0.2:
            return None
        if pa.types.is_list(kind):
            return [self.value(kind.value_type) for _ in range(choose.randrange(4))]
        if pa.types.is_map(kind):
            count = choose.randrange(4)
            return [(self.value(kind.key_type, nullable=False), self.value(kind.item_type)) for _ in range(count)]
        if pa.types.is_struct(kind):
            return {field.name: self.value(field.type) for field in kind}
        if pa.types.is_string(kind):
            return "".join(
                chr(choose.choice([choose.randrange(128), choose.randrange(0x1F400, 0x1F4FF)])) for _ in range(5)
            )
        if pa.types.is_binary(kind):
            return choose.randbytes(choose.randrange(6))
        if pa.types.is_boolean(kind):
            return choose.random() < 0.5
        if pa.types.is_decimal(kind):
            return Decimal(choose.randrange(-(10**kind.precision) + 1, 10**kind.precision)).scaleb(
                -kind.scale, Context(prec=40)
            )
        if pa.types.is_floating(kind):
            size, code = (4, "f") if kind.bit_width == 32 else (8, "d")
            number = struct.unpack(code, choose.randbytes(size))[0]
            return number if math.isfinite(number) else 0.5
        bits = 55 if pa.types.is_temporal(kind) and not pa.types.is_date(kind) else min(kind.bit_width, 64) - 1
        bits = 19 if pa.types.is_date(kind) else bits
        number = choose.randrange(-(2**bits), 2**bits)
        return (
            pa.scalar(number, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind).as_py()
            if (pa.types.is_temporal(kind))
            else number
        )

    def column(self) -> tuple[str, pa.Array]:
        """A column of a few rows."""
        text, kind = self.nested_type(4)
        return text, pa.array([self.value(kind) for _ in range(20)], kind)


LEAVES = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DECIMAL(38,10)": pa.decimal128(38, 10),
    "DECIMAL(5,0)": pa.decimal128(5, 0),
    "STRING": pa.string(),
    "BINARY": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMP": UTC,
    "TIMESTAMP_NTZ": pa.timestamp("us"),
    "INTERVAL DAY TO SECOND": pa.duration("us"),
}


@pytest.mark.parametrize("seed", range(40))
def test_random_columns_have_the_forms_of_the_official_kernel(place: WireWarehouse, seed: int) -> None:
    type_text, column = RandomColumns(seed).column()
    statement = place.put(type_text, column)
    mine = ours(place, statement, complex_types="json")
    assert_equal(mine, theirs(place, statement, complex_types_as_json=True))
    assert_equal(ours(place, statement), theirs(place, statement))


@pytest.mark.parametrize(("kernel_options", "results"), FORMS)
@pytest.mark.parametrize("type_text", [*NESTED, *INTERVALS, *SCALARS])
def test_forms_are_those_of_the_official_kernel(
    place: WireWarehouse, type_text: str, kernel_options: dict[str, Any], results: dict[str, str]
) -> None:
    column = {**NESTED, **INTERVALS, **SCALARS}[type_text]
    statement = place.put(type_text, column)
    assert_equal(ours(place, statement, **results), theirs(place, statement, **kernel_options))


@pytest.mark.parametrize(("kernel_options", "results"), FORMS)
@pytest.mark.parametrize("type_text", [*NESTED, *INTERVALS, *SCALARS, "GEOMETRY(4326)", "ARRAY<GEOGRAPHY(4326)>"])
def test_schemas_without_rows_are_those_of_the_official_kernel(
    place: WireWarehouse, type_text: str, kernel_options: dict[str, Any], results: dict[str, str]
) -> None:
    columns = {**NESTED, **INTERVALS, **SCALARS}
    column = columns.get(type_text, pa.array([], pa.list_(pa.string()) if "ARRAY" in type_text else pa.string()))
    statement = place.put(type_text, column.slice(0, 0))
    mine = ours(place, statement, **results)
    if type_text in columns:
        with_rows = ours(place, place.put(type_text, column), **results)
        assert mine.schema.equals(with_rows.schema, check_metadata=True)
    if kernel_options == {} and any(word in type_text for word in CHANGE_WITHOUT_ROWS):
        return
    assert_equal(mine, theirs(place, statement, **kernel_options))


@pytest.mark.parametrize(
    ("type_text", "column", "mine", "other"),
    [
        (
            "ARRAY<DOUBLE>",
            pa.array([[float("nan"), float("inf"), float("-inf"), None]]),
            '["NaN","Infinity","-Infinity",null]',
            "[null,null,null,null]",
        ),
        (
            "ARRAY<TIMESTAMP>",
            pa.array([[2**63 - 1]], pa.list_(UTC)),
            '["+294247-01-10 04:00:54.775807"]',
            '["1970-01-01 00:00:00"]',
        ),
    ],
    ids=["not a number", "far away"],
)
def test_json_keeps_what_the_official_kernel_loses(
    place: WireWarehouse, type_text: str, column: pa.Array, mine: str, other: str
) -> None:
    statement = place.put(type_text, column)
    assert ours(place, statement, complex_types="json").column(0).to_pylist() == [mine]
    assert theirs(place, statement, complex_types_as_json=True).column(0).to_pylist() == [other]


def test_json_says_that_times_are_in_utc_where_the_session_is_not(place: WireWarehouse) -> None:
    zone = {"TIMEZONE": "America/Los_Angeles"}
    statement = place.put("STRUCT<at: TIMESTAMP>", pa.array([{"at": 1720000000123456}], pa.struct([("at", UTC)])))
    with place.connect(results={"complex_types": "json"}, session_configuration=zone) as connection:
        assert connection.cursor().execute(statement).fetchall() == [('{"at":"2024-07-03 09:46:40.123456Z"}',)]
    other = theirs(place, statement, complex_types_as_json=True, session_conf=zone)
    assert other.column(0).to_pylist() == ['{"at":"2024-07-03 09:46:40.123456"}']


@pytest.mark.parametrize(
    "type_text",
    ["GEOMETRY(4326)", "GEOMETRY(0)", "GEOMETRY", "GEOMETRY(ANY)", "GEOGRAPHY(4326)", "GEOGRAPHY(ANY)", "GEOGRAPHY"],
)
def test_geometries_are_those_of_the_official_kernel(place: WireWarehouse, type_text: str) -> None:
    statement = place.put(type_text, pa.array([*GEOMETRIES, None]))
    native = ours(place, statement, geospatial="native")
    assert_equal(native, theirs(place, statement))
    assert_equal(ours(place, statement), theirs(place, statement, enable_geospatial_support=False))
    assert ours(place, statement).column(0).to_pylist() == [*GEOMETRIES, None]

    # What is bytes on the wire becomes text.
    struct = "STRUCT<srid: INT, wkb: BINARY>"
    sent = place.put(struct, pa.array(native.column(0).to_pylist(), GEOMETRY_STRUCT))
    with RewritingProxy(place, answer=shown_as({struct: (type_text, type_text.partition("(")[0])})) as proxy:
        text = ours(proxy, sent)
        assert_equal(text, theirs(proxy, sent, enable_geospatial_support=False))
        assert_equal(ours(proxy, sent, geospatial="native"), native)
        assert_equal(ours(proxy, sent, geospatial="native"), theirs(proxy, sent))
    again = ours(place, place.put(type_text, text.column(0).combine_chunks()), geospatial="native")
    if type_text in ("GEOMETRY", "GEOMETRY(0)", "GEOMETRY(ANY)"):
        # Elsewhere SRID 0, which no text names, is taken for the type's.
        assert_equal(again, native)


@pytest.mark.parametrize("form", ["native", "text"])
@pytest.mark.parametrize("complex_types", ["native", "json"])
def test_geometries_within_lists(place: WireWarehouse, form: str, complex_types: str) -> None:
    statement = place.put("ARRAY<GEOMETRY(4326)>", pa.array([["POINT(1 2)", None], [], None]))
    options = {"enable_geospatial_support": form == "native", "complex_types_as_json": complex_types == "json"}
    mine = ours(place, statement, geospatial=form, complex_types=complex_types)
    assert_equal(mine, theirs(place, statement, **options))


@pytest.mark.parametrize("text", BROKEN_GEOMETRIES)
def test_broken_geometries_are_data_loss(place: WireWarehouse, text: str) -> None:
    statement = place.put("GEOMETRY(4326)", pa.array(["POINT(1 2)", text]))
    with pytest.raises(seakernel.DataLossError, match=r"column `v` cannot be handed over.*row 1") as mine:
        ours(place, statement, geospatial="native")
    assert mine.value.kind == "DataLoss"
    with pytest.raises(databricks_sql_kernel.KernelError) as other:
        theirs(place, statement)
    assert other.value.code == "DataLoss"
    assert ours(place, statement).column(0).to_pylist() == ["POINT(1 2)", text]


def test_broken_bytes_of_a_geometry_are_data_loss(place: WireWarehouse) -> None:
    struct = "STRUCT<srid: INT, wkb: BINARY>"
    point = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    for wkb in (b"", point[:-1], point + b"x", b"\x01\xff\xff\xff\xff", bytes.fromhex("0102000000ffffffff"), None):
        sent = place.put(struct, pa.array([{"srid": 1, "wkb": wkb}], GEOMETRY_STRUCT))
        with (
            RewritingProxy(place, answer=shown_as({struct: ("GEOMETRY(1)", "GEOMETRY")})) as proxy,
            pytest.raises(seakernel.DataLossError) as caught,
        ):
            ours(proxy, sent)
        assert caught.value.kind == "DataLoss"


def test_rows_of_a_cursor_take_the_forms(place: WireWarehouse) -> None:
    point = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    for type_text, column, results, expected in [
        ("ARRAY<INT>", pa.array([[1, None]], pa.list_(pa.int32())), {"complex_types": "json"}, "[1,null]"),
        ("INTERVAL DAY TO SECOND", pa.array([1], pa.duration("us")), {"intervals": "text"}, "0 00:00:00.000001000"),
        ("GEOGRAPHY(4326)", pa.array(["POINT(1 2)"]), {"geospatial": "native"}, {"srid": 4326, "wkb": point}),
    ]:
        with place.connect(results=results) as connection, connection.cursor() as cursor:
            cursor.execute(place.put(type_text, column))
            assert cursor.fetchall() == [(expected,)]


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("complex_types", "text", '"native" or "json"'),
        ("intervals", "json", '"native" or "text"'),
        ("geospatial", True, '"native" or "text"'),
        ("void", None, '"native" or "text"'),
    ],
)
def test_an_unknown_form_is_refused(place: WireWarehouse, option: str, value: object, accepted: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=f"`{option}` is .*; expected {accepted}"):
        place.connect(results={option: value})


def test_the_option_of_the_connector_is_ours(place: WireWarehouse) -> None:
    statement = place.put("ARRAY<INT>", pa.array([[1, None]], pa.list_(pa.int32())))
    for native, value in ((False, "[1,null]"), (True, [1, None])):
        with place.connect(_use_arrow_native_complex_types=native) as connection:
            assert connection.cursor().execute(statement).fetchall() == [(value,)]
