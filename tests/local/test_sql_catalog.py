"""SHOW, DESCRIBE and information_schema: the columns that clients read, and what is in them."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from engine_session import NO_COLUMN, NO_TABLE, NOT_HERE, EngineSession

from seakernel.local.engine import DuckDbEngine

SETUP = [
    "CREATE SCHEMA shop COMMENT 'the shop'",
    "USE SCHEMA shop",
    "CREATE TABLE Items (id INT NOT NULL, Name VARCHAR(20) COMMENT 'its name', price DECIMAL(10,2) DEFAULT 1.5, CONSTRAINT items_pk PRIMARY KEY (id)) "
    "COMMENT 'all items' TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported', 'team' = 'x')",
    "CREATE TABLE sales (sale BIGINT GENERATED ALWAYS AS IDENTITY, item INT, day DATE, twice INT GENERATED ALWAYS AS (item * 2), s STRUCT<a: INT, b: ARRAY<STRING>>, "
    "m MAP<STRING, DOUBLE>, CONSTRAINT sales_fk FOREIGN KEY (item) REFERENCES items (id)) PARTITIONED BY (day)",
    "CREATE TABLE grouped (a INT, b STRING) CLUSTER BY (a)",
    "CREATE VIEW cheap (id COMMENT 'the id', price) COMMENT 'v' TBLPROPERTIES ('k' = 'v') AS SELECT id, price FROM items WHERE price < 5",
    "CREATE FUNCTION twice(x INT, y STRING) RETURNS INT COMMENT 'doubles' RETURN x * 2",
    "CREATE TEMP VIEW passing AS SELECT 1 AS x",
    "INSERT INTO items (id, name) VALUES (1, 'a')",
    "INSERT INTO sales (item, day) VALUES (1, DATE'2024-01-02'), (1, DATE'2024-01-01'), (1, DATE'2024-01-02')",
]  # fmt: skip
# ruff: noqa: ISC004


@pytest.fixture(scope="module")
def session() -> EngineSession:
    made = EngineSession(DuckDbEngine(catalogs=("main", "other")))
    made.rows(f"DROP SCHEMA {made.name}")
    for statement in SETUP:
        made.rows(statement)
    return made


SHOWN: list[tuple[str, list[str], list[tuple[Any, ...]]]] = [
    ("SHOW CATALOGS", ["catalog"], [("main",), ("other",), ("system",)]),
    ("SHOW CATALOGS LIKE 'm*|oth*'", ["catalog"], [("main",), ("other",)]),
    ("SHOW SCHEMAS", ["databaseName"], [("default",), ("information_schema",), ("shop",)]),
    ("SHOW SCHEMAS IN other", ["databaseName"], [("default",), ("information_schema",)]),
    ("SHOW DATABASES LIKE 'SH*'", ["databaseName"], [("shop",)]),
    ("SHOW SCHEMAS IN `main` LIKE '*'", ["databaseName"], [("default",), ("information_schema",), ("shop",)]),
    ("SHOW TABLES", ["database", "tableName", "isTemporary"], [("shop", "cheap", False), ("shop", "grouped", False), ("shop", "items", False), ("shop", "sales", False), ("", "passing", True)]),
    ("SHOW TABLES IN main.shop LIKE 'it*|sa*'", ["database", "tableName", "isTemporary"], [("shop", "items", False), ("shop", "sales", False)]),
    ("SHOW TABLES FROM default", ["database", "tableName", "isTemporary"], [("", "passing", True)]),
    ("SHOW TABLES IN CATALOG `main` SCHEMA LIKE 'shop' LIKE 'item.'", ["namespace", "tableName", "isTemporary", "information", "catalogName", "tableType", "remarks"], [("shop", "items", False, None, "main", "TABLE", "all items")]),
    ("SHOW VIEWS", ["namespace", "viewName", "isTemporary", "isMaterialized"], [("shop", "cheap", False, False), ("", "passing", True, False)]),
    ("SHOW COLUMNS IN sales", ["col_name"], [("sale",), ("item",), ("day",), ("twice",), ("s",), ("m",)]),
    ("SHOW COLUMNS FROM items IN shop", ["col_name"], [("id",), ("Name",), ("price",)]),
    ("SHOW PARTITIONS sales", ["day"], [(datetime.date(2024, 1, 1),), (datetime.date(2024, 1, 2),)]),
    ("SHOW TBLPROPERTIES items ('team')", ["key", "value"], [("team", "x")]),
    ("SHOW TBLPROPERTIES cheap", ["key", "value"], [("k", "v")]),
    ("SHOW USER FUNCTIONS", ["function"], [("main.shop.twice",)]),
    ("SHOW USER FUNCTIONS LIKE 't*'", ["function"], [("main.shop.twice",)]),
    ("SHOW FUNCTIONS LIKE 'abs'", ["function"], [("abs",)]),
    ("SHOW KEYS IN CATALOG `main` IN SCHEMA `shop` IN TABLE `items`", ["catalogName", "namespace", "tableName", "col_name", "keySeq", "constraintName"], [("main", "shop", "items", "id", 1, "items_pk")]),
    ("SHOW FOREIGN KEYS IN CATALOG `main` IN SCHEMA `shop` IN TABLE `sales`", ["parentCatalogName", "parentNamespace", "parentTableName", "parentColName", "catalogName", "namespace", "tableName", "col_name", "keySeq", "updateRule", "deleteRule", "constraintName", "primaryKeyName"],
     [("main", "shop", "items", "id", "main", "shop", "sales", "item", 1, 3, 3, "sales_fk", None)]),
    ("DESCRIBE items", ["col_name", "data_type", "comment"], [("id", "int", None), ("Name", "varchar(20)", "its name"), ("price", "decimal(10,2)", None)]),
    ("DESC TABLE sales", ["col_name", "data_type", "comment"], [("sale", "bigint", None), ("item", "int", None), ("day", "date", None), ("twice", "int", None), ("s", "struct<a:int,b:array<string>>", None), ("m", "map<string,double>", None),
     ("# Partition Information", "", ""), ("# col_name", "data_type", "comment"), ("day", "date", None)]),
    ("DESCRIBE grouped", ["col_name", "data_type", "comment"], [("a", "int", None), ("b", "string", None), ("# Clustering Information", "", ""), ("# col_name", "data_type", "comment"), ("a", "int", None)]),
    ("DESCRIBE cheap", ["col_name", "data_type", "comment"], [("id", "int", "the id"), ("price", "decimal(10,2)", None)]),
    ("DESCRIBE items Name", ["info_name", "info_value"], [("col_name", "Name"), ("data_type", "varchar(20)"), ("comment", "its name")]),
    ("DESCRIBE QUERY SELECT 1 AS a, array('x') AS b", ["col_name", "data_type", "comment"], [("a", "int", None), ("b", "array<string>", None)]),
    ("DESCRIBE SCHEMA shop", ["database_description_item", "database_description_value"], [("Catalog Name", "main"), ("Namespace Name", "shop"), ("Comment", "the shop"), ("Location", ""), ("Owner", "local@example.com")]),
    ("DESCRIBE CATALOG main", ["info_name", "info_value"], [("Catalog Name", "main"), ("Comment", ""), ("Owner", "local@example.com")]),
    ("DESCRIBE FUNCTION twice", ["function_desc"], [("Function: main.shop.twice",), ("Type:     SCALAR",), ("Input:    x INT, y STRING",), ("Returns:  INT",)]),
    # information_schema
    ("SELECT table_name, table_type, is_insertable_into, commit_action, comment FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1", ["table_name", "table_type", "is_insertable_into", "commit_action", "comment"],
     [("cheap", "VIEW", "NO", "PRESERVE", "v"), ("grouped", "MANAGED", "YES", "PRESERVE", None), ("items", "MANAGED", "YES", "PRESERVE", "all items"), ("sales", "MANAGED", "YES", "PRESERVE", None)]),
    ("SELECT column_name, is_nullable, full_data_type, data_type, numeric_precision, numeric_precision_radix, numeric_scale, column_default, comment FROM information_schema.columns WHERE table_name = 'items' ORDER BY ordinal_position",
     ["column_name", "is_nullable", "full_data_type", "data_type", "numeric_precision", "numeric_precision_radix", "numeric_scale", "column_default", "comment"],
     [("id", "NO", "int", "INT", 32, 2, 0, None, None), ("Name", "YES", "varchar(20)", "VARCHAR", None, None, None, None, "its name"), ("price", "YES", "decimal(10,2)", "DECIMAL", 10, 10, 2, "1.5", None)]),
    ("SELECT column_name, data_type, is_identity, is_generated, generation_expression, partition_index FROM main.information_schema.columns WHERE table_name = 'sales' ORDER BY ordinal_position",
     ["column_name", "data_type", "is_identity", "is_generated", "generation_expression", "partition_index"],
     [("sale", "LONG", "YES", "NEVER", None, None), ("item", "INT", "NO", "NEVER", None, None), ("day", "DATE", "NO", "NEVER", None, 1), ("twice", "INT", "NO", "ALWAYS", "item * 2", None), ("s", "STRUCT", "NO", "NEVER", None, None), ("m", "MAP", "NO", "NEVER", None, None)]),
    ("SELECT schema_name, comment FROM information_schema.schemata ORDER BY 1", ["schema_name", "comment"], [("default", None), ("information_schema", None), ("shop", "the shop")]),
    ("SELECT catalog_name FROM system.information_schema.catalogs ORDER BY 1", ["catalog_name"], [("main",), ("other",), ("system",)]),
    ("SELECT table_name, view_definition FROM information_schema.views", ["table_name", "view_definition"], [("cheap", "SELECT id, price FROM items WHERE price < 5")]),
    ("SELECT routine_name, data_type, routine_definition FROM information_schema.routines", ["routine_name", "data_type", "routine_definition"], [("twice", "INT", "x * 2")]),
    ("SELECT parameter_name, data_type FROM information_schema.parameters ORDER BY ordinal_position", ["parameter_name", "data_type"], [("x", "INT"), ("y", "STRING")]),
    ("SELECT constraint_name, table_name, constraint_type FROM information_schema.table_constraints ORDER BY 1", ["constraint_name", "table_name", "constraint_type"], [("items_pk", "items", "PRIMARY KEY"), ("sales_fk", "sales", "FOREIGN KEY")]),
    ("SELECT constraint_name, column_name, ordinal_position FROM information_schema.key_column_usage ORDER BY 1", ["constraint_name", "column_name", "ordinal_position"], [("items_pk", "id", 1), ("sales_fk", "item", 1)]),
    ("SELECT count(*) FROM system.information_schema.column_masks", ["count(1)"], [(0,)]),
    ("SELECT count(DISTINCT table_catalog) FROM system.information_schema.tables", ["count(DISTINCT table_catalog)"], [(3,)]),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "columns", "rows"), SHOWN, ids=[case[0][:70] for case in SHOWN])
def test_what_there_is_is_shown(
    session: EngineSession, statement: str, columns: list[str], rows: list[tuple[Any, ...]]
) -> None:
    found, answer = session.answer(statement)
    assert [name for name, _ in found] == columns
    assert answer == rows


ERRORS = [
    ("SHOW TABLES IN nope", "SCHEMA_NOT_FOUND 42704"),
    ("SHOW SCHEMAS IN nope", "CATALOG_NOT_FOUND 42P08"),
    ("SHOW COLUMNS IN nope", NO_TABLE),
    ("SHOW TBLPROPERTIES nope", NO_TABLE),
    ("SHOW CREATE TABLE nope", NO_TABLE),
    ("SHOW PARTITIONS items", "DELTA_SHOW_PARTITION_IN_NON_PARTITIONED_TABLE 42809"),
    ("SHOW PARTITIONS cheap", "EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE 42809"),
    ("SHOW GRANTS ON TABLE items", NOT_HERE),
    ("SHOW TABLE EXTENDED LIKE 'items'", NOT_HERE),
    ("DESCRIBE nope", NO_TABLE),
    ("DESCRIBE items nope", NO_COLUMN),
    ("DESCRIBE SCHEMA nope", "SCHEMA_NOT_FOUND 42704"),
    ("DESCRIBE CATALOG nope", "CATALOG_NOT_FOUND 42P08"),
    ("DESCRIBE FUNCTION nope", "ROUTINE_NOT_FOUND 42883"),
    ("DESCRIBE FUNCTION abs", NOT_HERE),
    ("DESCRIBE HISTORY cheap", "DELTA_CANNOT_DESCRIBE_VIEW_HISTORY 42809"),
    ("DESCRIBE DETAIL cheap", "DELTA_UNSUPPORTED_DESCRIBE_DETAIL_VIEW 42809"),
    ("DESCRIBE QUERY SELECT * FROM nope", NO_TABLE),
    ("SELECT * FROM information_schema.nope", NO_TABLE),
    ("SELECT * FROM nope.information_schema.tables", NO_TABLE),
    ("SELECT * FROM information_schema.check_constraints", NOT_HERE),
    ("COMMENT ON TABLE nope IS 'x'", NO_TABLE),
    ("COMMENT ON CATALOG system IS 'x'", "INSUFFICIENT_PERMISSIONS 42501"),
]


@pytest.mark.parametrize(("statement", "error"), ERRORS, ids=[case[0][:70] for case in ERRORS])
def test_what_there_is_not_is_an_error(session: EngineSession, statement: str, error: str) -> None:
    assert session.error(statement) == error


def test_describe_extended_tells_the_facts(session: EngineSession) -> None:
    rows = session.rows("DESCRIBE TABLE EXTENDED items")
    facts = {name: value for name, value, _ in rows}
    assert ("# Detailed Table Information", "", "") in rows
    assert [facts[name] for name in ("Catalog", "Database", "Table", "Type", "Comment", "Provider", "Owner")] == [
        "main", "shop", "items", "MANAGED", "all items", "delta", "local@example.com",
    ]  # fmt: skip
    assert facts["items_pk"] == "PRIMARY KEY (`id`)"
    assert "team=x" in facts["Table Properties"]
    view = {name: value for name, value, _ in session.rows("DESCRIBE TABLE EXTENDED cheap")}
    assert (view["Type"], view["View Text"]) == ("VIEW", "SELECT id, price FROM items WHERE price < 5")


def test_describe_as_json_is_json(session: EngineSession) -> None:
    columns, rows = session.answer("DESCRIBE TABLE EXTENDED sales AS JSON")
    assert columns == [("json_metadata", "STRING")]
    facts = json.loads(rows[0][0])
    assert (facts["table_name"], facts["catalog_name"], facts["schema_name"], facts["type"]) == ("sales", "main", "shop", "MANAGED")  # fmt: skip
    assert facts["partition_columns"] == ["day"]
    assert facts["columns"][4]["type"]["fields"][1]["type"] == {
        "name": "array", "element_type": {"name": "string"}, "element_nullable": True,
    }  # fmt: skip


def test_describe_detail_has_one_row(session: EngineSession) -> None:
    columns, rows = session.answer("DESCRIBE DETAIL sales")
    facts = dict(zip([name for name, _ in columns], rows[0], strict=True))
    assert len(rows) == 1
    assert (facts["format"], facts["name"], facts["partitionColumns"]) == ("delta", "main.shop.sales", ["day"])
    assert dict(columns)["createdAt"] == "TIMESTAMP"
    assert facts["numFiles"] is None


def test_describe_history_is_newest_first(session: EngineSession) -> None:
    columns, rows = session.answer("DESCRIBE HISTORY items")
    assert [name for name, _ in columns] == [
        "version", "timestamp", "userId", "userName", "operation", "operationParameters", "job", "notebook", "clusterId",
        "readVersion", "isolationLevel", "isBlindAppend", "operationMetrics", "userMetadata", "engineInfo",
    ]  # fmt: skip
    assert [(row[0], row[4]) for row in rows] == [(1, "WRITE"), (0, "CREATE TABLE")]
    assert [row[0] for row in session.rows("DESCRIBE HISTORY items LIMIT 1")] == [1]


@pytest.mark.parametrize("name", ["items", "grouped", "cheap"])
def test_show_create_table_makes_the_same_again(session: EngineSession, name: str) -> None:
    text = session.rows(f"SHOW CREATE TABLE {name}")[0][0]
    described = session.rows(f"DESCRIBE {name}")
    session.rows("CREATE SCHEMA copies")
    try:
        session.rows(text.replace("main.shop.", "main.copies.", 1))
        assert session.rows(f"DESCRIBE copies.{name}") == described
    finally:
        session.rows("DROP SCHEMA copies CASCADE")


def test_the_columns_of_jdbc(session: EngineSession) -> None:
    columns, rows = session.answer("SHOW COLUMNS IN CATALOG `main` SCHEMA LIKE 'shop' TABLE LIKE 'item.' LIKE '*'")
    assert [name for name, _ in columns] == [
        "col_name", "catalogName", "namespace", "tableName", "columnType", "columnSize", "decimalDigits", "radix",
        "isNullable", "remarks", "ordinalPosition", "isAutoIncrement", "isGenerated",
    ]  # fmt: skip
    assert [(row[0], row[4], row[5], row[8]) for row in rows] == [
        ("id", "INT", 4, "false"), ("Name", "VARCHAR(20)", 20, "true"), ("price", "DECIMAL(10,2)", 10, "true"),
    ]  # fmt: skip


def test_comments_change(session: EngineSession) -> None:
    session.rows("CREATE OR REPLACE TABLE noted (x INT)")
    for statement in (
        "COMMENT ON TABLE noted IS 'it''s'",
        "COMMENT ON COLUMN noted.x IS 'the x'",
        "COMMENT ON SCHEMA default IS 's'",
    ):
        session.rows(statement)
    facts = session.rows("DESCRIBE TABLE EXTENDED noted")
    assert ("x", "int", "the x") in facts
    assert ("Comment", "it's", "") in facts
    assert ("Comment", "s") in session.rows("DESCRIBE SCHEMA default")
    session.rows("COMMENT ON TABLE noted IS NULL")
    assert "Comment" not in [row[0] for row in session.rows("DESCRIBE TABLE EXTENDED noted")]
    session.rows("DROP TABLE noted")
