"""Many queries on many threads, in every way a query can end: nothing of them is left anywhere.

`SOAK_QUERIES` says how many; `make soak` runs 10,000.
"""

from __future__ import annotations

import collections
import gc
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from remote_warehouse import RemoteWarehouse

import seakernel
from seakernel import _seakernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel import Connection

THREADS = 64
QUERIES = int(os.environ.get("SOAK_QUERIES", "2000"))
QUERIES_PER_CONNECTION = 25
ALWAYS: dict[str, Any] = {"times": "always"}
FAULTS = [
    {
        **ALWAYS,
        "on": "download",
        "statement_contains": "AS lost",
        "chunk_index": 2,
        "do": {"missing_rows": {"rows": 1}},
    },
    {**ALWAYS, "on": "download", "statement_contains": "AS slow", "chunk_index": 2, "do": {"delay": {"ms": 400}}},
    {**ALWAYS, "on": "download", "statement_contains": "AS held", "chunk_index": 2, "do": {"delay": {"ms": 60_000}}},
    {**ALWAYS, "on": "execute", "statement_contains": "AS late", "do": {"delay": {"ms": 100}}},
    {**ALWAYS, "on": "download", "statement_contains": "AS expired", "chunk_index": 1, "do": "expire"},
]


@pytest.fixture
def remote() -> Iterator[RemoteWarehouse]:
    # Small results ride in the answer, the others are files.
    remote = RemoteWarehouse(chunk_rows=1000, inline_bytes=2000, faults=FAULTS)
    yield remote
    remote.close()


def succeed(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT :n AS n", {"n": number}).fetchall() == [(number,)]


def succeed_in_files(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT id FROM range(4000)").fetchall_arrow().num_rows == 4000


def fail(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor, pytest.raises(seakernel.ProgrammingError):
        cursor.execute("SELECT * FROM no_such_table")


def fail_in_files(connection: Connection, number: int) -> None:
    column, error = [("lost", seakernel.DataLossError), ("expired", seakernel.OperationalError)][number // 10 % 2]
    with connection.cursor() as cursor, pytest.raises(error):
        cursor.execute(f"SELECT id AS {column} FROM range(4000)").fetchall()


def cancel_execute(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor:
        timer = threading.Timer(0.01, cursor.cancel)
        timer.start()
        try:
            cursor.execute("SELECT 1 AS late").fetchall()
        except seakernel.OperationalError as error:
            assert error.kind == "Cancelled"  # noqa: PT017 - either may win
        timer.join()


def cancel_fetch(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id AS held FROM range(4000)")
        timer = threading.Timer(0.01, cursor.cancel)
        timer.start()
        with pytest.raises(seakernel.OperationalError) as caught:
            cursor.fetchall()
        assert caught.value.kind == "Cancelled"
        timer.join()


def close_early(connection: Connection, number: int) -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT id AS slow FROM range(4000)").fetchone() == (0,)


def abandon(connection: Connection, number: int) -> None:
    cursor = connection.cursor()
    assert cursor.execute("SELECT id AS slow FROM range(4000)").fetchone() == (0,)


def abandon_a_reader(connection: Connection, number: int) -> None:
    reader = connection.cursor().execute("SELECT id FROM range(4000)").fetch_record_batch()
    assert reader.read_next_batch().num_rows > 0


KINDS = [
    succeed,
    succeed_in_files,
    fail,
    fail_in_files,
    cancel_execute,
    cancel_fetch,
    close_early,
    abandon,
    abandon_a_reader,
    succeed,
]


def work(remote: RemoteWarehouse, thread: int, done: collections.Counter[str]) -> None:
    connection = None
    retry = {"max_attempts": 2, "min_wait_s": 0.001, "max_wait_s": 0.002}
    for count, number in enumerate(range(thread, QUERIES, THREADS)):
        if count % QUERIES_PER_CONNECTION == 0:
            # Every other connection is left to the garbage collector.
            if connection is not None and thread % 2:
                connection.close()
            connection = seakernel.connect(**remote.place, retry=retry)
        assert connection is not None
        # Threads start at different kinds.
        kind = KINDS[(thread + count) % len(KINDS)]
        kind(connection, number)
        done[kind.__name__] += 1
    if connection is not None and thread % 2:
        connection.close()


def held() -> dict[str, int]:
    """What this process holds: files and sockets, threads, tasks of the I/O threads."""
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "tasks": _seakernel._alive_tasks(),
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.timeout(900)
def test_many_queries_leave_nothing_behind(remote: RemoteWarehouse, eventually: Callable[..., Any]) -> None:
    with seakernel.connect(**remote.place) as connection:
        succeed_in_files(connection, 0)
    gone = {"open_sessions": 0, "statements": 0, "live_statements": 0, "open_connections": 0}
    left = lambda: {key: remote.ask("counters")[key] for key in gone}  # noqa: E731
    assert eventually(lambda: left() == gone)
    before = held()
    done: list[collections.Counter[str]] = [collections.Counter() for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [remote] * THREADS, range(THREADS), done))
    total = sum(done, collections.Counter())
    assert total.total() == QUERIES
    assert len(total) == len(set(KINDS))
    gc.collect()
    assert eventually(lambda: left() == gone), left()
    # Idle threads of the pool that decodes live for ten seconds.
    assert eventually(lambda: all(held()[key] <= before[key] for key in before)), (before, held())
