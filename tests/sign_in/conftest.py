"""Warehouses that people sign in to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def oauth_warehouse() -> Iterator[LocalWarehouse]:
    """A warehouse that is an identity provider for the service principal `app`."""
    with LocalWarehouse(oauth={"client_id": "app", "client_secret": "canary-client-secret"}) as warehouse:
        yield warehouse
