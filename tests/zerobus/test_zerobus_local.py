"""The Zerobus service of the local warehouse, and the official client against it: it must not notice."""

from __future__ import annotations

import datetime
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from seakernel.local import LocalWarehouse
from seakernel.zerobus import ZerobusWrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "main.default.events"
_NUMBERS = itertools.count()


@pytest.fixture
def ingesting() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(zerobus=True) as warehouse, warehouse.connect() as connection:
        connection.cursor().execute(f"CREATE TABLE {TABLE} (id BIGINT NOT NULL, text STRING)")
        yield warehouse


def rows(warehouse: LocalWarehouse, sql: str = f"SELECT id FROM {TABLE} ORDER BY id") -> list[Any]:
    with warehouse.connect() as connection:
        return [row[0] if len(row) == 1 else row for row in connection.cursor().execute(sql).fetchall()]


# The official client ---------------------------------------------------------------------------------------------


def message_class(**types: str) -> Any:
    """A message of Protobuf with these fields, the first required, the others optional."""
    pytest.importorskip("zerobus.sdk", reason="the official client is not installed")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"events_{next(_NUMBERS)}.proto", syntax="proto2")
    message = file.message_type.add(name="Events")
    for number, (name, kind) in enumerate(types.items(), 1):
        field = message.field.add(name=name, number=number)
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        field.label = field.LABEL_REQUIRED if number == 1 else field.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Events"))


def open_stream(warehouse: LocalWarehouse, message: Any, *, secret: str | None = None, **options: Any) -> Any:
    from zerobus.sdk.shared import StreamConfigurationOptions, TableProperties
    from zerobus.sdk.sync import ZerobusSdk

    service = warehouse.zerobus
    sdk = ZerobusSdk(service.endpoint, service.unity_catalog_url)
    return sdk.create_stream(
        service.client_id,
        secret or service.client_secret,
        TableProperties(TABLE, message.DESCRIPTOR),
        StreamConfigurationOptions(**{"recovery_backoff_ms": 10, **options}),
    )


def test_f45_official_client_sends_records_and_batches(ingesting: LocalWarehouse) -> None:
    events = message_class(id="int64", text="string")
    stream = open_stream(ingesting, events)
    for number in range(3):
        stream.ingest_record_offset(events(id=number, text="single").SerializeToString())
    offset = stream.ingest_records_offset([events(id=number).SerializeToString() for number in range(3, 10)])
    stream.wait_for_offset(offset)
    assert rows(ingesting) == list(range(10))
    stream.ingest_record_nowait(events(id=10, text="last").SerializeToString())
    stream.flush()
    assert rows(ingesting, f"SELECT count(text), count(*) FROM {TABLE}") == [(4, 11)]
    stream.close()
    log = ingesting.zerobus.log()
    assert log["violations"] == []
    (call,) = log["streams"]
    assert (call["status"], call["half_closed"], call["messages"], call["acked"]) == ("OK", True, 5, 4)
    assert call["user_agent"].startswith("zerobus-sdk-py/")
    assert log["token_fetches"] == {f"{ingesting.zerobus.client_id} {TABLE}": 1}


