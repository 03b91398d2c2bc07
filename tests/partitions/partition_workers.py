"""Workers in spawned processes that read partitions, and may be told to die while they do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

import seakernel
from seakernel import exceptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

    from typing_extensions import Self

    from seakernel import Partition, PartitionResult

CONNECTIONS: dict[str, seakernel.Connection] = {}
SPAWN = multiprocessing.get_context("spawn")


class Task(NamedTuple):
    """What a worker gets: the pickled partition, how to read it, and after how many batches to die."""

    number: int
    partition: bytes
    options: dict[str, Any]
    dies_after: int | None = None


class Outcome(NamedTuple):
    """Rows as an Arrow stream, or the text and kind of what was raised; neither where the worker has died."""

    task: Task
    rows: bytes | None
    failure: tuple[str, str] | None


def work(tasks: Connection) -> None:
    while True:
        task = tasks.recv()
        if task is None:
            return
        try:
            tasks.send((read(task), None))
        except exceptions.Error as error:
            tasks.send((None, (str(error), error.kind)))


def reading(partition: Partition, options: dict[str, Any]) -> PartitionResult:
    """Opens the rows; with `connects`, through the one connection of this process."""
    if not options.pop("connects", False):
        return partition.read(**options)
    if partition.server_hostname not in CONNECTIONS:
        opened = seakernel.connect(http_path=partition.http_path, **options)
        CONNECTIONS[partition.server_hostname] = opened
    return partition.read(CONNECTIONS[partition.server_hostname])


def read(task: Task) -> bytes:
    partition = pickle.loads(task.partition)
    sink = pa.BufferOutputStream()
    with reading(partition, task.options) as result, pa.ipc.new_stream(sink, pa.schema(result)) as writer:
        for count, batch in enumerate(result.batches(), start=1):
            for record_batch in pa.RecordBatchReader.from_stream(batch):
                writer.write_batch(record_batch)
            if count == task.dies_after:
                os.kill(os.getpid(), signal.SIGKILL)
    return sink.getvalue().to_pybytes()


def table(rows: bytes) -> pa.Table:
    return pa.ipc.open_stream(rows).read_all()


def whole_bytes(*parts: pa.Table) -> bytes:
    """The rows of all parts in one batch, as bytes; without metadata, whose order is another in each process."""
    sink = pa.BufferOutputStream()
    joined = pa.concat_tables(parts).combine_chunks()
    joined = joined.cast(pa.schema([field.remove_metadata() for field in joined.schema]))
    with pa.ipc.new_stream(sink, joined.schema) as writer:
        writer.write_table(joined)
    return sink.getvalue().to_pybytes()


class Worker:
    def __init__(self) -> None:
        self.tasks, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.task: Task | None = None


class Workers:
    """A pool that puts a new worker in the place of a dead one."""

    def __init__(self, count: int) -> None:
        self.workers = [Worker() for _ in range(count)]
        self.deaths = 0

    def run(self, tasks: Iterable[Task]) -> Iterable[Outcome]:
        """Runs tasks and yields what became of each, as it comes."""
        waiting = iter(tasks)
        while True:
            for worker in self.workers:
                if worker.task is None and (task := next(waiting, None)) is not None:
                    worker.task = task
                    worker.tasks.send(task)
            busy = {worker.tasks: worker for worker in self.workers if worker.task is not None}
            if not busy:
                return
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                assert worker.task is not None
                task, worker.task = worker.task, None
                try:
                    rows, failure = worker.tasks.recv()
                except EOFError:
                    worker.process.join()
                    worker.tasks.close()
                    self.deaths += 1
                    self.workers[self.workers.index(worker)] = Worker()
                    rows = failure = None
                yield Outcome(task, rows, failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.tasks.close()
