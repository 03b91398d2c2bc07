"""Partitions: what is in them, who may read them, and what a lease holds them to."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing.connection
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from remote_warehouse import RemoteWarehouse

import seakernel
from seakernel import Partition, PartitionLinks, aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel import Cursor

HERE = Path(__file__).parent
SQL = "SELECT id, concat('name ', id) AS name FROM range(10000)"
MARKS = (b"local-access-token", b"local-signature-", b"X-Amz-", b"?")


@pytest.fixture
def own() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0) as own:
        yield own


@pytest.fixture
def own_cursor(own: LocalWarehouse) -> Iterator[Cursor]:
    with own.connect() as connection, connection.cursor() as cursor:
        yield cursor


# The peak of this process: on Linux `ru_maxrss` begins with that of the process it was forked from.
PEAK = """
import resource, sys, seakernel
def peak():
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
"""


def calls(warehouse: LocalWarehouse, operation: str) -> int:
    return sum(request["operation"] == operation for request in warehouse.requests())


def everything(*parts: pa.Table) -> list[int]:
    return pa.concat_tables(parts)["id"].to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("target_bytes", [1, 60_000, 1 << 30])
def test_partitions_of_any_size_are_the_result_and_cutting_downloads_nothing(
    own: LocalWarehouse, own_cursor: Cursor, target_bytes: int
) -> None:
    whole = own_cursor.execute(SQL).arrow()
    downloads = calls(own, "download")
    with own_cursor.partitions(SQL, target_bytes=target_bytes, ordered=True) as lease:
        partitions = list(lease)
        assert calls(own, "download") == downloads
        assert [partition.sequence for partition in partitions] == list(range(len(partitions)))
        sign_in = {"server_hostname": own.server_hostname, "access_token": own.access_token}
        parts = [partition.read(**sign_in).arrow() for partition in partitions]
        for partition, part in zip(partitions, parts, strict=True):
            assert pa.schema(partition).equals(part.schema, check_metadata=True)
            lease.acknowledge(partition, part.num_rows)
    assert pa.concat_tables(parts).equals(whole)
    assert lease.acknowledged_rows == 10_000


def test_a_pickled_partition_is_small_and_equal_and_holds_no_secret(own: LocalWarehouse, own_cursor: Cursor) -> None:
    for partition in own_cursor.partitions(SQL, target_bytes=60_000):
        data = pickle.dumps(partition)
        assert len(data) < 1200
        assert not any(mark in data for mark in MARKS)
        assert own.access_token.encode() not in data
        received = pickle.loads(data)
        assert received == partition
        assert hash(received) == hash(partition)
        assert received.to_bytes() == partition.to_bytes()
        assert received.server_hostname == own.server_hostname
        assert not partition.needs_no_sign_in


def test_links_travel_only_when_asked_for_and_do_not_show(own: LocalWarehouse, own_cursor: Cursor) -> None:
    parts = own_cursor.partitions(SQL, links=True)
    partition = next(parts)
    assert b"local-signature-" in partition.to_bytes()
    assert "secret links" in repr(partition)
    assert not any(mark.decode() in repr((partition, parts)) for mark in MARKS)
    api = calls(own, "chunk") + calls(own, "poll")
    assert partition.read(server_hostname=own.server_hostname).arrow().num_rows == 10_000
    nobody: dict[str, Any] = {"access_token": None, "auth": None, "profile": None}
    assert partition.read(server_hostname=own.server_hostname, **nobody).arrow().num_rows == 10_000
    assert calls(own, "chunk") + calls(own, "poll") == api
    own.switches(link_lifetime_seconds=30)
    with pytest.raises(seakernel.OperationalError, match=r"end in (30|29|2\d) s") as refused:
        next(parts := own_cursor.partitions(SQL, links=True)).read()
    assert refused.value.kind == "LinkExpired"


def test_links_to_inner_networks_are_used_only_where_the_reader_has_named_such_a_host(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = own_cursor.partitions(SQL, links=True)
    partition = next(parts)

    def read(**options: Any) -> int:
        return int(partition.read(**options).arrow().num_rows)

    for who in ({}, {"broker": parts.links}):
        for refused in ({}, {"server_hostname": own.server_hostname, "results": {"private_storage_addresses": False}}):
            with pytest.raises(seakernel.Error, match="private_storage_addresses"):
                read(**who, **refused)
        monkeypatch.setenv("DATABRICKS_HOST", "dbc-other.example")
        with pytest.raises(seakernel.Error, match="private_storage_addresses"):
            read(**who)
        assert read(**who, server_hostname=own.server_hostname) == 10_000
        assert read(**who, results={"private_storage_addresses": True}) == 10_000
        monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
        assert read(**who) == 10_000
        monkeypatch.delenv("DATABRICKS_HOST")


def test_a_profile_that_the_partition_names_vouches_for_no_inner_network(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
    profile = f"[etl]\nhost = {own.server_hostname}\ntoken = {own.access_token}\n"
    (tmp_path / "profiles").write_text(profile)
    leases = [own_cursor.partitions(SQL, links=links, profile="etl") for links in (True, False)]
    linked, plain = (next(lease) for lease in leases)
    monkeypatch.setenv("DATABRICKS_HOST", "dbc-other.example")
    with pytest.raises(seakernel.Error, match="private_storage_addresses"):
        linked.read().arrow()
    assert linked.read(profile="etl").arrow().num_rows == 10_000
    # Without links in it the workspace gives them, by a sign-in of this reader's.
    assert plain.read().arrow().num_rows == 10_000
    # Nor does a reader need it who names the host and has no such profile.
    (tmp_path / "profiles").write_text("[other]\nhost = https://dbc-other.example\n")
    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    assert linked.read().arrow().num_rows == 10_000


def test_a_descriptor_of_version_1_is_read_and_written_alike() -> None:
    data = (HERE / "partition_version_1.json").read_bytes()
    partition = Partition(data)
    assert (partition.statement_id, partition.sequence, partition.sign_in) == (
        "01f0aaab-1c2d-1e3f-9a0b-0123456789ab", 3, "etl",
    )  # fmt: skip
    assert (partition.chunk_index, partition.row_offset, partition.row_count) == (21, 2_580_480, 245_760)
    assert partition.http_path == "/sql/1.0/warehouses/a1b2c3d4e5f60718?o=42"
    assert [column.name for column in partition.columns] == ["id", "amount", "at", "tags"]
    assert pa.schema(partition).field("amount").type == pa.decimal128(18, 2)
    assert json.loads(partition.to_bytes()) == json.loads(data)
    assert pickle.loads((HERE / "partition_version_1.pickle").read_bytes()) == partition


def test_rows_of_a_descriptor_of_version_1_are_read() -> None:
    partition = Partition((HERE / "partition_version_1_inline.json").read_bytes())
    assert partition.read().fetchall() == [(0, "a"), (1, None)]


def test_a_later_version_says_so_and_further_fields_are_passed_over() -> None:
    fields = json.loads((HERE / "partition_version_1.json").read_bytes())
    again = Partition(json.dumps({"new": [1], **fields, "later": {"a": 1}}).encode())
    assert json.loads(again.to_bytes()) == fields
    with pytest.raises(seakernel.ProgrammingError, match=r"version 2.*reads up to 1.*update"):
        Partition(json.dumps(fields | {"seakernel_partition": 2}).encode())
    for data in (b"", b"\x80\x04", b"{}", b"[" * 100_000, json.dumps(fields | {"row_count": -1}).encode()):
        with pytest.raises(seakernel.ProgrammingError, match="not a partition"):
            Partition(data)


def test_a_small_result_travels_in_its_partition(own_cursor: Cursor, cursor: Cursor) -> None:
    partition = next(cursor.partitions("SELECT 1 AS one, 'x' AS text"))
    assert partition.needs_no_sign_in
    assert pickle.loads(pickle.dumps(partition)).read().fetchall() == [(1, "x")]
    empty = list(own_cursor.partitions("SELECT id FROM range(10) WHERE id > 10"))
    assert [partition.row_count for partition in empty] == [0]
    assert empty[0].read().arrow().schema.names == ["id"]


def test_the_result_that_a_cursor_has_is_cut_unless_rows_of_it_were_read(
    own: LocalWarehouse, own_cursor: Cursor, cursor: Cursor
) -> None:
    own_cursor.execute(SQL)
    parts = own_cursor.partitions(target_bytes=1)
    assert [partition.row_count for partition in parts] == [1000] * 10
    with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
        own_cursor.fetchone()
    assert next(cursor.execute("SELECT 7 AS seven").partitions()).read().fetchall() == [(7,)]
    own_cursor.execute(SQL).fetchone()
    with pytest.raises(seakernel.InterfaceError, match="read here already"):
        own_cursor.partitions()
    assert len(own_cursor.fetchall()) == 9999


def test_readers_find_their_sign_in_where_they_are(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    monkeypatch.setenv("DATABRICKS_TOKEN", own.access_token)
    lease = own_cursor.partitions(SQL)
    assert next(lease).read().arrow().num_rows == 10_000
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
    profile = f"[etl]\nhost = {own.server_hostname}\ntoken = {own.access_token}\n"
    (tmp_path / "profiles").write_text(profile)
    partition = next(lease := own_cursor.partitions(SQL, profile="etl"))
    assert partition.sign_in == "etl"
    assert partition.read().arrow().num_rows == 10_000
    (tmp_path / "profiles").write_text(profile.replace(own.server_hostname, "https://other.example"))
    with pytest.raises(seakernel.ProgrammingError, match="is of host"):
        partition.read()


def test_no_sign_in_goes_to_a_host_that_only_the_partition_names(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
    (tmp_path / "profiles").write_text(f"[etl]\ntoken = {own.access_token}\n")
    plain, named = next(first := own_cursor.partitions(SQL)), next(second := own_cursor.partitions(SQL, profile="etl"))
    requests = len(own.requests())

    def is_refused(partition: Partition, **options: Any) -> None:
        with pytest.raises(seakernel.ProgrammingError, match="name the workspace") as refused:
            partition.read(**options)
        assert partition.server_hostname in str(refused.value)
        assert own.access_token not in str(refused.value)

    is_refused(named)
    is_refused(plain, access_token=own.access_token)
    is_refused(plain, auth={"client_id": "id", "client_secret": "secret"})
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "secret")
    is_refused(plain)
    monkeypatch.delenv("DATABRICKS_CLIENT_ID")
    monkeypatch.delenv("DATABRICKS_CLIENT_SECRET")
    monkeypatch.setenv("DATABRICKS_TOKEN", own.access_token)
    is_refused(plain)
    assert len(own.requests()) == requests, "nothing was asked"
    monkeypatch.setenv("DATABRICKS_HOST", "https://other.example")
    with pytest.raises(seakernel.ProgrammingError, match="is of host"):
        plain.read()
    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    assert plain.read().arrow().num_rows == 10_000
    first.close()
    second.close()


def test_a_connection_of_another_host_is_refused_and_so_are_options_beside_one(
    own: LocalWarehouse, own_cursor: Cursor, warehouse: LocalWarehouse
) -> None:
    partition = next(lease := own_cursor.partitions(SQL))
    assert lease.outstanding == 1
    with warehouse.connect() as elsewhere:
        with pytest.raises(seakernel.ProgrammingError, match="is of host"):
            partition.read(elsewhere)
        with pytest.raises(seakernel.ProgrammingError, match="signs in by itself"):
            partition.read(elsewhere, access_token="x")
    with pytest.raises(seakernel.ProgrammingError, match="the statement has run"):
        partition.read(catalog="main")
    with pytest.raises(TypeError, match="memory"):
        partition.read(server_hostname=own.server_hostname, access_token=own.access_token, memory=1)
    with pytest.raises(seakernel.OperationalError):
        partition.read(server_hostname=own.server_hostname, access_token="wrong")


def test_a_lease_counts_what_was_read(own_cursor: Cursor) -> None:
    lease = own_cursor.partitions(SQL, target_bytes=1)
    first, second, *others = list(lease)
    assert lease.outstanding == 10
    lease.acknowledge(first, 1000)
    lease.acknowledge(pickle.loads(pickle.dumps(first)), 1000)
    assert (lease.outstanding, lease.acknowledged_rows) == (9, 1000)
    with pytest.raises(seakernel.DataLossError, match="999 rows were read of a partition with 1000") as wrong:
        lease.acknowledge(second, 999)
    assert (wrong.value.statement_id, wrong.value.chunk_index) == (lease.statement_id, 1)
    for partition in others:
        lease.acknowledge(partition, 1000)
    with pytest.raises(seakernel.DataLossError, match=r"1 partition was not acknowledged: rows 1000\.\.2000"):
        lease.finish()
    with pytest.raises(seakernel.ProgrammingError, match="of statement"):
        lease.acknowledge(next(own_cursor.partitions(SQL)), 10_000)


def test_what_was_not_handed_out_is_not_acknowledged(own_cursor: Cursor) -> None:
    lease = own_cursor.partitions(SQL, target_bytes=1)
    first, second, *_ = list(lease)
    fields = json.loads(first.to_bytes())
    for changed in ({"row_count": 900}, {"row_offset": 1}, {"row_count": 0, "row_offset": 9_999_999}):
        forged = Partition(json.dumps(fields | changed).encode())
        with pytest.raises(seakernel.ProgrammingError, match=r"no partition of rows .* was handed out"):
            lease.acknowledge(forged, forged.row_count)
    lease.acknowledge(second, 1000)
    shorter = Partition(json.dumps(json.loads(second.to_bytes()) | {"row_count": 1}).encode())
    with pytest.raises(seakernel.ProgrammingError, match="was handed out"):
        lease.acknowledge(shorter, 1)
    assert (lease.outstanding, lease.acknowledged_rows) == (9, 1000)


def test_a_with_that_acknowledges_must_do_so_to_the_end(own_cursor: Cursor) -> None:
    with own_cursor.partitions(SQL, target_bytes=1) as unread:
        next(unread)
    with (
        pytest.raises(seakernel.InterfaceError, match="not all partitions"),
        own_cursor.partitions(SQL, target_bytes=1) as lease,
    ):
        lease.acknowledge(next(lease), 1000)


def test_a_lease_ends_the_statement_and_partitions_say_why_they_cannot_be_read(
    own: LocalWarehouse, own_cursor: Cursor, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    def ends() -> Iterator[Callable[[], object]]:
        lease = own_cursor.partitions(SQL)
        partition = next(lease)
        yield lease.close
        with pytest.raises(seakernel.ProgrammingError, match="the statement is closed") as gone:
            partition.read(server_hostname=own.server_hostname, access_token=own.access_token)
        assert (gone.value.kind, gone.value.statement_id) == ("NotFound", partition.statement_id)
        dropped = [own_cursor.partitions(SQL)]
        yield dropped.clear
        short = own_cursor.partitions(SQL, target_bytes=1, lease_s=0.2)
        assert next(short).row_count == 1000
        yield lambda: None
        with pytest.raises(seakernel.InterfaceError, match="lease of 200ms is over"):
            list(short)

    for closes, end in enumerate(ends(), start=1):
        end()
        gc.collect()
        assert eventually(lambda closes=closes: calls(own, "close_statement") >= closes)


def test_a_detached_statement_outlives_the_process_that_has_cut_it(own: LocalWarehouse) -> None:
    driver = """
