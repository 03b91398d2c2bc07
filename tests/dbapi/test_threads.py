"""Threads: connections and results shared, waits that do not block others, cancel from outside."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import seakernel
from seakernel import aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from seakernel import Connection, Cursor

ENDLESS = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"


def after(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_threads_share_a_connection(connection: Connection) -> None:
    def run(number: int) -> list[tuple[int, int]]:
        with connection.cursor() as cursor:
            return cursor.execute("SELECT id, :n FROM range(500)", {"n": number}).fetchall()

    with ThreadPoolExecutor(8) as pool:
        for number, rows in enumerate(pool.map(run, range(32))):
            assert rows == [(i, number) for i in range(500)]


def test_threads_share_a_result_and_each_row_goes_to_one(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id FROM range(50000)")
    result = chunked_cursor._result
    assert result is not None

    def drain(size: int) -> list[int]:
        seen: list[int] = []
        while rows := result.rows(size):
            seen += [row[0] for row in rows]
            seen += result.take(size).num_rows * [-1] if size % 2 else []
        return seen

    with ThreadPoolExecutor(6) as pool:
        seen = [number for part in pool.map(drain, [7, 100, 333, 1000, 5000, 64]) for number in part]
    assert len(seen) == 50_000
    numbers = [number for number in seen if number >= 0]
    assert len(set(numbers)) == len(numbers)


def test_a_waiting_call_lets_other_threads_run() -> None:
    fault = {"on": "download", "times": "always", "do": {"delay": {"ms": 300}}}
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        done = threading.Event()
        ticks = 0

        def fetch() -> None:
            cursor.execute("SELECT id FROM range(5000)").fetchall()
            done.set()

        thread = threading.Thread(target=fetch)
        thread.start()
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)
        thread.join()
        assert ticks > 100


def test_cancel_ends_execute_in_another_thread(connection: Connection) -> None:
    with connection.cursor() as cursor:
        timer = after(0.3, cursor.cancel)
        begin = time.monotonic()
        with pytest.raises(seakernel.OperationalError) as caught:
            cursor.execute(ENDLESS)
        timer.join()
        assert caught.value.kind == "Cancelled"
        assert caught.value.statement_id == cursor.statement_id
        assert time.monotonic() - begin < 14
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_cancel_ends_a_fetch_in_another_thread() -> None:
    fault = {"on": "download", "chunk_index": 4, "times": "always", "do": {"delay": {"ms": 20_000}}}
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM range(5000)")
        timer = after(0.3, cursor.cancel)
        begin = time.monotonic()
        with pytest.raises(seakernel.OperationalError) as caught:
            cursor.fetchall()
        timer.join()
        assert caught.value.kind == "Cancelled"
        assert time.monotonic() - begin < 5
        with pytest.raises(seakernel.OperationalError, match="cancelled"):
            cursor.fetchone()


def test_close_ends_a_fetch_in_another_thread() -> None:
    fault = {"on": "download", "chunk_index": 4, "times": "always", "do": {"delay": {"ms": 20_000}}}
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM range(5000)")
        timer = after(0.3, cursor.close)
        begin = time.monotonic()
        with pytest.raises(seakernel.InterfaceError, match="closed"):
            cursor.fetchall()
        timer.join()
        assert time.monotonic() - begin < 5


def test_cancel_without_anything_under_way_does_nothing(cursor: Cursor) -> None:
    cursor.cancel()
    assert cursor.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_connection_closes_while_other_threads_make_cursors(warehouse: LocalWarehouse, kind: str) -> None:
    places = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)

    def make_cursors(connection: Connection | aio.Connection) -> None:
        with pytest.raises(seakernel.InterfaceError, match="the connection is closed"):
            held = [connection.cursor() for _ in itertools.count()]  # noqa: F841 - until then

    async def close_one() -> list[Future[None]]:
        async with aio.connect(*places) as connection:
            held = [connection.cursor() for _ in range(5_000)]
            making = [pool.submit(make_cursors, connection) for _ in range(3)]
        assert held
        return making

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            for _ in range(10):
                if kind == "async":
                    making = asyncio.run(close_one())
                else:
                    with seakernel.connect(*places) as connection:
                        held = [connection.cursor() for _ in range(5_000)]
                        making = [pool.submit(make_cursors, connection) for _ in range(3)]
                    assert held
                for made in making:
                    made.result()
    finally:
        sys.setswitchinterval(interval)


def test_cancel_between_two_fetches_ends_the_reader(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id FROM range(5000)").fetchmany(10)
    chunked_cursor.cancel()
    with pytest.raises(seakernel.OperationalError) as caught:
        chunked_cursor.fetchmany(10)
    assert caught.value.kind == "Cancelled"
    assert chunked_cursor.execute("SELECT 1").fetchall() == [(1,)]
