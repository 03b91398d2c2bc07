"""The ADBC driver in this package, for programs that speak ADBC: the same library that `import seakernel` loads.

`adbc_driver_manager` brings the rest: `pip install 'seakernel[adbc]'`.

Example:
    >>> import seakernel.adbc
    >>> with seakernel.adbc.connect("local") as connection, connection.cursor() as cursor:
    ...     cursor.execute("SELECT id FROM range(3)").fetchall()
    [(0,), (1,), (2,)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seakernel import _seakernel
from seakernel.exceptions import NotSupportedError, ProgrammingError
from seakernel.options import forget_locals, session_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adbc_driver_manager.dbapi import Connection as AdbcConnection

    from seakernel.types import Auth, ProxyOption, ResultOptions, RetryOptions, TlsOptions

__all__ = ["ENTRYPOINT", "connect", "driver_path"]

ENTRYPOINT = "SeaKernelDriverInit"

_RESULTS = {
    "memory_budget_bytes": "databricks.results.memory_budget_bytes",
    "max_concurrent_downloads": "databricks.download_thread_count",
    "compression": "adbc.databricks.cloudfetch.lz4.enabled",
}


def driver_path() -> str:
    """Returns the path of the shared library, for `driver=` of whatever loads ADBC drivers.

    Libraries that run without Python load another one, which `make adbc` builds: this one needs the interpreter's symbols.

    Example:
        >>> import adbc_driver_manager.dbapi
        >>> import seakernel.adbc
        >>> options = {"uri": warehouse.server_hostname + warehouse.http_path, "password": warehouse.access_token}
        >>> with adbc_driver_manager.dbapi.connect(
        ...     seakernel.adbc.driver_path(), entrypoint=seakernel.adbc.ENTRYPOINT, db_kwargs=options, autocommit=True
        ... ) as connection:
        ...     connection.adbc_get_table_types()
        ['SYSTEM TABLE', 'TABLE', 'VIEW', 'METRIC_VIEW']
    """
    _seakernel._guard_exit()  # noqa: SLF001 - the same package
    return str(_seakernel.__file__)


def connect(
    server_hostname: str | None = None,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    auth: Auth | None = None,
    warehouse_id: str | None = None,
    profile: str | None = None,
    catalog: str | None = None,
    schema: str | None = None,
    session_configuration: Mapping[str, str | float] | None = None,
    user_agent_entry: str | None = None,
    results: ResultOptions | None = None,
    retry: RetryOptions | None = None,
    tls: TlsOptions | None = None,
    proxy: ProxyOption = None,
    connect_timeout_s: float | None = None,
    read_timeout_s: float | None = None,
) -> AdbcConnection:
    """Opens a connection of `adbc_driver_manager`, found and configured as `seakernel.connect` does it.

    Autocommit is on, for warehouses commit each statement by themselves. Of the options, those are taken that the driver has
    as well: `auth` of the type `oauth-m2m`; of `results`, `memory_budget_bytes`, `max_concurrent_downloads`, `compression`
    and `cloud_fetch`; of `retry`, `max_attempts`; of `tls`, `ca_certificates_file`, `verify_certificates` and
    `verify_hostnames`.

    Args:
        server_hostname: Host of the workspace, or `local` for the embedded warehouse.
        http_path: Path of the warehouse.
        access_token: Personal access token, or any other bearer token.
        auth: How to sign in otherwise; see `ClientSecretAuth`.
        warehouse_id: The last part of `http_path`, in its place.
        profile: Profile of `~/.databrickscfg`.
        catalog: Initial catalog.
        schema: Initial schema.
        session_configuration: Session parameters such as `{"TIMEZONE": "UTC"}`.
        user_agent_entry: Name of the application, for the warehouse's query history.
        results: How results are fetched.
        retry: How requests are repeated.
        tls: Own certificate authorities, and what is verified.
        proxy: Address of the proxy, a group, or False for none.
        connect_timeout_s: Seconds to establish a connection.
        read_timeout_s: Longest silence while an answer is read, in seconds.

    Returns:
        A connection of `adbc_driver_manager.dbapi`; close it, or use it in a `with`.

    Raises:
        NotSupportedError: an option that the driver does not have.
        ModuleNotFoundError: `adbc_driver_manager` is not installed.

    Example:
        >>> import seakernel.adbc
        >>> with seakernel.adbc.connect("local", schema="default") as connection:
        ...     connection.adbc_current_db_schema
        'default'
    """
    arguments = locals()
    found: dict[str, Any] = {}
    options: dict[str, str] = {}
    try:
        from adbc_driver_manager import dbapi
    except ModuleNotFoundError as error:
        del arguments, server_hostname, access_token, auth, tls, proxy
        message = "ADBC connections are `adbc_driver_manager`'s: `pip install 'seakernel[adbc]'`"
        raise ModuleNotFoundError(message, name="adbc_driver_manager") from error
    try:
        found = session_arguments(connector_options={}, query_tags=None, requests=None, progress=None, **arguments)
        options = _driver_options(found)
        return dbapi.connect(driver_path(), entrypoint=ENTRYPOINT, db_kwargs=options, autocommit=True)
    except BaseException as error:
        forget_locals(error)
        del arguments, found, options, server_hostname, access_token, auth, tls, proxy
        raise


def _driver_options(arguments: dict[str, Any]) -> dict[str, str]:
    """The driver's options for the arguments of a session."""
    options: dict[str, Any] = {
        "databricks.server_hostname": arguments["server_hostname"],
        "databricks.http_path": arguments["http_path"],
        "databricks.access_token": arguments.get("access_token"),
        "adbc.connection.catalog": arguments["catalog"],
        "adbc.connection.db_schema": arguments["schema"],
        "databricks.user_agent_entry": arguments["user_agent_entry"],
        "databricks.http.connect_timeout_ms": _milliseconds(arguments["connect_timeout_s"]),
        "databricks.http.read_timeout_ms": _milliseconds(arguments["read_timeout_s"]),
        **_auth(arguments["auth"]),
        **_results(arguments["results"] or {}),
        **_tls(arguments["tls"] or {}),
        **_proxy(arguments["proxy"]),
    }
    for name, value in (arguments["session_configuration"] or {}).items():
        options[f"adbc.databricks.ssp_{name}"] = value
    for name, value in (arguments["retry"] or {}).items():
        if name != "max_attempts":
            raise _unsupported(f"`{name}` of `retry`")
        options["databricks.query.retry_count"] = value - 1
    return {name: _text(value) for name, value in options.items() if value is not None}


