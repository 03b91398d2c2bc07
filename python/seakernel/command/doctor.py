"""`seakernel doctor`: checks the way to a warehouse step by step, and says what to do where it fails.

Nothing here shows a token: settings are shown with their origin, the token as its length, and proxies without password.
Where a server repeats the token, stars stand in its place.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.metadata
import json
import os
import platform
import re
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import seakernel
from seakernel._seakernel import environment_proxy
from seakernel.command import connection_arguments
from seakernel.configuration import Setting, configuration, is_this_machine
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from seakernel.configuration import Configuration

__all__ = ["Check", "run"]

_OPTIONAL_PACKAGES = ("pyarrow", "polars", "pandas", "duckdb", "databricks-sql-connector")
_LIMIT_S = 10.0
_START_LIMIT_S = 900.0
_SOON_S = 14 * 86400.0
# Larger than what comes inside an answer, so that the warehouse has to hand out files of its storage.
_LARGE_RESULT = "SELECT id, sha2(CAST(id AS STRING), 512) AS padding FROM range(100000)"
_DETAIL_COLUMN = 20


class Check(NamedTuple):
    """One step: `status` is `ok`, `warning`, `failed` or `skipped`; `advice` says what to do."""

    name: str
    status: str
    detail: str
    advice: str | None = None
    seconds: float | None = None


class _FailedError(Exception):
    """A step failed: what was seen, and what to do."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice


class _Proxy(NamedTuple):
    host: str
    port: int
    headers: dict[str, str]


