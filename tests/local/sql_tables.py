"""What the tables of statements need: running one, and its answer as plain values."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from seakernel.local.engine import DuckDbEngine, Result, SqlError

NAN = math.nan
INF = math.inf


def plain(value: Any) -> Any:
    """A value as the tables write it: decimals, dates and times as text, intervals as months, days and nanoseconds."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if hasattr(value, "months"):
        return (value.months, value.days, value.nanoseconds)
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (datetime.date, datetime.datetime)):
        return str(value)
    return value


def answer(engine: DuckDbEngine, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The types and rows that a statement yields."""
    result: Result = engine.execute("statement", None, statement, catalog="main", schema="default")
    columns = [column.to_pylist() for column in pa.table(result.stream).columns]
    return [kind for _, kind in result.columns], [
        tuple(plain(value) for value in row) for row in zip(*columns, strict=True)
    ]


def names_of(engine: DuckDbEngine, statement: str) -> list[str]:
    """The names of a statement's columns."""
    return [name for name, _ in engine.execute("statement", None, statement, catalog="main", schema="default").columns]


def failure_of(engine: DuckDbEngine, statement: str) -> tuple[str, str | None]:
    """The error class and SQLSTATE that a statement fails with."""
    with pytest.raises(SqlError) as caught:
        answer(engine, statement)
    found = re.match(r"\[([A-Z0-9_]+(?:\.[A-Z0-9_]+)?)\]", caught.value.message)
    assert found is not None, caught.value.message
    return found[1], caught.value.sql_state


def check(
    found: tuple[list[str], list[tuple[Any, ...]]], statement: str, kinds: list[str], rows: list[tuple[Any, ...]]
) -> None:
    """Compares an answer with what is expected, in order only where the statement asks for one; NaN equals NaN."""
    assert found[0] == kinds
    have, want = [repr(row) for row in found[1]], [repr(row) for row in rows]
    outside = statement.lower()
    while "(" in outside and (inner := re.sub(r"\([^()]*\)", "", outside)) != outside:
        outside = inner
    if "order by" not in outside:
        have, want = sorted(have), sorted(want)
    assert have == want
