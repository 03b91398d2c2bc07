"""The same metadata call through the official kernel and through ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import databricks_sql_kernel
import pyarrow as pa

import seakernel

if TYPE_CHECKING:
    from typing_extensions import Self

OUR_NAMES = {
    "list_catalogs": "catalogs",
    "list_schemas": "schemas",
    "list_tables": "tables",
    "list_columns": "columns",
}


class BothKernels:
    """A session of each on one server."""

    def __init__(self, server: Any) -> None:
        self.official = databricks_sql_kernel.Session(
            server.server_hostname, server.http_path, access_token=server.access_token
        )
        self.connection = seakernel.connect(
            server_hostname=server.server_hostname, http_path=server.http_path, access_token=server.access_token
        )

    def run(self, sql: str) -> None:
        """Runs a statement in both sessions."""
        statement = self.official.statement()
        statement.set_sql(sql)
        statement.execute().close()
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def official_table(self, name: str, **arguments: Any) -> pa.Table:
        return getattr(self.official.metadata(), name)(**arguments).fetch_all_arrow()

    def official_answer(self, name: str, **arguments: Any) -> pa.Table | databricks_sql_kernel.KernelError:
        """The rows, or the error instead of them."""
        try:
            return self.official_table(name, **arguments)
        except databricks_sql_kernel.KernelError as error:
            return error

    def our_table(self, name: str, **arguments: Any) -> pa.Table:
        if name == "list_tables" and "catalog" in arguments:
            arguments["catalog_pattern"] = arguments.pop("catalog")
        return pa.table(getattr(self.connection.metadata(), OUR_NAMES.get(name, name))(**arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.official.close()
        self.connection.close()


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows as tuples."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
