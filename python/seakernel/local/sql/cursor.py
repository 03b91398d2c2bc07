"""A position in a statement's tokens, with the moves that every parser needs, and the grammar of types."""

from __future__ import annotations

from seakernel.local.sql import types
from seakernel.local.sql.errors import SqlError, failure, parse_error, unsupported
from seakernel.local.sql.tokens import Token, place, tokenize
from seakernel.local.sql.types import DataType

_PLAIN_TYPES = {
    "BOOLEAN": types.BOOLEAN,
    "TINYINT": types.TINYINT,
    "BYTE": types.TINYINT,
    "SMALLINT": types.SMALLINT,
    "SHORT": types.SMALLINT,
    "INT": types.INT,
    "INTEGER": types.INT,
    "BIGINT": types.BIGINT,
    "LONG": types.BIGINT,
    "FLOAT": types.FLOAT,
    "REAL": types.FLOAT,
    "DOUBLE": types.DOUBLE,
    "STRING": types.STRING,
    "BINARY": types.BINARY,
    "DATE": types.DATE,
    "TIMESTAMP": types.TIMESTAMP,
    "TIMESTAMP_LTZ": types.TIMESTAMP,
    "TIMESTAMP_NTZ": types.TIMESTAMP_NTZ,
    "VARIANT": types.VARIANT,
    "VOID": types.VOID,
}
_YEAR_MONTH = ("YEAR", "MONTH")


