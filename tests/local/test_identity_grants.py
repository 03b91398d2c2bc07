"""The token endpoint of the local warehouse, asked over plain HTTP and with tokens that PyJWT signs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jwt
import pytest
import requests
from identity_flows import (
    EXCHANGE,
    JWT_BEARER,
    JWT_TYPE,
    P256_KEY,
    P384_KEY,
    RSA_KEY,
    SignIn,
    ask,
    assertion,
    endpoint,
    logged,
    outcome,
    press,
    public_pem,
    refresh,
    refusal,
    status_with,
)

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

CREDENTIALS = {"grant_type": "client_credentials", "scope": "all-apis"}
ISSUER = "https://token.actions.example.com"


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    signers = [
        {"client_id": "rsa", "public_keys": [{"pem": public_pem(RSA_KEY), "key_id": "first"}]},
        {"client_id": "p256", "public_keys": [{"pem": public_pem(P256_KEY)}]},
        {"client_id": "p384", "public_keys": [{"pem": public_pem(P256_KEY)}, {"pem": public_pem(P384_KEY)}]},
    ]
    issuer = {"issuer": ISSUER, "public_keys": [{"pem": public_pem(RSA_KEY)}], "audiences": ["account-1"]}
    with LocalWarehouse(oauth={"clients": signers, "issuers": [issuer]}) as warehouse:
        yield warehouse


@pytest.fixture(autouse=True)
def as_started(warehouse: LocalWarehouse) -> Iterator[None]:
    yield
    warehouse.switches()
    warehouse.faults()


def secret(warehouse: LocalWarehouse) -> dict[str, str]:
    identity = warehouse.identity
    return {**CREDENTIALS, "client_id": identity.client_id, "client_secret": identity.client_secret}


def test_discovery_names_the_endpoints_and_the_key_verifies_tokens(warehouse: LocalWarehouse) -> None:
    for document in ["oauth-authorization-server", "openid-configuration"]:
        found = requests.get(f"{warehouse.server_hostname}/oidc/.well-known/{document}", timeout=30).json()
        assert found["issuer"] == f"{warehouse.server_hostname}/oidc"
        assert found["token_endpoint"] == endpoint(warehouse)
    token = ask(warehouse, secret(warehouse)).json()["access_token"]
    key = jwt.PyJWKClient(found["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=warehouse.server_hostname, issuer=found["issuer"])
    assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("local-client", "all-apis", 3600)


def test_a_client_proves_itself_by_basic_or_in_the_form(warehouse: LocalWarehouse) -> None:
    identity = warehouse.identity
    for response in [
        ask(warehouse, secret(warehouse)),
        ask(warehouse, CREDENTIALS, auth=(identity.client_id, identity.client_secret)),
    ]:
        assert response.headers["cache-control"] == "no-store"
        body = response.json()
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "all-apis")
        assert status_with(warehouse, body["access_token"]) == 200
    assert refusal(ask(warehouse, {**secret(warehouse), "client_secret": "x"})) == (401, "invalid_client")
    assert refusal(ask(warehouse, {**secret(warehouse), "client_id": "x"})) == (401, "invalid_client")
    assert refusal(ask(warehouse, CREDENTIALS, auth=("x", "y"))) == (401, "invalid_client")
    assert refusal(ask(warehouse, CREDENTIALS)) == (401, "invalid_client")
    assert refusal(ask(warehouse, {**CREDENTIALS, "client_id": "databricks-cli"})) == (401, "invalid_client")
    both = ask(warehouse, secret(warehouse), auth=(identity.client_id, identity.client_secret))
    assert refusal(both) == (400, "invalid_request")
    assert refusal(ask(warehouse, {"grant_type": "password"})) == (400, "unsupported_grant_type")
    assert refusal(ask(warehouse, {})) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("client", "key", "algorithm"),
    [
        *[("rsa", RSA_KEY, algorithm) for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]],
        ("p256", P256_KEY, "ES256"),
        ("p384", P384_KEY, "ES384"),
    ],
)
def test_a_client_proves_itself_with_a_token_it_signs(
    warehouse: LocalWarehouse, client: str, key: object, algorithm: str
) -> None:
    form = assertion(warehouse, key, algorithm, client)
    token = ask(warehouse, form).json()["access_token"]
    assert status_with(warehouse, token) == 200
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == client
    assert refusal(ask(warehouse, form)) == (401, "invalid_client")  # the same `jti` again


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "p256"},
        {"sub": "p256"},
        {"iss": None},
        {"aud": "https://elsewhere.example.com"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": 4102444800},
        {"nbf": 4102444800},
        {"jti": None},
    ],
    ids=str,
)
def test_a_signed_token_with_a_wrong_claim_is_refused(warehouse: LocalWarehouse, changes: dict[str, object]) -> None:
    form = assertion(warehouse, RSA_KEY, "RS256", "rsa", **changes)
    assert refusal(ask(warehouse, form)) == (401, "invalid_client")


def test_a_token_signed_by_another_key_is_refused(warehouse: LocalWarehouse) -> None:
    for key, algorithm, client in [
        (P256_KEY, "ES256", "rsa"),
        (RSA_KEY, "RS256", "p256"),
        (P384_KEY, "ES384", "p256"),
        ("0123456789abcdef0123456789abcdef", "HS256", "rsa"),
    ]:
        assert refusal(ask(warehouse, assertion(warehouse, key, algorithm, client))) == (401, "invalid_client")
    other_id = assertion(warehouse, RSA_KEY, "RS256", "rsa")
    now = jwt.decode(other_id["client_assertion"], options={"verify_signature": False})
    other_id["client_assertion"] = jwt.encode(now, RSA_KEY, algorithm="RS256", headers={"kid": "second"})
    assert refusal(ask(warehouse, other_id)) == (401, "invalid_client")


def test_a_code_is_worth_tokens_once(warehouse: LocalWarehouse) -> None:
    sign_in = SignIn(warehouse)
    code = sign_in.code()
    tokens = sign_in.redeem(code).json()
    assert status_with(warehouse, tokens["access_token"]) == 200
    before = warehouse.counters()["reused_codes"]
    assert refusal(sign_in.redeem(code)) == (400, "invalid_grant")
    assert warehouse.counters()["reused_codes"] == before + 1
    assert refusal(sign_in.redeem("another")) == (400, "invalid_grant")
    without = SignIn(warehouse, scope="sql")
    assert "refresh_token" not in without.redeem(without.code()).json()


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://localhost:8021"},
        {"code_verifier": "x" * 43},
        {"code_verifier": "short"},
        {"client_id": "databricks-sql-python"},
    ],
    ids=str,
)
def test_a_code_with_anything_else_is_refused(warehouse: LocalWarehouse, changes: dict[str, str]) -> None:
    sign_in = SignIn(warehouse)
    code = sign_in.code()
    assert refusal(sign_in.redeem(code, **changes)) == (400, "invalid_grant")
    assert refusal(sign_in.redeem(code)) == (400, "invalid_grant")  # used up all the same


def test_refresh_tokens_stay_or_are_rotated(warehouse: LocalWarehouse) -> None:
    sign_in = SignIn(warehouse)
    token = sign_in.redeem(sign_in.code()).json()["refresh_token"]
    for _ in range(2):
        renewed = refresh(warehouse, token).json()
        assert "refresh_token" not in renewed
        assert status_with(warehouse, renewed["access_token"]) == 200
    assert refusal(refresh(warehouse, token, "databricks-sql-python")) == (400, "invalid_grant")
    warehouse.switches(oauth_rotate_refresh_tokens=True)
    newer = refresh(warehouse, token).json()["refresh_token"]
    before = warehouse.counters()["reused_refresh_tokens"]
    assert refusal(refresh(warehouse, token)) == (400, "invalid_grant")
    assert warehouse.counters()["reused_refresh_tokens"] == before + 1
    newest = refresh(warehouse, newer).json()["refresh_token"]
    warehouse.revoke_refresh_tokens()
    assert refusal(refresh(warehouse, newest)) == (400, "invalid_grant")


@pytest.mark.parametrize("grant", [EXCHANGE, JWT_BEARER])
def test_a_foreign_token_is_exchanged(warehouse: LocalWarehouse, grant: str) -> None:
    def exchange(token: str, **changes: str) -> requests.Response:
        subject = {"assertion": token}
        if grant == EXCHANGE:
            subject = {"subject_token": token, "subject_token_type": JWT_TYPE}
        return ask(warehouse, {"grant_type": grant, "scope": "sql", **subject, **changes})

    foreign = warehouse.identity.foreign_token
    assert status_with(warehouse, foreign()) == 403
    issued = exchange(foreign(subject="someone")).json()
    assert status_with(warehouse, issued["access_token"]) == 200
    assert jwt.decode(issued["access_token"], options={"verify_signature": False})["sub"] == "someone"
    assert issued["scope"] == "sql"
    for name in ["client_id", "identity_federation_client_id"]:
        named = exchange(foreign(), **{name: "rsa"}).json()["access_token"]
        assert jwt.decode(named, options={"verify_signature": False})["sub"] == "rsa"
        assert list(logged(warehouse, "token"))[-1]["form"][name] == "rsa"
        assert refusal(exchange(foreign(), **{name: "nobody"})) == (401, "invalid_client")
    ours = {"iss": ISSUER, "sub": "job", "aud": "account-1", "exp": 4102444800}
    assert exchange(jwt.encode(ours, RSA_KEY, algorithm="RS256")).status_code == 200
    for token in [
        "opaque",
        foreign(issuer="https://unknown.example.com"),
        foreign(issuer=ISSUER, audience="account-1"),
        foreign(lifetime_s=-1),
        foreign(claims={"nbf": 4102444800}),
        foreign()[:-8] + "AAAAAAAA",
        jwt.encode({**ours, "aud": "account-2"}, RSA_KEY, algorithm="RS256"),
        jwt.encode({**ours, "exp": 1}, RSA_KEY, algorithm="RS256"),
        jwt.encode(ours, P256_KEY, algorithm="ES256"),
        jwt.encode(ours, None, algorithm="none"),
    ]:
        assert refusal(exchange(token)) == (400, "invalid_grant"), token


def test_the_workspaces_own_token_comes_back_when_asked_for(warehouse: LocalWarehouse) -> None:
    own = ask(warehouse, secret(warehouse)).json()["access_token"]
    form = {"grant_type": EXCHANGE, "subject_token": own, "subject_token_type": JWT_TYPE}
    returned = ask(warehouse, {**form, "return_original_token_if_authenticated": "true"}).json()
    assert returned["access_token"] == own
    assert 3500 < returned["expires_in"] <= 3600
    assert refusal(ask(warehouse, form)) == (400, "invalid_grant")


def test_tokens_expire_and_are_revoked(warehouse: LocalWarehouse) -> None:
    warehouse.switches(oauth_lifetime_seconds=0)
    expired = ask(warehouse, secret(warehouse)).json()
    assert (expired["expires_in"], status_with(warehouse, expired["access_token"])) == (0, 401)
    warehouse.switches()
    revoked = ask(warehouse, secret(warehouse)).json()["access_token"]
    warehouse.revoke_tokens()
    assert (status_with(warehouse, revoked), status_with(warehouse, warehouse.access_token)) == (401, 200)
    assert status_with(warehouse, ask(warehouse, secret(warehouse)).json()["access_token"]) == 200


def test_switches_shape_the_answer(warehouse: LocalWarehouse) -> None:
    warehouse.switches(oauth_token_format="opaque", oauth_expires_in="text", oauth_lifetime_seconds=60)
    body = ask(warehouse, secret(warehouse)).json()
    assert (body["access_token"].count("."), body["expires_in"]) == (0, "60")
    assert status_with(warehouse, body["access_token"]) == 200
    warehouse.switches(oauth_expires_in="absent")
    assert "expires_in" not in ask(warehouse, secret(warehouse)).json()


def test_the_log_and_the_counters_tell_grants_and_no_secret() -> None:
    with LocalWarehouse(oauth=True) as warehouse:
        identity = warehouse.identity
        sign_in = SignIn(warehouse)
        code = sign_in.code()
        tokens = sign_in.redeem(code).json()
        renewed = refresh(warehouse, tokens["refresh_token"]).json()
        foreign = identity.foreign_token()
        ask(warehouse, {"grant_type": EXCHANGE, "subject_token": foreign, "subject_token_type": JWT_TYPE})
        ask(warehouse, secret(warehouse))
        assert [entry["grant_type"] for entry in logged(warehouse, "token")] == [
            "authorization_code",
            "refresh_token",
            EXCHANGE,
            "client_credentials",
        ]
        assert warehouse.counters()["issued_tokens"] == {
            "authorization_code": 1,
            "refresh_token": 1,
            EXCHANGE: 1,
            "client_credentials": 1,
        }
        log = json.dumps(warehouse.requests())
        hidden = [code, tokens["access_token"], tokens["refresh_token"], renewed["access_token"], foreign]
        hidden += [identity.client_secret, sign_in.verifier, sign_in.parameters["state"]]
        assert [text for text in hidden if text in log] == []
        assert "local-client" in log
        assert identity.client_secret not in repr(identity)


def test_the_page_asks_and_answers_the_client(warehouse: LocalWarehouse) -> None:
    strange = '"><script>alert(1)</script>'
    sign_in = SignIn(warehouse, state=strange, scope=strange)
    page = requests.get(sign_in.url, timeout=30)
    assert "<script>" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert outcome(press(sign_in.url, "sign-in"))["state"] == strange
    denied = outcome(press(sign_in.url, "deny"))
    assert (denied["error"], denied["state"]) == ("access_denied", strange)
    redirector = sign_in.url.replace("/oidc/v1/", "/oidc/oauth2/v2.0/")
    redirected = requests.get(redirector, allow_redirects=False, timeout=30)
    assert (redirected.status_code, redirected.headers["location"]) == (302, sign_in.url)
    elsewhere = SignIn(warehouse, redirect_uri="http://localhost:8030/path?a=b")
    answer = press(elsewhere.url, "sign-in").headers["location"]
    assert answer.startswith("http://localhost:8030/path?a=b&code=")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_a_wrong_authorization_request_is_told_to_the_client(
    warehouse: LocalWarehouse, changes: dict[str, str], error: str
) -> None:
    sign_in = SignIn(warehouse, **changes)
    answer = outcome(requests.get(sign_in.url, allow_redirects=False, timeout=30))
    assert (answer["error"], answer["state"]) == (error, sign_in.parameters["state"])


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown"},
        {"redirect_uri": "http://elsewhere.example.com"},
        {"redirect_uri": "https://localhost:8020"},
        {"redirect_uri": "http://localhost.example.com:8020"},
        {"redirect_uri": "not a url"},
    ],
    ids=str,
)
def test_nobody_unknown_is_called_back(warehouse: LocalWarehouse, changes: dict[str, str]) -> None:
    for method in ["GET", "POST"]:
        sign_in = SignIn(warehouse, **changes)
        form = {**sign_in.parameters, "decision": "sign-in"} if method == "POST" else None
        answer = requests.request(method, sign_in.url, data=form, allow_redirects=False, timeout=30)
        assert (answer.status_code, answer.headers.get("location")) == (400, None)


def test_a_sign_in_can_be_made_to_go_wrong(warehouse: LocalWarehouse) -> None:
    sign_in = SignIn(warehouse)
    warehouse.switches(oauth_callback="wrong_state")
    answer = outcome(press(sign_in.url, "sign-in"))
    assert answer["code"]
    assert answer["state"] != sign_in.parameters["state"]
    warehouse.switches(oauth_callback="no_state")
    assert set(outcome(press(sign_in.url, "sign-in"))) == {"code"}
    warehouse.switches(oauth_callback="server_error")
    assert outcome(press(sign_in.url, "sign-in"))["error"] == "server_error"
    warehouse.switches(oauth_callback="silent")
    silent = press(sign_in.url, "sign-in")
    assert (silent.status_code, silent.headers.get("location")) == (200, None)


def test_without_oauth_nobody_gets_a_token() -> None:
    with LocalWarehouse() as warehouse:
        for form in [{**CREDENTIALS, "client_id": "local-client", "client_secret": "x"}]:
            assert refusal(ask(warehouse, form)) == (401, "invalid_client")
        assert requests.get(SignIn(warehouse).url, timeout=30).status_code == 400
        with pytest.raises(ValueError, match="oauth=True"):
            print(warehouse.identity)


@pytest.mark.parametrize(
    ("oauth", "message"),
    [
        ({"client": []}, "oauth.client"),
        ({"clients": [{"client_id": "a", "public_keys": [{"pem": "no"}]}]}, "BEGIN PUBLIC KEY"),
        ({"azure": 3}, "oauth.azure"),
        ("yes", "`oauth` is a `str`"),
    ],
)
def test_a_wrong_option_is_named(oauth: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalWarehouse(oauth=oauth)
