"""The stand-in beside the installed original: every name, parameter, default, attribute and code is there."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original
import pytest

import seakernel.compat
from seakernel.compat import databricks_sql_kernel as ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local import LocalWarehouse

CLASSES = [name for name in original.__all__ if isinstance(getattr(original, name), type)]
FUNCTIONS = ["init_logging", "reset_logging"]
# What ours has beyond 1.3.0.
MORE = {("ExecutedAsyncStatement", "reader")}
ERROR_ATTRIBUTES = {
    "code",
    "message",
    "sql_state",
    "error_code",
    "vendor_code",
    "http_status",
    "retryable",
    "query_id",
    "display_message",
    "diagnostic_info",
    "error_details_json",
}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults; annotations are ours alone."""
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    ]


def methods() -> list[tuple[str, str]]:
    return [
        (name, method)
        for name in CLASSES
        for method in sorted(public(getattr(original, name)))
        if name != "KernelError"
    ]


def test_the_module_has_the_same_names() -> None:
    assert set(ours.__all__) == set(original.__all__)
    assert ours.__version__ == original.__version__ == "1.3.0"
    assert ours.__file__


def test_what_is_missing_and_what_is_more_is_just_what_is_listed() -> None:
    theirs = {(name, attribute) for name in CLASSES for attribute in public(getattr(original, name))}
    own = {(name, attribute) for name in CLASSES for attribute in public(getattr(ours, name))}
    assert theirs <= own
    assert own - theirs == MORE


def test_all_61_keywords_of_session_with_their_kinds_and_defaults() -> None:
    assert shape(ours.Session) == shape(original.Session)
    assert len(shape(ours.Session)) == 61


@pytest.mark.parametrize(("name", "method"), methods())
def test_methods_have_the_same_signatures(name: str, method: str) -> None:
    theirs, own = vars(getattr(original, name))[method], vars(getattr(ours, name))[method]
    assert callable(theirs) == callable(own), "one is a property, the other a method"
    if callable(theirs):
        assert shape(own) == shape(theirs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_same_signatures(name: str) -> None:
    assert shape(getattr(ours, name)) == shape(getattr(original, name))


@pytest.fixture(scope="module", params=[original, ours], ids=["original", "seakernel"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def objects(module: Any, warehouse: LocalWarehouse) -> Iterator[dict[str, Any]]:
    session = module.Session(warehouse.server_hostname, warehouse.http_path, access_token=warehouse.access_token)
    statement = session.statement()
    statement.set_sql("SELECT 1 AS one")
    submitted = session.statement()
    submitted.set_sql("SELECT 1 AS one")
    owner = submitted.submit()
    yield {
        "Session": session,
        "Statement": statement,
        "StatementCanceller": statement.canceller(),
        "ExecutedStatement": statement.execute(),
        "ExecutedAsyncStatement": owner,
        "ResultStream": owner.await_result(),
        "Metadata": session.metadata(),
    }
    session.close()


SEALED = [name for name in CLASSES if name != "KernelError"]


@pytest.mark.parametrize("name", SEALED)
def test_objects_are_sealed(module: Any, objects: dict[str, Any], name: str) -> None:
    one = objects[name]
    assert type(one).__name__ == name
    forbidden: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: type("Own", (getattr(module, name),), {})),
        (TypeError, lambda: pickle.dumps(one)),
        (TypeError, lambda: copy.copy(one)),
        (TypeError, lambda: weakref.ref(one)),
        (TypeError, lambda: iter(one)),
        (AttributeError, lambda: setattr(one, "novel", 1)),
    ]
    if name != "Session":
        forbidden.append((TypeError, getattr(module, name)))
    for error, attempt in forbidden:
        with pytest.raises(error):
            attempt()
    assert hash(one) == hash(one)
    assert one != copy
    assert not hasattr(one, "__dict__")
    assert not hasattr(one, "__enter__")
    assert not hasattr(one, "__arrow_c_stream__")


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("Session", "session_id"), ("ExecutedStatement", "statement_id"), ("ExecutedAsyncStatement", "statement_id")],
)
def test_properties_are_read_only(objects: dict[str, Any], name: str, attribute: str) -> None:
    assert isinstance(getattr(objects[name], attribute), str)
    with pytest.raises(AttributeError):
        setattr(objects[name], attribute, "x")


