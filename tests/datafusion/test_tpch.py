"""Queries of TPC-H over tables in the warehouse and Parquet files here answer as DuckDB does."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

import datafusion
import duckdb
import pytest
from plans import plan

from seakernel.local import LocalWarehouse
from seakernel.local.samples import SampleData

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = ("customer", "lineitem", "orders", "part")
REVENUE = "l_extendedprice * (1 - l_discount)"
QUERIES = {
    1: (
        ["lineitem"],
        f"""SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), sum({REVENUE}),
          sum({REVENUE} * (1 + l_tax)), avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*)
        FROM lineitem WHERE l_shipdate <= DATE '1998-12-01' - INTERVAL '90' DAY
        GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus""",
    ),
    3: (
        ["customer", "lineitem", "orders"],
        f"""SELECT l_orderkey, sum({REVENUE}) AS revenue, o_orderdate, o_shippriority FROM customer, orders, lineitem
        WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
          AND o_orderdate < DATE '1995-03-15' AND l_shipdate > DATE '1995-03-15'
        GROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10""",
    ),
    6: (
        ["lineitem"],
        """SELECT sum(l_extendedprice * l_discount) FROM lineitem
        WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
          AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
    ),
    12: (
        ["lineitem", "orders"],
        """SELECT l_shipmode,
          sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH' THEN 1 ELSE 0 END),
          sum(CASE WHEN o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH' THEN 1 ELSE 0 END)
        FROM orders, lineitem WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP')
          AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
          AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01'
        GROUP BY l_shipmode ORDER BY l_shipmode""",
    ),
    14: (
        ["lineitem", "part"],
        f"""SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN {REVENUE} ELSE 0 END) / sum({REVENUE})
        FROM lineitem, part WHERE l_partkey = p_partkey
          AND l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'""",
    ),
}


class Scale:
    """The tables at one scale factor: in a warehouse, and as files."""

    def __init__(self, factor: float) -> None:
        self.warehouse = LocalWarehouse(tpch_scale=factor)
        self.connection = self.warehouse.connect()
        files = SampleData(tpch_scale=factor)
        self.paths = {table: str(files.parquet("tpch", table)) for table in TABLES}
        self.duckdb = duckdb.connect()
        for table, path in self.paths.items():
            self.duckdb.from_parquet(path).create_view(table)

    def context(self, remote: set[str]) -> datafusion.SessionContext:
        context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(2))
        for table, path in self.paths.items():
            if table in remote:
                context.register_table(table, self.connection.table(f"samples.tpch.{table}"))
            else:
                context.register_parquet(table, path)
        return context


@pytest.fixture(scope="module", params=[0.1, 1])
def scale(request: pytest.FixtureRequest) -> Iterator[Scale]:
    scale = Scale(request.param)
    yield scale
    scale.duckdb.close()
    scale.connection.close()
    scale.warehouse.close()


def same(ours: object, theirs: object) -> bool:
    """Averages and quotients are decimals in one engine and floats in the other."""
    if isinstance(ours, Decimal) and isinstance(theirs, Decimal):
        return ours == theirs
    if isinstance(ours, Decimal | float) and isinstance(theirs, Decimal | float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-6)
    return ours == theirs


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("number", "remote"),
    [
        (number, remote)
        for number, (tables, _) in QUERIES.items()
        for remote in ({"lineitem"}, {*tables} - {"lineitem"}, {*tables})[: 1 if len(tables) == 1 else 3]
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "+".join(sorted(value)),
)
def test_a_query_answers_as_duckdb_does(scale: Scale, number: int, remote: set[str]) -> None:
    _, query = QUERIES[number]
    context = scale.context(remote)
    assert plan(context, query).count("WarehouseScan") == len(remote)
    answer = context.sql(query).to_arrow_table()
    expected = scale.duckdb.sql(query).fetchall()
    rows = list(zip(*(column.to_pylist() for column in answer.columns), strict=True))
    assert len(rows) == len(expected) > 0
    for ours, theirs in zip(rows, expected, strict=True):
        assert all(same(*values) for values in zip(ours, theirs, strict=True)), (ours, theirs)
