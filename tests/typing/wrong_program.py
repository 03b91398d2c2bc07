"""Mistakes that type checkers must find: one on each line that ends with `# wrong`."""

from __future__ import annotations

import seakernel
from seakernel import aio

seakernel.connect("local", catalogue=1, results={"memory_budget": 1})  # wrong
seakernel.connect("local", results={"complex_types": "text"})  # wrong
connection = seakernel.connect("local")
cursor = connection.cursor()
cursor.execute("SELECT 1", row_limit="5")  # wrong
cursor.execute("SELECT 1", query_tags=["a"])  # wrong
print(cursor.fetchone().id)  # wrong
len(cursor.fetchall_arrow)  # wrong
seakernel.Parameter(1)  # wrong
connection.attach(7)  # wrong


async def program() -> None:
    async with aio.connect("local") as other:
        aio_cursor = other.cursor()
        for row in aio_cursor:  # wrong
            print(row)
        rows: list[int] = await aio_cursor.fetchall()  # wrong
        print(rows)
