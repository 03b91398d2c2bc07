"""Statements straight on the SQL engine, each test in a schema of its own."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow
import pytest

from seakernel.local.engine import DuckDbEngine, SqlError

_numbers = itertools.count()


class EngineSession:
    """A session of an engine, in a new schema."""

    def __init__(self, engine: DuckDbEngine, configuration: dict[str, str] | None = None) -> None:
        self.engine = engine
        self.name = f"test_{next(_numbers)}"
        engine.open_session(self.name, "main", "default", configuration)
        self.rows(f"CREATE SCHEMA {self.name}")
        self.rows(f"USE SCHEMA {self.name}")

    def answer(
        self, statement: str, parameters: list[dict[str, object]] | None = None
    ) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
        """The columns and the rows of a statement."""
        result = self.engine.execute(f"statement_{next(_numbers)}", self.name, statement, parameters)
        if result.stream is None:
            return [], []
        table = pyarrow.table(result.stream)
        columns = [column.to_pylist() for column in table.columns]
        return result.columns, [tuple(column[place] for column in columns) for place in range(table.num_rows)]

    def rows(self, statement: str, parameters: list[dict[str, object]] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self.answer(statement, parameters)[1]

    def error(self, statement: str, parameters: list[dict[str, object]] | None = None) -> str:
        """The class and the SQLSTATE of a statement's error, such as `DIVIDE_BY_ZERO 22012`."""
        with pytest.raises(SqlError) as raised:
            self.rows(statement, parameters)
        message, sql_state = raised.value.message, raised.value.sql_state
        assert f"SQLSTATE: {sql_state}" in message
        return f"{message[1 : message.index(']')]} {sql_state}"


NOT_HERE = "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE 0A000"
NO_TABLE = "TABLE_OR_VIEW_NOT_FOUND 42P01"
NO_COLUMN = "UNRESOLVED_COLUMN.WITH_SUGGESTION 42703"
SYNTAX = "PARSE_SYNTAX_ERROR 42601"
