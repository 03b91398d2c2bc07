"""The tables of catalog `samples`: real flights and TPC-H, converted to Parquet once per machine.

Nothing is read before a table is asked for, so a warehouse starts at once. The first use converts the table into the
user's cache directory; every later use, in any process, opens that file.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["SAMPLE_COLUMNS", "SampleData", "SampleDataError", "cache_directory"]

# Part of the cache's path: raise it when the conversion changes, and old files are simply no longer found.
_LAYOUT_VERSION = "v1"

_INSTALL = "`pip install 'seakernel[samples]'`"

# Whole numbers are INT and measurements DOUBLE, as in the R package that the data comes from.
_FLIGHTS = {
    "year": "INT",
    "month": "INT",
    "day": "INT",
    "dep_time": "INT",
    "sched_dep_time": "INT",
    "dep_delay": "INT",
    "arr_time": "INT",
    "sched_arr_time": "INT",
    "arr_delay": "INT",
    "carrier": "STRING",
    "flight": "INT",
    "tailnum": "STRING",
    "origin": "STRING",
    "dest": "STRING",
    "air_time": "INT",
    "distance": "INT",
    "hour": "INT",
    "minute": "INT",
    "time_hour": "TIMESTAMP",
}
_AIRLINES = {"carrier": "STRING", "name": "STRING"}
_AIRPORTS = {
    "faa": "STRING",
    "name": "STRING",
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "alt": "INT",
    "tz": "INT",
    "dst": "STRING",
    "tzone": "STRING",
}
_PLANES = {
    "tailnum": "STRING",
    "year": "INT",
    "type": "STRING",
    "manufacturer": "STRING",
    "model": "STRING",
    "engines": "INT",
    "seats": "INT",
    "speed": "INT",
    "engine": "STRING",
}
_WEATHER = {
    "origin": "STRING",
    "year": "INT",
    "month": "INT",
    "day": "INT",
    "hour": "INT",
    "temp": "DOUBLE",
    "dewp": "DOUBLE",
    "humid": "DOUBLE",
    "wind_dir": "INT",
    "wind_speed": "DOUBLE",
    "wind_gust": "DOUBLE",
    "precip": "DOUBLE",
    "pressure": "DOUBLE",
    "visib": "DOUBLE",
    "time_hour": "TIMESTAMP",
}
# The types of a workspace's own samples.tpch, where money is DECIMAL(18,2) and not the generator's DECIMAL(15,2).
_TPCH = {
    "customer": {
        "c_custkey": "BIGINT",
        "c_name": "STRING",
        "c_address": "STRING",
        "c_nationkey": "BIGINT",
        "c_phone": "STRING",
        "c_acctbal": "DECIMAL(18,2)",
        "c_mktsegment": "STRING",
        "c_comment": "STRING",
    },
    "lineitem": {
        "l_orderkey": "BIGINT",
        "l_partkey": "BIGINT",
        "l_suppkey": "BIGINT",
        "l_linenumber": "INT",
        "l_quantity": "DECIMAL(18,2)",
        "l_extendedprice": "DECIMAL(18,2)",
        "l_discount": "DECIMAL(18,2)",
        "l_tax": "DECIMAL(18,2)",
        "l_returnflag": "STRING",
        "l_linestatus": "STRING",
        "l_shipdate": "DATE",
        "l_commitdate": "DATE",
        "l_receiptdate": "DATE",
        "l_shipinstruct": "STRING",
        "l_shipmode": "STRING",
        "l_comment": "STRING",
    },
    "nation": {"n_nationkey": "BIGINT", "n_name": "STRING", "n_regionkey": "BIGINT", "n_comment": "STRING"},
    "orders": {
        "o_orderkey": "BIGINT",
        "o_custkey": "BIGINT",
        "o_orderstatus": "STRING",
        "o_totalprice": "DECIMAL(18,2)",
        "o_orderdate": "DATE",
        "o_orderpriority": "STRING",
        "o_clerk": "STRING",
        "o_shippriority": "INT",
        "o_comment": "STRING",
    },
    "part": {
        "p_partkey": "BIGINT",
        "p_name": "STRING",
        "p_mfgr": "STRING",
        "p_brand": "STRING",
        "p_type": "STRING",
        "p_size": "INT",
        "p_container": "STRING",
        "p_retailprice": "DECIMAL(18,2)",
        "p_comment": "STRING",
    },
    "partsupp": {
        "ps_partkey": "BIGINT",
        "ps_suppkey": "BIGINT",
        "ps_availqty": "INT",
        "ps_supplycost": "DECIMAL(18,2)",
        "ps_comment": "STRING",
    },
    "region": {"r_regionkey": "BIGINT", "r_name": "STRING", "r_comment": "STRING"},
    "supplier": {
        "s_suppkey": "BIGINT",
        "s_name": "STRING",
        "s_address": "STRING",
        "s_nationkey": "BIGINT",
        "s_phone": "STRING",
        "s_acctbal": "DECIMAL(18,2)",
        "s_comment": "STRING",
    },
}

SAMPLE_COLUMNS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "nycflights13": {
        "flights": _FLIGHTS,
        "airlines": _AIRLINES,
        "airports": _AIRPORTS,
        "planes": _PLANES,
        "weather": _WEATHER,
    },
    "tpch": _TPCH,
}
"""Schema -> table -> column -> SQL type of catalog `samples`, known without opening any file."""


class SampleDataError(RuntimeError):
    """A sample table cannot be made; the message says what to install or to change.

    Example:
        >>> from seakernel.local import SampleDataError
        >>> issubclass(SampleDataError, RuntimeError)
        True
    """


def cache_directory() -> Path:
    """Returns the user's cache directory for this package: `$XDG_CACHE_HOME/seakernel` or `~/.cache/seakernel`."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG base directory specification tells to ignore a relative path.
    if base and Path(base).is_absolute():
        return Path(base) / "seakernel"
    return Path.home() / ".cache" / "seakernel"


