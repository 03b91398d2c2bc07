"""Every keyword of databricks-sql-connector: used, accepted or refused, as the page about migrating says."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import databricks.sql
import pytest
from databricks.sql import client

import seakernel
from seakernel.local import LocalWarehouse
from seakernel.options import CONNECTOR_OPTIONS, session_arguments

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PLACE = {"server_hostname": "http://127.0.0.1:1", "http_path": "/sql/1.0/warehouses/a", "access_token": "t"}

# `kwargs` of functions that `connect` hands named values, and nothing of the caller's keywords.
INTERNAL = {
    "auth_options": "of the kernel's client, made by the session",
    "precision": "of a conversion",
    "request_timeout_secs": "of the kernel's client, made from `_socket_timeout`",
    "retry_options": "of the kernel's client, made by the session",
    "scale": "of a conversion",
    "telemetry_options": "of the kernel's client, made by the session",
}

# A value for each keyword that is mapped, and what becomes of it.
MAPPED: dict[str, tuple[Any, dict[str, Any]]] = {
    "_pool_maxsize": (7, {"requests": {"max_idle_connections": 7}}),
    "_port": (8443, {}),
    "_retry_delay_max": (9.5, {"retry": {"max_wait_s": 9.5}}),
    "_retry_delay_min": (0.5, {"retry": {"min_wait_s": 0.5}}),
    "_retry_stop_after_attempts_count": (4, {"retry": {"max_attempts": 4}}),
    "_retry_stop_after_attempts_duration": (30, {"retry": {"max_elapsed_s": 30}}),
    "_socket_timeout": (45, {"read_timeout_s": 45, "connect_timeout_s": 45}),
    "_tls_client_cert_file": ("PEM", {"tls": {"client_certificate_pem": b"pem\n", "client_key_pem": b"pem\n"}}),
    "_tls_client_cert_key_file": ("PEM", {"tls": {"client_key_pem": b"pem\n"}}),
    "_tls_client_cert_key_password": ("secret", {"tls": {"client_key_passphrase": "secret"}}),
    "_tls_no_verify": (True, {"tls": {"verify_certificates": False}}),
    "_tls_trusted_ca_file": ("PEM", {"tls": {"ca_certificates_pem": b"pem\n"}}),
    "_tls_verify_hostname": (False, {"tls": {"verify_hostnames": False}}),
    "_use_arrow_native_complex_types": (False, {"results": {"complex_types": "json"}}),
    "_user_agent_entry": ("mine", {"user_agent_entry": "mine"}),
    "enable_geospatial_support": (True, {"results": {"geospatial": "native"}}),
    "enable_metric_view_metadata": (
        True,
        {"session_configuration": {"spark.sql.thriftserver.metadata.metricview.enabled": "true"}},
    ),
    "enable_query_result_lz4_compression": (False, {"results": {"compression": False}}),
    "http_headers": ([("x-mine", "1")], {"requests": {"headers": [("x-mine", "1")]}}),
    "max_connections": (7, {"requests": {"max_idle_connections": 7}}),
    "max_download_threads": (3, {"results": {"max_concurrent_downloads": 3}}),
    "use_cloud_fetch": (False, {"results": {"cloud_fetch": False}}),
}
AZURE = {"azure_client_id": "a", "azure_client_secret": "b"}
# Keywords of signing in, and what they are together, without a token unless it is among them.
SIGN_INS: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    (
        {"oauth_client_id": "a", "oauth_client_secret": "b", "oauth_scopes": ["sql"], "token_url": "https://c/"},
        {"type": "oauth-m2m", "client_id": "a", "client_secret": "b", "scopes": ["sql"], "token_url": "https://c/"},
    ),
    (
        {
            "oauth_client_id": "a",
            "oauth_jwt_key_file": "k",
            "oauth_jwt_kid": "1",
            "oauth_jwt_passphrase": "p",
            "oauth_jwt_algorithm": "ES256",
        },
        {
            "type": "oauth-m2m-jwt",
            "client_id": "a",
            "key_file": "k",
            "key_id": "1",
            "passphrase": "p",
            "algorithm": "ES256",
        },
    ),
    (
        {"auth_type": "azure-sp-m2m", **AZURE, "azure_tenant_id": "t", "azure_workspace_resource_id": "/w"},
        {"type": "azure-client-secret", **AZURE, "azure_tenant_id": "t", "azure_workspace_resource_id": "/w"},
    ),
    (AZURE, {"type": "azure-client-secret", **AZURE}),
    ({"auth_type": "azure-oauth"}, {"type": "oauth-u2m"}),
    (
        {"auth_type": "databricks-oauth", "oauth_redirect_port": 8050, "oauth_token_cache_enabled": True},
        {"type": "oauth-u2m", "redirect_ports": [8050], "cache": True},
    ),
    ({"oauth_client_id": "a"}, {"type": "oauth-u2m", "client_id": "a"}),
    # Whoever has a token needs none of it.
    ({"oauth_client_id": "a", "access_token": "t"}, None),
    ({"auth_type": "pat", "access_token": "t", "oauth_token_cache_enabled": False}, None),
    ({"auth_type": "access-token", "oauth_scopes": ["sql"], "access_token": "t"}, None),
    (
        {"identity_federation_client_id": "a", "access_token": "t"},
        {"type": "token-federation", "token": "t", "client_id": "a"},
    ),
    # Tokens of the workspace's own provider need no exchange.
    (
        {"oauth_client_id": "a", "oauth_client_secret": "b", "identity_federation_client_id": "c"},
        {"type": "oauth-m2m", "client_id": "a", "client_secret": "b"},
    ),
]
# These need a TLS server; see test_tls.
FILES = ("_tls_client_cert_file", "_tls_client_cert_key_file", "_tls_trusted_ca_file")


def keywords_read_by_the_connector() -> set[str]:
    """Every `kwargs.get("x")`, `kwargs.pop("x")`, `kwargs["x"]` and `"x" in kwargs` in the connector's source."""

    def is_kwargs(node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == "kwargs"

    found: set[str] = set()
    for file in Path(databricks.sql.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            key: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_kwargs(node.func.value):
                key = node.args[0] if node.func.attr in ("get", "pop", "setdefault") and node.args else None
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and is_kwargs(node.value):
                key = node.slice
            elif isinstance(node, ast.Compare) and is_kwargs(node.comparators[0]):
                key = node.left
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                found.add(key.value)
    return found


def keywords_told_by_the_connector() -> set[str]:
    """The named arguments of its `Connection`, and the keywords that their documentation and comments tell."""
    source = inspect.getsource(client.Connection.__init__)
    named = set(inspect.signature(client.Connection.__init__).parameters) - {"self", "kwargs"}
    documented = set(re.findall(r"^ +:param (\w+):|^ +(\w+): `", source, re.MULTILINE))
    commented = re.findall(r"^ +# ((?:_\w+(?:, )?)+):?$|^ +# (use_cloud_fetch)$", source, re.MULTILINE)
    names = {name for pair in (*documented, *commented) for part in pair for name in part.split(", ") if name}
    return named | names


def migration_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("migration_tables", ROOT / "tests" / "docs" / "migration_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments_with(**options: Any) -> dict[str, Any]:
    named = {
        name: parameter.default
        for name, parameter in inspect.signature(seakernel.connect).parameters.items()
        if name != "connector_options"
    }
    ours = {name: value for name, value in options.items() if name in named}
    theirs = {name: value for name, value in options.items() if name not in named}
    return session_arguments(connector_options=theirs, **{**named, **PLACE, **ours})


def test_every_keyword_of_the_connector_is_covered() -> None:
    read, told = keywords_read_by_the_connector(), keywords_told_by_the_connector()
    assert {"_port", "max_download_threads", "oauth_client_id", "telemetry_batch_size"} <= read
    assert {"http_headers", "use_inline_params", "_tls_client_cert_key_password", "_skip_routing_headers"} <= told
    assert INTERNAL.keys() <= read
    known = set(inspect.signature(seakernel.connect).parameters) | set(CONNECTOR_OPTIONS)
    assert (read | told) - INTERNAL.keys() <= known
    # Nothing is listed that the connector does not have.
    assert set(CONNECTOR_OPTIONS) <= read | told


def test_the_tables_of_the_page_are_up_to_date() -> None:
    tables = migration_tables()
    page = tables.PAGE.read_text()
    assert page == tables.page_with_tables(page), "run `python tests/docs/migration_tables.py`"
    for name in CONNECTOR_OPTIONS:
        assert page.count(f"| `{name}` |") == 1
    for kind, names in tables.INSTEAD.items():
        assert set(names) <= set(dir(getattr(client, kind))) | tables.ATTRIBUTES[kind]


def test_the_examples_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", migration_tables().PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 1
    done = subprocess.run([sys.executable, "-c", blocks[0]], check=True, capture_output=True, text=True, timeout=60)
    assert "United Air Lines Inc." in done.stdout


def test_each_keyword_has_one_fate() -> None:
    mapped = {name for name, option in CONNECTOR_OPTIONS.items() if option.place}
    # Those of signing in belong together; see `test_machine` as well.
    assert set(MAPPED) == {name for name in mapped if CONNECTOR_OPTIONS[name].place[0] != "auth"}
    sign_ins = {name for keywords, _ in SIGN_INS for name in keywords} - {"access_token"}
    # What it gives is in `test_token_callables`.
    assert sign_ins | {"credentials_provider"} == mapped - set(MAPPED)
    for name, option in CONNECTOR_OPTIONS.items():
        assert not (option.place and (option.accepted or option.accepts_anything)), name
        assert option.why or option.place, name


@pytest.mark.parametrize("name", sorted(CONNECTOR_OPTIONS))
def test_none_means_that_it_was_not_given(name: str) -> None:
    assert arguments_with(**{name: None}) == arguments_with()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, option in CONNECTOR_OPTIONS.items()
        for value in ((123, object()) if option.accepts_anything else option.accepted)
    ],
)
def test_what_happens_anyway_is_accepted(warehouse: LocalWarehouse, name: str, value: object) -> None:
    assert arguments_with(**{name: value}) == arguments_with()
    with warehouse.connect(**{name: value}) as connection:
        assert connection.cursor().execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "name", [name for name, option in CONNECTOR_OPTIONS.items() if not option.place and not option.accepts_anything]
)
def test_what_is_not_here_raises_and_says_why(name: str) -> None:
    for value in (object(), "a-value"):
        with pytest.raises(seakernel.NotSupportedError) as caught:
            seakernel.connect(**PLACE, **{name: value})
        assert str(caught.value) == f"option `{name}` is not supported: {CONNECTOR_OPTIONS[name].why}"
        assert caught.value.kind == "InvalidArgument"


