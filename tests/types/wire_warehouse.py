"""A local warehouse that answers with given Arrow columns, whatever SQL could make; and a proxy that rewrites answers."""

from __future__ import annotations

import json
import secrets
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import seakernel
from seakernel._seakernel import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from typing_extensions import Self

    from seakernel import Connection


@dataclass
class Answer:
    """What the engine says to a statement."""

    columns: list[tuple[str, str]]
    stream: Any
    transfer: None = None


class WireEngine:
    """An engine whose statements are names of tables that were put there before."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    def open_session(self, *arguments: object) -> None:
        """Every session will do."""

    def close_session(self, *arguments: object) -> None:
        """There is nothing to forget."""

    def execute(self, statement_id: str, session_id: str | None, statement: str, *_: object) -> Answer:
        """Returns the table of that name."""
        return self.answers[statement]

    def cancel(self, statement_id: str) -> None:
        """Nothing runs."""


class WireWarehouse:
    """The server of the local warehouse over a `WireEngine`."""

    def __init__(self, **options: object) -> None:
        self.engine = WireEngine()
        self.server = LocalServer(self.engine, warehouse_id=secrets.token_hex(8), options_json=json.dumps({**options}))
        self.server_hostname = self.server.address
        self.http_path = self.server.http_path
        self.access_token = self.server.access_token

    def put(self, type_text: str, column: pa.Array, *, batches: int = 1) -> str:
        """Keeps a result of one column `v` and returns the statement that answers with it."""
        import pyarrow as pa

        statement = f"result {secrets.token_hex(8)}"
        batch = pa.record_batch({"v": column})
        table = pa.Table.from_batches([batch] * batches)
        self.engine.answers[statement] = Answer([("v", type_text)], table)
        return statement

    def switches(self, **switches: object) -> None:
        """Changes the shape of coming answers."""
        self.server.set_switches_json(json.dumps(switches))

    def connect(self, **options: Any) -> Connection:
        """Opens a connection of ours."""
        place = {
            "server_hostname": self.server_hostname,
            "http_path": self.http_path,
            "access_token": self.access_token,
        }
        return seakernel.connect(**{**place, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


class RewritingProxy:
    """Stands between a client and a warehouse and changes the JSON of requests and answers."""

    def __init__(
        self,
        warehouse: WireWarehouse,
        *,
        request: Callable[[Any], None] = lambda body: None,
        answer: Callable[[Any], None] = lambda body: None,
    ) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                sent = self.rfile.read(length) if length else None
                status, body = proxy.forward(self.command, self.path, self.headers, sent)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the base class gives the names

        self.warehouse, self.request, self.answer = warehouse, request, answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server_hostname = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def forward(self, method: str, path: str, headers: Any, sent: bytes | None) -> tuple[int, bytes]:
        """Passes one request on and returns the answer."""
        kept = {name: headers[name] for name in ("authorization", "content-type") if name in headers}
        asked = urllib.request.Request(
            self.warehouse.server_hostname + path, data=rewritten(sent, self.request), method=method, headers=kept
        )
        try:
            with urllib.request.urlopen(asked) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        return status, rewritten(body, self.answer) or b""

    def connect(self, **options: Any) -> Connection:
        """Opens a connection of ours through the proxy."""
        return self.warehouse.connect(**{"server_hostname": self.server_hostname, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def rewritten(body: bytes | None, rewrite: Callable[[Any], None]) -> bytes | None:
    """The body with `rewrite` done to its JSON."""
    if not body:
        return body
    parsed = json.loads(body)
    rewrite(parsed)
    return json.dumps(parsed).encode()


def shown_as(types: dict[str, tuple[str, str]]) -> Callable[[Any], None]:
    """Rewrites the types of a manifest: from the text on the left to text and name on the right."""

    def rewrite(body: Any) -> None:
        for column in ((body.get("manifest") or {}).get("schema") or {}).get("columns", []):
            if column["type_text"] in types:
                column["type_text"], column["type_name"] = types[column["type_text"]]

    return rewrite


def as_json_array(body: Any) -> None:
    """Rewrites an execute request so that the rows come as JSON text."""
    if "disposition" in body:
        body["disposition"], body["format"] = "INLINE", "JSON_ARRAY"
        body.pop("result_compression", None)
