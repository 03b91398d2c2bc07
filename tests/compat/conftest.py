"""The original kernel and the stand-in, side by side."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original
import pytest

import seakernel.compat

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNELS = ["official", "seakernel"]
_ORIGINAL = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "databricks_sql_kernel"}
_outcomes: dict[str, dict[str, str]] = defaultdict(dict)


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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    kernel = parameters.get("kernel")
    if kernel in KERNELS and (report.when == "call" or report.skipped):
        rest = item.name.replace(f"{kernel}-", "").replace(f"-{kernel}", "").replace(f"[{kernel}]", "")
        _outcomes[rest][kernel] = "fails" if report.skipped and hasattr(report, "wasxfail") else report.outcome


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _outcomes:
        return
    terminalreporter.section("databricks-sql-connector 4.9.0 on both kernels")
    for name, columns in _outcomes.items():
        cells = "".join(f"{columns.get(kernel, '-'):>12}" for kernel in KERNELS)
        terminalreporter.write_line(f"{name[:88]:<88}{cells}")
