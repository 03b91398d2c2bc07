"""The page about the connector, and the distribution for programs that nobody can add a line to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "python" / "databricks-sql-kernel-shim"


def run(script: str, *folders: Path) -> str:
    path = os.pathsep.join([*map(str, folders), *(entry for entry in sys.path if entry)])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_examples_of_the_page_run() -> None:
    page = (ROOT / "docs" / "under-databricks-sql-connector.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    check = "import databricks.sql.backend.kernel.client as used; print(used._kernel.__name__)"
    output = run("\n".join([*blocks, check]))
    assert "('EWR', 120835)" in output.replace("Row(origin='EWR', flights=120835)", "('EWR', 120835)")
    assert "Endeavor Air Inc." in output
    assert output.splitlines()[-1] == "seakernel.compat.databricks_sql_kernel"


def test_the_shim_is_the_stand_in_under_the_original_name() -> None:
    script = """
import databricks_sql_kernel as shim
from seakernel.compat import databricks_sql_kernel as stand_in
assert all(getattr(shim, name) is getattr(stand_in, name) for name in stand_in.__all__)
print(shim.__file__, shim.__version__)
import databricks.sql.backend.kernel.client as used
assert used._kernel is shim
"""
    assert run(script, SHIM).split() == [str(SHIM / "databricks_sql_kernel.py"), "1.3.0"]


def test_the_shim_cannot_be_taken_for_the_original_nor_be_published() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((SHIM / "pyproject.toml").read_text())["project"]
    assert project["name"] == "databricks-sql-kernel"
    assert project["version"] == "1.3.0+seakernel"
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert len((SHIM / "README.md").read_text().splitlines()) == 3