@pytest.mark.parametrize("name", sorted(MAPPED))
def test_what_is_here_is_used(warehouse: LocalWarehouse, tmp_path: Path, name: str) -> None:
    value, expected = MAPPED[name]
    if value == "PEM":
        value = tmp_path / "file.pem"
        value.write_bytes(b"pem\n")
    base = {"server_hostname": "http://127.0.0.1"} if name == "_port" else {}
    got = arguments_with(**base, **{name: value})
    if name == "_port":
        expected = {"server_hostname": "http://127.0.0.1:8443"}
    assert {key: got[key] for key in got if got[key] != arguments_with(**base)[key]} == expected
    if name in FILES or name == "_tls_client_cert_key_password":
        return
    host, _, port = warehouse.server_hostname.rpartition(":")
    place = {"server_hostname": host, "_port": int(port)} if name == "_port" else {name: value}
    with warehouse.connect(**place) as connection:
        assert connection.cursor().execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize(("keywords", "auth"), SIGN_INS)
def test_keywords_of_signing_in_belong_together(keywords: dict[str, Any], auth: dict[str, Any] | None) -> None:
    got = arguments_with(**{"access_token": None, **keywords})
    assert got["auth"] == auth
    assert got.get("access_token") == (None if auth else "t")


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"auth_type": "nonsense"}, "`auth_type` is none of `databricks-oauth`"),
        ({"auth_type": 7}, "`auth_type` is none of"),
        ({"oauth_client_id": "a", "oauth_client_secret": "b"}, "`access_token` and `auth` are both given"),
        ({"auth_type": "databricks-oauth"}, "`access_token` and `auth` are both given"),
        ({"access_token": None, "identity_federation_client_id": "a"}, "needs the token to exchange as `access_token`"),
        (
            {"access_token": None, "auth": {"type": "oauth-m2m"}, "identity_federation_client_id": "a"},
            "give `client_id` in `auth`",
        ),
        ({"access_token": None, "azure_client_id": "a"}, "`azure_client_secret` is missing"),
        ({"access_token": None, "auth_type": "oauth-m2m-jwt", "oauth_client_id": "a"}, "`key_file` is missing"),
        (
            {"access_token": None, "auth": {"type": "oauth-m2m", "client_id": "a"}, "oauth_client_id": "a"},
            "are two names of one option",
        ),
    ],
)
def test_keywords_of_signing_in_that_do_not_go_together(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=re.escape(text)) as caught:
        seakernel.connect(**{**PLACE, **keywords})
    assert caught.value.kind == "InvalidArgument"


