"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel import Connection, Cursor

pytest_plugins = ["secret_watch"]


def pytest_configure() -> None:
    """Lets tests send Ctrl-C also where whoever started the suite ignores it, as shells do in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lets `--forked` run: pytest-forked leaves files open in its children, which are errors here otherwise."""
    for item in items:
        if config.getoption("forked", default=False) or item.get_closest_marker("forked"):
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def warehouse() -> Iterator[LocalWarehouse]:
    """A warehouse that answers small results inline, as real ones do. Tests that disturb it start their own."""
    with LocalWarehouse() as warehouse:
        yield warehouse


@pytest.fixture(scope="session")
def chunked() -> Iterator[LocalWarehouse]:
    """A warehouse that sends every result as files of 1000 rows in batches of 300."""
    with LocalWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0) as warehouse:
        yield warehouse


@pytest.fixture
def connection(warehouse: LocalWarehouse) -> Iterator[Connection]:
    with warehouse.connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection: Connection) -> Iterator[Cursor]:
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def chunked_cursor(chunked: LocalWarehouse) -> Iterator[Cursor]:
    with chunked.connect() as connection, connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits up to 60 s until a look at the server shows what the background has to bring about."""

    def wait(look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while not (seen := look()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return seen

    return wait
