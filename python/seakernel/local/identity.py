"""Whom the identity provider of the local warehouse knows, and how the warehouse speaks TLS."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import NotRequired

    from seakernel._seakernel import LocalServer

__all__ = ["FOREIGN_ISSUER", "LocalIdentity", "LocalTlsOptions", "OauthOptions"]

FOREIGN_ISSUER = "https://identity.example.com"
"""The issuer of `LocalIdentity.foreign_token`."""


class RegisteredKey(TypedDict):
    """A public key that signatures are checked with."""

    pem: str
    """`-----BEGIN PUBLIC KEY-----` and so on: RSA of 2048 bits or more, P-256 or P-384."""
    key_id: NotRequired[str]
    """The `kid` that tokens must name; by default any will do."""


class IdentityClient(TypedDict):
    """A client that proves who it is with its secret, or with tokens it signs."""

    client_id: str
    client_secret: NotRequired[str]
    public_keys: NotRequired[Sequence[RegisteredKey]]


class ForeignIssuer(TypedDict):
    """Another identity provider, whose tokens are exchanged."""

    issuer: str
    public_keys: Sequence[RegisteredKey]
    audiences: NotRequired[Sequence[str]]
    """The `aud` that tokens must have one of; by default any will do."""


class AzureOptions(TypedDict, total=False):
    """A service principal of Entra; what is left out of the first three is made up."""

    tenant_id: str
    client_id: str
    client_secret: str
    workspace_resource_id: str
    """What requests must say in `X-Databricks-Azure-Workspace-Resource-Id`; by default they need not."""
    require_management_token: bool
    """Requests must carry a management token in `X-Databricks-Azure-SP-Management-Token`."""


class ManagedIdentity(TypedDict, total=False):
    """The identity of an Azure machine; a client id that is left out is made up."""

    client_id: str
    object_id: str
    resource_id: str
    is_default: bool
    """Requests that name no identity get this one, which is so by default."""


class OauthOptions(TypedDict, total=False):
    """Options of the identity provider; what is left out is made up.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> with LocalWarehouse(oauth={"azure": {"require_management_token": True}}) as warehouse:
        ...     len(warehouse.identity.azure_client_id)
        36
    """

    client_id: str
    """The first client's id."""
    client_secret: str
    """Its secret."""
    clients: Sequence[IdentityClient]
    """Further clients."""
    public_clients: Sequence[str]
    """Clients without a secret, for sign-in with a browser; by default those of Databricks' tools."""
    issuers: Sequence[ForeignIssuer]
    """Issuers of tokens to exchange, besides `https://identity.example.com`."""
    azure: AzureOptions
    managed_identity: ManagedIdentity


class LocalTlsOptions(TypedDict, total=False):
    """How the local warehouse speaks TLS.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> with LocalWarehouse(tls={"certificate": "expired"}) as warehouse:
        ...     warehouse.connect(retry={"max_attempts": 1})
        Traceback (most recent call last):
            ...
        seakernel.exceptions.OperationalError: open session: ...
    """

    certificate: Literal["valid", "expired", "other_host", "unknown_authority"]
    """What it shows; by default a valid one for `localhost`, `127.0.0.1` and `::1`."""
    versions: Literal["all", "1.2", "1.3"]
    """What it speaks; by default 1.2 and 1.3."""
    client_certificate: bool
    """Clients of the API must show `LocalWarehouse.client_certificate_pem`."""


class LocalIdentity:
    """The identity provider of a `LocalWarehouse(oauth=True)`: what to sign in with.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> with LocalWarehouse(oauth=True) as warehouse:
        ...     warehouse.identity.client_id
        'local-client'
    """

    def __init__(self, options: Mapping[str, Any], server: LocalServer) -> None:
        first = options["clients"][0]
        self.client_id: str = first["client_id"]
        """Id of the first client."""
        self.client_secret: str = first["client_secret"]
        """Secret of the first client."""
        self.azure_tenant_id: str = options["azure"]["tenant_id"]
        """Tenant of the Entra that this provider plays."""
        self.azure_client_id: str = options["azure"]["client_id"]
        """Service principal there."""
        self.azure_client_secret: str = options["azure"]["client_secret"]
        """Its secret."""
        self.managed_identity_client_id: str = options["managed_identity"]["client_id"]
        """Client id of the machine's identity."""
        self._server = server

    def foreign_token(
        self,
        *,
        subject: str = "someone@example.com",
        issuer: str = FOREIGN_ISSUER,
        audience: str | Sequence[str] | None = None,
        lifetime_s: float = 3600,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """Issues a token as another identity provider does, to be exchanged for one of the workspace.

        It is always signed by the key of `https://identity.example.com`, so another registered issuer's is refused.

        Args:
            subject: Whom it is about.
            issuer: Who claims to have issued it.
            audience: Whom it is for.
            lifetime_s: Seconds until it expires; negative, and it has expired.
            claims: Further claims; those above can be overridden.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(oauth=True) as warehouse:
            ...     token = warehouse.identity.foreign_token(subject="repo:owner/name")
            >>> token.count(".")
            2
        """
        now = int(time.time())
        content = {
            "iss": issuer,
            "sub": subject,
            "iat": now,
            "exp": now + lifetime_s,
            "jti": secrets.token_hex(16),
            **({} if audience is None else {"aud": audience}),
            **(claims or {}),
        }
        return self._server.foreign_token(json.dumps(content))

    def __repr__(self) -> str:
        return f"<LocalIdentity {self.client_id}>"


def complete_options(oauth: bool | Mapping[str, Any]) -> dict[str, Any] | None:
    """Fills up the `oauth` argument of `LocalWarehouse`; `None` where there is no identity provider."""
    if oauth is False:
        return None
    options = dict(_mapping("oauth", {} if oauth is True else oauth))
    first = {
        "client_id": options.pop("client_id", "local-client"),
        "client_secret": options.pop("client_secret", f"local-secret-{secrets.token_hex(16)}"),
    }
    options["clients"] = [first, *options.get("clients", ())]
    options["azure"] = {
        "tenant_id": str(uuid.uuid4()),
        "client_id": str(uuid.uuid4()),
        "client_secret": f"local-azure-secret-{secrets.token_hex(16)}",
        **_mapping("oauth.azure", options.get("azure", {})),
    }
    options["managed_identity"] = {
        "client_id": str(uuid.uuid4()),
        **_mapping("oauth.managed_identity", options.get("managed_identity", {})),
    }
    return options


def complete_tls(tls: bool | Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Reads the `tls` argument of `LocalWarehouse`; `None` where there is no TLS."""
    if tls is False:
        return None
    return _mapping("tls", {} if tls is True else tls)


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"`{name}` is a `{type(value).__name__}`; expected a mapping")  # noqa: TRY004 - as all options
    return value
