"""The error of the stand-in, and what our errors become."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import seakernel

if TYPE_CHECKING:
    from collections.abc import Iterator

# The original has fewer kinds. An answer that breaks the protocol is data loss there; a link that the store refuses for
# good has no name of its own.
_CODES = {
    "Closed": "InvalidStatementHandle",
    "LinkExpired": "PermissionDenied",
    "Network": "NetworkError",
    "OutOfRange": "InvalidArgument",
    "Protocol": "DataLoss",
    "Sql": "SqlError",
}
_RETRYABLE = {"ResourceExhausted", "Unavailable", "Timeout", "NetworkError"}


class KernelError(Exception):
    """A failure of the kernel.

    Every instance raised here has these attributes; one made by other code has none of them.

    Attributes:
        code: `InvalidArgument`, `Unauthenticated`, `PermissionDenied`, `NotFound`, `ResourceExhausted`, `Unavailable`,
            `Timeout`, `Cancelled`, `DataLoss`, `Internal`, `InvalidStatementHandle`, `NetworkError`, `SqlError` or `Unknown`.
        message: Same as `str(error)`, with the chain of causes.
        sql_state: SQLSTATE of a statement that failed on the server.
        error_code: The server's symbolic code.
        vendor_code: Always None, as in the original.
        http_status: HTTP status, where the failure came with one.
        retryable: Whether the same call may succeed later; never true for a statement that the server may have run.
        query_id: Id of the statement concerned, where it is known.
        display_message: Always None: the server's own field of that name is not read.
        diagnostic_info: Chunk, attempts and seconds, where the failure is about fetching a result.
        error_details_json: Always None.
    """

    code: str
    message: str
    sql_state: str | None
    error_code: str | None
    vendor_code: int | None
    http_status: int | None
    retryable: bool
    query_id: str | None
    display_message: str | None
    diagnostic_info: str | None
    error_details_json: str | None


def kernel_error(code: str, message: str, *, query_id: str | None = None) -> KernelError:
    """Returns an error found on this side."""
    return _complete(KernelError(message), code=code, query_id=query_id)


def from_ours(error: seakernel.Error) -> KernelError:
    """Returns what our error is called in the original."""
    code = _code(error)
    return _complete(
        KernelError(error.message),
        code=code,
        sql_state=error.sql_state,
        error_code=error.error_code,
        http_status=error.http_status,
        retryable=error.retryable and code in _RETRYABLE,
        query_id=error.statement_id,
        diagnostic_info=_diagnosis(error),
    )


@contextmanager
def kernel_errors() -> Iterator[None]:
    """Raises our errors as `KernelError`."""
    try:
        yield
    except seakernel.Error as error:
        raise from_ours(error) from error


def _complete(
    error: KernelError,
    *,
    code: str,
    sql_state: str | None = None,
    error_code: str | None = None,
    http_status: int | None = None,
    retryable: bool = False,
    query_id: str | None = None,
    diagnostic_info: str | None = None,
) -> KernelError:
    error.code = code
    error.message = str(error)
    error.sql_state = sql_state
    error.error_code = error_code
    error.vendor_code = None
    error.http_status = http_status
    error.retryable = retryable
    error.query_id = query_id
    error.display_message = None
    error.diagnostic_info = diagnostic_info
    error.error_details_json = None
    return error


def _code(error: seakernel.Error) -> str:
    kind = error.kind or "Unknown"
    if kind == "Unavailable" and error.http_status not in (None, 503):
        return "Internal"
    if kind == "Timeout" and error.http_status == 408:
        return "InvalidArgument"
    return _CODES.get(kind, kind)


def _diagnosis(error: seakernel.Error) -> str | None:
    if error.chunk_index is None:
        return None
    parts = [f"chunk {error.chunk_index}", f"attempts {error.attempts}"]
    if error.elapsed_s is not None:
        parts.append(f"seconds {error.elapsed_s:.1f}")
    return ", ".join(parts)
