"""The official kernel, unmodified, signs in at the local warehouse."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel
import pytest
from cryptography.hazmat.primitives import serialization
from identity_flows import JWT_BEARER, P384_KEY, RSA_KEY, logged, public_pem

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [{"pem": public_pem(RSA_KEY), "key_id": "first"}, {"pem": public_pem(P384_KEY), "key_id": "first"}]


@pytest.fixture(scope="module")
def warehouse() -> Iterator[LocalWarehouse]:
    with LocalWarehouse(oauth={"clients": [{"client_id": "signer", "public_keys": KEYS}]}) as warehouse:
        yield warehouse


def sign_in(warehouse: LocalWarehouse, **options: Any) -> dict[str, Any]:
    """Opens and closes a session; returns the last request for a token."""
    session = databricks_sql_kernel.Session(
        warehouse.server_hostname, warehouse.http_path, retry_max_attempts=1, **options
    )
    assert session.session_id
    session.close()
    return list(logged(warehouse, "token"))[-1]


def test_machine_to_machine(warehouse: LocalWarehouse) -> None:
    identity = warehouse.identity
    options = {"auth_type": "oauth-m2m", "client_id": identity.client_id}
    entry = sign_in(warehouse, client_secret=identity.client_secret, **options)
    assert (entry["grant_type"], entry["authorization"]) == ("client_credentials", True)
    with pytest.raises(databricks_sql_kernel.KernelError):
        sign_in(warehouse, client_secret="wrong", **options)
    assert list(logged(warehouse, "token"))[-1]["status"] == 401


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (RSA_KEY, "PS512"), (P384_KEY, "ES384")])
def test_a_client_signs(warehouse: LocalWarehouse, tmp_path: Path, key: Any, algorithm: str) -> None:
    form = serialization.PrivateFormat.PKCS8
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    options = {"auth_type": "oauth-m2m-jwt", "client_id": "signer", "jwt_key_file": str(file)}
    entry = sign_in(warehouse, jwt_kid="first", jwt_algorithm=algorithm, **options)
    assert entry["form"]["client_assertion"] == "REDACTED"
    with pytest.raises(databricks_sql_kernel.KernelError):
        sign_in(warehouse, jwt_kid="second", jwt_algorithm=algorithm, **options)


@pytest.mark.parametrize("named", [True, False])
def test_a_foreign_token_is_exchanged(warehouse: LocalWarehouse, named: bool) -> None:
    options = {"identity_federation_client_id": warehouse.identity.client_id} if named else {}
    entry = sign_in(warehouse, auth_type="pat", access_token=warehouse.identity.foreign_token(), **options)
    assert (entry["status"], entry["grant_type"]) == (200, JWT_BEARER)
    assert entry["form"].get("identity_federation_client_id") == options.get("identity_federation_client_id")


@pytest.mark.skipif(sys.platform != "linux", reason="only there does $BROWSER name the browser")
def test_a_person_signs_in(warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        textwrap.dedent(f"""\
            #!{sys.executable}
            import sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import requests
            from identity_flows import press
            requests.get(press(sys.argv[1], "sign-in").headers["location"], timeout=30)
        """)
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    entry = sign_in(
        warehouse,
        auth_type="oauth-u2m",
        client_id="databricks-sql-python",
        oauth_callback_timeout_secs=60,
        redirect_ports=[8030, 8031, 8032],
        token_cache_enabled=False,
    )
    assert (entry["grant_type"], entry["form"]["client_id"]) == ("authorization_code", "databricks-sql-python")
