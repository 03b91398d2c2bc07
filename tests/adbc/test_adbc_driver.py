"""Opening and closing: entry points, options, secrets, errors before a statement, and what a release leaves."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import pytest
from adbc_driver_manager import _lib, dbapi
from adbc_place import place
from child_processes import in_child, interrupted

import seakernel
import seakernel.adbc
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.mark.parametrize("entrypoint", ["SeaKernelDriverInit", "AdbcDriverInit", None])
def test_every_entry_point_opens(warehouse: LocalWarehouse, entrypoint: str | None) -> None:
    arguments: dict[str, Any] = {"db_kwargs": place(warehouse), "autocommit": True}
    with (
        dbapi.connect(seakernel.adbc.driver_path(), entrypoint=entrypoint, **arguments) as connection,
        connection.cursor() as cursor,
    ):
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_a_uri_is_enough(warehouse: LocalWarehouse) -> None:
    host = warehouse.server_hostname.removeprefix("http://")
    uri = f"databricks://token:{warehouse.access_token}@{host}{warehouse.http_path}?catalog=samples&schema=tpch&timezone=Asia/Tokyo"
    with dbapi.connect(seakernel.adbc.driver_path(), uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_catalog(), current_schema(), current_timezone()")
        assert cursor.fetchall() == [("samples", "tpch", "Asia/Tokyo")]
        shown = connection.adbc_database.get_option("uri")
        assert shown.startswith(f"databricks://{host}{warehouse.http_path}?catalog=samples")
        assert warehouse.access_token not in shown


def test_the_helper_takes_the_options_of_connect(warehouse: LocalWarehouse) -> None:
    with (
        seakernel.adbc.connect(
            warehouse.server_hostname,
            warehouse.http_path,
            warehouse.access_token,
            catalog="samples",
            schema="tpch",
            session_configuration={"TIMEZONE": "Europe/Zurich"},
            user_agent_entry="adbc test",
            results={
                "max_concurrent_downloads": 2,
                "memory_budget_bytes": 1 << 24,
                "compression": True,
                "cloud_fetch": "on",
            },
            retry={"max_attempts": 3},
            tls={"verify_certificates": True, "verify_hostnames": True},
            proxy=False,
            connect_timeout_s=20,
            read_timeout_s=60,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT current_catalog() || '.' || current_schema() || ' ' || current_timezone()")
        assert cursor.fetchone() == ("samples.tpch Europe/Zurich",)
        option = connection.adbc_database.get_option
        assert option("databricks.query.retry_count") == "2"
        assert option("databricks.user_agent_entry") == "adbc test"


def test_the_helper_refuses_what_the_driver_does_not_have(warehouse: LocalWarehouse) -> None:
    arguments = (warehouse.server_hostname, warehouse.http_path)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"results": {"complex_types": "json"}}, "complex_types"),
        ({"retry": {"min_wait_s": 1}}, "min_wait_s"),
        ({"tls": {"ca_certificates_pem": b"x"}}, "ca_certificates_pem"),
        ({"auth": {"type": "oauth-u2m"}}, "signing in"),
    ]
    for options, named in refused:
        with pytest.raises(seakernel.NotSupportedError, match=named):
            seakernel.adbc.connect(*arguments, None if "auth" in options else "t", **options)
    with pytest.raises(seakernel.ProgrammingError, match="client_secret"):
        seakernel.adbc.connect(*arguments, auth={"type": "oauth-m2m", "client_id": "x"})  # type: ignore[typeddict-item]


def test_a_service_principal_signs_in() -> None:
    with LocalWarehouse(oauth={"client_id": "app", "client_secret": "canary-client-secret"}) as warehouse:
        auth = {"type": "oauth-m2m", "client_id": "app", "client_secret": "canary-client-secret"}
        with (
            seakernel.adbc.connect(warehouse.server_hostname, warehouse.http_path, auth=auth) as connection,  # type: ignore[arg-type]
            connection.cursor() as cursor,
        ):
            assert cursor.execute("SELECT 1").fetchall() == [(1,)]
            with pytest.raises(dbapi.Error, match="secret"):
                connection.adbc_database.get_option("adbc.databricks.oauth.client_secret")
        options = {**place(warehouse), "clientID": "app", "clientSecret": "canary-wrong", "authType": "OAuthM2M"}
        del options["databricks.access_token"]
        with pytest.raises(dbapi.Error) as raised:
            dbapi.connect(seakernel.adbc.driver_path(), db_kwargs=options, autocommit=True)
        assert raised.value.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("changed", "error", "status", "text"),
    [
        ({"databricks.access_token": "wrong"}, dbapi.ProgrammingError, "UNAUTHORIZED", "403"),
        ({"databricks.http_path": "/sql/1.0/warehouses/none"}, dbapi.ProgrammingError, "NOT_FOUND", "none"),
        ({"databricks.http_path": "/nowhere"}, dbapi.ProgrammingError, "INVALID_ARGUMENT", "http_path"),
        ({"nonsense": "x"}, dbapi.NotSupportedError, "NOT_IMPLEMENTED", "`nonsense`"),
        (
            {"databricks.query.max_rows": "many"},
            dbapi.ProgrammingError,
            "INVALID_ARGUMENT",
            "databricks.query.max_rows",
        ),
        ({"uri": "nonsense"}, dbapi.ProgrammingError, "INVALID_ARGUMENT", "databricks://token:<token>@"),
    ],
)
def test_what_is_wrong_is_told(
    warehouse: LocalWarehouse,
    opened: Callable[..., dbapi.Connection],
    changed: dict[str, str],
    error: type[Exception],
    status: str,
    text: str,
) -> None:
    with pytest.raises(error, match=text) as raised:
        opened(warehouse, **changed)
    assert raised.value.status_code.name == status  # type: ignore[attr-defined]
    assert warehouse.access_token not in str(raised.value)


def test_the_helper_leaves_no_secret_in_frames() -> None:
    with pytest.raises(dbapi.OperationalError) as raised:
        seakernel.adbc.connect("http://127.0.0.1:9", "/sql/1.0/warehouses/a", "dapi-canary", retry={"max_attempts": 1})
    frames = []
    for frame, _ in traceback.walk_tb(raised.value.__traceback__):
        if frame.f_code.co_name != "test_the_helper_leaves_no_secret_in_frames":
            frames.append(frame.f_code.co_name)
            assert "dapi-canary" not in repr(frame.f_locals)
    assert "connect" in frames


def test_a_host_that_is_away(warehouse: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    with pytest.raises(dbapi.OperationalError) as raised:
        opened(warehouse, **{"databricks.server_hostname": "http://127.0.0.1:9", "databricks.query.retry_count": "0"})
    assert raised.value.status_code == adbc_driver_manager.AdbcStatusCode.IO


def test_secrets_are_not_told(warehouse: LocalWarehouse) -> None:
    options = {**place(warehouse), "databricks.http.proxy.password": "canary"}
    database = _lib.AdbcDatabase(driver=seakernel.adbc.driver_path(), **options)
    with database:
        for name in ("databricks.access_token", "adbc.spark.token", "databricks.http.proxy.password", "password"):
            for read in (database.get_option, database.get_option_bytes):
                with pytest.raises(adbc_driver_manager.Error, match="secret"):
                    read(name)
        assert database.get_option("databricks.http_path") == warehouse.http_path
    # Neither are those in addresses, of handles that are open and of those that are not yet.
    proxy = "http://me:canary@127.0.0.1:9"
    uri = f"databricks://token:{'x' * 2000}-canary@h/sql/1.0/warehouses/a"
    database = _lib.AdbcDatabase(driver=seakernel.adbc.driver_path(), uri=uri, **{"databricks.http.proxy.url": proxy})
    with database:
        assert database.get_option("uri") == "databricks://h/sql/1.0/warehouses/a"
        assert database.get_option_bytes("databricks.http.proxy.url") == b"http://127.0.0.1:9"


def test_transactions_are_refused_with_words(warehouse: LocalWarehouse, adbc: dbapi.Connection) -> None:
    low = adbc.adbc_connection
    with pytest.raises(dbapi.NotSupportedError, match="commits each statement") as raised:
        low.set_autocommit(False)
    assert raised.value.sqlstate == "0A000"
    assert low.get_option("adbc.connection.autocommit") == "true"
    for call in (low.commit, low.rollback):
        with pytest.raises(dbapi.ProgrammingError, match="autocommit is on"):
            call()
    with pytest.raises(dbapi.NotSupportedError, match="read-only"):
        low.set_options(**{"adbc.connection.readonly": "true"})
    low.set_options(**{"adbc.connection.autocommit": "true"})


def test_the_catalog_and_schema_can_be_changed(adbc: dbapi.Connection) -> None:
    assert (adbc.adbc_current_catalog, adbc.adbc_current_db_schema) == ("main", "default")
    adbc.adbc_current_catalog = "samples"
    adbc.adbc_current_db_schema = "tpch"
    assert (adbc.adbc_current_catalog, adbc.adbc_current_db_schema) == ("samples", "tpch")
    with pytest.raises(dbapi.Error, match="nowhere"):
        adbc.adbc_current_catalog = "nowhere"


def test_sessions_are_closed(chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    connection = opened(chunked)
    with connection.cursor() as cursor:
        assert len(cursor.execute("SELECT id FROM range(3000)").fetchall()) == 3000
    before = [request["operation"] for request in chunked.requests()].count("close_session")
    connection.close()
    assert [request["operation"] for request in chunked.requests()].count("close_session") == before + 1


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_a_stream_outlives_what_made_it(chunked: LocalWarehouse, order: str, eventually: Callable[..., Any]) -> None:
    database = _lib.AdbcDatabase(driver=seakernel.adbc.driver_path(), **place(chunked))
    connection = _lib.AdbcConnection(database)
    statement = _lib.AdbcStatement(connection)
    statement.set_sql_query("SELECT id FROM range(20000)")
    import pyarrow as pa

    handle, _ = statement.execute_query()
    reader = pa.RecordBatchReader._import_from_c(handle.address)
    first = reader.read_next_batch()
    before = [request["operation"] for request in chunked.requests()].count("close_session")
    statement.close()
    if order == "forwards":
        connection.close()
        database.close()
    rows = first.num_rows + sum(batch.num_rows for batch in reader)
    assert rows == 20000
    if order == "backwards":
        connection.close()
        database.close()
    reader.close()
    assert eventually(
        lambda: [request["operation"] for request in chunked.requests()].count("close_session") == before + 1
    )


def test_handles_that_are_dropped_close_what_they_hold(chunked: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    script = f"""
import sys, seakernel.adbc
connection = seakernel.adbc.connect(*{[chunked.server_hostname, chunked.http_path, chunked.access_token]!r})
cursor = connection.cursor()
cursor.execute("SELECT id FROM range(50000)")
print(cursor.fetchone())
cursor.close()
connection.close()
"""
    before = [request["operation"] for request in chunked.requests()].count("close_session")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("(0,)\n", "", 0)
    assert eventually(
        lambda: [request["operation"] for request in chunked.requests()].count("close_session") == before + 1
    )


def test_an_exit_with_everything_open_is_quiet(chunked: LocalWarehouse) -> None:
    script = f"""
