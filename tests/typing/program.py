"""A program of a user, as type checkers see it; `make check` runs mypy --strict and pyright over it.

It runs, too: see test_program.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa
from typing_extensions import assert_type

import seakernel
from seakernel import aio
from seakernel.local import LocalWarehouse


def rows(connection: seakernel.Connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, CAST(id AS STRING) AS name FROM range(:n)", {"n": 10}, timeout=60, row_limit=5)
        assert_type(cursor.rowcount, int)
        assert_type(cursor.statement_id, "str | None")
        assert_type(cursor.truncated, bool)
        first = cursor.fetchone()
        assert_type(first, "seakernel.Row | None")
        if first is not None:
            assert_type(first.asDict(), dict[str, Any])
            print(first.name, first["id"], first[0])
        assert_type(cursor.fetchmany(2), list[seakernel.Row])
        total = 0
        for row in cursor:
            assert_type(row, seakernel.Row)
            total += row.id
        return total


def frames(connection: seakernel.Connection) -> int:
    cursor = connection.cursor()
    assert_type(cursor.execute("SELECT id FROM range(3)"), seakernel.Cursor)
    table = cursor.arrow()
    batches = [len(batch) for batch in cursor.execute("SELECT id FROM range(3)").batches()]
    exported = pa.table(cursor.execute("SELECT id FROM range(3)"))  # whatever reads the Arrow C stream
    statistics = cursor.statistics
    assert_type(statistics, "seakernel.Statistics | None")
    return int(table.num_rows) + sum(batches) + int(exported.num_rows)


def writes(connection: seakernel.Connection) -> int:
    cursor = connection.cursor()
    cursor.execute("CREATE OR REPLACE TABLE main.default.typed (id INT, name STRING)")
    cursor.executemany("INSERT INTO main.default.typed VALUES (?, ?)", [(1, "a"), (2, None)])
    cursor.executemany("INSERT INTO main.default.typed VALUES (:id, :name)", pa.table({"id": [3], "name": ["c"]}))
    cursor.execute("CREATE VOLUME IF NOT EXISTS main.default.typed_files")
    connection.volume.put(b"abc", "/Volumes/main/default/typed_files/a.txt", overwrite=True)
    assert_type(connection.volume.get("/Volumes/main/default/typed_files/a.txt"), bytes)
    parameter = seakernel.Parameter(None, "INT")
    try:
        cursor.execute("SELECT nothing, :p", {"p": parameter})
    except seakernel.Error as error:
        assert_type(error.sql_state, "str | None")
        assert_type(error.hint, "str | None")
        assert_type(error.retryable, bool)
    return int(cursor.execute("SELECT count(*) FROM main.default.typed").fetchall()[0][0])


def long_job(connection: seakernel.Connection) -> int:
    submitted = connection.submit("SELECT id FROM range(7)", query_tags={"team": "x", "bare": None})
    attached = connection.attach(submitted.statement_id)
    fetched = attached.cursor().fetchall()
    submitted.close()
    return len(fetched)


async def concurrently(host: str, path: str, token: str) -> int:
    async with aio.connect(host, path, token) as connection:

        async def count(n: int) -> int:
            async with connection.cursor() as cursor:
                assert_type(await cursor.execute("SELECT id FROM range(?)", [n]), aio.Cursor)
                fetched = [row.id async for row in cursor]
                assert_type(await cursor.fetchall(), list[seakernel.Row])
                return len(fetched)

        return sum(await asyncio.gather(*(count(n) for n in range(5))))


def main() -> None:
    with LocalWarehouse() as warehouse:
        place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
        options: seakernel.ResultOptions = {"memory_budget_bytes": 1 << 26, "max_concurrent_downloads": 4}
        with seakernel.connect(*place, results=options, retry={"max_attempts": 3}) as connection:
            print(rows(connection), frames(connection), writes(connection), long_job(connection))
        print(asyncio.run(concurrently(*place)))


if __name__ == "__main__":
    main()
