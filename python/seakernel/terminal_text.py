"""Foreign text for a terminal: without what a terminal would obey, and in columns as wide as it shows them."""

from __future__ import annotations

import unicodedata

__all__ = ["clipped", "display_width", "padded", "printable"]


def printable(text: str, limit: int | None = None) -> str:
    r"""Returns `text` on one line, with escapes such as `\x1b` for what is not printable.

    Args:
        text: Whatever another has written.
        limit: Most characters of what is returned; what is cut ends with three dots.
    """
    clean = text if limit is None else text[: limit + 1]
    if not clean.isprintable():
        clean = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in clean
        )
    return clean if limit is None or len(clean) <= limit else clean[: limit - 3] + "..."


def display_width(text: str) -> int:
    """Returns the columns that `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def padded(text: str, columns: int, *, right: bool) -> str:
    """Returns `text` with spaces up to so many columns: before it where it stands on the right, else after it."""
    space = " " * (columns - display_width(text))
    return space + text if right else text + space


def clipped(text: str, columns: int) -> str:
    """Returns as much of `text` as takes so many columns, with an ellipsis where something is cut."""
    if len(text) <= columns and display_width(text) <= columns:
        return text
    end, used = 0, 1
    while end < len(text) and used + _character_width(text[end]) <= columns:
        used += _character_width(text[end])
        end += 1
    return text[:end] + "…"


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
