"""`seakernel local`: runs a warehouse until it is interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from seakernel.local.warehouse import LocalWarehouse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Runs a warehouse until SIGINT or SIGTERM; returns the exit status."""
    from seakernel.local.warehouse import LocalWarehouse

    stopped = threading.Event()
    # Set before the first line is printed: whoever reads the lines may stop us at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    try:
        warehouse = LocalWarehouse(
            port=options.port,
            data=options.data,
            access_token=options.token,
            oauth=options.oauth,
            tls=options.tls,
            zerobus=options.zerobus,
            tpch_scale=options.tpch_scale,
            chunk_bytes=options.chunk_bytes,
        )
    except (ModuleNotFoundError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with warehouse:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in _variables(warehouse, options).items())
        sys.stdout.flush()
        # Waited for in slices: on Windows a wait without an end does not see Ctrl-C.
        while not stopped.wait(1.0):
            pass
    return 0


def _variables(warehouse: LocalWarehouse, options: argparse.Namespace) -> dict[str, str]:
    """What the environment of a client must say."""
    variables = {"DATABRICKS_HOST": warehouse.server_hostname, "DATABRICKS_HTTP_PATH": warehouse.http_path}
    if options.oauth:
        # Beside a token, databricks-sdk would not know which of the two is meant.
        variables["DATABRICKS_CLIENT_ID"] = warehouse.identity.client_id
        variables["DATABRICKS_CLIENT_SECRET"] = warehouse.identity.client_secret
    else:
        variables["DATABRICKS_TOKEN"] = warehouse.access_token
    if options.tls:
        # Python's requests looks at the second, most others at the first.
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            variables[name] = str(warehouse.ca_certificate_path)
    if options.zerobus:
        # As `WrapperConfiguration.from_env` reads them.
        variables["ZEROBUS_ENDPOINT"] = warehouse.zerobus.endpoint
        variables["UNITY_CATALOG_URL"] = warehouse.zerobus.unity_catalog_url
        variables["ZEROBUS_CLIENT_ID"] = warehouse.zerobus.client_id
        variables["ZEROBUS_CLIENT_SECRET"] = warehouse.zerobus.client_secret
    return variables
