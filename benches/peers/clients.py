"""How each client fetches: all with the same five steps, and with the settings its user gets without asking.

`execute` then either `whole` or `next_batch` until None are what is timed, and both return pyarrow objects. Importing and
connecting come before, `release` and `close` after: a client that closes its statement when it is dropped is not charged.
"""

from __future__ import annotations

import base64
import http.client
import json
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    Batch = pa.RecordBatch | pa.Table

# For clients that are asked for a number of rows; databricks-sql-connector's own default.
ROWS_A_BATCH = 100_000


class Place(NamedTuple):
    """Where the warehouse is."""

    host: str
    http_path: str
    access_token: str

    @property
    def warehouse_id(self) -> str:
        return self.http_path.rpartition("/")[2]


class Client(Protocol):
    def execute(self, statement: str) -> None: ...
    def whole(self) -> pa.Table: ...
    def next_batch(self) -> Batch | None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


class Seakernel:
    def __init__(self, place: Place, **options: Any) -> None:
        import seakernel

        self.connection = seakernel.connect(place.host, place.http_path, place.access_token, **options)
        self.cursor = self.reader = None

    def execute(self, statement: str) -> None:
        self.cursor = self.connection.cursor()
        self.cursor.execute(statement)

    def whole(self) -> pa.Table:
        return self.cursor.fetchall_arrow()

    def next_batch(self) -> Batch | None:
        if self.reader is None:
            self.reader = self.cursor.fetch_record_batch()
        return next(self.reader, None)

    def release(self) -> None:
        self.cursor.close()
        self.cursor = self.reader = None

    def close(self) -> None:
        self.connection.close()


class Adbc:
    """Our driver, loaded by adbc_driver_manager."""

    def __init__(self, place: Place) -> None:
        import seakernel.adbc

        self.connection = seakernel.adbc.connect(place.host, place.http_path, place.access_token)
        self.cursor = self.reader = None

    def execute(self, statement: str) -> None:
        self.cursor = self.connection.cursor()
        self.cursor.execute(statement)

    def whole(self) -> pa.Table:
        return self.cursor.fetch_arrow_table()

    def next_batch(self) -> Batch | None:
        if self.reader is None:
            self.reader = iter(self.cursor.fetch_record_batch())
        return next(self.reader, None)

    def release(self) -> None:
        self.cursor.close()
        self.cursor = self.reader = None

    def close(self) -> None:
        self.connection.close()


class DatabricksSqlKernel:
    def __init__(self, place: Place) -> None:
        import databricks_sql_kernel

        self.session = databricks_sql_kernel.Session(place.host, place.http_path, access_token=place.access_token)
        self.executed = None

    def execute(self, statement: str) -> None:
        prepared = self.session.statement()
        prepared.set_sql(statement)
        self.executed = prepared.execute()

    def whole(self) -> pa.Table:
        return self.executed.fetch_all_arrow()

    def next_batch(self) -> Batch | None:
        return self.executed.fetch_next_batch()

    def release(self) -> None:
        self.executed.close()
        self.executed = None

    def close(self) -> None:
        self.session.close()


class Connector:
    def __init__(self, place: Place, **options: Any) -> None:
        from databricks import sql

        options = {"server_hostname": place.host, **options}
        self.connection = sql.connect(http_path=place.http_path, access_token=place.access_token, **options)
        self.cursor = None

    @classmethod
    def sea(cls, place: Place) -> Connector:
        # This backend takes the port apart from the name, and with telemetry on it asks port 80 for half a minute.
        name, _, port = place.host.rpartition(":")
        return cls(place, use_sea=True, server_hostname=name, _port=int(port), enable_telemetry=False)

    @classmethod
    def kernel(cls, place: Place) -> Connector:
        return cls(place, use_kernel=True)

    def execute(self, statement: str) -> None:
        self.cursor = self.connection.cursor()
        self.cursor.execute(statement)

    def whole(self) -> pa.Table:
        return self.cursor.fetchall_arrow()

    def next_batch(self) -> Batch | None:
        return filled(self.cursor.fetchmany_arrow(ROWS_A_BATCH))

    def release(self) -> None:
        self.cursor.close()
        self.cursor = None

    def close(self) -> None:
        self.connection.close()


class Arrowbricks:
    def __init__(self, place: Place) -> None:
        import asyncio

        import arrowbricks

        self.wait = asyncio.new_event_loop().run_until_complete
        self.sql = arrowbricks.unsafe_sql
        self.connection = arrowbricks.connect(place.host, place.warehouse_id, token=place.access_token, protocol="sea")
        self.cursor = None

    def execute(self, statement: str) -> None:
        self.cursor = self.connection.cursor()
        self.wait(self.cursor.execute(self.sql(statement)))

    def whole(self) -> pa.Table:
        return as_table(self.wait(self.cursor.fetchall_arrow()))

    def next_batch(self) -> Batch | None:
        return filled(as_table(self.wait(self.cursor.fetchmany_arrow(ROWS_A_BATCH))))

    def release(self) -> None:
        self.cursor = None

    def close(self) -> None:
        self.wait(self.connection.close())


