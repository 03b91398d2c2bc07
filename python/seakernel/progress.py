"""Progress of a statement and of its fetch: for a callback, or shown on the terminal or in a notebook."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from seakernel.preview import in_bytes
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel._seakernel import Statement, Statistics

__all__ = ["Observer", "Progress", "ProgressOption"]

# Nothing is shown of calls that take less.
_PATIENCE_S = 1.0
# Between two lines where there is no terminal to write over the last one.
_LINE_INTERVAL_S = 10.0


class Progress(NamedTuple):
    """How far a statement is. Immutable.

    A callback gets one five times a second while a call of the cursor waits, one as that call comes back, and one at the
    end of the result, in the thread that waits. Of rows that an Arrow consumer reads from the cursor by itself it is not
    told. It may cancel the cursor; calls that wait raise `InterfaceError` in it.

    Example:
        >>> phases = []
        >>> rows = cursor.execute("SELECT 1", progress=lambda progress: phases.append(progress.phase)).fetchall()
        >>> phases
        ['done']

    Attributes:
        phase: `sent` until the server has told a state, which it may take 10 s for; `queued`; `running`; `fetching`;
            and at last `done`, when the last row was received, or `failed`.
        statement_id: The server's id of the statement, None until the server has named it.
        rows: Rows received.
        rows_total: Rows of the whole result, None where they are not known.
        bytes: Bytes of result received.
        elapsed_s: Seconds since the statement was sent.
        bytes_per_s: Bytes a second since rows were first told of; 0 until then.
    """

    phase: Literal["sent", "queued", "running", "fetching", "done", "failed"]
    statement_id: str | None
    rows: int
    rows_total: int | None
    bytes: int
    elapsed_s: float
    bytes_per_s: float

    def __str__(self) -> str:
        parts = [f"{self.phase} {self.elapsed_s:.0f} s"]
        if self.rows_total is not None:
            parts.append(f"{self.rows:,} of {self.rows_total:,} rows")
        elif self.rows:
            parts.append(f"{self.rows:,} rows")
        if self.bytes:
            parts.append(in_bytes(self.bytes))
        if self.bytes_per_s:
            parts.append(f"{in_bytes(self.bytes_per_s)}/s")
        if self.statement_id is not None:
            parts.append(f"statement {printable(self.statement_id, 40)}")
        return ", ".join(parts)


ProgressOption: TypeAlias = "bool | Callable[[Progress], object] | None"


class Observer:
    """Follows one statement and its result, for a callback or for a display.

    `Statement.execute` takes it, and the extension calls it in the thread that waits.
    """

    def __init__(self, statement: Statement, tell: Callable[[Progress, bool], object]) -> None:
        self._statement = statement
        # Takes the progress, and whether the call is back. None after it has failed.
        self._tell: Callable[[Progress, bool], object] | None = tell
        self._sent = time.monotonic()
        # When the first rows were seen, and the bytes received by then.
        self._opened: tuple[float, int] | None = None

    @classmethod
    def of(cls, option: ProgressOption, statement: Statement) -> Observer | None:
        """Returns the observer that `option` asks for; None asks for one where a person is looking."""
        if callable(option):
            callback = option
            return cls(statement, lambda progress, _: callback(progress))
        if option is False:
            return None
        if _in_notebook():
            return cls(statement, _Display(_NotebookLine))
        if _on_terminal():
            return cls(statement, _Display(_RichBar, _TqdmBar, _TerminalLine))
        return cls(statement, _Display(_Lines)) if option else None

    def __call__(
        self,
        event: Literal["waiting", "back", "done", "failed"],
        statistics: Statistics | None,
        rows_total: int | None,
    ) -> None:
        """Passes on what the extension tells. A failure goes to `sys.unraisablehook`, once."""
        if self._tell is None:
            return
        try:
            self._tell(self._progress(event, statistics, rows_total), event != "waiting")
        except Exception:
            self._tell = None
            raise

    def _progress(self, event: str, statistics: Statistics | None, rows_total: int | None) -> Progress:
        now = time.monotonic()
        if self._opened is None and statistics is not None:
            self._opened = now, statistics.wire_bytes
        phase: Any = event
        if event not in ("done", "failed"):
            phase = _PHASES.get(self._statement.state, "running") if statistics is None else "fetching"
        received = 0 if statistics is None else statistics.wire_bytes
        opened, received_then = self._opened or (now, 0)
        return Progress(
            phase=phase,
            statement_id=self._statement.statement_id,
            rows=0 if statistics is None else statistics.rows,
            rows_total=rows_total,
            bytes=received,
            elapsed_s=now - self._sent,
            bytes_per_s=(received - received_then) / (now - opened) if now > opened else 0.0,
        )


_PHASES = {None: "sent", "Pending": "queued"}


class _Screen(Protocol):
    """A place where progress is drawn; made when it is first needed."""

    def draw(self, progress: Progress) -> None: ...
    def erase(self) -> None: ...


class _Display:
    """Shows the progress of calls that take longer than a moment, and leaves nothing behind."""

    # Held by the display that is drawn: two would write over each other.
    _place = threading.Lock()

    def __init__(self, *screens: Callable[[], _Screen]) -> None:
        self._screens = screens
        self._screen: _Screen | None = None
        self._begin: float | None = None

    def __call__(self, progress: Progress, back: bool) -> None:
        now = time.monotonic()
        if back:
            self._begin = None
            self._erase()
            return
        if self._begin is None:
            self._begin = now
        if self._screen is None and (now - self._begin < _PATIENCE_S or not self._place.acquire(blocking=False)):
            return
        if self._screen is None:
            try:
                self._screen = self._first_screen()
            except BaseException:
                self._place.release()
                raise
        try:
            self._screen.draw(progress)
        except Exception:
            self._erase()
            raise

    def _first_screen(self) -> _Screen:
        for screen in self._screens[:-1]:
            try:
                return screen()
            except ImportError:  # noqa: PERF203 - there are two
                continue
        return self._screens[-1]()

    def _erase(self) -> None:
        screen, self._screen = self._screen, None
        if screen is None:
            return
        try:
            screen.erase()
        finally:
            self._place.release()


class _RichBar:
    def __init__(self) -> None:
        console = importlib.import_module("rich.console").Console(stderr=True)
        rich = importlib.import_module("rich.progress")
        text = rich.TextColumn("{task.description}", markup=False)
        self._bar = rich.Progress(
            rich.BarColumn(),
            text,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def draw(self, progress: Progress) -> None:
        self._bar.update(
            self._task, description=str(progress), total=progress.rows_total, completed=progress.rows, refresh=True
        )

    def erase(self) -> None:
        self._bar.stop()


class _TqdmBar:
    def __init__(self) -> None:
        tqdm = importlib.import_module("tqdm").tqdm
        # No thread of tqdm's own; and sizes from here, for without one tqdm draws nothing on a terminal that tells none.
        bar = type("Bar", (tqdm,), {"monitor_interval": 0})
        self._bar = bar(file=sys.stderr, leave=False, bar_format="{desc}", ncols=_columns(), nrows=20)

    def draw(self, progress: Progress) -> None:
        if progress.rows_total:
            self._bar.bar_format = "{percentage:3.0f}%|{bar:20}| {desc}"
        self._bar.ncols = _columns()
        self._bar.total, self._bar.n = progress.rows_total, progress.rows
        self._bar.set_description_str(str(progress))

    def erase(self) -> None:
        self._bar.close()
        # tqdm knows nothing of a line that a Ctrl-C came upon.
        _TerminalLine().erase()


class _TerminalLine:
    def draw(self, progress: Progress) -> None:
        columns = _columns()
        sys.stderr.write("\r" + str(progress)[:columns].ljust(columns))
        sys.stderr.flush()

    def erase(self) -> None:
        sys.stderr.write("\r" + " " * _columns() + "\r")
        sys.stderr.flush()


class _Lines:
    def __init__(self) -> None:
        self._due = 0.0

    def draw(self, progress: Progress) -> None:
        if (now := time.monotonic()) >= self._due:
            self._due = now + _LINE_INTERVAL_S
            sys.stderr.write(f"{progress}\n")
            sys.stderr.flush()

    def erase(self) -> None:
        pass


class _NotebookLine:
    def __init__(self) -> None:
        display = importlib.import_module("IPython.display").display
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, progress: Progress) -> None:
        self._handle.update({"text/plain": str(progress)}, raw=True)

    def erase(self) -> None:
        self._handle.update({"text/plain": ""}, raw=True)


def _columns() -> int:
    """Returns the terminal's columns but one: in the last some go to the next line."""
    import shutil

    return max(shutil.get_terminal_size().columns - 1, 20)


def _in_notebook() -> bool:
    """Tells whether this is a kernel of Jupyter. Whoever has not imported IPython is not in one."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _on_terminal() -> bool:
    # Without a console, as under pythonw, there is no stderr.
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
