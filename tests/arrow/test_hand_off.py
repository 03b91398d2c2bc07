"""Hand-offs: who reads the result when, memory of the caller's own, and failures on the way."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import multiprocessing.shared_memory
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from copied_result import read_table, stored_bytes

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Cursor
    from seakernel.local import LocalWarehouse

WIDE = (
    "SELECT id, id * 0.5D AS half, if(id % 3 = 0, NULL, 'row ' || id) AS text, CAST(id AS DECIMAL(12,2)) AS amount, "
    "id % 2 = 0 AS even, timestamp_micros(id) AS at, array(id, NULL) AS list, map('k', id) AS map FROM range({rows})"
)


def handed_off(cursor: Cursor, mode: str) -> pa.Table:
    if mode == "capsule":
        return pa.RecordBatchReader.from_stream(cursor.hand_off()).read_all()
    if mode == "ipc":
        return pa.ipc.open_stream(cursor.hand_off("ipc").read_all()).read_all()
    copied = cursor.hand_off("copy", allocate=bytearray)
    return read_table(copied.layout, copied.memory)


MODES = ("capsule", "ipc", "copy")


def hand_off(cursor: Cursor, mode: str) -> Any:
    return cursor.hand_off(mode, allocate=bytearray if mode == "copy" else None)  # type: ignore[call-overload]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_read_is_handed_off(chunked_cursor: Cursor, mode: str) -> None:
    chunked_cursor.execute(WIDE.format(rows=5000))
    rows = [*chunked_cursor.fetchmany(310), chunked_cursor.fetchone()]
    rest = handed_off(chunked_cursor, mode)
    assert [row.id for row in rows if row] + rest["id"].to_pylist() == list(range(5000))
    whole = chunked_cursor.execute(WIDE.format(rows=5000)).fetchall_arrow()
    assert rest.combine_chunks() == whole[311:].combine_chunks()
    assert rest.schema.equals(whole.schema, check_metadata=True)


@pytest.mark.parametrize("second", MODES)
@pytest.mark.parametrize("first", MODES)
def test_a_result_is_handed_off_once(chunked_cursor: Cursor, first: str, second: str) -> None:
    chunked_cursor.execute(WIDE.format(rows=5000))
    given = hand_off(chunked_cursor, first)
    message = "`hand_off\\(\\)` has read the result" if first == "copy" else "handed over"
    with pytest.raises(seakernel.InterfaceError, match=message):
        hand_off(chunked_cursor, second)
    with pytest.raises(seakernel.InterfaceError, match=message):
        chunked_cursor.arrow()
    del given
    assert chunked_cursor.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("mode", MODES)
def test_a_result_that_was_read_whole_is_not_handed_off(cursor: Cursor, mode: str) -> None:
    cursor.execute("SELECT 1 AS one").arrow()
    with pytest.raises(seakernel.InterfaceError, match=r"`hand_off\(\)` would return no rows: `arrow\(\)` has read"):
        hand_off(cursor, mode)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_handed_off_outlives_the_cursor(chunked: LocalWarehouse, mode: str) -> None:
    with chunked.connect() as connection, connection.cursor() as cursor:
        given = hand_off(cursor.execute("SELECT id FROM range(5000)"), mode)
        cursor.close()
        if mode == "copy":
            table = read_table(given.layout, given.memory)
        else:
            table = pa.ipc.open_stream(given.read_all()).read_all() if mode == "ipc" else pa.table(given)
    assert table["id"].to_pylist() == list(range(5000))


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_result_has_its_schema(cursor: Cursor, mode: str) -> None:
    table = handed_off(cursor.execute(WIDE.format(rows=0)), mode)
    assert table.num_rows == 0
    assert table.schema.equals(cursor.execute(WIDE.format(rows=0)).arrow().schema, check_metadata=True)


@pytest.mark.parametrize(
    ("mode", "allocate", "message"),
    [
        ("capsul", None, "`mode` is `capsul`; expected one of `capsule`, `ipc`, `copy`; did you mean `capsule`?"),
        ("zero", None, "`mode` is `zero`; expected one of `capsule`, `ipc`, `copy`"),
        (
            "copy",
            None,
            "`allocate` is missing: mode `copy` needs a callable that returns writable memory, such as `bytearray`",
        ),
        (
            "copy",
            7,
            "`allocate` is missing: mode `copy` needs a callable that returns writable memory, such as `bytearray`",
        ),
        ("ipc", bytearray, "`allocate` is for mode `copy`; mode `ipc` allocates nothing of the caller's"),
    ],
)
def test_wrong_arguments_are_named_and_read_nothing(cursor: Cursor, mode: str, allocate: Any, message: str) -> None:
    cursor.execute("SELECT 1 AS one")
    with pytest.raises(seakernel.ProgrammingError) as caught:
        cursor.hand_off(mode, allocate=allocate)  # type: ignore[call-overload]
    assert caught.value.message == message
    assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("allocate", "found"),
    [
        (lambda size: bytearray(size - 1), "2431 bytes"),
        (bytes, "memory that is read-only"),
        (lambda size: memoryview(bytearray(2 * size))[::2], "memory that is not contiguous"),
        (lambda size: None, "`NoneType`, which has no buffer"),
    ],
    ids=["too small", "read-only", "not contiguous", "no buffer"],
)
def test_memory_that_will_not_do_ends_the_result(
    chunked_cursor: Cursor, allocate: Callable[[int], Any], found: str
) -> None:
    chunked_cursor.execute("SELECT id FROM range(5000)")
    with pytest.raises(seakernel.ProgrammingError) as caught:
        chunked_cursor.hand_off("copy", allocate=allocate)
    # The first batch has 300 rows of 8 bytes.
    assert caught.value.message == f"`allocate(2432)` returned {found}; expected 2432 writable bytes"
    with pytest.raises(seakernel.InterfaceError, match="the result is closed"):
        chunked_cursor.fetchall()
    assert chunked_cursor.execute("SELECT 1").fetchall() == [(1,)]


class PoolIsEmptyError(Exception):
    pass


@pytest.mark.parametrize("raised", [PoolIsEmptyError, KeyboardInterrupt, MemoryError])
def test_an_exception_of_the_allocator_is_passed_on(
    chunked: LocalWarehouse, raised: type[BaseException], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    memory: list[bytearray] = []

    def allocate(size: int) -> bytearray:
        if len(memory) == 7:
            raise raised
        memory.append(bytearray(size))
        return memory[-1]

    with chunked.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM range(5000)")
        with pytest.raises(raised) as caught:
            cursor.hand_off("copy", allocate=allocate)
        assert type(caught.value) is raised
        assert len(memory) == 7
        with pytest.raises(seakernel.InterfaceError, match="the result is closed"):
            cursor.fetchall()
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    for piece in memory:
        piece.clear()  # raises where anybody still refers to it
    assert eventually(lambda: seakernel._seakernel._alive_tasks() == 0)


def test_a_cancel_from_another_thread_ends_a_copy(chunked_cursor: Cursor) -> None:
    def allocate(size: int) -> bytearray:
        thread = threading.Thread(target=chunked_cursor.cancel)
        thread.start()
        thread.join()
        return bytearray(size)

    chunked_cursor.execute("SELECT id FROM range(5000)")
    with pytest.raises(seakernel.OperationalError, match="was cancelled") as caught:
        chunked_cursor.hand_off("copy", allocate=allocate)
    assert caught.value.kind == "Cancelled"


def test_copies_keep_to_their_memory(chunked_cursor: Cursor) -> None:
    asked: list[int] = []

    def allocate(size: int) -> memoryview:
        asked.append(size)
        return memoryview(bytearray(b"\xaa" * (size + 100)))

    # One result, read again and again: what is under a null differs from run to run.
    statement = chunked_cursor.connection.submit(WIDE.format(rows=5000))
    copied = statement.cursor().hand_off("copy", allocate=allocate)
    assert asked == [batch["byte_count"] for batch in copied.layout["batches"]]
    assert len(asked) == len(list(statement.cursor().batches())) > 10
    assert all(size % 64 == 0 for size in asked)
    assert all(bytes(piece[size:]) == b"\xaa" * 100 for piece, size in zip(copied.memory, asked, strict=True))
    again = statement.cursor().hand_off("copy", allocate=bytearray)
    assert again.layout == copied.layout
    assert again.memory == [piece[:size] for piece, size in zip(copied.memory, asked, strict=True)]


def test_nothing_refers_to_the_memory_afterwards(cursor: Cursor) -> None:
    copied = cursor.execute(WIDE.format(rows=100)).hand_off("copy", allocate=bytearray)
    (memory,) = copied.memory
    memory.append(0)  # raises where its buffer is held


def test_a_layout_travels_as_json_and_as_pickle(chunked_cursor: Cursor) -> None:
    table = chunked_cursor.execute(WIDE.format(rows=1000)).fetchall_arrow()
    copied = chunked_cursor.execute(WIDE.format(rows=1000)).hand_off("copy", allocate=bytearray)
    for layout in (json.loads(json.dumps(copied.layout)), pickle.loads(pickle.dumps(copied.layout))):
        assert layout == copied.layout
        read = read_table(layout, copied.memory)
        assert read == table
        assert read.schema.equals(table.schema, check_metadata=True)


def test_another_process_reads_shared_memory(chunked_cursor: Cursor) -> None:
    segments: list[multiprocessing.shared_memory.SharedMemory] = []

    def allocate(size: int) -> memoryview:
        segments.append(multiprocessing.shared_memory.SharedMemory(create=True, size=size))
        return segments[-1].buf

    copied = chunked_cursor.execute("SELECT id FROM range(5000)").hand_off("copy", allocate=allocate)
    script = """
