"""`seakernel sql`: every format, where the SQL comes from, and how it ends."""

from __future__ import annotations

import base64
import csv
import fcntl
import io
import json
import math
import os
import pty
import signal
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warehouse_environment import environment_of

import seakernel
from seakernel.command import main
from seakernel.command.result_text import csv_lines, json_lines
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[bytes]]

EVERY_TYPE = """
SELECT true AS boolean, CAST(-128 AS TINYINT) AS tiny, 9223372036854775807 AS big,
  CAST(0.1 AS FLOAT) AS single, 0.1D AS double, CAST('NaN' AS DOUBLE) AS nan, CAST('-Infinity' AS FLOAT) AS infinite,
  CAST('12345678901234567890123456789012345.100' AS DECIMAL(38, 3)) AS exact,
  '' AS empty, 'a "quoted", line
of text' AS text, ' padded ' AS padded, CAST('bytes' AS BINARY) AS bytes,
  DATE'2024-02-29' AS day, TIMESTAMP'2024-02-29 12:34:56.789' AS moment, TIMESTAMP_NTZ'2024-02-29 12:34:56' AS clock,
  INTERVAL '2-6' YEAR TO MONTH AS months, INTERVAL '1' DAY AS span,
  array(1, NULL, 3) AS list, named_struct('n', CAST(1.50 AS DECIMAL(5, 2)), 't', 'x"y') AS record, map('k', 1) AS pairs,
  NULL AS nothing, CAST(NULL AS STRING) AS absent
"""


def rows_of_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_has_every_type_exactly(seakernel_command: Command) -> None:
    done = seakernel_command("sql", EVERY_TYPE, "--format", "csv")
    assert (done.returncode, done.stderr) == (0, b"")
    header, row = rows_of_csv(done.stdout.decode())
    assert dict(zip(header, row, strict=True)) == {
        "boolean": "true",
        "tiny": "-128",
        "big": "9223372036854775807",
        "single": "0.1",
        "double": "0.1",
        "nan": "NaN",
        "infinite": "-Infinity",
        "exact": "12345678901234567890123456789012345.100",
        "empty": "",
        "text": 'a "quoted", line\nof text',
        "padded": " padded ",
        "bytes": base64.b64encode(b"bytes").decode(),
        "day": "2024-02-29",
        "moment": "2024-02-29T12:34:56.789000+00:00",
        "clock": "2024-02-29T12:34:56",
        "months": "2-6",
        "span": "1 00:00:00.000000000",
        "list": "[1,null,3]",
        "record": '{"n":1.50,"t":"x\\"y"}',
        "pairs": '{"k":1}',
        "nothing": "",
        "absent": "",
    }
    # NULL is nothing, and empty text is not.
    assert b',"",' in done.stdout
    assert done.stdout.endswith(b",,\n")


