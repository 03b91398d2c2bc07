"""Every engine reads the result that one machine reads, by itself, with no secret in what it is sent."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import engine_workers
import pyarrow as pa
import pytest
from conftest import CHUNKS, ROWS
from engine_rows import sql, whole

from seakernel import distributed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seakernel.local import LocalWarehouse

ENGINES = ["ray", "dask", "sail", "daft"]
every_engine = pytest.mark.parametrize("engine", ENGINES, indirect=True)


def dataset(engine: str, text: str, sign_in: Any = None, **options: Any) -> Any:
    """The rows as the engine's own object, which has read none of them yet; one partition for every chunk."""
    if engine == "ray":
        import seakernel.ray

        return seakernel.ray.read_sql(text, sign_in=sign_in, row_number="row", target_bytes=1, **options)
    if engine == "dask":
        import seakernel.dask

        return seakernel.dask.read_sql(text, sign_in=sign_in, target_bytes=1, **options)
    if engine == "daft":
        import seakernel.daft

        return seakernel.daft.read_sql(text, sign_in=sign_in, row_number="row", target_bytes=1, **options)
    from pyspark.sql import SparkSession

    reader = SparkSession.active().read.format("seakernel").option("query", text).option("target_bytes", "1")
    reader = reader.option("row_number", "row")
    return (reader if sign_in is None else reader.option("sign_in", sign_in)).load()


def table(engine: str, data: Any, like: pa.Schema) -> pa.Table:
    """All rows that the engine reads, in the order of the result."""
    if engine == "dask":
        return pa.Table.from_pandas(data.compute(), schema=like, preserve_index=False)
    if engine == "ray":
        import ray

        blocks = [block for block in ray.get(data.to_arrow_refs()) if block.num_rows]
        read = pa.concat_tables(blocks) if blocks else data.schema().base_schema.empty_table()
    else:
        read = data.to_arrow() if engine == "daft" else data.toArrow()
    read = read.sort_by("row")
    assert read["row"].to_pylist() == list(range(read.num_rows))
    return read.drop_columns("row").cast(like)


def whole_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Values under nulls are nobody's: kernels that sort zero them.
    joined = table.take(pa.array(range(table.num_rows), pa.int64())).combine_chunks()
    with pa.ipc.new_stream(sink, joined.schema.remove_metadata()) as writer:
        writer.write_table(joined.replace_schema_metadata())
    return sink.getvalue().to_pybytes()


@pytest.mark.timeout(900)
@every_engine
def test_the_parts_are_the_result_of_one_machine(
    engine: str, engines_warehouse: LocalWarehouse, kept: Callable[[], int]
) -> None:
    expected = whole(engines_warehouse, sql(ROWS))
    read = table(engine, dataset(engine, sql(ROWS)), expected.schema)
    assert read.equals(expected)
    assert whole_bytes(read) == whole_bytes(expected)
    assert kept() == 1


@every_engine
def test_each_partition_is_read_by_a_task_of_its_own(engine: str, engines_warehouse: LocalWarehouse) -> None:
    data = dataset(engine, sql(ROWS))
    before = len(engines_warehouse.requests())
    table(engine, data, whole(engines_warehouse, sql(0)).schema)
    reads = [entry for entry in engines_warehouse.requests()[before:] if entry["operation"] == "download"]
    assert {entry["chunk_index"] for entry in reads} == set(range(CHUNKS))


@every_engine
def test_a_result_without_rows_has_its_columns(engine: str, engines_warehouse: LocalWarehouse) -> None:
    expected = whole(engines_warehouse, sql(0))
    assert table(engine, dataset(engine, sql(0)), expected.schema).equals(expected)


@pytest.mark.parametrize("engine", ["ray", "dask"], indirect=True)
def test_a_task_whose_worker_was_killed_is_run_again_and_gives_the_same_rows(
    engine: str, engines_warehouse: LocalWarehouse, graves: Path, kept: Callable[[], int]
) -> None:
    for grave in graves.iterdir():
        grave.unlink()
    expected = whole(engines_warehouse, sql(ROWS))
    data = dataset(engine, sql(ROWS), engine_workers.dies_once)
    assert table(engine, data, expected.schema).equals(expected)
    assert [grave.name for grave in graves.iterdir()] == ["dead"]
    assert kept() == 1


@every_engine
def test_no_secret_is_in_what_workers_are_sent(engine: str, engines_warehouse: LocalWarehouse) -> None:
    text = "SELECT id FROM range(10)"
    place = {"server_hostname": engines_warehouse.server_hostname, "access_token": engines_warehouse.access_token}
    sent = [cloudpickle.dumps(part) for part in parts_of_the_plan(engine, text, place)]
    assert sent
    for data in sent:
        # The place is in it, and the token is not.
        assert b"seakernel" in data
        assert engines_warehouse.access_token.encode() not in data
        assert b"local-signature-" not in data


def parts_of_the_plan(engine: str, text: str, options: dict[str, Any]) -> list[Any]:
    if engine == "sail":
        from seakernel.spark import SeakernelDataSource

        source = SeakernelDataSource({"query": text, "server_hostname": options["server_hostname"]})
        reader = source.reader(source.schema())
        return [SeakernelDataSource, source, reader, *reader.partitions()]
    data = dataset(engine, text, **options)
    if engine == "dask":
        return [data, data.dask]
    if engine == "ray":
        return [data._logical_plan, *data._logical_plan.dag.datasource.get_read_tasks(1)]
    import asyncio

    import seakernel.daft

    reader = distributed.PartitionReader()
    lease = distributed.leased(text, None, None, options, target_bytes=1, lease_s=None)
    source = seakernel.daft._SeakernelSource(lease, reader)

    async def tasks(source: Any) -> list[Any]:
        return [task async for task in source.get_tasks(None)]

    given = asyncio.run(tasks(source))
    received = asyncio.run(tasks(pickle.loads(pickle.dumps(source))))
    assert [task._partition for task in received] == [task._partition for task in given] != []
    return [source, *given]


@pytest.mark.parametrize("engine", ["ray", "dask", "daft"], indirect=True)
def test_an_error_of_a_task_is_told(engine: str, engines_warehouse: LocalWarehouse) -> None:
    with engines_warehouse.connect() as connection:
        data = dataset(engine, sql(100), connection=connection)
    # The statement has ended with the connection that ran it.
    with pytest.raises(Exception, match="statement") as error:
        table(engine, data, pa.schema([]))
    assert "local-access-token" not in str(error.value)


def test_a_reader_of_spark_or_sail_runs_its_query_once_and_only_when_partitions_are_asked_for(
    engines_warehouse: LocalWarehouse,
) -> None:
    pytest.importorskip("pyspark")
    from seakernel.spark import SeakernelDataSource

    def executed() -> int:
        return sum(entry["operation"] == "execute" for entry in engines_warehouse.requests())

    source = SeakernelDataSource({"query": sql(ROWS), "server_hostname": engines_warehouse.server_hostname})
    before = executed()
    schema = source.schema()
    assert executed() == before + 1, "the columns"
    reader = source.reader(schema)
    assert executed() == before + 1
    first = reader.partitions()
    assert executed() == before + 2
    assert reader.partitions() == first
    sent = pickle.loads(pickle.dumps(reader))
    assert len(pickle.dumps(reader)) < len(pickle.dumps(first))
    assert sum(batch.num_rows for part in first for batch in sent.read(part)) == ROWS
    assert executed() == before + 2
