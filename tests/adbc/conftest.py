"""Connections of adbc_driver_manager to local warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from adbc_driver_manager import dbapi
from adbc_place import place

import seakernel.adbc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local import LocalWarehouse


@pytest.fixture
def opened() -> Iterator[Callable[..., dbapi.Connection]]:
    """Opens connections that the test need not close."""
    connections = []

    def opened(warehouse: LocalWarehouse, **options: Any) -> dbapi.Connection:
        options = {**place(warehouse), **options}
        connection = dbapi.connect(
            seakernel.adbc.driver_path(), entrypoint=seakernel.adbc.ENTRYPOINT, db_kwargs=options, autocommit=True
        )
        connections.append(connection)
        return connection

    yield opened
    for connection in connections:
        connection.close()


@pytest.fixture
def adbc(warehouse: LocalWarehouse, opened: Callable[..., dbapi.Connection]) -> dbapi.Connection:
    return opened(warehouse)


@pytest.fixture
def adbc_cursor(adbc: dbapi.Connection) -> Iterator[dbapi.Cursor]:
    with adbc.cursor() as cursor:
        yield cursor


@pytest.fixture
def table(adbc_cursor: dbapi.Cursor) -> Iterator[str]:
    """The name of a table that is not there, and will not be after the test."""
    yield "adbc_table"
    adbc_cursor.execute("DROP TABLE IF EXISTS adbc_table")
