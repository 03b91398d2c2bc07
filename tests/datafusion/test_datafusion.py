"""Tables, queries and catalogs in DataFusion: what arrives, what fails how, and what is left behind."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datafusion
import pyarrow as pa
import pyarrow.parquet
import pytest
import seakernel_datafusion
from child_processes import PRELUDE, interrupted
from plans import plan, sent, table

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Connection

ENDLESS = "SELECT sum(sqrt(a.id + b.id)) AS s FROM range(10000000) a CROSS JOIN range(10000000) b"
TYPES = """SELECT id, CAST(id AS DECIMAL(38,9)) AS price, CAST('NaN' AS DOUBLE) AS x, NULL AS nothing, map('a', id) AS pairs,
  array(array(named_struct('t', TIMESTAMP'2024-02-29 12:00:00Z', 'n', NULL))) AS nested, INTERVAL '1-3' YEAR TO MONTH AS months,
  INTERVAL '3 04:05:06.789' DAY TO SECOND AS days, parse_json('{"a": 1}') AS document, X'00FF' AS bytes, '' AS empty
FROM range(2500)"""


def context_of(partitions: int = 4, **tables: Any) -> datafusion.SessionContext:
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(partitions))
    for name, provider in tables.items():
        context.register_table(name, provider)
    return context


def operations(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request for request in warehouse.requests() if request["operation"] == operation]


@pytest.fixture
def files(chunked: LocalWarehouse) -> Any:
    """A connection to a warehouse that sends files of 1000 rows."""
    with chunked.connect() as connection:
        yield connection


def test_every_type_arrives_as_in_a_cursor(files: Connection) -> None:
    context = context_of(1, q=files.query(TYPES))
    answer = table(context, "SELECT * FROM q")
    with files.cursor() as cursor:
        expected = cursor.execute(TYPES).arrow()
    assert [(field.name, field.type) for field in answer.schema] == [
        (field.name, field.type) for field in expected.schema
    ]
    assert answer.sort_by("id").drop("x").equals(expected.drop("x").cast(answer.drop("x").schema))


def test_each_row_is_in_one_partition(files: Connection) -> None:
    context = context_of(4, q=files.query("SELECT id FROM range(20000)"))
    partitions = context.sql("SELECT id FROM q").collect_partitioned()
    assert len(partitions) == 4
    ids = [value for batches in partitions for batch in batches for value in batch["id"].to_pylist()]
    assert sorted(ids) == list(range(20000))


def test_partitions_that_are_read_one_after_the_other_lose_no_row(files: Connection) -> None:
    context = context_of(4, q=files.query("SELECT id FROM range(20000)"))
    streams = context.sql("SELECT id FROM q").execute_stream_partitioned()
    ids = [value for stream in streams for batch in stream for value in batch.to_pyarrow()["id"].to_pylist()]
    assert sorted(ids) == list(range(20000))


def test_a_table_joins_a_file(files: Connection, tmp_path: Path) -> None:
    local = pa.table({"id": list(range(0, 20000, 1000)), "name": [f"n{number}" for number in range(20)]})
    pyarrow.parquet.write_table(local, tmp_path / "names.parquet")
    context = context_of(q=files.query("SELECT id, id * id AS square FROM range(20000)"))
    context.register_parquet("names", str(tmp_path / "names.parquet"))
    joined = table(
        context, "SELECT name, square FROM q JOIN names ON q.id = names.id WHERE q.id > 17000 ORDER BY square"
    )
    assert joined.to_pydict() == {"name": ["n18", "n19"], "square": [18000**2, 19000**2]}


def test_a_table_joins_itself(files: Connection) -> None:
    context = context_of(q=files.query("SELECT id FROM range(5000)"))
    assert table(context, "SELECT count(*) AS n FROM q a JOIN q b ON a.id = b.id + 1").to_pydict() == {"n": [4999]}


def test_the_parameters_of_a_query_stay_out_of_the_plan(files: Connection) -> None:
    for operation, parameters in (
        ("SELECT id FROM range(:n) WHERE id > :secret", {"n": 100, "secret": 97}),
        ("SELECT id FROM range(?) WHERE id > ? -- why", [100, 97]),
        ("SELECT id FROM range(%s) WHERE id > %s;", [100, 97]),
    ):
        context = context_of(q=files.query(operation, parameters))
        assert sorted(table(context, "SELECT * FROM q WHERE id <> 5")["id"].to_pylist()) == [98, 99]
        assert "97" not in plan(context, "SELECT * FROM q WHERE id <> 5")


def test_explain_sends_nothing_and_a_plan_one_statement() -> None:
    with LocalWarehouse() as warehouse, warehouse.connect() as connection:
        context = context_of(q=connection.query("SELECT id FROM range(10)"))
        assert len(operations(warehouse, "execute")) == 1
        assert (
            sent(context, "SELECT id FROM q WHERE id > 3")
            == "SELECT `id` FROM (SELECT id FROM range(10)) WHERE (`id` > 3)"
        )
        assert len(operations(warehouse, "execute")) == 1
        assert table(context, "SELECT id FROM q WHERE id > 3").num_rows == 6
        assert len(operations(warehouse, "execute")) == 2


def test_the_rows_of_a_read_are_an_estimate_for_the_next_plan(files: Connection) -> None:
    with files.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE main.default.grows AS SELECT id FROM range(1500)")
        context = context_of(grows=files.table("main.default.grows"))
        count = "SELECT count(*) AS n FROM grows"
        assert table(context, count).to_pydict() == {"n": [1500]}
        assert table(context, "SELECT id FROM grows").num_rows == 1500
        cursor.execute("INSERT INTO main.default.grows SELECT id FROM range(10)")
    assert "WarehouseScan" in plan(context, count)  # an exact number would have answered the count
    assert table(context, count).to_pydict() == {"n": [1510]}
    context.sql("SET datafusion.explain.show_statistics = true").collect()
    assert "Rows=Inexact(1510)" in plan(context, "SELECT id FROM grows")
    assert "Rows=Inexact(7)" in plan(context, "SELECT id FROM grows LIMIT 7")


def test_names_are_looked_up_when_a_query_has_them() -> None:
    with LocalWarehouse() as warehouse, warehouse.connect() as connection:
        context = datafusion.SessionContext()
        context.register_catalog_provider("samples", connection.catalog("samples"))
        context.register_catalog_provider("dbx", connection.catalog())
        assert operations(warehouse, "execute") == []
        query = "SELECT n_name FROM samples.tpch.nation WHERE n_nationkey = 7"
        assert sent(context, query) == "SELECT `n_name` FROM `samples`.`tpch`.`nation` WHERE (`n_nationkey` = 7)"
        assert len(operations(warehouse, "execute")) == 1
        assert table(context, query).to_pydict() == {"n_name": ["GERMANY"]}
        assert table(context, query.replace("samples.tpch", 'dbx."samples.tpch"')).to_pydict() == {
            "n_name": ["GERMANY"]
        }
        assert context.catalog("samples").schema_names() == {"information_schema", "nycflights13", "tpch"}
        assert "samples.tpch" in context.catalog("dbx").schema_names()
        assert {"lineitem", "nation"} < context.catalog("samples").schema("tpch").names()
        assert "table 'samples.tpch.nonesuch' not found" in failure(context, "SELECT * FROM samples.tpch.nonesuch")
        assert "table 'samples.none.such' not found" in failure(context, "SELECT * FROM samples.none.such")
        assert "table 'dbx.samples.nation' not found" in failure(context, "SELECT * FROM dbx.samples.nation")
        connection.close()
        assert "InterfaceError: the session is closed" in failure(context, query)


def failure(context: datafusion.SessionContext, query: str) -> str:
    with pytest.raises(Exception, match=r"DataFusion|planning|FFI") as raised:
        context.sql(query).collect()
    return str(raised.value)


def test_a_table_that_does_not_exist_is_refused_at_once(files: Connection) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="TABLE_OR_VIEW_NOT_FOUND"):
        files.table("main.default.nonesuch")
    with pytest.raises(seakernel.ProgrammingError, match="is no name of a table"):
        files.table("main.default.nation.id")
    with pytest.raises(ValueError, match="two columns are named `ID`"):
        files.query("SELECT 1 AS id, 2 AS ID")


def test_a_table_outlives_its_connection_as_an_error(chunked: LocalWarehouse) -> None:
    connection = chunked.connect()
    context = context_of(q=connection.query("SELECT id FROM range(10000)"))
    stream = context.sql("SELECT id FROM q").execute_stream()
    next(stream)
    connection.close()
    assert "InterfaceError: the session is closed" in failure(context, "SELECT * FROM q")
    del connection
    assert "InterfaceError: the session is closed" in failure(context, "SELECT * FROM q")


def test_a_statement_that_fails_says_why(files: Connection) -> None:
    context = context_of(
        q=files.query("SELECT CASE WHEN id = 9 THEN raise_error('why') ELSE id END AS x FROM range(10)")
    )
    assert "USER_RAISED_EXCEPTION" in failure(context, "SELECT * FROM q")


@pytest.mark.parametrize("query", ["SELECT id FROM q", "SELECT sum(id) FROM q", "SELECT id FROM q ORDER BY id LIMIT 5"])
def test_a_result_that_breaks_off_is_an_error_and_no_shorter_answer(query: str) -> None:
    gone = {"on": "download", "chunk_index": 7, "times": "always", "do": {"status": {"code": 404}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse, warehouse.connect() as connection:
        context = context_of(q=connection.query("SELECT id FROM range(20000)"))
        warehouse.faults([gone])
        assert "chunk 7" in failure(context, query)
        warehouse.faults()
        assert table(context, query).num_rows > 0


def test_every_partition_of_a_broken_result_fails() -> None:
    gone = {"on": "download", "chunk_index": 7, "times": "always", "do": {"status": {"code": 404}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse, warehouse.connect() as connection:
        context = context_of(4, q=connection.query("SELECT id FROM range(20000)"))
        warehouse.faults([gone])
        for stream in context.sql("SELECT id FROM q").execute_stream_partitioned():
            with pytest.raises(Exception, match="chunk 7"):
                list(stream)


def test_columns_that_changed_are_an_error(files: Connection) -> None:
    with files.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE main.default.turns AS SELECT 1 AS id")
        context = context_of(turns=files.table("main.default.turns"))
        cursor.execute("CREATE OR REPLACE TABLE main.default.turns AS SELECT 'one' AS id")
    assert "no more what they were" in failure(context, "SELECT * FROM turns")


def test_a_stream_that_is_dropped_ends_the_statement(eventually: Callable[..., Any]) -> None:
    late = {"on": "download", "chunk_index": 9, "times": "always", "do": {"delay": {"ms": 60_000}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse, warehouse.connect() as connection:
        context = context_of(4, q=connection.query("SELECT id FROM range(20000)"))
        closed = len(operations(warehouse, "close_statement"))
        warehouse.faults([late])
        stream = context.sql("SELECT id FROM q").execute_stream()
        next(stream)
        del stream
        assert eventually(lambda: len(operations(warehouse, "close_statement")) == closed + 1)


def test_an_interrupt_cancels_on_the_server(warehouse: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    script = f"""
import datafusion
connection = seakernel.connect(host, path, token)
context = datafusion.SessionContext()
context.register_table("endless", connection.query({ENDLESS!r}))
ready()
try:
    context.sql("SELECT * FROM endless").collect()
