"""What errors say besides their message: the line of SQL with a caret, and what to do."""

from __future__ import annotations

import logging
import pickle
import socket
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.hints import sql_excerpt
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from seakernel import Cursor

FAST = {"max_attempts": 2, "min_wait_s": 0.01, "max_wait_s": 0.02}


def test_a_syntax_error_shows_its_line_with_a_caret(cursor: Cursor) -> None:
    with pytest.raises(seakernel.ProgrammingError) as caught:
        cursor.execute("SELECT\n  1 AS one,\n  2 +\nFROM range(3)")
    assert caught.value.sql_excerpt == "LINE 4: FROM range(3)\n        ^"
    assert str(caught.value) == f"{caught.value.message}\nLINE 4: FROM range(3)\n        ^"
    assert caught.value.message.startswith("[PARSE_SYNTAX_ERROR]")
    assert "\n" not in caught.value.message


def test_the_excerpt_stays_with_the_caller(cursor: Cursor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(seakernel.ProgrammingError) as caught:
        cursor.execute("SELECT 'a-private-literal' FORM t GROUP")
    assert "a-private-literal" in str(caught.value)
    assert "a-private-literal" not in caplog.text
    assert "a-private-literal" not in repr(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.sql_excerpt is None
    assert (copy.message, copy.sql_state, copy.statement_id, type(copy)) == (
        caught.value.message,
        caught.value.sql_state,
        caught.value.statement_id,
        type(caught.value),
    )
    assert b"a-private-literal" not in pickle.dumps(copy)


@pytest.mark.parametrize(
    ("message", "sql", "expected"),
    [
        ("near 'x' (line 1, pos 0)", "SELECT", "LINE 1: SELECT\n        ^"),
        ("at or near end of input (line 1, pos 6)", "SELECT", "LINE 1: SELECT\n              ^"),
        ("cannot be resolved. SQLSTATE: 42703; line 2 pos 1;\n'Project", "SELECT\n a", "LINE 2:  a\n         ^"),
        (
            "by zero.\n== SQL (line 1, position 8) ==\nSELECT 1/0\n       ^^^",
            "SELECT 1/0",
            "LINE 1: SELECT 1/0\n               ^",
        ),
        ("at or near 'b' (line 2, pos 2)", "a\n\tb", None),
        ("at or near 'b' (line 2, pos 1)", "a\r\n\tb\r\nc", "LINE 2:  b\n         ^"),
        ("(line 1, pos 3)", "日本 x", "LINE 1: 日本 x\n             ^"),
        ("(line 1, pos 2)", "\x1b[2Jx", "LINE 1: \\x1b[2Jx\n             ^"),
        ("(line 3, pos 0)", "SELECT 1", None),
        ("(line 0, pos 0)", "SELECT 1", None),
        ("(line 1, pos 99)", "SELECT 1", None),
        ("(line 99999999999999, pos 1)", "SELECT 1", None),
        ("at or near 'FROM' (line 1, pos 0)", "another text", None),
        ("no place at all", "SELECT 1", None),
    ],
)
def test_places_in_messages_of_servers(message: str, sql: str, expected: str | None) -> None:
    assert sql_excerpt(message, sql) == expected


def test_a_long_line_is_cut_around_the_place() -> None:
    excerpt = sql_excerpt("at or near '!' (line 1, pos 500)", "x" * 500 + "!" + "y" * 500)
    assert excerpt is not None
    line, caret = excerpt.split("\n")
    assert line[caret.index("^")] == "!"
    assert line.startswith("LINE 1: …x")
    assert line.endswith("y…")
    assert len(line) < 120


def test_a_server_that_repeats_the_statement_is_not_repeated() -> None:
    error = seakernel.ProgrammingError("near 'x'. (line 1, pos 0)\n\n== SQL ==\nxyz\n^^^", kind="Sql")
    error.sql_excerpt = sql_excerpt(error.message, "xyz")
    assert str(error) == "near 'x'. (line 1, pos 0)\nLINE 1: xyz\n        ^"


@pytest.mark.parametrize(
    ("sql", "parameters", "hint"),
    [
        ("SELECT * FROM no_such_table", None, "current_schema()"),
        ("USE SCHEMA no_such_schema", None, "current_schema()"),
        ("SELECT no_such_function(1)", None, "current_schema()"),
        ("SELECT no_such_column FROM range(1)", None, "DESCRIBE TABLE"),
        ("SELECT :a", None, "pass a mapping for `:name`"),
        ("SELEC 1", None, None),
    ],
)
def test_hints_for_statements(cursor: Cursor, sql: str, parameters: dict[str, int] | None, hint: str | None) -> None:
    with pytest.raises(seakernel.DatabaseError) as caught:
        cursor.execute(sql, parameters)
    if hint is None:
        assert caught.value.hint is None
        assert "hint:" not in str(caught.value)
    else:
        assert caught.value.hint is not None
        assert hint in caught.value.hint
        assert str(caught.value).endswith(f"\nhint: {caught.value.hint}")


def test_hints_for_the_way_to_the_warehouse() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(seakernel.OperationalError) as caught:
        seakernel.connect(f"http://127.0.0.1:{port}", "/sql/1.0/warehouses/a", "t", retry=FAST)
    assert caught.value.hint is not None
    assert "python -m seakernel doctor" in caught.value.hint


def test_hints_for_refusals(warehouse: LocalWarehouse) -> None:
    with pytest.raises(seakernel.OperationalError) as token:
        warehouse.connect(access_token="canary-wrong")
    assert token.value.hint is not None
    assert "has expired" in token.value.hint
    with pytest.raises(seakernel.ProgrammingError) as path:
        warehouse.connect(http_path="/sql/1.0/warehouses/0")
    assert path.value.hint is not None
    assert "`http_path`" in path.value.hint


@pytest.mark.parametrize("fault", [{"status": {"code": 403}}, "drop_before_response"])
def test_a_hint_for_storage_that_is_out_of_reach(fault: object) -> None:
    with (
        LocalWarehouse(inline_bytes=0) as warehouse,
        warehouse.connect(retry=FAST) as connection,
        connection.cursor() as cursor,
    ):
        warehouse.faults([{"on": "download", "times": "always", "do": fault}])
        with pytest.raises(seakernel.OperationalError) as caught:
            cursor.execute("SELECT id FROM range(10)").fetchall()
    assert caught.value.hint is not None
    assert "firewall" in caught.value.hint
    assert "cloud_fetch" in caught.value.hint


def test_an_error_of_a_caller_of_the_class_has_no_hint() -> None:
    error = seakernel.OperationalError("mine")
    assert (error.hint, str(error), error.args) == (None, "mine", ("mine",))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "Unauthenticated"}, "Access tokens"),
        ({"kind": "PermissionDenied"}, "CAN USE"),
        ({"kind": "NotFound"}, "`http_path`"),
        ({"kind": "NotFound", "statement_id": "01f"}, "an hour"),
        ({"kind": "ResourceExhausted"}, "fewer"),
        ({"kind": "Unavailable"}, "later"),
        ({"kind": "Timeout", "attempts": 2}, "read_timeout_s"),
        ({"kind": "Timeout", "attempts": 2, "chunk_index": 0}, "download_idle_timeout_s"),
        ({"kind": "Network"}, "doctor"),
        ({"kind": "Network", "chunk_index": 0}, "firewall"),
        ({"kind": "LinkExpired", "chunk_index": 0}, "clock"),
        ({"kind": "Protocol"}, "login page"),
        ({"kind": "DataLoss", "chunk_index": 0}, "trust nothing"),
        ({"kind": "Internal"}, "report"),
        ({"kind": "Sql", "sql_state": "42501"}, "USE CATALOG"),
        ({"kind": "Sql", "sql_state": "57014"}, "query history"),
    ],
)
def test_each_kind_of_failure_has_its_hint(fields: dict[str, Any], words: str) -> None:
    hint = seakernel.OperationalError("message", **fields).hint
    assert hint is not None
    assert words in hint
    assert "\n" not in hint
    assert not hint.endswith(".")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "InvalidArgument"},
        {"kind": "Cancelled"},
        {"kind": "Closed"},
        {"kind": "Timeout"},
        {"kind": "Timeout", "sql_state": "HYT00", "attempts": 1},
        {"kind": "Sql", "sql_state": "22012"},
        {"kind": "Sql"},
    ],
)
def test_a_message_that_says_it_all_has_no_hint(fields: dict[str, Any]) -> None:
    assert seakernel.OperationalError("message", **fields).hint is None


def test_the_most_exact_error_class_decides() -> None:
    error = seakernel.ProgrammingError("[UNBOUND_SQL_PARAMETER.PART] x", kind="Sql", sql_state="42P01")
    assert error.hint is not None
    assert "every marker" in error.hint
