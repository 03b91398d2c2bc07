"""Partitions: cut by one connection, read by others and in other processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from adbc_driver_manager import dbapi

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local import LocalWarehouse

READ = """
import sys, seakernel.adbc
host, path, token, file = sys.argv[1:]
with seakernel.adbc.connect(host, path, token) as connection, connection.cursor() as cursor:
    cursor.adbc_read_partition(open(file, "rb").read())
    print(sum(row[0] for row in cursor.fetchall()))
"""


def test_others_read_the_parts(
    chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection], tmp_path: pytest.TempPathFactory
) -> None:
    statement = "SELECT id, concat('row ', CAST(id AS STRING)) AS text FROM range(20000)"
    first = opened(chunked)
    with first.cursor() as cursor:
        whole = cursor.execute(statement).fetch_arrow_table()
        cursor.adbc_statement.set_options(**{"databricks.partition.target_bytes": "100000"})
        partitions, schema = cursor.adbc_execute_partitions(statement)
        statement_id = cursor.adbc_statement.get_option("databricks.statement_id")
    first.close()
    assert len(partitions) > 2
    assert schema.equals(whole.schema, check_metadata=True)
    assert all(chunked.access_token.encode() not in partition and b"X-Amz" not in partition for partition in partitions)
    with opened(chunked).cursor() as cursor:
        parts = []
        for partition in reversed(partitions):
            cursor.adbc_read_partition(partition)
            parts.append(cursor.fetch_arrow_table())
    assert pa.concat_tables(reversed(parts)).equals(whole)
    # The statement was not closed by those who have gone.
    closed = [entry for entry in chunked.requests() if entry["operation"] == "close_statement"]
    assert statement_id not in {entry["statement_id"] for entry in closed}
    file = tmp_path / "part"  # type: ignore[operator]
    file.write_bytes(partitions[0])
    command = [sys.executable, "-c", READ, chunked.server_hostname, chunked.http_path, chunked.access_token, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == sum(parts[-1]["id"].to_pylist())


def test_parameters_and_small_results(adbc: dbapi.Connection, adbc_cursor: dbapi.Cursor) -> None:
    (partition,), schema = adbc_cursor.adbc_execute_partitions("SELECT id, ? AS word FROM range(3)", ["tea"])
    assert schema.names == ["id", "word"]
    with adbc.cursor() as cursor:
        cursor.adbc_read_partition(partition)
        assert cursor.fetchall() == [(0, "tea"), (1, "tea"), (2, "tea")]
    with pytest.raises(dbapi.NotSupportedError, match="one row"):
        adbc_cursor.adbc_execute_partitions("SELECT ?", pa.table({"n": [1, 2]}))


def test_the_bytes_are_those_of_partitions_in_python(
    chunked: LocalWarehouse, opened: Callable[..., dbapi.Connection]
) -> None:
    statement = "SELECT id FROM range(5000)"
    with opened(chunked).cursor() as cursor:
        (first, *_), _ = cursor.adbc_execute_partitions(statement)
        partition = seakernel.Partition(first)
        assert partition.to_bytes() == first
        result = partition.read(server_hostname=chunked.server_hostname, access_token=chunked.access_token)
        assert result.fetchall() == [(number,) for number in range(5000)]
        with chunked.connect() as connection, connection.cursor() as ours, ours.partitions(statement) as parts:
            cursor.adbc_read_partition(next(parts).to_bytes())
            assert cursor.fetchall() == [(number,) for number in range(5000)]


def test_what_is_no_partition(adbc_cursor: dbapi.Cursor) -> None:
    for text in (b"", b"nonsense", b"{}", b"\xff" * 100):
        with pytest.raises(dbapi.Error) as raised:
            adbc_cursor.adbc_read_partition(text)
        assert raised.value.status_code.name in {"INVALID_ARGUMENT", "INVALID_DATA"}
