"""The yardstick: 80 Databricks statements with a warehouse's answers, in a session each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import local_sql
import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def prepared() -> Iterator[LocalWarehouse]:
    with LocalWarehouse() as warehouse:
        for statement in (*local_sql.SETUP, "CREATE VOLUME v"):
            run(warehouse, statement, None)
        with warehouse.connect() as connection:
            connection.volume.put(b"1,2", "/Volumes/main/default/v/put.csv")
        yield warehouse


def run(
    warehouse: LocalWarehouse, statement: str, parameters: Any, local_files: Path | None = None
) -> list[tuple[Any, ...]]:
    options: dict[str, Any] = {"catalog": "main", "schema": "default", "staging_allowed_local_path": local_files}
    with warehouse.connect(**options) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@pytest.mark.parametrize(
    ("number", "statement", "parameters", "check"),
    [pytest.param(number, *rest, id=f"{number}") for number, _, *rest in local_sql.ST],
)
def test_the_answer_is_a_warehouses(
    prepared: LocalWarehouse,
    tmp_path: Path,
    number: int,
    statement: str,
    parameters: Any,
    check: Callable[[list[tuple[Any, ...]]], bool] | str,
) -> None:
    (tmp_path / "put.csv").write_bytes(b"1,2")
    if number in (39, 40):
        statement = statement.format(PUT_FILE=tmp_path / "put.csv", GET_FILE=tmp_path / "get.csv")
    if callable(check):
        rows = run(prepared, statement, parameters, tmp_path)
        assert check(rows), rows
    else:
        with pytest.raises(seakernel.Error) as raised:
            run(prepared, statement, parameters)
        assert raised.value.sql_state in {"22018", "22012", "22003"}
