"""The local warehouse behind TLS: OpenSSL, by requests and Python's ssl, is the judge of its certificates."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography import x509
from databricks.sdk import WorkspaceClient

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from pathlib import Path


def shake_hands(warehouse: LocalWarehouse, context: ssl.SSLContext, name: str = "localhost") -> str | None:
    """Connects as a strict client and tells the version agreed on."""
    port = int(warehouse.server_hostname.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        # With 1.3 the server speaks its mind on the client's certificate only after the handshake.
        encrypted.sendall(b"GET /aad/auth HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert encrypted.recv(100).startswith(b"HTTP/1.1")
        return encrypted.version()


def trusting(warehouse: LocalWarehouse) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=warehouse.ca_certificate_pem.decode())
    # The default of newer Pythons.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_the_api_and_the_store_are_trusted_by_the_authority_alone() -> None:
    with LocalWarehouse(tls=True, inline_bytes=0) as warehouse:
        assert warehouse.server_hostname.startswith("https://localhost:")
        assert shake_hands(warehouse, trusting(warehouse)) == "TLSv1.3"
        assert shake_hands(warehouse, trusting(warehouse), "127.0.0.1") == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed certificate|local issuer"):
            shake_hands(warehouse, ssl.create_default_context())
        with warehouse.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM range(5000)")
            assert len(cursor.fetchall()) == 5000
        served = {(entry["origin"], entry["status"]) for entry in warehouse.requests()}
        assert ("storage", 200) in served
        with pytest.raises(seakernel.OperationalError):
            seakernel.connect(
                warehouse.server_hostname,
                warehouse.http_path,
                access_token=warehouse.access_token,
                retry={"max_attempts": 1},
            )
        # The server learns of a refusal after the client.
        for _ in range(3000):
            if warehouse.counters()["failed_handshakes"] >= 2:
                break
            time.sleep(0.01)
        assert warehouse.counters()["failed_handshakes"] >= 2


def test_the_sdk_signs_in_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalWarehouse(tls=True, oauth=True) as warehouse:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(warehouse.ca_certificate_path))
        client = WorkspaceClient(
            host=warehouse.server_hostname,
            client_id=warehouse.identity.client_id,
            client_secret=warehouse.identity.client_secret,
        )
        assert [entry.odbc_params.protocol for entry in client.warehouses.list()] == ["https"]


def test_the_certificates_say_what_they_are_for() -> None:
    with LocalWarehouse(tls=True) as warehouse:
        authority = x509.load_pem_x509_certificate(warehouse.ca_certificate_pem)
        client = x509.load_pem_x509_certificate(warehouse.client_certificate_pem)
        port = int(warehouse.server_hostname.rpartition(":")[2])
        server = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())
        for certificate in [authority, server, client]:
            certificate.verify_directly_issued_by(authority)
            assert 0 < certificate.serial_number < 1 << 127
        assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(name.value) for name in names] == ["localhost", "127.0.0.1", "::1"]
        assert (server.not_valid_after_utc - server.not_valid_before_utc).days == 397
        path = warehouse.ca_certificate_path
        assert path.read_bytes() == warehouse.ca_certificate_pem
    assert not path.exists()


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("expired", "certificate has expired"),
        ("other_host", "certificate is not valid for|doesn't match"),
        ("unknown_authority", "unable to get local issuer|self-signed certificate"),
    ],
)
def test_a_wrong_certificate(certificate: str, reason: str) -> None:
    with LocalWarehouse(tls={"certificate": certificate}) as warehouse:
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            shake_hands(warehouse, trusting(warehouse))
        with pytest.raises(seakernel.OperationalError):
            warehouse.connect(retry={"max_attempts": 1})


@pytest.mark.parametrize(("versions", "agreed"), [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")])
def test_one_version_only(versions: str, agreed: str) -> None:
    with LocalWarehouse(tls={"versions": versions}) as warehouse:
        context = trusting(warehouse)
        assert shake_hands(warehouse, context) == agreed
        with warehouse.connect() as connection:
            assert connection.cursor().execute("SELECT 1 AS one").fetchall() == [(1,)]
        if versions == "1.2":
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            shake_hands(warehouse, context)


@pytest.mark.parametrize("versions", ["1.2", "1.3"])
def test_a_client_certificate_may_be_demanded(tmp_path: Path, versions: str) -> None:
    options = {"client_certificate": True, "versions": versions}
    with LocalWarehouse(tls=options, inline_bytes=0) as warehouse, LocalWarehouse(tls=True) as other:
        context = trusting(warehouse)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(warehouse, context)
        for owner, welcome in [(other, False), (warehouse, True)]:
            (tmp_path / "cert.pem").write_bytes(owner.client_certificate_pem)
            (tmp_path / "key.pem").write_bytes(owner.client_key_pem)
            context = trusting(warehouse)
            context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
            if welcome:
                assert shake_hands(warehouse, context) == f"TLSv{versions}"
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    shake_hands(warehouse, context)
        with warehouse.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM range(3000)")
            assert len(cursor.fetchall()) == 3000


def test_whoever_speaks_no_tls_does_no_harm() -> None:
    with LocalWarehouse(tls=True) as warehouse:
        with pytest.raises(requests.RequestException):
            requests.get(warehouse.server_hostname.replace("https", "http"), timeout=30)
        assert shake_hands(warehouse, trusting(warehouse)) == "TLSv1.3"


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ({"certificate": "good"}, "tls.certificate"),
        ({"versions": "1.1"}, "tls.versions"),
        ({"cert": 1}, "tls.cert"),
        ("yes", "`tls` is a `str`"),
    ],
)
def test_a_wrong_option_is_named(tls: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalWarehouse(tls=tls)


def test_without_tls_there_is_no_authority() -> None:
    with LocalWarehouse() as warehouse:
        for name in ["ca_certificate_pem", "ca_certificate_path", "client_certificate_pem", "client_key_pem"]:
            with pytest.raises(ValueError, match="tls=True"):
                getattr(warehouse, name)
