"""Tokens from callables, coroutines and objects of databricks-sdk."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local import LocalWarehouse


class Tokens:
    """Gives the token of a warehouse, and counts."""

    def __init__(self, warehouse: LocalWarehouse, answer: Callable[[str], Any] = str) -> None:
        self.token = warehouse.access_token
        self.answer = answer
        self.calls = 0
        self.threads: set[str] = set()

    def __call__(self) -> Any:
        self.calls += 1
        self.threads.add(threading.current_thread().name)
        return self.answer(self.token)


def run(warehouse: LocalWarehouse, auth: Any, statements: int = 3, **options: Any) -> None:
    place = warehouse.server_hostname, warehouse.http_path
    with seakernel.connect(*place, auth=auth, **options) as connection, connection.cursor() as cursor:
        for number in range(statements):
            assert cursor.execute(f"SELECT {number}").fetchall() == [(number,)]


def jwt(seconds: float) -> str:
    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'exp': time.time() + seconds})}.canary"


LASTING = [
    pytest.param(lambda token: (token, dt.timedelta(hours=1)), id="timedelta"),
    pytest.param(lambda token: (token, dt.datetime.now() + dt.timedelta(hours=1)), id="local time"),  # noqa: DTZ005
    pytest.param(lambda token: (token, dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)), id="utc"),
    pytest.param(lambda token: (token, int(time.time()) + 3600), id="seconds since 1970"),
    pytest.param(
        lambda token: SimpleNamespace(access_token=token, expiry=dt.datetime.now() + dt.timedelta(hours=1)),  # noqa: DTZ005
        id="object",
    ),
]
ENDLESS = [
    pytest.param(str, id="text"),
    pytest.param(lambda token: f"Bearer {token}\n", id="text with a scheme"),
    pytest.param(lambda token: {"Authorization": f"Bearer {token}", "X-Team": "a"}, id="headers"),
    pytest.param(lambda token: {"authorization": f"bearer {token}"}, id="small headers"),
    pytest.param(lambda token: (token, None), id="no expiry"),
    pytest.param(lambda token: SimpleNamespace(access_token=token), id="object without expiry"),
    pytest.param(lambda token: (token, dt.timedelta(seconds=-5)), id="expired by its own words"),
    pytest.param(lambda token: lambda: {"Authorization": f"Bearer {token}"}, id="factory"),
]


@pytest.mark.parametrize("answer", LASTING)
def test_a_token_with_an_expiry_is_asked_for_once(warehouse: LocalWarehouse, answer: Callable[[str], Any]) -> None:
    tokens = Tokens(warehouse, answer)
    run(warehouse, tokens)
    assert tokens.calls == 1
    assert tokens.threads == {"seakernel-token"}


@pytest.mark.parametrize("answer", ENDLESS)
def test_a_token_without_one_is_asked_for_each_time(warehouse: LocalWarehouse, answer: Callable[[str], Any]) -> None:
    tokens = Tokens(warehouse, answer)
    run(warehouse, tokens)
    # Of a factory, what it made is asked.
    assert tokens.calls == 1 if callable(answer("x")) else tokens.calls >= 4


def test_further_headers_go_along(warehouse: LocalWarehouse) -> None:
    run(warehouse, lambda: {"Authorization": f"Bearer {warehouse.access_token}", "X-Databricks-Azure-SP": "canary-sp"})
    with pytest.raises(seakernel.ProgrammingError, match="header `Content-Length` comes along with the access token"):
        run(warehouse, lambda: {"Authorization": f"Bearer {warehouse.access_token}", "Content-Length": "1"})


def test_a_jwt_tells_its_end(warehouse: LocalWarehouse) -> None:
    """The token is refused by this warehouse: it is the number of questions that counts."""
    asked = []

    def token() -> str:
        asked.append(1)
        return jwt(3600)

    with pytest.raises(seakernel.OperationalError, match="the renewed token was refused too") as caught:
        run(warehouse, token)
    assert (len(asked), caught.value.http_status) == (2, 403)


def test_a_refused_token_is_asked_for_again(warehouse: LocalWarehouse) -> None:
    answers = iter(["canary-old", warehouse.access_token])
    last = warehouse.access_token

    def token() -> tuple[str, dt.timedelta]:
        return next(answers, last), dt.timedelta(hours=1)

    run(warehouse, token)
    assert list(answers) == []


WRONG = [
    (lambda: None, "`.*` returned None; expected a token"),
    (lambda: 3, "returned a value of type `int`"),
    (lambda: b"canary", "returned a value of type `bytes`"),
    (lambda: "", "returned an empty token"),
    (lambda: ("canary", 3600), "type `int` for the expiry; expected a datetime, seconds since 1970, or a timedelta"),
    (lambda: ("canary", "tomorrow"), "type `str` for the expiry"),
    (lambda: (None, None), "returned None for the token"),
    (lambda: {"X-Team": "x"}, "returned headers without `Authorization`"),
    (lambda: {"Authorization": "Basic canary"}, "`Authorization` header that is `Basic`; only Bearer"),
    (lambda: {"Authorization": "canary"}, "does not start with `Bearer `"),
    (lambda: {"Authorization": 1}, "type `int` for the header `Authorization`; expected a text"),
    (lambda: {"Authorization": "Bearer canary", 1: "x"}, "type `int` for a name"),
    (lambda: {"Authorization": "Bearer canary", "X A": "x"}, "`X A`.* is not the name of an HTTP header"),
    (lambda: {"Authorization": "Bearer canary", "X-A": "canary\n"}, "header `X-A` .* contains characters"),
    (lambda: {"Authorization": "Bearer canary", "Host": "x"}, "the header `Host` .*the session's own"),
    (lambda: {"Authorization": "Bearer canary", "User-Agent": "x"}, "the header `User-Agent` .*the session's own"),
    (lambda: "canary\ncanary", "contains characters that no token has"),
]


@pytest.mark.parametrize(("callable_", "message"), WRONG)
def test_an_answer_that_is_none_is_refused(
    warehouse: LocalWarehouse, callable_: Callable[[], Any], message: str
) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=message) as caught:
        run(warehouse, callable_)
    assert caught.value.kind == "InvalidArgument"


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_is_the_cause(warehouse: LocalWarehouse, raised: BaseException) -> None:
    def token() -> str:
        raise raised

    with pytest.raises(seakernel.OperationalError, match=f"`.*token` raised `{type(raised).__name__}`") as caught:
        run(warehouse, token)
    assert caught.value.__cause__ is raised
    assert caught.value.kind == "Unauthenticated"
    assert "boom" not in str(caught.value)


def test_a_callable_that_takes_too_long_is_named(warehouse: LocalWarehouse) -> None:
    released = threading.Event()

    def token() -> str:
        released.wait(60)
        return warehouse.access_token

    begin = time.monotonic()
    auth = {"type": "callable", "callable": token, "timeout_s": 0.2}
    with pytest.raises(
        seakernel.OperationalError, match=r"gave no token within 0.2 s, the limit `timeout_s`"
    ) as caught:
        run(warehouse, auth)
    released.set()
    assert caught.value.kind == "Timeout"
    assert time.monotonic() - begin < 15


def test_a_callable_may_use_connections_itself(warehouse: LocalWarehouse) -> None:
    place = warehouse.server_hostname, warehouse.http_path

    def token() -> str:
        with seakernel.connect(*place, warehouse.access_token) as connection, connection.cursor() as cursor:
            assert cursor.execute("SELECT 1").fetchall() == [(1,)]
        return warehouse.access_token

    run(warehouse, token, 1)


def test_many_threads_ask_one_at_a_time(warehouse: LocalWarehouse) -> None:
    inside, most = 0, 0

    def token() -> tuple[str, dt.timedelta]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.05)
        inside -= 1
        return warehouse.access_token, dt.timedelta(hours=1)

    with seakernel.connect(warehouse.server_hostname, warehouse.http_path, auth=token) as connection:

        def work() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1").fetchall()

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert most == 1


# Coroutines.


def coroutine_of(warehouse: LocalWarehouse, loops: list[asyncio.AbstractEventLoop]) -> Callable[[], Any]:
    async def token() -> str:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return warehouse.access_token

    return token


def test_coroutines_of_aio_run_on_its_loop(warehouse: LocalWarehouse) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    token = coroutine_of(warehouse, loops)

    async def main() -> asyncio.AbstractEventLoop:
        place = warehouse.server_hostname, warehouse.http_path
        async with aio.connect(*place, auth=token) as connection:
            cursor = await connection.cursor().execute("SELECT 1")
            assert await cursor.fetchall() == [(1,)]
        return asyncio.get_running_loop()

    assert asyncio.run(main()) in loops
    assert len(set(map(id, loops))) == 1


def test_coroutines_of_others_run_on_one_loop(warehouse: LocalWarehouse) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    token = coroutine_of(warehouse, loops)
    run(warehouse, token)
    run(warehouse, token)
    assert len(set(map(id, loops))) == 1
    assert loops[0].is_running()


def test_a_connection_that_outlives_its_loop_goes_on(warehouse: LocalWarehouse) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    token = coroutine_of(warehouse, loops)

    async def opened() -> aio.Connection:
        return await aio.connect(warehouse.server_hostname, warehouse.http_path, auth=token)

    async def used(connection: aio.Connection) -> Any:
        async with connection:
            return await (await connection.cursor().execute("SELECT 1")).fetchall()

    connection = asyncio.run(opened())
    assert asyncio.run(used(connection)) == [(1,)]
    assert len(set(map(id, loops))) == 2


def test_a_coroutine_that_never_ends_is_ended(warehouse: LocalWarehouse) -> None:
    ended = threading.Event()

    async def token() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    with pytest.raises(seakernel.OperationalError):
        run(warehouse, {"type": "callable", "callable": token, "timeout_s": 0.2})
    assert ended.wait(15)


# Objects of databricks-sdk.


@pytest.fixture
def sdk_config(oauth_warehouse: LocalWarehouse) -> Any:
    from databricks.sdk.core import Config

    host = oauth_warehouse.server_hostname
    return Config(host=host, client_id="app", client_secret="canary-client-secret", auth_type="oauth-m2m")


def objects() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    yield "config", lambda config: config
    yield "authenticate", lambda config: config.authenticate
    yield "client", lambda config: __import__("databricks.sdk").sdk.WorkspaceClient(config=config)
    yield "oauth_token", lambda config: config.oauth_token
    yield "header factory", lambda config: lambda: config._header_factory
    yield "token source", lambda config: SimpleNamespace(token=config.oauth_token)

    class Provider:
        """As databricks-sql-connector documents it."""

        def __init__(self, config: Any) -> None:
            self.config_of_provider = config

        def auth_type(self) -> str:
            return "mine"

        def __call__(self) -> Callable[[], dict[str, str]]:
            return self.config_of_provider.authenticate

    yield "credentials provider", Provider


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in objects()])
def test_objects_of_the_sdk_sign_in(
    oauth_warehouse: LocalWarehouse, sdk_config: Any, made: Callable[[Any], Any]
) -> None:
    run(oauth_warehouse, made(sdk_config))


def test_a_credentials_provider_of_the_connector_signs_in(oauth_warehouse: LocalWarehouse, sdk_config: Any) -> None:
    from databricks.sdk.core import oauth_service_principal

    run(oauth_warehouse, None, credentials_provider=lambda: oauth_service_principal(sdk_config))
    with pytest.raises(seakernel.ProgrammingError, match="two names of one option"):
        run(oauth_warehouse, sdk_config, credentials_provider=sdk_config)


# Processes.


def child(code: str, warehouse: LocalWarehouse, **more: Any) -> subprocess.Popen[bytes]:
    place = {"HOST": warehouse.server_hostname, "PATH_": warehouse.http_path, "TOKEN": warehouse.access_token}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


BEGIN = """
import asyncio, os, sys, time
import seakernel
place = os.environ["HOST"], os.environ["PATH_"]
def token():
    return os.environ["TOKEN"]