import json, sys
from multiprocessing import resource_tracker, shared_memory
resource_tracker.register = lambda *_: None  # the segments are the parent's
layout, names = json.loads(sys.argv[1]), sys.argv[2:]
total = 0
for batch, name in zip(layout["batches"], names, strict=True):
    segment = shared_memory.SharedMemory(name)
    place = batch["columns"][0]["buffers"][1]
    values = segment.buf[place["offset"] : place["offset"] + place["length"]].cast("q")
    total += sum(values)
    values.release()
    segment.close()
print(total)
"""
    try:
        command = [sys.executable, "-c", script, json.dumps(copied.layout), *(segment.name for segment in segments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    finally:
        copied.memory.clear()
        for segment in segments:
            segment.close()
            segment.unlink()
    assert int(done.stdout) == sum(range(5000))


def test_a_stream_comes_a_batch_at_a_time_into_files_and_sockets(chunked_cursor: Cursor) -> None:
    table = chunked_cursor.execute(WIDE.format(rows=5000)).fetchall_arrow()
    batches = table["id"].num_chunks
    assert batches > 10
    pieces = list(chunked_cursor.execute(WIDE.format(rows=5000)).hand_off("ipc"))
    assert len(pieces) == batches + 1
    assert {len(piece) % 8 for piece in pieces} == {0}
    assert pieces[-1] == b"\xff\xff\xff\xff\0\0\0\0"
    file = io.BytesIO()
    file.writelines(pieces)
    assert pa.ipc.open_stream(file.getvalue()).read_all() == table

    reading, writing = socket.socketpair()
    with reading, ThreadPoolExecutor(1) as pool, reading.makefile("rb") as received:
        read = pool.submit(lambda: pa.ipc.open_stream(received).read_all())
        with writing:
            for piece in chunked_cursor.execute(WIDE.format(rows=5000)).hand_off("ipc"):
                writing.sendall(piece)
        assert read.result(timeout=60) == table


def test_a_stream_whose_download_fails_has_no_end() -> None:
    from seakernel.local import LocalWarehouse

    with (
        LocalWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0) as own,
        own.connect(retry={"max_attempts": 1}, results={"max_concurrent_downloads": 1}) as connection,
    ):
        cursor = connection.cursor()
        own.faults([{"on": "download", "chunk_index": 3, "times": "always", "do": {"status": {"code": 404}}}])
        cursor.execute("SELECT id FROM range(5000)")
        stream = cursor.hand_off("ipc")
        written = io.BytesIO()
        with pytest.raises(seakernel.Error) as caught:
            written.writelines(stream)
        assert caught.value.statement_id == cursor.statement_id
        with pytest.raises(seakernel.Error):
            next(stream)
        begun = pa.ipc.open_stream(written.getvalue())
        rows = sum(batch.num_rows for batch in begun)
        assert 0 < rows < 5000
        assert not written.getvalue().endswith(b"\xff\xff\xff\xff\0\0\0\0")


def test_a_stream_that_lost_a_batch_has_no_end(chunked_cursor: Cursor) -> None:
    stream = chunked_cursor.execute(WIDE.format(rows=5000)).hand_off("ipc")
    next(stream)
    assert stream._encoder is not None
    stream._encoder.finish()  # so that the next batch cannot be encoded
    with pytest.raises(seakernel.InternalError, match="the stream has ended, or broken off"):
        next(stream)
    for _ in range(2):
        with pytest.raises(seakernel.InterfaceError, match="it has no end; execute the statement again"):
            stream.read_all()


def test_threads_share_the_pieces_of_a_stream(chunked_cursor: Cursor) -> None:
    stream = chunked_cursor.execute("SELECT id FROM range(20000)").hand_off("ipc")
    pieces: list[bytes] = []

    def read(_: int) -> None:
        pieces.extend(stream)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert sum(piece.endswith(b"\xff\xff\xff\xff\0\0\0\0") for piece in pieces) == 1


@pytest.mark.parametrize("read", ["fetchone", "arrow", "hand_off"])
def test_an_allocator_cannot_read_what_is_copied(chunked_cursor: Cursor, read: str) -> None:
    def allocate(size: int) -> bytearray:
        getattr(chunked_cursor, read)()
        return bytearray(size)

    chunked_cursor.execute("SELECT id FROM range(5000)")
    with pytest.raises(seakernel.InterfaceError, match=r"handed over|`hand_off\(\)` has read"):
        chunked_cursor.hand_off("copy", allocate=allocate)
    with pytest.raises(seakernel.InterfaceError, match="the result is closed"):
        chunked_cursor.fetchone()


@pytest.mark.parametrize("mode", MODES)
def test_one_of_two_threads_gets_the_result(chunked_cursor: Cursor, mode: str) -> None:
    both = threading.Barrier(2)

    def run(_: int) -> int | None:
        both.wait()
        try:
            return handed_off(chunked_cursor, mode).num_rows
        except seakernel.InterfaceError:
            return None

    for _ in range(5):
        chunked_cursor.execute("SELECT id FROM range(5000)")
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(run, range(2)), key=str) == [5000, None]


@pytest.mark.parametrize("mode", MODES)
def test_one_of_two_tasks_gets_the_result(chunked: LocalWarehouse, mode: str) -> None:
    async def main() -> list[Any]:
        place = chunked.server_hostname, chunked.http_path, chunked.access_token
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT id FROM range(5000)")
            allocate = bytearray if mode == "copy" else None
            calls = (cursor.hand_off(mode, allocate=allocate) for _ in range(2))  # type: ignore[call-overload]
            given, refused = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(refused, seakernel.InterfaceError)
            assert not isinstance(given, BaseException)
            if mode == "copy":
                return read_table(given.layout, given.memory)["id"].to_pylist()
            if mode == "capsule":
                return pa.table(given)["id"].to_pylist()
            rows = pa.ipc.open_stream(await given.read_all()).read_all()["id"].to_pylist()
            await given.close()
            assert await given.read_all() == b""
            return rows

    assert asyncio.run(main()) == list(range(5000))


def test_modes_need_neither_pyarrow_nor_numpy(chunked: LocalWarehouse) -> None:
    script = """
