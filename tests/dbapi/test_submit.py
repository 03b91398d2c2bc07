"""Statements that run by themselves: submitted here, followed and read there."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel import Connection

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


@pytest.fixture
def own() -> Iterator[LocalWarehouse]:
    """A warehouse of the test's own, whose log is the test's."""
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse:
        yield warehouse


def count(warehouse: LocalWarehouse, operation: str) -> int:
    return [entry["operation"] for entry in warehouse.requests()].count(operation)


def test_one_process_submits_and_another_reads(own: LocalWarehouse) -> None:
    script = """
import sys, seakernel
with seakernel.connect(*sys.argv[1:4]) as connection:
    connection.cursor().execute("CREATE TEMPORARY VIEW numbers AS SELECT id FROM range(5000)")
    print(connection.submit("SELECT id, id * :k AS k FROM numbers ORDER BY id", {"k": 2}).statement_id)
"""
    place = [own.server_hostname, own.http_path, own.access_token]
    done = subprocess.run(
        [sys.executable, "-c", script, *place], check=True, capture_output=True, text=True, timeout=60
    )
    with own.connect() as connection:
        statement = connection.attach(done.stdout.strip())
        with statement.cursor() as cursor:
            assert cursor.statement_id == statement.statement_id
            assert [column[0] for column in cursor.description or ()] == ["id", "k"]
            assert cursor.rowcount == 5000
            assert cursor.fetchmany(2) == [(0, 0), (1, 2)]
            assert cursor.fetchall_arrow()["k"].to_pylist() == list(range(4, 10_000, 2))
        assert statement.state() == "Succeeded"
        assert len(statement.cursor(arraysize=7).fetchmany()) == 7
        assert count(own, "close_statement") == 1  # that of the view
        statement.close()
        statement.close()
        assert own.counters()["statements"] == 0
        with pytest.raises(seakernel.ProgrammingError) as raised:
            connection.attach(statement.statement_id)
        assert (raised.value.kind, raised.value.statement_id) == ("NotFound", statement.statement_id)


def test_states_and_cancel_from_elsewhere(own: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    with own.connect() as connection, own.connect() as other:
        statement = connection.submit(NEVER_ENDING)
        assert statement.statement_id in repr(statement)
        assert statement.state() in {"Pending", "Running"}
        attached = other.attach(statement.statement_id)
        assert attached.state() in {"Pending", "Running"}
        raised: list[seakernel.Error] = []

        def wait() -> None:
            try:
                statement.cursor()
            except seakernel.Error as error:
                raised.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        attached.cancel()
        waiting.join(timeout=30)
        assert [(type(error).__name__, error.kind, error.statement_id) for error in raised] == [
            ("OperationalError", "Cancelled", statement.statement_id)
        ]
        assert eventually(lambda: attached.state() == "Canceled")
        statement.close()


def test_a_failure_shows_when_it_is_waited_for(own: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    with own.connect() as connection:
        statement = connection.submit("SELECT * FROM main.default.no_such_table")
        assert eventually(lambda: statement.state() == "Failed")
        with pytest.raises(seakernel.ProgrammingError) as raised:
            statement.cursor()
        assert (raised.value.sql_state, raised.value.statement_id) == ("42P01", statement.statement_id)
        with pytest.raises(seakernel.ProgrammingError, match="row_limit"):
            connection.submit("SELECT 1", row_limit=0)
        limited = connection.submit("SELECT id FROM range(100)", row_limit=3)
        cursor = limited.cursor()
        assert (cursor.truncated, len(cursor.fetchall())) == (True, 3)
        made = connection.submit("CREATE OR REPLACE TABLE main.default.submitted (n INT)")
        with pytest.raises(seakernel.ProgrammingError, match="no result set"):
            made.cursor().fetchall()


@pytest.mark.parametrize("ended_by", ["close", "garbage collection"])
def test_the_session_stays_for_the_statement(own: LocalWarehouse, ended_by: str) -> None:
    def submit(connection: Connection) -> str:
        return connection.submit(NEVER_ENDING).statement_id

    connection = own.connect()
    statement_id = submit(connection)
    if ended_by == "close":
        connection.close()
    del connection
    with own.connect() as other:
        assert count(own, "close_session") == 0
        attached = other.attach(statement_id)
        assert attached.state() in {"Pending", "Running"}
        attached.close()
        assert own.counters()["live_statements"] == 0


def test_closing_the_last_statement_closes_a_session_that_was_kept_for_it(own: LocalWarehouse) -> None:
    connection = own.connect()
    statements = [connection.submit("SELECT 1"), connection.submit("SELECT 2")]
    rows = [statement.cursor().fetchall() for statement in statements]
    assert rows == [[(1,)], [(2,)]]
    connection.close()
    with pytest.raises(seakernel.InterfaceError, match="connection is closed"):
        statements[0].cursor()
    assert statements[0].state() == "Succeeded"
    statements[0].close()
    assert (count(own, "close_session"), own.counters()["open_sessions"]) == (0, 1)
    statements[1].close()
    assert (count(own, "close_session"), own.counters()["open_sessions"]) == (1, 0)
