"""The command line: `python -m seakernel local` runs a warehouse until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m seakernel", description="Databricks SQL through a Rust kernel.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    local = commands.add_parser(
        "local",
        help="run a SQL warehouse on this machine",
        description="Run a SQL warehouse on this machine until Ctrl-C. Prints the three variables a client needs.",
    )
    local.add_argument("--port", type=int, default=0, help="port of the API on 127.0.0.1 (default: a free one)")
    local.add_argument("--data", metavar="DIR", help="folder whose Parquet and CSV files become tables main.<folder>.*")
    local.add_argument("--token", help="access token that clients must send (default: a new one)")
    local.add_argument(
        "--tpch-scale", type=float, default=0.1, metavar="S", help="scale of samples.tpch (default: 0.1)"
    )
    local.add_argument(
        "--chunk-bytes", type=int, metavar="N", help="size that a result chunk aims at, before compression"
    )
    local.set_defaults(run=_run_local)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run_local(options: argparse.Namespace) -> int:
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
