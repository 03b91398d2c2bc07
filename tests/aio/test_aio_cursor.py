"""Every method of the asynchronous connection and cursor, under each kind of event loop."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Run = Callable[[Callable[[], Awaitable[Any]]], Any]


def test_connect_is_awaited_or_entered(run: Run, whole: dict[str, str]) -> None:
    async def main() -> None:
        connection = await aio.connect(**whole)
        assert not connection.closed
        assert connection.session_id in repr(connection)
        async with connection as same:
            assert same is connection
        assert connection.closed
        async with aio.connect(**whole) as other, other.cursor() as cursor:
            assert cursor.connection is other
            await cursor.execute("SELECT 1")
        assert other.closed
        await other.close()
        with pytest.raises(seakernel.InterfaceError, match="closed"):
            await cursor.execute("SELECT 1")
        with pytest.raises(seakernel.InterfaceError, match="closed"):
            other.cursor()

    run(main)


def test_arguments_are_those_of_the_synchronous_connect(whole: dict[str, str]) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="missing: `access_token`"):
        aio.connect("example.com", "/sql/1.0/warehouses/1")
    with pytest.raises(TypeError, match="did you mean `catalog`"):
        aio.connect(**whole, catalogue="main")  # type: ignore[arg-type]
    with pytest.raises(seakernel.ProgrammingError, match="`auth_type`"):
        aio.connect(**whole, auth_type="azure-cli")  # type: ignore[arg-type]
    theirs, ours = (inspect.signature(connect).parameters for connect in (seakernel.connect, aio.connect))
    assert set(theirs) - set(ours) == {"progress", "staging_allowed_local_path"}
    assert list(ours) == [name for name in theirs if name in ours]

    async def refused() -> None:
        with pytest.raises(seakernel.OperationalError) as raised:
            await aio.connect(**{**whole, "access_token": "another"})
        assert raised.value.http_status in {401, 403}
        with pytest.raises(seakernel.ProgrammingError, match="positive"):
            await aio.connect(**whole, connect_timeout_s=-1)

    asyncio.run(refused())


def test_a_connect_that_nobody_awaits_warns(whole: dict[str, str]) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        aio.connect(**whole)


def test_rows(run: Run, whole: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**whole, schema="default") as connection, connection.cursor(arraysize=2) as cursor:
            assert cursor.arraysize == 2
            assert cursor.description is None
            assert cursor.statement_id is None
            returned = await cursor.execute("SELECT id, id * :k AS k FROM range(10) ORDER BY id", {"k": 3})
            assert returned is cursor
            assert cursor.rowcount == 10
            assert [column[0] for column in cursor.description or ()] == ["id", "k"]
            assert cursor.statement_id == cursor.query_id
            assert cursor.statement_id is not None
            assert cursor.statement_id in repr(cursor)
            assert cursor.truncated is False
            assert await cursor.fetchone() == (0, 0)
            assert await cursor.fetchmany() == [(1, 3), (2, 6)]
            cursor.arraysize = 1
            assert await cursor.fetchmany() == [(3, 9)]
            assert await cursor.fetchmany(0) == []
            assert await anext(cursor) == (4, 12)
            assert await cursor.fetchall() == [(i, 3 * i) for i in range(5, 10)]
            assert await cursor.fetchall() == []
            assert await cursor.fetchone() is None
            assert [row async for row in cursor] == []
            assert cursor.statistics is not None
            assert cursor.statistics.rows == 10
            await cursor.execute("SELECT 1.50, DATE '2024-02-29', TIMESTAMP_NTZ '2024-02-29 01:02:03', NULL")
            assert await cursor.fetchall() == [
                (Decimal("1.50"), dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3), None)  # noqa: DTZ001
            ]
            await cursor.execute("SELECT id FROM range(100)", row_limit=7)
            assert cursor.truncated
            assert len(await cursor.fetchall()) == 7
            with pytest.raises(seakernel.ProgrammingError, match="-1 rows"):
                await cursor.fetchmany(-1)

    run(main)


def test_rows_of_files(run: Run, files: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT id FROM range(20000)")
            seen = []
            async for row in cursor:
                seen.append(row[0])
                if len(seen) == 2500:
                    break
            seen += [row[0] for row in await cursor.fetchmany(4321)]
            seen += (await cursor.fetchmany_arrow(1234))["id"].to_pylist()
            batches = cursor.batches()
            seen += pa.table(await anext(batches))["id"].to_pylist()
            seen += [(await cursor.fetchone() or ())[0]]
            async for batch in batches:
                assert isinstance(batch, seakernel.ArrowTable)
                seen += pa.table(batch)["id"].to_pylist()
                if len(seen) > 12_000:
                    break
            seen += [row[0] for row in await cursor.fetchall()]
            assert seen == list(range(20_000))
            with pytest.raises(StopAsyncIteration):
                await anext(cursor)

    run(main)


def test_arrow(run: Run, files: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            for fetch in (cursor.fetchall_arrow, cursor.arrow):
                await cursor.execute("SELECT id, CAST(id AS STRING) AS s FROM range(5000)")
                assert await cursor.fetchone() == (0, "0")
                table = await fetch()
                assert table["id"].to_pylist() == list(range(1, 5000))
                assert table.schema.names == ["id", "s"]
                if fetch == cursor.fetchall_arrow:
                    assert (await fetch()).num_rows == 0
                else:
                    with pytest.raises(seakernel.InterfaceError, match="would return no rows"):
                        await fetch()
            await cursor.execute("SELECT id FROM range(10) WHERE id < 0")
            assert (await cursor.pl()).shape == (0, 1)
            await cursor.execute("SELECT id FROM range(5000)")
            frame = await cursor.df()
            assert list(frame["id"]) == list(range(5000))
            import duckdb

            await cursor.execute("SELECT id FROM range(5000)")
            relation = await cursor.duckdb(duckdb.connect())
            assert relation.aggregate("sum(id)").fetchall() == [(sum(range(5000)),)]
            await cursor.execute("SELECT id FROM range(10) WHERE id < 0")
            assert [batch async for batch in cursor.batches()] == []

    run(main)


def test_polars(files: dict[str, str]) -> None:
    pytest.importorskip("polars")

    async def main() -> None:
        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT id FROM range(5000)")
            assert (await cursor.pl())["id"].to_list() == list(range(5000))

    asyncio.run(main())


def test_executemany_and_statements_without_rows(run: Run, whole: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**whole) as connection, connection.cursor() as cursor:
            await cursor.execute("CREATE OR REPLACE TABLE main.default.aio_numbers (n INT)")
            with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
                await cursor.fetchall()
            await cursor.executemany("INSERT INTO main.default.aio_numbers VALUES (?)", [(1,), (2,), (3,)])
            assert cursor.rowcount == 3
            await cursor.executemany("INSERT INTO main.default.aio_numbers VALUES (?)", [])
            assert cursor.rowcount == 0
            await cursor.execute("SELECT sum(n) FROM main.default.aio_numbers")
            assert await cursor.fetchall() == [(6,)]
            await cursor.execute("DROP TABLE main.default.aio_numbers")

    run(main)


def test_after_a_failed_executemany_there_is_no_result(run: Run, whole: dict[str, str]) -> None:
    def sets() -> Iterator[tuple[int]]:
        yield from ((number,) for number in range(300))
        raise ValueError("no more")

    async def main() -> None:
        async with aio.connect(**whole) as connection, connection.cursor() as cursor:
            await cursor.execute("CREATE OR REPLACE TABLE main.default.aio_failed (n INT)")
            with pytest.raises(ValueError, match="no more") as failed:
                await cursor.executemany("INSERT INTO main.default.aio_failed VALUES (?)", sets())
            assert failed.value.applied_sets == 256  # type: ignore[attr-defined]
            assert (cursor.rowcount, cursor.description) == (-1, None)
            assert cursor.statement_id is not None
            with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
                await cursor.fetchall()

    run(main)


def test_errors(run: Run, whole: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**whole) as connection, connection.cursor() as cursor:
            with pytest.raises(seakernel.ProgrammingError, match="nothing to fetch"):
                await cursor.fetchone()
            with pytest.raises(seakernel.ProgrammingError) as raised:
                await cursor.execute("SELECT * FROM main.default.no_such_table")
            assert raised.value.sql_state == "42P01"
            assert cursor.statement_id == raised.value.statement_id
            assert cursor.description is None
            with pytest.raises(seakernel.DataError):
                await cursor.execute("SELECT ?", [10**40])
            await cursor.execute("SELECT DATE '2024-01-01' AS d")
            assert await cursor.fetchall() == [(dt.date(2024, 1, 1),)]
            await connection.commit()
            with pytest.raises(seakernel.NotSupportedError):
                await connection.rollback()
            await cursor.cancel()
            await cursor.close()
            await cursor.close()
            with pytest.raises(seakernel.InterfaceError, match="cursor is closed"):
                await cursor.fetchall()
            with pytest.raises(seakernel.InterfaceError, match="cursor is closed"):
                async with cursor:
                    pass

    run(main)


def test_a_value_that_python_cannot_hold_loses_no_row(files: dict[str, str]) -> None:
    async def main() -> None:
        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            await cursor.execute(
                "SELECT id, date_add(DATE '9999-12-01', CAST(id AS INT) % 40) AS d FROM range(3000) ORDER BY id"
            )
            assert len(await cursor.fetchmany(31)) == 31
            for fetch in (cursor.fetchall, cursor.fetchone, lambda: cursor.fetchmany(10)):
                with pytest.raises(seakernel.DataError, match="column `d`"):
                    await fetch()  # type: ignore[operator]
            assert (await cursor.arrow())["id"].to_pylist() == list(range(31, 3000))

    asyncio.run(main())


def test_a_failed_download_raises_after_the_rows_before_it() -> None:
    from seakernel.local import LocalWarehouse

    fault = {"on": "download", "chunk_index": 3, "times": "always", "do": {"status": {"code": 404}}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, faults=[fault]) as warehouse:

        async def main() -> None:
            place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
            async with aio.connect(*place) as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT id FROM range(5000)")
                assert len(await cursor.fetchmany(2500)) == 2500
                for _ in range(2):
                    with pytest.raises(seakernel.OperationalError) as raised:
                        await cursor.fetchall()
                    assert raised.value.chunk_index == 3
                    assert raised.value.statement_id == cursor.statement_id
                assert [row[0] for row in await cursor.fetchmany(500)] == list(range(2500, 3000))

        asyncio.run(main())


def test_a_big_fetch_lets_other_tasks_run(files: dict[str, str]) -> None:
    async def main() -> None:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with aio.connect(**files) as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT id FROM range(50000)")
            # Everything is in memory, so that only the making of rows remains.
            await cursor._prepared(None, as_rows=False)
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0)
            turns = 0
            assert len(await cursor.fetchall()) == 50_000
            assert turns >= 50_000 // 1300 - 1  # batches have 300 rows
            await cursor.execute("SELECT id FROM range(50000)")
            turns = 0
            assert len([row async for row in cursor]) == 50_000
            assert turns >= 50_000 // 1300 - 1  # batches have 300 rows
            ticking.cancel()

    asyncio.run(main())


def test_a_slow_reader_holds_no_more_than_the_budget(files: dict[str, str]) -> None:
    async def main() -> None:
        budget = {"memory_budget_bytes": 50_000, "max_concurrent_downloads": 2}
        async with aio.connect(**files, results=budget) as connection, connection.cursor() as cursor:  # type: ignore[arg-type]
            await cursor.execute("SELECT id, repeat('x', 20) AS s FROM range(100000)")
            assert cursor.statistics is not None
            rows = 0
            async for batch in cursor.batches():
                rows += batch.num_rows
                if rows == 300:
                    # Longer than the other 99 files would take.
                    await asyncio.sleep(0.5)
                    # A file of 1000 rows has some 32 kB: one is held by the reader and one in the budget.
                    assert cursor.statistics.download_requests <= 4
            assert rows == 100_000

    asyncio.run(main())