def test_query_tags_and_headers_reach_the_server() -> None:
    with LocalWarehouse() as warehouse:
        warehouse.connect(query_tags={"team": "data"}, session_configuration={"TIMEZONE": "UTC"}).close()
        (opened,) = [request for request in warehouse.requests() if request["operation"] == "open_session"]
        assert opened["body"]["session_confs"] == {"TIMEZONE": "UTC", "QUERY_TAGS": "team:data"}


@pytest.mark.parametrize(
    ("both", "names"),
    [
        ({"_socket_timeout": 5, "read_timeout_s": 5}, "`_socket_timeout` and `read_timeout_s`"),
        ({"_retry_delay_min": 1, "retry": {"min_wait_s": 1}}, "`_retry_delay_min` and `retry={'min_wait_s': ...}`"),
        ({"_pool_maxsize": 1, "max_connections": 1}, "`max_connections` and `_pool_maxsize`"),
        ({"_user_agent_entry": "a", "user_agent_entry": "a"}, "`_user_agent_entry` and `user_agent_entry`"),
        ({"query_tags": {"a": "b"}, "session_configuration": {"query_tags": "a:b"}}, "`query_tags` and"),
        ({"_port": 1, "server_hostname": "http://127.0.0.1:2"}, "`_port` is 1 and the host has port 2"),
    ],
)
def test_one_option_under_two_names_is_an_error(both: dict[str, Any], names: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=re.escape(names)):
        seakernel.connect(**{**PLACE, **both})


