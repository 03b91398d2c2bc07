"""Statements that want out: into DuckDB, into the file system, or beyond what a parser can hold."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from engine_session import NO_TABLE, NOT_HERE, SYNTAX, EngineSession

from seakernel.local.engine import DuckDbEngine, SqlError

if TYPE_CHECKING:
    from pathlib import Path

NO_FUNCTION = "UNRESOLVED_ROUTINE 42883"
NO_TABLE_FUNCTION = "UNRESOLVED_TABLE_VALUED_FUNCTION 42883"
TOO_COMPLEX = "FAILED_TO_PARSE_TOO_COMPLEX 54001"
UNBOUND = "UNBOUND_SQL_PARAMETER 42P02"


@pytest.fixture(scope="module")
def session() -> EngineSession:
    made = EngineSession(DuckDbEngine())
    made.rows("CREATE TABLE t (id INT, name STRING)")
    made.rows("INSERT INTO t VALUES (1, 'a')")
    return made


REFUSED = [
    ("SELECT * FROM '/etc/passwd'", SYNTAX),
    ('SELECT * FROM "/etc/passwd"', SYNTAX),
    ("SELECT * FROM `/etc/passwd`", NO_TABLE),
    ("SELECT * FROM csv.`/etc/passwd`", NO_TABLE),
    ("SELECT * FROM text.`/etc/passwd`", NO_TABLE),
    ("SELECT * FROM `main`.`main`.`sqlite_master`", NO_TABLE),
    ("SELECT * FROM IDENTIFIER('`/etc/passwd`')", NO_TABLE),
    ("SELECT * FROM read_csv('/etc/passwd')", NO_TABLE_FUNCTION),
    ("SELECT * FROM read_text('/etc/passwd')", NO_TABLE_FUNCTION),
    ("SELECT * FROM read_files('/etc/passwd')", "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE 0A000"),
    ("SELECT * FROM glob('/etc/*')", NO_TABLE_FUNCTION),
    ("SELECT * FROM duckdb_settings()", NO_TABLE_FUNCTION),
    ("SELECT * FROM duckdb_tables()", NO_TABLE_FUNCTION),
    ("SELECT * FROM query('SELECT 1')", NO_TABLE_FUNCTION),
    ("SELECT * FROM pragma_database_list()", NO_TABLE_FUNCTION),
    ("SELECT read_text('/etc/passwd')", NO_FUNCTION),
    ("SELECT getenv('HOME')", NO_FUNCTION),
    ("SELECT current_setting('memory_limit')", NO_FUNCTION),
    ("SELECT nextval('table_1')", NO_FUNCTION),
    ("SELECT error('x')", NO_FUNCTION),
    ("SELECT seakernel_md5('x')", NO_FUNCTION),
    ("SELECT * FROM sqlite_master", NO_TABLE),
    ("SELECT * FROM pg_catalog.pg_tables", NO_TABLE),
    ("SELECT * FROM seakernel_moment", NO_TABLE),
    ("SELECT * FROM table_1", NO_TABLE),
    ("SELECT * FROM memory.main.table_1", NO_TABLE),
    ("ATTACH '/tmp/x.db'", SYNTAX),
    ("PRAGMA database_list", SYNTAX),
    ("INSTALL httpfs", SYNTAX),
    ("LOAD httpfs", NOT_HERE),
    ("CHECKPOINT", SYNTAX),
    ("EXPORT DATABASE '/tmp/x'", SYNTAX),
    ("COPY t TO '/tmp/x.csv'", SYNTAX),
    ("COPY (SELECT 1) TO '/tmp/x.csv'", SYNTAX),
    ("SUMMARIZE t", SYNTAX),
    ("FROM t", NOT_HERE),
    ("CREATE MACRO m() AS 1", SYNTAX),
    ("CREATE TYPE x AS ENUM ('a')", SYNTAX),
    ("SET memory_limit = '1GB'", NOT_HERE),
    ("SET TIME ZONE 'UTC''; DROP TABLE t; --'", "INVALID_TIMEZONE 22009"),
    ("SELECT 1 WHERE 1 = 1; DROP TABLE t", NOT_HERE),
    ("SELECT $1", SYNTAX),
    ("SELECT @@version", SYNTAX),
    ("SELECT :p", UNBOUND),
    ("SELECT ?", UNBOUND),
    ("SELECT 'open", SYNTAX),
    ('SELECT "open', SYNTAX),
    ("SELECT `open", SYNTAX),
    ("SELECT 1 /* open", SYNTAX),
    ("SELECT \0 1", SYNTAX),
    ("CREATE TABLE `a\0b` (x INT)", NOT_HERE),
    ("SELECT * FROM t TIMESTAMP AS OF '2024''; DROP TABLE t'", "INVALID_TIME_TRAVEL_TIMESTAMP_EXPR.INPUT 42K0E"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "error"), REFUSED, ids=[repr(case[0])[:70] for case in REFUSED])
def test_nothing_gets_past_the_parser(session: EngineSession, statement: str, error: str) -> None:
    assert session.error(statement) == error
    assert session.rows("SELECT * FROM t") == [(1, "a")]


@pytest.mark.parametrize(
    "name", ["it's", 'a"b', '"; DROP TABLE table_1; --', "a``b", "--", "/*", "NULL", "select", "$1", "a\\b", "ÄÖ😀", "%s$0"]
)  # fmt: skip
def test_names_are_only_names(session: EngineSession, name: str) -> None:
    shown = "`" + name.replace("`", "``") + "`"
    table = "`" + "".join(mark for mark in name if mark not in " ;/").replace("`", "``") + "`"
    column = "`" + "".join(mark for mark in name if mark not in " ,;").replace("`", "``") + "`"
    session.rows(f"CREATE TABLE {table} (k INT, {column} STRING, s STRUCT<{column}: INT>)")
    session.rows(f"INSERT INTO {table} VALUES (1, 'x', named_struct('y', 5)), (2, 'z', NULL)")
    assert session.rows(f"UPDATE {table} SET {column} = 'n', s.{column} = 6 WHERE {column} = 'x'") == [(1,)]
    assert session.rows(f"DELETE FROM {table} WHERE {column} = 'z'") == [(1,)]
    columns, rows = session.answer(
        f"SELECT {column} AS {shown}, s.{column} FROM {table} AS {shown} WHERE {shown}.k = 1"
    )
    assert columns[0][0] == name
    assert rows == [("n", 6)]
    assert session.rows(f"SHOW COLUMNS IN {table}")[1] == (column[1:-1].replace("``", "`"),)
    merge = f"MERGE INTO {table} a USING (SELECT 1 AS {column}) b ON a.k = b.{column}"
    assert session.rows(f"{merge} WHEN MATCHED THEN DELETE") == [(1, 0, 1, 0)]
    session.rows(f"DROP TABLE {table}")


@pytest.mark.parametrize("text", ["it's", "'; DROP TABLE t; --", 'a"b', "\\", "a\nb", "\0", "${x}", "%", "😀", "/* */"])
def test_texts_are_only_texts(session: EngineSession, text: str) -> None:
    literal = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert session.rows(f"SELECT {literal} AS x") == [(text,)]
    assert session.rows("SELECT :x AS x", [{"name": "x", "value": text, "type": "STRING"}]) == [(text,)]
    session.rows(f"CREATE TABLE told (x INT COMMENT {literal}) COMMENT {literal} TBLPROPERTIES ({literal} = {literal})")
    assert session.rows("DESCRIBE told") == [("x", "int", text)]
    assert (text, text) in session.rows("SHOW TBLPROPERTIES told")
    session.rows("INSERT INTO told VALUES (1)")
    session.rows(f"ALTER TABLE told ADD CONSTRAINT c CHECK (x > 0 OR {literal} = 'never')")
    session.rows("INSERT INTO told VALUES (2)")
    session.rows("DROP TABLE told")


COMPLEX = [
    ("parentheses", "SELECT " + "(" * 50_000 + "1" + ")" * 50_000),
    ("sum", "SELECT " + "+".join(["1"] * 20_000)),
    ("and", "SELECT " + " AND ".join(["true"] * 20_000)),
    ("case", "SELECT " + "CASE WHEN true THEN " * 3_000 + "1" + " END" * 3_000),
    ("not", "SELECT " + "NOT " * 20_000 + "true"),
    ("minus", "SELECT " + "- " * 20_000 + "1"),
    ("union", " UNION ALL ".join(["SELECT 1"] * 20_000)),
    ("calls", "SELECT " + "abs(" * 5_000 + "1" + ")" * 5_000),
    ("queries", "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "t" + ")" * 5_000),
    ("subscripts", "SELECT a" + "[0]" * 20_000 + " FROM (SELECT array(1) AS a)"),
    ("types", "SELECT CAST(NULL AS " + "ARRAY<" * 20_000 + "INT" + ">" * 20_000 + ")"),
    ("check", "ALTER TABLE t ADD CONSTRAINT c CHECK (" + "(" * 50_000 + "true" + ")" * 50_000 + ")"),
]


@pytest.mark.parametrize("statement", [case[1] for case in COMPLEX], ids=[case[0] for case in COMPLEX])
def test_what_is_too_deep_is_said_to_be(session: EngineSession, statement: str) -> None:
    assert session.error(statement) == TOO_COMPLEX
    assert session.rows("SELECT 1") == [(1,)]


def test_what_is_only_long_is_no_problem(session: EngineSession) -> None:
    assert session.rows("SELECT length('" + "x" * 1_000_000 + "')") == [(1_000_000,)]
    assert session.rows("SELECT 1 " + "/*" * 20_000 + "*/" * 20_000) == [(1,)]
    assert len(session.rows("SELECT " + ", ".join(map(str, range(2_000))))[0]) == 2_000
    assert session.rows("SELECT 1" + " " * 1_000_000 + "-- x") == [(1,)]
    assert session.rows("SELECT 7 IN (" + ", ".join(map(str, range(5_000))) + ")") == [(True,)]


def test_half_characters_become_question_marks(session: EngineSession) -> None:
    assert session.rows("SELECT '\\uD83D\\uDE00' AS a, 'x\\uD800y' AS b") == [("😀", "x?y")]


def test_types_too_deep_for_arrow_are_refused(session: EngineSession) -> None:
    assert session.error("SELECT CAST(NULL AS " + "ARRAY<" * 60 + "INT" + ">" * 60 + ")") == NOT_HERE


def test_no_file_is_written_or_read(session: EngineSession, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    for statement in (
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM `{secret}`",
        f"SELECT * FROM csv.`{secret}`",
        f"CREATE TABLE stolen USING CSV LOCATION '{secret}'",
        f"CREATE TABLE stolen USING CSV OPTIONS (path '{secret}')",
        f"INSERT OVERWRITE DIRECTORY '{tmp_path}/out' SELECT 1",
        f"COPY INTO t FROM '{secret}' FILEFORMAT = CSV",
        f"ATTACH '{tmp_path}/out.db'",
    ):
        with pytest.raises(SqlError):
            session.rows(statement)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_many_hostile_statements_at_once_leave_the_engine_well(session: EngineSession) -> None:
    seen: list[str] = []

    def attack(statement: str) -> None:
        try:
            session.rows(statement)
        except SqlError as error:
            seen.append(error.message.split("]")[0])

    threads = [threading.Thread(target=attack, args=(statement,)) for _, statement in COMPLEX[:6]]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["[FAILED_TO_PARSE_TOO_COMPLEX"] * 6
    assert time.monotonic() - begin < 60
    assert session.rows("SELECT * FROM t") == [(1, "a")]
