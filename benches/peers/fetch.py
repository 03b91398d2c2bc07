"""Fetching whole results as Arrow: ours beside its peers, interleaved in one run.

Every measurement is a process of its own, so that peak memory and CPU time are the client's alone; the server is a
process of its own too and serves encoded results from its cache after the first run. Rows and checksums are verified in
every run, and a wrong result is kept and marked. Times are of execute plus fetch, without imports and connecting.

    python benches/peers/fetch.py [--rounds 5] [--rows 1000000,10000000] [--settings loopback,cloud] [--links 8]
        [--clients seakernel,databricks-sql-kernel,arrowbricks,connector-kernel,connector-sea,plain] [--save]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Runs by number of rows and client.
Results = dict[int, dict[str, list[dict[str, object]]]]
STATEMENT = """
SELECT id,
       CAST(id % 50 AS INT) AS quantity,
       CAST(id % 1000 AS DOUBLE) / CAST(7 AS DOUBLE) AS ratio,
       concat('carefully final deposits ', CAST(id % 100003 AS STRING)) AS comment,
       CAST(id % 1000000 AS DECIMAL(15, 2)) AS price,
       timestamp_seconds(1600000000 + id % 86400) AS shipped,
       id % 3 = 0 AS returned
FROM range({rows})
"""

# How the server answers: at once, or as from a cloud (ms, and bytes per second for each connection).
SETTINGS = {
    "loopback": {},
    "cloud": {"api_delay_ms": 30, "store_first_byte_ms": 50, "store_bytes_per_second": 50_000_000},
}

SERVER = """
import json, sys
from seakernel.local import LocalWarehouse
with LocalWarehouse(switches={"result_cache": True, **json.loads(sys.argv[1])}) as warehouse:
    print(warehouse.server_hostname, warehouse.http_path, warehouse.access_token, flush=True)
    sys.stdin.read()
