"""The command line: `seakernel sql`, `seakernel local` and `seakernel doctor`, also as `python -m seakernel`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seakernel import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["connection_arguments", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit status: 0; 1 for a failure, told on the standard error output; 2 for a wrong command line; 130 after
        Ctrl-C; 141 where the reader of the output has gone, as programs end that a signal for it ends.
    """
    parser = argparse.ArgumentParser(prog="seakernel", description="Databricks SQL through a Rust kernel.")
    parser.add_argument("--version", action="version", version=f"seakernel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_sql(commands)
    _add_local(commands)
    _add_doctor(commands)
    # Failures are told once, by the command; without a handler Python would print warnings of libraries as well.
    logging.getLogger().addHandler(logging.NullHandler())
    # A stream that the caller has closed is None.
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    options = parser.parse_args(arguments)
    if sys.stdout is None and getattr(options, "output", None) in (None, "-"):
        sys.stderr.write("error: the standard output is closed\n")
        return 1
    status: int = options.run(options)
    return status


def _add_sql(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sql = commands.add_parser(
        "sql",
        help="run a statement and print its result",
        description="Run one statement and print its result, or write it to a file. Results of any size are streamed.",
        epilog=(
            'csv: NULL is nothing and empty text is ""; json: an array of objects, one a line. In both, numbers have all'
            " their digits, NaN and infinities are texts in json, binary values are base64, times are ISO 8601, and nested"
            " values are JSON. arrow: an IPC file with -o, an IPC stream without. arrow and parquet need pyarrow."
        ),
    )
    sql.add_argument("statement", nargs="?", help="the SQL; from --file, or the standard input, when left out")
    sql.add_argument("-f", "--file", metavar="FILE", help="file with the SQL; - is the standard input")
    sql.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="value for the marker :NAME; NAME:TYPE=VALUE names its SQL type, which is STRING otherwise",
    )
    sql.add_argument("--row-limit", type=_positive, metavar="N", help="most rows the server returns")
    sql.add_argument(
        "--format",
        choices=["table", "csv", "json", "arrow", "parquet"],
        help="form of the result (default: by the ending of the output file, else table)",
    )
    sql.add_argument(
        "-o", "--output", metavar="FILE", help="write to this file, which appears only when it is complete"
    )
    _add_connection(sql)
    sql.set_defaults(run=_run_sql)


def _add_local(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    local = commands.add_parser(
        "local",
        help="run a SQL warehouse on this machine",
        description="Run a SQL warehouse on this machine until Ctrl-C. Prints the variables a client needs.",
    )
    local.add_argument("--port", type=int, default=0, help="port of the API on 127.0.0.1 (default: a free one)")
    local.add_argument("--data", metavar="DIR", help="folder whose Parquet and CSV files become tables main.<folder>.*")
    local.add_argument("--token", help="access token that clients must send (default: a new one)")
    local.add_argument(
        "--oauth",
        action="store_true",
        help="play identity provider too; prints a client id and secret in the place of the token",
    )
    local.add_argument(
        "--tls",
        action="store_true",
        help="speak TLS, with a certificate made now; prints the file of the authority that clients must trust",
    )
    local.add_argument(
        "--zerobus",
        action="store_true",
        help="run a Zerobus service for the tables too; prints what a client of it needs",
    )
    local.add_argument(
        "--tpch-scale", type=float, default=0.1, metavar="S", help="scale of samples.tpch (default: 0.1)"
    )
    local.add_argument(
        "--chunk-bytes", type=int, metavar="N", help="size that a result chunk aims at, before compression"
    )
    local.set_defaults(run=_run_local)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="find out why a connection fails",
        description="Check the way to the warehouse step by step, and say what to do where it fails. Shows no secrets.",
    )
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument(
        "--start", action="store_true", help="run the statements also where they start a warehouse that is stopped"
    )
    _add_connection(doctor)
    doctor.set_defaults(run=_run_doctor)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "connection",
        "What is left out comes from the environment (DATABRICKS_HOST, DATABRICKS_WAREHOUSE_ID, ...) or a profile of"
        " ~/.databrickscfg, and so does the token: on a command line, others could read it.",
    )
    group.add_argument("--local", action="store_true", help="use the warehouse of seakernel[local] in this process")
    group.add_argument("--profile", help="profile of ~/.databrickscfg")
    group.add_argument("--host", dest="server_hostname", help="host of the workspace")
    group.add_argument("--http-path", help="path of the warehouse")
    group.add_argument("--warehouse-id", help="id of the warehouse")
    group.add_argument("--catalog", help="initial catalog")
    group.add_argument("--schema", help="initial schema")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")


def _run_sql(options: argparse.Namespace) -> int:
    from seakernel.command.sql import run

    return run(options)


def _run_local(options: argparse.Namespace) -> int:
    from seakernel.command.local import run

    return run(options)


def _run_doctor(options: argparse.Namespace) -> int:
    from seakernel.command.doctor import run

    return run(options)


def connection_arguments(options: argparse.Namespace) -> dict[str, str | None]:
    """Returns the arguments of `connect` that the command line names."""
    names = ("server_hostname", "http_path", "warehouse_id", "profile", "catalog", "schema")
    arguments: dict[str, str | None] = {name: getattr(options, name) for name in names}
    if options.local:
        arguments["server_hostname"] = "local"
    return arguments
