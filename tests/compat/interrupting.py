"""A script in a process of its own, and a Ctrl-C for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
import pyarrow
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
    assert errors == ""
    moment, *values = output.split()
    return float(moment) - sent, values
