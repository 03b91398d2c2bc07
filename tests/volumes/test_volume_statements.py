"""PUT, GET and REMOVE on a cursor: what databricks-sql-connector does, with its own tests' semantics, and stricter paths."""

from __future__ import annotations

import io
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seakernel.local import LocalWarehouse

FILE = "/Volumes/main/default/files/a.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`in` is allowed, `in2` beside it is not."""
    for name in ("in", "in2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(name.encode())
    return tmp_path


def transfers(warehouse: LocalWarehouse) -> int:
    return sum(request["path"].startswith("/warehouse-volumes") for request in warehouse.requests())


@pytest.mark.parametrize("option", [str, list, os.PathLike, tuple])
def test_put_get_and_remove(warehouse: LocalWarehouse, folder: Path, option: Any) -> None:
    base = folder / "in"
    allowed: Any = {str: str(base), list: ["/nowhere", str(base)], os.PathLike: base, tuple: (base,)}[option]
    with warehouse.connect(staging_allowed_local_path=allowed) as connection, connection.cursor() as cursor:
        assert cursor.execute(f"PUT '{base}/a.bin' INTO '{FILE}' OVERWRITE") is cursor
        assert cursor.description is None
        assert cursor.rowcount == -1
        assert cursor.statement_id is not None
        cursor.execute(f"-- a comment\nget '{FILE}' to '{base}/b.bin';")
        assert (base / "b.bin").read_bytes() == b"in"
        cursor.execute(f"PUT '{base}/b.bin' INTO '{FILE}.2'")
        # As the connector does, an existing local file is replaced.
        cursor.execute(f"GET '{FILE}.2' TO '{base}/b.bin'")
        cursor.execute(f"REMOVE '{FILE}'")
        with pytest.raises(seakernel.ProgrammingError, match="no such file"):
            cursor.execute(f"GET '{FILE}' TO '{base}/b.bin'")
        assert (base / "b.bin").read_bytes() == b"in"
        assert sorted(path.name for path in base.iterdir()) == ["a.bin", "b.bin"]


def test_the_path_may_be_a_parameter(warehouse: LocalWarehouse, folder: Path) -> None:
    with warehouse.connect(staging_allowed_local_path=folder) as connection, connection.cursor() as cursor:
        cursor.execute(f"PUT '{folder}/in/a.bin' INTO '{FILE}'", {})
        assert connection.volume.get(FILE) == b"in"


@pytest.mark.parametrize(
    "local",
    [
        "{folder}/in2/a.bin",
        "{folder}/in/../in2/a.bin",
        "{folder}/a.bin",
        "{folder}/in/link/a.bin",
        "{folder}/in/link.bin",
        "relative.bin",
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize("operation", ["PUT", "GET"])
def test_paths_outside_are_refused(
    warehouse: LocalWarehouse, folder: Path, local: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "in" / "link").symlink_to(folder / "in2")
    (folder / "in" / "link.bin").symlink_to(folder / "in2" / "a.bin")
    path = local.format(folder=folder)
    with warehouse.connect(staging_allowed_local_path=str(folder / "in")) as connection:
        connection.volume.put(b"x", FILE)
        before = transfers(warehouse)
        sql = f"PUT '{path}' INTO '{FILE}.2'" if operation == "PUT" else f"GET '{FILE}' TO '{path}'"
        with pytest.raises(seakernel.ProgrammingError, match="outside of `staging_allowed_local_path`") as raised:
            connection.cursor().execute(sql)
        assert raised.value.statement_id is not None
        assert transfers(warehouse) == before
    assert (folder / "in2" / "a.bin").read_bytes() == b"in2"


def test_symbolic_links_within_are_followed(warehouse: LocalWarehouse, folder: Path) -> None:
    (folder / "base").symlink_to(folder / "in")
    (folder / "in" / "link.bin").symlink_to(folder / "in" / "a.bin")
    with (
        warehouse.connect(staging_allowed_local_path=str(folder / "base")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"PUT '{folder}/in/link.bin' INTO '{FILE}'")
        cursor.execute(f"GET '{FILE}' TO '{folder}/base/b.bin'")
        assert (folder / "in" / "b.bin").read_bytes() == b"in"


@pytest.mark.parametrize("sql", ["PUT '{folder}/in/a.bin' INTO '{file}'", "GET '{file}' TO '{folder}/in/b.bin'"])
def test_without_the_option_nothing_is_transferred(warehouse: LocalWarehouse, folder: Path, sql: str) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        with pytest.raises(seakernel.ProgrammingError, match="needs the option `staging_allowed_local_path`"):
            cursor.execute(sql.format(folder=folder, file=FILE))
        assert transfers(warehouse) == 0
        # A file in the volume needs no leave.
        cursor.execute(f"REMOVE '{FILE}'")
        assert transfers(warehouse) == 1


@pytest.mark.parametrize("option", ["", [""], [None], 5, b"/tmp", [b"/tmp"]])
def test_an_option_that_is_no_path_is_refused(warehouse: LocalWarehouse, option: Any) -> None:
    before = len(warehouse.requests())
    with pytest.raises(seakernel.ProgrammingError, match="neither a path nor a list of paths"):
        warehouse.connect(staging_allowed_local_path=option)
    assert len(warehouse.requests()) == before


def test_an_input_stream(warehouse: LocalWarehouse) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        sql = f"PUT '__input_stream__' INTO '{FILE}'"
        with pytest.raises(seakernel.ProgrammingError, match="needs the argument `input_stream`"):
            cursor.execute(sql)
        assert transfers(warehouse) == 0
        cursor.execute(sql, input_stream=io.BytesIO(b"streamed"))
        assert connection.volume.get(FILE) == b"streamed"


@pytest.mark.parametrize("operation", ["put", "get"])
def test_cancel_from_another_thread(warehouse: LocalWarehouse, folder: Path, operation: str) -> None:
    large = folder / "in" / "large"
    large.write_bytes(bytes(30_000_000))
    with warehouse.connect(staging_allowed_local_path=folder) as connection, connection.cursor() as cursor:
        connection.volume.put(large, FILE)
        slow = {"slow": {"bytes_per_second": 1_000_000}}
        warehouse.faults([{"on": f"volume_{operation}", "do": slow}])
        before = transfers(warehouse)

        def cancel() -> None:
            deadline = time.monotonic() + 20
            while transfers(warehouse) == before and time.monotonic() < deadline:
                time.sleep(0.01)
            cursor.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        sql = {"put": f"PUT '{large}' INTO '{FILE}.2'", "get": f"GET '{FILE}' TO '{large}'"}[operation]
        with pytest.raises(seakernel.OperationalError, match="was cancelled") as raised:
            cursor.execute(sql)
        canceller.join()
        assert raised.value.kind == "Cancelled"
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_missing_local_files_and_wrong_statements(warehouse: LocalWarehouse, folder: Path) -> None:
    with (
        warehouse.connect(staging_allowed_local_path=str(folder)) as connection,
        connection.cursor() as cursor,
    ):
        with pytest.raises(FileNotFoundError):
            cursor.execute(f"PUT '{folder}/missing' INTO '{FILE}'")
        with pytest.raises(IsADirectoryError):
            cursor.execute(f"GET '{FILE}' TO '{folder}/in'")
        with pytest.raises(seakernel.ProgrammingError):
            cursor.execute(f"PUT '{folder}/in' INTO '{FILE}'")
        assert transfers(warehouse) == 0
        for sql in ("PUT 'a' '/Volumes/main/default/files/a'", f"GET '{FILE}'", "REMOVE", f"PUT 'a' INTO '{FILE}' x"):
            with pytest.raises(seakernel.ProgrammingError, match="PARSE_SYNTAX_ERROR"):
                cursor.execute(sql)
        # The cursor goes on working.
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "path",
    [
        "/Volumes/main/default/files/../../../../etc/passwd",
        "/Volumes/main/default/../default/files/a",
        "/Volumes/main/default/files/",
        "/Volumes/main/default/files//a",
        "/Volumes/main/default/files/a\\b",
        "/Volumes/../x/y/z",
        "/Volumes/main/default/files/a\u0000b",
        "/Volumes/nowhere/default/files/a",
        "/Volumes/main/nowhere/files/a",
        "/Volumes/main/default/nowhere/a",
        "/Volumes/samples/tpch/files/a",
        "/etc/passwd",
        "s3://bucket/a",
        "",
    ],
)
def test_the_local_warehouse_refuses_hostile_paths(warehouse: LocalWarehouse, path: str) -> None:
    escaped = path.replace("\\", "\\\\").replace("\u0000", "\\0")
    with warehouse.connect() as connection, connection.cursor() as cursor:
        for sql in (
            f"PUT '__input_stream__' INTO '{escaped}' OVERWRITE",
            f"GET '{escaped}' TO 'a'",
            f"REMOVE '{escaped}'",
            f"COPY INTO main.default.t FROM '{escaped}' FILEFORMAT = PARQUET",
            f"SELECT * FROM read_files('{escaped}', format => 'parquet')",
        ):
            with pytest.raises(seakernel.Error) as raised:
                cursor.execute(sql, input_stream=io.BytesIO(b"x"))
            assert raised.value.kind == "Sql"
        assert transfers(warehouse) == 0


@pytest.fixture
def parquet(warehouse: LocalWarehouse) -> Callable[[str, Any], None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(path: str, columns: Any) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        with warehouse.connect() as connection:
            connection.volume.put(sink.getvalue().to_pybytes(), path)

    return write


def test_the_local_warehouse_reads_parquet(warehouse: LocalWarehouse, parquet: Callable[[str, Any], None]) -> None:
    folder = "/Volumes/main/default/files/parts"
    parquet(f"{folder}/1.parquet", {"a": [1, 2], "b": ["x", None]})
    parquet(f"{folder}/deeper/2.parquet", {"a": [3], "b": ["z"]})
    parquet(f"{folder}/_ignored", {"c": [1]})
    with warehouse.connect() as connection, connection.cursor() as cursor:
        rows = [(1, "x"), (2, None), (3, "z")]
        assert cursor.execute(f"SELECT * FROM parquet.`{folder}` ORDER BY a").fetchall() == rows
        assert [column[:2] for column in cursor.description or ()] == [("a", "bigint"), ("b", "string")]
        one = f"SELECT a + 1 FROM read_files('{folder}/deeper/2.parquet', format => 'parquet') AS f WHERE f.b = 'z'"
        assert cursor.execute(one).fetchall() == [(4,)]
        with pytest.raises(seakernel.NotSupportedError):
            cursor.execute(f"SELECT * FROM read_files('{folder}', format => 'csv')")
        with pytest.raises(seakernel.ProgrammingError, match="PATH_NOT_FOUND"):
            cursor.execute("SELECT * FROM parquet.`/Volumes/main/default/files/nothing`")
        cursor.execute("CREATE TABLE t (b STRING, a DOUBLE, c INT)")
        copy = f"COPY INTO t FROM '{folder}' FILEFORMAT = PARQUET"
        assert cursor.execute(copy).rowcount == 3
        assert cursor.fetchall() == [(3, 3, 0)]
        assert cursor.execute("SELECT a, b, c FROM t ORDER BY a").fetchall() == [(*row, None) for row in rows]
        # Files are loaded once, as on Databricks.
        assert cursor.execute(copy).rowcount == 0
        parquet(f"{folder}/3.parquet", {"a": [4], "b": ["new"]})
        assert cursor.execute(copy).rowcount == 1
        assert cursor.execute(copy + " COPY_OPTIONS ('force' = 'true')").rowcount == 4
        parquet(f"{folder}/4.parquet", {"d": [4]})
        with pytest.raises(seakernel.ProgrammingError, match="has no column `d`"):
            cursor.execute(copy)


def test_cancel_before_the_transfer_begins(warehouse: LocalWarehouse) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        # The statement is done when the answer comes, so that only the transfer is left to end.
        warehouse.faults([{"on": "execute", "times": 1, "do": {"delay": {"ms": 1500}}}])
        before = transfers(warehouse)
        timer = threading.Timer(0.5, cursor.cancel)
        timer.start()
        with pytest.raises(seakernel.OperationalError) as failure:
            cursor.execute(f"PUT '__input_stream__' INTO '{FILE}' OVERWRITE", input_stream=io.BytesIO(b"content"))
        timer.join()
        assert failure.value.kind == "Cancelled"
        assert failure.value.statement_id == cursor.statement_id
        assert transfers(warehouse) == before
