"""The same listings through databricks-sql-kernel 1.3.0 and through ours on the local warehouse: equal, or better by name."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel
import pytest
from both_kernels import BothKernels, rows

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(38,0)",
    "DECIMAL(38,38)",
    "DECIMAL(10,2)",
    "DECIMAL",
    "STRING",
    "VARCHAR(20)",
    "CHAR(5)",
    "BINARY",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "INTERVAL YEAR TO MONTH",
    "INTERVAL YEAR",
    "INTERVAL DAY TO SECOND",
    "INTERVAL HOUR TO MINUTE",
    "ARRAY<INT>",
    "MAP<STRING, INT>",
    "STRUCT<a: INT, b: ARRAY<STRING>>",
    "VARIANT",
]
CATALOGS = ["main", "other", "my_cat", "myxcat"]
SCHEMAS = ["s_x", "sax", "s%x", "s'x", "été", "s-x", "a|b"]
TABLES = ["t_1", "ta1", "t%1", "T2", "naïve"]


@pytest.fixture(scope="module")
def kernels() -> Iterator[BothKernels]:
    with LocalWarehouse() as warehouse, BothKernels(warehouse) as kernels:
        with kernels.connection.cursor() as cursor:
            for catalog in CATALOGS[1:]:
                cursor.execute(f"CREATE CATALOG `{catalog}`")
            for catalog in CATALOGS:
                for schema in SCHEMAS:
                    cursor.execute(f"CREATE SCHEMA `{catalog}`.`{schema}`")
                    for table in TABLES if schema in ("s_x", "été") else ["t_1"]:
                        cursor.execute(
                            f"CREATE TABLE `{catalog}`.`{schema}`.`{table}`"
                            " (a INT, `b_c` STRING COMMENT 'it''s \\\\ \"so\"', `b%c` DATE NOT NULL, `é` INT) COMMENT 'x'"
                        )
            columns = ", ".join(
                f"c{place} {name} COMMENT 'c {place}', n{place} {name} NOT NULL" for place, name in enumerate(TYPES)
            )
            cursor.execute(f"CREATE TABLE main.default.every ({columns})")
            cursor.execute("CREATE VIEW main.default.v COMMENT 'seen' AS SELECT 1 AS a, 'x' AS b")
            cursor.execute(
                "CREATE TABLE main.default.p (a INT NOT NULL, b INT NOT NULL, CONSTRAINT pk PRIMARY KEY (b, a))"
            )
            cursor.execute(
                "CREATE TABLE main.s_x.f (x INT, y INT,"
                " CONSTRAINT fk FOREIGN KEY (x, y) REFERENCES main.default.p (a, b))"
            )
            cursor.execute("CREATE TABLE main.default.numbered (id BIGINT GENERATED ALWAYS AS IDENTITY, a INT)")
            cursor.execute("CREATE FUNCTION main.default.plus(a INT, b INT) RETURNS INT COMMENT 'adds' RETURN a + b")
            cursor.execute("CREATE FUNCTION main.s_x.plus_two(a INT) RETURNS INT RETURN a + 2")
        yield kernels


NAMES: list[str | None] = [
    None, "main", "MAIN", "nope", "my_cat", "my\\_cat", "myxcat", "", "%", " ", "a`b", "a\0b", "é'\"\\", "c" * 255, "c" * 256,
]  # fmt: skip
PATTERNS: list[str | None] = [
    None, "", "%", "_%", "s_x", "s\\_x", "s%x", "s\\%x", "S\\_X", "S%", "sax", "s__", "s'x", "été", "s-x", "nope", "default",
    "information\\_schema", " ", "\t", "a\0b", "x" * 255, "x" * 256, "é" * 128,
]  # fmt: skip
TABLE_PATTERNS = ["t_1", "t\\_1", "t\\%1", "t2", "T2", "v", "%", "", "naïve", "%ï%", "every", " "]
KEY_TABLES = [("main", "default", "p"), ("MAIN", "Default", "P"), ("main", "s_x", "f"), ("main", "default", "v"),
              ("main", "default", "nope"), ("main", "nope", "p"), ("nope", "default", "p"), ("", "default", "p"),
              ("main", "", "p"), ("main", "default", ""), (" ", "default", "p"), ("a`", "default", "p")]  # fmt: skip
PARENTS: list[dict[str, str]] = [
    {}, {"parent_catalog": "main"}, {"parent_catalog": "MAIN", "parent_schema": "default", "parent_table": "p"},
    {"parent_table": "q"}, {"parent_table": "%"}, {"parent_table": ""}, {"parent_schema": " "}, {"parent_schema": "a`"},
]  # fmt: skip
ROUTINES: list[dict[str, str | None]] = [
    {}, {"catalog": "main"}, {"catalog": "MAIN"}, {"catalog": "nope"}, {"catalog": ""}, {"catalog": " "}, {"catalog": "a`"},
    {"schema_pattern": "s_x"}, {"schema_pattern": "s\\_x"}, {"schema_pattern": "nope"}, {"schema_pattern": ""},
    {"catalog": "main", "name_pattern": "plus"}, {"name_pattern": "plus"}, {"name_pattern": "PLUS%"},
    {"name_pattern": "plu_"}, {"name_pattern": "plus\\_%"}, {"name_pattern": ""}, {"name_pattern": " "},
    {"schema_pattern": "default", "name_pattern": "%"}, {"name_pattern": "x" * 256}, {"catalog": "samples"},
]  # fmt: skip
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_catalogs", {}),
    ("table_types", {}),
    ("type_info", {}),
    *[("list_schemas", {"catalog": name}) for name in NAMES],
    *[("list_schemas", {"schema_pattern": pattern}) for pattern in PATTERNS],
    *[("list_schemas", {"catalog": "main", "schema_pattern": pattern}) for pattern in PATTERNS],
    *[("list_tables", {"catalog": name}) for name in [*NAMES, "m%", "zzz%", "%er", "M%"]],
    *[("list_tables", {"catalog": name, "schema_pattern": "s\\_x", "table_pattern": "t%"}) for name in NAMES[:6]],
    *[("list_tables", {"catalog": "main", "schema_pattern": pattern}) for pattern in PATTERNS],
    *[("list_tables", {"catalog": "main", "table_pattern": pattern}) for pattern in TABLE_PATTERNS],
    *[
        ("list_tables", {"catalog": "main", "table_types": kinds})
        for kinds in (["TABLE"], ["VIEW"], ["TABLE", "VIEW"], ["SYSTEM TABLE"], ["nope"], [""], [])
    ],
    *[("list_columns", {"catalog": name, "table_pattern": "t\\_1"}) for name in NAMES],
    *[("list_columns", {"catalog": "main", "schema_pattern": pattern, "table_pattern": "t%"}) for pattern in PATTERNS],
    *[("list_columns", {"catalog": "main", "table_pattern": pattern}) for pattern in TABLE_PATTERNS if pattern != "%"],
    *[
        ("list_columns", {"catalog": "main", "schema_pattern": "s\\_x", "column_pattern": pattern})
        for pattern in ["a", "A", "b_c", "b\\_c", "b\\%c", "%", "é", "É", "_", "nope", "", " "]
    ],
    ("list_columns", {"catalog": "main", "schema_pattern": "default", "table_pattern": "every"}),
    ("list_columns", {"catalog": "samples", "schema_pattern": "tpch"}),
    *[("primary_keys", {"catalog": c, "schema": s, "table": t}) for c, s, t in KEY_TABLES],
    *[
        ("foreign_keys", {"foreign_catalog": c, "foreign_schema": s, "foreign_table": t})
        for c, s, t in KEY_TABLES
    ],
    *[
        ("foreign_keys", {"foreign_catalog": "main", "foreign_schema": "s_x", "foreign_table": "f", **parent})
        for parent in PARENTS
    ],
    *[(name, arguments) for name in ("functions", "procedures") for arguments in ROUTINES],
]  # fmt: skip

#: Where the official kernel hands over what the server's looser patterns find, or misses what they cannot say.
EXACT = "patterns match exactly"
BETTER: list[tuple[str, str, dict[str, Any], set[Any]]] = [
    (EXACT, "list_schemas", {"catalog": "main", "schema_pattern": "s.x"}, set()),
    (EXACT, "list_schemas", {"catalog": "main", "schema_pattern": "s*"}, set()),
    (EXACT, "list_schemas", {"catalog": "main", "schema_pattern": "a|b"}, {"a|b"}),
    (EXACT, "list_schemas", {"catalog": "main", "schema_pattern": "sax|s-x"}, set()),
    (EXACT, "list_tables", {"catalog": "main", "schema_pattern": "s.x", "table_pattern": "t%"}, set()),
    (EXACT, "list_columns", {"catalog": "main", "schema_pattern": "s*", "table_pattern": "t%"}, set()),
    (EXACT, "functions", {"catalog": "main", "name_pattern": "p*"}, set()),
    ("types match in any case", "list_tables", {"catalog": "main", "table_types": ["view"]}, {"v"}),
    ("identity columns are told", "list_columns", {"table_pattern": "numbered", "column_pattern": "id"}, {"YES"}),
]
COLUMN = {"list_schemas": "TABLE_SCHEM", "list_tables": "TABLE_NAME", "functions": "FUNCTION_NAME"}


def identity(call: Any) -> str:
    return "".join(f"{name}={value!r:.20}," for name, value in call.items()) if isinstance(call, dict) else str(call)


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=identity)
def test_both_kernels_list_the_same(kernels: BothKernels, name: str, arguments: dict[str, Any]) -> None:
    official = kernels.official_answer(name, **arguments)
    if isinstance(official, databricks_sql_kernel.KernelError):
        if "CATALOG_NOT_FOUND" in official.message:
            # Better: as in other catalogs, what does not exist has no rows, whichever error class says so.
            assert rows(kernels.our_table(name, **arguments)) == []
            return
        with pytest.raises(seakernel.ProgrammingError) as ours:
            kernels.our_table(name, **arguments)
        assert ours.value.kind == official.code == "InvalidArgument"
        return
    table = kernels.our_table(name, **arguments)
    assert table.schema.equals(official.schema, check_metadata=True)
    assert rows(table) == rows(official)


def test_the_calls_are_many_and_find_much(kernels: BothKernels) -> None:
    found = 0
    for name, arguments in CALLS:
        with contextlib.suppress(seakernel.ProgrammingError):
            found += kernels.our_table(name, **arguments).num_rows > 0
    assert len(CALLS) >= 200
    assert found >= 100


@pytest.mark.parametrize(("reason", "name", "arguments", "expected"), BETTER, ids=identity)
def test_ours_lists_better(
    kernels: BothKernels, reason: str, name: str, arguments: dict[str, Any], expected: set[Any]
) -> None:
    official, table = kernels.official_table(name, **arguments), kernels.our_table(name, **arguments)
    column = "IS_AUTO_INCREMENT" if reason == "identity columns are told" else COLUMN.get(name, "COLUMN_NAME")
    assert set(table.column(column).to_pylist()) == expected
    assert set(official.column(column).to_pylist()) != expected, f"{reason}: so does the official kernel"


def test_temporary_views_are_listed_once(kernels: BothKernels) -> None:
    kernels.run("CREATE TEMPORARY VIEW passing AS SELECT 1 AS a")
    try:
        for catalog, times in [("main", 1), (None, 1), ("my_cat", 2)]:
            arguments = {"catalog": catalog, "table_pattern": "passing"}
            ours, official = (
                rows(kernels.our_table("list_tables", **arguments)),
                rows(kernels.official_table("list_tables", **arguments)),
            )
            assert ours == [(None, "", "passing", "VIEW", "", *[None] * 5)]
            # Better: not once per catalog that the pattern matches.
            assert official == ours * times
    finally:
        kernels.run("DROP VIEW passing")


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_rows": 7, "inline_bytes": 0},
        {"switches": {"hybrid_supported": False}},
        {"inline_bytes": 0, "batch_rows": 3},
    ],
    ids=["files", "links only", "batches"],
)
def test_a_listing_is_the_same_however_it_comes(options: dict[str, Any]) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_schemas", {}),
        ("list_tables", {}),
        ("list_tables", {"catalog": "%a%"}),
        ("list_columns", {"catalog": "samples", "column_pattern": "%\\_%"}),
    ]
    with (
        LocalWarehouse() as inline,
        BothKernels(inline) as expected,
        LocalWarehouse(**options) as warehouse,
        BothKernels(warehouse) as kernels,
    ):
        for name, arguments in calls:
            table = kernels.our_table(name, **arguments)
            assert table.num_rows > 2
            assert rows(table) == rows(expected.our_table(name, **arguments))
            assert rows(table) == rows(expected.official_table(name, **arguments))
        # Nothing of a listing is left open on the server.
        opened = sum(request["operation"] == "execute" for request in warehouse.requests() if request["status"] == 200)
        deadline = time.monotonic() + 5
        while sum(request["operation"] == "close_statement" for request in warehouse.requests()) < opened:
            assert time.monotonic() < deadline
            time.sleep(0.02)
