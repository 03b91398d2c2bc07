"""Machines that sign in: service principals with secrets and keys, Azure, and workloads with tokens of their platform."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from authority import Authority, listening, server_context
from machine_keys import (
    CLIENTS,
    OTHER_KEY,
    P256_KEY,
    P384_KEY,
    PASSPHRASE,
    RESOURCE_ID,
    RSA_KEY,
    answering,
    private_pem,
)

import seakernel
from seakernel import aio
from seakernel.compat import databricks_sql_kernel as compat
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping
    from pathlib import Path

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalWarehouse]:
    oauth: Any = {"client_secret": "canary-client-secret", "clients": CLIENTS}
    with LocalWarehouse(oauth=oauth) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def azure() -> Iterator[LocalWarehouse]:
    """A workspace that knows nobody but whom Azure names."""
    options: Any = {
        "azure": {
            "client_secret": "canary-azure-secret",
            "workspace_resource_id": RESOURCE_ID,
            "require_management_token": True,
        }
    }
    with LocalWarehouse(oauth=options) as warehouse:
        yield warehouse


@pytest.fixture
def fresh() -> Iterator[LocalWarehouse]:
    """A provider that a test disturbs, with tokens whose form the watch for secrets knows."""
    oauth: Any = {"client_secret": "canary-client-secret", "clients": CLIENTS}
    with LocalWarehouse(oauth=oauth, switches={"oauth_token_format": "opaque"}) as warehouse:
        yield warehouse


def connect(warehouse: LocalWarehouse, auth: Mapping[str, Any], **options: Any) -> seakernel.Connection:
    place = {"server_hostname": warehouse.server_hostname, "http_path": warehouse.http_path}
    quick: Any = {"max_attempts": 3, "min_wait_s": 0.01, "max_wait_s": 0.05}
    return seakernel.connect(**{**place, "auth": auth, "retry": quick, **options})


def query(connection: seakernel.Connection) -> Any:
    with connection.cursor() as cursor:
        return cursor.execute("SELECT 1 AS one").fetchall()


def logged(warehouse: LocalWarehouse, *operations: str) -> list[dict[str, Any]]:
    return [entry for entry in warehouse.requests() if entry["operation"] in operations]


def signs_in(warehouse: LocalWarehouse, auth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Signs in, also by asyncio, and returns what the provider was asked; the second sign-in shares the first one's token."""
    before = len(warehouse.requests())
    with connect(warehouse, auth) as connection:
        assert query(connection) == [(1,)]

    async def again() -> Any:
        place = {"server_hostname": warehouse.server_hostname, "http_path": warehouse.http_path}
        async with await aio.connect(**place, auth=auth) as connection, connection.cursor() as cursor:  # type: ignore[arg-type]
            return await (await cursor.execute("SELECT 1 AS one")).fetchall()

    assert asyncio.run(again()) == [(1,)]
    asked = [entry for entry in warehouse.requests()[before:] if not entry["operation"].endswith("session")]
    return [
        entry for entry in asked if entry["operation"] in ("discovery", "token", "azure_tenant", "azure_token", "imds")
    ]


def operations(asked: list[dict[str, Any]]) -> list[str]:
    return [entry["operation"] for entry in asked]


def refused(warehouse: LocalWarehouse, auth: Mapping[str, Any], **options: Any) -> seakernel.Error:
    with pytest.raises(seakernel.Error) as caught:
        connect(warehouse, auth, **options)
    text = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "MII" not in text, "a key leaked"
    return caught.value


# Signed tokens -------------------------------------------------------------------------------------------------------


def signing(**options: Any) -> dict[str, Any]:
    return {"type": "oauth-m2m-jwt", "client_id": "signing-app", "key_id": "rsa", **options}


