"""Errors as a warehouse words them: an error class in brackets, a sentence, and the SQLSTATE at the end."""

from __future__ import annotations

import re

_CLASS = re.compile(r"\[([A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)?)\] (.*?SQLSTATE: ([0-9A-Z]{5}))", re.DOTALL)

_MISSING_VALUE = re.compile(r"NOT NULL constraint failed: [a-z0-9_]+\.c_([^\n]*)")
_NO_DECIMAL = "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION"

# DuckDB's own run-time failures, told apart by their words: the engine has no error codes of its own.
_ENGINE_ERRORS = (
    (re.compile(r"division by zero", re.IGNORECASE), "DIVIDE_BY_ZERO", "22012"),
    (re.compile(r"Unknown TimeZone", re.IGNORECASE), "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE", "0A000"),
    (
        re.compile(r"(Date|Time) out of range: |invalid month|invalid day", re.IGNORECASE),
        "DATETIME_FIELD_OUT_OF_BOUNDS.WITH_SUGGESTION",
        "22023",
    ),
    (re.compile(r"(date|time|timestamp) field value out of range", re.IGNORECASE), "CAST_INVALID_INPUT", "22018"),
    (
        re.compile(
            r"Could not cast value .* to DECIMAL\(|Casting .*to type DECIMAL|to (type )?DECIMAL\(.*range", re.IGNORECASE
        ),
        _NO_DECIMAL,
        "22003",
    ),
    (re.compile(r"Failed to cast decimal value", re.IGNORECASE), "CAST_OVERFLOW", "22003"),
    (re.compile(r"out of range for the destination type", re.IGNORECASE), "CAST_OVERFLOW", "22003"),
    (re.compile(r"overflow in .*of INT(8|16)\b", re.IGNORECASE), "BINARY_ARITHMETIC_OVERFLOW", "22003"),
    (re.compile(r"overflow|out of range", re.IGNORECASE), "ARITHMETIC_OVERFLOW", "22003"),
    (
        re.compile(r"could not convert|can't be cast|invalid unicode|conversion error", re.IGNORECASE),
        "CAST_INVALID_INPUT",
        "22018",
    ),
    (re.compile(r"CHECK constraint failed", re.IGNORECASE), "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    (re.compile(r"must appear in the GROUP BY", re.IGNORECASE), "MISSING_AGGREGATION", "42803"),
    (re.compile(r"more than one row returned by a subquery", re.IGNORECASE), "SCALAR_SUBQUERY_TOO_MANY_ROWS", "21000"),
)


class SqlError(Exception):
    """A statement that failed, with what the protocol reports of it."""

    def __init__(self, message: str, *, sql_state: str | None = None, error_code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.message = message
        self.sql_state = sql_state
        self.error_code = error_code


def failure(error_class: str, sql_state: str, text: str, *, error_code: str = "BAD_REQUEST") -> SqlError:
    """Builds the error of class `error_class`, worded as a warehouse words it."""
    return SqlError(f"[{error_class}] {text} SQLSTATE: {sql_state}", sql_state=sql_state, error_code=error_code)


def unsupported(what: str) -> SqlError:
    """Refuses a construct: the local warehouse says no rather than guess."""
    return failure("UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE", "0A000", f"{what} is not in the local warehouse.")


def parse_error(near: str, line: int, position: int, expected: str = "") -> SqlError:
    """Names the place where the statement stops being SQL."""
    hint = f": {expected}" if expected else ""
    place = f"at or near '{near}'" if near else "at or near end of input"
    return SqlError(
        f"[PARSE_SYNTAX_ERROR] Syntax error {place}{hint}. SQLSTATE: 42601 (line {line}, pos {position})",
        sql_state="42601",
    )


def type_mismatch(text: str) -> SqlError:
    """Refuses an expression whose operands have the wrong types."""
    return failure("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", "42K09", f"Cannot resolve the expression: {text}.")


def raised(error_class: str, sql_state: str, text: str) -> str:
    """The message that an expression raises at run time, quoted for the engine's `error` function."""
    message = f"[{error_class}] {text} SQLSTATE: {sql_state}"
    return "'" + message.replace("'", "''") + "'"


DIVIDE_BY_ZERO = raised(
    "DIVIDE_BY_ZERO", "22012", "Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead."
)
OVERFLOW = raised("ARITHMETIC_OVERFLOW", "22003", "The operation causes an overflow.")


def from_engine(error: BaseException) -> SqlError:
    """Words a failure of the engine as a warehouse would.

    Our own expressions raise a complete message, which is taken as it is. What is left over is told apart by its words,
    and anything unknown is an internal error: it means that the translation let something through that it should not.
    """
    text = str(error)
    if "expression depth limit" in text or "nested too deeply" in text:
        return failure(
            "FAILED_TO_PARSE_TOO_COMPLEX",
            "54001",
            "The statement, including potential SQL functions and referenced views, was too complex to parse.",
        )
    found = _MISSING_VALUE.search(text)
    if found:
        return failure(
            "DELTA_NOT_NULL_CONSTRAINT_VIOLATED",
            "23502",
            f"NOT NULL constraint violated for column: {found[1]}.",
        )
    if type(error).__name__ == "InterruptException":
        return SqlError(
            "[OPERATION_CANCELED] The statement was cancelled. SQLSTATE: HY008",
            sql_state="HY008",
            error_code="CANCELLED",
        )
    found = _CLASS.search(text)
    if found:
        return SqlError(f"[{found[1]}] {found[2]}", sql_state=found[3])
    first_line = text.split("\n", 1)[0].strip()
    first_line = re.sub(r"^[A-Za-z ]+ Error: ", "", first_line)
    for pattern, error_class, sql_state in _ENGINE_ERRORS:
        if pattern.search(text):
            return failure(error_class, sql_state, first_line.rstrip(".") + ".")
    return failure("INTERNAL_ERROR", "XX000", f"The local engine failed: {first_line}.", error_code="INTERNAL_ERROR")
