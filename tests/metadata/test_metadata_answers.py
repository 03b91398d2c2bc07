"""What is made of answers in both forms, of hostile ones and of failures; what is sent; and that it can be interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel
import pyarrow as pa
import pytest
from both_kernels import BothKernels, rows
from scripted_server import Failed, Rows, ScriptedServer

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel import Connection

TEXT, BYTE, SHORT, INT, LONG = pa.string(), pa.int8(), pa.int16(), pa.int32(), pa.int64()


def texts(names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, TEXT) for name in names.split()]


NATIVE_TABLES = texts(
    "TABLE_CAT TABLE_SCHEM TABLE_NAME TABLE_TYPE REMARKS TYPE_CAT TYPE_SCHEM TYPE_NAME SELF_REFERENCING_COL_NAME"
    " REF_GENERATION"
)
NATIVE_COLUMNS = [
    *texts("TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME"),
    ("DATA_TYPE", INT),
    ("TYPE_NAME", TEXT),
    ("COLUMN_SIZE", INT),
    ("BUFFER_LENGTH", BYTE),
    *[(name, INT) for name in ("DECIMAL_DIGITS", "NUM_PREC_RADIX", "NULLABLE")],
    *texts("REMARKS COLUMN_DEF"),
    *[(name, INT) for name in ("SQL_DATA_TYPE", "SQL_DATETIME_SUB", "CHAR_OCTET_LENGTH", "ORDINAL_POSITION")],
    *texts("IS_NULLABLE SCOPE_CATALOG SCOPE_SCHEMA SCOPE_TABLE"),
    ("SOURCE_DATA_TYPE", SHORT),
    ("IS_AUTO_INCREMENT", TEXT),
]
COLUMNS = [
    *texts("col_name catalogName namespace tableName columnType"),
    *[(name, INT) for name in ("columnSize", "decimalDigits", "radix")],
    *texts("isNullable remarks"),
    ("ordinalPosition", INT),
    *texts("isAutoIncrement isGenerated"),
]
TABLES = [
    *texts("namespace tableName"),
    ("isTemporary", pa.bool_()),
    *texts("information catalogName tableType remarks"),
]
KEYS = [*texts("catalogName namespace tableName col_name"), ("keySeq", INT), ("constraintName", TEXT)]
FOREIGN_KEYS = [
    *texts("parentCatalogName parentNamespace parentTableName parentColName catalogName namespace tableName col_name"),
    *[(name, INT) for name in ("keySeq", "updateRule", "deleteRule")],
    *texts("constraintName primaryKeyName"),
]
NATIVE_FOREIGN_KEYS = [*texts("a b c d e f g h"), ("i", INT), ("j", SHORT), ("k", SHORT), *texts("l m"), ("n", SHORT)]
PLACE = {"catalog": "c", "schema": "s", "table": "t"}
FOREIGN = {"foreign_catalog": "c", "foreign_schema": "s", "foreign_table": "t"}
TYPE_TEXTS = [
    "boolean", "BYTE", "SHORT", "INTEGER", "LONG", "REAL", "DECIMAL", "NUMERIC(7,3)", "DEC", "varchar", "TIMESTAMP_LTZ",
    "INTERVAL", "INTERVAL_YEAR_MONTH", "OBJECT", "GEOMETRY(4326)", "GEOGRAPHY(ANY)", "VOID", "NULL", "TIME(6)", "ARRAY",
    "MAP", "STRUCT", "array<int>", "INTERVAL DAY TO SECOND", "  INT", "", "(", "STRUCT<a:INT>",
]  # fmt: skip

ANSWERS: dict[str, tuple[str, dict[str, Any], Rows]] = {
    "columns of every type": (
        "list_columns",
        {"catalog": "cat"},
        Rows(COLUMNS, [("c", "cat", "s", "t", text, None, None, None, "true", None, 0, None, None) for text in TYPE_TEXTS]),
    ),
    "columns with odd values": (
        "list_columns",
        {"catalog": "cat"},
        Rows(
            COLUMNS,
            [
                ("c", "cat", "s", "t", "INT", 9, 8, 7, "false", "x", 5, "NO", "NO"),
                ("c", "cat", "s", "t", "INT", None, None, None, None, None, None, None, None),
                ("c", None, None, "t", "INT", 1, 1, 1, "TRUE", "", -1, "true", "true"),
                ("c", "", "", "t", "INT", 1, 1, 1, "maybe", "", 0, "", ""),
            ],
        ),
    ),
    "columns with numbers as text": (
        "list_columns",
        {"catalog": "cat"},
        Rows([(name, TEXT) for name, _ in COLUMNS], [("c", "cat", "s", "t", "INT", "4", "0", "x", "true", None, "0", "", "")]),
    ),
    "columns with flags": (
        "list_columns",
        {"catalog": "cat"},
        Rows(
            [(name, pa.bool_() if name.startswith("is") else kind) for name, kind in COLUMNS],
            [
                ("c", "cat", "s", "t", "INT", 4, 0, 10, True, "", 0, False, None),
                ("c", "cat", "s", "t", "INT", 4, 0, 10, False, "", 0, True, None),
                ("c", "cat", "s", "t", "INT", 4, 0, 10, None, "", 0, None, None),
            ],
        ),
    ),
    "columns with wide texts": (
        "list_columns",
        {"catalog": "cat", "column_pattern": "é_"},
        Rows(
            [(name, pa.large_string() if kind == TEXT else LONG) for name, kind in COLUMNS],
            [("Éa", "cat", "s", "t", "INT", 4, 0, 10, "true", "", 0, "", None)],
        ),
    ),
    "native columns": (
        "list_columns",
        {"catalog": "c"},
        Rows(
            NATIVE_COLUMNS,
            [
                ("c", "s", "t", "n", 4, "INT", 4, None, 0, 10, 1, "r", "d", 1, 2, 3, 0, "YES", "a", "b", "c", 7, "NO"),
                ("", None, "t", "n", 99, "?", 4, 1, 0, 10, 2, None, None, 1, 2, 3, None, "", "a", "b", "c", None, "YES"),
            ],
            native=True,
        ),
    ),
    "native columns of other widths": (
        "list_columns",
        {"catalog": "c"},
        Rows(
            [(name, TEXT if kind == TEXT else LONG) for name, kind in NATIVE_COLUMNS],
            [("c", "s", "t", "n", 4, "INT", 4, None, 0, 10, 1, "r", "d", 1, 2, 3, 0, "YES", "a", "b", "c", 7, "NO")],
            native=True,
        ),
    ),
    "tables out of order": (
        "list_tables",
        {"catalog": "cat"},
        Rows(
            TABLES,
            [
                ("s", "b", False, None, "cat", "VIEW", None),
                ("s", "a", False, None, "cat", "TABLE", "x"),
                ("s", "A", False, None, "cat", "TABLE", ""),
                ("r", "a", False, None, "cat", "TABLE", None),
                ("s", "c", False, None, "cat", "", None),
                ("s", "d", False, None, "cat", "view", None),
                ("", "temporary", True, None, None, "VIEW", None),
                (None, "nowhere", True, None, "", "VIEW", None),
            ],
        ),
    ),
    "native tables": (
        "list_tables",
        {"catalog": "c"},
        Rows(
            NATIVE_TABLES,
            [
                ("c", "s", "b", "VIEW", None, *[None] * 5),
                ("c", "s", "a", "TABLE", "x", "1", "2", "3", "4", "5"),
                ("", "", "temporary", "VIEW", None, *[None] * 5),
                (None, "", "temporary", "VIEW", None, *[None] * 5),
            ],
            native=True,
        ),
    ),
    "native tables of a type": (
        "list_tables",
        {"catalog": "c", "table_types": ["TABLE"]},
        Rows(
            NATIVE_TABLES,
            [("c", "s", "b", "VIEW", None, *[None] * 5), ("c", "s", "a", "TABLE", "x", *[None] * 5)],
            native=True,
        ),
    ),
    "native columns with other names": (
        "list_tables",
        {"catalog": "c"},
        Rows([(f"x{name}", TEXT) for name, _ in NATIVE_TABLES], [("c", "s", "t", "TABLE", *[None] * 6)], native=True),
    ),
    "native tables with columns missing": (
        "list_tables",
        {"catalog": "c"},
        Rows(NATIVE_TABLES[:6], [("c", "s", "t", "TABLE", None, None)], native=True),
    ),
    "a table without a name": ("list_tables", {}, Rows(TABLES, [("s", None, False, None, "c", "TABLE", None)])),
    "a native table without a type": (
        "list_tables",
        {},
        Rows(NATIVE_TABLES, [("c", "s", "t", None, *[None] * 6)], native=True),
    ),
    "a position that cannot be counted on": (
        "list_columns",
        {},
        Rows(
            NATIVE_COLUMNS,
            [("c", "s", "t", "n", 4, "INT", 4, 1, 0, 10, 1, "", "", 1, 2, 3, 2**31 - 1, "YES", "", "", "", 7, "NO")],
            native=True,
        ),
    ),
    "schemas of one catalog": ("list_schemas", {"catalog": "cat"}, Rows(texts("databaseName"), [("s",), ("r",)])),
    "schemas of a catalog by another name": (
        "list_schemas",
        {"catalog": "spark_catalog"},
        Rows(texts("databaseName catalog"), [("s", "hive_metastore")]),
    ),
    "native schemas": (
        "list_schemas",
        {},
        Rows(texts("TABLE_SCHEM TABLE_CATALOG"), [("b", "z"), ("a", None), ("c", "")], native=True),
    ),
    "native catalogs": ("list_catalogs", {}, Rows(texts("x"), [("b",), ("a",), (None,)], native=True)),
    "primary keys": (
        "primary_keys",
        PLACE,
        Rows(KEYS, [("c", "s", "t", "b", 2, "pk"), ("c", None, "t", "a", None, None)]),
    ),
    "native primary keys": (
        "primary_keys",
        PLACE,
        Rows([*texts("a b c d"), ("e", INT), ("f", TEXT)], [("", "", "t", "a", 1, None)], native=True),
    ),
    "foreign keys": (
        "foreign_keys",
        {**FOREIGN, "parent_catalog": "P"},
        Rows(
            FOREIGN_KEYS,
            [
                ("p", "s", "t", "a", "c", "s", "t", "x", 2, 3, 3, "fk", "pk"),
                ("q", "s", "t", "a", "c", "s", "t", "x", 1, 0, 1, "fk", None),
                ("P", "s", "t", "a", "c", "s", "t", "x", None, None, None, None, None),
            ],
        ),
    ),
    "native foreign keys": (
        "foreign_keys",
        {**FOREIGN, "parent_table": "T", "parent_schema": "S"},
        Rows(
            NATIVE_FOREIGN_KEYS,
            [
                ("p", "s", "t", "a", "c", "s", "t", "x", 1, 3, 3, "fk", "pk", 7),
                ("p", "s", "u", "a", "c", "s", "t", "x", 1, 3, 3, "fk", "pk", 7),
            ],
            native=True,
        ),
    ),
    "functions": (
        "functions",
        {"catalog": "c"},
        Rows(
            texts("functionName catalogName namespace remarks functionType specificName"),
            [("g", "c", "s", "r", "FUNCTION", "f1"), ("f", "c", None, None, "1", None)],
        ),
    ),
    "native functions": (
        "functions",
        {"catalog": "c"},
        Rows(
            [*texts("a b c d"), ("e", SHORT), ("f", TEXT)],
            [(None, None, "f", None, None, None), ("", "", "f", "", 1, "")],
            native=True,
        ),
    ),
    "procedures": (
        "procedures",
        {"catalog": "c"},
        Rows(
            texts("routine_catalog routine_schema routine_name comment specific_name"),
            [("z", "s", "p", None, None), ("c", None, "p", "", "sp")],
        ),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="module")
def kernels(server: ScriptedServer) -> Iterator[BothKernels]:
    with BothKernels(server) as kernels:
        yield kernels


@pytest.mark.parametrize("what", ANSWERS)
def test_both_kernels_read_an_answer_alike(server: ScriptedServer, kernels: BothKernels, what: str) -> None:
    name, arguments, answer = ANSWERS[what]
    server.answer = lambda sql: answer
    official = kernels.official_answer(name, **arguments)
    if isinstance(official, databricks_sql_kernel.KernelError):
        assert official.code == "DataLoss"
        assert "parse" not in official.message
        with pytest.raises(seakernel.DataLossError, match="listing") as ours:
            kernels.our_table(name, **arguments)
        assert ours.value.statement_id is not None
        return
    table = kernels.our_table(name, **arguments)
    assert table.schema.equals(official.schema, check_metadata=True)
    assert rows(table) == rows(official)
    assert table.num_rows > 0


def test_what_the_server_finds_beyond_the_pattern_is_left_out(server: ScriptedServer, kernels: BothKernels) -> None:
    found = [("s", "t"), ("S", "T"), ("sx", "t"), ("s", "tx"), ("s_", "t")]
    server.answer = lambda sql: Rows(TABLES, [(s, t, False, None, "c", "TABLE", None) for s, t in found])
    arguments = {"catalog": "c", "schema_pattern": "s", "table_pattern": "t"}
    assert [row[1:3] for row in rows(kernels.our_table("list_tables", **arguments))] == [("S", "T"), ("s", "t")]
    assert kernels.official_table("list_tables", **arguments).num_rows == len(found)


def test_the_catalog_that_was_asked_for_is_known(server: ScriptedServer, kernels: BothKernels) -> None:
    functions = texts("functionName catalogName namespace remarks functionType specificName")
    for name, answer, official in [
        ("functions", Rows(functions, [("f", None, "s", None, None, None)]), {"FUNCTION_CAT": None}),
        ("list_schemas", Rows(texts("TABLE_SCHEM TABLE_CATALOG"), [("s", "")], native=True), {"TABLE_CATALOG": ""}),
    ]:
        server.answer = lambda sql, answer=answer: answer
        [(column, poorer)] = official.items()
        assert kernels.our_table(name, catalog="c").column(column).to_pylist() == ["c"]
        assert kernels.official_table(name, catalog="c").column(column).to_pylist() == [poorer]


def test_a_number_too_large_for_its_column_is_not_left_out(server: ScriptedServer, kernels: BothKernels) -> None:
    wide = [(name, LONG if kind == INT else kind) for name, kind in COLUMNS]
    row = ("c", "cat", "s", "t", "INT", 2**40, 0, 10, "true", None, 0, None, None)
    server.answer = lambda sql: Rows(wide, [row])
    with pytest.raises(seakernel.DataLossError, match="COLUMN_SIZE"):
        kernels.our_table("list_columns", catalog="cat")
    assert rows(kernels.official_table("list_columns", catalog="cat"))[0][6] is None


def test_a_listing_of_catalogs_without_their_names_is_refused(server: ScriptedServer, kernels: BothKernels) -> None:
    server.answer = lambda sql: Rows(texts("name"), [("c",)])
    with pytest.raises(seakernel.DataLossError, match="no column `catalog`"):
        kernels.our_table("list_catalogs")
    assert rows(kernels.official_table("list_catalogs")) == [(None,)]


def test_collated_text_is_text(server: ScriptedServer, kernels: BothKernels) -> None:
    row = ("c", "cat", "s", "t", "STRING COLLATE UTF8_LCASE", 4, 0, 10, "true", None, 0, None, None)
    server.answer = lambda sql: Rows(COLUMNS, [row])
    assert kernels.our_table("list_columns").column("DATA_TYPE").to_pylist() == [12]
    assert kernels.official_table("list_columns").column("DATA_TYPE").to_pylist() == [1111]


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_schemas", {"catalog": "c"}),
    ("list_tables", {"catalog": "c"}),
    ("list_columns", {"catalog": "c"}),
    ("functions", {"catalog": "c"}),
    ("procedures", {"catalog": "c"}),
    ("procedures", {}),
    ("primary_keys", PLACE),
    ("foreign_keys", FOREIGN),
]
ABSENT = [
    Failed("x", "42704"),
    Failed("[SCHEMA_NOT_FOUND] x"),
    Failed("[NO_SUCH_CATALOG_EXCEPTION] x"),
    Failed("[TABLE_OR_VIEW_NOT_FOUND] x", "42P01"),
    Failed("[INVALID_PARAMETER_VALUE] x", "22023"),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=str)
def test_what_does_not_exist_has_no_rows(
    server: ScriptedServer, kernels: BothKernels, name: str, arguments: dict[str, Any]
) -> None:
    for failure in ABSENT:
        server.answer = lambda sql, failure=failure: failure
        table, official = kernels.our_table(name, **arguments), kernels.official_table(name, **arguments)
        assert rows(table) == rows(official) == []
        assert table.schema.equals(official.schema, check_metadata=True)
    # Better: the SQLSTATE says enough.
    server.answer = lambda sql: Failed("x", "42P01")
    assert rows(kernels.our_table(name, **arguments)) == []
    with pytest.raises(databricks_sql_kernel.KernelError):
        kernels.official_table(name, **arguments)


@pytest.mark.parametrize(("name", "arguments"), [("list_catalogs", {}), *CALLS], ids=str)
def test_other_failures_are_raised(
    server: ScriptedServer, kernels: BothKernels, name: str, arguments: dict[str, Any]
) -> None:
    failures = [Failed("no", "42501"), Failed("[PARSE_SYNTAX_ERROR] x", "42601"), Failed("x does not exist")]
    for failure in [*failures, *(ABSENT if name == "list_catalogs" else [])]:
        server.answer = lambda sql, failure=failure: failure
        with pytest.raises(seakernel.DatabaseError) as ours:
            kernels.our_table(name, **arguments)
        with pytest.raises(databricks_sql_kernel.KernelError) as official:
            kernels.official_table(name, **arguments)
        assert ours.value.message == str(official.value) == failure.message
        assert ours.value.sql_state == official.value.sql_state == failure.sql_state


def test_an_unknown_current_catalog_is_not_guessed(server: ScriptedServer, kernels: BothKernels) -> None:
    for answer in (Rows(texts("c"), [(None,)]), Failed("no", "42501")):
        server.answer = lambda sql, answer=answer: answer if "CURRENT" in sql else Rows(texts("functionName"), [("f",)])
        with pytest.raises(seakernel.DatabaseError):
            kernels.our_table("functions")
        assert kernels.official_table("functions").num_rows == 1
        assert "hive_metastore" in server.sent[-1].sql


def test_an_answer_without_rows_has_the_same_schema(server: ScriptedServer, kernels: BothKernels) -> None:
    for name, arguments, answer in ANSWERS.values():
        server.answer = lambda sql, answer=answer: Rows(answer.columns, [], native=answer.native)
        if len(answer.columns) == 6 and answer.columns == NATIVE_TABLES[:6]:
            continue
        assert kernels.our_table(name, **arguments).num_rows == 0
        assert kernels.our_table(name, **arguments).schema.names[0].endswith(("CAT", "SCHEM"))


SENT: list[tuple[str, dict[str, Any], str]] = [
    ("list_catalogs", {}, "GetCatalogs"),
    ("list_schemas", {}, "GetSchemas"),
    ("list_schemas", {"catalog": "a'b", "schema_pattern": "a\\_b%c_d"}, "GetSchemas"),
    ("list_tables", {"catalog": "my\\_cat", "schema_pattern": "s", "table_pattern": "t_"}, "GetTables"),
    ("list_tables", {"catalog": "a`b"}, "GetTables"),
    ("list_tables", {"catalog": "%"}, "GetTables"),
    (
        "list_columns",
        {"catalog": "c", "schema_pattern": "s", "table_pattern": "t", "column_pattern": "%"},
        "GetColumns",
    ),
    ("primary_keys", {"catalog": "a%_", "schema": "s'", "table": "t\\x"}, "GetPrimaryKeys"),
    ("foreign_keys", {**FOREIGN, "parent_catalog": "p"}, "GetCrossReference"),
    ("functions", {"catalog": "c", "schema_pattern": "s_"}, "GetFunctions"),
    ("procedures", {"catalog": "a'b"}, "GetProcedures"),
    ("procedures", {}, "GetProcedures"),
]


@pytest.mark.parametrize(("name", "arguments", "operation"), SENT, ids=str)
def test_both_kernels_send_the_same(
    server: ScriptedServer, kernels: BothKernels, name: str, arguments: dict[str, Any], operation: str
) -> None:
    server.answer = lambda sql: Failed("x", "42501")
    server.sent.clear()
    for call in (kernels.official_table, kernels.our_table):
        with pytest.raises((databricks_sql_kernel.KernelError, seakernel.DatabaseError)):
            call(name, **arguments)
    official, ours = server.sent
    assert ours == official
    assert ours.headers["x-databricks-metadata-operation-type"] == operation


HOSTILE = ["x' OR '1'='1", "x\\' OR 1=1 --", "\\", "*|.*", "a\nb", "'", "\\'", "é'", "/*", "`", "😀'"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_stay_within_their_quotes(server: ScriptedServer, kernels: BothKernels, pattern: str) -> None:
    server.answer = lambda sql: Failed("x", "42704")
    server.sent.clear()
    kernels.our_table("list_schemas", schema_pattern=pattern)
    kernels.our_table("procedures", catalog="c", name_pattern=pattern)
    for sent, quotes in zip(server.sent, (2, 4), strict=True):
        assert sent.sql.count("'") == quotes
        assert "\\" not in sent.sql
        assert "--" not in sent.sql or "--'" in sent.sql


def test_the_empty_pattern_and_bad_arguments_send_nothing(server: ScriptedServer, kernels: BothKernels) -> None:
    server.sent.clear()
    for name, arguments in [
        ("list_schemas", {"catalog": ""}),
        ("list_schemas", {"schema_pattern": ""}),
        ("list_tables", {"catalog": ""}),
        ("list_tables", {"schema_pattern": ""}),
        ("list_tables", {"table_pattern": ""}),
        ("list_tables", {"table_types": []}),
        ("list_columns", {"catalog": ""}),
        ("list_columns", {"column_pattern": ""}),
        ("functions", {"schema_pattern": ""}),
        ("functions", {"name_pattern": ""}),
        ("procedures", {"catalog": "c", "name_pattern": ""}),
    ]:
        assert kernels.our_table(name, **arguments).num_rows == 0
    for name, arguments in [
        ("list_schemas", {"catalog": "a`b"}),
        ("list_schemas", {"catalog": "", "schema_pattern": " "}),
        ("list_tables", {"catalog": "c" * 256}),
        ("list_columns", {"catalog": "c\0"}),
        ("functions", {"catalog": ""}),
        ("primary_keys", {**PLACE, "table": ""}),
        ("foreign_keys", {**FOREIGN, "parent_table": "`"}),
    ]:
        with pytest.raises(seakernel.ProgrammingError) as raised:
            kernels.our_table(name, **arguments)
        assert raised.value.kind == "InvalidArgument"
    kernels.our_table("table_types")
    kernels.our_table("type_info")
    assert server.sent == []


def test_a_closed_session_lists_nothing(connection: Connection, warehouse: LocalWarehouse) -> None:
    with warehouse.connect() as other:
        metadata = other.metadata()
        assert pa.table(metadata.catalogs()).num_rows > 0
    for call in (metadata.catalogs, other.metadata):
        with pytest.raises(seakernel.InterfaceError) as raised:
            call()
        assert raised.value.kind == "Closed"
    assert connection.metadata().type_info().num_rows == 20


def test_a_list_of_types_is_no_text(connection: Connection) -> None:
    with pytest.raises(TypeError):
        connection.metadata().tables(table_types="TABLE")  # type: ignore[arg-type]


def test_threads_list_side_by_side() -> None:
    with LocalWarehouse(switches={"api_delay_ms": 1000}) as warehouse, warehouse.connect() as connection:
        metadata = connection.metadata()
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(len(metadata.catalogs()))) for _ in range(8)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        # One after the other they would take 8 s at least.
        assert time.monotonic() - started < 7


INTERRUPTED = """
import signal, sys, time, seakernel
signal.signal(signal.SIGINT, signal.default_int_handler)
host, path, token = sys.argv[1:]
connection = seakernel.connect(server_hostname=host, http_path=path, access_token=token)
metadata = connection.metadata()
metadata.catalogs()
print("ready", flush=True)
sys.stdin.readline()
print("go", flush=True)
try:
    metadata.columns()
except KeyboardInterrupt:
    print(time.time(), flush=True)
"""


def test_a_listing_is_interrupted_at_once() -> None:
    with LocalWarehouse() as warehouse:
        place = [warehouse.server_hostname, warehouse.http_path, warehouse.access_token]
        command = [sys.executable, "-c", INTERRUPTED, *place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            warehouse.switches(api_delay_ms=2000)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "go\n"
            time.sleep(0.5)
            sent = time.time()
            process.send_signal(signal.SIGINT)
            moment = float(process.stdout.readline())
            warehouse.switches()
        assert process.returncode == 0
        # Seen within 50 ms; the rest is the scheduler of a busy machine.
        assert moment - sent < 0.3
