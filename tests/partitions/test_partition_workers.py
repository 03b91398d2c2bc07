"""Partitions read by spawned processes: the rows are those that one machine reads, whatever happens on the way."""

from __future__ import annotations

import os
import pickle
import random
from typing import TYPE_CHECKING, Any

import pytest
from partition_workers import Outcome, Task, Workers, table, whole_bytes

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from seakernel import Partition, PartitionLease

SCHEDULES = int(os.environ.get("PARTITION_SCHEDULES", "8"))
FIRST_SCHEDULE = int(os.environ.get("PARTITION_FIRST", "0"))
ROWS = int(os.environ.get("PARTITION_ROWS", "10000000"))
RETRY = {"min_wait_s": 0.01, "max_wait_s": 0.05, "max_attempts": 12}


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(4) as workers:
        yield workers


def sql(rows: int) -> str:
    return f"SELECT id, id % 1000 AS k, IF(id % 7 = 0, NULL, concat('name ', id % 10)) AS name FROM range({rows})"


@pytest.mark.timeout(900)
def test_four_workers_read_ten_million_rows_that_are_byte_for_byte_those_of_one_machine(workers: Workers) -> None:
    with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as cursor:
        whole = cursor.execute(sql(ROWS)).arrow()
        assert whole.num_rows == ROWS
        options = {"server_hostname": warehouse.server_hostname, "access_token": warehouse.access_token}
        parts: dict[int, pa.Table] = {}
        with cursor.partitions(sql(ROWS), target_bytes=16 << 20, ordered=True) as lease:
            given: dict[int, Partition] = {}

            def tasks() -> Iterator[Task]:
                for number, partition in enumerate(lease):
                    given[number] = partition
                    yield Task(number, pickle.dumps(partition), options)

            for outcome in workers.run(tasks()):
                assert outcome.failure is None
                assert outcome.rows is not None
                partition, rows = given[outcome.task.number], table(outcome.rows)
                assert partition.sequence is not None
                parts[partition.sequence] = rows
                lease.acknowledge(partition, rows.num_rows)
        assert len(parts) > ROWS // 1_000_000
        assert lease.acknowledged_rows == ROWS
        ordered = [parts[sequence] for sequence in sorted(parts)]
        assert all(part.schema.equals(whole.schema, check_metadata=True) for part in ordered)
        assert whole_bytes(*ordered) == whole_bytes(whole)


@pytest.fixture(scope="module")
def disturbed() -> Iterator[LocalWarehouse]:
    # Without checksums nobody could tell a changed byte from another value.
    switches = {"lz4_checksums": True}
    with LocalWarehouse(chunk_rows=5000, batch_rows=700, inline_bytes=0, switches=switches) as disturbed:
        yield disturbed


class Schedule:
    """One seeded run: how the result is cut and read, what is wrong with the servers, and which workers die."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        chance = self.chance
        self.rows = chance.randrange(1, 60_000)
        self.target_bytes = chance.choice([1, 300_000, 1 << 20])
        self.mode = chance.choice(["resolve", "connection", "connection", "broker", "link"])
        self.faults = [fault for fault in self._faults() if chance.random() < 0.6]
        self.deaths = chance.randrange(0, 4)

    def _faults(self) -> Iterator[dict[str, Any]]:
        chance = self.chance
        some = {"after": chance.randrange(0, 10), "times": chance.randrange(1, 5)}
        if self.mode != "link":
            # Links that travel along cannot be renewed.
            yield {**some, "on": "download", "do": "expire"}
        # Waits of 1 s to 60 s are those that servers ask for; here they come without.
        yield {"on": "chunk", "times": chance.randrange(1, 12), "do": {"status": {"code": 429}}}
        yield {**some, "on": "download", "do": {"status": {"code": 429}}}
        yield {**some, "on": "download", "do": {"status": {"code": 503}}}
        yield {**some, "on": "download", "do": {"truncate": {"bytes": chance.randrange(1, 2000)}}}
        yield {**some, "on": "download", "do": {"corrupt": {"seed": chance.randrange(1000)}}}
        yield {**some, "on": "download", "do": {"missing_rows": {"rows": 1}}}
        yield {**some, "on": "download", "do": {"delay": {"ms": chance.randrange(1, 50)}}}

    def dies_after(self) -> int | None:
        if self.deaths and self.chance.random() < 0.5:
            self.deaths -= 1
            return self.chance.randrange(1, 4)
        return None


def run(schedule: Schedule, lease: PartitionLease, workers: Workers, options: dict[str, Any]) -> dict[int, pa.Table]:
    """Reads all partitions as an engine would: a task whose worker has died, or that has failed, is run again."""
    given: dict[int, Partition] = {}
    parts: dict[int, pa.Table] = {}

    def task(number: int) -> Task:
        return Task(number, pickle.dumps(given[number]), {**options, "retry": RETRY}, schedule.dies_after())

    def tasks() -> Iterator[Task]:
        for number, partition in enumerate(lease):
            given[number] = partition
            yield task(number)

    waiting: Iterator[Task] = tasks()
    for _ in range(20):
        failed: list[Outcome] = []
        for outcome in workers.run(waiting):
            if outcome.rows is None:
                failed.append(outcome)
                assert outcome.failure is None or outcome.failure[1] in {
                    "DataLoss", "LinkExpired", "Unavailable", "ResourceExhausted", "Network",
                }  # fmt: skip
                continue
            partition = given[outcome.task.number]
            assert partition.sequence is not None
            parts[partition.sequence] = table(outcome.rows)
            lease.acknowledge(partition, parts[partition.sequence].num_rows)
        if not failed:
            return parts
        waiting = (task(outcome.task.number) for outcome in failed)
    pytest.fail("the schedule comes to no end")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(FIRST_SCHEDULE, FIRST_SCHEDULE + SCHEDULES))
def test_under_worker_kills_expired_links_and_429_storms_the_parts_are_the_result(
    seed: int, workers: Workers, disturbed: LocalWarehouse
) -> None:
    schedule = Schedule(seed)
    disturbed.faults()
    with disturbed.connect(retry=RETRY) as connection, connection.cursor() as cursor:
        whole = cursor.execute(sql(schedule.rows)).arrow()
        cut = {"target_bytes": schedule.target_bytes, "ordered": True, "links": schedule.mode == "link"}
        with cursor.partitions(sql(schedule.rows), **cut) as lease:
            disturbed.faults(schedule.faults)
            host = {"server_hostname": disturbed.server_hostname}
            if schedule.mode == "broker":
                with seakernel.LinkServer(lease) as server:
                    parts = run(schedule, lease, workers, {**host, "broker": server.address})
            else:
                own = {
                    **host,
                    "access_token": disturbed.access_token,
                    "connects": schedule.mode == "connection",
                }
                parts = run(schedule, lease, workers, host if schedule.mode == "link" else own)
            disturbed.faults()
        assert lease.acknowledged_rows == schedule.rows
        ordered = [parts[sequence] for sequence in range(len(parts))]
        assert all(part.schema.equals(whole.schema, check_metadata=True) for part in ordered)
        assert whole_bytes(*ordered) == whole_bytes(whole)
