"""Statements that run by themselves, under an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel import aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Run = Callable[[Callable[[], Awaitable[Any]]], Any]

NEVER_ENDING = "SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000) AS b WHERE a.id * b.id = 7"


def test_one_process_submits_and_another_reads(run: Run, files: dict[str, str]) -> None:
    script = """
import asyncio, sys
from seakernel import aio
async def main():
    async with aio.connect(*sys.argv[1:4]) as connection:
        print((await connection.submit("SELECT id, id * :k AS k FROM range(5000)", {"k": 2})).statement_id)
asyncio.run(main())
"""
    command = [sys.executable, "-c", script, *files.values()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    async def main() -> None:
        async with aio.connect(**files) as connection:
            statement = await connection.attach(done.stdout.strip())
            assert statement.statement_id in repr(statement)
            cursor = await statement.cursor(arraysize=2)
            assert cursor.statement_id == statement.statement_id
            assert await cursor.fetchmany() == [(0, 0), (1, 2)]
            first, second = await asyncio.gather(statement.cursor(), statement.cursor())
            assert (await first.arrow())["k"].to_pylist() == list(range(0, 10_000, 2))
            assert [row[1] async for row in second] == list(range(0, 10_000, 2))
            assert await statement.state() == "Succeeded"
            await statement.close()
            await statement.close()
            with pytest.raises(seakernel.ProgrammingError) as raised:
                await connection.attach(statement.statement_id)
            assert raised.value.kind == "NotFound"

    run(main)


def test_states_and_cancel(run: Run, whole: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**whole) as connection, aio.connect(**whole) as other:
            statement = await connection.submit(NEVER_ENDING)
            attached = await other.attach(statement.statement_id)
            assert await attached.state() in {"Pending", "Running"}
            # A cancelled wait is not the statement's end.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(statement.cursor(), 0.1)
            assert await statement.state() in {"Pending", "Running"}
            waiting = asyncio.ensure_future(statement.cursor())
            await asyncio.sleep(0)
            await attached.cancel()
            with pytest.raises(seakernel.OperationalError) as raised:
                await waiting
            assert (raised.value.kind, raised.value.statement_id) == ("Cancelled", statement.statement_id)
            assert await statement.state() == "Canceled"
            await statement.close()

    run(main)


def test_a_submit_that_is_cancelled_leaves_no_statement(eventually: Callable[..., Any]) -> None:
    fault = {"on": "execute", "times": "always", "do": {"delay": {"ms": 30}}}
    with LocalWarehouse(faults=[fault]) as warehouse:

        async def main() -> None:
            place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
            async with aio.connect(*place) as connection:
                kept = []
                for moment in range(20):
                    with contextlib.suppress(asyncio.TimeoutError):
                        kept.append(await asyncio.wait_for(connection.submit(NEVER_ENDING), 0.004 * moment))
                assert 0 < len(kept) < 20
                assert eventually(lambda: warehouse.counters()["live_statements"] == len(kept))
                for statement in kept:
                    await statement.close()

        asyncio.run(main())
        assert eventually(lambda: warehouse.counters()["open_sessions"] == 0)
