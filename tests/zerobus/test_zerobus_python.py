"""The client in Python: options, awaitables, threads, forks, signals and what becomes of secrets."""

from __future__ import annotations

import asyncio
import builtins
import gc
import inspect
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from child_processes import in_child

import seakernel
from seakernel import zerobus
from seakernel.local import LocalWarehouse
from seakernel.zerobus import ConfigurationError, WrapperConfiguration, ZerobusWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


extension = pytest.importorskip("seakernel_zerobus._seakernel_zerobus")

# As the checklist has it: what only a machine of its own can hold, and what takes long.
FULL = bool(os.environ.get("SEAKERNEL_ZEROBUS_FULL"))
TABLE = "main.default.events"
SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])
SECRET = "canary-of-zerobus"
FIXED_TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64(), pa.decimal128(38, 2), pa.decimal256(76, 2)),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp("us", "UTC"), pa.binary(7)),
]
SIGN_IN: dict[str, Any] = {"client_id": "id", "client_secret": SECRET, "unity_catalog_url": "https://workspace/"}

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def batch(*ids: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(ids, pa.int64()), pa.array([f"row {i}" for i in ids])], schema=SCHEMA)


@pytest.fixture
def ingesting() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(zerobus=True) as warehouse, warehouse.connect() as connection:
        connection.cursor().execute(f"CREATE TABLE {TABLE} (id BIGINT NOT NULL, text STRING)")
        yield warehouse


def options(warehouse: LocalWarehouse, **more: Any) -> dict[str, Any]:
    service = warehouse.zerobus
    sign_in = {"client_id": service.client_id, "client_secret": service.client_secret}
    place = {"endpoint": service.endpoint, "table_name": TABLE, "unity_catalog_url": service.unity_catalog_url}
    return {**place, **sign_in, "retry_base_delay_ms": 1, "retry_max_delay_ms": 2, **more}


def stored(warehouse: LocalWarehouse) -> list[int]:
    with warehouse.connect() as connection:
        return [row[0] for row in connection.cursor().execute(f"SELECT id FROM {TABLE} ORDER BY id").fetchall()]


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, Any]:
    """Options of a wrapper that sends nothing."""
    place = {"endpoint": "https://nowhere.invalid", "table_name": "orders", "debug_output_dir": tmp_path}
    return {**place, "debug_enabled": True, "zerobus_writer_disabled": True}


# Options ---------------------------------------------------------------------------------------------------------


def test_f01_defaults() -> None:
    config = WrapperConfiguration(" https://host ", "a.b.c", **SIGN_IN)
    config.validate()
    expected = {
        "endpoint": "https://host",
        "table_name": "a.b.c",
        "client_id": "id",
        "unity_catalog_url": "https://workspace",
        "observability_enabled": False,
        "observability_config": None,
        "debug_enabled": False,
        "debug_arrow_enabled": False,
        "debug_protobuf_enabled": False,
        "debug_output_dir": None,
        "debug_flush_interval_secs": 5,
        "debug_max_file_size": None,
        "debug_max_files_retained": 10,
        "debug_rotation_rows": 1000,
        "debug_protobuf_framing": "length-delimited",
        "retry_max_attempts": 5,
        "retry_base_delay_ms": 100,
        "retry_max_delay_ms": 30_000,
        "zerobus_writer_disabled": False,
        "ingest_mode": "proto",
        "max_record_bytes": 4_194_285,
        "max_request_bytes": 10_420_224,
        "max_request_rows": 10_000,
        "max_inflight_requests": 64,
        "max_inflight_bytes": 64 << 20,
        "ack_timeout_ms": 60_000,
        "flush_timeout_ms": 300_000,
        "connect_timeout_ms": 15_000,
        "token_refresh_buffer_secs": 300,
        "isolate_bad_rows": True,
        "isolate_max_probes": 32,
        "null_list_element": "error",
        "failure_backoff_enabled": True,
        "failure_backoff_shared": False,
        "workspace_id": None,
        "application_name": None,
        "tls_ca_file": None,
    }
    properties = [name for name, _ in inspect.getmembers(WrapperConfiguration, inspect.isgetsetdescriptor)]
    assert {name: getattr(config, name) for name in properties if not name.startswith("__")} == expected


