"""Statements below the cursor: submitted, attached to, read again; and what goes along with them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local import LocalWarehouse


@pytest.fixture
def session(chunked: LocalWarehouse) -> Iterator[seakernel.Session]:
    session = open_session(chunked)
    yield session
    session.close()


def open_session(warehouse: LocalWarehouse, **options: Any) -> seakernel.Session:
    return seakernel.Session(warehouse.server_hostname, warehouse.http_path, warehouse.access_token, **options)


def count(executed: seakernel.ExecutedStatement) -> int:
    return executed.results().take().num_rows


def operations(warehouse: LocalWarehouse, statement_id: str) -> list[str]:
    return [request["operation"] for request in warehouse.requests() if request["statement_id"] == statement_id]


def test_a_submitted_statement_is_read_as_often_as_wanted_and_closed_once(
    chunked: LocalWarehouse, session: seakernel.Session, eventually: Callable[..., Any]
) -> None:
    executed = session.statement("SELECT id FROM range(5000)").submit()
    assert repr(executed) == f"ExecutedStatement(statement_id='{executed.statement_id}')"
    assert [count(executed), count(executed), count(executed.reader())] == [5000] * 3
    assert executed.state() == "Succeeded"
    statement_id = executed.statement_id
    del executed
    assert eventually(lambda: operations(chunked, statement_id).count("close_statement") == 1)


def test_another_session_attaches_and_leaves_the_statement_alone(
    chunked: LocalWarehouse, session: seakernel.Session
) -> None:
    owner = session.statement("SELECT id FROM range(5000)").submit()
    other = open_session(chunked)
    attached = other.attach(owner.statement_id)
    attached.wait()
    assert count(attached) == 5000
    with pytest.raises(seakernel.ProgrammingError, match="read-only") as refused:
        attached.cancel()
    assert refused.value.statement_id == owner.statement_id
    attached.close()
    other.close()
    time.sleep(0.2)
    assert "close_statement" not in operations(chunked, owner.statement_id)
    assert count(owner) == 5000
    owner.close()
    owner.close()
    with pytest.raises(seakernel.InterfaceError):
        owner.results()


def test_attaching_to_an_unknown_id_names_it(session: seakernel.Session) -> None:
    with pytest.raises(seakernel.ProgrammingError) as unknown:
        session.attach("01ef0000-0000-1000-8000-000000000000")
    assert (unknown.value.kind, unknown.value.http_status) == ("NotFound", 404)
    assert unknown.value.statement_id == "01ef0000-0000-1000-8000-000000000000"


def test_a_failure_shows_in_the_state_and_is_raised_by_wait(session: seakernel.Session) -> None:
    executed = session.statement("SELECT * FROM main.default.no_such_table").submit()
    while executed.state() in ("Pending", "Running"):
        time.sleep(0.01)
    assert executed.state() == "Failed"
    for call in (executed.wait, executed.results):
        with pytest.raises(seakernel.ProgrammingError) as failed:
            call()
        assert failed.value.sql_state == "42P01"


def test_a_statement_is_sent_once(session: seakernel.Session) -> None:
    statement = session.statement("SELECT 1")
    statement.submit()
    for send in (statement.submit, statement.execute):
        with pytest.raises(seakernel.InterfaceError, match="executed before"):
            send()


def test_query_tags_and_headers_go_along(chunked: LocalWarehouse) -> None:
    session = open_session(chunked, requests={"headers": {"X-Trace": "1", "User-Agent": "mine/1"}, "timeout_s": 30})
    session.statement("SELECT 1", query_tags=[("team", "x"), ("bare", None)]).execute().close()
    sent = [request for request in chunked.requests() if request["operation"] == "execute"][-1]
    assert sent["body"]["query_tags"] == [{"key": "team", "value": "x"}, {"key": "bare"}]
    assert "x-trace" in sent["headers"]
    assert sent["user_agent"] == "mine/1"
    session.close()


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ({"headers": 5}, "neither a mapping"),
        ({"headers": [("a b", "canary")]}, "not the name"),
        ({"headers": {"a": "canary\n"}}, "characters"),
        ({"timeout_s": 0}, "positive"),
        ({"header": {}}, "did you mean `headers`"),
    ],
)
def test_wrong_request_options_are_refused(chunked: LocalWarehouse, requests: Any, expected: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=expected) as refused:
        open_session(chunked, requests=requests)
    assert "canary" not in str(refused.value)


def test_parameters_from_text_are_checked_here(session: seakernel.Session) -> None:
    checked = seakernel.Parameter.from_text
    assert (checked("1.234", "decimal(3,2)").value, checked("1.234", "decimal(3,2)").sql_type) == (
        "1.234",
        "DECIMAL(4,3)",
    )
    parameters = [
        checked("1E+5", "DECIMAL(4,0)"),
        checked(None, "DATE"),
        checked("00ff", "BINARY"),
        checked("nan", "DOUBLE"),
    ]
    row = session.execute("SELECT ?, ?, ?, isnan(?)", parameters).rows()[0]
    assert (int(row[0]), *row[1:]) == (100000, None, b"\x00\xff", True)
    with pytest.raises(seakernel.ProgrammingError) as refused:
        checked("canary", "INT")
    assert refused.value.kind == "InvalidArgument"
    assert "canary" not in str(refused.value)


def test_modified_rows_are_told_for_statements_that_modify(session: seakernel.Session) -> None:
    table = "main.default.modified"
    assert session.execute(f"CREATE OR REPLACE TABLE {table} (a INT)").modified_row_count is None
    assert session.execute(f"WITH n AS (SELECT 1 AS a) INSERT INTO {table} SELECT a FROM n").modified_row_count == 1
    assert session.execute(f"DELETE FROM {table} WHERE a > 5").modified_row_count == 0
    result = session.execute("SELECT 7L AS num_affected_rows")
    assert result.modified_row_count is None
    assert result.rows() == [(7,)]


def test_pyarrow_objects_come_from_the_same_position(session: seakernel.Session) -> None:
    result = session.execute("SELECT id FROM range(5000)")
    first = result.next_pyarrow_batch()
    assert first is not None
    rest = result.take_pyarrow(100)
    assert first.column("id").to_pylist() + rest.column("id").to_pylist() == list(range(first.num_rows + 100))
    assert result.take_pyarrow().num_rows == 4900 - first.num_rows
    assert result.next_pyarrow_batch() is None
    assert result.take_pyarrow().num_rows == 0
