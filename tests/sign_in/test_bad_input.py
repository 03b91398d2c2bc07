"""Every option with a wrong type, empty, and in contradiction: the error names the option and what to do.

`test_no_option_lacks_a_row` walks the arguments of `connect` and the groups of options: an option that is added needs a row.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import seakernel
from seakernel import aio, types
from seakernel.options import CONNECTOR_OPTIONS

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse


class Row(NamedTuple):
    """An option, a wrong value, and what the error says of it besides the option's name."""

    group: str
    option: str
    value: object
    says: str
    beside: dict[str, Any]


ROWS: list[Row] = []


def wrong(group: str, option: str, *pairs: tuple[object, str], beside: dict[str, Any] | None = None) -> None:
    """Adds rows of an option: wrong values, each with what the error says."""
    ROWS.extend(Row(group, option, value, says, beside or {}) for value, says in pairs)


NOT_A_TEXT = (5, "of type `int`; expected a text")
EMPTY_PLACE = (" ", "is empty; leave it out")
SECONDS = tuple(
    (value, "expected a positive number of seconds")
    for value in (0, -1, float("nan"), float("inf"), True, "5", "", [], None)
)
COUNTS = tuple((value, "expected a positive integer") for value in (0, -1, 1.5, True, "5", "", [], None))
TRUTHS = tuple((value, "expected True or False") for value in (0, 1, "yes", "", [], None))
A_MAPPING = tuple((value, "expected a mapping") for value in ("", "x", 5, [], [("a", "b")]))
PEM = (("text", "expected bytes"), ("", "expected bytes"), (5, "expected bytes"), ([45], "expected bytes"))

# The place.
wrong(
    "connect",
    "server_hostname",
    NOT_A_TEXT,
    EMPTY_PLACE,
    ("a b", "is not a host"),
    ("https://a/b", "not the host alone"),
)
wrong("connect", "server_hostname", ("ftp://a", "not an https address"), ("http://a.example", "token unencrypted"))
wrong("connect", "server_hostname", ("https://u:canary@a", "must not contain a user name or password"))
wrong("connect", "http_path", NOT_A_TEXT, EMPTY_PLACE, ("/x", "expected `/sql/1.0/warehouses/"))
wrong("connect", "warehouse_id", NOT_A_TEXT, EMPTY_PLACE, ("a/b", "expected the id of a SQL warehouse"))
wrong("connect", "warehouse_id", ("other", "differ; give one of them"))
wrong("connect", "profile", NOT_A_TEXT, EMPTY_PLACE)
wrong("connect", "access_token", NOT_A_TEXT, EMPTY_PLACE)
# What the session is made of.
for text in ("catalog", "schema", "user_agent_entry"):
    wrong("connect", text, NOT_A_TEXT, (" ", "is empty; leave it out"))
wrong("connect", "user_agent_entry", ("a\nb", "visible ASCII"))
for group in ("results", "retry", "requests", "tls", "session_configuration"):
    wrong("connect", group, *A_MAPPING, ({1: "x"}, "key of type `int`"), ({"": "x"}, "an empty one"))
    if group != "session_configuration":
        wrong("connect", group, ({"memory": 1}, "has no key `memory` (accepted: "))
wrong("connect", "session_configuration", ({"a": []}, "has a `list` for `a`; expected text"))
wrong("connect", "query_tags", *((value, "is not a mapping") for value in ("", "x", 5, [], {"a": 1})))
wrong("connect", "query_tags", ({"": "x"}, "is empty or has a colon or comma"))
wrong("connect", "query_tags", ({"a": "b"}, "two names of one"), beside={"session_configuration": {"query_tags": "x"}})
for limit in ("connect_timeout_s", "read_timeout_s"):
    wrong("connect", limit, *SECONDS[:-1])
wrong("connect", "progress", ("yes", "expected True, False or a callable"), (1, "expected True, False or a callable"))
for value in (5, "", [5]):
    wrong("connect", "staging_allowed_local_path", (value, "is neither a path nor a list of paths"))

# Groups.
for count in ("memory_budget_bytes", "max_concurrent_downloads", "max_chunk_bytes"):
    wrong("results", count, *COUNTS)
