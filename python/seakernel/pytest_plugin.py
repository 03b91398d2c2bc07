"""Pytest plugin: the fixtures `local_warehouse` and `local_connection`, there wherever seakernel is installed.

Example:
    >>> def test_flights(local_connection):
    ...     cursor = local_connection.cursor()
    ...     cursor.execute("SELECT count(*) FROM samples.nycflights13.flights")
    ...     assert cursor.fetchone() == (336776,)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection
    from seakernel.local import LocalWarehouse

__all__ = ["local_connection", "local_warehouse"]


@pytest.fixture
def local_warehouse() -> Iterator[LocalWarehouse]:
    """A warehouse on this machine for one test alone, with an empty catalog `main`; it takes about 50 ms.

    For a warehouse that tests share, or one with options, make a `LocalWarehouse` in a fixture of your own. Fails, and
    names what to install, where `seakernel[local]` is not.
    """
    from seakernel.local import LocalWarehouse

    try:
        warehouse = LocalWarehouse()
    except ModuleNotFoundError as error:
        pytest.fail(f"fixture `local_warehouse`: {error}", pytrace=False)
    with warehouse:
        yield warehouse


@pytest.fixture
def local_connection(local_warehouse: LocalWarehouse) -> Iterator[Connection]:
    """A connection to the test's `local_warehouse`."""
    with local_warehouse.connect() as connection:
        yield connection
