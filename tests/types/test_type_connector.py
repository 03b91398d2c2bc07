"""The same families through databricks-sql-connector with the official kernel: right, or wrong in ways that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from databricks import sql as connector
from test_type_families import BATCH_ROWS, CHUNK_ROWS, SHAPES, comparable, shaped, stored
from type_families import FAMILIES, Family
from wire_warehouse import WireWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

#: What its rows lose when they are made by pandas, which they are unless `_disable_pandas` is set.
LOST_BY_PANDAS = {
    "float": "NaN becomes None",
    "double": "NaN becomes None",
    "array": "integers become floats, NULL becomes NaN",
    "map": "integers become floats",
    "struct": "integers become floats",
}
#: Intervals are text there: the connector asks for it, for pyarrow cannot read month intervals.
DAY_TIME_TEXTS = ["1 02:03:04.500000000", "-0 00:00:05.000000000", "106751991 04:00:54.775807000"]


@pytest.fixture(scope="module", params=["inline", "links"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[WireWarehouse, dict[bool, Any]]]:
    options = {"inline_bytes": 0} if request.param == "links" else {}
    with WireWarehouse(chunk_rows=CHUNK_ROWS, batch_rows=BATCH_ROWS, **options) as warehouse:
        connections = {
            with_pandas: connector.connect(
                server_hostname=warehouse.server_hostname,
                http_path=warehouse.http_path,
                access_token=warehouse.access_token,
                use_kernel=True,
                enable_telemetry=False,
                _disable_pandas=not with_pandas,
            )
            for with_pandas in (True, False)
        }
        yield warehouse, connections
        for connection in connections.values():
            connection.close()


def stored_texts(family: Family, column: pa.Array) -> list[str]:
    """The values as Arrow tables of the connector hold them."""
    if family.name == "interval year-month":
        return [repr(None if value is None else text_of_months(value[0])) for value in column.to_pylist()]
    if family.name == "interval day-time":
        texts = dict(zip(family.column.to_pylist(), DAY_TIME_TEXTS, strict=True))
        return [repr(texts.get(value)) for value in column.to_pylist()]
    return stored(column)


def text_of_months(months: int) -> str:
    """A year-month interval as text."""
    return f"{'-' * (months < 0)}{abs(months) // 12}-{abs(months) % 12}"


def seen(value: Any) -> Any:
    """A value of a row, comparable: NaN equals itself, a moment equals itself in any spelling of its zone."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {"pairs": [(key, seen(part)) for key, part in value.items()]}
    if isinstance(value, list) and value and all(isinstance(part, tuple) for part in value):
        return {"pairs": [(key, seen(part)) for key, part in value]}
    if isinstance(value, list) or hasattr(value, "tolist"):
        return [seen(part) for part in value]
    return value if isinstance(value, bool) or not isinstance(value, int) else ("int", value)


def expected_rows(family: Family, column: pa.Array, rows: list[Any]) -> list[Any]:
    """The rows as the connector can show them: maps are pairs, intervals text."""
    if family.name == "interval day-time":
        texts = dict(zip(family.rows, DAY_TIME_TEXTS, strict=True))
        return [texts.get(row) for row in rows]
    if family.name == "map":
        return [seen(None if value is None else dict(value)) if value else seen(value) for value in column.to_pylist()]
    return [seen(row) for row in rows]


def rows_of(connection: Any, statement: str) -> list[Any]:
    """The values of a result of one column."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [seen(row[0]) for row in cursor.fetchall()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_connector_reads_what_was_stored(
    place: tuple[WireWarehouse, dict[bool, Any]], family: Family, shape: str
) -> None:
    warehouse, connections = place
    column, rows = shaped(family, shape)
    statement = warehouse.put(family.type_text, column)
    with connections[True].cursor() as cursor:
        cursor.execute(statement)
        assert comparable(cursor.fetchall_arrow().column(0)) == stored_texts(family, column)
    assert rows_of(connections[False], statement) == expected_rows(family, column, rows)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_pandas_loses_what_is_known(place: tuple[WireWarehouse, dict[bool, Any]], family: Family) -> None:
    warehouse, connections = place
    column, rows = shaped(family, "values and nulls")
    expected = expected_rows(family, column, rows)
    right = rows_of(connections[True], warehouse.put(family.type_text, column)) == expected
    assert right == (family.name not in LOST_BY_PANDAS), LOST_BY_PANDAS.get(family.name)