wrong("results", "download_idle_timeout_s", *SECONDS)
for truth in ("compression", "private_storage_addresses"):
    wrong("results", truth, *TRUTHS)
wrong("results", "cloud_fetch", ("x", "expected"), ("", "expected"), (5, "expected"), ([], "expected"))
wrong("results", "complex_types", *((value, 'expected "native" or "json"') for value in ("text", "", 5, None)))
for form in ("intervals", "geospatial", "void"):
    wrong("results", form, *((value, 'expected "native" or "text"') for value in ("json", "", 5, None)))
wrong("retry", "max_attempts", *COUNTS)
for limit in ("min_wait_s", "max_wait_s", "max_elapsed_s"):
    wrong("retry", limit, *SECONDS)
wrong("retry", "min_wait_s", (5, "longer than `max_wait_s`"), beside={"max_wait_s": 1})
for value in (5, "x", [("a",)], {"a": 1}, None):
    wrong("requests", "headers", (value, "neither a mapping of texts nor a list of pairs"))
wrong(
    "requests",
    "headers",
    ({"a b": "x"}, "is not the name of an HTTP header"),
    ({"a": "canary\n"}, "no header may hold"),
)
wrong("requests", "timeout_s", *SECONDS[:-1])
wrong("requests", "max_idle_connections", *COUNTS)
for pem in ("ca_certificates_pem", "client_certificate_pem", "client_key_pem"):
    wrong("tls", pem, *PEM)
wrong("tls", "ca_certificates_pem", (b"", "no `BEGIN CERTIFICATE` block"), (b"canary", "no `BEGIN CERTIFICATE` block"))
wrong("tls", "client_certificate_pem", (b"canary", "has no key; give both"))
wrong("tls", "client_key_pem", (b"canary", "has no certificate; give both"), (b"\xff", "not PEM"))
for truth in ("verify_certificates", "verify_hostnames"):
    wrong("tls", truth, *TRUTHS)

# Signing in.
wrong("connect", "auth", (lambda: "x", "both given; give one of them"), beside={"access_token": "canary"})
for value in (5, "canary", b"canary", [], object(), str):
    wrong("connect", "auth", (value, "a mapping with a `type`" if value is not str else "pass an object of it"))
CLIENT_SECRET = {"type": "oauth-m2m", "client_id": "app", "client_secret": "canary"}
KEY_OF_A_TEXT = ((5, "is of type `int`; expected a text"), ("", "is empty"), (" ", "is empty"))
wrong("auth", "type", *KEY_OF_A_TEXT, (None, "is missing"), ("telepathy", "expected one of `"))
for text in ("client_id", "client_secret"):
    wrong("auth", text, *KEY_OF_A_TEXT, (None, "is missing"), beside=CLIENT_SECRET)
wrong("auth", "token_url", *KEY_OF_A_TEXT, ("http://a.example", "no https"), ("x", "no https"), beside=CLIENT_SECRET)
wrong("auth", "scopes", *((v, "not a list of texts") for v in ("sql", "", [], [""], [5], 5)), beside=CLIENT_SECRET)
wrong("auth", "timeout_s", *SECONDS[:-1], beside=CLIENT_SECRET)
wrong("auth", "client_secre", ("canary", "has no key `client_secre`"), beside=CLIENT_SECRET)
CALLABLE = {"type": "callable", "callable": lambda: "canary"}
wrong("auth", "callable", (5, "of type `int`"), ("canary", "of type `str`"), (None, "is missing"), beside=CALLABLE)
wrong("auth", "timeout_s", *SECONDS[:-1], beside=CALLABLE)
wrong("auth", "time", (5, "has no key `time`"), beside=CALLABLE)

PATH = ((5, "expected a path"), (b"x", "expected a path"), ([], "expected a path"), ("", "is empty"))
JWT = {"type": "oauth-m2m-jwt", "client_id": "app", "key_id": "1", "key_pem": "canary"}
for text in ("client_id", "key_id"):
    wrong("auth", text, *KEY_OF_A_TEXT, (None, "is missing"), beside=JWT)
