"""Progress: what a callback is told, what is shown on a real terminal, and that nothing of it disturbs the query."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from child_processes import PROMPT_S, interrupted

import seakernel
from seakernel import Progress
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Cursor

NUMBERS = "SELECT id FROM range(5000)"
ENDLESS = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"


def late_files(*indices: int, ms: int) -> list[dict[str, Any]]:
    return [
        {"on": "download", "chunk_index": index, "times": "always", "do": {"delay": {"ms": ms}}} for index in indices
    ]


@pytest.fixture
def slow() -> Iterator[LocalWarehouse]:
    """A warehouse that first queues a statement for a while, then runs it, and sends the files of its result late."""
    with LocalWarehouse(
        chunk_rows=1000,
        inline_bytes=0,
        switches={"pending_answers": 6, "running_answers": 2},
        faults=late_files(2, 4, ms=1500),
    ) as warehouse:
        yield warehouse


def test_a_callback_sees_every_phase(slow: LocalWarehouse) -> None:
    seen: list[Progress] = []
    with slow.connect(progress=seen.append) as connection, connection.cursor() as cursor:
        cursor.execute(NUMBERS)
        running = len(seen)
        assert len(cursor.fetchall()) == 5000
        statement_id = cursor.statement_id
    assert list(dict.fromkeys(progress.phase for progress in seen)) == ["queued", "running", "fetching", "done"]
    assert [progress.phase for progress in seen].count("done") == 1
    assert {progress.statement_id for progress in seen} == {statement_id}
    assert {(progress.rows, progress.bytes, progress.rows_total) for progress in seen[: running - 1]} == {(0, 0, None)}
    for earlier, later in itertools.pairwise(seen):
        assert earlier.elapsed_s < later.elapsed_s
        assert (earlier.rows, earlier.bytes) <= (later.rows, later.bytes)
    waiting = seen[running:-1]
    # The late files, which are fetched side by side, were waited for 1.5 s.
    assert 3 <= len(waiting) <= 20
    assert {progress.rows for progress in waiting} >= {2000}
    assert seen[-1].rows == seen[-1].rows_total == 5000
    assert seen[-1].bytes > seen[running].bytes
    assert seen[-1].bytes_per_s > 0


def test_calls_are_200_ms_apart(slow: LocalWarehouse) -> None:
    moments: list[float] = []
    with slow.connect(progress=lambda _: moments.append(time.monotonic())) as connection:
        cursor = connection.cursor().execute(NUMBERS)
        moments.clear()
        for _ in cursor:
            pass
    apart = sorted(later - earlier for earlier, later in itertools.pairwise(moments))
    # The last one of each call comes when it comes.
    assert apart[len(apart) // 2] >= 0.19


def test_short_calls_tell_only_the_end(cursor: Cursor) -> None:
    seen: list[Progress] = []
    cursor.execute(NUMBERS, progress=seen.append)
    assert seen == []
    assert len(list(cursor)) == 5000
    assert [(progress.phase, progress.rows) for progress in seen] == [("done", 5000)]
    assert cursor.fetchall() == []
    cursor.execute("CREATE OR REPLACE TABLE main.default.told (id INT)", progress=seen.append)
    with pytest.raises(seakernel.Error):
        cursor.execute("SELECT * FROM main.default.no_such_table", progress=seen.append)
    cursor.execute(NUMBERS, row_limit=10, progress=seen.append).fetchall()
    assert [progress.phase for progress in seen] == ["done", "done", "failed", "done"]
    assert seen[2].statement_id == seen[2].statement_id is not None
    assert (seen[3].rows, seen[3].rows_total) == (10, None)


def test_a_failed_download_is_told() -> None:
    gone = {"on": "download", "chunk_index": 3, "times": "always", "do": {"status": {"code": 404}}}
    seen: list[Progress] = []
    with (
        LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[gone]) as warehouse,
        warehouse.connect(progress=seen.append) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(NUMBERS)
        for _ in range(2):
            with pytest.raises(seakernel.Error):
                cursor.fetchall()
    assert [(progress.phase, progress.rows) for progress in seen if progress.phase != "fetching"] == [("failed", 3000)]


def test_progress_is_immutable_and_readable() -> None:
    progress = Progress("fetching", "01ef", 1000, 5000, 2_500_000, 12.3, 1_250_000.0)
    assert str(progress) == "fetching 12 s, 1,000 of 5,000 rows, 2.5 MB, 1.2 MB/s, statement 01ef"
    assert str(Progress("sent", None, 0, None, 0, 0.4, 0.0)) == "sent 0 s"
    # What a terminal would obey.
    assert str(Progress("sent", "\x1b[2J", 0, None, 0, 0.4, 0.0)) == "sent 0 s, statement \\x1b[2J"
    with pytest.raises(AttributeError):
        progress.rows = 5  # type: ignore[misc]


def test_a_callback_that_fails_is_reported_once_and_breaks_nothing(
    slow: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))
    calls = []

    def fail(progress: Progress) -> None:
        calls.append(progress)
        raise LookupError("in the callback")

    with slow.connect(progress=fail) as connection, connection.cursor() as cursor:
        assert len(cursor.execute(NUMBERS).fetchall()) == 5000
        assert len(calls) == 1
        assert [str(error) for error in reported] == ["in the callback"]
        cursor.execute("SELECT 1").fetchall()
        assert len(calls) == 2


def test_a_callback_may_cancel_the_statement() -> None:
    with LocalWarehouse(switches={"pending_answers": 1}) as warehouse, warehouse.connect() as connection:
        cursor = connection.cursor()
        with pytest.raises(seakernel.OperationalError) as cancelled:
            cursor.execute(ENDLESS, progress=lambda _: cursor.cancel())
        assert cancelled.value.kind == "Cancelled"
        operations = [request["operation"] for request in warehouse.requests()]
        assert operations.count("cancel") >= 1


def test_a_callback_may_cancel_the_fetch_and_is_refused_to_read() -> None:
    refused: list[Exception] = []
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=late_files(2, ms=10_000)) as warehouse:
        connection = warehouse.connect()
        cursor = connection.cursor()

        def cancel(progress: Progress) -> None:
            assert "5,000 rows" in repr(cursor)
            assert cursor.statement_id == progress.statement_id
            for read in (cursor.fetchone, lambda: connection.cursor().execute("SELECT 1")):
                with pytest.raises(seakernel.InterfaceError, match="progress callback") as raised:
                    read()
                refused.append(raised.value)
            cursor.cancel()

        cursor.execute(NUMBERS, progress=cancel)
        begin = time.monotonic()
        with pytest.raises(seakernel.OperationalError) as cancelled:
            cursor.fetchall()
        assert cancelled.value.kind == "Cancelled"
        assert time.monotonic() - begin < 5
        assert len(refused) >= 2
        assert cursor.execute("SELECT 1", progress=False).fetchall() == [(1,)]
        connection.close()


def test_a_callback_in_another_thread_stays_there(slow: LocalWarehouse) -> None:
    threads: set[str] = set()
    with slow.connect(progress=lambda _: threads.add(threading.current_thread().name)) as connection:
        cursor = connection.cursor()
        reader = threading.Thread(target=lambda: cursor.execute(NUMBERS).fetchall(), name="reader")
        reader.start()
        reader.join()
    assert threads == {"reader"}


def test_a_callback_that_knows_the_cursor_does_not_keep_it(warehouse: LocalWarehouse) -> None:
    with warehouse.connect() as connection:
        cursor = connection.cursor()
        # A callback with the cursor in it, which the cursor's result holds.
        cursor.execute(NUMBERS, progress=functools.partial(print, cursor))
        gone = weakref.ref(cursor)
        del cursor
        gc.collect()
        assert gone() is None


def test_ctrl_c_in_a_callback_interrupts_the_query_and_loses_no_row() -> None:
    script = """
