"""Proxies: explicit and of the environment, with and without passwords, for workspace, storage and volumes alike."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
from authority import closed_port, listening
from mitmproxy_process import PASSWORD, STORE, USER, WORKSPACE

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    import socket

    from mitmproxy_process import Mitmproxy

    from seakernel.local import LocalWarehouse

ROWS = "SELECT id FROM range(2500)"
FILE = "/Volumes/main/default/files/through-a-proxy"


def at_workspace(files: LocalWarehouse, **options: Any) -> dict[str, Any]:
    """Arguments for the warehouse under a name that only the proxy knows."""
    place = {"server_hostname": WORKSPACE, "http_path": files.http_path, "access_token": files.access_token}
    return {**place, "retry": {"max_attempts": 2, "min_wait_s": 0.01}, **options}


def here(files: LocalWarehouse, **options: Any) -> dict[str, Any]:
    """The same, at its own address, with plain HTTP."""
    return at_workspace(files, server_hostname=files.server_hostname, **options)


def rows(**options: Any) -> int:
    with seakernel.connect(**options) as connection:
        return len(connection.cursor().execute(ROWS).fetchall())


def rows_async(**options: Any) -> int:
    async def main() -> int:
        async with aio.connect(**options) as connection, connection.cursor() as cursor:
            return len(await (await cursor.execute(ROWS)).fetchall())

    return asyncio.run(main())


WAYS = pytest.mark.parametrize("read", [rows, rows_async])


@WAYS
def test_an_explicit_proxy_that_reads_everything(files: LocalWarehouse, mitmproxy: Mitmproxy, read: Any) -> None:
    tls = {"ca_certificates_file": mitmproxy.authority}
    assert read(**at_workspace(files, proxy=mitmproxy.address, tls=tls)) == 2500
    passed = {(flow["scheme"], flow["host"]) for flow in mitmproxy.flows()}
    assert passed == {("https", WORKSPACE), ("https", STORE)}


def test_volumes_go_through_it_too(files: LocalWarehouse, mitmproxy: Mitmproxy) -> None:
    tls = {"ca_certificates_pem": mitmproxy.authority.read_bytes()}
    # The links come in rows, which only as JSON can be changed on their way.
    options = {"proxy": mitmproxy.address, "tls": tls, "results": {"cloud_fetch": "off"}}
    with seakernel.connect(**at_workspace(files, **options)) as connection:
        connection.volume.put(b"content", FILE)
        assert connection.volume.get(FILE) == b"content"
        connection.volume.remove(FILE)
    stored = [flow for flow in mitmproxy.flows() if flow["host"] == STORE]
    assert [flow["method"] for flow in stored] == ["PUT", "GET", "DELETE"]
    assert all("authorization" not in flow["headers"] for flow in stored)


@WAYS
def test_plain_http_through_a_proxy(files: LocalWarehouse, mitmproxy: Mitmproxy, read: Any) -> None:
    # A proxy on this machine is for this machine, too. The store has TLS, as everywhere.
    tls = {"ca_certificates_file": str(mitmproxy.authority)}
    assert read(**here(files, proxy={"url": mitmproxy.address}, tls=tls)) == 2500
    passed = {(flow["scheme"], flow["host"]) for flow in mitmproxy.flows()}
    assert passed == {("http", "127.0.0.1"), ("https", STORE)}


@WAYS
def test_without_its_authority_it_is_refused_by_name(files: LocalWarehouse, mitmproxy: Mitmproxy, read: Any) -> None:
    with pytest.raises(seakernel.OperationalError) as refused:
        read(**at_workspace(files, proxy=mitmproxy.address, retry={"max_attempts": 6}))
    error = refused.value
    assert (error.kind, error.retryable, error.attempts) == ("Network", False, 1)
    assert f"the certificate of {WORKSPACE}:443 is signed by an authority that is not trusted here" in error.message
    assert "tls={'ca_certificates_file': " in (error.hint or "")


def test_it_is_refused_at_the_store_alone(files: LocalWarehouse, mitmproxy: Mitmproxy) -> None:
    with (
        seakernel.connect(**here(files, proxy=mitmproxy.address)) as connection,
        pytest.raises(seakernel.OperationalError) as refused,
    ):
        connection.cursor().execute(ROWS).fetchall()
    assert f"the certificate of {STORE}:443 is signed by an authority that is not trusted" in refused.value.message
    assert refused.value.chunk_index is not None
    assert "tls={'ca_certificates_file': " in (refused.value.hint or "")
    mitmproxy.flows()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_the_environment_names_its_authority(
    files: LocalWarehouse, mitmproxy: Mitmproxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(mitmproxy.authority.parent if name.endswith("DIR") else mitmproxy.authority))
    assert rows(**at_workspace(files, proxy=mitmproxy.address)) == 2500
    monkeypatch.setenv(name, "/no/such/place")
    with pytest.raises(seakernel.ProgrammingError, match=f"`{name}`"):
        rows(**at_workspace(files, proxy=mitmproxy.address))
    # Verification that is off, or not there, needs nobody's authority.
    assert rows(**here(files)) == 2500


@WAYS
def test_a_server_in_between_that_nobody_has_told_of(files: LocalWarehouse, mitmproxy: Mitmproxy, read: Any) -> None:
    port = next(port for mode, port in mitmproxy.ports.items() if mode.startswith("reverse"))
    place = at_workspace(files, server_hostname=f"https://localhost:{port}", results={"cloud_fetch": "off"})
    with pytest.raises(seakernel.OperationalError, match=f"certificate of localhost:{port} is signed by an authority"):
        read(**place)
    assert read(**place, tls={"ca_certificates_file": mitmproxy.authority}) == 2500


def test_verification_off_warns_once_per_connection(
    files: LocalWarehouse, mitmproxy: Mitmproxy, caplog: pytest.LogCaptureFixture
) -> None:
    for read in (rows, rows_async):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "seakernel"):
            assert read(**at_workspace(files, proxy=mitmproxy.address, tls={"verify_certificates": False})) == 2500
        warnings = [record for record in caplog.records if "certificates are not verified" in record.getMessage()]
        assert len(warnings) == 1


@WAYS
def test_the_right_password(files: LocalWarehouse, guarded_mitmproxy: Mitmproxy, read: Any) -> None:
    tls = {"ca_certificates_file": guarded_mitmproxy.authority}
    given = {"url": guarded_mitmproxy.address, "username": USER, "password": PASSWORD}
    assert read(**at_workspace(files, proxy=given, tls=tls)) == 2500
    assert read(**here(files, proxy=given, tls=tls)) == 2500
    in_address = guarded_mitmproxy.address.replace("://", "://me%40corp:pass%2Fword%2541-canary@")
    assert read(**at_workspace(files, proxy=in_address, tls=tls)) == 2500


@WAYS
@pytest.mark.parametrize("at", [at_workspace, here])
def test_the_wrong_password_or_none(files: LocalWarehouse, guarded_mitmproxy: Mitmproxy, read: Any, at: Any) -> None:
    port = guarded_mitmproxy.ports["regular"]
    for given, expected in (
        ({"username": USER, "password": "wrong-canary"}, "refuses the user name or the password"),
        ({}, "wants a user name and a password"),
    ):
        options = at(files, proxy={"url": guarded_mitmproxy.address, **given}, retry={"max_attempts": 6})
        with pytest.raises(seakernel.OperationalError) as refused:
            read(**options)
        error = refused.value
        assert f"the proxy 127.0.0.1:{port} {expected} (HTTP 407)" in error.message
        assert (error.kind, error.http_status, error.retryable) == ("Network", 407, False)
        assert "proxy='http://user:password@host:port'" in (error.hint or "")
        for text in (str(error), repr(error), error.hint or ""):
            assert "canary" not in text


@WAYS
def test_the_proxy_of_the_environment(
    files: LocalWarehouse, mitmproxy: Mitmproxy, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    tls = {"ca_certificates_file": mitmproxy.authority}
    monkeypatch.setenv("https_proxy", mitmproxy.address)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    assert read(**at_workspace(files, tls=tls)) == 2500
    assert {flow["host"] for flow in mitmproxy.flows()} == {WORKSPACE, STORE}
    # It is not for this machine.
    assert read(**here(files)) == 2500
    assert mitmproxy.flows() == []
    monkeypatch.setenv("https_proxy", f"http://me:pass-canary@127.0.0.1:{closed_port()}")
    with pytest.raises(seakernel.OperationalError, match=r"no connection to the proxy, 127\.0\.0\.1:"):
        read(**at_workspace(files, tls=tls))


def test_hosts_that_are_left_out(files: LocalWarehouse, mitmproxy: Mitmproxy, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = {"ca_certificates_file": mitmproxy.authority}
    # Nothing but the proxy knows the names.
    monkeypatch.setenv("HTTPS_PROXY", mitmproxy.address)
    monkeypatch.setenv("NO_PROXY", f"other.example,{WORKSPACE}")
    with pytest.raises(seakernel.OperationalError, match=f"no connection to {WORKSPACE}:443"):
        rows(**at_workspace(files, tls=tls))
    monkeypatch.setenv("NO_PROXY", "*.example")
    with pytest.raises(seakernel.OperationalError, match=f"no connection to {WORKSPACE}:443"):
        rows(**at_workspace(files, tls=tls))
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(seakernel.OperationalError, match=f"no connection to {WORKSPACE}:443"):
        rows(**at_workspace(files, tls=tls, proxy=False))
    monkeypatch.delenv("HTTPS_PROXY")
    given = {"url": mitmproxy.address, "no_proxy": ["127.0.0.0/8"]}
    mitmproxy.flows()
    assert rows(**here(files, tls=tls, proxy=given)) == 2500
    assert mitmproxy.flows() == []
    assert rows(**at_workspace(files, tls=tls, proxy={**given, "no_proxy": "10.0.0.0/8, other.example"})) == 2500


@WAYS
def test_a_proxy_that_is_not_there(files: LocalWarehouse, read: Any) -> None:
    port = closed_port()
    for at in (at_workspace, here):
        with pytest.raises(seakernel.OperationalError) as refused:
            read(**at(files, proxy=f"http://me:pass-canary@127.0.0.1:{port}"))
        assert f"no connection to the proxy, 127.0.0.1:{port}: check `proxy`" in refused.value.message
        assert refused.value.retryable
        assert "canary" not in f"{refused.value} {refused.value!r} {refused.value.hint}"


def test_a_proxy_of_unknown_name(files: LocalWarehouse) -> None:
    with pytest.raises(
        seakernel.OperationalError, match=r"the name of the proxy is not known here, no-proxy\.invalid:3128"
    ):
        rows(**at_workspace(files, proxy="no-proxy.invalid:3128", retry={"max_attempts": 1}))


@WAYS
def test_this_machine_is_none_of_a_proxys_elsewhere(files: LocalWarehouse, read: Any) -> None:
    assert read(**here(files, proxy="no-proxy.invalid:3128")) == 2500


@pytest.mark.parametrize(
    ("answer", "expected", "retryable"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", r"refuses to connect to .*:443 \(HTTP 403\)", False),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", r"has no connection to .*:443 \(HTTP 502\)", True),
        (b"HTTP/1.1 407 Who\r\n\r\n", r"wants a user name and a password \(HTTP 407\)", False),
        (b"", "broke off the connection to", True),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not connect to", True),
    ],
)
def test_a_proxy_that_does_not_connect(files: LocalWarehouse, answer: bytes, expected: str, retryable: bool) -> None:
    heads: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        heads.append(connection.recv(4096))
        connection.sendall(answer)

    with listening(refuse) as port, pytest.raises(seakernel.OperationalError, match=expected) as refused:
        rows(**at_workspace(files, proxy=f"127.0.0.1:{port}", retry={"max_attempts": 1}))
    assert f"the proxy 127.0.0.1:{port}" in refused.value.message
    assert refused.value.retryable is retryable
    assert heads[0].startswith(f"CONNECT {WORKSPACE}:443 HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (True, "`proxy` is True; expected an address"),
        (3128, "`proxy` is of type `int`; expected an address"),
        ("", "`proxy` is empty"),
        ("socks5://me:pass-canary@host:1080", "`proxy` is of the kind `socks5`"),
        ("http://me:pass-canary@host:port", "`proxy` is no address of a proxy"),
        ({}, "`proxy` has no `url`"),
        ({"url": 1}, "`url` of `proxy` is of type `int`"),
        ({"url": "host:1", "user": "me"}, "did you mean `username`"),
        ({"url": "host:1", "password": "pass-canary"}, "`password` without a `username`"),
        ({"url": "a:b@host:1", "username": "me"}, "give them once"),
        ({"url": "host:1", "username": "", "password": "x"}, "empty `username`"),
        ({"url": "host:1", "no_proxy": 1}, "`no_proxy` of `proxy` is neither"),
    ],
)
def test_wrong_values_are_named(files: LocalWarehouse, wrong: Any, expected: str) -> None:
    for connect in (seakernel.connect, lambda **options: asyncio.run(connected(**options))):
        with pytest.raises(seakernel.ProgrammingError) as caught:
            connect(**here(files, proxy=wrong))
        assert expected in caught.value.message
        assert caught.value.kind == "InvalidArgument"
        assert "canary" not in f"{caught.value} {caught.value!r}"


async def connected(**options: Any) -> None:
    await (await aio.connect(**options)).close()


def test_a_wrong_environment_is_named_and_this_machine_does_without(
    files: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:pass-canary@host:1080")
    with pytest.raises(seakernel.ProgrammingError, match="`HTTPS_PROXY` is of the kind `socks5`") as caught:
        rows(**at_workspace(files))
    assert "canary" not in str(caught.value)
    assert rows(**here(files)) == 2500
    assert os.environ["HTTPS_PROXY"]
