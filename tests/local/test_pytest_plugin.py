"""The pytest plugin: its fixtures in projects of others, and what it leaves alone."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
# Where the package is installed, pytest finds the plugin by itself.
FOUND = any(point.value == "seakernel.pytest_plugin" for point in importlib.metadata.entry_points(group="pytest11"))


@pytest.fixture
def run_tests(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a file of tests in a process and a folder of its own."""

    def run(tests: str, conftest: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(tests)
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        plugin = () if FOUND else ("-p", "seakernel.pytest_plugin")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugin, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
        )

    return run


def test_each_test_gets_a_warehouse_of_its_own(run_tests: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_tests("""
import pytest

addresses = set()

@pytest.mark.parametrize("turn", range(3))
def test_a_new_catalog(turn, local_warehouse, local_connection):
    addresses.add(local_warehouse.server_hostname)
    cursor = local_connection.cursor()
    cursor.execute("CREATE TABLE main.default.made AS SELECT 1 AS a")
    with local_warehouse.connect() as another:
        assert another.cursor().execute("SELECT a FROM main.default.made").fetchall() == [(1,)]

def test_they_were_three():
    assert len(addresses) == 3
""")
    assert "4 passed" in done.stdout, done.stdout


def test_without_duckdb_the_fixture_fails_and_names_what_to_install(
    run_tests: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    hidden = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "duckdb" else found(name, *more)
"""
    done = run_tests("def test_one(local_warehouse): pass\ndef test_two(): pass\n", hidden)
    assert "1 passed, 1 error" in done.stdout
    assert (
        "fixture `local_warehouse`: the local warehouse needs `duckdb`: `pip install 'seakernel[local]'`" in done.stdout
    )


def test_tests_that_do_not_use_it_load_nothing(run_tests: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_tests("""
import sys

def test_nothing_is_loaded():
    assert "seakernel.pytest_plugin" in sys.modules
    assert not {"duckdb", "pyarrow", "numpy", "seakernel.local"} & set(sys.modules)
""")
    assert "1 passed" in done.stdout, done.stdout


def test_the_plugin_is_declared() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"seakernel": "seakernel.pytest_plugin"}
    assert project["scripts"] == {"seakernel": "seakernel.command:main"}