class Cursor:
    """Reads tokens from left to right; every mismatch is a syntax error that names its place."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.index = 0
        self.marker_count = 0

    @property
    def token(self) -> Token:
        """The token at the cursor."""
        return self.tokens[self.index]

    def ahead(self, distance: int = 1) -> Token:
        """The token `distance` further on."""
        return self.tokens[max(0, min(self.index + distance, len(self.tokens) - 1))]

    def advance(self) -> Token:
        """Takes the token at the cursor."""
        token = self.tokens[self.index]
        if token.kind != "end":
            self.index += 1
        return token

    def fail(self, expected: str = "") -> SqlError:
        """The syntax error at the cursor."""
        return parse_error(self.token.text, *place(self.source, self.token.start), expected=expected)

    def at(self, *words: str) -> bool:
        """Whether the next tokens are these keywords or operators."""
        for distance, word in enumerate(words):
            token = self.ahead(distance)
            if token.kind not in ("word", "operator") or token.value != word:
                return False
        return True

    def at_any(self, *words: str) -> bool:
        """Whether the next token is one of these."""
        return self.token.kind in ("word", "operator") and self.token.value in words

    def accept(self, *words: str) -> bool:
        """Takes these tokens if all of them come next."""
        if self.at(*words):
            self.index += len(words)
            return True
        return False

    def accept_any(self, *words: str) -> str:
        """Takes one of these and says which; empty if none comes next."""
        if self.at_any(*words):
            return self.advance().value
        return ""

    def expect(self, *words: str) -> None:
        """Takes these tokens or fails."""
        for word in words:
            if not self.accept(word):
                raise self.fail(f"expected {word}")

    def at_end(self) -> bool:
        """Whether the statement is over."""
        return self.token.kind == "end" or (self.at(";") and self.ahead().kind == "end")

    def expect_end(self) -> None:
        """Fails unless the statement is over."""
        if not self.at_end():
            if self.at(";"):
                raise unsupported("More than one statement in a request")
            raise self.fail()

    def identifier(self) -> str:
        """Takes a name."""
        token = self.token
        if token.kind == "word":
            self.index += 1
            return token.text
        if token.kind == "quoted":
            self.index += 1
            if not token.value:
                raise self.fail("an identifier is not empty")
            return token.value
        raise self.fail("expected an identifier")

    def dotted(self) -> list[str]:
        """Takes a name of one or more parts."""
        parts = [self.identifier()]
        while self.at(".") and self.ahead().kind in ("word", "quoted"):
            self.advance()
            parts.append(self.identifier())
        return parts

    def names(self) -> list[str]:
        """Takes `(a, b)`."""
        self.expect("(")
        found = [self.identifier()]
        while self.accept(","):
            found.append(self.identifier())
        self.expect(")")
        return found

    def text(self) -> str:
        """Takes a string literal."""
        if self.token.kind != "string":
            raise self.fail("expected a string")
        value = self.advance().value
        while self.token.kind == "string":
            value += self.advance().value
        return value

    def integer(self) -> int:
        """Takes a whole number, perhaps negative."""
        sign = -1 if self.accept("-") else 1
        if self.token.kind not in ("number", "word") or not self.token.text.isdigit():
            raise self.fail("expected a whole number")
        return sign * int(self.advance().text)

    def slice_from(self, start: int) -> str:
        """The source text from the offset `start` up to the cursor."""
        return self.source[start : self.tokens[self.index - 1].end].strip()

    # Types -------------------------------------------------------------------------------------------------------

    def data_type(self) -> DataType:
        """Takes a type."""
        name = self.identifier().upper()
        if name in _PLAIN_TYPES:
            if name == "STRING" and self.accept("COLLATE") and self.identifier().upper() != "UTF8_BINARY":
                raise unsupported("A collation other than UTF8_BINARY")
            return _PLAIN_TYPES[name]
        if name in ("TIME", "GEOMETRY", "GEOGRAPHY", "OBJECT"):
            raise unsupported(f"The type {name}")
        if name in ("DECIMAL", "DEC", "NUMERIC"):
            return self._decimal()
        if name in ("CHAR", "CHARACTER", "VARCHAR"):
            self.expect("(")
            length = self.integer()
            self.expect(")")
            return DataType("VARCHAR" if name == "VARCHAR" else "CHAR", length=length)
        if name == "ARRAY" and self.accept("<"):
            element = self.data_type()
            self._close_angle()
            return types.array_of(element)
        if name == "MAP" and self.accept("<"):
            key = self.data_type()
            self.expect(",")
            value = self.data_type()
            self._close_angle()
            return types.map_of(key, value)
        if name == "STRUCT" and self.at_any("<", "<>"):
            return self._struct()
        if name == "INTERVAL":
            return self._interval()
        raise failure("UNSUPPORTED_DATATYPE", "0A000", f'Unsupported data type "{name}".')

    def _decimal(self) -> DataType:
        if not self.accept("("):
            return types.decimal(10, 0)
        precision = self.integer()
        scale = self.integer() if self.accept(",") else 0
        self.expect(")")
        if precision > 38:
            raise failure(
                "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
                "22003",
                f"Decimal precision {precision} exceeds max precision 38.",
            )
        if precision < 1 or scale > precision or scale < 0:
            raise failure(
                "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION", "22003", f"DECIMAL({precision},{scale}) is not a type."
            )
        return types.decimal(precision, scale)

    def _struct(self) -> DataType:
        if self.accept("<>"):
            return types.struct_of([])
        self.expect("<")
        fields: list[tuple[str, DataType]] = []
        while True:
            name = self.identifier()
            self.accept(":")
            fields.append((name, self.data_type()))
            self.accept("NOT", "NULL")
            if self.accept("COMMENT"):
                self.text()
            if not self.accept(","):
                break
        self._close_angle()
        return types.struct_of(fields)

    def _close_angle(self) -> None:
        """Takes one `>`, also out of a `>>` that the tokenizer took for an operator."""
        token = self.token
        if token.kind == "operator" and token.text in (">>", ">>>", ">="):
            self.tokens[self.index] = Token("operator", token.text[1:], token.text[1:], token.start + 1)
            return
        self.expect(">")

    def _interval(self) -> DataType:
        start = self.accept_any(*_YEAR_MONTH, *types.DAY_TIME_UNITS)
        if not start:
            raise self.fail("expected the unit of the interval")
        end = self.accept_any(*_YEAR_MONTH, *types.DAY_TIME_UNITS) if self.accept("TO") else start
        return interval_type(start, end or start)


def interval_type(start: str, end: str) -> DataType:
    """The interval type that spans the units `start` to `end`."""
    for kind, order in (("INTERVAL_YM", _YEAR_MONTH), ("INTERVAL_DT", types.DAY_TIME_UNITS)):
        if start in order and end in order and order.index(start) <= order.index(end):
            return DataType(kind, units=(start, end))
    raise failure("UNSUPPORTED_DATATYPE", "0A000", f'Unsupported data type "INTERVAL {start} TO {end}".')


def parse_type(text: str) -> DataType:
    """Parses the text of one type, such as `DECIMAL(10,2)`."""
    cursor = Cursor(text)
    found = cursor.data_type()
    cursor.expect_end()
    return found
