"""What the engines share: the lease of a read, names of sign-ins, options."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import engine_workers
import pyarrow as pa
import pytest
from engine_rows import sql, whole

import seakernel
from seakernel.distributed import PartitionReader, leased

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seakernel.local import LocalWarehouse


def live(warehouse: LocalWarehouse, statement_id: str) -> bool:
    closed = [entry for entry in warehouse.requests() if entry["operation"] == "close_statement"]
    return statement_id not in [entry["statement_id"] for entry in closed]


def test_the_statement_is_closed_when_the_lease_is_over(
    engines_warehouse: LocalWarehouse, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    lease = leased("SELECT id FROM range(10)", None, None, {}, target_bytes=1, lease_s=0.2)
    assert eventually(lambda: not live(engines_warehouse, lease.statement_id))


def test_the_connection_is_closed_when_the_lease_is_over(
    engines_warehouse: LocalWarehouse, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    before = engines_warehouse.counters()["open_sessions"]
    leased("SELECT id FROM range(10)", None, None, {}, target_bytes=1, lease_s=0.2)
    assert eventually(lambda: engines_warehouse.counters()["open_sessions"] <= before)


def test_the_statement_outlives_all_that_was_made_of_it(engines_warehouse: LocalWarehouse) -> None:
    lease = leased("SELECT id FROM range(10)", None, None, {}, target_bytes=1, lease_s=None)
    statement_id, partitions = lease.statement_id, list(lease)
    del lease
    assert PartitionReader().table(partitions[0]).num_rows == 10
    assert live(engines_warehouse, statement_id)


def test_the_statement_ends_with_a_connection_that_was_given(engines_warehouse: LocalWarehouse) -> None:
    with engines_warehouse.connect() as connection:
        lease = leased("SELECT id FROM range(10)", None, connection, {}, target_bytes=1, lease_s=None)
        partitions = list(lease)
        assert PartitionReader().table(partitions[0]).num_rows == 10
    with pytest.raises(seakernel.ProgrammingError) as error:
        PartitionReader().table(partitions[0])
    assert error.value.kind == "NotFound"


def test_a_connection_is_closed_when_the_statement_fails(engines_warehouse: LocalWarehouse) -> None:
    before = engines_warehouse.counters()["open_sessions"]
    with pytest.raises(seakernel.Error):
        leased("SELECT nothing FROM nowhere", None, None, {}, target_bytes=1, lease_s=None)
    assert engines_warehouse.counters()["open_sessions"] == before


def test_options_beside_a_connection_are_refused(engines_warehouse: LocalWarehouse) -> None:
    with engines_warehouse.connect() as connection, pytest.raises(seakernel.ProgrammingError, match="`catalog`"):
        leased("SELECT 1", None, connection, {"catalog": "main"}, target_bytes=1, lease_s=None)


def test_a_sign_in_travels_by_name(graves: Path, engines_warehouse: LocalWarehouse) -> None:
    reader = pickle.loads(pickle.dumps(PartitionReader(engine_workers.options)))
    assert repr(reader) == "PartitionReader(sign_in='engine_workers:options', row_number=None)"
    assert reader.options() == {
        "server_hostname": engines_warehouse.server_hostname,
        "access_token": engines_warehouse.access_token,
    }
    assert b"local-access-token" not in pickle.dumps(reader)


@pytest.mark.parametrize(
    "sign_in",
    [
        lambda: {"access_token": "canary"},
        partial(engine_workers.options),
        "no_function",
        ":options",
        "module:",
        object(),
    ],
)
def test_what_has_no_name_is_no_sign_in(sign_in: Any) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="`sign_in`"):
        PartitionReader(sign_in)


def test_a_row_number_hides_no_column(engines_warehouse: LocalWarehouse) -> None:
    lease = leased("SELECT id FROM range(10)", None, None, {}, target_bytes=1, lease_s=None)
    with pytest.raises(seakernel.ProgrammingError, match="`row_number` is `id`"):
        PartitionReader(row_number="id").schema(lease)


def spark_source(**options: str) -> Any:
    from seakernel.spark import SeakernelDataSource

    source = SeakernelDataSource(options)
    return source.reader(source.schema())


def test_spark_options_hold_no_credential(engines_warehouse: LocalWarehouse) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="unknown option `access_token`") as error:
        spark_source(query="SELECT 1", access_token=engines_warehouse.access_token)
    assert engines_warehouse.access_token not in str(error.value)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "the option `query` is missing"),
        ({"query": "SELECT 1", "target_bytes": "many"}, "the option `target_bytes` is `many`"),
        ({"query": "SELECT 1", "sign_in": "function"}, "`sign_in` is `function`"),
    ],
)
def test_wrong_spark_options_are_named(options: dict[str, str], what: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=what):
        spark_source(**options)


@pytest.mark.parametrize(
    "query", ["SELECT 1 AS one;", "SELECT 1 AS one -- and no more", "WITH t AS (SELECT 1 AS one) SELECT * FROM t"]
)
def test_a_query_for_spark_may_end_as_it_likes(query: str, engines_warehouse: LocalWarehouse) -> None:
    reader = spark_source(query=query)
    (partition,) = reader.partitions()
    assert [batch.to_pydict() for batch in reader.read(partition)] == [{"one": [1]}]


def test_sail_signs_in_by_name(spark: Any, engines_warehouse: LocalWarehouse) -> None:
    reader = spark.read.format("seakernel").option("sign_in", "engine_workers:options")
    assert reader.option("query", "SELECT id FROM range(7)").load().count() == 7


def test_spark_gives_its_readers_the_servers_hour(engines_warehouse: LocalWarehouse) -> None:
    reader = spark_source(query="SELECT id FROM range(10)")
    partitions = reader.partitions()
    # As where each is in a process of its own.
    received = pickle.loads(pickle.dumps(partitions))
    assert live(engines_warehouse, received[0].value.statement_id)
    for _ in range(2):
        assert sum(batch.num_rows for part in received for batch in reader.read(part)) == 10


def test_rows_are_as_the_workers_of_spark_demand_them(engines_warehouse: LocalWarehouse) -> None:
    from pyspark.sql.types import StructType, _parse_datatype_json_string
    from pyspark.sql.worker.plan_data_source_read import records_to_arrow_batches

    from seakernel.spark import SeakernelDataSource

    source = SeakernelDataSource({"query": sql(100), "row_number": "row"})
    # From the process that asks for it to the one that plans, as Spark sends it.
    schema = _parse_datatype_json_string(source.schema().json())
    assert type(schema) is StructType
    reader = source.reader(schema)
    (partition,) = reader.partitions()
    read = pa.Table.from_batches(records_to_arrow_batches(reader.read(partition), 10_000, schema, source))
    expected = whole(engines_warehouse, sql(100))
    assert read.drop_columns("row").cast(expected.schema).equals(expected)
