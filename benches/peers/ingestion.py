"""Ingestion by Zerobus, beside the official clients and gRPC alone; run by `make bench-zerobus`, see benches/README.md.

Every run is a process of its own, the clients take turns, and the server, a process too, counts the rows it was sent.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import numpy as np
import pyarrow as pa
import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

Run = dict[str, Any]

RESULTS = Path(__file__).parents[1] / "results"
ROOT = Path(__file__).parents[2]
SERVER = ROOT / "target/release/seakernel-zerobus-local"
PEERS = ROOT / "target/zerobus-peers/release/zerobus-peers"
PACKAGES = ["seakernel-zerobus", "databricks-zerobus-ingest-sdk", "protobuf", "pyarrow"]
OURS = "seakernel"
FOUR = "seakernel, 4 senders"
SENDERS = {FOUR: 4}
CLIENTS = {
    OURS: "`send_batch_sync`, Arrow in",
    FOUR: "the same from four threads at once, with one wrapper",
    "seakernel, arrow": "the same from one thread, with `ingest_mode='arrow'`",
    "python": "databricks-zerobus-ingest-sdk for Python, Arrow in, rows encoded by the protobuf package",
    "python, encoded": "the same, rows encoded beforehand by us",
    "python, arrow": "its Arrow stream; the columns have the types of the service beforehand",
    "rust, encoded": "the official Rust client 2.12.0, rows encoded beforehand",
    "grpc, encoded": "one gRPC stream (tonic), rows encoded beforehand: the ceiling of the transport",
    "encode": "our encoder alone, `zerobus_writer_disabled`, debug files on a file system in memory",
}
SHAPES = {
    "N": "BIGINT, STRING of 16 bytes, DOUBLE",
    "W": "200 columns of seven types, 10 % NULL",
    "S": "BIGINT, STRING of 1 KB",
    "X": "a struct, a list of structs and a map",
}
SIZES = {"100 KB": 100_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
SQL_TYPES = {
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "double": "DOUBLE",
    "int32": "INT",
    "int64": "BIGINT",
    "string": "STRING",
    "timestamp[us]": "TIMESTAMP_NTZ",
}
# Requests as large as the official clients allow.
REQUEST_BYTES = 10_420_224 - 65_536


def shape(name: str, size: int) -> pa.RecordBatch:
    """About `size` bytes of rows."""
    small = MAKERS[name](64)
    return MAKERS[name](max(1, size * 64 // small.nbytes))


def narrow(rows: int) -> pa.RecordBatch:
    random = np.random.default_rng(1)
    return pa.record_batch(
        {
            "id": np.arange(rows),
            "name": pa.array([f"name-{number:011}" for number in range(rows)]),
            "value": random.random(rows),
        }
    )


def wide(rows: int) -> pa.RecordBatch:
    random = np.random.default_rng(2)
    epoch = dt.datetime(2024, 1, 1)  # noqa: DTZ001 # TIMESTAMP_NTZ
    kinds: list[Callable[[], pa.Array]] = [
        lambda: pa.array(random.integers(0, 1 << 40, rows), mask=random.random(rows) < 0.1),
        lambda: pa.array(random.integers(0, 1 << 20, rows).astype("int32"), mask=random.random(rows) < 0.1),
        lambda: pa.array(random.random(rows), mask=random.random(rows) < 0.1),
        lambda: pa.array(
            [None if skip else f"text {number:07}" for number, skip in enumerate(random.random(rows) < 0.1)]
        ),
        lambda: pa.array(random.random(rows) < 0.5, mask=random.random(rows) < 0.1),
        lambda: pa.array([None if skip else epoch.date() for skip in random.random(rows) < 0.1], pa.date32()),
        lambda: pa.array([None if skip else epoch for skip in random.random(rows) < 0.1], pa.timestamp("us")),
    ]
    return pa.record_batch({f"c{number}": kinds[number % len(kinds)]() for number in range(200)})


def strings(rows: int) -> pa.RecordBatch:
    letters = "abcdefghijklmnopqrstuvwxyz" * 39
    return pa.record_batch(
        {"id": np.arange(rows), "text": pa.array([f"{number:010}{letters}" for number in range(rows)])}
    )


def nested(rows: int) -> pa.RecordBatch:
    place = pa.struct({"x": pa.float64(), "y": pa.float64(), "name": pa.string()})
    items = pa.list_(pa.struct({"sku": pa.string(), "count": pa.int32()}))
    return pa.record_batch(
        {
            "place": pa.array([{"x": n / 7, "y": n / 3, "name": f"place {n}"} for n in range(rows)], place),
            "items": pa.array(
                [[{"sku": f"sku-{n}-{k}", "count": k} for k in range(n % 5)] for n in range(rows)], items
            ),
            "tags": pa.array(
                [[("kind", f"k{n % 9}"), ("lot", str(n))] for n in range(rows)], pa.map_(pa.string(), pa.string())
            ),
        }
    )


MAKERS = {"N": narrow, "W": wide, "S": strings, "X": nested}


class Server:
    """The look-alike in a process of its own. It reads what comes and counts rows: records are not checked and not kept."""

    def __enter__(self) -> Self:
        settings = {"ack_interval_ms": 0, "check_records": False, "keep_rows": False}
        command = [SERVER, json.dumps({"settings": settings})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.place: dict[str, str] = json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def create(self, table: str, schema: pa.Schema) -> None:
        columns = [{"name": field.name, "type": sql_type(field.type)} for field in schema]
        self._ask("POST", "tables", {"name": table, "columns": columns})

    def rows(self, table: str) -> int:
        """The rows that came for the table until now."""
        return self._ask("GET", f"count?table={table}")

    def _ask(self, method: str, what: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.place['unity_catalog_url']}/control/{what}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def sql_type(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'{field.name}: {sql_type(field.type)}' for field in kind)}>"
    if pa.types.is_list(kind):
        return f"ARRAY<{sql_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"MAP<{sql_type(kind.key_type)}, {sql_type(kind.item_type)}>"
    return SQL_TYPES[str(kind)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--clients", nargs="+", default=list(CLIENTS), choices=CLIENTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sends", type=int, default=20, help="fewest sends of a run")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a run sends")
    parser.add_argument("--save", action="store_true", help="write benches/results/zerobus.md")
    options = parser.parse_args()
    runs: list[Run] = []
    with Server() as server, tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for name, size in itertools.product(options.shapes, options.sizes):
            batch, cell = shape(name, SIZES[size]), []
            table = f"main.default.{name.lower()}_{batch.num_rows}"
            server.create(table, batch.schema)
            job = {**server.place, "table": table, "shape": name, "size": size, "folder": folder}
            job |= {"seconds": options.seconds, "sends": options.sends, "warm_up": 5, "request_bytes": REQUEST_BYTES}
            job |= encoded(job, batch)
            for number in range(options.rounds):
                for client in options.clients[:: -1 if number % 2 else 1]:
                    before = server.rows(table)
                    figures = one_run({**job, "client": client})
                    sends = len(figures["latencies_ms"])
                    stored = 0 if client == "encode" else (sends + job["warm_up"]) * batch.num_rows
                    figures |= {"rows": sends * batch.num_rows, "bytes": sends * batch.nbytes}
                    figures["correct"] = server.rows(table) - before == stored
                    cell.append({"shape": name, "size": size, "client": client, "round": number, **figures})
            runs += cell
            sys.stdout.write(f"{name}, {size}: {batch.num_rows:,} rows a send\n{report_table(cell)}\n\n")
            sys.stdout.flush()
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "zerobus.md").write_text(page(options, runs))
    return 0 if all(run["correct"] for run in runs) else 1


def encoded(job: dict[str, Any], batch: pa.RecordBatch) -> dict[str, str]:
    """The records of a send and their descriptor as files, by our own encoder."""
    from seakernel.zerobus import ZerobusWrapper

    folder = Path(job["folder"]) / job["table"]
    options = {"debug_protobuf_enabled": True, "debug_output_dir": folder, "debug_rotation_rows": 0}
    with ZerobusWrapper(job["endpoint"], job["table"], zerobus_writer_disabled=True, **options) as wrapper:
        wrapper.send_batch_sync(batch)
    (records,) = folder.glob("zerobus/proto/*.proto")
    (descriptor,) = folder.glob("zerobus/descriptors/*.pb")
    return {"records": str(records), "descriptor": str(descriptor)}


def one_run(job: dict[str, Any]) -> Run:
    client = job["client"]
    if client in ("rust, encoded", "grpc, encoded"):
        job = {**job, "client": {"rust, encoded": "official", "grpc, encoded": "bare"}[client]}
        done = subprocess.run([str(PEERS), json.dumps(job)], capture_output=True, text=True, check=True, timeout=300)
        return json.loads(done.stdout.splitlines()[-1])
    return measure.in_a_process(__file__, job)


def run(job: dict[str, Any]) -> None:
    """One run in this process: warm up, send for a while, print the figures."""
    batch = shape(job["shape"], SIZES[job["size"]])
    makers = {"python": official, "python, encoded": official, "python, arrow": official_arrow}
    send, close = makers.get(job["client"], ours)(job, batch)
    for _ in range(job["warm_up"]):
        send()
    meter, latencies = measure.Meter(), []

    def sender() -> None:
        while len(latencies) < job["sends"] or meter.elapsed() < job["seconds"]:
            began = time.perf_counter()
            send()
            latencies.append((time.perf_counter() - began) * 1000)

    senders = [threading.Thread(target=sender) for _ in range(SENDERS.get(job["client"], 1) - 1)]
    for thread in senders:
        thread.start()
    sender()
    for thread in senders:
        thread.join()
    read = meter.read()
    figures = {"wall_s": read["wall_s"], "cpu_s": read["cpu_s"], "peak_mib": measure.memory("VmHWM")}
    close()
    sys.stdout.write(json.dumps({**figures, "latencies_ms": latencies}) + "\n")


def ours(job: dict[str, Any], batch: pa.RecordBatch) -> tuple[Callable[[], None], Callable[[], None]]:
    from seakernel.zerobus import ZerobusWrapper

    options: dict[str, Any] = {name: job[name] for name in ("client_id", "client_secret", "unity_catalog_url")}
    if job["client"] == "encode":
        folder = tempfile.mkdtemp(dir=job["folder"])
        # Small files, of which few are kept: memory is not filled.
        options = {"debug_protobuf_enabled": True, "debug_output_dir": folder, "debug_max_files_retained": 1}
        options |= {"zerobus_writer_disabled": True, "debug_rotation_rows": 0, "debug_max_file_size": 50_000_000}
    elif job["client"] == "seakernel, arrow":
        options["ingest_mode"] = "arrow"
    wrapper = ZerobusWrapper(job["endpoint"], job["table"], **options)

    def send() -> None:
        result = wrapper.send_batch_sync(batch)
        if result.successful_count != batch.num_rows:
            raise RuntimeError(str(result.error or result.failed_rows[:1]))

    return send, wrapper.shutdown_sync


def official(job: dict[str, Any], batch: pa.RecordBatch) -> tuple[Callable[[], None], Callable[[], None]]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.internal.decoder import _DecodeVarint32  # the package has no public reader of its own framing
    from zerobus.sdk.shared import TableProperties
    from zerobus.sdk.sync import ZerobusSdk

    file = descriptor_pb2.FileDescriptorProto(name="table.proto", syntax="proto2")
    file.message_type.add().ParseFromString(Path(job["descriptor"]).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(file.message_type[0].name))
    sdk = ZerobusSdk(job["endpoint"], job["unity_catalog_url"])
    properties = TableProperties(job["table"], message.DESCRIPTOR)
    stream = sdk.create_stream(job["client_id"], job["client_secret"], properties)

    def send_records(records: list[bytes]) -> None:
        first, held, offset = 0, 0, None
        for index, record in enumerate(records):
            if held + len(record) > job["request_bytes"] and index > first:
                offset = stream.ingest_records_offset(records[first:index])
                first, held = index, 0
            held += len(record)
        offset = stream.ingest_records_offset(records[first:])
        stream.wait_for_offset(offset)

    def send() -> None:
        columns = {name: plain(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        names = list(columns)
        rows = zip(*columns.values(), strict=True)
        send_records([message(**dict(zip(names, row, strict=True))).SerializeToString() for row in rows])

    if job["client"] == "python":
        return send, stream.close
    data, place, records = Path(job["records"]).read_bytes(), 0, []
    while place < len(data):
        length, place = _DecodeVarint32(data, place)
        records.append(data[place : place + length])
        place += length
    return lambda: send_records(records), stream.close


def official_arrow(job: dict[str, Any], batch: pa.RecordBatch) -> tuple[Callable[[], None], Callable[[], None]]:
    from zerobus.sdk.sync import ZerobusSdk

    schema = pa.schema([field.with_type(service_type(field.type)) for field in batch.schema])
    batch = batch.cast(schema)
    sdk = ZerobusSdk(job["endpoint"], job["unity_catalog_url"])
    stream = sdk.create_arrow_stream(job["table"], schema, job["client_id"], job["client_secret"])
    return lambda: stream.wait_for_offset(stream.ingest_batch(batch)), stream.close


def service_type(kind: pa.DataType) -> pa.DataType:
    """The type in which the service takes what a column has."""
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(service_type(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(service_type(kind.value_type))
    if pa.types.is_map(kind):
        keys = pa.field("keys", service_type(kind.key_type), nullable=False)
        return pa.map_(keys, pa.field("values", service_type(kind.item_type)))
    return kind


def plain(column: pa.Array) -> list[Any]:
    """The values as a message takes them."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32()).to_pylist()
    values = column.to_pylist()
    return [dict(value) for value in values] if pa.types.is_map(column.type) else values


