"""The engines in their local modes, which sign in by the environment. They have an environment of their own, `.venv-engines`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engine_workers
import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Rows of the largest result; 10,000,000 takes minutes.
ROWS = int(os.environ.get("ENGINES_ROWS", "60000"))
CHUNKS = max(6, ROWS // 500_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            # What engines warn of in themselves is theirs.
            item.add_marker(pytest.mark.filterwarnings("error:::seakernel"), append=False)
            item.add_marker(pytest.mark.filterwarnings("ignore"), append=False)


@pytest.fixture(scope="session")
def engines_warehouse() -> Iterator[LocalWarehouse]:
    """The warehouse that the environment names, before any engine inherits that."""
    with (
        LocalWarehouse(chunk_rows=max(1, ROWS // CHUNKS), inline_bytes=0) as warehouse,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in list(os.environ):
            if name.startswith("DATABRICKS_"):
                patch.delenv(name)
        patch.setenv("DATABRICKS_HOST", warehouse.server_hostname)
        patch.setenv("DATABRICKS_HTTP_PATH", warehouse.http_path)
        patch.setenv("DATABRICKS_TOKEN", warehouse.access_token)
        # Workers import this package, installed or not, and the sign-ins of the tests.
        paths = [str(Path(__file__).parent), str(Path(seakernel.__file__).parents[1])]
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
        yield warehouse


@pytest.fixture(scope="session")
def graves(engines_warehouse: LocalWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where killed workers are noted; known to all workers from their start."""
    directory = tmp_path_factory.mktemp("graves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(engine_workers.GRAVES, str(directory))
        patch.setenv(engine_workers.TOKEN, engines_warehouse.access_token)
        yield directory


@pytest.fixture(scope="session")
def ray_session(graves: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        # Slow machines need longer than half a minute to start it.
        patch.setenv("RAY_gcs_server_port_wait_time_s", "300")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")
        import ray

        ray.init(
            num_cpus=2,
            object_store_memory=max(200 << 20, ROWS * 400),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def dask_cluster(graves: Path) -> Iterator[None]:
    import dask.distributed

    with (
        dask.distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        dask.distributed.Client(cluster),
    ):
        yield


@pytest.fixture(scope="session")
def spark(graves: Path) -> Iterator[Any]:
    """Sail's server in this process, and Spark's client of it."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    from seakernel.spark import SeakernelDataSource

    server = SparkConnectServer(port=0)
    server.start(background=True)
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
    session.dataSource.register(SeakernelDataSource)
    yield session
    session.stop()
    server.stop()


@pytest.fixture
def engine(request: pytest.FixtureRequest, engines_warehouse: LocalWarehouse) -> str:
    """The name of an engine that runs."""
    name: str = request.param
    needs: dict[str, str] = {"ray": "ray_session", "dask": "dask_cluster", "sail": "spark", "daft": "graves"}
    request.getfixturevalue(needs[name])
    return name


@pytest.fixture
def kept(engines_warehouse: LocalWarehouse) -> Callable[[], int]:
    """How many statements were executed since the test began and not closed: those whose result has readers."""
    before = len(engines_warehouse.requests())

    def count() -> int:
        requests = engines_warehouse.requests()[before:]
        executed = {entry["statement_id"] for entry in requests if entry["operation"] == "execute"}
        return len(executed - {entry["statement_id"] for entry in requests if entry["operation"] == "close_statement"})

    return count
