"""What `connect` takes: its own arguments and the keywords of databricks-sql-connector, made into a session's arguments.

`CONNECTOR_OPTIONS` is the one list of the connector's keywords; the table in
`docs/migrating-from-databricks-sql-connector.md` is made from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from seakernel.configuration import configuration
from seakernel.exceptions import NotSupportedError, ProgrammingError
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONNECTOR_OPTIONS", "ConnectorOption", "forget_locals", "session_arguments"]

_LARGEST_PEM = 16 << 20
_METRIC_VIEWS = "spark.sql.thriftserver.metadata.metricview.enabled"


class ConnectorOption(NamedTuple):
    """What becomes of one keyword of databricks-sql-connector. None always means that it was not given.

    Attributes:
        why: Said in the table, and in the error for a value that is neither accepted nor mapped.
        accepted: Values that ask for what this package does anyway.
        accepts_anything: Whether every value does.
        place: Our argument, and the key in it where it is a group, that the keyword is mapped to.
        convert: Makes our value of theirs.
    """

    why: str
    accepted: tuple[object, ...] = ()
    accepts_anything: bool = False
    place: tuple[str, ...] = ()
    convert: Callable[[str, Any], Any] | None = None


def _truth(name: str, value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise ProgrammingError(f"`{name}` is {value!r}; expected True or False", kind="InvalidArgument")


def _untruth(name: str, value: Any) -> bool:
    return not _truth(name, value)


def _pem(name: str, value: Any) -> bytes:
    from seakernel.local_files import regular_content

    def wrong(reason: str) -> ProgrammingError:
        shown = f" `{printable(str(value), 200)}`" if isinstance(value, str | os.PathLike) else ""
        return ProgrammingError(f"`{name}`: the file{shown} {reason}", kind="InvalidArgument")

    try:
        content = regular_content(value, _LARGEST_PEM)
    except (OSError, TypeError, ValueError) as error:
        raise wrong(f"cannot be read: {getattr(error, 'strerror', None) or 'not a file name'}") from None
    if not content.strip():
        raise wrong("is empty")
    return content


def _query_tags(name: str, value: Any) -> str:
    """The connector's own writing of tags in one session parameter."""
    try:
        value.items  # noqa: B018 - texts can be iterated, too
        if any(not key or set(key) & set(":,") for key in value):
            raise ProgrammingError(f"a key in `{name}` is empty or has a colon or comma", kind="InvalidArgument")
        tags = [(key.replace("\\", r"\\"), tag) for key, tag in value.items()]
        return ",".join(
            key if tag is None else key + ":" + tag.replace("\\", r"\\").replace(":", r"\:").replace(",", r"\,")
            for key, tag in tags
        )
    except AttributeError:
        raise ProgrammingError(f"`{name}` is not a mapping of texts to texts or None", kind="InvalidArgument") from None


_AUTH_TYPES = {
    "databricks-oauth": "oauth-u2m",
    # The workspace sends users of Azure on to Entra.
    "azure-oauth": "oauth-u2m",
    "azure-sp-m2m": "azure-client-secret",
    "access-token": "pat",
    **{name: name for name in ("pat", "oauth-m2m", "oauth-m2m-jwt", "oauth-u2m")},
}


def _auth_type(name: str, value: Any) -> str:
    if isinstance(value, str) and value in _AUTH_TYPES:
        return _AUTH_TYPES[value]
    known = "`, `".join(_AUTH_TYPES)
    raise ProgrammingError(f"`{name}` is none of `{known}`", kind="InvalidArgument")


def _metric_views(name: str, value: Any) -> str:
    return str(_truth(name, value)).lower()


_NO_PASSWORDS = "no workspace takes passwords any more; give `access_token` or `auth`"
_NO_TELEMETRY = "this package sends no telemetry"
_NO_TRANSACTIONS = "there are no transactions; every statement is committed by itself"
_ONE_BACKEND = "there is one backend, the Statement Execution API"
_TRUTHS = (True, False)

