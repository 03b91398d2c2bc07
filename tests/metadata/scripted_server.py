"""The protocol, just as far as a metadata call goes, with answers that no real server would give."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


@dataclass
class Rows:
    """The rows of an answer, and whether they claim to have the columns of the older Thrift interface."""

    columns: list[tuple[str, pa.DataType]]
    rows: list[tuple[Any, ...]]
    native: bool = False


@dataclass
class Failed:
    """A statement that failed."""

    message: str
    sql_state: str | None = None


@dataclass
class Sent:
    """A statement as it came."""

    sql: str
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedServer:
    """Answers every statement with what `answer` says."""

    http_path = "/sql/1.0/warehouses/scripted"
    access_token = "token"

    def __init__(self) -> None:
        self.answer: Callable[[str], Rows | Failed] = lambda sql: Failed(f"no answer to {sql}")
        self.sent: list[Sent] = []
        self._numbers = itertools.count(1)
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def answer_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length) if length else b"{}"
                answered = json.dumps(scripted._answer(self.path, json.loads(body), dict(self.headers))).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answered)))
                self.end_headers()
                self.wfile.write(answered)

            do_GET = do_POST = do_DELETE = answer_any  # noqa: N815 - the base class gives the names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.server_hostname = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        if path.endswith("/sessions"):
            return {"session_id": f"session-{next(self._numbers)}"}
        if not path.endswith("/statements"):
            return {}
        told = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-databricks-")}
        self.sent.append(Sent(body["statement"], told))
        answer = self.answer(body["statement"])
        identity = {"statement_id": f"statement-{next(self._numbers)}"}
        if isinstance(answer, Failed):
            error = {"error_code": "BAD_REQUEST", "message": answer.message}
            return {**identity, "status": {"state": "FAILED", "sql_state": answer.sql_state, "error": error}}
        return {**identity, "status": {"state": "SUCCEEDED"}, **_result(answer)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _result(answer: Rows) -> dict[str, Any]:
    schema = pa.schema(answer.columns)
    values = list(zip(*answer.rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, data_type) for column, (_, data_type) in zip(values, answer.columns, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    names = {
        pa.string(): "STRING",
        pa.int8(): "TINYINT",
        pa.int16(): "SMALLINT",
        pa.int32(): "INT",
        pa.int64(): "BIGINT",
    }
    columns = []
    for position, (name, data_type) in enumerate(answer.columns):
        type_text = names.get(data_type, "BOOLEAN")
        columns.append({"name": name, "type_text": type_text, "type_name": type_text, "position": position})
    count = {"chunk_index": 0, "row_offset": 0, "row_count": len(answer.rows)}
    manifest = {
        "format": "ARROW_STREAM",
        "schema": {"column_count": len(columns), "columns": columns},
        "total_row_count": len(answer.rows),
        "total_chunk_count": 1,
        "chunks": [count],
        "truncated": False,
    }
    if answer.native:
        manifest["is_native_metadata_result"] = True
    attachment = base64.b64encode(sink.getvalue().to_pybytes()).decode()
    return {"manifest": manifest, "result": {**count, "attachment": attachment}}
