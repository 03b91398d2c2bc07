"""Signing in through databricks-sql-kernel 1.3.0 and through the stand-in: the same outcome and the same requests, save where
ours is better."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original
import pytest
from calls import failure
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from seakernel.compat import databricks_sql_kernel as ours
from seakernel.compat._arguments import session_options
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSPHRASE = "canary-passphrase"
SECRET = "canary-client-secret"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256_KEY = ec.generate_private_key(ec.SECP256R1())


def private_pem(key: Any, form: str = "PKCS8", passphrase: str | None = None) -> bytes:
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption)


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "rsa.pem").write_bytes(private_pem(RSA_KEY))
    (folder / "rsa1.pem").write_bytes(private_pem(RSA_KEY, "TraditionalOpenSSL"))
    (folder / "encrypted.pem").write_bytes(private_pem(RSA_KEY, passphrase=PASSPHRASE))
    (folder / "p256.pem").write_bytes(private_pem(P256_KEY))
    (folder / "sec1.pem").write_bytes(private_pem(P256_KEY, "TraditionalOpenSSL"))
    (folder / "none.pem").write_bytes(b"nothing\n")
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalWarehouse]:
    keys: Any = [{"pem": public_pem(RSA_KEY), "key_id": "rsa"}, {"pem": public_pem(P256_KEY), "key_id": "p256"}]
    clients: Any = [{"client_id": "signing-app", "public_keys": keys}]
    with LocalWarehouse(oauth={"client_id": "app", "client_secret": SECRET, "clients": clients}) as warehouse:
        yield warehouse


M2M = {"auth_type": "oauth-m2m", "client_id": "app", "client_secret": SECRET}
JWT = {"auth_type": "oauth-m2m-jwt", "client_id": "signing-app", "jwt_key_file": "rsa.pem", "jwt_kid": "rsa"}
AZURE = {"auth_type": "azure-sp-m2m", "azure_client_id": "a", "azure_client_secret": "canary-azure"}
CASES: dict[str, dict[str, Any]] = {
    "secret": M2M,
    "secret and scopes": {**M2M, "oauth_scopes": ["sql", "offline_access"]},
    "secret and token url": {**M2M, "token_url": "HERE/oidc/v1/token"},
    "secret beside a token": {**M2M, "access_token": "canary-token"},
    "secret and federation": {**M2M, "identity_federation_client_id": "app"},
    "wrong secret": {**M2M, "client_secret": "canary-wrong"},
    "unknown client": {**M2M, "client_id": "nobody"},
    "no secret": {**M2M, "client_secret": None},
    "empty secret": {**M2M, "client_secret": ""},
    "no client": {**M2M, "client_id": None},
    "secret as bytes": {**M2M, "client_secret": b"canary"},
    "scopes as a text": {**M2M, "oauth_scopes": "sql"},
    "token url that is none": {**M2M, "token_url": "nonsense"},
    "token url that is away": {**M2M, "token_url": "HERE/nothing"},
    "client without a type": {"client_id": "app", "client_secret": SECRET},
    "token beside a client": {"access_token": "PAT", "client_id": "app", "client_secret": SECRET},
    "nothing": {},
    "unknown type": {"auth_type": "oauth"},
    "type in capitals": {**M2M, "auth_type": "OAUTH-M2M"},
    "key": JWT,
    "key and scopes": {**JWT, "oauth_scopes": ["sql"]},
    "key in PKCS#1": {**JWT, "jwt_key_file": "rsa1.pem"},
    "key of P-256": {**JWT, "jwt_key_file": "p256.pem", "jwt_kid": "p256", "jwt_algorithm": "ES256"},
    "key in SEC 1": {**JWT, "jwt_key_file": "sec1.pem", "jwt_kid": "p256", "jwt_algorithm": "ES256"},
    "encrypted key": {**JWT, "jwt_key_file": "encrypted.pem", "jwt_passphrase": PASSPHRASE},
    "encrypted key without passphrase": {**JWT, "jwt_key_file": "encrypted.pem"},
    "encrypted key with another passphrase": {**JWT, "jwt_key_file": "encrypted.pem", "jwt_passphrase": "canary-x"},
    "passphrase of a plain key": {**JWT, "jwt_passphrase": PASSPHRASE},
    "empty passphrase of a plain key": {**JWT, "jwt_passphrase": ""},
    "no key": {**JWT, "jwt_key_file": None},
    "no key id": {**JWT, "jwt_kid": None},
    "no client of a key": {**JWT, "client_id": None},
    "file that is not there": {**JWT, "jwt_key_file": "missing.pem"},
    "folder": {**JWT, "jwt_key_file": ""},
    "file without a key": {**JWT, "jwt_key_file": "none.pem"},
    "another key id": {**JWT, "jwt_kid": "p256"},
    **{f"algorithm {name}": {**JWT, "jwt_algorithm": name} for name in ("RS512", "PS256", "PS384")},
    **{f"algorithm {name!r}": {**JWT, "jwt_algorithm": name} for name in ("ES256", "ES512", "rs256", "", "none")},
    "no secret of Azure": {**AZURE, "azure_client_secret": None},
    "no client of Azure": {**AZURE, "azure_client_id": ""},
    "foreign token": {"access_token": "FOREIGN"},
    "foreign token and federation": {"access_token": "FOREIGN", "identity_federation_client_id": "app"},
    "token and federation": {"access_token": "PAT", "identity_federation_client_id": "app"},
    "token of an unknown issuer": {"access_token": "UNKNOWN"},
    "unknown principal of a federation": {"access_token": "FOREIGN", "identity_federation_client_id": "nobody"},
}
# Where the outcomes or the requests differ, and why ours are the better ones; every difference is listed.
BEATS = {
    "secret beside a token": "connections that sign in alike share a token",
    "secret and federation": "connections that sign in alike share a token",
    "wrong secret": "the provider's code is told",
    "unknown client": "the provider's code is told",
    "another key id": "the provider's code is told",
    "key in SEC 1": "what `openssl ecparam -genkey` writes is read",
    "foreign token": "by RFC 8693, as the other drivers do, at the token endpoint that the workspace names",
    "foreign token and federation": "by RFC 8693, as the other drivers do, at the token endpoint that the workspace names",
    "token of an unknown issuer": "by RFC 8693, as the other drivers do, at the token endpoint that the workspace names",
    "unknown principal of a federation": "nobody else is shown in place of the principal that was asked for",
}


def attempt(module: Any, provider: LocalWarehouse, keys: Path, options: dict[str, Any]) -> tuple[Any, list[Any], str]:
    """Returns the outcome, the requests that led to it, and the error's text."""
    identity = provider.identity
    tokens = {
        "FOREIGN": identity.foreign_token(),
        "UNKNOWN": identity.foreign_token(issuer="https://unknown.example.com"),
        "PAT": provider.access_token,
    }
    options = {
        name: str(keys / value) if name == "jwt_key_file" and value is not None else value
        for name, value in options.items()
    }
    if "token_url" in options:
        options["token_url"] = options["token_url"].replace("HERE", provider.server_hostname)
    if "access_token" in options:
        options["access_token"] = tokens.get(options["access_token"], options["access_token"])
    before = len(provider.requests())
    outcome, text = "opened", ""
    try:
        session = module.Session(
            provider.server_hostname, provider.http_path, retry_max_attempts=1, retry_min_wait_secs=0, **options
        )
        session.close()
    except module.KernelError as error:
        outcome, text = failure(error), str(error)
    except (TypeError, ValueError) as error:
        outcome, text = type(error).__name__, str(error)
    asked = [
        (entry["operation"], entry["status"], entry.get("form"))
        for entry in provider.requests()[before:]
        if entry["operation"] != "close_session"
    ]
    return outcome, asked, text


