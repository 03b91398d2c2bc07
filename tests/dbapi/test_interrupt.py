"""Ctrl-C, in a process of its own: prompt, without losing rows, and the server hears of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from child_processes import PROMPT_S, interrupted

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDLESS = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"


@pytest.fixture
def slow() -> Iterator[LocalWarehouse]:
    """A warehouse whose last two of five files come 3 s late."""
    faults = [
        {"on": "download", "chunk_index": index, "times": "always", "do": {"delay": {"ms": 3000}}} for index in (3, 4)
    ]
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=faults) as warehouse:
        yield warehouse


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
