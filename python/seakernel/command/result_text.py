"""Results as text: CSV, JSON and tables for reading. Nested values come as JSON text from the kernel."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import itertools
import json
import math
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from seakernel.exceptions import ProgrammingError
from seakernel.terminal_text import clipped, display_width, padded, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seakernel import Cursor

__all__ = ["TableLine", "csv_lines", "json_lines", "table_lines"]

_NESTED = ("array", "map", "struct")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
# Rows looked at for the widths of a table's columns, which are fixed from then on.
_MEASURED_ROWS = 1000
_NARROWEST = 4


class TableLine(NamedTuple):
    """A line of a table, and how many rows have come up to it."""

    text: str
    rows: int


def csv_lines(cursor: Cursor) -> Iterator[str]:
    """Yields the header and the rows, each with its line end. NULL is nothing, empty text is `""`."""
    names, codes = _columns(cursor)
    yield ",".join(map(_csv_cell, names)) + "\n"
    texts = [_text_of(code) for code in codes]
    for row in _rows(cursor):
        cells = ("" if value is None else _csv_cell(text(value)) for text, value in zip(texts, row, strict=True))
        yield ",".join(cells) + "\n"


def json_lines(cursor: Cursor) -> Iterator[str]:
    """Yields an array of objects, one a line. When it ends early, it is no JSON: there is no closing bracket.

    Raises:
        ProgrammingError: two columns have one name, so that an object cannot hold both.
    """
    names, codes = _columns(cursor)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ProgrammingError(
            f"two columns are named `{twice}`, which JSON cannot tell apart; name them with AS, or use csv",
            kind="InvalidArgument",
        )
    keys = [json.dumps(name, ensure_ascii=False) for name in names]
    texts = [_json_of(code) for code in codes]
    separator = "[\n"
    for row in _rows(cursor):
        members = (
            f"{key}: {'null' if value is None else text(value)}"
            for key, text, value in zip(keys, texts, row, strict=True)
        )
        yield f"{separator}{{{', '.join(members)}}}"
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def table_lines(cursor: Cursor, width: int | None) -> Iterator[TableLine]:
    """Yields a table, no wider than `width` terminal columns where that is given."""
    names, codes = _columns(cursor)
    texts = [_text_of(code) for code in codes]
    right = [code in _NUMBERS for code in codes]
    rows = (
        ["NULL" if value is None else printable(text(value)) for text, value in zip(texts, row, strict=True)]
        for row in _rows(cursor)
    )
    measured = list(itertools.islice(rows, _MEASURED_ROWS))
    header = [printable(name) for name in names]
    widths = [max(map(display_width, column)) for column in zip(header, *measured, strict=True)]
    if width is not None:
        widths = _fitted(widths, width)

    def line(cells: Sequence[str]) -> str:
        shown = (
            padded(cell if width is None else clipped(cell, most), most, right=to_right)
            for cell, most, to_right in zip(cells, widths, right, strict=True)
        )
        text = (" " + " | ".join(shown)).rstrip()
        return text if width is None else clipped(text, width)

    yield TableLine(line(header), 0)
    rule = "+".join("-" * (most + 2) for most in widths)
    yield TableLine(rule if width is None else rule[:width], 0)
    for number, row in enumerate(itertools.chain(measured, rows), 1):
        yield TableLine(line(row), number)


def _columns(cursor: Cursor) -> tuple[list[str], list[str]]:
    description = cursor.description or []
    return [column[0] for column in description], [column[1] for column in description]


def _rows(cursor: Cursor) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(1000):
        yield from rows


def _text_of(code: str) -> Callable[[Any], str]:
    """Returns what writes values of a column as plain text, exactly."""
    if code == "float":
        return _float32
    if code in _NESTED:
        return str
    return _plain


def _json_of(code: str) -> Callable[[Any], str]:
    """Returns what writes values of a column as JSON."""
    if code in _NESTED:
        return str
    if code in _NUMBERS:
        text = _text_of(code)
        return lambda value: text(value) if not isinstance(value, float) or math.isfinite(value) else f'"{text(value)}"'
    if code == "boolean":
        return _plain
    return lambda value: json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(repr(value), value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return str(value)


def _float32(value: float) -> str:
    """The shortest digits that are this 32-bit number and no other."""
    if math.isfinite(value):
        exact = struct.pack("<f", value)
        for digits in range(6, 10):
            text = f"{value:.{digits}g}"
            if struct.pack("<f", float(text)) == exact:
                return _number(repr(float(text)), value)
    return _number(repr(value), value)


def _number(text: str, value: float) -> str:
    """In the words of Databricks SQL, which JSON and CSV readers know as well."""
    if math.isfinite(value):
        return text
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _csv_cell(text: str) -> str:
    if text and not re.search('[",\r\n]|^\\s|\\s$', text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _fitted(widths: list[int], width: int) -> list[int]:
    """Narrows the widest columns, as far as `_NARROWEST`, until all fit into `width`."""
    room = width - 3 * len(widths) + 2
    limit = max(widths, default=0)
    while limit > _NARROWEST and sum(min(wide, limit) for wide in widths) > room:
        limit -= 1
    return [min(wide, limit) for wide in widths]
