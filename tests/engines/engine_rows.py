"""Rows of many types, and how one machine reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse


def sql(rows: int) -> str:
    return f"""
        SELECT id, concat('row ', id) AS text, CAST(id AS DECIMAL(20, 2)) AS price, id % 2 = 0 AS even,
            CASE WHEN id % 7 = 0 THEN NULL ELSE id / 3 END AS some, CAST(id % 100 AS TINYINT) AS small,
            DATE'2020-01-01' AS day, TIMESTAMP'2020-01-01 12:00:00.123456' AS moment,
            CASE WHEN id % 5 = 0 THEN NULL ELSE array(id, NULL, id + 1) END AS several,
            named_struct('one', id, 'two', concat('text ', id)) AS pair
        FROM range({rows})"""  # a query that ends without a line break


def whole(warehouse: LocalWarehouse, text: str) -> pa.Table:
    with warehouse.connect() as connection:
        result = connection.cursor().execute(text).arrow()
    return result.cast(pa.schema([field.remove_metadata() for field in result.schema]))