def test_f01_options_that_are_given(tmp_path: Path) -> None:
    config = WrapperConfiguration(
        "http://host",
        "a.b.c",
        debug_enabled=True,
        debug_protobuf_enabled=True,
        debug_output_dir=tmp_path,
        debug_max_files_retained=None,
        observability_config={"endpoint": "http://collector:4317", "log_level": "warn"},
        ingest_mode="arrow",
        null_list_element="drop",
    )
    assert (config.debug_arrow_enabled, config.debug_protobuf_enabled) == (False, True)
    assert config.debug_output_dir == str(tmp_path)
    assert config.debug_max_files_retained is None
    exporters = {"endpoint": "http://collector:4317", "output_dir": None, "write_interval_secs": 5, "log_level": "warn"}
    assert config.observability_config == exporters
    assert (config.ingest_mode, config.null_list_element) == ("arrow", "drop")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"endpoint": "host"}, "`zerobus_endpoint` is `host`"),
        ({"endpoint": " "}, "`zerobus_endpoint` is ``"),
        ({"table_name": "a.b"}, "`table_name` is `a.b`"),
        ({"table_name": "a.b-.c"}, "`table_name` is `a.b-.c`"),
        ({"client_id": None}, "`client_id` is not set"),
        ({"client_secret": ""}, "`client_secret` is not set"),
        ({"unity_catalog_url": None}, "`unity_catalog_url` is not set"),
        ({"debug_enabled": True}, "`debug_output_dir` is not set"),
        ({"debug_flush_interval_secs": 0}, "`debug_flush_interval_secs` is `0`"),
        ({"retry_max_attempts": 0}, "`retry_max_attempts` is `0`"),
        ({"retry_base_delay_ms": 2, "retry_max_delay_ms": 1}, "`retry_base_delay_ms` is `2`"),
        ({"zerobus_writer_disabled": True}, "`zerobus_writer_disabled` is `true`"),
        ({"observability_config": {"log_level": "loud"}}, "log_level` is `loud`"),
        ({"observability_config": {"endpoint": "collector"}}, "endpoint` is `collector`"),
    ],
)
def test_f01_what_is_not_accepted_is_named(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^Configuration error: ") as refusal:
        WrapperConfiguration(**{"endpoint": "https://host", "table_name": "a.b.c", **SIGN_IN, **given}).validate()
    assert expected in refusal.value.message
    with pytest.raises(ConfigurationError):
        ZerobusWrapper(**{"endpoint": "https://host", "table_name": "a.b.c", **SIGN_IN, **given})


@pytest.mark.parametrize(
    ("given", "raised", "expected"),
    [
        ({"client_secret": f"{SECRET}\udc80"}, ConfigurationError, "`client_secret` is no valid text"),
        ({"retry_max_atempts": 1}, TypeError, "did you mean `retry_max_attempts`"),
        ({"retry_max_attempts": "1"}, TypeError, "`retry_max_attempts` is of type `str`; accepted: int"),
        ({"retry_max_attempts": True}, TypeError, "of type `bool`"),
        ({"debug_enabled": 1}, TypeError, "`debug_enabled` is of type `int`"),
        ({"client_secret": 1}, TypeError, "`client_secret` is of type `int`"),
        ({"retry_max_attempts": -1}, ConfigurationError, "`retry_max_attempts` is `-1`; accepted: a whole number"),
        ({"ingest_mode": "json"}, ConfigurationError, "accepted: proto, arrow"),
        ({"observability_config": {"endpont": ""}}, ConfigurationError, "did you mean `endpoint`"),
        ({"observability_config": {"log_level": 1}}, ConfigurationError, "log_level` is of type `int`"),
        ({"observability_config": ["endpoint"]}, ConfigurationError, "`observability_config` is of type `list`"),
    ],
)
def test_f01_wrong_names_and_types(given: dict[str, Any], raised: type[Exception], expected: str) -> None:
    with pytest.raises(raised) as refusal:
        WrapperConfiguration("https://host", "a.b.c", **given)
    assert expected in str(refusal.value)
    assert SECRET not in repr(refusal.value)


def test_f02_options_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "zerobus.yaml"
    path.write_text(
        f"zerobus_endpoint: https://host\ntable_name: a.b.c\nclient_id: id\nclient_secret: {SECRET}\n"
        "unity_catalog_url: https://workspace\nretry: {max_attempts: 3}\ndebug: {max_files_retained: null}\n"
    )
    config = WrapperConfiguration.from_yaml(path)
    assert (config.retry_max_attempts, config.retry_base_delay_ms, config.debug_max_files_retained) == (3, 100, None)
    for text, expected in [
        ("retry: {max_attempts: three}", "is `three`"),
        ("zerobus_writer_disabled: true", "go nowhere"),
    ]:
        other = tmp_path / "other.yaml"
        other.write_text(path.read_text().replace("retry: {max_attempts: 3}", text))
        with pytest.raises(ConfigurationError, match=expected) as refusal:
            WrapperConfiguration.from_yaml(other)
        assert SECRET not in str(refusal.value)
    with pytest.raises(ConfigurationError, match=r"missing\.yaml"):
        WrapperConfiguration.from_yaml(tmp_path / "missing.yaml")


VARIABLES: dict[str, tuple[str, str, object]] = {
    "OTLP_ENABLED": ("true", "observability_enabled", True),
    "DEBUG_ENABLED": ("true", "debug_enabled", True),
    "DEBUG_ARROW_ENABLED": ("true", "debug_arrow_enabled", True),
    "DEBUG_PROTOBUF_ENABLED": ("true", "debug_protobuf_enabled", True),
    "DEBUG_OUTPUT_DIR": ("out", "debug_output_dir", "out"),
    "DEBUG_FLUSH_INTERVAL_SECS": ("7", "debug_flush_interval_secs", 7),
    "DEBUG_MAX_FILE_SIZE": ("8", "debug_max_file_size", 8),
    "DEBUG_MAX_FILES_RETAINED": ("9", "debug_max_files_retained", 9),
    "RETRY_MAX_ATTEMPTS": ("2", "retry_max_attempts", 2),
    "RETRY_BASE_DELAY_MS": ("3", "retry_base_delay_ms", 3),
    "RETRY_MAX_DELAY_MS": ("4000", "retry_max_delay_ms", 4000),
    "ZEROBUS_WRITER_DISABLED": ("true", "zerobus_writer_disabled", True),
    "ZEROBUS_CLIENT_ID": ("other", "client_id", "other"),
    "UNITY_CATALOG_URL": ("https://other/", "unity_catalog_url", "https://other"),
}


def test_f02_options_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "https://host")
    with pytest.raises(ConfigurationError, match="`ZEROBUS_TABLE_NAME` is not set"):
        WrapperConfiguration.from_env()
    monkeypatch.setenv("ZEROBUS_TABLE_NAME", "a.b.c")
    monkeypatch.setenv("ZEROBUS_CLIENT_SECRET", SECRET)
    exporters = {"OTLP_ENDPOINT": "http://c:1", "OTLP_OUTPUT_DIR": "o", "OTLP_LOG_LEVEL": "error"}
    for name, text in {**exporters, "OTLP_WRITE_INTERVAL_SECS": "6"}.items():
        monkeypatch.setenv(name, text)
    for name, (text, _, _) in VARIABLES.items():
        monkeypatch.setenv(name, text)
    config = WrapperConfiguration.from_env()
    for name, (_, option, expected) in VARIABLES.items():
        assert getattr(config, option) == expected, name
    read = {"endpoint": "http://c:1", "output_dir": "o", "write_interval_secs": 6, "log_level": "error"}
    assert config.observability_config == read
    for name, text in [("RETRY_MAX_ATTEMPTS", "many"), ("DEBUG_ENABLED", "yes"), ("DEBUG_MAX_FILE_SIZE", "-1")]:
        with monkeypatch.context() as changed:
            changed.setenv(name, text)
            with pytest.raises(ConfigurationError, match=f"`{name}` is `{text}`"):
                WrapperConfiguration.from_env()


