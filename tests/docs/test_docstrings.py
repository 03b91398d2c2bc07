"""Public names have a docstring with an example, and every example runs."""

from __future__ import annotations

import ast
import asyncio
import builtins
import doctest
import importlib
import inspect
import os
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pytest

import seakernel
from seakernel import aio
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Cursor

PACKAGE = Path(seakernel.__file__).parent
# The stand-in for databricks-sql-kernel is described by the original.
MODULES = ["seakernel", "seakernel.adbc", "seakernel.aio", "seakernel.compat", "seakernel.local", "seakernel.zerobus"]
# PEP 249, or their class, says of them what there is to say.
CONSTANTS = (str, int, float, seakernel.TypeObject)


class Documented(NamedTuple):
    name: str
    text: str


def of_the_extension(stub: Path) -> dict[str, str]:
    """Docstrings of the stub, which speaks for the extension module."""
    texts = {}
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            texts[node.name] = ast.get_docstring(node) or ""
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(member, ast.FunctionDef):
                texts[f"{node.name}.{member.name}"] = ast.get_docstring(member) or ""
    return texts


def members(public: type) -> Iterator[str]:
    """Public members of a class and of those of its bases that are of this package, fields of tuples apart."""
    fields = getattr(public, "_fields", ())
    for owner in public.__mro__:
        if not owner.__module__.startswith("seakernel"):
            continue
        for name, value in vars(owner).items():
            is_exception = inspect.isclass(value) and issubclass(value, BaseException)
            if not name.startswith("_") and name not in fields and not is_exception:
                yield name


def is_described(attribute: str, *texts: str) -> bool:
    """Tells whether the class says what a property is, among its attributes or as an argument of the same name."""
    return any(re.search(rf"^    {attribute}: ", text, re.MULTILINE) for text in texts)


def public_names() -> Iterator[Documented]:
    seakernel_zerobus, seen = importlib.import_module("seakernel_zerobus"), set()
    of_zerobus = of_the_extension(Path(seakernel_zerobus.__file__).parent / "_seakernel_zerobus.pyi")
    # By the module that a class says it is of.
    extensions = {"seakernel._seakernel": of_the_extension(PACKAGE / "_seakernel.pyi"), "seakernel_zerobus": of_zerobus}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield Documented(module_name, inspect.getdoc(module) or "")
        for name in module.__all__:
            value = getattr(module, name)
            # What PEP 249 names and Python has, such as `Binary`, is documented by Python.
            is_of_us = getattr(value, "__module__", "").startswith("seakernel")
            if isinstance(value, CONSTANTS) or not is_of_us or value in seen:
                continue
            seen.add(value)
            extension = extensions.get(value.__module__, {})
            compiled = name in extension
            yield Documented(f"{module_name}.{name}", extension[name] if compiled else inspect.getdoc(value) or "")
            if not inspect.isclass(value) or issubclass(value, dict | BaseException):
                continue
            for member in dict.fromkeys(members(value)):
                of_member = extension.get(f"{name}.{member}", "")
                if (
                    compiled
                    and not of_member
                    and is_described(member, extension[name], extension.get(f"{name}.__new__", ""))
                ):
                    continue
                text = of_member if compiled else inspect.getdoc(getattr(value, member)) or ""
                yield Documented(f"{module_name}.{name}.{member}", text)


NAMES = list(public_names())
EXAMPLES = [documented for documented in NAMES if ">>>" in documented.text]


def test_nearly_every_public_name_has_an_example() -> None:
    without = [documented.name for documented in NAMES if ">>>" not in documented.text]
    assert len(without) <= 0.05 * len(NAMES), f"{len(without)} of {len(NAMES)} have none: {', '.join(without)}"


def test_every_public_name_is_documented() -> None:
    assert [documented.name for documented in NAMES if not documented.text] == []


@pytest.fixture(scope="module")
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    event_loop = asyncio.new_event_loop()
    yield event_loop
    event_loop.close()


@pytest.fixture(scope="module")
def own() -> Iterator[tuple[LocalWarehouse, Cursor]]:
    with LocalWarehouse() as own, own.connect() as connection, connection.cursor() as cursor:
        yield own, cursor


@pytest.fixture
def given(
    own: tuple[LocalWarehouse, Cursor], event_loop: asyncio.AbstractEventLoop, documented: Documented
) -> Iterator[dict[str, Any]]:
    """What the docstring of `seakernel` says that examples start with, as if no other example had run."""
    warehouse, cleaner = own
    place = (warehouse.server_hostname, warehouse.http_path, warehouse.access_token)
    names: dict[str, Any] = {"asyncio": asyncio, "seakernel": seakernel, "warehouse": warehouse}
    names["__builtins__"] = builtins  # as `exec` does; imports of the extension ask for it
    if "session" in documented.text:
        names["session"] = seakernel.Session(*place)
    # What an example sets there is gone after it.
    with mock.patch.dict(os.environ):
        if documented.name.startswith("seakernel.aio"):
            connection = event_loop.run_until_complete(aio.connect(*place).__aenter__())
            yield names | {"aio": aio, "connection": connection, "cursor": connection.cursor()}
            event_loop.run_until_complete(connection.close())
        else:
            with warehouse.connect() as connection, connection.cursor() as cursor:
                yield names | {"connection": connection, "cursor": cursor}
    warehouse.faults()
    warehouse.switches()
    cleaner.execute("DROP SCHEMA main.default CASCADE")
    cleaner.execute("CREATE SCHEMA main.default")


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda documented: documented.name)
def test_an_example_runs(
    documented: Documented,
    given: dict[str, Any],
    event_loop: asyncio.AbstractEventLoop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = textwrap.dedent(documented.text)
    in_event_loop = "await " in text and "asyncio.run(" not in text

    async def run_in_event_loop(code: types.CodeType, names: dict[str, Any]) -> None:
        # As `python -m asyncio` does: code that awaits makes a coroutine.
        returned = types.FunctionType(code, names)()
        if inspect.iscoroutine(returned):
            await returned

    def run(code: types.CodeType, names: dict[str, Any]) -> None:
        if in_event_loop:
            event_loop.run_until_complete(run_in_event_loop(code, names))
        else:
            exec(code, names)

    monkeypatch.setattr(doctest, "exec", run, raising=False)
    monkeypatch.delitem(sys.modules, "databricks_sql_kernel", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("DATABRICKS_"):
            monkeypatch.delenv(name)
    example = doctest.DocTestParser().get_doctest(text, given, documented.name, documented.name, 0)
    output: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=options)
    failed = runner.run(example, compileflags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, out=output.append).failed
    assert not failed, "".join(output)