def medians(runs: list[Run], client: str) -> dict[str, float]:
    of = [run for run in runs if run["client"] == client]
    quantiles = [np.percentile(run["latencies_ms"], [50, 95, 99]) for run in of]
    return {
        "rows/s": statistics.median(run["rows"] / run["wall_s"] for run in of),
        "MB/s": statistics.median(run["bytes"] / 1e6 / run["wall_s"] for run in of),
        **{name: statistics.median(q[at] for q in quantiles) for at, name in enumerate(("p50", "p95", "p99"))},
        "CPU s/GB": statistics.median(run["cpu_s"] / (run["bytes"] / 1e9) for run in of),
        "peak": statistics.median(run["peak_mib"] for run in of),
        "correct": all(run["correct"] for run in of),
    }


def report_table(cell: list[Run]) -> str:
    by_client = {client: medians(cell, client) for client in CLIENTS if any(run["client"] == client for run in cell)}
    rate = by_client.get(OURS, {}).get("rows/s")
    head = [
        "client",
        "rows/s",
        "MB/s of Arrow",
        "ours / it",
        "p50, p95, p99 of a send",
        "CPU s per GB",
        "peak memory",
        "rows stored",
    ]
    rows = []
    for client, found in by_client.items():
        ratio = f"{rate / found['rows/s']:.2f}" if rate and client != OURS else ""
        times = ", ".join(f"{found[name]:.1f}" for name in ("p50", "p95", "p99")) + " ms"
        figures = [f"{found['rows/s']:,.0f}", f"{found['MB/s']:,.0f}", ratio, times, f"{found['CPU s/GB']:.2f}"]
        rows.append([client, *figures, f"{found['peak']:.0f} MiB", "all" if found["correct"] else "WRONG"])
    return report.table(head, rows)


