"""Without pyarrow: whatever reads the Arrow C stream takes the cursor as it is, in an environment that has no pyarrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local import LocalWarehouse

# The environment is made once a session, from packages.
pytestmark = pytest.mark.timeout(600)

PACKAGES = ["arro3-core==0.9.1", "duckdb>=2.0,<3", "nanoarrow==0.9.0", "pandas>=2.2,<4", "polars>=2.1,<3"]
PRELUDE = """
import importlib.util, sys, seakernel
assert importlib.util.find_spec("pyarrow") is None
cursor = seakernel.connect(*sys.argv[1:]).cursor()
cursor.execute("SELECT id, 'row ' || id AS text, array(id) AS list FROM range(5000)")
"""
CONSUMERS = {
    "polars": "import polars; frame = polars.DataFrame(cursor); print(len(frame), frame['id'].sum())",
    "duckdb": (
        "import duckdb; print(*duckdb.connect().from_arrow(cursor).aggregate('count(*), sum(id)').fetchall()[0])"
    ),
    "duckdb's SQL": "import duckdb; print(*duckdb.sql('SELECT count(*), sum(id) FROM cursor').fetchall()[0])",
    "nanoarrow": (
        "import nanoarrow; rows = nanoarrow.ArrayStream(cursor).read_all().to_pylist(); "
        "print(len(rows), sum(row['id'] for row in rows))"
    ),
    "arro3": (
        "import arro3.core; table = arro3.core.Table.from_arrow(cursor); "
        "print(table.num_rows, sum(value.as_py() for value in table.column('id')))"
    ),
    "pl": "frame = cursor.pl(); print(len(frame), frame['id'].sum())",
    "relation": ("import duckdb; print(*cursor.duckdb(duckdb.connect()).aggregate('count(*), sum(id)').fetchall()[0])"),
    "batches": (
        "import polars; frames = [polars.DataFrame(batch) for batch in cursor.batches()]; assert len(frames) > 10; "
        "print(sum(map(len, frames)), sum(frame['id'].sum() for frame in frames))"
    ),
    "rows": "rows = cursor.fetchall(); print(len(rows), sum(row[0] for row in rows))",
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a script in an environment that has this package and the consumers, and no pyarrow."""
    root = tmp_path_factory.mktemp("without-pyarrow")
    python = root / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", root / "environment"], check=True, timeout=120)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    subprocess.run(install, check=True, timeout=400)
    # A link, for beside the package may lie all others.
    (root / "path").mkdir()
    (root / "path" / "seakernel").symlink_to(Path(seakernel.__file__).parent)

    def run(script: str, warehouse: LocalWarehouse) -> str:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        done = subprocess.run(
            [python, "-c", PRELUDE + script, *place],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(root / "path")},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_every_row_arrives(run: Callable[..., str], chunked: LocalWarehouse, consumer: str) -> None:
    assert run(CONSUMERS[consumer], chunked) == f"5000 {sum(range(5000))}"


@pytest.mark.parametrize("method", ["df", "arrow", "fetch_record_batch"])
def test_what_needs_pyarrow_says_so_and_loses_no_row(
    run: Callable[..., str], chunked: LocalWarehouse, method: str
) -> None:
    script = f"""
try:
    cursor.{method}()
except ModuleNotFoundError as error:
    print(error)
print(len(cursor.fetchall()))
"""
    assert run(script, chunked).splitlines() == [f"`{method}()` needs `pyarrow`: `pip install pyarrow`", "5000"]
