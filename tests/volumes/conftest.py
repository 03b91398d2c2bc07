"""Fixtures of the tests of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection


@pytest.fixture
def warehouse() -> Iterator[LocalWarehouse]:
    """A warehouse with one volume, `main.default.files`, of its own: these tests disturb it."""
    with LocalWarehouse() as warehouse:
        with warehouse.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE VOLUME main.default.files")
        yield warehouse


@pytest.fixture
def connection(warehouse: LocalWarehouse) -> Iterator[Connection]:
    """A connection that does not wait long before it tries again."""
    with warehouse.connect(retry={"min_wait_s": 0.01, "max_wait_s": 0.05, "max_attempts": 4}) as connection:
        yield connection
