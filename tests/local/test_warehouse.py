"""LocalWarehouse and its command line: start, stop, faults, switches, the request log, data."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from column_checksum import column_checksums
from databricks.sdk.core import Config

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(warehouse: LocalWarehouse, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    with warehouse.connect(**options) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]


def operations(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request for request in warehouse.requests() if request["operation"] == operation]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder `shop` with a Parquet file, a CSV file and a folder of parts."""
    folder = tmp_path / "shop"
    (folder / "sales").mkdir(parents=True)
    connection = duckdb.connect()
    with contextlib.closing(connection):
        for sql, name in [
            ("SELECT range AS id, 'item ' || range AS name FROM range(1000)", "items.parquet"),
            ("SELECT 'EUR' AS currency, 1.08::DOUBLE AS rate UNION ALL SELECT 'CHF', 0.94", "price list.csv"),
            ("SELECT range AS id FROM range(10)", "sales/0.parquet"),
            ("SELECT range + 10 AS id FROM range(10)", "sales/1.parquet"),
        ]:
            connection.execute(f"COPY ({sql}) TO '{folder / name}'")
    return folder


def test_it_starts_in_less_than_a_second() -> None:
    script = (
        "import time\nfrom seakernel.local import LocalWarehouse\nwith LocalWarehouse(): print(time.process_time())"
    )
    # Of processor time, interpreter and all: the claim is about the work to do, not about what else runs on the machine.
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.0


def test_its_address_is_what_clients_take() -> None:
    with LocalWarehouse(access_token="a-token") as warehouse:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", warehouse.server_hostname)
        assert re.fullmatch(r"/sql/1\.0/warehouses/[0-9a-f]+", warehouse.http_path)
        assert warehouse.access_token == "a-token"
        assert rows(warehouse, "SELECT 1") == [(1,)]


def test_two_warehouses_share_nothing() -> None:
    with LocalWarehouse() as first, LocalWarehouse() as second:
        assert first.server_hostname != second.server_hostname
        assert first.access_token != second.access_token
        rows(first, "CREATE TABLE main.default.only_here AS SELECT 1 AS id")
        assert rows(first, "SELECT * FROM main.default.only_here") == [(1,)]
        with pytest.raises(seakernel.Error, match="TABLE_OR_VIEW_NOT_FOUND"):
            rows(second, "SELECT * FROM main.default.only_here")
        with pytest.raises(seakernel.Error):
            rows(first, "SELECT 1", access_token=second.access_token)


def test_a_closed_warehouse_answers_nobody() -> None:
    warehouse = LocalWarehouse()
    port = int(warehouse.server_hostname.rpartition(":")[2])
    warehouse.close()
    warehouse.close()
    with LocalWarehouse(port=port) as successor:
        assert successor.server_hostname.endswith(f":{port}")


def test_requests_tell_what_was_asked_and_no_secret() -> None:
    with LocalWarehouse() as warehouse:
        with warehouse.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT :word AS word", {"word": "a-private-word"})
            assert cursor.fetchall()[0][0] == "a-private-word"
        requests = warehouse.requests()
        (execute,) = operations(warehouse, "execute")
        assert execute["method"] == "POST"
        assert execute["status"] == 200
        assert execute["body"]["statement"] == "SELECT :word AS word"
        assert [request["sequence"] for request in requests] == list(range(len(requests)))
        assert "a-private-word" not in str(requests)
        assert warehouse.access_token not in str(requests)


def test_faults_disturb_and_are_cleared() -> None:
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse:
        statement = "SELECT id FROM range(10000)"
        warehouse.faults([{"on": "download", "chunk_index": 3, "times": 2, "do": {"status": {"code": 503}}}])
        assert [row[0] for row in rows(warehouse, statement)] == list(range(10_000))
        disturbed = [request for request in operations(warehouse, "download") if request["fault"]]
        assert [(request["chunk_index"], request["status"]) for request in disturbed] == [(3, 503), (3, 503)]
        warehouse.faults([{"on": "download", "times": "always", "do": "expire"}])
        warehouse.faults()
        assert len(rows(warehouse, statement)) == 10_000


def test_faults_and_switches_with_a_typo_are_refused() -> None:
    with LocalWarehouse() as warehouse:
        with pytest.raises(ValueError, match="delay"):
            warehouse.faults([{"on": "poll", "do": {"delay": {"seconds": 1}}}])
        with pytest.raises(ValueError, match="link_lifetime"):
            warehouse.switches(link_lifetime=1)
    with pytest.raises(ValueError, match="chunk_byte"):
        LocalWarehouse(chunk_byte=1)


def test_switches_change_answers_and_go_back() -> None:
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, switches={"hybrid_links_per_response": 1}) as warehouse:
        statement = "SELECT id FROM range(5000)"
        assert len(rows(warehouse, statement)) == 5000
        assert len(operations(warehouse, "chunk")) == 4
        warehouse.switches()
        assert len(rows(warehouse, statement)) == 5000
        assert len(operations(warehouse, "chunk")) == 4


def test_counters_count() -> None:
    with LocalWarehouse() as warehouse:
        before = warehouse.counters()
        rows(warehouse, "SELECT 1")
        after = warehouse.counters()
        assert set(before) == set(after)
        assert before != after