def test_f03_nothing_shows_the_secret(
    ingesting: LocalWarehouse, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = ingesting.zerobus.client_secret
    more = {"debug_enabled": True, "debug_output_dir": tmp_path}
    exporters = {"observability_enabled": True, "observability_config": {"output_dir": tmp_path}}
    with ZerobusWrapper(**options(ingesting, **more, **exporters)) as wrapper:
        wrapper.send_batch_sync(batch(1))
        shown = [repr(wrapper), repr(wrapper.config), str(wrapper.config.observability_config)]
    with ZerobusWrapper(**options(ingesting, client_id="other")) as wrapper:
        refused = wrapper.send_batch_sync(batch(1))
        assert refused.error_type == "AuthenticationError"
        shown += [repr(refused), str(refused.to_dict())]
    shown += [record.getMessage() for record in caplog.records]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shown) > 8
    assert not [text for text in shown if secret in text]
    assert not hasattr(wrapper.config, "client_secret")


# The wrapper -----------------------------------------------------------------------------------------------------


def test_f04_both_forms_of_the_constructor(ingesting: LocalWarehouse) -> None:
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        assert wrapper.send_batch_sync(batch(1, 2)).successful_rows == [0, 1]
    config = WrapperConfiguration(**options(ingesting))
    for made in (lambda: ZerobusWrapper(config), lambda: ZerobusWrapper(config=config)):
        with made() as wrapper:
            assert wrapper.send_batch_sync(batch(3)).success
    assert stored(ingesting) == [1, 2, 3, 3]
    with pytest.raises(TypeError, match="no others"):
        ZerobusWrapper(config, client_id="other")
    with pytest.raises(TypeError, match="`WrapperConfiguration` is needed"):
        ZerobusWrapper()
    with pytest.raises(TypeError, match="`config` is of type `str`; accepted: WrapperConfiguration"):
        ZerobusWrapper(config="https://host", table_name="a.b.c")
    assert ingesting.zerobus.log()["violations"] == []


