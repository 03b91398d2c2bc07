"""Pytest plugin: no secret appears in a log, an error, a pickle or the output of any test of the suite.

Tokens of local warehouses and signatures of their links carry marks, and so do the secrets that tests choose. Besides,
what a test binds as a parameter is looked for while that test runs. Whatever is found fails the test, or the session.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

# Part of every secret: of tokens, of signatures and the rest of a link's query, and of what tests choose.
MARKS = (
    "local-access-token",
    "local-signature-",
    "X-Amz-",
    "canary",
    # What the identity provider gives out, and signed tokens of whomever.
    "local-oauth-",
    "local-refresh-",
    "local-code-",
    "local-secret-",
    "local-azure-secret-",
    "eyJhbGciOi",
)
# Loggers of other clients that the suite runs; what they tell is theirs.
OTHER_CLIENTS = ("databricks", "selenium", "thrift", "urllib3")
# Shorter texts are found everywhere.
SHORTEST_VALUE = 6


class SecretWatch(logging.Handler):
    """Looks at every log record and at every error of this package."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.leaks: list[str] = []
        self.values: set[str] = set()
        self.records = 0

    def look(self, place: str, text: str, *, values: bool = True) -> None:
        for secret in (*MARKS, *(self.values if values else ())):
            if secret in text:
                self.leaks.append(f"`{secret}` leaked into {place}: {text}")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.split(".")[0].startswith(OTHER_CLIENTS):
            return
        self.records += 1
        self.look(f"the log of {record.name}", f"{record.getMessage()} {record.args!r}")
        if record.exc_info and record.exc_info[1]:
            self.look_at_error(record.exc_info[1])

    def bind(self, value: object) -> None:
        """Looks for a parameter's value from now on, until the test ends."""
        if isinstance(value, bytes | bytearray):
            value = bytes(value).decode("latin-1")
        if isinstance(value, str) and len(value) >= SHORTEST_VALUE:
            self.values.add(value)

    def look_at_error(self, error: BaseException) -> None:
        seen: set[int] = set()
        link: BaseException | None = error
        while link is not None and id(link) not in seen:
            seen.add(id(link))
            place = f"the error {type(link).__qualname__}"
            # A failed statement is told in the words of the server, which may quote what it was given.
            ours = not (isinstance(link, seakernel.Error) and link.kind == "Sql")
            for text in (str(link), repr(link), repr(link.args), repr(vars(link))):
                self.look(place, text, values=ours)
            # Ray derives classes of its own from what a task has raised, which cannot be pickled.
            if isinstance(link, seakernel.Error) and type(link).__module__.startswith("seakernel"):
                self.look(f"a pickle of {place}", pickle.dumps(link, protocol=0).decode("latin-1"), values=ours)
            link = link.__cause__ or link.__context__

    def take_leaks(self) -> list[str]:
        """Ends a test and returns what was found since the last one ended."""
        self.values.clear()
        leaks, self.leaks = self.leaks, []
        return list(dict.fromkeys(leaks))


WATCH = SecretWatch()


def _watched_error(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def watched(self: seakernel.Error, *arguments: Any, **fields: Any) -> None:
        init(self, *arguments, **fields)
        # At once: to keep it would keep the frames of its traceback, and the cursors in them.
        WATCH.look_at_error(self)

    return watched


def _watched_execute(execute: Callable[..., seakernel.Cursor]) -> Callable[..., seakernel.Cursor]:
    @functools.wraps(execute)
    def watched(self: seakernel.Cursor, operation: str, parameters: Any = None, **options: Any) -> seakernel.Cursor:
        values = parameters.values() if isinstance(parameters, dict) else parameters
        for value in values if isinstance(values, Iterable) else ():
            WATCH.bind(value.value if isinstance(value, seakernel.Parameter) else value)
        try:
            return execute(self, operation, parameters, **options)
        finally:
            for thing in (self, self._result, self._connection, self._connection._session):
                WATCH.look("a repr", repr(thing))

    return watched


def _watched_raises(raises: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(raises)
    def watched(*arguments: Any, **options: Any) -> Any:
        raised = raises(*arguments, **options)
        if (leave := getattr(type(raised), "__exit__", None)) is None:
            WATCH.look_at_error(raised.value)
            return raised

        class Watched(type(raised)):  # type: ignore[misc] - the class of the context
            def __exit__(self, *exception: object) -> Any:
                if exception[1] is not None:
                    WATCH.look_at_error(exception[1])
                return leave(self, *exception)

        raised.__class__ = Watched
        return raised

    return watched


def pytest_configure(config: pytest.Config) -> None:
    seakernel.Error.__init__ = _watched_error(seakernel.Error.__init__)  # type: ignore[method-assign]
    seakernel.Cursor.execute = _watched_execute(seakernel.Cursor.execute)  # type: ignore[method-assign]
    pytest.raises = _watched_raises(pytest.raises)  # type: ignore[assignment]
    root = logging.getLogger()
    root.addHandler(WATCH)
    root.setLevel(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Fails the teardown of a test that has leaked something. In a forked child too: the report is what comes back."""
    report = yield
    if call.when != "teardown":
        return report
    for when, name, text in item._report_sections:
        # The log is looked at record by record.
        if not name.endswith("log"):
            WATCH.look(f"the {name} of {when}", text)
    leaks = WATCH.take_leaks()
    if leaks:
        report.outcome = "failed"
        report.longrepr = "\n".join(leaks)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Fails the session for what was found outside of tests, as when the last fixtures ended."""
    yield
    WATCH.leaks = WATCH.take_leaks()
    if WATCH.leaks and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.line(
        f"{WATCH.records} log records of process {os.getpid()} hold no secret" if not WATCH.leaks else ""
    )
    for leak in WATCH.leaks:
        terminalreporter.line(leak, red=True)