def test_a_data_folder_is_a_schema(folder: Path) -> None:
    with LocalWarehouse(data=folder) as warehouse:
        assert rows(warehouse, "SELECT count(*), max(name) FROM main.shop.items") == [(1000, "item 999")]
        assert rows(warehouse, "SELECT currency, rate FROM main.shop.price_list ORDER BY rate") == [
            ("CHF", 0.94),
            ("EUR", 1.08),
        ]
        assert rows(warehouse, "SELECT sum(id) FROM main.shop.sales") == [(190,)]
        names = {row[1] for row in rows(warehouse, "SHOW TABLES IN main.shop")}
        assert names == {"items", "price_list", "sales"}


def test_a_data_folder_without_a_table_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no table"):
        LocalWarehouse(data=tmp_path)


def test_samples_are_listed_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with LocalWarehouse(tpch_scale=0.01) as warehouse:
        assert {row[0] for row in rows(warehouse, "SHOW SCHEMAS IN samples")} >= {"nycflights13", "tpch"}
        assert len(rows(warehouse, "SHOW TABLES IN samples.tpch")) == 8
        described = rows(warehouse, "DESCRIBE TABLE samples.tpch.lineitem")
        assert ("l_quantity", "decimal(18,2)") in [row[:2] for row in described]
        assert not list(tmp_path.rglob("*.parquet"))
        assert rows(warehouse, "SELECT count(*) FROM samples.tpch.region") == [(5,)]
        assert [path.name for path in tmp_path.rglob("*.parquet")] == ["region.parquet"]
        assert rows(warehouse, "SELECT count(*) FROM nation", catalog="samples", schema="tpch") == [(25,)]


def test_a_sample_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    script = """
import importlib.metadata
import seakernel
from seakernel.local import LocalWarehouse
real = importlib.metadata.version
def version(name):
    if name == "tpchgen-cli":
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as cursor:
    cursor.execute("SHOW TABLES IN samples.tpch")
    assert len(cursor.fetchall()) == 8
    try:
        cursor.execute("SELECT * FROM samples.tpch.region")
    except seakernel.Error as error:
        print(error)
"""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment, timeout=60
    )
    assert "pip install 'seakernel[samples]'" in done.stdout


def test_a_missing_engine_package_is_named() -> None:
    script = """
import importlib.util
from seakernel.local import LocalWarehouse
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "duckdb" else real(name, *rest)
try:
    LocalWarehouse()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert "duckdb" in done.stdout
    assert "pip install 'seakernel[local]'" in done.stdout


def test_the_shared_warehouse_is_one_per_process() -> None:
    script = """
import os
from seakernel.local import LocalWarehouse
first = LocalWarehouse.shared()
assert LocalWarehouse.shared() is first
child = os.fork()
if child == 0:
    second = LocalWarehouse.shared()
    with second.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        right = cursor.fetchall()[0][0] == 1 and second.server_hostname != first.server_hostname
    raise SystemExit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with first.connect() as connection, connection.cursor() as cursor:
    cursor.execute("SELECT 2")
    print(cursor.fetchall()[0][0])
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "2"


@contextlib.contextmanager
def command_line(*arguments: str, lines: int = 3) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Runs `python -m seakernel local` and yields the process and the variables that it printed."""
    command = [sys.executable, "-m", "seakernel", "local", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed = [process.stdout.readline().rstrip("\n") for _ in range(lines)] if process.stdout else []
            yield process, dict(line.split("=", 1) for line in printed)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_line_serves_until_a_signal(folder: Path, number: signal.Signals) -> None:
    with command_line("--data", str(folder), "--token", "t0ken", "--chunk-bytes", "4096") as (process, variables):
        assert list(variables) == ["DATABRICKS_HOST", "DATABRICKS_HTTP_PATH", "DATABRICKS_TOKEN"]
        assert variables["DATABRICKS_TOKEN"] == "t0ken"
        with (
            seakernel.connect(
                server_hostname=variables["DATABRICKS_HOST"],
                http_path=variables["DATABRICKS_HTTP_PATH"],
                access_token=variables["DATABRICKS_TOKEN"],
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT * FROM main.shop.items")
            table = cursor.fetchall_arrow()
        assert column_checksums(table) == column_checksums(f"read_parquet('{folder / 'items.parquet'}')")
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert output == ""
        assert errors == ""


def test_the_command_line_signs_clients_in_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with command_line("--oauth", "--tls", lines=6) as (process, variables):
        for name in ("DATABRICKS_TOKEN", "DATABRICKS_CONFIG_FILE", "DATABRICKS_AUTH_TYPE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert variables["DATABRICKS_HOST"].startswith("https://localhost:")
        config = Config()
        assert config.auth_type == "oauth-m2m"
        with seakernel.connect(
            variables["DATABRICKS_HOST"],
            variables["DATABRICKS_HTTP_PATH"],
            access_token=config.authenticate()["Authorization"].removeprefix("Bearer "),
            tls={"ca_certificates_pem": Path(variables["SSL_CERT_FILE"]).read_bytes()},
        ) as connection:
            assert connection.cursor().execute("SELECT 1 AS one").fetchall() == [(1,)]
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10) == ("", "")
    assert not Path(variables["REQUESTS_CA_BUNDLE"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--data", "/no/such/folder"], "/no/such/folder"), (["--tpch-scale", "0"], "tpch_scale")],
)
def test_the_command_line_explains_what_it_cannot_do(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "seakernel", "local", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_refused_by_name() -> None:
    with LocalWarehouse() as warehouse:
        port = warehouse.server_hostname.rpartition(":")[2]
        command = [sys.executable, "-m", "seakernel", "local", "--port", port]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert port in done.stderr
