"""The original kernel and the stand-in, each under the original's name for a while."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original

import seakernel.compat

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNELS = ["official", "seakernel"]
_ORIGINAL = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "databricks_sql_kernel"}


@contextmanager
def kernel_in_place(name: str) -> Iterator[Any]:
    """Lets `databricks_sql_kernel` be the one of that name; the connector's backend is imported anew over it."""
    _forget("databricks_sql_kernel", "databricks.sql.backend.kernel")
    if name == "official":
        # An extension module cannot be imported twice in one process.
        sys.modules.update(_ORIGINAL)
        module: Any = original
    else:
        module = seakernel.compat.install()
    try:
        yield module
    finally:
        _forget("databricks.sql.backend.kernel")
        seakernel.compat.uninstall()
        sys.modules.update(_ORIGINAL)


def _forget(*packages: str) -> None:
    for name in list(sys.modules):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            del sys.modules[name]
