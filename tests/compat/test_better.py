"""Where the stand-in does better than databricks-sql-kernel 1.3.0: one test for each promise."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original
import pyarrow as pa
import pytest
from child_processes import PROMPT_S, in_child, interrupted

from seakernel.compat import databricks_sql_kernel as ours
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


@pytest.fixture
def chunked() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0) as warehouse:
        yield warehouse


def open_session(warehouse: LocalWarehouse, module: Any = ours, **options: Any) -> Any:
    given = {"access_token": warehouse.access_token, "retry_max_attempts": 2, "retry_min_wait_secs": 0, **options}
    return module.Session(warehouse.server_hostname, warehouse.http_path, **given)


def statement(session: Any, sql: str) -> Any:
    made = session.statement()
    made.set_sql(sql)
    return made


def operations(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    return [request for request in warehouse.requests() if request["operation"] == operation]


# Complete or an error --------------------------------------------------------------------------------------------------


def rows_of(module: Any, warehouse: LocalWarehouse) -> int:
    return int(
        statement(open_session(warehouse, module), "SELECT id FROM range(5000)").execute().fetch_all_arrow().num_rows
    )


@pytest.mark.parametrize(
    "fault", [{"missing_rows": {"rows": 10}}, {"wrong_chunk": {"index": 4}}], ids=["short", "other"]
)
def test_a_chunk_that_is_short_or_of_another_place_is_data_loss(chunked: LocalWarehouse, fault: dict[str, Any]) -> None:
    # The last chunk is the shorter one, so that its rows are too few for the place of another.
    rows = 4500 if "wrong_chunk" in fault else 5000
    chunked.faults([{"on": "download", "chunk_index": 2, "times": "always", "do": fault}])
    with pytest.raises(ours.KernelError) as raised:
        statement(open_session(chunked), f"SELECT id FROM range({rows})").execute().fetch_all_arrow()
    assert (raised.value.code, raised.value.retryable) == ("DataLoss", False)
    assert raised.value.query_id
    assert "chunk 2" in raised.value.diagnostic_info


def test_the_original_returns_too_few_rows_without_a_word(chunked: LocalWarehouse) -> None:
    chunked.faults([{"on": "download", "chunk_index": 2, "times": "always", "do": {"missing_rows": {"rows": 10}}}])
    assert rows_of(original, chunked) == 4990


def test_a_total_that_does_not_add_up_is_data_loss(chunked: LocalWarehouse) -> None:
    chunked.switches(total_row_count="too_large")
    with pytest.raises(ours.KernelError) as raised:
        rows_of(ours, chunked)
    assert raised.value.code == "DataLoss"
    assert rows_of(original, chunked) == 5000


JSON_ANSWER = json.dumps(
    {
        "statement_id": "01ef-json",
        "status": {"state": "SUCCEEDED"},
        "manifest": {
            "format": "JSON_ARRAY",
            "schema": {
                "column_count": 2,
                "columns": [
                    {"name": "id", "type_text": "BIGINT", "type_name": "LONG", "position": 0},
                    {"name": "word", "type_text": "STRING", "type_name": "STRING", "position": 1},
                ],
            },
            "total_row_count": 2,
            "truncated": False,
        },
        "result": {"chunk_index": 0, "row_offset": 0, "row_count": 2, "data_array": [["1", "a"], ["2", "b"]]},
    }
)


@pytest.mark.parametrize(("module", "rows"), [(ours, [(1, "a"), (2, "b")]), (original, [])], ids=["ours", "original"])
def test_json_rows_are_read(chunked: LocalWarehouse, module: Any, rows: list[Any]) -> None:
    session = open_session(chunked, module)
    chunked.faults([{"on": "execute", "do": {"status": {"code": 200, "body": JSON_ANSWER}}}])
    table = statement(session, "SELECT 1").execute().fetch_all_arrow()
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


@pytest.mark.parametrize("shape", ["no_chunk", "schema_only"])
@pytest.mark.parametrize("inline_bytes", [0, 1 << 20])
def test_an_empty_result_has_the_types_of_a_full_one(shape: str, inline_bytes: int) -> None:
    sql = "SELECT id, CAST(id AS DECIMAL(10,2)) AS d, TIMESTAMP'2024-01-01 00:00:00' AS t, array(id) AS a FROM range(3)"
    with LocalWarehouse(inline_bytes=inline_bytes, switches={"empty_result": shape}) as warehouse:
        session = open_session(warehouse)
        full, empty = statement(session, sql).execute(), statement(session, f"{sql} WHERE id < 0").execute()
        assert empty.arrow_schema() == full.arrow_schema()
        assert empty.fetch_next_batch() is None
        assert pa.Table.from_batches([full.fetch_next_batch()], schema=full.arrow_schema()).num_rows == 3


def test_results_arrive_without_a_store_where_the_session_says_so(chunked: LocalWarehouse) -> None:
    session = open_session(chunked, session_conf={"cloudfetch_enabled": "false"})
    assert statement(session, "SELECT id FROM range(5000)").execute().fetch_all_arrow().num_rows == 5000
    assert not operations(chunked, "download")


# Ctrl-C ----------------------------------------------------------------------------------------------------------------

SETUP = """
import pyarrow
from seakernel.compat import databricks_sql_kernel as kernel
def statement(sql):
    session = kernel.Session(host, path, access_token=token)
    made = session.statement()
    made.set_sql(sql)
    return made
