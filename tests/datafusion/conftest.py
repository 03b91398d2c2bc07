"""A table with the edges of what filters compare, and contexts of DataFusion over it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import datafusion
import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection

EDGES = """
SELECT
  CAST(row_number() OVER (ORDER BY i, x, s) AS BIGINT) AS id,
  CAST(i AS TINYINT) AS tiny, CAST(i AS SMALLINT) AS small, CAST(i AS INT) AS whole, CAST(i * 10000000000 AS BIGINT) AS big,
  CAST(i AS DECIMAL(9,2)) / 4 AS quotient, CAST(i AS DECIMAL(9,2)) AS price,
  CAST(x AS DOUBLE) AS x, CAST(x AS FLOAT) AS y, CAST(z AS DOUBLE) AS z,
  i % 2 = 0 AS flag, s AS text, upper(s) AS loud, CAST(s AS BINARY) AS bytes,
  date_add(DATE'1970-01-01', CAST(i AS INT) * 900) AS day, date_add(DATE'1970-01-03', CAST(i AS INT) * -900) AS other_day,
  dateadd(DAY, CAST(i AS INT) * 700, TIMESTAMP'1970-01-01 00:00:01.123456Z') AS moment,
  dateadd(DAY, CAST(i AS INT) * 700, TIMESTAMP_NTZ'1970-01-01 00:00:00.123456') AS clock,
  CASE WHEN s <> 'a' THEN array(s) END AS list, named_struct('inner', i) AS record
FROM (VALUES (CAST(NULL AS INT)), (-128), (-2), (-1), (0), (1), (2), (5), (100), (127)) AS i(i)
CROSS JOIN (VALUES (CAST(NULL AS STRING), '1'), ('NaN', '2'), ('-0.0', '0.0'), ('0.0', '-0.0'), ('1.5', '-1.5'),
  ('-1.5', NULL), ('Infinity', '1'), ('-Infinity', 'NaN'), ('1e300', '-Infinity'), ('0.1', '0.1')) AS x(x, z)
CROSS JOIN (VALUES (CAST(NULL AS STRING)), (''), ('a'), ('A'), ('a%b'), ('a_b'), ('it\\'s'), ('back\\\\slash'), ('\\n'),
  ('Zürich'), ('zu\\u0308rich'), ('😀'), ('a😀b'), (' a'), ('a '), ('abc')) AS s(s)
"""


# A line for each token that it parses, which takes most of the time.
for name in ("datafusion", "datafusion_optimizer", "datafusion_physical_plan", "sqlparser"):
    logging.getLogger(name).setLevel(logging.INFO)


@pytest.fixture(scope="session")
def edges() -> Iterator[Connection]:
    """A connection whose warehouse has the table `main.default.edges`; results come as several files."""
    with LocalWarehouse(chunk_rows=500, batch_rows=200, inline_bytes=0) as warehouse, warehouse.connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE main.default.edges AS {EDGES}")
        yield connection


@pytest.fixture(scope="session")
def both(edges: Connection) -> datafusion.SessionContext:
    """`remote` is the table in the warehouse, `local` the same rows in memory, so nothing of it is sent."""
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(4))
    context.register_table("remote", edges.table("main.default.edges"))
    with edges.cursor() as cursor:
        rows = cursor.execute("SELECT * FROM main.default.edges").arrow()
    context.register_record_batches("local", [rows.to_batches()])
    return context
