"""The result as Arrow, polars, pandas and DuckDB: one position, read whole once, nothing lost on the way."""

from __future__ import annotations

import datetime as dt
import decimal
import doctest
import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from child_processes import PROMPT_S, interrupted

import seakernel
from seakernel.local import LocalWarehouse
from seakernel.results import ArrowReads

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Cursor

NUMBERS = "SELECT id, 'row ' || id AS text FROM range(5000)"
VALUES = (
    "SELECT 1 AS i, 1.5D AS d, CAST('1.10' AS DECIMAL(38,2)) AS n, 'x' AS s, X'00ff' AS b, DATE'2024-02-29' AS day, "
    "TIMESTAMP'2024-02-29 12:00:00' AS at, array(1, NULL) AS a, map('k', 1) AS m, named_struct('x', 1) AS st, "
    "INTERVAL '1' DAY AS gap, CAST(NULL AS INT) AS missing"
)
# A query with month intervals, its rows, and the options under which every library can read them.
MONTHS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "plain": ("SELECT 1 AS id, INTERVAL '1-2' YEAR TO MONTH AS term", [(1, "1-2")], {"intervals": "text"}),
    "nested": (
        "SELECT 1 AS id, array(named_struct('every', INTERVAL '1' YEAR)) AS term",
        [(1, [{"every": "1-0"}])],
        {"complex_types": "json"},
    ),
}
WHOLE: dict[str, Callable[[Cursor], Any]] = {
    "arrow": lambda cursor: cursor.arrow(),
    "pl": lambda cursor: cursor.pl(),
    "df": lambda cursor: cursor.df(),
    "duckdb": lambda cursor: cursor.duckdb(duckdb.connect()),
}


def ids(frame: Any) -> list[int]:
    if isinstance(frame, duckdb.DuckDBPyRelation):
        return [row[0] for row in frame.fetchall()]
    column = frame["id"]
    return list(column.to_pylist() if isinstance(frame, pa.Table) else column.to_list())


@pytest.mark.parametrize("method", WHOLE)
def test_a_whole_result_is_what_was_not_read_yet(chunked_cursor: Cursor, method: str) -> None:
    chunked_cursor.execute(NUMBERS)
    first = [chunked_cursor.fetchone()[0], *(row[0] for row in chunked_cursor.fetchmany(1499))]  # type: ignore[index]
    assert first + ids(WHOLE[method](chunked_cursor)) == list(range(5000))
    assert chunked_cursor.fetchall() == []


@pytest.mark.parametrize("again", WHOLE)
@pytest.mark.parametrize("method", ["arrow", "pl"])
def test_a_second_whole_read_is_an_error_and_not_an_empty_frame(cursor: Cursor, method: str, again: str) -> None:
    cursor.execute(NUMBERS)
    assert len(ids(WHOLE[method](cursor))) == 5000
    with pytest.raises(
        seakernel.InterfaceError, match=rf"`{again}\(\)` would return no rows: `{method}\(\)`"
    ) as raised:
        WHOLE[again](cursor)
    assert raised.value.statement_id == cursor.statement_id
    assert cursor.fetchall_arrow().num_rows == 0
    assert ids(WHOLE[again](cursor.execute(NUMBERS))) == list(range(5000))


@pytest.mark.parametrize("method", WHOLE)
def test_a_result_without_rows_has_its_columns(cursor: Cursor, method: str) -> None:
    frame = WHOLE[method](cursor.execute(f"{NUMBERS} WHERE id < 0"))
    columns = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
    assert columns == ["id", "text"]
    assert ids(frame) == []


@pytest.mark.parametrize("method", WHOLE)
def test_without_a_result_there_is_nothing_to_read(cursor: Cursor, method: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="no statement was executed"):
        WHOLE[method](cursor)
    cursor.execute("CREATE OR REPLACE TABLE main.default.whole (id INT)")
    with pytest.raises(seakernel.ProgrammingError, match="no result set"):
        WHOLE[method](cursor)
    cursor.execute(NUMBERS).__arrow_c_stream__()
    with pytest.raises(seakernel.InterfaceError, match="handed over"):
        WHOLE[method](cursor)