except KeyboardInterrupt:
    report("interrupted")
# The id is known when the server answers the submission, which it may hold for 10 s.
time.sleep(12)
"""
    before = len(operations(warehouse, "cancel"))
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < 5  # DataFusion looks for signals once a second
    assert eventually(lambda: len(operations(warehouse, "cancel")) == before + 1)


@pytest.mark.parametrize("query", [ENDLESS, "SELECT id FROM range(100000000)"], ids=["executing", "fetching"])
def test_the_interpreter_exits_while_a_thread_scans(warehouse: LocalWarehouse, query: str) -> None:
    script = f"""
import threading, datafusion
connection = seakernel.connect(host, path, token)
context = datafusion.SessionContext()
context.register_table("q", connection.query({query!r}))
def scan():
    stream = context.sql("SELECT * FROM q").execute_stream()
    for batch in stream:
        begun.set()
begun = threading.Event()
threading.Thread(target=scan, daemon=True).start()
begun.wait(1)
"""
    place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *place], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    # The thread may still hear that its session was closed.
    assert "panicked" not in done.stderr
    assert "Fatal" not in done.stderr


def test_a_forked_child_gets_an_error(chunked: LocalWarehouse) -> None:
    script = """
import os, datafusion
connection = seakernel.connect(host, path, token)
provider = connection.query("SELECT id FROM range(10000)")
child = os.fork()
if child == 0:
    context = datafusion.SessionContext()  # one of the parent would have lost its threads
    context.register_table("q", provider)
    try:
        context.sql("SELECT * FROM q").collect()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], len(connection.cursor().execute("SELECT 1").fetchall()))
