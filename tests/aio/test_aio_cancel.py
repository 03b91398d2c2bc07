"""Cancelled tasks: at any moment, without losing a row or leaving a statement running."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import seakernel
from seakernel import _seakernel, aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from remote_warehouse import RemoteWarehouse

    Run = Callable[[Callable[[], Awaitable[Any]]], Any]

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


def place(warehouse: LocalWarehouse) -> dict[str, str]:
    return {
        "server_hostname": warehouse.server_hostname,
        "http_path": warehouse.http_path,
        "access_token": warehouse.access_token,
    }


@pytest.fixture
def naming() -> Iterator[LocalWarehouse]:
    """A warehouse that names statements at once, instead of holding the answer until they are done."""
    with LocalWarehouse(switches={"running_answers": 100_000}) as warehouse:
        yield warehouse


async def cancelled_at(moment: int, random_: random.Random, call: Coroutine[Any, Any, Any]) -> Any:
    """Cancels `call` after some turns of the loop or some time; returns its result where it was faster, else None."""
    task = asyncio.ensure_future(call)
    if moment % 2:
        for _ in range(random_.randrange(12)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(random_.random() * 0.003)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


@pytest.mark.parametrize("seed", range(4))
def test_a_cancelled_fetch_leaves_its_rows_to_the_next(run: Run, seed: int) -> None:
    random_ = random.Random(seed)
    faults = [
        {"on": "download", "chunk_index": index, "do": {"delay": {"ms": random_.randrange(12)}}} for index in range(40)
    ]
    with LocalWarehouse(chunk_rows=500, batch_rows=150, inline_bytes=0, faults=faults) as warehouse:

        async def main() -> None:
            options = {"max_concurrent_downloads": 2, "memory_budget_bytes": 20_000}
            async with (
                aio.connect(**place(warehouse), results=options) as connection,  # type: ignore[arg-type]
                connection.cursor() as cursor,
            ):
                await cursor.execute("SELECT id FROM range(20000)")
                seen: list[int] = []
                batches = cursor.batches()

                async def one() -> list[int]:
                    row = await cursor.fetchone()
                    return [] if row is None else [row[0]]

                async def many() -> list[int]:
                    return [row[0] for row in await cursor.fetchmany(random_.choice([1, 7, 500, 1700]))]

                async def everything() -> list[int]:
                    return [row[0] for row in await cursor.fetchall()]

                async def arrow() -> list[int]:
                    table = await cursor.fetchmany_arrow(random_.choice([3, 400, 900]))
                    return table["id"].to_pylist()  # type: ignore[no-any-return]

                async def batch() -> list[int]:
                    taken = await anext(batches, None)
                    return [] if taken is None else pa.table(taken)["id"].to_pylist()

                moment = cancelled = 0
                while len(seen) < 20_000 and cancelled < 400:
                    moment += 1
                    call = random_.choice([one, many, many, arrow, arrow, batch, everything])
                    rows = await cancelled_at(moment, random_, call())
                    cancelled += rows is None
                    seen += rows or []
                assert cancelled > 10
                seen += await everything()
                assert seen == list(range(20_000))

        run(main)


def test_a_timeout_leaves_the_rows_too(run: Run) -> None:
    fault = {"on": "download", "chunk_index": 1, "do": {"delay": {"ms": 400}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse:

        async def main() -> None:
            async with aio.connect(**place(warehouse)) as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT id FROM range(3000)")
                for fetch in (cursor.fetchall, cursor.fetchall_arrow):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(fetch(), 0.05)
                if hasattr(asyncio, "timeout"):
                    with pytest.raises(asyncio.TimeoutError):
                        async with asyncio.timeout(0.05):
                            await cursor.fetchmany(1500)
                assert [row[0] async for row in cursor] == list(range(3000))

        run(main)


def cancelled_statements(warehouse: LocalWarehouse) -> tuple[set[str], set[str]]:
    """The statements that never end, and those that somebody has cancelled."""
    requests = warehouse.requests()
    sent = {entry["statement_id"] for entry in requests if entry["operation"] == "execute"}
    return sent, {entry["statement_id"] for entry in requests if entry["operation"] == "cancel"}


@pytest.mark.parametrize("seed", range(3))
def test_a_cancelled_execute_cancels_the_statement(
    run: Run, seed: int, naming: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    random_ = random.Random(seed)

    async def main() -> None:
        async with aio.connect(**place(naming)) as connection, connection.cursor() as cursor:
            for moment in range(40):
                task = asyncio.ensure_future(cursor.execute(NEVER_ENDING))
                await asyncio.sleep(random_.random() * (0.002 if moment % 2 else 0.08))
                task.cancel()
                begin = time.monotonic()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert time.monotonic() - begin < 2
                assert cursor.description is None
            # Before the session's end, which would end them as well; and while this loop stands still.
            assert eventually(lambda: naming.counters()["live_statements"] == 0)
            sent, _ = cancelled_statements(naming)
            assert len(sent) > 10
            assert eventually(lambda: cancelled_statements(naming)[1] == sent)
            naming.switches()
            await cursor.execute("SELECT 1")
            assert await cursor.fetchall() == [(1,)]

    run(main)


def test_a_cancelled_execute_names_its_statement_in_the_end(
    naming: LocalWarehouse, eventually: Callable[..., Any]
) -> None:
    naming.faults([{"on": "execute", "do": {"delay": {"ms": 300}}}])

    async def main() -> None:
        async with aio.connect(**place(naming)) as connection, connection.cursor() as cursor:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(cursor.execute(NEVER_ENDING), 0.05)
            assert cursor.statement_id is None
            assert eventually(lambda: cursor.statement_id)
            assert eventually(lambda: {cursor.statement_id} == cancelled_statements(naming)[1])

    asyncio.run(main())


def test_a_group_of_tasks(run: Run, naming: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    import anyio

    async def main() -> None:
        async with aio.connect(**place(naming)) as connection:
            with anyio.move_on_after(0.3) as scope:
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(connection.cursor().execute, NEVER_ENDING)
            assert scope.cancelled_caught
            assert eventually(lambda: naming.counters()["live_statements"] == 0)
            sent, _ = cancelled_statements(naming)
            assert len(sent) == 20
            assert eventually(lambda: cancelled_statements(naming)[1] == sent)

    run(main)


@pytest.mark.parametrize("seed", range(2))
def test_a_cancelled_connect_leaves_no_session(run: Run, seed: int, eventually: Callable[..., Any]) -> None:
    random_ = random.Random(seed)
    fault = {"on": "open_session", "times": "always", "do": {"delay": {"ms": 20}}}
    with LocalWarehouse(faults=[fault]) as warehouse:

        async def connected() -> bool:
            async with aio.connect(**place(warehouse)):
                return True

        async def main() -> None:
            for _ in range(30):
                task = asyncio.ensure_future(connected())
                await asyncio.sleep(random_.random() * 0.05)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

        run(main)
        assert eventually(
            lambda: (
                warehouse.counters()["open_sessions"] == 0
                and len([entry for entry in warehouse.requests() if entry["operation"] == "close_session"]) > 5
            )
        )


def test_cancel_from_another_task(run: Run, naming: LocalWarehouse, eventually: Callable[..., Any]) -> None:
    async def main() -> None:
        async with aio.connect(**place(naming)) as connection, connection.cursor() as cursor:
            executing = asyncio.ensure_future(cursor.execute(NEVER_ENDING))
            await asyncio.sleep(0)
            assert eventually(lambda: cursor.statement_id)
            with pytest.raises(seakernel.InterfaceError, match="another task is executing"):
                await cursor.execute("SELECT 1")
            await cursor.cancel()
            with pytest.raises(seakernel.OperationalError) as raised:
                await executing
            assert (raised.value.kind, raised.value.statement_id) == ("Cancelled", cursor.statement_id)
            naming.switches()
            await cursor.execute("SELECT 1")
            assert await cursor.fetchall() == [(1,)]

    run(main)


@pytest.mark.parametrize("method", ["cancel", "close", "execute"])
def test_a_waiting_fetch_ends(run: Run, method: str) -> None:
    fault = {"on": "download", "chunk_index": 1, "times": "always", "do": {"delay": {"ms": 5000}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse:

        async def main() -> None:
            async with aio.connect(**place(warehouse)) as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT id FROM range(3000)")
                fetching = [asyncio.ensure_future(cursor.fetchall()), asyncio.ensure_future(cursor.fetchall_arrow())]
                await asyncio.sleep(0.05)
                begin = time.monotonic()
                if method == "execute":
                    await cursor.execute("SELECT 5 AS five")
                    assert await cursor.fetchall() == [(5,)]
                else:
                    await getattr(cursor, method)()
                kind = ("OperationalError", "Cancelled") if method == "cancel" else ("InterfaceError", "Closed")
                for raised in await asyncio.gather(*fetching, return_exceptions=True):
                    assert (type(raised).__name__, raised.kind) == kind  # type: ignore[union-attr]
                assert time.monotonic() - begin < 3

        run(main)


def test_tasks_share_a_result_and_each_row_goes_to_one(run: Run, files: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT id FROM range(30000)")

            async def drain(size: int) -> list[int]:
                seen: list[int] = []
                while rows := await cursor.fetchmany(size):
                    seen += [row[0] for row in rows]
                return seen

            parts = await asyncio.gather(*map(drain, [7, 100, 333, 1000, 5000]))
            assert sorted(number for part in parts for number in part) == list(range(30_000))

    run(main)


def test_a_cancelled_close_closes_all_the_same(eventually: Callable[..., Any]) -> None:
    faults = [{"on": "close_session", "do": {"delay": {"ms": 200}}}]
    with LocalWarehouse(faults=faults) as warehouse:

        async def main() -> None:
            connection = await aio.connect(**place(warehouse))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(connection.close(), 0.02)
            assert connection.closed

        asyncio.run(main())
        assert eventually(lambda: warehouse.counters()["open_sessions"] == 0)


def test_nothing_is_left_of_cancelled_calls(remote: RemoteWarehouse, eventually: Callable[..., Any]) -> None:
    random_ = random.Random(7)
    before = _seakernel._alive_tasks()

    async def main() -> None:
        async with aio.connect(**remote.place) as connection:

            async def query() -> None:
                async with connection.cursor() as cursor:
                    await cursor.execute("SELECT id FROM range(30000)")
                    await cursor.fetchmany(1500)
                    await cursor.fetchall_arrow()

            for moment in range(40):
                with contextlib.suppress(asyncio.TimeoutError):
                    await cancelled_at(moment * 2, random_, asyncio.wait_for(query(), random_.random() * 0.05))
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(query(), random_.random() * 0.05)

    asyncio.run(main())
    gone = {"open_sessions": 0, "statements": 0, "live_statements": 0}
    assert eventually(lambda: {key: remote.ask("counters")[key] for key in gone} == gone)
    # Those of earlier tests may still look for their warehouses.
    assert eventually(lambda: _seakernel._alive_tasks() <= before), (before, _seakernel._alive_tasks())


def test_cancel_ends_executemany(run: Run, warehouse: LocalWarehouse) -> None:
    async def main() -> None:
        async with aio.connect(**place(warehouse)) as connection, connection.cursor() as cursor:
            await cursor.execute("CREATE OR REPLACE TABLE main.default.aio_cancelled (n INT)")
            begun = asyncio.Event()

            def sets() -> Iterator[tuple[int]]:
                for number in range(100_000):
                    begun.set()
                    yield (number,)

            sql = "UPDATE main.default.aio_cancelled SET n = 1 WHERE n = ?"
            executing = asyncio.ensure_future(cursor.executemany(sql, sets()))
            await begun.wait()
            await cursor.cancel()
            with pytest.raises(seakernel.OperationalError, match="no more were sent") as raised:
                await executing
            assert raised.value.kind == "Cancelled"
            assert raised.value.applied_sets is not None
            assert raised.value.applied_sets < 100

    run(main)
