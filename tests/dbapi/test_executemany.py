"""`executemany`: many rows a statement where that inserts the same, in order, and clear about what was applied."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel import Parameter
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Cursor

UTC = dt.timezone.utc


def statements(warehouse: LocalWarehouse) -> list[str]:
    return [request["body"]["statement"] for request in warehouse.requests() if request["operation"] == "execute"]


@pytest.fixture
def table(cursor: Cursor) -> str:
    name = "main.default.executemany"
    cursor.execute(f"CREATE OR REPLACE TABLE {name} (id BIGINT, name STRING, amount DECIMAL(10,2))")
    return name


def test_a_thousand_rows_take_twelve_statements(warehouse: LocalWarehouse, cursor: Cursor, table: str) -> None:
    rows = [(number, f"name {number}", Decimal(number) / 4 if number % 7 else None) for number in range(1000)]
    rows = [
        (number, name, None if amount is None else amount.quantize(Decimal("0.01"))) for number, name, amount in rows
    ]
    before = len(statements(warehouse))
    assert cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows) is cursor
    assert cursor.rowcount == 1000
    assert len(statements(warehouse)) - before == 12
    assert cursor.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() == rows


@pytest.mark.parametrize("markers", [":id, :name, :amount", "%(id)s, %(name)s, %(amount)s"])
def test_names(warehouse: LocalWarehouse, cursor: Cursor, table: str, markers: str) -> None:
    rows = [{"name": f"n{number}", "id": number, "amount": None} for number in range(100)]
    before = len(statements(warehouse))
    cursor.executemany(f"INSERT INTO {table} (id, name, amount) VALUES ({markers})", rows)
    assert (cursor.rowcount, len(statements(warehouse)) - before) == (100, 2)
    found = cursor.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
    assert [row.asDict() for row in found] == rows


def test_no_sets_send_nothing(warehouse: LocalWarehouse, cursor: Cursor, table: str) -> None:
    before = len(statements(warehouse))
    nothing: list[Any]
    for nothing in ([], ()):
        cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", nothing)
        assert cursor.rowcount == 0
    cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", iter([]))
    assert len(statements(warehouse)) == before


def test_values_of_several_types_are_stored_as_one_by_one(warehouse: LocalWarehouse, cursor: Cursor) -> None:
    values = [
        1,
        2**40,
        None,
        Decimal("1.5"),
        Decimal("12.5"),
        Decimal("1.25"),
        0.5,
        "x",
        True,
        None,
        dt.date(2024, 2, 29),
        dt.datetime(2024, 2, 29, 1, tzinfo=UTC),
        Parameter(1, "TINYINT"),
        2**70,
        3,
        4,
    ]
    for name in ("alone", "together"):
        cursor.execute(f"CREATE OR REPLACE TABLE main.default.{name} (place INT, value STRING)")
    for place, value in enumerate(values):
        cursor.execute("INSERT INTO main.default.alone VALUES (?, ?)", [place, value])
    before = len(statements(warehouse))
    cursor.executemany("INSERT INTO main.default.together VALUES (?, ?)", list(enumerate(values)))
    assert len(statements(warehouse)) - before < len(values)
    alone = cursor.execute("SELECT * FROM main.default.alone ORDER BY place").fetchall()
    assert cursor.execute("SELECT * FROM main.default.together ORDER BY place").fetchall() == alone
    assert [row.value for row in alone][:6] == ["1", str(2**40), None, "1.5", "12.5", "1.25"]


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("INSERT INTO {} VALUES (? + 1, 'a', 1)", 3),
        ("INSERT INTO {} VALUES (?, uuid(), 1)", 3),
        ("INSERT INTO {} SELECT ?, 'a', 1", 3),
        ("INSERT INTO {} VALUES (?, 'a ?', -1.5)", 1),
        ("insert into table {} (id) values (?);", 1),
    ],
)
def test_other_statements_are_sent_for_each_set(
    warehouse: LocalWarehouse, cursor: Cursor, table: str, sql: str, count: int
) -> None:
    before = len(statements(warehouse))
    cursor.executemany(sql.format(table), [[1], [2], [3]])
    assert cursor.rowcount == 3
    assert len(statements(warehouse)) - before == count
    assert cursor.execute(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchone() == (3, 3)


def test_overwriting_keeps_the_last_set_only(cursor: Cursor, table: str) -> None:
    cursor.executemany(f"INSERT OVERWRITE {table} VALUES (?, 'a', 1)", [[1], [2], [3]])
    assert [row.id for row in cursor.execute(f"SELECT id FROM {table}")] == [3]


def test_updates_sum_their_rows(cursor: Cursor, table: str) -> None:
    cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(1, "a", 1), (2, "b", 2), (3, "b", 3)])
    cursor.executemany(
        f"UPDATE {table} SET amount = 9 WHERE name = :name", [{"name": "b"}, {"name": "a"}, {"name": "z"}]
    )
    assert cursor.rowcount == 3


def test_a_failure_says_what_was_applied(warehouse: LocalWarehouse, cursor: Cursor, table: str) -> None:
    sets = [(number, "a", 1) for number in range(200)]
    sets[100] = (100, "a", 10**9)
    before = len(statements(warehouse))
    with pytest.raises(seakernel.DatabaseError) as failed:
        cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", sets)
    assert failed.value.kind == "Sql"
    assert failed.value.applied_sets == 85
    expected = "of the parameter sets, the first 85 were applied, the next 85 were not applied, and no more were sent"
    assert expected in str(failed.value)
    assert len(statements(warehouse)) - before == 2
    assert cursor.execute(f"SELECT count(*), max(id) FROM {table}").fetchone() == (85, 84)


def test_a_value_that_cannot_be_sent_is_named(cursor: Cursor, table: str) -> None:
    def sets() -> Iterator[tuple[Any, ...]]:
        yield from ((number, "a", 1) for number in range(90))
        yield (90, [1], 1)

    with pytest.raises(
        seakernel.NotSupportedError, match=r"parameter set 90: parameter number 2.*first 85 were applied"
    ):
        cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", sets())
    assert cursor.execute(f"SELECT count(*) FROM {table}").fetchone() == (85,)


def test_a_statement_whose_answer_was_lost_may_have_been_applied() -> None:
    with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as other:
        other.execute("CREATE TABLE main.default.lost (id INT)")
        warehouse.faults([{"on": "execute", "times": 1, "do": "drop_before_response"}])
        before = len(statements(warehouse))
        with pytest.raises(seakernel.OperationalError, match="the next 3 may have been applied") as failed:
            other.executemany("INSERT INTO main.default.lost VALUES (?)", [[1], [2], [3]])
        assert failed.value.applied_sets == 0
        assert len(statements(warehouse)) - before == 1


def test_an_arrow_table_is_a_parameter_set_a_row(warehouse: LocalWarehouse, cursor: Cursor) -> None:
    pa = pytest.importorskip("pyarrow")
    moment = dt.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)
    columns = {
        "ti": (pa.int8(), [1, None, -128], "tinyint"),
        "si": (pa.uint8(), [255, None, 0], "smallint"),
        "i": (pa.uint16(), [65535, None, 0], "int"),
        "bi": (pa.uint32(), [2**32 - 1, None, 0], "bigint"),
        "huge": (pa.uint64(), [2**64 - 1, None, 0], "decimal(20,0)"),
        "f": (pa.float32(), [0.5, None, -1.5], "float"),
        "d": (pa.float64(), [0.1, None, float("inf")], "double"),
        "n": (pa.decimal128(9, 3), [Decimal("1.500"), None, Decimal("-0.001")], "decimal(9,3)"),
        "s": (pa.large_string(), ["é", None, ""], "string"),
        "b": (pa.binary(), [b"\x00", None, b""], "binary"),
        "day": (pa.date32(), [dt.date(2024, 2, 29), None, dt.date(1, 1, 1)], "date"),
        "at": (pa.timestamp("us", "Europe/Berlin"), [moment, None, moment], "timestamp"),
        "ntz": (pa.timestamp("ms"), [moment.replace(tzinfo=None, microsecond=0)] * 3, "timestamp_ntz"),
        "span": (pa.duration("s"), [dt.timedelta(days=1, seconds=5), None, dt.timedelta(0)], "interval day to second"),
        "yes": (pa.bool_(), [True, None, False], "boolean"),
        "nothing": (pa.null(), [None, None, None], None),
    }
    table = pa.table({name: pa.array(values, kind) for name, (kind, values, _) in columns.items()})
    declared = [f"{name} {sql or 'int'}" for name, (_, _, sql) in columns.items()]
    cursor.execute(f"CREATE OR REPLACE TABLE main.default.arrow (row INT, {', '.join(declared)})")
    table = table.add_column(0, "row", pa.array(range(3), pa.int32()))
    before = len(statements(warehouse))
    for style in ("?", ":"):
        markers = ", ".join("?" if style == "?" else f":{name}" for name in table.column_names)
        cursor.execute("DELETE FROM main.default.arrow")
        cursor.executemany(f"INSERT INTO main.default.arrow VALUES ({markers})", table)
        assert cursor.rowcount == 3
        rows = cursor.execute("SELECT * FROM main.default.arrow ORDER BY row").fetchall()
        assert rows == list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert len(statements(warehouse)) - before == 6
    for name, (_, _, sql) in columns.items():
        cursor.executemany(f"SELECT typeof(:{name})", table.select([name]).slice(0, 1))
        assert cursor.fetchone() == (sql or "void",)


def test_arrow_that_does_not_fit(cursor: Cursor) -> None:
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(seakernel.NotSupportedError, match=r"column `x`.*Time64.*cast it"):
        cursor.executemany("SELECT ?", pa.table({"x": pa.array([dt.time(1)])}))
    with pytest.raises(seakernel.ProgrammingError, match=r"parameter set 0: .*`y` has no marker"):
        cursor.executemany("SELECT :x", pa.table({"x": [1], "y": [1]}))
    with pytest.raises(seakernel.ProgrammingError, match="same name"):
        cursor.executemany("SELECT :x", pa.table([[1], [2]], names=["x", "x"]))
    with pytest.raises(seakernel.DataError, match="nanoseconds"):
        cursor.executemany("SELECT ?", pa.table({"x": pa.array([1], pa.timestamp("ns"))}))


def test_a_null_row_is_no_parameter_set(cursor: Cursor) -> None:
    pa = pytest.importorskip("pyarrow")
    rows = pa.StructArray.from_arrays([pa.array([1, 2])], ["x"], mask=pa.array([False, True]))
    with pytest.raises(seakernel.Error, match="a row of a record batch cannot be null"):
        cursor.executemany("SELECT :x", pa.chunked_array([rows]))


def test_a_cursor_feeds_another(cursor: Cursor, warehouse: LocalWarehouse, table: str) -> None:
    with warehouse.connect() as connection, connection.cursor() as other:
        other.execute("SELECT id, 'x' AS name, CAST(1 AS DECIMAL(10,2)) AS amount FROM range(3000)")
        cursor.executemany(f"INSERT INTO {table} VALUES (:id, :name, :amount)", other)
    assert cursor.rowcount == 3000
    assert cursor.execute(f"SELECT count(*), sum(id) FROM {table}").fetchone() == (3000, sum(range(3000)))


def test_cancel_ends_executemany_between_its_statements(warehouse: LocalWarehouse, cursor: Cursor, table: str) -> None:
    def sets() -> Iterator[tuple[Any, ...]]:
        for number in range(1000):
            if number == 100:
                # As from another thread that comes while nothing is sent.
                cursor.cancel()
            yield number, "a", 1

    before = len(statements(warehouse))
    with pytest.raises(seakernel.OperationalError, match=r"first 85 were applied, no more were sent") as failed:
        cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", sets())
    assert (failed.value.kind, failed.value.applied_sets) == ("Cancelled", 85)
    assert len(statements(warehouse)) - before == 1
    cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(1, "a", 1)])
    assert cursor.execute(f"SELECT count(*) FROM {table}").fetchone() == (86,)


def test_cancel_from_another_thread_ends_executemany(cursor: Cursor, table: str) -> None:
    def sets() -> Iterator[tuple[int]]:
        for number in range(100_000):
            begun.set()
            yield (number,)

    begun = threading.Event()

    def cancel() -> None:
        begun.wait()
        cursor.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(seakernel.OperationalError) as failed:
        cursor.executemany(f"UPDATE {table} SET amount = 9 WHERE id = ?", sets())
    thread.join()
    assert failed.value.kind == "Cancelled"
    assert failed.value.applied_sets is not None
    assert failed.value.applied_sets < 100


def test_after_a_failure_there_is_no_result_of_the_statements_before(cursor: Cursor, table: str) -> None:
    def sets() -> Iterator[tuple[Any, ...]]:
        yield from ((number, "a", 1) for number in range(90))
        raise KeyboardInterrupt if interrupt else ValueError("no more")

    for interrupt in (False, True):
        with pytest.raises(KeyboardInterrupt if interrupt else ValueError) as failed:
            cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", sets())
        assert failed.value.applied_sets == 85  # type: ignore[union-attr]
        if hasattr(failed.value, "add_note"):
            assert failed.value.__notes__ == ["of the parameter sets, the first 85 were applied, no more were sent"]
        assert (cursor.rowcount, cursor.description) == (-1, None)
        assert cursor.statement_id is not None
        with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
            cursor.fetchall()
    assert cursor.execute(f"SELECT count(*) FROM {table}").fetchone() == (170,)