import sys, seakernel
host, path, token, how = sys.argv[1:]
connection = seakernel.connect(host, path, token)
sql = "SELECT id, concat('name ', id) AS name FROM range(10000)"
parts = connection.submit(sql).partitions() if how == "submit" else connection.cursor().partitions(sql)
data = next(parts).to_bytes()
if how == "detach":
    parts.detach()
sys.stdout.buffer.write(data)
"""
    place = [own.server_hostname, own.http_path, own.access_token]
    for how in ("submit", "detach", "leave"):
        command = [sys.executable, "-c", driver, *place, how]
        partition = Partition(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        if how == "leave":
            with pytest.raises(seakernel.ProgrammingError, match="the statement is closed"):
                partition.read(server_hostname=own.server_hostname, access_token=own.access_token)
        else:
            result = partition.read(server_hostname=own.server_hostname, access_token=own.access_token)
            assert result.arrow().num_rows == 10_000


def test_a_lease_that_is_over_cannot_be_detached(own_cursor: Cursor) -> None:
    lease = own_cursor.partitions(SQL)
    lease.close()
    with pytest.raises(seakernel.InterfaceError, match="the lease is over"):
        lease.detach()
    kept = own_cursor.partitions(SQL)
    kept.detach()
    kept.detach()


@pytest.mark.parametrize("total", ["too_small", "too_large"])
def test_a_total_that_is_not_that_of_the_partitions_raises(own: LocalWarehouse, own_cursor: Cursor, total: str) -> None:
    own.switches(total_row_count=total)
    with pytest.raises(seakernel.DataLossError, match="the manifest announces"):
        list(own_cursor.partitions(SQL))


def test_any_callable_is_a_broker_and_its_failure_is_the_cause(own: LocalWarehouse, own_cursor: Cursor) -> None:
    parts = own_cursor.partitions(SQL, target_bytes=60_000)
    asked: list[Partition] = []

    def broker(partition: Partition) -> PartitionLinks:
        asked.append(partition)
        return parts.links(partition)

    partitions = list(parts)
    own.faults([{"on": "download", "times": 2, "do": "expire"}])
    host = own.server_hostname
    tables = [partition.read(broker=broker, server_hostname=host).arrow() for partition in partitions]
    assert everything(*tables) == list(range(10_000))
    assert len(asked) > len(partitions), "expired links are asked for again"
    as_bytes = partitions[0].read(broker=lambda one: parts.links(one).to_bytes(), server_hostname=host)
    assert as_bytes.arrow().num_rows == partitions[0].row_count
    for wrong, error, match in (
        (lambda _: parts.links(partitions[1]), seakernel.ProgrammingError, "other rows"),
        (lambda _: "link", seakernel.ProgrammingError, "returned a `str`"),
        (lambda _: 1 / 0, seakernel.OperationalError, "broker"),
    ):
        with pytest.raises(error, match=match) as failed:
            partitions[0].read(broker=wrong)  # type: ignore[arg-type]
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_a_link_server_needs_its_key_and_serves_its_own_statement(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    parts, others = own_cursor.partitions(SQL), own_cursor.partitions(SQL)
    partition, other = next(parts), next(others)
    with seakernel.LinkServer(parts) as server:
        address = pickle.loads(pickle.dumps(server.address))
        tables: list[pa.Table] = []
        readers = [
            threading.Thread(target=lambda: tables.append(partition.read(broker=address).arrow())) for _ in range(4)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert [table.num_rows for table in tables] == [10_000] * 4
        assert address._key.hex() not in repr(address) + repr(server)
        with pytest.raises(seakernel.OperationalError, match="broker"):
            other.read(broker=address)
        with (
            pytest.raises(multiprocessing.AuthenticationError),
            multiprocessing.connection.Client((address.host, address.port), authkey=b"guess"),
        ):
            pass
        assert partition.read(broker=address).arrow().num_rows == 10_000
    with pytest.raises(seakernel.OperationalError, match="broker"):
        partition.read(broker=address)


def test_a_link_server_is_not_held_by_those_who_prove_nothing(
    own: LocalWarehouse,
    own_cursor: Cursor,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], Any]], Any],
) -> None:
    import socket

    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    monkeypatch.setattr("seakernel.partitions._MOST_CONNECTIONS", 2)
    monkeypatch.setattr("seakernel.partitions._PATIENCE_S", 0.5)
    parts = own_cursor.partitions(SQL)
    partition = next(parts)
    with seakernel.LinkServer(parts) as server:
        address = (server.address.host, server.address.port)
        silent = [socket.create_connection(address) for _ in range(5)]
        assert partition.read(broker=server.address).arrow().num_rows == 10_000
        for connection in silent:
            connection.close()
    monkeypatch.setattr("seakernel.partitions._PATIENCE_S", 600)
    with seakernel.LinkServer(parts) as server:
        waiting = socket.create_connection((server.address.host, server.address.port), 60)
        assert waiting.recv(4), "the challenge has begun"
        server.close()
        while waiting.recv(1000):
            pass
        waiting.close()
        assert eventually(lambda: not server._open)


def test_links_show_nothing_and_are_read_back(own_cursor: Cursor) -> None:
    parts = own_cursor.partitions(SQL)
    links = parts.links(next(parts))
    assert repr(links) == "PartitionLinks(10 secret links)"
    assert pickle.loads(pickle.dumps(links)) == links
    assert links.seconds_left is not None
    assert 600 < links.seconds_left <= 900
    with pytest.raises(seakernel.ProgrammingError, match="not the links"):
        PartitionLinks(b"{}")


def test_the_same_for_asyncio(own: LocalWarehouse) -> None:
    async def main() -> list[int]:
        place = (own.server_hostname, own.http_path, own.access_token)
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            rows: list[int] = []
            async with await cursor.partitions(SQL, target_bytes=60_000, ordered=True) as parts:
                async for partition in parts:
                    table = await (await connection.cursor().read(partition)).arrow()
                    parts.acknowledge(partition, table.num_rows)
                    rows += table["id"].to_pylist()
                    assert (await parts.links(partition)).seconds_left is not None
            assert parts.acknowledged_rows == 10_000
            statement = await connection.submit(SQL)
            kept = [partition async for partition in await statement.partitions()]
            assert [partition.row_count for partition in kept] == [10_000]
            await statement.close()
            lease = await cursor.partitions(SQL)
            assert [partition.row_count async for partition in lease] == [10_000]
            with pytest.raises(seakernel.DataLossError):
                await lease.finish()
            return rows

    assert asyncio.run(main()) == list(range(10_000))


def test_a_partition_whose_wait_was_cancelled_is_the_next_one(own: LocalWarehouse) -> None:
    async def main() -> list[int]:
        place = (own.server_hostname, own.http_path, own.access_token)
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            rows: list[int] = []
            for turns in range(40):
                async with await cursor.partitions(SQL, target_bytes=1) as parts:
                    task = asyncio.ensure_future(anext(parts))
                    for _ in range(turns % 4):
                        await asyncio.sleep(0)
                    # The partition is on its way while the loop does not look.
                    threading.Event().wait(0.005)
                    task.cancel()
                    await asyncio.wait([task])
                    first = [] if task.cancelled() else [task.result()]
                    rows.append(sum([partition.row_count for partition in first + [p async for p in parts]]))
            return rows

    assert asyncio.run(main()) == [10_000] * 40


def test_who_signs_in_needs_no_links_that_came_along(own: LocalWarehouse, own_cursor: Cursor) -> None:
    own.switches(link_lifetime_seconds=30)
    partition = next(lease := own_cursor.partitions(SQL, links=True))
    with pytest.raises(seakernel.OperationalError, match="at least 60 s"):
        partition.read()
    with pytest.raises(seakernel.ProgrammingError, match="name the workspace"):
        partition.read(access_token=own.access_token)
    assert partition.read(own_cursor.connection).arrow().num_rows == 10_000
    sign_in = {"server_hostname": own.server_hostname, "access_token": own.access_token}
    assert partition.read(**sign_in).arrow().num_rows == 10_000
    lease.close()


def test_links_that_expire_are_asked_for_again_by_who_has_a_sign_in(
    own: LocalWarehouse, own_cursor: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = next(lease := own_cursor.partitions(SQL, links=True))
    sign_in = {"server_hostname": own.server_hostname, "access_token": own.access_token}
    asked = calls(own, "chunk")
    assert partition.read(**sign_in).arrow().num_rows == 10_000
    assert calls(own, "chunk") == asked, "those that came along do"
    monkeypatch.setenv("DATABRICKS_HOST", own.server_hostname)
    expire = [{"on": "download", "times": 2, "do": "expire"}]
    for options in (sign_in, {}):
        own.faults(expire)
        if not options:
            with pytest.raises(seakernel.OperationalError, match="came with the partition have expired") as refused:
                partition.read().arrow()
            assert refused.value.kind == "LinkExpired"
            own.faults(expire)
            monkeypatch.setenv("DATABRICKS_TOKEN", own.access_token)
        assert everything(partition.read(**options).arrow()) == list(range(10_000))
    assert calls(own, "chunk") > asked
    lease.close()


def test_links_about_to_expire_are_asked_for_anew_when_they_are_handed_out(
    own: LocalWarehouse, own_cursor: Cursor
) -> None:
    own.switches(link_lifetime_seconds=200)
    lease = own_cursor.partitions(SQL, links=True)
    own.switches(link_lifetime_seconds=900)
    left = PartitionLinks(json.dumps(json.loads(next(lease).to_bytes())["links"]).encode()).seconds_left
    assert left is not None
    assert left > 600


def test_a_hundred_thousand_chunks_are_walked_within_64_mib() -> None:
    remote = RemoteWarehouse(
        chunk_rows=1, inline_bytes=0, switches={"hybrid_links_per_response": 64}, logged_requests=1
    )
    walk = f"""{PEAK}connection = seakernel.connect(*sys.argv[1:])
