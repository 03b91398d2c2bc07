"""A user signs in: in a real Chromium, without any, and once for many programs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pickle
import pty
import re
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from child_processes import PROMPT_S, interrupted

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import User

    from seakernel.local import LocalWarehouse

    UserWho = Callable[..., User]

PASSPHRASE = "canary passphrase"
SECRETS = ("local-oauth-", "local-refresh-", "local-code-", "canary")


def place(warehouse: LocalWarehouse) -> dict[str, str]:
    return {"server_hostname": warehouse.server_hostname, "http_path": warehouse.http_path}


def auth(opener: Callable[[str], object], **options: Any) -> dict[str, Any]:
    return {"type": "oauth-u2m", "redirect_ports": [0], "open_browser": opener, **options}


def query(warehouse: LocalWarehouse, **options: Any) -> int:
    with seakernel.connect(**place(warehouse), **options) as connection, connection.cursor() as cursor:
        assert not any(secret in repr((connection, vars(connection))) for secret in SECRETS)
        with pytest.raises((TypeError, pickle.PicklingError)):
            pickle.dumps(connection)
        return int(cursor.execute("SELECT count(*) FROM range(7)").fetchone()[0])


async def query_async(warehouse: LocalWarehouse, **options: Any) -> int:
    async with await aio.connect(**place(warehouse), **options) as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT count(*) FROM range(7)")
        return int((await cursor.fetchone())[0])


def signs_in_at_once(address: str) -> None:
    """Does what Chromium does, where that is not what is tested."""
    page, _, request = address.partition("?")
    urllib.request.urlopen(page, f"{request}&decision=sign-in".encode()).close()


def issued(warehouse: LocalWarehouse) -> dict[str, int]:
    return dict(warehouse.counters()["issued_tokens"])


@pytest.mark.parametrize("way", ["sync", "aio"])
def test_a_user_signs_in_and_the_query_returns(provider: LocalWarehouse, user_who: UserWho, way: str) -> None:
    user = user_who()
    options = {"auth": auth(user.invite)}
    count = query(provider, **options) if way == "sync" else asyncio.run(query_async(provider, **options))
    assert count == 7
    page = user.page()
    assert "You are signed in" in page
    assert "You can close this page and go back to the program." in page
    assert issued(provider) == {"authorization_code": 1}
    # Who comes later has the token.
    assert query(provider, **options) == 7
    assert (len(user.addresses), issued(provider)) == (1, {"authorization_code": 1})


def test_an_opener_that_takes_its_time_holds_up_neither_threads_of_ours_nor_a_fork(provider: LocalWarehouse) -> None:
    asked, may_go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def opens_slowly(address: str) -> None:
        threads.append(threading.current_thread())
        asked.set()
        assert may_go_on.wait(60)
        signs_in_at_once(address)

    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(query, provider, auth=auth(opens_slowly))
        assert asked.wait(60)
        begin = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(0)
        # As long as it waits for threads of ours that are inside the interpreter.
        assert time.monotonic() - begin < 2
        os.waitpid(child, 0)
        may_go_on.set()
        assert counted.result(60) == 7
    assert [(thread.name, thread.daemon) for thread in threads] == [("seakernel-browser", True)]


class Browser(webbrowser.BaseBrowser):
    """What `webbrowser` finds on the machine of a user who signs in."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        signs_in_at_once(url)
        return True