def test_json_has_every_type_exactly(seakernel_command: Command) -> None:
    done = seakernel_command("sql", EVERY_TYPE, "--format", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = json.loads(done.stdout, parse_float=str)
    assert row == {
        "boolean": True,
        "tiny": -128,
        "big": 9223372036854775807,
        "single": "0.1",
        "double": "0.1",
        "nan": "NaN",
        "infinite": "-Infinity",
        "exact": "12345678901234567890123456789012345.100",
        "empty": "",
        "text": 'a "quoted", line\nof text',
        "padded": " padded ",
        "bytes": base64.b64encode(b"bytes").decode(),
        "day": "2024-02-29",
        "moment": "2024-02-29T12:34:56.789000+00:00",
        "clock": "2024-02-29T12:34:56",
        "months": "2-6",
        "span": "1 00:00:00.000000000",
        "list": [1, None, 3],
        "record": {"n": "1.50", "t": 'x"y'},
        "pairs": {"k": 1},
        "nothing": None,
        "absent": None,
    }


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_large_result_comes_row_by_row_and_whole(seakernel_command: Command, form: str) -> None:
    done = seakernel_command("sql", "SELECT id, id * 2 AS twice FROM range(30000)", "--format", form)
    assert done.returncode == 0
    if form == "json":
        rows = [[row["id"], row["twice"]] for row in json.loads(done.stdout)]
        # One row a line, between the brackets.
        assert done.stdout.count(b"\n") == 30002
    else:
        rows = [[int(cell) for cell in row] for row in rows_of_csv(done.stdout.decode())[1:]]
    assert sorted(rows) == [[number, number * 2] for number in range(30000)]


@pytest.mark.parametrize(
    ("form", "expected"), [("csv", b"id\n"), ("json", b"[]\n"), ("table", b" id\n----\n(0 rows, ")]
)
def test_a_result_without_rows(seakernel_command: Command, form: str, expected: bytes) -> None:
    done = seakernel_command("sql", "SELECT id FROM range(0)", "--format", form)
    assert done.stdout.startswith(expected)
    assert done.returncode == 0


def test_two_columns_of_one_name_are_refused_by_json_only(seakernel_command: Command) -> None:
    refused = seakernel_command("sql", "SELECT 1 AS a, 2 AS a", "--format", "json")
    assert refused.returncode == 1
    assert b"two columns are named `a`" in refused.stderr
    assert seakernel_command("sql", "SELECT 1 AS a, 2 AS a", "--format", "csv").stdout == b"a,a\n1,2\n"


@pytest.mark.parametrize("number", [1.0, 1e-45, 3.4028235e38, 0.3, 16777217.0, 1 / 3])
def test_single_precision_numbers_have_the_digits_that_tell_them_apart(connection: Any, number: float) -> None:
    single = struct.unpack("<f", struct.pack("<f", number))[0]
    cursor = connection.cursor()
    sql = "SELECT CAST(:number AS FLOAT) AS number"
    text = "".join(csv_lines(cursor.execute(sql, {"number": single}))).splitlines()[1]
    assert struct.pack("<f", float(text)) == struct.pack("<f", number)
    assert len(text) <= 14
    (row,) = json.loads("".join(json_lines(cursor.execute(sql, {"number": single}))))
    assert struct.pack("<f", row["number"]) == struct.pack("<f", number)


def test_a_table_is_aligned_and_counted(seakernel_command: Command) -> None:
    sql = "SELECT * FROM VALUES (1, 'one', 1.5D), (22, NULL, 10D), (333, '日本', NULL) AS t(n, word, x) ORDER BY n"
    lines = seakernel_command("sql", sql).stdout.decode().splitlines()
    assert lines[:5] == [
        "   n | word |    x",
        "-----+------+------",
        "   1 | one  |  1.5",
        "  22 | NULL | 10.0",
        " 333 | 日本 | NULL",
    ]
    assert lines[5].startswith("(3 rows, ")


def test_a_table_does_not_steer_the_terminal(seakernel_command: Command) -> None:
    done = seakernel_command("sql", r"SELECT 'a\u001b[2Jb\nc' AS `x\ty`")
    assert done.stdout.splitlines()[2] == rb" a\x1b[2Jb\nc"


def on_terminal(warehouse: LocalWarehouse, columns: int, *arguments: str) -> str:
    """Runs the command with its output on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in environment_of(warehouse).items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "seakernel", *arguments],
        stdout=theirs,
        stdin=theirs,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            if not part:
                break
            output += part
        os.close(ours)
        assert process.stderr is not None
        output += process.stderr.read()
    return output.decode().replace("\r\n", "\n")


def test_a_table_fits_the_terminal(warehouse: LocalWarehouse) -> None:
    sql = "SELECT repeat('x', 300) AS long, 7 AS n, repeat('語', 100) AS wide"
    lines = on_terminal(warehouse, 60, "sql", sql).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 60 for line in lines)
    assert lines[2].startswith(" xxx")
    assert "…" in lines[2]
    assert "| 7 |" in lines[2]
    many = ", ".join(f"{number} AS column_{number}" for number in range(40))
    assert max(map(len, on_terminal(warehouse, 60, "sql", f"SELECT {many}").splitlines())) == 60


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_binary_formats_are_not_for_a_terminal(warehouse: LocalWarehouse, form: str) -> None:
    assert "is not for a terminal" in on_terminal(warehouse, 80, "sql", "SELECT 1", "--format", form)


def test_arrow_is_a_stream_on_the_output_and_a_file_in_a_file(seakernel_command: Command, tmp_path: Path) -> None:
    sql = "SELECT id, CAST(id AS STRING) AS word, array(id) AS list FROM range(5000)"
    stream = seakernel_command("sql", sql, "--format", "arrow")
    assert stream.returncode == 0
    table = pa.ipc.open_stream(stream.stdout).read_all()
    assert sorted(table["id"].to_pylist()) == list(range(5000))
    assert table.schema.field("list").type == pa.list_(pa.int64())
    # The ending tells the format.
    assert seakernel_command("sql", sql, "-o", "out.arrow").returncode == 0
    assert pa.ipc.open_file(tmp_path / "out.arrow").read_all().sort_by("id") == table.sort_by("id")


def test_parquet_gathers_row_groups(seakernel_command: Command, tmp_path: Path) -> None:
    done = seakernel_command(
        "sql", "SELECT id, INTERVAL '1-2' YEAR TO MONTH AS m FROM range(50000)", "-o", "out.parquet"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.metadata.num_rows == 50000
    assert file.num_row_groups == 1
    assert file.read().slice(0, 1)["m"].to_pylist() == ["1-2"]


def test_formats_of_pyarrow_say_so_where_it_is_missing(seakernel_command: Command, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('hidden')")
    hidden = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    for form in ("arrow", "parquet"):
        done = seakernel_command("sql", "SELECT 1", "--format", form, environment=hidden)
        assert done.returncode == 1
        assert done.stderr == f"error: --format {form} needs pyarrow: `pip install pyarrow`\n".encode()
    for form in ("csv", "json", "table"):
        assert seakernel_command("sql", "SELECT 1 AS a", "--format", form, environment=hidden).returncode == 0


def test_a_file_appears_only_when_it_is_complete(seakernel_command: Command, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("old")
    # A date that Python does not have fails in the middle, when rows are out already.
    failing = "SELECT CASE WHEN id < 5000 THEN DATE'2024-01-01' ELSE DATE'2024-01-01' + INTERVAL 9000 YEAR END FROM range(9000)"
    done = seakernel_command("sql", failing, "-o", "out.csv")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert seakernel_command("sql", "SELECT 1 AS a", "-o", "out.csv").returncode == 0
    assert output.read_text() == "a\n1\n"
    assert seakernel_command("sql", "SELECT 1 AS a", "-o", os.devnull).returncode == 0
    assert Path(os.devnull).is_char_device()


def test_a_private_file_stays_private_when_it_is_replaced(seakernel_command: Command, tmp_path: Path) -> None:
    private = tmp_path / "out.csv"
    private.touch(0o600)
    assert seakernel_command("sql", "SELECT 1 AS a", "-o", "out.csv").returncode == 0
    assert private.read_text() == "a\n1\n"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert seakernel_command("sql", "SELECT 1 AS a", "-o", "new.csv").returncode == 0
    (tmp_path / "any").touch()
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_another_process_with_the_same_id_keeps_its_part(
    warehouse: LocalWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in another container, with the same folder.
    monkeypatch.setattr("os.getpid", lambda: 7)
    monkeypatch.setenv("DATABRICKS_HOST", warehouse.server_hostname)
    monkeypatch.setenv("DATABRICKS_HTTP_PATH", warehouse.http_path)
    monkeypatch.setenv("DATABRICKS_TOKEN", warehouse.access_token)
    theirs = tmp_path / ".out.csv.7.part"
    theirs.write_text("theirs")
    assert main(["sql", "SELECT 1 AS a", "-o", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_text() == "a\n1\n"
    assert theirs.read_text() == "theirs"


def test_the_statement_comes_from_an_argument_a_file_or_the_input(seakernel_command: Command, tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_bytes("\ufeffSELECT 'ü' AS a -- comment\n;\n ".encode())
    expected = "a\nü\n".encode()
    assert seakernel_command("sql", "-f", "query.sql", "--format", "csv").stdout == expected
    sql = (tmp_path / "query.sql").read_bytes()
    assert seakernel_command("sql", "--format", "csv", standard_input=sql).stdout == expected
    assert seakernel_command("sql", "-f", "-", "--format", "csv", standard_input=sql).stdout == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SELECT 1", "-f", "x.sql"], "not both"),
        ([" ; "], "empty"),
        ([], "empty"),
        (["SELECT :a", "-p", "canary-value"], "not in the form NAME=VALUE"),
        (["SELECT :a", "-p", "1=canary-value"], "not in the form NAME=VALUE"),
        (["SELECT :a", "-p", "a=canary", "-p", "a=canary"], "the parameter `a` is given twice"),
        (["SELECT 1", "--row-limit", "0"], "--row-limit: '0' is not a whole number of at least 1"),
        (["SELECT 1", "--row-limit", "many"], "--row-limit: 'many' is not a whole number of at least 1"),
        (["SELECT 1", "--format", "xml"], "--format"),
    ],
)
def test_a_wrong_command_line_is_status_2(seakernel_command: Command, arguments: list[str], message: str) -> None:
    done = seakernel_command("sql", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert b"canary" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_missing_folder_is_named_before_the_statement_runs(
    seakernel_command: Command, warehouse: LocalWarehouse
) -> None:
    before = len(warehouse.requests())
    done = seakernel_command("sql", "SELECT 1", "-o", "missing/out.csv")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"'missing/out.csv'" in done.stderr
    assert len(warehouse.requests()) == before


@pytest.mark.parametrize("command", ["sql", "doctor", "local"])
def test_a_closed_output_is_told(warehouse: LocalWarehouse, command: str) -> None:
    arguments = ["SELECT 1"] if command == "sql" else []
    done = with_closed_streams(warehouse, ">&-", command, *arguments)
    assert (done.returncode, done.stderr) == (1, b"error: the standard output is closed\n")


def test_a_file_needs_no_streams(warehouse: LocalWarehouse, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    done = with_closed_streams(warehouse, "<&- >&- 2>&-", "sql", "SELECT 1 AS a", "-o", str(output))
    assert done.returncode == 0
    assert output.read_text() == "a\n1\n"
    done = with_closed_streams(warehouse, "<&-", "sql")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"give a statement" in done.stderr


def with_closed_streams(
    warehouse: LocalWarehouse, redirections: str, *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    script = f'exec "$0" -m seakernel "$@" {redirections}'
    command = ["/bin/sh", "-c", script, sys.executable, *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=60, env=environment_of(warehouse))


def test_parameters_by_name_and_type(seakernel_command: Command) -> None:
    sql = "SELECT :word AS word, :n + 1 AS n, :day AS day, :with AS equals"
    parameters = ["word=it's", "n:INT=41", "day:DATE=2024-02-29", "with=a=b"]
    done = seakernel_command("sql", sql, "--format", "csv", *(part for one in parameters for part in ("-p", one)))
    assert done.stdout == b"word,n,day,equals\nit's,42,2024-02-29,a=b\n"
    wrong = seakernel_command("sql", sql, "-p", "n:INT=canary-number")
    assert wrong.returncode == 1
    assert b"canary" not in wrong.stderr


def test_a_row_limit_is_told(seakernel_command: Command) -> None:
    done = seakernel_command("sql", "SELECT id FROM range(100)", "--row-limit", "3")
    assert b"(3 rows, cut by a limit, " in done.stdout
    done = seakernel_command("sql", "SELECT id FROM range(100)", "--row-limit", "3", "--format", "csv")
    assert done.stdout.count(b"\n") == 4
    assert b"cut" in done.stderr


def test_statements_without_a_result(seakernel_command: Command) -> None:
    done = seakernel_command("sql", "CREATE SCHEMA IF NOT EXISTS main.command_line", "--format", "csv")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"no result" in done.stderr


def test_an_error_is_status_1_with_the_line_and_the_caret(seakernel_command: Command) -> None:
    done = seakernel_command("sql", "SELECT 1\nFORM t GROUP")
    assert done.returncode == 1
    assert done.stdout == b""
    first, line, caret = done.stderr.decode().splitlines()
    assert first.startswith("error: [PARSE_SYNTAX_ERROR]")
    assert line.startswith("LINE 2: FORM t")
    assert line[caret.index("^")] in "FtG"


def test_catalog_schema_and_place_can_be_named(seakernel_command: Command, warehouse: LocalWarehouse) -> None:
    place = {"DATABRICKS_HOST": "", "DATABRICKS_HTTP_PATH": ""}
    warehouse_id = warehouse.http_path.rpartition("/")[2]
    named = ["--host", warehouse.server_hostname, "--warehouse-id", warehouse_id]
    sql = ["sql", "SELECT current_catalog(), current_schema()", "--format", "csv"]
    done = seakernel_command(*sql, *named, "--catalog", "samples", "--schema", "tpch", environment=place)
    assert done.stdout.endswith(b"\nsamples,tpch\n")


def test_local_needs_nothing_else(seakernel_command: Command) -> None:
    nothing = {"DATABRICKS_HOST": "", "DATABRICKS_TOKEN": "", "DATABRICKS_HTTP_PATH": ""}
    done = seakernel_command("sql", "SELECT 1 AS a", "--local", "--format", "csv", environment=nothing)
    assert (done.returncode, done.stdout) == (0, b"a\n1\n")
    missing = seakernel_command("sql", "SELECT 1", environment=nothing)
    assert missing.returncode == 1
    assert b"missing" in missing.stderr or b"no such file" in missing.stderr


@pytest.mark.parametrize("form", ["csv", "json", "table", "arrow"])
def test_a_reader_that_goes_away_ends_it_quietly(warehouse: LocalWarehouse, form: str) -> None:
    command = [sys.executable, "-m", "seakernel", "sql", "SELECT id FROM range(3000000)", "--format", form]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_of(warehouse)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


def test_ctrl_c_ends_it_and_cancels_the_statement(eventually: Callable[[Callable[[], Any]], Any]) -> None:
    def seen(operation: str) -> Callable[[], bool]:
        return lambda: any(request["operation"] == operation for request in warehouse.requests())

    with LocalWarehouse(switches={"running_answers": 1_000_000}) as warehouse:
        command = [sys.executable, "-m", "seakernel", "sql", "SELECT 1"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_of(warehouse)
        ) as process:
            assert eventually(seen("poll"))
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (130, b"", b"interrupted\n")
        # Whichever comes first: the end of a session ends its statements.
        assert eventually(lambda: seen("cancel")() or seen("close_session")())
        assert eventually(lambda: warehouse.counters()["live_statements"] == 0)


def test_what_the_lines_say_is_what_rows_say(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT CAST('Infinity' AS DOUBLE) AS a, CAST('NaN' AS FLOAT) AS b, true AS c")
    (row,) = json.loads("".join(json_lines(cursor)))
    assert row == {"a": "Infinity", "b": "NaN", "c": True}
    assert math.isinf(float(row["a"]))


def test_an_error_does_not_steer_the_terminal(seakernel_command: Command) -> None:
    done = seakernel_command("sql", "SELECT * FROM `no_\x1b[2J_table`")
    assert done.returncode == 1
    assert b"TABLE_OR_VIEW_NOT_FOUND" in done.stderr
    assert b"\x1b" not in done.stderr


def test_help_and_version(seakernel_command: Command) -> None:
    for arguments in (["--help"], ["sql", "--help"], ["doctor", "--help"], ["local", "--help"]):
        done = seakernel_command(*arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"usage: seakernel")
    assert seakernel_command("--version").stdout == f"seakernel {seakernel.__version__}\n".encode()
    assert seakernel_command().returncode == 2
