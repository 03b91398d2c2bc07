"""Prints what passes on which kernel."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from kernels import KERNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

_outcomes: dict[str, dict[str, str]] = defaultdict(dict)


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