def test_f04_with_and_async_with_shut_down(ingesting: LocalWarehouse) -> None:
    async def send() -> ZerobusWrapper:
        async with ZerobusWrapper(**options(ingesting)) as wrapper:
            assert (await wrapper.send_batch(batch(1))).success
            await wrapper.flush()
            return wrapper

    wrapper = asyncio.run(send())
    for used in (lambda: wrapper.send_batch_sync(batch(1)), wrapper.flush_sync):
        with pytest.raises(ConfigurationError, match="shut down"):
            used()
    wrapper.shutdown_sync()
    assert "shut down" in repr(wrapper)


def test_f46_batches_travel_as_arrow(ingesting: LocalWarehouse) -> None:
    refusal = {"on": "ack", "do": {"partial": {"records": 40, "then": "unavailable"}}}
    ingesting.zerobus.faults([refusal])
    with ZerobusWrapper(**options(ingesting, ingest_mode="arrow")) as wrapper:
        result = wrapper.send_batch_sync(batch(*range(100)))
        assert (result.successful_count, result.attempts) == (100, 2)
        table = pa.table({"id": pa.array([200, 201], pa.uint64()), "text": pa.array(["x", None]).dictionary_encode()})
        assert wrapper.send_batch_sync(table).successful_count == 2
    # What was stored and not acknowledged came twice, and it alone.
    assert sorted(stored(ingesting)) == sorted([*range(100), *range(60, 100), 200, 201])
    assert ingesting.zerobus.log()["violations"] == []


def test_f46_nulls_where_none_may_be_fail_their_rows(tmp_path: Path) -> None:
    inner = [pa.field("x", pa.int16(), nullable=False)]
    mask = pa.array([False, True, False])
    structs = pa.StructArray.from_arrays([pa.array([1, None, None], pa.int16())], fields=inner, mask=mask)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("s", structs.type)])
    given = pa.RecordBatch.from_arrays([pa.array([1, 2, 3], pa.int64()), structs], schema=schema)
    unsent = {"zerobus_writer_disabled": True, "debug_output_dir": tmp_path, "ingest_mode": "arrow"}
    with ZerobusWrapper("http://host", TABLE, debug_arrow_enabled=True, **unsent) as wrapper:
        result = wrapper.send_batch_sync(given)
        assert result.successful_rows == [0, 1]
        [(row, text)] = result.failed_rows or []
        assert (row, "field='s.x', row=2, error=null in a required field" in text) == (2, True)
    with pytest.raises(ConfigurationError, match="no Protobuf to keep"):
        ZerobusWrapper("http://host", TABLE, debug_protobuf_enabled=True, **unsent)


def test_f05_the_loop_and_other_threads_run_on(ingesting: LocalWarehouse) -> None:
    ingesting.zerobus.settings(ack_delay_ms=2000)
    gaps: list[float] = []

    def beat(until: threading.Event) -> None:
        last = time.perf_counter()
        while not until.wait(0.002):
            last, before = time.perf_counter(), last
            gaps.append(last - before)

    async def send() -> None:
        ended = threading.Event()

        async def beat_in_loop() -> None:
            last = time.perf_counter()
            while not ended.is_set():
                await asyncio.sleep(0.002)
                last, before = time.perf_counter(), last
                gaps.append(last - before)

        thread, task = threading.Thread(target=beat, args=[ended]), asyncio.create_task(beat_in_loop())
        thread.start()
        async with ZerobusWrapper(**options(ingesting)) as wrapper:
            sent, _ = await asyncio.gather(wrapper.send_batch(batch(1)), asyncio.sleep(0))
        ended.set()
        await task
        thread.join()
        assert sent.latency_ms >= 1900

    asyncio.run(send())
    assert len(gaps) > 100
    # Holding either up would be a gap of 2 s; on a machine that does nothing else there is none of 20 ms.
    assert max(gaps) < (0.02 if FULL else 0.5)