def test_values_keep_their_types(cursor: Cursor) -> None:
    day, at = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc)
    values = (1, 1.5, decimal.Decimal("1.10"), "x", b"\x00\xff", day, at)
    table = cursor.execute(VALUES).arrow()
    assert table == cursor.execute(VALUES).fetchall_arrow()
    assert tuple(table.slice(0, 1).to_pylist()[0].values())[:7] == values
    frame = cursor.execute(VALUES).pl()
    assert frame.row(0)[:7] == values
    assert frame.row(0)[7:] == ([1, None], {"k": 1}, {"x": 1}, dt.timedelta(days=1), None)
    pandas = cursor.execute(VALUES).df()
    assert [str(pandas[name].dtype) for name in ("i", "d", "at", "gap")] == [
        "int32",
        "float64",
        "datetime64[us, Etc/UTC]",
        "timedelta64[us]",
    ]
    assert tuple(pandas.iloc[0])[:6] == values[:6]
    arrow_types = cursor.execute(VALUES).df(dtype_backend="pyarrow")
    assert {type(dtype) for dtype in arrow_types.dtypes} == {pd.ArrowDtype}
    assert str(arrow_types["n"].dtype) == "decimal128(38, 2)[pyarrow]"
    relation = cursor.execute(VALUES).duckdb(duckdb.connect())
    assert relation.project("i, d, n, s, b, day").fetchall() == [values[:6]]
    cursor.execute(VALUES)
    with pytest.raises(seakernel.ProgrammingError, match="dtype_backend"):
        cursor.df(dtype_backend="numpy")  # type: ignore[arg-type]


def test_a_relation_runs_as_often_as_wanted_and_outlives_the_cursor(chunked_cursor: Cursor) -> None:
    relation = chunked_cursor.execute(NUMBERS).duckdb(duckdb.connect())
    chunked_cursor.execute("SELECT 1")
    gc.collect()
    assert "row 1" in repr(relation)
    assert relation.filter("id >= 4998").fetchall() == [(4998, "row 4998"), (4999, "row 4999")]
    assert relation.aggregate("sum(id)").fetchall() == [(sum(range(5000)),)]


def test_polars_shares_the_buffers(chunked_cursor: Cursor) -> None:
    result = chunked_cursor.execute("SELECT id FROM range(300)")._result
    assert result is not None
    taken = result.take()
    ours = pa.table(taken).column("id").chunk(0).buffers()[1].address
    frame = seakernel.results.polars_frame(result)(taken)
    assert frame["id"].to_arrow().buffers()[1].address == ours


@pytest.mark.parametrize("place", MONTHS)
@pytest.mark.parametrize("method", ["pl", "df"])
def test_month_intervals_are_refused_before_anything_is_read(
    warehouse: LocalWarehouse, method: str, place: str
) -> None:
    query, rows, options = MONTHS[place]
    advice = ", ".join(f'"{key}": "{value}"' for key, value in options.items())
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.execute(query)
        with pytest.raises(seakernel.NotSupportedError, match=f"column `term`; connect with `results={{{advice}}}`"):
            WHOLE[method](cursor)
        assert cursor.fetchall() == rows
        assert cursor.execute(query).arrow().num_rows == 1
        assert ids(cursor.execute(query).duckdb(duckdb.connect())) == [1]
    with warehouse.connect(results=options) as connection, connection.cursor() as cursor:
        assert ids(WHOLE[method](cursor.execute(query))) == [1]


