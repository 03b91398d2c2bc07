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


class RemoteWarehouse:
    """A local warehouse in a process of its own, asked through its standard input."""

    SCRIPT = """
import json, sys
from seakernel.local import LocalWarehouse
with LocalWarehouse(**json.loads(sys.argv[1])) as warehouse:
    place = ["server_hostname", "http_path", "access_token"]
    print(json.dumps({name: getattr(warehouse, name) for name in place}), flush=True)
    for line in sys.stdin:
        method, options = json.loads(line)
        print(json.dumps(getattr(warehouse, method)(**options)), flush=True)
"""

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, "-c", self.SCRIPT, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.place = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, **options: Any) -> Any:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([method, options]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.communicate(timeout=30)


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
import json, sys
import pyarrow
import seakernel

def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key)) * 1024

place, budget = json.loads(sys.argv[1])
with seakernel.connect(**place, results={"memory_budget_bytes": budget}) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT * FROM main.big.sales LIMIT 1000").fetch_record_batch().read_all()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # VmHWM starts anew
    idle = memory("VmRSS")
    rows = total = 0
    for batch in cursor.execute("SELECT id, quantity, ratio, customer, price FROM main.big.sales").fetch_record_batch():
        rows += batch.num_rows
        total += batch.nbytes
    print(json.dumps([rows, total, memory("VmHWM") - idle]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("budget", [64 << 20, 256 << 20])
def test_streaming_ten_million_rows_stays_within_the_budget(remote: RemoteWarehouse, budget: int) -> None:
    remote.ask("switches")
    command = [sys.executable, "-c", PEAK_SCRIPT, json.dumps([remote.place, budget])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    rows, total, growth = json.loads(done.stdout)
    assert rows == ROWS
    assert total > 2 * budget
    assert growth < budget + (64 << 20)
