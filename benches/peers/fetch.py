"""Fetching results as Arrow: ours beside its peers, interleaved in one run.

The server is one process and every run another, so that CPU and memory are the client's alone. Within a cell of the table
clients take turns, each round beginning with another one. Every run is verified by checksum; wrong results are kept.

`make bench` measures all of it, in about a quarter of an hour; `make bench BENCH="--sizes 1000000 --rounds 9"` a part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import plot
import report
import warehouse
from clients import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parents[1] / "results"
SIZES = [1, 10_000, 100_000, 500_000, 1_000_000, 10_000_000]
# One row stands for `SELECT 1`. Such short statements are run several times in a process.
REPEATS = {1: 10, 10_000: 10}
# Compared in a script of their own.
ELSEWHERE = {"seakernel-adbc"}
# Below, a result is one file or two, and the number of links an answer makes little difference.
SEVERAL_FILES = 1_000_000
TIMEOUT_S = 120
PACKAGES = ["seakernel", "databricks-sql-kernel", "databricks-sql-connector", "arrowbricks", "pyarrow", "duckdb"]


def main() -> int:
    options = arguments()
    runs: list[dict[str, Any]] = []
    began = time.monotonic()
    with warehouse.Warehouse() as server:
        checksums = {rows: measure.expected(rows) for rows in options.sizes}
        fill_cache(server, options, checksums)
        for cell in cells(options):
            measured = measure_cell(server, options, cell, checksums[cell["rows"]])
            runs += measured
            write(report.cell_table(measured))
    document = {
        **report.circumstances(PACKAGES),
        "rounds": options.rounds,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "runs": runs,
    }
    write(report.target_table(runs))
    write(f"{len(runs)} runs in {document['minutes']} minutes")
    if options.save:
        save(document)
    return 0 if all(run["correct"] for run in runs if run["client"].startswith("seakernel")) else 1


def arguments() -> argparse.Namespace:
    def listed(allowed: list[Any]) -> Any:
        kind = type(allowed[0])

        def parse(text: str) -> list[Any]:
            values = [kind(part) for part in text.split(",")]
            if unknown := [value for value in values if kind is str and value not in allowed]:
                raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(allowed)}")
            return values

        return {"type": parse, "default": allowed, "metavar": "A,B", "help": f"default {','.join(map(str, allowed))}"}

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", **listed(list(warehouse.SETTINGS)))
    parser.add_argument("--links", **listed([8, 1]))
    parser.add_argument("--sizes", **listed(SIZES))
    parser.add_argument("--clients", **listed([name for name in CLIENTS if name not in ELSEWHERE]))
    parser.add_argument("--measures", **listed(list(measure.MEASURES)))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--save", action="store_true", help="write fetch.json, fetch.md and fetch.svg in benches/results"
    )
    options = parser.parse_args()
    if options.save and "whole" not in options.measures:
        parser.error("--save draws whole tables: measure them too")
    return options


def cells(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The cells of the table: the combinations of everything but the client that say something new."""
    for setting, links, name in itertools.product(options.settings, options.links, options.measures):
        again = links != options.links[0]
        for rows in options.sizes:
            # Batch by batch is for the largest results, and how links come is seen in the whole.
            told = rows < max(options.sizes) or again if name == "batches" else again and rows < SEVERAL_FILES
            if not told:
                yield {"setting": setting, "links": links, "measure": name, "rows": rows}


def fill_cache(server: warehouse.Warehouse, options: argparse.Namespace, checksums: dict[int, Any]) -> None:
    """Has the server encode every result, in each form that a client asks for."""
    server.become("loopback", options.links[0])
    for rows, client in itertools.product(options.sizes, options.clients):
        one_run(server, {"client": client, "measure": "whole", "rows": rows}, checksums[rows])


def measure_cell(
    server: warehouse.Warehouse, options: argparse.Namespace, cell: dict[str, Any], checksum: dict[str, float]
) -> list[dict[str, Any]]:
    server.become(cell["setting"], cell["links"])
    # A budget of memory matters where batches are dropped.
    clients = [client for client in options.clients if cell["measure"] == "batches" or client != "seakernel-64MiB"]
    runs = []
    for number in range(options.rounds):
        first = number % len(clients)
        order = clients[first:] + clients[:first]
        for client in reversed(order) if number % 2 else order:
            run = {**cell, "round": number, "client": client}
            runs.append({**run, **one_run(server, run, checksum)})
    return runs


def one_run(server: warehouse.Warehouse, run: dict[str, Any], checksum: dict[str, float]) -> dict[str, Any]:
    job = {**run, "place": server.place, "expected": checksum, "repeats": REPEATS.get(run["rows"], 1)}
    command = [sys.executable, measure.__file__, json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        figures = {"failed": f"not done in {TIMEOUT_S} s", "correct": False}
    else:
        if done.stdout:
            figures = json.loads(done.stdout)
        else:
            last = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
            figures = {"failed": last[0], "correct": False}
        if done.returncode:
            figures["exit_code"] = done.returncode
    return figures | warehouse.per_statement(server.requests())


def save(document: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(run) for run in document["runs"])
    head = json.dumps({key: value for key, value in document.items() if key != "runs"}, indent=1)
    (RESULTS / "fetch.json").write_text(f'{head.removesuffix("}").rstrip()},\n "runs": [\n{lines}\n]}}\n')
    (RESULTS / "fetch.md").write_text(report.page(document))
    (RESULTS / "fetch.svg").write_text(plot.draw(document))


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
