"""Looks at what DataFusion plans and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datafusion
    import pyarrow as pa


def plan(context: datafusion.SessionContext, query: str) -> str:
    """The physical plan as EXPLAIN shows it."""
    plans = dict(zip(*context.sql(f"EXPLAIN {query}").to_pydict().values(), strict=True))
    return plans["physical_plan"]


def sent(context: datafusion.SessionContext, query: str) -> str:
    """The one statement that a query sends."""
    (line,) = (line for line in plan(context, query).splitlines() if "WarehouseScan" in line)
    return line.partition("WarehouseScan: sql=")[2].removesuffix(", number_of_children=0")


def table(context: datafusion.SessionContext, query: str) -> pa.Table:
    """The answer to a query."""
    return context.sql(query).to_arrow_table()
