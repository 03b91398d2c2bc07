"""Event loops: one after another, several at once, closed ones, forks, exits, Ctrl-C, and none at all."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from child_processes import PROMPT_S, in_child, interrupted

import seakernel
from seakernel import _seakernel, aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from remote_warehouse import RemoteWarehouse

    Run = Callable[[Callable[[], Awaitable[Any]]], Any]

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


async def rows(connection: aio.Connection, count: int) -> list[int]:
    async with connection.cursor() as cursor:
        await cursor.execute(f"SELECT id FROM range({count})")
        return [row[0] for row in await cursor.fetchall()]


def test_a_connection_outlives_its_loop(run: Run, files: dict[str, str]) -> None:
    async def first() -> tuple[aio.Connection, aio.Cursor]:
        connection = await aio.connect(**files)
        cursor = await connection.cursor().execute("SELECT id FROM range(5000)")
        assert len(await cursor.fetchmany(1234)) == 1234
        return connection, cursor

    connection, cursor = run(first)

    async def second() -> None:
        assert [row[0] for row in await cursor.fetchall()] == list(range(1234, 5000))
        assert await rows(connection, 3000) == list(range(3000))
        await connection.close()

    run(second)


def test_loops_of_several_threads_share_a_connection(files: dict[str, str]) -> None:
    async def connect() -> aio.Connection:
        return await aio.connect(**files)

    connection = asyncio.run(connect())
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda count: asyncio.run(rows(connection, count)), [2000, 3000, 1, 4000] * 3))
    assert results == [list(range(count)) for count in [2000, 3000, 1, 4000] * 3]
    asyncio.run(connection.close())


def test_what_a_closed_loop_waited_for_is_cancelled(
    eventually: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with LocalWarehouse(switches={"running_answers": 100_000}) as warehouse:
        place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(aio.connect(*place).__aenter__())
        tasks = [loop.create_task(connection.cursor().execute(NEVER_ENDING)) for _ in range(20)]
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        for task in tasks:
            # What asyncio says of a task that is forgotten is the program's business.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        del tasks, task
        cancelled = lambda: [entry for entry in warehouse.requests() if entry["operation"] == "cancel"]  # noqa: E731
        assert eventually(lambda: len(cancelled()) == 20)
        assert eventually(lambda: warehouse.counters()["live_statements"] == 0)
        gc.collect()
        warehouse.switches()
        assert asyncio.run(rows(connection, 2000)) == list(range(2000))
        asyncio.run(connection.close())
    assert capfd.readouterr().err == ""


def test_a_loop_that_rests_gets_the_answer_later(files: dict[str, str], eventually: Callable[..., Any]) -> None:
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(aio.connect(**files).__aenter__())
    cursor = connection.cursor()
    task = loop.create_task(cursor.execute("SELECT id FROM range(3000)"))
    loop.run_until_complete(asyncio.sleep(0))
    assert eventually(lambda: cursor.statement_id)
    time.sleep(0.2)
    assert loop.run_until_complete(task) is cursor
    assert len(loop.run_until_complete(cursor.fetchall())) == 3000
    loop.run_until_complete(connection.close())
    loop.close()


def test_without_asyncio_a_clear_error(whole: dict[str, str]) -> None:
    import trio

    async def main() -> None:
        with pytest.raises(seakernel.InterfaceError, match="not under trio"):
            await aio.connect(**whole)

    trio.run(main)
    with pytest.raises(seakernel.InterfaceError, match="no asyncio event loop"):
        aio.connect(**whole).__await__().send(None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hundred_queries_at_once_take_no_threads(
    run: Run, remote: RemoteWarehouse, eventually: Callable[..., Any]
) -> None:
    before = _seakernel._alive_tasks()

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    async def main() -> None:
        async with aio.connect(**remote.place) as connection:

            async def query(number: int) -> list[tuple[int, int]]:
                async with connection.cursor() as cursor:
                    await cursor.execute("SELECT id, :n FROM range(2500)", {"n": number})
                    if number % 2:
                        return await cursor.fetchall()
                    return [row async for row in cursor]

            await asyncio.gather(*map(query, range(4)))
            results = await asyncio.gather(*map(query, range(100)))
            assert results == [[(i, number) for i in range(2500)] for number in range(100)]

            at_first = threads()
            remote.ask("switches", running_answers=1_000_000)
            waiting = [asyncio.ensure_future(connection.cursor().execute(NEVER_ENDING)) for _ in range(100)]
            most = 0
            for _ in range(20):
                await asyncio.sleep(0.02)
                most = max(most, threads())
            for task in waiting:
                task.cancel()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(end) for end in ended} == {asyncio.CancelledError}
            remote.ask("switches")
            # Threads that decode come and go; those that wait would be a hundred.
            assert most <= at_first + 2

    run(main)
    assert eventually(lambda: remote.ask("counters")["statements"] == 0)
    # Those of earlier tests may still look for their warehouses.
    assert eventually(lambda: _seakernel._alive_tasks() <= before), (before, _seakernel._alive_tasks())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork(files: dict[str, str]) -> None:
    async def connect() -> aio.Connection:
        return await aio.connect(**files)

    connection = asyncio.run(connect())

    async def parents(cursor: aio.Cursor) -> None:
        for call in (
            cursor.fetchone,
            cursor.fetchall_arrow,
            lambda: cursor.execute("SELECT 1"),
            lambda: connection.submit("SELECT 1"),
        ):
            with pytest.raises(seakernel.InterfaceError, match="parent process"):
                await call()  # type: ignore[operator]
        await cursor.close()
        await connection.close()

    async def main() -> None:
        cursor = await connection.cursor().execute("SELECT id FROM range(5000)")
        waiting = asyncio.ensure_future(connection.cursor().execute("SELECT id FROM range(20000)"))
        await asyncio.sleep(0)

        def child() -> None:
            # As every framework that forks under a running loop does.
            asyncio.events._set_running_loop(None)

            async def own() -> None:
                async with aio.connect(**files) as mine:
                    assert await rows(mine, 2000) == list(range(2000))
                await parents(cursor)

            asyncio.run(own())

        in_child(child)
        assert len(await (await waiting).fetchall()) == 20_000
        assert len(await cursor.fetchall()) == 5000
        await connection.close()

    asyncio.run(main())


EXITS = {
    "open connection": "loop.run_until_complete(connect())",
    "pending execute": (
        "async def main():\n"
        "    connection = await connect()\n"
        "    global task\n"
        "    task = asyncio.ensure_future(connection.cursor().execute(NEVER_ENDING))\n"
        "    await asyncio.sleep(0.3)\n"
        "loop.run_until_complete(main())"
    ),
    "pending fetches": (
        "async def main():\n"
        "    connection = await connect()\n"
        "    global tasks\n"
        "    async def fetch():\n"
        "        while True: await (await connection.cursor().execute('SELECT id FROM range(20000)')).fetchall()\n"
        "    tasks = [asyncio.ensure_future(fetch()) for _ in range(20)]\n"
        "    await asyncio.sleep(0.3)\n"
        "loop.run_until_complete(main())"
    ),
    "closed loop": (
        "async def main():\n"
        "    connection = await connect()\n"
        "    global tasks\n"
        "    tasks = [asyncio.ensure_future(connection.cursor().execute(NEVER_ENDING)) for _ in range(5)]\n"
        "    await asyncio.sleep(0.1)\n"
        "loop.run_until_complete(main()); loop.close()\n"
        "for task in tasks: task._log_destroy_pending = False"
    ),
    "loop in a daemon thread": (
        "import threading\n"
        "async def main():\n"
        "    connection = await connect()\n"
        "    while True: await (await connection.cursor().execute('SELECT id FROM range(20000)')).fetchall()\n"
        "def run():\n"
        "    try: loop.run_until_complete(main())\n"
        "    except seakernel.Error: pass\n"
        "threading.Thread(target=run, daemon=True).start(); time.sleep(0.5)"
    ),
    "asyncio.run with tasks left": (
        "async def main():\n"
        "    connection = await connect()\n"
        "    for _ in range(5): asyncio.ensure_future(connection.cursor().execute(NEVER_ENDING))\n"
        "    await asyncio.sleep(0.1)\n"
        "asyncio.run(main())"
    ),
}


@pytest.mark.parametrize("name", EXITS)
def test_exit_is_quick_and_silent_and_ends_what_runs(eventually: Callable[..., Any], name: str) -> None:
    prelude = (
        "import asyncio, sys, time, seakernel\n"
        f"NEVER_ENDING = {NEVER_ENDING!r}\n"
        "loop = asyncio.new_event_loop()\n"
        "async def connect(): return await seakernel.aio.connect(*sys.argv[1:])\n"
    )
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0) as warehouse:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", prelude + EXITS[name], *place],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - begin < 10
        assert eventually(lambda: warehouse.counters()["live_statements"] == 0)
        assert eventually(lambda: warehouse.counters()["open_sessions"] == 0)


INTERRUPTED = {
    "connect": """
    ready()
    async with seakernel.aio.connect(host, path, token): pass
