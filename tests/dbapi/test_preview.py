"""A look at a cursor: a line for logs, a table for people, and nothing read, sent or waited for."""

from __future__ import annotations

import html
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from seakernel import Cursor

NUMBERS = "SELECT id, 'row ' || id AS text FROM range(5000)"


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interactive interpreter, IPython included, has and a program does not."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def table(cursor: Cursor) -> list[list[str]]:
    """The cells of the rows that the text shows."""
    return [line.split() for line in repr(cursor).splitlines()[4:]]


def test_a_program_sees_one_line_without_rows(chunked_cursor: Cursor) -> None:
    assert repr(chunked_cursor) == "<Cursor statement_id=None closed=False>"
    chunked_cursor.execute(NUMBERS)
    line = repr(chunked_cursor)
    begin, end = line.split(" received, first rows after ")
    statistics = chunked_cursor.statistics
    assert statistics is not None
    assert begin.startswith(f"<Cursor statement_id={chunked_cursor.statement_id}: open, 5,000 rows, 2 columns, ")
    assert begin.endswith(" kB")
    assert 0 <= float(end.removesuffix(" s>")) < 60
    assert "row" not in line.replace("5,000 rows", "").replace("first rows", "")
    chunked_cursor.close()
    assert repr(chunked_cursor) == "<Cursor statement_id=None closed=True>"
    assert chunked_cursor._repr_html_() is None


@pytest.mark.usefixtures("interactive")
def test_a_person_sees_the_next_ten_rows_and_reads_none(chunked: LocalWarehouse, chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(NUMBERS)
    sent = len(chunked.requests())
    looks = [repr(chunked_cursor).splitlines() for _ in range(3)]
    assert looks[0] == looks[1] == looks[2]
    assert looks[0][1:6] == [
        "    id  text",
        "bigint  string",
        "------  ------",
        "     0  row 0",
        "     1  row 1",
    ]
    assert len(looks[0]) == 1 + 3 + 10
    assert chunked_cursor.fetchone() == (0, "row 0")
    assert table(chunked_cursor)[0] == ["1", "row", "1"]
    chunked_cursor.fetchmany(294)
    # The next batch has arrived with the first: rows of both are shown.
    assert [cells[0] for cells in table(chunked_cursor)] == [str(id_) for id_ in range(295, 305)]
    assert [row[0] for row in chunked_cursor.fetchall()] == list(range(295, 5000))
    executed = [request for request in chunked.requests()[sent:] if request["operation"] == "execute"]
    assert executed == []


@pytest.mark.usefixtures("interactive")
def test_a_look_tells_what_became_of_the_result(chunked_cursor: Cursor) -> None:
    def state() -> str:
        first, *rest = repr(chunked_cursor).splitlines()
        assert bool(rest) == (": open," in first)
        return first.split(": ")[1].split(" kB")[0].rsplit(",", 1)[0]

    chunked_cursor.execute(NUMBERS)
    assert state() == "open, 5,000 rows, 2 columns"
    chunked_cursor.arrow()
    assert state() == "read, 5,000 rows, 2 columns"
    chunked_cursor.execute(NUMBERS)
    reader = pa.RecordBatchReader.from_stream(chunked_cursor)
    assert state() == "handed over, 5,000 rows, 2 columns"
    del reader
    chunked_cursor.execute(NUMBERS).cancel()
    assert state() == "cancelled, 5,000 rows, 2 columns"
    chunked_cursor.execute(NUMBERS, row_limit=20)
    assert "rows so far, cut by a limit, 2 columns" in state()
    chunked_cursor.fetchall()
    assert state().startswith("read, 20 rows, cut by a limit, 2 columns")
    chunked_cursor.execute("SELECT 1 AS one")
    assert repr(chunked_cursor).splitlines()[0].split(": ")[1].startswith("open, 1 row, 1 column, ")


def test_a_failed_result_says_so() -> None:
    gone = {"on": "download", "chunk_index": 1, "times": "always", "do": {"status": {"code": 404}}}
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[gone]) as warehouse,
        warehouse.connect(retry={"max_attempts": 1}) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(NUMBERS)
        with pytest.raises(seakernel.Error):
            cursor.fetchall()
        assert ": failed, 5,000 rows, " in repr(cursor)
        # The rows that came before it are shown, and read: nothing is lost.
        assert "<td>row 0</td>" in (cursor._repr_html_() or "")
        assert len(cursor.fetchmany(1000)) == 1000


