"""Opening and closing connections, and what is said about wrong arguments."""

from __future__ import annotations

import gc
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection

PLACE = {"server_hostname": "http://127.0.0.1:1", "http_path": "/sql/1.0/warehouses/a", "access_token": "t"}


def operations(warehouse: LocalWarehouse) -> list[str]:
    return [request["operation"] for request in warehouse.requests()]


def test_connect_local_needs_nothing_else() -> None:
    with seakernel.connect("local") as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1 AS one").fetchall() == [(1,)]


def test_session_options_reach_the_server() -> None:
    with LocalWarehouse() as warehouse:
        options: dict[str, Any] = {
            "catalog": "samples",
            "schema": "tpch",
            "session_configuration": {"TIMEZONE": "Europe/Berlin", "ANSI_MODE": True},
            "user_agent_entry": "my-app",
        }
        with warehouse.connect(**options) as connection, connection.cursor() as cursor:
            row = cursor.execute("SELECT current_catalog(), current_schema(), current_timezone()").fetchone()
        assert row == ("samples", "tpch", "Europe/Berlin")
        (opened,) = [request for request in warehouse.requests() if request["operation"] == "open_session"]
        assert opened["body"]["session_confs"] == {"TIMEZONE": "Europe/Berlin", "ANSI_MODE": "true"}


def test_the_with_statement_closes_the_session() -> None:
    with LocalWarehouse() as warehouse:
        with warehouse.connect() as connection:
            assert not connection.closed
        assert connection.closed
        connection.close()
        assert operations(warehouse).count("close_session") == 1


def test_a_forgotten_connection_is_closed_in_the_background(eventually: Callable[..., Any]) -> None:
    with LocalWarehouse() as warehouse:
        connection = warehouse.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM range(10)")
        del connection, cursor
        gc.collect()
        assert eventually(lambda: "close_session" in operations(warehouse))


def test_a_closed_connection_refuses_everything(warehouse: LocalWarehouse) -> None:
    connection = warehouse.connect()
    cursor = connection.cursor().execute("SELECT 1")
    connection.close()
    for call in (
        connection.cursor,
        connection.commit,
        connection.rollback,
        connection.__enter__,
        cursor.fetchall,
        cursor.fetchone,
        lambda: cursor.execute("SELECT 1"),
        lambda: cursor.executemany("SELECT 1", [()]),
        cursor.__arrow_c_schema__,
    ):
        with pytest.raises(seakernel.InterfaceError, match="closed") as caught:
            call()
        assert caught.value.kind == "Closed"


def test_there_are_no_transactions(connection: Connection) -> None:
    connection.commit()
    with pytest.raises(seakernel.NotSupportedError, match="no transactions"):
        connection.rollback()


def test_a_wrong_token_is_an_operational_error(warehouse: LocalWarehouse) -> None:
    with pytest.raises(seakernel.OperationalError) as caught:
        warehouse.connect(access_token="dapi-canary")
    assert caught.value.kind in {"Unauthenticated", "PermissionDenied"}
    assert caught.value.http_status in {401, 403}
    assert not caught.value.retryable
    assert "dapi-canary" not in str(caught.value)


def test_a_dead_port_is_an_operational_error_with_its_cause() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(seakernel.OperationalError, match=f"127.0.0.1:{port}.*refused") as caught:
        seakernel.connect(**{**PLACE, "server_hostname": f"http://127.0.0.1:{port}"}, retry={"max_attempts": 1})
    assert time.monotonic() - begin < 5
    assert (caught.value.kind, caught.value.attempts, caught.value.retryable) == ("Network", 1, True)


def test_an_unknown_warehouse_is_refused(warehouse: LocalWarehouse) -> None:
    with pytest.raises(seakernel.DatabaseError):
        warehouse.connect(http_path="/sql/1.0/warehouses/0000")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"server_hostname": "http://example.com"}, "server_hostname"),
        ({"http_path": "/sql/protocolv1/o/1/0123-x"}, "http_path"),
        ({"http_path": None}, "http_path"),
        ({"access_token": None}, "access_token"),
        ({"results": {"memory_budget": 1}}, "memory_budget_bytes"),
        ({"results": {"max_concurrent_downloads": 0}}, "max_concurrent_downloads"),
        ({"retry": {"max_attempts": -1}}, "max_attempts"),
        ({"retry": {"min_wait_s": float("nan")}}, "min_wait_s"),
        ({"read_timeout_s": 0}, "read_timeout_s"),
        ({"connect_timeout_s": -1}, "connect_timeout_s"),
        ({"session_configuration": {"ANSI_MODE": None}}, "ANSI_MODE"),
    ],
)
def test_wrong_values_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=message) as caught:
        seakernel.connect(**{**PLACE, **wrong})
    assert caught.value.kind == "InvalidArgument"


def test_an_unknown_option_gets_a_suggestion() -> None:
    with pytest.raises(TypeError, match="`catalgo`; did you mean `catalog`"):
        seakernel.connect(**PLACE, catalgo="main")