CONNECTOR_OPTIONS: dict[str, ConnectorOption] = {
    "_connection_uri": ConnectorOption("write `server_hostname` and `http_path`"),
    "_disable_pandas": ConnectorOption("pandas is used by nothing but `.df()`", accepted=_TRUTHS),
    "_enable_ssl": ConnectorOption(
        "plain http is for loopback addresses: `server_hostname='http://127.0.0.1:...'`", (True,)
    ),
    "_enable_v3_retries": ConnectorOption("there is one way of retrying, see `retry`", (True,)),
    "_pool_connections": ConnectorOption("connections are pooled by host, however many hosts", accepts_anything=True),
    "_pool_maxsize": ConnectorOption("", place=("requests", "max_idle_connections")),
    "_port": ConnectorOption("added to the host", place=("server_hostname",)),
    "_proxy_auth_method": ConnectorOption(
        "user name and password go in `proxy`, or in the address that the environment names", ("basic",)
    ),
    "_respect_server_retry_after_header": ConnectorOption("`Retry-After` is always honoured", (True,)),
    "_retry_dangerous_codes": ConnectorOption("a statement that the server may have run is never sent again", ([], ())),
    "_retry_delay_default": ConnectorOption('without `Retry-After`, pauses grow from `retry={"min_wait_s": ...}`'),
    "_retry_delay_max": ConnectorOption("", place=("retry", "max_wait_s")),
    "_retry_delay_min": ConnectorOption("", place=("retry", "min_wait_s")),
    "_retry_max_redirects": ConnectorOption("redirects are never followed: they would carry the token elsewhere", (0,)),
    "_retry_stop_after_attempts_count": ConnectorOption("", place=("retry", "max_attempts")),
    "_retry_stop_after_attempts_duration": ConnectorOption("", place=("retry", "max_elapsed_s")),
    "_skip_routing_headers": ConnectorOption("the workspace in `?o=` of `http_path` always goes along", (False,)),
    "_socket_timeout": ConnectorOption(
        "and `connect_timeout_s`; a statement whose answer the server holds back for longer fails",
        place=("read_timeout_s",),
    ),
    "_telemetry_circuit_breaker_enabled": ConnectorOption(_NO_TELEMETRY, accepts_anything=True),
    "_tls_client_cert_file": ConnectorOption(
        "with the key, where `_tls_client_cert_key_file` names no other file",
        place=("tls", "client_certificate_pem"),
        convert=_pem,
    ),
    "_tls_client_cert_key_file": ConnectorOption("", place=("tls", "client_key_pem"), convert=_pem),
    "_tls_client_cert_key_password": ConnectorOption(
        "for keys in PKCS#8; convert older ones with `openssl pkcs8 -topk8`", place=("tls", "client_key_passphrase")
    ),
    "_tls_no_verify": ConnectorOption("", place=("tls", "verify_certificates"), convert=_untruth),
    "_tls_trusted_ca_file": ConnectorOption(
        "the system's authorities stay trusted", place=("tls", "ca_certificates_pem"), convert=_pem
    ),
    "_tls_verify_hostname": ConnectorOption("", place=("tls", "verify_hostnames"), convert=_truth),
    "_use_arrow_native_complex_types": ConnectorOption(
        "`native` for True, `json` for False",
        place=("results", "complex_types"),
        convert=lambda name, value: "native" if _truth(name, value) else "json",
    ),
    "_use_arrow_native_decimals": ConnectorOption("decimals are Arrow decimals; cast in SQL for text", (True,)),
    "_use_arrow_native_timestamps": ConnectorOption("timestamps are Arrow timestamps; cast in SQL for text", (True,)),
    "_use_cert_as_auth": ConnectorOption(
        "the workspace knows who asks by a token; a client certificate goes along by `tls`", (False,)
    ),
    "_user_agent_entry": ConnectorOption("", place=("user_agent_entry",)),
    "auth_type": ConnectorOption(
        "`azure-sp-m2m` is `azure-client-secret`, `databricks-oauth` and `azure-oauth` are `oauth-u2m`",
        place=("auth", "type"),
        convert=_auth_type,
    ),
    "azure_client_id": ConnectorOption("", place=("auth", "azure_client_id")),
    "azure_client_secret": ConnectorOption("", place=("auth", "azure_client_secret")),
    "azure_tenant_id": ConnectorOption("", place=("auth", "azure_tenant_id")),
    "azure_workspace_resource_id": ConnectorOption("", place=("auth", "azure_workspace_resource_id")),
    "credentials_provider": ConnectorOption("any callable or object that gives headers or tokens", place=("auth",)),
    "enable_geospatial_support": ConnectorOption(
        "`native` for True, `text` for False",
        place=("results", "geospatial"),
        convert=lambda name, value: "native" if _truth(name, value) else "text",
    ),
    "enable_metric_view_metadata": ConnectorOption(
        "", place=("session_configuration", _METRIC_VIEWS), convert=_metric_views
    ),
    "enable_query_result_lz4_compression": ConnectorOption("", place=("results", "compression"), convert=_truth),
    "enable_telemetry": ConnectorOption(_NO_TELEMETRY, (False,)),
    "escape_catalog_name": ConnectorOption(
        "catalogs of `schemas()` and `columns()` are names as they are; in `tables()` write `\\_`", (False,)
    ),
    "experimental_oauth_persistence": ConnectorOption('tokens of users are kept by `auth={"cache": True}`'),
    "fetch_autocommit_from_server": ConnectorOption(_NO_TRANSACTIONS, (False,)),
    "force_enable_telemetry": ConnectorOption(_NO_TELEMETRY, (False,)),
    "http_headers": ConnectorOption("workspace only, never storage hosts", place=("requests", "headers")),
    "identity_federation_client_id": ConnectorOption(
        'with `access_token`: `auth={"type": "token-federation", "token": ..., "client_id": ...}`; tokens of the workspace\'s '
        "own provider need no exchange",
        place=("auth", "client_id"),
    ),
    "ignore_transactions": ConnectorOption(_NO_TRANSACTIONS, (True,)),
    "max_connections": ConnectorOption("", place=("requests", "max_idle_connections")),
    "max_download_threads": ConnectorOption("", place=("results", "max_concurrent_downloads")),
    "oauth_client_id": ConnectorOption("", place=("auth", "client_id")),
    "oauth_client_secret": ConnectorOption("", place=("auth", "client_secret")),
    "oauth_jwt_algorithm": ConnectorOption("", place=("auth", "algorithm")),
    "oauth_jwt_key_file": ConnectorOption("", place=("auth", "key_file")),
    "oauth_jwt_kid": ConnectorOption("", place=("auth", "key_id")),
    "oauth_jwt_passphrase": ConnectorOption("", place=("auth", "passphrase")),
    "oauth_redirect_port": ConnectorOption(
        "a list of one", place=("auth", "redirect_ports"), convert=lambda _name, port: [port]
    ),
    "oauth_scopes": ConnectorOption("", place=("auth", "scopes")),
    "oauth_token_cache_enabled": ConnectorOption("", place=("auth", "cache"), convert=_truth),
    "password": ConnectorOption(_NO_PASSWORDS),
    "pool_maxsize": ConnectorOption("the connector tells it to its telemetry only", accepts_anything=True),
    "telemetry_batch_size": ConnectorOption(_NO_TELEMETRY, accepts_anything=True),
    "token_url": ConnectorOption("", place=("auth", "token_url")),
    "use_cloud_fetch": ConnectorOption("", place=("results", "cloud_fetch"), convert=_truth),
    "use_hybrid_disposition": ConnectorOption("the kernel finds out what the warehouse can do", accepted=_TRUTHS),
    "use_inline_params": ConnectorOption("parameters are always sent apart from the SQL", (False,)),
    "use_kernel": ConnectorOption(_ONE_BACKEND, accepted=_TRUTHS),
    "use_sea": ConnectorOption(_ONE_BACKEND, accepted=_TRUTHS),
    "username": ConnectorOption(_NO_PASSWORDS),
}
"""Keywords of databricks-sql-connector 4.9.0 that are no arguments of `connect`."""