@pytest.mark.parametrize("name", list(CASES))
def test_the_outcome_and_the_requests_are_the_same(name: str, provider: LocalWarehouse, keys: Path) -> None:
    theirs = attempt(original, provider, keys, CASES[name])
    own = attempt(ours, provider, keys, CASES[name])
    if name in BEATS:
        assert own[:2] != theirs[:2], "no difference any more: strike it from the list"
    else:
        assert own[:2] == theirs[:2]
    if own[0] == "ValueError":
        assert own[2] == theirs[2]


def test_there_are_enough_cases() -> None:
    assert len(CASES) > 45
    assert set(BEATS) <= set(CASES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wrong secret", "answered HTTP 401 invalid_client: the client is unknown, or its secret or key is wrong"),
        ("encrypted key without passphrase", "is encrypted: give its passphrase as `passphrase`"),
        ("file that is not there", "missing.pem` cannot be read"),
        ("algorithm 'ES256'", "is a key of RSA, and ES256 needs one of P-256: it fits RS256"),
        ("algorithm 'rs256'", "unsupported JWT algorithm 'rs256'. Supported: RS256, RS384"),
        ("token url that is none", "`token_url` is no https address"),
        ("unknown principal of a federation", "the service principal of the federation is unknown"),
    ],
)
def test_the_text_says_what_is_wrong(name: str, text: str, provider: LocalWarehouse, keys: Path) -> None:
    assert text in attempt(ours, provider, keys, CASES[name])[2]


# Where ours is better --------------------------------------------------------------------------------------------------


