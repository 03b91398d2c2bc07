"""Entra and the metadata endpoint of Azure's machines, as the local warehouse plays them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest
import requests
from identity_flows import MANAGEMENT, WORKSPACE, logged, refusal, status_with

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOURCE_ID = "/subscriptions/1/resourceGroups/2/providers/Microsoft.Databricks/workspaces/3"
MANAGEMENT_HEADER = "X-Databricks-Azure-SP-Management-Token"
RESOURCE_HEADER = "X-Databricks-Azure-Workspace-Resource-Id"


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    machine = {"object_id": "object-1", "resource_id": "/identities/1"}
    with LocalWarehouse(oauth={"managed_identity": machine}) as warehouse:
        yield warehouse


def entra(warehouse: LocalWarehouse, version: str = "", tenant: str | None = None, **form: str) -> requests.Response:
    identity = warehouse.identity
    content = {
        "grant_type": "client_credentials",
        "client_id": identity.azure_client_id,
        "client_secret": identity.azure_client_secret,
        **form,
    }
    place = f"{warehouse.server_hostname}/{tenant or identity.azure_tenant_id}/oauth2/{version}token"
    return requests.post(place, data={name: value for name, value in content.items() if value}, timeout=30)


def machine(warehouse: LocalWarehouse, metadata: str | None = "true", **query: str | None) -> requests.Response:
    content = {"api-version": "2018-02-01", "resource": WORKSPACE, **query}
    headers = {} if metadata is None else {"Metadata": metadata}
    place = f"{warehouse.server_hostname}/metadata/identity/oauth2/token"
    return requests.get(place, params=content, headers=headers, timeout=30)


def test_version_1_asks_for_a_resource_and_tells_numbers_as_texts(warehouse: LocalWarehouse) -> None:
    body = entra(warehouse, resource=WORKSPACE, scope="all-apis").json()
    assert (body["expires_in"], body["resource"], body["token_type"]) == ("3600", WORKSPACE, "Bearer")
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["tid"]) == (WORKSPACE, warehouse.identity.azure_tenant_id)
    assert status_with(warehouse, body["access_token"]) == 200


def test_version_2_asks_for_a_scope_and_tells_numbers(warehouse: LocalWarehouse) -> None:
    body = entra(warehouse, "v2.0/", scope=f"{WORKSPACE}/.default").json()
    assert body["expires_in"] == 3600
    assert status_with(warehouse, body["access_token"]) == 200


@pytest.mark.parametrize(
    ("version", "form", "expected"),
    [
        ("", {"resource": ""}, (400, "invalid_resource")),
        ("v2.0/", {"scope": WORKSPACE}, (400, "invalid_scope")),
        ("", {"resource": WORKSPACE, "client_secret": "x"}, (401, "invalid_client")),
        ("", {"resource": WORKSPACE, "client_id": "x"}, (400, "unauthorized_client")),
        ("", {"resource": WORKSPACE, "client_secret": ""}, (400, "invalid_request")),
        ("", {"resource": WORKSPACE, "grant_type": "password"}, (400, "unsupported_grant_type")),
        ("", {"resource": WORKSPACE, "tenant": "x"}, (400, "invalid_request")),
    ],
    ids=str,
)
def test_entra_refuses_with_its_own_numbers(
    warehouse: LocalWarehouse, version: str, form: dict[str, str], expected: tuple[int, str]
) -> None:
    response = entra(warehouse, version, **form)
    assert refusal(response) == expected
    body = response.json()
    assert body["error_description"].startswith(f"AADSTS{body['error_codes'][0]}: ")


def test_the_tenant_is_told_by_a_redirect(warehouse: LocalWarehouse) -> None:
    response = requests.get(f"{warehouse.server_hostname}/aad/auth", allow_redirects=False, timeout=30)
    assert response.status_code == 302
    assert response.headers["location"].split("/")[3] == warehouse.identity.azure_tenant_id


def test_tokens_for_something_else_do_not_open_the_workspace(warehouse: LocalWarehouse) -> None:
    for resource in [MANAGEMENT, "https://graph.microsoft.com/"]:
        token = entra(warehouse, resource=resource).json()["access_token"]
        assert status_with(warehouse, token) == 403


def test_the_workspace_may_demand_a_management_token_and_its_own_id() -> None:
    azure = {"workspace_resource_id": RESOURCE_ID, "require_management_token": True}
    with LocalWarehouse(oauth={"azure": azure}) as warehouse:
        token, management = (
            entra(warehouse, resource=resource).json()["access_token"] for resource in (WORKSPACE, MANAGEMENT)
        )
        good = {MANAGEMENT_HEADER: management, RESOURCE_HEADER: RESOURCE_ID}
        assert status_with(warehouse, token, good) == 200
        for wrong in [
            {},
            {MANAGEMENT_HEADER: management},
            {RESOURCE_HEADER: RESOURCE_ID},
            {**good, RESOURCE_HEADER: "/another"},
            {**good, MANAGEMENT_HEADER: token},
            {**good, MANAGEMENT_HEADER: "x"},
        ]:
            assert status_with(warehouse, token, wrong) == 403, wrong
        # Whoever has a token of the workspace itself needs none of it.
        assert status_with(warehouse, warehouse.access_token) == 200


def test_a_machine_gets_a_token_of_its_identity(warehouse: LocalWarehouse) -> None:
    identity = warehouse.identity.managed_identity_client_id
    for named in [{}, {"client_id": identity}, {"object_id": "object-1"}, {"mi_res_id": "/identities/1"}]:
        body = machine(warehouse, **named).json()
        assert (body["expires_in"], body["client_id"]) == ("3600", identity)
        assert int(body["expires_on"]) - int(body["not_before"]) == 3600
        assert status_with(warehouse, body["access_token"]) == 200
    assert warehouse.counters()["issued_tokens"]["managed_identity"] >= 4
    assert next(logged(warehouse, "imds"))["query"]["resource"] == WORKSPACE


@pytest.mark.parametrize(
    "asked",
    [
        {"metadata": None},
        {"metadata": "false"},
        {"resource": None},
        {"api-version": None},
        {"client_id": "another"},
        {"object_id": "another"},
        {"object_id": "object-1", "mi_res_id": "/identities/1"},
    ],
    ids=str,
)
def test_a_wrong_request_of_a_machine_is_refused(warehouse: LocalWarehouse, asked: dict[str, Any]) -> None:
    assert refusal(machine(warehouse, **asked)) == (400, "invalid_request")


def test_a_machine_without_a_default_identity_must_name_one() -> None:
    named = {"client_id": "machine", "is_default": False}
    with LocalWarehouse(oauth={"managed_identity": named}) as warehouse:
        assert refusal(machine(warehouse)) == (400, "invalid_request")
        assert machine(warehouse, client_id="machine").status_code == 200


def test_a_workspace_without_oauth_is_not_on_azure() -> None:
    with LocalWarehouse() as warehouse:
        response = requests.get(f"{warehouse.server_hostname}/aad/auth", allow_redirects=False, timeout=30)
        assert response.status_code == 404
        assert refusal(machine(warehouse)) == (400, "invalid_request")
