"""Several sessions at once: whole statements, whole versions, cancelling, and nothing that leaks from one to the other."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow
import pytest
from engine_session import NO_TABLE, NOT_HERE, EngineSession

import seakernel
from seakernel.local import LocalWarehouse
from seakernel.local.engine import DuckDbEngine, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG_QUERY = "SELECT count(*) FROM range(100000000) a CROSS JOIN range(100000000) b WHERE a.id * b.id % 7 = 3"


@pytest.fixture(scope="module")
def engine() -> DuckDbEngine:
    return DuckDbEngine()


@pytest.fixture
def session(engine: DuckDbEngine) -> EngineSession:
    return EngineSession(engine)


def beside(session: EngineSession, configuration: dict[str, str] | None = None) -> EngineSession:
    """Another session of the same engine, in the same schema."""
    made = EngineSession(session.engine, configuration)
    made.rows(f"USE SCHEMA {session.name}")
    return made


def at_once(*jobs: Callable[[], object]) -> None:
    """Runs the jobs in a thread each, and fails if one of them failed."""
    problems: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - told below
            problems.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert problems == []


def test_no_update_is_lost(session: EngineSession) -> None:
    session.rows("CREATE TABLE t (id INT, v BIGINT)")
    session.rows("INSERT INTO t VALUES (1, 0)")
    sessions = [session, beside(session), beside(session), beside(session)]

    def add(one: EngineSession) -> None:
        for number in range(20):
            assert one.rows("UPDATE t SET v = v + 1 WHERE id = 1") == [(1,)]
            assert one.rows(f"INSERT INTO t VALUES ({number + 10}, 0)") == [(1, 1)]

    at_once(*[lambda one=one: add(one) for one in sessions])
    assert session.rows("SELECT max(v), count(*) FROM t") == [(80, 81)]
    assert session.rows("DESCRIBE HISTORY t LIMIT 1")[0][0] == 161
    assert session.rows("SELECT max(v) FROM t VERSION AS OF 1") == [(0,)]
    assert session.rows("SELECT max(v), count(*) FROM t VERSION AS OF 161") == [(80, 81)]


def test_one_merge_after_the_other(session: EngineSession) -> None:
    session.rows("CREATE TABLE t (id INT, v INT)")
    merge = (
        "MERGE INTO t USING (SELECT id FROM range(50)) s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET v = v + 1 WHEN NOT MATCHED THEN INSERT (id, v) VALUES (CAST(s.id AS INT), 1)"
    )
    at_once(
        *[lambda one=one: [one.rows(merge) for _ in range(5)] for one in (session, beside(session), beside(session))]
    )
    assert session.rows("SELECT DISTINCT v FROM t") == [(15,)]
    assert session.rows("SELECT count(*) FROM t") == [(50,)]


def test_readers_see_whole_versions(session: EngineSession) -> None:
    session.rows("CREATE TABLE t AS SELECT id, 0 AS v FROM range(1000)")
    writer, over = beside(session), threading.Event()
    seen: set[tuple[Any, ...]] = set()

    def write() -> None:
        try:
            for number in range(1, 16):
                writer.rows(f"UPDATE t SET v = {number}")
                writer.rows(f"INSERT OVERWRITE t SELECT id, {number} FROM range(1000)")
                writer.rows(f"CREATE OR REPLACE TABLE t AS SELECT id, {number} AS v FROM range(1000)")
        finally:
            over.set()

    def read() -> None:
        while not over.is_set():
            # Two reads in one statement see one state.
            seen.update(session.rows("SELECT count(*), count(DISTINCT v), (SELECT max(v) FROM t) - min(v) FROM t"))

    at_once(write, read, read)
    assert seen == {(1000, 1, 0)}


def test_readers_do_not_stumble_over_definitions(session: EngineSession) -> None:
    maker, over = beside(session), threading.Event()
    found: set[str] = set()

    def define() -> None:
        try:
            for _ in range(15):
                maker.rows("CREATE TABLE t AS SELECT id FROM range(100)")
                maker.rows("ALTER TABLE t ADD COLUMN x INT")
                maker.rows("DROP TABLE t")
        finally:
            over.set()

    def look() -> str:
        try:
            return f"{session.rows('SELECT count(*) FROM t')}"
        except SqlError as error:
            return error.message.split("]")[0]

    def read() -> None:
        while not over.is_set():
            found.add(look())

    at_once(define, read)
    assert found <= {"[(100,)]", "[TABLE_OR_VIEW_NOT_FOUND"}
    assert found


def test_a_reader_does_not_wait_for_a_writer(session: EngineSession) -> None:
    session.rows("CREATE TABLE t AS SELECT 1 AS id")
    with running(session, f"INSERT INTO t {LONG_QUERY}"):
        begin = time.monotonic()
        assert beside_reads(session, "SELECT count(*) FROM t") == [(1,)]
        assert time.monotonic() - begin < 10
    assert session.rows("SELECT count(*) FROM t") == [(1,)]


def beside_reads(session: EngineSession, query: str) -> list[tuple[Any, ...]]:
    result = session.engine.execute("reader", session.name, query)
    return [tuple(row.values()) for row in pyarrow.table(result.stream).to_pylist()]


@contextlib.contextmanager
def running(session: EngineSession, statement: str) -> Iterator[list[SqlError]]:
    """A statement that runs meanwhile, and is cancelled at the end."""
    identifier, errors = f"long_{time.monotonic_ns()}", []

    def run() -> None:
        try:
            session.engine.execute(identifier, session.name, statement)
        except SqlError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.2)
    try:
        yield errors
    finally:
        session.engine.cancel(identifier)
        thread.join(10)
        assert not thread.is_alive()


CANCELLED = [
    LONG_QUERY,
    f"INSERT INTO t {LONG_QUERY}",
    "INSERT INTO t SELECT CAST(id % 100 AS INT) FROM range(100000000000)",
    f"INSERT OVERWRITE t {LONG_QUERY}",
    f"UPDATE t SET id = ({LONG_QUERY})",
    f"DELETE FROM t WHERE id < ({LONG_QUERY})",
    f"MERGE INTO t USING ({LONG_QUERY}) AS s(n) ON t.id = s.n WHEN NOT MATCHED THEN INSERT (id) VALUES (s.n)",
    f"CREATE TABLE made AS {LONG_QUERY.replace('count(*)', 'count(*) AS n')}",
    f"CREATE OR REPLACE TABLE t AS {LONG_QUERY.replace('count(*)', 'count(*) AS n')}",
    "SELECT max(regexp_replace(CAST(id AS STRING), '1(2)', 'x$1')) FROM range(100000000000)",
    f"SET VAR known = ({LONG_QUERY})",
]


@pytest.mark.parametrize("statement", CANCELLED, ids=[statement[:50] for statement in CANCELLED])
def test_cancelling_stops_at_once_and_changes_nothing(session: EngineSession, statement: str) -> None:
    session.rows("CREATE TABLE t AS SELECT 1 AS id")
    session.rows("DECLARE OR REPLACE VARIABLE known BIGINT DEFAULT 5")
    with running(session, statement) as errors:
        assert errors == []
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    assert [(error.error_code, error.sql_state) for error in errors] == [("CANCELLED", "HY008")]
    assert session.rows("SELECT id, known FROM t") == [(1, 5)]
    assert session.rows("SHOW TABLES") == [(session.name, "t", False)]
    assert session.rows("INSERT INTO t VALUES (2)") == [(1, 1)]


def test_closing_the_engine_interrupts_what_runs_and_what_comes_late() -> None:
    fresh = EngineSession(DuckDbEngine())
    with running(fresh, LONG_QUERY) as errors:
        begin = time.monotonic()
        fresh.engine.close()
        while not errors:
            assert time.monotonic() - begin < 10
            time.sleep(0.01)
    with pytest.raises(SqlError) as raised:
        fresh.engine.execute("late", None, LONG_QUERY)
    assert [error.error_code for error in (*errors, raised.value)] == ["CANCELLED", "CANCELLED"]


def test_a_statement_that_waits_for_a_writer_can_be_cancelled(session: EngineSession) -> None:
    session.rows("CREATE TABLE t AS SELECT 1 AS id")
    with running(session, f"INSERT INTO t {LONG_QUERY}"):
        with running(session, "DELETE FROM t") as errors:
            assert errors == []
            begin = time.monotonic()
        assert time.monotonic() - begin < 10
        assert [error.error_code for error in errors] == ["CANCELLED"]
    assert session.rows("SELECT id FROM t") == [(1,)]


def test_cancelling_what_is_over_does_nothing(engine: DuckDbEngine, session: EngineSession) -> None:
    engine.execute("done", session.name, "SELECT 1")
    engine.cancel("done")
    engine.cancel("never")
    assert session.rows("SELECT 1") == [(1,)]


FAILING = [
    "INSERT INTO t SELECT CAST(IF(id = 99999, 'x', '1') AS INT) FROM range(100000)",
    "INSERT OVERWRITE t SELECT 1 DIV (id - 99999) FROM range(100000)",
    "UPDATE t SET id = 1 DIV (id - 3)",
    "DELETE FROM t WHERE 1 DIV (id - 3) = 5",
    "MERGE INTO t USING range(10) s ON t.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (1 DIV (s.id - 9))",
    "CREATE OR REPLACE TABLE t AS SELECT 1 DIV (id - 99999) AS id FROM range(100000)",
    "CREATE TABLE made AS SELECT 1 DIV (id - 99999) AS id FROM range(100000)",
    "ALTER TABLE t ADD COLUMNS (a INT, b INT, id INT)",
    "ALTER TABLE t DROP COLUMNS (other, nope)",
]


@pytest.mark.parametrize("statement", FAILING, ids=[statement[:50] for statement in FAILING])
def test_what_fails_half_way_changes_nothing(session: EngineSession, statement: str) -> None:
    session.rows("CREATE TABLE t TBLPROPERTIES ('delta.columnMapping.mode' = 'name') AS SELECT CAST(id AS INT) AS id, 'o' AS other FROM range(5)")  # fmt: skip
    if statement.startswith(("INSERT", "MERGE")):
        session.rows("ALTER TABLE t DROP COLUMN other")
    before = (
        session.rows("SELECT * FROM t ORDER BY id"),
        session.rows("SHOW TABLES"),
        len(session.rows("DESCRIBE HISTORY t")),
    )
    with pytest.raises(SqlError) as raised:
        session.rows(statement)
    assert "INTERNAL" not in raised.value.message
    after = (
        session.rows("SELECT * FROM t ORDER BY id"),
        session.rows("SHOW TABLES"),
        len(session.rows("DESCRIBE HISTORY t")),
    )
    assert after == before


def test_sessions_keep_to_themselves(session: EngineSession) -> None:
    other = beside(session)
    session.rows("CREATE TEMP VIEW mine AS SELECT 1 AS x")
    session.rows("DECLARE VARIABLE secret INT DEFAULT 5")
    session.rows("SET TIME ZONE 'Asia/Tokyo'")
    session.rows("SET use_cached_result = false")
    session.rows("USE SCHEMA default")
    assert other.error("SELECT * FROM mine") == NO_TABLE
    assert other.error("SELECT secret").startswith("UNRESOLVED_COLUMN")
    assert other.rows("SELECT current_timezone(), current_schema()") == [("Etc/UTC", session.name)]
    assert other.rows("SET use_cached_result") == [("use_cached_result", "<undefined>")]
    assert other.rows("SELECT hour(TIMESTAMP'2024-01-01 00:00:00Z')") == [(0,)]
    assert session.rows("SELECT hour(TIMESTAMP'2024-01-01 00:00:00Z')") == [(9,)]


def test_one_session_from_several_threads(session: EngineSession) -> None:
    over = threading.Event()

    def make() -> None:
        try:
            for number in range(20):
                session.rows(f"CREATE OR REPLACE TEMP VIEW v{number} AS SELECT {number} AS x")
                session.rows(f"DECLARE OR REPLACE VARIABLE p{number} INT DEFAULT {number}")
                assert session.rows(f"SELECT x, p{number} FROM v{number}") == [(number, number)]
        finally:
            over.set()

    def look() -> None:
        while not over.is_set():
            assert {row[0] for row in session.rows("SHOW TABLES")} <= {""}

    at_once(make, look, look)
    assert len(session.rows("SHOW VIEWS")) == 20


def test_a_closed_session_is_gone_with_its_views(engine: DuckDbEngine) -> None:
    engine.open_session("closing", "main", "default", None)
    engine.execute("s1", "closing", "CREATE TEMP VIEW passing AS SELECT 1 AS x")
    engine.close_session("closing")
    with pytest.raises(SqlError, match="does not exist"):
        engine.execute("s2", "closing", "SELECT 1")
    engine.open_session("closing", "main", "default", None)
    with pytest.raises(SqlError, match="TABLE_OR_VIEW_NOT_FOUND"):
        engine.execute("s3", "closing", "SELECT * FROM passing")
    engine.close_session("closing")


def test_a_statement_without_a_session_remembers_nothing(engine: DuckDbEngine, session: EngineSession) -> None:
    engine.execute("s1", None, "SET TIME ZONE 'Asia/Tokyo'")
    result = engine.execute("s2", None, "SELECT current_timezone() AS z", catalog="main", schema=session.name)
    assert pyarrow.table(result.stream).to_pylist() == [{"z": "Etc/UTC"}]


@pytest.mark.parametrize(
    ("configuration", "setting", "value"),
    [
        ({"TIMEZONE": "Europe/Berlin"}, "timezone", "Europe/Berlin"),
        ({"spark.sql.session.timeZone": "America/New_York"}, "timezone", "America/New_York"),
        ({"ANSI_MODE": "true"}, "ansi_mode", "true"),
        ({"QUERY_TAGS": "a:b"}, "query_tags", "a:b"),
        ({"can_cloud_download": "false"}, "can_cloud_download", "false"),
    ],
)
def test_a_session_opens_with_settings(
    engine: DuckDbEngine, configuration: dict[str, str], setting: str, value: str
) -> None:
    assert EngineSession(engine, configuration).rows(f"SET {setting}") == [(setting, value)]


@pytest.mark.parametrize(
    "configuration", [{"ansi_mode": "false"}, {"spark.sql.ansi.enabled": "false"}, {"TIMEZONE": "no zone; --"}]
)
def test_a_session_does_not_open_with_what_would_change_answers(
    engine: DuckDbEngine, configuration: dict[str, str]
) -> None:
    with pytest.raises(SqlError):
        engine.open_session("refused", "main", "default", configuration)


def test_a_catalog_that_is_not_there_is_said_so(engine: DuckDbEngine) -> None:
    with pytest.raises(SqlError, match="CATALOG_NOT_FOUND"):
        engine.open_session("refused", "nope", None, None)


def test_through_the_wire() -> None:
    """The same over HTTP: counts and errors."""
    with LocalWarehouse() as warehouse, warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id INT)")
        cursor.execute("INSERT INTO t VALUES (1), (2)")
        assert tuple(cursor.fetchone()) == (2, 2)
        with pytest.raises(seakernel.Error) as raised:
            cursor.execute("INSERT INTO t VALUES ('x')")
        assert raised.value.sql_state == "22018"
        cursor.execute("SELECT count(*) FROM t")
        assert tuple(cursor.fetchone()) == (2,)


def test_the_first_use_of_a_function_within_a_write(session: EngineSession) -> None:
    """Functions are registered when they are first used, which a running transaction does not see."""
    fresh = EngineSession(DuckDbEngine())
    fresh.rows("CREATE TABLE t AS SELECT 'a1' AS x")
    assert fresh.rows("UPDATE t SET x = regexp_replace(x, '[0-9]', concat('-', md5(x)))") == [(1,)]
    assert fresh.rows("CREATE TABLE u AS SELECT date_format(TIMESTAMP'2024-01-01 00:00:00', 'EEEE') AS d") == [(1, 1)]
    assert fresh.rows("SELECT d FROM u") == [("Monday",)]
    assert session.error("SELECT nothing_of_this_name(1)") == "UNRESOLVED_ROUTINE 42883"
    assert session.error("VACUUM t DRY RUN") == NOT_HERE
