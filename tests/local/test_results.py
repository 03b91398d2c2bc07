"""Large results through our own client: every row, in order, whatever the server announces."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from column_checksum import column_checksums
from remote_warehouse import RemoteWarehouse

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 10_000_000

# About 70 bytes a row in Arrow: what a fact table looks like.
BIG_TABLE = f"""
    SELECT range AS id,
           CAST(range % 50 + 1 AS INTEGER) AS quantity,
           range / 7.0::DOUBLE AS ratio,
           'customer#' || lpad(CAST(hash(range) % 1000000 AS VARCHAR), 9, '0') AS customer,
           CAST(range % 1000000 AS DECIMAL(18,2)) / 100 AS price,
           CASE WHEN range % 11 <> 0 THEN TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_seconds(range) END AS sold_at,
           range % 3 = 0 AS returned
    FROM range({ROWS})
"""

# The warehouse's own sums, in SQL that DuckDB reads the same way.
TOTALS = (
    "count(*), sum(id), sum(quantity), min(ratio), max(ratio), sum(length(customer)), max(customer), sum(price), "
    "count(sold_at), count_if(returned)"
)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder `big` with one table `sales` of ten million rows."""
    folder = tmp_path_factory.mktemp("data") / "big"
    folder.mkdir()
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = "* REPLACE (CAST(price AS DECIMAL(18,2)) AS price)"
        connection.execute(f"COPY (SELECT {columns} FROM ({BIG_TABLE})) TO '{folder / 'sales.parquet'}'")
    return folder


@pytest.fixture(scope="module")
def remote(big: Path) -> Iterator[RemoteWarehouse]:
    remote = RemoteWarehouse(data=str(big))
    yield remote
    remote.close()


def operations(requests: list[dict[str, Any]], operation: str) -> list[dict[str, Any]]:
    return [request for request in requests if request["operation"] == operation]


def offset_errors(requests: list[dict[str, Any]]) -> list[str]:
    """Tells which chunk requests lack `row_offset` or ask for another row than the one their chunk begins with."""
    return [
        f"chunk {request['chunk_index']} with row_offset {request['row_offset']}: HTTP {request['status']}"
        for request in operations(requests, "chunk")
        # The server answers 400 to an offset that is not its chunk's first row.
        if request["row_offset"] is None or request["status"] != 200
    ]


@pytest.mark.parametrize("links", ["all", 1])
def test_ten_million_rows_arrive_whole_and_in_order(remote: RemoteWarehouse, big: Path, links: int | str) -> None:
    remote.ask("switches", hybrid_links_per_response=links, strict_row_offset=True)
    with seakernel.connect(**remote.place) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM main.big.sales")
        table = pa.table(cursor.fetchall_arrow())
        assert table.num_rows == ROWS
        assert table.nbytes / ROWS > 60
        assert column_checksums(table) == column_checksums(f"read_parquet('{big / 'sales.parquet'}')")
        statement_id = cursor.query_id
        cursor.execute(f"SELECT {TOTALS} FROM main.big.sales")
        totals = [tuple(row) for row in cursor.fetchall()]
    with contextlib.closing(duckdb.connect()) as local:
        local.register("received", table)
        assert local.execute(f"SELECT {TOTALS} FROM received").fetchall() == totals
    requests = [request for request in remote.ask("requests") if request["statement_id"] == statement_id]
    assert offset_errors(requests) == []
    chunks = {request["chunk_index"] for request in operations(requests, "download")}
    assert chunks == set(range(len(chunks)))
    assert len(chunks) >= 30
    asked = [request["chunk_index"] for request in operations(requests, "chunk")]
    assert sorted(asked) == ([] if links == "all" else list(range(1, len(chunks))))


@pytest.fixture(scope="module")
def chunked() -> Iterator[LocalWarehouse]:
    """A warehouse whose results have a chunk per 1000 rows."""
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse:
        yield warehouse


