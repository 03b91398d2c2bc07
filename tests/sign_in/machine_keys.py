"""Keys and sign-ins of machines, made with other people's code."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PASSPHRASE = "canary-passphrase"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: Any) -> str:
    """The public half."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def private_pem(key: Any, form: str = "PKCS8", passphrase: str | None = None) -> bytes:
    """The key as PKCS8, or in the older form that is called TraditionalOpenSSL."""
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption)


CLIENTS = [
    {
        "client_id": "signing-app",
        "public_keys": [
            {"pem": public_pem(RSA_KEY), "key_id": "rsa"},
            {"pem": public_pem(P256_KEY), "key_id": "p256"},
            {"pem": public_pem(P384_KEY), "key_id": "p384"},
        ],
    },
    # A service principal of a federation policy.
    {"client_id": "federated-app", "client_secret": "canary-never-sent"},
]
RESOURCE_ID = "/subscriptions/1/resourceGroups/2/providers/Microsoft.Databricks/workspaces/3"


@contextmanager
def answering(answer: Callable[[str, Mapping[str, str]], Mapping[str, Any] | None]) -> Iterator[str]:
    """A server on this machine whose `answer` makes JSON of query and headers; None is a refusal."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            found = answer(json.dumps(query), self.headers)  # type: ignore[arg-type]
            body = json.dumps({"error": "access_denied"} if found is None else found).encode()
            self.send_response(403 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