def opened(module: Any, warehouse: LocalWarehouse) -> Any:
    options = {"auth_type": "oauth-m2m", "client_id": "app", "client_secret": SECRET}
    return module.Session(warehouse.server_hostname, warehouse.http_path, **options)


@pytest.mark.parametrize(("module", "discoveries"), [(original, 16), (ours, 1)], ids=["official", "seakernel"])
def test_sixteen_connections_at_once_discover_and_sign_in_once(module: Any, discoveries: int) -> None:
    with LocalWarehouse(oauth={"client_id": "app", "client_secret": SECRET}) as warehouse:
        sessions: list[Any] = []
        gate = threading.Barrier(16)

        def work() -> None:
            gate.wait()
            sessions.append(opened(module, warehouse))

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asked = [entry["operation"] for entry in warehouse.requests()]
        assert len(sessions) == 16
        if module is ours:
            assert (asked.count("discovery"), asked.count("token")) == (discoveries, 1)
        else:
            assert 1 < asked.count("discovery") <= discoveries
        for session in sessions:
            session.close()


def test_files_are_read_with_tokens_that_live_three_seconds() -> None:
    # The original waits for ever here.
    oauth: Any = {"client_id": "app", "client_secret": SECRET}
    switches = {"oauth_lifetime_seconds": 3}
    with LocalWarehouse(chunk_rows=500, inline_bytes=0, oauth=oauth, switches=switches) as warehouse:
        session = opened(ours, warehouse)
        for _ in range(3):
            statement = session.statement()
            statement.set_sql("SELECT id FROM range(5000)")
            assert statement.execute().fetch_all_arrow().num_rows == 5000
        session.close()


@pytest.mark.parametrize("operation", ["execute", "chunk"])
def test_a_token_that_was_revoked_is_renewed_once(operation: str) -> None:
    oauth: Any = {"client_id": "app", "client_secret": SECRET}
    switches = {"hybrid_links_per_response": 2}
    with LocalWarehouse(chunk_rows=100, inline_bytes=0, oauth=oauth, switches=switches) as warehouse:
        session = opened(ours, warehouse)
        warehouse.faults([{"on": operation, "do": {"status": {"code": 401}}}])
        statement = session.statement()
        statement.set_sql("SELECT id FROM range(1000)")
        assert statement.execute().fetch_all_arrow().num_rows == 1000
        session.close()
        assert len([entry for entry in warehouse.requests() if entry["operation"] == "token"]) == 2


# What needs a browser or the real Azure is translated, and looked at here -----------------------------------------------


def translated(**options: Any) -> Any:
    import inspect

    signature = inspect.signature(ours.Session)
    arguments = {name: parameter.default for name, parameter in signature.parameters.items()}
    place = {"host": "dbc-1.cloud.databricks.com", "http_path": "/sql/1.0/warehouses/a"}
    return session_options({**arguments, **place, **options})


@pytest.mark.parametrize(
    ("options", "auth"),
    [
        (
            {"auth_type": "oauth-u2m"},
            {"client_id": "databricks-sql-python", "scopes": ["sql", "offline_access"]},
        ),
        (
            {
                "auth_type": "oauth-u2m",
                "client_id": "mine",
                "oauth_scopes": ["all-apis"],
                "redirect_ports": [8020, 8021],
                "oauth_callback_timeout_secs": 30,
                "token_url": "https://a/token",
                "token_cache_enabled": True,
                "token_cache_passphrase": "canary-passphrase",
            },
            {
                "client_id": "mine",
                "scopes": ["all-apis"],
                "redirect_ports": [8020, 8021],
                "callback_timeout_s": 30.0,
                "token_url": "https://a/token",
                "cache": True,
                "cache_passphrase": "canary-passphrase",
            },
        ),
        (
            {"auth_type": "oauth-u2m", "token_cache_enabled": False, "token_cache_passphrase": "canary"},
            {"client_id": "databricks-sql-python", "scopes": ["sql", "offline_access"], "cache": False},
        ),
    ],
)
def test_signing_in_with_a_browser_is_translated(options: dict[str, Any], auth: dict[str, Any]) -> None:
    got = translated(**options)
    assert got["auth"] == {"type": "oauth-u2m", **auth}
    assert "access_token" not in got


def test_a_service_principal_of_entra_is_translated() -> None:
    azure = {"azure_tenant_id": "t", "azure_workspace_resource_id": "/w"}
    got = translated(**AZURE, **azure, token_url="https://ignored/")
    own = {"azure_client_id": "a", "azure_client_secret": "canary-azure"}
    assert got["auth"] == {"type": "azure-client-secret", **own, **azure}
    assert translated(**AZURE, azure_tenant_id="")["auth"] == {"type": "azure-client-secret", **own}
