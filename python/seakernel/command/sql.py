"""`seakernel sql`: runs one statement and writes its result, holding a bounded part of it at any time."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seakernel
from seakernel.command import connection_arguments, result_text
from seakernel.local_files import complete_file
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import BinaryIO

    from seakernel import Cursor, ResultOptions

__all__ = ["run"]

_TEXTS: ResultOptions = {"complex_types": "json", "intervals": "text"}
# pyarrow cannot write month intervals to Parquet, and reads durations back only where its own schema is kept.
_RESULTS: dict[str, ResultOptions] = {
    "table": _TEXTS,
    "csv": _TEXTS,
    "json": _TEXTS,
    "arrow": {},
    "parquet": {"intervals": "text"},
}
_ENDINGS = {".arrow": "arrow", ".csv": "csv", ".json": "json", ".parquet": "parquet"}
_BINARY = ("arrow", "parquet")
_ROW_GROUP_BYTES = 64 << 20
_ROW_GROUP_ROWS = 1 << 20


class _WrongCommandLineError(Exception):
    """The command line cannot be run as it is."""


def run(options: argparse.Namespace) -> int:
    """Runs the statement; returns the exit status, see `seakernel.command.main`."""
    try:
        _run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except _WrongCommandLineError as error:
        sys.stderr.write(f"seakernel sql: {error}\n")
        return 2
    except BrokenPipeError:
        # What is left in Python's buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except (seakernel.Error, OSError, ModuleNotFoundError) as error:
        # The server's words, which may be anyone's: they do not steer the terminal.
        text = "\n".join(map(printable, str(error).split("\n")))
        sys.stderr.write(f"error: {text}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    statement = _statement(options)
    parameters = _parameters(options.parameter) or None
    output = None if options.output in (None, "-") else Path(options.output)
    form = options.format or (_ENDINGS.get(output.suffix.lower()) if output else None) or "table"
    if form in _BINARY:
        _require_pyarrow(form)
        if output is None and sys.stdout.isatty():
            raise _WrongCommandLineError(f"--format {form} is not for a terminal; name a file with -o")
    if output is not None and not output.parent.is_dir():
        # Before the statement, which may take long, or change something.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output))
    begin = time.monotonic()
    arguments: dict[str, Any] = {**connection_arguments(options), "results": _RESULTS[form]}
    with seakernel.connect(**arguments) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters, row_limit=options.row_limit)
        if cursor.description is None:
            sys.stderr.write("done; the statement has no result\n")
            return
        with _destination(output) as file:
            _WRITERS[form](cursor, file, output is not None, begin)
        if cursor.truncated and form != "table":
            sys.stderr.write("the result is cut: a row or byte limit was reached\n")


def _statement(options: argparse.Namespace) -> str:
    if options.statement is not None and options.file is not None:
        raise _WrongCommandLineError("give the statement or --file, not both")
    if options.statement is not None:
        text: str = options.statement
    elif options.file in (None, "-"):
        if sys.stdin is None or (options.file is None and sys.stdin.isatty()):
            raise _WrongCommandLineError("give a statement, --file, or the SQL on the standard input")
        text = _decoded(sys.stdin.buffer.read(), "the standard input")
    else:
        text = _decoded(Path(options.file).read_bytes(), options.file)
    # Scripts end statements with semicolons; the server wants one statement without.
    text = text.strip().rstrip(";").rstrip()
    if not text:
        raise _WrongCommandLineError("the statement is empty")
    return text


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _WrongCommandLineError(f"{where} is not UTF-8") from None


def _parameters(texts: list[str]) -> dict[str, seakernel.Parameter]:
    parameters: dict[str, seakernel.Parameter] = {}
    for name, parameter in map(_parameter, texts):
        if name in parameters:
            raise _WrongCommandLineError(f"the parameter `{name}` is given twice")
        parameters[name] = parameter
    return parameters


def _parameter(text: str) -> tuple[str, seakernel.Parameter]:
    marker, equals, value = text.partition("=")
    name, _, sql_type = marker.partition(":")
    # A wrong one is not repeated: it may be the value alone.
    if not equals or not name.isidentifier():
        raise _WrongCommandLineError("a --parameter is not in the form NAME=VALUE or NAME:TYPE=VALUE")
    return name, seakernel.Parameter.from_text(value, sql_type or "STRING")


def _require_pyarrow(form: str) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        message = f"--format {form} needs pyarrow: `pip install pyarrow`"
        raise ModuleNotFoundError(message, name="pyarrow") from None


@contextlib.contextmanager
def _destination(output: Path | None) -> Iterator[BinaryIO]:
    """Yields what to write to. A file gets its name only when it is complete; a device or pipe is written as it is."""
    if output is None:
        yield sys.stdout.buffer
        return
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        with output.open("wb") as file:
            yield file
        return
    with complete_file(output.resolve(), overwrite=True) as part, part.open("xb") as file:
        yield file


def _write_table(cursor: Cursor, file: BinaryIO, to_file: bool, begin: float) -> None:
    encoding = "utf-8" if to_file else sys.stdout.encoding
    width = None
    if not to_file and sys.stdout.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    rows = 0
    for line in result_text.table_lines(cursor, width):
        rows = line.rows
        file.write(f"{line.text}\n".encode(encoding, "replace"))
    counted = f"{rows} row" + ("" if rows == 1 else "s")
    cut = ", cut by a limit" if cursor.truncated else ""
    file.write(f"({counted}{cut}, {time.monotonic() - begin:.2f} s)\n".encode(encoding))


def _write_csv(cursor: Cursor, file: BinaryIO, to_file: bool, begin: float) -> None:
    file.writelines(line.encode() for line in result_text.csv_lines(cursor))


def _write_json(cursor: Cursor, file: BinaryIO, to_file: bool, begin: float) -> None:
    file.writelines(line.encode() for line in result_text.json_lines(cursor))


def _write_arrow(cursor: Cursor, file: BinaryIO, to_file: bool, begin: float) -> None:
    import pyarrow as pa

    reader = cursor.fetch_record_batch()
    # A file can be read from any place and a stream from a pipe.
    make = pa.ipc.new_file if to_file else pa.ipc.new_stream
    with make(file, reader.schema) as writer:  # type: ignore[arg-type]
        for batch in reader:
            writer.write_batch(batch)


def _write_parquet(cursor: Cursor, file: BinaryIO, to_file: bool, begin: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = cursor.fetch_record_batch()
    gathered: list[Any] = []
    with pq.ParquetWriter(file, reader.schema) as writer:
        for batch in reader:
            gathered.append(batch)
            many_rows = sum(part.num_rows for part in gathered) >= _ROW_GROUP_ROWS
            if many_rows or sum(part.nbytes for part in gathered) >= _ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(gathered))
                gathered.clear()
        if gathered:
            writer.write_table(pa.Table.from_batches(gathered))


_WRITERS = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "arrow": _write_arrow,
    "parquet": _write_parquet,
}
