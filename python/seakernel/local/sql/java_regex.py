"""Java regular expressions run by Python's engine, after a translation that refuses what the two read differently."""

from __future__ import annotations

import re
from functools import lru_cache

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.python_functions import python_function

_CLASSES = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~",
    "Space": r" \t\n\x0b\f\r",
    "Blank": r" \t",
    "XDigit": "0-9a-fA-F",
    "ASCII": r"\x00-\x7f",
}
_ESCAPES = frozenset("tnrfaedDsSwWbBAZzGQEhHvVRkpPxu0123456789cN")
_SAME = frozenset("tnrfdDsSwWbBA")


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern for Python's engine.

    Raises:
        SqlError: INVALID_PARAMETER_VALUE for a broken pattern; a refusal for syntax that Python lacks or reads otherwise.
    """
    try:
        return re.compile(_translate(pattern), re.ASCII)
    except re.error:
        raise failure(
            "INVALID_PARAMETER_VALUE.PATTERN", "22023", f"The value of parameter(s) `regexp` is invalid: '{pattern}'."
        ) from None


def _translate(pattern: str) -> str:
    out: list[str] = []
    index = 0
    in_class = False
    while index < len(pattern):
        character = pattern[index]
        rest = pattern[index + 1 :]
        if character == "\\":
            text, used = _escape(rest, in_class=in_class)
            out.append(text)
            index += used + 1
            continue
        if in_class:
            if character == "[":
                raise unsupported("A regular expression with a character class inside another")
            if rest.startswith("&") and character == "&":
                raise unsupported("A regular expression with && in a character class")
            in_class = character != "]" or pattern[index - 1] == "[" or (pattern[index - 2 : index] == "[^")
            if character == "]" and in_class:
                raise unsupported("A regular expression with ] first in a character class")
        elif character == "[":
            in_class = True
        elif character == "(" and rest.startswith("?<") and rest[2:3] not in ("=", "!"):
            out.append("(?P<")
            index += 3
            continue
        elif character == "(" and re.match(r"\?[a-zA-Z-]*[uUdxm]", rest):
            raise unsupported("A regular expression with the flags d, m, u, U or x")
        elif character in "*+?}" and rest.startswith("+"):
            raise unsupported("A regular expression with a possessive quantifier")
        elif character == ".":
            # Java's dot stops at more line ends than Python's, unless (?s) says otherwise.
            character = "." if re.match(r"\(\?[a-z]*s", pattern) else r"[^\n\r\x85\u2028\u2029]"
        elif character == "$":
            character = r"(?=\r?\n?\Z)" if False else "$"
        out.append(character)
        index += 1
    return "".join(out)


def _escape(rest: str, *, in_class: bool) -> tuple[str, int]:
    code = rest[:1]
    if not code:
        raise failure(
            "INVALID_PARAMETER_VALUE.PATTERN",
            "22023",
            "The value of parameter(s) `regexp` is invalid: it ends in a backslash.",
        )
    if code == "Q":
        quoted, _, _ = rest[1:].partition("\\E")
        return re.escape(quoted), 1 + len(quoted) + (2 if rest[1:].startswith(quoted + "\\E") else 0)
    if code in "pP" and rest[1:2] == "{":
        name = rest[2 : rest.find("}")]
        if name not in _CLASSES or (in_class and code == "P"):
            raise unsupported(f"The character class \\{code}{{{name}}} in a regular expression")
        body = _CLASSES[name]
        return (body if in_class else f"[{'^' if code == 'P' else ''}{body}]"), len(name) + 3
    if code == "z":
        return r"\Z", 1
    if code == "Z":
        return r"(?=\n?\Z)", 1
    if code == "h":
        return (
            r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
            if in_class
            else r"[ \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]"
        ), 1
    if code == "k" and rest[1:2] == "<":
        name = rest[2 : rest.find(">")]
        return f"(?P={name})", len(name) + 3
    if code in "xu":
        found = re.match(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}", rest)
        if not found:
            raise unsupported("This escape in a regular expression")
        return "\\" + found[0], len(found[0])
    if code.isdigit() and code != "0" and not in_class:
        return f"(?:\\{code})", 1
    if code in _ESCAPES and code not in _SAME:
        raise unsupported(f"The escape \\{code} in a regular expression")
    if code == "s":
        return (r" \t\n\x0b\f\r" if in_class else r"[ \t\n\x0b\f\r]"), 1
    if code == "S" and not in_class:
        return r"[^ \t\n\x0b\f\r]", 1
    return (("\\" + code) if code in _SAME or not code.isalnum() else re.escape(code)), 1


def _group(found: re.Match[str], group: int, name: str) -> str:
    count = found.re.groups
    if not 0 <= group <= count:
        raise failure(
            "INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX",
            "22023",
            f"The value of parameter(s) `idx` in `{name}` is invalid: Expects group index between 0 and {count}, but got {group}.",
        )
    return found[group] or ""


@python_function("VARCHAR", "VARCHAR", returns="BOOLEAN")
def regexp_found(text: str, pattern: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return compiled(pattern).search(text) is not None


@python_function("VARCHAR", "VARCHAR", "INTEGER", returns="VARCHAR")
def regexp_group(text: str, pattern: str, group: int) -> str:
    """A group of the first match, or the empty text."""
    found = compiled(pattern).search(text)
    return _group(found, group, "regexp_extract") if found else ""


@python_function("VARCHAR", "VARCHAR", "INTEGER", returns="VARCHAR[]")
def regexp_groups(text: str, pattern: str, group: int) -> list[str]:
    """A group of every match."""
    return [_group(found, group, "regexp_extract_all") for found in compiled(pattern).finditer(text)]


@python_function("VARCHAR", "VARCHAR", returns="VARCHAR")
def regexp_first(text: str, pattern: str) -> str | None:
    """The first match, or NULL."""
    found = compiled(pattern).search(text)
    return (found[0] or None) if found else None


@python_function("VARCHAR", "VARCHAR", returns="INTEGER")
def regexp_position(text: str, pattern: str) -> int:
    """Where the first match starts, counted from 1, or 0."""
    found = compiled(pattern).search(text)
    return found.start() + 1 if found else 0


@python_function("VARCHAR", "VARCHAR", returns="INTEGER")
def regexp_matches_count(text: str, pattern: str) -> int:
    """The number of matches."""
    return sum(1 for _ in compiled(pattern).finditer(text))


@python_function("VARCHAR", "VARCHAR", "VARCHAR", "INTEGER", returns="VARCHAR")
def regexp_replaced(text: str, pattern: str, replacement: str, position: int) -> str:
    """Replaces every match from `position` on; `$1` stands for a group, a backslash for the next character."""
    regex = compiled(pattern)
    if position < 1:
        raise failure("INVALID_PARAMETER_VALUE", "22023", "The position of regexp_replace must be positive.")

    def fill(found: re.Match[str]) -> str:
        out: list[str] = []
        index = 0
        while index < len(replacement):
            character = replacement[index]
            if character == "\\":
                out.append(replacement[index + 1 : index + 2])
                index += 2
            elif character == "$":
                digits = re.match(r"\d", replacement[index + 1 :])
                named = re.match(r"\{(\w+)\}", replacement[index + 1 :])
                if named:
                    out.append(found[named[1]] or "")
                    index += len(named[0]) + 1
                    continue
                if not digits or int(digits[0]) > found.re.groups:
                    raise failure(
                        "INVALID_PARAMETER_VALUE",
                        "22023",
                        "The replacement names a group that the regular expression does not have.",
                    )
                end = index + 2
                # Java takes further digits as long as such a group exists.
                while (
                    end < len(replacement)
                    and replacement[end].isdigit()
                    and int(replacement[index + 1 : end + 1]) <= found.re.groups
                ):
                    end += 1
                out.append(found[int(replacement[index + 1 : end])] or "")
                index = end
            else:
                out.append(character)
                index += 1
        return "".join(out)

    return text[: position - 1] + regex.sub(fill, text[position - 1 :]) if position <= len(text) else text


@python_function("VARCHAR", "VARCHAR", "INTEGER", returns="VARCHAR[]")
def split_by(text: str, pattern: str, limit: int) -> list[str]:
    """Java's split: with no positive limit as often as possible, trailing empty parts kept."""
    if pattern == "":
        if limit <= 0 or limit >= len(text):
            return list(text) or [""]
        return [*text[: limit - 1], text[limit - 1 :]]
    parts: list[str] = []
    start = 0
    for found in compiled(pattern).finditer(text):
        if limit > 0 and len(parts) == limit - 1:
            break
        if found.end() == 0:
            # A match of no width at the start yields no empty first part.
            continue
        parts.append(text[start : found.start()])
        start = found.end()
    return [*parts, text[start:]]
