"""What there is: info codes, objects at every depth, schemas and types of tables, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from adbc_driver_manager import dbapi

import seakernel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def keyed(adbc_cursor: dbapi.Cursor) -> Iterator[None]:
    adbc_cursor.execute(
        "CREATE TABLE adbc_parent (id INT NOT NULL, Name STRING COMMENT 'who', CONSTRAINT parent_pk PRIMARY KEY (id))"
    )
    adbc_cursor.execute(
        "CREATE TABLE adbc_child (id INT, parent INT, CONSTRAINT child_fk FOREIGN KEY (parent) REFERENCES adbc_parent (id))"
    )
    yield
    for name in ("adbc_child", "adbc_parent"):
        adbc_cursor.execute(f"DROP TABLE {name}")


def objects(adbc: dbapi.Connection, **filters: Any) -> dict[str, Any]:
    """Schemas by catalog, tables by schema."""
    rows = adbc.adbc_get_objects(**filters).read_all().to_pylist()
    return {
        row["catalog_name"]: row["catalog_db_schemas"]
        and {schema["db_schema_name"]: schema["db_schema_tables"] for schema in row["catalog_db_schemas"]}
        for row in rows
    }


def test_every_info_code(adbc: dbapi.Connection) -> None:
    info = adbc.adbc_get_info()
    assert info["vendor_name"] == "Databricks"
    assert info["vendor_version"]
    assert info["driver_name"] == "seakernel ADBC driver for Databricks"
    assert info["driver_version"] == f"v{seakernel.__version__}"
    assert info["driver_arrow_version"].startswith("v")
    assert info["driver_adbc_version"] == 1_001_000
    assert (info[3], info[4], info[5], info[6]) == (True, False, None, None)  # SQL; no Substrait, and no versions of it
    assert info["vendor_arrow_version"] is None
    handle = adbc.adbc_connection.get_info([0, 9999])
    assert pa.RecordBatchReader._import_from_c(handle.address).read_all()["info_name"].to_pylist() == [0]


def test_objects_at_every_depth(adbc: dbapi.Connection, keyed: None) -> None:
    assert objects(adbc, depth="catalogs") == dict.fromkeys(("main", "samples", "system"))
    schemas = objects(adbc, depth="db_schemas")
    assert set(schemas["samples"]) == {"information_schema", "nycflights13", "tpch"}
    assert set(schemas["samples"].values()) == {None}
    tables = objects(adbc, depth="tables")["main"]["default"]
    found = {table["table_name"]: table for table in tables}
    assert found["adbc_parent"]["table_type"] == "TABLE"
    assert (found["adbc_parent"]["table_columns"], found["adbc_parent"]["table_constraints"]) == (None, None)
    (parent,) = objects(adbc, depth="all", table_name_filter="adbc_parent")["main"]["default"]
    columns = parent["table_columns"]
    assert [(column["column_name"], column["ordinal_position"], column["xdbc_type_name"]) for column in columns] == [
        ("id", 1, "INT"),
        ("Name", 2, "STRING"),
    ]
    assert columns[0]["xdbc_data_type"] == 4
    assert columns[1]["remarks"] == "who"


def test_constraints(adbc: dbapi.Connection, keyed: None) -> None:
    tables = objects(adbc, depth="all", catalog_filter="main", table_name_filter="adbc\\_%")["main"]["default"]
    found = {table["table_name"]: table["table_constraints"] for table in tables}
    assert found["adbc_parent"] == [
        {
            "constraint_name": "parent_pk",
            "constraint_type": "PRIMARY KEY",
            "constraint_column_names": ["id"],
            "constraint_column_usage": None,
        }
    ]
    assert found["adbc_child"] == [
        {
            "constraint_name": "child_fk",
            "constraint_type": "FOREIGN KEY",
            "constraint_column_names": ["parent"],
            "constraint_column_usage": [
                {"fk_catalog": "main", "fk_db_schema": "default", "fk_table": "adbc_parent", "fk_column_name": "id"}
            ],
        }
    ]


def test_filters(adbc: dbapi.Connection, keyed: None) -> None:
    assert set(objects(adbc, depth="catalogs", catalog_filter="s%")) == {"samples", "system"}
    assert objects(adbc, depth="catalogs", catalog_filter="nowhere") == {}
    assert objects(adbc, depth="tables", catalog_filter="SAMPLES", db_schema_filter="tpc_", table_name_filter="l%") == {
        "samples": {
            "tpch": [
                {"table_name": "lineitem", "table_type": "TABLE", "table_columns": None, "table_constraints": None}
            ]
        }
    }
    views = objects(adbc, depth="tables", catalog_filter="main", table_types_filter=["VIEW"])
    assert views["main"]["default"] == []
    (parent,) = objects(adbc, depth="all", table_name_filter="adbc_parent", column_name_filter="n%")["main"]["default"]
    assert [(column["column_name"], column["ordinal_position"]) for column in parent["table_columns"]] == [("Name", 2)]


def test_table_schemas(adbc: dbapi.Connection, adbc_cursor: dbapi.Cursor) -> None:
    expected = adbc_cursor.execute("SELECT * FROM samples.tpch.lineitem LIMIT 0").fetch_arrow_table().schema
    told = adbc.adbc_get_table_schema("lineitem", catalog_filter="samples", db_schema_filter="tpch")
    assert told.equals(expected, check_metadata=True)
    with pytest.raises(dbapi.ProgrammingError) as raised:
        adbc.adbc_get_table_schema("no`where")
    assert raised.value.status_code.name == "NOT_FOUND"


def test_table_types(adbc: dbapi.Connection) -> None:
    assert adbc.adbc_get_table_types() == ["SYSTEM TABLE", "TABLE", "VIEW", "METRIC_VIEW"]


def test_statistics_are_rows_that_were_counted_or_are_known(adbc: dbapi.Connection) -> None:
    assert adbc.adbc_get_statistic_names().read_all().num_rows == 0
    place = {"catalog_filter": "samples", "db_schema_filter": "nycflights13", "table_name_filter": "airlines"}
    (catalog,) = adbc.adbc_get_statistics(**place, approximate=False).read_all().to_pylist()
    (schema,) = catalog["catalog_db_schemas"]
    assert (catalog["catalog_name"], schema["db_schema_name"]) == ("samples", "nycflights13")
    (found,) = schema["db_schema_statistics"]
    assert (found["table_name"], found["column_name"], found["statistic_key"]) == ("airlines", None, 6)
    assert (found["statistic_value"], found["statistic_is_approximate"]) == (16, False)
    # Nobody has analysed the table, and what is not known is left out.
    (catalog,) = adbc.adbc_get_statistics(**place, approximate=True).read_all().to_pylist()
    assert catalog["catalog_db_schemas"][0]["db_schema_statistics"] == []


def test_a_table_that_cannot_be_read_is_left_out_of_the_statistics(
    adbc: dbapi.Connection, adbc_cursor: dbapi.Cursor
) -> None:
    adbc_cursor.execute("CREATE TABLE adbc_gone AS SELECT 1 AS id")
    adbc_cursor.execute("CREATE VIEW adbc_view AS SELECT id FROM adbc_gone")
    adbc_cursor.execute("CREATE TABLE adbc_here AS SELECT id FROM range(3)")
    try:
        adbc_cursor.execute("DROP TABLE adbc_gone")
        place = {"catalog_filter": "main", "db_schema_filter": "default", "table_name_filter": "adbc_%"}
        (catalog,) = adbc.adbc_get_statistics(**place, approximate=False).read_all().to_pylist()
        (schema,) = catalog["catalog_db_schemas"]
        counts = {found["table_name"]: found["statistic_value"] for found in schema["db_schema_statistics"]}
        assert counts == {"adbc_here": 3}
    finally:
        adbc_cursor.execute("DROP VIEW adbc_view")
        adbc_cursor.execute("DROP TABLE adbc_here")