seen = []
def look(progress):
    seen.append(progress)
    end = time.monotonic() + 0.15
    while time.monotonic() < end:
        pass
cursor = seakernel.connect(host, path, token, progress=look).cursor()
cursor.execute("SELECT id FROM range(5000)")
ready()
try:
    cursor.fetchall()
except KeyboardInterrupt:
    report("interrupted", len(seen) > 0)
report(len(cursor.fetchall()))
"""
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=late_files(2, ms=2500)) as warehouse:
        seconds, values = interrupted(warehouse, script)
    assert (values[:2], values[-1]) == (["interrupted", "True"], "5000")
    assert seconds < PROMPT_S + 0.15


# A script that runs on a terminal, and packages that it finds missing.
TERMINAL = """
import sys
for missing in {missing!r}:
    sys.modules[missing] = None
import seakernel
cursor = seakernel.connect(*sys.argv[1:]{options}).cursor()
try:
    rows = cursor.execute({query!r}).fetchall()
    print("rows", len(rows), flush=True)
except seakernel.Error as error:
    print("failed", error.kind, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
THREADS = """
import sys, threading
sys.modules["rich"] = sys.modules["tqdm"] = None
import seakernel
connection = seakernel.connect(*sys.argv[1:])
cursors = [connection.cursor().execute("SELECT id FROM range(5000)") for _ in range(3)]
rows = []
threads = [threading.Thread(target=lambda cursor=cursor: rows.extend(cursor.fetchall())) for cursor in cursors]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("rows", len(rows))
"""
DISPLAYS = {"rich": (), "tqdm": ("rich",), "text": ("rich", "tqdm")}


def on_a_terminal(
    warehouse: LocalWarehouse,
    missing: tuple[str, ...],
    query: str = NUMBERS,
    options: str = "",
    interrupt_after: bytes | None = None,
    term: str = "xterm",
    script: str = TERMINAL,
) -> tuple[str, str]:
    """Runs the script with a pseudo-terminal as its stderr; returns what it printed and what the terminal got."""
    ours, theirs = os.openpty()
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    script = script.format(missing=missing, query=query, options=options) if script is TERMINAL else script
    environment = {**os.environ, "TERM": term, "COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, *place], stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    ) as process:
        os.close(theirs)
        try:
            got = b""
            while True:
                try:
                    part = os.read(ours, 4096)
                except OSError:  # the last of the other side has closed it
                    part = b""
                if not part:
                    break
                got += part
                if interrupt_after is not None and interrupt_after in got:
                    process.send_signal(signal.SIGINT)
                    interrupt_after = None
            os.close(ours)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()  # of no effect on one that has ended
    assert process.returncode == 0, got.decode()
    return output.strip(), got.decode()


def screen(written: str) -> str:
    """What is left on a terminal of one line that writes over itself."""
    line: list[str] = []
    column = 0
    text = written.replace("\x1b[2K", "\x00").replace("\x1b[K", "\x00").replace("\x1b[1A", "").replace("\n", "")
    for sequence in ("\x1b[?25l", "\x1b[?25h"):
        text = text.replace(sequence, "")
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\x00":
            line = line[:column]
        else:
            line[column : column + 1] = [character]
            column += 1
    return "".join(line).strip()


@pytest.fixture(scope="module")
def tardy() -> Iterator[LocalWarehouse]:
    """A warehouse whose results take 2.5 s."""
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=late_files(3, ms=2500)) as warehouse:
        yield warehouse


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_terminal_shows_a_line_and_is_clean_afterwards(tardy: LocalWarehouse, display: str) -> None:
    output, written = on_a_terminal(tardy, DISPLAYS[display])
    assert output == "rows 5000"
    assert "3,000 of 5,000 rows" in written
    assert "statement 01" in written
    assert ("\u2501" in written) == (display == "rich")
    assert ("60%|" in written) == (display == "tqdm")
    assert screen(written) == ""


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_terminal_is_clean_after_ctrl_c(tardy: LocalWarehouse, display: str) -> None:
    output, written = on_a_terminal(tardy, DISPLAYS[display], interrupt_after=b"of 5,000 rows")
    assert output == "interrupted"
    assert screen(written) == ""


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_terminal_shows_the_queue_and_is_clean_after_a_failure(display: str) -> None:
    with LocalWarehouse(switches={"pending_answers": 9, "running_answers": 1}) as warehouse:
        output, written = on_a_terminal(warehouse, DISPLAYS[display], query="SELECT * FROM main.default.missing")
    assert output == "failed Sql"
    assert "queued 1 s" in written
    assert screen(written) == ""


def test_ctrl_c_while_a_statement_runs_leaves_a_clean_terminal(warehouse: LocalWarehouse) -> None:
    output, written = on_a_terminal(warehouse, DISPLAYS["text"], query=ENDLESS, interrupt_after=b"sent 1 s")
    assert output == "interrupted"
    assert screen(written) == ""


def test_short_work_shows_nothing(warehouse: LocalWarehouse) -> None:
    assert on_a_terminal(warehouse, DISPLAYS["text"]) == ("rows 5000", "")


@pytest.mark.parametrize(("options", "term"), [(", progress=False", "xterm"), ("", "dumb")])
def test_a_terminal_that_wants_none_gets_none(tardy: LocalWarehouse, options: str, term: str) -> None:
    assert on_a_terminal(tardy, DISPLAYS["rich"], options=options, term=term) == ("rows 5000", "")


@pytest.mark.parametrize(("options", "shown"), [("", False), (", progress=True", True)])
def test_without_a_terminal_there_is_silence_unless_asked_for(tardy: LocalWarehouse, options: str, shown: bool) -> None:
    place = [tardy.server_hostname, tardy.http_path, tardy.access_token]
    script = TERMINAL.format(missing=(), query=NUMBERS, options=options)
    done = subprocess.run(
        [sys.executable, "-c", script, *place], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "rows 5000\n"
    # A line every ten seconds, and no control characters.
    assert done.stderr.count("\n") == shown
    assert done.stderr.isprintable() or done.stderr[:-1].isprintable()
    assert ("fetching 1 s, 3,000 of 5,000 rows" in done.stderr) == shown


def test_displays_of_several_threads_do_not_write_over_each_other(tardy: LocalWarehouse) -> None:
    output, written = on_a_terminal(tardy, DISPLAYS["text"], script=THREADS)
    assert output == "rows 15000"
    shown = re.findall("statement (\\S+)", written)
    assert len(shown) >= 4
    assert len(list(itertools.groupby(shown))) == len(set(shown))
    assert screen(written) == ""
