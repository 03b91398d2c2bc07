"""80 Databricks SQL statements with what a warehouse answers: the public yardstick for the local warehouse's SQL.

Each row: number, group, statement, parameters (dict for :name, list for ?), check. A check takes the rows as a list of
tuples and says whether they are right; ERR means that the statement must fail. The answers come from the language
documents, not from a warehouse. Run SETUP first, in catalog main, schema default; PUT_FILE and GET_FILE are paths that
the runner fills in.
"""

SETUP = [
    "CREATE TABLE t (id BIGINT, name STRING, amt DECIMAL(10,2))",
    "INSERT INTO t VALUES (1, 'a', 1.00), (2, 'b', 2.00)",
    "CREATE TABLE t2 AS SELECT * FROM t",
    "CREATE TABLE s AS SELECT CAST(c1 AS BIGINT) AS id, c2 AS name, CAST(c3 AS DECIMAL(10,2)) AS amt FROM VALUES (1, 'S', 9.00), (7, 'N', 7.00) AS v(c1, c2, c3)",
    "CREATE TABLE t3 AS SELECT CAST(c1 AS INT) AS id, c2 AS name, CAST(c3 AS INT) AS grp, CAST(c4 AS DECIMAL(10,2)) AS amt "
    "FROM VALUES (1, 'a', 1, 1.00), (2, 'b', 1, 2.00), (3, 'c', 2, 3.00), (4, 'd', 2, 4.00) AS v(c1, c2, c3, c4)",
]
import datetime as dt
from decimal import Decimal as D


def eq(v):
    return lambda rows: rows == v


def first(v):
    return lambda rows: len(rows) == 1 and rows[0][0] == v


def ok(rows):
    return True