@pytest.mark.parametrize("missing", ["polars", "pandas", "pyarrow"])
def test_a_missing_package_is_named_and_no_row_is_lost(
    cursor: Cursor, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    cursor.execute(NUMBERS)
    method = "pl" if missing == "polars" else "df"
    with monkeypatch.context() as patched:
        patched.setattr("importlib.import_module", _without(missing))
        with pytest.raises(ModuleNotFoundError, match=rf"`{method}\(\)` needs `{missing}`: `pip install {missing}`"):
            WHOLE[method](cursor)
    assert ids(WHOLE[method](cursor)) == list(range(5000))


def _without(missing: str) -> Callable[[str], Any]:
    def import_module(name: str) -> Any:
        if name == missing:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return sys.modules[name]

    return import_module


def test_a_conversion_that_fails_leaves_the_rows(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id, id AS twice, id * 2 AS twice FROM range(5000)")
    with pytest.raises(pl.exceptions.DuplicateError):
        chunked_cursor.pl()
    assert chunked_cursor.arrow().column(0).to_pylist() == list(range(5000))
    result = chunked_cursor.execute(NUMBERS)._result
    assert result is not None
    with pytest.raises(seakernel.InterfaceError, match="wait for itself"):
        result.take_as(lambda _: chunked_cursor.fetchone())
    assert result.take_as(len, 10) == 10
    assert chunked_cursor.fetchone() == (10, "row 10")


@pytest.mark.parametrize("method", ["arrow", "pl", "df", "duckdb"])
def test_an_interrupted_read_loses_nothing(method: str) -> None:
    late = {"on": "download", "chunk_index": 3, "times": "always", "do": {"delay": {"ms": 3000}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[late]) as slow:
        script = f"""
import duckdb, pandas, polars, pyarrow
cursor = seakernel.connect(host, path, token).cursor()
cursor.execute("SELECT id FROM range(5000)")
first = cursor.fetchmany(10)
read = lambda: cursor.{method}({"duckdb.connect()" if method == "duckdb" else ""})
ready()
try:
    read()
except KeyboardInterrupt:
    report("interrupted")
report(len(read()))
"""
        seconds, values = interrupted(slow, script)
    assert (values[0], values[-1]) == ("interrupted", "4990")
    assert seconds < PROMPT_S


def test_batches_share_the_position_and_need_no_pyarrow(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(NUMBERS)
    chunked_cursor.fetchmany(10)
    batches = chunked_cursor.batches()
    first = next(batches)
    assert (len(first), first.num_columns) == (290, 2)
    assert chunked_cursor.fetchone() == (300, "row 300")
    rest = [len(batch) for batch in batches]
    assert (sum(rest), max(rest)) == (4699, 300)
    assert list(batches) == []
    assert pl.DataFrame(first)["id"].to_list() == list(range(10, 300))


def test_an_iterator_of_batches_goes_on_after_a_failure(chunked_cursor: Cursor) -> None:
    batches = chunked_cursor.execute(NUMBERS).batches()
    reader = chunked_cursor.fetch_record_batch()
    assert (len(next(batches)), reader.read_next_batch().num_rows) == (300, 300)
    chunked_cursor.close()
    with pytest.raises(seakernel.InterfaceError, match="closed"):
        next(batches)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_reader_keeps_no_batch_while_it_waits_for_the_next() -> None:
    """Measured in a process of its own: a batch kept for one call too long would hold 64 MiB of it."""
    late = [
        {"on": "download", "chunk_index": index, "times": "always", "do": {"delay": {"ms": 700 * index}}}
        for index in (1, 2)
    ]
    script = """
import sys, seakernel
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
waiting = []
options = {"memory_budget_bytes": 1 << 20, "compression": False}
cursor = seakernel.connect(*sys.argv[1:], results=options, progress=lambda _: waiting.append(held())).cursor()
cursor.execute("SELECT id, id * 2 AS a, id * 3 AS b, id * 4 AS c FROM range(6000000)")
reader = cursor.fetch_record_batch()
with_a_batch, rows = held(), 0
waiting.clear()
for batch in reader:
    rows += batch.num_rows
    del batch
print(rows, cursor.statistics.chunks, len(waiting), with_a_batch - max(waiting[:2]))
"""
    with LocalWarehouse(chunk_bytes=64 << 20, inline_bytes=0, faults=late) as warehouse:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        done = subprocess.run(
            [sys.executable, "-c", script, *place], check=True, capture_output=True, text=True, timeout=60
        )
    rows, chunks, looks, released_mib = map(int, done.stdout.split())
    assert (rows, chunks) == (6_000_000, 3)
    assert looks > 3
    assert released_mib > 32


def test_the_statement_is_known_after_a_failure_too(cursor: Cursor) -> None:
    with pytest.raises(seakernel.Error) as failed:
        cursor.execute("SELECT * FROM main.default.no_such_table")
    assert failed.value.statement_id is not None
    assert cursor.statement_id == failed.value.statement_id
    for read in (*WHOLE.values(), lambda cursor: cursor.batches()):
        with pytest.raises(seakernel.ProgrammingError):
            read(cursor)
    assert (cursor.statistics, cursor.truncated) == (None, False)


def test_statistics_go_on_after_a_handover(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute(NUMBERS)
    table = pa.table(chunked_cursor)
    assert chunked_cursor.statistics is not None
    assert chunked_cursor.statistics.rows == table.num_rows == 5000


@pytest.mark.parametrize("documented", [ArrowReads, seakernel.Progress], ids=lambda documented: documented.__name__)
def test_the_examples_run(cursor: Cursor, documented: type) -> None:
    runner = doctest.DocTestRunner()
    tests = doctest.DocTestFinder().find(documented, globs={"cursor": cursor})
    assert sum(runner.run(test).attempted for test in tests) >= 3
    assert runner.failures == 0