class Floor:
    """What the machine can do: the same bodies over some connections, liblz4 (inside pyarrow), opened where they lie.

    Links are followed while files are under way. No check, no retry, no bound on memory. Each LZ4 frame holds one Arrow
    message, as this server writes them, so that nothing is joined.
    """

    def __init__(self, place: Place, connections: int) -> None:
        self.place = place
        self.of_thread = threading.local()
        self.pool = ThreadPoolExecutor(connections)
        self.codec = pa.Codec("lz4")
        self.tables: queue.SimpleQueue[Future[pa.Table] | None] = queue.SimpleQueue()

    def execute(self, statement: str) -> None:
        statements = f"{self.place.host}/api/2.0/sql/statements"
        submission = {
            "warehouse_id": self.place.warehouse_id,
            "statement": statement,
            "disposition": "INLINE_OR_EXTERNAL_LINKS",
            "format": "ARROW_STREAM",
            "result_compression": "LZ4_FRAME",
            "wait_timeout": "50s",
        }
        answer = json.loads(self.ask("POST", statements, json.dumps(submission)))
        chunks, result = f"{statements}/{answer['statement_id']}/result/chunks", answer["result"]
        self.tables = queue.SimpleQueue()
        if "attachment" in result:
            self.tables.put(self.pool.submit(self.open, base64.b64decode(result["attachment"])))
            self.tables.put(None)
        elif self.submit(result["external_links"]):
            threading.Thread(target=self.follow, args=(result["external_links"], chunks), daemon=True).start()

    def follow(self, links: list[dict[str, Any]], chunks: str) -> None:
        more = True
        while more:
            last = links[-1]
            offset = last["row_offset"] + last["row_count"]
            answer = json.loads(self.ask("GET", f"{chunks}/{last['next_chunk_index']}?row_offset={offset}"))
            links = answer["external_links"]
            more = self.submit(links)

    def submit(self, links: list[dict[str, Any]]) -> bool:
        """Starts downloads and returns whether there are more links to ask for."""
        for link in links:
            self.tables.put(self.pool.submit(self.download, link["external_link"]))
        more = links[-1].get("next_chunk_index") is not None
        if not more:
            self.tables.put(None)
        return more

    def whole(self) -> pa.Table:
        return pa.concat_tables(list(iter(self.next_batch, None)))

    def next_batch(self) -> Batch | None:
        future = self.tables.get()
        return None if future is None else future.result()

    def release(self) -> None:
        self.tables = queue.SimpleQueue()

    def close(self) -> None:
        self.pool.shutdown()

    def download(self, link: str) -> pa.Table:
        return self.open(self.ask("GET", link))

    def open(self, body: bytes) -> pa.Table:
        schema, *batches, _end = [self.codec.decompress(frame, size) for frame, size in frames(body)]
        schema = pa.ipc.read_schema(schema)
        return pa.Table.from_batches([pa.ipc.read_record_batch(batch, schema) for batch in batches], schema)

    def ask(self, method: str, url: str, body: str | None = None) -> bytes:
        place = urlsplit(url)
        connections = self.of_thread.__dict__
        connection = connections.setdefault(place.netloc, http.client.HTTPConnection(place.netloc))
        headers = {"authorization": f"Bearer {self.place.access_token}"} if url.startswith(self.place.host) else {}
        connection.request(method, f"{place.path}?{place.query}", body=body, headers=headers)
        return connection.getresponse().read()


def frames(body: bytes) -> list[tuple[memoryview, int]]:
    """The LZ4 frames in a body, each with the most bytes it can decode to. Pages that stay unused cost nothing."""
    view, found, start = memoryview(body), [], 0
    while start < len(view):
        flags, block_code = view[start + 4], view[start + 5] >> 4 & 7
        block_checksum, content_size, content_checksum = flags & 16, flags & 8, flags & 4
        at, blocks = start + (15 if content_size else 7), 0
        while size := int.from_bytes(view[at : at + 4], "little"):
            at += 4 + (size & 0x7FFF_FFFF) + (4 if block_checksum else 0)
            blocks += 1
        end = at + (8 if content_checksum else 4)
        found.append((view[start:end], blocks << (8 + 2 * block_code)))
        start = end
    return found


def as_table(exported: Any) -> pa.Table:
    # `pyarrow.table` would do, but it imports pandas to ask whether this is one of its frames: 160 ms.
    return pa.RecordBatchReader.from_stream(exported).read_all()


def filled(table: pa.Table) -> pa.Table | None:
    return table if table.num_rows else None


CLIENTS: dict[str, Callable[[Place], Client]] = {
    "seakernel": Seakernel,
    "seakernel-64MiB": lambda place: Seakernel(place, results={"memory_budget_bytes": 64 << 20}),
    "seakernel-adbc": Adbc,
    "databricks-sql-kernel": DatabricksSqlKernel,
    "arrowbricks": Arrowbricks,
    "connector-kernel": Connector.kernel,
    "connector-sea": Connector.sea,
    "floor-8": lambda place: Floor(place, connections=8),
    "floor-16": lambda place: Floor(place, connections=16),
}
