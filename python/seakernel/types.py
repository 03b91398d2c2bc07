"""Options, Arrow protocols and the type objects of PEP 249."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from typing_extensions import Required

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "ArrowSchemaExportable",
    "ArrowStreamExportable",
    "Auth",
    "AuthOptions",
    "Authenticator",
    "AzureClientSecretAuth",
    "AzureManagedIdentityAuth",
    "Binary",
    "BrowserAuth",
    "CallableAuth",
    "ClientSecretAuth",
    "Date",
    "DateFromTicks",
    "DescriptionColumn",
    "HasAuthenticator",
    "Parameters",
    "ProxyOption",
    "ProxyOptions",
    "RequestOptions",
    "ResultOptions",
    "RetryOptions",
    "SignedJwtAuth",
    "StatementState",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TlsOptions",
    "TokenFederationAuth",
    "TokenGiver",
    "TypeObject",
    "WorkloadIdentityAuth",
]


class ResultOptions(TypedDict, total=False):
    """How results are fetched.

    Example:
        >>> connection = seakernel.connect("local", results={"complex_types": "json", "memory_budget_bytes": 64 << 20})
        >>> connection.cursor().execute("SELECT named_struct('id', 1) AS item").fetchone()
        Row(item='{"id":1}')
    """

    memory_budget_bytes: int
    """Bytes of result chunks held at once: being downloaded, decoded, or waiting to be read. Default 256 MiB. A single
    chunk that is larger is still let through, alone."""
    max_concurrent_downloads: int
    """Downloads under way at once. Default 32."""
    compression: bool
    """Whether to ask for LZ4. Default True. The server may answer uncompressed all the same."""
    download_idle_timeout_s: float
    """Longest silence of a storage host during a download, in seconds. Default 30. The whole download has no limit."""
    max_chunk_bytes: int
    """Largest decoded chunk accepted, in bytes. Default 2 GiB."""
    private_storage_addresses: bool
    """Whether result links may name private, link-local or loopback addresses. Default: where the host that the
    connection names is such an address itself. Names that resolve to private addresses are always fine."""
    complex_types: Literal["native", "json"]
    """How ARRAY, MAP and STRUCT columns arrive: as Arrow's nested types, the default, or as compact JSON text. In JSON,
    decimals keep their scale, bytes are base64, keys of a map are strings in the map's order, NaN and infinities are
    strings, and times are in UTC, with a `Z` where the session's time zone is another one."""
    intervals: Literal["native", "text"]
    """How interval columns arrive: as Arrow's month intervals and durations, the default, or as text such as `2-6` and
    `1 02:00:03.500000000`. pyarrow and polars cannot read values of month intervals. Within nested columns they stay as
    they are; `complex_types` has a text for those. Rows have text for
    year-month and `timedelta` for day-time intervals by default."""
    geospatial: Literal["native", "text"]
    """How GEOMETRY and GEOGRAPHY arrive, also within nested columns: as EWKT text such as `SRID=4326;POINT(1 2)`, the
    default, or as `struct<srid: int32, wkb: binary>`."""
    void: Literal["native", "text"]
    """How columns of untyped NULLs arrive: with Arrow's null type, the default, or as text."""
    cloud_fetch: Literal["auto", "on", "off"] | bool
    """Whether results may come as files of a storage host. `on`, or True: always. `off`, or False: never; everything comes
    inside the answers, and the server fails statements with more than 25 MiB of result. `auto`, the default: as long as the
    storage host can be reached. Where it cannot, the first statement that needs it fails within seconds, for it has run and
    is not sent again; from then on the session does as with `off`, with one warning."""


class RetryOptions(TypedDict, total=False):
    """How requests are repeated. A statement that the server may have taken is never sent twice.

    All requests of a connection to one host share 40 retries, of which five successes bring one back, as does a retry
    that succeeds: a host that fails everything gets few requests more than without retries.

    Example:
        >>> connection = seakernel.connect("local", retry={"max_attempts": 3, "max_elapsed_s": 60})
    """

    max_attempts: int
    """Total attempts of one request. Default 6, counted afresh after one that has added 64 KiB or more to a download."""
    min_wait_s: float
    """First pause, in seconds; doubles per attempt. Default 1."""
    max_wait_s: float
    """Longest pause, in seconds. Default 60. A longer `Retry-After` is honoured within `max_elapsed_s`."""
    max_elapsed_s: float
    """Total seconds for one request with its attempts and pauses. Default 900."""


