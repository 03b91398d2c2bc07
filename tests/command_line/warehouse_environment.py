"""The environment that leads the command line to a warehouse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse


def environment_of(warehouse: LocalWarehouse, **more: str) -> dict[str, str]:
    """The variables that lead to a warehouse, and nothing else of Databricks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    return {
        **kept,
        "DATABRICKS_HOST": warehouse.server_hostname,
        "DATABRICKS_HTTP_PATH": warehouse.http_path,
        "DATABRICKS_TOKEN": warehouse.access_token,
        **more,
    }