def test_the_stand_in_for_the_original_kernel_signs_in(
    provider: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seakernel.compat import databricks_sql_kernel as compat

    monkeypatch.setattr(webbrowser, "get", lambda using=None: Browser())
    options: dict[str, Any] = {"auth_type": "oauth-u2m", "redirect_ports": [0], "token_cache_enabled": False}
    session = compat.Session(provider.server_hostname, provider.http_path, **options)
    try:
        statement = session.statement()
        statement.set_sql("SELECT count(*) AS n FROM range(7)")
        assert statement.execute().fetch_all_arrow().to_pylist() == [{"n": 7}]
    finally:
        session.close()
    assert issued(provider) == {"authorization_code": 1}


def test_threads_wait_for_one_page(provider: LocalWarehouse) -> None:
    addresses = []

    def opener(address: str) -> None:
        addresses.append(address)
        time.sleep(0.5)
        signs_in_at_once(address)

    with ThreadPoolExecutor(16) as threads:
        # A function of its own for each: whose tokens they are does not depend on it.
        ways = [auth(functools.partial(opener)) for _ in range(16)]
        assert list(threads.map(lambda way: query(provider, auth=way), ways)) == [7] * 16
    assert (len(addresses), issued(provider)) == (1, {"authorization_code": 1})


def test_a_user_denies(provider: LocalWarehouse, user_who: UserWho) -> None:
    user = user_who(lambda user: user.press("deny"))
    with pytest.raises(seakernel.OperationalError, match="access was denied in the browser: sign in again") as raised:
        query(provider, auth=auth(user.invite))
    assert (raised.value.kind, raised.value.error_code) == ("Unauthenticated", "access_denied")
    assert "You are not signed in" in user.page()
    assert "access was denied" in user.page()


def test_a_state_that_is_another(provider: LocalWarehouse, user_who: UserWho) -> None:
    provider.switches(oauth_callback="wrong_state", oauth_token_format="opaque")
    user = user_who()
    with pytest.raises(seakernel.OperationalError, match=r"with another state than the one sent to 127\.0\.0\.1:"):
        query(provider, auth=auth(user.invite))
    assert "This page is not of the sign-in that the program is waiting for." in user.page()
    assert issued(provider) == {}


def test_a_user_closes_the_browser(provider: LocalWarehouse, user_who: UserWho) -> None:
    def closes(user: User) -> None:
        first = user.chromium.current_window_handle
        user.chromium.switch_to.new_window("tab")
        user.chromium.get(user.addresses[-1])
        user.chromium.close()
        user.chromium.switch_to.window(first)
        user.chromium.get("about:blank")

    user = user_who(closes)
    with pytest.raises(seakernel.OperationalError, match=r"nobody has signed in at 127.0.0.1:\d+ within 1 s") as raised:
        query(provider, auth=auth(user.invite, callback_timeout_s=1))
    assert (raised.value.kind, raised.value.retryable) == ("Timeout", False)
    assert user.page() == ""


JOIN = """
import sys, seakernel
host, path, passphrase = sys.argv[1:]
def fail(address):
    raise SystemExit("a browser was opened")
auth = {"type": "oauth-u2m", "open_browser": fail, "cache": True, "cache_passphrase": passphrase}
print("ready", flush=True)
sys.stdin.readline()
with seakernel.connect(host, path, auth=auth) as connection:
    print(connection.cursor().execute("SELECT count(*) FROM range(7)").fetchone()[0])
"""


def test_programs_that_share_a_cache_renew_once(provider: LocalWarehouse, user_who: UserWho, home: Path) -> None:
    user = user_who()
    assert query(provider, auth=auth(user.invite, cache=True, cache_passphrase=PASSPHRASE)) == 7
    assert "You are signed in" in user.page()
    folder = home / ".cache" / "seakernel" / "tokens"
    (file,) = folder.glob("*.json")
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)

    provider.revoke_tokens()
    command = [sys.executable, "-c", JOIN, *place(provider).values(), PASSPHRASE]
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
            for _ in range(20)
        ]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()
        answers = [program.communicate(timeout=100) for program in programs]
    assert answers == [("7\n", "")] * 20
    assert issued(provider) == {"authorization_code": 1, "refresh_token": 1}
    counters = provider.counters()
    assert (counters["reused_refresh_tokens"], counters["reused_codes"]) == (0, 0)
    content = file.read_text()
    assert "AES-256-GCM" in content
    assert not any(secret in content for secret in SECRETS)