import logging, os, sys, seakernel.adbc
logging.basicConfig(level=logging.DEBUG, filename=os.devnull)
connection = seakernel.adbc.connect(*{[chunked.server_hostname, chunked.http_path, chunked.access_token]!r})
cursor = connection.cursor()
cursor.execute("SELECT id FROM range(50000)")
print(cursor.fetchone())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout, done.returncode) == ("(0,)\n", 0)
    assert "Traceback" not in done.stderr


@LATE
def test_a_fork_has_its_own(chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> None:
    connection = opened(chunked)
    cursor = connection.cursor()
    cursor.execute("SELECT id FROM range(5000)")

    def check() -> None:
        with pytest.raises(dbapi.ProgrammingError, match="parent process"):
            connection.adbc_get_table_schema("x")
        with pytest.raises(dbapi.ProgrammingError, match="parent process"):
            cursor.fetchall()
        own = seakernel.adbc.connect(chunked.server_hostname, chunked.http_path, chunked.access_token)
        with own, own.cursor() as own_cursor:
            assert len(own_cursor.execute("SELECT id FROM range(5000)").fetchall()) == 5000

    in_child(check)
    assert len(cursor.fetchall()) == 5000
    cursor.close()


def test_an_interrupt_ends_execute(warehouse: LocalWarehouse) -> None:
    script = """
import seakernel.adbc
with seakernel.adbc.connect(host, path, token) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT 1").fetchall()
    ready()
    try:
        cursor.execute("SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b")
    except connection.OperationalError as error:
        report(error.status_code.name)
    print(cursor.execute("SELECT 2").fetchone()[0])
"""
    _, values = interrupted(warehouse, script)
    # The manager asks the driver to cancel, and raises what the driver then returns.
    assert values == ["CANCELLED", "2"]
