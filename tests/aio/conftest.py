"""Fixtures of the tests under an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from remote_warehouse import RemoteWarehouse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from seakernel.local import LocalWarehouse


def on_asyncio(main: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await main()

    return asyncio.run(run())


def on_uvloop(main: Callable[[], Awaitable[Any]]) -> Any:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> Any:
        return await main()

    return uvloop.run(run())


def on_anyio(main: Callable[[], Awaitable[Any]]) -> Any:
    import anyio

    return anyio.run(main, backend="asyncio")


@pytest.fixture(params=[on_asyncio, on_uvloop, on_anyio], ids=["asyncio", "uvloop", "anyio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs a coroutine function to its end on an event loop of its own, once per kind of loop."""
    runner: Callable[[Callable[[], Awaitable[Any]]], Any] = request.param
    return runner


def place(warehouse: LocalWarehouse) -> dict[str, str]:
    return {
        "server_hostname": warehouse.server_hostname,
        "http_path": warehouse.http_path,
        "access_token": warehouse.access_token,
    }


@pytest.fixture
def whole(warehouse: LocalWarehouse) -> dict[str, str]:
    """Where the warehouse is that answers small results inline."""
    return place(warehouse)


@pytest.fixture
def files(chunked: LocalWarehouse) -> dict[str, str]:
    """Where the warehouse is that sends every result as files of 1000 rows in batches of 300."""
    return place(chunked)


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteWarehouse]:
    """A warehouse in a process of its own, with files of 1000 rows: threads and tasks here are the client's."""
    remote = RemoteWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0)
    yield remote
    remote.close()