def test_f45_official_client_sends_arrow(ingesting: LocalWarehouse) -> None:
    sdk = pytest.importorskip("zerobus.sdk.sync", reason="the official client is not installed")
    from zerobus.sdk.shared import NonRetriableException

    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.large_string())])
    service = ingesting.zerobus
    settings = pytest.importorskip("zerobus.sdk.shared.arrow").ArrowStreamConfigurationOptions(recovery_backoff_ms=10)
    client = sdk.ZerobusSdk(service.endpoint, service.unity_catalog_url)

    def opened(schema: pa.Schema) -> Any:
        return client.create_arrow_stream(TABLE, schema, service.client_id, service.client_secret, settings)

    def batch(first: int, count: int) -> pa.RecordBatch:
        ids = range(first, first + count)
        return pa.record_batch(
            [pa.array(ids, pa.int64()), pa.array([f"row {i}" for i in ids], pa.large_string())], schema=schema
        )

    stream = opened(schema)
    stream.wait_for_offset(stream.ingest_batch(batch(0, 1000)))
    assert rows(ingesting) == list(range(1000))
    # More than one message.
    stream.ingest_batch(batch(1000, 200_000))
    stream.flush()
    stream.close()
    log = service.log()
    assert log["violations"] == []
    (call,) = log["streams"]
    assert (call["status"], call["half_closed"], call["records"]) == ("OK", True, 201_000)
    assert call["messages"] > 2
    # The rest of a batch that was acknowledged in part is sent again, and when the service closes the stream all of it is.
    for number, faults in enumerate(
        [
            [{"on": "ack", "do": {"partial": {"records": 4, "then": "unavailable"}}}],
            [{"on": "message", "do": {"close": {"ms": 1000}}}],
        ],
        1,
    ):
        service.faults(faults)
        stream = opened(schema)
        first = number * 1_000_000
        stream.wait_for_offset(stream.ingest_batch(batch(first, 10)))
        stream.ingest_batch(batch(first + 10, 10))
        stream.flush()
        stream.close()
        found = rows(ingesting, f"SELECT id FROM {TABLE} WHERE id >= {first} ORDER BY id")
        doubled = range(first + 6, first + 10) if number == 1 else ()
        assert found == sorted([*range(first, first + 20), *doubled])
    with pytest.raises(NonRetriableException, match="no column"):
        opened(pa.schema([("other", pa.int64())]))
    assert service.log()["violations"] == []


