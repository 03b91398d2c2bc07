"""The statements that `executemany` sends: several rows in one where that inserts the same, one a set otherwise."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from seakernel._seakernel import (
    ArrowParameters,
    MultiRowInsert,
    Parameter,
    has_named_markers,
    typed_parameters,
    with_native_markers,
)
from seakernel.exceptions import Error, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from seakernel.types import ArrowStreamExportable, Parameters

__all__ = ["Batch", "ParameterSets"]

MAX_PARAMETERS = 256  # of one statement

# These go out as JSON text, around which the SQL is another.
_NESTED = ("ARRAY", "MAP", "STRUCT")
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


class Batch(NamedTuple):
    """A statement for the next `set_count` parameter sets; its markers are the server's own."""

    operation: str
    parameters: Parameters
    set_count: int


class ParameterSets:
    """The parameter sets of one `executemany`: the statements for them, and what became of each.

    Args:
        operation: SQL text, as for `Cursor.executemany`.
        sets: The parameter sets, as for `Cursor.executemany`.
        check: Called before each set is taken and before each statement; raises where the call was cancelled.

    Attributes:
        rowcount: Rows that the statements applied so far have changed; -1 where one did not tell.
    """

    def __init__(
        self, operation: str, sets: Iterable[Parameters] | ArrowStreamExportable, check: Callable[[], None]
    ) -> None:
        self.rowcount = 0
        self._operation = operation
        self._sets = sets
        self._check = check
        self._applied = self._sent = 0

    def statements(self) -> Iterator[Batch]:
        """Returns what is to be sent, one after the other; `applied` is called for each before the next."""
        for batch in _batches(self._operation, self._unless_cancelled()):
            self._check()
            self._sent += batch.set_count
            yield batch

    def applied(self, rowcount: int) -> None:
        """The statement returned last has succeeded, and has changed that many rows."""
        self._applied = self._sent
        self.rowcount = -1 if rowcount < 0 or self.rowcount < 0 else self.rowcount + rowcount

    def tell(self, failure: BaseException) -> None:
        """Has what ended the call say what became of the sets, also where it is another's, such as `KeyboardInterrupt`."""
        failed = self._sent - self._applied
        # What the server ran and refused changed nothing; of any other failure the server's part is not known.
        refused = isinstance(failure, Error) and failure.kind in {"Sql", "InvalidArgument"}
        outcome = "were not" if refused else "may have been"
        what = f"the next {failed} {outcome} applied, and no more were sent" if failed else "no more were sent"
        told = f"of the parameter sets, the first {self._applied} were applied, {what}"
        if isinstance(failure, Error):
            failure.message += f"; {told}"
            failure.args = (failure.message,)
        elif hasattr(failure, "add_note"):  # from Python 3.11 on
            failure.add_note(told)
        with contextlib.suppress(AttributeError):
            failure.applied_sets = self._applied  # type: ignore[attr-defined]

    def _unless_cancelled(self) -> Iterator[Parameters]:
        sets: Any = self._sets
        if hasattr(sets, "__arrow_c_stream__"):
            sets = _arrow_sets(self._operation, sets)
        for parameters in sets:
            self._check()
            yield parameters


def _batches(operation: str, sets: Iterable[Parameters]) -> Iterator[Batch]:
    """Returns the statements for all sets, in the order of the sets.

    `INSERT INTO t VALUES (...)` of markers and constants takes as many sets as fit into 256 parameters. Sets share a statement
    only where their values have the same SQL types: the rows of one VALUES are brought to common types before they are
    stored, and a DECIMAL(3,1) that became a DECIMAL(5,2) on the way is another text in a STRING column.
    """
    group = _Group()
    for number, parameters in enumerate(sets):
        try:
            native = with_native_markers(operation, parameters)
            if native != group.operation:
                yield from group.take()
                group = _Group(native)
            row = group.row(parameters)
        except Error as failure:
            failure.message = f"parameter set {number}: {failure.message}"
            raise
        if row is None or not group.accepts(row):
            yield from group.take()
        if row is None:
            yield Batch(native, parameters, 1)
        else:
            group.add(row)
    yield from group.take()


_Row: TypeAlias = "list[tuple[str, str | None]]"
"""SQL type and text for each marker."""


class _Group:
    """Rows gathered for one statement."""

    def __init__(self, operation: str = "") -> None:
        self.operation = operation
        self.insert = MultiRowInsert.parse(operation)
        self.markers = [] if self.insert is None else self.insert.markers
        self.sql_types: list[str] = []
        self.rows: list[_Row] = []

    def row(self, parameters: Parameters) -> _Row | None:
        """Returns the values for the markers; None where the statement is to be sent for this set alone."""
        if self.insert is None:
            return None
        typed = typed_parameters(parameters)
        if any(sql_type.upper().lstrip().startswith(_NESTED) for _, sql_type, _ in typed):
            return None
        if self.markers[0] is None:
            return [(sql_type, text) for _, sql_type, text in typed]
        by_name = {name: (sql_type, text) for name, sql_type, text in typed}
        # Whether other letter case is the same name, the server decides.
        return [by_name[marker] for marker in self.markers] if set(self.markers) <= set(by_name) else None

    def accepts(self, row: _Row) -> bool:
        """Whether the row fits to those before."""
        fits = (len(self.rows) + 1) * len(row) <= MAX_PARAMETERS
        return not self.rows or (fits and None not in self._common(row))

    def add(self, row: _Row) -> None:
        common = self._common(row) if self.rows else [sql_type for sql_type, _ in row]
        self.sql_types = [sql_type for sql_type in common if sql_type is not None]
        self.rows.append(row)

    def take(self) -> Iterator[Batch]:
        """Returns the statement of the rows gathered, if there are any, and begins anew."""
        rows, self.rows = self.rows, []
        if not rows or self.insert is None:
            return
        values = [Parameter(text, known) for row in rows for known, (_, text) in zip(self.sql_types, row, strict=True)]
        is_named = self.markers[0] is not None
        parameters = {f"p{number}": value for number, value in enumerate(values, 1)} if is_named else values
        yield Batch(self.insert.statement(len(rows)), parameters, len(rows))

    def _common(self, row: _Row) -> list[str | None]:
        return [_common(known, new) for known, (new, _) in zip(self.sql_types, row, strict=True)]


def _common(known: str, new: str) -> str | None:
    """The SQL type in which values of both types are stored as they would be in their own; None where there is none."""
    if new in {known, "VOID"}:
        return known
    if known == "VOID":
        return new
    if {known, new} == {"INT", "BIGINT"}:
        return "BIGINT"
    decimals = _DECIMAL.fullmatch(known), _DECIMAL.fullmatch(new)
    if decimals[0] and decimals[1] and decimals[0][2] == decimals[1][2]:
        return known if int(decimals[0][1]) >= int(decimals[1][1]) else new
    return None


def _arrow_sets(operation: str, stream: object) -> Iterator[Parameters]:
    """Each row as a parameter set with the types of the schema, by name where the markers have names."""
    source = ArrowParameters(stream)
    names = [name for name, _ in source.columns]
    sql_types = [sql_type for _, sql_type in source.columns]
    is_named = has_named_markers(operation)
    if is_named and len(set(names)) < len(names):
        message = f"columns of the parameters have the same name, of {names}; markers with names need one column each"
        raise ProgrammingError(message, kind="InvalidArgument")
    for rows in source:
        for row in rows:
            values: list[Any] = [Parameter(value, sql_type) for value, sql_type in zip(row, sql_types, strict=True)]
            yield dict(zip(names, values, strict=True)) if is_named else values
