"""What reads through ADBC: polars, pandas, DuckDB over a stream, and a host in C without Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import adbc_driver_manager
import duckdb
import pandas as pd
import polars as pl
import pytest

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi

    from seakernel.local import LocalWarehouse

ROOT = Path(__file__).parents[2]
HOST = Path(__file__).parent / "adbc_host.c"
# What `make adbc` builds; a debug build serves as well.
LIBRARIES = [ROOT / "target" / profile / "libseakernel_adbc.so" for profile in ("release", "debug")]
STATEMENT = "SELECT id, concat('row ', CAST(id AS STRING)) AS text FROM range(1000)"


def test_polars_reads(adbc: dbapi.Connection) -> None:
    frame = pl.read_database(STATEMENT, adbc)
    assert frame.shape == (1000, 2)
    assert frame["text"].to_list()[:2] == ["row 0", "row 1"]
    parts = list(pl.read_database(STATEMENT, adbc, iter_batches=True, batch_size=100))
    assert sum(part.height for part in parts) == 1000


def test_polars_writes(adbc: dbapi.Connection, table: str) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert frame.write_database(table, adbc, engine="adbc", if_table_exists="replace") == 2
    assert pl.read_database(f"SELECT * FROM {table} ORDER BY a", adbc).equals(frame)


def test_pandas_reads_and_writes(adbc: dbapi.Connection, table: str) -> None:
    frame = pd.read_sql(STATEMENT, adbc)
    assert (len(frame), frame["id"].sum()) == (1000, 499500)
    frame.head(3).to_sql(table, adbc, index=False)
    assert pd.read_sql(f"SELECT * FROM {table} ORDER BY id", adbc)["text"].tolist() == ["row 0", "row 1", "row 2"]


def test_duckdb_reads_the_stream(adbc_cursor: dbapi.Cursor) -> None:
    rows = duckdb.from_arrow(adbc_cursor.execute(STATEMENT).fetch_record_batch())
    assert rows.aggregate("count(*), sum(id)").fetchall() == [(1000, 499500)]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(not any(library.exists() for library in LIBRARIES), reason="`make adbc` was not run")
def test_a_host_in_c(chunked: LocalWarehouse, tmp_path: Path) -> None:
    library = next(library for library in LIBRARIES if library.exists())
    needed = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    assert "python" not in needed
    # The header of ADBC comes with the manager.
    headers = Path(adbc_driver_manager.__file__).parent
    program = tmp_path / "host"
    subprocess.run(["cc", "-Wall", "-Werror", f"-I{headers}", "-o", str(program), str(HOST), "-ldl"], check=True)
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    # Not this process's sanitizers or preloads.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [str(program), str(library), *place], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "rows 20000, sum 199990000\nerror 3, state 42P01\nsecret refused with 14\nreleased twice: 6\n"
    )