def test_f45_official_client_sends_every_type(ingesting: LocalWarehouse) -> None:
    pytest.importorskip("zerobus.sdk", reason="the official client is not installed")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    with ingesting.connect() as connection:
        connection.cursor().execute(
            f"CREATE OR REPLACE TABLE {TABLE} (price DECIMAL(5,2), day DATE, at TIMESTAMP, local TIMESTAMP_NTZ,"
            " tags ARRAY<STRING>, numbers ARRAY<INT>, m MAP<STRING, INT>, s STRUCT<x: INT, t: STRUCT<y: STRING>>,"
            " v VARIANT, b BINARY, t TINYINT, f FLOAT, d DOUBLE, o BOOLEAN)"
        )
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="every_type.proto", syntax="proto2")
    message = file.message_type.add(name="Events")
    entry = message.nested_type.add(name="MEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    struct = message.nested_type.add(name="S")
    struct.nested_type.add(name="T").field.add(name="y", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    struct.field.add(name="x", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    struct.field.add(name="t", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name="T")
    kinds = (
        "price:string day:int32 at:int64 local:int64 tags:string* numbers:int32* m:MEntry* s:S v:string b:bytes t:int32"
    )
    for number, part in enumerate(f"{kinds} f:float d:double o:bool".split(), 1):
        name, kind = part.rstrip("*").split(":")
        label = field.LABEL_REPEATED if part.endswith("*") else field.LABEL_OPTIONAL
        made = message.field.add(name=name, number=number, label=label)
        if kind[0].isupper():
            made.type, made.type_name = field.TYPE_MESSAGE, kind
        else:
            made.type = field.Type.Value(f"TYPE_{kind.upper()}")
        made.options.packed = name == "numbers"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    events = message_factory.GetMessageClass(pool.FindMessageTypeByName("Events"))
    row = events(price="-1.5", day=-1, at=-1, local=86_400_000_000, tags=["a", ""], numbers=[1, -1], m={"k": 7})
    row.s.t.y = "deep"
    row.v, row.b, row.t, row.f, row.d, row.o = '{"a": [1]}', b"\xff", -128, 1.5, 2.5, True
    stream = open_stream(ingesting, events)
    stream.ingest_records_offset([row.SerializeToString(), b""])
    stream.flush()
    stream.close()
    with ingesting.connect() as connection:
        found = connection.cursor().execute(f"SELECT *, v:a[0] FROM {TABLE} ORDER BY price NULLS LAST").fetchall()
    utc = datetime.timezone.utc
    assert tuple(found[0]) == (
        Decimal("-1.50"),
        datetime.date(1969, 12, 31),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=utc),
        datetime.datetime(1970, 1, 2),  # noqa: DTZ001 - it has no zone
        ["a", ""],
        [1, -1],
        {"k": 7},
        {"x": None, "t": {"y": "deep"}},
        '{"a":[1]}',
        b"\xff",
        -128,
        1.5,
        2.5,
        True,
        "1",
    )
    assert set(found[1]) == {None}


def test_f45_official_client_follows_rotations(ingesting: LocalWarehouse) -> None:
    ingesting.zerobus.faults([{"on": "open", "times": "always", "do": {"close": {"after_ms": 300, "ms": 200}}}])
    events = message_class(id="int64", text="string")
    stream = open_stream(ingesting, events)
    sent = 0
    while len(ingesting.zerobus.log()["streams"]) < 4:
        stream.ingest_record_offset(events(id=sent).SerializeToString())
        sent += 1
        time.sleep(0.005)
    stream.flush()
    stream.close()
    assert set(rows(ingesting)) == set(range(sent))
    log = ingesting.zerobus.log()
    assert log["violations"] == []
    assert sum(call["close_signal"] for call in log["streams"]) >= 3


@pytest.mark.parametrize(
    "fault",
    [
        {"status": {"code": "UNAVAILABLE"}},
        {"status": {"code": "INTERNAL", "stored": True}},
        {"break": {}},
        {"break": {"by": "ok"}},
        {"close": {"ms": 0}},
        {"go_away": {"abrupt": True}},
    ],
    ids=lambda fault: "-".join([*fault, *next(iter(fault.values()))]),
)
def test_f45_official_client_recovers(ingesting: LocalWarehouse, fault: dict[str, Any]) -> None:
    ingesting.zerobus.faults([{"on": "message", "after": 5, "do": fault}])
    events = message_class(id="int64", text="string")
    stream = open_stream(ingesting, events)
    for number in range(20):
        stream.ingest_record_offset(events(id=number).SerializeToString())
    stream.flush()
    stream.close()
    assert set(rows(ingesting)) == set(range(20))
    assert len(ingesting.zerobus.log()["streams"]) == 2
    assert ingesting.zerobus.log()["violations"] == []


def test_f45_official_client_waits_for_headers_before_it_sends(ingesting: LocalWarehouse) -> None:
    ingesting.zerobus.faults([{"on": "open", "do": "silence"}])
    events = message_class(id="int64", text="string")
    stream = open_stream(ingesting, events, recovery_timeout_ms=2000)
    stream.ingest_record_offset(events(id=1).SerializeToString())
    stream.flush()
    stream.close()
    assert rows(ingesting) == [1]
    assert len(ingesting.zerobus.log()["streams"]) == 2


def test_f45_official_client_gives_up_on_a_schema_that_does_not_fit(ingesting: LocalWarehouse) -> None:
    events = message_class(id="string", nope="string")
    from zerobus.sdk.shared import NonRetriableException

    with pytest.raises(
        NonRetriableException, match=r"`id` is TYPE_STRING, its column BIGINT; field `nope` is no column"
    ):
        open_stream(ingesting, events)
    assert len(ingesting.zerobus.log()["streams"]) == 1


def test_f45_official_client_gives_up_on_a_bad_record(ingesting: LocalWarehouse) -> None:
    events = message_class(id="int64", text="string")
    from zerobus.sdk.shared import NonRetriableException

    stream = open_stream(ingesting, events)
    stream.ingest_record_offset(events(id=1).SerializeToString())
    stream.ingest_record_offset(b"")
    with pytest.raises(NonRetriableException, match="column `id` is required"):
        stream.flush()
    assert rows(ingesting) == [1]


def test_f45_official_client_is_told_of_a_wrong_secret(ingesting: LocalWarehouse) -> None:
    events = message_class(id="int64", text="string")
    from zerobus.sdk.shared import ZerobusException

    with pytest.raises(ZerobusException, match="401"):
        open_stream(ingesting, events, secret="wrong")
    assert ingesting.zerobus.log()["token_fetches"] == {"refused": 1}


# The tables ------------------------------------------------------------------------------------------------------


def test_rows_of_every_type_arrive(ingesting: LocalWarehouse) -> None:
    with ingesting.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE wide (i INT, price DECIMAL(5,2), tags ARRAY<STRING>, at TIMESTAMP, v VARIANT, m MAP<STRING, INT>,"
            " s STRUCT<x: INT, y: DATE>, b BINARY, n TIMESTAMP_NTZ, c VARCHAR(3), t TINYINT, f FLOAT, o BOOLEAN)"
        )
        engine = ingesting._engine
        assert engine is not None
        columns = engine.describe_table("main.default.wide")
        assert columns is not None
        assert columns[6] == ("s", "STRUCT<x: INT, y: DATE>", True)
        given = pa.table(
            {
                "i": pa.array([1, None], pa.int32()),
                "price": pa.array([None, None], pa.decimal128(5, 2)),
                "tags": [["x"], None],
                "at": pa.array([1, None], pa.timestamp("us", "UTC")),
                "v": ['{"a": 1}', None],
                "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
                "s": pa.array(
                    [{"x": 1, "y": datetime.date(2020, 1, 1)}, None],
                    pa.struct([("x", pa.int32()), ("y", pa.date32())]),
                ),
                "b": [b"\xff", None],
                "n": pa.array([1, None], pa.timestamp("us")),
                "c": ["abc", None],
                "t": pa.array([1, None], pa.int8()),
                "f": pa.array([1.5, None], pa.float32()),
                "o": [True, None],
            }
        )
        for _ in range(2):
            engine.append_rows("main.default.wide", given)
        assert cursor.execute("SELECT i, v:a, s.y, m['k'], c FROM wide WHERE i = 1 LIMIT 1").fetchone() == (
            1,
            "1",
            datetime.date(2020, 1, 1),
            1,
            "abc",
        )
        too_long = given.set_column(9, "c", pa.array(["abc", "abcd"]))
        with pytest.raises(Exception, match="EXCEED_LIMIT_LENGTH"):
            engine.append_rows("main.default.wide", too_long)
        assert cursor.execute("SELECT count(*) FROM wide").fetchone() == (4,)
        history = cursor.execute("DESCRIBE HISTORY wide").fetchall()
        assert [(row.operation, row.operationMetrics.get("numOutputRows")) for row in history] == [
            ("STREAMING UPDATE", "4"),
            ("CREATE TABLE", None),
        ]
        assert cursor.execute("SELECT count(*) FROM wide VERSION AS OF 0").fetchone() == (0,)


def test_tables_that_make_values_or_are_none_are_refused(ingesting: LocalWarehouse) -> None:
    with ingesting.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE made (id BIGINT GENERATED ALWAYS AS IDENTITY)")
        cursor.execute("CREATE VIEW seen AS SELECT 1 AS one")
    engine = ingesting._engine
    assert engine is not None
    for name in ("main.default.made", "main.default.seen", "samples.tpch.orders"):
        with pytest.raises(Exception, match="is not in the local warehouse"):
            engine.describe_table(name)
    for name in ("main.default.missing", "missing", "a.b.c.d"):
        assert engine.describe_table(name) is None


# Starting and stopping -------------------------------------------------------------------------------------------


def test_a_warehouse_without_the_service_says_so(warehouse: LocalWarehouse) -> None:
    with pytest.raises(ValueError, match="start it with `zerobus=True`"):
        _ = warehouse.zerobus


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seakernel_zerobus._seakernel_zerobus", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seakernel\[zerobus\]'") as raised:
        LocalWarehouse(zerobus=True)
    assert raised.value.name == "seakernel_zerobus"


def test_options_settings_and_faults_are_checked() -> None:
    with pytest.raises(ValueError, match=r"setting `settings.ack_delay_ms`: invalid type: string"):
        LocalWarehouse(zerobus={"settings": {"ack_delay_ms": "1"}})
    with LocalWarehouse(zerobus={"client_id": "app"}) as warehouse:
        assert warehouse.zerobus.client_id == "app"
        with pytest.raises(ValueError, match=r"setting `\.`: unknown field `nope`|setting `nope`"):
            warehouse.zerobus.settings(nope=1)
        with pytest.raises(ValueError, match=r"setting `\[0\].do.slow.bytes_per_second`"):
            warehouse.zerobus.faults([{"on": "open", "do": {"slow": {"bytes_per_second": 0}}}])


def test_columns_of_a_fault_leave_a_table_of_sql_in_its_place(ingesting: LocalWarehouse) -> None:
    service = ingesting.zerobus
    sign_in = {"client_id": service.client_id, "client_secret": service.client_secret}
    place = {"endpoint": service.endpoint, "table_name": TABLE, "unity_catalog_url": service.unity_catalog_url}
    columns = [{"name": "id", "type": "BIGINT"}, {"name": "text", "type": "BIGINT"}]
    service.faults([{"on": "open", "table": TABLE, "do": {"columns": columns}}])
    given = pa.record_batch({"id": [1], "text": ["one"]})
    with ZerobusWrapper(**place, **sign_in, retry_max_attempts=1) as wrapper:
        assert not wrapper.send_batch_sync(given).success
    with ZerobusWrapper(**place, **sign_in) as wrapper:
        assert wrapper.send_batch_sync(given).success
    assert rows(ingesting) == [1]


def test_durations_are_bounded(ingesting: LocalWarehouse) -> None:
    for name in ("token_life_s", "ack_delay_ms", "ack_delay_spread_ms", "ack_interval_ms"):
        with pytest.raises(ValueError, match=f"setting `{name}`: {2**63} is too long"):
            ingesting.zerobus.settings(**{name: 2**63})
        ingesting.zerobus.settings(**{name: 2**32 - 1})
    for fault in ({"delay": {"ms": 2**63}}, {"status": {"code": "UNAVAILABLE", "after_ms": 2**63}}):
        with pytest.raises(ValueError, match="is too long"):
            ingesting.zerobus.faults([{"on": "open", "do": fault}])
    ingesting.zerobus.faults([{"on": "open", "do": {"stall": {}}}, {"on": "open", "do": {"stall": {"ms": None}}}])


def test_the_service_stops_with_the_warehouse() -> None:
    with LocalWarehouse(zerobus=True) as warehouse:
        ports = [
            int(url.rpartition(":")[2]) for url in (warehouse.zerobus.endpoint, warehouse.zerobus.unity_catalog_url)
        ]
        for port in ports:
            socket.create_connection(("127.0.0.1", port)).close()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_the_command_prints_what_a_client_needs() -> None:
    command = [sys.executable, "-m", "seakernel", "local", "--zerobus"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as run:
        assert run.stdout is not None
        printed = dict(run.stdout.readline().strip().split("=", 1) for _ in range(7))
        run.send_signal(signal.SIGINT)
        assert run.wait() == 0
    assert printed.keys() == {
        "DATABRICKS_HOST",
        "DATABRICKS_HTTP_PATH",
        "DATABRICKS_TOKEN",
        "ZEROBUS_ENDPOINT",
        "UNITY_CATALOG_URL",
        "ZEROBUS_CLIENT_ID",
        "ZEROBUS_CLIENT_SECRET",
    }
    assert printed["ZEROBUS_ENDPOINT"].startswith("http://127.0.0.1:")