"""


def fetch_seakernel(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    import seakernel

    with seakernel.connect(server_hostname=host, http_path=path, access_token=token) as connection:
        cursor = connection.cursor()
        yield
        cursor.execute(statement)
        yield cursor.fetchall_arrow()


def fetch_databricks_sql_kernel(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    import databricks_sql_kernel

    session = databricks_sql_kernel.Session(host, path, access_token=token)
    prepared = session.statement()
    prepared.set_sql(statement)
    yield
    executed = prepared.execute()
    yield executed.fetch_all_arrow()
    executed.close()
    session.close()


def fetch_connector(host: str, path: str, token: str, statement: str, **options: Any) -> Iterator[Any]:
    from databricks import sql

    connection = sql.connect(http_path=path, access_token=token, **options)
    cursor = connection.cursor()
    yield
    cursor.execute(statement)
    yield cursor.fetchall_arrow()
    connection.close()


def fetch_connector_sea(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    # The SEA backend takes the port apart from the name, and with telemetry on it asks port 80 for half a minute.
    name, _, port = host.rpartition(":")
    place = {"server_hostname": name, "_port": int(port)}
    return fetch_connector(host, path, token, statement, use_sea=True, enable_telemetry=False, **place)


def fetch_connector_kernel(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    return fetch_connector(host, path, token, statement, use_kernel=True, server_hostname=host)


def fetch_arrowbricks(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    import asyncio

    import arrowbricks

    loop = asyncio.new_event_loop()
    connection = arrowbricks.connect(host, path.rpartition("/")[2], token=token, protocol="sea")
    cursor = connection.cursor()
    yield

    async def fetch() -> Any:
        await cursor.execute(arrowbricks.unsafe_sql(statement))
        return await cursor.fetchall_arrow()

    yield loop.run_until_complete(fetch())


def fetch_plain(host: str, path: str, token: str, statement: str) -> Iterator[Any]:
    """What a plain program does: 8 connections, liblz4, pyarrow over the decoded bytes; no check and no retry."""
    import http.client
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from urllib.parse import urlsplit

    import lz4.frame
    import pyarrow as pa

    local = threading.local()

    def ask(method: str, url: str, body: object = None) -> bytes:
        place = urlsplit(url)
        connections = local.__dict__.setdefault("connections", {})
        connection = connections.setdefault(place.netloc, http.client.HTTPConnection(place.netloc))
        headers = {"authorization": f"Bearer {token}"} if url.startswith(host) else {}
        connection.request(
            method, f"{place.path}?{place.query}", body=json.dumps(body) if body else None, headers=headers
        )
        return connection.getresponse().read()

    def download(link: dict[str, Any]) -> list[pa.RecordBatch]:
        body = ask("GET", link["external_link"])
        content = []
        while body:
            frame = lz4.frame.LZ4FrameDecompressor()
            content.append(frame.decompress(body))
            body = frame.unused_data
        return pa.ipc.open_stream(pa.py_buffer(b"".join(content))).read_all()

    submission = {
        "warehouse_id": path.rpartition("/")[2],
        "statement": statement,
        "disposition": "EXTERNAL_LINKS",
        "format": "ARROW_STREAM",
        "result_compression": "LZ4_FRAME",
        "wait_timeout": "50s",
    }
    with ThreadPoolExecutor(8) as pool:
        yield
        answer = json.loads(ask("POST", f"{host}/api/2.0/sql/statements", submission))
        statement_url = f"{host}/api/2.0/sql/statements/{answer['statement_id']}"
        running, result = [], answer["result"]
        while True:
            links = result["external_links"]
            running += [pool.submit(download, link) for link in links]
            last = links[-1]
            if last.get("next_chunk_index") is None:
                break
            offset = last["row_offset"] + last["row_count"]
            result = json.loads(
                ask("GET", f"{statement_url}/result/chunks/{last['next_chunk_index']}?row_offset={offset}")
            )
        yield pa.concat_tables([future.result() for future in running])


FETCH = {
    "seakernel": fetch_seakernel,
    "databricks-sql-kernel": fetch_databricks_sql_kernel,
    "arrowbricks": fetch_arrowbricks,
    "connector-kernel": fetch_connector_kernel,
    "connector-sea": fetch_connector_sea,
    "plain": fetch_plain,
}
# The one that ratios are of, and everybody in turn.
PEER = "databricks-sql-kernel"


def measure(client: str, host: str, path: str, token: str, rows: int) -> dict[str, object]:
    """Runs one fetch in this process and returns what it took."""
    import pyarrow as pa
    import pyarrow.compute as pc

    steps = FETCH[client](host, path, token, STATEMENT.format(rows=rows))
    next(steps)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    fetched = next(steps)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    table = fetched if isinstance(fetched, pa.Table) else pa.RecordBatchReader.from_stream(fetched).read_all()
    expected_ids = rows * (rows - 1) // 2
    quantities = sum(range(50)) * (rows // 50)
    correct = (
        table.num_rows == rows
        and pc.sum(table.column("id")).as_py() == expected_ids
        and pc.sum(table.column("quantity")).as_py() == quantities
        and pc.sum(pc.binary_length(table.column("comment"))).as_py() == comment_bytes(rows)
    )
    return {
        "wall_s": wall,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_growth_mib": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "arrow_mib": table.nbytes / 2**20,
        "rows": table.num_rows,
        "correct": correct,
    }


def comment_bytes(rows: int) -> int:
    """Bytes of the comment column: a fixed text and the digits of id % 100003."""
    whole, rest = divmod(rows, 100003)

    def digits(below: int) -> int:
        return sum(max(0, below - (0 if power == 0 else 10**power)) for power in range(6))

    return len("carefully final deposits ") * rows + whole * digits(100003) + digits(rest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="1000000,10000000")
    parser.add_argument("--settings", default="loopback", help="loopback, cloud, or both with a comma")
    parser.add_argument("--clients", default=f"seakernel,{PEER}", help=f"of {', '.join(FETCH)}")
    parser.add_argument("--links", type=int, help="links an answer; all of them by default")
    parser.add_argument("--save", action="store_true", help="write benches/results/fetch.json")
    parser.add_argument(
        "--measure", nargs=5, metavar=("CLIENT", "HOST", "PATH", "TOKEN", "ROWS"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.measure:
        client, host, path, token, rows = options.measure
        sys.stdout.write(json.dumps(measure(client, host, path, token, int(rows))))
        return 0

    results = {setting: compare(setting, options) for setting in options.settings.split(",")}
    if options.save:
        save(results, options.links)
    correct = [run["correct"] for sizes in results.values() for runs in sizes.values() for run in runs["seakernel"]]
    return 0 if all(correct) else 1


def compare(setting: str, options: argparse.Namespace) -> Results:
    """Measures all sizes and clients under one setting, with a server of its own."""
    switches = dict(SETTINGS[setting])
    if options.links:
        switches["hybrid_links_per_response"] = switches["external_links_per_response"] = options.links
    command = [sys.executable, "-c", SERVER, json.dumps(switches)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        write(f"\n{setting}, {options.links or 'all'} links an answer")
        return measure_all(options, server.stdout.readline().split())
    finally:
        server.stdin.close()
        server.wait(timeout=30)


def measure_all(options: argparse.Namespace, place: list[str]) -> Results:
    results: Results = {}
    for rows in (int(text) for text in options.rows.split(",")):
        clients = options.clients.split(",")
        runs: dict[str, list[dict[str, object]]] = {client: [] for client in clients}
        for number in range(options.rounds + 1):
            # Who goes first alternates, so that neither always finds the warmer server.
            for client in clients if number % 2 else reversed(clients):
                command = [sys.executable, __file__, "--measure", client, *place, str(rows)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    run = {"failed": done.stderr.strip().splitlines()[-1:], "correct": False}
                else:
                    run = json.loads(done.stdout)
                if number > 0:  # the first round fills the server's cache
                    runs[client].append(run)
        results[rows] = runs
        report(rows, runs)
    return results


def save(results: dict[str, Results], links: int | None) -> None:
    packages = ("databricks-sql-kernel", "databricks-sql-connector", "arrowbricks", "duckdb", "pyarrow", "seakernel")
    document = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "versions": {package: version(package) for package in packages},
        "links_an_answer": links or "all",
        "results": results,
    }
    target = Path(__file__).parents[1] / "results" / "fetch.json"
    target.write_text(json.dumps(document, indent=1) + "\n")


def report(rows: int, runs: dict[str, list[dict[str, object]]]) -> None:
    peer = runs.get(PEER, [])
    write(f"\n{rows:,} rows, {len(next(iter(runs.values())))} rounds (median, min..max)")
    write(
        f"  {'client':24} {'wall s':>22} {'cpu s':>8} {'peak growth':>12} {'ratio wall':>11} {'ratio cpu':>10}  result"
    )
    for client, measured in runs.items():
        good = [run for run in measured if "failed" not in run]
        if not good:
            write(f"  {client:24} failed: {measured[0]['failed']}")
            continue
        walls = [run["wall_s"] for run in good]
        spread = f"{statistics.median(walls):.3f} ({min(walls):.3f}..{max(walls):.3f})"
        ratios = [
            statistics.median(
                [ours[key] / theirs[key] for ours, theirs in zip(good, peer, strict=False) if key in theirs]
                or [float("nan")]
            )
            for key in ("wall_s", "cpu_s")
        ]
        wrong = [run["rows"] for run in good if not run["correct"]]
        verdict = f"WRONG in {len(wrong)} of {len(good)}: {wrong} rows" if wrong else "right"
        write(
            f"  {client:24} {spread:>22} {statistics.median(run['cpu_s'] for run in good):8.3f}"
            f" {statistics.median(run['peak_growth_mib'] for run in good):8.0f} MiB"
            f" {ratios[0]:11.2f} {ratios[1]:10.2f}  {verdict}"
        )


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
