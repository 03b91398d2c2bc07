"""Interpreter exit with things left open: quick, silent, and the session is closed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = {
    "open connection": "connection = connect()",
    "open result": "cursor = connect().cursor().execute('SELECT id FROM range(50000)'); cursor.fetchone()",
    "handed over": "import pyarrow; c = connect().cursor().execute(Q); r = pyarrow.RecordBatchReader.from_stream(c)",
    "daemon thread in a fetch": (
        "import threading, time; c = connect().cursor()\n"
        "def loop():\n"
        "    try:\n"
        "        while True: c.execute('SELECT id FROM range(50000)').fetchall()\n"
        "    except seakernel.Error: pass\n"
        "threading.Thread(target=loop, daemon=True).start(); time.sleep(0.5)"
    ),
    "daemon thread waiting for a statement": (
        "import threading, time; s = seakernel.Session(*sys.argv[1:])\n"
        "long = 'SELECT sum(a.id % 7 + b.id) FROM range(100000000) a CROSS JOIN range(100000000) b'\n"
        "def wait():\n"
        "    try: s.statement(long).submit().wait()\n"
        "    except seakernel.Error: pass\n"
        "threading.Thread(target=wait, daemon=True).start(); time.sleep(1)"
    ),
    "logging everything": "import logging; logging.basicConfig(level=1, filename='/dev/null'); c = connect().cursor(); c.execute(Q)",
    "slow log handler in the I/O threads": (
        "import logging, threading, time\n"
        "class Slow(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        if threading.current_thread() is not threading.main_thread(): time.sleep(0.3)\n"
        "logging.basicConfig(level=1, handlers=[Slow()])\n"
        "for _ in range(3): c = connect().cursor(); c.execute(Q)"
    ),
    "embedded warehouse": "c = seakernel.connect('local').cursor(); c.execute('SELECT 1')",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_exit_is_quick_and_silent(chunked: LocalWarehouse, name: str) -> None:
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    prelude = (
        "import sys, seakernel\nconnect = lambda: seakernel.connect(*sys.argv[1:])\nQ = 'SELECT id FROM range(5000)'\n"
    )
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", prelude + SCRIPTS[name], *place],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begin < 10


def test_exit_closes_the_session(eventually: Callable[..., Any]) -> None:
    with LocalWarehouse() as warehouse:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        script = "import sys, seakernel; connection = seakernel.connect(*sys.argv[1:])"
        subprocess.run([sys.executable, "-c", script, *place], check=True, timeout=30)
        assert eventually(lambda: [r for r in warehouse.requests() if r["operation"] == "close_session"])


def test_a_server_that_does_not_answer_delays_exit_by_two_seconds_at_most() -> None:
    with LocalWarehouse(faults=[{"on": "close_session", "do": {"delay": {"ms": 20_000}}}]) as warehouse:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        script = "import sys, seakernel; connection = seakernel.connect(*sys.argv[1:])"
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", script, *place], check=True, timeout=30)
        assert time.monotonic() - begin < 8