class RequestOptions(TypedDict, total=False):
    """What requests to the workspace carry, and how long they may take. Nothing of it reaches storage hosts.

    Example:
        >>> connection = seakernel.connect("local", requests={"headers": {"X-Team": "billing"}, "timeout_s": 60})
    """

    headers: Mapping[str, str] | Sequence[tuple[str, str]]
    """Further headers. `User-Agent` replaces ours; headers that the session sets itself are left out with a warning."""
    timeout_s: float | None
    """Longest time of one attempt with its whole answer, in seconds. Default None, for `read_timeout_s` bounds silence."""
    max_idle_connections: int
    """Idle connections kept per host. Default 64."""


class TlsOptions(TypedDict, total=False):
    """Whom to trust, and how to identify ourselves.

    The system's certificate authorities are always trusted as well, and so are those in the files or folders that
    `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name.

    Example:
        >>> seakernel.connect("local", tls={"ca_certificates_pem": b"not a certificate"})
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `ca_certificates_pem`: the CA certificates hold no `BEGIN CERTIFICATE` block
    """

    ca_certificates_pem: bytes
    """Further certificate authorities, for the workspace and for storage hosts."""
    ca_certificates_file: str | os.PathLike[str]
    """A file of such authorities."""
    client_certificate_pem: bytes
    """Our certificate with its chain, for the workspace only: its API, and its own addresses for signing in."""
    client_key_pem: bytes
    """The key of `client_certificate_pem`."""
    client_key_passphrase: str | bytes
    """The passphrase of the key, where that is encrypted: PKCS#8, as `openssl pkcs8 -topk8` writes it."""
    verify_certificates: bool
    """Default True. False accepts any certificate: whoever is on the way can read the token."""
    verify_hostnames: bool
    """Default True. False accepts a trusted certificate of any other host."""


