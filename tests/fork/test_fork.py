"""Fork: a child opens its own sessions, and a parent's handles say so instead of hanging."""

from __future__ import annotations

import gc
import io
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest
from child_processes import in_child

import seakernel
from seakernel.local import LocalWarehouse

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def count(warehouse: LocalWarehouse, rows: int = 5000) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        assert len(cursor.execute(f"SELECT id FROM range({rows})").fetchall()) == rows


def test_a_child_opens_its_own_session(chunked: LocalWarehouse) -> None:
    count(chunked)
    in_child(lambda: count(chunked))
    count(chunked)


def test_a_grandchild_does_too(chunked: LocalWarehouse) -> None:
    def check() -> None:
        count(chunked)
        in_child(lambda: count(chunked))
        count(chunked)

    in_child(check)


def test_a_parents_handles_raise_in_the_child(chunked: LocalWarehouse) -> None:
    with chunked.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM range(5000)")
        assert cursor.fetchone() == (0,)
        session = connection._session
        assert session is not None

        def check() -> None:
            assert ": open, 5,000 rows, 1 column" in repr(cursor)
            assert "<td>" not in (cursor._repr_html_() or "")
            for call in (
                cursor.fetchone,
                cursor.fetchall,
                cursor.__arrow_c_stream__,
                lambda: cursor.execute("SELECT 1"),
                lambda: connection.cursor().execute("SELECT 1"),
                lambda: session.statement("SELECT 1"),
            ):
                with pytest.raises(seakernel.InterfaceError, match="parent process"):
                    call()

        in_child(check)
        assert len(cursor.fetchall()) == 4999


def test_dropping_a_parents_handles_in_the_child_disturbs_nobody(chunked: LocalWarehouse) -> None:
    handles = [chunked.connect()]
    handles.append(handles[0].cursor().execute("SELECT id FROM range(5000)"))  # type: ignore[arg-type]
    handles.append(handles[0].cursor().execute("SELECT id FROM range(5000)").__arrow_c_stream__())  # type: ignore[arg-type]
    before = len(chunked.requests())

    def check() -> None:
        handles[1].close()
        handles[0].close()
        handles.clear()
        gc.collect()
        count(chunked, 10)

    in_child(check)
    sent = [request["operation"] for request in chunked.requests()[before:]]
    # A statement is closed in the background, which the child's end may cut short; its session's end closes it too.
    assert set(sent) - {"close_statement"} == {"close_session", "download", "execute", "open_session"}
    assert sent.count("close_session") == 1
    assert len(handles[1].fetchall()) == 5000  # type: ignore[attr-defined]


def test_a_fork_while_another_thread_fetches(chunked: LocalWarehouse) -> None:
    stop = threading.Event()

    def fetch() -> None:
        while not stop.is_set():
            count(chunked)

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            in_child(lambda: count(chunked))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class SlowFile(io.StringIO):
    """Like a file that is just being written to: its lock is not made anew in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def write(self, text: str) -> int:
        with self.lock:
            time.sleep(0.002)
            return super().write(text)


def test_a_fork_while_io_threads_log(chunked: LocalWarehouse) -> None:
    log = SlowFile()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("seakernel")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    seakernel.forget_log_levels()
    try:
        with chunked.connect() as connection, connection.cursor() as cursor:
            for _ in range(20):
                cursor.execute("SELECT id FROM range(5000)")  # its downloads go on, and are logged, in the background
                in_child(lambda: count(chunked, 10))
                assert len(cursor.fetchall()) == 5000
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        seakernel.forget_log_levels()
    assert "chunk" in log.getvalue()


IMPORTING_SCRIPT = """
import os, sys, threading, time

class Slow:
    '''Finds `decimal` slowly, which is imported with the first DECIMAL.'''
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "decimal":
            begun.set()
            time.sleep(0.3)

import seakernel
begun = threading.Event()
loaded = set(sys.modules)

def fetch(sql):
    with seakernel.connect(*sys.argv[1:]) as connection, connection.cursor() as cursor:
        return len(cursor.execute(sql).fetchall())

assert fetch("SELECT id FROM range(10)") == 10
assert set(sys.modules) <= loaded, set(sys.modules) - loaded
sys.meta_path.insert(0, Slow)
exact = "SELECT CAST(id AS DECIMAL(10, 2)) FROM range(10)"
thread = threading.Thread(target=fetch, args=(exact,))
thread.start()
assert begun.wait(10)
child = os.fork()
if child == 0:
    os._exit(0 if fetch(exact) == 10 else 1)
deadline = time.monotonic() + 20
while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
    if time.monotonic() > deadline:
        os.kill(child, 9)
    time.sleep(0.01)
thread.join()
sys.exit(os.waitstatus_to_exitcode(ended[1]))
"""


def test_a_fork_waits_for_an_import_of_ours(chunked: LocalWarehouse) -> None:
    """The child would wait for ever for an import that another thread had begun; what every connection needs is there."""
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    command = [sys.executable, "-W", "ignore", "-c", IMPORTING_SCRIPT, *place]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def pool_task(place: tuple[str, str, str]) -> int:
    with seakernel.connect(*place) as connection, connection.cursor() as cursor:
        return len(cursor.execute("SELECT id FROM range(2000)").fetchall())


def test_multiprocessing_pool(chunked: LocalWarehouse) -> None:
    place = (chunked.server_hostname, chunked.http_path, chunked.access_token)
    assert pool_task(place) == 2000
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(pool_task, [place] * 4) == [2000] * 4


@pytest.mark.forked
def test_a_whole_test_in_a_child(chunked: LocalWarehouse) -> None:
    count(chunked)


def test_closing_a_parents_warehouse_in_the_child_disturbs_nobody() -> None:
    with LocalWarehouse() as warehouse:
        count(warehouse, 10)

        def check() -> None:
            warehouse.close()
            gc.collect()

        in_child(check)
        count(warehouse, 10)
