"""What the identity provider's tests share: a provider, keys and tokens made with other people's code, and a browser."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import secrets
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seakernel.local import LocalWarehouse

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
WORKSPACE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
MANAGEMENT = "https://management.core.windows.net/"
REDIRECT = "http://localhost:8020"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())


def public_pem(key: Any) -> str:
    """The public half as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def endpoint(warehouse: LocalWarehouse) -> str:
    """The token endpoint."""
    return f"{warehouse.server_hostname}/oidc/v1/token"


def ask(warehouse: LocalWarehouse, form: Mapping[str, str], **options: Any) -> requests.Response:
    """Posts to the token endpoint."""
    return requests.post(endpoint(warehouse), data=form, timeout=30, **options)


def refusal(response: requests.Response) -> tuple[int, str]:
    """Status and error of a refusal."""
    body = response.json()
    assert body["error_description"]
    assert "access_token" not in body
    return response.status_code, body["error"]


def status_with(warehouse: LocalWarehouse, token: str, headers: Mapping[str, str] | None = None) -> int:
    """What the API answers to somebody with this token."""
    place = f"{warehouse.server_hostname}/api/2.0/sql/warehouses"
    return requests.get(place, headers={"Authorization": f"Bearer {token}", **(headers or {})}, timeout=30).status_code


def assertion(warehouse: LocalWarehouse, key: Any, algorithm: str, client_id: str, **changes: Any) -> dict[str, str]:
    """The form of a client that signs with `key`; `changes` are to the claims, and `None` leaves one out."""
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": endpoint(warehouse),
        "iat": now,
        "exp": now + 300,
        "jti": secrets.token_hex(8),
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "first"}),
    }


class Page(html.parser.HTMLParser):
    """The form of the sign-in page, as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.buttons: dict[str, tuple[str, str]] = {}
        self.action = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "input":
            self.fields[found["name"]] = found["value"]
        elif tag == "button":
            self.buttons[found["id"]] = (found["name"], found["value"])
        elif tag == "form":
            self.action = found["action"]


def press(url: str, button: str, **options: Any) -> requests.Response:
    """Opens the page at `url` and presses a button of it; the answer is not followed."""
    page = requests.get(url, timeout=30, **options)
    assert page.status_code == 200, page.text
    form = Page(page.text)
    name, value = form.buttons[button]
    target = urllib.parse.urljoin(page.url, form.action)
    return requests.post(target, data={**form.fields, name: value}, allow_redirects=False, timeout=30, **options)


def outcome(response: requests.Response) -> dict[str, str]:
    """The query that the client would be called back with."""
    assert response.status_code == 302, response.text
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(response.headers["location"]).query))


class SignIn:
    """A sign-in by code, made by hand."""

    def __init__(self, warehouse: LocalWarehouse, scope: str = "all-apis offline_access", **changes: str) -> None:
        self.warehouse = warehouse
        self.verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.parameters = {
            "response_type": "code",
            "client_id": "databricks-cli",
            "redirect_uri": REDIRECT,
            "scope": scope,
            "state": secrets.token_urlsafe(16),
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            **changes,
        }

    @property
    def url(self) -> str:
        return f"{self.warehouse.server_hostname}/oidc/v1/authorize?{urllib.parse.urlencode(self.parameters)}"

    def code(self) -> str:
        """Signs in."""
        answer = outcome(press(self.url, "sign-in"))
        assert answer["state"] == self.parameters["state"]
        return answer["code"]

    def redeem(self, code: str, **changes: str) -> requests.Response:
        """Asks for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": "databricks-cli",
            "code_verifier": self.verifier,
            **changes,
        }
        return ask(self.warehouse, form)


def refresh(warehouse: LocalWarehouse, token: str, client_id: str = "databricks-cli") -> requests.Response:
    """Asks for a new access token."""
    return ask(warehouse, {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id})


def logged(warehouse: LocalWarehouse, operation: str) -> Iterator[dict[str, Any]]:
    """The log's entries of an operation."""
    return (entry for entry in warehouse.requests() if entry["operation"] == operation)
