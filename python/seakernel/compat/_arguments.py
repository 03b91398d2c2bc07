"""The original's arguments: checked as it checks them, and translated into our grouped options."""

from __future__ import annotations

import logging
import math
import operator
from typing import TYPE_CHECKING, Any

from seakernel.compat._kernel_error import kernel_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seakernel import RequestOptions, ResultOptions, RetryOptions, TlsOptions

_AUTH_TYPES = ("pat", "oauth-m2m", "oauth-m2m-jwt", "oauth-u2m", "azure-sp-m2m")
_JWT_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
_REQUIRED = {
    "oauth-m2m": ("client_id", "client_secret"),
    "oauth-m2m-jwt": ("client_id", "jwt_key_file", "jwt_kid"),
    "azure-sp-m2m": ("azure_client_id", "azure_client_secret"),
}
_TEXTS = (
    "access_token",
    "auth_type",
    "azure_client_id",
    "azure_client_secret",
    "azure_tenant_id",
    "azure_workspace_resource_id",
    "catalog",
    "char_set_encoding",
    "client_app_name",
    "client_id",
    "client_secret",
    "driver_name",
    "driver_version",
    "identity_federation_client_id",
    "jwt_algorithm",
    "jwt_key_file",
    "jwt_kid",
    "jwt_passphrase",
    "locale_name",
    "os_arch",
    "os_name",
    "os_version",
    "process_name",
    "runtime_name",
    "runtime_vendor",
    "runtime_version",
    "schema",
    "token_cache_passphrase",
    "token_url",
)
_TRUTHS = (
    "complex_types_as_json",
    "enable_geospatial_support",
    "intervals_as_string",
    "sea_response_compression_enabled",
    "tls_skip_hostname_verify",
    "tls_skip_verify",
)
_TRUTHS_OR_NONE = ("telemetry_circuit_breaker_enabled", "telemetry_enabled", "token_cache_enabled")
_PEMS = ("tls_ca_cert", "tls_client_cert", "tls_client_key")
_COUNTS = {
    "max_connections": 64,
    "oauth_callback_timeout_secs": 64,
    "retry_max_attempts": 32,
    "retry_max_wait_secs": 64,
    "retry_min_wait_secs": 64,
    "retry_overall_timeout_secs": 64,
    "telemetry_batch_size": 64,
    "telemetry_circuit_breaker_threshold": 32,
    "telemetry_circuit_breaker_timeout_ms": 64,
    "telemetry_close_flush_timeout_ms": 64,
    "telemetry_flush_interval_ms": 64,
    "telemetry_max_retries": 32,
    "telemetry_retry_delay_ms": 64,
}
_NOT_ZERO = ("telemetry_batch_size", "telemetry_flush_interval_ms", "telemetry_close_flush_timeout_ms")
_NOT_ZERO_WITH_BREAKER = ("telemetry_circuit_breaker_threshold", "telemetry_circuit_breaker_timeout_ms")
# What the kernel waits where it is told nothing, in seconds.
_MIN_WAIT_S, _MAX_WAIT_S = 1, 60
# Longer than any program runs, and short enough to be a time span everywhere.
_EVER_S = 10.0**9
# No wait at all is not offered by our options.
_HARDLY_S = 0.001

_logger = logging.getLogger("seakernel.compat")


def text(name: str, value: object) -> str:
    """Returns `value` if it is text; raises `TypeError` as the original does."""
    if isinstance(value, str):
        return value
    raise TypeError(f"'{type(value).__name__}' object is not an instance of 'str' (argument '{name}')")


def whole_number(name: str, value: Any, *, bits: int, signed: bool = False) -> int:
    """Returns `value` if it is a whole number of so many bits; raises `TypeError` or `OverflowError`."""
    try:
        number = int(operator.index(value))
    except TypeError:
        given = type(value).__name__
        raise TypeError(f"'{given}' object cannot be interpreted as an integer (argument '{name}')") from None
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if not least <= number <= most:
        raise OverflowError(f"{number} is not between {least} and {most} (argument '{name}')")
    return number


