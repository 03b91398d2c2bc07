"""Cursors: execute, description, rowcount and every way to fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection, Cursor

NUMBERS = "SELECT id FROM range(5000)"


def test_before_execute_there_is_nothing(cursor: Cursor) -> None:
    assert cursor.description is None
    assert cursor.rowcount == -1
    assert cursor.statement_id is None
    assert cursor.statistics is None
    assert not cursor.truncated
    with pytest.raises(seakernel.ProgrammingError, match="no statement was executed"):
        cursor.fetchone()


def test_description_follows_the_connector(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT true AS b, 1Y AS ti, 1S AS si, 1 AS i, 1L AS bi, CAST(1 AS FLOAT) AS f, 1D AS d, "
        "CAST(1.5 AS DECIMAL(10,2)) AS n, 'x' AS s, X'00' AS bin, DATE'2024-01-01' AS dt, "
        "TIMESTAMP'2024-01-01 00:00:00' AS ts, TIMESTAMP_NTZ'2024-01-01 00:00:00' AS ntz, array(1) AS a, "
        "map('k', 1) AS m, named_struct('x', 1) AS st, INTERVAL '1' MONTH AS ym, INTERVAL '1' DAY AS ds"
    )
    assert cursor.description is not None
    assert [(column[0], column[1]) for column in cursor.description] == [
        ("b", "boolean"),
        ("ti", "tinyint"),
        ("si", "smallint"),
        ("i", "int"),
        ("bi", "bigint"),
        ("f", "float"),
        ("d", "double"),
        ("n", "decimal"),
        ("s", "string"),
        ("bin", "binary"),
        ("dt", "date"),
        ("ts", "timestamp"),
        ("ntz", "timestamp"),
        ("a", "array"),
        ("m", "map"),
        ("st", "struct"),
        ("ym", "interval_year_month"),
        ("ds", "interval_day_time"),
    ]
    assert cursor.description[7] == ("n", "decimal", None, None, 10, 2, None)
    assert cursor.description[0][1] == seakernel.NUMBER
    assert cursor.description[8][1] == seakernel.STRING


def test_fetches_share_one_position(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(NUMBERS)
    assert chunked_cursor.rowcount == 5000
    seen = [chunked_cursor.fetchone(), next(chunked_cursor), *chunked_cursor.fetchmany(999)]
    seen += chunked_cursor.fetchmany_arrow(1500).to_pydict()["id"]
    seen += [chunked_cursor.fetchone()]
    seen += chunked_cursor.fetchmany_arrow(0).to_pydict()["id"]
    seen += chunked_cursor.fetchall()
    assert [row[0] if isinstance(row, tuple) else row for row in seen] == list(range(5000))
    assert chunked_cursor.fetchone() is None
    assert chunked_cursor.fetchmany(3) == []
    assert chunked_cursor.fetchall() == []
    assert chunked_cursor.fetchall_arrow().num_rows == 0


def test_iteration_yields_every_row_once(chunked_cursor: Cursor) -> None:
    assert [row[0] for row in chunked_cursor.execute(NUMBERS)] == list(range(5000))
    assert list(chunked_cursor) == []


def test_fetchmany_takes_arraysize(connection: Connection) -> None:
    cursor = connection.cursor(arraysize=7)
    cursor.execute(NUMBERS)
    assert len(cursor.fetchmany()) == 7
    cursor.arraysize = 2
    assert len(cursor.fetchmany()) == 2
    assert cursor.fetchmany_arrow().num_rows == 2
    assert cursor.fetchmany(0) == []
    with pytest.raises(seakernel.ProgrammingError, match="-1"):
        cursor.fetchmany(-1)


def test_empty_results_have_columns(cursor: Cursor) -> None:
    cursor.execute("SELECT id, 'x' AS s FROM range(10) WHERE id > 100")
    assert [column[:2] for column in cursor.description or []] == [("id", "bigint"), ("s", "string")]
    assert cursor.rowcount == 0
    assert cursor.fetchall() == []
    table = cursor.execute("SELECT id, 'x' AS s FROM range(10) WHERE id > 100").fetchall_arrow()
    assert (table.num_rows, table.column_names) == (0, ["id", "s"])


def test_statements_without_rows(connection: Connection, cursor: Cursor) -> None:
    cursor.execute("CREATE OR REPLACE TABLE main.default.numbers (id INT, name STRING)")
    assert cursor.description is None
    assert cursor.rowcount == -1
    with pytest.raises(seakernel.ProgrammingError, match="no result set"):
        cursor.fetchall()
    cursor.execute("INSERT INTO main.default.numbers VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    assert cursor.rowcount == 3
    assert cursor.fetchall()[0][0] == 3
    cursor.execute("/* a comment */ UPDATE main.default.numbers SET name = 'z' WHERE id > 1")
    assert cursor.rowcount == 2
    cursor.execute("-- another\nDELETE FROM main.default.numbers WHERE id = 1")
    assert cursor.rowcount == 1
    with connection.cursor() as other:
        assert other.execute("SELECT count(*) FROM main.default.numbers").fetchone() == (2,)
    cursor.execute("SELECT 7L AS num_affected_rows")
    assert cursor.rowcount == 1


def test_row_limit_truncates_and_says_so(cursor: Cursor) -> None:
    cursor.execute(NUMBERS, row_limit=10)
    assert cursor.truncated
    assert [row[0] for row in cursor.fetchall()] == list(range(10))
    cursor.execute("SELECT id FROM range(5)", row_limit=10)
    assert not cursor.truncated
    with pytest.raises(seakernel.ProgrammingError, match="row_limit"):
        cursor.execute(NUMBERS, row_limit=0)


def test_a_new_execute_closes_the_previous_result(eventually: Callable[..., Any]) -> None:
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(NUMBERS)
        first, result = cursor.statement_id, cursor._result
        cursor.fetchone()
        cursor.execute("SELECT 1")
        assert result is not None
        with pytest.raises(seakernel.InterfaceError, match="closed"):
            result.rows()
        assert eventually(
            lambda: [
                request
                for request in warehouse.requests()
                if request["operation"] == "close_statement" and request["statement_id"] == first
            ]
        )
        assert cursor.fetchall() == [(1,)]


def test_statement_id_and_statistics(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(NUMBERS)
    assert chunked_cursor.statement_id == chunked_cursor.query_id
    assert chunked_cursor.statement_id
    chunked_cursor.fetchall()
    statistics = chunked_cursor.statistics
    assert statistics is not None
    assert (statistics.chunks, statistics.rows, statistics.retries) == (5, 5000, 0)
    assert statistics.download_requests == 5
    assert statistics.wire_bytes > 0
    assert statistics.decoded_bytes >= 5000 * 8


def test_statistics_tell_what_was_waited_for() -> None:
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, switches={"store_first_byte_ms": 200}) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(NUMBERS)
        cursor.fetchall()
        statistics = cursor.statistics
    assert statistics is not None
    assert statistics.reader_wait_s >= 0.15
    assert 0 <= statistics.memory_wait_s < statistics.reader_wait_s
    assert f"reader_wait_s={statistics.reader_wait_s:.3f}, memory_wait_s=" in repr(statistics)


def test_closing_a_cursor_twice_is_fine_and_final(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    cursor.close()
    assert cursor.description is None
    for call in (cursor.fetchone, cursor.fetchall_arrow, lambda: cursor.execute("SELECT 1"), cursor.__enter__):
        with pytest.raises(seakernel.InterfaceError, match="cursor is closed"):
            call()


def test_set_sizes_do_nothing(cursor: Cursor) -> None:
    cursor.setinputsizes([1])
    cursor.setoutputsize(1, 1)
