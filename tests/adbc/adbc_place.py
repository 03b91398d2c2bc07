"""Where a local warehouse is, in the driver's options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse


def place(warehouse: LocalWarehouse) -> dict[str, str]:
    return {
        "databricks.server_hostname": warehouse.server_hostname,
        "databricks.http_path": warehouse.http_path,
        "databricks.access_token": warehouse.access_token,
    }