def session_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords of `seakernel.Session` for those of the original's `Session`.

    Raises:
        TypeError: an argument has the wrong type.
        OverflowError: a number does not fit.
        ValueError: there is nothing to sign in with, or a number makes no sense.
        KernelError: the algorithm to sign a token with is not supported.
    """
    _check_types(arguments)
    _check_sign_in(arguments)
    timeout = _request_timeout(arguments["request_timeout_secs"])
    _check_not_zero(arguments)
    requests: RequestOptions = {"timeout_s": timeout, "headers": list(arguments["http_headers"] or ())}
    if arguments["max_connections"] is not None:
        requests["max_idle_connections"] = min(arguments["max_connections"], 2**32)
    return {
        "server_hostname": arguments["host"],
        "http_path": arguments["http_path"],
        **_credentials(arguments),
        "catalog": arguments["catalog"],
        "schema": arguments["schema"],
        "session_configuration": dict(arguments["session_conf"] or {}),
        "requests": requests,
        "retry": _retry(arguments),
        "results": _results(arguments),
        "tls": _tls(arguments),
    }


def _check_types(arguments: Mapping[str, Any]) -> None:
    for name in ("host", "http_path"):
        text(name, arguments[name])
    for name in _TEXTS:
        if arguments[name] is not None:
            text(name, arguments[name])
    for name in (*_TRUTHS, *_TRUTHS_OR_NONE):
        value = arguments[name]
        if not isinstance(value, bool) and (value is not None or name in _TRUTHS):
            given = "None" if value is None else type(value).__name__
            raise TypeError(f"'{given}' object is not an instance of 'bool' (argument '{name}')")
    for name in _PEMS:
        if arguments[name] is not None and not isinstance(arguments[name], bytes | bytearray):
            raise TypeError(f"'{type(arguments[name]).__name__}' object is not bytes (argument '{name}')")
    for name, bits in _COUNTS.items():
        if arguments[name] is not None:
            whole_number(name, arguments[name], bits=bits)
    _check_list("oauth_scopes", arguments["oauth_scopes"], text)
    _check_list("redirect_ports", arguments["redirect_ports"], lambda name, port: whole_number(name, port, bits=16))
    _check_list("http_headers", arguments["http_headers"], _check_header)
    if arguments["session_conf"] is not None:
        if not isinstance(arguments["session_conf"], dict):
            given = type(arguments["session_conf"]).__name__
            raise TypeError(f"'{given}' object is not an instance of 'dict' (argument 'session_conf')")
        for key, value in arguments["session_conf"].items():
            text("session_conf", key)
            text("session_conf", value)


def _check_list(name: str, values: Any, check: Any) -> None:
    if values is None:
        return
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__getitem__"):
        raise TypeError(f"'{type(values).__name__}' object is not an instance of 'Sequence' (argument '{name}')")
    for value in values:
        check(name, value)


def _check_header(name: str, header: Any) -> None:
    if not isinstance(header, tuple) or len(header) != 2:
        raise TypeError(f"'{type(header).__name__}' object is not a tuple of name and value (argument '{name}')")
    for part in header:
        text(name, part)


def _check_sign_in(arguments: Mapping[str, Any]) -> None:
    auth_type, access_token = arguments["auth_type"], arguments["access_token"]
    if auth_type is None and access_token is None:
        raise ValueError(
            "Session requires auth: pass access_token (PAT) or set auth_type to 'oauth-m2m' / 'oauth-m2m-jwt' / "
            "'oauth-u2m' with the matching credentials"
        )
    if auth_type is not None and auth_type not in _AUTH_TYPES:
        expected = ", ".join(repr(known) for known in _AUTH_TYPES)
        raise ValueError(f'unsupported auth_type "{auth_type}"; expected one of {expected}')
    if auth_type in (None, "pat"):
        if access_token is None:
            raise ValueError("auth_type='pat' requires access_token")
        if not access_token:
            raise ValueError("access_token must not be empty")
    for name in _REQUIRED.get(auth_type or "", ()):
        if not arguments[name]:
            if auth_type == "azure-sp-m2m":
                raise ValueError(f"InvalidArgument: Azure SP auth requires a non-empty {name}")
            raise ValueError(f"auth_type='{auth_type}' requires {name}")


def _credentials(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `access_token` or `auth`; what the chosen way does not need is ignored, as by the original."""
    auth_type = arguments["auth_type"]
    if auth_type in (None, "pat"):
        return _federated(arguments["access_token"], arguments["identity_federation_client_id"])
    auth: dict[str, Any] = {
        "oauth-m2m": _with_secret,
        "oauth-m2m-jwt": _with_key,
        "oauth-u2m": _with_browser,
        "azure-sp-m2m": _with_azure,
    }[auth_type](arguments)
    # An empty list means the default here; the original sends no scope then, and gets the provider's.
    return {"auth": {key: value for key, value in auth.items() if value is not None and value != []}}


def _federated(access_token: str, client_id: str | None) -> dict[str, Any]:
    """A bearer token of another issuer is exchanged. Such a token is a JWT, which has three parts."""
    if access_token.count(".") != 2:
        return {"access_token": access_token}
    auth = {"type": "token-federation", "token": access_token, "scopes": ["sql"]}
    return {"auth": {**auth, "client_id": client_id} if client_id else auth}


def _with_secret(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "oauth-m2m",
        "client_id": arguments["client_id"],
        "client_secret": arguments["client_secret"],
        "scopes": arguments["oauth_scopes"],
        "token_url": arguments["token_url"],
    }


