"""No secret can be had back from what Python holds: a row for each kind of secret."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import gc
import io
import logging
import pickle
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seakernel.local import LocalWarehouse

PACKAGE = str(Path(seakernel.__file__).parent)


class Kind(NamedTuple):
    """A kind of secret.

    Attributes:
        name: What it is.
        secret: The text that must not be found.
        works: Arguments of `connect` with the secret, besides the place.
        fails: The same where the sign-in or a check fails.
    """

    name: str
    secret: Callable[[LocalWarehouse], str]
    works: Callable[[str], dict[str, Any]] | None
    fails: Callable[[str], dict[str, Any]] | None


def token_of(warehouse: LocalWarehouse) -> str:
    return warehouse.access_token


def always(text: str) -> Callable[[LocalWarehouse], str]:
    return lambda warehouse: text


async def _coroutine(token: str) -> str:
    return token


def m2m(secret: str) -> dict[str, Any]:
    return {"auth": {"type": "oauth-m2m", "client_id": "app", "client_secret": secret}}


KEY = "-----BEGIN PRIVATE KEY-----\ncanary-key\n-----END PRIVATE KEY-----\n"
KINDS = [
    Kind("access token", token_of, lambda s: {"access_token": s}, None),
    Kind("wrong access token", always("canary-token"), None, lambda s: {"access_token": s}),
    Kind("token that no request can carry", always("canary\ntoken"), None, lambda s: {"access_token": s}),
    Kind("client secret", always("canary-client-secret"), m2m, None),
    Kind("wrong client secret", always("canary-wrong-secret"), None, m2m),
    Kind(
        "client secret under a wrong key",
        always("canary-client-secret"),
        None,
        lambda s: {"auth": {"type": "oauth-m2m", "client_id": "app", "secret": s}},
    ),
    Kind("token of a callable", token_of, lambda s: {"auth": lambda: s}, None),
    Kind("token of a coroutine", token_of, lambda s: {"auth": lambda: _coroutine(s)}, None),
    Kind("token with an expiry", token_of, lambda s: {"auth": lambda: (s, dt.timedelta(hours=1))}, None),
    Kind("wrong token of a callable", always("canary-token"), None, lambda s: {"auth": lambda: s}),
    Kind("answer of a callable", always("canary-answer"), None, lambda s: {"auth": lambda: {"Authorization": s}}),
    Kind(
        "header of a callable",
        always("canary-header"),
        None,
        lambda s: {"auth": lambda: {"Authorization": "Bearer canary-x", "Host": s}},
    ),
    Kind(
        "own header",
        always("canary-own"),
        None,
        lambda s: {"access_token": "canary-x", "requests": {"headers": {"X-A": s}}},
    ),
    Kind(
        "own header that no request can carry",
        always("canary\nown"),
        None,
        lambda s: {"access_token": "canary-x", "requests": {"headers": {"X-A": s}}},
    ),
    Kind(
        "client key",
        always(KEY),
        None,
        lambda s: {"access_token": "canary-x", "tls": {"client_key_pem": s.encode(), "client_certificate_pem": b"x"}},
    ),
    Kind("client key as text", always(KEY), None, lambda s: {"access_token": "canary-x", "tls": {"client_key_pem": s}}),
    Kind(
        "password in the host",
        always("canary-password"),
        None,
        lambda s: {"server_hostname": f"https://me:{s}@a.example", "access_token": "canary-x"},
    ),
    Kind(
        "password of the connector",
        always("canary-password"),
        None,
        lambda s: {"access_token": "canary-x", "password": s},
    ),
]
# Options that hold secrets; those of a later one belong into the table.
SECRET_OPTIONS = {"access_token", "auth", "requests", "tls"}


def rows(which: str) -> list[Any]:
    return [pytest.param(kind, id=kind.name) for kind in KINDS if getattr(kind, which) is not None]


def held(thing: object) -> Iterator[object]:
    """What can be reached from `thing`, without the program around it: modules, classes, functions and frames."""
    apart = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, types.FrameType, logging.Logger)
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        current = waiting.pop()
        if id(current) in seen or isinstance(current, apart):
            continue
        seen[id(current)] = current
        waiting.extend(gc.get_referents(current))
        yield current


def assert_not_held(thing: object, secret: str) -> None:
    count = 0
    for each in held(thing):
        count += 1
        if isinstance(each, str | bytes | bytearray):
            text = each if isinstance(each, str) else bytes(each).decode("latin-1")
            assert secret not in text
    # Of what the kernel has, Python holds nothing.
    assert count > 3 or isinstance(thing, seakernel.Session)
    for name in dir(thing):
        with contextlib.suppress(seakernel.InterfaceError):  # of one that is closed
            assert secret not in repr(getattr(thing, name, None)), name


def assert_not_pickled(thing: object) -> None:
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle"):
            attempt(thing)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, at every level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(1)
    root = logging.getLogger()
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


@pytest.mark.parametrize("kind", rows("works"))
def test_it_cannot_be_had_back_from_a_connection(oauth_warehouse: LocalWarehouse, log: io.StringIO, kind: Kind) -> None:
    secret = kind.secret(oauth_warehouse)
    assert kind.works is not None
    arguments = kind.works(secret)
    with seakernel.connect(oauth_warehouse.server_hostname, oauth_warehouse.http_path, **arguments) as connection:
        cursor = connection.cursor()
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
        for thing in (connection, cursor, connection._session):
            assert_not_held(thing, secret)
            assert_not_pickled(thing)
    assert_not_held(connection, secret)
    assert secret not in log.getvalue()
    assert "session" in log.getvalue()


@pytest.mark.parametrize("kind", rows("works"))
def test_nor_under_asyncio(oauth_warehouse: LocalWarehouse, kind: Kind) -> None:
    secret = kind.secret(oauth_warehouse)
    assert kind.works is not None
    arguments = kind.works(secret)

    async def main() -> None:
        connecting = aio.connect(oauth_warehouse.server_hostname, oauth_warehouse.http_path, **arguments)
        async with connecting as connection:
            cursor = await connection.cursor().execute("SELECT 1")
            for thing in (connecting, connection, cursor):
                assert_not_held(thing, secret)
            assert_not_pickled(connection)

    asyncio.run(main())


def assert_not_told(error: BaseException, secret: str) -> None:
    """Neither by the texts of an error nor by the locals of our frames that it came through."""
    shown = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    frames = 0
    while link is not None:
        shown += f"{link!r} {link.args!r} {vars(link)!r}"
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                frames += 1
                shown += repr(frame.f_locals)
        link = link.__cause__ or link.__context__
    assert secret not in shown
    assert secret.encode("unicode_escape").decode() not in shown
    assert frames > 0


@pytest.mark.parametrize("kind", rows("fails"))
def test_nor_from_a_failure(oauth_warehouse: LocalWarehouse, log: io.StringIO, kind: Kind) -> None:
    secret = kind.secret(oauth_warehouse)
    assert kind.fails is not None
    place = {"server_hostname": oauth_warehouse.server_hostname, "http_path": oauth_warehouse.http_path}
    with pytest.raises(seakernel.Error) as caught:
        seakernel.connect(**{**place, **kind.fails(secret)})
    assert_not_told(caught.value, secret)
    assert_not_told(pickle.loads(pickle.dumps(caught.value)).with_traceback(caught.value.__traceback__), secret)

    async def main() -> None:
        await aio.connect(**{**place, **kind.fails(secret)})

    with pytest.raises(seakernel.Error) as caught:
        asyncio.run(main())
    assert_not_told(caught.value, secret)
    assert secret not in log.getvalue()
    explanation = seakernel.explain_auth(access_token=secret if "access_token" in kind.fails(secret) else None)
    assert secret not in repr(explanation) + str(tuple(explanation))


def test_rich_shows_no_secret_of_our_frames(warehouse: LocalWarehouse) -> None:
    from rich.console import Console
    from rich.traceback import Traceback

    secret = "canary-token"
    with pytest.raises(seakernel.OperationalError) as caught:
        seakernel.connect(warehouse.server_hostname, warehouse.http_path, secret)
    ours = caught.value.__traceback__
    while ours is not None and not ours.tb_frame.f_code.co_filename.startswith(PACKAGE):
        ours = ours.tb_next
    assert ours is not None
    console = Console(file=io.StringIO(), width=200)
    console.print(Traceback.from_exception(type(caught.value), caught.value, ours, show_locals=True))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "http_path" in shown
    assert secret not in shown


def test_the_table_knows_every_option_that_holds_secrets() -> None:
    used = {name for kind in KINDS for made in (kind.works, kind.fails) if made is not None for name in made("canary")}
    assert used >= SECRET_OPTIONS
