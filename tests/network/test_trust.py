"""TLS: what is refused says which host and what to do, and client keys may be encrypted."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from authority import Authority, behind_tls, listening, openssl, server_context

import seakernel
from seakernel import aio

if TYPE_CHECKING:
    from pathlib import Path

    from seakernel.local import LocalWarehouse

PASSPHRASE = "pass phrase-canary"


def one(warehouse: LocalWarehouse, address: str, **options: Any) -> int:
    with warehouse.connect(server_hostname=address, **options) as connection:
        (value,) = connection.cursor().execute("SELECT 1").fetchall()[0]
        return int(value)


def one_async(warehouse: LocalWarehouse, address: str, **options: Any) -> int:
    async def main() -> int:
        place = (address, warehouse.http_path, warehouse.access_token)
        async with aio.connect(*place, **options) as connection, connection.cursor() as cursor:
            return int((await (await cursor.execute("SELECT 1")).fetchone())[0])

    return asyncio.run(main())


WAYS = pytest.mark.parametrize("ask", [one, one_async])


def refusal(ask: Any, warehouse: LocalWarehouse, address: str, **options: Any) -> seakernel.OperationalError:
    """The error, which comes at once: another attempt would end in the same way."""
    with pytest.raises(seakernel.OperationalError) as refused:
        ask(warehouse, address, **options)
    error = refused.value
    assert (error.kind, error.retryable, error.attempts) == ("Network", False, 1)
    assert address.partition("://")[2] in error.message
    return error


@WAYS
def test_an_unknown_authority(warehouse: LocalWarehouse, authority: Authority, ask: Any) -> None:
    with behind_tls(warehouse, server_context(*authority.issue("server", "localhost"))) as address:
        error = refusal(ask, warehouse, address)
        assert "is signed by an authority that is not trusted here" in error.message
        assert "tls={'ca_certificates_file': " in (error.hint or "")
        for tls in (
            {"ca_certificates_file": authority.file},
            {"ca_certificates_file": str(authority.file)},
            {"ca_certificates_pem": authority.pem},
        ):
            assert ask(warehouse, address, tls=tls) == 1


@WAYS
@pytest.mark.parametrize(
    ("host", "valid", "expected"),
    [
        ("other.example", None, r"is for other\.example: check the host name"),
        (
            "localhost",
            ("20200101000000Z", "20200229120000Z"),
            r"has expired on 2020-02-29 12:00 UTC, and it is 2\d{3}-",
        ),
        ("localhost", ("20980101000000Z", "20990101000000Z"), r"is not valid before 2098-01-01 00:00 UTC"),
    ],
)
def test_a_certificate_that_does_not_fit(
    warehouse: LocalWarehouse, authority: Authority, ask: Any, host: str, valid: Any, expected: str
) -> None:
    context = server_context(*authority.issue("unfit", host, valid=valid))
    with behind_tls(warehouse, context) as address:
        error = refusal(ask, warehouse, address, tls={"ca_certificates_file": authority.file})
        assert re.search(expected, error.message), error.message


@WAYS
def test_tls_that_is_too_old(warehouse: LocalWarehouse, authority: Authority, ask: Any) -> None:
    context = server_context(*authority.issue("old", "localhost"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    # Nothing older than TLS 1.2 is offered at the usual level.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with behind_tls(warehouse, context) as address:
        # The server really is one: a client that wants TLS 1.1 gets it.
        old = ssl.create_default_context(cafile=authority.file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        port = int(address.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            old.wrap_socket(plain, server_hostname="localhost") as session,
        ):
            assert session.version() == "TLSv1.1"
        error = refusal(ask, warehouse, address, tls={"ca_certificates_file": authority.file})
        assert "speaks only TLS older than 1.2" in error.message


@WAYS
def test_plain_http_where_tls_is_expected(warehouse: LocalWarehouse, ask: Any) -> None:
    address = warehouse.server_hostname.replace("http://", "https://")
    error = refusal(ask, warehouse, address)
    assert "answers with something that is not TLS: check the port" in error.message


def strict(authority: Authority, newest: ssl.TLSVersion) -> ssl.SSLContext:
    context = server_context(*authority.issue("strict", "localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    context.maximum_version = newest
    return context


def encrypted(key: Path, *options: str) -> Path:
    target = key.with_suffix(".encrypted")
    openssl("pkcs8", "-topk8", "-in", key, "-passout", f"pass:{PASSPHRASE}", "-out", target, *options)
    return target


@WAYS
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_with_an_encrypted_key(
    warehouse: LocalWarehouse, authority: Authority, ask: Any, newest: ssl.TLSVersion
) -> None:
    certificate, key = authority.issue("client", "client.example")
    with behind_tls(warehouse, strict(authority, newest)) as address:
        trusted = {"ca_certificates_file": authority.file}
        error = refusal(ask, warehouse, address, tls=trusted)
        assert "wants a client certificate" in error.message
        assert "client_certificate_pem" in (error.hint or "")
        for options in ((), ("-scrypt",), ("-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512")):
            pair = {
                "client_certificate_pem": certificate.read_bytes(),
                "client_key_pem": encrypted(key, *options).read_bytes(),
            }
            passphrase = PASSPHRASE.encode() if options else PASSPHRASE
            assert ask(warehouse, address, tls={**trusted, **pair, "client_key_passphrase": passphrase}) == 1
        for passphrase, expected in (
            ("wrong-canary", "`client_key_passphrase` is not its passphrase"),
            (None, "give its passphrase as `client_key_passphrase`"),
            (object(), "`client_key_passphrase` is neither a text nor bytes"),
        ):
            with pytest.raises(seakernel.ProgrammingError, match=expected) as wrong:
                ask(warehouse, address, tls={**trusted, **pair, "client_key_passphrase": passphrase})
            assert "canary" not in f"{wrong.value} {wrong.value!r}"


def test_an_encrypted_key_named_as_for_the_connector(warehouse: LocalWarehouse, authority: Authority) -> None:
    certificate, key = authority.issue("connector", "client.example")
    together = authority.folder / "together.pem"
    together.write_bytes(certificate.read_bytes() + encrypted(key).read_bytes())
    with behind_tls(warehouse, strict(authority, ssl.TLSVersion.TLSv1_3)) as address:
        for files in (
            {"_tls_client_cert_file": certificate, "_tls_client_cert_key_file": encrypted(key)},
            {"_tls_client_cert_file": together},
        ):
            options = {**files, "_tls_client_cert_key_password": PASSPHRASE, "_tls_trusted_ca_file": authority.file}
            assert one(warehouse, address, **options) == 1


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({"ca_certificates_file": "/no/such/file"}, "`ca_certificates_file`: `/no/such/file` cannot be read"),
        ({"ca_certificates_file": ""}, "`ca_certificates_file` is empty"),
        ({"ca_certificates_file": 1.5}, "`ca_certificates_file` is of type `float`; expected the name of a file"),
        ({"ca_certificates_file": "/dev/null"}, "`ca_certificates_file`: `/dev/null` is not a regular file"),
        ({"ca_certificates_file": "/dev/zero"}, "`ca_certificates_file`: `/dev/zero` is not a regular file"),
        ({"client_key_passphrase": "pass-canary"}, "`client_key_passphrase` has no `client_key_pem`"),
        (
            {
                "client_certificate_pem": b"x",
                "client_key_pem": b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n"
                b"-----END RSA PRIVATE KEY-----\n",
                "client_key_passphrase": "pass-canary",
            },
            "openssl pkcs8 -topk8",
        ),
    ],
)
def test_wrong_options_are_named(warehouse: LocalWarehouse, tls: dict[str, Any], expected: str) -> None:
    for ask in (one, one_async):
        with pytest.raises(seakernel.ProgrammingError, match=expected) as caught:
            ask(warehouse, "https://localhost:1", tls=tls)
        assert "canary" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("irregular", ["pipe", "/dev/zero", "large"])
def test_a_file_that_is_none_is_refused_at_once(
    warehouse: LocalWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, irregular: str
) -> None:
    file, expected = tmp_path / irregular, "is not a regular file"
    if irregular == "pipe":
        os.mkfifo(file)
    if irregular == "large":
        file.write_bytes(b"")
        os.truncate(file, (16 << 20) + 1)
        expected = "is larger than 16 MiB"

    def refused(name: str, **options: Any) -> None:
        for ask in (one, one_async):
            with pytest.raises(seakernel.ProgrammingError, match=f"`{name}`: .*`{file}`.* {expected}"):
                ask(warehouse, "https://localhost:1", **options)

    refused("ca_certificates_file", tls={"ca_certificates_file": file})
    refused("_tls_trusted_ca_file", _tls_trusted_ca_file=file)
    refused("_tls_client_cert_file", _tls_client_cert_file=file)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(file))
            refused(name)
            # To a warehouse without TLS it is of no account.
            assert one(warehouse, warehouse.server_hostname) == 1
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_DIR", str(tmp_path))
        if irregular == "large":
            with pytest.raises(seakernel.ProgrammingError, match=r"`SSL_CERT_DIR`: .* holds more than 16 MiB"):
                one(warehouse, "https://localhost:1")
        else:
            with pytest.raises(seakernel.OperationalError, match="no connection to localhost:1"):
                one(warehouse, "https://localhost:1", retry={"max_attempts": 1})


def test_nothing_of_keys_and_passwords_is_told(
    warehouse: LocalWarehouse, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.issue("told", "client.example")
    tls = {
        "ca_certificates_file": authority.file,
        "client_certificate_pem": certificate.read_bytes(),
        "client_key_pem": encrypted(key).read_bytes(),
        "client_key_passphrase": PASSPHRASE,
    }
    block = key.read_text().splitlines()[1]
    with caplog.at_level(1), behind_tls(warehouse, strict(authority, ssl.TLSVersion.TLSv1_3)) as address:
        with warehouse.connect(server_hostname=address, tls=tls) as connection:
            connection.cursor().execute("SELECT 1").fetchall()
            shown = [repr(connection), repr(vars(connection)), repr(connection._session)]
        with listening(lambda taken: taken.close()) as port:
            given = {"url": f"http://127.0.0.1:{port}", "username": "me", "password": PASSPHRASE}
            with pytest.raises(seakernel.OperationalError) as failed:
                one(warehouse, address, tls=tls, proxy=given, retry={"max_attempts": 2, "min_wait_s": 0.01})
        shown += [str(failed.value), repr(failed.value)]
    assert any(record.levelno <= logging.DEBUG for record in caplog.records)
    for text in (caplog.text, *shown):
        assert PASSPHRASE not in text
        assert block not in text