@pytest.mark.parametrize("links", [1, 3, "all"])
@pytest.mark.parametrize("hybrid", [True, False])
@pytest.mark.parametrize("announced", ["exact", "absent", "zero", "too_small", "too_large"])
def test_rows_do_not_depend_on_the_announced_chunk_count(
    chunked: LocalWarehouse, announced: str, links: int | str, *, hybrid: bool
) -> None:
    chunked.switches(
        total_chunk_count=announced,
        hybrid_supported=hybrid,
        hybrid_links_per_response=links,
        external_links_per_response=links,
        strict_row_offset=True,
    )
    before = len(chunked.requests())
    with chunked.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, CAST(id AS STRING) AS text FROM range(25500)")
        table = pa.table(cursor.fetchall_arrow())
    assert table.column("id").to_pylist() == list(range(25_500))
    assert table.column("text").to_pylist() == [str(number) for number in range(25_500)]
    requests = chunked.requests()[before:]
    assert offset_errors(requests) == []
    assert sorted(request["chunk_index"] for request in operations(requests, "download")) == list(range(26))


def test_a_refused_hybrid_disposition_is_asked_for_once() -> None:
    with LocalWarehouse(switches={"hybrid_supported": False}) as warehouse:
        for _ in range(3):
            with warehouse.connect() as connection, connection.cursor() as cursor:
                for number in range(2):
                    cursor.execute(f"SELECT {number} AS number")
                    assert cursor.fetchall()[0][0] == number
        executed = operations(warehouse.requests(), "execute")
        sent = [(request["body"]["disposition"], request["status"]) for request in executed]
        assert sent == [("INLINE_OR_EXTERNAL_LINKS", 400)] + [("EXTERNAL_LINKS", 200)] * 6


PEAK_SCRIPT = """
import json, sys, time
import pyarrow
import seakernel

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key)) * 1024

place, budget, stall = json.loads(sys.argv[1])
with seakernel.connect(**place, results={"memory_budget_bytes": budget}) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT * FROM main.big.sales LIMIT 1000").fetch_record_batch().read_all()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # VmHWM starts anew
    idle = memory("VmRSS")
    rows = total = 0
    for batch in cursor.execute("SELECT id, quantity, ratio, customer, price FROM main.big.sales").fetch_record_batch():
        if rows == 0:
            time.sleep(stall)
        rows += batch.num_rows
        total += batch.nbytes
    print(json.dumps([rows, total, memory("VmHWM") - idle]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("budget", "stall"), [(64 << 20, 0), (256 << 20, 10)])
def test_streaming_ten_million_rows_stays_within_the_budget(remote: RemoteWarehouse, budget: int, stall: float) -> None:
    remote.ask("switches")
    command = [sys.executable, "-c", PEAK_SCRIPT, json.dumps([remote.place, budget, stall])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    rows, total, growth = json.loads(done.stdout)
    assert rows == ROWS
    assert total > 2 * budget
    assert growth < budget + (64 << 20)


BURST_SCRIPT = """
import gc, json, sys
from concurrent.futures import ThreadPoolExecutor
import pyarrow
import seakernel

def memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024

place, count = json.loads(sys.argv[1])

def fetch(connection, sql):
    with connection.cursor() as cursor:
        table = pyarrow.table(cursor.execute(sql).fetchall_arrow())
        assert table.column("id")[-1].as_py() == table.num_rows - 1
        return table.num_rows, table.nbytes

with seakernel.connect(**place) as connection, ThreadPoolExecutor(6) as pool:
    # Threads, connections and pyarrow are there before the measurement.
    list(pool.map(lambda _: fetch(connection, "SELECT * FROM main.big.sales WHERE id < 1000"), range(6)))
    idle = memory()
    sql = f"SELECT id, quantity, ratio, customer FROM main.big.sales WHERE id < {count}"
    fetched = list(pool.map(lambda _: fetch(connection, sql), range(26)))
    gc.collect()
    print(json.dumps([min(fetched), max(fetched), memory() - idle]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_goes_back_to_the_system_after_a_burst_of_large_results(remote: RemoteWarehouse) -> None:
    remote.ask("switches", result_cache=True)
    count = 1_500_000
    command = [sys.executable, "-c", BURST_SCRIPT, json.dumps([remote.place, count])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    smallest, largest, kept = json.loads(done.stdout)
    assert smallest == largest
    assert smallest[0] == count
    assert smallest[1] > 40 * count
    # 50 MB; 500 MB where the allocator keeps what was freed.
    assert kept < 200 << 20, kept
