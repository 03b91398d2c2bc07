"""databricks-sdk, unmodified, signs in at the local warehouse: the proof that it plays the provider right."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import webbrowser
from typing import TYPE_CHECKING

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.environments import AzureEnvironment, Cloud, DatabricksEnvironment
from databricks.sdk.oauth import OAuthClient, PATOAuthTokenExchange, SessionCredentials, Token, TokenCache
from databricks.sdk.oidc_token_supplier import GitHubOIDCTokenSupplier
from identity_flows import EXCHANGE, MANAGEMENT, REDIRECT, WORKSPACE, SignIn, logged, outcome, press, status_with

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESOURCE_ID = "/subscriptions/1/resourceGroups/2/providers/Microsoft.Databricks/workspaces/3"


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    azure = {"workspace_resource_id": RESOURCE_ID, "require_management_token": True}
    with LocalWarehouse(oauth={"azure": azure}) as warehouse:
        yield warehouse


@pytest.fixture(autouse=True)
def alone(warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of this machine's own configuration, and a warehouse as it was started."""
    for name in os.environ:
        if name.startswith(("DATABRICKS_", "ARM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(TokenCache, "BASE_PATH", str(tmp_path / "oauth"))
    yield
    warehouse.switches()
    warehouse.faults()


def works(config: Config) -> None:
    """The API takes what the SDK signed in with."""
    listed = list(WorkspaceClient(config=config).warehouses.list())
    assert [entry.name for entry in listed] == ["local"]


def test_machine_to_machine(warehouse: LocalWarehouse) -> None:
    identity = warehouse.identity
    config = Config(host=warehouse.server_hostname, client_id=identity.client_id, client_secret=identity.client_secret)
    works(config)
    assert config.auth_type == "oauth-m2m"
    form = list(logged(warehouse, "token"))[-1]["form"]
    assert form == {"grant_type": "client_credentials", "scope": "all-apis"}
    with pytest.raises(ValueError, match="invalid_client"):
        Config(
            host=warehouse.server_hostname, client_id=identity.client_id, client_secret="x", auth_type="oauth-m2m"
        ).authenticate()


def test_short_lives_are_renewed_and_revoked_tokens_refused(warehouse: LocalWarehouse) -> None:
    identity = warehouse.identity
    warehouse.switches(oauth_lifetime_seconds=20)
    config = Config(host=warehouse.server_hostname, client_id=identity.client_id, client_secret=identity.client_secret)
    before = warehouse.counters()["issued_tokens"]["client_credentials"] if warehouse.counters()["issued_tokens"] else 0
    for _ in range(3):
        works(config)  # the SDK takes 20 seconds for expired
    assert warehouse.counters()["issued_tokens"]["client_credentials"] >= before + 3
    token = config.authenticate()["Authorization"].removeprefix("Bearer ")
    warehouse.revoke_tokens()
    assert status_with(warehouse, token) == 401


@pytest.mark.parametrize("source", ["env-oidc", "file-oidc"])
@pytest.mark.parametrize("named", [True, False])
def test_workload_identity(
    warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, named: bool
) -> None:
    token = warehouse.identity.foreign_token(subject="repo:owner/name", audience="account")
    options = {"client_id": warehouse.identity.client_id} if named else {}
    if source == "env-oidc":
        monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", token)
    else:
        (tmp_path / "token").write_text(token)
        monkeypatch.setenv("DATABRICKS_OIDC_TOKEN_FILEPATH", str(tmp_path / "token"))
    works(Config(host=warehouse.server_hostname, auth_type=source, **options))
    entry = list(logged(warehouse, "token"))[-1]
    assert entry["grant_type"] == EXCHANGE
    assert entry["form"].get("client_id") == (warehouse.identity.client_id if named else None)


def test_workload_identity_of_github(warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    token = warehouse.identity.foreign_token(audience="account")
    monkeypatch.setattr(GitHubOIDCTokenSupplier, "get_oidc_token", lambda self, audience: token)
    works(
        Config(
            host=warehouse.server_hostname,
            auth_type="github-oidc",
            client_id=warehouse.identity.client_id,
            token_audience="account",
        )
    )


def test_an_access_token_is_exchanged(warehouse: LocalWarehouse) -> None:
    source = PATOAuthTokenExchange(lambda: warehouse.access_token, warehouse.server_hostname, "all-apis")
    assert status_with(warehouse, source.token().access_token) == 200


def test_a_person_signs_in_by_code(warehouse: LocalWarehouse) -> None:
    client = OAuthClient.from_host(warehouse.server_hostname, "databricks-cli", REDIRECT)
    consent = client.initiate_consent()
    credentials = consent.exchange_callback_parameters(outcome(press(consent.authorization_url, "sign-in")))
    first = credentials.token()
    assert status_with(warehouse, first.access_token) == 200
    renewed = credentials.refresh()
    assert renewed.access_token != first.access_token
    assert status_with(warehouse, renewed.access_token) == 200
    again = client.initiate_consent()
    with pytest.raises(ValueError, match="access_denied"):
        again.exchange_callback_parameters(outcome(press(again.authorization_url, "deny")))
    warehouse.switches(oauth_callback="wrong_state")
    with pytest.raises(ValueError, match="state mismatch"):
        again.exchange_callback_parameters(outcome(press(again.authorization_url, "sign-in")))


def called_back(location: str) -> bool:
    try:
        return requests.get(location, timeout=30).ok
    except requests.ConnectionError:
        return False


def browser(url: str) -> bool:
    """Presses the button, and calls the SDK's listener back as soon as it listens."""

    def sign_in() -> None:
        location = press(url, "sign-in").headers["location"]
        while not called_back(location):
            time.sleep(0.02)

    threading.Thread(target=sign_in, daemon=True).start()
    return True


@pytest.fixture
def callback_port() -> None:
    """The SDK's one port may be in another test run's hands for a moment."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_server(("localhost", 8020)):
            return
        time.sleep(0.1)


@pytest.mark.usefixtures("callback_port")
def test_a_person_signs_in_with_a_browser(warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open_new", browser)
    config = Config(host=warehouse.server_hostname, auth_type="external-browser")
    works(config)
    # Whoever starts later has the refresh token in a file.
    monkeypatch.setattr(webbrowser, "open_new", lambda url: pytest.fail("a second sign-in"))
    works(Config(host=warehouse.server_hostname, auth_type="external-browser"))
    assert list(logged(warehouse, "token"))[-1]["grant_type"] in {"authorization_code", "refresh_token"}


def test_a_revoked_refresh_token_ends_the_session(warehouse: LocalWarehouse) -> None:
    sign_in = SignIn(warehouse)
    token = sign_in.redeem(sign_in.code()).json()["refresh_token"]
    credentials = SessionCredentials(
        Token("", "Bearer", token), f"{warehouse.server_hostname}/oidc/v1/token", "databricks-cli"
    )
    assert status_with(warehouse, credentials.refresh().access_token) == 200
    warehouse.revoke_refresh_tokens()
    with pytest.raises(ValueError, match="revoked"):
        credentials.refresh()


@pytest.mark.parametrize("tenant_known", [True, False])
def test_a_service_principal_of_entra(warehouse: LocalWarehouse, tenant_known: bool) -> None:
    identity = warehouse.identity
    here = AzureEnvironment("LOCAL", MANAGEMENT, "https://management.azure.com/", f"{warehouse.server_hostname}/")
    config = Config(
        host=warehouse.server_hostname,
        databricks_environment=DatabricksEnvironment(Cloud.AZURE, "127.0.0.1", WORKSPACE, here),
        azure_client_id=identity.azure_client_id,
        azure_client_secret=identity.azure_client_secret,
        azure_workspace_resource_id=RESOURCE_ID,
        **({"azure_tenant_id": identity.azure_tenant_id} if tenant_known else {}),
    )
    works(config)
    assert config.auth_type == "azure-client-secret"
    assert config.azure_tenant_id == identity.azure_tenant_id
    headers = config.authenticate()
    token = headers.pop("Authorization").removeprefix("Bearer ")
    assert status_with(warehouse, token, headers) == 200
    assert status_with(warehouse, token) == 403
    forms = [entry["form"] for entry in logged(warehouse, "azure_token")]
    assert {form["resource"] for form in forms} == {WORKSPACE, MANAGEMENT}
    assert {form["client_secret"] for form in forms} == {"REDACTED"}