@pytest.mark.usefixtures("interactive")
def test_nothing_waits_for_rows_that_are_on_their_way() -> None:
    late = {"on": "download", "chunk_index": 1, "times": "always", "do": {"delay": {"ms": 2000}}}
    with (
        LocalWarehouse(chunk_rows=5, inline_bytes=0, faults=[late]) as warehouse,
        warehouse.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM range(20)")
        begin = time.monotonic()
        assert [cells[0] for cells in table(cursor)] == list("01234")
        reading = threading.Thread(target=cursor.fetchmany, args=(10,))
        reading.start()
        while ": being read, 20 rows, " not in repr(cursor):
            assert time.monotonic() - begin < 1.5
        assert "<td>" not in (cursor._repr_html_() or "")
        assert time.monotonic() - begin < 1.5
        reading.join()
        assert [cells[0] for cells in table(cursor)] == [str(id_) for id_ in range(10, 20)]


def test_a_notebook_gets_a_table_and_no_markup_of_the_data(cursor: Cursor) -> None:
    hostile = "<script>alert('&amp;')</script>"
    cursor.execute(
        f"SELECT \"{hostile}\" AS `<b>name</b>`, array('<i>') AS items, 'a' || chr(10) || chr(27) AS control"
    )
    text = cursor._repr_html_() or ""
    assert text.count("<script") + text.count("<b>") + text.count("<i>") == 0
    assert f"<td>{html.escape(hostile)}</td>" in text
    assert "<th>&lt;b&gt;name&lt;/b&gt;<br><small>string</small></th>" in text
    assert "<td>[&lt;i&gt;]</td>" in text
    assert "<td>a\\n\\x1b</td>" in text
    assert cursor.fetchone() == (hostile, ["<i>"], "a\n\x1b")


@pytest.mark.usefixtures("interactive")
def test_values_of_every_kind_are_shown(cursor: Cursor) -> None:
    cursor.execute(
        "SELECT NULL AS nothing, X'00ff' AS bytes, CAST(1 AS DECIMAL(5,2)) AS amount, map('k', array(1, NULL)) AS nested, "
        "named_struct('x', 'y') AS st, INTERVAL '1-2' YEAR TO MONTH AS months, '漢字' AS wide, true AS flag"
    )
    names, types, rule, cells = repr(cursor).splitlines()[1:]
    assert names.split() == ["nothing", "bytes", "amount", "nested", "st", "months", "wide", "flag"]
    assert types.split("  ")[0] == "void"
    for shown in ("NULL", "X'00ff'", "1.00", "{k: [1, NULL]}", "{x: y}", "1-2", "漢字", "True"):
        assert shown in cells
    # Two columns a character: the next column begins below its name on a terminal.
    assert names.index("flag") - cells.index("True") == len("漢字")
    assert set(rule) == {"-", " "}


@pytest.mark.usefixtures("interactive")
def test_what_python_cannot_hold_is_a_question_mark(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id, date_add(DATE'9999-12-30', CAST(id AS INT)) AS day FROM range(5)")
    assert table(chunked_cursor) == [[str(id_), "?"] for id_ in range(5)]
    with pytest.raises(seakernel.DataError):
        chunked_cursor.fetchall()
    assert chunked_cursor.arrow().num_rows == 5


@pytest.mark.usefixtures("interactive")
def test_long_values_and_wide_tables_are_cut(cursor: Cursor) -> None:
    columns = ", ".join(f"id AS column_{index}" for index in range(300))
    cursor.execute(f"SELECT repeat('x', 10000000) AS long, array_repeat('y', 100000) AS list, {columns} FROM range(3)")
    begin = time.monotonic()
    lines = repr(cursor).splitlines()
    assert max(map(len, lines[1:])) <= 120
    assert "x" * 37 + "..." in lines[4]
    shown = lines[1].split()
    assert shown[:3] == ["long", "list", "column_0"]
    assert lines[-1] == f"... and {302 - len(shown)} more columns"
    assert len(cursor._repr_html_() or "") < 10_000
    assert time.monotonic() - begin < 5


def test_an_interactive_interpreter_shows_the_rows(warehouse: LocalWarehouse) -> None:
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    lines = f"import seakernel\ncursor = seakernel.connect(*{place!r}).cursor()\ncursor.execute('SELECT 1 AS one')\n"
    done = subprocess.run(
        [sys.executable, "-q", "-i"], input=lines, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[1:] == ["one", "int", "---", "  1"]


def test_a_look_from_a_finished_warehouse_raises_nothing() -> None:
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse:
        cursor = warehouse.connect().cursor().execute(NUMBERS)
    assert "<td>row 9</td>" in (cursor._repr_html_() or "")
