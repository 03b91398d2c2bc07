"""A storage host that cannot be reached, and servers that are gone when a connection is closed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from authority import closed_port
from mitmproxy_process import STORE, store_of

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitmproxy_process import Mitmproxy

    from seakernel.local import LocalWarehouse

ROWS = "SELECT id FROM range(2500)"


@contextlib.contextmanager
def workspace(
    warehouse: LocalWarehouse, store: str | list[str], dispositions: list[str] | None = None
) -> Iterator[str]:
    """Passes requests on to the warehouse, and changes the address of its store in the answers.

    Args:
        warehouse: The warehouse behind it.
        store: The address of the store; of a list, the last one.
        dispositions: Gets the disposition of each statement.

    Yields:
        The address for clients.
    """
    over = threading.Event()
    upstream = warehouse.server_hostname.partition("://")[2]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            if over.is_set():
                self.close_connection = True
                return
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            if dispositions is not None:
                dispositions.extend(re.findall(r'"disposition":"(\w+)"', sent.decode()))
            connection = http.client.HTTPConnection(upstream, timeout=60)
            with contextlib.closing(connection):
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, sent, headers)
                answer = connection.getresponse()
                told = store if isinstance(store, str) else store[-1]
                body = answer.read().replace(store_of(warehouse).encode(), told.encode())
            self.send_response(answer.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = pass_on  # noqa: N815 - the base class gives the names

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [message for message in messages if "storage host cannot be reached" in message]


# A closed port refuses, a name that does not exist is unknown.
STORES = pytest.mark.parametrize("store", ["http://127.0.0.1:{port}", "https://no-store.invalid"])


@STORES
def test_by_default_the_session_goes_on_without_it(
    files: LocalWarehouse, caplog: pytest.LogCaptureFixture, store: str
) -> None:
    store, dispositions = store.format(port=closed_port()), []
    with workspace(files, store, dispositions) as address, caplog.at_level(logging.WARNING, "seakernel"):
        with files.connect(server_hostname=address) as connection:
            cursor = connection.cursor()
            begin = time.monotonic()
            with pytest.raises(seakernel.OperationalError) as refused:
                cursor.execute(ROWS).fetchall()
            took = time.monotonic() - begin
            error = refused.value
            assert f"storage host {store.partition('://')[2]}" in error.message
            assert "cannot be reached from here" in error.message
            assert "execute it again where that is safe" in error.message
            assert (error.kind, error.chunk_index is not None) == ("Network", True)
            assert error.attempts <= 2
            assert error.statement_id is not None
            assert took < 15, "within seconds"
            assert warnings_of(caplog) != []
            # The statement was sent once, and again only by us.
            assert len(dispositions) == 1
            assert len(cursor.execute(ROWS).fetchall()) == 2500
            assert len(cursor.execute(ROWS).fetchall()) == 2500
            assert dispositions[1:] == ["INLINE", "INLINE"]
        assert len(warnings_of(caplog)) == 1
        # Another session of the same warehouse need not find it out again.
        with files.connect(server_hostname=address) as connection:
            assert len(connection.cursor().execute(ROWS).fetchall()) == 2500
        assert len(warnings_of(caplog)) == 2
        assert dispositions[3:] == ["INLINE"]
        # One that wants files by all means gets none.
        with (
            files.connect(
                server_hostname=address,
                results={"cloud_fetch": "on", "max_concurrent_downloads": 1},
                retry={"max_attempts": 3, "min_wait_s": 0.01},
            ) as connection,
            pytest.raises(seakernel.OperationalError, match="no connection to") as refused,
        ):
            connection.cursor().execute(ROWS).fetchall()
        assert refused.value.attempts == 3
        assert "session asks for" not in refused.value.message
        assert "INLINE" not in dispositions[4:]


def test_the_same_for_asyncio(files: LocalWarehouse) -> None:
    dispositions: list[str] = []

    async def main(address: str) -> None:
        place = (address, files.http_path, files.access_token)
        async with aio.connect(*place) as connection, connection.cursor() as cursor:
            with pytest.raises(seakernel.OperationalError, match="cannot be reached from here"):
                await (await cursor.execute(ROWS)).fetchall()
            assert len(await (await cursor.execute(ROWS)).fetchall()) == 2500

    with workspace(files, f"http://127.0.0.1:{closed_port()}", dispositions) as address:
        asyncio.run(main(address))
    assert dispositions[1:] == ["INLINE"]


def test_a_store_that_takes_no_connection_is_given_up_within_seconds(files: LocalWarehouse) -> None:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Once its queue is full, the system answers no more.
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(store.getsockname())
        address = stack.enter_context(workspace(files, f"http://127.0.0.1:{store.getsockname()[1]}"))
        connection = stack.enter_context(files.connect(server_hostname=address, connect_timeout_s=2))
        begin = time.monotonic()
        with pytest.raises(seakernel.OperationalError, match=r"storage host .* cannot be reached from here") as refused:
            connection.cursor().execute(ROWS).fetchall()
        assert refused.value.kind == "Timeout"
        assert 2 <= time.monotonic() - begin < 30
        assert len(connection.cursor().execute(ROWS).fetchall()) == 2500


def test_a_store_out_of_reach_is_not_so_through_a_proxy(files: LocalWarehouse, mitmproxy: Mitmproxy) -> None:
    dispositions: list[str] = []
    with workspace(files, f"https://{STORE}", dispositions) as address:
        with (
            files.connect(server_hostname=address) as connection,
            pytest.raises(seakernel.OperationalError, match="cannot be reached"),
        ):
            connection.cursor().execute(ROWS).fetchall()
        tls = {"ca_certificates_file": mitmproxy.authority}
        with files.connect(server_hostname=address, proxy=mitmproxy.address, tls=tls) as connection:
            assert len(connection.cursor().execute(ROWS).fetchall()) == 2500
        # What the proxy has shown says nothing of the way without it.
        with files.connect(server_hostname=address, proxy=False) as connection:
            assert len(connection.cursor().execute(ROWS).fetchall()) == 2500
    assert [disposition == "INLINE" for disposition in dispositions] == [False, False, True]


def test_a_store_that_answers_again_is_no_more_out_of_reach(
    files: LocalWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    stores, dispositions = [f"http://127.0.0.1:{closed_port()}"], []
    with (
        workspace(files, stores, dispositions) as address,
        files.connect(server_hostname=address) as connection,
        caplog.at_level(logging.WARNING, "seakernel"),
    ):
        with pytest.raises(seakernel.OperationalError, match="cannot be reached"):
            connection.cursor().execute(ROWS).fetchall()
        (warning,) = warnings_of(caplog)
        assert "through the same proxy, for ten minutes or until storage answers" in warning
        stores.append(store_of(files))
        for results in ({"cloud_fetch": "on"}, {}):
            with files.connect(server_hostname=address, results=results) as other:
                assert len(other.cursor().execute(ROWS).fetchall()) == 2500
        # The session that has met it stays as it is.
        assert len(connection.cursor().execute(ROWS).fetchall()) == 2500
    assert [disposition == "INLINE" for disposition in dispositions] == [False, False, False, True]


def test_a_result_too_large_for_the_answer_says_why_it_was_asked_for_there() -> None:
    from seakernel.local import LocalWarehouse

    with (
        LocalWarehouse(inline_bytes=0, inline_limit_bytes=1000) as warehouse,
        workspace(warehouse, f"http://127.0.0.1:{closed_port()}") as address,
        warehouse.connect(server_hostname=address) as connection,
    ):
        cursor = connection.cursor()
        with pytest.raises(seakernel.OperationalError, match="cannot be reached"):
            cursor.execute(ROWS).fetchall()
        with pytest.raises(seakernel.DatabaseError, match=r"since storage host .* could not be reached; once it can"):
            cursor.execute(ROWS).fetchall()


def test_a_store_that_has_answered_is_not_given_up(files: LocalWarehouse) -> None:
    with (
        files.connect(retry={"max_attempts": 4, "min_wait_s": 0.01}) as connection,
        connection.cursor() as cursor,
    ):
        assert len(cursor.execute(ROWS).fetchall()) == 2500
        try:
            files.faults([{"on": "download", "times": 2, "do": "drop_before_response"}])
            assert len(cursor.execute(ROWS).fetchall()) == 2500
        finally:
            files.faults([])
        sent = [request for request in files.requests() if request["operation"] == "execute"]
        assert sent[-1]["body"]["disposition"] != "INLINE"


@pytest.mark.parametrize("value", [True, "on", False, "off", "auto"])
def test_values_of_cloud_fetch(files: LocalWarehouse, value: Any) -> None:
    with files.connect(results={"cloud_fetch": value}) as connection:
        assert len(connection.cursor().execute(ROWS).fetchall()) == 2500
    (sent,) = [request for request in files.requests() if request["operation"] == "execute"][-1:]
    assert (sent["body"]["disposition"] == "INLINE") is (value in (False, "off"))


@pytest.mark.parametrize("wrong", ["yes", 1, None, ""])
def test_other_values_are_refused(files: LocalWarehouse, wrong: Any) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=r'`cloud_fetch` is .*; expected "auto", "on" or "off"'):
        files.connect(results={"cloud_fetch": wrong})


class OwnError(Exception):
    """What a program ends with."""


def test_closing_hides_no_error_of_the_program(files: LocalWarehouse, caplog: pytest.LogCaptureFixture) -> None:
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, "seakernel"):
        with workspace(files, store_of(files)) as address:
            connection = files.connect(server_hostname=address, results={"cloud_fetch": "off"})
            connection.cursor().execute(ROWS).fetchall()
        with pytest.raises(OwnError), connection:
            raise OwnError
        assert connection.closed
        assert any("session not closed" in record.getMessage() for record in caplog.records)

        async def main() -> None:
            with workspace(files, store_of(files)) as address:
                connection = await aio.connect(address, files.http_path, files.access_token)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(connection.close)
                raise OwnError

        with pytest.raises(OwnError):
            asyncio.run(main())
    # Not the six attempts of other requests.
    assert time.monotonic() - begin < 20


def test_closing_waits_for_a_silent_server_no_longer_than_seconds(
    files: LocalWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    files.faults([{"on": "close_session", "times": "always", "do": {"delay": {"ms": 30000}}}])
    try:
        connection = files.connect()
        begin = time.monotonic()
        with caplog.at_level(logging.WARNING, "seakernel"):
            connection.close()
        assert 4 < time.monotonic() - begin < 25
        assert "no answer within 5 s" in caplog.text
    finally:
        files.faults([])


def test_what_the_server_answers_to_closing_is_still_an_error(files: LocalWarehouse) -> None:
    files.faults([{"on": "close_session", "times": "always", "do": {"status": {"code": 403}}}])
    try:
        with pytest.raises(seakernel.OperationalError, match="HTTP 403"):
            files.connect().close()
    finally:
        files.faults([])