# What a session is made of besides its place, out of what `connect` is given.
_SESSION_ARGUMENTS = (
    "auth",
    "catalog",
    "schema",
    "session_configuration",
    "user_agent_entry",
    "results",
    "retry",
    "requests",
    "tls",
    "proxy",
    "connect_timeout_s",
    "read_timeout_s",
)


def session_arguments(*, connector_options: Mapping[str, object], **arguments: Any) -> dict[str, Any]:
    """Returns the arguments of `Session` for those of `connect`, which are completed from environment and profile.

    Args:
        connector_options: Keywords of databricks-sql-connector.
        arguments: The named arguments of `connect`, all of them; those that are not a session's are left out.

    Raises:
        ProgrammingError: a value is wrong or missing, or an option is given under two names.
        NotSupportedError: an option of databricks-sql-connector that this package does not have.
        TypeError: an unknown option; the message suggests the nearest name.
    """
    _check(arguments)
    port = _take_over(connector_options, arguments)
    if arguments["query_tags"] is not None:
        tags = _query_tags("query_tags", arguments["query_tags"])
        if tags:
            _put(arguments, {}, ("session_configuration", "QUERY_TAGS"), "query_tags", tags)
    _check(arguments)
    place = _place(
        arguments["server_hostname"],
        arguments["http_path"],
        arguments["access_token"],
        arguments["warehouse_id"],
        arguments["profile"],
        port,
        signs_in=arguments["auth"] is not None,
    )
    if "auth" in place:
        arguments["auth"] = place.pop("auth")
    return {**place, **{name: arguments[name] for name in _SESSION_ARGUMENTS}}