"""


def test_ctrl_c_ends_opening() -> None:
    with LocalWarehouse(faults=[{"on": "open_session", "do": {"delay": {"ms": 10_000}}}]) as warehouse:
        script = """
ready()
try:
    kernel.Session(host, path, access_token=token)
except KeyboardInterrupt:
    report("interrupted")
"""
        seconds, values = interrupted(warehouse, SETUP + script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S


def test_ctrl_c_ends_execute_and_the_statement(eventually: Callable[..., Any]) -> None:
    with LocalWarehouse(switches={"running_answers": 100_000}) as warehouse:
        script = f"""
made = statement({NEVER_ENDING!r})
ready()
try:
    made.execute()
except KeyboardInterrupt:
    report("interrupted", made.canceller().statement_id() is not None)
time.sleep(1)
"""
        seconds, values = interrupted(warehouse, SETUP + script)
        assert values == ["interrupted", "True"]
        assert seconds < PROMPT_S
        assert eventually(lambda: operations(warehouse, "cancel"))


def test_ctrl_c_ends_await_result_and_not_the_statement() -> None:
    with LocalWarehouse(switches={"running_answers": 8}) as warehouse:
        script = """
handle = (made := statement("SELECT id FROM range(5)")).submit()
ready()
try:
    handle.await_result()
except KeyboardInterrupt:
    report("interrupted", handle.status()[0])
print(handle.await_result().fetch_all_arrow().num_rows)
"""
        seconds, values = interrupted(warehouse, SETUP + script)
        assert values == ["interrupted", "Running", "5"]
        assert seconds < PROMPT_S
        assert not operations(warehouse, "cancel")


@pytest.mark.parametrize("source", ["execute()", "submit().await_result()"])
@pytest.mark.parametrize("fetch", ["fetch_next_batch", "fetch_all_arrow"])
def test_ctrl_c_ends_a_fetch_and_loses_no_batch(source: str, fetch: str) -> None:
    late = [
        {"on": "download", "chunk_index": index, "times": "always", "do": {"delay": {"ms": 2000}}} for index in (3, 4)
    ]
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=late) as warehouse:
        script = f"""
made = statement("SELECT id FROM range(5000)")
result = made.{source}
seen = []
ready()
try:
    while (got := result.{fetch}()) is not None and got.num_rows:
        seen += got.column("id").to_pylist()
except KeyboardInterrupt:
    report("interrupted")
while (batch := result.fetch_next_batch()) is not None:
    seen += batch.column("id").to_pylist()
print(seen == list(range(5000)))
"""
        seconds, values = interrupted(warehouse, SETUP + script)
    assert values == ["interrupted", "True"]
    assert seconds < PROMPT_S


def test_a_signal_beside_the_arrival_of_a_batch_loses_nothing() -> None:
    with LocalWarehouse(chunk_rows=100, inline_bytes=0, switches={"store_first_byte_ms": 30}) as warehouse:
        script = """
import random, threading, os
session = kernel.Session(host, path, access_token=token, session_conf={"cloudfetch_max_chunks_in_memory": "1"})
made = session.statement()
made.set_sql("SELECT id FROM range(2000)")
result = made.execute()
seen, interruptions = [], 0
stop = threading.Event()
def disturb():
    while not stop.is_set():
        time.sleep(random.random() / 40)
        os.kill(os.getpid(), signal.SIGINT)
class Pressed(BaseException):  # as KeyboardInterrupt: any other that a log handler comes up with is the handler's failure
    pass
def pressed(*_):
    global interruptions
    if fetching:
        interruptions += 1
        raise Pressed
fetching = False
signal.signal(signal.SIGINT, pressed)
print("ready", flush=True)
threading.Thread(target=disturb, daemon=True).start()
batch = None
while True:
    batch = None
    try:
        fetching = True
        batch = result.fetch_next_batch()
        fetching = False
    except Pressed:
        fetching = False
        if batch is None:
            continue
    if batch is None:
        break
    seen.append(batch.column("id")[0].as_py())