def _auth(auth: Any) -> dict[str, Any]:
    if auth is None:
        return {}
    if not isinstance(auth, dict) or auth.get("type") != "oauth-m2m":
        raise _unsupported("this way of signing in: a token and `oauth-m2m` are taken, not this `auth`")
    auth = dict(auth)
    names = {"client_id": "databricks.oauth.client_id", "client_secret": "databricks.oauth.client_secret"}
    if missing := [name for name in names if not auth.get(name)]:
        raise ProgrammingError(f"`auth`: `{missing[0]}` is missing", kind="InvalidArgument")
    options = {option: auth.pop(name) for name, option in names.items()}
    options["adbc.databricks.oauth.scope"] = " ".join(auth.pop("scopes", None) or ()) or None
    options["databricks.oauth.token_url"] = auth.pop("token_url", None)
    del auth["type"]
    if auth:
        raise _unsupported(f"`{next(iter(auth))}` of `auth`")
    return options


def _results(results: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in results.items():
        if name in _RESULTS:
            options[_RESULTS[name]] = value
        elif name == "cloud_fetch":
            is_on = {"on": True, "off": False, "auto": None}.get(value, value)
            options["adbc.databricks.cloudfetch.enabled"] = is_on
        else:
            raise _unsupported(f"`{name}` of `results`")
    return options


def _tls(tls: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in tls.items():
        if name == "ca_certificates_file":
            options["databricks.ssl_root_cert"] = None if value is None else str(value)
        elif name == "verify_certificates":
            options["databricks.http.tls.disable_server_certificate_validation"] = not value
        elif name == "verify_hostnames":
            options["databricks.http.tls.allow_hostname_mismatch"] = not value
        elif value is not None:
            raise _unsupported(f"`{name}` of `tls`")
    return options


def _proxy(proxy: Any) -> dict[str, Any]:
    if proxy is None:
        return {}
    if proxy is False:
        return {"adbc.proxy_options.use_proxy": False}
    group = {"url": proxy} if isinstance(proxy, str) else dict(proxy)
    exceptions: str | Sequence[str] | None = group.get("no_proxy")
    if exceptions is not None and not isinstance(exceptions, str):
        exceptions = ",".join(exceptions)
    return {
        "databricks.http.proxy.url": group.get("url"),
        "databricks.http.proxy.username": group.get("username"),
        "databricks.http.proxy.password": group.get("password"),
        "databricks.http.proxy.bypass_hosts": exceptions,
    }


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unsupported(what: str) -> NotSupportedError:
    return NotSupportedError(f"the ADBC driver does not have {what}", kind="InvalidArgument")
