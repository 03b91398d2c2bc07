"""One run in a process of its own: `python measure.py JOB`, a JSON object, prints another with what it took.

The process first fetches a few rows, so that imports and the connection to the API are outside of every figure; the
connections for large results and the first touch of their memory are inside.
"""

from __future__ import annotations

import json
import math
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import clients
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Figures = dict[str, Any]
WARM_UP_ROWS = 10
# Should stay empty: an import is not part of a fetch.
IMPORTED = "imported_while_timed"
EPOCH_S = 1_600_000_000
# A scalar of pyarrow: to take a plain number as an argument, pyarrow imports pandas.
EPOCH = pa.scalar(EPOCH_S * 1_000_000, pa.int64())
ROWS_STATEMENT = """
SELECT id,
       CAST(id % 50 AS INT) AS quantity,
       CAST(id % 1000 AS DOUBLE) / CAST(7 AS DOUBLE) AS ratio,
       concat('carefully final deposits ', CAST(id % 100003 AS STRING)) AS comment,
       CAST(id % 1000000 AS DECIMAL(15, 2)) AS price,
       timestamp_seconds({epoch} + id % 86400) AS shipped,
       id % 3 = 0 AS returned
FROM range({rows})
"""


def in_a_process(script: str, job: dict[str, Any]) -> Figures:
    """Has `script` do one run in a process of its own, and returns what it prints last; clients may log before."""
    command = [sys.executable, script, json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode or not done.stdout:
        raise RuntimeError(done.stderr)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def statement(rows: int) -> str:
    return "SELECT 1" if rows == 1 else ROWS_STATEMENT.format(rows=rows, epoch=EPOCH_S)


def expected(rows: int) -> dict[str, float]:
    """What `Checksum` finds in a right result, from arithmetic and not from any client."""
    if rows == 1:
        return {"rows": 1, "1": 1}
    ids = np.arange(rows)
    texts = np.array([f"carefully final deposits {number}".encode() for number in range(min(rows, 100_003))])
    lengths = np.char.str_len(texts)
    contents = texts.view(np.uint8).reshape(len(texts), -1).sum(axis=1, dtype=np.int64)
    return {
        "rows": rows,
        "id": int(ids.sum()),
        "quantity": int((ids % 50).sum()),
        "ratio": float((ids % 1000 / 7).sum()),
        "comment": int(lengths[ids % 100_003].sum()),
        "comment bytes": int(contents[ids % 100_003].sum()),
        "price": int((ids % 1_000_000).sum()),
        "shipped": int((ids % 86_400).sum()) * 1_000_000,
        "returned": int((ids % 3 == 0).sum()),
    }


class Checksum:
    """Rows, their order by `id`, and a sum for every column."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {"rows": 0}
        self.ordered = True

    def add(self, batch: pa.RecordBatch) -> None:
        """Reads every value, at about 10 ms for a million rows; the letters of texts are left to `add_letters`."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._count(name, summed(column))
            if name == "id" and len(column):
                ends = (column[0].as_py(), column[-1].as_py())
                self.ordered &= ends == (self.found["rows"], self.found["rows"] + len(column) - 1)
        self._count("rows", batch.num_rows)

    def add_letters(self, batch: pa.RecordBatch) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type):
                _, offsets, values = column.buffers()
                offsets = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
                letters = np.frombuffer(values, np.uint8)[offsets[0] : offsets[-1]]
                self._count(f"{name} bytes", int(letters.sum(dtype=np.int64)))

    def _count(self, name: str, amount: float) -> None:
        self.found[name] = self.found.get(name, 0) + amount

    def confirms(self, wanted: dict[str, float]) -> bool:
        same = all(math.isclose(self.found[name], wanted[name], rel_tol=1e-12) for name in self.found if name in wanted)
        columns = {name for name in wanted if not name.endswith(" bytes")}
        return self.ordered and same and columns <= set(self.found) <= set(wanted)


def summed(column: pa.Array) -> float:
    if pa.types.is_string(column.type):
        column = pc.binary_length(column)
    elif pa.types.is_timestamp(column.type):
        # From a time near those of the rows, or the sum overflows.
        column = pc.subtract(column.cast(pa.timestamp("us", column.type.tz)).view(pa.int64()), EPOCH)
    elif pa.types.is_decimal(column.type):
        return int(pc.sum(column).as_py() or 0)
    return pc.sum(column).as_py() or 0


class Meter:
    """Time, CPU and memory of this process from construction on; the server's are its own."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.memory = memory("VmRSS")
        self.modules = set(sys.modules)
        self.usage = resource.getrusage(resource.RUSAGE_SELF)
        self.started = time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def read(self) -> Figures:
        wall, usage = self.elapsed(), resource.getrusage(resource.RUSAGE_SELF)
        return {
            "wall_s": wall,
            "cpu_s": usage.ru_utime + usage.ru_stime - self.usage.ru_utime - self.usage.ru_stime,
            "peak_growth_mib": memory("VmHWM") - self.memory,
            IMPORTED: {name.partition(".")[0] for name in set(sys.modules) - self.modules},
        }


def memory(name: str) -> float:
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def fetch_whole(client: clients.Client, sql: str) -> tuple[Figures, Checksum]:
    meter, checksum = Meter(), Checksum()
    client.execute(sql)
    table = client.whole()
    figures = meter.read()
    for batch in table.to_batches():
        checksum.add(batch)
        checksum.add_letters(batch)
    return figures, checksum


def fetch_batches(client: clients.Client, sql: str) -> tuple[Figures, Checksum]:
    """Reads each batch and drops it before asking for the next; the reading is inside of the time, the same for all."""
    meter, checksum = Meter(), Checksum()
    client.execute(sql)
    first = None
    while (batch := client.next_batch()) is not None:
        first = first or meter.elapsed()
        for part in batch.to_batches() if isinstance(batch, pa.Table) else [batch]:
            checksum.add(part)
        del batch, part
    return {**meter.read(), "first_batch_s": first}, checksum


MEASURES = {"whole": fetch_whole, "batches": fetch_batches}


def run(job: dict[str, Any]) -> Figures:
    """Runs a job to its figures, the median of its repeats."""
    client = clients.CLIENTS[job["client"]](clients.Place(*job["place"]))
    fetch = MEASURES[job["measure"]]
    fetch(client, statement(WARM_UP_ROWS))
    client.release()
    samples, checksums = [], []
    for _ in range(job["repeats"]):
        figures, checksum = fetch(client, statement(job["rows"]))
        client.release()
        samples.append(figures)
        checksums.append(checksum)
    wanted = job["expected"]
    wrong = [checksum for checksum in checksums if not checksum.confirms(wanted)]
    found = (wrong or checksums)[0].found
    result = {key: statistics.median(sample[key] for sample in samples) for key in samples[0] if key != IMPORTED}
    result |= {"rows_found": found["rows"], "correct": not wrong}
    if wrong:
        result["checksum"] = found
    if imported := set().union(*(sample[IMPORTED] for sample in samples)):
        result[IMPORTED] = sorted(imported)
    # Before closing: a client that fails to end has still fetched.
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    client.close()
    return result


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
