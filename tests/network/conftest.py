"""Fixtures of tests that go through a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from authority import Authority
from mitmproxy_process import PASSWORD, USER, Mitmproxy, running

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def files() -> Iterator[LocalWarehouse]:
    """A warehouse that sends every result as files of 1000 rows, and has a volume."""
    with LocalWarehouse(chunk_rows=1000, batch_rows=300, inline_bytes=0) as warehouse:
        with warehouse.connect() as connection:
            connection.cursor().execute("CREATE VOLUME main.default.files")
        yield warehouse


@pytest.fixture
def mitmproxy(open_mitmproxy: Mitmproxy) -> Mitmproxy:
    open_mitmproxy.flows()
    return open_mitmproxy


@pytest.fixture(scope="session")
def open_mitmproxy(files: LocalWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmproxy]:
    """Explicit, and as a server that stands in for the workspace."""
    modes = ["regular", f"reverse:{files.server_hostname}"]
    with running(files, tmp_path_factory.mktemp("mitmproxy"), modes) as process:
        yield process


@pytest.fixture(scope="session")
def guarded_mitmproxy(files: LocalWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mitmproxy]:
    """One that wants user name and password."""
    guard = ["--proxyauth", f"{USER}:{PASSWORD}"]
    with running(files, tmp_path_factory.mktemp("guarded"), ["regular"], *guard) as process:
        yield process
