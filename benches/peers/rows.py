"""A million mixed rows as Python objects and as frames: ours beside databricks-sql-connector on its own kernel.

Every run is a process of its own, and the clients of a round take turns. Rows are compared with what they must be outside of
the time. `make bench-rows` runs it, `make bench-rows BENCH=--save` writes `results/rows.md`.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measure
import report
import warehouse
from clients import CLIENTS, Place

OURS, PEER = "seakernel", "connector-kernel"
RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ["seakernel", "databricks-sql-connector", "databricks-sql-kernel", "pyarrow", "pandas"]
STATEMENT = """
SELECT id,
       CASE WHEN id % 10 > 0 THEN CAST(id % 50 AS INT) END AS quantity,
       CAST(id % 1000 AS DOUBLE) / CAST(7 AS DOUBLE) AS ratio,
       CAST(id * 37 % 9999991 AS DECIMAL(10, 2)) AS price,
       concat('carefully final deposits ', CAST(id % 100003 AS STRING)) AS comment,
       date_add(DATE'1992-01-01', CAST(id % 2500 AS INT)) AS ordered,
       timestamp_micros(1600000000000000 + id * 1000003) AS shipped,
       CASE WHEN id % 7 > 0 THEN id % 3 = 0 END AS returned
FROM range({rows})
"""
WARM_UP_ROWS = 10
EPOCH = datetime.fromtimestamp(1_600_000_000, timezone.utc)


def expected(number: int) -> tuple[Any, ...]:
    return (
        number,
        number % 50 if number % 10 else None,
        number % 1000 / 7,
        Decimal(number * 37 % 9_999_991),
        f"carefully final deposits {number % 100_003}",
        date(1992, 1, 1) + timedelta(number % 2500),
        EPOCH + timedelta(microseconds=number * 1_000_003),
        number % 3 == 0 if number % 7 else None,
    )


def iterate(cursor: Any) -> int:
    """What a loop over rows costs when each is dropped."""
    count = 0
    for _ in cursor:
        count += 1
    return count


def keep(cursor: Any) -> list[Any]:
    return list(cursor)


# What each client does. The connector's way to a frame is through pyarrow.
# It takes about 1 ms for each row of a loop, so that it is measured on fewer, and beside it we are.
FEW = 10_000
MEASURES = {
    "fetchall()": (lambda cursor: cursor.fetchall(),) * 2,
    "for row in cursor": (iterate, None),
    "list(cursor)": (keep, None),
    f"for row in cursor, {FEW:,} rows": (iterate, iterate),
    "fetchall_arrow()": (lambda cursor: cursor.fetchall_arrow(),) * 2,
    "df()": (lambda cursor: cursor.df(), lambda cursor: cursor.fetchall_arrow().to_pandas()),
    "pl()": (lambda cursor: cursor.pl(), lambda cursor: __import__("polars").from_arrow(cursor.fetchall_arrow())),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measures", type=lambda text: text.split(";"), default=available(), help="separated by `;`")
    parser.add_argument("--save", action="store_true", help="write rows.md in benches/results")
    options = parser.parse_args()
    runs = []
    with warehouse.Warehouse() as server:
        server.become("loopback", 8)
        measure.in_a_process(
            __file__, {"place": server.place, "client": OURS, "measure": "fetchall_arrow()", "rows": options.rows}
        )
        for name in options.measures:
            for number in range(options.rounds):
                for client in clients_of(name, number):
                    rows = FEW if f"{FEW:,}" in name else options.rows
                    job = {"client": client, "measure": name, "rows": rows, "round": number}
                    runs.append({**job, **measure.in_a_process(__file__, {**job, "place": server.place})})
            sys.stdout.write(table([run for run in runs if run["measure"] == name]) + "\n\n")
            sys.stdout.flush()
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "rows.md").write_text(page(options, runs))
    return 0 if all(run["correct"] for run in runs if run["client"] == OURS) else 1


def available() -> list[str]:
    import seakernel

    needed = {"df()": "pandas", "pl()": "polars"}
    return [
        name
        for name in MEASURES
        if name not in needed or (find_spec(needed[name]) and hasattr(seakernel.Cursor, name.removesuffix("()")))
    ]


def clients_of(name: str, number: int) -> list[str]:
    """Who takes part, in the order of this round."""
    clients = [client for client, fetch in zip((OURS, PEER), MEASURES[name], strict=True) if fetch]
    return clients[::-1] if number % 2 else clients


def run(job: dict[str, Any]) -> None:
    """One run in this process: warm up, fetch, compare, print the figures."""
    client = CLIENTS[job["client"]](Place(*job["place"]))
    fetch = MEASURES[job["measure"]][job["client"] != OURS]
    client.execute(STATEMENT.format(rows=WARM_UP_ROWS))
    fetch(client.cursor)
    client.release()
    meter = measure.Meter()
    client.execute(STATEMENT.format(rows=job["rows"]))
    fetched = fetch(client.cursor)
    figures = meter.read()
    del figures[measure.IMPORTED]
    sys.stdout.write(json.dumps({**figures, "correct": is_right(fetched, job["rows"])}) + "\n")
    sys.stdout.flush()
    del fetched
    client.release()
    client.close()


def is_right(fetched: Any, rows: int) -> bool:
    """Whether all rows are there, and every 97th and the last are what they must be."""
    if isinstance(fetched, int):
        return fetched == rows
    places = [*range(0, rows, 97), rows - 1]
    if isinstance(fetched, list):
        return len(fetched) == rows and all(tuple(fetched[place]) == expected(place) for place in places)
    ids = fetched["id"].to_numpy()
    return len(ids) == rows and bool((ids == range(rows)).all())


def table(runs: list[dict[str, Any]]) -> str:
    lines = []
    grouped = collections.defaultdict(list)
    for run in runs:
        grouped[run["measure"], run["client"]].append(run)
    for (name, client), found in grouped.items():
        line = [name, client]
        for figure in ("wall_s", "cpu_s", "peak_growth_mib"):
            middle = statistics.median(run[figure] for run in found)
            ratios = report.ratios(grouped[name, OURS], found, figure)
            line += [
                f"{middle:.0f} MiB" if figure == "peak_growth_mib" else f"{middle:.3f} s",
                f"{statistics.median(ratios):#.2g}" if ratios and client != OURS else "",
            ]
        lines.append([*line, "right" if all(run["correct"] for run in found) else "WRONG"])
    head = ["", "client", "wall", "ours / it", "CPU time", "ours / it", "memory growth", "ours / it", "result"]
    return report.table(head, lines)


def page(options: argparse.Namespace, runs: list[dict[str, Any]]) -> str:
    measured = report.circumstances(PACKAGES)
    return f"""# Rows, beside databricks-sql-connector

Measured on {measured["date"]} with `make bench-rows BENCH=--save`: {measured["machine"]}; {report.listed(measured["versions"])}; {options.rows:,} rows of eight columns (BIGINT,
INT, DOUBLE, DECIMAL(10,2), STRING, DATE, TIMESTAMP, BOOLEAN; two with NULLs); medians of {options.rounds} rounds.
`{PEER}` is databricks-sql-connector with `use_kernel=True`. `../README.md` says how. Do not edit: this page is generated.

From `execute` to the last row. `ours / it` is the median over the rounds of our figure divided by theirs: below 1 is better
for us. `for row in cursor` drops each row, `list(cursor)` keeps them all, as `fetchall()` does. The connector takes about 1 ms
for each row of a loop, so that loops are compared over {FEW:,} rows.

{table(runs)}
"""


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        run(json.loads(sys.argv[1]))
    else:
        raise SystemExit(main())