def run(options: argparse.Namespace) -> int:
    """Runs the checks and prints each as it ends; returns 0, or 1 where one failed."""
    done: list[Check] = []
    try:
        for check in _checks(options):
            done.append(check)
            if not options.json:
                sys.stdout.write(_line(check))
                sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    failed = any(check.status == "failed" for check in done)
    if options.json:
        report = {"ok": not failed, "checks": [check._asdict() for check in done]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return int(failed)


def _line(check: Check) -> str:
    took = "" if check.seconds is None else f" ({check.seconds:.2f} s)"
    # Of the details some are the words of servers, which may be anyone's.
    line = f"{check.status:<8} {check.name:<{_DETAIL_COLUMN}} {printable(check.detail)}{took}\n"
    return line if check.advice is None else f"{line}{'':<9}-> {printable(check.advice)}\n"


def _checks(options: argparse.Namespace) -> Iterator[Check]:
    yield _versions()
    try:
        found = _found(options)
    except (seakernel.Error, ModuleNotFoundError) as error:
        advice = "correct it there, or name another place with --host or --profile"
        yield Check("configuration", "failed", getattr(error, "message", str(error)), advice)
        return
    token = None if found.access_token is None else found.access_token.value
    for check in _checks_of(options, found):
        hidden = check._replace(detail=_without(token, check.detail))
        yield hidden if check.advice is None else hidden._replace(advice=_without(token, check.advice))


def _without(token: str | None, text: str) -> str:
    # In any letter case: names of hosts come in small letters.
    return re.sub(re.escape(token), "***", text, flags=re.IGNORECASE) if token else text


def _checks_of(options: argparse.Namespace, found: Configuration) -> Iterator[Check]:
    yield from _configuration_checks(found)
    if found.server_hostname is None:
        return
    address = urlsplit(found.server_hostname.value)
    proxy_check, proxy = _proxy_check(address)
    yield proxy_check
    if proxy_check.status == "failed":
        return
    reached = True
    for check in _way_checks(address, proxy):
        yield check
        reached = reached and check.status != "failed"
        if check.status == "failed" and check.name != "tls":
            return
    if found.http_path is None or (found.access_token is None and found.sign_in is None):
        return
    stopped = False
    # Where only Python's own TLS fails, the kernel's may work: it trusts the system's authorities, Python its own.
    if found.access_token is None:
        # What tells whether the warehouse runs is asked with a token, which only the kernel has.
        stopped = not options.start
        for check in _sign_in_checks(found):
            yield check
            if check.status == "failed":
                return
    elif reached:
        for check in _workspace_checks(address, proxy, found.http_path.value, found.access_token.value):
            yield check
            stopped = stopped or (check.name == "warehouse" and check.status == "warning")
            if check.status == "failed":
                return
    if stopped and not options.start:
        yield Check("statement", "skipped", "it might start the warehouse", "run it with --start")
        return
    yield from _statement_checks(options, found)


def _found(options: argparse.Namespace) -> Configuration:
    arguments = connection_arguments(options)
    if not options.local:
        return configuration(
            arguments["server_hostname"],
            arguments["http_path"],
            warehouse_id=arguments["warehouse_id"],
            profile=arguments["profile"],
        )
    from seakernel.local import LocalWarehouse

    warehouse = LocalWarehouse.shared()
    return configuration(warehouse.server_hostname, warehouse.http_path, warehouse.access_token)


def _versions() -> Check:
    detail = f"seakernel {seakernel.__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    return Check("versions", "ok", f"{detail}; {', '.join(map(_package, _OPTIONAL_PACKAGES))}")


def _package(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {name}"


def _configuration_checks(found: Configuration) -> Iterator[Check]:
    def check(name: str, setting: Setting | None, shown: str | None = None) -> Check:
        if setting is None:
            return Check(name, "failed", f"not found; looked at {', '.join(found.looked)}", advice[name])
        return Check(name, "ok", f"{shown or setting.value}, from {setting.origin}")

    advice = {
        "host": "set `DATABRICKS_HOST`, or name a profile",
        "http path": "set `DATABRICKS_WAREHOUSE_ID` or `DATABRICKS_HTTP_PATH`; the warehouse's connection details have them",
        "token": "set `DATABRICKS_TOKEN`; a token is made under Settings > Developer > Access tokens",
    }
    yield check("host", found.server_hostname)
    yield check("http path", found.http_path)
    token = found.access_token
    if found.sign_in is not None:
        yield Check("token", "ok", f"of the sign-in `{found.sign_in.auth_type}`, from {found.sign_in.origin}")
    else:
        yield check("token", token, None if token is None else f"{len(token.value)} characters")
    for step in found.steps:
        if step.auth_type is not None and not step.used:
            yield Check("other sign-in", "skipped", f"`{step.auth_type}` of {step.place}: {step.why}")
    for note in found.notes:
        yield Check("configuration", "warning", note)


def _proxy_check(address: SplitResult) -> tuple[Check, _Proxy | None]:
    host = address.hostname or ""
    if is_this_machine(host):
        return Check("proxy", "ok", "none: the host is this machine"), None
    advice = "write it as `http://host:port` in `HTTPS_PROXY`"
    try:
        given = environment_proxy(address.geturl())
    except seakernel.Error as error:
        return Check("proxy", "failed", error.message, advice), None
    if not given:
        return Check("proxy", "ok", f"none for `{host}`, by `HTTPS_PROXY` and `NO_PROXY`"), None
    parts = urlsplit(given)
    port = parts.port or 80
    if parts.scheme != "http" or not parts.hostname:
        return Check("proxy", "failed", f"a proxy of the kind `{parts.scheme}` cannot be checked", advice), None
    headers = {}
    if parts.username is not None:
        word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(word.encode()).decode()
    signed_in = ", with name and password" if headers else ""
    return Check("proxy", "ok", f"{parts.hostname}:{port}{signed_in}"), _Proxy(parts.hostname, port, headers)


def _way_checks(address: SplitResult, proxy: _Proxy | None) -> Iterator[Check]:
    host = proxy.host if proxy else address.hostname or ""
    port = proxy.port if proxy else _port(address)
    of_proxy = " of the proxy" if proxy else ""
    yield _timed(f"name{of_proxy}", lambda: _resolve(host, port))
    yield _timed(f"connection{of_proxy}", lambda: _connect(host, port))
    if address.scheme == "http":
        yield Check("tls", "skipped", "plain http, on this machine only")
    else:
        yield _timed("tls", lambda: _tls(address, proxy))


def _timed(name: str, step: Callable[[], str | Check]) -> Check:
    begin = time.monotonic()
    try:
        seen = step()
    except _FailedError as failure:
        return Check(name, "failed", failure.detail, failure.advice, time.monotonic() - begin)
    check = seen if isinstance(seen, Check) else Check(name, "ok", seen)
    return check._replace(seconds=time.monotonic() - begin)


def _resolve(host: str, port: int) -> str:
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

    # In a thread, for the resolver has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_LIMIT_S)
    advice = f"check the spelling of `{host}`, the VPN, and whether a proxy is needed (`HTTPS_PROXY`)"
    if not answers:
        raise _FailedError(f"`{host}`: no answer in {_LIMIT_S:.0f} s", advice)
    if isinstance(answers[0], Exception):
        raise _FailedError(f"`{host}`: {getattr(answers[0], 'strerror', None) or 'is no host name'}", advice)
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers[0]))
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return f"`{host}` is {', '.join(addresses[:3])}{more}"


