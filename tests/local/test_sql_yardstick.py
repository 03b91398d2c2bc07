"""The yardstick: 80 Databricks statements with a warehouse's answers, in a session each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import local_sql
import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Volumes are not in the local warehouse; it says so.
REFUSED = {39, 40}


@pytest.fixture(scope="module")
def prepared() -> Iterator[LocalWarehouse]:
    with LocalWarehouse() as warehouse:
        for statement in local_sql.SETUP:
            run(warehouse, statement, None)
        yield warehouse


def run(warehouse: LocalWarehouse, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
    with warehouse.connect(catalog="main", schema="default") as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@pytest.mark.parametrize(
    ("number", "statement", "parameters", "check"),
    [pytest.param(number, *rest, id=f"{number}") for number, _, *rest in local_sql.ST],
)
def test_the_answer_is_a_warehouses(
    prepared: LocalWarehouse,
    number: int,
    statement: str,
    parameters: Any,
    check: Callable[[list[tuple[Any, ...]]], bool] | str,
) -> None:
    if number in REFUSED:
        with pytest.raises(seakernel.NotSupportedError, match="is not in the local warehouse"):
            run(prepared, statement, parameters)
    elif callable(check):
        rows = run(prepared, statement, parameters)
        assert check(rows), rows
    else:
        with pytest.raises(seakernel.Error) as raised:
            run(prepared, statement, parameters)
        assert raised.value.sql_state in {"22018", "22012", "22003"}
