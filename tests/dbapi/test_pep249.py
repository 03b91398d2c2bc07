"""PEP 249 from its first heading to its last, each paragraph that asks for something."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection, Cursor
    from seakernel.local import LocalWarehouse

EXCEPTIONS = [
    "Warning",
    "Error",
    "InterfaceError",
    "DatabaseError",
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
]

MERGE = (
    "MERGE INTO main.default.counted AS t USING VALUES (3), (9) AS s(id) ON t.id = s.id "
    "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)"
)

# Module interface


def test_globals() -> None:
    assert (seakernel.apilevel, seakernel.threadsafety, seakernel.paramstyle) == ("2.0", 2, "named")


def test_connect_takes_keywords(warehouse: LocalWarehouse) -> None:
    connection = seakernel.connect(
        server_hostname=warehouse.server_hostname, http_path=warehouse.http_path, access_token=warehouse.access_token
    )
    assert isinstance(connection, seakernel.Connection)
    connection.close()


def test_threads_share_the_module_and_a_connection(warehouse: LocalWarehouse) -> None:
    """Level 2: each thread opens and closes connections, and all use one connection at once, with cursors of their own."""
    start = threading.Barrier(8)
    with warehouse.connect() as shared:

        def run(number: int) -> list[int]:
            start.wait(timeout=30)
            seen = []
            for turn in range(5):
                with warehouse.connect() as own, own.cursor() as cursor:
                    seen.append(cursor.execute("SELECT :n", {"n": number}).fetchall()[0][0])
                with shared.cursor() as cursor:
                    cursor.execute("SELECT :n + id FROM range(2000)", {"n": number * turn})
                    assert [row[0] for row in cursor] == list(range(number * turn, number * turn + 2000))
            return seen

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(run, range(8))) == [[number] * 5 for number in range(8)]


def test_the_exceptions_form_the_tree() -> None:
    parents = {name: getattr(seakernel, name).__base__.__name__ for name in EXCEPTIONS}
    assert parents == {
        "Warning": "Exception",
        "Error": "Exception",
        "InterfaceError": "Error",
        "DatabaseError": "Error",
        **dict.fromkeys(EXCEPTIONS[4:], "DatabaseError"),
    }


# Connection objects


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_the_exceptions_stand_on_the_class_and_on_each_connection(connection: Connection, name: str) -> None:
    assert getattr(seakernel.Connection, name) is getattr(connection, name) is getattr(seakernel, name)


def test_errors_are_caught_by_the_connections_own_names(connection: Connection, cursor: Cursor) -> None:
    with pytest.raises(connection.ProgrammingError):
        cursor.execute("SELECT * FROM main.default.no_such_table")
    with pytest.raises(connection.DataError):
        cursor.execute("SELECT CAST('x' AS INT)").fetchall()


def test_transactions(connection: Connection) -> None:
    connection.commit()
    with pytest.raises(seakernel.NotSupportedError, match="no transactions"):
        connection.rollback()
    assert connection.autocommit
    connection.autocommit = True
    with pytest.raises(seakernel.NotSupportedError, match="autocommit"):
        connection.autocommit = False


@pytest.mark.parametrize(
    "call",
    [
        lambda connection: connection.cursor(),
        lambda connection: connection.commit(),
        lambda connection: connection.rollback(),
        lambda connection: connection.metadata(),
        lambda connection: connection.__enter__(),
        lambda connection: setattr(connection, "autocommit", True),
    ],
)
def test_a_closed_connection_says_so(warehouse: LocalWarehouse, call: Callable[[Connection], object]) -> None:
    connection = warehouse.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    connection.close()
    connection.close()
    with pytest.raises(seakernel.InterfaceError, match="closed"):
        call(connection)
    with pytest.raises(seakernel.InterfaceError, match="closed"):
        cursor.fetchone()


# Cursor objects


def test_description_has_seven_items_a_column(cursor: Cursor) -> None:
    assert cursor.description is None
    cursor.execute("SELECT 1 AS i, CAST(1 AS DECIMAL(12,3)) AS n, 'x' AS s, CAST(NULL AS DECIMAL(38,0)) AS big")
    assert cursor.description == [
        ("i", "int", None, None, None, None, None),
        ("n", "decimal", None, None, 12, 3, None),
        ("s", "string", None, None, None, None, None),
        ("big", "decimal", None, None, 38, 0, None),
    ]
    cursor.execute("CREATE OR REPLACE TABLE main.default.described (id INT)")
    assert cursor.description is None
    with pytest.raises(seakernel.ProgrammingError):
        cursor.execute("SELECT nonsense")
    assert cursor.description is None


def test_rowcount(cursor: Cursor) -> None:
    assert cursor.rowcount == -1
    for sql, expected in [
        ("CREATE OR REPLACE TABLE main.default.counted (id INT, name STRING)", -1),
        ("INSERT INTO main.default.counted VALUES (1, 'a'), (2, 'b'), (3, 'c')", 3),
        ("UPDATE main.default.counted SET name = 'z' WHERE id > 1", 2),
        (MERGE, 2),
        ("DELETE FROM main.default.counted WHERE id = 1", 1),
        ("DELETE FROM main.default.counted WHERE id = 1", 0),
        ("SELECT * FROM main.default.counted", 2),
        ("SELECT * FROM main.default.counted WHERE id < 0", 0),
        ("SHOW TABLES IN main.default LIKE 'counted'", 1),
    ]:
        assert cursor.execute(sql).rowcount == expected, sql
    with pytest.raises(seakernel.ProgrammingError):
        cursor.execute("SELECT nonsense")
    assert cursor.rowcount == -1
    cursor.execute("SELECT id FROM range(10)", row_limit=3)
    assert cursor.rowcount == -1


def test_fetches(cursor: Cursor) -> None:
    cursor.execute("SELECT id FROM range(10)")
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany(2) == [(1,), (2,)]
    cursor.arraysize = 3
    assert cursor.fetchmany() == [(3,), (4,), (5,)]
    assert cursor.fetchmany(size=1) == [(6,)]
    assert cursor.fetchall() == [(7,), (8,), (9,)]
    assert (cursor.fetchone(), cursor.fetchmany(), cursor.fetchall()) == (None, [], [])


@pytest.mark.parametrize("sql", [None, "CREATE OR REPLACE TABLE main.default.described (id INT)"])
def test_fetching_without_a_result_is_an_error(cursor: Cursor, sql: str | None) -> None:
    if sql:
        cursor.execute(sql)
    for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, cursor.__next__, cursor.fetchall_arrow):
        with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
            fetch()


CURSOR_CALLS: dict[str, Callable[[Cursor], object]] = {
    "execute": lambda cursor: cursor.execute("SELECT 1"),
    "execute with parameters": lambda cursor: cursor.execute("SELECT ?", [1]),
    "executemany": lambda cursor: cursor.executemany("SELECT ?", [[1]]),
    "executemany of nothing": lambda cursor: cursor.executemany("SELECT ?", []),
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(),
    "fetchall": lambda cursor: cursor.fetchall(),
    "fetchmany_arrow": lambda cursor: cursor.fetchmany_arrow(),
    "fetchall_arrow": lambda cursor: cursor.fetchall_arrow(),
    "fetch_record_batch": lambda cursor: cursor.fetch_record_batch(),
    "next": next,
    "setinputsizes": lambda cursor: cursor.setinputsizes([1]),
    "setoutputsize": lambda cursor: cursor.setoutputsize(1),
    "enter": lambda cursor: cursor.__enter__(),
    "stream": lambda cursor: cursor.__arrow_c_stream__(),
    "schema": lambda cursor: cursor.__arrow_c_schema__(),
}


@pytest.mark.parametrize("call", CURSOR_CALLS.values(), ids=CURSOR_CALLS)
def test_a_closed_cursor_says_so(connection: Connection, call: Callable[[Cursor], object]) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    cursor.close()
    cursor.close()
    with pytest.raises(seakernel.InterfaceError, match="the cursor is closed"):
        call(cursor)
    assert (cursor.description, cursor.rowcount, cursor.rownumber) == (None, -1, None)


def test_sizes_are_taken_and_ignored(cursor: Cursor) -> None:
    cursor.setinputsizes([str, 20, None])
    cursor.setoutputsize(100)
    cursor.setoutputsize(100, 1)
    assert cursor.execute("SELECT 'a long text'").fetchall() == [("a long text",)]


@pytest.mark.parametrize("name", ["callproc", "nextset", "scroll"])
def test_what_the_warehouse_has_not_is_absent(cursor: Cursor, name: str) -> None:
    assert not hasattr(cursor, name)


# Type objects and constructors


def test_constructors() -> None:
    ticks = dt.datetime(2024, 2, 29, 1, 2, 3).timestamp()  # noqa: DTZ001
    assert seakernel.Date(2024, 2, 29) == seakernel.DateFromTicks(ticks) == dt.date(2024, 2, 29)
    assert seakernel.Time(1, 2, 3) == seakernel.TimeFromTicks(ticks) == dt.time(1, 2, 3)
    stamp = dt.datetime(2024, 2, 29, 1, 2, 3)  # noqa: DTZ001
    assert seakernel.Timestamp(2024, 2, 29, 1, 2, 3) == seakernel.TimestampFromTicks(ticks) == stamp
    assert seakernel.Binary(b"\x00") == b"\x00"


def test_what_the_constructors_make_goes_in_and_comes_out(cursor: Cursor) -> None:
    values = [
        seakernel.Date(2024, 2, 29),
        seakernel.Timestamp(2024, 2, 29, 1, 2, 3),
        seakernel.Binary(b"\x00"),
        None,
        Decimal("1.50"),
    ]
    assert cursor.execute("SELECT ?, ?, ?, ?, ?", values).fetchone() == tuple(values)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("'x'", "STRING"),
        ("CAST('x' AS VARCHAR(3))", "STRING"),
        ("X'00'", "BINARY"),
        *((f"CAST(1 AS {name})", "NUMBER") for name in ("TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE")),
        ("CAST(1 AS DECIMAL(5,2))", "NUMBER"),
        ("true", "NUMBER"),
        ("DATE'2024-02-29'", "DATETIME"),
        ("TIMESTAMP'2024-02-29 00:00:00'", "DATETIME"),
        ("TIMESTAMP_NTZ'2024-02-29 00:00:00'", "DATETIME"),
        ("array(1)", None),
    ],
)
def test_each_type_code_equals_its_type_object_only(cursor: Cursor, sql: str, expected: str | None) -> None:
    description = cursor.execute(f"SELECT {sql}").description
    assert description is not None
    names = ["STRING", "BINARY", "NUMBER", "DATETIME", "ROWID"]
    assert [name for name in names if description[0][1] == getattr(seakernel, name)] == [expected] * bool(expected)


# Optional extensions


def test_rownumber_is_the_index_of_the_next_row(chunked_cursor: Cursor) -> None:
    assert chunked_cursor.rownumber is None
    chunked_cursor.execute("SELECT id FROM range(5000)")
    seen: list[Any] = [chunked_cursor.rownumber]
    for fetch in (
        chunked_cursor.fetchone,
        lambda: next(chunked_cursor),
        lambda: chunked_cursor.fetchmany(10),
        lambda: chunked_cursor.fetchmany_arrow(100),
        chunked_cursor.fetchall,
        chunked_cursor.fetchone,
    ):
        fetch()
        seen.append(chunked_cursor.rownumber)
    assert seen == [0, 1, 2, 12, 112, 5000, 5000]


def test_the_other_extensions(connection: Connection, cursor: Cursor) -> None:
    assert cursor.connection is connection
    assert iter(cursor) is cursor
    assert cursor.lastrowid is None
    cursor.execute("SELECT id FROM range(3)")
    assert list(cursor) == [(0,), (1,), (2,)]
    with pytest.raises(StopIteration):
        next(cursor)