stop.set()
signal.signal(signal.SIGINT, signal.SIG_IGN)
report(interruptions > 5, seen == list(range(0, 2000, 100)))
"""
        _, values = interrupted(warehouse, SETUP + script)
    assert values == ["True", "True"]


def test_a_cancel_before_the_statement_has_a_name_is_honoured(warehouse: LocalWarehouse) -> None:
    with LocalWarehouse(switches={"running_answers": 100_000}) as slow:
        slow.faults([{"on": "execute", "do": {"delay": {"ms": 800}}}])
        made = statement(open_session(slow), NEVER_ENDING)
        canceller = made.canceller()
        timer = threading.Timer(0.3, canceller.cancel)
        timer.start()
        with pytest.raises(ours.KernelError) as raised:
            made.execute()
        timer.join()
    assert raised.value.code == "Cancelled"
    assert raised.value.query_id == canceller.statement_id()


# Who gets to see what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "leaks"), [(ours, False), (original, True)], ids=["ours", "original"])
def test_own_headers_and_user_agent_stay_away_from_the_store(chunked: LocalWarehouse, module: Any, leaks: bool) -> None:
    session = open_session(chunked, module, http_headers=[("X-Secret", "canary"), ("User-Agent", "mine/1")])
    assert statement(session, "SELECT id FROM range(5000)").execute().fetch_all_arrow().num_rows == 5000
    downloads = operations(chunked, "download")
    assert downloads
    for request in downloads:
        assert ("x-secret" in request["headers"]) == leaks
        assert (request["user_agent"] == "mine/1") == leaks
        assert not request["authorization"]
    api = [request for request in chunked.requests() if request["origin"] == "api"]
    assert all("x-secret" in request["headers"] and request["user_agent"] == "mine/1" for request in api)


def test_redirects_are_not_followed_and_the_error_names_the_host(warehouse: LocalWarehouse) -> None:
    session = open_session(warehouse)
    with LocalWarehouse() as other:
        location = f"{other.server_hostname}/login"
        warehouse.faults([{"on": "execute", "do": {"redirect": {"status": 307, "location": location}}}])
        try:
            with pytest.raises(ours.KernelError) as raised:
                statement(session, "SELECT 1").execute()
        finally:
            warehouse.faults()
        assert not other.requests()
    assert location.split("/")[2] in str(raised.value)
    assert (raised.value.code, raised.value.http_status) == ("DataLoss", 307)


def test_the_text_of_an_error_names_the_cause() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ours.KernelError, match="Connection refused") as raised:
        ours.Session(host, "/sql/1.0/warehouses/a", access_token="token-canary", retry_max_attempts=1)
    assert (raised.value.code, raised.value.retryable) == ("NetworkError", True)
    assert "canary" not in str(raised.value)


def test_a_timeout_is_one(warehouse: LocalWarehouse) -> None:
    session = open_session(warehouse, request_timeout_secs=0.3)
    warehouse.faults([{"on": "execute", "do": {"delay": {"ms": 3000}}}])
    before = len(operations(warehouse, "execute"))
    try:
        with pytest.raises(ours.KernelError) as raised:
            statement(session, "SELECT 1").execute()
    finally:
        warehouse.faults()
    assert (raised.value.code, raised.value.retryable) == ("Timeout", False)
    assert len(operations(warehouse, "execute")) == before + 1, "a statement that may have run is not sent again"


def test_plain_http_to_another_machine_is_refused() -> None:
    with pytest.raises(ours.KernelError, match="unencrypted") as raised:
        ours.Session("http://dbc-1.cloud.databricks.com", "/sql/1.0/warehouses/a", access_token="t")
    assert (raised.value.code, raised.value.retryable) == ("InvalidArgument", False)


def test_no_sql_text_and_no_parameter_is_logged(warehouse: LocalWarehouse, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ours.reset_logging()
        made = statement(open_session(warehouse), "SELECT 'sql-canary', :p")
        made.bind_named_param("p", "parameter-canary", "STRING")
        made.execute().fetch_all_arrow()
    assert caplog.records
    assert "canary" not in caplog.text


# Threads and forks -----------------------------------------------------------------------------------------------------


def test_a_statement_in_use_makes_others_wait(warehouse: LocalWarehouse) -> None:
    session = open_session(warehouse)
    made = statement(session, "SELECT 1 AS one")
    warehouse.faults([{"on": "execute", "do": {"delay": {"ms": 700}}}])
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(made.execute().fetch_all_arrow().to_pylist()))
    thread.start()
    time.sleep(0.2)
    started = time.monotonic()
    made.set_sql("SELECT 2 AS two")
    assert time.monotonic() - started > 0.2
    thread.join()
    warehouse.faults()
    assert results == [[{"one": 1}]]
    assert made.execute().fetch_all_arrow().to_pylist() == [{"two": 2}]


def test_threads_that_fetch_from_one_result_get_each_row_once(chunked: LocalWarehouse) -> None:
    result = statement(open_session(chunked), "SELECT id FROM range(50000)").execute()
    seen: list[int] = []

    def fetch() -> None:
        while (batch := result.fetch_next_batch()) is not None:
            seen.extend(batch.column("id").to_pylist())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(50000))


def test_a_fetch_in_another_thread_ends_when_the_result_is_closed(chunked: LocalWarehouse) -> None:
    chunked.faults([{"on": "download", "chunk_index": 3, "times": "always", "do": {"delay": {"ms": 5000}}}])
    result = statement(open_session(chunked), "SELECT id FROM range(5000)").execute()
    codes: list[str] = []

    def fetch() -> None:
        try:
            result.fetch_all_arrow()
        except ours.KernelError as error:
            codes.append(error.code)

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(0.3)
    result.close()
    thread.join(timeout=2)
    assert codes == ["InvalidStatementHandle"]


def test_one_submitted_statement_is_polled_and_read_from_many_threads(chunked: LocalWarehouse) -> None:
    made = statement(open_session(chunked), "SELECT id FROM range(5000)")
    owner = made.submit()
    counts: list[int] = []

    def read(handle: Any) -> None:
        while handle.status()[0] in ("Pending", "Running"):
            time.sleep(0.01)
        counts.append(handle.await_result().fetch_all_arrow().num_rows)

    threads = [
        threading.Thread(target=read, args=(handle,)) for handle in (owner, owner, owner.reader(), owner.reader())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5000] * 4


def test_readers_are_read_only_and_leave_the_statement_alone(
    chunked: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    made = statement(open_session(chunked), "SELECT id FROM range(5000)")
    owner = made.submit()
    reader = owner.reader()
    assert (reader.statement_id, reader.await_result().fetch_all_arrow().num_rows) == (owner.statement_id, 5000)
    with pytest.raises(ours.KernelError) as raised:
        reader.cancel()
    assert raised.value.code == "InvalidArgument"
    reader.close()
    reader.close()
    del reader
    gc.collect()
    time.sleep(0.2)
    assert not operations(chunked, "close_statement")
    assert owner.fetch_result().fetch_all_arrow().num_rows == 5000
    owner.close()
    assert eventually(lambda: len(operations(chunked, "close_statement")) == 1)


def test_a_result_is_closed_on_the_server_when_it_is_read_or_dropped(
    chunked: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    session = open_session(chunked)
    drained = statement(session, "SELECT id FROM range(5000)").execute()
    drained.fetch_all_arrow()
    assert eventually(lambda: len(operations(chunked, "close_statement")) == 1)
    dropped = statement(session, "SELECT id FROM range(5000)").execute()
    del dropped
    gc.collect()
    assert eventually(lambda: len(operations(chunked, "close_statement")) == 2)
    del session, drained
    gc.collect()
    assert eventually(lambda: operations(chunked, "close_session"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_a_clear_error_and_can_open_its_own(chunked: LocalWarehouse) -> None:
    session = open_session(chunked)
    busy = statement(session, NEVER_ENDING)
    thread = threading.Thread(target=run, args=(busy,))
    thread.start()
    made = statement(session, "SELECT id FROM range(5000)")
    handle, result = made.submit(), statement(session, "SELECT id FROM range(5000)").execute()
    time.sleep(0.2)

    def check() -> None:
        for call in (
            session.statement().execute,
            lambda: session.attach_async_statement("01ef-x"),
            lambda: busy.set_sql("SELECT 1"),
            made.execute,
            handle.status,
            handle.await_result,
            handle.reader,
            result.fetch_next_batch,
            result.fetch_all_arrow,
        ):
            with pytest.raises(ours.KernelError) as raised:
                call()
            assert raised.value.code in ("InvalidStatementHandle", "InvalidArgument")
        for close in (result.close, handle.close, made.close, busy.close, session.close):
            close()
        assert rows_of(ours, chunked) == 5000

    in_child(check)
    assert result.fetch_all_arrow().num_rows == 5000
    busy.canceller().cancel()
    thread.join(timeout=20)
    assert not thread.is_alive()


def run(made: Any) -> None:
    with contextlib.suppress(ours.KernelError):
        made.execute()