@pytest.mark.parametrize("named", ["XDG_CACHE_HOME", "~"])
def test_where_the_cache_is(
    provider: LocalWarehouse, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: str
) -> None:
    if named == "~":
        cache, folder = "~/kept", home / "kept"
    else:
        monkeypatch.setenv(named, str(home / "caches"))
        monkeypatch.delenv("HOME")
        cache, folder = True, home / "caches" / "seakernel" / "tokens"
    assert query(provider, auth=auth(signs_in_at_once, cache=cache)) == 7
    (file,) = folder.glob("*.json")
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)

    file.chmod(0o644)
    # Another option, for whoever signs in alike in this process has the tokens already.
    assert query(provider, auth=auth(signs_in_at_once, cache=cache, timeout_s=14)) == 7
    assert f'file="{file}"' in caplog.text or f"file={file}" in caplog.text
    assert "is not used: it may be read or written by other users (see `chmod 600`)" in caplog.text
    assert (file.stat().st_mode & 0o777, issued(provider)) == (0o600, {"authorization_code": 2})


def test_tokens_of_the_sdk_are_taken(provider: LocalWarehouse, user_who: UserWho, home: Path) -> None:
    from databricks.sdk.oauth import OAuthClient, TokenCache

    client = OAuthClient.from_host(provider.server_hostname, "databricks-cli", "http://localhost:8020")
    consent = client.initiate_consent()
    user = user_who(signs_in_without_a_program)
    user.invite(consent.authorization_url)
    user.page()
    outcome = dict(re.findall(r"[?&](\w+)=([^&]+)", user.chromium.current_url))
    credentials = consent.exchange_callback_parameters(outcome)
    cache = TokenCache(
        host=provider.server_hostname,
        oidc_endpoints=client._oidc_endpoints,
        client_id="databricks-cli",
        scopes=["all-apis", "offline_access"],
    )
    cache.save(credentials)

    options = {"auth": auth(lambda address: pytest.fail("a browser was opened"), cache=str(home / "ours"))}
    assert query(provider, **options) == 7
    # The times in that file are of an unnamed zone, so that the token is renewed; what the SDK has stays as it is.
    assert issued(provider) == {"authorization_code": 1, "refresh_token": 1}
    assert cache.load().token().refresh_token == credentials.token().refresh_token


def signs_in_without_a_program(user: User) -> None:
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.by import By

    # Nobody listens where the browser is sent back to.
    with contextlib.suppress(WebDriverException):
        user.chromium.find_element(By.ID, "sign-in").click()
    deadline = time.monotonic() + 60
    while "code=" not in user.chromium.current_url and time.monotonic() < deadline:
        time.sleep(0.02)


WAIT = """
auth = {"type": "oauth-u2m", "redirect_ports": [0], "open_browser": lambda address: ready()}
try:
    seakernel.connect(host, path, auth=auth)
except KeyboardInterrupt:
    report("interrupted")
"""


def test_ctrl_c_ends_the_wait_for_the_user(provider: LocalWarehouse) -> None:
    seconds, values = interrupted(provider, WAIT)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S


def test_a_cancelled_task_ends_the_wait_for_the_user(provider: LocalWarehouse) -> None:
    async def main() -> None:
        opened = asyncio.Event()
        loop = asyncio.get_running_loop()
        opener = auth(lambda address: loop.call_soon_threadsafe(opened.set))
        connecting = asyncio.ensure_future(aio.connect(**place(provider), auth=opener))
        await asyncio.wait_for(opened.wait(), 60)
        connecting.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert time.monotonic() - started < PROMPT_S

    asyncio.run(main())


NO_BROWSER = """
import sys, seakernel
auth = {"type": "oauth-u2m", "redirect_ports": [0], "callback_timeout_s": 1}
try:
    seakernel.connect(*sys.argv[1:], auth=auth)
except seakernel.OperationalError as error:
    print(error)
"""