@pytest.mark.parametrize(
    ("algorithm", "key", "key_id"),
    [
        *((name, RSA_KEY, "rsa") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", P256_KEY, "p256"),
        ("ES384", P384_KEY, "p384"),
    ],
)
def test_a_client_signs_with_its_key(provider: LocalWarehouse, algorithm: str, key: Any, key_id: str) -> None:
    asked = signs_in(provider, signing(key_pem=private_pem(key), key_id=key_id, algorithm=algorithm))
    assert operations(asked) == ["discovery", "token"]
    assert asked[1]["form"] == {
        "grant_type": "client_credentials",
        "scope": "all-apis",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "REDACTED",
    }


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("key", [RSA_KEY, P256_KEY], ids=["rsa", "p256"])
def test_keys_come_from_files_of_the_usual_forms(provider: LocalWarehouse, tmp_path: Path, form: str, key: Any) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(key, form))
    own = {"key_id": "rsa"} if key is RSA_KEY else {"key_id": "p256", "algorithm": "ES256"}
    for named in (file, str(file)):
        with connect(provider, signing(key_file=named, **own)) as connection:
            assert query(connection) == [(1,)]


def test_an_encrypted_key_needs_its_passphrase(provider: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(RSA_KEY, passphrase=PASSPHRASE))
    with connect(provider, signing(key_file=file, passphrase=PASSPHRASE)) as connection:
        assert query(connection) == [(1,)]
    file = tmp_path / "old.pem"
    file.write_bytes(private_pem(RSA_KEY, "TraditionalOpenSSL", PASSPHRASE))
    assert "openssl pkcs8 -topk8" in str(refused(provider, signing(key_file=file, passphrase=PASSPHRASE)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key_file": "/missing/key.pem"}, "`key_file`: the file `/missing/key.pem` cannot be read"),
        ({"key_file": "/"}, "is not a regular file"),
        ({"key_pem": "canary"}, "`key_pem` is no private key in PEM"),
        (
            {"key_pem": private_pem(RSA_KEY), "passphrase": "canary"},
            "`key_pem` is not encrypted: leave out `passphrase`",
        ),
        ({"key_pem": private_pem(RSA_KEY, passphrase=PASSPHRASE)}, "give its passphrase as `passphrase`"),
        (
            {"key_pem": private_pem(RSA_KEY, passphrase=PASSPHRASE), "passphrase": "canary"},
            "`passphrase` is not its passphrase",
        ),
        ({"key_pem": private_pem(RSA_KEY), "algorithm": "ES256"}, "ES256 needs one of P-256: it fits RS256"),
        ({"key_pem": private_pem(P256_KEY)}, "RS256 needs one of RSA: it fits ES256"),
        ({"key_pem": private_pem(RSA_KEY), "key_file": "a"}, "`key_file` and `key_pem` are both given"),
        ({}, "`key_file` is missing, and so is `key_pem`"),
        ({"key_file": ""}, "`key_file` is empty"),
        ({"key_file": 7}, "`key_file` is of type `int`; expected a path"),
        ({"key_pem": b""}, "`key_pem` is empty"),
        ({"key_pem": b"\xff"}, "`key_pem` is no text"),
        ({"key_pem": 7}, "`key_pem` is of type `int`; expected a text"),
        ({"key_pem": "x", "algorithm": "none"}, "`algorithm` is none of `RS256`"),
        ({"key_pem": "x", "key_id": ""}, "`key_id` is empty"),
        ({"key_pem": "x", "client_secret": "canary"}, "`auth` has no key `client_secret`"),
        ({"key_pem": private_pem(RSA_KEY), "token_url": "http://example.com/token"}, "`token_url` is no https address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_key_is_named_before_anything_is_sent(
    provider: LocalWarehouse, options: dict[str, Any], text: str
) -> None:
    before = len(provider.requests())
    error = refused(provider, signing(**options))
    assert text in str(error)
    assert (error.kind, error.retryable) == ("InvalidArgument", False)  # type: ignore[attr-defined]
    assert "token" not in operations(provider.requests()[before:])


def test_a_key_that_is_not_registered_is_refused(provider: LocalWarehouse) -> None:
    error = refused(provider, signing(key_pem=private_pem(OTHER_KEY)))
    assert "HTTP 401 invalid_client: the client is unknown, or its secret or key is wrong" in str(error)
    assert (error.kind, error.http_status) == ("Unauthenticated", 401)  # type: ignore[attr-defined]


def test_each_attempt_has_a_signed_token_of_its_own(fresh: LocalWarehouse) -> None:
    # The provider has seen the first token and would refuse it a second time.
    fresh.faults([{"on": "token", "times": 2, "do": {"status": {"code": 500}}}])
    with connect(fresh, signing(key_pem=private_pem(RSA_KEY))) as connection:
        assert query(connection) == [(1,)]
    assert [entry["status"] for entry in logged(fresh, "token")] == [500, 500, 200]


def test_a_key_file_that_was_replaced_is_read_anew(fresh: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(RSA_KEY))
    with connect(fresh, signing(key_file=file)) as connection:
        file.write_bytes(private_pem(OTHER_KEY))
        fresh.revoke_tokens()
        with pytest.raises(seakernel.Error, match="invalid_client"):
            query(connection)
        file.write_bytes(private_pem(RSA_KEY))
        assert query(connection) == [(1,)]


# Azure ---------------------------------------------------------------------------------------------------------------


def entra(azure: LocalWarehouse, **options: Any) -> dict[str, Any]:
    return {
        "type": "azure-client-secret",
        "azure_client_id": azure.identity.azure_client_id,
        "azure_client_secret": "canary-azure-secret",
        "azure_workspace_resource_id": RESOURCE_ID,
        "login_url": azure.server_hostname,
        **options,
    }


def test_a_service_principal_of_entra_finds_its_tenant_and_shows_both_tokens(azure: LocalWarehouse) -> None:
    asked = signs_in(azure, entra(azure))
    assert operations(asked) == ["azure_tenant", "azure_token", "azure_token"]
    assert {entry["form"]["scope"] for entry in asked[1:]} == {
        "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default",
        "https://management.core.windows.net//.default",
    }
    headers = set(logged(azure, "execute")[-1]["headers"])
    assert {"x-databricks-azure-sp-management-token", "x-databricks-azure-workspace-resource-id"} <= headers


def test_a_service_principal_that_is_a_user_needs_one_token(provider: LocalWarehouse) -> None:
    own = {"azure_client_secret": provider.identity.azure_client_secret, "azure_workspace_resource_id": None}
    named = {**own, "type": "azure-sp-m2m", "azure_tenant_id": provider.identity.azure_tenant_id}
    assert operations(signs_in(provider, entra(provider, **named))) == ["azure_token"]


def test_both_tokens_of_azure_are_renewed_together(azure: LocalWarehouse) -> None:
    with connect(azure, entra(azure, timeout_s=14)) as connection:
        assert query(connection) == [(1,)]
        before = len(logged(azure, "azure_token"))
        azure.revoke_tokens()
        assert query(connection) == [(1,)]
        assert len(logged(azure, "azure_token")) - before == 2


def test_a_machine_signs_in_with_its_identity(azure: LocalWarehouse) -> None:
    endpoint = f"{azure.server_hostname}/metadata/identity/oauth2/token"
    named = {"type": "azure-managed-identity", "endpoint": endpoint, "azure_workspace_resource_id": RESOURCE_ID}
    assert operations(signs_in(azure, named)) == ["imds", "imds"]
    client_id = azure.identity.managed_identity_client_id
    asked = signs_in(azure, {**named, "type": "azure-msi", "azure_client_id": client_id})
    assert [entry["query"].get("client_id") for entry in asked] == [client_id, client_id]
    error = refused(azure, {**named, "azure_client_id": "another"})
    assert "HTTP 400 invalid_request: this machine has no such identity (Identity not found)" in str(error)


def test_an_app_is_told_of_its_identity_by_the_environment(
    provider: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    place = f"{provider.server_hostname}/metadata/identity/oauth2/token"

    def answer(query: str, headers: Mapping[str, str]) -> Mapping[str, Any] | None:
        asked = json.loads(query)
        if headers.get("X-IDENTITY-HEADER") != "canary-identity-header" or asked["api-version"] != "2019-08-01":
            return None
        issued = requests.get(place, {**asked, "api-version": "2018-02-01"}, headers={"Metadata": "true"}, timeout=30)
        return {key: value for key, value in issued.json().items() if key not in ("expires_in", "ext_expires_in")}

    with answering(answer) as address:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "canary-identity-header")
        with connect(provider, {"type": "azure-managed-identity"}) as connection:
            assert query(connection) == [(1,)]
        monkeypatch.setenv("IDENTITY_HEADER", "canary-wrong-header")
        error = refused(provider, {"type": "azure-managed-identity", "timeout_s": 14})
        assert "HTTP 403 access_denied" in str(error)


def test_the_metadata_service_is_asked_past_every_proxy(azure: LocalWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    before = len(logged(azure, "imds"))
    auth = {
        "type": "azure-managed-identity",
        "endpoint": f"{azure.server_hostname}/metadata/identity/oauth2/token",
    }
    # The workspace, which is asked next, cannot be reached.
    error = refused(azure, auth, server_hostname="adb-1.2.azuredatabricks.net", retry={"max_attempts": 1})
    assert "open session" in str(error)
    assert [entry["status"] for entry in logged(azure, "imds")[before:]] == [200]


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        ({"azure_client_secret": "canary-wrong"}, "HTTP 401 invalid_client"),
        ({"azure_tenant_id": "../x"}, "`azure_tenant_id` is neither an id nor a domain name"),
        ({"azure_tenant_id": "other"}, "(AADSTS90002: Tenant not found.)"),
        ({"login_url": "http://example.com/"}, "`login_url` is no https address"),
        ({"azure_client_id": ""}, "`azure_client_id` is empty"),
        ({"type": "azure-managed-identity", "endpoint": "http://127.0.0.1:9/a"}, "Azure's machines only"),
        ({"type": "azure-managed-identity", "endpoint": "http://10.0.0.1/a"}, "`endpoint` is neither an https address"),
    ],
    ids=str,
)
def test_what_is_wrong_on_azure_is_said(azure: LocalWarehouse, auth: dict[str, Any], text: str) -> None:
    if "type" not in auth:
        auth = entra(azure, **auth)
    assert text in str(refused(azure, auth))


def test_a_workspace_that_is_not_on_azure_says_so(warehouse: LocalWarehouse) -> None:
    auth = {"type": "azure-client-secret", "azure_client_id": "a", "azure_client_secret": "canary"}
    error = refused(warehouse, auth)
    assert "did not name its Azure tenant (HTTP 404): is it on Azure? Give `azure_tenant_id`" in str(error)


# Federation ----------------------------------------------------------------------------------------------------------


def test_a_workload_exchanges_the_token_of_its_file(provider: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(provider.identity.foreign_token() + "\n")
    asked = signs_in(provider, {"type": "file-oidc", "token_file": file, "client_id": "federated-app"})
    assert operations(asked) == ["discovery", "token"]
    assert asked[1]["form"] == {
        "grant_type": EXCHANGE,
        "subject_token": "REDACTED",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "scope": "all-apis",
        "client_id": "federated-app",
    }


def test_a_token_file_that_was_replaced_is_read_anew(fresh: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(fresh.identity.foreign_token())
    with connect(fresh, {"type": "file-oidc", "token_file": file}) as connection:
        file.write_text(fresh.identity.foreign_token(lifetime_s=-60))
        fresh.revoke_tokens()
        with pytest.raises(seakernel.Error, match=r"invalid_grant.*the token has expired"):
            query(connection)
        file.write_text(fresh.identity.foreign_token())
        assert query(connection) == [(1,)]


def test_a_workload_exchanges_the_token_of_its_environment(
    provider: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", provider.identity.foreign_token())
    assert signs_in(provider, {"type": "env-oidc"})[1]["form"].get("client_id") is None
    monkeypatch.setenv("CI_TOKEN", provider.identity.foreign_token(subject="job"))
    asked = signs_in(provider, {"type": "env-oidc", "token_env": "CI_TOKEN", "scopes": ["sql"]})
    assert asked[1]["form"]["scope"] == "sql"


def test_a_job_of_github_exchanges_the_token_made_for_it(
    provider: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    audiences = []

    def answer(query: str, headers: Mapping[str, str]) -> Mapping[str, Any] | None:
        if headers.get("Authorization") != "Bearer canary-job-token":
            return None
        audiences.append(json.loads(query)["audience"])
        return {"value": provider.identity.foreign_token(subject="repo:a/b"), "count": 1}

    with answering(answer) as address:
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{address}/token?api-version=2.0")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "canary-job-token")
        signs_in(provider, {"type": "github-oidc", "client_id": "federated-app"})
        signs_in(provider, {"type": "github-oidc", "client_id": "federated-app", "audience": "my-account"})
        assert audiences == [f"{provider.server_hostname}/oidc/v1/token", "my-account"]
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "canary-another")
        assert "access_denied" in str(refused(provider, {"type": "github-oidc"}))


def federation(token: str, **options: Any) -> dict[str, Any]:
    return {"type": "token-federation", "token": token, **options}


def test_a_foreign_token_is_exchanged(provider: LocalWarehouse) -> None:
    token = provider.identity.foreign_token()
    asked = signs_in(provider, federation(token))
    assert asked[1]["form"]["return_original_token_if_authenticated"] == "true"
    asked = signs_in(provider, federation(token, client_id="federated-app"))
    assert asked[1]["form"]["client_id"] == "federated-app"


def test_a_token_of_the_workspace_is_used_as_it_is(provider: LocalWarehouse) -> None:
    import requests

    assert signs_in(provider, federation(provider.access_token)) == []
    identity = provider.identity
    form = {"grant_type": "client_credentials", "scope": "all-apis"}
    place = f"{provider.server_hostname}/oidc/v1/token"
    own = requests.post(place, form, auth=(identity.client_id, identity.client_secret), timeout=30).json()
    assert operations(signs_in(provider, federation(own["access_token"]))) == []


def test_a_token_that_cannot_be_exchanged_is_shown_to_the_workspace_once(
    provider: LocalWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    token = provider.identity.foreign_token(issuer="https://unknown.example.com")
    # As it is, and when the workspace refuses it, too, the provider is asked again and has the last word.
    error = refused(provider, federation(token))
    assert "invalid_grant" in str(error)
    (warned,) = [record for record in caplog.records if "could not be exchanged" in record.getMessage()]
    assert "the issuer of the token is not registered" in warned.getMessage()
    # Somebody else must not be shown in place of a service principal.
    error = refused(provider, federation(token, client_id="federated-app"))
    assert "invalid_grant" in str(error)


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        (
            {"type": "file-oidc", "token_file": "/missing/token"},
            "`token_file`: the file `/missing/token` cannot be read",
        ),
        ({"type": "file-oidc", "token_file": "/dev/null"}, "is not a regular file"),
        ({"type": "env-oidc", "token_env": "NOT_SET"}, "environment variable `NOT_SET` is not set or empty"),
        ({"type": "github-oidc"}, "`permissions: id-token: write`"),
        ({"type": "token-federation", "token": "canary", "client_id": ""}, "`client_id` is empty"),
        ({"type": "token-federation", "token": 7}, "`token` is of type `int`"),
        ({"type": "file-oidc", "token_file": "a", "audience": "b"}, "`auth` has no key `audience`"),
        ({"type": "nonsense"}, "`auth` has the type `nonsense`; expected one of `oauth-m2m`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_workload_without_its_token_is_told_so(
    provider: LocalWarehouse, auth: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    error = refused(provider, auth)
    assert text in str(error)
    assert error.kind == "InvalidArgument"  # type: ignore[attr-defined]


# Through keywords of others --------------------------------------------------------------------------------------------


def test_keywords_of_the_connector_sign_in(provider: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(RSA_KEY, passphrase=PASSPHRASE))
    place = {"server_hostname": provider.server_hostname, "http_path": provider.http_path}
    secret = {"oauth_client_id": provider.identity.client_id, "oauth_client_secret": "canary-client-secret"}
    key = {
        "oauth_client_id": "signing-app",
        "oauth_jwt_key_file": str(file),
        "oauth_jwt_kid": "rsa",
        "oauth_jwt_passphrase": PASSPHRASE,
    }
    foreign = {
        "access_token": provider.identity.foreign_token(),
        "identity_federation_client_id": "federated-app",
    }
    for keywords in (secret, {**secret, "auth_type": "oauth-m2m"}, key, foreign):
        with seakernel.connect(**place, **keywords) as connection:  # type: ignore[arg-type]
            assert query(connection) == [(1,)]


# Over time -----------------------------------------------------------------------------------------------------------


def run_for(warehouse: LocalWarehouse, seconds: float, threads: int) -> tuple[int, list[BaseException]]:
    """Queries from so many threads over so many seconds, and reads one result slowly all the while."""
    auth = {"type": "oauth-m2m", "client_id": warehouse.identity.client_id, "client_secret": "canary-client-secret"}
    errors: list[BaseException] = []
    until = time.monotonic() + seconds
    done = [0] * threads

    def work(number: int, connection: seakernel.Connection) -> None:
        try:
            while time.monotonic() < until:
                with connection.cursor() as cursor:
                    assert len(cursor.execute("SELECT id FROM range(3000)").fetchall()) == 3000
                done[number] += 1
        except BaseException as error:  # noqa: BLE001 - told by the caller
            errors.append(error)

    def read_slowly(connection: seakernel.Connection) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT id FROM range(40000)")
                rows = 0
                for part in range(40):
                    rows += len(cursor.fetchmany(1000))
                    time.sleep(max(0.0, until - time.monotonic()) / (40 - part))
                assert rows == 40000
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    # Few chunks at once, so that links are asked for until the end.
    slow = connect(warehouse, auth, results={"memory_budget_bytes": 20000, "max_concurrent_downloads": 1})
    with connect(warehouse, auth) as one, connect(warehouse, auth) as other, slow:
        workers = [threading.Thread(target=work, args=(n, (one, other)[n % 2])) for n in range(threads)]
        workers.append(threading.Thread(target=read_slowly, args=(slow,)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return sum(done), errors


def test_tokens_of_two_seconds_are_renewed_seldom_and_never_too_late() -> None:
    oauth: Any = {"client_secret": "canary-client-secret"}
    switches = {"oauth_lifetime_seconds": 2, "oauth_token_format": "opaque"}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, oauth=oauth, switches=switches) as warehouse:
        done, errors = run_for(warehouse, 12, 32)
        asked = len(logged(warehouse, "token"))
    assert errors == []
    # A quarter of a life before its end, which makes 9; a busy machine comes to it later, or a little too late.
    assert 4 <= asked <= 12, asked
    assert done > 5 * asked


# The stand-in ----------------------------------------------------------------------------------------------------------


def test_the_stand_in_signs_in(provider: LocalWarehouse, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(RSA_KEY, passphrase=PASSPHRASE))
    foreign = provider.identity.foreign_token()
    for keywords in (
        {
            "auth_type": "oauth-m2m",
            "client_id": provider.identity.client_id,
            "client_secret": "canary-client-secret",
        },
        {
            "auth_type": "oauth-m2m-jwt",
            "client_id": "signing-app",
            "jwt_key_file": str(file),
            "jwt_kid": "rsa",
            "jwt_passphrase": PASSPHRASE,
            "jwt_algorithm": "PS512",
        },
        {"access_token": foreign},
        {"access_token": foreign, "identity_federation_client_id": "federated-app"},
    ):
        session = compat.Session(provider.server_hostname, provider.http_path, **keywords)  # type: ignore[arg-type]
        statement = session.statement()
        statement.set_sql("SELECT 1 AS one")
        assert statement.execute().fetch_all_arrow().to_pylist() == [{"one": 1}]
        session.close()
    claims = jwt.decode(foreign, options={"verify_signature": False})
    assert claims["iss"] not in provider.server_hostname


# A workspace that knows its clients by certificate -------------------------------------------------------------------


def test_a_client_certificate_opens_the_workspaces_sign_in_and_is_shown_to_nobody_else(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    context = server_context(*authority.issue("provider", "localhost"))
    # Takes any client's certificate that its authority has signed, and none as well.
    context.verify_mode = ssl.CERT_OPTIONAL
    shown: list[Any] = []

    def provider(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as client:
            shown.append(client.getpeercert(binary_form=True))
            client.recv(1 << 16)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    oauth: Any = {"client_id": "app", "client_secret": "canary-client-secret"}
    with LocalWarehouse(oauth=oauth, tls={"client_certificate": True}) as warehouse, listening(provider) as port:
        context.load_verify_locations(cadata=warehouse.ca_certificate_pem.decode())
        tls: Any = {"ca_certificates_pem": warehouse.ca_certificate_pem + b"\n" + authority.pem}
        auth = {"type": "oauth-m2m", "client_id": "app", "client_secret": "canary-client-secret"}
        error = refused(warehouse, auth, tls=tls)
        assert "wants a client certificate" in error.message
        tls["client_certificate_pem"] = warehouse.client_certificate_pem
        tls["client_key_pem"] = warehouse.client_key_pem
        with connect(warehouse, auth, tls=tls) as connection:
            assert query(connection) == [(1,)]
        assert operations(logged(warehouse, "discovery", "token")) == ["discovery", "token"]
        elsewhere = f"https://localhost:{port}/token"
        refused(warehouse, {**auth, "token_url": elsewhere}, tls=tls)
        assert shown == [None]