wrong("auth", "passphrase", *KEY_OF_A_TEXT, beside=JWT)
wrong("auth", "key_pem", *KEY_OF_A_TEXT, (b"", "is empty"), (b"\xff", "is no text"), (None, "is missing"), beside=JWT)
wrong("auth", "key_file", ("a", "both given"), *PATH[:3], beside=JWT)
wrong("auth", "algorithm", *KEY_OF_A_TEXT, ("ES512", "is none of `RS256`"), beside=JWT)
ENTRA = {"type": "azure-client-secret", "azure_client_id": "app", "azure_client_secret": "canary"}
for text in ("azure_client_id", "azure_client_secret"):
    wrong("auth", text, *KEY_OF_A_TEXT, (None, "is missing"), beside=ENTRA)
for text in ("azure_tenant_id", "azure_workspace_resource_id"):
    wrong("auth", text, *KEY_OF_A_TEXT, beside=ENTRA)
wrong("auth", "login_url", *KEY_OF_A_TEXT, ("http://a.example", "no https"), beside=ENTRA)
MANAGED = {"type": "azure-managed-identity"}
wrong("auth", "azure_client_id", *KEY_OF_A_TEXT, beside=MANAGED)
wrong("auth", "endpoint", *KEY_OF_A_TEXT, ("http://a.example", "neither an https address"), beside=MANAGED)
wrong("auth", "token_file", *PATH, (None, "is missing"), beside={"type": "file-oidc"})
wrong("auth", "token_env", *KEY_OF_A_TEXT, beside={"type": "env-oidc"})
wrong("auth", "audience", *KEY_OF_A_TEXT, beside={"type": "github-oidc"})
wrong("auth", "token", *KEY_OF_A_TEXT, (None, "is missing"), beside={"type": "token-federation"})
BROWSER = {"type": "oauth-u2m"}
for text in ("client_id", "client_secret", "token_url"):
    wrong("auth", text, *KEY_OF_A_TEXT, beside=BROWSER)
for ports in (8020, "8020", b"8020", [], ["x"], [70_000], [-1]):
    wrong("auth", "redirect_ports", (ports, "is not a list of ports"), beside=BROWSER)
wrong("auth", "callback_timeout_s", *SECONDS[:-1], beside=BROWSER)
wrong("auth", "open_browser", *((value, "is not a function") for value in (5, "firefox", [])), beside=BROWSER)
wrong("auth", "cache", *((value, "neither True nor False nor the path") for value in (5, "", [])), beside=BROWSER)
wrong("auth", "cache_passphrase", *KEY_OF_A_TEXT, beside={**BROWSER, "cache": True})
wrong("auth", "cache_passphrase", ("canary", "without `cache`"), beside=BROWSER)

# The network.
wrong("tls", "ca_certificates_file", *((value, "expected the name of a file") for value in (5, b"x", [])))
wrong("tls", "ca_certificates_file", ("", "is empty"), ("/no/such/file", "cannot be read"))
wrong("tls", "client_key_passphrase", (5, "neither a text nor bytes"), ("canary", "has no `client_key_pem`"))
for value in (5, True, "", "no address", "ftp://a", "http://", [], {}, object()):
    wrong("connect", "proxy", (value, "proxy"))
for value in (5, "", "no address", "ftp://a", None):
    wrong("proxy", "url", (value, "proxy"))
PROXY = {"url": "http://proxy.example:3128"}
for text in ("username", "password"):
    wrong("proxy", text, (5, text), (b"canary", text), beside=PROXY)
wrong("proxy", "no_proxy", (5, "no_proxy"), ([5], "no_proxy"), beside=PROXY)
wrong("proxy", "user", ("canary", "has no key `user`"), beside=PROXY)

GROUPS = {
    "proxy": types.ProxyOptions,
    "results": types.ResultOptions,
    "retry": types.RetryOptions,
    "requests": types.RequestOptions,
    "tls": types.TlsOptions,
}


def arguments_of(row: Row, warehouse: LocalWarehouse) -> dict[str, Any]:
    """The arguments of `connect`, right but for one."""
    arguments: dict[str, Any] = {
        "server_hostname": warehouse.server_hostname,
        "http_path": warehouse.http_path,
        "access_token": warehouse.access_token,
    }
    if "auth" in (row.group, row.option):
        del arguments["access_token"]
    if row.group == "connect":
        return {**arguments, **row.beside, row.option: row.value}
    return {**arguments, row.group: {**row.beside, row.option: row.value}}