def test_f05_a_blocking_call_lets_other_threads_run(ingesting: LocalWarehouse) -> None:
    ingesting.zerobus.settings(ack_delay_ms=300)
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        wrapper.send_batch_sync(batch(0))
        started = time.perf_counter()
        threads = [threading.Thread(target=wrapper.send_batch_sync, args=[batch(i)]) for i in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # One after another it would be 2.4 s.
        assert time.perf_counter() - started < 2
    assert stored(ingesting) == list(range(9))


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        *((kind, kind.bit_width // 8) for kind in FIXED_TYPES),
        # Of these the first buffer is that of the offsets, or of the keys.
        *((kind, 4) for kind in (pa.string(), pa.binary(), pa.list_(pa.int64()), pa.map_(pa.string(), pa.int64()))),
        *((kind, 8) for kind in (pa.large_string(), pa.large_binary(), pa.large_list(pa.int64()))),
        *((kind, 16) for kind in (pa.string_view(), pa.binary_view())),
        (pa.dictionary(pa.int16(), pa.string()), 2),
    ],
    ids=str,
)
def test_f06_arrow_comes_in_without_a_copy(kind: pa.DataType, width: int) -> None:
    column = pa.nulls(1000, kind)
    given = pa.record_batch({"n": column}).slice(10, 500)
    assert extension._first_buffer(given) == column.buffers()[1].address + 10 * width


def test_f06_tables_and_streams_are_one_result(ingesting: LocalWarehouse) -> None:
    polars, arro3 = pytest.importorskip("polars"), pytest.importorskip("arro3.core")
    table = pa.Table.from_batches([batch(1, 2), batch(), batch(3)])
    reader = pa.RecordBatchReader.from_batches(SCHEMA, iter([batch(4), batch(5)]))
    frame = polars.DataFrame({"id": [6, 7], "text": ["six", None]})
    foreign = (
        arro3.Table.from_arrow(pa.Table.from_batches([batch(8), batch(9)])),
        arro3.RecordBatch.from_arrow(batch(10)),
    )
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        counts = [wrapper.send_batch_sync(rows).successful_rows for rows in (table, reader, frame, *foreign, batch())]
        assert counts == [[0, 1, 2], [0, 1], [0, 1], [0, 1], [0], None]
        assert wrapper.send_batch_sync(batch()).success
    assert stored(ingesting) == list(range(1, 11))


def test_f06_a_stream_that_fails_says_so(ingesting: LocalWarehouse) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch(1)
        raise ValueError("no more of it")

    with ZerobusWrapper(**options(ingesting)) as wrapper:
        with pytest.raises(zerobus.ConversionError, match=r"broke off after 1 rows: .*no more of it") as failure:
            wrapper.send_batch_sync(pa.RecordBatchReader.from_batches(SCHEMA, batches()))
        assert failure.value.result.successful_rows == [0]
        assert pickle.loads(pickle.dumps(failure.value)).result is None
    place = {name: value for name, value in options(ingesting).items() if name not in {"endpoint", "table_name"}}
    place = {name: value for name, value in place.items() if not name.startswith("retry")}
    place |= {"via": "zerobus", "zerobus_endpoint": ingesting.zerobus.endpoint}
    with ingesting.connect() as connection:
        with pytest.raises(seakernel.DataError, match="no more of it; 1 rows are stored"):
            connection.ingest(TABLE, pa.RecordBatchReader.from_batches(SCHEMA, batches()), **place)
        assert stored(ingesting) == [1, 1]
        ingesting.zerobus.faults(
            [{"on": "message", "times": "always", "do": {"break": {"by": "reset", "stored": True}}}]
        )
        with pytest.raises(
            seakernel.OperationalError, match=r"1 of 1 rows were not stored \(rows 0\), of which 1 may be"
        ):
            connection.ingest(TABLE, batch(2), **place)
    assert 2 in stored(ingesting)


def test_f06_a_reader_is_not_read_on_where_nothing_can_be_sent(offline: dict[str, Any]) -> None:
    schema = pa.schema([("span", pa.duration("s"))])
    read: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        while len(read) < 100:
            read.append(1)
            yield pa.record_batch([pa.array([1], pa.duration("s"))], schema=schema)

    with ZerobusWrapper(**offline) as wrapper:
        result = wrapper.send_batch_sync(pa.RecordBatchReader.from_batches(schema, batches()))
    assert (result.error_type, result.total_rows, len(read)) == ("ConversionError", 1, 1)


def test_f06_a_table_that_is_refused_counts_all_its_rows(offline: dict[str, Any]) -> None:
    spans = pa.chunked_array([pa.array([1, 2], pa.duration("s")), pa.array([3], pa.duration("s"))])
    table = pa.table({"span": spans})
    with ZerobusWrapper(**offline) as wrapper:
        result = wrapper.send_batch_sync(table)
    assert (result.error_type, result.total_rows, result.failed_count) == ("ConversionError", 3, 3)
    failed = result.failed_rows
    assert failed is not None
    # One text, however many the rows are.
    assert len({id(text) for _, text in failed}) == 1
    assert len({id(text) for text in result.get_error_messages()}) == 1
    assert result.extract_failed_batch(table) == table


def test_f05_ctrl_c_in_a_reader_is_raised(offline: dict[str, Any]) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield batch(1)
        raise KeyboardInterrupt

    with ZerobusWrapper(**offline) as wrapper, pytest.raises(KeyboardInterrupt):
        wrapper.send_batch_sync(pa.RecordBatchReader.from_batches(SCHEMA, batches()))


def test_f11_a_null_in_a_required_column_fails_its_row(ingesting: LocalWarehouse) -> None:
    broken = pa.record_batch([pa.array([2, None, 3]), pa.array(["a", "b", "c"])], schema=SCHEMA)
    table = pa.Table.from_batches([batch(1), broken])
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        result = wrapper.send_batch_sync(broken)
        assert (result.successful_rows, result.group_errors_by_type()) == ([0, 2], {"ConversionError": [1]})
        assert "`id`" in result.failed_rows[0][1] or "id" in result.failed_rows[0][1]
        result = wrapper.send_batch_sync(table)
        assert (result.successful_rows, result.get_failed_row_indices()) == ([0, 1, 3], [2])
        assert result.extract_failed_batch(table)["id"].to_pylist() == [None]
        assert result.extract_successful_batch(table)["id"].to_pylist() == [1, 2, 3]
    assert stored(ingesting) == [1, 2, 2, 3, 3]
    # One descriptor, which says `required` throughout.
    assert len(ingesting.zerobus.log()["streams"]) == 1


def test_f08_a_reader_is_left_alone_at_exit(tmp_path: Path) -> None:
    script = """
import asyncio, sys
import pyarrow as pa
from seakernel_zerobus import ZerobusWrapper

def batches():
    while True:
        yield pa.record_batch({"a": [1]})

async def send():
    options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": sys.argv[1]}
    wrapper = ZerobusWrapper("https://nowhere.invalid", "orders", **options)
    sending = wrapper.send_batch(pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches()))
    await asyncio.sleep(0.2)
    return sending

asyncio.run(send())
print("over", flush=True)
"""
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", script, tmp_path], check=False, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (0, "over\n"), ended.stderr


def test_f06_a_row_behind_a_null_is_not_sent(ingesting: LocalWarehouse) -> None:
    columns = [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    masked = pa.StructArray.from_arrays(columns, fields=list(SCHEMA), mask=pa.array([False, True, False]))
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        for rows in (masked, pa.chunked_array([masked])):
            with pytest.raises(ConfigurationError, match="a row of a record batch cannot be null"):
                wrapper.send_batch_sync(rows)
        whole = pa.StructArray.from_arrays(columns, fields=list(SCHEMA))
        assert wrapper.send_batch_sync(pa.chunked_array([whole.slice(1), whole.slice(0, 1)])).total_rows == 3
    assert stored(ingesting) == [1, 2, 3]


def test_f07_errors() -> None:
    names = ["Authentication", "Configuration", "Connection", "Conversion", "Transmission", "TokenRefresh"]
    classes = [getattr(zerobus, f"{name}Error") for name in names] + [zerobus.RetryExhausted]
    assert all(issubclass(each, zerobus.ZerobusError) for each in classes)
    assert issubclass(zerobus.ConnectionError, builtins.ConnectionError)
    assert {each.__name__ for each in classes if each("").retryable} == {"ConnectionError", "TokenRefreshError"}
    error = zerobus.ConnectionError("gone", grpc_code="UNAVAILABLE", server_code="6006")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (each.message, each.error_type, each.grpc_code, each.server_code) == (
            "gone",
            "ConnectionError",
            "UNAVAILABLE",
            "6006",
        )
        assert str(each) == "Connection error: gone"
        assert each.retryable


@pytest.mark.parametrize("given", [1, "rows", [1, 2], {"id": [1]}, None, pa.array([1, 2])], ids=repr)
def test_f07_what_holds_no_rows_is_a_type_error(given: object, offline: dict[str, Any]) -> None:
    with ZerobusWrapper(**offline) as wrapper:
        with pytest.raises(TypeError):
            wrapper.send_batch_sync(given)
        with pytest.raises(ConfigurationError, match="`descriptor` is no serialised"):
            wrapper.send_batch_sync(batch(1), b"\xff\xff")
        with pytest.raises(ConfigurationError, match="`traceparent` is `x`"):
            wrapper.send_batch_sync(batch(1), traceparent="x")


def test_f07_a_refused_endpoint_is_in_the_result() -> None:
    place = {"unity_catalog_url": "http://127.0.0.1:1", "client_id": "id", "client_secret": SECRET}
    retry = {"retry_max_attempts": 2, "retry_base_delay_ms": 1, "retry_max_delay_ms": 1}
    with ZerobusWrapper("http://127.0.0.1:1", TABLE, **place, **retry) as wrapper:
        result = wrapper.send_batch_sync(batch(1, 2))
    assert not result.success
    assert result.successful_rows is None
    assert result.error is not None
    assert SECRET not in repr(result.to_dict())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_f08_a_child_goes_on_with_the_wrapper_of_its_parent(ingesting: LocalWarehouse) -> None:
    with ZerobusWrapper(**options(ingesting)) as wrapper:
        wrapper.send_batch_sync(batch(1))

        def send() -> None:
            assert wrapper.send_batch_sync(batch(2)).success
            with ZerobusWrapper(**options(ingesting)) as other:
                assert asyncio.run(_sent(other, batch(3))).success
            wrapper.shutdown_sync()

        in_child(send)
        wrapper.send_batch_sync(batch(4))
    assert stored(ingesting) == [1, 2, 3, 4]
    assert ingesting.zerobus.log()["violations"] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_f08_threads_of_a_child_begin_at_once(ingesting: LocalWarehouse) -> None:
    with ZerobusWrapper(**options(ingesting)) as wrapper:

        def send() -> None:
            barrier, results = threading.Barrier(3), []

            def run(row: int) -> None:
                barrier.wait()
                results.append(wrapper.send_batch_sync(batch(row)).success)

            threads = [threading.Thread(target=run, args=[row]) for row in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert results == [True] * 3
            wrapper.shutdown_sync()

        in_child(send)
    assert stored(ingesting) == [0, 1, 2]


async def _sent(wrapper: ZerobusWrapper, rows: pa.RecordBatch) -> zerobus.TransmissionResult:
    return await wrapper.send_batch(rows)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts by /proc")
def test_f08_wrappers_leave_nothing_behind(
    ingesting: LocalWarehouse, eventually: Callable[..., Any], offline: dict[str, Any], tmp_path: Path
) -> None:
    more = {"debug_enabled": True, "debug_output_dir": tmp_path}
    exporters = {"observability_enabled": True, "observability_config": {"output_dir": tmp_path}}

    def cycle(given: dict[str, Any]) -> None:
        with ZerobusWrapper(**given) as wrapper:
            assert wrapper.send_batch_sync(batch(1)).success

    # Each reads the authorities of the system, which takes its time in a build for tests.
    sending = [options(ingesting, **more, **exporters)] * 15
    kinds = [*sending, *[{**offline, **exporters}] * 85]

    def left() -> tuple[int, int, int]:
        gc.collect()
        return (
            len(list(Path("/proc/self/task").iterdir())),
            len(list(Path("/proc/self/fd").iterdir())),
            extension._alive_tasks(),
        )

    for given in kinds[10:20]:
        cycle(given)
    before = left()
    for given in kinds:
        cycle(given)
    # The server's side of a connection may live a little longer; it is in this process, too.
    assert eventually(lambda: all(now <= then + 10 for now, then in zip(left(), before, strict=True))), (before, left())


def test_f37_a_cancelled_send_leaves_the_wrapper_usable(
    ingesting: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    ingesting.zerobus.settings(ack_delay_ms=4000)

    async def send() -> None:
        async with ZerobusWrapper(**options(ingesting, flush_timeout_ms=10_000)) as wrapper:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wrapper.send_batch(batch(1)), 0.3)
            ingesting.zerobus.settings()
            assert (await wrapper.send_batch(batch(2))).success

    asyncio.run(send())
    assert 2 in stored(ingesting)
    assert eventually(lambda: extension._alive_tasks() < 5)


def test_f05_ctrl_c_ends_a_blocking_call(ingesting: LocalWarehouse) -> None:
    ingesting.zerobus.settings(ack_delay_ms=4000)
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    with ZerobusWrapper(**options(ingesting, flush_timeout_ms=10_000)) as wrapper:
        timer = threading.Timer(0.5, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            wrapper.send_batch_sync(batch(1))
        waited = time.perf_counter() - sent[0]
        timer.join()
        ingesting.zerobus.settings()
        assert wrapper.send_batch_sync(batch(2)).success
    # 50 ms here; the rest is for slower machines.
    assert waited < 2


def test_f36_tasks_and_threads_share_a_wrapper(ingesting: LocalWarehouse) -> None:
    # 16 tasks in four threads; each has 200 batches where there is time for it.
    each = 2 * (200 if FULL else 50)

    async def send(wrapper: ZerobusWrapper, first: int) -> None:
        for row in range(first, first + each, 2):
            assert (await wrapper.send_batch(batch(row, row + 1))).successful_count == 2

    async def send_all(wrapper: ZerobusWrapper, thread: int) -> None:
        await asyncio.gather(*(send(wrapper, each * (4 * thread + task)) for task in range(4)))

    with ZerobusWrapper(**options(ingesting)) as wrapper:
        threads = [threading.Thread(target=asyncio.run, args=[send_all(wrapper, thread)]) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wrapper.flush_sync()
    assert stored(ingesting) == list(range(16 * each))
    assert len(ingesting.zerobus.log()["streams"]) == 1
    assert ingesting.zerobus.log()["violations"] == []


def test_f16_rows_that_fail_are_named(ingesting: LocalWarehouse) -> None:
    texts = ["x" * (500 if i in (3, 7) else 5) for i in range(10)]
    rows = pa.record_batch([pa.array(range(10), pa.int64()), pa.array(texts)], schema=SCHEMA)
    table = pa.Table.from_batches([batch(100), rows])
    with ZerobusWrapper(**options(ingesting, max_record_bytes=100)) as wrapper:
        result = wrapper.send_batch_sync(table)
    assert result.is_partial_success()
    assert result.group_errors_by_type() == {"ConversionError": [4, 8]}
    assert result.extract_failed_batch(table)["id"].to_pylist() == [3, 7]
    assert sorted(result.extract_successful_batch(table)["id"].to_pylist()) == stored(ingesting)


# Connection.ingest -----------------------------------------------------------------------------------------------


def test_rows_go_in_by_way_of_zerobus(ingesting: LocalWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(ingesting)
    sign_in = {name: given[name] for name in ("client_id", "client_secret", "unity_catalog_url")}
    with ingesting.connect() as connection:
        place = {"via": "zerobus", "zerobus_endpoint": given["endpoint"]}
        assert connection.ingest(TABLE, pa.Table.from_batches([batch(1, 2)]), **place, **sign_in) == 2
        for name, value in sign_in.items():
            monkeypatch.setenv("UNITY_CATALOG_URL" if name == "unity_catalog_url" else f"ZEROBUS_{name.upper()}", value)
        monkeypatch.setenv("ZEROBUS_ENDPOINT", given["endpoint"])
        assert connection.ingest("main.`default`.events", pa.Table.from_batches([batch(3)]), via="zerobus") == 1
        nameless = pa.table({"id": pa.array([4, None]), "text": ["four", "none"]})
        with pytest.raises(seakernel.DataError, match=r"rows were not stored \(rows ") as refusal:
            connection.ingest(TABLE, nameless, via="zerobus")
        assert given["client_secret"] not in str(refusal.value)
        with pytest.raises(seakernel.OperationalError, match="2 of 2 rows were not stored") as refusal:
            connection.ingest(TABLE, batch(5, 6), via="zerobus", client_id="other")
        assert refusal.value.kind == "Unauthenticated"
        for wrong in ({"volume": "/Volumes/a/b/c"}, {"mode": "create"}):
            with pytest.raises(seakernel.ProgrammingError, match="takes no `volume`"):
                connection.ingest(TABLE, batch(7), via="zerobus", **wrong)
        with pytest.raises(seakernel.ProgrammingError, match='expected "volume"'):
            connection.ingest(TABLE, batch(7))
        monkeypatch.delenv("ZEROBUS_ENDPOINT")
        with pytest.raises(seakernel.ProgrammingError, match="`zerobus_endpoint` is needed"):
            connection.ingest(TABLE, batch(7), via="zerobus")
    assert {1, 2, 3} <= set(stored(ingesting)) <= {1, 2, 3, 4}


BACK_PRESSURE = """
import asyncio, json, sys
import pyarrow as pa
from seakernel.zerobus import ZerobusWrapper

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) << 10

async def send(options):
    text = pa.array(["x" * 1000] * 4000)
    def batch(first):
        return pa.record_batch([pa.array(range(first, first + 4000), pa.int64()), text], schema=schema)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])
    async with ZerobusWrapper(**options) as wrapper:
        await wrapper.send_batch(batch(0))
        before = peak()
        results = await asyncio.gather(*(wrapper.send_batch(batch(4000 * i)) for i in range(1, 61)))
    assert all(result.successful_count == 4000 for result in results), results
    print(peak() - before)

asyncio.run(send(json.loads(sys.argv[1])))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures by /proc")
@pytest.mark.parametrize("mode", ["proto", "arrow"])
def test_f28_memory_is_bounded_while_the_service_does_not_read(ingesting: LocalWarehouse, mode: str) -> None:
    ingesting.zerobus.faults([{"on": "message", "after": 2, "do": {"stall": {"ms": 3000}}}])
    # 240 MB in all, of which so many may be under way.
    limit = 8 << 20
    given = options(ingesting, max_inflight_bytes=limit, ingest_mode=mode)
    ended = subprocess.run(
        [sys.executable, "-c", BACK_PRESSURE, json.dumps(given)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < limit + (64 << 20)
    with ingesting.connect() as connection:
        counts = connection.cursor().execute(f"SELECT count(*), count(DISTINCT id) FROM {TABLE}").fetchone()
    assert tuple(counts) == (244_000, 244_000)
