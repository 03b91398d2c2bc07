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


@pytest.mark.parametrize(
    ("fault", "error", "kind", "attempts"),
    [
        pytest.param({"truncate": {"bytes": 500}}, seakernel.OperationalError, "Network", 2, id="truncated body"),
        pytest.param({"short_body": {"bytes": 500}}, seakernel.DataLossError, "DataLoss", 2, id="short body"),
        # The header of the first LZ4 frame, and the middle of its data: Arrow that decompresses to something else.
        pytest.param({"corrupt": {"offset": 5}}, seakernel.DataLossError, "DataLoss", 2, id="corrupt LZ4"),
        pytest.param(
            {"corrupt": {"offset": 40, "count": 16}}, seakernel.DataLossError, "DataLoss", 2, id="corrupt IPC"
        ),
        pytest.param({"missing_rows": {"rows": 1}}, seakernel.DataLossError, "DataLoss", 2, id="rows missing"),
        pytest.param({"wrong_chunk": {"index": 4}}, seakernel.DataLossError, "DataLoss", 2, id="another file"),
        pytest.param("html", seakernel.DataLossError, "DataLoss", 2, id="a login page"),
    ],
)
def test_a_bad_body_is_an_error_that_names_the_chunk(
    fault: object, error: type[seakernel.Error], kind: str, attempts: int
) -> None:
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse,
        warehouse.connect(retry={"max_attempts": 2, "min_wait_s": 0.01, "max_wait_s": 0.02}) as connection,
        connection.cursor() as cursor,
    ):
        warehouse.faults([{"on": "download", "chunk_index": 2, "times": "always", "do": fault}])
        cursor.execute("SELECT id FROM range(4500)")
        with pytest.raises(seakernel.Error) as caught:
            cursor.fetchall()
        raised = caught.value
        assert (type(raised), raised.kind, raised.chunk_index) == (error, kind, 2)
        assert raised.statement_id == cursor.statement_id
        assert raised.attempts == attempts
        assert raised.elapsed_s > 0
        assert "chunk 2 (rows 2000..3000)" in str(raised)
        warehouse.faults()
        assert cursor.execute("SELECT id FROM range(4500)").fetchall() == [(number,) for number in range(4500)]


@pytest.mark.parametrize("announced", ["too_small", "too_large"])
def test_another_number_of_rows_than_announced_is_data_loss(announced: str) -> None:
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, switches={"total_row_count": announced}) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM range(4500)")
        with pytest.raises(seakernel.DataLossError, match="4500 rows"):
            cursor.fetchall()
        warehouse.switches()
        assert len(cursor.execute("SELECT id FROM range(4500)").fetchall()) == 4500


def test_surplus_rows_of_a_file_are_cut_off_and_counted() -> None:
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, switches={"surplus_rows": 3}) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        rows = cursor.execute("SELECT id FROM range(4500)").fetchall()
        assert rows == [(number,) for number in range(4500)]
        assert cursor.statistics.trimmed_rows == 3 * 5