"""


@pytest.mark.parametrize("coroutine", [False, True])
def test_a_session_left_open_is_closed_at_exit(warehouse: LocalWarehouse, coroutine: bool) -> None:
    auth = "async_token" if coroutine else "token"
    code = f"{BEGIN}\nasync def async_token():\n    return token()\nc = seakernel.connect(*place, auth={auth})\nprint(c.session_id)"
    process = child(code, warehouse)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    with warehouse.connect() as connection:
        assert out.decode().strip() not in str(connection.session_id)
    closed = [request for request in warehouse.requests() if request["path"].endswith(out.decode().strip())]
    assert [request["method"] for request in closed] == ["DELETE"]


def test_exit_while_a_callable_hangs(warehouse: LocalWarehouse) -> None:
    code = BEGIN + textwrap.dedent("""
    import threading
    def slow():
        print("asked", flush=True)
        time.sleep(60)
    def connect():
        seakernel.connect(*place, auth=slow)
    threading.Thread(target=connect, daemon=True).start()
    time.sleep(0.5)
    """)
    begin = time.monotonic()
    process = child(code, warehouse)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"asked\n")
    assert time.monotonic() - begin < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_asks_for_its_own(warehouse: LocalWarehouse) -> None:
    code = BEGIN + textwrap.dedent("""
    async def async_token():
        return token()
    def query(auth):
        with seakernel.connect(*place, auth=auth) as connection, connection.cursor() as cursor:
            assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    query(token), query(async_token)
    pid = os.fork()
    query(token), query(async_token)
    if pid:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    process = child(code.replace("-W", ""), warehouse)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interrupt_ends_the_wait_for_a_callable(warehouse: LocalWarehouse) -> None:
    code = BEGIN + textwrap.dedent("""
    def slow():
        print("asked", flush=True)
        time.sleep(60)
    try:
        seakernel.connect(*place, auth={"type": "callable", "callable": slow, "timeout_s": 60})
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """)
    process = child(code, warehouse)
    assert process.stdout is not None
    assert process.stdout.readline() == b"asked\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (0, b"interrupted\n", b"")