import sys, seakernel
cursor = seakernel.connect(*sys.argv[1:]).cursor()
cursor.execute("SELECT id FROM range(5000)").hand_off().__arrow_c_stream__()
assert len(cursor.execute("SELECT id FROM range(5000)").hand_off("ipc").read_all()) > 40_000
copied = cursor.execute("SELECT id FROM range(5000)").hand_off("copy", allocate=bytearray)
assert sum(map(len, copied.memory)) > 40_000
assert not [name for name in sys.modules if name.split(".")[0] in {"pyarrow", "numpy", "pandas"}]
"""
    place = [chunked.server_hostname, chunked.http_path, chunked.access_token]
    subprocess.run([sys.executable, "-c", script, *place], check=True, timeout=60)


def digest(table: pa.Table) -> str:
    found = hashlib.sha256()
    for piece in stored_bytes(table):
        found.update(piece)
    return found.hexdigest()


@pytest.mark.timeout(600)
def test_five_million_rows_are_the_same_in_every_mode() -> None:
    from seakernel.local import LocalWarehouse

    rows = 5_000_000
    sql = f"SELECT id, if(id % 7 = 0, NULL, id * 3) AS some, id % 2 = 0 AS even FROM range({rows})"
    with (
        LocalWarehouse(chunk_rows=250_001, batch_rows=9_973, inline_bytes=0) as own,
        own.connect() as connection,
    ):
        digests = {}
        statement = connection.submit(sql)
        for mode in MODES:
            table = handed_off(statement.cursor(), mode)
            assert table.num_rows == rows
            assert table["id"].num_chunks > 500
            digests[mode] = digest(table)
            del table
            gc.collect()
    assert len(set(digests.values())) == 1, digests


@pytest.mark.timeout(300)
def test_sixteen_threads_hand_off_at_once(chunked: LocalWarehouse) -> None:
    sql = WIDE.format(rows=5000)
    start = threading.Barrier(16)
    with chunked.connect() as connection:
        statement = connection.submit(sql)
        wanted = digest(statement.cursor().fetchall_arrow())

        def run(number: int) -> set[str]:
            start.wait()
            return {digest(handed_off(statement.cursor(), MODES[(number + turn) % 3])) for turn in range(3)}

        with ThreadPoolExecutor(16) as pool:
            assert set().union(*pool.map(run, range(16))) == {wanted}


def test_of_a_hand_off_and_a_fetch_at_once_the_second_is_refused(chunked: LocalWarehouse) -> None:
    sql, late = WIDE.format(rows=5000), [{"on": "download", "after": 3, "times": 1, "do": {"delay": {"ms": 300}}}]

    async def main() -> None:
        place = chunked.server_hostname, chunked.http_path, chunked.access_token
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            chunked.faults(late)
            await cursor.execute(sql)
            assert (await cursor.fetchmany(2))[1].id == 1
            handing = asyncio.ensure_future(cursor.hand_off())
            await asyncio.sleep(0)
            fetches = (cursor.fetchone, cursor.fetchall, cursor.arrow, cursor.__anext__, cursor.batches().__anext__)
            for fetch in fetches:
                with pytest.raises(seakernel.InterfaceError, match="was handed over by"):
                    await fetch()
            assert not handing.done()
            assert pa.table(await handing)["id"].to_pylist() == list(range(2, 5000))
            with pytest.raises(seakernel.InterfaceError, match="was handed over by"):
                await cursor.fetchone()

            chunked.faults(late)
            await cursor.execute(sql)
            fetching = asyncio.ensure_future(cursor.fetchmany(4000))
            await asyncio.sleep(0)
            for handing_off in (
                cursor.hand_off(),
                cursor.hand_off("ipc"),
                cursor.hand_off("copy", allocate=bytearray),
            ):
                with pytest.raises(seakernel.InterfaceError, match="another task is fetching"):
                    await handing_off
            assert not fetching.done()
            assert [row.id for row in await fetching] == list(range(4000))
            assert pa.table(await cursor.hand_off())["id"].to_pylist() == list(range(4000, 5000))

    asyncio.run(main())


def test_asyncio_hands_off_in_every_mode(chunked: LocalWarehouse) -> None:
    async def main() -> list[pa.Table]:
        place = chunked.server_hostname, chunked.http_path, chunked.access_token
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            sql = WIDE.format(rows=5000)
            statement = await connection.submit(sql)
            capsule = pa.table(await (await statement.cursor()).hand_off())
            await (await cursor.execute(sql)).hand_off()
            with pytest.raises(seakernel.InterfaceError, match=r"`hand_off\(\)` has read the result"):
                await cursor.hand_off("ipc")
            stream = await (await cursor.execute(sql)).hand_off("ipc")
            with pytest.raises(seakernel.InterfaceError, match="handed over"):
                await cursor.hand_off()
            await cursor.close()
            assert len([piece async for piece in stream]) == capsule["id"].num_chunks + 1 > 10
            streamed = await (await (await statement.cursor()).hand_off("ipc")).read_all()
            another = await statement.cursor()
            copied = await another.hand_off("copy", allocate=bytearray)
            with pytest.raises(seakernel.InterfaceError, match="handed over"):
                await another.arrow()
            await another.execute(sql)
            with pytest.raises(ZeroDivisionError):
                await another.hand_off("copy", allocate=lambda size: bytearray(size // 0))
            with pytest.raises(seakernel.InterfaceError, match="the result is closed"):
                await another.fetchall()
            with pytest.raises(seakernel.ProgrammingError, match="did you mean `ipc`"):
                await another.hand_off("ipcs")  # type: ignore[call-overload]
            return [
                capsule,
                pa.ipc.open_stream(streamed).read_all(),
                read_table(copied.layout, copied.memory),
            ]

    capsule, streamed, copied = asyncio.run(main())
    assert capsule["id"].to_pylist() == list(range(5000))
    assert stored_bytes(capsule) == stored_bytes(streamed) == stored_bytes(copied)
