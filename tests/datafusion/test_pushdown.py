"""What is sent to the warehouse, and that it selects the rows that DataFusion would."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import datafusion
import pytest
from plans import plan, sent, table

if TYPE_CHECKING:
    import pyarrow as pa

    from seakernel import Connection

FROM = "FROM `main`.`default`.`edges`"
MOMENT = "arrow_cast('1973-11-01T00:00:01.123456Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"

# A query of `remote`, the statement of it, and whether DataFusion filters what comes back.
SHAPES = [
    ("SELECT * FROM remote", "SELECT {all} {table}", False),
    ("SELECT id FROM remote", "SELECT `id` {table}", False),
    ("SELECT text, id FROM remote", "SELECT `id`, `text` {table}", False),
    ("SELECT count(*) FROM remote", "SELECT count(*) {table}", False),
    ("SELECT count(*) FROM remote WHERE whole = 5", "SELECT count(*) {table} WHERE (`whole` = 5)", False),
    ("SELECT id FROM remote LIMIT 7", "SELECT `id` {table} LIMIT 7", False),
    ("SELECT id FROM remote LIMIT 7 OFFSET 2", "SELECT `id` {table} LIMIT 9", False),
    ("SELECT id FROM remote LIMIT 2147483647", "SELECT `id` {table} LIMIT 2147483647", False),
    ("SELECT id FROM remote LIMIT 2147483648", "SELECT `id` {table}", False),
    ("SELECT 1 FROM remote LIMIT 7", "SELECT count(*) FROM (SELECT 1 {table} LIMIT 7)", False),
    ("SELECT id FROM remote WHERE whole = 5 LIMIT 7", "SELECT `id` {table} WHERE (`whole` = 5) LIMIT 7", False),
    ("SELECT id FROM remote WHERE abs(whole) = 5 LIMIT 7", "SELECT `id`, `whole` {table}", True),
    ("SELECT sum(big) FROM remote WHERE id > 3", "SELECT `big` {table} WHERE (`id` > 3)", False),
    ("SELECT id FROM remote WHERE 5 > whole", "SELECT `id` {table} WHERE (`whole` < 5)", False),
    ("SELECT id FROM remote WHERE tiny <> -128", "SELECT `id` {table} WHERE (`tiny` <> -128)", False),
    ("SELECT id FROM remote WHERE whole + 1 = 6", "SELECT `id`, `whole` {table}", True),
    ("SELECT id FROM remote WHERE tiny = whole", "SELECT `id`, `tiny`, `whole` {table}", True),
    (
        "SELECT id FROM remote WHERE text = loud",
        "SELECT `id` {table} WHERE (CAST(`text` AS BINARY) = CAST(`loud` AS BINARY))",
        False,
    ),
    (
        "SELECT id FROM remote WHERE text = 'zu\u0308rich'",
        "SELECT `id` {table} WHERE (`text` = 'zu\u0308rich' AND (CAST(`text` AS BINARY) = X'7A75CC8872696368'))",
        False,
    ),
    (
        "SELECT id FROM remote WHERE text < 'b'",
        "SELECT `id` {table} WHERE (CAST(`text` AS BINARY) < X'62')",
        False,
    ),
    (
        "SELECT id FROM remote WHERE text IN ('a', 'b', '', 'A', 'abc')",
        (
            "SELECT `id` {table} WHERE (`text` IN ('a', 'b', '', 'A', 'abc') "
            "AND (CAST(`text` AS BINARY) IN (X'61', X'62', X'', X'41', X'616263')))"
        ),
        False,
    ),
    ("SELECT id FROM remote WHERE text <> '${a}'", "SELECT `id`, `text` {table}", True),
    (
        "SELECT id FROM remote WHERE day < other_day AND price < 0.5",
        "SELECT `id` {table} WHERE (`other_day` > `day`) AND (`price` < CAST('0.50' AS DECIMAL(9,2)))",
        False,
    ),
    ("SELECT id FROM remote WHERE flag", "SELECT `id` {table} WHERE `flag`", False),
    ("SELECT id FROM remote WHERE NOT flag", "SELECT `id` {table} WHERE (NOT `flag`)", False),
    ("SELECT id FROM remote WHERE flag IS NOT TRUE", "SELECT `id` {table} WHERE (`flag` IS NOT TRUE)", False),
    ("SELECT id FROM remote WHERE list IS NULL", "SELECT `id` {table} WHERE (`list` IS NULL)", False),
    (
        "SELECT id FROM remote WHERE whole IN (1, 2, 5, 100)",
        "SELECT `id` {table} WHERE (`whole` IN (1, 2, 5, 100))",
        False,
    ),
    (
        "SELECT id FROM remote WHERE text NOT IN ('a', 'b', 'it''s', 'back\\slash')",
        "SELECT `id` {table} WHERE (CAST(`text` AS BINARY) NOT IN (X'61', X'62', X'69742773', X'6261636B5C736C617368'))",
        False,
    ),
    ("SELECT id FROM remote WHERE text LIKE 'a%b%'", "SELECT `id`, `text` {table} WHERE (`text` LIKE 'a%b%')", True),
    ("SELECT id FROM remote WHERE text LIKE 'a_b%'", "SELECT `id`, `text` {table}", True),
    ("SELECT id FROM remote WHERE text NOT LIKE '%b'", "SELECT `id`, `text` {table}", True),
    ("SELECT id FROM remote WHERE text ILIKE 'a%b'", "SELECT `id`, `text` {table}", True),
    (r"SELECT id FROM remote WHERE text LIKE 'a\_%b'", "SELECT `id`, `text` {table}", True),
    (
        "SELECT id FROM remote WHERE day BETWEEN '1970-01-01' AND '1999-12-31'",
        "SELECT `id` {table} WHERE (`day` >= DATE'1970-01-01') AND (`day` <= DATE'1999-12-31')",
        False,
    ),
    (
        f"SELECT id FROM remote WHERE moment >= {MOMENT}",
        "SELECT `id` {table} WHERE (`moment` >= TIMESTAMP'1973-11-01 00:00:01.123456+00:00')",
        False,
    ),
    (
        "SELECT id FROM remote WHERE clock < arrow_cast('1960-02-29T12:00:00', 'Timestamp(Microsecond, None)')",
        "SELECT `id` {table} WHERE (`clock` < TIMESTAMP_NTZ'1960-02-29 12:00:00.000000')",
        False,
    ),
    ("SELECT id FROM remote WHERE bytes = X'61'", "SELECT `id` {table} WHERE (`bytes` = X'61')", False),
    ("SELECT id FROM remote WHERE x = 1.5", "SELECT `id` {table} WHERE (`x` = CAST('1.5e0' AS DOUBLE))", False),
    (
        "SELECT id FROM remote WHERE x < 1.5",
        "SELECT `id`, `x` {table} WHERE ((`x` < CAST('1.5e0' AS DOUBLE)) OR isnan(`x`))",
        True,
    ),
    ("SELECT id FROM remote WHERE x = 0", "SELECT `id`, `x` {table}", True),
    (
        "SELECT id FROM remote WHERE whole IS DISTINCT FROM 5",
        "SELECT `id` {table} WHERE (NOT (`whole` <=> 5))",
        False,
    ),
    (
        "SELECT id FROM remote WHERE (whole = 5 AND abs(id) > 3) OR text = 'a'",
        (
            "SELECT `id`, `whole`, `text` {table} "
            "WHERE ((`whole` = 5) OR (`text` = 'a' AND (CAST(`text` AS BINARY) = X'61')))"
        ),
        True,
    ),
    ("SELECT id FROM remote WHERE whole = 5 OR abs(id) > 3", "SELECT `id`, `whole` {table}", True),
]


@pytest.mark.parametrize(("query", "statement", "filtered_here"), SHAPES, ids=[shape[0] for shape in SHAPES])
def test_the_statement_of_a_query(
    both: datafusion.SessionContext, query: str, statement: str, filtered_here: bool
) -> None:
    columns = ", ".join(f"`{name}`" for name in both.table("remote").schema().names)
    assert sent(both, query) == statement.format(all=columns, table=FROM)
    assert ("FilterExec" in plan(both, query)) == filtered_here
    answer, expected = (table(both, text) for text in (query, query.replace("remote", "local")))
    assert answer.num_rows == expected.num_rows > 0
    if "LIMIT" not in query:
        assert canonical(answer) == canonical(expected)


def canonical(rows: pa.Table) -> list[str]:
    """Rows as text, which tells NaN from NULL and one zero from the other, without their order."""
    return sorted(repr(list(row.values())) for row in rows.to_pylist())


WHOLE = ["-128", "-2", "-1", "0", "1", "2", "5", "100", "127"]
LITERALS = {
    "tiny": WHOLE,
    "small": WHOLE,
    "whole": [*WHOLE, "-2147483648", "2147483647"],
    "big": [*(f"{value}0000000000" for value in WHOLE), "-9223372036854775808", "9223372036854775807", "5"],
    "quotient": ["-0.5", "0.25", "1.25", "0", "31.75", "0.251"],
    "price": ["-2", "-0.01", "0", "5.00", "100.004", "127"],
    "x": ["1.5", "-1.5", "0", "-0.0", "1e300", "0.1", "'NaN'", "'Infinity'", "'-Infinity'"],
    "y": ["1.5", "-1.5", "0", "-0.0", "0.1", "'NaN'", "'-Infinity'"],
    "z": ["1", "-1.5", "0.0", "-0.0", "0.1", "'NaN'", "'Infinity'"],
    "text": [
        "''",
        "'a'",
        "'A'",
        "'a%b'",
        "'it''s'",
        r"'back\slash'",
        "'\n'",
        "'Zürich'",
        "'zürich'",
        "'😀'",
        "' a'",
        "'b'",
    ],
    "loud": ["''", "'A'", "'a'", "'ZÜRICH'", "'A '"],
    "bytes": ["X''", "X'61'", "X'41'", "X'F09F9880'"],
    "day": ["'1970-01-01'", "'1945-05-12'", "'2093-03-22'", "'0001-01-01'", "'9999-12-31'"],
    "other_day": ["'1970-01-03'", "'1994-08-27'", "'1846-10-18'"],
    "moment": ["'1970-01-01T00:00:01.123456Z'", "'1973-11-01T02:00:01.123456+02:00'", "'1724-09-09T00:00:01.123456Z'"],
    "clock": ["'1970-01-01T00:00:00.123456'", "'1973-11-01T00:00:00.123455'", "'2213-05-26T00:00:00'"],
}
PATTERNS = [
    "'a%'",
    "'%b'",
    "'_'",
    "'a_b'",
    "'%\n%'",
    "'%ü%'",
    "''",
    "'%'",
    "'%%a%'",
    r"'back\\slash'",
    r"'a\%b'",
    "'__'",
]
ALIKE = [("tiny", "small"), ("whole", "big"), ("text", "loud"), ("day", "other_day"), ("x", "z"), ("price", "quotient")]
COMPARISONS = ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]


def predicate(choose: random.Random, depth: int) -> str:
    """A random condition over the columns of the table, NULLs and expressions that are not sent among them."""
    if depth > 0 and choose.random() < 0.6:
        inner = [predicate(choose, depth - 1) for _ in range(choose.choice((1, 2, 2, 3)))]
        if len(inner) == 1:
            return choose.choice(["NOT ({})", "({}) IS NULL", "({}) IS NOT TRUE", "({}) IS FALSE"]).format(inner[0])
        return choose.choice((" AND ", " OR ")).join(f"({each})" for each in inner)
    column = choose.choice(list(LITERALS))
    literals = LITERALS[column]
    kind = choose.random()
    if kind < 0.1:
        return f"{choose.choice([column, 'list', 'record', 'flag'])} IS {choose.choice(['', 'NOT '])}NULL"
    if kind < 0.2:
        left, right = choose.choice(ALIKE)
        return f"{left} {choose.choice(COMPARISONS)} {right}"
    if kind < 0.3:
        return f"text {choose.choice(['', 'NOT '])}{choose.choice(['LIKE', 'LIKE', 'ILIKE'])} {choose.choice(PATTERNS)}"
    if kind < 0.45:
        listed = ", ".join(choose.choices(literals, k=choose.randint(1, 6)))
        return f"{column} {choose.choice(['', 'NOT '])}IN ({listed})"
    if kind < 0.55:
        return f"{column} {choose.choice(['', 'NOT '])}BETWEEN {choose.choice(literals)} AND {choose.choice(literals)}"
    if kind < 0.6:
        return choose.choice(
            ["flag", "NOT flag", "flag = true", "flag IS NOT FALSE", "flag IS UNKNOWN", "flag <> false"]
        )
    if kind < 0.65:
        return choose.choice(["whole % 3 = 1", "length(text) > 1", "CAST(text AS VARCHAR) = 'a'", "price * 2 > 5"])
    sides = [column, choose.choice(literals)]
    choose.shuffle(sides)
    return f" {choose.choice(COMPARISONS)} ".join(sides)


@pytest.mark.parametrize("seed", range(8))
def test_random_filters_select_the_same_rows_there_and_here(both: datafusion.SessionContext, seed: int) -> None:
    choose = random.Random(seed)
    pushed = selective = 0
    for number in range(25):
        condition = predicate(choose, 3)
        there, here = (f"SELECT id FROM {name} WHERE {condition}" for name in ("remote", "local"))
        ids = sorted(table(both, there)["id"].to_pylist())
        explained = plan(both, there)
        assert ids == sorted(table(both, here)["id"].to_pylist()), f"{number}: {condition}\n{explained}"
        pushed += " WHERE " in explained and "FilterExec" not in explained
        selective += 0 < len(ids) < 1600
    # Else this test would prove little.
    assert pushed >= 5
    assert selective >= 10


def test_a_filter_that_is_too_long_for_the_warehouse_stays_here(both: datafusion.SessionContext) -> None:
    for terms, is_sent in ((50, True), (1000, False)):
        condition = " OR ".join(f"(whole > {number} AND id < {number + 2})" for number in range(terms))
        query = f"SELECT count(*) AS n FROM remote WHERE {condition}"
        assert ("WHERE" in sent(both, query)) == is_sent
        assert table(both, query).equals(table(both, query.replace("remote", "local")))


def test_filters_that_are_too_many_together_stay_here(both: datafusion.SessionContext) -> None:
    for terms, is_sent in ((50, True), (600, False)):
        condition = " AND ".join(f"(whole <> {number} OR id > {number * 2})" for number in range(terms))
        query = f"SELECT count(*) AS n FROM remote WHERE {condition}"
        assert ("WHERE" in sent(both, query)) == is_sent
        assert table(both, query).equals(table(both, query.replace("remote", "local")))


def test_a_column_named_like_a_variable_is_not_sent(edges: Connection) -> None:
    context = datafusion.SessionContext()
    context.register_table("q", edges.query("SELECT id, id % 2 = 0 AS `${even}` FROM range(4)"))
    assert table(context, "SELECT id FROM q").num_rows == 4
    for query in ('SELECT "${even}" FROM q', 'SELECT id FROM q WHERE "${even}"'):
        with pytest.raises(Exception, match=r"`\$\{even\}` cannot be read"):
            table(context, query)