def _with_key(arguments: Mapping[str, Any]) -> dict[str, Any]:
    algorithm = arguments["jwt_algorithm"]
    if algorithm is not None and algorithm not in _JWT_ALGORITHMS:
        raise kernel_error(
            "InvalidArgument",
            f"unsupported JWT algorithm '{algorithm}'. Supported: {', '.join(_JWT_ALGORITHMS)} (ES512 is not supported)",
        )
    return {
        "type": "oauth-m2m-jwt",
        "client_id": arguments["client_id"],
        "key_file": arguments["jwt_key_file"],
        "key_id": arguments["jwt_kid"],
        "passphrase": arguments["jwt_passphrase"],
        "algorithm": algorithm,
        "scopes": arguments["oauth_scopes"],
        "token_url": arguments["token_url"],
    }


def _with_browser(arguments: Mapping[str, Any]) -> dict[str, Any]:
    timeout = arguments["oauth_callback_timeout_secs"]
    return {
        "type": "oauth-u2m",
        "client_id": arguments["client_id"] or "databricks-sql-python",
        "scopes": arguments["oauth_scopes"] or ["sql", "offline_access"],
        "redirect_ports": arguments["redirect_ports"],
        "callback_timeout_s": None if timeout is None else _seconds(timeout),
        "token_url": arguments["token_url"],
        # Nothing is written to disk unless that was asked for.
        "cache": arguments["token_cache_enabled"],
        "cache_passphrase": arguments["token_cache_passphrase"] if arguments["token_cache_enabled"] else None,
    }


def _with_azure(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "azure-client-secret",
        "azure_client_id": arguments["azure_client_id"],
        "azure_client_secret": arguments["azure_client_secret"],
        # An empty text means none here, as for the original.
        "azure_tenant_id": arguments["azure_tenant_id"] or None,
        "azure_workspace_resource_id": arguments["azure_workspace_resource_id"] or None,
    }


def _request_timeout(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"must be real number, not {type(value).__name__} (argument 'request_timeout_secs')")
    seconds = float(value)
    if not math.isfinite(seconds) or not 0 <= seconds < 2**64:
        raise ValueError("request_timeout_secs must be finite and >= 0")
    if 0 < seconds < 1e-9:
        raise ValueError("positive request_timeout_secs must round to at least 1 nanosecond")
    return min(seconds, _EVER_S) or None


def _check_not_zero(arguments: Mapping[str, Any]) -> None:
    if arguments["max_connections"] == 0:
        raise ValueError("max_connections must be greater than 0")
    for name in _NOT_ZERO:
        if arguments[name] == 0:
            raise ValueError(f"{name} must be > 0")
    if arguments["telemetry_circuit_breaker_enabled"] is not False:
        for name in _NOT_ZERO_WITH_BREAKER:
            if arguments[name] == 0:
                raise ValueError(f"{name} must be > 0 when enabled")


def _retry(arguments: Mapping[str, Any]) -> RetryOptions:
    retry: RetryOptions = {}
    least, most = arguments["retry_min_wait_secs"], arguments["retry_max_wait_secs"]
    if least is not None or most is not None:
        least = _MIN_WAIT_S if least is None else least
        most = _MAX_WAIT_S if most is None else most
        if most < least:
            _logger.warning("retry_max_wait_secs %s is below retry_min_wait_secs %s and is raised to it", most, least)
            most = least
        retry["min_wait_s"] = _seconds(least)
        retry["max_wait_s"] = _seconds(most)
    if arguments["retry_max_attempts"] is not None:
        retry["max_attempts"] = max(arguments["retry_max_attempts"], 1)
    if arguments["retry_overall_timeout_secs"] is not None:
        retry["max_elapsed_s"] = _seconds(arguments["retry_overall_timeout_secs"])
    return retry


def _seconds(count: int) -> float:
    return min(float(count), _EVER_S) or _HARDLY_S


def _results(arguments: Mapping[str, Any]) -> ResultOptions:
    """The options for how values are shown; results are otherwise fetched as they are by default."""
    return {
        "complex_types": "json" if arguments["complex_types_as_json"] else "native",
        "intervals": "text" if arguments["intervals_as_string"] else "native",
        "geospatial": "native" if arguments["enable_geospatial_support"] else "text",
        "void": "text",
    }


def _tls(arguments: Mapping[str, Any]) -> TlsOptions:
    tls: TlsOptions = {
        "verify_certificates": not arguments["tls_skip_verify"],
        "verify_hostnames": not arguments["tls_skip_hostname_verify"],
    }
    if arguments["tls_ca_cert"] is not None:
        tls["ca_certificates_pem"] = bytes(arguments["tls_ca_cert"])
    if arguments["tls_client_cert"] is not None:
        tls["client_certificate_pem"] = bytes(arguments["tls_client_cert"])
    if arguments["tls_client_key"] is not None:
        tls["client_key_pem"] = bytes(arguments["tls_client_key"])
    return tls
