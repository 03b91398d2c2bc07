"""TLS options, against the local warehouse behind a TLS listener."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from authority import Authority, behind_tls, server_context

import seakernel

if TYPE_CHECKING:
    from pathlib import Path

    from seakernel.local import LocalWarehouse

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def one(warehouse: LocalWarehouse, address: str, **tls: Any) -> int:
    with warehouse.connect(server_hostname=address, tls=tls, retry={"max_attempts": 1}) as connection:
        (value,) = connection.cursor().execute("SELECT 1").fetchall()[0]
        return int(value)


def test_an_unknown_authority_is_refused_and_named_and_an_own_one_is_trusted(
    warehouse: LocalWarehouse, authority: Authority
) -> None:
    with behind_tls(warehouse, server_context(*authority.issue("server", "localhost"))) as address:
        with pytest.raises(seakernel.OperationalError, match=r"(?i)certificate") as refused:
            one(warehouse, address)
        assert refused.value.kind == "Network"
        assert one(warehouse, address, ca_certificates_pem=authority.pem) == 1


def test_a_certificate_of_another_host_is_refused_unless_names_are_not_verified(
    warehouse: LocalWarehouse, authority: Authority
) -> None:
    with behind_tls(warehouse, server_context(*authority.issue("other", "other.example"))) as address:
        with pytest.raises(seakernel.OperationalError, match=r"(?i)certificate"):
            one(warehouse, address, ca_certificates_pem=authority.pem)
        assert one(warehouse, address, ca_certificates_pem=authority.pem, verify_hostnames=False) == 1
        # The authority counts all the same.
        with pytest.raises(seakernel.OperationalError, match=r"(?i)certificate"):
            one(warehouse, address, verify_hostnames=False)


def test_verification_off_takes_anything_and_warns(
    warehouse: LocalWarehouse, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    context = server_context(*authority.issue("any", "other.example"))
    with behind_tls(warehouse, context) as address, caplog.at_level(logging.WARNING):
        assert one(warehouse, address, verify_certificates=False) == 1
        assert one(warehouse, address, verify_certificates=False, verify_hostnames=True) == 1
        with warehouse.connect(server_hostname=address, _tls_no_verify=True) as connection:
            assert connection.cursor().execute("SELECT 1").fetchall() == [(1,)]
    assert "certificates are not verified" in caplog.text


def test_a_client_certificate_is_shown(warehouse: LocalWarehouse, authority: Authority) -> None:
    context = server_context(*authority.issue("strict", "localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.folder / "ca.pem")
    certificate, key = authority.issue("client", "client.example")
    with behind_tls(warehouse, context) as address:
        with pytest.raises(seakernel.OperationalError):
            one(warehouse, address, ca_certificates_pem=authority.pem)
        pair = {"client_certificate_pem": certificate.read_bytes(), "client_key_pem": key.read_bytes()}
        assert one(warehouse, address, ca_certificates_pem=authority.pem, **pair) == 1


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({"ca_certificates_pem": b"nothing"}, "BEGIN CERTIFICATE"),
        ({"client_certificate_pem": b"x"}, "has no key"),
        ({"client_key_pem": b"x"}, "has no certificate"),
        ({"client_key_pem": b"\xff", "client_certificate_pem": b"x"}, "not PEM"),
        ({"verify": False}, "has no key `verify`"),
    ],
)
def test_wrong_options_are_refused(tls: dict[str, Any], expected: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = [f"https://localhost:{listener.getsockname()[1]}", "/sql/1.0/warehouses/a0ac9c0c6b14da15", "token"]
        with pytest.raises(seakernel.ProgrammingError, match=expected):
            seakernel.connect(*place, tls=tls, retry={"max_attempts": 1})
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()  # nobody came


def test_files_named_as_for_the_connector_are_used(
    warehouse: LocalWarehouse, authority: Authority, tmp_path: Path
) -> None:
    context = server_context(*authority.issue("both", "localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.folder / "ca.pem")
    certificate, key = authority.issue("client-file", "client.example")
    together = tmp_path / "both.pem"
    together.write_bytes(certificate.read_bytes() + key.read_bytes())
    with behind_tls(warehouse, context) as address:
        for files in (
            {"_tls_client_cert_file": str(certificate), "_tls_client_cert_key_file": key},
            {"_tls_client_cert_file": together},
        ):
            options: dict[str, Any] = {"server_hostname": address, "_tls_trusted_ca_file": authority.folder / "ca.pem"}
            with warehouse.connect(**options, **files) as connection:
                assert connection.cursor().execute("SELECT 1").fetchall() == [(1,)]
