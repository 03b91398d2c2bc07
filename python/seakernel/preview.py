"""The next rows of a result as text and as HTML, without reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from seakernel.terminal_text import display_width, padded, printable

if TYPE_CHECKING:
    from seakernel._seakernel import Column, ResultStream

__all__ = ["Preview", "in_bytes"]

_TEXT_COLUMNS, _TEXT_CELL = 50, 40
_HTML_COLUMNS, _HTML_CELL = 25, 120
# Characters that a value is cut at before it is made printable.
_LONGEST = 400
_NUMBERS = {"BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DECIMAL"}
_STATES = {
    "Open": "open",
    "Reading": "being read",
    "Read": "read",
    "Failed": "failed",
    "HandedOver": "handed over",
    "Cancelled": "cancelled",
    "Closed": "closed",
}


class Preview(NamedTuple):
    """A look at a result: some rows from the present position on that have arrived already.

    Taking it sends nothing, waits for nothing and reads nothing.
    """

    facts: list[str]
    columns: list[Column]
    rows: list[list[Any]]
    column_count: int

    @classmethod
    def of(cls, result: ResultStream, elapsed_s: float, max_rows: int = 10) -> Preview:
        """Looks at `result`, whose first rows came after `elapsed_s` seconds."""
        row_count, values = result.preview(max_rows, _TEXT_COLUMNS)
        statistics = result.statistics
        state = result.state
        if state == "Read" or result.total_row_count is None or result.truncated:
            rows = _counted(statistics.rows, "row") + ("" if state == "Read" else " so far")
        else:
            rows = _counted(result.total_row_count, "row")
        facts = [
            _STATES[state],
            rows + (", cut by a limit" if result.truncated else ""),
            _counted(len(result.columns), "column"),
            f"{in_bytes(statistics.wire_bytes)} received",
            f"first rows after {elapsed_s:.2f} s",
        ]
        columns = [[_UNPRINTABLE] * row_count if column is None else column for column in values]
        return cls(
            facts,
            list(result.columns[: len(columns)]),
            [list(row) for row in zip(*columns, strict=True)],
            len(result.columns),
        )

    def text(self, head: str) -> str:
        """Returns a line of `head` and the facts, and a table as wide as the terminal."""
        lines = [printable(f"<{head}: {', '.join(self.facts)}>", _LONGEST)]
        if not self.rows:
            return lines[0]
        import shutil

        room = shutil.get_terminal_size((120, 24)).columns
        shown: list[list[str]] = []
        for index, column in enumerate(self.columns):
            names = [printable(column.name, _TEXT_CELL), printable(column.type_text.lower(), _TEXT_CELL)]
            cells = [*names, *(printable(_plain(row[index]), _TEXT_CELL) for row in self.rows)]
            widest = max(map(display_width, cells))
            room -= widest + 2
            if room < 0 and shown:
                break
            shown.append(
                [
                    padded(cell, widest, right=column.type_name in _NUMBERS)
                    for cell in [*names, "-" * widest, *cells[2:]]
                ]
            )
        lines += ["  ".join(cells).rstrip() for cells in zip(*shown, strict=True)]
        if left_out := self.column_count - len(shown):
            lines.append(f"... and {_counted(left_out, 'more column')}")
        return "\n".join(lines)

    def html(self, head: str) -> str:
        """Returns the same as an HTML table; nothing of the data is markup."""
        import html

        columns, facts = self.columns[:_HTML_COLUMNS], ", ".join(self.facts)
        parts = [f"<div><p>{html.escape(printable(f'{head}: {facts}', _LONGEST))}</p>"]
        if self.rows:
            parts.append("<table><thead><tr>")
            for column in columns:
                name, sql_type = printable(column.name, _HTML_CELL), printable(column.type_text.lower(), _HTML_CELL)
                parts.append(f"<th>{html.escape(name)}<br><small>{html.escape(sql_type)}</small></th>")
            parts.append("</tr></thead><tbody>")
            for row in self.rows:
                cells = (html.escape(printable(_plain(value), _HTML_CELL)) for value in row[: len(columns)])
                parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
            parts.append("</tbody></table>")
            if left_out := self.column_count - len(columns):
                parts.append(f"<p>... and {_counted(left_out, 'more column')}</p>")
        return "".join([*parts, "</div>"])


class _Unprintable:
    """Stands for a value that Python cannot hold, such as a date after the year 9999."""

    def __str__(self) -> str:
        return "?"


_UNPRINTABLE = _Unprintable()


def in_bytes(count: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _plain(value: Any) -> str:
    """Returns the text of a value, made of no more of a large one than is shown of it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, bytes):
        return f"X'{value[:_LONGEST].hex()}'"
    if isinstance(value, dict):
        return f"{{{_joined(f'{_plain(key)}: {_plain(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{_joined(map(_plain, value))}]"
    return str(value)


def _joined(items: Any) -> str:
    parts: list[str] = []
    length = 0
    for item in items:
        parts.append(item)
        length += len(item) + 2
        if length > _LONGEST:
            parts.append("...")
            break
    return ", ".join(parts)
