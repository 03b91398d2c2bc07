"""Children of the test's process: a script that gets a Ctrl-C, and a check in a forked child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local import LocalWarehouse

# Generous: the signal is seen within 50 ms; the rest is the scheduler of a busy machine.
PROMPT_S = 0.2
PRELUDE = """
import signal, sys, time, seakernel
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
host, path, token = sys.argv[1:]
def ready():
    print("ready", flush=True)
def report(*values):
    print(time.time(), *values, flush=True)
"""


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
    assert errors == "", errors
    moment, *values = output.split()
    return float(moment) - sent, values


def in_child(check: Callable[[], None]) -> None:
    """Runs `check` in a forked child and fails when it fails or takes more than 20 s."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:  # noqa: BLE001 - a child must never return into pytest
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