cursor = connection.cursor()
list(cursor.partitions("SELECT id FROM range(1000)", target_bytes=1))
before = peak()
rows = sum(partition.row_count for partition in cursor.partitions("SELECT id FROM range(100000)"))
print(rows, peak() - before)
"""
    try:
        place = [remote.place[name] for name in ("server_hostname", "http_path", "access_token")]
        command = [sys.executable, "-c", walk, *place]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110).stdout
    finally:
        remote.close()
    rows, grown = map(int, output.split())
    assert rows == 100_000
    assert grown < 64 << 20, f"{grown >> 20} MiB"


def hostile(kind: str, fields: dict[str, Any]) -> bytes:
    """Descriptors whose parts would take far more memory than their text."""
    columns, link = fields["columns"], {"external_link": "", "chunk_index": 0, "row_offset": 0}
    links = {"seakernel_links": 1, "statement_id": fields["statement_id"], "row_offset": 0}
    column = {"name": "", "type_text": "INT", "type_name": "INT"}
    changed: dict[str, Any] = {
        "columns": {"columns": [column] * 300_000},
        "most_columns": {"columns": [column] * (1 << 14)},
        "inner_fields": {"columns": [column | {"type_text": f"STRUCT<{','.join(['a x'] * 5_000_000)}>"}]},
        "most_inner_fields": {"columns": [column | {"type_text": f"STRUCT<{','.join(['a x'] * 32_000)}>"}]},
        "chunks": {"chunks": [[0, 0, None, None]] * 1_000_000},
        "values": {"links": {**links, "external_links": [{"a": 0}] * 2_000_000}},
        "links": {"links": {**links, "external_links": [link] * 400_000}},
        "most_links": {"links": {**links, "external_links": [link] * 200_000}},
        "headers": {
            "links": {
                **links,
                "external_links": [link | {"http_headers": {chr(97 + n): "" for n in range(26)}}] * 100_000,
            }
        },
        "one_header": {"links": {**links, "external_links": [link | {"http_headers": {"a": ""}}] * 200_000}},
        "zone": {"time_zone": "x" * (16 << 20), "columns": [columns[0] | {"type_text": "TIMESTAMP"}] * 10_000},
        "unknown": {"later": [[]] * 5_000_000},
    }[kind]
    return json.dumps(fields | changed, separators=(",", ":")).encode()


@pytest.mark.parametrize("read", ["Partition", "PartitionLinks"])
@pytest.mark.parametrize(
    "kind",
    [
        "columns", "most_columns", "inner_fields", "most_inner_fields", "chunks", "values", "links", "most_links", "headers",
        "one_header", "zone", "unknown",
    ],
)  # fmt: skip
def test_reading_foreign_bytes_takes_a_small_multiple_of_their_memory(kind: str, read: str) -> None:
    data = hostile(kind, json.loads((HERE / "partition_version_1.json").read_bytes()))
    if read == "PartitionLinks":
        data = json.dumps(json.loads(data).get("links", {})).encode()
    measure = f"""{PEAK}data = sys.stdin.buffer.read()
before = peak()
try:
    kept = getattr(seakernel, sys.argv[1])(data)
except seakernel.ProgrammingError:
    pass
print(peak() - before)
"""
    command = [sys.executable, "-c", measure, read]
    grown = int(subprocess.run(command, input=data, capture_output=True, check=True, timeout=110).stdout)
    assert grown <= 10 * len(data) + (64 << 20), f"{grown >> 20} MiB of {len(data) >> 20} MiB"
