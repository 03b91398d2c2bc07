"""Programs that reach a warehouse through the connector: databricks-sqlalchemy, pandas and dbt."""

from __future__ import annotations

import os
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from databricks import sql as connector
from kernels import KERNELS, kernel_in_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel.local import LocalWarehouse

ROOT = Path(__file__).parents[2]
# The `dbt` of an environment of its own with dbt-databricks 1.12.8, which wants another version of the connector.
DBT = os.environ.get("SEAKERNEL_DBT")


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    with kernel_in_place(request.param):
        yield request.param


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy:UserWarning")
@pytest.mark.usefixtures("kernel")
def test_pandas(warehouse: LocalWarehouse) -> None:
    import pandas as pd

    place = {
        "server_hostname": warehouse.server_hostname,
        "http_path": warehouse.http_path,
        "access_token": warehouse.access_token,
    }
    with connector.connect(**place, use_kernel=True, enable_telemetry=False) as connection:
        frame = pd.read_sql("SELECT id, CAST(id AS STRING) AS text FROM range(3) ORDER BY id", connection)
    assert frame.to_dict("list") == {"id": [0, 1, 2], "text": ["0", "1", "2"]}


@pytest.fixture
def engine(warehouse: LocalWarehouse) -> Iterator[Any]:
    alchemy = pytest.importorskip("sqlalchemy", reason="databricks-sqlalchemy is not installed")
    # Of the address in the URL the port is ignored, so the whole of it is given apart.
    url = (
        f"databricks://token:{warehouse.access_token}@localhost?http_path={warehouse.http_path}"
        "&catalog=main&schema=default"
    )
    options = {"use_kernel": True, "server_hostname": warehouse.server_hostname, "enable_telemetry": False}
    engine = alchemy.create_engine(url, connect_args=options)
    yield engine
    engine.dispose()


def test_sqlalchemy_makes_fills_reads_and_finds_a_table(engine: Any, kernel: str) -> None:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    table = sa.Table(
        f"alchemy_{kernel}",
        metadata,
        sa.Column("a", sa.Integer),
        sa.Column("b", sa.String),
        sa.Column("n", sa.Numeric(10, 2)),
    )
    metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(table.insert(), [{"a": 1, "b": "x", "n": Decimal("1.50")}, {"a": 2, "b": None, "n": None}])
        rows = connection.execute(sa.select(table).where(table.c.a > 0).order_by(table.c.a)).fetchall()
        assert [tuple(row) for row in rows] == [(1, "x", Decimal("1.50")), (2, None, None)]
        assert connection.execute(sa.text("SELECT :a AS a, :b AS b"), {"a": 1, "b": "x"}).fetchall() == [(1, "x")]
    assert sa.inspect(engine).has_table(table.name)
    assert "default" in sa.inspect(engine).get_schema_names()
    metadata.drop_all(engine)
    assert not sa.inspect(engine).has_table(table.name)


def test_sqlalchemy_lists_columns(engine: Any, kernel: str) -> None:
    import sqlalchemy as sa

    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE OR REPLACE TABLE main.default.listed_{kernel} (a INT, b STRING)"))
    columns = sa.inspect(engine).get_columns(f"listed_{kernel}")
    assert [column["name"] for column in columns] == ["a", "b"]


MODELS = {
    "carriers": "{{ config(materialized='view') }} select carrier, name from samples.nycflights13.airlines",
    "origins": (
        "{{ config(materialized='table') }} select origin, count(*) as flights"
        " from samples.nycflights13.flights group by origin"
    ),
    "growing": (
        "{{ config(materialized='incremental', unique_key='carrier') }} select carrier, name from {{ ref('carriers') }}"
        "{% if is_incremental() %} where carrier > 'M' {% else %} where carrier < 'V' {% endif %}"
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.skipif(DBT is None, reason="SEAKERNEL_DBT names no `dbt`")
def test_dbt_debugs_runs_tests_and_runs_again(warehouse: LocalWarehouse, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text("{name: project, version: '1.0', profile: local, model-paths: [models]}")
    for name, text in MODELS.items():
        (tmp_path / "models" / f"{name}.sql").write_text(text)
    (tmp_path / "models" / "schema.yml").write_text(
        "{version: 2, models: [{name: growing, columns: [{name: carrier, data_tests: [not_null, unique]}]}]}"
    )
    (tmp_path / "profiles.yml").write_text(
        "{local: {target: here, outputs: {here: {type: databricks, catalog: main, schema: dbt_made, threads: 2,"
        f" host: '{warehouse.server_hostname}', http_path: {warehouse.http_path}, token: {warehouse.access_token},"
        " connection_parameters: {use_kernel: true}}}}}"
    )
    path = os.pathsep.join([str(ROOT / "python" / "databricks-sql-kernel-shim"), str(ROOT / "python")])
    environment = {**os.environ, "PYTHONPATH": path, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    for command in ("debug", "run", "test", "run", "test"):
        ran = subprocess.run(
            [str(DBT), command, "--profiles-dir", str(tmp_path), "--project-dir", str(tmp_path), "--no-use-colors"],
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
            env=environment,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    with warehouse.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM main.dbt_made.growing").fetchall() == [(16,)]
        assert cursor.execute("SELECT sum(flights) FROM main.dbt_made.origins").fetchall() == [(336_776,)]