""",
    "execute": f"""
    async with seakernel.aio.connect(host, path, token) as connection, connection.cursor() as cursor:
        executing = asyncio.ensure_future(cursor.execute({NEVER_ENDING!r}))
        while cursor.statement_id is None: await asyncio.sleep(0.01)
        ready()
        await executing
""",
    "fetch": """
    cursor = (await seakernel.aio.connect(host, path, token)).cursor()
    await cursor.execute('SELECT id FROM range(5000)')
    ready()
    await cursor.fetchall()
""",
}


@pytest.mark.parametrize("what", INTERRUPTED)
def test_ctrl_c(what: str, eventually: Callable[..., Any]) -> None:
    faults = [
        {"on": "download", "chunk_index": 3, "times": "always", "do": {"delay": {"ms": 5000}}},
    ]
    if what == "connect":
        faults.append({"on": "open_session", "do": {"delay": {"ms": 5000}}})
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=faults, switches={"running_answers": 5}) as warehouse:
        script = f"""
import asyncio
async def main():
{INTERRUPTED[what]}
try:
    asyncio.run(main())
except KeyboardInterrupt:
    report("interrupted")
"""
        if what == "execute":
            warehouse.switches(running_answers=100_000)
        seconds, values = interrupted(warehouse, script)
        assert values == ["interrupted"]
        assert seconds < PROMPT_S
        if what == "execute":
            # The end of the `async with` closes the session at the same time, which ends the statement as well.
            assert {"cancel", "close_session"} & {entry["operation"] for entry in warehouse.requests()}
        assert eventually(lambda: warehouse.counters()["live_statements"] == 0)


def test_a_call_from_another_thread_is_answered_in_its_loop(files: dict[str, str]) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def query() -> tuple[list[int], int]:
        async with aio.connect(**files) as connection:
            return await rows(connection, 2000), threading.get_ident()

    seen, identity = asyncio.run_coroutine_threadsafe(query(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert seen == list(range(2000))
    assert identity == thread.ident