def test_a_keyword_and_its_group_go_together() -> None:
    got = arguments_with(max_download_threads=3, results={"compression": False}, _retry_delay_max=5)
    assert got["results"] == {"compression": False, "max_concurrent_downloads": 3}
    assert got["retry"] == {"max_wait_s": 5}


@pytest.mark.parametrize("name", ["_tls_no_verify", "_tls_verify_hostname", "use_cloud_fetch"])
@pytest.mark.parametrize("wrong", ["false", 0, 1])
def test_a_switch_takes_true_and_false_only(name: str, wrong: object) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=f"`{name}` is .*; expected True or False"):
        seakernel.connect(**PLACE, **{name: wrong})


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for value in (tmp_path / "missing.pem", empty, tmp_path, 1.5):
        with pytest.raises(seakernel.ProgrammingError, match=f"`{name}`: the file"):
            seakernel.connect(**PLACE, **{name: value})


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("catalgo", "catalog"), ("max_download_thread", "max_download_threads"), ("profil", "profile"), ("zzz", None)],
)
def test_an_unknown_keyword_gets_a_suggestion(wrong: str, nearest: str | None) -> None:
    with pytest.raises(TypeError, match=f"`{wrong}`") as caught:
        seakernel.connect(**PLACE, **{wrong: 1})
    assert ("did you mean" in str(caught.value)) is (nearest is not None)
    assert nearest is None or f"`{nearest}`" in str(caught.value)


@pytest.mark.parametrize(
    ("group", "wrong", "nearest"),
    [
        ("results", "memory_budget", "memory_budget_bytes"),
        ("retry", "max_attempt", "max_attempts"),
        ("requests", "header", "headers"),
        ("tls", "verify_hostname", "verify_hostnames"),
    ],
)
def test_an_unknown_key_of_a_group_gets_a_suggestion(group: str, wrong: str, nearest: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=f"`{group}` has no key `{wrong}`.*mean `{nearest}`"):
        seakernel.connect(**PLACE, **{group: {wrong: 1}})
