"""Promises about the package as a whole."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import seakernel
from seakernel import _seakernel, aio, dbapi, exceptions
from seakernel import types as seakernel_types

CLASSES = [value for value in vars(_seakernel).values() if isinstance(value, type)]
PACKAGE = Path(seakernel.__file__).parent
RUST = Path(__file__).parents[2] / "rust" / "python" / "src"


def isolated(script: str) -> subprocess.CompletedProcess[str]:
    """Runs `script` with the standard library and this package, and nothing else."""
    prelude = f"import sys; sys.path.append({str(PACKAGE.parent)!r})\n"
    hook = (
        "import importlib.abc\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] not in sys.stdlib_module_names | {'seakernel'}:\n"
        "            raise ImportError('third party: ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", prelude + hook + script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_pyclass_is_frozen() -> None:
    declarations = [
        text for file in RUST.glob("*.rs") for text in re.findall(r"#\[pyclass\(([^)]*)\)\]", file.read_text())
    ]
    assert len(declarations) == len(CLASSES)
    for declaration in declarations:
        assert "frozen" in declaration.split(", "), declaration


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_pyclass_says_where_it_lives_and_has_no_setter(cls: type) -> None:
    assert cls.__module__ == "seakernel._seakernel"
    for name, attribute in vars(cls).items():
        if isinstance(attribute, types.GetSetDescriptorType):
            with pytest.raises((AttributeError, TypeError)):
                attribute.__set__(object.__new__(object), None)
            assert not name.startswith("_")


@pytest.mark.parametrize(
    "module", [seakernel, aio, dbapi, exceptions, seakernel_types], ids=lambda module: module.__name__
)
def test_all_is_complete_and_sorted_out(module: types.ModuleType) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and (module is seakernel or getattr(value, "__module__", module.__name__) == module.__name__)
        and name not in {"annotations", "TYPE_CHECKING"}
    }
    assert public <= set(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), name


def test_the_package_reexports_the_extension_and_the_exceptions() -> None:
    internal = {"ArrowParameters", "IpcEncoder", "LocalServer", "MultiRowInsert"}
    assert {cls.__name__ for cls in CLASSES} - internal <= set(seakernel.__all__)
    assert set(exceptions.__all__) <= set(seakernel.__all__)


def test_the_stub_is_the_truth() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "seakernel._seakernel"],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_item_of_the_stub_is_documented() -> None:
    stub = (PACKAGE / "_seakernel.pyi").read_text()
    bare = re.findall(r"def (?!_)(\w+)\([^)]*\)[^:]*: \.\.\.", stub)
    assert bare == []


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_import_needs_no_third_party_package() -> None:
    isolated("import seakernel, seakernel.dbapi, seakernel.exceptions, seakernel.types")


def test_import_loads_nothing_heavy_and_starts_no_thread() -> None:
    isolated(
        "import threading, os; before = set(sys.modules); import seakernel\n"
        "heavy = {'pyarrow', 'duckdb', 'asyncio', 'ssl', 'decimal', 'argparse', 'configparser', 'difflib', 'inspect'}\n"
        "assert not [n for n in sys.modules if n.split('.')[0] in heavy]\n"
        # The import hook above may load some of these by itself.
        "rarely_used = {'concurrent', 'shutil', 'tempfile', 'uuid'}\n"
        "assert not [n for n in set(sys.modules) - before if n.split('.')[0] in rarely_used]\n"
        "assert len(os.listdir('/proc/self/task')) == 1 if os.path.exists('/proc/self/task') else True\n"
    )


def test_signatures_are_readable() -> None:
    keywords = inspect.signature(seakernel.Session).parameters
    assert list(keywords)[:3] == ["server_hostname", "http_path", "access_token"]
    assert set(keywords) == set(inspect.signature(seakernel.connect).parameters) - {
        "warehouse_id",
        "profile",
        "progress",
        "query_tags",
        "staging_allowed_local_path",
        "connector_options",
    }


def test_the_example_of_the_readme_runs() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(examples) == 1
    done = subprocess.run([sys.executable, "-c", examples[0]], check=True, capture_output=True, text=True, timeout=60)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["EWR", "51085", "13.5"],
        ["JFK", "62071", "10.9"],
        ["LGA", "33949", "9.7"],
    ]
