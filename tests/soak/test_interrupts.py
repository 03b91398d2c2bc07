"""Ctrl-C at random moments: control comes back at once, the server hears of it, and whoever goes on has every row.

`INTERRUPTS` says how many of each kind; `make soak` makes 50.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from child_processes import PROMPT_S

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERRUPTS = int(os.environ.get("INTERRUPTS", "12"))
# Every call under test takes longer, and is interrupted sooner.
CALL_S = 0.4
SCRIPT = """
import json, os, random, signal, sys, threading, time, seakernel
signal.signal(signal.SIGINT, signal.default_int_handler)
host, path, token, kind = sys.argv[1:5]
wanted, call_s = int(sys.argv[5]), float(sys.argv[6])
moments, latencies = random.Random(kind), []

def interrupt(call):
    "Sends a Ctrl-C at a random moment, and notes how long the call then took to end, unless it was faster than that."
    struck = []
    def strike():
        struck.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(moments.uniform(0, 0.9 * call_s), strike)
    done = False
    try:
        timer.start()
        call()
        done = True
        time.sleep(60)
    except KeyboardInterrupt:
        back = time.monotonic()
    timer.join()
    if not done:
        latencies.append(back - struck[0])

connection = seakernel.connect(host, path, token, results={"max_concurrent_downloads": 1})
cursor = connection.cursor()
if kind == "open":
    while len(latencies) < wanted:
        interrupt(lambda: seakernel.connect(host, path, token).close())
elif kind == "execute":
    while len(latencies) < wanted:
        interrupt(lambda: cursor.execute("SELECT 1 AS late"))
elif kind == "fetch":
    while len(latencies) < wanted:
        cursor.execute("SELECT id FROM range(5000)")
        rows = []
        while len(rows) < 5000:
            interrupt(lambda: rows.extend(cursor.fetchmany(700)))
        assert rows == [(number,) for number in range(5000)], "rows are lost, or come twice"
time.sleep(3 * call_s)  # the server names what was under way in its answer, and then hears that nobody wants it
connection.close()
print(json.dumps(latencies))
"""


@pytest.fixture
def slow() -> Iterator[LocalWarehouse]:
    """A warehouse where opening a session, one statement and every file take their time."""
    delay = {"times": "always", "do": {"delay": {"ms": round(CALL_S * 1000)}}}
    faults: list[dict[str, Any]] = [
        {**delay, "on": "open_session"},
        {**delay, "on": "execute", "statement_contains": "AS late"},
        {**delay, "on": "download"},
    ]
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=faults) as warehouse:
        yield warehouse


def count(warehouse: LocalWarehouse, operation: str) -> int:
    return sum(request["operation"] == operation for request in warehouse.requests())


@pytest.mark.parametrize("kind", ["open", "execute", "fetch"])
@pytest.mark.timeout(600)
def test_interrupts(slow: LocalWarehouse, eventually: Callable[..., Any], kind: str) -> None:
    place = [slow.server_hostname, slow.http_path, slow.access_token]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *place, kind, str(INTERRUPTS), str(CALL_S)],
        check=False,
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    latencies = sorted(json.loads(done.stdout))
    assert len(latencies) >= INTERRUPTS
    late = [latency for latency in latencies if latency > PROMPT_S]
    assert len(late) <= len(latencies) // 100, late
    if kind == "execute":
        assert eventually(lambda: count(slow, "cancel") == len(latencies))
    # Whatever was under way has ended, on the server too.
    assert eventually(lambda: not slow.counters()["statements"] and not slow.counters()["open_sessions"])
    print(f"{kind}: {len(latencies)} interrupts, the slowest took {latencies[-1] * 1000:.0f} ms")
