"""Ctrl-C, in a process of its own: prompt, without losing rows, and the server hears of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Generous: the signal is seen within 50 ms; the rest is the scheduler of a busy machine.
PROMPT_S = 0.2
ENDLESS = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
PRELUDE = """
import signal, sys, time, seakernel
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
host, path, token = sys.argv[1:]
def ready():
    print("ready", flush=True)
def report(*values):
    print(time.time(), *values, flush=True)
"""


@pytest.fixture
def slow() -> Iterator[LocalWarehouse]:
    """A warehouse whose last two of five files come 3 s late."""
    faults = [
        {"on": "download", "chunk_index": index, "times": "always", "do": {"delay": {"ms": 3000}}} for index in (3, 4)
    ]
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=faults) as warehouse:
        yield warehouse


def interrupted(warehouse: LocalWarehouse, script: str) -> tuple[float, list[str]]:
    """Runs `script` and interrupts it 0.5 s after its line `ready`.

    Returns:
        Seconds from the signal to the first report, and the reported values.
    """
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    command = [sys.executable, "-c", PRELUDE + script, *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent = time.time()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""
    moment, *values = output.split()
    return float(moment) - sent, values


def operations(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request for request in warehouse.requests() if request["operation"] == operation]


def test_execute_stops_and_the_statement_is_cancelled(
    warehouse: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    script = f"""
connection = seakernel.connect(host, path, token)
cursor = connection.cursor()
ready()
try:
    cursor.execute({ENDLESS!r})
except KeyboardInterrupt:
    report("interrupted", cursor.description is None)
# The id is known when the server answers the submission, which it may hold for 10 s.
time.sleep(12)
"""
    before = len(operations(warehouse, "cancel"))
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted", "True"]
    assert seconds < PROMPT_S
    assert eventually(lambda: len(operations(warehouse, "cancel")) == before + 1)


def test_exit_after_an_interrupt_ends_the_session(eventually: Callable[..., Any]) -> None:
    script = f"""
connection = seakernel.connect(host, path, token)
ready()
try:
    connection.cursor().execute({ENDLESS!r})
except KeyboardInterrupt:
    report("interrupted")
"""
    with LocalWarehouse() as warehouse:
        begin = time.monotonic()
        seconds, _ = interrupted(warehouse, script)
        assert seconds < PROMPT_S
        assert time.monotonic() - begin < 8
        assert eventually(lambda: operations(warehouse, "close_session"))


@pytest.mark.parametrize("fetch", ["fetchall", "fetchall_arrow", "fetch_record_batch().read_all", "fetchone"])
def test_a_fetch_stops_and_loses_no_row(slow: LocalWarehouse, fetch: str) -> None:
    script = f"""
import pyarrow
cursor = seakernel.connect(host, path, token).cursor()
cursor.execute("SELECT id FROM range(5000)")
seen = [row[0] for row in cursor.fetchmany(2990 if {fetch!r} == "fetchone" else 10)]
ready()
try:
    while True:
        got = cursor.{fetch}()
        seen.append(got[0])
except KeyboardInterrupt:
    report("interrupted")
seen += [row[0] for row in cursor.fetchall()]
report(len(seen), seen == sorted(set(seen)))
"""
    seconds, values = interrupted(slow, script)
    assert seconds < PROMPT_S
    complete = fetch != "fetch_record_batch().read_all"
    # A reader's batches are the consumer's once they were pulled, also by a read_all that was interrupted.
    assert values[0] == "interrupted"
    assert values[-1] == "True"
    assert not complete or values[2] == "5000"


def test_connect_stops() -> None:
    with LocalWarehouse(faults=[{"on": "open_session", "do": {"delay": {"ms": 10_000}}}]) as warehouse:
        script = """
ready()
try:
    seakernel.connect(host, path, token)
except KeyboardInterrupt:
    report("interrupted")
"""
        seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S


def test_an_arrow_consumer_stops(slow: LocalWarehouse) -> None:
    script = """
import pyarrow
cursor = seakernel.connect(host, path, token).cursor()
cursor.execute("SELECT id FROM range(5000)")
ready()
try:
    try:
        pyarrow.table(cursor)
    except pyarrow.ArrowException:
        time.sleep(0)
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(slow, script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S


def test_a_handler_that_does_not_raise_interrupts_nothing(slow: LocalWarehouse) -> None:
    script = """
import signal
signal.signal(signal.SIGINT, lambda *_: report("handled"))
cursor = seakernel.connect(host, path, token).cursor()
cursor.execute("SELECT id FROM range(5000)")
ready()
print(len(cursor.fetchall()))
"""
    seconds, values = interrupted(slow, script)
    assert values == ["handled", "5000"]
    assert seconds < PROMPT_S
