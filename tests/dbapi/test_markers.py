"""Markers: the server's own and those of other drivers, found in SQL and never in what it quotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import seakernel

if TYPE_CHECKING:
    from seakernel import Connection, Cursor
    from seakernel.local import LocalWarehouse


def sent(warehouse: LocalWarehouse) -> list[dict[str, Any]]:
    return [request["body"] for request in warehouse.requests() if request["operation"] == "execute"]


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("SELECT %(a)s, '%(a)s', \"%(a)s\" -- %(a)s", {"a": 1}, (1, "%(a)s", "%(a)s")),
        ("SELECT /* %(b)s /* nested */ %s */ %(a)s + %(a)s", {"a": 20}, (40,)),
        ("SELECT %s, %s", ["x", None], ("x", None)),
        ("SELECT 7 % 4, %(a)s %% 4", {"a": 7}, (3, 3)),
        ("SELECT r'\\', %(a)s", {"a": 1}, ("\\", 1)),
        ("SELECT 'it\\'s %s', %s", [1], ("it's %s", 1)),
        ("SELECT %s::STRING", (5,), ("5",)),
        ("SELECT 9 % s, :a FROM VALUES (5) AS v(s)", {"a": 1}, (4, 1)),
        ("SELECT 9%s, ? FROM VALUES (5) AS v(s)", [1], (4, 1)),
        ("SELECT '100%', ?", [1], ("100%", 1)),
        ("SELECT parse_json('{\"a\": 1}'):a, :b", {"b": 2}, ("1", 2)),
    ],
)
def test_what_is_a_marker(cursor: Cursor, sql: str, parameters: Any, expected: tuple[Any, ...]) -> None:
    assert cursor.execute(sql, parameters).fetchall() == [expected]


def test_values_are_never_in_the_sql(warehouse: LocalWarehouse, cursor: Cursor) -> None:
    cursor.execute("SELECT %(word)s", {"word": "a-private-word'; DROP TABLE t"})
    body = sent(warehouse)[-1]
    assert body["statement"] == "SELECT :word"
    assert [parameter["name"] for parameter in body["parameters"]] == ["word"]


@pytest.mark.parametrize(
    ("sql", "parameters", "message"),
    [
        ("SELECT :a, %(a)s", {"a": 1}, "both `:name` and `%(name)s`"),
        ("SELECT ?, %s", [1, 2], "both `?` and `%s`"),
        ("SELECT ?, :a", [1], "both `?` and `:name`"),
        ("SELECT ?", {"a": 1}, "`?` markers, and its parameters are a mapping"),
        ("SELECT %(a)s", [1], "`%(name)s` markers, and its parameters are a sequence"),
        ("SELECT :a", {"b": 1}, "`:a` has no parameter"),
        ("SELECT :a", {"a": 1, "b": 1}, "`b` has no marker"),
        ("SELECT ?, ?", [1], "2 `?` markers, and 1 parameters"),
        ("SELECT '?'", [1], "0 `?` markers, and 1 parameters"),
        ("SELECT " + ", ".join("?" * 257), [1] * 257, "257 parameters; the server takes 256"),
        ("SELECT '50%%', %s", [1], "holds `%%`"),
    ],
)
def test_what_does_not_agree_is_refused_before_it_is_sent(
    warehouse: LocalWarehouse, cursor: Cursor, sql: str, parameters: Any, message: str
) -> None:
    before = len(sent(warehouse))
    with pytest.raises(seakernel.ProgrammingError) as refused:
        cursor.execute(sql, parameters)
    assert message in str(refused.value)
    assert refused.value.kind == "InvalidArgument"
    assert len(sent(warehouse)) == before


def test_as_many_markers_as_the_server_takes(cursor: Cursor) -> None:
    row = cursor.execute("SELECT " + ", ".join("?" * 256), list(range(256))).fetchone()
    assert row == tuple(range(256))


def test_without_parameters_the_text_goes_as_it_is(cursor: Cursor) -> None:
    assert cursor.execute("SELECT '%s', 5 %s FROM VALUES (3) AS v(s)").fetchall() == [("%s", 2)]


def test_the_connectors_parameters(connection: Connection) -> None:
    native = pytest.importorskip("databricks.sql.parameters.native")
    from decimal import Decimal

    values = [
        (native.StringParameter("x"), ("x", "string")),
        (native.BigIntegerParameter(5), (5, "bigint")),
        (native.TinyIntParameter(5), (5, "tinyint")),
        (native.FloatParameter(1.5), (1.5, "float")),
        (native.BooleanParameter(value=True), (True, "boolean")),
        (native.VoidParameter(None), (None, "void")),
        (native.DecimalParameter(Decimal("-0.50")), (Decimal("-0.50"), "decimal(2,2)")),
        (native.DecimalParameter(Decimal("1.5"), scale=10, precision=2), (Decimal("1.50"), "decimal(10,2)")),
    ]
    with connection.cursor() as cursor:
        for value, expected in values:
            assert cursor.execute("SELECT :p, typeof(:p)", {"p": value}).fetchone() == expected
            value.name = "p"
            assert cursor.execute("SELECT :p, typeof(:p)", [value]).fetchone() == expected
        with pytest.raises(seakernel.NotSupportedError, match="from_json"):
            cursor.execute("SELECT ?", [native.ArrayParameter([1])])
