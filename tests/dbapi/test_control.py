"""Time limits, tags, and sessions that the server has ended."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection
    from seakernel.local import LocalWarehouse

NEVER_ENDING = "SELECT count(*) FROM range(1000000) a CROSS JOIN range(1000000) b WHERE (a.id * b.id) % 7 = 8"


def sent(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request for request in warehouse.requests() if request["operation"] == operation]


def end_session(warehouse: LocalWarehouse, session_id: str) -> None:
    """Ends a session on the server, as idle ones are ended."""
    address = f"http://{warehouse.server_hostname.removeprefix('http://')}/api/2.0/sql/sessions/{session_id}"
    query = f"?warehouse_id={warehouse.http_path.rpartition('/')[2]}"
    headers = {"Authorization": f"Bearer {warehouse.access_token}"}
    with urllib.request.urlopen(urllib.request.Request(address + query, headers=headers, method="DELETE")) as answer:
        assert answer.status == 200


def test_a_time_limit_cancels_the_statement(chunked: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    with chunked.connect() as connection, connection.cursor() as cursor:
        began = time.monotonic()
        with pytest.raises(seakernel.OperationalError, match=r"limit of 500ms") as failure:
            cursor.execute(NEVER_ENDING, timeout=0.5)
        assert time.monotonic() - began < 5
        assert (failure.value.kind, failure.value.sql_state) == ("Timeout", "HYT00")
        assert not failure.value.retryable
        assert eventually(lambda: sent(chunked, "cancel"))
        assert cursor.execute("SELECT 1", timeout=60).fetchall() == [(1,)]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_a_positive_number(connection: Connection, timeout: float) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="timeout_s"):
        connection.cursor().execute("SELECT 1", timeout=timeout)


def test_tags_of_a_connection_and_of_a_statement(chunked: LocalWarehouse) -> None:
    with chunked.connect(query_tags={"team": "x:y,z", "bare": None, "a\\b": "c\\d"}) as connection:
        connection.cursor().execute("SELECT 1", query_tags={"job": "7", "nightly": None})
    session = sent(chunked, "open_session")[-1]["body"]
    assert session["session_confs"] == {"QUERY_TAGS": r"team:x\:y\,z,bare,a\\b:c\\d"}
    assert sent(chunked, "execute")[-1]["body"]["query_tags"] == [{"key": "job", "value": "7"}, {"key": "nightly"}]


def test_tags_that_cannot_be_told_apart_are_refused(chunked: LocalWarehouse) -> None:
    for wrong in ({"a:b": "c"}, {"a,b": "c"}, {"": "c"}):
        with pytest.raises(seakernel.ProgrammingError, match="key in `query_tags`"):
            chunked.connect(query_tags=wrong)
    with pytest.raises(seakernel.ProgrammingError, match="two names of one option"):
        chunked.connect(query_tags={"a": "b"}, session_configuration={"query_tags": "c:d"})


def test_a_session_that_the_server_has_ended_is_opened_anew(chunked: LocalWarehouse) -> None:
    with chunked.connect(session_configuration={"TIMEZONE": "Asia/Tokyo"}) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM range(10)").fetchall()
        first = connection.session_id
        end_session(chunked, first)
        before = len(sent(chunked, "execute")), len(sent(chunked, "open_session"))
        assert cursor.execute("SELECT current_timezone()").fetchall() == [("Asia/Tokyo",)]
        assert connection.session_id != first
        assert (len(sent(chunked, "execute")), len(sent(chunked, "open_session"))) == (before[0] + 2, before[1] + 1)
    assert sent(chunked, "close_session")[-1]["path"].endswith(connection.session_id)


@pytest.mark.parametrize(
    "setting", ["USE SCHEMA information_schema", "SET TIME ZONE 'UTC'", "CREATE TEMPORARY VIEW v AS SELECT 1 AS x"]
)
def test_what_was_set_in_a_session_is_never_lost_in_silence(chunked: LocalWarehouse, setting: str) -> None:
    with chunked.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(setting)
        end_session(chunked, connection.session_id)
        opened = len(sent(chunked, "open_session"))
        for _ in range(2):
            with pytest.raises(seakernel.InterfaceError, match="open a new session") as failure:
                cursor.execute("SELECT 1")
            assert failure.value.kind == "Closed"
        assert len(sent(chunked, "open_session")) == opened
