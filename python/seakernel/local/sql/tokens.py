"""Cuts a Databricks SQL statement into tokens.

Own tokens, because the details decide the answer: backslash escapes and doubled quotes in strings, raw strings, typed
numbers such as `10L` and `1.5BD`, and the place of every token for error messages and for the text of views.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seakernel.local.sql.errors import parse_error

_PATTERN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<raw>[rR](?:'[^']*'|"[^"]*"))
    | (?P<hex>[xX]'[^']*')
    | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?:BD|[LSYDF])?(?![A-Za-z0-9_]))
    | (?P<word>[A-Za-z_\u0080-\uffff0-9][A-Za-z0-9_\u0080-\uffff]*)
    | (?P<quoted>`(?:[^`]|``)*`)
    | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<operator>\?::|<=>|>>>|::|->|=>|<>|!=|==|<=|>=|\|\||<<|>>|\|>|[-+*/%&|^~<>=!().,;:?\[\]{}@$])
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)

_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[01][0-7]{2}|.)", re.DOTALL)
_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}


@dataclass
class Token:
    """A token: its kind, the text as written, its value (unquoted, unescaped) and where it stands."""

    kind: str
    text: str
    value: str
    start: int

    @property
    def end(self) -> int:
        """The offset behind the token."""
        return self.start + len(self.text)


def unescape(text: str) -> str:
    """Resolves the backslash escapes of a string literal."""

    def resolve(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) > 1 and code[0] in "uU":
            return chr(int(code[1:], 16))
        if len(code) == 3:
            return chr(int(code, 8))
        return _ESCAPED.get(code, code)

    resolved = _ESCAPE.sub(resolve, text)
    if any("\ud800" <= character <= "\udfff" for character in resolved):
        # Two escapes may be the halves of one character; a half alone has no UTF-8 and becomes a question mark.
        resolved = resolved.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\ufffd", "?")
    return resolved


def place(source: str, offset: int) -> tuple[int, int]:
    """Line (from 1) and position in the line (from 0) of an offset."""
    before = source[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1)


def _comment_end(source: str, start: int) -> int:
    """The end of a bracketed comment, which may hold others."""
    depth = 0
    offset = start
    while offset < len(source):
        pair = source[offset : offset + 2]
        if pair == "/*":
            depth += 1
            offset += 2
        elif pair == "*/":
            depth -= 1
            offset += 2
            if depth == 0:
                return offset
        else:
            offset += 1
    raise parse_error("/*", *place(source, start), expected="the comment is not closed")


def _value(kind: str, text: str) -> str:
    if kind == "quoted":
        return text[1:-1].replace("``", "`")
    if kind == "string":
        quote = text[0]
        # A doubled quote stands for one; escapes are resolved piece by piece so that `\\''` stays apart.
        pieces = re.split(r"(\\.)", text[1:-1], flags=re.DOTALL)
        return unescape(
            "".join(part if index % 2 else part.replace(quote * 2, quote) for index, part in enumerate(pieces))
        )
    if kind == "raw":
        return text[2:-1]
    if kind == "hex":
        return text[2:-1].upper()
    return text.upper() if kind == "word" else text


def tokenize(source: str) -> list[Token]:
    """The tokens of `source`, ended by one of kind `end`.

    Raises:
        SqlError: at a character that starts no token, or a quote or comment that is not closed.
    """
    tokens: list[Token] = []
    offset = 0
    while offset < len(source):
        found = _PATTERN.match(source, offset)
        if found is None:
            raise parse_error(source[offset], *place(source, offset))
        kind = found.lastgroup or ""
        if kind == "comment":
            offset = _comment_end(source, offset)
            continue
        if kind != "space":
            if kind == "number" and tokens and tokens[-1].text == "." and tokens[-1].end == offset and "." in found[0]:
                raise parse_error(found[0], *place(source, offset))
            text = found[0]
            shown = "string" if kind == "raw" else kind
            tokens.append(Token(shown, text, _value(kind, text), offset))
        offset = found.end()
    tokens.append(Token("end", "", "", len(source)))
    return tokens