"""
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *place], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "InterfaceError: opened in the parent process" in done.stdout
    assert done.stdout.endswith("\n0 1\n")


def test_a_plan_is_executed_once_where_partitions_share_its_statement(files: Connection) -> None:
    context = context_of(2, q=files.query("SELECT id FROM range(20000)"))
    executed = context.sql("SELECT id FROM q").execution_plan()
    assert executed.partition_count == 2
    broken_off = context.execute(executed, 0)
    begun = next(iter(broken_off)).to_pyarrow().num_rows
    del broken_off
    rest = sum(batch.to_pyarrow().num_rows for batch in context.execute(executed, 1))
    assert begun + rest <= 20000
    for partition in (0, 1, 0):
        with pytest.raises(
            Exception, match=f"partition {partition} of this plan was executed before.*plan the query again"
        ):
            list(context.execute(executed, partition))


def test_a_frame_and_a_plan_of_one_partition_run_again(files: Connection) -> None:
    for partitions in (1, 2):
        context = context_of(partitions, q=files.query("SELECT id FROM range(20000)"))
        frame = context.sql("SELECT id FROM q")
        for _ in range(2):
            assert sorted(frame.to_arrow_table()["id"].to_pylist()) == list(range(20000))
    context = context_of(1, q=files.query("SELECT id FROM range(20000)"))
    executed = context.sql("SELECT id FROM q").execution_plan()
    next(iter(context.execute(executed, 0)))
    assert sum(batch.to_pyarrow().num_rows for batch in context.execute(executed, 0)) == 20000


def test_threads_share_a_context(files: Connection) -> None:
    context = context_of(2, q=files.query("SELECT id FROM range(20000)"))
    sums: list[int] = []

    def run() -> None:
        sums.append(table(context, "SELECT sum(id) AS s FROM q")["s"][0].as_py())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(20000))] * 8


def test_a_table_keeps_its_session_open() -> None:
    with LocalWarehouse() as warehouse:
        context = context_of(q=warehouse.connect().query("SELECT id FROM range(10)"))
        assert table(context, "SELECT * FROM q").num_rows == 10


def test_a_session_without_tables_is_closed(eventually: Callable[..., Any]) -> None:
    with LocalWarehouse() as warehouse:
        context = context_of(q=warehouse.connect().query("SELECT id FROM range(10)"))
        assert table(context, "SELECT * FROM q").num_rows == 10
        assert operations(warehouse, "close_session") == []
        del context
        assert eventually(lambda: len(operations(warehouse, "close_session")) == 1)


@pytest.mark.parametrize("name", seakernel_datafusion.__all__)
def test_the_examples_of_the_stub_run(connection: Connection, name: str) -> None:
    stub = (Path(seakernel_datafusion.__file__).parent / "_seakernel_datafusion.pyi").read_text()
    (text,) = (
        ast.get_docstring(node) for node in ast.parse(stub).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    examples = doctest.DocTestParser().get_doctest(text or "", {"connection": connection}, name, None, None)
    assert len(examples.examples) > 3
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_without_the_second_wheel_the_message_says_what_to_install() -> None:
    script = textwrap.dedent("""
        import sys
        sys.modules["seakernel_datafusion"] = None
        import seakernel
        try:
            seakernel.connect("local").table("samples.tpch.nation")
        except ModuleNotFoundError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "`table()` needs `seakernel-datafusion`: `pip install 'seakernel[datafusion]'`\n"


def test_another_datafusion_is_refused(tmp_path: Path) -> None:
    described = tmp_path / "datafusion-54.0.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: datafusion\nVersion: 54.0.0\n")
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import datafusion, seakernel
        table = seakernel.connect("local").table("samples.tpch.nation")
        try:
            datafusion.SessionContext().register_table("nation", table)
        except ImportError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("datafusion 54.0.0 is installed, and seakernel-datafusion is built for 55")