def forget_locals(error: BaseException) -> None:
    """Clears the frames below the caller's that `error` has come through: tools that show locals would show secrets."""
    import traceback

    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        # A cause is the program's own, such as what its callable raised: its frames are not ours to clear.
        link = None if link.__cause__ is not None else link.__context__


_TEXTS = ("catalog", "schema", "user_agent_entry")
_GROUPS = ("session_configuration", "results", "retry", "requests", "tls")


def _check(arguments: dict[str, Any]) -> None:
    """Refuses values of a wrong type where the kernel could only say that much; groups become dicts."""
    from collections.abc import Mapping

    for name in _TEXTS:
        value = arguments[name]
        if value is not None and not isinstance(value, str):
            raise ProgrammingError(
                f"`{name}` is of type `{type(value).__name__}`; expected a text", kind="InvalidArgument"
            )
        if value is not None and not value.strip():
            raise ProgrammingError(f"`{name}` is empty; leave it out for the default", kind="InvalidArgument")
    for name in _GROUPS:
        value = arguments[name]
        if value is not None and not isinstance(value, Mapping):
            raise ProgrammingError(
                f"`{name}` is of type `{type(value).__name__}`; expected a mapping", kind="InvalidArgument"
            )
        if value is None:
            continue
        wrong = [key for key in value if not isinstance(key, str) or not key]
        if wrong:
            raise ProgrammingError(
                f"`{name}` has a key of type `{type(wrong[0]).__name__}`, or an empty one; expected texts",
                kind="InvalidArgument",
            )
        arguments[name] = dict(value)
    progress = arguments.get("progress")
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise ProgrammingError(
            f"`progress` is of type `{type(progress).__name__}`; expected True, False or a callable",
            kind="InvalidArgument",
        )


def _place(
    server_hostname: str | None,
    http_path: str | None,
    access_token: str | None,
    warehouse_id: str | None,
    profile: str | None,
    port: int | None,
    *,
    signs_in: bool,
) -> dict[str, Any]:
    if signs_in and access_token is not None:
        raise ProgrammingError("`access_token` and `auth` are both given; give one of them", kind="InvalidArgument")
    if server_hostname == "local" and http_path is None and warehouse_id is None and profile is None:
        from seakernel.local import LocalWarehouse

        warehouse = LocalWarehouse.shared()
        place: dict[str, Any] = {
            "server_hostname": warehouse.server_hostname,
            "http_path": warehouse.http_path,
        }
        return place if signs_in else {**place, "access_token": access_token or warehouse.access_token}
    found = configuration(
        server_hostname, http_path, access_token, warehouse_id=warehouse_id, profile=profile, signs_in=signs_in
    )
    found.check_complete(signs_in=signs_in)
    place = {
        name: setting.value
        for name, setting in found._asdict().items()
        if name in ("server_hostname", "http_path", "access_token") and setting is not None
    }
    if found.sign_in is not None:
        place["auth"] = found.sign_in.options
    if port is not None:
        host = place["server_hostname"]
        standing = host.rpartition("://")[2].rpartition("]")[2].rpartition(":")
        if standing[1] and int(standing[2]) != port:
            raise ProgrammingError(
                f"`_port` is {port} and the host has port {standing[2]}; give one of them", kind="InvalidArgument"
            )
        place["server_hostname"] = host if standing[1] else f"{host}:{port}"
    return place