class ClientSecretAuth(TypedDict, total=False):
    """Signing in as a service principal with its OAuth secret (machine to machine).

    The token is renewed in the background before its end, and once where the server refuses it; connections of one process
    that sign in alike share it.

    Example:
        >>> auth = {"type": "oauth-m2m", "client_id": "my-app"}
        >>> seakernel.connect("dbc-a1b2.cloud.databricks.com", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `client_secret` is missing
    """

    type: Required[Literal["oauth-m2m"]]
    client_id: Required[str]
    """Application id of the service principal."""
    client_secret: Required[str]
    """Its OAuth secret."""
    scopes: Sequence[str]
    """Default `["all-apis"]`."""
    token_url: str
    """Asked for tokens in place of the address that the workspace names."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class SignedJwtAuth(TypedDict, total=False):
    """Signing in as a service principal with a private key, by tokens that it signs (RFC 7523).

    Example:
        >>> auth = {"type": "oauth-m2m-jwt", "client_id": "my-app", "key_id": "1", "key_file": "key.pem", "algorithm": "ES512"}
        >>> seakernel.connect("dbc-a1b2.cloud.databricks.com", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `algorithm` is none of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`
    """

    type: Required[Literal["oauth-m2m-jwt"]]
    client_id: Required[str]
    """Application id of the service principal."""
    key_id: Required[str]
    """Which of the keys registered for it signs: the `kid` of the tokens."""
    key_file: str | PathLike[str]
    """Its private key in PEM: RSA, P-256 or P-384, as PKCS#8 (also encrypted), PKCS#1 or SEC 1. Read anew for each token."""
    key_pem: str | bytes
    """The key itself, in place of `key_file`."""
    passphrase: str
    """Of an encrypted key."""
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"]
    """Default `RS256`."""
    scopes: Sequence[str]
    """Default `["all-apis"]`."""
    token_url: str
    """Asked for tokens in place of the address that the workspace names."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class AzureClientSecretAuth(TypedDict, total=False):
    """Signing in as a service principal of Entra with its secret.

    Example:
        >>> auth = {"type": "azure-client-secret", "azure_client_id": "my-app"}
        >>> seakernel.connect("adb-1.2.azuredatabricks.net", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `azure_client_secret` is missing
    """

    type: Required[Literal["azure-client-secret", "azure-sp-m2m"]]
    """The second is the name of databricks-sql-connector."""
    azure_client_id: Required[str]
    """Application id of the service principal."""
    azure_client_secret: Required[str]
    """Its secret."""
    azure_tenant_id: str
    """Its tenant. Default the one that the workspace names."""
    azure_workspace_resource_id: str
    """`/subscriptions/.../workspaces/...` of the workspace, for a service principal that has a role in Azure and is no user
    of the workspace: a token for the management of Azure goes along then."""
    login_url: str
    """Where Entra is. Default `https://login.microsoftonline.com/`, or that of the workspace's cloud."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class AzureManagedIdentityAuth(TypedDict, total=False):
    """Signing in with the managed identity of the Azure machine, app or function that the program runs on.

    Example:
        >>> auth = {"type": "azure-managed-identity", "endpoint": "http://example.com/"}
        >>> seakernel.connect("adb-1.2.azuredatabricks.net", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `endpoint` is neither an https address nor one of this machine, as http://169.254.169.254 is
    """

    type: Required[Literal["azure-managed-identity", "azure-msi"]]
    """The second is the name of databricks-sdk."""
    azure_client_id: str
    """Which of several identities."""
    azure_workspace_resource_id: str
    """As for `azure-client-secret`."""
    endpoint: str
    """The metadata service. Default what `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` name, else that of virtual machines. It is
    never asked through a proxy."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class WorkloadIdentityAuth(TypedDict, total=False):
    """Signing in with the token that a workload has from its platform, exchanged for one of the workspace.

    The token is had anew for each exchange, so that one which the platform replaces is never too old.

    Example:
        >>> auth = {"type": "file-oidc"}
        >>> seakernel.connect("dbc-a1b2.cloud.databricks.com", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `token_file` is missing
    """

    type: Required[Literal["env-oidc", "file-oidc", "github-oidc"]]
    """From an environment variable, from a file as Kubernetes mounts it, or of GitHub Actions (the job needs
    `permissions: id-token: write`)."""
    client_id: str
    """Application id of the service principal that has a federation policy for the token. Default whoever the token is about,
    by the policies of the account."""
    token_env: str
    """For `env-oidc`. Default `DATABRICKS_OIDC_TOKEN`."""
    token_file: str | PathLike[str]
    """For `file-oidc`."""
    audience: str
    """For `github-oidc`: whom the token is for. Default the token endpoint of the workspace."""
    scopes: Sequence[str]
    """Default `["all-apis"]`."""
    token_url: str
    """Asked for the exchange in place of the address that the workspace names."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class TokenFederationAuth(TypedDict, total=False):
    """Signing in with a token of another identity provider, exchanged for one of the workspace.

    A token that the workspace issued itself, or that is no JWT, is used as it is. One that cannot be exchanged is, too, with
    a warning, unless `client_id` is given.

    Example:
        >>> auth = {"type": "token-federation", "token": ""}
        >>> seakernel.connect("dbc-a1b2.cloud.databricks.com", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `token` is empty
    """

    type: Required[Literal["token-federation"]]
    token: Required[str]
    """The token. It is not renewed: for one that is, use `file-oidc` or `env-oidc`."""
    client_id: str
    """Application id of the service principal to become. Default whoever the token is about."""
    scopes: Sequence[str]
    """Default `["all-apis"]`."""
    token_url: str
    """Asked for the exchange in place of the address that the workspace names."""
    timeout_s: float
    """Longest time to sign in, in seconds. Default 15."""


class CallableAuth(TypedDict, total=False):
    """Tokens from a callable of the program, as `auth=callable`, with a limit of time.

    It is asked in a thread of its own, by one request at a time, and returns a token; or headers, `Authorization` among
    them; or a token with its expiry. It is asked again before the expiry, which a JWT tells by itself, and once where the
    server refuses the token; without an expiry before each request.

    Example:
        >>> auth = {"type": "callable", "callable": lambda: warehouse.access_token, "timeout_s": 5}
        >>> with seakernel.connect(warehouse.server_hostname, warehouse.http_path, auth=auth) as connection:
        ...     connection.cursor().execute("SELECT 1 AS one").fetchone()
        Row(one=1)
    """

    type: Required[Literal["callable"]]
    callable: Required[Callable[[], object]]
    """Takes nothing; may be a coroutine function, or return a factory of headers, which is asked from then on."""
    timeout_s: float
    """Longest time of one call, in seconds. Default 15."""


class BrowserAuth(TypedDict, total=False):
    """Signing in as a user, with a browser (user to machine).

    The browser opens when a token is needed and none can be had without the user; connections of one process that sign in
    alike wait for the same page. `docs/signing-in.md` tells more.

    Example:
        >>> auth = {"type": "oauth-u2m", "cache_passphrase": "..."}
        >>> seakernel.connect("dbc-a1b2.cloud.databricks.com", warehouse_id="a1b2c3d4e5f60718", auth=auth)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: `auth`: `cache_passphrase` is given without `cache`; add `"cache": True`
    """

    type: Required[Literal["oauth-u2m"]]
    client_id: str
    """Id of the app. Default `databricks-cli`, which every workspace knows."""
    client_secret: str
    """Secret of the app, if it has one."""
    scopes: Sequence[str]
    """Default `["all-apis", "offline_access"]`; without the second the browser opens whenever a token has ended."""
    redirect_ports: Sequence[int]
    """Ports of `http://localhost:PORT` that the app is registered with; the first free one is used, and 0 is any. Default
    8020, and up to 8040 for `databricks-cli`."""
    callback_timeout_s: float
    """Longest time for the user to sign in, in seconds. Default 120."""
    token_url: str
    """Asked for tokens in place of the address that the workspace names."""
    open_browser: Callable[[str], object]
    """Called with the address of the page, in a thread of its own; returning False says that nobody will see it. Default:
    Python's `webbrowser`, or the address on standard error where that is a terminal."""
    cache: bool | str | os.PathLike[str]
    """Whether tokens are kept between programs, or the folder for them. Default False. True is `seakernel/tokens` in the
    user's folder for caches. What the Databricks CLI and SDK have kept is used, too."""
    cache_passphrase: str
    """Encrypts the files of `cache`."""
    timeout_s: float
    """Longest time for the provider to give a token, in seconds. Default 15."""


AuthOptions: TypeAlias = (
    "ClientSecretAuth | SignedJwtAuth | BrowserAuth | AzureClientSecretAuth | AzureManagedIdentityAuth"
    " | WorkloadIdentityAuth | TokenFederationAuth | CallableAuth"
)
"""Ways of signing in, each by its `type`."""


class ProxyOptions(TypedDict, total=False):
    """An HTTP proxy, for the workspace and for storage hosts.

    Example:
        >>> proxy = {"url": "http://proxy.example:3128", "username": "me", "password": "secret", "no_proxy": ["127.0.0.1"]}
        >>> with seakernel.connect("local", proxy=proxy) as connection:
        ...     connection.cursor().execute("SELECT 1 AS one").fetchone()
        Row(one=1)
    """

    url: str
    """Its address, `http://host:port`, or `https://host:port` where the proxy itself speaks TLS."""
    username: str
    """The user name as it is; in the address it would have to be percent-encoded."""
    password: str
    """The password as it is."""
    no_proxy: str | Sequence[str]
    """Hosts reached without it: names with all below them, addresses, networks such as `10.0.0.0/8`, or `*`."""


class Authenticator(Protocol):
    """An object that gives headers, such as a `Config` of databricks-sdk.

    Example:
        >>> from databricks.sdk.core import Config
        >>> config = Config(host=warehouse.server_hostname, token=warehouse.access_token)
        >>> with seakernel.connect(config.host, warehouse.http_path, auth=config) as connection:
        ...     connection.cursor().execute("SELECT 1 AS one").fetchone()
        Row(one=1)
    """

    def authenticate(self) -> Mapping[str, str]:
        """Returns headers, `Authorization` among them."""
        ...


class HasAuthenticator(Protocol):
    """An object with such a configuration, such as a `WorkspaceClient` of databricks-sdk.

    Example:
        >>> from databricks.sdk import WorkspaceClient
        >>> client = WorkspaceClient(host=warehouse.server_hostname, token=warehouse.access_token)
        >>> seakernel.connect(client.config.host, warehouse.http_path, auth=client).closed
        False
    """

    @property
    def config(self) -> Authenticator:
        """What gives the headers."""
        ...


class TokenGiver(Protocol):
    """An object that gives tokens, such as the token sources of databricks-sdk.

    Example:
        >>> from types import SimpleNamespace
        >>> source = SimpleNamespace(token=lambda: SimpleNamespace(access_token=warehouse.access_token))
        >>> seakernel.connect(warehouse.server_hostname, warehouse.http_path, auth=source).closed
        False
    """

    def token(self) -> Any:
        """Returns an object with `access_token`, and perhaps `expiry`."""
        ...


Auth: TypeAlias = "AuthOptions | Callable[[], object] | Authenticator | HasAuthenticator | TokenGiver"
"""What gives the tokens of a connection."""


class ArrowStreamExportable(Protocol):
    """An object that exports an Arrow stream; pyarrow, polars, DuckDB, pandas and nanoarrow read it as it is.

    Example:
        >>> import polars
        >>> table = session.execute("SELECT id FROM range(3)").take()
        >>> hasattr(table, "__arrow_c_stream__"), polars.DataFrame(table).shape
        (True, (3, 1))
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowSchemaExportable(Protocol):
    """An object that exports an Arrow schema.

    Example:
        >>> import pyarrow
        >>> pyarrow.schema(session.execute("SELECT 1 AS id, 'tea' AS item")).types
        [DataType(int32), DataType(string)]
    """

    def __arrow_c_schema__(self) -> object: ...


ProxyOption: TypeAlias = "str | ProxyOptions | Literal[False] | None"
Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any]"
StatementState: TypeAlias = Literal["Pending", "Running", "Succeeded", "Failed", "Canceled", "Closed", "Unknown"]
DescriptionColumn: TypeAlias = "tuple[str, str, None, None, int | None, int | None, None]"


class TypeObject:
    """A group of type codes; equal to each code in it.

    Example:
        >>> _ = cursor.execute("SELECT 1 AS id, 'tea' AS item")
        >>> [column[1] == seakernel.NUMBER for column in cursor.description]
        [True, False]
    """

    def __init__(self, *codes: str) -> None:
        self.codes = frozenset(codes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypeObject):
            return self.codes == other.codes
        return other in self.codes

    def __hash__(self) -> int:
        return hash(self.codes)

    def __repr__(self) -> str:
        return f"TypeObject({', '.join(sorted(self.codes))})"


STRING = TypeObject("string")
BINARY = TypeObject("binary")
NUMBER = TypeObject("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
DATETIME = TypeObject("timestamp", "date")
ROWID = TypeObject()

Date = dt.date
Time = dt.time
Timestamp = dt.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> dt.date:  # noqa: N802 - PEP 249 gives the name
    """Returns the local date at `ticks` seconds since 1970.

    Example:
        >>> import time
        >>> seakernel.DateFromTicks(time.mktime((2024, 2, 29, 12, 0, 0, 0, 0, -1)))
        datetime.date(2024, 2, 29)
    """
    return dt.date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> dt.time:  # noqa: N802
    """Returns the local time of day at `ticks` seconds since 1970.

    Example:
        >>> import time
        >>> seakernel.TimeFromTicks(time.mktime((2024, 2, 29, 12, 30, 0, 0, 0, -1)))
        datetime.time(12, 30)
    """
    return dt.time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> dt.datetime:  # noqa: N802
    """Returns the local date and time at `ticks` seconds since 1970, without a zone.

    Example:
        >>> import time
        >>> seakernel.TimestampFromTicks(time.mktime((2024, 2, 29, 12, 30, 0, 0, 0, -1)))
        datetime.datetime(2024, 2, 29, 12, 30)
    """
    return dt.datetime(*time.localtime(ticks)[:6])  # noqa: DTZ001
