"""The official Python clients, unmodified, and ours behind one face: rows, Arrow, failures, cancelling."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from databricks import sql as connector
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import (
    Disposition,
    Format,
    StatementParameterListItem,
    StatementState,
)

import seakernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seakernel.local import LocalWarehouse


@dataclass(frozen=True)
class Failure:
    """What a client tells of a failed statement."""

    message: str
    sql_state: str | None


class ConnectorClient:
    """databricks-sql-connector, on its SEA backend or on databricks-sql-kernel."""

    def __init__(self, warehouse: LocalWarehouse, backend: str, *, access_token: str | None = None) -> None:
        self.name = f"connector-{backend}"
        self.backend = backend
        self.positional = backend == "kernel"
        host, _, port = warehouse.server_hostname.rpartition(":")
        # The SEA backend takes the port apart from the name, the kernel only as part of it.
        place = (
            {"server_hostname": host, "_port": int(port)} if backend == "sea" else {"server_hostname": f"{host}:{port}"}
        )
        self.connection = connector.connect(
            **place,
            http_path=warehouse.http_path,
            access_token=access_token or warehouse.access_token,
            **{f"use_{backend}": True},
            # With telemetry on, the SEA backend asks port 80 for feature flags and retries for half a minute.
            enable_telemetry=backend == "kernel",
        )

    def close(self) -> None:
        self.connection.close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return [tuple(row) for row in cursor.fetchall()]

    def arrow(self, sql: str) -> pa.Table:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall_arrow()

    def columns(self, sql: str) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return [column[0] for column in cursor.description]

    def failure(self, sql: str) -> Failure:
        try:
            self.rows(sql)
        except connector.Error as error:
            return Failure(str(error), getattr(error, "sql_state", None))
        raise AssertionError(f"{sql!r} did not fail")

    def state_after_cancel(self, sql: str) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute_async(sql)
            assert cursor.is_query_pending()
            cursor.cancel()
            while cursor.is_query_pending():
                time.sleep(0.02)
            return str(cursor.get_query_state().value)


class SdkClient:
    """databricks-sdk's `statement_execution`, with inline JSON or with Arrow behind links."""

    positional = False

    def __init__(self, warehouse: LocalWarehouse, disposition: Disposition, *, access_token: str | None = None) -> None:
        self.name = f"sdk-{disposition.value}"
        self.disposition = disposition
        self.format = Format.JSON_ARRAY if disposition is Disposition.INLINE else Format.ARROW_STREAM
        self.warehouse_id = warehouse.http_path.rpartition("/")[2]
        self.workspace = WorkspaceClient(
            host=warehouse.server_hostname, token=access_token or warehouse.access_token, auth_type="pat"
        )

    def close(self) -> None:
        """The SDK keeps nothing open."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None, wait_timeout: str = "30s") -> Any:
        statements = self.workspace.statement_execution
        response = statements.execute_statement(
            statement=sql,
            warehouse_id=self.warehouse_id,
            disposition=self.disposition,
            format=self.format,
            wait_timeout=wait_timeout,
            parameters=[_sdk_parameter(name, value) for name, value in (parameters or {}).items()],
        )
        while wait_timeout != "0s" and response.status.state in {StatementState.PENDING, StatementState.RUNNING}:
            time.sleep(0.1)
            response = statements.get_statement(response.statement_id)
        return response

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        response = self.execute(sql, parameters)
        assert response.status.state is StatementState.SUCCEEDED, response.status
        if self.disposition is Disposition.EXTERNAL_LINKS:
            return [tuple(row.values()) for row in self._arrow(response).to_pylist()]
        rows: list[tuple[Any, ...]] = []
        result = response.result
        while True:
            rows += [tuple(row) for row in result.data_array or []]
            if result.next_chunk_index is None:
                return rows
            result = self.workspace.statement_execution.get_statement_result_chunk_n(
                response.statement_id, result.next_chunk_index
            )

    def arrow(self, sql: str) -> pa.Table:
        response = self.execute(sql)
        assert response.status.state is StatementState.SUCCEEDED, response.status
        return self._arrow(response)

    def columns(self, sql: str) -> list[str]:
        return [column.name for column in self.execute(sql).manifest.schema.columns or []]

    def _arrow(self, response: Any) -> pa.Table:
        tables = []
        result = response.result
        while result.external_links:
            for link in result.external_links:
                with urllib.request.urlopen(link.external_link) as body, pa.ipc.open_stream(body.read()) as stream:
                    tables.append(stream.read_all())
            following = result.external_links[-1].next_chunk_index
            if following is None:
                break
            result = self.workspace.statement_execution.get_statement_result_chunk_n(response.statement_id, following)
        return pa.concat_tables(tables) if tables else pa.table({})

    def failure(self, sql: str) -> Failure:
        status = self.execute(sql).status
        assert status.state is StatementState.FAILED, status
        return Failure(status.error.message, status.sql_state)

    def state_after_cancel(self, sql: str) -> str:
        statement_id = self.execute(sql, wait_timeout="0s").statement_id
        self.workspace.statement_execution.cancel_execution(statement_id)
        while True:
            state = self.workspace.statement_execution.get_statement(statement_id).status.state
            if state not in {StatementState.PENDING, StatementState.RUNNING}:
                return str(state.value)
            time.sleep(0.02)


class OurClient:
    """seakernel."""

    name = "seakernel"
    positional = True

    def __init__(self, warehouse: LocalWarehouse, **options: Any) -> None:
        self.connection = warehouse.connect(**options)

    def close(self) -> None:
        self.connection.close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def arrow(self, sql: str) -> pa.Table:
        with self.connection.cursor() as cursor:
            return cursor.execute(sql).fetchall_arrow()

    def columns(self, sql: str) -> list[str]:
        with self.connection.cursor() as cursor:
            return [column[0] for column in cursor.execute(sql).description or ()]

    def failure(self, sql: str) -> Failure:
        try:
            self.rows(sql)
        except seakernel.Error as error:
            return Failure(str(error), error.sql_state)
        raise AssertionError(f"{sql!r} did not fail")

    def state_after_cancel(self, sql: str) -> str:
        kinds: list[str | None] = []
        with self.connection.cursor() as cursor:

            def run() -> None:
                try:
                    cursor.execute(sql)
                except seakernel.Error as error:
                    kinds.append(error.kind)

            thread = threading.Thread(target=run)
            thread.start()
            while not cursor.statement_id and thread.is_alive():
                cursor.cancel()
                time.sleep(0.02)
            cursor.cancel()
            thread.join(timeout=30)
        return str(kinds[0])


def _sdk_parameter(name: str, value: Any) -> StatementParameterListItem:
    types = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "STRING"}
    text = None if value is None else str(value)
    return StatementParameterListItem(name=name, type=types.get(type(value)), value=text)


CLIENTS = {
    "seakernel": OurClient,
    "connector-sea": lambda warehouse, **options: ConnectorClient(warehouse, "sea", **options),
    "connector-kernel": lambda warehouse, **options: ConnectorClient(warehouse, "kernel", **options),
    "sdk-inline": lambda warehouse, **options: SdkClient(warehouse, Disposition.INLINE, **options),
    "sdk-links": lambda warehouse, **options: SdkClient(warehouse, Disposition.EXTERNAL_LINKS, **options),
}