def test_reprs(module: Any, objects: dict[str, Any], warehouse: LocalWarehouse) -> None:
    session, executed, submitted = (
        objects[name] for name in ("Session", "ExecutedStatement", "ExecutedAsyncStatement")
    )
    assert repr(session) == f'Session(session_id="{session.session_id}", closed=False)'
    assert repr(executed) == f'ExecutedStatement(statement_id="{executed.statement_id}", state=open)'
    assert repr(submitted) == f'ExecutedAsyncStatement(statement_id="{submitted.statement_id}", state=open)'
    assert repr(objects["ResultStream"]) == "ResultStream(state=open)"
    other = module.Session(warehouse.server_hostname, warehouse.http_path, access_token=warehouse.access_token)
    stream = module.ResultStream
    other.close()
    other.close()
    assert repr(other) == "Session(closed=True)"
    assert stream.__name__ == "ResultStream"


def test_errors_carry_all_eleven_attributes(module: Any, objects: dict[str, Any]) -> None:
    assert issubclass(module.KernelError, Exception)
    assert module.KernelError.__mro__[1] is Exception
    made = module.KernelError("x")
    assert made.args == ("x",)
    assert not any(hasattr(made, name) for name in ERROR_ATTRIBUTES)
    with pytest.raises(module.KernelError) as raised:
        objects["Session"].attach_async_statement("01ef0000-0000-1000-8000-000000000000")
    error = raised.value
    assert set(vars(error)) == ERROR_ATTRIBUTES
    assert error.args == (error.message,)
    assert str(error) == error.message
    assert (error.code, error.http_status, error.retryable) == ("NotFound", 404, False)
    assert error.query_id == "01ef0000-0000-1000-8000-000000000000"
    assert error.vendor_code is None


def test_our_classes_name_their_module_and_our_error_can_be_pickled(objects: dict[str, Any], module: Any) -> None:
    if module is original:
        assert original.Session.__module__ == "builtins"
        return
    for name in CLASSES:
        assert getattr(ours, name).__module__ == "seakernel.compat.databricks_sql_kernel"
    with pytest.raises(ours.KernelError) as raised:
        objects["Session"].attach_async_statement("a/b")
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.code, again.query_id, str(again)) == ("NotFound", "a/b", str(raised.value))


def run(script: str) -> str:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_install_puts_the_stand_in_in_place_and_needs_no_pyarrow() -> None:
    script = """
import sys
import seakernel.compat
module = seakernel.compat.install()
assert seakernel.compat.install() is module
import databricks_sql_kernel
from databricks_sql_kernel import Session
assert databricks_sql_kernel is module
print(databricks_sql_kernel.__name__, Session.__module__, "pyarrow" in sys.modules)
"""
    name = "seakernel.compat.databricks_sql_kernel"
    assert run(script) == f"{name} {name} False"


def test_logging_functions_answer_as_the_original() -> None:
    for install in ("", "import seakernel.compat; seakernel.compat.install(); "):
        script = f"{install}import databricks_sql_kernel as k; print(k.init_logging(), k.reset_logging())"
        assert run(script) == "False None"


def test_the_log_goes_where_the_original_logs_and_at_the_level_set_there(warehouse: LocalWarehouse) -> None:
    script = f"""
import logging
seen = []
class Keep(logging.Handler):
    def emit(self, record):
        seen.append((record.name, record.levelname))
logging.getLogger("databricks.sql").addHandler(Keep())
import seakernel.compat
kernel = seakernel.compat.install()
def run():
    seen.clear()
    session = kernel.Session({warehouse.server_hostname!r}, {warehouse.http_path!r}, access_token={warehouse.access_token!r})
    session.close()
    return len(seen)
silent = run()
logging.getLogger("databricks.sql.kernel").setLevel(logging.DEBUG)
told = run()
print(silent, told > 0, all(name.startswith("databricks.sql.kernel.") for name, _ in seen))
seakernel.compat.uninstall()
import databricks_sql_kernel as original
print(run(), original is not kernel)
"""
    assert run(script).split() == ["0", "True", "True", "0", "True"]


def test_install_does_not_replace_an_imported_original_unless_forced() -> None:
    script = """
import databricks_sql_kernel as original
import seakernel.compat
try:
    seakernel.compat.install()
except RuntimeError as refused:
    print("databricks_sql_kernel/__init__.py" in str(refused))
import databricks_sql_kernel
assert databricks_sql_kernel is original
seakernel.compat.install(force=True)
import databricks_sql_kernel
print(databricks_sql_kernel is not original)
"""
    assert run(script).split() == ["True", "True"]


def test_importing_seakernel_alone_touches_nothing_of_the_original() -> None:
    script = "import sys, seakernel; print('databricks_sql_kernel' in sys.modules, 'seakernel.compat' in sys.modules)"
    assert run(script) == "False False"
    assert seakernel.compat.__all__ == ["install", "uninstall"]