def named(row: Row) -> str:
    return f"{row.group}-{row.option}-{type(row.value).__name__}"


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_the_error_names_the_option_and_the_remedy(warehouse: LocalWarehouse, row: Row) -> None:
    before = len(warehouse.requests())
    arguments = arguments_of(row, warehouse)
    with pytest.raises((seakernel.ProgrammingError, ValueError)) as caught:
        seakernel.connect(**arguments)
    message = str(caught.value)
    spelled = {"url": "`proxy`", "client_certificate_pem": "client certificate", "client_key_pem": "client key"}
    names = [
        f"`{row.option}`",
        row.option,
        spelled.get(row.option, "?"),
        "CA certificates",
        "HTTP header",
        "`headers`",
        "`a`",
    ]
    assert any(name in message for name in names), message
    assert row.says in message
    # Nothing was asked of the server with it.
    assert len(warehouse.requests()) == before


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.option not in ("progress", "staging_allowed_local_path")][::7], ids=named
)
def test_it_is_the_same_under_asyncio(warehouse: LocalWarehouse, row: Row) -> None:
    import asyncio

    async def main() -> None:
        async with aio.connect(**arguments_of(row, warehouse)):
            pass

    with pytest.raises((seakernel.ProgrammingError, ValueError)) as caught:
        asyncio.run(main())
    assert row.says in str(caught.value)


def auth_types() -> list[type]:
    """The groups of options that `auth` may be."""
    found = vars(types)
    return [value for name, value in found.items() if typing.is_typeddict(value) and name.endswith("Auth")]


def test_no_option_lacks_a_row() -> None:
    covered = {(row.group, row.option) for row in ROWS}
    parameters = set(inspect.signature(seakernel.connect).parameters) - {"connector_options"}
    wanted = {("connect", name) for name in parameters}
    wanted |= {(group, name) for group, options in GROUPS.items() for name in options.__annotations__}
    auth = auth_types()
    assert {types.ClientSecretAuth, types.CallableAuth} <= set(auth)
    wanted |= {("auth", name) for options in auth for name in options.__annotations__}
    assert wanted <= covered, sorted(wanted - covered)
    # And no group of options is forgotten.
    groups = {value for name, value in vars(types).items() if typing.is_typeddict(value) and name.endswith("Options")}
    assert groups == set(GROUPS.values())


CONNECTOR_ROWS = [
    ("_port", 0), ("_port", "x"), ("_port", True), ("_tls_no_verify", "x"), ("_tls_verify_hostname", 1),
    ("_tls_trusted_ca_file", 5.5), ("_tls_trusted_ca_file", "/no/such/file"), ("_tls_client_cert_file", ""),
    ("_tls_client_cert_key_file", "/no/such/file"), ("_socket_timeout", "x"), ("_socket_timeout", -1),
    ("_retry_delay_min", "x"), ("_retry_delay_max", 0), ("_retry_stop_after_attempts_count", 0),
    ("_retry_stop_after_attempts_duration", "x"), ("_pool_maxsize", 0), ("max_connections", "x"),
    ("max_download_threads", 0), ("http_headers", 5), ("use_cloud_fetch", "x"), ("_user_agent_entry", 5),
    ("enable_query_result_lz4_compression", "x"), ("enable_geospatial_support", "x"),
    ("enable_metric_view_metadata", "x"), ("_use_arrow_native_complex_types", "x"), ("credentials_provider", 5),
    ("_tls_client_cert_key_password", 5), ("auth_type", 5),
]  # fmt: skip


@pytest.mark.parametrize(("option", "value"), CONNECTOR_ROWS)
def test_wrong_values_of_connector_options(warehouse: LocalWarehouse, option: str, value: object) -> None:
    assert option in CONNECTOR_OPTIONS
    place = {"server_hostname": warehouse.server_hostname, "http_path": warehouse.http_path}
    token = {} if option == "credentials_provider" else {"access_token": warehouse.access_token}
    with pytest.raises((seakernel.ProgrammingError, seakernel.NotSupportedError, ValueError)):
        seakernel.connect(**place, **token, **{option: value})
