"""A Databricks SQL warehouse on this machine: the same protocol, DuckDB behind it, sample data inside.

Example:
    >>> from seakernel.local import LocalWarehouse
    >>> with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as cursor:
    ...     cursor.execute("SELECT count(*) AS flights FROM samples.nycflights13.flights").fetchone()
    Row(flights=336776)
"""

from __future__ import annotations

from seakernel.local.identity import LocalIdentity, LocalTlsOptions, OauthOptions
from seakernel.local.samples import SampleDataError
from seakernel.local.warehouse import LocalWarehouse
from seakernel.local.zerobus import LocalZerobus

__all__ = ["LocalIdentity", "LocalTlsOptions", "LocalWarehouse", "LocalZerobus", "OauthOptions", "SampleDataError"]
