"""The PEP 249 exception tree, with the fields that a failure came with."""

from __future__ import annotations

__all__ = [
    "DataError",
    "DataLossError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "ServerOperationError",
    "Warning",
]


class Warning(Exception):  # noqa: A001, N818 - PEP 249 gives the name
    """Never raised; PEP 249 asks for it.

    Example:
        >>> issubclass(seakernel.Warning, seakernel.Error)
        False
    """


class Error(Exception):
    """Base of every failure of this package.

    The message names what failed, which one and why, with the chain of causes. It holds no token and no presigned
    address, and a parameter's value only where the server's own words quote it, as those of CAST_INVALID_INPUT do.
    Instances can be pickled. `str(error)` is the message, and on lines of their own the excerpt of the SQL and the hint,
    where there are any.

    Example:
        >>> try:
        ...     cursor.execute("SELECT price / 0 FROM VALUES (9.90) AS orders(price)")
        ... except seakernel.Error as error:
        ...     type(error).__name__, error.kind, error.sql_state, error.retryable
        ('DataError', 'Sql', '22012', False)

    Attributes:
        message: The message in one sentence.
        hint: What to do about it; None where the message says all there is.
        sql_excerpt: The line of the SQL where the statement failed and a caret under the place, for a cursor's error
            that names one; None otherwise. It is what the caller wrote, so it is shown to the caller only: neither
            `repr`, a pickle nor a log of this package has it.
        kind: What went wrong, as a program would branch on it: `InvalidArgument`, `Unauthenticated`,
            `PermissionDenied`, `NotFound`, `ResourceExhausted`, `Unavailable`, `Timeout`, `Cancelled`, `DataLoss`,
            `Sql`, `Closed`, `Network`, `Protocol`, `LinkExpired`, `OutOfRange` or `Internal`. None where a caller of the
            class gave none.
        sql_state: SQLSTATE of a statement that failed on the server, five characters.
        error_code: The server's symbolic code, such as `BAD_REQUEST`.
        statement_id: Id of the statement concerned, where the server has named one.
        http_status: HTTP status of the last answer, where the failure came with one.
        chunk_index: Index of the result chunk concerned.
        attempts: Requests sent; 0 where the failure is not about a request.
        elapsed_s: Seconds from the first request to the failure.
        applied_sets: After a failed `executemany`, how many parameter sets were applied for certain.
        retryable: True where the same call may succeed later. Never true for a statement that the server may have run.
    """

    def __init__(
        self,
        message: str = "",
        *,
        kind: str | None = None,
        sql_state: str | None = None,
        error_code: str | None = None,
        statement_id: str | None = None,
        http_status: int | None = None,
        chunk_index: int | None = None,
        attempts: int = 0,
        elapsed_s: float | None = None,
        applied_sets: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.sql_state = sql_state
        self.error_code = error_code
        self.statement_id = statement_id
        self.http_status = http_status
        self.chunk_index = chunk_index
        self.attempts = attempts
        self.elapsed_s = elapsed_s
        self.applied_sets = applied_sets
        self.retryable = retryable
        self.sql_excerpt: str | None = None

    @property
    def hint(self) -> str | None:
        """What to do about it; None where the message says all there is."""
        from seakernel.hints import hint

        return hint(self)

    def __str__(self) -> str:
        # The server may repeat the whole statement; the excerpt is what matters of it.
        message = self.message.partition("\n== SQL")[0].rstrip() if self.sql_excerpt else self.message
        hint = self.hint
        return "\n".join(filter(None, (message, self.sql_excerpt, hint and f"hint: {hint}")))

    def __reduce__(self) -> tuple[object, ...]:
        state = {name: value for name, value in vars(self).items() if name != "sql_excerpt"}
        return type(self), self.args, {**state, "sql_excerpt": None}


class InterfaceError(Error):
    """This package was used wrongly: a closed object, a handle of the parent process, a result taken twice.

    Example:
        >>> cursor.close()
        >>> cursor.fetchone()
        Traceback (most recent call last):
            ...
        seakernel.exceptions.InterfaceError: the cursor is closed
    """


class DatabaseError(Error):
    """A failure of the warehouse or of the way to it.

    Example:
        >>> try:
        ...     cursor.execute("SELECT * FROM orders")
        ... except seakernel.DatabaseError as error:
        ...     print(error.sql_state, error.statement_id == cursor.statement_id)
        42P01 True
    """


class DataError(DatabaseError):
    """A value does not fit: SQLSTATE class 22, a parameter that no SQL type holds, a date that Python cannot hold.

    Example:
        >>> cursor.execute("SELECT CAST('tea' AS INT)")
        Traceback (most recent call last):
            ...
        seakernel.exceptions.DataError: [CAST_INVALID_INPUT] The value 'tea' of the type "STRING" cannot be cast to ...
    """


class OperationalError(DatabaseError):
    """Not the program's fault: sign-in, network, time limits, cancellation; SQLSTATE classes 08, 53, 57 and HY.

    Example:
        >>> endless = "SELECT sum(sqrt(a.id + b.id)) FROM range(10000000) a CROSS JOIN range(10000000) b"
        >>> cursor.execute(endless, timeout=0.1)
        Traceback (most recent call last):
            ...
        seakernel.exceptions.OperationalError: the statement took longer than its limit of 100ms, and is being cancelled
    """


class IntegrityError(DatabaseError):
    """A constraint was violated: SQLSTATE class 23.

    Example:
        >>> _ = cursor.execute("CREATE TABLE orders (item STRING NOT NULL)")
        >>> cursor.execute("INSERT INTO orders VALUES (NULL)")
        Traceback (most recent call last):
            ...
        seakernel.exceptions.IntegrityError: [DELTA_NOT_NULL_CONSTRAINT_VIOLATED] NOT NULL constraint violated ...
    """


class InternalError(DatabaseError):
    """A defect of this package."""


class ProgrammingError(DatabaseError):
    """Wrong SQL, an unknown table or a wrong argument: SQLSTATE classes 07, 26 and 42.

    Example:
        >>> cursor.execute("SELECT * FROM orders")
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ProgrammingError: [TABLE_OR_VIEW_NOT_FOUND] The table or view `orders` cannot be found. ...
    """


class NotSupportedError(DatabaseError):
    """The server, or this package, does not have that: SQLSTATE class 0A.

    Example:
        >>> connection.rollback()
        Traceback (most recent call last):
            ...
        seakernel.exceptions.NotSupportedError: there are no transactions; every statement is committed by itself
    """


class DataLossError(DatabaseError):
    """Rows are missing, surplus, out of order or unreadable. Trust nothing of that result.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> loss = {"on": "download", "times": "always", "do": {"missing_rows": {"rows": 1}}}
        >>> with LocalWarehouse(inline_bytes=0, faults=[loss]) as warehouse, warehouse.connect() as connection:
        ...     connection.cursor().execute("SELECT id FROM range(1000)").fetchall()
        Traceback (most recent call last):
            ...
        seakernel.exceptions.DataLossError: ...holds 999 rows and its link declares 1000...
    """


class ServerOperationError(DatabaseError):
    """The statement failed on the server with an SQLSTATE that has no class of its own above.

    Example:
        >>> cursor.execute("SELECT raise_error('out of stock')")
        Traceback (most recent call last):
            ...
        seakernel.exceptions.ServerOperationError: [USER_RAISED_EXCEPTION] out of stock SQLSTATE: P0001
    """
