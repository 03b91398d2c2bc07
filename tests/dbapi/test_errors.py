"""Failures: the class, the fields, and the state they leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from seakernel import Cursor


@pytest.mark.parametrize(
    ("sql", "error", "sql_state"),
    [
        ("SELEC 1", seakernel.ProgrammingError, "42601"),
        ("SELECT * FROM main.default.no_such_table", seakernel.ProgrammingError, "42P01"),
        ("SELECT no_such_column FROM range(1)", seakernel.ProgrammingError, "42703"),
        ("SELECT 1 / 0", seakernel.DataError, "22012"),
        ("SELECT CAST('x' AS INT)", seakernel.DataError, "22018"),
    ],
)
def test_a_failed_statement_by_its_sqlstate(cursor: Cursor, sql: str, error: type, sql_state: str) -> None:
    with pytest.raises(seakernel.DatabaseError) as caught:
        cursor.execute(sql).fetchall()
    assert type(caught.value) is error
    assert caught.value.kind == "Sql"
    assert caught.value.sql_state == sql_state
    assert caught.value.statement_id
    assert caught.value.http_status is None
    assert not caught.value.retryable


def test_a_failed_execute_clears_the_previous_result(cursor: Cursor) -> None:
    cursor.execute("SELECT 1")
    first = cursor.statement_id
    with pytest.raises(seakernel.ProgrammingError) as caught:
        cursor.execute("SELECT * FROM no_such_table")
    assert cursor.description is None
    assert cursor.rowcount == -1
    assert cursor.statement_id == caught.value.statement_id != first
    with pytest.raises(seakernel.ProgrammingError, match="no statement was executed"):
        cursor.fetchall()
    assert cursor.execute("SELECT 2").fetchall() == [(2,)]


def test_an_empty_statement_is_refused_before_it_is_sent(cursor: Cursor) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="empty") as caught:
        cursor.execute("  ")
    assert caught.value.kind == "InvalidArgument"
    assert cursor.statement_id is None


def test_missing_rows_are_data_loss_and_no_rows_come_back() -> None:
    fault = {"on": "download", "chunk_index": 2, "times": "always", "do": {"missing_rows": {"rows": 10}}}
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM range(5000)")
        for _ in range(2):
            with pytest.raises(seakernel.DataLossError) as caught:
                cursor.fetchall()
            assert caught.value.kind == "DataLoss"
            assert caught.value.statement_id == cursor.statement_id
        assert isinstance(caught.value, seakernel.DatabaseError)


def test_a_failing_store_is_an_operational_error() -> None:
    fault = {"on": "download", "chunk_index": 1, "times": "always", "do": {"status": {"code": 503}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse:
        with (
            warehouse.connect(retry={"max_attempts": 2, "min_wait_s": 0.01, "max_wait_s": 0.02}) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT id FROM range(3000)")
            with pytest.raises(seakernel.OperationalError) as caught:
                cursor.fetchall()
        assert caught.value.http_status == 503
        assert caught.value.attempts == 2
        assert caught.value.chunk_index == 1
        assert caught.value.retryable
        assert "sig" not in str(caught.value).lower().replace("signal", "")