def _connect(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), _LIMIT_S).close()
    except OSError as error:
        advice = "check the port, the VPN and the firewall, and whether a proxy is needed (`HTTPS_PROXY`)"
        raise _FailedError(f"{host}:{port}: {error.strerror or error}", advice) from None
    return f"{host}:{port} accepts connections"


def _connection(address: SplitResult, proxy: _Proxy | None) -> http.client.HTTPConnection:
    host, port = (proxy.host, proxy.port) if proxy else (address.hostname or "", _port(address))
    if address.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_LIMIT_S)
    connection = http.client.HTTPSConnection(host, port, timeout=_LIMIT_S, context=_trust())
    if proxy:
        connection.set_tunnel(address.hostname or "", _port(address), proxy.headers)
    return connection


def _trust() -> ssl.SSLContext:
    """What the kernel trusts, as far as Python can: the system's authorities and those of the environment."""
    context = ssl.create_default_context()
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if place := os.environ.get(name):
            # The kernel, whose turn comes, says what is wrong with it.
            with contextlib.suppress(OSError):
                context.load_verify_locations(**{"capath" if os.path.isdir(place) else "cafile": place})  # noqa: PTH112
    return context


def _tls(address: SplitResult, proxy: _Proxy | None) -> str | Check:
    connection = _connection(address, proxy)
    try:
        connection.connect()
        session: Any = connection.sock
        certificate, version = session.getpeercert(), session.version()
    except ssl.SSLCertVerificationError as error:
        advice = (
            "where a proxy signs anew, pass its authority as `tls={'ca_certificates_file': ...}`, or name its file in"
            " `SSL_CERT_FILE`"
        )
        raise _FailedError(f"the certificate is not trusted: {error.verify_message}", advice) from None
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        advice = "something on the way is no TLS server: check the port and the proxy"
        raise _FailedError(f"no TLS session: {reason}", advice) from None
    finally:
        connection.close()
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    issuer = names.get("organizationName") or names.get("commonName") or "an unnamed authority"
    left_s = ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()
    detail = f"{version}, certificate of {issuer}, until {certificate['notAfter']}"
    if left_s < _SOON_S:
        return Check("tls", "warning", detail, "the certificate ends soon: tell whoever runs the host or the proxy")
    return detail


def _workspace_checks(address: SplitResult, proxy: _Proxy | None, http_path: str, token: str) -> Iterator[Check]:
    """One request tells three things: what answers, whether the token is good, and how the warehouse is."""
    path, _, query = http_path.partition("?")
    warehouse_id = path.rstrip("/").rpartition("/")[2]
    headers = {"Authorization": f"Bearer {token}", "User-Agent": f"seakernel-doctor/{seakernel.__version__}"}
    workspace = next((pair[2:] for pair in query.split("&") if pair.startswith("o=")), None)
    if workspace:
        headers["X-Databricks-Org-Id"] = workspace
    begin = time.monotonic()
    connection = _connection(address, proxy)
    try:
        connection.request("GET", f"/api/2.0/sql/warehouses/{warehouse_id}", headers=headers)
        response = connection.getresponse()
        body = response.read(1 << 20)
    except (UnicodeError, ValueError):
        # What these say holds the token.
        advice = "copy it again: a token is letters and digits on one line"
        yield Check("sign-in", "failed", "the token or the path has characters that no request can carry", advice)
        return
    except (OSError, http.client.HTTPException) as error:
        advice = "check the port and the proxy"
        detail = f"no answer: {getattr(error, 'strerror', None) or type(error).__name__}"
        yield Check("workspace", "failed", detail, advice, time.monotonic() - begin)
        return
    finally:
        connection.close()
    yield from _judged(response, body, warehouse_id, token, time.monotonic() - begin)


def _sign_in_checks(found: Configuration) -> Iterator[Check]:
    """Opens a session, which starts no warehouse."""
    begin = time.monotonic()
    try:
        with _connected(found):
            yield Check("sign-in", "ok", "a session was opened", None, time.monotonic() - begin)
    except seakernel.Error as error:
        yield Check("sign-in", "failed", error.message, error.hint, time.monotonic() - begin)