def without_a_browser(provider: LocalWarehouse, **options: Any) -> str:
    """Signs in where there is no browser; returns the error."""
    hidden = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "PATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", NO_BROWSER, *place(provider).values()]
    done = subprocess.run(
        command,
        env={**environment, "PATH": "/none"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
        **options,
    )
    return done.stdout


def test_without_a_browser_the_error_tells_what_else_there_is(provider: LocalWarehouse) -> None:
    error = without_a_browser(provider, stderr=subprocess.DEVNULL)
    host = provider.server_hostname.removeprefix("http://")
    assert f"the page of {host} could not be shown to anybody: pass `open_browser`" in error
    assert "this machine has no browser" in error
    assert "state=" not in error


def test_without_a_browser_a_terminal_shows_the_address(provider: LocalWarehouse) -> None:
    master, slave = pty.openpty()
    try:
        error = without_a_browser(provider, stderr=slave)
        shown = os.read(master, 100_000).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert "nobody has signed in at" in error
    assert "Open this page in a browser to sign in at 127.0.0.1:" in shown
    assert re.search(r"http://127\.0\.0\.1:\d+/oidc/v1/authorize\?response_type=code&.*&state=", shown)


def fails(address: str) -> None:
    raise RuntimeError(address)


async def coroutine(address: str) -> None:
    pass


@pytest.mark.parametrize(
    ("opener", "why"),
    [
        (fails, "`open_browser` raised RuntimeError"),
        (coroutine, "`open_browser` is a coroutine function"),
        (lambda address: False, "`open_browser` returned False"),
    ],
)
def test_a_function_that_opens_nothing(provider: LocalWarehouse, opener: Callable[[str], Any], why: str) -> None:
    with pytest.raises(seakernel.OperationalError, match=why) as raised:
        query(provider, auth=auth(opener))
    assert "state" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"client_id": ""}, "`client_id` is empty"),
        ({"client_secret": 7}, "`client_secret` is of type `int`; expected a text"),
        ({"scopes": "all-apis"}, "`scopes` is not a list of texts"),
        ({"redirect_ports": []}, r"`redirect_ports` is not a list of ports, such as \[8020, 8021\]"),
        ({"redirect_ports": 8020}, "`redirect_ports` is not a list of ports"),
        ({"redirect_ports": [65536]}, "`redirect_ports` is not a list of ports"),
        ({"redirect_ports": ["8020"]}, "`redirect_ports` is not a list of ports"),
        ({"callback_timeout_s": -1}, "callback_timeout_s"),
        ({"callback_timeout_s": "long"}, "expected a positive number of seconds"),
        ({"token_url": "http://example.com/canary"}, "`token_url` is no https address"),
        ({"open_browser": "firefox"}, "`open_browser` is not a function"),
        ({"cache": 1}, "`cache` is neither True nor False nor the path of a folder"),
        ({"cache": ""}, "`cache` is neither True nor False nor the path of a folder"),
        ({"cache_passphrase": PASSPHRASE}, "`cache_passphrase` is given without `cache`"),
        ({"cache": False, "cache_passphrase": PASSPHRASE}, "`cache_passphrase` is given without `cache`"),
        ({"cache": True, "cache_passphrase": ""}, "`cache_passphrase` is empty"),
        ({"password": "canary"}, "`auth` has no key `password`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_option(provider: LocalWarehouse, options: dict[str, Any], message: str) -> None:
    opener = auth(lambda address: pytest.fail("a browser was opened"))
    with pytest.raises(seakernel.ProgrammingError, match=message):
        query(provider, auth={**opener, **options})


def test_a_folder_that_cannot_be_written(provider: LocalWarehouse, home: Path) -> None:
    (home / "file").write_text("")
    opener = auth(lambda address: pytest.fail("a browser was opened"), cache=home / "file" / "tokens")
    with pytest.raises(seakernel.ProgrammingError, match="cannot be made: name another folder, or go without `cache`"):
        query(provider, auth=opener)