def _take_over(connector_options: Mapping[str, object], arguments: dict[str, Any]) -> int | None:
    """Puts the values of connector options where they belong in `arguments`; returns the port, which has no place."""
    port = None
    own_auth = arguments["auth"]
    taken: dict[tuple[str, ...], str] = {}
    for name, value in connector_options.items():
        option = CONNECTOR_OPTIONS.get(name)
        if option is None:
            raise TypeError(_unknown(name, arguments))
        if (
            value is None
            or option.accepts_anything
            or any(value is accepted or value == accepted for accepted in option.accepted)
        ):
            continue
        if not option.place:
            raise NotSupportedError(f"option `{name}` is not supported: {option.why}", kind="InvalidArgument")
        converted = value if option.convert is None else option.convert(name, value)
        if name == "identity_federation_client_id":
            continue
        if name == "_port":
            port = _port(converted)
            continue
        _put(arguments, taken, option.place, name, converted)
        if name == "_socket_timeout":
            _put(arguments, taken, ("connect_timeout_s",), name, converted)
    if connector_options.get("_tls_client_cert_file") is not None and "client_key_pem" not in arguments["tls"]:
        arguments["tls"]["client_key_pem"] = arguments["tls"]["client_certificate_pem"]
    federation_client_id = connector_options.get("identity_federation_client_id")
    if own_auth is None:
        _complete_auth(arguments)
        if federation_client_id is not None and arguments["auth"] is None:
            arguments["auth"] = _federation(arguments, federation_client_id)
    elif federation_client_id is not None:
        raise ProgrammingError(
            "`identity_federation_client_id` goes with `access_token`; give `client_id` in `auth`",
            kind="InvalidArgument",
        )
    return port


# What each key that tells a way of signing in tells, the strongest first.
_WAYS = {
    **dict.fromkeys(("key_file", "key_id", "passphrase", "algorithm"), "oauth-m2m-jwt"),
    "client_secret": "oauth-m2m",
    **dict.fromkeys(("azure_client_secret", "azure_client_id", "azure_tenant_id"), "azure-client-secret"),
    "azure_workspace_resource_id": "azure-client-secret",
    "client_id": "oauth-u2m",
}


def _complete_auth(arguments: dict[str, Any]) -> None:
    """Makes a whole way of signing in of the connector's keywords, which need not name its type."""
    auth = arguments["auth"]
    if not isinstance(auth, Mapping):
        return
    kind = auth.get("type") or next((way for key, way in _WAYS.items() if key in auth), "pat")
    # Whoever has a token needs no browser; the connector goes by the same order.
    is_asked_for = "type" in auth or kind != "oauth-u2m" or arguments["access_token"] is None
    arguments["auth"] = {**auth, "type": kind} if kind != "pat" and is_asked_for else None


def _federation(arguments: dict[str, Any], client_id: object) -> dict[str, Any]:
    token = arguments["access_token"]
    if token is None:
        raise ProgrammingError(
            "`identity_federation_client_id` needs the token to exchange as `access_token`", kind="InvalidArgument"
        )
    arguments["access_token"] = None
    return {"type": "token-federation", "token": token, "client_id": client_id}


def _put(
    arguments: dict[str, Any], taken: dict[tuple[str, ...], str], place: tuple[str, ...], name: str, value: Any
) -> None:
    argument, *keys = place
    spelled = f"`{argument}={{{keys[0]!r}: ...}}`" if keys else f"`{argument}`"
    if place in taken:
        spelled = f"`{taken[place]}`"
        given = True
    elif keys and not isinstance(arguments[argument] or {}, Mapping):
        # A callable or an object that signs in.
        spelled, given = f"`{argument}`", True
    elif keys:
        group = dict(arguments[argument] or {})
        # Names of session parameters are the same in any case.
        given = keys[0].lower() in {str(key).lower() for key in group}
        arguments[argument] = {**group, keys[0]: value}
    else:
        given = arguments[argument] is not None
        arguments[argument] = value
    if given:
        raise ProgrammingError(
            f"`{name}` and {spelled} are two names of one option; give one of them", kind="InvalidArgument"
        )
    taken[place] = name


def _port(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    raise ProgrammingError(f"`_port` is {value!r}; expected a number from 1 to 65535", kind="InvalidArgument")


def _unknown(name: str, arguments: Mapping[str, object]) -> str:
    import difflib

    nearest = difflib.get_close_matches(name, [*arguments, *CONNECTOR_OPTIONS], 1)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
    return f"connect() got an unexpected option `{name}`{hint}"