def page(options: argparse.Namespace, runs: list[Run]) -> str:
    measured = report.circumstances(PACKAGES)
    parts = []
    for name, size in itertools.product(options.shapes, options.sizes):
        cell = [run for run in runs if run["shape"] == name and run["size"] == size]
        rows = shape(name, SIZES[size]).num_rows
        parts.append(f"## {name}, {size}: {SHAPES[name]}\n\n{rows:,} rows a send.\n\n{report_table(cell)}\n")
    clients = "\n".join(f"- `{client}`: {text}" for client, text in CLIENTS.items())
    return f"""# Ingestion by Zerobus, beside the official clients

Measured on {measured["date"]} with `{" ".join(["ingestion.py", *sys.argv[1:]])}`, which `make bench-zerobus` runs: {measured["machine"]}; {report.listed(measured["versions"])},
databricks-zerobus-ingest-sdk for Rust 2.12.0; medians of {options.rounds} rounds of about {options.seconds:g} s, in which the clients
take turns. `../README.md` says how. Do not edit: this page is generated.

A send is one batch, sent and waited for until it is acknowledged. The server acknowledges at once, counts rows, and does
not look into records; it has the two cores together with the client.

{clients}

{chr(10).join(parts)}"""


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        run(json.loads(sys.argv[1]))
    else:
        sys.exit(main())
