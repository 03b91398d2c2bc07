"""Faults on every endpoint of the identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests
from identity_flows import WORKSPACE, SignIn, logged, refresh

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What never comes has not come after this either, however slow the machine.
SHORT_S = 0.3


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(oauth=True) as warehouse:
        yield warehouse


@pytest.fixture(autouse=True)
def undisturbed(warehouse: LocalWarehouse) -> Iterator[None]:
    yield
    warehouse.faults()


def token(warehouse: LocalWarehouse, timeout_s: float = 30) -> requests.Response:
    identity = warehouse.identity
    form = {
        "grant_type": "client_credentials",
        "client_id": identity.client_id,
        "client_secret": identity.client_secret,
    }
    return requests.post(f"{warehouse.server_hostname}/oidc/v1/token", data=form, timeout=timeout_s)


def azure_token(warehouse: LocalWarehouse, timeout_s: float = 30) -> requests.Response:
    identity = warehouse.identity
    form = {
        "grant_type": "client_credentials",
        "client_id": identity.azure_client_id,
        "client_secret": identity.azure_client_secret,
        "resource": WORKSPACE,
    }
    place = f"{warehouse.server_hostname}/{identity.azure_tenant_id}/oauth2/token"
    return requests.post(place, data=form, timeout=timeout_s)


def get(path: str) -> Callable[..., requests.Response]:
    def ask(warehouse: LocalWarehouse, timeout_s: float = 30) -> requests.Response:
        place = f"{warehouse.server_hostname}{path}"
        return requests.get(place, headers={"Metadata": "true"}, allow_redirects=False, timeout=timeout_s)

    return ask


def page(warehouse: LocalWarehouse, timeout_s: float = 30) -> requests.Response:
    return requests.get(SignIn(warehouse).url, timeout=timeout_s)


ENDPOINTS = {
    "discovery": get("/oidc/.well-known/oauth-authorization-server"),
    "jwks": get("/oidc/jwks.json"),
    "authorize": page,
    "token": token,
    "azure_tenant": get("/aad/auth"),
    "azure_token": azure_token,
    "imds": get(f"/metadata/identity/oauth2/token?api-version=1&resource={WORKSPACE}"),
}


@pytest.fixture(params=ENDPOINTS)
def operation(request: pytest.FixtureRequest) -> str:
    return request.param


def test_an_error_is_worded_as_oauth_does(warehouse: LocalWarehouse, operation: str) -> None:
    ask = ENDPOINTS[operation]
    fault = {"code": 503, "retry_after": 1, "error_code": "temporarily_unavailable"}
    warehouse.faults([{"on": operation, "do": {"status": fault}}])
    response = ask(warehouse)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"error": "temporarily_unavailable", "error_description": "a fault was asked for"}
    last = list(logged(warehouse, operation))[-1]
    assert (last["status"], last["fault"]) == (503, "status")
    assert ask(warehouse).status_code in {200, 302}


def test_a_broken_connection(warehouse: LocalWarehouse, operation: str) -> None:
    warehouse.faults([{"on": operation, "do": "drop_before_response"}])
    with pytest.raises(requests.ConnectionError):
        ENDPOINTS[operation](warehouse)


def test_no_answer(warehouse: LocalWarehouse, operation: str) -> None:
    warehouse.faults([{"on": operation, "do": {"delay": {"ms": 60_000}}}])
    with pytest.raises(requests.ReadTimeout):
        ENDPOINTS[operation](warehouse, SHORT_S)


@pytest.mark.parametrize("place", ["discovery", "jwks", "token", "azure_token", "imds"])
def test_bodies_that_are_no_answer(warehouse: LocalWarehouse, place: str) -> None:
    ask = ENDPOINTS[place]
    warehouse.faults([{"on": place, "do": {"short_body": {"bytes": 10}}}])
    with pytest.raises(requests.JSONDecodeError):
        ask(warehouse).json()
    warehouse.faults([{"on": place, "do": {"status": {"code": 200, "body": "{"}}}])
    assert ask(warehouse).text == "{"
    warehouse.faults([{"on": place, "do": "html"}])
    assert ask(warehouse).text.startswith("<!doctype html>")
    warehouse.faults([{"on": place, "do": {"padded": {"bytes": 10_000_000}}}])
    huge = ask(warehouse)
    assert len(huge.content) > 10_000_000
    assert huge.json()
    warehouse.faults([{"on": place, "do": {"stall": {"bytes": 10}}}])
    with pytest.raises(requests.ConnectionError):
        ask(warehouse, SHORT_S)


def test_a_fault_may_wait_for_one_grant(warehouse: LocalWarehouse) -> None:
    warehouse.faults([{"on": "token", "grant_type": "refresh_token", "do": {"status": {"code": 500}}}])
    assert token(warehouse).status_code == 200
    sign_in = SignIn(warehouse)
    refresh_token = sign_in.redeem(sign_in.code()).json()["refresh_token"]
    assert refresh(warehouse, refresh_token).json()["error"] == "temporarily_unavailable"
    assert refresh(warehouse, refresh_token).status_code == 200