class SampleData:
    """The Parquet files behind `samples`, each made on the first call that asks for it.

    Safe between processes: a file appears under its final name by one atomic rename, so two processes that convert the
    same table at once do the work twice and end with the same file.
    """

    def __init__(self, *, tpch_scale: float = 0.1, cache: Path | None = None) -> None:
        """Takes the TPC-H scale factor (1 is 6 million line items) and the folder that keeps the files."""
        if not 0 < tpch_scale <= 1000:
            raise ValueError(f"tpch_scale `{tpch_scale}` is not usable: give a number above 0 and up to 1000")
        self._tpch_scale = tpch_scale
        self._cache = (cache or cache_directory()) / "samples" / _LAYOUT_VERSION

    def parquet(self, schema: str, table: str) -> Path:
        """Returns the Parquet file of `samples.<schema>.<table>`, converting it first if no process has done so yet.

        Raises:
            KeyError: `samples` has no such table.
            SampleDataError: the package with the data is missing, or the conversion failed.
        """
        columns = SAMPLE_COLUMNS[schema][table]
        if schema == "tpch":
            version = _version_of("tpchgen-cli", f"samples.{schema}.{table}")
            target = self._cache / f"tpch-{version}-scale-{self._tpch_scale:g}" / f"{table}.parquet"
            source = self._generated_tpch(table)
        else:
            version = _version_of("nycflights13", f"samples.{schema}.{table}")
            target = self._cache / f"nycflights13-{version}" / f"{table}.parquet"
            source = _unpacked_csv(table, self._cache)
        if not target.exists():
            _make_directory(target.parent)
            with source as (path, reader):
                _convert(path, reader, columns, target)
        return target

    @contextmanager
    def _generated_tpch(self, table: str) -> Iterator[tuple[Path, str]]:
        program = _installed_file("tpchgen-cli", lambda file: file.stem == "tpchgen-cli")
        with _scratch_directory(self._cache) as scratch:
            command = [
                str(program),
                "parquet",
                f"--scale-factor={self._tpch_scale:g}",
                f"--tables={table}",
                f"--output-dir={scratch}",
                "--quiet",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 our own argument list
            if done.returncode != 0:
                raise SampleDataError(
                    f"samples.tpch.{table} not generated: `{program}` ended with status {done.returncode}: "
                    f"{done.stderr.strip()}"
                )
            yield scratch / f"{table}.parquet", "read_parquet(?)"


@contextmanager
def _unpacked_csv(table: str, cache: Path) -> Iterator[tuple[Path, str]]:
    """Yields the table's CSV file and how to read it; the package is not imported, since that would import pandas."""
    data = _installed_file("nycflights13", lambda file: file.name in {f"{table}.csv", f"{table}.csv.zip"})
    if data.suffix != ".zip":
        yield data, _csv_reader(table)
        return
    with _scratch_directory(cache) as scratch:
        with zipfile.ZipFile(data) as archive:
            archive.extract(f"{table}.csv", scratch)
        yield scratch / f"{table}.csv", _csv_reader(table)


def _csv_reader(table: str) -> str:
    columns = SAMPLE_COLUMNS["nycflights13"][table]
    types = ", ".join(f"'{name}': '{_duckdb_type(type_text)}'" for name, type_text in columns.items())
    return f"read_csv(?, header = true, nullstr = 'NA', columns = {{{types}}})"


def _convert(source: Path, reader: str, columns: Mapping[str, str], target: Path) -> None:
    import duckdb

    casts = ", ".join(f'CAST("{name}" AS {_duckdb_type(type_text)}) AS "{name}"' for name, type_text in columns.items())
    with _scratch_directory(target.parent) as scratch:
        partial = scratch / target.name
        connection = duckdb.connect()
        try:
            connection.execute(
                f"COPY (SELECT {casts} FROM {reader}) TO '{_quoted(partial)}' (FORMAT parquet, COMPRESSION zstd)",
                [str(source)],
            )
        except duckdb.Error as error:
            raise SampleDataError(f"`{target}` not written: {error}") from error
        finally:
            connection.close()
        partial.replace(target)


def _duckdb_type(type_text: str) -> str:
    # Every sample TIMESTAMP is an instant, which DuckDB calls TIMESTAMPTZ; the other names are the same in both.
    return "TIMESTAMPTZ" if type_text == "TIMESTAMP" else type_text


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _version_of(package: str, table: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise SampleDataError(f"{table} needs the package `{package}`: {_INSTALL}") from None


def _installed_file(package: str, wanted: Callable[[importlib.metadata.PackagePath], bool]) -> Path:
    for file in importlib.metadata.files(package) or ():
        if wanted(file):
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    raise SampleDataError(
        f"the installed package `{package}` lacks a file it should have: reinstall it with {_INSTALL}"
    )


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SampleDataError(
            f"cache directory `{directory}` cannot be made: {error.strerror}; set XDG_CACHE_HOME to a folder you can write"
        ) from error


@contextmanager
def _scratch_directory(parent: Path) -> Iterator[Path]:
    """Yields a folder on the same file system as the cache, so that the last step can be a rename."""
    _make_directory(parent)
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))
    except OSError as error:
        raise SampleDataError(
            f"cache directory `{parent}` cannot be written: {error.strerror}; set XDG_CACHE_HOME to a folder you can write"
        ) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
