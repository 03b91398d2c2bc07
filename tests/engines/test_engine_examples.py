"""The examples of the engines' modules and the blocks of their page run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
from typing import TYPE_CHECKING, Any

import pytest
from page_code import ROOT, run

import seakernel

if TYPE_CHECKING:
    from pathlib import Path

    from seakernel.local import LocalWarehouse

MODULES = ["daft", "dask", "distributed", "ray", "spark"]
# PySpark takes a main module without a file for its own doctests.
A_FILE = "__file__ = 'page.py'\n"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public_names(module: Any) -> dict[str, str]:
    """Docstrings of a module, of what it exports, and of public methods."""
    texts = {module.__name__: inspect.getdoc(module) or ""}
    for name in module.__all__:
        value = getattr(module, name)
        texts[f"{module.__name__}.{name}"] = inspect.getdoc(value) or ""
        for member, method in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_"):
                text = inspect.getdoc(getattr(method, "__func__", method)) or ""
                texts[f"{module.__name__}.{name}.{member}"] = text
    return texts


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, engines_warehouse: LocalWarehouse, request: pytest.FixtureRequest) -> None:
    module = importlib.import_module(f"seakernel.{name}")
    names: dict[str, Any] = {"seakernel": seakernel}
    if name == "ray":
        request.getfixturevalue("ray_session")
    elif name == "spark":
        names["spark"] = request.getfixturevalue("spark")
    with engines_warehouse.connect() as connection, connection.cursor() as cursor:
        for documented, text in public_names(module).items():
            assert ">>>" in text, f"{documented} has no example"
            given = {**names, "connection": connection, "cursor": cursor}
            example = doctest.DocTestParser().get_doctest(text, given, documented, documented, 0)
            output: list[str] = []
            failed = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=output.append).failed
            assert not failed, "".join(output)


@pytest.mark.timeout(300)
def test_the_blocks_of_the_page_run(tmp_path: Path, graves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A session of Spark that runs here tells its place to all processes that come after it.
    for name in list(os.environ):
        if name.startswith(("SPARK_", "PYSPARK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "300")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    done = run(ROOT / "docs" / "distributed.md", tmp_path, [], timeout=280, before=A_FILE)
    assert done.returncode == 0, done.stderr
