"""What the modes of a hand-off cost, side by side: capsule, IPC stream, and copies into memory of the caller.

Every run is a process of its own, and the modes of a round take turns. What was handed off is compared outside of the time.
`make bench` runs it, `make bench BENCH=--save` writes `results/hand_off.md`.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import pyarrow as pa
import pyarrow.compute as pc
import report
import warehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import CopiedResult, Cursor

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ["seakernel", "pyarrow"]
STATEMENT = """
SELECT id,
       CASE WHEN id % 10 > 0 THEN CAST(id % 50 AS INT) END AS quantity,
       CAST(id % 1000 AS DOUBLE) / CAST(7 AS DOUBLE) AS ratio,
       CAST(id * 37 % 9999991 AS DECIMAL(10, 2)) AS price,
       concat('carefully final deposits ', CAST(id % 100003 AS STRING)) AS comment
FROM range({rows})
"""
CAPSULE = "capsule"
POOL_BYTES = 1 << 30


class Pool:
    """Memory that was written before, handed out from the front."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(b"\1") * POOL_BYTES)
        self.end = 0

    def allocate(self, size: int) -> memoryview:
        start, self.end = self.end, self.end + size
        return self.memory[start : self.end]


def by_capsule(cursor: Cursor) -> pa.Table:
    return pa.RecordBatchReader.from_stream(cursor.hand_off()).read_all()


def by_pieces(cursor: Cursor) -> int:
    """A stream that is sent on: each piece is dropped."""
    return sum(len(piece) for piece in cursor.hand_off("ipc"))


def by_stream(cursor: Cursor) -> pa.Table:
    return pa.ipc.open_stream(cursor.hand_off("ipc").read_all()).read_all()


def by_copy(allocate: Callable[[int], Any]) -> Callable[[Cursor], CopiedResult]:
    return lambda cursor: cursor.hand_off("copy", allocate=allocate)


MODES: dict[str, Callable[[], Callable[[Cursor], Any]]] = {
    CAPSULE: lambda: by_capsule,
    "ipc, piece by piece": lambda: by_pieces,
    "ipc, read_all()": lambda: by_stream,
    "copy, bytearray": lambda: by_copy(bytearray),
    "copy, pool": lambda: by_copy(Pool().allocate),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write hand_off.md in benches/results")
    options = parser.parse_args()
    runs = []
    with warehouse.Warehouse() as server:
        server.become("loopback", 8)
        measure.in_a_process(__file__, {"place": server.place, "mode": CAPSULE, "rows": options.rows})
        for number in range(options.rounds):
            for mode in list(MODES)[:: -1 if number % 2 else 1]:
                job = {"mode": mode, "rows": options.rows, "round": number}
                runs.append({**job, **measure.in_a_process(__file__, {**job, "place": server.place})})
    sys.stdout.write(table(runs) + "\n")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "hand_off.md").write_text(page(options, runs))
    return 0 if all(run["correct"] for run in runs) else 1


def run(job: dict[str, Any]) -> None:
    """One run in this process: warm up, hand off, compare, print the figures."""
    import seakernel

    connection = seakernel.connect(*job["place"])
    cursor = connection.cursor()
    hand_off = MODES[job["mode"]]()
    hand_off(cursor.execute(STATEMENT.format(rows=10)))
    meter = measure.Meter()
    given = hand_off(cursor.execute(STATEMENT.format(rows=job["rows"])))
    figures = meter.read()
    del figures[measure.IMPORTED]
    sys.stdout.write(json.dumps({**figures, "correct": is_right(given, job["rows"])}) + "\n")
    sys.stdout.flush()
    del given
    connection.close()


def is_right(given: Any, rows: int) -> bool:
    """Whether all rows are there; of pieces that were dropped, whether there were bytes enough for them."""
    if isinstance(given, int):
        return given > 40 * rows
    if isinstance(given, pa.Table):
        return given.num_rows == rows and pc.sum(given["id"]).as_py() == rows * (rows - 1) // 2
    schema = pa.ipc.open_stream(base64.b64decode(given.layout["schema"])).schema
    total = 0
    for batch, memory in zip(given.layout["batches"], given.memory, strict=True):
        column = batch["columns"][schema.get_field_index("id")]
        place = column["buffers"][1]
        values = pa.py_buffer(memory).slice(place["offset"], place["length"])
        total += pc.sum(pa.Array.from_buffers(pa.int64(), column["length"], [None, values])).as_py()
    found = sum(batch["row_count"] for batch in given.layout["batches"])
    return found == rows and total == rows * (rows - 1) // 2


def table(runs: list[dict[str, Any]]) -> str:
    lines = []
    capsules = report.select(runs, mode=CAPSULE)
    for mode in MODES:
        found = report.select(runs, mode=mode)
        line = [mode]
        for figure in ("wall_s", "cpu_s", "peak_growth_mib"):
            middle = statistics.median(run[figure] for run in found)
            ratios = report.ratios(found, capsules, figure)
            line += [
                f"{middle:.0f} MiB" if figure == "peak_growth_mib" else f"{middle:.3f} s",
                f"{statistics.median(ratios):.2f}" if ratios and mode != CAPSULE else "",
            ]
        lines.append([*line, "right" if all(run["correct"] for run in found) else "WRONG"])
    head = ["mode", "wall", "of capsule's", "CPU time", "of capsule's", "memory growth", "of capsule's", "result"]
    return report.table(head, lines)


def page(options: argparse.Namespace, runs: list[dict[str, Any]]) -> str:
    measured = report.circumstances(PACKAGES)
    return f"""# Hand-off modes, side by side

Measured on {measured["date"]} with `make bench BENCH=--save`: {measured["machine"]}; {report.listed(measured["versions"])}; {options.rows:,} rows of five columns (BIGINT, INT
with NULLs, DOUBLE, DECIMAL(10,2), STRING); medians of {options.rounds} rounds. `../README.md` says how. Do not edit: this page
is generated.

From `execute` to the last row in hand, the download from the local warehouse included: what differs is the hand-off. `of
capsule's` is the median over the rounds of a mode's figure divided by that of `capsule`. `ipc, piece by piece` drops each
piece, as one that goes into a socket; `ipc, read_all()` is read by pyarrow, without a copy; `copy, pool` copies into memory that
was written before and is not counted as growth.

{table(runs)}
"""


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        run(json.loads(sys.argv[1]))
    else:
        raise SystemExit(main())