def _connected(found: Configuration, **options: Any) -> seakernel.Connection:
    def value(setting: Setting | None) -> str | None:
        return None if setting is None else setting.value

    # A mapping like those that programs write by hand; the kernel checks it.
    auth: Any = None if found.sign_in is None else found.sign_in.options
    return seakernel.connect(
        value(found.server_hostname),
        value(found.http_path),
        value(found.access_token),
        auth=auth,
        user_agent_entry="seakernel-doctor",
        retry={"max_attempts": 2, "max_elapsed_s": 60},
        connect_timeout_s=_LIMIT_S,
        **{"read_timeout_s": 60, **options},
    )


def _judged(
    response: http.client.HTTPResponse, body: bytes, warehouse_id: str, token: str, seconds: float
) -> Iterator[Check]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None

    def told(key: str, limit: int) -> str:
        # Without the token before it is cut, which would leave a part of the token.
        return _without(token, str(answer.get(key) or ""))[:limit] if isinstance(answer, dict) else ""

    status = response.status
    said = f": {message}" if (message := told("message", 200)) else ""
    if 300 <= status < 400:
        target = urlsplit(response.headers.get("Location", "")).hostname or "an unnamed place"
        advice = "check the host, and the `?o=` part of `http_path` where one host serves several workspaces"
        yield Check("workspace", "failed", f"HTTP {status} redirects to {target}", advice, seconds)
        return
    if status >= 500 or not isinstance(answer, dict):
        advice = "this may not be a Databricks workspace, or a proxy answers in its place; or try again later"
        yield Check("workspace", "failed", f"HTTP {status} without an answer of the API{said}", advice, seconds)
        return
    yield Check("workspace", "ok", f"HTTP {status}", None, seconds)
    if status == 401 or (status == 403 and "token" in said.lower()):
        advice = (
            "the token is wrong, has expired, or is of another workspace: make a new one under Settings > Developer >"
            " Access tokens"
        )
        yield Check("sign-in", "failed", f"HTTP {status}{said}", advice)
        return
    yield Check("sign-in", "ok", "the token is accepted")
    if status == 404:
        advice = "copy `http_path` again from the warehouse's connection details, and check the workspace"
        yield Check("warehouse", "failed", f"there is no warehouse `{warehouse_id}`{said}", advice)
    elif status != 200:
        # It may be used all the same: the statement tells.
        yield Check("warehouse", "ok", f"may not be looked at: HTTP {status}{said}")
    else:
        state, name = told("state", 40), told("name", 80)
        if state == "RUNNING":
            yield Check("warehouse", "ok", f"`{name}` is running")
        elif state in ("DELETED", "DELETING"):
            yield Check("warehouse", "failed", f"`{name}` is {state.lower()}", "take another warehouse")
        else:
            yield Check(
                "warehouse", "warning", f"`{name}` is {state.lower()}", "the next statement waits until it runs"
            )


def _statement_checks(options: argparse.Namespace, found: Configuration) -> Iterator[Check]:
    begin = time.monotonic()
    try:
        with _connected(
            found,
            catalog=options.catalog,
            schema=options.schema,
            read_timeout_s=_START_LIMIT_S if options.start else 60,
        ) as connection:
            opened = time.monotonic()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1").fetchall()
                first = time.monotonic()
                cursor.execute("SELECT 1").fetchall()
                second = time.monotonic()
                detail = (
                    f"session in {opened - begin:.2f} s, SELECT 1 in {first - opened:.2f} s,"
                    f" again in {second - first:.2f} s"
                )
                yield Check("statement", "ok", detail)
                yield _storage_check(cursor)
    except seakernel.Error as error:
        yield Check("statement", "failed", error.message, error.hint, time.monotonic() - begin)


def _storage_check(cursor: seakernel.Cursor) -> Check:
    begin = time.monotonic()
    try:
        cursor.execute(_LARGE_RESULT).fetchmany(1)
    except seakernel.Error as error:
        return Check("storage", "failed", error.message, error.hint, time.monotonic() - begin)
    statistics = cursor.statistics
    seconds = time.monotonic() - begin
    if statistics is None or not statistics.download_requests:
        return Check("storage", "skipped", "the warehouse put a large result into its answers", None, seconds)
    return Check("storage", "ok", "result files can be downloaded", None, seconds)


def _port(address: SplitResult) -> int:
    return address.port or (80 if address.scheme == "http" else 443)
