"""What to do about an error, and where in its SQL a statement failed: the one place for both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seakernel.terminal_text import display_width, printable

if TYPE_CHECKING:
    from seakernel.exceptions import Error

__all__ = ["hint", "sql_excerpt"]

_DOCTOR = "`python -m seakernel doctor` finds out where it fails"
_NAME = (
    "check the spelling, and catalog and schema: `SELECT current_catalog(), current_schema()` tells the session's, and"
    " what you may not see is not found either"
)
_PARAMETERS = "pass a mapping for `:name` and a sequence for `?`, with a value for every marker"

# By the server's error class, the word in brackets at the start of its message; with its parts after a dot or without.
_BY_ERROR_CLASS = {
    "AMBIGUOUS_REFERENCE": "several tables have that column: write `table.column`",
    "DATATYPE_MISMATCH": "cast the values to the types that are asked for",
    "DELTA_CONCURRENT_APPEND": "another writer changed the table meanwhile; nothing was written, so run it again",
    "INSUFFICIENT_PERMISSIONS": "ask the owner for the privilege; a table needs USE CATALOG and USE SCHEMA as well",
    "INVALID_PARAMETER_MARKER_VALUE": _PARAMETERS,
    "MISSING_AGGREGATION": "every column outside of an aggregate must stand in GROUP BY; `any_value(column)` takes any",
    "NUMERIC_VALUE_OUT_OF_RANGE": "cast to a wider type first, such as `DECIMAL(38, s)`",
    "PERMISSION_DENIED": "ask the owner for the privilege; a table needs USE CATALOG and USE SCHEMA as well",
    "ROUTINE_NOT_FOUND": _NAME,
    "SCHEMA_NOT_FOUND": _NAME,
    "TABLE_OR_VIEW_NOT_FOUND": _NAME,
    "UNBOUND_SQL_PARAMETER": _PARAMETERS,
    "UNRESOLVED_ROUTINE": _NAME,
}
_BY_SQL_STATE = {
    "08": _DOCTOR,
    "42501": _BY_ERROR_CLASS["PERMISSION_DENIED"],
    "42703": "check the spelling; `DESCRIBE TABLE` lists the columns",
    "42704": _NAME,
    "42883": _NAME,
    "42P01": _NAME,
    "42P02": _PARAMETERS,
    "57": "the warehouse ended it; the query history tells why",
}
_SIGN_IN = (
    "the token is wrong, has expired, or is of another workspace than `server_hostname`: make a new one under"
    " Settings > Developer > Access tokens"
)
# Parts of messages that are about getting a token, not about one.
_OF_SIGN_INS = ("sign-in: ", "no token could be had")
_EXPLAIN = "`seakernel.explain_auth()` shows what a connection signs in with, and where that was found"
_NETWORK = f"check the host name, VPN, firewall and proxy (`HTTPS_PROXY`, `NO_PROXY`); {_DOCTOR}"
_BY_KIND = {
    "Unauthenticated": _SIGN_IN,
    "PermissionDenied": f"the token's owner may not do that, such as use the warehouse (CAN USE); or {_SIGN_IN}",
    "NotFound": "check `http_path` or `warehouse_id` under the warehouse's connection details, and the workspace",
    "ResourceExhausted": "the workspace wants fewer requests: run fewer statements at once, or try again later",
    "Unavailable": "the service is overloaded or starting: try again later; `retry` has the limits",
    "Timeout": "a longer `read_timeout_s` or `retry={'max_elapsed_s': ...}` waits longer",
    "Network": _NETWORK,
    "Protocol": f"something between here and the workspace answers in its place, such as a proxy or a login page; {_DOCTOR}",
    "DataLoss": "trust nothing of that result; run the statement again where that is safe, and report the statement id",
    "Internal": "this is a defect of seakernel: please report it with the traceback",
}
_OTHER_END = "tell whoever runs that host, or the proxy on the way to it"
# By what the message says of the connection; the words are the kernel's.
_BY_OBSTACLE = {
    "an authority that is not trusted here": "`tls={'ca_certificates_file': 'authority.pem'}` adds that authority to the"
    " system's, as `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE` in the environment do; who runs the network has its file",
    "wants a client certificate, or": "`tls={'client_certificate_pem': ..., 'client_key_pem': ...}` shows one, and"
    " `client_key_passphrase` is for a key that is encrypted",
    "the certificate of": _OTHER_END,
    "older than 1.2": _OTHER_END,
    "something that is not TLS": _OTHER_END,
    "the proxy": "`proxy='http://user:password@host:port'` names another proxy than `HTTPS_PROXY`, `proxy=False` none, and"
    f" `NO_PROXY` the hosts without; {_DOCTOR}",
}
_STORAGE = (
    "result files come from the storage of the workspace, another host: a firewall, private link or proxy must let it"
    " through, or `results={'cloud_fetch': 'off'}` does without for results up to 25 MiB"
)
_BY_KIND_OF_CHUNK = {
    "LinkExpired": f"{_STORAGE}; a clock that is wrong on this machine does the same",
    "Network": _STORAGE,
    "PermissionDenied": _STORAGE,
    "Protocol": _STORAGE,
    "Timeout": "a longer `results={'download_idle_timeout_s': ...}` waits longer for a slow storage host",
}
_GONE = "the server forgets statements some time after they end, about an hour; run it again"


def hint(error: Error) -> str | None:
    """Returns what to do about an error, None where the message says all there is."""
    if error.kind == "Sql":
        return _hint_of_statement(error)
    if error.kind is None:
        return None
    if error.kind in ("Network", "Timeout"):
        for words, advice in _BY_OBSTACLE.items():
            if words in error.message:
                return advice
    if error.chunk_index is not None and error.kind in _BY_KIND_OF_CHUNK:
        return _BY_KIND_OF_CHUNK[error.kind]
    if error.kind == "NotFound" and error.statement_id is not None:
        # Of a file in a volume the message says all.
        return None if "no such file" in error.message else _GONE
    if error.kind == "Unauthenticated" and any(words in error.message for words in _OF_SIGN_INS):
        return _EXPLAIN
    if error.kind == "Timeout" and (error.sql_state is not None or not error.attempts):
        # The caller's own limit, for a statement or a wait.
        return None
    return _BY_KIND.get(error.kind)


def _hint_of_statement(error: Error) -> str | None:
    named = re.match(r"[^\[]{0,200}\[([A-Z0-9_.]+)\]", error.message)
    name = named.group(1) if named else ""
    while name:
        if name in _BY_ERROR_CLASS:
            return _BY_ERROR_CLASS[name]
        name = name.rpartition(".")[0]
    state = error.sql_state or ""
    # The message of a syntax error says what it stumbled over, and the excerpt shows where.
    return _BY_SQL_STATE.get(state) or _BY_SQL_STATE.get(state[:2])


# The forms of a parser, of the analyser, and of a failure while rows are made. The last counts from 1, the others from 0.
_POSITION = re.compile(
    r"\(line (?P<line>\d{1,7}), pos (?P<pos>\d{1,7})\)"
    r"|; line (?P<line_2>\d{1,7}),? pos (?P<pos_2>\d{1,7})"
    r"|== SQL \(line (?P<line_3>\d{1,7}), position (?P<pos_3>\d{1,7})\) =="
)
_NEAR = re.compile(r"at or near '(?P<token>.+?)'")
# Characters shown of a long line on either side of the place.
_BEFORE, _AFTER = 60, 40


def sql_excerpt(message: str, sql: str) -> str | None:
    r"""Returns the line of `sql` that a failure's message names, with a caret under the place.

    None where the message names no place, or where the text there is not what the message quotes: the server may have
    been sent another text than the caller wrote.

    Example:
        >>> print(sql_excerpt("Syntax error at or near 'FORM'. SQLSTATE: 42601 (line 2, pos 0)", "SELECT 1\nFORM t"))
        LINE 2: FORM t
                ^
    """
    found = _POSITION.search(message)
    if found is None:
        return None
    number = int(found["line"] or found["line_2"] or found["line_3"])
    place = int(found["pos"] or found["pos_2"] or int(found["pos_3"]) - 1)
    lines = sql.split("\n", number)
    if not 1 <= number <= len(lines):
        return None
    line = lines[number - 1].rstrip("\r")
    near = _NEAR.search(message)
    if not 0 <= place <= len(line) or (near and not line[place:].upper().startswith(near["token"].upper())):
        return None
    start, end = max(0, place - _BEFORE), min(len(line), place + _AFTER)
    label = f"LINE {number}: " + ("…" if start else "")
    before, after = (printable(re.sub(r"\s", " ", part)) for part in (line[start:place], line[place:end]))
    shown = before + after + ("…" if end < len(line) else "")
    return f"{label}{shown}\n{' ' * (len(label) + display_width(before))}^"
