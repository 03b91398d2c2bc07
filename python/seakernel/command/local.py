"""`seakernel local`: runs a warehouse until it is interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Runs a warehouse until SIGINT or SIGTERM; returns the exit status."""
    from seakernel.local.warehouse import LocalWarehouse

    stopped = threading.Event()
    # Set before the first line is printed: whoever reads the lines may stop us at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    try:
        warehouse = LocalWarehouse(
            port=options.port,
            data=options.data,
            access_token=options.token,
            tpch_scale=options.tpch_scale,
            chunk_bytes=options.chunk_bytes,
        )
    except (ModuleNotFoundError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with warehouse:
        sys.stdout.write(
            f"DATABRICKS_HOST={warehouse.server_hostname}\n"
            f"DATABRICKS_HTTP_PATH={warehouse.http_path}\n"
            f"DATABRICKS_TOKEN={warehouse.access_token}\n"
        )
        sys.stdout.flush()
        # Waited for in slices: on Windows a wait without an end does not see Ctrl-C.
        while not stopped.wait(1.0):
            pass
    return 0