ERR = "ERR"  # statement must raise
ST = [
    # core 40
    (1, "core", "SELECT * FROM range(5)", None, eq([(0,), (1,), (2,), (3,), (4,)])),
    (2, "core", "SELECT id FROM range(2, 10, 3) ORDER BY id", None, eq([(2,), (5,), (8,)])),
    (3, "core", "SELECT explode(array(1, 2, 3)) AS x", None, lambda r: sorted(r) == [(1,), (2,), (3,)]),
    (
        4,
        "core",
        "SELECT id, e FROM VALUES (1, array('a','b')) AS t(id, arr) LATERAL VIEW explode(arr) x AS e",
        None,
        lambda r: sorted(r) == [(1, "a"), (1, "b")],
    ),
    (5, "core", "SELECT named_struct('a', 1, 'b', 'x') AS s", None, first({"a": 1, "b": "x"})),
    (6, "core", "SELECT from_json('{\"a\":1,\"b\":0.8}', 'a INT, b DOUBLE').b AS b", None, first(0.8)),
    (7, "core", "SELECT :p + 1 AS r", {"p": 41}, first(42)),
    (8, "core", "SELECT ? + ? AS r", [40, 2], first(42)),
    (9, "core", "SHOW CATALOGS", None, lambda r: any("main" in map(str, x) for x in r)),
    (10, "core", "SHOW SCHEMAS IN main", None, lambda r: any("default" in map(str, x) for x in r)),
    (11, "core", "SHOW TABLES IN default", None, lambda r: any("t" in map(str, x) for x in r)),
    (12, "core", "SHOW COLUMNS IN t", None, lambda r: any("name" in map(str, x) for x in r)),
    (13, "core", "DESCRIBE TABLE t", None, lambda r: any("name" in map(str, x) for x in r)),
    (
        14,
        "core",
        "CREATE TABLE IF NOT EXISTS c1 (id BIGINT GENERATED ALWAYS AS IDENTITY, name STRING COMMENT 'n', amt DECIMAL(10,2), ts TIMESTAMP) USING DELTA PARTITIONED BY (name) TBLPROPERTIES ('delta.appendOnly' = 'false')",
        None,
        ok,
    ),
    (15, "core", "CREATE OR REPLACE TABLE c2 AS SELECT id, CAST(id AS STRING) AS s FROM range(3)", None, ok),
    (16, "core", "INSERT INTO t VALUES (3, 'c', 3.50)", None, ok),
    (17, "core", "INSERT OVERWRITE t2 SELECT 1 AS id, 'z' AS name, CAST(9.99 AS DECIMAL(10,2)) AS amt", None, ok),
    (
        18,
        "core",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
        None,
        ok,
    ),
    (19, "core", "UPDATE t SET name = 'q' WHERE id = 1", None, ok),
    (20, "core", "DELETE FROM t WHERE id = 99", None, ok),
    (21, "core", 'SELECT parse_json(\'{"a":{"b":5}}\'):a.b::INT AS v', None, first(5)),
    (22, "core", "SELECT variant_get(parse_json('{\"a\":5}'), '$.a', 'int') AS v", None, first(5)),
    (23, "core", "SELECT date_add(DATE'2024-01-31', 1) AS d", None, first(dt.date(2024, 2, 1))),
    (24, "core", "SELECT datediff(DATE'2024-03-01', DATE'2024-02-28') AS d", None, first(2)),
    (
        25,
        "core",
        "SELECT date_format(TIMESTAMP'2024-05-07 13:04:05', 'yyyy-MM-dd HH:mm') AS f",
        None,
        first("2024-05-07 13:04"),
    ),
    (26, "core", "SELECT add_months(DATE'2024-01-31', 1) AS d", None, first(dt.date(2024, 2, 29))),
    (27, "core", "SELECT CAST(1 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2)) AS q", None, first(D("0.3333333333333"))),
    (28, "core", "SELECT 7 / 2 AS a, 7 DIV 2 AS b", None, eq([(3.5, 3)])),
    (29, "core", "SELECT try_cast('abc' AS INT) AS v", None, first(None)),
    (
        30,
        "core",
        "SELECT id, name FROM t3 QUALIFY row_number() OVER (PARTITION BY grp ORDER BY id DESC) = 1 ORDER BY id",
        None,
        eq([(2, "b"), (4, "d")]),
    ),
    (
        31,
        "core",
        "SELECT to_timestamp('2024-01-02 03:04:05', 'yyyy-MM-dd HH:mm:ss') AS t",
        None,
        lambda r: str(r[0][0])[:19] == "2024-01-02 03:04:05",
    ),
    (
        32,
        "core",
        "SELECT timestampdiff(HOUR, TIMESTAMP'2024-01-01 00:00:00', TIMESTAMP'2024-01-02 06:00:00') AS h",
        None,
        first(30),
    ),
    (
        33,
        "core",
        "SELECT transform(array(1,2,3), x -> x * 10) AS a, filter(array(1,2,3), x -> x > 1) AS b",
        None,
        lambda r: [list(x) for x in r[0]] == [[10, 20, 30], [2, 3]],
    ),
    (34, "core", "SELECT array(10,20,30)[0] AS a0, map('k', 7)['k'] AS m", None, eq([(10, 7)])),
    (35, "core", "SELECT regexp_extract('100-200', '(\\\\d+)-(\\\\d+)', 1) AS r", None, first("100")),
    (36, "core", "SELECT * EXCEPT (amt) FROM t3 WHERE id = 1", None, lambda r: r == [(1, "a", 1)]),
    (37, "core", 'SELECT name, "dq" AS lit FROM t3 WHERE id = 1', None, eq([("a", "dq")])),
    (
        38,
        "core",
        "SELECT grp, count_if(id > 1) AS n, max_by(name, id) AS mx, collect_list(id) AS l FROM t3 GROUP BY ALL ORDER BY grp",
        None,
        lambda r: [(x[0], x[1], x[2], sorted(x[3])) for x in r] == [(1, 1, "b", [1, 2]), (2, 2, "d", [3, 4])],
    ),
    (39, "core", "PUT '{PUT_FILE}' INTO '/Volumes/main/default/v/put.csv' OVERWRITE", None, ok),
    (40, "core", "GET '/Volumes/main/default/v/put.csv' TO '{GET_FILE}'", None, ok),
    # extended 40
    (41, "ext", "SELECT x FROM VALUES (2),(NULL),(1) AS v(x) ORDER BY x", None, eq([(None,), (1,), (2,)])),
    (42, "ext", "SELECT CAST('abc' AS INT) AS v", None, ERR),
    (43, "ext", "SELECT 1 / 0 AS v", None, ERR),
    (44, "ext", "SELECT CAST(2147483647 AS INT) + CAST(1 AS INT) AS v", None, ERR),
    (45, "ext", "SELECT try_divide(1, 0) AS v", None, first(None)),
    (46, "ext", "SELECT current_catalog() AS c, current_schema() AS s", None, eq([("main", "default")])),
    (47, "ext", "USE CATALOG main", None, ok),
    (48, "ext", "SET TIME ZONE 'America/Los_Angeles'", None, ok),
    (
        49,
        "ext",
        "SELECT date_trunc('MONTH', TIMESTAMP'2024-05-17 10:00:00') AS d",
        None,
        lambda r: str(r[0][0])[:10] == "2024-05-01",
    ),
    (50, "ext", "SELECT unix_timestamp(TIMESTAMP'1970-01-02 00:00:00') AS u", None, first(86400)),
    (51, "ext", "SELECT posexplode(array('a','b'))", None, lambda r: sorted(r) == [(0, "a"), (1, "b")]),
    (
        52,
        "ext",
        "SELECT inline(array(struct(1,'a'), struct(2,'b')))",
        None,
        lambda r: sorted(r) == [(1, "a"), (2, "b")],
    ),
    (53, "ext", "SELECT stack(2, 1, 2, 3, 4)", None, lambda r: sorted(r) == [(1, 2), (3, 4)]),
    (54, "ext", "SELECT sequence(1, 3) AS s", None, lambda r: list(r[0][0]) == [1, 2, 3]),
    (55, "ext", "SELECT to_json(named_struct('a', 1, 'b', 'x')) AS j", None, first('{"a":1,"b":"x"}')),
    (56, "ext", "SELECT aggregate(array(1,2,3), 0, (acc, x) -> acc + x) AS s", None, first(6)),
    (
        57,
        "ext",
        "SELECT dayofweek(DATE'2024-05-19') AS d, weekday(DATE'2024-05-19') AS w, last_day(DATE'2024-02-10') AS l",
        None,
        eq([(1, 6, dt.date(2024, 2, 29))]),
    ),
    (58, "ext", "SELECT months_between(DATE'2024-03-31', DATE'2024-02-29') AS m", None, first(1.0)),
    (
        59,
        "ext",
        "SELECT substring_index('a.b.c', '.', 2) AS s, initcap('ab cd') AS i, instr('hello','l') AS n",
        None,
        eq([("a.b", "Ab Cd", 3)]),
    ),
    (
        60,
        "ext",
        "SELECT split('a,b,c', ',')[1] AS s, size(array(1,2)) AS n, array_contains(array(1,2), 2) AS c",
        None,
        eq([("b", 2, True)]),
    ),
    (61, "ext", "SELECT a.id FROM t3 a LEFT ANTI JOIN s b ON a.id = b.id ORDER BY a.id", None, lambda r: len(r) == 3),
    (
        62,
        "ext",
        "SELECT * FROM (SELECT grp, name, id FROM t3) PIVOT (sum(id) FOR name IN ('a','b','c','d')) ORDER BY grp",
        None,
        lambda r: len(r) == 2 and r[0][1] == 1,
    ),
    (
        63,
        "ext",
        "SELECT percentile_approx(id, 0.5) AS p, approx_count_distinct(grp) AS a FROM t3",
        None,
        lambda r: r[0][1] == 2 and r[0][0] in (2, 3),
    ),
    (64, "ext", "SELECT sum(amt) AS s, avg(amt) AS a FROM t3", None, lambda r: r == [(D("10.00"), D("2.500000"))]),
    (
        65,
        "ext",
        "SELECT typeof(1.5) AS t, typeof(1) AS i, typeof('a') AS s",
        None,
        eq([("decimal(2,1)", "int", "string")]),
    ),
    (66, "ext", "SELECT 1.5D AS d, 10L AS l, 2Y AS y", None, eq([(1.5, 10, 2)])),
    (67, "ext", "SELECT if(1 = 1, 'y', 'n') AS a, nvl(NULL, 'd') AS b, 1 <=> NULL AS c", None, eq([("y", "d", False)])),
    (
        68,
        "ext",
        "SELECT from_utc_timestamp(TIMESTAMP'2024-01-01 00:00:00', 'Asia/Tokyo') AS t",
        None,
        lambda r: str(r[0][0])[:19] == "2024-01-01 09:00:00",
    ),
    (
        69,
        "ext",
        "SELECT md5('a') AS m, sha2('a', 256) AS s, base64('abc') AS b",
        None,
        lambda r: r[0][0] == "0cc175b9c0f1b6a831c399e269772661" and r[0][2] == "YWJj",
    ),
    (70, "ext", "DESCRIBE EXTENDED t", None, ok),
    (71, "ext", "SHOW CREATE TABLE t", None, ok),
    (72, "ext", "DESCRIBE HISTORY t", None, ok),
    (73, "ext", "SELECT * FROM t VERSION AS OF 0", None, ok),
    (74, "ext", "OPTIMIZE t ZORDER BY (id)", None, ok),
    (75, "ext", "CREATE OR REPLACE FUNCTION addone(x INT) RETURNS INT RETURN x + 1", None, ok),
    (76, "ext", "SELECT addone(1) AS r", None, first(2)),
    (77, "ext", "ALTER TABLE t2 ADD COLUMNS (extra INT COMMENT 'e')", None, ok),
    (78, "ext", "INSERT INTO t2 BY NAME SELECT 'n' AS name, 5 AS id", None, ok),
    (
        79,
        "ext",
        "SELECT table_name FROM main.information_schema.tables WHERE table_schema = 'default' ORDER BY 1",
        None,
        lambda r: ("t",) in r,
    ),
    (80, "ext", "SELECT * FROM t3 WHERE name ILIKE 'A' OR name RLIKE '^b$' ORDER BY id", None, lambda r: len(r) == 2),
]
