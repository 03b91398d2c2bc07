"""Arrow results through ADBC: beside our own cursor, and beside databricks-sql-connector.

Every run is a process of its own, and the clients take turns, each round beginning with another one. Results are verified by
checksum. `make bench-adbc` runs it, `make bench-adbc BENCH=--save` writes `results/adbc.md`.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import sys
from pathlib import Path
from typing import Any

import fetch
import measure
import report
import warehouse

OURS = "seakernel-adbc"
CLIENTS = [OURS, "seakernel", "connector-kernel", "connector-sea"]
RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = [
    "seakernel",
    "adbc-driver-manager",
    "databricks-sql-connector",
    "databricks-sql-kernel",
    "pyarrow",
]
SIZES = [100_000, 1_000_000, 5_000_000]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=SIZES)
    parser.add_argument("--clients", type=lambda text: text.split(","), default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write adbc.md in benches/results")
    options = parser.parse_args()
    runs = []
    with warehouse.Warehouse() as server:
        server.become("loopback", 8)
        for rows in options.sizes:
            checksum = measure.expected(rows)
            fetch.one_run(server, {"client": "seakernel", "measure": "whole", "rows": rows}, checksum)
            for number in range(options.rounds):
                first = number % len(options.clients)
                for client in options.clients[first:] + options.clients[:first]:
                    run = {"client": client, "measure": "whole", "rows": rows, "round": number}
                    runs.append({**run, **fetch.one_run(server, run, checksum)})
            sys.stdout.write(table([run for run in runs if run["rows"] == rows]) + "\n\n")
            sys.stdout.flush()
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "adbc.md").write_text(page(options, runs))
    return 0 if all(run["correct"] for run in runs if run["client"].startswith("seakernel")) else 1


def table(runs: list[dict[str, Any]]) -> str:
    lines = []
    grouped = collections.defaultdict(list)
    for run in runs:
        grouped[run["rows"], run["client"]].append(run)
    for (rows, client), found in grouped.items():
        if failed := [run["failed"] for run in found if "failed" in run]:
            lines.append([f"{rows:,}", client, failed[0][:60], "", "", "", "", "WRONG"])
            continue
        wall = statistics.median(run["wall_s"] for run in found)
        line = [f"{rows:,}", client, f"{rows / wall:,.0f}"]
        for figure in ("wall_s", "cpu_s"):
            ratios = report.ratios(grouped[rows, OURS], found, figure)
            line += [
                f"{statistics.median(run[figure] for run in found):.3f} s",
                f"{statistics.median(ratios):#.2g}" if ratios and client != OURS else "",
            ]
        lines.append([*line, "right" if all(run["correct"] for run in found) else "WRONG"])
    head = ["rows", "client", "rows/s", "wall", "ADBC / it", "CPU time", "ADBC / it", "result"]
    return report.table(head, lines)


def page(options: argparse.Namespace, runs: list[dict[str, Any]]) -> str:
    measured = report.circumstances(PACKAGES)
    return f"""# ADBC, beside our own cursor and databricks-sql-connector

Measured on {measured["date"]} with `make bench-adbc BENCH=--save`: {measured["machine"]}; {report.listed(measured["versions"])}; medians of {options.rounds} rounds in which the
clients take turns. `../README.md` says how. Do not edit: this page is generated.

From `execute` to the whole table in pyarrow. `{OURS}` is `cursor.fetch_arrow_table()` of adbc_driver_manager with this
package's driver, `seakernel` is `fetchall_arrow()` of our own cursor, and the connector is asked for the same with `use_kernel=True`
and with `use_sea=True`. `ADBC / it` is the median over the rounds of the driver's figure divided by theirs: below 1 is better for
the driver.

{table(runs)}
"""


if __name__ == "__main__":
    sys.exit(main())
